//! Callers one after another, each with less patience than the server needs: how many are served, and
//! how often the server is asked.
//!
//! Time is paused and the simulator in this process: the figures are those of every machine.
//!
//! `cargo xtask promises P4` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod paused;
mod world;

use std::time::Duration;

use maskinporten::TokenRequest;
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::{Value, json};
use tokio::time::Instant;

const CALLERS: usize = 1_000;
const PATIENCE: Duration = Duration::from_millis(50);
const LATENCY: Duration = Duration::from_millis(80);

fn main() {
    println!("{}", paused::run(callers()));
}

async fn callers() -> Value {
    let sim = Sim::new();
    sim.fault(Route::Token, Fault::latency(LATENCY));
    let registered = sim.new_client(["krr:read"]);
    let client = paused::client(&sim, &registered);
    let request = TokenRequest::scopes(["krr:read"]).unwrap();

    let (mut served, mut longest) = (0, Duration::ZERO);
    for _ in 0..CALLERS {
        let came = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, client.access_token(&request)).await;
        served += usize::from(asked.is_ok_and(|token| token.is_ok()));
        longest = longest.max(came.elapsed());
    }
    json!({
        "callers": CALLERS,
        "served": served,
        "token_requests": sim.journal().token_requests(),
        "server_ms": LATENCY.as_secs_f64() * 1e3,
        "patience_ms": PATIENCE.as_secs_f64() * 1e3,
        "longest_ms": longest.as_secs_f64() * 1e3,
    })
}
