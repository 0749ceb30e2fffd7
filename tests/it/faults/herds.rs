//! Many callers at once, callers that go, and parts that panic: F28 to F32, F34.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use http_body_util::Full;
use maskinporten::{
    BoxFuture, Consent, ErrorKind, KeyReference, LocalSigner, Signer, SigningAlgorithm, SigningKey,
    SystemUser, TokenRequest, TokioClock, Transport,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::Service;

use super::*;
use crate::wire;

const HERD: usize = 10_000;

fn altinn_app(sim: Sim) -> App {
    let mut app = App::in_world(sim);
    let layer =
        tower_maskinporten::AltinnAuthLayer::new(&app.client, SCOPES, app.sim.altinn_platform());
    app.api = layer.unwrap().layer(app.sim.clone());
    app
}

// ===== herds =====

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_a_cold_slot_wait_for_one_grant_and_one_exchange() {
    let app = altinn_app(Sim::new());
    for route in [Route::Token, Route::Exchange] {
        app.sim.fault(route, Fault::latency(milliseconds(80)));
    }
    let calls = (0..HERD).map(|_| {
        let call = app.call();
        async move {
            let called = Instant::now();
            call.await.unwrap();
            called.elapsed()
        }
    });
    let waits = join_all(calls).await;
    // Two round trips, and nobody stands in a queue behind them.
    assert!(waits.iter().all(|wait| *wait <= milliseconds(160 + 20)));
    let journal = app.sim.journal();
    assert_eq!((journal.token_requests(), journal.exchanges()), (1, 1));
    assert_eq!(journal.api_calls(), HERD);
}

#[tokio::test(start_paused = true)]
async fn of_ten_thousand_callers_none_waits_at_renewal_and_all_wait_for_one_at_the_end() {
    let app = App::new();
    app.call().await.unwrap();
    app.sim
        .fault(Route::Token, Fault::latency(milliseconds(80)));

    sleep(seconds(100)).await;
    for _ in 0..HERD {
        app.call().now_or_never().expect("nobody waits").unwrap();
    }
    sleep(seconds(1)).await;
    assert_eq!(app.token_requests(), 2);

    sleep(seconds(120)).await;
    let began = Instant::now();
    try_join_all((0..HERD).map(|_| app.call())).await.unwrap();
    assert!(began.elapsed() <= milliseconds(80 + 20));
    assert_eq!(app.token_requests(), 3);
    app.assert_no_expired_token_was_sent();
}

#[tokio::test(start_paused = true)]
async fn a_waiting_caller_takes_less_than_a_kilobyte() {
    let app = App::new();
    app.sim
        .fault(Route::Token, Fault::latency(milliseconds(80)));
    // The first one pays for the slot and its flight.
    let mut first = pin!(app.token());
    assert!(first.as_mut().now_or_never().is_none());

    let request = TokenRequest::scopes(SCOPES).unwrap();
    let mut waiting = Vec::with_capacity(HERD);
    let taken = allocation_counter::measure(|| {
        for _ in 0..HERD {
            let mut call = Box::pin(app.client.access_token(&request));
            let mut context = Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut context).is_pending());
            waiting.push(call);
        }
    });
    let each = taken.bytes_max as usize / HERD;
    assert!(each < 1_000, "{each} bytes for each caller that waits");
    try_join_all(waiting).await.unwrap();
    assert_eq!(app.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_a_failing_server_share_one_error_a_window() {
    let app = App::new();
    app.sim.fault(Route::Token, unavailable());
    for window in 1..=5 {
        let began = Instant::now();
        let errors = join_all((0..HERD).map(|_| app.call())).await;
        assert!(began.elapsed() <= PAUSES + milliseconds(2), "nobody queues");
        let errors: Vec<Error> = errors.into_iter().map(Result::unwrap_err).collect();
        for error in &errors {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.retry_at(), errors[0].retry_at());
        }
        // Who comes later in the window hears the same from memory.
        for _ in 0..HERD {
            let call = app.call().now_or_never().expect("at once");
            assert_eq!(call.unwrap_err().retry_at(), errors[0].retry_at());
        }
        assert_eq!(app.token_requests(), 3 * window);
        sleep(app.wait(&errors[0])).await;
    }
}

// ===== callers that go =====

#[tokio::test(start_paused = true)]
async fn a_fetch_that_all_callers_left_lands_in_the_cache_and_leaves_no_task_behind() {
    let app = altinn_app(Sim::new());
    for route in [Route::Metadata, Route::Token, Route::Exchange] {
        app.sim.fault(route, Fault::latency(milliseconds(80)));
    }
    let tasks = Handle::current().metrics().num_alive_tasks();
    let calls = (0..1_000).map(|number| timeout(milliseconds(number % 70), app.call()));
    let calls = join_all(calls).await;
    assert!(calls.iter().all(Result::is_err));

    sleep(seconds(1)).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
    app.call().now_or_never().expect("it is there").unwrap();
    let journal = app.sim.journal();
    assert_eq!((journal.token_requests(), journal.exchanges()), (1, 1));

    // The same where nothing comes of it.
    let app = App::new();
    app.sim.fault(Route::Token, Fault::hang());
    let call = timeout(milliseconds(10), app.call());
    call.await.unwrap_err();
    sleep(FLIGHT).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
    assert_eq!(app.token_requests(), 3);
}

// ===== parts that panic =====

/// How often something panics before it works.
#[derive(Clone, Debug, Default)]
struct Fuse {
    left: Arc<AtomicUsize>,
    panicked: Arc<AtomicUsize>,
}

impl Fuse {
    fn of(panics: usize) -> Self {
        let fuse = Self::default();
        fuse.left.store(panics, Ordering::Relaxed);
        fuse
    }

    fn burn(&self) {
        let less = |left: usize| left.checked_sub(1);
        let ordering = Ordering::Relaxed;
        if self.left.fetch_update(ordering, ordering, less).is_ok() {
            self.panicked.fetch_add(1, ordering);
            panic!("planted");
        }
    }

    fn panicked(&self) -> usize {
        self.panicked.load(Ordering::Relaxed)
    }
}

/// Where it panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Sign,
    Signing,
    Ready,
    Call,
    Answer,
    Body,
}

const PLACES: [At; 6] = [
    At::Sign,
    At::Signing,
    At::Ready,
    At::Call,
    At::Answer,
    At::Body,
];

#[derive(Debug)]
struct PanickingSigner {
    signer: LocalSigner,
    at: At,
    fuse: Fuse,
}

impl Signer for PanickingSigner {
    fn algorithm(&self) -> SigningAlgorithm {
        self.signer.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        self.signer.key_reference()
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        if self.at == At::Sign {
            self.fuse.burn();
        }
        Box::pin(async move {
            if self.at == At::Signing {
                self.fuse.burn();
            }
            self.signer.sign(input).await
        })
    }
}

#[derive(Clone, Debug)]
struct PanickingServer {
    at: At,
    fuse: Fuse,
}

impl Service<Request<Bytes>> for PanickingServer {
    type Response = Response<PanickingBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.at == At::Ready {
            self.fuse.burn();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        if self.at == At::Call {
            self.fuse.burn();
        }
        let this = self.clone();
        Box::pin(async move {
            if this.at == At::Answer {
                this.fuse.burn();
            }
            Ok(wire::token("calm").map(|body| PanickingBody { body, of: this }))
        })
    }
}

struct PanickingBody {
    body: Full<Bytes>,
    of: PanickingServer,
}

impl http_body::Body for PanickingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if self.of.at == At::Body {
            self.of.fuse.burn();
        }
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }
}

fn panicking(at: At, fuse: &Fuse) -> MaskinportenClient {
    let key = SigningKey::from_jwk(JWK, None).unwrap();
    let signer = PanickingSigner {
        signer: LocalSigner::new(key),
        at,
        fuse: fuse.clone(),
    };
    let server = PanickingServer {
        at,
        fuse: fuse.clone(),
    };
    MaskinportenClient::builder()
        .signer("test", "our-client", signer)
        .transport(Transport::new(server))
        .clock(TokioClock::starting_at(UNIX_EPOCH))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_signer_or_transport_poisons_nothing() {
    for at in PLACES {
        // Once is noticed by nobody.
        let fuse = Fuse::of(1);
        let client = panicking(at, &fuse);
        let calls = join_all((0..100).map(|_| client.access_token(SCOPES))).await;
        assert!(calls.iter().all(Result::is_ok), "{at:?}: {:?}", calls[0]);
        assert_eq!(fuse.panicked(), 1, "{at:?}");

        // Often is one typed error for all, and the next that works brings a token.
        let fuse = Fuse::of(3);
        let client = panicking(at, &fuse);
        let calls = join_all((0..100).map(|_| client.access_token(SCOPES))).await;
        for error in calls.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Runtime, "{at:?}");
            assert!(error.is_transient(), "{at:?}");
            assert!(error.hint().unwrap().contains("panicked"), "{at:?}");
            assert!(!format!("{error} {error:?}").contains("planted"));
        }
        assert_eq!(fuse.panicked(), 3, "{at:?}");
        sleep(seconds(1)).await;
        client.access_token(SCOPES).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_always_panics_is_asked_by_one_flight_a_window_as_any_other_failure() {
    for at in PLACES {
        let fuse = Fuse::of(usize::MAX);
        let client = panicking(at, &fuse);
        // 400 ms: all of it within the shortest time that a failure is remembered.
        for _ in 0..100 {
            let error = client.access_token(SCOPES).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Runtime, "{at:?}");
            assert_eq!(fuse.panicked(), 3, "{at:?}");
            advance(milliseconds(4)).await;
        }
    }
}

// ===== many identities =====

const CONSENT: &str = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";

/// Requests that differ in one thing each, with what their assertion must say.
fn requests(sim: &Sim, client_id: &str) -> Vec<TokenRequest> {
    let plain = || TokenRequest::scopes(["a:read"]).unwrap();
    let organisations = ["311169963", "405003309"];
    let mut requests = vec![
        plain(),
        TokenRequest::scopes(["b:write"]).unwrap(),
        TokenRequest::scopes(["a:read", "b:write"]).unwrap(),
    ];
    for number in 0..40 {
        requests.push(plain().resource(format!("urn:{number}")).unwrap());
    }
    for organisation in organisations {
        sim.delegate(organisation, "991825827", "a:read");
        requests.push(plain().consumer_org(organisation).unwrap());
        for reference in ["x", "y"] {
            sim.system_user(organisation, Some(reference), client_id);
            let user = SystemUser::new(organisation).unwrap();
            let user = user.external_ref(reference).unwrap();
            requests.push(plain().system_user(user));
        }
    }
    sim.consent(CONSENT, "urn:altinn:organization:identifier-no:405003309");
    let consent = Consent::from_organisation(CONSENT, "405003309").unwrap();
    requests.push(plain().consent(consent));
    requests
}

#[tokio::test(start_paused = true)]
async fn requests_for_different_tokens_at_the_same_time_never_get_each_others() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read", "b:write"]);
    let client = world::client(&sim, &registered);
    let requests = requests(&sim, registered.client_id());
    // Answers come back in another order than they were asked for.
    for number in 0..requests.len() as u64 {
        let latency = milliseconds(number * 37 % 101);
        sim.fault(Route::Token, Fault::latency(latency).times(1));
    }
    let calls = (0..10).flat_map(|_| &requests).map(async |request| {
        let token = client.access_token(request).await.unwrap();
        let exchanged = client.altinn_token(request).await.unwrap();
        (request, token, exchanged)
    });
    let tokens = join_all(calls).await;

    assert_eq!(sim.journal().grants(), requests.len());
    assert_eq!(sim.journal().exchanges(), requests.len());
    let mut distinct = HashSet::new();
    for (request, token, exchanged) in &tokens {
        check_claims(request, token.expose());
        distinct.insert(token.expose());
        distinct.insert(exchanged.expose());
    }
    assert_eq!(distinct.len(), 2 * requests.len());
    for pair in tokens.chunks(requests.len()) {
        for (at, (request, token, _)) in pair.iter().enumerate() {
            assert_eq!(*request, tokens[at].0);
            assert_eq!(token.expose(), tokens[at].1.expose());
        }
    }
}

/// That a token is the one that was asked for, by what it says itself.
#[track_caller]
fn check_claims(request: &TokenRequest, token: &str) {
    let claims = wire::Jws::parse(token).claims;
    let asked = format!("{request:?}");
    assert_eq!(claims["scope"], request.scope_set().as_str(), "{asked}");
    let said = claims.to_string();
    for number in 0..40 {
        let urn = format!("\"urn:{number}\"");
        assert_eq!(asked.contains(&urn), said.contains(&urn), "{asked} {said}");
    }
}
