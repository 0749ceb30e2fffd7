//! Setting up a world: what is done in the portal, by API owners, by customers, and by fate.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::keys::{self, IssuerKeys, RegisteredKey};
use crate::registry::{SystemUser, bare};
use crate::{ClientRegistration, Fault, Protection, RegistrationError, Route, Sim, SimClient};

impl Sim {
    /// Registers a client. One of the same id is replaced, its keys included.
    pub fn add_client(&self, client: ClientRegistration) -> &Self {
        let now = self.world.clock.now();
        self.world.registry().put(client, now);
        self
    }

    /// Makes and registers a client with an RSA key of 2048 bits. Its id follows from the seed.
    ///
    /// The first one made is also who the sidecar acts as, until
    /// [`set_sidecar_client`](Self::set_sidecar_client) names another.
    pub fn new_client<I>(&self, scopes: I) -> SimClient
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let client_id = self.world.registry().seed.uuid();
        let client = SimClient::new(
            self.clone(),
            client_id.clone(),
            self.new_kid(),
            keys::shared_client_key(),
        );
        let mut registration = ClientRegistration::new(client_id).scopes(scopes);
        registration.keys.push(client.registered());
        self.add_client(registration);
        let mut sidecar = self.world.sidecar();
        if !sidecar.is_set_up() {
            sidecar.set_up(client.credentials());
        }
        drop(sidecar);
        client
    }

    /// Sets the sidecar up with the id and the key of a client, as a deployment does: it starts anew
    /// and remembers no token. Where the key is no longer registered, Maskinporten refuses it.
    ///
    /// Without this it acts as the first client that [`new_client`](Self::new_client) made; in a world
    /// without any it answers that `maskinporten` is not enabled.
    pub fn set_sidecar_client(&self, client: &SimClient) -> &Self {
        self.world.sidecar().set_up(client.credentials());
        self
    }

    /// Registers one more public key (JWK) for a client.
    ///
    /// # Errors
    ///
    /// There is no such client, or [`ClientRegistration::key`] would refuse the key.
    pub fn add_key(&self, client_id: &str, jwk: Value) -> Result<(), RegistrationError> {
        let key = RegisteredKey::from_jwk(&jwk)?;
        self.edit_client(client_id, |client| client.add(key))
            .unwrap_or_else(|| Err(RegistrationError::new("there is no such client")))
    }

    /// Takes a key from a client; false if it had no key of that name.
    pub fn remove_key(&self, client_id: &str, kid: &str) -> bool {
        let removed = self.edit_client(client_id, |client| {
            let before = client.keys.len();
            client.keys.retain(|key| key.kid != kid);
            client.keys.len() < before
        });
        removed.unwrap_or(false)
    }

    /// Adds scopes to a client; false if there is no such client.
    pub fn add_scopes<I>(&self, client_id: &str, scopes: I) -> bool
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        self.edit_client(client_id, |client| client.scopes.extend(scopes))
            .is_some()
    }

    pub(crate) fn edit_client<T>(
        &self,
        client_id: &str,
        edit: impl FnOnce(&mut ClientRegistration) -> T,
    ) -> Option<T> {
        let now = self.world.clock.now();
        let mut registry = self.world.registry();
        let mut client = ClientRegistration::clone(&*registry.client(client_id)?);
        let result = edit(&mut client);
        registry.put(client, now);
        Some(result)
    }

    pub(crate) fn new_kid(&self) -> String {
        format!("sim-{:016x}", self.world.registry().seed.next())
    }

    /// Enters a scope in the catalogue. Scopes of a client are entered with it.
    pub fn scope(&self, scope: impl Into<String>) -> &Self {
        self.world.registry().scopes.insert(scope.into());
        self
    }

    /// The catalogue: every scope that was mentioned, sorted.
    pub fn scopes(&self) -> Vec<String> {
        self.world.registry().scopes.iter().cloned().collect()
    }

    /// From now on the owner of a scope has not granted it to the organisations of the clients: they
    /// get MP-250, unless they act for another organisation that has delegated it.
    pub fn not_granted(&self, scope: impl Into<String>) -> &Self {
        let scope = scope.into();
        let mut registry = self.world.registry();
        registry.scopes.insert(scope.clone());
        registry.ungranted.insert(scope);
        drop(registry);
        self
    }

    /// Takes [`not_granted`](Self::not_granted) back.
    pub fn granted(&self, scope: &str) -> &Self {
        self.world.registry().ungranted.remove(scope);
        self
    }

    /// `consumer` delegates a scope to `supplier`, so that clients of the supplier may name it as
    /// `consumer_org`. Both are organisation numbers, with or without `0192:`.
    pub fn delegate(&self, consumer: &str, supplier: &str, scope: impl Into<String>) -> &Self {
        let scope = scope.into();
        let mut registry = self.world.registry();
        registry.scopes.insert(scope.clone());
        registry
            .delegations
            .insert((bare(consumer).to_owned(), bare(supplier).to_owned(), scope));
        drop(registry);
        self
    }

    /// An organisation approves a system user for a client, made with a reference or without.
    /// Returns the id of the system user, which follows from the seed.
    pub fn system_user(
        &self,
        organisation: &str,
        external_ref: Option<&str>,
        client_id: &str,
    ) -> String {
        let mut registry = self.world.registry();
        let id = registry.seed.uuid();
        registry.system_users.push(SystemUser {
            organisation: bare(organisation).to_owned(),
            external_ref: external_ref.map(str::to_owned),
            client_id: client_id.to_owned(),
            id: id.clone(),
        });
        id
    }

    /// A person or an organisation gives a consent; `from` is its URN, such as
    /// `urn:altinn:person:identifier-no:` and eleven digits.
    pub fn consent(&self, id: impl Into<String>, from: impl Into<String>) -> &Self {
        self.world
            .registry()
            .consents
            .insert(id.into(), from.into());
        self
    }

    /// The longest life of a token with this scope. The shortest of several decides.
    pub fn scope_lifetime(&self, scope: impl Into<String>, lifetime: Duration) -> &Self {
        let scope = scope.into();
        let mut registry = self.world.registry();
        registry.scopes.insert(scope.clone());
        registry.scope_lifetimes.insert(scope, lifetime);
        drop(registry);
        self
    }

    /// Gives an organisation the short name it has as service owner in Altinn. 991825827 is `digdir`.
    pub fn service_owner(&self, organisation: &str, name: impl Into<String>) -> &Self {
        self.world
            .registry()
            .service_owners
            .insert(bare(organisation).to_owned(), name.into());
        self
    }

    /// From now on the exchange wants this value in `Ocp-Apim-Subscription-Key`.
    pub fn require_subscription_key(&self, key: impl Into<String>) -> &Self {
        self.world.registry().subscription_key = Some(key.into());
        self
    }

    /// What a path under `/api/`, and every path below it, asks of a token. The longest path wins.
    pub fn protect(&self, path: impl Into<String>, protection: Protection) -> &Self {
        self.world.registry().protect(path.into(), protection);
        self
    }

    /// Both issuers go over to new keys; tokens signed with the old ones are refused everywhere.
    pub fn roll_keys(&self) -> &Self {
        let next = IssuerKeys::new(true);
        self.world.replace_keys(next);
        self
    }

    /// From now on the API under `/api/` answers 401 `invalid_token` to tokens whose `iat`, in whole
    /// seconds, is before `instant`. The exchange still takes them, and what it gives for them is new.
    /// Of several calls the latest instant counts.
    ///
    /// An instant within a second also covers what is given out in the rest of that second;
    /// [`revoke_all`](Self::revoke_all) goes by the order of events instead.
    pub fn revoke_tokens_before(&self, instant: SystemTime) -> &Self {
        self.world.registry().revocation.before(instant);
        self
    }

    /// As [`revoke_tokens_before`](Self::revoke_tokens_before) for all tokens given out before this
    /// call, also within its second; those given out after it are taken.
    pub fn revoke_all(&self) -> &Self {
        self.world.registry().revocation.all();
        self
    }

    /// Adds a fault to a route; of those that fit a request the earliest goes first.
    pub fn fault(&self, route: Route, fault: Fault) -> &Self {
        self.world.faults().push(route, fault);
        self
    }

    /// Ends all faults. Requests that hang go on hanging.
    pub fn clear_faults(&self) -> &Self {
        self.world.faults().clear();
        self
    }
}
