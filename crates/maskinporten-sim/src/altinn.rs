//! Altinn's exchange: a Maskinporten token in, an Altinn token out.
//!
//! * Nearly every refusal is 401 with an empty body; the journal knows the reason.
//! * The Altinn token lives for thirty minutes of its own, whatever is left of the first one.
//! * No scope is asked for; one with `altinn:serviceowner` adds the short name of the organisation.

use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::bearer::{Credentials, credentials};
use crate::clock::{unix_seconds, unix_time};
use crate::entitlement::ORGANISATION_AUTHORITY;
use crate::journal::Record;
use crate::jws::{self, Jws};
use crate::{Answer, World};

/// How long an Altinn token lives, in seconds.
const LIFE: u64 = 30 * 60;

/// How far two clocks may disagree, in seconds.
const CLOCK_SKEW: f64 = 10.0;

/// Claims of the first token that the second does not take over.
const REPLACED: [&str; 4] = ["aud", "iss", "client_amr", "sid"];

pub(crate) fn exchange(
    world: &World,
    parts: &Parts,
    provider: &str,
    now: SystemTime,
    record: &mut Record,
) -> Answer {
    if let Some(refused) = gateway(world, &parts.headers) {
        return refused;
    }
    if parts.method != Method::GET {
        return Answer::method_not_allowed("GET");
    }
    let token = match credentials(&parts.headers) {
        Credentials::Bearer(token) => token,
        Credentials::Missing => return unauthorized("no bearer token"),
        Credentials::Ambiguous => return unauthorized("several Authorization headers"),
    };
    let Some(token) = Jws::parse(token) else {
        return unauthorized("the token is not a JWT");
    };
    match provider.to_ascii_lowercase().as_str() {
        "maskinporten" => {}
        "id-porten" | "altinnstudio" => {
            return unauthorized("the token is not one of this provider");
        }
        _ => {
            return Answer::refused(StatusCode::BAD_REQUEST, "invalid_provider", "unknown token provider")
                .text("Invalid token provider. Trusted token providers are 'Maskinporten', 'Id-porten' and 'AltinnStudio'.");
        }
    }
    let claims = match verified(world, token, now) {
        Ok(claims) => claims,
        Err(reason) => return unauthorized(reason),
    };
    let Some(organisation) = organisation(&claims) else {
        return unauthorized("the token names no Norwegian organisation as consumer");
    };
    if parts
        .headers
        .contains_key("X-Altinn-EnterpriseUser-Authentication")
    {
        return gone();
    }

    let test = query(parts, "test").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let claims = altinn_claims(world, claims, &organisation, test, now);
    let issuer = world.keys().altinn;
    let token = jws::sign(&claims, &issuer.kid, &issuer.key);
    record.issued = Some(Value::Object(claims));
    let answer = Answer::accepted(StatusCode::OK);
    if prefers_json(&parts.headers) {
        answer.json(&json!(token))
    } else {
        answer.text(token)
    }
}

/// The API gateway in front, which answers before Altinn sees the request.
fn gateway(world: &World, headers: &HeaderMap) -> Option<Answer> {
    let expected = world.registry().subscription_key.clone()?;
    let message = match headers.get("Ocp-Apim-Subscription-Key") {
        Some(given) if given.as_bytes() == expected.as_bytes() => return None,
        Some(_) => {
            "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription."
        }
        None => {
            "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API."
        }
    };
    let answer = Answer::refused(StatusCode::UNAUTHORIZED, "subscription_key", message);
    Some(answer.json(&json!({ "statusCode": 401, "message": message })))
}

fn verified(
    world: &World,
    token: Jws<'_>,
    now: SystemTime,
) -> Result<Map<String, Value>, &'static str> {
    if !world.keys().maskinporten.signed(&token) {
        return Err("the token is not signed by Maskinporten");
    }
    let now = unix_time(now);
    if !token
        .claims
        .get("exp")
        .and_then(Value::as_f64)
        .is_some_and(|exp| now <= exp + CLOCK_SKEW)
    {
        return Err("the token is expired");
    }
    // Altinn looks for the issuer inside the address of the metadata it reads, no stricter than that.
    let well_known = world.at_issuer(".well-known/oauth-authorization-server");
    match token.claims.get("iss").and_then(Value::as_str) {
        Some(iss) if !iss.is_empty() && well_known.contains(iss) => Ok(token.claims),
        _ => Err("the token is of another issuer"),
    }
}

fn organisation(claims: &Map<String, Value>) -> Option<String> {
    let consumer = claims.get("consumer")?;
    if consumer.get("authority")?.as_str()? != ORGANISATION_AUTHORITY {
        return None;
    }
    let (_, number) = consumer.get("ID")?.as_str()?.split_once(':')?;
    Some(number.to_owned())
}

fn altinn_claims(
    world: &World,
    mut claims: Map<String, Value>,
    organisation: &str,
    test: bool,
    now: SystemTime,
) -> Map<String, Value> {
    claims.retain(|claim, _| !REPLACED.contains(&claim.as_str()));
    let is_service_owner = claims
        .get("scope")
        .and_then(Value::as_str)
        .is_some_and(|scope| scope.contains("altinn:serviceowner"));
    let mut registry = world.registry();
    if is_service_owner && let Some(name) = registry.service_owners.get(organisation) {
        let name = if test && name == "digdir" {
            "ttd"
        } else {
            name
        };
        claims.insert("urn:altinn:org".into(), json!(name));
    }
    let now = unix_seconds(now);
    let sid = registry.seed.uuid();
    registry.revocation.issue(&sid);
    claims.insert("sid".into(), json!(sid));
    drop(registry);
    claims.insert("urn:altinn:orgNumber".into(), json!(organisation));
    claims.insert(
        "urn:altinn:authenticatemethod".into(),
        json!("maskinporten"),
    );
    claims.insert("urn:altinn:authlevel".into(), json!(3));
    claims.insert("iss".into(), json!(world.altinn_issuer()));
    claims.insert("iat".into(), json!(now));
    claims.insert("nbf".into(), json!(now));
    claims.insert("exp".into(), json!(now + LIFE));
    claims
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query()?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.into_owned())
}

/// Content negotiation as ASP.NET does it for a string: a wildcard anywhere means plain text, else
/// the first type of the highest quality that can be written; JSON puts the string in quotes.
fn prefers_json(headers: &HeaderMap) -> bool {
    let mut best: Option<(f32, bool)> = None;
    for value in headers.get_all(header::ACCEPT) {
        for entry in value.to_str().unwrap_or_default().split(',') {
            let mut parameters = entry.split(';').map(str::trim);
            let media_type = parameters.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parameters
                .find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok())
                .unwrap_or(1.0);
            let is_json = match media_type.as_str() {
                "*/*" => return false,
                "text/plain" | "text/*" => false,
                "application/json" | "text/json" | "application/*" => true,
                other if other.ends_with("+json") => true,
                _ => continue,
            };
            if quality > best.map_or(0.0, |(quality, _)| quality) {
                best = Some((quality, is_json));
            }
        }
    }
    best.is_some_and(|(_, is_json)| is_json)
}

fn unauthorized(reason: &'static str) -> Answer {
    Answer::refused(StatusCode::UNAUTHORIZED, "unauthorized", reason)
}

fn gone() -> Answer {
    let reason = "Enterprise user authentication is no longer supported. Use system users.";
    Answer::refused(StatusCode::GONE, "gone", reason)
        .json(&json!({
            "type": "https://tools.ietf.org/html/rfc9110#section-15.5.11",
            "title": "Gone",
            "status": 410,
            "detail": reason,
        }))
        .header(
            header::CONTENT_TYPE,
            "application/problem+json; charset=utf-8",
        )
}
