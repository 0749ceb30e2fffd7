//! Many requests under way when their token is revoked: how many new tokens the 401s bring about.
//!
//! - Time is paused and the simulator in this process: it is issuer, exchange and API.
//! - The 401s come in three waves: at once, when the new token is there, and when another forced
//!   renewal would be allowed. The last two speak of a token that nobody has any more.
//!
//! `cargo xtask promises P6` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark spawns its requests")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod paused;
mod world;

use std::time::Duration;

use http::{Request, StatusCode};
use maskinporten::MaskinportenClient;
use maskinporten_sim::{Body, Fault, Route, Sim};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, MaskinportenAuthLayer};

const SCOPES: [&str; 1] = ["altinn:serviceowner"];

/// How many requests are answered when. A token lives for two minutes, so that none of the waves
/// meets a renewal that is due anyway.
const WAVES: [(u64, Duration); 3] = [
    (400, Duration::from_secs(1)),
    (300, Duration::from_secs(5)),
    (300, Duration::from_secs(45)),
];

fn main() {
    let raw = revoked(|client, sim| {
        let layer = MaskinportenAuthLayer::new(client, SCOPES, sim.altinn_platform());
        layer.unwrap().layer(sim.clone())
    });
    let altinn = revoked(|client, sim| {
        let layer = AltinnAuthLayer::new(client, SCOPES, sim.altinn_platform());
        layer.unwrap().layer(sim.clone())
    });
    let (raw, altinn) = (paused::run(raw), paused::run(altinn));
    println!("{}", json!({ "raw": raw, "altinn": altinn }));
}

async fn revoked(layered: impl FnOnce(&MaskinportenClient, &Sim) -> BearerAuth<Sim>) -> Value {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let client = paused::client(&sim, &registered);
    let service = layered(&client, &sim);
    let url = sim.api_url();
    let call = || {
        let request = Request::get(&url).body(Body::empty()).unwrap();
        let call = service.clone().oneshot(request);
        async { call.await.unwrap().status() }
    };

    assert_eq!(call().await, StatusCode::OK, "the token is taken at first");
    let before = sim.journal();
    for (requests, after) in WAVES {
        sim.fault(Route::Api, Fault::latency(after).times(requests));
    }
    let in_flight: u64 = WAVES.iter().map(|(requests, _)| requests).sum();
    let calls: Vec<_> = (0..in_flight).map(|_| tokio::spawn(call())).collect();
    // All of them leave with the token before it is revoked.
    tokio::time::sleep(Duration::from_millis(1)).await;
    sim.revoke_all();
    let mut rejected = 0;
    for call in calls {
        rejected += usize::from(call.await.unwrap() == StatusCode::UNAUTHORIZED);
    }
    let accepted_after = call().await == StatusCode::OK;

    let after = sim.journal();
    json!({
        "in_flight": in_flight,
        "rejected": rejected,
        "new_grants": after.token_requests() - before.token_requests(),
        "new_exchanges": after.exchanges() - before.exchanges(),
        "accepted_after": usize::from(accepted_after),
    })
}
