//! Is this assertion one of a client we know, made for us, just now, and for the first time?
//!
//! Checked in this order: form, client, algorithm, key, signature, `jti`, audience, times. A `jti`
//! counts as used once the signature is verified, whatever is found afterwards: from there on the
//! server knows that the client itself made the grant.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode};

use crate::World;
use crate::clock::unix_time;
use crate::jws::Jws;
use crate::refusal::Refusal;
use crate::registry::ClientRegistration;

/// How far two clocks may disagree, in seconds.
const CLOCK_SKEW: f64 = 10.0;

/// An assertion that passed, and who made it.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) client: Arc<ClientRegistration>,
    pub(crate) claims: Map<String, Value>,
    /// `client_amr` of the token.
    pub(crate) method: &'static str,
}

pub(crate) fn authenticate(
    world: &World,
    text: &str,
    now: SystemTime,
) -> Result<Authenticated, Refusal> {
    let jws = Jws::parse(text).ok_or_else(|| {
        Refusal::request("Invalid parameter value: assertion is not a signed JWT in compact form")
            .code("MP-011")
    })?;
    let iss = jws.claims.get("iss").and_then(Value::as_str);
    let client = iss
        .and_then(|iss| world.registry().client(iss))
        .ok_or_else(|| Refusal::grant("Client not found.").code("MP-100"))?;
    let algorithm = jws.algorithm().ok_or_else(|| {
        Refusal::grant("Unsupported signing algorithm (alg): expected RS256, RS384 or RS512.")
    })?;

    let (key, method) = signing_key(&jws, &client, now)?;
    if !jws.is_signed_by(&key, algorithm) {
        return Err(Refusal::grant("Invalid JWT signature.").code("MP-124"));
    }

    if let Some(jti) = jws.claims.get("jti") {
        let jti = jti
            .as_str()
            .ok_or_else(|| Refusal::grant("Invalid JWT claim jti: expected a string."))?;
        if !world.registry().use_once(&client.client_id, jti) {
            return Err(Refusal::grant("Grant is used before (jti).").code("MP-012"));
        }
    }

    check_audience(&jws.claims, &[world.issuer(), world.token_endpoint()])?;
    check_times(&jws.claims, unix_time(now), world.max_assertion_lifetime)?;
    Ok(Authenticated {
        claims: jws.claims,
        client,
        method,
    })
}

/// The key the assertion claims to be signed with: a registered one by `kid`, or that of the first
/// certificate in `x5c`, never both.
fn signing_key(
    jws: &Jws<'_>,
    client: &ClientRegistration,
    now: SystemTime,
) -> Result<(DecodingKey, &'static str), Refusal> {
    let kid = jws.header.get("kid");
    let x5c = jws.header.get("x5c");
    match (kid, x5c) {
        (Some(_), Some(_)) => Err(Refusal::grant(
            "Both kid and x5c provided in JWT header; expected one of them.",
        )),
        (Some(kid), None) => {
            let key = client
                .keys
                .iter()
                .find(|key| kid.as_str() == Some(&key.kid))
                .ok_or_else(|| Refusal::grant("Unknown key identifier (kid)."))?;
            if key.ends.is_some_and(|end| end <= now) {
                return Err(Refusal::grant("Expired key.").code("MP-121"));
            }
            Ok((key.verifier.clone(), "private_key_jwt"))
        }
        (None, _) if !client.keys.is_empty() => Err(Refusal::grant(
            "Client has registered keys, but no key identifier (kid) provided in JWT header.",
        )),
        (None, Some(chain)) => Ok((certified_key(chain, client, now)?, "virksomhetssertifikat")),
        (None, None) => Err(Refusal::grant(
            "Neither certificate nor key: no key identifier (kid) provided in JWT header.",
        )),
    }
}

fn check_audience(claims: &Map<String, Value>, ours: &[String]) -> Result<(), Refusal> {
    let audience = match claims.get("aud") {
        Some(Value::Array(several)) => match several.as_slice() {
            [one] => one.as_str(),
            _ => None,
        },
        one => one.and_then(Value::as_str),
    };
    match audience {
        Some(audience) if ours.iter().any(|own| own == audience) => Ok(()),
        _ => Err(Refusal::grant("Invalid JWT claim aud.").code("MP-110")),
    }
}

fn check_times(claims: &Map<String, Value>, now: f64, longest: Duration) -> Result<(), Refusal> {
    let seconds = |claim: &str| {
        let value = claims.get(claim).and_then(Value::as_f64);
        value.ok_or_else(|| {
            Refusal::grant(format!(
                "Invalid JWT claim {claim}: expected seconds since 1970."
            ))
        })
    };
    let (iat, exp) = (seconds("iat")?, seconds("exp")?);
    if exp - iat > longest.as_secs_f64() {
        return Err(Refusal::grant(format!(
            "JWT has too long lifetime: at most {} seconds between iat and exp.",
            longest.as_secs()
        )));
    }
    if now + CLOCK_SKEW < iat {
        return Err(Refusal::grant("Issue time (iat) is in the future."));
    }
    if now - CLOCK_SKEW > exp {
        return Err(Refusal::grant("JWT is expired.").code("MP-130"));
    }
    Ok(())
}

// ===== certificates =====

/// The public key of the leaf. Every certificate of the chain has to be readable and in force, but
/// no root is known here, so the signatures along it are not followed.
fn certified_key(
    chain: &Value,
    client: &ClientRegistration,
    now: SystemTime,
) -> Result<DecodingKey, Refusal> {
    let not_a_list = || {
        Refusal::grant("Invalid x5c header: expected an array of base64 encoded certificates.")
            .code("MP-123")
    };
    let invalid = || Refusal::grant("Invalid x5c header: invalid certificate.").code("MP-120");

    let mut certificates = Vec::new();
    for entry in chain.as_array().ok_or_else(not_a_list)? {
        let der = entry
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or_else(not_a_list)?;
        certificates.push(Certificate::from_der(&der).map_err(|_| invalid())?);
    }
    let leaf = certificates.first().ok_or_else(not_a_list)?;
    for certificate in &certificates {
        let validity = certificate.tbs_certificate().validity();
        if now < validity.not_before.to_system_time() || validity.not_after.to_system_time() < now {
            return Err(invalid());
        }
    }
    if organisation(leaf).is_some_and(|number| number != client.owner) {
        return Err(Refusal::grant("Wrong organization number in certificate.").code("MP-122"));
    }
    let key = leaf
        .tbs_certificate()
        .subject_public_key_info()
        .subject_public_key
        .as_bytes()
        .ok_or_else(invalid)?;
    Ok(DecodingKey::from_rsa_der(key))
}

/// The organisation number of a Norwegian enterprise certificate: `serialNumber` in older ones,
/// `organizationIdentifier` as `NTRNO-…` in newer. A self-made certificate may have neither.
fn organisation(certificate: &Certificate) -> Option<String> {
    let subject = certificate.tbs_certificate().subject();
    subject
        .as_ref()
        .iter()
        .flat_map(|part| part.as_ref().iter())
        .find_map(|attribute| {
            let der = attribute.value.to_der().ok()?;
            let text = Utf8StringRef::from_der(&der)
                .map(|text| text.as_str().to_owned())
                .or_else(|_| {
                    PrintableStringRef::from_der(&der).map(|text| text.as_str().to_owned())
                })
                .ok()?;
            match attribute.oid.to_string().as_str() {
                "2.5.4.5" => Some(text),
                "2.5.4.97" => text.strip_prefix("NTRNO-").map(str::to_owned),
                _ => None,
            }
        })
}
