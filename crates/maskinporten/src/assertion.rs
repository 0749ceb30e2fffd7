//! Claims → compact JWS (RFC 7523 §3, RFC 7515 §3.1).
//!
//! - `aud` is exactly one string, the issuer; `exp` is `iat` + 120 s; there is no `nbf`.
//! - `alg` comes from the key; either `kid` or `x5c` stands in the header, never both.
//! - Nothing here reads a clock or draws a number: `iat` and `jti` are given, so that one input has
//!   one output, and a retry cannot send the same assertion by mistake.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::key::SigningAlgorithm;
use crate::request::TokenRequest;
use crate::signer::KeyReference;

/// How long an assertion lives: the most Maskinporten documents.
///
/// Longer is refused. Shorter protects nothing, since a `jti` is good for one request, and fails
/// where this machine's clock is behind: the server allows ten seconds of skew, no more.
pub const ASSERTION_LIFETIME: Duration = Duration::from_secs(120);

/// What one assertion says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assertion<'a> {
    pub(crate) audience: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) request: &'a TokenRequest,
    /// Wall time, corrected by whatever is known of the server's clock.
    pub(crate) issued_at: SystemTime,
    /// One use only: each attempt draws its own.
    pub(crate) jti: &'a str,
}

impl Assertion<'_> {
    /// Header and payload, encoded and joined: what is signed (RFC 7515 §5.1).
    pub(crate) fn signing_input(
        &self,
        algorithm: SigningAlgorithm,
        key: KeyReference<'_>,
    ) -> Result<String> {
        let header = match key {
            KeyReference::Kid(kid) => Header::new(algorithm, Some(kid), None),
            KeyReference::Chain(chain) => Header::new(algorithm, None, Some(chain)),
        };
        let mut input = String::with_capacity(1024);
        encode(&header, &mut input)?;
        input.push('.');
        encode(&self.claims(), &mut input)?;
        Ok(input)
    }

    fn claims(&self) -> Claims<'_> {
        let issued_at = self
            .issued_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        Claims {
            aud: self.audience,
            iss: self.client_id,
            scope: self.request.scope_set().as_str(),
            iat: issued_at,
            exp: issued_at.saturating_add(ASSERTION_LIFETIME.as_secs()),
            jti: self.jti,
            resource: self.request.resources().map(Resource::of),
            consumer_org: self.request.consumer().map(ToString::to_string),
            authorization_details: self.request.details(),
        }
    }
}

/// Joins what was signed and its signature (RFC 7515 §7.1).
pub(crate) fn compact(signing_input: &str, signature: &[u8]) -> Zeroizing<String> {
    let mut jws = String::with_capacity(signing_input.len() + signature.len() * 4 / 3 + 4);
    jws.push_str(signing_input);
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
    Zeroizing::new(jws)
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<&'a [String]>,
    typ: &'static str,
}

impl<'a> Header<'a> {
    fn new(alg: SigningAlgorithm, kid: Option<&'a str>, x5c: Option<&'a [String]>) -> Self {
        Self {
            alg: alg.as_str(),
            kid,
            x5c,
            typ: "JWT",
        }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Resource<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_org: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<&'a Value>,
}

/// One resource is written as a string, as every client in use does; several as an array.
#[derive(Serialize)]
#[serde(untagged)]
enum Resource<'a> {
    One(&'a str),
    Several(&'a [Box<str>]),
}

impl<'a> Resource<'a> {
    fn of(resources: &'a [Box<str>]) -> Self {
        match resources {
            [one] => Self::One(one),
            several => Self::Several(several),
        }
    }
}

fn encode(part: &impl Serialize, out: &mut String) -> Result<()> {
    let json = serde_json::to_vec(part)
        .map_err(|error| Error::key("the assertion cannot be written").with_source(error))?;
    URL_SAFE_NO_PAD.encode_string(json, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(request: &TokenRequest, key: KeyReference<'_>) -> (String, String) {
        let assertion = Assertion {
            audience: "https://test.maskinporten.no/",
            client_id: "client",
            request,
            issued_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_999),
            jti: "jti-1",
        };
        let input = assertion
            .signing_input(SigningAlgorithm::Rs256, key)
            .unwrap();
        let (header, payload) = input.split_once('.').unwrap();
        let text = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        (text(header), text(payload))
    }

    // Parity vector 3: header, times and audience of the reference; no optional claim by default.
    #[test]
    fn without_more_than_scopes_only_the_required_claims_are_written() {
        let request = TokenRequest::scopes(["b:x", "a:x"]).unwrap();
        let (header, payload) = decoded(&request, KeyReference::Kid("key-1"));
        assert_eq!(header, r#"{"alg":"RS256","kid":"key-1","typ":"JWT"}"#);
        assert_eq!(
            payload,
            r#"{"aud":"https://test.maskinporten.no/","iss":"client","scope":"a:x b:x","iat":1700000000,"exp":1700000120,"jti":"jti-1"}"#
        );
    }

    #[test]
    fn a_certificate_chain_stands_instead_of_the_kid() {
        let request = TokenRequest::scopes(["a:x"]).unwrap();
        let chain = ["bGVhZg==".to_owned(), "cm9vdA==".to_owned()];
        let (header, _) = decoded(&request, KeyReference::Chain(&chain));
        assert_eq!(
            header,
            r#"{"alg":"RS256","x5c":["bGVhZg==","cm9vdA=="],"typ":"JWT"}"#
        );
    }

    #[test]
    fn each_optional_claim_is_written_as_it_was_asked() {
        let request = || TokenRequest::scopes(["a:x"]).unwrap();
        let check = |request: TokenRequest, claim: &str| {
            let (_, payload) = decoded(&request, KeyReference::Kid("k"));
            assert!(payload.ends_with(claim), "{payload}");
        };
        check(
            request().resource("https://api.example.no").unwrap(),
            r#","resource":"https://api.example.no"}"#,
        );
        check(
            request()
                .resource("urn:b")
                .unwrap()
                .resource("urn:a")
                .unwrap(),
            r#","resource":["urn:a","urn:b"]}"#,
        );
        check(
            request().consumer_org("0192:991825827").unwrap(),
            r#","consumer_org":"991825827"}"#,
        );
        check(
            request()
                .authorization_details(r#"{"type":"urn:x","y":"\"<"}"#)
                .unwrap(),
            r#","authorization_details":[{"type":"urn:x","y":"\"<"}]}"#,
        );
    }
}
