//! Maskinporten token → Altinn token: request and answer.
//!
//! - The Altinn token lives by its own `exp − iat`, not by its parent's life.
//! - Altinn answers with the bare token, or with one in quotes, as a JSON `Accept` makes it.
//! - It answers 401 to nearly everything, its own failures among them, with `application/problem+json` or without a
//!   body. The gateway before it answers 401 with a JSON message about its subscription key. Both are told apart
//!   here, and so are 400 and 410.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::answer;
use crate::error::{Error, ErrorKind, Result};
use crate::refusal;
use crate::token::{self, AccessToken};

/// The gateway's key, where it asks for one.
const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");

/// The request that trades a Maskinporten token for Altinn's.
pub(crate) fn request(
    exchange: &Uri,
    maskinporten: &AccessToken,
    subscription_key: Option<&HeaderValue>,
) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = exchange.clone();
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, maskinporten.bearer().value().clone());
    // Without it, or with JSON, the answer may be quoted; plain text is what is wanted.
    headers.insert(ACCEPT, HeaderValue::from_static("text/plain"));
    if let Some(key) = subscription_key {
        headers.insert(SUBSCRIPTION_KEY, key.clone());
    }
    request
}

/// Reads Altinn's answer. `now` is wall time, for a token that tells its end only.
pub(crate) fn from_response(response: &Response<Bytes>, now: SystemTime) -> Result<AccessToken> {
    if !response.status().is_success() {
        return Err(refused(response));
    }
    let unusable = |message| {
        Error::protocol(message)
            .with_status(response.status())
            .with_advice(&advice::NOT_AN_ANSWER)
    };
    let text = unquoted(response.body())
        .ok_or_else(|| unusable("altinn's answer to the exchange is no token"))?;
    if text.split('.').count() != 3 {
        return Err(unusable("altinn's answer to the exchange is no token"));
    }
    let lifetime = token::lifetime_in(&text, now)
        .ok_or_else(|| unusable("altinn's token does not say how long it lives"))?;
    AccessToken::new(&text, lifetime).map_err(|error| error.with_status(response.status()))
}

/// The answer's text without white space, byte order mark, or one layer of quotes.
fn unquoted(body: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('"') {
        return serde_json::from_str::<Zeroizing<String>>(text).ok();
    }
    Some(Zeroizing::new(text.to_owned()))
}

fn refused(response: &Response<Bytes>) -> Error {
    let status = response.status();
    let error = |message: String, advice: &'static Advice| {
        Error::new(ErrorKind::Exchange, message)
            .with_status(status)
            .with_advice(advice)
    };
    match status {
        StatusCode::UNAUTHORIZED => match gateway_message(response.body()) {
            Some(message) => error(
                format!("the gateway before altinn refused the exchange: {message}"),
                &advice::SUBSCRIPTION_KEY,
            ),
            None => error(
                "altinn did not accept the maskinporten token".to_owned(),
                &advice::EXCHANGE_REFUSED,
            ),
        },
        StatusCode::GONE => error(
            "altinn no longer takes enterprise users".to_owned(),
            &advice::ENTERPRISE_USER,
        ),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            refusal::busy("altinn's exchange", response)
        }
        status if status.is_server_error() => refusal::busy("altinn's exchange", response),
        status if status.is_redirection() => refusal::redirected(response),
        status => error(
            format!("altinn refused the exchange (status {})", status.as_u16()),
            &advice::EXCHANGE_ADDRESS,
        ),
    }
}

/// What the API gateway says of its subscription key: `{"statusCode": 401, "message": "…"}`.
///
/// Every other body is Altinn's own answer about the token that was sent, `application/problem+json` among them: it
/// says nothing about the key that all requests share.
fn gateway_message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        status_code: u16,
        message: String,
    }
    let body: Body = answer::object(body)?;
    let is_of_gateway = StatusCode::UNAUTHORIZED.as_u16() == body.status_code
        && body.message.to_lowercase().contains("subscription key");
    is_of_gateway.then(|| refusal::clean(&body.message, 200))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn answer(status: u16, body: &str) -> Result<AccessToken> {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        from_response(&response, SystemTime::UNIX_EPOCH)
    }

    // Parity vector 12.
    #[test]
    fn the_request_carries_bearer_and_subscription_key_marked_sensitive() {
        let token = AccessToken::new("mp", Duration::from_secs(120)).unwrap();
        let uri = Uri::from_static(
            "https://platform.tt02.altinn.no/authentication/api/v1/exchange/maskinporten",
        );
        let mut key = HeaderValue::from_static("gateway-key");
        key.set_sensitive(true);
        let request = request(&uri, &token, Some(&key));
        assert_eq!(request.method(), http::Method::GET);
        assert_eq!(request.uri(), &uri);
        let headers = request.headers();
        assert_eq!(headers[AUTHORIZATION], "Bearer mp");
        assert_eq!(headers[SUBSCRIPTION_KEY], "gateway-key");
        assert!(headers[AUTHORIZATION].is_sensitive() && headers[SUBSCRIPTION_KEY].is_sensitive());
    }

    #[test]
    fn a_token_is_read_bare_or_quoted_and_lives_by_its_own_claims() {
        let token = jwt(r#"{"iat":1000,"nbf":1000,"exp":2800}"#);
        for body in [
            token.clone(),
            format!("\"{token}\""),
            format!(" \"{token}\"\r\n"),
            format!("\u{feff}{token}\n"),
        ] {
            let read = answer(200, &body).unwrap();
            assert_eq!(read.expose(), token);
            assert_eq!(read.lifetime(), Duration::from_secs(1800));
        }
    }

    #[test]
    fn what_is_no_token_is_not_kept() {
        for body in [
            "",
            "\"\"",
            "<html></html>",
            "a.b",
            "a.b.c.d",
            "\"a.b.c",
            "a.b.c",
        ] {
            let error = answer(200, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{body}");
            assert_eq!(error.status(), Some(StatusCode::OK), "{body}");
        }
        let unfit = answer(200, &format!("{}\u{e6}", jwt(r#"{"iat":1000,"exp":2800}"#)));
        assert_eq!(unfit.unwrap_err().status(), Some(StatusCode::OK));
    }

    #[test]
    fn each_refusal_is_told_apart() {
        let check = |status, body, kind, words: &str| {
            let error = answer(status, body).unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.to_string().contains(words), "{error}");
            error.hint().unwrap()
        };
        let empty = check(401, "", ErrorKind::Exchange, "did not accept");
        let gateway = check(
            401,
            r#"{"statusCode":401,"message":"Access denied due to missing subscription key."}"#,
            ErrorKind::Exchange,
            "gateway before altinn",
        );
        assert_ne!(empty, gateway);
        check(401, r#"["canary"]"#, ErrorKind::Exchange, "did not accept");
        for of_altinn in [
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"traceId":"00-1-01"}"#,
            r#"{"title":"Unauthorized","status":401,"message":"no subscription key for 991825827"}"#,
            r#"{"statusCode":401,"message":"organisation 991825827 is not known"}"#,
            r#"{"statusCode":403,"message":"no subscription key"}"#,
        ] {
            let hint = check(401, of_altinn, ErrorKind::Exchange, "did not accept");
            assert_eq!(hint, empty, "{of_altinn}");
        }
        assert!(check(410, "{}", ErrorKind::Exchange, "enterprise").contains("system user"));
        check(400, "Invalid provider", ErrorKind::Exchange, "status 400");
        check(404, "", ErrorKind::Exchange, "status 404");
        check(503, "", ErrorKind::Unavailable, "cannot serve now");
        check(429, "", ErrorKind::Unavailable, "cannot serve now");
        check(302, "", ErrorKind::Protocol, "redirect");
    }
}
