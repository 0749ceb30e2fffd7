//! A token server's answer → [`AccessToken`] (RFC 6749 §5).

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::Value;

use crate::advice;
use crate::answer;
use crate::error::{Error, Refusal, Result};
use crate::header::Bearer;
use crate::refusal;

/// An access token: redacted when printed, wiped when its last clone is dropped.
///
/// - A token's life is the shorter of `expires_in` and what the token itself says (`exp − iat`).
///   Where the answer tells neither, a minute is assumed; nothing lives longer than a day here.
/// - The text is opaque: it is looked into for its life only, and trusted for nothing.
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
    bearer: Bearer,
    lifetime: Duration,
    expires_at: Option<SystemTime>,
    scope: Option<Box<str>>,
}

impl AccessToken {
    /// A token from elsewhere, with the whole of its life before it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) where the text is empty or holds what no header may hold.
    pub fn new(text: &str, lifetime: Duration) -> Result<Self> {
        let bearer = (text.len() <= MAX_LENGTH)
            .then(|| Bearer::new(text))
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
        self.bearer.token()
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

    pub(crate) fn bearer(&self) -> &Bearer {
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
    let read = Refusal::read(response.body());
    if !response.status().is_success() || read.is_some() {
        return Err(refusal::refused(response, read));
    }
    let answer: Answer = answer::object(response.body()).ok_or_else(|| {
        refusal::not_an_answer("the token server's answer is no token answer", response)
    })?;
    if !answer.is_bearer() {
        let message = "the token server gave a token that is no bearer token";
        return Err(refusal::not_an_answer(message, response).with_advice(&advice::UNUSABLE_TOKEN));
    }
    let lifetime = answer.lifetime(now).map_err(|message| {
        refusal::not_an_answer(message, response).with_advice(&advice::UNUSABLE_TOKEN)
    })?;
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
    let Claims { exp, iat } = answer::object(&payload)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn answer(body: &str) -> Result<AccessToken> {
        let response = Response::new(Bytes::from(body.to_owned()));
        from_response(&response, at(1_000))
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
        check(r#","expires_in":null"#, "[1120,1000]", 60);
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
            "[\"canary\",\"Bearer\",120,\"a:b\"]",
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
}
