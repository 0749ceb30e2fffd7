//! gRPC: the layer between a generated client and tonic's channel.
//!
//! `cargo run --example tonic_client` asks a gRPC server that wants a token whether it serves. Copy the first lines
//! of `main`.

mod demo;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use demo::{BoxError, check};
use maskinporten_sim::{Protection, Sim};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;
use tower_maskinporten::MaskinportenAuthLayer;

const SCOPE: &str = "example:health.read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = demo::world([SCOPE]).await?;
    let (origin, _serving) = grpc(server.sim()).await?;

    let channel = Channel::from_shared(origin.clone())?.connect_lazy();
    let layer = MaskinportenAuthLayer::new(&client, [SCOPE], &origin)?;
    // Above its channel a request has no host, unless the generated client is told where the channel leads.
    let mut health = HealthClient::with_origin(layer.layer(channel), origin.parse()?);

    println!("1. A call");
    let answer = health.check(HealthCheckRequest::default()).await?;
    println!("   the service is {:?}", answer.get_ref().status());
    check("it has the token", server.sim().journal().grants() == 1)?;

    println!("2. A token that is revoked");
    server.sim().revoke_all();
    let refused = health.check(HealthCheckRequest::default()).await;
    let code = refused.map_or_else(|status| status.code(), |_| Code::Ok);
    println!("   {code:?}: what streams is not sent again");
    check("it is refused", code == Code::Unauthenticated)?;
    // A newer token is on its way, and calls have it as soon as it is there.
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if health.check(HealthCheckRequest::default()).await.is_ok() {
            println!("   and then accepted");
            return check("one new token", server.sim().journal().grants() == 2);
        }
    }
    check("a newer token is accepted", false)
}

// ===== what is only here to run it =====

/// tonic's own health service, on a port, behind a check of the token. It ends when the set is dropped.
async fn grpc(sim: &Sim) -> Result<(String, JoinSet<()>), BoxError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let everything = "";
    reporter
        .set_service_status(everything, ServingStatus::Serving)
        .await;
    sim.protect("/api/grpc", Protection::maskinporten().scope(SCOPE));
    let guarded = Routes::new(health)
        .into_axum_router()
        .layer(from_fn_with_state(sim.clone(), guard));

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let _ = Server::builder()
            .add_routes(guarded.into())
            .serve_with_incoming(TcpIncoming::from(listener))
            .await;
    });
    Ok((origin, serving))
}

/// Lets a call with a good token pass.
async fn guard(State(sim): State<Sim>, call: Request, next: Next) -> Response {
    match demo::claims(&sim, "/api/grpc", call.headers()).await {
        Ok(_) => next.run(call).await,
        Err(_) => Status::unauthenticated("no good token").into_http(),
    }
}
