//! Everything that users implement, each calling back into the client whenever it is called.

use std::fmt;
use std::future::{pending, ready};
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use maskinporten::{
    AccessToken, BoxFuture, Clock, Error, Finding, KeyReference, MaskinportenClient,
    MaskinportenSettings, Result, SettingsSource, Signer, SigningAlgorithm, SourceIdentity,
    TokenHandle, TokenKind, TokenProvider, TokenRequest, TokenSource,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, KeyName, Metadata, SharedString,
    Unit,
};
use tokio::time::{Instant, sleep};
use tower::Service;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Subscriber};

use super::reentry::{Kind, Reentry};

/// Where assertions go.
pub(super) const AUTHORITY: &str = "https://login.example.no/";

/// Where tokens are exchanged.
pub(super) const PLATFORM: &str = "https://platform.example.no";

/// How long a token lives, unless the server is in another mood.
pub(super) const LIFE: Duration = Duration::from_secs(120);

// ===== values that the engine keeps, and drops or prints some day =====

/// An error's cause, a panic's payload, the owner of a header's bytes.
pub(super) struct Value(Reentry, Bytes);

impl Value {
    pub(super) fn of(reentry: &Reentry) -> Self {
        Self(reentry.clone(), Bytes::from_static(b"Basic Zm9yZWlnbg=="))
    }

    /// A header value whose bytes are this value's.
    pub(super) fn into_header(self) -> HeaderValue {
        HeaderValue::from_maybe_shared(Bytes::from_owner(self)).unwrap()
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.enter(Kind::Print, "Error::fmt");
        f.write_str("Value")
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.enter(Kind::Print, "Error::fmt");
        f.write_str("planted")
    }
}

impl std::error::Error for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.enter(Kind::Value, "Value::drop");
    }
}

/// What something is printed to.
pub(super) struct Paper(pub(super) Reentry);

impl fmt::Write for Paper {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        self.0.enter(Kind::Print, "Write::write_str");
        Ok(())
    }
}

/// A future that calls back when it is polled and when it is dropped.
struct Polled<'a, T> {
    inner: BoxFuture<'a, T>,
    reentry: Reentry,
    kind: Kind,
}

impl<'a, T> Polled<'a, T> {
    fn new(
        kind: Kind,
        reentry: &Reentry,
        future: impl Future<Output = T> + Send + 'a,
    ) -> Pin<Box<Self>> {
        Box::pin(Self {
            inner: Box::pin(future),
            reentry: reentry.clone(),
            kind,
        })
    }
}

impl<T> Future for Polled<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.reentry.enter(self.kind, "Future::poll");
        self.inner.as_mut().poll(cx)
    }
}

impl<T> Drop for Polled<'_, T> {
    fn drop(&mut self) {
        self.reentry.enter(self.kind, "Future::drop");
    }
}

// ===== time =====

/// Tokio's clock, which another thread reads as it was last.
#[derive(Debug)]
pub(super) struct Hands {
    reentry: Reentry,
    started: Instant,
    latest: AtomicU64,
}

impl Hands {
    pub(super) fn new(reentry: &Reentry) -> Self {
        Self {
            reentry: reentry.clone(),
            started: Instant::now(),
            latest: AtomicU64::new(0),
        }
    }

    fn now(&self) -> Duration {
        let here = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        Duration::from_nanos(here.max(self.latest.fetch_max(here, Ordering::SeqCst)))
    }
}

impl Clock for Hands {
    fn monotonic(&self) -> Duration {
        self.reentry.enter(Kind::Clock, "Clock::monotonic");
        self.now()
    }

    fn wall(&self) -> SystemTime {
        self.reentry.enter(Kind::Clock, "Clock::wall");
        SystemTime::UNIX_EPOCH + self.now()
    }
}

// ===== the token server and Altinn, as a transport sees them =====

/// What the token server does from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Serves,
    /// Altinn does not accept the token that it is to exchange.
    RefusesToExchange,
    /// No connection comes about, to Altinn neither.
    IsGone,
    IsBusy,
    RefusesTheClient,
    RefusesTheKey,
    /// Refuses assertions for their time.
    HasAnotherTime,
    GivesSpentTokens,
    /// Takes longer to answer than its tokens live.
    IsLate,
    Hangs,
    Panics,
}

/// Answers by its mood, and calls back in every method.
pub(super) struct Server {
    reentry: Reentry,
    mood: Arc<Mutex<Mood>>,
    tokens: Arc<AtomicUsize>,
    revision: Arc<AtomicU64>,
}

impl Server {
    pub(super) fn new(reentry: &Reentry) -> Self {
        Self {
            reentry: reentry.clone(),
            mood: Arc::new(Mutex::new(Mood::Serves)),
            tokens: Arc::default(),
            revision: Arc::default(),
        }
    }

    /// The same server, without a call back.
    pub(super) fn handle(&self) -> Self {
        Self {
            reentry: self.reentry.clone(),
            mood: Arc::clone(&self.mood),
            tokens: Arc::clone(&self.tokens),
            revision: Arc::clone(&self.revision),
        }
    }

    pub(super) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// What a source remembers of its failures is of no use from here on.
    pub(super) fn is_another(&self) {
        self.revision.fetch_add(1, Ordering::SeqCst);
    }

    /// How many tokens it has given.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.load(Ordering::SeqCst)
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    async fn answer(self, path: String) -> Result<Response<Full<Bytes>>, Value> {
        let mood = self.mood();
        if mood == Mood::IsGone {
            return Err(Value::of(&self.reentry));
        }
        if path.contains("/.well-known/") {
            let document =
                format!(r#"{{"issuer":"{AUTHORITY}","token_endpoint":"{AUTHORITY}token"}}"#);
            return Ok(crate::wire::answer(200, document));
        }
        if path.contains("/exchange/") {
            return Ok(match mood {
                Mood::RefusesToExchange => crate::wire::answer(401, ""),
                _ => crate::wire::answer(200, self.altinn_token()),
            });
        }
        let refusal = |description: &str| {
            let body =
                format!(r#"{{"error":"invalid_grant","error_description":"{description}"}}"#);
            crate::wire::answer(400, body)
        };
        Ok(match mood {
            Mood::IsBusy => crate::wire::answer(503, ""),
            Mood::RefusesTheClient => refusal("unknown client"),
            Mood::RefusesTheKey => refusal("Invalid assertion. Unknown key identifier (kid)"),
            Mood::HasAnotherTime => {
                let mut response = refusal("JWT is expired (MP-130)");
                let date = HeaderValue::from_static("Thu, 01 Jan 1970 10:00:00 GMT");
                response.headers_mut().insert(http::header::DATE, date);
                response
            }
            Mood::GivesSpentTokens => self.token(1),
            Mood::IsLate => {
                sleep(Duration::from_millis(2_500)).await;
                self.token(2)
            }
            Mood::Hangs => pending().await,
            Mood::Panics => panic_any(Value::of(&self.reentry)),
            Mood::Serves | Mood::RefusesToExchange | Mood::IsGone => self.token(LIFE.as_secs()),
        })
    }

    fn number(&self) -> usize {
        self.tokens.fetch_add(1, Ordering::SeqCst)
    }

    fn token(&self, life: u64) -> Response<Full<Bytes>> {
        let number = self.number();
        let body = format!(
            r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{life}}}"#
        );
        crate::wire::answer(200, body)
    }

    fn altinn_token(&self) -> String {
        let claims = format!(r#"{{"iat":0,"exp":1800,"jti":{}}}"#, self.number());
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }
}

impl Clone for Server {
    fn clone(&self) -> Self {
        self.reentry.enter(Kind::Transport, "Service::clone");
        self.handle()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.reentry.enter(Kind::Transport, "Service::drop");
    }
}

impl Service<Request<Bytes>> for Server {
    type Response = Response<Reply>;
    type Error = Value;
    type Future = BoxFuture<'static, Result<Self::Response, Value>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Value>> {
        self.reentry.enter(Kind::Transport, "Service::poll_ready");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.reentry.enter(Kind::Transport, "Service::call");
        let (server, reentry) = (self.handle(), self.reentry.clone());
        let path = request.uri().path().to_owned();
        Polled::new(Kind::Transport, &self.reentry, async move {
            let response = server.answer(path).await?;
            Ok(response.map(|body| Reply { body, reentry }))
        })
    }
}

/// An answer's body.
pub(super) struct Reply {
    body: Full<Bytes>,
    reentry: Reentry,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.reentry.enter(Kind::Transport, "Body::poll_frame");
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.reentry.enter(Kind::Transport, "Body::size_hint");
        self.body.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.reentry.enter(Kind::Transport, "Body::drop");
    }
}

// ===== who signs, and where settings and tokens come from =====

#[derive(Debug)]
pub(super) struct Key {
    reentry: Reentry,
    kid: &'static str,
}

impl Key {
    pub(super) fn new(reentry: &Reentry, kid: &'static str) -> Self {
        let reentry = reentry.clone();
        Self { reentry, kid }
    }
}

impl Signer for Key {
    fn algorithm(&self) -> SigningAlgorithm {
        self.reentry.enter(Kind::Signer, "Signer::algorithm");
        SigningAlgorithm::Rs256
    }

    fn key_reference(&self) -> KeyReference<'_> {
        self.reentry.enter(Kind::Signer, "Signer::key_reference");
        KeyReference::Kid(self.kid)
    }

    /// Soon enough to be warned of.
    fn expires_at(&self) -> Option<SystemTime> {
        self.reentry.enter(Kind::Signer, "Signer::expires_at");
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(6 * 24 * 60 * 60))
    }

    fn sign(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        self.reentry.enter(Kind::Signer, "Signer::sign");
        let signature = ready(Ok(b"signature".to_vec()));
        Polled::new(Kind::Signer, &self.reentry, signature)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.reentry.enter(Kind::Signer, "Signer::drop");
    }
}

/// Settings as a test has written them last.
#[derive(Clone, Debug)]
pub(super) struct Script {
    reentry: Reentry,
    says: Arc<Mutex<Says>>,
}

#[derive(Clone, Debug)]
pub(super) enum Says {
    Settings(Box<MaskinportenSettings>),
    /// Settings with other keys each time.
    Flickers,
    Fails(&'static str),
    Panics,
}

impl Script {
    pub(super) fn new(reentry: &Reentry, settings: MaskinportenSettings) -> Self {
        Self {
            reentry: reentry.clone(),
            says: Arc::new(Mutex::new(Says::Settings(Box::new(settings)))),
        }
    }

    pub(super) fn says(&self, says: Says) {
        let before = std::mem::replace(&mut *self.says.lock().unwrap(), says);
        drop(before);
    }

    fn finding(&self) -> Result<Finding> {
        let says = self.says.lock().unwrap().clone();
        match says {
            Says::Settings(settings) => Ok((*settings).into()),
            Says::Flickers => {
                let key = Key::new(&self.reentry, "flickers");
                Ok(MaskinportenSettings::new(AUTHORITY, "our-client")
                    .with_signer(key)
                    .into())
            }
            Says::Fails(why) => Err(Error::unavailable(why).caused_by(Value::of(&self.reentry))),
            Says::Panics => panic_any(Value::of(&self.reentry)),
        }
    }
}

impl SettingsSource for Script {
    fn name(&self) -> &str {
        self.reentry.enter(Kind::Settings, "SettingsSource::name");
        "the script"
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        self.reentry.enter(Kind::Settings, "SettingsSource::look");
        Polled::new(Kind::Settings, &self.reentry, async { self.finding() })
    }

    fn interval(&self) -> Option<Duration> {
        self.reentry
            .enter(Kind::Settings, "SettingsSource::interval");
        Some(Duration::from_secs(600))
    }
}

/// Tokens by the mood of the same server, without a grant.
#[derive(Debug)]
pub(super) struct Source {
    reentry: Reentry,
    mood: Arc<Mutex<Mood>>,
    tokens: Arc<AtomicUsize>,
    revision: Arc<AtomicU64>,
    identity: SourceIdentity,
}

impl Source {
    pub(super) fn of(server: &Server) -> Self {
        Self {
            reentry: server.reentry.clone(),
            mood: Arc::clone(&server.mood),
            tokens: Arc::clone(&server.tokens),
            revision: Arc::clone(&server.revision),
            identity: SourceIdentity::new("reentrant", ""),
        }
    }

    async fn token(&self) -> Result<AccessToken> {
        let token = |life| {
            let number = self.tokens.fetch_add(1, Ordering::SeqCst);
            AccessToken::new(&format!("token-{number}"), life)
        };
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Serves | Mood::RefusesToExchange => token(LIFE),
            Mood::GivesSpentTokens => token(Duration::from_secs(1)),
            Mood::IsLate => {
                sleep(Duration::from_millis(2_500)).await;
                token(Duration::from_secs(2))
            }
            Mood::IsGone | Mood::IsBusy => {
                Err(Error::unavailable("the source is out").caused_by(Value::of(&self.reentry)))
            }
            Mood::RefusesTheClient | Mood::RefusesTheKey | Mood::HasAnotherTime => {
                Err(Error::rejected("the source says no").caused_by(Value::of(&self.reentry)))
            }
            Mood::Hangs => pending().await,
            Mood::Panics => panic_any(Value::of(&self.reentry)),
        }
    }
}

impl TokenSource for Source {
    fn identity(&self) -> SourceIdentity {
        self.reentry.enter(Kind::Source, "TokenSource::identity");
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        self.reentry.enter(Kind::Source, "TokenSource::fetch");
        Polled::new(Kind::Source, &self.reentry, self.token())
    }

    fn fetch_anew<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        self.reentry.enter(Kind::Source, "TokenSource::fetch_anew");
        Polled::new(Kind::Source, &self.reentry, self.token())
    }

    fn keeps_tokens(&self) -> bool {
        self.reentry
            .enter(Kind::Source, "TokenSource::keeps_tokens");
        true
    }

    fn revision(&self) -> u64 {
        self.reentry.enter(Kind::Source, "TokenSource::revision");
        self.revision.load(Ordering::SeqCst)
    }

    fn supports(&self, _: &TokenRequest) -> Result<()> {
        self.reentry.enter(Kind::Source, "TokenSource::supports");
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reentry.enter(Kind::Source, "TokenSource::drop");
    }
}

// ===== what layers are given =====

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) reentry: Reentry,
    pub(super) client: MaskinportenClient,
}

impl TokenProvider for Provider {
    fn token(&self, request: &TokenRequest, kind: TokenKind) -> Result<TokenHandle> {
        self.reentry.enter(Kind::Provider, "TokenProvider::token");
        self.client.token(request, kind)
    }
}

/// For [`MaskinportenAuthLayer::final_uri`](tower_maskinporten::MaskinportenAuthLayer::final_uri).
pub(super) fn final_uri(extensions: &Extensions) -> Option<Uri> {
    let reentry = extensions.get::<Reentry>()?;
    reentry.enter(Kind::FinalUri, "final_uri");
    None
}

// ===== who waits =====

/// Polls a future with a waker that calls back.
pub(super) struct Awoken<F> {
    inner: Pin<Box<F>>,
    reentry: Reentry,
}

impl<F: Future> Awoken<F> {
    pub(super) fn new(reentry: &Reentry, future: F) -> Self {
        Self {
            inner: Box::pin(future),
            reentry: reentry.clone(),
        }
    }
}

impl<F: Future> Future for Awoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let waker = Arc::new(Alarm {
            inner: cx.waker().clone(),
            reentry: self.reentry.clone(),
        });
        let waker = Waker::from(waker);
        self.inner.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

struct Alarm {
    inner: Waker,
    reentry: Reentry,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reentry.enter(Kind::Waker, "Waker::wake");
        self.inner.wake_by_ref();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.reentry.enter(Kind::Waker, "Waker::drop");
    }
}

// ===== who listens =====

/// Hears every span and event.
pub(super) struct Listener {
    reentry: Reentry,
    spans: AtomicU64,
}

impl Listener {
    pub(super) fn new(reentry: &Reentry) -> Self {
        Self {
            reentry: reentry.clone(),
            spans: AtomicU64::new(0),
        }
    }

    fn heard(&self, call: &'static str) {
        self.reentry.enter(Kind::Subscriber, call);
    }
}

impl Subscriber for Listener {
    /// Calls nothing: tracing calls it under a lock of tracing's.
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        self.heard("Subscriber::enabled");
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.heard("Subscriber::new_span");
        Id::from_u64(1 + self.spans.fetch_add(1, Ordering::SeqCst))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        self.heard("Subscriber::record");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        self.heard("Subscriber::record_follows_from");
    }

    fn event(&self, _: &Event<'_>) {
        self.heard("Subscriber::event");
    }

    fn enter(&self, _: &Id) {
        self.heard("Subscriber::enter");
    }

    fn exit(&self, _: &Id) {
        self.heard("Subscriber::exit");
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.heard("Subscriber::clone_span");
        id.clone()
    }

    fn try_close(&self, _: Id) -> bool {
        self.heard("Subscriber::try_close");
        true
    }
}

/// Takes every metric.
#[derive(Clone)]
pub(super) struct Recorder(pub(super) Reentry);

impl Recorder {
    fn heard(&self, call: &'static str) {
        self.0.enter(Kind::Recorder, call);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.heard("Recorder::describe_counter");
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.heard("Recorder::describe_gauge");
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.heard("Recorder::describe_histogram");
    }

    fn register_counter(&self, _: &metrics::Key, _: &Metadata<'_>) -> Counter {
        self.heard("Recorder::register_counter");
        Counter::from_arc(Arc::new(self.clone()))
    }

    fn register_gauge(&self, _: &metrics::Key, _: &Metadata<'_>) -> Gauge {
        self.heard("Recorder::register_gauge");
        Gauge::from_arc(Arc::new(self.clone()))
    }

    fn register_histogram(&self, _: &metrics::Key, _: &Metadata<'_>) -> Histogram {
        self.heard("Recorder::register_histogram");
        Histogram::from_arc(Arc::new(self.clone()))
    }
}

impl CounterFn for Recorder {
    fn increment(&self, _: u64) {
        self.heard("Counter::increment");
    }

    fn absolute(&self, _: u64) {
        self.heard("Counter::absolute");
    }
}

impl GaugeFn for Recorder {
    fn increment(&self, _: f64) {
        self.heard("Gauge::increment");
    }

    fn decrement(&self, _: f64) {
        self.heard("Gauge::decrement");
    }

    fn set(&self, _: f64) {
        self.heard("Gauge::set");
    }
}

impl HistogramFn for Recorder {
    fn record(&self, _: f64) {
        self.heard("Histogram::record");
    }
}
