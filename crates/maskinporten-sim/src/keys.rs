//! RSA keys: made here, shown as JWK or PEM, and read from the JWKs that clients register.
//!
//! Nothing is read from a file and nothing is written to one; every private key is made at run time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Value, json};

use crate::jws::Jws;

/// An RSA key pair of 2048 bits.
pub(crate) struct RsaKey {
    pair: KeyPair,
    pkcs8: Pkcs8V1Der<'static>,
    members: Members,
}

/// The numbers of the key, base64url as in RFC 7518 §6.3.
struct Members {
    n: String,
    e: String,
    d: String,
    p: String,
    q: String,
    dp: String,
    dq: String,
    qi: String,
}

impl RsaKey {
    #[expect(
        clippy::expect_used,
        reason = "the key is our own: only a broken library can fail here"
    )]
    pub(crate) fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("RSA key generation");
        let pkcs8: Pkcs8V1Der<'static> = pair.as_der().expect("a key just made has an encoding");
        let members = {
            let outer =
                pkcs8::PrivateKeyInfoRef::try_from(pkcs8.as_ref()).expect("PKCS#8 as written");
            let key = pkcs1::RsaPrivateKey::try_from(outer.private_key.as_bytes())
                .expect("PKCS#1 inside");
            let text = |number: pkcs1::UintRef<'_>| URL_SAFE_NO_PAD.encode(number.as_bytes());
            Members {
                n: text(key.modulus),
                e: text(key.public_exponent),
                d: text(key.private_exponent),
                p: text(key.prime1),
                q: text(key.prime2),
                dp: text(key.exponent1),
                dq: text(key.exponent2),
                qi: text(key.coefficient),
            }
        };
        Self {
            pair,
            pkcs8,
            members,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "the buffer is exactly as long as the modulus"
    )]
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .expect("RSA signature");
        signature
    }

    /// The public key as PKCS#1 writes it, which is how a certificate holds it.
    pub(crate) fn public_der(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn public_jwk(&self, kid: &str) -> Value {
        let Members { n, e, .. } = &self.members;
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e })
    }

    pub(crate) fn private_jwk(&self, kid: &str) -> Value {
        let Members {
            n,
            e,
            d,
            p,
            q,
            dp,
            dq,
            qi,
        } = &self.members;
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
            "n": n, "e": e, "d": d, "p": p, "q": q, "dp": dp, "dq": dq, "qi": qi,
        })
    }

    #[expect(
        clippy::expect_used,
        reason = "the document was written by the library that made the key"
    )]
    pub(crate) fn private_pem(&self) -> String {
        let document =
            pkcs8::SecretDocument::try_from(self.pkcs8.as_ref()).expect("PKCS#8 as written");
        document
            .to_pem("PRIVATE KEY", pkcs8::LineEnding::LF)
            .expect("PEM of a short document")
            .to_string()
    }

    #[expect(
        clippy::expect_used,
        reason = "the numbers were encoded a few lines above"
    )]
    fn verifier(&self) -> DecodingKey {
        DecodingKey::from_rsa_components(&self.members.n, &self.members.e)
            .expect("base64url as written")
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey")
            .field("n", &self.members.n)
            .finish_non_exhaustive()
    }
}

// ===== keys shared by the worlds of one process =====

/// A pair takes some fifty milliseconds to make, which a test suite with hundreds of worlds would
/// feel. So each role has one pair for the process, made when first needed; worlds and clients are
/// told apart by `kid`.
pub(crate) fn shared_client_key() -> Arc<RsaKey> {
    static KEY: OnceLock<Arc<RsaKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(RsaKey::generate())).clone()
}

fn shared_maskinporten_key() -> Arc<RsaKey> {
    static KEY: OnceLock<Arc<RsaKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(RsaKey::generate())).clone()
}

fn shared_altinn_key() -> Arc<RsaKey> {
    static KEY: OnceLock<Arc<RsaKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(RsaKey::generate())).clone()
}

// ===== impl IssuerKey =====

/// The key of one of the two issuers, under the name it has in one world.
#[derive(Clone)]
pub(crate) struct IssuerKey {
    pub(crate) kid: String,
    pub(crate) key: Arc<RsaKey>,
    verifier: DecodingKey,
}

/// The keys this world signs with and knows again.
#[derive(Clone)]
pub(crate) struct IssuerKeys {
    pub(crate) maskinporten: IssuerKey,
    pub(crate) altinn: IssuerKey,
}

impl IssuerKeys {
    /// Keys under names that no other world of this process has, so that a token of another world
    /// is refused although the pair may be the same.
    pub(crate) fn new(fresh: bool) -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(1);
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        let make = |shared: fn() -> Arc<RsaKey>| {
            if fresh {
                Arc::new(RsaKey::generate())
            } else {
                shared()
            }
        };
        Self {
            maskinporten: IssuerKey::new(
                format!("maskinporten-{world}"),
                make(shared_maskinporten_key),
            ),
            altinn: IssuerKey::new(format!("altinn-{world}"), make(shared_altinn_key)),
        }
    }
}

impl IssuerKey {
    fn new(kid: String, key: Arc<RsaKey>) -> Self {
        let verifier = key.verifier();
        Self { kid, key, verifier }
    }

    pub(crate) fn signed(&self, token: &Jws<'_>) -> bool {
        token.kid() == Some(&self.kid)
            && token
                .algorithm()
                .is_some_and(|algorithm| token.is_signed_by(&self.verifier, algorithm))
    }
}

// ===== impl RegisteredKey =====

/// A public key as a client registers it.
#[derive(Clone)]
pub(crate) struct RegisteredKey {
    pub(crate) kid: String,
    pub(crate) verifier: DecodingKey,
    /// An earlier end than the year every key gets.
    pub(crate) ends: Option<SystemTime>,
}

impl RegisteredKey {
    /// Reads a public RSA JWK of at least 2048 bits with a `kid`; `exp` ends it early.
    pub(crate) fn from_jwk(jwk: &Value) -> Result<Self, RegistrationError> {
        let text = |member: &str| jwk.get(member).and_then(Value::as_str);
        if text("kty") != Some("RSA") {
            return Err(RegistrationError::new("only RSA keys can be registered"));
        }
        if jwk.get("d").is_some() {
            return Err(RegistrationError::new(
                "this is a private key (it has a member `d`): register the public part",
            ));
        }
        let Some(kid) = text("kid").filter(|kid| is_kid(kid)) else {
            return Err(RegistrationError::new(
                "a key needs a `kid` of letters, digits and `._-`",
            ));
        };
        let (Some(n), Some(e)) = (text("n"), text("e")) else {
            return Err(RegistrationError::new("an RSA key needs `n` and `e`"));
        };
        let modulus = URL_SAFE_NO_PAD
            .decode(n)
            .map_err(|_| RegistrationError::new("`n` is not base64url"))?;
        if modulus.iter().skip_while(|byte| **byte == 0).count() < 256 {
            return Err(RegistrationError::new("the key is shorter than 2048 bits"));
        }
        let verifier = DecodingKey::from_rsa_components(n, e)
            .map_err(|_| RegistrationError::new("`e` is not base64url"))?;
        let ends = jwk
            .get("exp")
            .and_then(Value::as_u64)
            .map(|exp| UNIX_EPOCH + Duration::from_secs(exp));
        Ok(Self {
            kid: kid.to_owned(),
            verifier,
            ends,
        })
    }
}

fn is_kid(kid: &str) -> bool {
    !kid.is_empty()
        && kid
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

impl fmt::Debug for RegisteredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

// ===== impl RegistrationError =====

/// Why a key cannot be registered; the portal refuses the same.
#[derive(Clone, Debug)]
pub struct RegistrationError {
    reason: &'static str,
}

impl RegistrationError {
    pub(crate) fn new(reason: &'static str) -> Self {
        Self { reason }
    }
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for RegistrationError {}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};

    use super::*;

    #[test]
    fn the_members_of_a_private_jwk_fit_together() {
        let jwk = shared_client_key().private_jwk("name");
        let number = |member: &str| {
            URL_SAFE_NO_PAD
                .decode(jwk[member].as_str().unwrap())
                .unwrap()
        };
        // The library refuses a key whose numbers contradict each other.
        let pair = KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents {
                n: number("n"),
                e: number("e"),
            },
            d: number("d"),
            p: number("p"),
            q: number("q"),
            dP: number("dp"),
            dQ: number("dq"),
            qInv: number("qi"),
        });
        assert_eq!(pair.unwrap().public_modulus_len(), 256);
    }
}
