//! An answer without a token → [`Error`]: what the server is known to mean by it.
//!
//! Of its body no more is kept than the OAuth error, a cleaned and bounded description, the code and
//! the trace id.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::advice::{self, Advice};
use crate::answer;
use crate::error::{Error, ErrorKind, Refusal};

/// The error for an answer that is no success, by what the body says before what the status says.
pub(crate) fn refused(response: &Response<Bytes>, refusal: Option<Refusal>) -> Error {
    let status = response.status();
    let overloaded = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    if overloaded {
        return busy("the token server", response);
    }
    if status.is_redirection() {
        return redirected(response);
    }
    let Some(refusal) = refusal else {
        return not_an_answer(
            "the token server's answer is neither a token nor a refusal",
            response,
        );
    };
    if matches!(
        refusal.error.as_deref(),
        Some("temporarily_unavailable" | "server_error")
    ) {
        return busy("the token server", response).with_refusal(refusal);
    }
    let advice = Advice::for_refusal(&refusal).unwrap_or(&advice::UNKNOWN_REFUSAL);
    let meaning = advice.meaning();
    let message = match (&refusal.code, &refusal.error) {
        (Some(code), _) => format!("maskinporten refused the grant: {meaning} ({code})"),
        (None, Some(error)) => format!("maskinporten refused the grant: {meaning} ({error})"),
        (None, None) => format!("maskinporten refused the grant: {meaning}"),
    };
    Error::new(advice.kind(), message)
        .with_status(status)
        .with_refusal(refusal)
        .with_advice(advice)
}

/// `who` answered that it cannot serve now.
pub(crate) fn busy(who: &str, response: &Response<Bytes>) -> Error {
    let status = response.status();
    Error::new(
        ErrorKind::Unavailable,
        format!("{who} cannot serve now (status {})", status.as_u16()),
    )
    .with_status(status)
    .with_advice(&advice::SERVER_BUSY)
    .with_retry_after(retry_after(response.headers()))
}

pub(crate) fn redirected(response: &Response<Bytes>) -> Error {
    Error::protocol("the answer is a redirect, and none is followed with a credential")
        .with_transient(false)
        .with_status(response.status())
        .with_advice(&advice::REDIRECTED)
}

pub(crate) fn not_an_answer(message: &'static str, response: &Response<Bytes>) -> Error {
    Error::protocol(message)
        .with_status(response.status())
        .with_advice(&advice::NOT_AN_ANSWER)
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date that is compared with the server's own.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    at.duration_since(server_time(headers)?).ok()
}

/// The server's clock by its `Date`; none where a cache answered in its place (`Age`).
pub(crate) fn server_time(headers: &HeaderMap) -> Option<SystemTime> {
    if headers.contains_key(http::header::AGE) {
        return None;
    }
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    httpdate::parse_http_date(date).ok()
}

impl Refusal {
    /// What an error body says (RFC 6749 §5.2); none where it is no such body.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            error_description: Option<Value>,
            error_uri: Option<Value>,
        }
        let body: Body = answer::object(body)?;
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let description = text(body.error_description).unwrap_or_default();
        let uri = text(body.error_uri).unwrap_or_default();
        let (description, trace_id) = split_trace_id(&description);
        let cleaned = clean(description, 500);
        Some(Self {
            error: Some(clean(&body.error, 60)),
            code: mp_code(&uri).or_else(|| mp_code(&cleaned)),
            description: (!cleaned.is_empty()).then_some(cleaned),
            trace_id,
        })
    }
}

/// `MP-250` out of an address or a text.
fn mp_code(text: &str) -> Option<String> {
    let at = text.find("MP-")?;
    let digits: String = text[at + 3..]
        .chars()
        .take_while(char::is_ascii_digit)
        .take(4)
        .collect();
    (digits.len() >= 3).then(|| format!("MP-{digits}"))
}

/// Identifiers are UUIDs (36 characters) or shorter, as OAuth errors are (37, the longest in use).
const LONGEST_ID: usize = 40;

/// Takes `(trace_id: …)`, or `(correlation id: …)` as it was before 2024, off the end of a text.
fn split_trace_id(text: &str) -> (&str, Option<String>) {
    for label in ["(trace_id:", "(correlation id:"] {
        let Some(at) = text.rfind(label) else {
            continue;
        };
        let id: String = text[at + label.len()..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        if (1..=LONGEST_ID).contains(&id.len()) {
            return (text[..at].trim_end(), Some(id));
        }
    }
    (text, None)
}

/// A server's words made fit for a log: printable, on one line, bounded, and without anything that
/// is long enough to be a credential it echoes, or a line of one.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    const LONGEST_WORD: usize = 80;
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limit * 4)
        .collect();
    // An encoded credential has one alphabet throughout; scopes and addresses are divided by others.
    let is_encoded = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_credential = |word: &str| {
        word.len() > LONGEST_WORD
            || word
                .split(|c| !is_encoded(c))
                .any(|run| run.len() > LONGEST_ID)
    };
    let words: Vec<&str> = printable
        .split_whitespace()
        .map(|word| if is_credential(word) { "[…]" } else { word })
        .collect();
    words.join(" ").chars().take(limit).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::token;

    fn refusal(status: u16, body: &str) -> Error {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        token::from_response(&response, SystemTime::UNIX_EPOCH).unwrap_err()
    }

    #[test]
    fn a_refusal_is_read_to_code_text_and_trace_id() {
        let error = refusal(
            400,
            r#"{"error":"invalid_grant","error_description":"Invalid assertion. Client authentication failed. Invalid JWT signature. (trace_id: d51e10ab45ee10a3a2f1e3a9a4a3b1c2)","error_uri":"https://test.maskinporten.no/errors/MP-124"}"#,
        );
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert_eq!(error.code(), Some("MP-124"));
        assert_eq!(error.oauth_error(), Some("invalid_grant"));
        assert_eq!(error.trace_id(), Some("d51e10ab45ee10a3a2f1e3a9a4a3b1c2"));
        assert_eq!(
            error.description(),
            Some("Invalid assertion. Client authentication failed. Invalid JWT signature.")
        );
        assert!(!error.is_transient());
        assert!(error.to_string().contains("MP-124"), "{error}");
    }

    #[test]
    fn a_refusal_is_known_by_its_words_where_it_has_no_code() {
        let error = refusal(
            403,
            r#"{"error":"forbidden","error_description":"Consumer has not been granted access to the scope x:y (correlation id: 1b2c-3d)"}"#,
        );
        assert_eq!(error.kind(), ErrorKind::OrganisationRejected);
        assert_eq!(error.code(), None);
        assert_eq!(error.trace_id(), Some("1b2c-3d"));
        let bare = refusal(400, r#"{"error":"invalid_scope","error_description":null}"#);
        assert_eq!(bare.kind(), ErrorKind::ScopeRejected);
    }

    #[test]
    fn what_a_server_echoes_is_cleaned() {
        let echoed = "x".repeat(200);
        let error = refusal(
            400,
            &format!(
                r#"{{"error":"invalid_grant","error_description":"bad\u0000\n{echoed} end"}}"#
            ),
        );
        assert_eq!(error.description(), Some("bad […] end"));
    }

    #[test]
    fn outages_are_transient_and_say_when_to_come_back() {
        let with = |status: u16, header: Option<(&str, &str)>| {
            let mut response = Response::new(Bytes::from_static(b"<html>"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some((retry_after, date)) = header {
                let value = |text: &str| HeaderValue::from_str(text).unwrap();
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, value(retry_after));
                response
                    .headers_mut()
                    .insert(http::header::DATE, value(date));
            }
            token::from_response(&response, SystemTime::UNIX_EPOCH).unwrap_err()
        };
        let date = "Fri, 01 Jan 2027 10:00:00 GMT";
        for status in [408, 429, 500, 502, 503, 504] {
            let error = with(status, None);
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.is_transient());
            assert_eq!(error.retry_after(), None);
        }
        let wait = |text| with(503, Some((text, date))).retry_after();
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            wait("Fri, 01 Jan 2027 10:00:09 GMT"),
            Some(Duration::from_secs(9))
        );
        assert_eq!(wait("Fri, 01 Jan 2027 09:00:00 GMT"), None);
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-3"), None);
    }

    #[test]
    fn redirects_and_pages_are_told_apart() {
        let redirect = refusal(307, "");
        assert!(!redirect.is_transient());
        assert!(redirect.hint().unwrap().contains("redirect"));
        let array = refusal(400, r#"["invalid_grant","canary",null]"#);
        assert_eq!(array.kind(), ErrorKind::Protocol);
        let page = refusal(404, "<html>");
        assert_eq!(page.kind(), ErrorKind::Protocol);
        assert!(page.is_transient());
    }
}
