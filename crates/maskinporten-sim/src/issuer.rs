//! Maskinporten: its metadata (RFC 8414), its keys, and the token endpoint (RFC 7523 §2.1).

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};

use crate::assertion::{self, Authenticated};
use crate::clock::unix_seconds;
use crate::entitlement;
use crate::journal::{Record, Verdict};
use crate::jws::{self, Jws};
use crate::refusal::Refusal;
use crate::{Answer, Body, World};

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest form that is read. A grant with a chain of certificates stays under a tenth of it.
const MAX_FORM: usize = 256 * 1024;

pub(crate) fn metadata(world: &World, parts: &Parts) -> Answer {
    let document = json!({
        "issuer": world.issuer(),
        "token_endpoint": world.token_endpoint(),
        "jwks_uri": world.at_issuer("jwk"),
        "grant_types_supported": [GRANT_TYPE],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS384", "RS512"],
        "authorization_details_types_supported": ["urn:altinn:systemuser", "urn:altinn:consent"],
    });
    published(parts, &document)
}

pub(crate) fn jwks(world: &World, parts: &Parts) -> Answer {
    let issuer = world.keys().maskinporten;
    published(
        parts,
        &json!({ "keys": [issuer.key.public_jwk(&issuer.kid)] }),
    )
}

fn published(parts: &Parts, document: &Value) -> Answer {
    if parts.method == Method::GET || parts.method == Method::HEAD {
        Answer::accepted(StatusCode::OK).json(document)
    } else {
        Answer::method_not_allowed("GET, HEAD")
    }
}

// ===== the token endpoint =====

/// Reads the form; what it holds is noted in the journal even if a fault answers the request.
pub(crate) async fn read_form(body: Body, record: &mut Record) -> Option<Bytes> {
    let form = Limited::new(body, MAX_FORM)
        .collect()
        .await
        .ok()?
        .to_bytes();
    let assertion = form_urlencoded::parse(&form).find(|(name, _)| name == "assertion");
    if let Some(jws) = assertion
        .as_ref()
        .and_then(|(_, assertion)| Jws::parse(assertion))
    {
        record.assertion = Some((Value::Object(jws.header), Value::Object(jws.claims)));
    }
    Some(form)
}

pub(crate) fn token(
    world: &World,
    parts: &Parts,
    form: Option<Bytes>,
    now: SystemTime,
    record: &mut Record,
) -> Answer {
    match grant(world, parts, form, now) {
        Ok((response, claims)) => {
            record.issued = Some(claims);
            uncached(Answer::accepted(StatusCode::OK).json(&response))
        }
        Err(refusal) => refuse(world, refusal),
    }
}

fn uncached(answer: Answer) -> Answer {
    answer
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::PRAGMA, "no-cache")
}

fn grant(
    world: &World,
    parts: &Parts,
    form: Option<Bytes>,
    now: SystemTime,
) -> Result<(Value, Value), Refusal> {
    if parts.method != Method::POST {
        return Err(Refusal::request("Request method must be POST"));
    }
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::request(
            "Content type must be application/x-www-form-urlencoded",
        ));
    }
    let form = form.ok_or_else(|| Refusal::request("Form cut short or too long"))?;
    if field(&form, "grant_type")? != GRANT_TYPE {
        return Err(Refusal::new(
            "unsupported_grant_type",
            format!("Unsupported grant_type: expected {GRANT_TYPE}"),
        ));
    }
    let assertion = field(&form, "assertion")?;

    let authenticated = assertion::authenticate(world, &assertion, now)?;
    let mut registry = world.registry();
    let entitlement = entitlement::entitle(&registry, &authenticated, now)?;
    let (jti, iat) = (registry.seed.uuid(), unix_seconds(now));
    registry.revocation.issue(&jti);
    drop(registry);

    let Authenticated { client, .. } = authenticated;
    let own = client.token_lifetime.unwrap_or(world.token_lifetime);
    let life = entitlement
        .lifetime
        .map_or(own, |cap| own.min(cap))
        .as_secs();
    let mut claims = Map::new();
    claims.insert("iss".into(), json!(world.issuer()));
    claims.insert("client_id".into(), json!(client.client_id));
    claims.insert("scope".into(), json!(entitlement.scope));
    claims.insert("token_type".into(), json!("Bearer"));
    claims.insert("iat".into(), json!(iat));
    claims.insert("exp".into(), json!(iat + life));
    claims.insert("jti".into(), json!(jti));
    claims.extend(entitlement.claims);

    let issuer = world.keys().maskinporten;
    let response = json!({
        "access_token": jws::sign(&claims, &issuer.kid, &issuer.key),
        "token_type": "Bearer",
        "expires_in": life,
        "scope": entitlement.scope,
    });
    Ok((response, Value::Object(claims)))
}

/// A field that has to be there exactly once (RFC 6749 §3.2).
fn field(form: &[u8], name: &str) -> Result<String, Refusal> {
    let mut values = form_urlencoded::parse(form).filter(|(known, _)| known == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) if !value.is_empty() => Ok(value.into_owned()),
        (Some(_), Some(_)) => Err(Refusal::request(format!("Duplicate parameter: {name}"))),
        _ => Err(Refusal::request(format!("Missing parameter: {name}"))),
    }
}

/// The refusal as the token endpoint writes it, with a trace id.
pub(crate) fn refuse(world: &World, refusal: Refusal) -> Answer {
    let description = format!(
        "{} (trace_id: {})",
        refusal.description,
        world.registry().seed.trace_id()
    );
    let mut body = Map::new();
    body.insert("error".into(), json!(refusal.error));
    body.insert("error_description".into(), json!(description));
    if let Some(code) = &refusal.code {
        body.insert(
            "error_uri".into(),
            json!(world.at_issuer(&format!("errors/{code}"))),
        );
    }
    let status = refusal.status();
    let verdict = Verdict::Refused {
        error: refusal.error.into_owned(),
        code: refusal.code.map(Cow::into_owned),
        description,
    };
    uncached(Answer::new(status, verdict).json(&Value::Object(body)))
}
