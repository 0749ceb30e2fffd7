//! What stands still, sleeps, or is looked at late: runtimes that nobody drives, callers that nobody polls,
//! and locks that somebody else's code would wait for.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use maskinporten::{
    AccessToken, BoxFuture, Clock, ErrorKind, MaskinportenClient, Result, SourceIdentity,
    TokenRequest, TokenSource, TokioClock, Transport,
};
use maskinporten_sim::{Body, Fault, Route};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, ServiceExt};

use crate::wire::{self, Wire};
use crate::world::{self, A, Recorder, SCOPES, layer};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn request(number: usize) -> TokenRequest {
    TokenRequest::scopes(["a:read"])
        .unwrap()
        .resource(format!("https://api-{number}.example.no"))
        .unwrap()
}

fn refusing_the_first() -> Recorder {
    let first: Arc<Mutex<Option<HeaderValue>>> = Arc::default();
    Recorder::answering(move |parts| {
        let shown = &parts.headers[AUTHORIZATION];
        let mut first = first.lock().unwrap();
        if first.get_or_insert_with(|| shown.clone()) == shown {
            let mut response = Response::new(Body::from("refused"));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        }
        Response::new(Body::empty())
    })
}

fn get(uri: &str) -> Request<&'static str> {
    Request::get(uri).body("").unwrap()
}

/// A source that does what it is told, in order, and gives tokens after that.
#[derive(Clone, Debug)]
struct Told {
    identity: SourceIdentity,
    hangs: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
    fetches: Arc<AtomicUsize>,
    life: Duration,
}

impl Told {
    fn new(life: Duration) -> Self {
        Self {
            identity: SourceIdentity::new("told", ""),
            hangs: Arc::default(),
            fails: Arc::default(),
            fetches: Arc::default(),
            life,
        }
    }
}

impl TokenSource for Told {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async move {
            let n = self.fetches.fetch_add(1, Ordering::SeqCst);
            if n < self.hangs.load(Ordering::SeqCst) {
                pending::<()>().await;
            }
            if self.fails.load(Ordering::SeqCst) {
                return AccessToken::new("", self.life);
            }
            AccessToken::new(&format!("token-{n}"), self.life)
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn four_flights_on_a_runtime_that_stands_still_cost_another_token_nothing() {
    let source = Told::new(seconds(120));
    source.hangs.store(4, Ordering::SeqCst);
    let clock = Scripted::new();
    let client = MaskinportenClient::builder()
        .source(source)
        .clock(clock.clone())
        .build()
        .unwrap();
    let still = runtime();
    still.block_on(async {
        let four = join_all((0..4).map(|n| client.access_token(request(n))));
        let _ = timeout(Duration::from_millis(50), four).await;
    });
    // `still` lives, and nobody drives it any more. A flight's 10 s pass, and one of grace.
    clock.advance(11);
    let other = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let token = other.block_on(client.access_token(request(9)));
    drop(still);
    assert!(token.is_ok(), "{:?}", token.err());
}

#[test]
fn who_joins_a_flight_outside_a_runtime_gets_a_typed_error_and_no_panic() {
    let source = Told::new(seconds(120));
    source.hangs.store(1, Ordering::SeqCst);
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .unwrap();
    let elsewhere = runtime();
    elsewhere.block_on(async {
        let _ = timeout(Duration::from_millis(50), client.access_token(["a:read"])).await;
    });
    let mut outside = pin!(client.access_token(["a:read"]));
    let polled = catch_unwind(AssertUnwindSafe(|| {
        outside
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }));
    let polled = polled.expect("a panic");
    match polled {
        Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Runtime),
        Poll::Ready(Ok(_)) => panic!("no token can be there"),
        Poll::Pending => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_nobody_polled_for_long_sends_no_expired_token() {
    let (sim, client) = world::world();
    client.access_token(SCOPES).await.unwrap();
    let api = refusing_the_first();
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());
    sim.fault(Route::Token, Fault::latency(seconds(2)));
    let mut call = pin!(service.oneshot(get(A)));
    let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    sleep(seconds(300)).await;
    let _ = call.await;

    let now = sim.clock().now();
    for values in api.authorizations().iter().skip(1) {
        let token = values[0].to_str().unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        let exp = SystemTime::UNIX_EPOCH + seconds(claims["exp"].as_u64().unwrap());
        assert!(exp > now, "expired {:?} ago", now.duration_since(exp));
    }
}

/// Gives the readings it was told, then the last one again and again.
#[derive(Debug)]
struct Script {
    now: AtomicU64,
    /// Added after so many readings.
    jumps: Mutex<VecDeque<(u32, u64)>>,
}

#[derive(Clone, Debug)]
struct Scripted(Arc<Script>);

impl Scripted {
    fn new() -> Self {
        Self(Arc::new(Script {
            now: AtomicU64::new(1_000),
            jumps: Mutex::default(),
        }))
    }
    fn advance(&self, by: u64) {
        self.0.now.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for Scripted {
    fn monotonic(&self) -> Duration {
        let mut jumps = self.0.jumps.lock().unwrap();
        if let Some((left, by)) = jumps.front_mut() {
            if *left == 0 {
                self.0.now.fetch_add(*by, Ordering::SeqCst);
                jumps.pop_front();
            } else {
                *left -= 1;
            }
        }
        seconds(self.0.now.load(Ordering::SeqCst))
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + seconds(self.0.now.load(Ordering::SeqCst))
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_between_two_readings_sends_no_expired_token() {
    let clock = Scripted::new();
    let client = MaskinportenClient::builder()
        .source(Told::new(seconds(120)))
        .clock(clock.clone())
        .build()
        .unwrap();
    let authorizer = client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap();
    client.access_token(["a:read"]).await.unwrap();

    // The next reading is exact; before the one after, a minute passes.
    clock.0.jumps.lock().unwrap().push_back((1, 60));
    assert!(authorizer.authorize_now(&mut get(A)).is_some());
    // 120 s after it was asked for: six beyond its hard end.
    clock.advance(60);
    assert!(
        authorizer.authorize_now(&mut get(A)).is_none(),
        "an expired token was set"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_newer_token_holds_no_permit() {
    let (sim, client) = world::world();
    client.access_token(SCOPES).await.unwrap();
    let limited = ConcurrencyLimit::new(refusing_the_first(), 1);
    let service = layer(&client)
        .replay_on_unauthorized()
        .layer(limited.clone());
    sim.fault(Route::Token, Fault::latency(seconds(2)));
    let mut call = pin!(service.oneshot(get(A)));
    let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    let mut other = limited;
    let ready = ServiceExt::<Request<&'static str>>::ready(&mut other)
        .now_or_never()
        .is_some();
    assert!(ready, "the permit is held while the token is fetched");
}

#[test]
fn a_shutdown_waits_no_longer_for_ten_flights_that_stand_still_than_for_one() {
    let source = Told::new(seconds(120));
    source.hangs.store(100, Ordering::SeqCst);
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .unwrap();
    let (still, other) = (runtime(), runtime());
    still.block_on(async {
        let many = join_all((0..10).map(|n| client.access_token(request(n))));
        let _ = timeout(Duration::from_millis(50), many).await;
    });
    let began = std::time::Instant::now();
    other.block_on(client.shutdown());
    drop(still);
    assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
}

/// Looks at its client when it is asked for its revision, as one does whose key is behind a lock that
/// is also held while the client is told of a new key.
#[derive(Debug)]
struct Looking {
    identity: SourceIdentity,
    client: Arc<OnceLock<MaskinportenClient>>,
}

impl TokenSource for Looking {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }
    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async { AccessToken::new("token", seconds(120)) })
    }
    fn revision(&self) -> u64 {
        if let Some(client) = self.client.get() {
            let _ = client.health();
        }
        0
    }
}

#[test]
fn a_sources_revision_is_asked_for_under_no_lock() {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let clock = Scripted::new();
            let own = Arc::new(OnceLock::new());
            let client = MaskinportenClient::builder()
                .source(Looking {
                    identity: SourceIdentity::new("looking", ""),
                    client: Arc::clone(&own),
                })
                .clock(clock.clone())
                .build()
                .unwrap();
            own.set(client.clone()).unwrap();
            client.access_token(["a:read"]).await.unwrap();
            let authorizer = client
                .authorizer(["a:read"], "https://api.example.no")
                .unwrap();
            // Ageing.
            clock.advance(100);
            assert!(authorizer.authorize_now(&mut get(A)).is_some());
            done.send(()).unwrap();
        });
    });
    is_done
        .recv_timeout(seconds(5))
        .expect("it stands still under its own lock");
}

#[test]
fn metadata_that_is_read_on_a_runtime_that_stands_still_costs_others_nothing() {
    let asked = Arc::new(AtomicUsize::new(0));
    let transport = Wire::default().over(tower::service_fn(move |_: Request<bytes::Bytes>| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(wire::answer(
                200,
                r#"{"issuer":"https://idp.example/","token_endpoint":"https://idp.example/token"}"#,
            ))
        }
    }));
    let clock = Scripted::new();
    let client = MaskinportenClient::builder()
        .signer("https://idp.example/", "our-client", world::Unsigned)
        .transport(transport)
        .clock(clock.clone())
        .build()
        .unwrap();
    let still = runtime();
    still.block_on(async {
        let _ = timeout(Duration::from_millis(50), client.access_token(request(0))).await;
    });
    clock.advance(11);
    let other = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let error = other.block_on(client.access_token(request(9))).unwrap_err();
    drop(still);
    // The "token" endpoint answers with metadata: it was reached.
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
}

/// What a transport's service holds. Its next clone takes as long as it is told to.
#[derive(Debug, Default)]
struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    holds: AtomicBool,
    is_held: Barriers,
}

/// Reached when the clone has begun, and when it may end.
#[derive(Debug)]
struct Barriers(Barrier, Barrier);

impl Default for Barriers {
    fn default() -> Self {
        Self(Barrier::new(2), Barrier::new(2))
    }
}

impl Clone for Gate {
    fn clone(&self) -> Self {
        if self.0.holds.swap(false, Ordering::SeqCst) {
            self.0.is_held.0.wait();
            self.0.is_held.1.wait();
        }
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn a_runtime_that_stands_still_while_it_waits_for_its_clone_of_the_transport_costs_others_nothing()
{
    let state = Arc::<GateState>::default();
    let gate = Gate(Arc::clone(&state));
    let transport = Transport::new(tower::service_fn(move |_: Request<bytes::Bytes>| {
        let _of_the_service = &gate;
        async { Ok::<_, std::convert::Infallible>(wire::token("token")) }
    }));
    let client = MaskinportenClient::builder()
        .signer(
            "https://test.maskinporten.no/",
            "our-client",
            world::Unsigned,
        )
        .transport(transport)
        .build()
        .unwrap();

    state.holds.store(true, Ordering::SeqCst);
    let slow = thread::spawn({
        let client = client.clone();
        move || runtime().block_on(client.access_token(request(0)))
    });
    state.is_held.0.wait();
    // A second one waits for its clone meanwhile. `still` lives then, and nobody drives it any more.
    let still = runtime();
    still.block_on(async {
        let _ = timeout(Duration::from_millis(50), client.access_token(request(1))).await;
    });
    state.is_held.1.wait();
    slow.join().unwrap().unwrap();

    let token = async { timeout(seconds(2), client.access_token(request(2))).await };
    let token = runtime().block_on(token);
    drop(still);
    assert!(matches!(token, Ok(Ok(_))), "{token:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_failed_is_tried_again_after_half_a_minute() {
    let source = Told::new(seconds(1800));
    let client = MaskinportenClient::builder()
        .source(source.clone())
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();
    let authorizer = client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap();
    let uri = Uri::from_static(A);
    let none = HeaderMap::new();
    let first = authorizer
        .authorize(&uri, &mut HeaderMap::new())
        .await
        .unwrap();
    first.rejected(None, &none).unwrap();
    sleep(seconds(1)).await;
    // Fetched for the sake of the first, and good for ten minutes.
    let second = authorizer
        .authorize(&uri, &mut HeaderMap::new())
        .await
        .unwrap();
    assert_ne!(first, second);
    sleep(seconds(600)).await;
    source.fails.store(true, Ordering::SeqCst);
    second.rejected(None, &none).unwrap();
    sleep(seconds(5)).await;
    second.rejected(None, &none).unwrap();
    sleep(seconds(30)).await;
    source.fails.store(false, Ordering::SeqCst);
    let before = source.fetches.load(Ordering::SeqCst);
    second.rejected(None, &none).unwrap();
    sleep(seconds(1)).await;
    assert_eq!(
        source.fetches.load(Ordering::SeqCst),
        before + 1,
        "35 s after the last one"
    );
}
