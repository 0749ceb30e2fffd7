//! A token server's answer → [`AccessToken`] (RFC 6749 §5).
//!
//! - A token's life is the shorter of `expires_in` and what the token itself says (`exp − iat`).
//!   Where the answer tells neither, a minute is assumed; nothing lives longer than a day here.
//! - The text is opaque: it is looked into for its life only, and trusted for nothing.
//! - A refusal becomes an [`Error`] with what the server is known to mean by it. Of its body no more
//!   is kept than the OAuth error, a cleaned and bounded description, the code and the trace id.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::advice::{self, Advice};
use crate::error::{Error, ErrorKind, Refusal, Result};
use crate::header;

/// An access token: redacted when printed, wiped when its last clone is dropped.
///
/// ```
/// use std::time::Duration;
/// use maskinporten::AccessToken;
///
/// let token = AccessToken::new("opaque", Duration::from_secs(120))?;
/// assert_eq!(token.expose(), "opaque");
/// assert!(!format!("{token:?}").contains("opaque"));
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone)]
pub struct AccessToken {
    bearer: HeaderValue,
    lifetime: Duration,
    expires_at: Option<SystemTime>,
    scope: Option<Box<str>>,
}

impl AccessToken {
    /// A token from elsewhere, with the whole of its life before it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] where the text is empty or holds what no header may hold.
    pub fn new(text: &str, lifetime: Duration) -> Result<Self> {
        let bearer = (text.len() <= MAX_LENGTH)
            .then(|| header::bearer(text))
            .flatten()
            .ok_or_else(|| {
                Error::protocol("the answer holds a token that cannot stand in a header")
                    .with_advice(&advice::UNUSABLE_TOKEN)
            })?;
        Ok(Self {
            bearer,
            lifetime: lifetime.min(MAX_LIFETIME),
            expires_at: None,
            scope: None,
        })
    }

    /// The token itself. Keep it out of logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        header::token_of(&self.bearer)
    }

    /// How long the token lives in all, from when it was asked for.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// When it ends by this machine's wall clock. Nothing here decides by it: see [`Clock`].
    ///
    /// [`Clock`]: crate::Clock
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The scopes the server says it gave, where it says so.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(crate) fn bearer(&self) -> &HeaderValue {
        &self.bearer
    }

    pub(crate) fn asked_for_at(mut self, wall: SystemTime) -> Self {
        self.expires_at = wall.checked_add(self.lifetime);
        self
    }
}

/// A token longer than this is none: the headers of most servers end well before.
const MAX_LENGTH: usize = 32 * 1024;

/// Whatever a server says: a day is longer than any Maskinporten or Altinn token lives.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Assumed where neither the answer nor the token tells: half of Maskinporten's default.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(60);

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AccessToken");
        out.field("lifetime", &self.lifetime);
        out.field("scope", &self.scope);
        out.finish_non_exhaustive()
    }
}

/// Reads the token endpoint's answer. `now` is wall time, for a token that tells its end only.
pub(crate) fn from_response(response: &Response<Bytes>, now: SystemTime) -> Result<AccessToken> {
    let refusal = Refusal::read(response.body());
    if !response.status().is_success() || refusal.is_some() {
        return Err(refused(response, refusal));
    }
    let answer: Answer = serde_json::from_slice(response.body())
        // The parser's own words may quote the token.
        .map_err(|_| not_an_answer("the token server's answer is no token answer", response))?;
    if !answer.is_bearer() {
        let message = "the token server gave a token that is no bearer token";
        return Err(not_an_answer(message, response).with_advice(&advice::UNUSABLE_TOKEN));
    }
    let lifetime = answer
        .lifetime(now)
        .map_err(|message| not_an_answer(message, response).with_advice(&advice::UNUSABLE_TOKEN))?;
    let mut token = AccessToken::new(&answer.access_token, lifetime)
        .map_err(|error| error.with_status(response.status()))?;
    token.scope = answer.scope.map(String::into_boxed_str);
    Ok(token)
}

/// RFC 6749 §5.1; members of no use here are ignored.
#[derive(Deserialize)]
struct Answer {
    access_token: zeroize::Zeroizing<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    scope: Option<String>,
}

impl Answer {
    fn is_bearer(&self) -> bool {
        let bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
        self.token_type.as_ref().is_none_or(bearer)
    }

    fn lifetime(&self, now: SystemTime) -> Result<Duration, &'static str> {
        let told = match &self.expires_in {
            None | Some(Value::Null) => None,
            Some(value) => Some(seconds(value).ok_or("`expires_in` is no number of seconds")?),
        };
        let carried = lifetime_in(&self.access_token, now);
        let lifetime = match (told, carried) {
            (Some(told), Some(carried)) => told.min(carried),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => ASSUMED_LIFETIME,
        };
        Ok(lifetime)
    }
}

/// Whole seconds, from a number or, as some servers write it, from text; capped at a day.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    if !seconds.is_finite() || seconds < 0.0 {
        return None;
    }
    let capped = seconds.min(MAX_LIFETIME.as_secs_f64());
    Some(Duration::from_secs_f64(capped.floor()))
}

/// How long a JWT lives by its own claims: `exp − iat`, or until `exp` where it has no `iat`.
pub(crate) fn lifetime_in(jwt: &str, now: SystemTime) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
        iat: Option<f64>,
    }
    let mut parts = jwt.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let Claims { exp, iat } = serde_json::from_slice(&payload).ok()?;
    let from = match iat {
        Some(iat) => iat,
        None => now
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?
            .as_secs_f64(),
    };
    let lifetime = (exp - from).clamp(0.0, MAX_LIFETIME.as_secs_f64());
    Duration::try_from_secs_f64(lifetime).ok()
}

// ===== what is no token =====

/// The error for an answer that is no success, by what the body says before what the status says.
fn refused(response: &Response<Bytes>, refusal: Option<Refusal>) -> Error {
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

fn not_an_answer(message: &'static str, response: &Response<Bytes>) -> Error {
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
    fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            error_description: Option<Value>,
            error_uri: Option<Value>,
        }
        let body: Body = serde_json::from_slice(body).ok()?;
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
    use super::*;

    fn answer(body: &str) -> Result<AccessToken> {
        let response = Response::new(Bytes::from(body.to_owned()));
        from_response(&response, at(1_000))
    }

    fn refusal(status: u16, body: &str) -> Error {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        from_response(&response, at(1_000)).unwrap_err()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_shorter_of_both_lives_counts() {
        let check = |expires_in: &str, claims: &str, seconds: u64| {
            let token = jwt(claims);
            let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"{expires_in}}}"#);
            assert_eq!(
                answer(&body).unwrap().lifetime().as_secs(),
                seconds,
                "{body}"
            );
        };
        check(r#","expires_in":120"#, r#"{"iat":1000,"exp":1120}"#, 120);
        check(r#","expires_in":120"#, r#"{"iat":1000,"exp":1100}"#, 100);
        check(r#","expires_in":"119""#, r#"{"iat":1000,"exp":1200}"#, 119);
        check(r#","expires_in":119.9"#, "{}", 119);
        check(r#","expires_in":0"#, "{}", 0);
        check(r#","expires_in":1000000000000000000"#, "{}", 86_400);
        check(r#","expires_in":1e300"#, r#"{"iat":1000,"exp":1120}"#, 120);
        check("", r#"{"iat":1000,"exp":1120}"#, 120);
        check("", r#"{"exp":1090}"#, 90);
        check("", r#"{"exp":900}"#, 0);
        check("", r#"{"iat":1000,"exp":999}"#, 0);
        check("", "{}", 60);
        check(r#","expires_in":null"#, "not json", 60);
    }

    #[test]
    fn a_life_that_is_no_number_of_seconds_is_refused() {
        for expires_in in [
            "-1", "\"soon\"", "\"-5\"", "\"NaN\"", "\"inf\"", "true", "[]", "{}",
        ] {
            let body = format!(r#"{{"access_token":"x","expires_in":{expires_in}}}"#);
            let error = answer(&body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{expires_in}");
            assert!(error.to_string().contains("expires_in"), "{error}");
        }
    }

    #[test]
    fn what_is_no_token_answer_is_refused_without_its_body() {
        for body in [
            "",
            "<html>canary</html>",
            "[]",
            "null",
            "{\"access_token\":",
            "{\"access_token\":7}",
            "{\"token\":\"canary\"}",
            "{\"access_token\":\"\"}",
            "{\"access_token\":\"can\\r\\nary\"}",
            "{\"access_token\":\"canary\",\"token_type\":\"DPoP\"}",
        ] {
            let error = answer(body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{body}");
            assert!(
                !format!("{error} {error:?}").contains("canary"),
                "{error:?}"
            );
            assert!(error.hint().is_some());
        }
        let long = format!("{{\"access_token\":\"{}\"}}", "x".repeat(MAX_LENGTH + 1));
        assert!(answer(&long).is_err());
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
            from_response(&response, at(0)).unwrap_err()
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
        let page = refusal(404, "<html>");
        assert_eq!(page.kind(), ErrorKind::Protocol);
        assert!(page.is_transient());
    }
}
