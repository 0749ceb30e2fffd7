//! [`MaskinportenClientBuilder`]: the parts of a client, checked and put together.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::Uri;

use super::{Altinn, Inner, MaskinportenClient};
use crate::advice;
use crate::cache::{CAPACITY, Cache, Fetching};
use crate::clock::{AnyClock, Clock};
use crate::credentials::{Credentials, Live, Parts, Proof};
use crate::error::{Error, Result};
use crate::fetch_limits::GivenLimits;
#[cfg(feature = "metrics")]
use crate::metrics;
use crate::request::TokenKind;
use crate::settings::{AltinnSettings, LegacySettings, MaskinportenSettings};
use crate::signer::Signer;
use crate::source::{SidecarTokens, SignedGrant, Skew, TokenSource};
use crate::stats::Tallies;
use crate::transport::Transport;

/// The parts of a [`MaskinportenClient`]: settings or a source, and what differs from the default.
#[derive(Debug, Default)]
#[must_use]
pub struct MaskinportenClientBuilder {
    tokens_from: Option<TokensFrom>,
    token_endpoint: Option<String>,
    altinn: Option<AltinnSettings>,
    transport: Option<Transport>,
    clock: AnyClock,
    max_identities: Option<usize>,
    limits: GivenLimits,
    name: Option<Arc<str>>,
}

/// What a client is called where nobody says otherwise.
const DEFAULT_NAME: &str = "default";

#[derive(Debug)]
enum TokensFrom {
    Credentials(Box<Credentials>),
    Source(Arc<dyn TokenSource>),
}

impl MaskinportenClientBuilder {
    /// Takes authority, client id and key from settings, as they are.
    pub fn settings(self, settings: MaskinportenSettings) -> Self {
        self.credentials(Credentials::from(settings))
    }

    /// Takes client, key and, where they exchange, Altinn from settings of the .NET package.
    ///
    /// # Errors
    ///
    /// As [`LegacySettings::altinn`].
    pub fn legacy_settings(self, settings: &LegacySettings) -> Result<Self> {
        let builder = self.settings(settings.settings());
        Ok(match settings.altinn()? {
            Some(altinn) => builder.altinn(altinn),
            None => builder,
        })
    }

    /// Takes what was found, and goes on watching the place where it was.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.tokens_from = Some(TokensFrom::Credentials(Box::new(credentials)));
        self
    }

    /// Signs elsewhere: a vault, an HSM. The key never comes here.
    pub fn signer(
        self,
        authority: impl Into<String>,
        client_id: impl Into<String>,
        signer: impl Signer,
    ) -> Self {
        self.settings(MaskinportenSettings::new(authority, client_id).with_signer(signer))
    }

    /// Takes tokens from a source of one's own instead of signing for them.
    pub fn source(mut self, source: impl TokenSource) -> Self {
        self.tokens_from = Some(TokensFrom::Source(Arc::new(source)));
        self
    }

    /// Sends grants to this address, whatever the authority publishes, which is then not asked.
    ///
    /// For an authority without metadata, or one whose token endpoint has another origin than its
    /// issuer. The audience stays the authority, to the last slash.
    pub fn token_endpoint(mut self, url: impl Into<String>) -> Self {
        self.token_endpoint = Some(url.into());
        self
    }

    /// Where Altinn exchanges tokens. The default is the Altinn of the authority's environment.
    pub fn altinn(mut self, altinn: AltinnSettings) -> Self {
        self.altinn = Some(altinn);
        self
    }

    /// How token server and Altinn are reached. The default is built from feature `client`.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// What time it is. The default is the machine's clocks.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = AnyClock::Custom(Arc::new(clock));
        self
    }

    /// Capacity of the token cache: how many identities are kept, of Maskinporten's tokens and of Altinn's
    /// each. The default is 10 000.
    ///
    /// An identity is everything that one token is asked for with: scopes, resources, organisation, system
    /// user. It takes about 2 kB of memory in addition to the token's own bytes, and half a
    /// kilobyte for each further thread that sets it on requests.
    ///
    /// - Those in use are kept in addition: that a layer or a handle stands for, that a caller waits for, that
    ///   is being fetched, or whose token another one is made of.
    /// - Beyond it spent tokens go first, then those that were asked for once. The policy resists scans: a run
    ///   over all customers evicts none of those that are busy, and a cycle over more identities than are kept
    ///   keeps nine tenths of the places.
    /// - A token that is evicted while it is good is counted ([`TokenStats::evicted`], [`Health::evicted`]) and
    ///   logged, at most once a minute.
    ///
    /// [`TokenStats::evicted`]: crate::TokenStats::evicted
    /// [`Health::evicted`]: crate::Health::evicted
    pub fn max_identities(mut self, count: usize) -> Self {
        self.max_identities = Some(count);
        self
    }

    /// Permits for fetches: how many token requests of one authority are in flight at once, Maskinporten and
    /// Altinn each for itself. 1 to 1024; the default is 32.
    ///
    /// - Tenants (the service itself, organisations, organisations of system users) take turns. None has more than
    ///   half of the permits, and one permit is kept for renewals.
    /// - A server that answers 429, or 503 with a `Retry-After`, halves that tenant's share; where it answers two
    ///   tenants so and serves none in between, it halves their number. Each success adds one.
    /// - Identities that wait for their turn cost some hundred bytes each and no task. [`Health::waiting`] and
    ///   metrics tell how many wait, and how long.
    ///
    /// A token that is still good never waits for a permit. It comes before what the settings say
    /// (`MaxConcurrentFetches`, `MASKINPORTEN_MAX_CONCURRENT_FETCHES`).
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) refuses a number out of this range.
    ///
    /// [`Health::waiting`]: crate::Health::waiting
    pub fn max_concurrent_fetches(mut self, count: usize) -> Self {
        self.limits.permits = Some(count);
        self
    }

    /// How long a caller waits for its token's turn to be fetched, before the fetch begins. 1 s to 1 h; the default
    /// is 5 minutes. A caller with a shorter timeout gives up earlier.
    ///
    /// Then it alone is given an error ([`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable)), which is
    /// not remembered. Its identity keeps its place for 30 s, for a caller that asks again.
    ///
    /// It comes before what the settings say (`FetchQueueTimeout`, `MASKINPORTEN_FETCH_QUEUE_TIMEOUT`, both in
    /// seconds).
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) refuses a time out of this range.
    pub fn fetch_queue_timeout(mut self, limit: Duration) -> Self {
        self.limits.wait = Some(limit);
        self
    }

    /// What the client is called, for a process that has several: the label `client` of its gauges. The
    /// default is `default`.
    ///
    /// Two clients of one name overwrite each other's gauges. It stands in metrics for all to read: neither
    /// a secret nor anything there may be thousands of.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Checks everything and puts it together; nothing is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) and
    /// [`ErrorKind::Key`](crate::ErrorKind::Key), naming everything that is wrong.
    pub fn build(self) -> Result<MaskinportenClient> {
        let Self {
            tokens_from,
            token_endpoint,
            altinn,
            transport,
            clock,
            max_identities,
            limits,
            name,
        } = self;
        let limits = match &tokens_from {
            Some(TokensFrom::Credentials(found)) => limits.of_code()?.or(found.fetch_limits()?),
            Some(TokensFrom::Source(_)) | None => limits.of_code()?,
        };
        let tallies = Tallies::default();
        let fetching = |kind| {
            let tally = Arc::clone(tallies.of(kind));
            Fetching::new(limits.or_default(), clock.clone(), tally)
        };
        let cache = Cache::new(max_identities.unwrap_or(CAPACITY), clock.clone());
        let skew = Arc::new(Skew::default());
        let mut credentials = None;
        let mut environment = None;
        let (source, altinn): (Arc<dyn TokenSource>, _) = match tokens_from {
            None => {
                let message = "the client was given neither settings, a signer nor a source";
                return Err(Error::settings(message).with_advice(&advice::NO_SETTINGS));
            }
            Some(TokensFrom::Source(source)) => {
                let altinn = match altinn {
                    Some(settings) => Some(Altinn::new(
                        settings,
                        or_default(transport)?,
                        fetching(TokenKind::Altinn),
                    )?),
                    None => None,
                };
                (source, altinn)
            }
            Some(TokensFrom::Credentials(found)) => {
                let transport = or_default(transport)?;
                found.warn_of_unused_names();
                environment = found.environment()?;
                let altinn = match altinn.or_else(|| AltinnSettings::of(environment?)) {
                    Some(settings) => {
                        if let Some(environment) = environment {
                            settings.check_against(environment)?;
                        }
                        Some(Altinn::new(
                            settings,
                            transport.clone(),
                            fetching(TokenKind::Altinn),
                        )?)
                    }
                    None => None,
                };
                let source: Arc<dyn TokenSource> = match found.into_parts() {
                    (Proof::Sidecar(sidecar), _) => {
                        Arc::new(SidecarTokens::new(&sidecar, transport, clock.clone()))
                    }
                    (Proof::Settings(settings), watched) => {
                        let parts = Parts {
                            transport: transport.clone(),
                            clock: clock.clone(),
                            token_endpoint: token_endpoint.as_deref().map(pinned).transpose()?,
                            reloads: Arc::clone(&tallies.reloads),
                        };
                        let live = Live::new(*settings, watched, parts)?;
                        credentials = Some(Arc::clone(&live));
                        Arc::new(SignedGrant::new(
                            live,
                            transport,
                            clock.clone(),
                            Arc::clone(&skew),
                        ))
                    }
                };
                (source, altinn)
            }
        };
        let inner = Arc::new(Inner {
            source,
            credentials,
            environment,
            fetching: fetching(TokenKind::Maskinporten),
            altinn,
            clock,
            skew,
            cache,
            name: name.unwrap_or_else(|| DEFAULT_NAME.into()),
            tallies,
            #[cfg(feature = "metrics")]
            published_at: AtomicU64::new(0),
        });
        #[cfg(feature = "metrics")]
        metrics::describe();
        for kind in [TokenKind::Maskinporten, TokenKind::Altinn] {
            let client = Arc::downgrade(&inner);
            inner.tallies.of(kind).on_landing(move || {
                if let Some(client) = client.upgrade() {
                    client.cache.shrink();
                    #[cfg(feature = "metrics")]
                    client.publish_once_a_second();
                }
            });
        }
        if let Some(credentials) = &inner.credentials {
            let client = Arc::downgrade(&inner);
            credentials.on_new_client(move || {
                if let Some(client) = client.upgrade() {
                    client.cache.invalidate();
                    client.forget_outages();
                    client.skew.forget();
                }
            });
        }
        Ok(MaskinportenClient(inner))
    }
}

/// Checks the address of a pinned token endpoint; whether it is https is the transport's to judge.
fn pinned(url: &str) -> Result<Uri> {
    let uri = url.trim().parse::<Uri>().ok();
    let whole = uri.filter(|uri| uri.scheme().is_some() && uri.host().is_some());
    whole.ok_or_else(|| {
        let shown: String = url.chars().take(120).collect();
        Error::settings(format!("the token endpoint {shown:?} is no address"))
            .with_advice(&advice::AUTHORITY)
    })
}

#[cfg(feature = "client")]
fn or_default(transport: Option<Transport>) -> Result<Transport> {
    match transport {
        Some(transport) => Ok(transport),
        None => Transport::builder().build(),
    }
}

#[cfg(not(feature = "client"))]
fn or_default(transport: Option<Transport>) -> Result<Transport> {
    transport.ok_or_else(|| {
        Error::settings("the client was given no transport, and the feature `client` is off")
    })
}

#[cfg(all(test, feature = "client"))]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::settings::RequestDefaults;

    const JWK: &str = include_str!("../../../../tests/vectors/keys/rsa-2048.jwk.json");

    #[test]
    fn a_limit_comes_from_code_then_a_variable_then_the_settings_then_the_default() {
        let file = format!(
            r#"{{"Authority": "dev", "ClientId": "c", "Jwk": {JWK}, "MaxConcurrentFetches": 2, "FetchQueueTimeout": "20"}}"#
        );
        let settings = || {
            let section = MaskinportenSettings::DEFAULT_SECTION;
            MaskinportenSettings::from_json(&file, section).unwrap()
        };
        let three = Secret::from("3");
        let beside = |name: &str| {
            let value = |asked: &str| (asked == name).then_some(&three);
            Credentials::from(settings()).with_defaults(RequestDefaults::in_variables(&value))
        };
        let of = |builder: MaskinportenClientBuilder| {
            let fetching = &builder.build().unwrap().0.fetching;
            (
                fetching.limiter.stats().permits,
                fetching.patience.as_secs(),
            )
        };
        let builder = MaskinportenClient::builder;
        let plain = MaskinportenSettings::new("dev", "c").with_jwk(JWK);
        assert_eq!(of(builder().settings(plain)), (32, 300));
        assert_eq!(of(builder().settings(settings())), (2, 20));
        let both = builder().credentials(beside("MASKINPORTEN_MAX_CONCURRENT_FETCHES"));
        assert_eq!(of(both), (3, 20));
        let both = builder().credentials(beside("MASKINPORTEN_FETCH_QUEUE_TIMEOUT"));
        assert_eq!(of(both.max_concurrent_fetches(4)), (4, 3));
    }
}
