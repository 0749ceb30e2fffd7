//! A ready client: registered in one world, holding its private key.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::certificate::Chain;
use crate::clock::unix_seconds;
use crate::keys::{RegisteredKey, RsaKey};
use crate::sidecar::Credentials;
use crate::{RegistrationError, Sim};

/// A client that [`Sim::new_client`] made and registered.
///
/// The key was made in this process and opens nothing but this world, yet it stays out of `Debug`.
/// Clients of one process share a key pair unless [`with_fresh_key`](Self::with_fresh_key) is called.
#[derive(Clone)]
pub struct SimClient {
    sim: Sim,
    client_id: String,
    kid: String,
    key: Arc<RsaKey>,
    /// `exp` of its JWKs, in seconds since 1970.
    ends: Option<u64>,
    chain: Option<Arc<Chain>>,
}

impl SimClient {
    pub(crate) fn new(sim: Sim, client_id: String, kid: String, key: Arc<RsaKey>) -> Self {
        Self {
            sim,
            client_id,
            kid,
            key,
            ends: None,
            chain: None,
        }
    }

    /// The client id, which looks like a UUID.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The name of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private key as JWK: the CRT members, `kid`, `use` and `alg` (RS256) are there.
    pub fn private_jwk(&self) -> Value {
        self.dated(self.key.private_jwk(&self.kid))
    }

    /// The public key as JWK, as it is registered.
    pub fn public_jwk(&self) -> Value {
        self.dated(self.key.public_jwk(&self.kid))
    }

    fn dated(&self, mut jwk: Value) -> Value {
        if let Some(ends) = self.ends {
            jwk["exp"] = json!(ends);
        }
        jwk
    }

    /// The private JWK in base64 with padding, as `JwkBase64` holds it.
    pub fn jwk_base64(&self) -> String {
        STANDARD.encode(self.private_jwk().to_string())
    }

    /// The private key as PEM of a PKCS#8 document.
    pub fn private_pem(&self) -> String {
        self.key.private_pem()
    }

    /// What Altinn Studio mounts: an object `MaskinportenSettings` with `Authority`, `ClientId` and
    /// `Jwk`. The authority is the issuer the world has now.
    pub fn settings_json(&self) -> Value {
        json!({
            "MaskinportenSettings": {
                "Authority": self.sim.issuer(),
                "ClientId": self.client_id,
                "Jwk": self.private_jwk(),
            }
        })
    }

    /// As [`settings_json`](Self::settings_json) with one more member, as Altinn's operator writes it while
    /// it rotates: `Jwks`, the set of the private keys in force, of which `Jwk` is the first. The others
    /// are those of `older`.
    pub fn settings_json_with_set(&self, older: &[&Self]) -> Value {
        let mut settings = self.settings_json();
        let keys = [&self].into_iter().chain(older);
        let keys: Vec<Value> = keys.map(|client| client.private_jwk()).collect();
        settings["MaskinportenSettings"]["Jwks"] = json!({ "keys": keys });
        settings
    }

    /// The certificates in PEM, its own first, if it is known by them.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.chain.as_ref().map(|chain| chain.pem.as_str())
    }

    /// The certificates as the JOSE header `x5c` has them; empty if it is known by its keys.
    pub fn x5c(&self) -> &[String] {
        self.chain.as_ref().map_or(&[], |chain| &chain.x5c)
    }

    /// The same client and key, which ends at `end`: both JWKs say so in `exp`, and from then on
    /// assertions are refused as MP-121. `end` is cut to whole seconds.
    pub fn with_key_end(self, end: SystemTime) -> Self {
        let next = Self {
            ends: Some(unix_seconds(end)),
            ..self
        };
        next.sim.edit_client(&next.client_id, |client| {
            for key in client.keys.iter_mut().filter(|key| key.kid == next.kid) {
                *key = next.registered();
            }
        });
        next
    }

    /// The same client and key, known by certificates from now on: the registered keys are removed,
    /// and its assertions carry `x5c` instead of `kid`. The chain is in PEM, the client's own first,
    /// made for the key of [`private_pem`](Self::private_pem); `rcgen` makes one in a few lines.
    ///
    /// The sidecar signs with keys alone and is refused if it acts as this client.
    ///
    /// # Errors
    ///
    /// The text is no chain of certificates, or the first is of another key. Whether a certificate
    /// is in force, and of the right organisation, is judged when it is used.
    pub fn with_certificate(self, chain: &str) -> Result<Self, RegistrationError> {
        let chain = Chain::read(chain, self.key.public_der())?;
        self.sim
            .edit_client(&self.client_id, |client| client.keys.clear());
        Ok(Self {
            chain: Some(Arc::new(chain)),
            ..self
        })
    }

    /// The same client with a key of its own; the registered ones are replaced by it. A sidecar that
    /// held the old key starts anew with this one.
    pub fn with_fresh_key(self) -> Self {
        let next = self.renamed();
        self.sim.edit_client(&self.client_id, |client| {
            client.keys = vec![next.registered()]
        });
        let mut sidecar = self.sim.world.sidecar();
        if sidecar.has_key(&self.client_id, &self.kid) {
            sidecar.set_up(next.credentials());
        }
        drop(sidecar);
        next
    }

    /// The same client with a new key beside the registered ones, as a rotation begins. The old key
    /// works until [`Sim::remove_key`] is called.
    ///
    /// # Errors
    ///
    /// The client has five keys already.
    pub fn rotate_key(&self) -> Result<Self, RegistrationError> {
        let next = self.renamed();
        self.sim.add_key(&self.client_id, next.public_jwk())?;
        Ok(next)
    }

    fn renamed(&self) -> Self {
        Self {
            key: Arc::new(RsaKey::generate()),
            kid: self.sim.new_kid(),
            ends: None,
            chain: None,
            ..self.clone()
        }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            client_id: self.client_id.clone(),
            kid: self.kid.clone(),
            key: self.key.clone(),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a key made here is one that can be registered"
    )]
    pub(crate) fn registered(&self) -> RegisteredKey {
        RegisteredKey::from_jwk(&self.public_jwk()).expect("our own JWK")
    }
}

impl fmt::Debug for SimClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClient")
            .field("client_id", &self.client_id)
            .field("kid", &self.kid)
            .field("key", &"[redacted]")
            .finish()
    }
}
