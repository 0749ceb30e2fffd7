//! Issuer and token endpoint as an authority publishes them (RFC 8414 §3.2).
//!
//! - The issuer must equal the authority to the last slash: it becomes the audience of every
//!   assertion, and a wrong one would be an assertion made out to somebody else (§3.3). Where only the
//!   address of the metadata was given, that address must be the issuer's well-known one.
//! - The token endpoint must have the authority's origin, unless settings or code pin one: an assertion
//!   goes nowhere else.
//! - Members of no use here are ignored; Maskinporten's own document lacks one that RFC 8414 requires.

use bytes::Bytes;
use http::{Response, Uri};
use serde::Deserialize;

use crate::advice;
use crate::answer;
use crate::error::{Error, Result};
use crate::refusal;
use crate::settings::{Authority, same_origin};

/// What must be known of a token server before it can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The audience of every assertion, verbatim.
    pub(crate) issuer: String,
    pub(crate) token_endpoint: Uri,
}

/// Reads the answer to a metadata request. Where a token endpoint is `pinned`, the one that is published
/// does not matter.
pub(crate) fn from_response(
    authority: &Authority,
    pinned: Option<&Uri>,
    response: &Response<Bytes>,
) -> Result<Metadata> {
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(refusal::busy("the authority's metadata", response));
    }
    if status.is_redirection() {
        return Err(refusal::redirected(response));
    }
    let unusable = |message: String| {
        Error::protocol(message)
            .with_status(status)
            .with_advice(&advice::METADATA)
    };
    if !status.is_success() {
        let message = format!(
            "the authority publishes no metadata (status {})",
            status.as_u16()
        );
        return Err(unusable(message));
    }
    let document: Document = answer::object(response.body())
        .ok_or_else(|| unusable("the authority's metadata cannot be read".to_owned()))?;
    let issuer = document.issuer.unwrap_or_default();
    if !authority.is_issuer(&issuer) {
        return Err(another_issuer(authority, &issuer).with_status(status));
    }
    let token_endpoint = match pinned {
        Some(pinned) => pinned.clone(),
        None => {
            let published = document
                .token_endpoint
                .and_then(|endpoint| endpoint.parse::<Uri>().ok());
            let published = published.ok_or_else(|| {
                unusable("the authority's metadata names no token endpoint".to_owned())
            })?;
            if !same_origin(authority.metadata_url(), &published) {
                let message = format!(
                    "the authority's metadata names a token endpoint elsewhere: {}",
                    refusal::clean(&published.to_string(), 200)
                );
                return Err(unusable(message).with_transient(false));
            }
            published
        }
    };
    Ok(Metadata {
        issuer,
        token_endpoint,
    })
}

/// Not transient: asking again brings the same answer until an address is corrected.
fn another_issuer(authority: &Authority, issuer: &str) -> Error {
    let shown = refusal::clean(issuer, 200);
    let error = match authority.issuer() {
        Some(known) => {
            let only_slash = issuer.trim_end_matches('/') == known.trim_end_matches('/');
            let difference = if only_slash {
                ": they differ in the last slash only"
            } else {
                ""
            };
            let message = format!("the authority {known} calls itself {shown:?}{difference}");
            Error::protocol(message).with_advice(&advice::METADATA)
        }
        None => {
            let message = format!(
                "the metadata at {authority} names the issuer {shown:?}, which does not fit that address"
            );
            // What a document says of another origin is nothing to go by.
            let is_here = issuer
                .parse::<Uri>()
                .is_ok_and(|found| same_origin(&found, authority.metadata_url()));
            Error::protocol(message).with_advice(if is_here {
                &advice::METADATA_ISSUER
            } else {
                &advice::METADATA_ELSEWHERE
            })
        }
    };
    error.with_transient(false)
}

#[derive(Deserialize)]
struct Document {
    issuer: Option<String>,
    token_endpoint: Option<String>,
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    const AUTHORITY: &str = "https://test.maskinporten.no/";

    fn read(body: &str) -> Result<Metadata> {
        let authority = Authority::parse(AUTHORITY).unwrap();
        let response = Response::new(Bytes::from(body.to_owned()));
        from_response(&authority, None, &response)
    }

    // The members of the real test environment's document.
    #[test]
    fn maskinportens_own_document_is_read() {
        let metadata = read(
            r#"{"issuer":"https://test.maskinporten.no/","token_endpoint":"https://test.maskinporten.no/token","jwks_uri":"https://test.maskinporten.no/jwk","token_endpoint_auth_methods_supported":["private_key_jwt"],"grant_types_supported":["urn:ietf:params:oauth:grant-type:jwt-bearer"],"token_endpoint_auth_signing_alg_values_supported":["RS256","RS384","RS512"],"authorization_details_types_supported":["urn:altinn:systemuser","urn:altinn:consent"]}"#,
        )
        .unwrap();
        assert_eq!(metadata.issuer, AUTHORITY);
        assert_eq!(
            metadata.token_endpoint,
            "https://test.maskinporten.no/token"
        );
    }

    #[test]
    fn an_issuer_that_is_not_the_authority_is_refused() {
        let check = |issuer: &str, words: &str| {
            let body = format!(
                r#"{{"issuer":{issuer},"token_endpoint":"https://test.maskinporten.no/token"}}"#
            );
            let error = read(&body).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        };
        check(r#""https://test.maskinporten.no""#, "last slash only");
        check(r#""https://evil.example/""#, "calls itself");
        check("null", "calls itself");
        check(r#"" ""#, "calls itself");
    }

    #[test]
    fn a_token_endpoint_elsewhere_is_refused() {
        let check = |endpoint: &str, accepted: bool| {
            let body = format!(r#"{{"issuer":"{AUTHORITY}","token_endpoint":"{endpoint}"}}"#);
            assert_eq!(read(&body).is_ok(), accepted, "{endpoint}");
        };
        check("https://test.maskinporten.no:443/oauth/token", true);
        check("https://TEST.maskinporten.no/token", true);
        check("https://evil.example/token", false);
        check("http://test.maskinporten.no/token", false);
        check("https://test.maskinporten.no:8443/token", false);
        check("https://test.maskinporten.no@evil.example/token", false);
        check("https://user@test.maskinporten.no/token", false);
        check("https://test.maskinporten.no:99999/token", false);
        check("https://test.maskinporten.no:/token", true);
        check("/token", false);
        check("", false);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let array = r#"["https://test.maskinporten.no/","https://test.maskinporten.no/token"]"#;
        for body in ["", "[]", "<html>", "{}", "{\"issuer\":7}", array] {
            assert!(read(body).is_err(), "{body}");
        }
        for (status, transient) in [(404, true), (500, true), (302, false)] {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let authority = Authority::parse(AUTHORITY).unwrap();
            let error = from_response(&authority, None, &response).unwrap_err();
            assert_eq!(error.is_transient(), transient, "{status}");
        }
    }
}
