//! A service that calls three APIs: three named clients in its state, ready when their tokens are there,
//! and a route of metrics that tells how they stand.
//!
//! `cargo run --example axum_service` starts a Maskinporten, an Altinn and the APIs on this machine, calls
//! its own routes over a socket and ends with 0, or with another code if anything is not as it should be.
//!
//! With `PORT` and `API_URL` in the environment it serves until it is stopped, with the credentials that
//! the platform provides.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::SimServer;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower_maskinporten::maskinporten::{
    AltinnSettings, Durations, Error, MaskinportenClient, MaskinportenSettings,
};
use tower_maskinporten::{BoxError, ClientRegistry};

const PERSONS: &str = "krr:global/kontaktinformasjon.read";
const NOTICES: &str = "skatteetaten:mvameldingvalidering";
const INSTANCES: &str = "altinn:serviceowner/instances.read";

/// What the routes share. The lines marked with a dot are there for the tokens' sake, and no others.
#[derive(Clone)]
struct App {
    tokens: MaskinportenClient, // ·
    clients: ClientRegistry,    // ·
    metrics: PrometheusHandle,
}

/// Takes in what is counted, from now on.
fn recorder() -> Result<PrometheusHandle, BoxError> {
    let recorder = PrometheusBuilder::new();
    let durations = Matcher::Full("maskinporten_token_request_duration_seconds".to_owned()); // ·
    let recorder = recorder.set_buckets_for_metric(durations, &Durations::BOUNDS)?; // ·
    Ok(recorder.install_recorder()?)
}

/// Declares the clients. Nothing is fetched yet, and nothing is left to find out later.
fn app(metrics: PrometheusHandle, tokens: MaskinportenClient, api: &str) -> Result<App, Error> {
    let [persons, notices, instances] =
        ["persons", "notices", "instances"].map(|path| format!("{api}api/{path}/"));
    let clients = ClientRegistry::builder(&tokens) // ·
        .client("persons", |c| c.maskinporten([PERSONS]).base_url(&persons)) // ·
        .client("notices", |c| c.maskinporten([NOTICES]).base_url(&notices)) // ·
        .client("instances", |c| c.altinn([INSTANCES]).base_url(&instances)) // ·
        .build()?; // ·
    Ok(App {
        tokens,
        clients,
        metrics,
    })
}

async fn serve(listener: TcpListener, app: App) -> Result<(), BoxError> {
    app.tokens.warm_up().await?; // ·
    let router = Router::new()
        .route("/persons/{id}", get(person))
        .route("/notices", get(notices))
        .route("/instances", get(instances))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app);
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

// ===== the routes =====

async fn person(State(app): State<App>, Path(id): Path<u64>) -> Result<Response, Failed> {
    app.ask("persons", &id.to_string()).await
}

async fn notices(State(app): State<App>) -> Result<Response, Failed> {
    app.ask("notices", "").await
}

async fn instances(State(app): State<App>) -> Result<Response, Failed> {
    app.ask("instances", "").await
}

impl App {
    /// What an API says, as it says it.
    async fn ask(&self, name: &str, path: &str) -> Result<Response, Failed> {
        let answer = self.clients.get(name)?.get(path).await?; // ·
        Ok((answer.status(), Body::new(answer.into_body())).into_response())
    }
}

async fn ready(State(app): State<App>) -> StatusCode {
    let is_serving = app.tokens.health().is_serving(); // ·
    match is_serving {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn metrics(State(app): State<App>) -> String {
    app.tokens.publish_metrics(); // ·
    app.metrics.render()
}

/// A call that brought no answer. Why is for the log; whoever asked learns whether to ask again.
struct Failed(BoxError);

impl<E: Into<BoxError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        eprintln!("no answer: {}", self.0);
        match Error::find_in(&*self.0) {
            Some(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}

// ===== where it runs =====

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Some((port, api)) = told()? else {
        return rehearse().await;
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    // Before the client, which tells the recorder what its metrics mean.
    let metrics = recorder()?;
    let tokens = MaskinportenClient::discover()?; // ·
    serve(listener, app(metrics, tokens, &api)?).await
}

/// The port and the address of the APIs, where the environment has them.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the program that reads its environment"
)]
fn told() -> Result<Option<(u16, String)>, BoxError> {
    match (std::env::var("PORT"), std::env::var("API_URL")) {
        (Ok(port), Ok(api)) => Ok(Some((port.parse()?, api))),
        _ => Ok(None),
    }
}

// ===== what is only here to run it =====

/// Serves from a world on this machine, and calls every route.
async fn rehearse() -> Result<(), BoxError> {
    let world = SimServer::start().await?;
    let registered = world.sim().new_client([PERSONS, NOTICES, INSTANCES]);
    let settings = registered.settings_json().to_string();
    let section = MaskinportenSettings::DEFAULT_SECTION;
    let metrics = recorder()?;
    let tokens = MaskinportenClient::builder()
        .settings(MaskinportenSettings::from_json(&settings, section)?)
        .altinn(AltinnSettings::platform(&world.sim().altinn_platform())?)
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::select! {
        served = serve(listener, app(metrics, tokens, &world.url())?) => served,
        called = call_routes(&url) => called,
    }?;
    let journal = world.sim().journal();
    let asked = (journal.token_requests(), journal.exchanges());
    println!(
        "{} token requests and {} exchange for {} calls",
        asked.0,
        asked.1,
        journal.api_calls()
    );
    match asked {
        (3, 1) => Ok(()),
        _ => Err("three token requests and one exchange were expected".into()),
    }
}

async fn call_routes(url: &str) -> Result<(), BoxError> {
    let http = Client::builder(TokioExecutor::new()).build_http::<Body>();
    for route in [
        "/ready",
        "/persons/1",
        "/persons/2",
        "/notices",
        "/instances",
        "/metrics",
    ] {
        let request = Request::get(format!("{url}{route}")).body(Body::empty())?;
        let status = http.request(request).await?.status();
        println!("{status} {route}");
        if status != StatusCode::OK {
            return Err(format!("{route} answered {status}").into());
        }
    }
    Ok(())
}
