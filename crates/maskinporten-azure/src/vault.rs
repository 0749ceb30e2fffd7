//! A vault, and who asks it.

use std::fmt;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::http::{Transport, Url};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use maskinporten::{Error, Result};

use crate::bounds::Bounds;
#[cfg(feature = "identity")]
use crate::identity::Identity;
use crate::transport::VaultTransport;

/// A key vault, and the identity it is asked as. Cheap to clone; clones share the identity's token.
///
/// - Its address is `https://<name>.vault.azure.net`, or that of another cloud. Nothing is asked before
///   somebody looks for settings or connects a signer.
/// - The vault itself names the resource that a token is asked for, by a challenge, and is believed
///   only where that is its own domain.
/// - A token for the vault goes to the vault, and nowhere else.
#[derive(Clone)]
pub struct KeyVault {
    inner: Arc<Inner>,
}

struct Inner {
    address: String,
    host: String,
    secrets: SecretClient,
    keys: KeyClient,
    signing: KeyClient,
}

impl KeyVault {
    /// The vault at `address`, asked with a credential of one's own.
    ///
    /// # Errors
    ///
    /// The address is not that of a vault: `https`, a host, and no path.
    pub fn new(address: &str, credential: Arc<dyn TokenCredential>) -> Result<Self> {
        Self::builder(address).credential(credential).build()
    }

    /// The vault at `address`, to be told who asks it.
    #[must_use]
    pub fn builder(address: &str) -> KeyVaultBuilder {
        KeyVaultBuilder {
            address: address.trim().to_owned(),
            asked_as: None,
            transport: None,
            verify_challenge_resource: true,
            #[cfg(feature = "identity")]
            authority_host: None,
        }
    }

    /// Where it is, without a slash at the end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    pub(crate) fn host(&self) -> &str {
        &self.inner.host
    }

    pub(crate) fn secrets(&self) -> &SecretClient {
        &self.inner.secrets
    }

    /// Reads keys, with time for it.
    pub(crate) fn keys(&self) -> &KeyClient {
        &self.inner.keys
    }

    /// Signs, while callers wait.
    pub(crate) fn signing(&self) -> &KeyClient {
        &self.inner.signing
    }
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyVault").field(&self.address()).finish()
    }
}

// ===== what can be chosen =====

/// Builds a [`KeyVault`].
pub struct KeyVaultBuilder {
    address: String,
    asked_as: Option<AskedAs>,
    transport: Option<Transport>,
    verify_challenge_resource: bool,
    #[cfg(feature = "identity")]
    authority_host: Option<String>,
}

enum AskedAs {
    Credential(Arc<dyn TokenCredential>),
    #[cfg(feature = "identity")]
    Identity(Identity),
}

impl KeyVaultBuilder {
    /// Asks with this credential. What it does on the network, and for how long, is its own affair; the
    /// deadlines of a look and of a signature cover it.
    #[must_use]
    pub fn credential(mut self, credential: Arc<dyn TokenCredential>) -> Self {
        self.asked_as = Some(AskedAs::Credential(credential));
        self
    }

    /// Asks as this identity, over the same transport as the vault.
    #[cfg(feature = "identity")]
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.asked_as = Some(AskedAs::Identity(identity));
        self
    }

    /// Where identities are checked, for another cloud or for a test. By default `AZURE_AUTHORITY_HOST`,
    /// else `https://login.microsoftonline.com`.
    #[cfg(feature = "identity")]
    #[must_use]
    pub fn authority_host(mut self, authority_host: &str) -> Self {
        self.authority_host = Some(authority_host.to_owned());
        self
    }

    /// What carries the requests: a [`VaultTransport`], or a transport of the SDK's kind. The default is
    /// a [`VaultTransport`] without a proxy.
    #[must_use]
    pub fn transport(mut self, transport: impl Into<Transport>) -> Self {
        self.transport = Some(transport.into());
        self
    }

    /// Whether a challenge is believed only where it names a resource of the vault's own domain. It is
    /// unless said otherwise; turned off, a host of any name gets a token for whatever it asks for.
    #[must_use]
    pub fn verify_challenge_resource(mut self, verify: bool) -> Self {
        self.verify_challenge_resource = verify;
        self
    }

    /// Builds it. Nothing is connected.
    ///
    /// # Errors
    ///
    /// The address is not that of a vault; nobody was named who asks; or what the identity needs is not
    /// there, such as the variables of a workload identity.
    pub fn build(self) -> Result<KeyVault> {
        let url = address(&self.address)?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => VaultTransport::builder().build()?.into(),
        };
        let credential = match self.asked_as {
            Some(AskedAs::Credential(credential)) => credential,
            #[cfg(feature = "identity")]
            Some(AskedAs::Identity(identity)) => {
                identity.credential(transport.clone(), self.authority_host)?
            }
            None => return Err(Error::settings("nobody was named who asks the key vault")),
        };

        let verify_challenge_resource = Some(self.verify_challenge_resource);
        let keys = |bounds: Bounds| {
            let options = KeyClientOptions {
                client_options: bounds.client_options(transport.clone(), Some(&url)),
                verify_challenge_resource,
                ..KeyClientOptions::default()
            };
            KeyClient::new(url.as_str(), Arc::clone(&credential), Some(options))
        };
        let options = SecretClientOptions {
            client_options: Bounds::READING.client_options(transport.clone(), Some(&url)),
            verify_challenge_resource,
            ..SecretClientOptions::default()
        };
        let secrets = SecretClient::new(url.as_str(), Arc::clone(&credential), Some(options));

        let unusable = |_| not_a_vault(&self.address);
        Ok(KeyVault {
            inner: Arc::new(Inner {
                address: url.as_str().trim_end_matches('/').to_owned(),
                host: url.host_str().unwrap_or_default().to_owned(),
                secrets: secrets.map_err(unusable)?,
                keys: keys(Bounds::READING).map_err(unusable)?,
                signing: keys(Bounds::SIGNING).map_err(unusable)?,
            }),
        })
    }
}

impl fmt::Debug for KeyVaultBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVaultBuilder")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn address(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| not_a_vault(text))?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if url.scheme() != "https" || url.host_str().is_none() || !bare {
        return Err(not_a_vault(text));
    }
    Ok(url)
}

fn not_a_vault(text: &str) -> Error {
    // What stands where an address is expected may be a secret that slipped in; it is not repeated.
    let seen = match text.is_empty() {
        true => "it is empty",
        false => "it is to be https://<name>.vault.azure.net, without path or password",
    };
    Error::settings(format!(
        "the address of the key vault cannot be used: {seen}"
    ))
}
