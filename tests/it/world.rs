//! A simulator and a client of it: what nearly every test starts from.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use maskinporten::{
    AccessToken, AltinnSettings, BoxFuture, Error, ErrorKind, FixedToken, KeyReference,
    LocalSigner, MaskinportenClient, MaskinportenClientBuilder, MaskinportenSettings, Result,
    Signer, SigningAlgorithm, SourceIdentity, TokenRequest, TokenSource, TokioClock, Transport,
};
use maskinporten_sim::{Body, Sim, SimClient};
use tower::Service;
use tower_maskinporten::{BoxError, MaskinportenAuthLayer};

/// What the client of a world is registered for.
pub(crate) const SCOPES: [&str; 1] = ["krr:read"];

/// A world with a client in it.
pub(crate) fn world() -> (Sim, MaskinportenClient) {
    world_of(Sim::new())
}

/// The same in a world that was made to measure.
pub(crate) fn world_of(sim: Sim) -> (Sim, MaskinportenClient) {
    let registered = sim.new_client(SCOPES);
    let client = client(&sim, &registered);
    (sim, client)
}

/// A client of the simulator over its virtual time, with its Altinn to exchange at.
pub(crate) fn client(sim: &Sim, registered: &SimClient) -> MaskinportenClient {
    builder(sim, registered).build().unwrap()
}

/// The same, for tests that choose one of its parts themselves.
pub(crate) fn builder(sim: &Sim, registered: &SimClient) -> MaskinportenClientBuilder {
    MaskinportenClient::builder()
        .settings(settings(registered))
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
}

/// The settings of a registered client, as Altinn Studio mounts them.
pub(crate) fn settings(registered: &SimClient) -> MaskinportenSettings {
    let json = registered.settings_json().to_string();
    MaskinportenSettings::from_json(&json, MaskinportenSettings::DEFAULT_SECTION).unwrap()
}

/// Signs with the key of a registered client.
pub(crate) fn signer(registered: &SimClient) -> LocalSigner {
    LocalSigner::new(settings(registered).signing_key().unwrap())
}

/// A source that goes over from one key of a client to another: a signer stands for one key, so that
/// another key is another signer.
#[derive(Debug)]
pub(crate) struct Rotating {
    identity: SourceIdentity,
    clients: [MaskinportenClient; 2],
    used: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Rotating {
    /// Tokens of `registered`, by the first of the signers.
    pub(crate) fn new(sim: &Sim, registered: &SimClient, signers: [LocalSigner; 2]) -> Self {
        let client = |signer| {
            MaskinportenClient::builder()
                .signer(sim.issuer(), registered.client_id(), signer)
                .transport(Transport::new(sim.clone()))
                .clock(TokioClock::starting_at(sim.clock().now()))
                .build()
                .unwrap()
        };
        Self {
            identity: SourceIdentity::new(sim.issuer(), registered.client_id()),
            clients: signers.map(client),
            used: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// Which of the signers is used: 0 or 1.
    pub(crate) fn used(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.used)
    }

    /// How often it was asked for a token.
    pub(crate) fn asked(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.asked)
    }
}

impl TokenSource for Rotating {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let client = &self.clients[self.used.load(Ordering::SeqCst)];
        Box::pin(client.access_token(request.clone()))
    }

    fn revision(&self) -> u64 {
        self.used.load(Ordering::SeqCst) as u64
    }
}

// ===== a layer, and where its requests go =====

/// The origin of an API beside the simulator's own.
pub(crate) const API: &str = "https://api.example.no";

/// An address there.
pub(crate) const A: &str = "https://api.example.no/a";

/// An address elsewhere, which is not to see the token.
pub(crate) const B: &str = "https://elsewhere.example/";

/// A layer for either API.
pub(crate) fn layer(client: &MaskinportenClient) -> MaskinportenAuthLayer {
    let origins = [API, "https://sim.maskinporten.test"];
    MaskinportenAuthLayer::new(client, SCOPES, origins).unwrap()
}

/// The kind of our error, wherever it is in what a layered service failed with.
pub(crate) fn kind_of(error: &BoxError) -> Option<ErrorKind> {
    Error::find_in(&**error).map(Error::kind)
}

// ===== what stands behind a layer =====

/// An inner service that remembers the heads of its requests and answers as it was told.
#[derive(Clone)]
pub(crate) struct Recorder {
    seen: Arc<Mutex<Vec<Parts>>>,
    answer: Arc<Answer>,
}

type Answer = dyn Fn(&Parts) -> Response<Body> + Send + Sync;

impl Recorder {
    /// Answers 200 to everything.
    pub(crate) fn new() -> Self {
        Self::answering(|_| Response::new(Body::empty()))
    }

    pub(crate) fn answering(
        answer: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        Self {
            seen: Arc::default(),
            answer: Arc::new(answer),
        }
    }

    /// The heads of all requests so far.
    pub(crate) fn seen(&self) -> Vec<Parts> {
        self.seen.lock().unwrap().clone()
    }

    /// The `Authorization` values of each request so far.
    pub(crate) fn authorizations(&self) -> Vec<Vec<HeaderValue>> {
        let values = |parts: &Parts| {
            let values = parts.headers.get_all(AUTHORIZATION).iter();
            values.cloned().collect()
        };
        self.seen.lock().unwrap().iter().map(values).collect()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl<B> Service<Request<B>> for Recorder {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let response = (self.answer)(&parts);
        self.seen.lock().unwrap().push(parts);
        ready(Ok(response))
    }
}

/// A service that is always ready and can therefore be called by reference.
#[derive(Clone, Debug)]
pub(crate) struct ByReference<S>(pub(crate) S);

impl<S: Service<R> + Clone, R> Service<R> for &ByReference<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.clone().call(request)
    }
}

impl<S: Service<R>, R> Service<R> for ByReference<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// A request without a body.
pub(crate) fn get(uri: impl AsRef<str>) -> Request<Body> {
    Request::get(uri.as_ref()).body(Body::empty()).unwrap()
}

/// Signs at once and with nothing: for what is asked of the cache, and so that a flight runs as far as it
/// can in one turn.
#[derive(Debug)]
pub(crate) struct Unsigned;

impl Signer for Unsigned {
    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::Rs256
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Kid("none")
    }

    fn sign(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(ready(Ok(b"sig".to_vec())))
    }
}

/// A client whose every token is this text.
pub(crate) fn fixed(text: &str) -> MaskinportenClient {
    let source = FixedToken::new(text, Duration::from_secs(3600)).unwrap();
    MaskinportenClient::builder()
        .source(source)
        .build()
        .unwrap()
}
