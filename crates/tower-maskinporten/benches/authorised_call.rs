//! What a layer costs when the token is already there, against tower-http's static
//! `AddAuthorization` over the same inner service.
//!
//! Three ways of use: a service value that is *kept* and called, one that is *cloned* for every call
//! (the baseline is cloned too), and one that is *shared* and called by reference (against the
//! baseline kept, which cannot be).
//!
//! ```text
//! authorised_call count --way kept|cloned|shared --subject ours|static --calls N
//! authorised_call time          pairs of nanoseconds a call, as JSON
//! authorised_call threads       pairs of calls a second on one and on two threads, as JSON
//! authorised_call allocations   heap allocations of 1 000 calls, as JSON
//! ```
//!
//! `cargo xtask promises P1` runs all four and judges what they print.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

use std::cell::Cell;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};
use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
use tower_maskinporten::{BearerAuth, BoxError, MaskinportenAuthLayer};

const ORIGIN: &str = "https://api.example.no";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    match arguments.first().map(String::as_str) {
        Some("count") => {
            let calls = option("--calls").and_then(|n| n.parse().ok()).unwrap_or(0);
            let way = Way::named(option("--way").unwrap_or_default());
            match option("--subject") {
                Some("ours") => count(&ours(), way, calls),
                Some("static") => count(&fixed(), way, calls),
                _ => usage(),
            }
        }
        Some("time") => time(),
        Some("threads") => threads(),
        Some("allocations") => allocations(),
        // `cargo bench` and `cargo test --benches` ask for nothing in particular.
        None | Some("--bench" | "--test") => time(),
        Some(_) => usage(),
    }
}

fn usage() {
    eprintln!("authorised_call count --way W --subject S --calls N | time | threads | allocations");
    std::process::exit(2);
}

#[derive(Clone, Copy)]
enum Way {
    Kept,
    Cloned,
    Shared,
}

impl Way {
    const ALL: [(&'static str, Self); 3] = [
        ("kept", Self::Kept),
        ("cloned", Self::Cloned),
        ("shared", Self::Shared),
    ];

    fn named(name: &str) -> Self {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, way)| *way)
            .expect("--way kept|cloned|shared")
    }
}

// ===== the subjects =====

thread_local! {
    /// Where the echo leaves a request, so that one serves for all calls of its thread.
    static RETURNED: Cell<Option<Request<()>>> = const { Cell::new(None) };
}

/// Takes a request and answers with nothing, in the shape of a real client: its future is small and
/// makes the response when it is polled, its response is as large as hyper's, and its error is boxed
/// (one that cannot occur would be optimised out of the baseline alone).
#[derive(Clone, Copy)]
struct Echo;

struct Answer(u16);

type EchoResponse = Response<[usize; 5]>;

impl Future for Answer {
    type Output = Result<EchoResponse, BoxError>;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = Response::new([0; 5]);
        *response.status_mut() = StatusCode::from_u16(self.0)?;
        Poll::Ready(Ok(response))
    }
}

impl Service<Request<()>> for Echo {
    type Response = EchoResponse;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request<()>) -> Answer {
        RETURNED.set(Some(request));
        Answer(200)
    }
}

impl Service<Request<()>> for &Echo {
    type Response = EchoResponse;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Answer {
        let mut echo = **self;
        echo.call(request)
    }
}

/// A service under measurement: called in one of the three ways.
trait Subject: Clone {
    fn kept(&mut self, request: Request<()>) -> Request<()>;

    fn cloned(&self, request: Request<()>) -> Request<()> {
        self.clone().kept(request)
    }

    fn shared(&self, request: Request<()>) -> Request<()>;
}

impl Subject for BearerAuth<Echo> {
    fn kept(&mut self, request: Request<()>) -> Request<()> {
        called(self, request)
    }

    fn shared(&self, request: Request<()>) -> Request<()> {
        let mut by_reference = self;
        called(&mut by_reference, request)
    }
}

impl Subject for AddAuthorization<Echo> {
    fn kept(&mut self, request: Request<()>) -> Request<()> {
        called(self, request)
    }

    /// It has no such way. Its cheapest is the baseline: a service kept, which [`run`] calls.
    fn shared(&self, _: Request<()>) -> Request<()> {
        unreachable!("the baseline of `shared` is `kept`")
    }
}

/// One whole call, as a user writes it: ready, called, awaited.
fn called<S>(service: &mut S, request: Request<()>) -> Request<()>
where
    S: Service<Request<()>, Response = EchoResponse, Error = BoxError>,
{
    let call = pin!(async { service.ready().await?.call(request).await });
    let mut context = Context::from_waker(Waker::noop());
    match call.poll(&mut context) {
        Poll::Ready(answer) => drop(black_box(answer.expect("the call succeeds"))),
        Poll::Pending => unreachable!("the token is there and the echo is ready"),
    }
    let mut request = RETURNED.take().expect("the echo left the request");
    // As a request arrives: without the header, and with room for it.
    let set = request.headers_mut().remove(AUTHORIZATION);
    assert!(set.is_some(), "the header was set");
    request
}

fn token() -> String {
    "t".repeat(1000)
}

/// The layer on a client of its own, with the token there.
fn ours() -> BearerAuth<Echo> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let source = FixedToken::new(&token(), Duration::from_secs(3600)).expect("a token");
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .expect("a client");
    runtime
        .block_on(client.access_token(["a:b"]))
        .expect("a token");
    let layer = MaskinportenAuthLayer::new(&client, ["a:b"], ORIGIN).expect("a layer");
    layer.layer(Echo)
}

fn fixed() -> AddAuthorization<Echo> {
    AddAuthorizationLayer::bearer(&token()).layer(Echo)
}

fn request() -> Request<()> {
    Request::get(format!("{ORIGIN}/path?query"))
        .body(())
        .expect("a request")
}

// ===== the measurements =====

#[inline(never)]
fn run<S: Subject>(
    service: &mut S,
    way: Way,
    calls: usize,
    mut request: Request<()>,
) -> Request<()> {
    match way {
        Way::Kept => {
            for _ in 0..calls {
                request = black_box(service.kept(black_box(request)));
            }
        }
        Way::Cloned => {
            for _ in 0..calls {
                request = black_box(service.cloned(black_box(request)));
            }
        }
        Way::Shared => {
            for _ in 0..calls {
                request = black_box(service.shared(black_box(request)));
            }
        }
    }
    request
}

/// The way the baseline is used where ours is used in this way.
fn baseline(way: Way) -> Way {
    match way {
        Way::Shared => Way::Kept,
        other => other,
    }
}

const WARM_UP: usize = 16;

fn count<S: Subject + IsBaseline>(service: &S, way: Way, calls: usize) {
    let way = if S::IS_BASELINE { baseline(way) } else { way };
    let mut service = service.clone();
    let request = run(&mut service, way, WARM_UP, request());
    black_box(run(&mut service, way, calls, request));
}

trait IsBaseline {
    const IS_BASELINE: bool;
}

impl IsBaseline for BearerAuth<Echo> {
    const IS_BASELINE: bool = false;
}

impl IsBaseline for AddAuthorization<Echo> {
    const IS_BASELINE: bool = true;
}

fn time() {
    const PAIRS: usize = 101;
    const CALLS: usize = 5_000;
    let (mut ours, mut fixed) = (ours(), fixed());
    let mut timed = |way: Way| {
        let mut request = run(&mut ours, way, WARM_UP, request());
        request = run(&mut fixed, baseline(way), WARM_UP, request);
        let mut pairs = Vec::with_capacity(PAIRS);
        for at in 0..PAIRS {
            let mut one = |subject_is_ours: bool| {
                let request_now = std::mem::take(&mut request);
                let start = Instant::now();
                request = if subject_is_ours {
                    run(&mut ours, way, CALLS, request_now)
                } else {
                    run(&mut fixed, baseline(way), CALLS, request_now)
                };
                start.elapsed().as_secs_f64() * 1e9 / CALLS as f64
            };
            // Each goes first in turn, so that neither always runs on the other's warm cache.
            let pair = if at % 2 == 0 {
                let first = one(true);
                (first, one(false))
            } else {
                let first = one(false);
                (one(true), first)
            };
            pairs.push(pair);
        }
        json_pairs(&pairs)
    };
    let ways = Way::ALL.map(|(name, way)| format!("\"{name}\":{{\"pairs\":{}}}", timed(way)));
    println!("{{\"ways\":{{{}}}}}", ways.join(","));
}

fn threads() {
    const PAIRS: usize = 21;
    let ways = Way::ALL.map(|(name, way)| {
        let shared = ours();
        let (mut pairs, mut control) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            pairs.push((
                throughput(&[&shared], way),
                throughput(&[&shared, &shared], way),
            ));
            let (one, other) = (ours(), ours());
            control.push((throughput(&[&one], way), throughput(&[&one, &other], way)));
        }
        format!(
            "\"{name}\":{{\"pairs\":{},\"control\":{}}}",
            json_pairs(&pairs),
            json_pairs(&control)
        )
    });
    println!("{{\"ways\":{{{}}}}}", ways.join(","));
}

/// Calls a second of all threads together, each on the service it is given. Where a service is kept,
/// each thread keeps a clone; in the other ways, threads that are given the same one use the same.
fn throughput(services: &[&BearerAuth<Echo>], way: Way) -> f64 {
    const TIME: Duration = Duration::from_millis(25);
    const BATCH: usize = 200;
    let barrier = Barrier::new(services.len());
    let rates: Vec<f64> = thread::scope(|scope| {
        let running: Vec<_> = services
            .iter()
            .map(|service| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut kept = BearerAuth::clone(service);
                    let mut request = run(&mut kept, way, WARM_UP, request());
                    barrier.wait();
                    let start = Instant::now();
                    let mut calls = 0;
                    while start.elapsed() < TIME {
                        request = match way {
                            Way::Kept => run(&mut kept, way, BATCH, request),
                            Way::Cloned | Way::Shared => by_reference(service, way, BATCH, request),
                        };
                        calls += BATCH;
                    }
                    calls as f64 / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a thread"))
            .collect()
    });
    rates.iter().sum()
}

#[inline(never)]
fn by_reference(
    service: &BearerAuth<Echo>,
    way: Way,
    calls: usize,
    mut request: Request<()>,
) -> Request<()> {
    for _ in 0..calls {
        request = black_box(match way {
            Way::Cloned => service.cloned(black_box(request)),
            Way::Kept | Way::Shared => service.shared(black_box(request)),
        });
    }
    request
}

fn allocations() {
    let mut ours = ours();
    let counts = Way::ALL.map(|(name, way)| {
        let request = run(&mut ours, way, WARM_UP, request());
        let mut kept = None;
        let counted = allocation_counter::measure(|| {
            kept = Some(run(&mut ours, way, 1_000, request));
        });
        format!("\"{name}\":{}", counted.count_total)
    });
    println!("{{{}}}", counts.join(","));
}

fn json_pairs(pairs: &[(f64, f64)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(one, other)| format!("[{one:.3},{other:.3}]"))
        .collect();
    format!("[{}]", pairs.join(","))
}
