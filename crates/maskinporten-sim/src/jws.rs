//! The compact form of a signed JWT (RFC 7515 §3.1): read, verify, write.
//!
//! Verification names its provider. The functions `encode` and `decode` of `jsonwebtoken` look for a
//! provider of the whole process and panic when a build enables both of its back-ends or none.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::keys::RsaKey;

/// A compact JWS whose parts could be read; nothing about it is verified yet.
pub(crate) struct Jws<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Three parts of unpadded base64url, the first two being JSON objects.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// The algorithm of the header, when it is one that Maskinporten takes.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        match self.header.get("alg")?.as_str()? {
            "RS256" => Some(Algorithm::RS256),
            "RS384" => Some(Algorithm::RS384),
            "RS512" => Some(Algorithm::RS512),
            _ => None,
        }
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    pub(crate) fn is_signed_by(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm, key).is_ok_and(|verifier| {
            verifier
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok()
        })
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes and signs a token with RS256, which is what both issuers use.
pub(crate) fn sign(claims: &Map<String, Value>, kid: &str, key: &RsaKey) -> String {
    let header = serde_json::json!({ "alg": "RS256", "kid": kid, "typ": "JWT" });
    let claims = Value::Object(claims.clone());
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}
