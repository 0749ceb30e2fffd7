//! A ready client: registered in one world, holding its private key.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Sim;
use crate::keys::{RegisteredKey, RsaKey};
use crate::sidecar::Credentials;

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
}

impl SimClient {
    pub(crate) fn new(sim: Sim, client_id: String, kid: String, key: Arc<RsaKey>) -> Self {
        Self {
            sim,
            client_id,
            kid,
            key,
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
        self.key.private_jwk(&self.kid)
    }

    /// The public key as JWK, as it is registered.
    pub fn public_jwk(&self) -> Value {
        self.key.public_jwk(&self.kid)
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
    pub fn rotate_key(&self) -> Result<Self, crate::RegistrationError> {
        let next = self.renamed();
        self.sim.add_key(&self.client_id, next.public_jwk())?;
        Ok(next)
    }

    fn renamed(&self) -> Self {
        Self {
            key: Arc::new(RsaKey::generate()),
            kid: self.sim.new_kid(),
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
