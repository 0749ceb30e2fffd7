//! What is declared, until it is built: [`ClientRegistryBuilder`], and [`NamedClientBuilder`] for one
//! client in code.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use maskinporten::{
    Authorizer, Error, ErrorKind, HttpsConnector, IntoTokenRequest, TokenKind, TokenProvider,
    Transport,
};
use tower_service::Service;

use super::ClientRegistry;
use super::declaration::{Declaration, Draft, Plan, Refused};
use super::file::Document;
use super::http_client::HttpClient;
use super::named::NamedClient;
use super::nearest::nearest;
use super::problems::{Place, Problems};
use crate::BoxError;
use crate::final_uri;

/// Collects the declarations of clients. Made by [`ClientRegistry::builder`].
///
/// Nothing is checked before it is built, and then everything at once; so it does not matter in which
/// order things are declared.
#[must_use]
pub struct ClientRegistryBuilder {
    default: Arc<dyn TokenProvider>,
    identities: BTreeMap<String, Arc<dyn TokenProvider>>,
    declarations: Vec<Declaration>,
    documents: Vec<Document>,
    environment: Box<Environment>,
    connector: Option<HttpsConnector>,
    problems: Problems,
}

type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

impl ClientRegistryBuilder {
    pub(super) fn new(provider: impl TokenProvider) -> Self {
        Self {
            default: Arc::new(provider),
            identities: BTreeMap::new(),
            declarations: Vec::new(),
            documents: Vec::new(),
            environment: Box::new(of_process),
            connector: None,
            problems: Problems::default(),
        }
    }

    /// Adds a client of Maskinporten that named clients may act as: `identity = "tax"`. Those that name
    /// none act as the one that the registry was begun with.
    #[track_caller]
    pub fn identity(
        mut self,
        name: impl Into<String>,
        provider: &(impl TokenProvider + Clone),
    ) -> Self {
        let name = name.into();
        if self.identities.contains_key(&name) {
            let place = Place::in_code(Location::caller());
            let why = format!("identity {name:?}: is given twice");
            self.problems.add(&place, why);
        }
        self.identities.insert(name, Arc::new(provider.clone()));
        self
    }

    /// Declares a client in code.
    #[track_caller]
    pub fn client(
        mut self,
        name: impl AsRef<str>,
        declare: impl FnOnce(NamedClientBuilder) -> NamedClientBuilder,
    ) -> Self {
        let place = Place::in_code(Location::caller());
        let declared = declare(NamedClientBuilder(Declaration::new(name.as_ref(), place)));
        self.declarations.push(declared.0);
        self
    }

    /// Declares the clients of a TOML file: see [`ClientRegistry`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] where it cannot be read, or is no TOML. What it says is checked by
    /// [`build`](Self::build).
    pub fn toml_file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|cause| {
            Error::named_clients(format!("{name} cannot be read")).caused_by(cause)
        })?;
        self.toml(&name, text)
    }

    /// Declares the clients of a text that is TOML. `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// As [`toml_file`](Self::toml_file).
    pub fn toml(mut self, name: &str, text: impl Into<String>) -> Result<Self, Error> {
        let document = Document::new(name, text.into())?;
        self.documents.push(document);
        Ok(self)
    }

    /// Asks this for the variables in TOML, in place of the environment of the process.
    pub fn environment(
        mut self,
        ask: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.environment = Box::new(ask);
        self
    }

    /// Connects with this, in place of a connector without proxy that trusts what the platform does.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
    /// use tower_maskinporten::ClientRegistry;
    /// use tower_maskinporten::maskinporten::Transport;
    ///
    /// # let source = FixedToken::new("token", Duration::from_secs(120))?;
    /// # let client = MaskinportenClient::builder().source(source).build()?;
    /// let clients = ClientRegistry::builder(&client)
    ///     .connector(Transport::builder().proxy_from_env().connector()?)
    ///     .build()?;
    /// # Ok::<(), tower_maskinporten::maskinporten::Error>(())
    /// ```
    pub fn connector(mut self, connector: HttpsConnector) -> Self {
        self.connector = Some(connector);
        self
    }

    /// Builds all clients, or none: over hyper and rustls, with one pool of connections. Nothing is
    /// connected and no token is fetched.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] with everything that is wrong anywhere, and where it stands.
    pub fn build(mut self) -> Result<ClientRegistry<HttpClient>, Error> {
        let connector = match self.connector.take() {
            Some(connector) => connector,
            None => Transport::builder().connector()?,
        };
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
            // Without a timer no idle connection is ever closed.
            .pool_timer(TokioTimer::new())
            .build(connector);
        self.build_over(client)
    }

    /// The same over any service that takes and answers `http` messages. It follows no redirects itself.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_over<S, B>(self, service: S) -> Result<ClientRegistry<HttpClient>, Error>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let no_objection = |_: &Plan| None;
        self.build_with(no_objection, |plan, authorizer| {
            HttpClient::new(plan, authorizer, service.clone())
        })
    }

    /// Builds all clients, or none, over reqwest: what is got is a
    /// [`ClientWithMiddleware`](reqwest_middleware::ClientWithMiddleware).
    ///
    /// The clients share what `client` builds, and it is changed in one thing: it follows no redirects. Its
    /// proxies are its own, and reqwest takes those of the environment unless it is told otherwise.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
    /// use tower_maskinporten::{BoxError, ClientRegistry};
    ///
    /// # async fn example() -> Result<(), BoxError> {
    /// # let source = FixedToken::new("token", Duration::from_secs(120))?;
    /// # let client = MaskinportenClient::builder().source(source).build()?;
    /// let clients = ClientRegistry::builder(&client)
    ///     .client("persons", |c| c.maskinporten(["krr:read"]).base_url("https://api.example.no"))
    ///     .build_reqwest(reqwest::Client::builder())?;
    ///
    /// let persons = clients.get("persons")?;
    /// let answer = persons.post("search")?.body("name").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), also where redirects are declared, and where reqwest cannot be built.
    #[cfg(feature = "reqwest-middleware")]
    pub fn build_reqwest(
        self,
        client: reqwest::ClientBuilder,
    ) -> Result<ClientRegistry<reqwest_middleware::ClientWithMiddleware>, Error> {
        let client = client.redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|cause| {
            Error::named_clients("the HTTP client underneath cannot be built").caused_by(cause)
        })?;
        let no_redirects = |plan: &Plan| match plan.redirects {
            0 => None,
            _ => Some(("redirects", "are not followed over reqwest")),
        };
        self.build_with(no_redirects, |plan, authorizer| {
            super::reqwest_client::layered(plan, authorizer, client.clone())
        })
    }

    /// Makes a client of every plan, once all plans are there.
    fn build_with<C>(
        self,
        objects: impl Fn(&Plan) -> Option<Objection>,
        make: impl Fn(&Plan, Authorizer) -> C,
    ) -> Result<ClientRegistry<C>, Error> {
        let plans = self.plans(objects)?.into_iter();
        let clients = plans.map(|(plan, authorizer)| {
            let client = make(&plan, authorizer);
            (plan.name.clone(), NamedClient::new(plan, client))
        });
        Ok(ClientRegistry::new(clients.collect()))
    }

    fn plans(
        self,
        objects: impl Fn(&Plan) -> Option<Objection>,
    ) -> Result<Vec<(Plan, Authorizer)>, Error> {
        let mut problems = self.problems;
        let mut declarations = self.declarations;
        for document in self.documents {
            let (declared, wrong) = document.read(&*self.environment);
            declarations.extend(declared);
            problems.append(wrong);
        }
        refuse_doubles(&mut declarations);

        let mut plans = Vec::new();
        for mut declaration in declarations {
            let provider = match declaration.identity() {
                None => Some(&self.default),
                Some(name) => self.identities.get(name),
            };
            if provider.is_none() {
                let why = unknown_identity(declaration.identity(), &self.identities);
                declaration.refuse_value(&["identity"], &why);
            }
            if let (Some(plan), Some(provider)) = (declaration.plan(), provider) {
                if let Some((member, why)) = objects(&plan) {
                    declaration.refuse(member, why);
                }
                match authorizer(&plan, &**provider) {
                    Ok(authorizer) => plans.push((plan, authorizer)),
                    Err(error) => declaration.refuse_value(at_fault(&error), &error.to_string()),
                }
            }
            problems.append(declaration.into_problems());
        }
        problems.into_result()?;
        Ok(plans)
    }
}

/// A member that the HTTP client underneath cannot have, and why.
type Objection = (&'static str, &'static str);

/// The environment of this process. Nothing else in this crate asks for it.
#[expect(
    clippy::disallowed_methods,
    reason = "the names are the user's own, written in the user's file"
)]
fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn authorizer(plan: &Plan, provider: &dyn TokenProvider) -> Result<Authorizer, Error> {
    let origin = plan.base.origin().clone();
    let authorizer = Authorizer::new(provider, plan.kind, &plan.request, origin)?;
    let authorizer = final_uri::of_known_clients(authorizer);
    Ok(match (plan.per_organisation, plan.optional_context) {
        (true, _) => authorizer.require_context(),
        (_, true) => authorizer.optional_context(),
        _ => authorizer,
    })
}

/// Which member an authorizer was refused for, and another whose value the error may name.
fn at_fault(error: &Error) -> &'static [&'static str] {
    match error.kind() {
        ErrorKind::Origin => &["base_url"],
        ErrorKind::Request => &["scopes", "resource"],
        _ => &["kind"],
    }
}

/// Refuses names that are taken; two that differ in their case alone are told apart by no reader.
fn refuse_doubles(declarations: &mut [Declaration]) {
    let mut known: HashMap<String, Place> = HashMap::new();
    for declaration in declarations {
        let place = declaration.place.clone();
        if declaration.name.trim().is_empty() {
            declaration.refuse_whole(&place, "has no name");
        }
        if let Some(first) = known.get(&declaration.name.to_lowercase()) {
            let why = format!("there is one of that name at {first}");
            declaration.refuse_whole(&place, &why);
        }
        known
            .entry(declaration.name.to_lowercase())
            .or_insert(place);
    }
}

fn unknown_identity<T>(name: Option<&str>, known: &BTreeMap<String, T>) -> String {
    let name = name.unwrap_or_default();
    let mut names = known.keys().map(String::as_str).peekable();
    if names.peek().is_none() {
        return format!("{name:?} is not known: no identity was given to the registry");
    }
    match nearest(name, names.clone()) {
        Some(meant) => format!("{name:?} is not known; {meant:?} is"),
        None => {
            let names = names.collect::<Vec<_>>().join(", ");
            format!("{name:?} is not known; known are {names}")
        }
    }
}

impl fmt::Debug for ClientRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRegistryBuilder")
            .field("identities", &self.identities.keys())
            .field("declarations", &self.declarations.len())
            .field("documents", &self.documents.len())
            .finish_non_exhaustive()
    }
}

// ===== one client in code =====

/// Declares one client. What is wrong with it is told when the registry is built.
#[derive(Debug)]
#[must_use]
pub struct NamedClientBuilder(Declaration);

impl NamedClientBuilder {
    /// Sets Maskinporten's token for these scopes, or for a
    /// [`TokenRequest`](maskinporten::TokenRequest).
    pub fn maskinporten(self, request: impl IntoTokenRequest) -> Self {
        self.token(TokenKind::Maskinporten, request)
    }

    /// Sets Altinn's token for these scopes, or for a [`TokenRequest`](maskinporten::TokenRequest).
    pub fn altinn(self, request: impl IntoTokenRequest) -> Self {
        self.token(TokenKind::Altinn, request)
    }

    fn token(self, kind: TokenKind, request: impl IntoTokenRequest) -> Self {
        self.say("kind", |draft| draft.kind(kind))
            .say("scopes", |draft| draft.request(request))
    }

    /// Where its paths start. Its origin is the only one that sees the token and the headers.
    pub fn base_url(self, url: impl AsRef<str>) -> Self {
        self.say("base_url", |draft| draft.base_url(url.as_ref()))
    }

    /// Adds a header that is as secret as the token, such as a subscription key: it is sent to the origin
    /// of the base URL and nowhere else, and is shown by no `Debug`. One that a request has already is
    /// replaced.
    pub fn secret_header(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        let member = format!("header {name:?}");
        self.say(member, |draft| draft.header(name, value))
    }

    /// Acts as this [identity](ClientRegistryBuilder::identity).
    pub fn identity(self, name: impl Into<String>) -> Self {
        self.say("identity", |draft| draft.identity(name))
    }

    /// The time from the call to the head of the answer, with the wait for a token and all attempts: 100 s
    /// where nothing is said.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.say("timeout", |draft| draft.timeout(timeout))
    }

    /// The time of each attempt, from the moment it has its token: no other than the whole time, where
    /// nothing is said.
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.say("attempt_timeout", |draft| draft.attempt_timeout(timeout))
    }

    /// Sends a request so many times more where that may help: after 429, 502, 503 and 504, and where no
    /// answer or no token came for a reason that passes. Only methods that are idempotent
    /// (RFC 9110 §9.2.2), and none where nothing is said.
    ///
    /// Each attempt asks for the token again. A server's `Retry-After` of up to 30 s is waited for, a date
    /// read against the answer's own `Date`; what asks for more, or cannot be read, is passed on. In an outage
    /// few further attempts are made: one a second, and one for every five requests that were answered well in
    /// the last 10 s.
    pub fn retries(self, retries: u32) -> Self {
        self.say("retries", |draft| draft.retries(retries))
    }

    /// Sends again whatever the method, also what then happens twice, as a `POST` may.
    pub fn retry_all_methods(self) -> Self {
        self.say("retry_all_methods", |draft| draft.retry_all_methods(true))
    }

    /// Follows so many redirects, and none where nothing is said. Every hop passes the guard: one to another
    /// origin is refused and nothing is sent there.
    pub fn redirects(self, redirects: u32) -> Self {
        self.say("redirects", |draft| draft.redirects(redirects))
    }

    /// Sends a request once more, with a newer token, where the answer did not accept the one it had. See
    /// [`ReplayAuth`](crate::ReplayAuth) for the rules.
    pub fn replay_on_unauthorized(self) -> Self {
        self.say("replay_on_unauthorized", |draft| {
            draft.replay_on_unauthorized(true)
        })
    }

    /// Refuses every request without a [`TokenContext`](maskinporten::TokenContext): for a client that always
    /// acts on behalf of somebody. No request then has the client's own token instead.
    pub fn per_organisation(self) -> Self {
        self.say("per_organisation", |draft| draft.per_organisation(true))
    }

    /// Lets a request have a [`TokenContext`](maskinporten::TokenContext) or none; without one it has the
    /// client's own token. Where neither this nor [`per_organisation`](Self::per_organisation) is said, a
    /// request with one is refused.
    pub fn optional_context(self) -> Self {
        self.say("optional_context", |draft| draft.optional_context(true))
    }

    fn say(mut self, member: impl Into<String>, say: impl FnOnce(&mut Draft) -> Refused) -> Self {
        let place = self.0.place.clone();
        self.0.say(member, &place, say);
        self
    }
}
