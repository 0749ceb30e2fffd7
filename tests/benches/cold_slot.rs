//! Many callers at once on an Altinn slot that holds no token yet: how often the servers are asked,
//! and how long the callers wait.
//!
//! - The simulator is in this process and needs a chosen time for each answer; time is real.
//! - A caller is a task, on a runtime of two workers. Its wait is counted from its own first poll.
//! - Every caller is waiting before the token arrives; a round where one was not is an error.
//! - Each round has a client and a world of its own. The median round is printed, by its p99, and all
//!   of them under `rounds`.
//!
//! What signing, verifying and issuing cost here counts as the callers' wait: `server_ms` is only the
//! time that the simulator was told to take.
//!
//! `cargo xtask promises P3` runs this and judges what it prints.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads its watch and spawns its callers"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod world;

use std::time::{Duration, Instant};

use maskinporten::TokenRequest;
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

const CALLERS: usize = 10_000;
const ROUNDS: usize = 9;

/// What Maskinporten takes for a grant, and Altinn for an exchange: long enough that all callers are
/// there before it is over.
const LATENCY: Duration = Duration::from_millis(200);

fn main() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut rounds: Vec<Value> = (0..ROUNDS).map(|_| round(&runtime)).collect();
    rounds.sort_by(|one, other| p99(one).total_cmp(&p99(other)));
    let mut printed = rounds[ROUNDS / 2].clone();
    printed["rounds"] = rounds.into();
    println!("{printed}");
}

fn p99(round: &Value) -> f64 {
    round["p99_wait_ms"].as_f64().unwrap()
}

fn round(runtime: &Runtime) -> Value {
    let sim = Sim::builder().wall_clock().build();
    sim.fault(Route::Token, Fault::latency(LATENCY));
    sim.fault(Route::Exchange, Fault::latency(LATENCY));
    let registered = sim.new_client(["altinn:serviceowner"]);
    let client = world::builder(&sim, &registered).build().unwrap();
    let request = TokenRequest::scopes(["altinn:serviceowner"]).unwrap();

    let callers = (0..CALLERS).map(|_| {
        let (client, request) = (client.clone(), request.clone());
        runtime.spawn(async move {
            let came = Instant::now();
            client.altinn_token(&request).await.unwrap();
            (came, Instant::now())
        })
    });
    let callers: Vec<_> = callers.collect();
    let waits = callers
        .into_iter()
        .map(|caller| runtime.block_on(caller).unwrap());
    let waits: Vec<(Instant, Instant)> = waits.collect();

    let last_came = waits.iter().map(|(came, _)| came).max();
    let first_went = waits.iter().map(|(_, went)| went).min();
    assert!(
        last_came < first_went,
        "the token was there before all callers were"
    );

    let mut waits: Vec<f64> = waits
        .iter()
        .map(|(came, went)| went.duration_since(*came).as_secs_f64() * 1e3)
        .collect();
    waits.sort_by(f64::total_cmp);
    let journal = sim.journal();
    json!({
        "callers": CALLERS,
        "token_requests": journal.token_requests(),
        "exchanges": journal.exchanges(),
        "server_ms": (LATENCY + LATENCY).as_secs_f64() * 1e3,
        "p50_wait_ms": waits[CALLERS / 2],
        "p99_wait_ms": waits[CALLERS * 99 / 100],
        "longest_wait_ms": waits[CALLERS - 1],
    })
}
