//! What the layer adds to a call of each client that it is made for, when the token is already there.
//!
//! - Four clients over real sockets: hyper-util's and reqwest's as Services, reqwest's with
//!   reqwest-middleware, and a tonic channel.
//! - Three ways of each over the same connection, one call of each in turn: `bare`, with a header as
//!   long set by hand, as whoever sends a token has to; `floor`, what the client's interface forces on
//!   anybody; `ours`. A Service forces nothing, so that its floor is the bare client once more and shows
//!   the noise; a middleware is a future in a box at least, so that its floor only calls the next.
//! - Allocations are those of the thread that calls, its connections included. The servers run on
//!   threads of their own.
//!
//! `cargo xtask promises P1` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten::{FixedToken, MaskinportenClient};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::client::GrpcService;
use tonic::codegen::StdError;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::InterceptorLayer;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::MaskinportenAuthLayer;

/// Rounds, each a figure for each way, and calls of each way in a round.
const ROUNDS: usize = 75;
const CALLS: usize = 200;

/// Batches in which allocations are counted, and calls in a batch.
const BATCHES: usize = 21;
const BATCH: usize = 100;

/// After so many calls nothing grows any more.
const WARM_UP: usize = 200;

/// As long as a token of Maskinporten's with a handful of claims.
const TOKEN_LENGTH: usize = 1_000;

fn main() {
    let runtime = runtime();
    let client = client(&runtime);
    let (api, grpc) = (serve_http(), serve_grpc());
    let layer = MaskinportenAuthLayer::new(&client, ["a:b"], [origin(api), origin(grpc)]).unwrap();

    let hyper = Client::builder(TokioExecutor::new()).build_http();
    let by_hyper = |header| OverHyper {
        service: hyper.clone(),
        url: origin(api),
        header,
    };
    let hyper_ours = OverHyper {
        service: layer.layer(hyper.clone()),
        url: origin(api),
        header: None,
    };

    let reqwest = reqwest::Client::builder().no_proxy().build().unwrap();
    let by_reqwest = || OverReqwest {
        service: reqwest.clone(),
        url: origin(api).parse().unwrap(),
        header: by_hand(),
    };
    let reqwest_ours = OverReqwest {
        service: layer.layer(reqwest.clone()),
        url: origin(api).parse().unwrap(),
        header: None,
    };
    let with = |builder: ClientBuilder, header| WithMiddleware {
        client: builder.build(),
        url: origin(api).parse().unwrap(),
        header,
    };
    let middleware_floor = with(
        ClientBuilder::new(reqwest.clone()).with(NextOnly),
        by_hand(),
    );
    let middleware_ours = with(
        ClientBuilder::new(reqwest.clone()).with(layer.clone()),
        None,
    );

    let channel = runtime.block_on(async {
        let endpoint = Channel::from_shared(origin(grpc)).unwrap();
        endpoint.connect().await.unwrap()
    });
    let uri = || origin(grpc).parse().unwrap();
    let by_tonic = || OverTonic {
        client: HealthClient::with_origin(channel.clone(), uri()),
        header: by_hand().map(ascii),
    };
    let tonic_ours = OverTonic {
        client: HealthClient::with_origin(layer.layer(channel.clone()), uri()),
        header: None,
    };

    let samples = json!({
        "hyper-util": measure(&runtime, by_hyper(by_hand()), by_hyper(by_hand()), hyper_ours),
        "reqwest": measure(&runtime, by_reqwest(), by_reqwest(), reqwest_ours),
        "reqwest-middleware": measure(&runtime, by_reqwest(), middleware_floor, middleware_ours),
        "tonic": measure(&runtime, by_tonic(), by_tonic(), tonic_ours),
    });
    println!(
        "{}",
        json!({"clients": samples, "calls": CALLS, "batch": BATCH})
    );
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A client that has its token.
fn client(runtime: &Runtime) -> MaskinportenClient {
    let source = FixedToken::new(&token(), Duration::from_secs(3_600)).unwrap();
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .unwrap();
    runtime.block_on(client.access_token(["a:b"])).unwrap();
    client
}

fn token() -> String {
    "t".repeat(TOKEN_LENGTH)
}

/// The header that the layer would set: sensitive, because HTTP/2 sends such a value whole every time.
fn by_hand() -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token())).unwrap();
    header.set_sensitive(true);
    Some(header)
}

fn ascii(header: HeaderValue) -> AsciiMetadataValue {
    let mut value = AsciiMetadataValue::try_from(header.as_bytes()).unwrap();
    value.set_sensitive(true);
    value
}

fn origin(addr: SocketAddr) -> String {
    format!("http://{addr}/")
}

// ===== the three ways =====

/// A client in one of the three ways.
trait Caller {
    /// One whole call, its answer read to the end.
    async fn call(&mut self);
}

struct OverHyper<S> {
    service: S,
    url: String,
    header: Option<HeaderValue>,
}

impl<S> Caller for OverHyper<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>>,
    S::Error: std::fmt::Debug,
{
    async fn call(&mut self) {
        let mut request = Request::get(&self.url).body(Empty::new()).unwrap();
        if let Some(header) = &self.header {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        let response = self
            .service
            .ready()
            .await
            .unwrap()
            .call(request)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap();
    }
}

struct OverReqwest<S> {
    service: S,
    url: reqwest::Url,
    header: Option<HeaderValue>,
}

impl<S> Caller for OverReqwest<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
    S::Error: std::fmt::Debug,
{
    async fn call(&mut self) {
        let request = reqwest_request(&self.url, self.header.as_ref());
        let response = self
            .service
            .ready()
            .await
            .unwrap()
            .call(request)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap();
    }
}

struct WithMiddleware {
    client: ClientWithMiddleware,
    url: reqwest::Url,
    header: Option<HeaderValue>,
}

impl Caller for WithMiddleware {
    async fn call(&mut self) {
        let request = reqwest_request(&self.url, self.header.as_ref());
        let response = self.client.execute(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap();
    }
}

fn reqwest_request(url: &reqwest::Url, header: Option<&HeaderValue>) -> reqwest::Request {
    let mut request = reqwest::Request::new(http::Method::GET, url.clone());
    if let Some(header) = header {
        request.headers_mut().insert(AUTHORIZATION, header.clone());
    }
    request
}

/// The least that a middleware can be.
struct NextOnly;

#[tonic::async_trait]
impl Middleware for NextOnly {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        next.run(request, extensions).await
    }
}

struct OverTonic<S> {
    client: HealthClient<S>,
    header: Option<AsciiMetadataValue>,
}

impl<S> Caller for OverTonic<S>
where
    S: GrpcService<tonic::body::Body>,
    S::Error: Into<StdError>,
    S::ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    async fn call(&mut self) {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(header) = &self.header {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        self.client.check(request).await.unwrap();
    }
}

// ===== the measurement =====

fn measure(
    runtime: &Runtime,
    mut bare: impl Caller,
    mut floor: impl Caller,
    mut ours: impl Caller,
) -> Value {
    runtime.block_on(async {
        calls(&mut bare, WARM_UP).await;
        calls(&mut floor, WARM_UP).await;
        calls(&mut ours, WARM_UP).await;
    });
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let mut took = [const { Vec::new() }; 3];
        runtime.block_on(async {
            for at in 0..3 * CALLS {
                // Each follows each in turn, so that none always runs on another's warm cache.
                let way = ORDER[at % ORDER.len()];
                let start = Instant::now();
                match way {
                    0 => bare.call().await,
                    1 => floor.call().await,
                    _ => ours.call().await,
                }
                took[way].push(start.elapsed());
            }
        });
        rounds.push(took.map(median_ns));
    }
    let mut allocations = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        allocations.push([
            counted(runtime, &mut bare),
            counted(runtime, &mut floor),
            counted(runtime, &mut ours),
        ]);
    }
    json!({"rounds_ns": rounds, "allocations": allocations})
}

/// The middle one: a call during which somebody else had the processor says nothing.
fn median_ns(mut took: Vec<Duration>) -> f64 {
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1e9
}

const ORDER: [usize; 6] = [0, 1, 2, 0, 2, 1];

async fn calls(caller: &mut impl Caller, count: usize) {
    for _ in 0..count {
        caller.call().await;
    }
}

/// Heap allocations of a batch.
fn counted(runtime: &Runtime, caller: &mut impl Caller) -> u64 {
    let batch = || runtime.block_on(calls(caller, BATCH));
    allocation_counter::measure(batch).count_total
}

// ===== the servers =====

/// An API over HTTP/1 that answers 200 to a request with a bearer, and 401 to another.
fn serve_http() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that the client closes is over.
            thread::spawn(move || stream.and_then(answer));
        }
    });
    addr
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut has_bearer) = (String::new(), false);
    while reader.read_line(&mut line)? > 0 {
        has_bearer |= line.starts_with("authorization: Bearer ");
        if line == "\r\n" {
            let status = if has_bearer {
                "200 OK"
            } else {
                "401 Unauthorized"
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
            writer.write_all(answer.as_bytes())?;
            has_bearer = false;
        }
        line.clear();
    }
    Ok(())
}

/// The health service of tonic, for requests with a bearer.
fn serve_grpc() -> SocketAddr {
    let (told, addr) = std::sync::mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
            told.send(incoming.local_addr().unwrap()).unwrap();
            let (_reporter, service) = tonic_health::server::health_reporter();
            Server::builder()
                .layer(InterceptorLayer::new(with_bearer))
                .add_service(service)
                .serve_with_incoming(incoming.with_nodelay(Some(true)))
                .await
                .unwrap();
        });
    });
    addr.recv().unwrap()
}

fn with_bearer(request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
    let bearer = request.metadata().get("authorization");
    match bearer.is_some_and(|bearer| bearer.as_bytes().starts_with(b"Bearer ")) {
        true => Ok(request),
        false => Err(Status::unauthenticated("no bearer")),
    }
}
