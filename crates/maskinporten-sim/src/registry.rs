//! What the portal, the API owners and the customers have set up: clients, scopes, delegations.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::keys::{RegisteredKey, RegistrationError};
use crate::resource::Protection;
use crate::revocation::Revocation;
use crate::route::lies_under;
use crate::seed::Seed;

/// The organisation number of a client nobody gave one: that of Digdir itself.
pub(crate) const DEFAULT_OWNER: &str = "991825827";

/// Keys a client may have registered at one time.
const MAX_KEYS: usize = 5;

/// How long a key is good for, counted from when it was registered.
const KEY_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// ===== impl ClientRegistration =====

/// A client as its owner registers it in the portal.
///
/// * With keys, assertions carry the `kid` of one of them.
/// * Without any, assertions carry a certificate in `x5c`.
/// * A key holds for a year from when it is registered, or until its own earlier end.
#[derive(Clone, Debug)]
pub struct ClientRegistration {
    pub(crate) client_id: String,
    pub(crate) owner: String,
    pub(crate) integration_type: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) keys: Vec<RegisteredKey>,
    pub(crate) token_lifetime: Option<Duration>,
}

impl ClientRegistration {
    /// A client without scopes or keys, owned by organisation 991825827.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            owner: DEFAULT_OWNER.to_owned(),
            integration_type: "maskinporten".to_owned(),
            scopes: BTreeSet::new(),
            keys: Vec::new(),
            token_lifetime: None,
        }
    }

    /// The organisation number of the owner, with or without `0192:`.
    pub fn owner(mut self, organisation: impl AsRef<str>) -> Self {
        self.owner = bare(organisation.as_ref()).to_owned();
        self
    }

    /// Scopes the client may ask for, added to those it has.
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// A public key as JWK, ending early if it has the member `exp`.
    ///
    /// # Errors
    ///
    /// The key is not a public RSA key of at least 2048 bits with a `kid`, the `kid` is taken, or
    /// the client has five keys already.
    pub fn key(mut self, jwk: Value) -> Result<Self, RegistrationError> {
        self.add(RegisteredKey::from_jwk(&jwk)?)?;
        Ok(self)
    }

    /// As [`key`](Self::key), for a key that ends at `end`.
    ///
    /// # Errors
    ///
    /// As [`key`](Self::key).
    pub fn key_until(mut self, jwk: Value, end: SystemTime) -> Result<Self, RegistrationError> {
        let mut key = RegisteredKey::from_jwk(&jwk)?;
        key.ends = Some(key.ends.map_or(end, |own| own.min(end)));
        self.add(key)?;
        Ok(self)
    }

    /// Several keys: a JWK set, or an array of JWKs.
    ///
    /// # Errors
    ///
    /// As [`key`](Self::key), or the value is neither.
    pub fn keys(self, jwks: Value) -> Result<Self, RegistrationError> {
        let keys = match jwks {
            Value::Array(keys) => keys,
            Value::Object(mut set) => match set.remove("keys") {
                Some(Value::Array(keys)) => keys,
                _ => return Err(RegistrationError::new("a JWK set has an array `keys`")),
            },
            _ => {
                return Err(RegistrationError::new(
                    "expected a JWK set or an array of JWKs",
                ));
            }
        };
        keys.into_iter().try_fold(self, Self::key)
    }

    /// How long tokens of this client live; without this, as long as the world says.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = Some(lifetime);
        self
    }

    /// Another kind of client than `maskinporten`, such as `idporten`: it gets no tokens here.
    pub fn integration_type(mut self, integration_type: impl Into<String>) -> Self {
        self.integration_type = integration_type.into();
        self
    }

    pub(crate) fn add(&mut self, key: RegisteredKey) -> Result<(), RegistrationError> {
        if self.keys.iter().any(|known| known.kid == key.kid) {
            return Err(RegistrationError::new(
                "the client has a key of this `kid` already",
            ));
        }
        if self.keys.len() == MAX_KEYS {
            return Err(RegistrationError::new("the client has five keys already"));
        }
        self.keys.push(key);
        Ok(())
    }
}

/// A system user a customer has approved for a client.
#[derive(Debug)]
pub(crate) struct SystemUser {
    pub(crate) organisation: String,
    pub(crate) external_ref: Option<String>,
    pub(crate) client_id: String,
    pub(crate) id: String,
}

// ===== impl Registry =====

/// All of it, and what the servers remember between requests.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) seed: Seed,
    clients: HashMap<String, Arc<ClientRegistration>>,
    /// Kept for the life of the world: a `jti` that is constant in a client's set-up has to fail
    /// however late the second grant comes.
    used: HashMap<String, HashSet<String>>,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) ungranted: HashSet<String>,
    pub(crate) delegations: HashSet<(String, String, String)>,
    pub(crate) system_users: Vec<SystemUser>,
    /// Id of a consent → who gave it.
    pub(crate) consents: HashMap<String, String>,
    pub(crate) scope_lifetimes: HashMap<String, Duration>,
    /// Organisation number → the short name service owners have in Altinn.
    pub(crate) service_owners: HashMap<String, String>,
    pub(crate) subscription_key: Option<String>,
    pub(crate) revocation: Revocation,
    protections: Vec<(String, Protection)>,
}

impl Registry {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed: Seed::new(seed),
            clients: HashMap::new(),
            used: HashMap::new(),
            scopes: BTreeSet::new(),
            ungranted: HashSet::new(),
            delegations: HashSet::new(),
            system_users: Vec::new(),
            consents: HashMap::new(),
            scope_lifetimes: HashMap::new(),
            service_owners: HashMap::from([(DEFAULT_OWNER.to_owned(), "digdir".to_owned())]),
            subscription_key: None,
            revocation: Revocation::default(),
            protections: Vec::new(),
        }
    }

    pub(crate) fn client(&self, id: &str) -> Option<Arc<ClientRegistration>> {
        self.clients.get(id).cloned()
    }

    /// Replaces a client of the same id, keys included, as a PUT at the portal does.
    pub(crate) fn put(&mut self, mut client: ClientRegistration, now: SystemTime) {
        self.scopes.extend(client.scopes.iter().cloned());
        for key in &mut client.keys {
            let end = now + KEY_LIFE;
            key.ends = Some(key.ends.map_or(end, |own| own.min(end)));
        }
        self.clients
            .insert(client.client_id.clone(), Arc::new(client));
    }

    /// Notes that a grant of `client` was used; false if it had been.
    pub(crate) fn use_once(&mut self, client: &str, jti: &str) -> bool {
        self.used
            .entry(client.to_owned())
            .or_default()
            .insert(jti.to_owned())
    }

    pub(crate) fn protect(&mut self, path: String, protection: Protection) {
        self.protections.retain(|(known, _)| *known != path);
        self.protections.push((path, protection));
    }

    /// The rule of the longest path that `path` is, or lies under.
    pub(crate) fn protection(&self, path: &str) -> Protection {
        self.protections
            .iter()
            .filter(|(prefix, _)| lies_under(path, prefix))
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, protection)| protection.clone())
            .unwrap_or_default()
    }
}

/// An organisation number without the ISO 6523 prefix.
pub(crate) fn bare(organisation: &str) -> &str {
    organisation.strip_prefix("0192:").unwrap_or(organisation)
}
