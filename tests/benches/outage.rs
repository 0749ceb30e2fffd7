//! Requests through a layer while the token server is gone for a time shorter than what is left of the
//! token, for lives from half a minute to two hours.
//!
//! - Time is paused and the simulator in this process.
//! - An outage begins after the token came and ends before it is spent; each kind of outage meets each
//!   life with several beginnings and ends. Requests come from the first second until the successor
//!   of the token has served for a while.
//! - A control is longer than what is left: it shows that a failed request would be seen.
//!
//! `cargo xtask promises P5` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark spawns its requests")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod api;
mod paused;
mod world;

use std::time::Duration;

use http::StatusCode;
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::Layer;
use tower_maskinporten::MaskinportenAuthLayer;

use api::{Api, Call};

const LIVES: [u64; 5] = [30, 120, 599, 30 * 60, 2 * 60 * 60];

/// Beginnings and ends as shares of the part of a life that is used.
const BEGINNINGS: [f64; 4] = [0.01, 0.5, 0.72, 0.9];
const ENDS: [f64; 5] = [0.6, 0.8, 0.9, 0.97, 0.999];

const SCOPES: [&str; 1] = ["krr:read"];

fn main() {
    let lives: Vec<Value> = LIVES.into_iter().map(life).collect();
    let control = paused::run(outage(120, (0.5, 1.3), &kinds()[0].1));
    let control = json!({ "failed": control.failed, "expired": control.expired });
    println!("{}", json!({ "lives": lives, "control": control }));
}

fn kinds() -> [(&'static str, Fault); 4] {
    [
        ("503", Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
        ("silence", Fault::hang()),
        ("slowness", Fault::latency(Duration::from_secs(5))),
        ("half answers", Fault::truncated()),
    ]
}

fn life(life: u64) -> Value {
    let mut all = Tally::default();
    let mut outages = Vec::new();
    for (kind, fault) in kinds() {
        for from in BEGINNINGS {
            for until in ENDS.into_iter().filter(|until| *until > from) {
                let one = paused::run(outage(life, (from, until), &fault));
                outages.push(json!({
                    "kind": kind,
                    "from": from,
                    "until": until,
                    "failed": one.failed,
                    "longest_wait_ms": one.longest_wait.as_secs_f64() * 1e3,
                }));
                all.add(&one);
            }
        }
    }
    json!({
        "life_s": life,
        "requests": all.requests,
        "failed": all.failed,
        "expired": all.expired,
        "longest_needless_wait_ms": all.longest_needless_wait_ms,
        "outages": outages,
    })
}

#[derive(Default)]
struct Tally {
    requests: usize,
    failed: usize,
    expired: usize,
    longest_wait: Duration,
    longest_needless_wait_ms: f64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.expired += other.expired;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.longest_needless_wait_ms = self
            .longest_needless_wait_ms
            .max(other.longest_needless_wait_ms);
    }
}

async fn outage(life: u64, (from, until): (f64, f64), fault: &Fault) -> Tally {
    let whole = Duration::from_secs(life);
    let sim = Sim::builder().token_lifetime(whole).build();
    let registered = sim.new_client(SCOPES);
    let client = paused::client(&sim, &registered);
    let api = Api::new(&sim);
    let service = MaskinportenAuthLayer::new(&client, SCOPES, api::ORIGIN)
        .unwrap()
        .layer(api.clone());

    let start = Instant::now();
    let mut calls = vec![Call::through(service.clone()).await];
    let used = Duration::from_secs_f64(api::usable(whole.as_secs_f64()));
    let world = (sim.clone(), fault.clone());
    tokio::spawn(async move {
        let (sim, fault) = world;
        tokio::time::sleep_until(start + used.mul_f64(from)).await;
        for route in [Route::Metadata, Route::Token] {
            sim.fault(route, fault.clone());
        }
        tokio::time::sleep_until(start + used.mul_f64(until)).await;
        sim.clear_faults();
    });

    let pause = (whole / 400).min(Duration::from_secs(5));
    let mut under_way = Vec::new();
    while start.elapsed() < whole.mul_f64(1.2) {
        tokio::time::sleep(pause).await;
        under_way.push(tokio::spawn(Call::through(service.clone())));
    }
    for call in under_way {
        calls.push(call.await.unwrap());
    }

    let mut tally = Tally {
        requests: calls.len(),
        expired: api.seen().expired,
        ..Tally::default()
    };
    for call in calls {
        tally.failed += usize::from(call.outcome.is_err());
        let waited = call.waited.unwrap_or_default();
        tally.longest_wait = tally.longest_wait.max(waited);
        // Outside the outage the server takes no time.
        tally.longest_needless_wait_ms = tally
            .longest_needless_wait_ms
            .max(call.needless_wait_ms(0.0));
    }
    tally
}
