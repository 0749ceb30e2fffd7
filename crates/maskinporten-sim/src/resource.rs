//! An API that wants a bearer (RFC 6750) and tells what it was shown.
//!
//! * Everything under `/api/` takes a Maskinporten or an Altinn token of this world, until
//!   [`Sim::protect`](crate::Sim::protect) says otherwise for a path and what lies under it.
//! * No token: 401 with a bare challenge. A bad or revoked one: 401 `invalid_token`. A missing scope: 403
//!   `insufficient_scope`. Two `Authorization` headers: 400 `invalid_request`.

use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use crate::bearer::{Credentials, credentials};
use crate::clock::unix_time;
use crate::jws::Jws;
use crate::{Answer, World};

/// What a protected path asks of a token.
///
/// ```
/// # use maskinporten_sim::{Protection, Sim};
/// let sim = Sim::new();
/// sim.protect("/api/echo", Protection::maskinporten().scope("a:b").audience("https://api.example.no"));
/// sim.protect("/api/altinn", Protection::altinn());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a protection does nothing until it is given to `Sim::protect`"]
pub struct Protection {
    maskinporten: bool,
    altinn: bool,
    scopes: Vec<String>,
    audience: Option<String>,
    leeway: Duration,
}

impl Protection {
    /// Takes tokens of Maskinporten only.
    pub fn maskinporten() -> Self {
        Self {
            altinn: false,
            ..Self::either()
        }
    }

    /// Takes tokens of Altinn only.
    pub fn altinn() -> Self {
        Self {
            maskinporten: false,
            ..Self::either()
        }
    }

    /// Takes tokens of both; what a path has that nobody protected.
    pub fn either() -> Self {
        Self {
            maskinporten: true,
            altinn: true,
            scopes: Vec::new(),
            audience: None,
            leeway: Duration::ZERO,
        }
    }

    /// Asks for a scope; called again, for that one too.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Refuses tokens restricted to another audience. A token without `aud` is still taken.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How far the caller's clock may disagree about `exp` and `nbf`: by default not at all.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }
}

impl Default for Protection {
    fn default() -> Self {
        Self::either()
    }
}

pub(crate) fn call(world: &World, parts: &Parts, path: &str, now: SystemTime) -> Answer {
    let protection = world.registry().protection(path);
    let token = match credentials(&parts.headers) {
        Credentials::Bearer(token) => token,
        Credentials::Missing => {
            return challenge(
                StatusCode::UNAUTHORIZED,
                "missing_token",
                "no bearer token",
                "Bearer",
            );
        }
        Credentials::Ambiguous => {
            let challenge_text = r#"Bearer error="invalid_request""#;
            return challenge(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "several Authorization headers",
                challenge_text,
            );
        }
    };
    let claims = match verified(world, token, &protection, now) {
        Ok(claims) => claims,
        Err(reason) => {
            return challenge(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                reason,
                r#"Bearer error="invalid_token""#,
            );
        }
    };
    let granted: Vec<&str> = claims
        .get("scope")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .split(' ')
        .collect();
    if protection
        .scopes
        .iter()
        .any(|scope| !granted.contains(&scope.as_str()))
    {
        let text = format!(
            r#"Bearer error="insufficient_scope", scope="{}""#,
            protection.scopes.join(" ")
        );
        return challenge(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "the token lacks a scope",
            &text,
        );
    }
    Answer::accepted(StatusCode::OK)
        .json(&json!({ "method": parts.method.as_str(), "path": path, "claims": claims }))
}

fn verified(
    world: &World,
    token: &str,
    protection: &Protection,
    now: SystemTime,
) -> Result<Map<String, Value>, &'static str> {
    let token = Jws::parse(token).ok_or("the token is not a JWT")?;
    let keys = world.keys();
    let issuer = if keys.maskinporten.signed(&token) {
        if !protection.maskinporten {
            return Err("a Maskinporten token where an Altinn token is asked for");
        }
        world.issuer()
    } else if keys.altinn.signed(&token) {
        if !protection.altinn {
            return Err("an Altinn token where a Maskinporten token is asked for");
        }
        world.altinn_issuer()
    } else {
        return Err("the token is not signed by a key of this world");
    };
    let claims = token.claims;
    if claims.get("iss").and_then(Value::as_str) != Some(&issuer) {
        return Err("the token is of another issuer");
    }
    let now = unix_time(now);
    let leeway = protection.leeway.as_secs_f64();
    if !claims
        .get("exp")
        .and_then(Value::as_f64)
        .is_some_and(|exp| now < exp + leeway)
    {
        return Err("the token is expired");
    }
    if claims
        .get("nbf")
        .and_then(Value::as_f64)
        .is_some_and(|nbf| now + leeway < nbf)
    {
        return Err("the token is not valid yet");
    }
    if world.registry().revocation.covers(&claims) {
        return Err("the token is revoked");
    }
    if let (Some(audience), Some(restricted)) = (&protection.audience, claims.get("aud")) {
        let is_ours = match restricted {
            Value::Array(several) => several.iter().any(|one| one == audience.as_str()),
            one => one == audience.as_str(),
        };
        if !is_ours {
            return Err("the token is restricted to another audience");
        }
    }
    Ok(claims)
}

fn challenge(status: StatusCode, error: &str, reason: &str, challenge: &str) -> Answer {
    Answer::refused(status, error, reason).header(header::WWW_AUTHENTICATE, challenge)
}
