//! One world: what it is made of and how it begins.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{Base, DEFAULT_START};
use crate::fault::Faults;
use crate::journal::Book;
use crate::keys::IssuerKeys;
use crate::registry::Registry;
use crate::sidecar::{SIDECAR_PATH, Sidecar};
use crate::{Journal, SimClock};

/// The issuer of a world that is on no port and was given no other.
const DEFAULT_ISSUER: &str = "https://sim.maskinporten.test/";

/// How long a token lives when neither client nor scope says (Maskinporten's own default).
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(120);

/// The longest `exp - iat` of an assertion, as documented.
const DEFAULT_ASSERTION_LIFETIME: Duration = Duration::from_secs(120);

/// One simulated Maskinporten, Altinn and API; clones are handles on the same world.
///
/// As a service it is always ready. It fails only where a fault loses the connection. Any host is
/// answered: the path decides. Dropping the future of a call is what a caller that gives up does; the
/// journal shows it as abandoned.
///
/// It takes requests with a [`Body`](crate::Body), which bytes and text turn into: in front of a
/// client that sends `Request<Bytes>`, put tower's `map_request` with `|request| request.map(Body::from)`.
#[derive(Clone)]
pub struct Sim {
    pub(crate) world: Arc<World>,
}

pub(crate) struct World {
    pub(crate) clock: SimClock,
    pub(crate) token_lifetime: Duration,
    pub(crate) max_assertion_lifetime: Duration,
    issuer: RwLock<Issuer>,
    keys: RwLock<IssuerKeys>,
    // No lock is held across an await: whoever takes one is a plain function.
    registry: Mutex<Registry>,
    sidecar: Mutex<Sidecar>,
    faults: Mutex<Faults>,
    book: Mutex<Book>,
}

struct Issuer {
    url: String,
    /// Chosen by hand, so that a port does not change it.
    chosen: bool,
}

// ===== impl Sim: making one, asking it =====

impl Sim {
    /// A world in virtual time with the issuer `https://sim.maskinporten.test/`.
    ///
    /// It starts at 2026-01-01T10:00:00Z and follows tokio's clock, paused or not.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A world with other choices.
    pub fn builder() -> SimBuilder {
        SimBuilder {
            issuer: None,
            seed: 0,
            start: Some(UNIX_EPOCH + DEFAULT_START),
            token_lifetime: DEFAULT_TOKEN_LIFETIME,
            max_assertion_lifetime: DEFAULT_ASSERTION_LIFETIME,
            fresh_keys: false,
        }
    }

    /// The clock of the world.
    pub fn clock(&self) -> SimClock {
        self.world.clock.clone()
    }

    /// The issuer, which is the audience of an assertion; its trailing slash is part of it.
    pub fn issuer(&self) -> String {
        self.world.issuer()
    }

    /// Where assertions go: issuer + `token`.
    pub fn token_endpoint(&self) -> String {
        self.world.token_endpoint()
    }

    /// Where tokens are exchanged: issuer + `authentication/api/v1/exchange/maskinporten`.
    pub fn exchange_endpoint(&self) -> String {
        self.world
            .at_issuer("authentication/api/v1/exchange/maskinporten")
    }

    /// Where a sidecar hands out tokens: issuer + `api/v1/token`. It is what NAIS sets
    /// `NAIS_TOKEN_ENDPOINT` to.
    pub fn sidecar_endpoint(&self) -> String {
        self.world.at_issuer(SIDECAR_PATH)
    }

    /// The platform host of Altinn: scheme, host and port of the issuer, without a slash.
    pub fn altinn_platform(&self) -> String {
        self.world.platform()
    }

    /// A protected address: issuer + `api/echo`.
    pub fn api_url(&self) -> String {
        self.world.at_issuer("api/echo")
    }

    /// What has happened so far.
    pub fn journal(&self) -> Journal {
        self.world.book().snapshot()
    }

    /// Forgets what has happened so far; used `jti`s are remembered.
    pub fn clear_journal(&self) {
        self.world.book().clear();
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("issuer", &self.issuer())
            .field("clock", &self.world.clock)
            .finish_non_exhaustive()
    }
}

// ===== impl SimBuilder =====

/// Choices about a world before it begins.
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct SimBuilder {
    issuer: Option<String>,
    seed: u64,
    /// `None` for the wall clock.
    start: Option<SystemTime>,
    token_lifetime: Duration,
    max_assertion_lifetime: Duration,
    fresh_keys: bool,
}

impl SimBuilder {
    /// The issuer, taken as it is. A path in it is expected in front of the paths of all routes.
    pub fn issuer(mut self, url: impl Into<String>) -> Self {
        self.issuer = Some(url.into());
        self
    }

    /// What trace ids, client ids, `jti` and `sid` follow from; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Virtual time, beginning here.
    pub fn start_at(mut self, start: SystemTime) -> Self {
        self.start = Some(start);
        self
    }

    /// The time of the machine instead of virtual time.
    pub fn wall_clock(mut self) -> Self {
        self.start = None;
        self
    }

    /// How long tokens live when neither client nor scope says; 120 s by default.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// The longest `exp - iat` of an assertion: 120 s by default, as documented. The real server has
    /// been seen to allow 180 s.
    pub fn max_assertion_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_assertion_lifetime = lifetime;
        self
    }

    /// Makes key pairs for this world alone. Without this, the worlds of a process share two pairs
    /// under names of their own, which saves some hundred milliseconds for each.
    pub fn fresh_keys(mut self) -> Self {
        self.fresh_keys = true;
        self
    }

    /// Begins the world.
    pub fn build(self) -> Sim {
        let issuer = Issuer {
            chosen: self.issuer.is_some(),
            url: self.issuer.unwrap_or_else(|| DEFAULT_ISSUER.to_owned()),
        };
        Sim {
            world: Arc::new(World {
                clock: SimClock::new(self.start.map_or(Base::Wall, Base::starting_at)),
                token_lifetime: self.token_lifetime,
                max_assertion_lifetime: self.max_assertion_lifetime,
                issuer: RwLock::new(issuer),
                keys: RwLock::new(IssuerKeys::new(self.fresh_keys)),
                registry: Mutex::new(Registry::new(self.seed)),
                sidecar: Mutex::default(),
                faults: Mutex::default(),
                book: Mutex::default(),
            }),
        }
    }
}

// ===== impl World =====

// A panic elsewhere leaves every value whole, so a poisoned lock is used as it is.
impl World {
    pub(crate) fn issuer(&self) -> String {
        self.issuer
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .url
            .clone()
    }

    /// Takes the address of a port as issuer, unless one was chosen.
    pub(crate) fn settle_issuer(&self, url: &str) {
        let mut issuer = self.issuer.write().unwrap_or_else(PoisonError::into_inner);
        if !issuer.chosen {
            issuer.url = url.to_owned();
        }
    }

    /// An address below the issuer, whether that ends in a slash or not.
    pub(crate) fn at_issuer(&self, path: &str) -> String {
        format!("{}/{path}", self.issuer().trim_end_matches('/'))
    }

    pub(crate) fn token_endpoint(&self) -> String {
        self.at_issuer("token")
    }

    fn platform(&self) -> String {
        let issuer = self.issuer();
        let path = issuer_path(&issuer);
        issuer[..issuer.len() - path.len()].to_owned()
    }

    /// `iss` of an Altinn token.
    pub(crate) fn altinn_issuer(&self) -> String {
        format!("{}/authentication/api/v1/openid/", self.platform())
    }

    pub(crate) fn keys(&self) -> IssuerKeys {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn replace_keys(&self, next: IssuerKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sidecar(&self) -> MutexGuard<'_, Sidecar> {
        self.sidecar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's path without that of the issuer.
    pub(crate) fn local_path<'a>(&self, path: &'a str) -> &'a str {
        let issuer = self.issuer();
        let prefix = issuer_path(&issuer).trim_end_matches('/');
        path.strip_prefix(prefix)
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or(path)
    }
}

/// The path of a URL, from its first slash after the host; empty if there is none.
fn issuer_path(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..]
        .find('/')
        .map_or("", |slash| &url[host + slash..])
}
