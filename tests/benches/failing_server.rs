//! Many callers at once on a slot that holds no token, before a server that gives none: how often it
//! is asked, what the callers are told, and how long they wait for it.
//!
//! - Time is paused and the simulator in this process, so every caller waits before the server answers.
//! - A herd comes three times: when nothing is known yet, as soon as the first one has its error, and
//!   when the time of that error is over.
//! - The one error of a herd is that of its first caller, told apart by kind and `retry_at`.
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

mod paused;
mod world;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use maskinporten::{ErrorKind, MaskinportenClient, TokenRequest};
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::{Value, json};
use tokio::time::Instant;

const CALLERS: usize = 10_000;

/// Who waits longer than this is taken to wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let invalid_client = r#"{"error":"invalid_client"}"#;
    let cases = json!({
        "unavailable": case(Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
        "invalid_client":
            case(Fault::answer(StatusCode::UNAUTHORIZED, HeaderMap::new(), invalid_client)),
        "silent": case(Fault::hang()),
    });
    println!("{}", json!({ "callers": CALLERS, "cases": cases }));
}

fn case(fault: Fault) -> Value {
    paused::run(async {
        let sim = Sim::new();
        sim.fault(Route::Token, fault);
        let registered = sim.new_client(["krr:read"]);
        let client = paused::client(&sim, &registered);
        let cold = Herd::come(&sim, &client).await;
        let remembered = Herd::come(&sim, &client).await;
        let retry_at = cold.told[0].unwrap().1.unwrap();
        // Already over where the second herd had to wait.
        let remaining = retry_at.duration_since(sim.clock().now());
        // Timers have whole milliseconds.
        tokio::time::sleep(remaining.unwrap_or_default() + Duration::from_millis(1)).await;
        let later = Herd::come(&sim, &client).await;
        json!({
            "kind": format!("{:?}", cold.told[0].unwrap().0),
            "cold": cold.json(&cold),
            "remembered": remembered.json(&cold),
            "later": later.json(&later),
        })
    })
}

/// What sets one error apart from another.
type Told = (ErrorKind, Option<SystemTime>);

struct Herd {
    requests: usize,
    /// Nothing where a caller hung, or was given a token.
    told: Vec<Option<Told>>,
    longest: Duration,
}

impl Herd {
    async fn come(sim: &Sim, client: &MaskinportenClient) -> Self {
        let before = sim.journal().token_requests();
        let request = TokenRequest::scopes(["krr:read"]).unwrap();
        let callers = (0..CALLERS).map(|_| {
            let (client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                let came = Instant::now();
                let asked = tokio::time::timeout(PATIENCE, client.access_token(&request));
                let error = asked.await.ok().and_then(Result::err);
                let told = error.map(|error| (error.kind(), error.retry_at()));
                (told, came.elapsed())
            })
        });
        let (mut told, mut longest) = (Vec::new(), Duration::ZERO);
        for caller in callers.collect::<Vec<_>>() {
            let (caller_told, waited) = caller.await.unwrap();
            told.push(caller_told);
            longest = longest.max(waited);
        }
        Self {
            requests: sim.journal().token_requests() - before,
            told,
            longest,
        }
    }

    /// The herd beside the one whose error it should have been given.
    fn json(&self, of: &Self) -> Value {
        let the_one = of.told[0].unwrap();
        let others = self.told.iter().filter(|told| **told != Some(the_one));
        json!({
            "requests": self.requests,
            "without_the_error": others.count(),
            "longest_wait_ms": self.longest.as_secs_f64() * 1e3,
        })
    }
}
