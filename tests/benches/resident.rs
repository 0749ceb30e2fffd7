//! What a service with tokens weighs while it works: `examples/axum_service.rs`, built for release by the
//! package `tests/service`, with the system's allocator and two workers.
//!
//! - 1 000 calls a second over 20 kept connections, one route after the other, each of which makes the
//!   service call an API with a token. The API is the simulator's and judges every token; a token lives
//!   so shortly that it is renewed under way.
//! - The simulator and whoever calls are in this process: what is weighed is the service alone, by what
//!   Linux says of it.
//! - The twin has the same routes over the same HTTP client and sends a fixed header: what the service
//!   weighs beyond it is what tokens add, TLS, settings and the registry included.
//!
//! ```text
//! resident SERVICE    weighs this program and the twin, as JSON
//! resident twin       is the twin
//! ```
//!
//! `cargo xtask promises P13` runs this and judges what it prints.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads its watch and starts its own tasks"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use maskinporten::{AltinnSettings, MaskinportenClient, MaskinportenSettings};
use maskinporten_sim::{Sim, SimClient, SimServer};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep_until;

const CONNECTIONS: u32 = 20;
const CALLS_A_SECOND: u32 = 1_000;
const SECONDS: u32 = 20;
const WORKERS: &str = "2";

/// A token is used for less than this, so that each is renewed while calls go on.
const LIFE: Duration = Duration::from_secs(12);

const ROUTES: [&str; 3] = ["/persons/1", "/notices", "/instances"];
const SCOPES: [&str; 3] = [
    "krr:global/kontaktinformasjon.read",
    "skatteetaten:mvameldingvalidering",
    "altinn:serviceowner/instances.read",
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("twin") => runtime().block_on(twin()),
        // `cargo bench` asks for nothing in particular.
        None | Some("--bench") => weigh_both(&beside_this_one()),
        Some(service) => weigh_both(service),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Where `cargo build --release -p axum-service` leaves it.
fn beside_this_one() -> String {
    let own = env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let service = profile.join("axum_service");
    service.into_os_string().into_string().unwrap()
}

fn weigh_both(service: &str) {
    let own = env::current_exe().unwrap();
    let ours = runtime().block_on(weigh(Command::new(service), LIFE));
    let mut twin = Command::new(own);
    twin.arg("twin");
    let twin = runtime().block_on(weigh(twin, Duration::from_secs(3_600)));
    println!(
        "{}",
        json!({
            "connections": CONNECTIONS,
            "calls_a_second": CALLS_A_SECOND,
            "seconds": SECONDS,
            "ours": ours,
            "twin": twin,
        })
    );
}

// ===== one weighing =====

async fn weigh(command: Command, life: Duration) -> Value {
    let sim = Sim::builder().wall_clock().token_lifetime(life).build();
    let world = SimServer::bind(sim, ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let registered = world.sim().new_client(SCOPES);
    let service = Service::start(command, &world, &registered).await;
    let idle = service.status();
    let grants = world.sim().journal().grants();

    let (load, during) = tokio::join!(load(service.addr), watch(&service));

    let renewals = world.sim().journal().grants() - grants;
    // As whoever collects metrics does; the twin has none.
    let scraped = is_answered(&mut connect(service.addr).await, "/metrics").await;
    let end = service.status();
    json!({
        "calls": load.took.len(),
        "failed": load.failed,
        "took_s": load.seconds,
        "median_ms": load.percentile(0.5),
        "p99_ms": load.percentile(0.99),
        "renewals": renewals,
        "scraped": scraped,
        "threads": end["Threads"],
        "peak_kib": end["VmHWM"],
        "idle": idle,
        "during": during,
        "end": end,
    })
}

/// What is weighed, in a process of its own.
struct Service {
    child: Child,
    addr: SocketAddr,
    /// The file is watched as long as the service runs.
    _settings: NamedTempFile,
}

impl Service {
    /// Starts it with the settings of the registered client and nothing else in its environment.
    async fn start(mut command: Command, world: &SimServer, registered: &SimClient) -> Self {
        let settings = NamedTempFile::new().unwrap();
        fs::write(settings.path(), registered.settings_json().to_string()).unwrap();
        let mut child = command
            .env_clear()
            .env("TOKIO_WORKER_THREADS", WORKERS)
            .env("PORT", "0")
            .env("API_URL", world.url())
            .env("ALTINN_PLATFORM_URL", world.sim().altinn_platform())
            .env("MASKINPORTEN_SETTINGS_FILE", settings.path())
            .env("TWIN_AUTHORIZATION", bearer(world, registered).await)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let told = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            line
        });
        let told = told.await.unwrap();
        let addr = told.trim().strip_prefix("listening on http://");
        let addr = addr.unwrap_or_else(|| panic!("the service said {told:?}"));
        Self {
            child,
            addr: addr.parse().unwrap(),
            _settings: settings,
        }
    }

    /// What Linux says of its memory in KiB, and of its threads.
    fn status(&self) -> Value {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let fields = ["VmRSS", "VmHWM", "RssAnon", "RssFile", "Threads"];
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        let numbers = lines
            .filter(|(name, _)| fields.contains(name))
            .map(|(name, text)| {
                let number = text.trim().trim_end_matches(" kB").parse::<u64>();
                (name.to_owned(), json!(number.unwrap()))
            });
        Value::Object(numbers.collect())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself, which the calls that failed have told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn bearer(world: &SimServer, registered: &SimClient) -> String {
    let settings = registered.settings_json().to_string();
    let section = MaskinportenSettings::DEFAULT_SECTION;
    let client = MaskinportenClient::builder()
        .settings(MaskinportenSettings::from_json(&settings, section).unwrap())
        .altinn(AltinnSettings::platform(&world.sim().altinn_platform()).unwrap())
        .build()
        .unwrap();
    let header = client.header_value(SCOPES).await.unwrap();
    header.to_str().unwrap().to_owned()
}

/// Its memory every half second.
async fn watch(service: &Service) -> Vec<Value> {
    let mut samples = Vec::new();
    for _ in 0..2 * SECONDS {
        tokio::time::sleep(Duration::from_millis(500)).await;
        samples.push(service.status());
    }
    samples
}

// ===== the load =====

struct Load {
    /// Milliseconds of every call, counted from when it was due; sorted.
    took: Vec<f64>,
    failed: usize,
    seconds: f64,
}

impl Load {
    fn percentile(&self, share: f64) -> f64 {
        self.took[(self.took.len() as f64 * share) as usize]
    }
}

async fn load(addr: SocketAddr) -> Load {
    let start = Instant::now() + Duration::from_millis(50);
    let connections = (0..CONNECTIONS).map(|number| tokio::spawn(connection(addr, number, start)));
    let outcomes = join_all(connections).await;
    let seconds = start.elapsed().as_secs_f64();
    let mut load = Load {
        took: Vec::new(),
        failed: 0,
        seconds,
    };
    for outcome in outcomes {
        let (took, failed) = outcome.unwrap();
        load.took.extend(took);
        load.failed += failed;
    }
    load.took.sort_by(f64::total_cmp);
    load
}

/// The calls of one connection, each at its moment or as soon as the one before it is over.
async fn connection(addr: SocketAddr, number: u32, start: Instant) -> (Vec<f64>, usize) {
    let mut sender = connect(addr).await;
    let each = Duration::from_secs(1) / CALLS_A_SECOND;
    let (mut took, mut failed) = (Vec::new(), 0);
    for round in 0..CALLS_A_SECOND * SECONDS / CONNECTIONS {
        let call = round * CONNECTIONS + number;
        let due = start + each * call;
        sleep_until(due.into()).await;
        let route = ROUTES[call as usize % ROUTES.len()];
        failed += usize::from(!is_answered(&mut sender, route).await);
        took.push(due.elapsed().as_secs_f64() * 1e3);
    }
    (took, failed)
}

async fn connect(addr: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Whether the API's answer came back. A connection that was closed fails every further call.
async fn is_answered(sender: &mut SendRequest<Empty<Bytes>>, route: &str) -> bool {
    let request = Request::get(route).header(HOST, "service");
    let request = request.body(Empty::new()).unwrap();
    let Ok(response) = async {
        sender.ready().await?;
        sender.send_request(request).await
    }
    .await
    else {
        return false;
    };
    let status = response.status();
    response.into_body().collect().await.is_ok() && status == StatusCode::OK
}

// ===== the twin =====

#[derive(Clone)]
struct Twin {
    http: Client<HttpConnector, Full<Bytes>>,
    api: String,
    authorization: HeaderValue,
}

async fn twin() {
    let told = |name: &str| env::var(name).unwrap();
    let app = Twin {
        http: Client::builder(TokioExecutor::new()).build_http(),
        api: told("API_URL"),
        authorization: told("TWIN_AUTHORIZATION").parse().unwrap(),
    };
    let listener = TcpListener::bind(("127.0.0.1", told("PORT").parse().unwrap()));
    let listener = listener.await.unwrap();
    let router = Router::new()
        .route("/persons/{id}", get(person))
        .route("/notices", get(notices))
        .route("/instances", get(instances))
        .with_state(app);
    println!("listening on http://{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

async fn person(State(app): State<Twin>, extract::Path(id): extract::Path<u64>) -> Response {
    app.ask(&format!("api/persons/{id}")).await
}

async fn notices(State(app): State<Twin>) -> Response {
    app.ask("api/notices/").await
}

async fn instances(State(app): State<Twin>) -> Response {
    app.ask("api/instances/").await
}

impl Twin {
    async fn ask(&self, path: &str) -> Response {
        let request = Request::get(format!("{}{path}", self.api))
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::default());
        match self.http.request(request.unwrap()).await {
            Ok(answer) => (answer.status(), Body::new(answer.into_body())).into_response(),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}
