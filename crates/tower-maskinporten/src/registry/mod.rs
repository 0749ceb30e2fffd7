//! [`ClientRegistry`]: clients by name, declared in code and in TOML, checked before the first request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use maskinporten::{Error, TokenProvider};

mod problems;

mod nearest;

mod placeholders;

mod address;

mod declaration;

mod file;

mod headers;

mod retry;

mod time_limit;

mod http_client;
pub use http_client::{HttpBody, HttpClient};

#[cfg(feature = "reqwest-middleware")]
mod reqwest_client;

mod named;
pub use named::NamedClient;

mod builder;
pub use builder::{ClientRegistryBuilder, NamedClientBuilder};

/// Ready clients by name. Cheap to clone.
///
/// A service whose clients are data declares them here, and has each of them whole: address, token,
/// secret headers, time and attempts, in the one order that is safe.
///
/// - Everything is checked when it is built: names, addresses, scopes, identities, times. All that is wrong
///   is one error, and nothing is half built.
/// - [`get`](Self::get) never makes a client.
/// - The origin of a client's base URL is the only one that sees its token and its headers, whatever
///   address a request or a redirect names.
/// - The layers of a client, from the outside in: total time, retries, redirects, token, secret headers,
///   time of one attempt, HTTP client. The total time covers the wait for a token; every attempt and every
///   hop asks for the token again.
///
/// ```
/// # use std::time::Duration;
/// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
/// use tower_maskinporten::{ClientRegistry, HttpClient, NamedClient};
///
/// # fn main() -> Result<(), tower_maskinporten::maskinporten::Error> {
/// # let source = || FixedToken::new("token", Duration::from_secs(120));
/// # let client = MaskinportenClient::builder().source(source()?).build()?;
/// # let other_client = MaskinportenClient::builder().source(source()?).build()?;
/// let clients = ClientRegistry::builder(&client)
///     .identity("tax", &other_client)
///     .client("mva", |c| {
///         c.maskinporten(["skatteetaten:mvameldingvalidering"])
///             .base_url("https://api.skatteetaten.no/v1/")
///             .identity("tax")
///     })
///     .toml(
///         "clients.toml",
///         r#"
///             [clients.persons]
///             base_url = "https://api.example.no/persons/"
///             kind = "maskinporten"
///             scopes = ["krr:read"]
///             timeout = "10s"
///             retries = 2
///         "#,
///     )?
///     .build()?;
///
/// let persons: NamedClient<HttpClient> = clients.get("persons")?;
/// assert_eq!(persons.uri("1")?, "https://api.example.no/persons/1");
///
/// let error = clients.get("person").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"no client is named "person", but one is named "persons"; there are mva, persons"#,
/// );
/// # Ok(())
/// # }
/// ```
pub struct ClientRegistry<C = HttpClient> {
    clients: Arc<BTreeMap<String, NamedClient<C>>>,
}

impl ClientRegistry {
    /// Begins a registry whose clients act as this client of Maskinporten, unless they name another
    /// [identity](ClientRegistryBuilder::identity).
    pub fn builder(provider: &(impl TokenProvider + Clone)) -> ClientRegistryBuilder {
        ClientRegistryBuilder::new(provider.clone())
    }
}

impl<C> ClientRegistry<C> {
    fn new(clients: BTreeMap<String, NamedClient<C>>) -> Self {
        let clients = Arc::new(clients);
        Self { clients }
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clients.keys().map(String::as_str)
    }
}

impl<C: Clone> ClientRegistry<C> {
    /// The client of this name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](maskinporten::ErrorKind::Settings) where none was declared under it; the
    /// message lists those that were.
    pub fn get(&self, name: &str) -> Result<NamedClient<C>, Error> {
        let found = self.clients.get(name).cloned();
        found.ok_or_else(|| Error::named_clients(self.unknown(name)))
    }

    /// A type of one's own, made of the client of this name. See [`NamedClient`].
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn typed<T: From<NamedClient<C>>>(&self, name: &str) -> Result<T, Error> {
        self.get(name).map(T::from)
    }

    fn unknown(&self, name: &str) -> String {
        if self.clients.is_empty() {
            return format!("no client is named {name:?}: none was declared");
        }
        let meant = match nearest::nearest(name, self.names()) {
            Some(meant) => format!(", but one is named {meant:?}"),
            None => String::new(),
        };
        let names = self.names().collect::<Vec<_>>().join(", ");
        format!("no client is named {name:?}{meant}; there are {names}")
    }
}

impl<C> Clone for ClientRegistry<C> {
    fn clone(&self) -> Self {
        let clients = Arc::clone(&self.clients);
        Self { clients }
    }
}

impl<C> fmt::Debug for ClientRegistry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clients.values()).finish()
    }
}
