//! How long a token may live, read a second time.

use std::time::Duration;

use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use maskinporten::AccessToken;
use serde_json::Value;

/// Checks that a token lives no longer than its answer told, than it says itself, and than a day, and
/// that it can stand in a header.
pub fn assert_life(token: &AccessToken, told: Option<f64>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    assert!(!token.expose().is_empty() && token.expose().bytes().all(allowed));

    let life = token.lifetime();
    assert!(life <= Duration::from_secs(24 * 60 * 60));
    if let Some(told) = told {
        assert!(
            life.as_secs_f64() <= told,
            "{life:?} is longer than {told} s"
        );
    }
    if let Some(own) = claimed(token.expose()) {
        assert!(
            life.as_secs_f64() <= own.max(0.0) + 1e-6,
            "{life:?} is longer than {own} s"
        );
    }
}

/// `exp − iat` of a token that is a JWT and has both.
fn claimed(token: &str) -> Option<f64> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts.as_slice() else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    Some(claims["exp"].as_f64()? - claims["iat"].as_f64()?)
}
