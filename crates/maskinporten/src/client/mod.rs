//! [`MaskinportenClient`]: the provider everyone starts with; tokens by hand.

mod builder;

#[cfg(feature = "metrics")]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
#[cfg(feature = "metrics")]
use std::time::Duration;

use http::{HeaderValue, Uri};

use crate::advice;
use crate::authorize::Authorizer;
use crate::cache::{self, Cache, ContextTables, Fetching, Held, Identity, Origin};
use crate::clock::AnyClock;
#[cfg(feature = "metrics")]
use crate::clock::Moment;
use crate::credentials::Live;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::health::Health;
#[cfg(feature = "metrics")]
use crate::metrics;
use crate::origin::IntoOrigins;
use crate::provider::{Keeper, TokenHandle, TokenProvider};
use crate::request::{IntoTokenRequest, TokenKind, TokenRequest};
use crate::scope::Scope;
use crate::settings::AltinnSettings;
#[cfg(feature = "client")]
use crate::settings::Platform;
#[cfg(feature = "client")]
use crate::settings::{LegacySettings, MaskinportenSettings};
use crate::source::{AltinnExchange, Skew, TokenSource};
use crate::stats::{QueueStats, Stats, Tallies};
use crate::token::AccessToken;
use crate::transport::Transport;

pub use builder::MaskinportenClientBuilder;

/// How often flights that end have everything published.
#[cfg(feature = "metrics")]
const PUBLISHED_EVERY: Duration = Duration::from_secs(1);

/// Tokens of one Maskinporten client, kept for as long as they live.
///
/// - [`from_settings`](MaskinportenClient::from_settings) and
///   [`discover`](MaskinportenClient::discover) check settings and key at once, and send nothing.
/// - A token is asked for by scopes or by a [`TokenRequest`]; equal requests share one token.
/// - It is cheap to clone, and needs a Tokio runtime, with its timer enabled, only when a token is
///   fetched or waited for.
/// - It fetches at most 32 tokens at once from its authority, and as many from its Altinn
///   ([`max_concurrent_fetches`](MaskinportenClientBuilder::max_concurrent_fetches)). Those whom tokens are for (the
///   service itself, organisations) take turns, and what one of them is refused for costs no other anything. While
///   the server fails for all, one probe a second asks it, and the others fail at once.
/// - When its last clone and the last layer and handle made from it are gone, whatever is being
///   fetched ends; [`shutdown`](Self::shutdown) ends it sooner.
///
/// ```no_run
/// use maskinporten::MaskinportenClient;
///
/// # async fn example() -> Result<(), maskinporten::Error> {
/// let client = MaskinportenClient::discover()?;
/// let token = client.access_token(["krr:global/kontaktinformasjon.read"]).await?;
/// println!("a token of {} characters", token.expose().len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MaskinportenClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<dyn TokenSource>,
    /// None where tokens come from a sidecar or a source of one's own.
    credentials: Option<Arc<Live>>,
    environment: Option<Environment>,
    fetching: Fetching,
    altinn: Option<Altinn>,
    clock: AnyClock,
    skew: Arc<Skew>,
    cache: Cache,
    /// What its gauges are told apart by.
    name: Arc<str>,
    tallies: Tallies,
    /// When a flight that ended last had everything published, in nanoseconds.
    #[cfg(feature = "metrics")]
    published_at: AtomicU64,
}

/// What an exchange needs beside a token.
#[derive(Debug)]
struct Altinn {
    url: Uri,
    /// The same as text: part of every key.
    address: Arc<str>,
    fetching: Fetching,
    subscription_key: Option<HeaderValue>,
    transport: Transport,
    /// Whether it was said that a token was asked for without the service owner's scope.
    warned: AtomicBool,
}

impl MaskinportenClient {
    /// A client from settings, over the default transport; Altinn is the one of its environment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) and
    /// [`ErrorKind::Key`](crate::ErrorKind::Key), naming everything that is wrong.
    #[cfg(feature = "client")]
    pub fn from_settings(settings: MaskinportenSettings) -> Result<Self> {
        Self::builder().settings(settings).build()
    }

    /// A client from settings of the .NET package, and the Altinn that they exchange at.
    ///
    /// # Errors
    ///
    /// As [`from_settings`](Self::from_settings) and [`LegacySettings::altinn`].
    #[cfg(feature = "client")]
    pub fn from_legacy_settings(settings: &LegacySettings) -> Result<Self> {
        Self::builder().legacy_settings(settings)?.build()
    }

    /// A client from what the platform provides: see [`Platform`] for where it looks.
    ///
    /// The Altinn to exchange at is read from there too (`ALTINN_PLATFORM_URL`, and `PlatformSettings` of the
    /// environment, the settings file or Altinn's directory: see [`Platform::altinn`]), else it is the one of
    /// the environment.
    ///
    /// # Errors
    ///
    /// As [`from_settings`](Self::from_settings); where nothing is found, the error lists every place
    /// that was looked at and what it lacked.
    #[cfg(feature = "client")]
    pub fn discover() -> Result<Self> {
        Self::of_platform(&Platform::of_process())
    }

    /// A client from what a platform provides.
    ///
    /// # Errors
    ///
    /// As [`discover`](Self::discover).
    #[cfg(feature = "client")]
    pub fn of_platform(platform: &Platform) -> Result<Self> {
        let credentials = platform.credentials()?;
        tracing::info!(
            target: "maskinporten::settings",
            credentials = %credentials.describe(),
            "credentials found"
        );
        let builder = match platform.altinn(credentials.environment()?)? {
            Some(altinn) => Self::builder().altinn(altinn),
            None => Self::builder(),
        };
        builder.credentials(credentials).build()
    }

    /// Starts a client of chosen parts.
    pub fn builder() -> MaskinportenClientBuilder {
        MaskinportenClientBuilder::default()
    }

    /// Maskinporten's token for scopes, or for a [`TokenRequest`].
    ///
    /// Dropping the future harms nobody else: the fetch goes on, and what it brings is kept.
    ///
    /// # Errors
    ///
    /// What the fetch failed with, or what an earlier one failed with whose
    /// [`retry_at`](Error::retry_at) has not come.
    pub async fn access_token(&self, request: impl IntoTokenRequest) -> Result<AccessToken> {
        let request = request.into_token_request()?;
        let handle = self.token(&request, TokenKind::Maskinporten)?;
        handle.access_token().await
    }

    /// Altinn's token: Maskinporten's, exchanged once more and kept for its own life.
    ///
    /// # Errors
    ///
    /// As [`access_token`](Self::access_token), and
    /// [`ErrorKind::Exchange`](crate::ErrorKind::Exchange) where Altinn refuses.
    pub async fn altinn_token(&self, request: impl IntoTokenRequest) -> Result<AccessToken> {
        let request = request.into_token_request()?;
        let handle = self.token(&request, TokenKind::Altinn)?;
        handle.access_token().await
    }

    /// Maskinporten's token as a header value, marked sensitive. Unguarded: nothing here asks where
    /// it goes. Prefer [`authorizer`](Self::authorizer).
    ///
    /// # Errors
    ///
    /// As [`access_token`](Self::access_token).
    pub async fn header_value(&self, request: impl IntoTokenRequest) -> Result<HeaderValue> {
        let request = request.into_token_request()?;
        let handle = self.token(&request, TokenKind::Maskinporten)?;
        handle.header_value().await
    }

    /// Maskinporten's token, for requests to these origins: for clients that take no layer.
    ///
    /// # Errors
    ///
    /// As [`Authorizer::new`].
    pub fn authorizer(
        &self,
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<Authorizer> {
        Authorizer::new(self, TokenKind::Maskinporten, request, origins)
    }

    /// Altinn's token, for requests to these origins: for clients that take no layer.
    ///
    /// # Errors
    ///
    /// As [`Authorizer::new`].
    pub fn altinn_authorizer(
        &self,
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<Authorizer> {
        Authorizer::new(self, TokenKind::Altinn, request, origins)
    }

    /// Fetches every token that a layer, an authorizer or a handle of this client stands for, so that
    /// their first requests do not wait. For a service to call before it says that it is ready.
    ///
    /// - Tokens that were only asked for by hand are left as they are, and so are those of contexts:
    ///   [`Authorizer::warm_up_for`] fetches these.
    /// - A token that is still good counts.
    /// - It has no deadline of its own: each fetch has its own, and so may the caller. Dropping the
    ///   future leaves what it has started to go on.
    ///
    /// # Errors
    ///
    /// The first failure, when all are done; the other tokens are there all the same. After a
    /// [`shutdown`](Self::shutdown) it is [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub async fn warm_up(&self) -> Result<()> {
        if self.0.cache.is_closed() {
            return Err(cache::closed());
        }
        let entries = self.0.cache.held();
        // All set off before the first is waited for.
        let waits: Vec<_> = entries.into_iter().map(Held::set_off).collect();
        let mut outcome = Ok(());
        for wait in waits {
            let fetched = wait.await;
            outcome = outcome.and(fetched.map(drop));
        }
        outcome
    }

    /// How this client's tokens stand now. Nothing is fetched for the answer.
    #[must_use]
    pub fn health(&self) -> Health {
        let now = self.0.clock.now();
        let (cache, clock) = (&self.0.cache, &self.0.clock);
        let entries = cache.all();
        let wanted = entries.iter().filter(|entry| entry.is_wanted());
        let standings = wanted.map(|entry| (entry.standing(now), entry.request().is_on_behalf()));
        let mut health = Health::of(standings, cache.is_closed(), self.0.skew.seconds(), clock);
        let evicted = |kind| self.0.tallies.of(kind).evicted_so_far();
        health.evicted = evicted(TokenKind::Maskinporten) + evicted(TokenKind::Altinn);
        for kind in [TokenKind::Maskinporten, TokenKind::Altinn] {
            let queue = self.0.queue(kind);
            health.waiting += queue.waiting;
            health.longest_wait = health.longest_wait.max(queue.longest_wait);
            health.open_circuits += queue.open_circuits;
        }
        if let Some(credentials) = &self.0.credentials {
            health.settings_error = credentials.trouble();
            health.key_ends_at = credentials.ends_at();
        }
        health
    }

    /// What this client has done since it was built, and what it holds now.
    ///
    /// Counting costs a request whose token is there next to nothing, and is always on. To read the
    /// numbers takes time for every token that is kept.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// The name that its gauges bear: see [`MaskinportenClientBuilder::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Hands what was counted and what is held to the recorder of the `metrics` facade. For whoever
    /// answers `/metrics`, just before the recorder is asked to render.
    ///
    /// What happens beside the path of most requests is recorded as it happens. Tokens that were there
    /// are only counted, and published here and when a flight ends; so are the gauges, for which that is
    /// at most once a second.
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        // The recorder may have been installed after the client was built.
        metrics::describe();
        self.0.publish();
    }

    /// Declares void what is known for a request: its Maskinporten token, the Altinn token made of
    /// it, and the failures that are remembered. The next who asks fetches anew. A request that was never
    /// asked for is no error: there is nothing to forget.
    ///
    /// - What is being fetched for it now is void too, so that nothing older comes after; those who wait
    ///   for it wait for the new one.
    /// - A sidecar keeps tokens of its own, and may give the same one again: it is asked to pass them over
    ///   only after an API has not accepted one.
    /// - That the server has failed for others is forgotten as well, and it is asked again at once. For a
    ///   person who has mended something, and not for every failed request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) for scopes that are none.
    pub fn invalidate(&self, request: impl IntoTokenRequest) -> Result<()> {
        let request = request.into_token_request()?;
        // The parent first: else the exchange could still be made with its old token.
        for kind in [TokenKind::Maskinporten, TokenKind::Altinn] {
            if let Some(entry) = self.0.cache.find(kind, &request) {
                entry.invalidate();
            }
        }
        self.0.forget_outages();
        Ok(())
    }

    /// As [`invalidate`](Self::invalidate), for every request.
    pub fn invalidate_all(&self) {
        self.0.cache.invalidate();
        self.0.forget_outages();
    }

    /// Ends: nothing is fetched any more, and no token of this client is set on a request. Whoever waits
    /// for one, and whoever asks from now on, layers and handles included, gets
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    ///
    /// What is being fetched is broken off; this returns when no task of this client is left, within a
    /// second where their runtime still runs. Requests that already have their token are not touched.
    pub async fn shutdown(&self) {
        self.0.cache.close().await;
        if let Some(credentials) = &self.0.credentials {
            credentials.close().await;
        }
    }
}

impl TokenProvider for MaskinportenClient {
    fn token(&self, request: &TokenRequest, kind: TokenKind) -> Result<TokenHandle> {
        let keeper = Arc::clone(&self.0);
        TokenHandle::of(keeper, request, kind)
    }
}

impl Keeper for Inner {
    fn entry(&self, request: &TokenRequest, kind: TokenKind) -> Result<Held> {
        let entry = match kind {
            TokenKind::Maskinporten => self.maskinporten_entry(request)?,
            TokenKind::Altinn => self.altinn_entry(request)?,
        };
        entry.want();
        Ok(entry)
    }

    fn environment(&self) -> Option<Environment> {
        self.environment
    }

    fn note_tables(&self, kind: TokenKind, tables: Weak<dyn ContextTables>) {
        self.cache.note_tables(kind, tables);
    }
}

impl Inner {
    fn maskinporten_entry(&self, request: &TokenRequest) -> Result<Held> {
        self.source.supports(request)?;
        let make = || {
            let identity = Identity {
                source: self.source.identity(),
                request: request.clone(),
                exchange: None,
            };
            let origin = Origin::Source(Arc::clone(&self.source));
            Held::new(identity, origin, &self.fetching)
        };
        Ok(self.cache.entry(TokenKind::Maskinporten, request, make))
    }

    fn altinn_entry(&self, request: &TokenRequest) -> Result<Held> {
        let altinn = self.altinn.as_ref().ok_or_else(|| {
            Error::settings("no altinn is known to exchange the token at")
                .with_advice(&advice::NO_ALTINN)
        })?;
        self.source.supports(request)?;
        let make = |parent: Held| {
            let identity = Identity {
                source: self.source.identity(),
                request: request.clone(),
                exchange: Some(Arc::clone(&altinn.address)),
            };
            let exchange = AltinnExchange::new(
                &parent,
                altinn.url.clone(),
                altinn.subscription_key.clone(),
                altinn.transport.clone(),
                self.clock.clone(),
                Arc::clone(&self.skew),
            );
            let origin = Origin::Exchange(exchange);
            Held::new(identity, origin, &altinn.fetching)
        };
        let parent = self.maskinporten_entry(request)?;
        let entry = self
            .cache
            .entry(TokenKind::Altinn, request, || make(parent));
        altinn.warn_without_service_owner(request);
        Ok(entry)
    }

    /// How the queue of one authority stands.
    fn queue(&self, kind: TokenKind) -> QueueStats {
        let fetching = match kind {
            TokenKind::Maskinporten => Some(&self.fetching),
            TokenKind::Altinn => self.altinn.as_ref().map(|altinn| &altinn.fetching),
        };
        fetching
            .map(|fetching| fetching.limiter.stats())
            .unwrap_or_default()
    }

    fn stats(&self) -> Stats {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let of = |kind| {
            let (entries, soonest) = self.cache.holds(kind, now);
            let mut stats = self.tallies.of(kind).stats();
            stats.queue = self.queue(kind);
            stats.entries = entries;
            stats.soonest_end = soonest.and_then(|end| wall.checked_add(now.until(end)));
            stats
        };
        let credentials = self.credentials.as_ref();
        Stats {
            maskinporten: of(TokenKind::Maskinporten),
            altinn: of(TokenKind::Altinn),
            reloads: self.tallies.reloads.stats(),
            has_settings_error: credentials.is_some_and(|live| live.trouble().is_some()),
            key_ends_at: credentials.and_then(|live| live.ends_at()),
            clock_skew: self.skew.seconds(),
        }
    }

    #[cfg(feature = "metrics")]
    fn publish(&self) {
        for kind in [TokenKind::Maskinporten, TokenKind::Altinn] {
            self.tallies.of(kind).publish();
        }
        metrics::hold(&self.name, &self.stats());
    }

    /// The same when a flight has ended, for those who never ask.
    #[cfg(feature = "metrics")]
    fn publish_once_a_second(&self) {
        let now = self.clock.now();
        let last = self.published_at.load(Ordering::Relaxed);
        let due = Moment::from_nanoseconds(last).after(PUBLISHED_EVERY);
        // Every token that is kept is looked at, so not for each of thousands that are fetched.
        let is_due = last == 0 || now >= due;
        let mine = |last| {
            let now = now.as_nanoseconds();
            let swapped =
                self.published_at
                    .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
            swapped.is_ok()
        };
        if is_due && mine(last) {
            self.publish();
        }
    }

    fn forget_outages(&self) {
        self.fetching.limiter.reset();
        if let Some(altinn) = &self.altinn {
            altinn.fetching.limiter.reset();
        }
    }
}

impl Altinn {
    fn new(settings: AltinnSettings, transport: Transport, fetching: Fetching) -> Result<Self> {
        let subscription_key = match &settings.subscription_key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(key.expose()).map_err(|_| {
                    Error::settings("the subscription key cannot stand in a header")
                        .with_advice(&advice::SUBSCRIPTION_KEY)
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let url = settings.exchange_uri();
        Ok(Self {
            address: url.to_string().into(),
            url,
            fetching,
            subscription_key,
            transport,
            warned: AtomicBool::new(false),
        })
    }

    /// Says once that a token is asked for without the scope that Altinn looks for.
    fn warn_without_service_owner(&self, request: &TokenRequest) {
        let scopes = request.scope_set();
        // A system user's token speaks for a customer: there is no service owner in it.
        let is_fine =
            request.details().is_some() || scopes.iter().any(|scope| scope == Scope::SERVICE_OWNER);
        if is_fine || self.warned.load(Ordering::Relaxed) {
            return;
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "maskinporten::token",
                %scopes,
                "{}: {}",
                advice::NO_SERVICE_OWNER.meaning(),
                advice::NO_SERVICE_OWNER.hint(),
            );
        }
    }
}
