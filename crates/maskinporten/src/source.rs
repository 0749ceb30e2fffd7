//! [`TokenSource`]: where a token comes from: a signed grant, the exchange, or a fixed text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Response, Uri};

use crate::advice::{self, Retry};
use crate::assertion::{self, Assertion};
use crate::cache::{ATTEMPT_TIMEOUT, Slot, Snapshot};
use crate::clock::AnyClock;
use crate::discovery::Discovery;
use crate::error::{Error, Result};
use crate::exchange;
use crate::grant;
use crate::metadata::Metadata;
use crate::random;
use crate::refusal;
use crate::request::TokenRequest;
use crate::signer::{BoxFuture, KeyReference, Signer};
use crate::token::{self, AccessToken};
use crate::transport::Transport;

/// Where a token comes from.
///
/// - A source is asked by the cache, in a task of its own, once for however many wait.
/// - It asks anew each time: what is kept, when it is renewed and what a failure means to callers
///   is decided above it.
/// - Its [`SourceIdentity`] is part of every cache key: two sources that could give different tokens
///   for one request must have different identities.
///
/// ```
/// use std::time::Duration;
/// use maskinporten::{AccessToken, BoxFuture, Result, SourceIdentity, TokenRequest, TokenSource};
///
/// /// A file that some other program keeps fresh.
/// #[derive(Debug)]
/// struct TokenFile(SourceIdentity);
///
/// impl TokenSource for TokenFile {
///     fn identity(&self) -> &SourceIdentity {
///         &self.0
///     }
///
///     fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
///         Box::pin(async { AccessToken::new("read-from-a-file", Duration::from_secs(60)) })
///     }
/// }
///
/// let source = TokenFile(SourceIdentity::new("file:/run/token", ""));
/// ```
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Whose tokens these are.
    fn identity(&self) -> &SourceIdentity;

    /// Asks for a token, anew each time.
    ///
    /// It is not called from a caller's future: no caller's timeout ends it, the flight's own
    /// deadline of 10 s does. A transient error is tried again, twice.
    ///
    /// # Errors
    ///
    /// Whatever keeps the source from a token.
    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>>;

    /// Another number whenever what it would answer may have changed: another key, other settings.
    ///
    /// What was remembered of a failure is forgotten then; tokens stay as they are. The default never
    /// changes.
    fn revision(&self) -> u64 {
        0
    }

    /// Refuses, before anything is sent, what this source can never give.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request), naming what is not supported and what to do
    /// instead.
    fn supports(&self, request: &TokenRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }
}

/// Issuer and client: the part of a cache key that a source contributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceIdentity {
    issuer: Arc<str>,
    client_id: Arc<str>,
}

impl SourceIdentity {
    /// The issuer's address (a sidecar's or file's stands in its place), and the client's id.
    #[must_use]
    pub fn new(issuer: impl Into<Arc<str>>, client_id: impl Into<Arc<str>>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
        }
    }

    /// Who issues the tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// To whom they are issued.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }
}

/// One text for every request: for tests, and for tokens that somebody else has made.
///
/// ```
/// use std::time::Duration;
/// use maskinporten::{FixedToken, MaskinportenClient};
///
/// let source = FixedToken::new("made-elsewhere", Duration::from_secs(3600))?;
/// let client = MaskinportenClient::builder().source(source).build()?;
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Debug)]
pub struct FixedToken {
    identity: SourceIdentity,
    token: AccessToken,
}

impl FixedToken {
    /// A source that gives this text whatever is asked, each time as if it lived that long from then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) where the text cannot stand in a header.
    pub fn new(text: &str, lifetime: Duration) -> Result<Self> {
        Ok(Self {
            identity: SourceIdentity::new("fixed", ""),
            token: AccessToken::new(text, lifetime)?,
        })
    }
}

impl TokenSource for FixedToken {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(std::future::ready(Ok(self.token.clone())))
    }
}

// ===== the signed grant =====

/// Signs an assertion and trades it for a token (RFC 7523 §2.1).
#[derive(Debug)]
pub(crate) struct SignedGrant {
    identity: SourceIdentity,
    signer: Arc<dyn Signer>,
    endpoint: Endpoint,
    transport: Transport,
    clock: AnyClock,
    skew: Arc<Skew>,
}

/// The authority's clock minus ours, in whole seconds: zero until a refusal for the time's sake.
#[derive(Debug, Default)]
pub(crate) struct Skew(AtomicI64);

impl Skew {
    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes a new reading.
    fn correct(&self, seconds: i64) {
        let before = self.0.swap(seconds, Ordering::Relaxed);
        if before != seconds {
            tracing::warn!(
                target: "maskinporten::token",
                skew_s = seconds,
                "this machine's clock differs from the token server's; assertions follow the server's"
            );
        }
    }
}

/// How issuer and token endpoint are known.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Known(Arc<Metadata>),
    Discovered(Box<Discovery>),
}

impl SignedGrant {
    pub(crate) fn new(
        identity: SourceIdentity,
        signer: Arc<dyn Signer>,
        endpoint: Endpoint,
        transport: Transport,
        clock: AnyClock,
        skew: Arc<Skew>,
    ) -> Self {
        Self {
            identity,
            signer,
            endpoint,
            transport,
            clock,
            skew,
        }
    }

    /// One grant; after a refusal that the table says a new assertion can mend, one more.
    async fn fetch_token(&self, request: &TokenRequest) -> Result<AccessToken> {
        let metadata = match &self.endpoint {
            Endpoint::Known(metadata) => Arc::clone(metadata),
            Endpoint::Discovered(discovery) => discovery.metadata().await?,
        };
        match self.grant(&metadata, request).await {
            Err(refused) if refused.can_be_mended => self
                .grant(&metadata, request)
                .await
                .map_err(|refused| refused.error),
            outcome => outcome.map_err(|refused| refused.error),
        }
    }

    async fn grant(
        &self,
        metadata: &Metadata,
        request: &TokenRequest,
    ) -> Result<AccessToken, Refused> {
        let jti = random::uuid()?;
        let skew = self.skew.seconds();
        let assertion = Assertion {
            audience: &metadata.issuer,
            client_id: self.identity.client_id(),
            request,
            issued_at: shifted(self.clock.wall(), skew),
            jti: &jti,
        };
        let input =
            assertion.signing_input(self.signer.algorithm(), self.signer.key_reference())?;
        let signature = self.signer.sign(input.clone().into_bytes()).await?;
        let jws = assertion::compact(&input, &signature);

        let request_to_send = grant::request(&metadata.token_endpoint, &jws);
        let sent = self.clock.wall();
        let response = self
            .transport
            .round_trip(request_to_send, ATTEMPT_TIMEOUT)
            .await?;
        let received = self.clock.wall();
        token::from_response(&response, shifted(received, skew)).map_err(|error| {
            let error = error.with_endpoint(&metadata.token_endpoint);
            match error.oauth_error() {
                Some(_) => {
                    // Where on its way the answer was dated is not known: in the middle, at a guess.
                    let way = received.duration_since(sent).unwrap_or_default();
                    let dated = sent.checked_add(way / 2).unwrap_or(received);
                    self.explain(error, metadata, request, &response, dated, skew)
                }
                None => error.into(),
            }
        })
    }

    /// Adds to a refusal what was sent, and sees whether a new assertion can mend it.
    fn explain(
        &self,
        error: Error,
        metadata: &Metadata,
        request: &TokenRequest,
        response: &Response<Bytes>,
        dated: SystemTime,
        skew_then: i64,
    ) -> Refused {
        let key = match self.signer.key_reference() {
            KeyReference::Kid(kid) => kid.to_owned(),
            KeyReference::Chain(_) => "a certificate chain".to_owned(),
        };
        let mut error = error
            .with_detail("audience", metadata.issuer.as_str())
            .with_detail("client id", self.identity.client_id())
            .with_detail("kid", key)
            .with_detail("scope", request.scope_set().as_str());
        let retry = error.advice().map_or(Retry::No, |advice| advice.retry());
        let can_be_mended = match retry {
            Retry::NewAssertion => true,
            Retry::CorrectedClock => match refusal::server_time(response.headers()) {
                Some(server) => {
                    let skew = seconds_between(dated, server);
                    let (by, way) = match skew < 0 {
                        true => (skew.unsigned_abs(), "behind"),
                        false => (skew.unsigned_abs(), "ahead of"),
                    };
                    let told = format!("the server's clock is {by} s {way} this machine's");
                    error = error.with_detail("clock", told);
                    self.skew.correct(skew);
                    // Once: what was refused with this reading would be refused with it again. Others
                    // may have taken it meanwhile, and this one was still sent without.
                    skew != skew_then
                }
                None => false,
            },
            Retry::No | Retry::OtherKey | Retry::Later => false,
        };
        Refused {
            error,
            can_be_mended,
        }
    }
}

impl TokenSource for SignedGrant {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(self.fetch_token(request))
    }

    fn revision(&self) -> u64 {
        0
    }
}

/// A grant that brought no token.
struct Refused {
    error: Error,
    can_be_mended: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            error,
            can_be_mended: false,
        }
    }
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let shifted = match seconds < 0 {
        true => time.checked_sub(by),
        false => time.checked_add(by),
    };
    shifted.unwrap_or(time)
}

/// `to` minus `from` in whole seconds.
fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration()),
    }
}

// ===== the exchange =====

/// Trades the token of another slot for Altinn's: a second stage with a life of its own.
#[derive(Debug)]
pub(crate) struct AltinnExchange {
    parent: Arc<Slot>,
    url: Uri,
    subscription_key: Option<HeaderValue>,
    transport: Transport,
    clock: AnyClock,
    skew: Arc<Skew>,
}

/// How long after a refused exchange the second attempt is made, with a new Maskinporten token: the
/// refusal may have been Altinn's own trouble, which it does not tell from a bad token.
const SECOND_EXCHANGE_AFTER: Duration = Duration::from_millis(250);

impl AltinnExchange {
    pub(crate) fn new(
        parent: Arc<Slot>,
        url: Uri,
        subscription_key: Option<HeaderValue>,
        transport: Transport,
        clock: AnyClock,
        skew: Arc<Skew>,
    ) -> Self {
        Self {
            parent,
            url,
            subscription_key,
            transport,
            clock,
            skew,
        }
    }

    pub(crate) fn parent(&self) -> &Arc<Slot> {
        &self.parent
    }

    /// `parent` is the token that was waited for before this exchange had its turn.
    pub(crate) async fn fetch(&self, parent: Option<&Arc<Snapshot>>) -> Result<AccessToken> {
        let now = self.clock.now();
        let parent = match parent.filter(|parent| parent.serves_who_waited(now)) {
            Some(parent) => Arc::clone(parent),
            None => Arc::clone(&self.parent).acquire().await?,
        };
        let refused = match self.exchange(&parent.token).await {
            Err(error) if is_ambiguous(&error) => error,
            outcome => return outcome,
        };
        // Dropped by comparison and asked for once more; a parent forced anew just now is not it.
        let parent = Arc::clone(&self.parent).renewed(parent.generation).await;
        if parent.transpose()?.is_none() {
            return Err(refused);
        }
        tokio::time::sleep(SECOND_EXCHANGE_AFTER).await;
        // Looked at again: the machine may have slept.
        let parent = Arc::clone(&self.parent).acquire().await?;
        self.exchange(&parent.token).await
    }

    async fn exchange(&self, maskinporten: &AccessToken) -> Result<AccessToken> {
        let request = exchange::request(&self.url, maskinporten, self.subscription_key.as_ref());
        let response = self.transport.round_trip(request, ATTEMPT_TIMEOUT).await?;
        exchange::from_response(&response, shifted(self.clock.wall(), self.skew.seconds()))
            .map_err(|error| error.with_endpoint(&self.url))
    }
}

/// Whether Altinn refused with the answer it gives to bad tokens and to its own failures alike. The
/// gateway's refusal for want of a subscription key is another, and no new token mends it.
fn is_ambiguous(error: &Error) -> bool {
    let found = error.advice();
    found.is_some_and(|found| std::ptr::eq(found, &advice::EXCHANGE_REFUSED))
}
