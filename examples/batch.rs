//! A batch of 10 000 calls: over several lives of a token, and with one that is revoked in the middle.
//!
//! `cargo run --example batch` prints calls, tokens and replays, and fails if one call did. Copy the stack
//! and the loop: there is nothing in them about tokens but the one line.

mod demo;

use std::time::Duration;

use bytes::Bytes;
use demo::{BoxError, check};
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Entry, Fault, Protection, Route, Sim, SimServer};
use tower::{Layer, ServiceExt};
use tower_maskinporten::MaskinportenAuthLayer;
use tower_maskinporten::maskinporten::MaskinportenClient;

const SCOPE: &str = "krr:read";
const CALLS: usize = 10_000;
const AT_ONCE: usize = 16;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = short_lives().await?;
    let (sim, url) = (server.sim(), server.sim().api_url());

    // What an API refuses it has not done, so that it can be sent again, whatever its method.
    let layer = MaskinportenAuthLayer::new(&client, [SCOPE], server.url())?;
    let http = layer
        .replay_on_unauthorized()
        .layer(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

    let calls = (0..CALLS).map(|number| {
        let (http, url) = (http.clone(), url.as_str());
        async move {
            if number == CALLS / 2 {
                revoke(sim).await;
            }
            let response = http.oneshot(Request::get(url).body(Empty::new())?).await?;
            let status = response.status();
            // A body that is read to its end gives its connection back.
            response.into_body().collect().await?;
            Ok::<_, BoxError>(status)
        }
    });
    let mut answers = stream::iter(calls).buffer_unordered(AT_ONCE);
    let (mut done, mut failed) = (0, 0);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(StatusCode::OK) => done += 1,
            Ok(status) => failed += told(format!("{status}")),
            Err(error) => failed += told(format!("{error}")),
        }
    }

    let journal = sim.journal();
    let replays = journal.api_calls() - CALLS;
    println!("{done} calls done, {failed} failed");
    println!("{} tokens, {replays} replays", journal.grants());
    check("no call failed", (done, failed) == (CALLS, 0))?;
    check(
        "a token was revoked in the middle",
        (1..=AT_ONCE).contains(&replays),
    )?;
    // One at the start, one in place of the revoked one, and at least one whose time had come.
    check("they lasted for several lives", journal.grants() >= 3)
}

/// Counts one failure, and prints it.
fn told(failure: String) -> usize {
    println!("failed: {failure}");
    1
}

// ===== what is only here to run it =====

/// Revokes the token in use, while no other is on its way: one that is revoked before it arrives would cost
/// its first call a second refusal, and a call is sent again once.
async fn revoke(sim: &Sim) {
    let settled = Duration::from_millis(500)..Duration::from_millis(2_500);
    loop {
        let journal = sim.journal();
        let last = journal.requests(Route::Token).last().map(Entry::time);
        let age = last.and_then(|asked| sim.clock().now().duration_since(asked).ok());
        if age.is_some_and(|age| settled.contains(&age)) {
            sim.revoke_all();
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Tokens that live for 4 s, and an API that takes 10 ms to answer: 10 000 calls, 16 at once, then last for
/// more than 6 s, however fast the machine is.
async fn short_lives() -> Result<(SimServer, MaskinportenClient), BoxError> {
    let sim = Sim::builder()
        .wall_clock()
        .token_lifetime(Duration::from_secs(4))
        .build();
    let server = SimServer::bind(sim, ([127, 0, 0, 1], 0).into()).await?;
    let sim = server.sim();
    // Most APIs allow for clocks that disagree; here it is for a machine that has much else to do.
    let protection = Protection::maskinporten().leeway(Duration::from_secs(10));
    sim.protect("/api/echo", protection);
    sim.fault(Route::Api, Fault::latency(Duration::from_millis(10)));
    let client = MaskinportenClient::from_settings(demo::settings(&sim.new_client([SCOPE]))?)?;
    Ok((server, client))
}
