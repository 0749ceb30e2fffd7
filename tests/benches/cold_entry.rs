//! P3: many callers at once on an Altinn entry that holds no token yet: how often the servers are asked,
//! and how long the callers wait.
//!
//! - The simulator is in this process and needs a chosen time for each answer; time is real.
//! - A caller is a task, on a runtime of two workers. Its wait is counted from its own first poll.
//! - The control is the least that such a crowd can cost: the same tasks on the same runtime, of which one
//!   asks a client as the callers do, and all others await one [`Notify`] that it fires.
//! - Every caller is waiting before the token arrives; a round where one was not is an error.
//! - Each round has its own client and world. Rounds of callers and of the control take turns, and
//!   the medians of their p99 are compared.
//!
//! What signing, verifying and issuing cost here counts as the callers' wait, on both sides: the server's
//! time is only what the simulator was told to take.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads its watch and spawns its callers"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use maskinporten::{MaskinportenClient, TokenRequest};
use maskinporten_measure::{Bound, Figure, Report, Result, Unit, median};
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const CALLERS: usize = 10_000;
const ROUNDS: usize = 15;

/// What Maskinporten takes for a grant, and Altinn for an exchange: long enough that all callers are
/// there before it is over.
const LATENCY: Duration = Duration::from_millis(200);

const ONE: Bound = Bound::exactly(1.0, Unit::Count);
const WAIT: Bound = Bound::at_most(2.0, Unit::Ratio);

fn main() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // The first crowd pays for the memory that all others find.
    Round::of_callers(&runtime);
    let (mut callers, mut control) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        callers.push(Round::of_callers(&runtime));
        control.push(Round::of_control(&runtime));
    }

    let mut report = Report::new("P3");
    report.judge(
        "callers at once",
        Bound::at_least(10_000.0, Unit::Count),
        CALLERS as f64,
    );
    report.judge(
        "token requests",
        ONE,
        farthest_from_one(&callers, |round| round.token_requests),
    );
    report.judge(
        "exchanges",
        ONE,
        farthest_from_one(&callers, |round| round.exchanges),
    );
    report.measured(
        "p99 wait beyond the server ÷ a Notify's",
        WAIT,
        wait(&callers, &control),
    );
}

/// The count of the round that is farthest from one.
fn farthest_from_one(rounds: &[Round], count: fn(&Round) -> usize) -> f64 {
    let counts = rounds.iter().map(count);
    counts.max_by_key(|count| count.abs_diff(1)).unwrap() as f64
}

fn wait(callers: &[Round], control: &[Round]) -> Result<Figure> {
    let p99 = |rounds: &[Round]| median(rounds.iter().map(Round::p99_beyond_server_ms));
    let (ours, fired) = (p99(callers)?, p99(control)?);
    let samples = |rounds: &[Round]| rounds.iter().map(Round::samples).collect::<Vec<_>>();
    Ok(Figure::new(ours / fired)
        .with_note(format!("{ours:.1} ms ÷ {fired:.1} ms"))
        .with_samples(json!({"callers": samples(callers), "control": samples(control)})))
}

// ===== impl Round =====

/// One crowd before a client that has no token.
struct Round {
    token_requests: usize,
    exchanges: usize,
    /// How long each waited, in milliseconds and in order.
    waits: Vec<f64>,
}

/// When a caller came, and when it was served.
type Stay = (Instant, Instant);

impl Round {
    /// Every caller asks the client.
    fn of_callers(runtime: &Runtime) -> Self {
        Self::of(runtime, |client, request| {
            let caller = |_| runtime.spawn(asks(client.clone(), request.clone()));
            (0..CALLERS).map(caller).collect()
        })
    }

    /// One asks the client and fires what all others await.
    fn of_control(runtime: &Runtime) -> Self {
        Self::of(runtime, |client, request| {
            let fired = Arc::new(Notify::new());
            let fires = {
                let (fired, asks) = (Arc::clone(&fired), asks(client.clone(), request.clone()));
                runtime.spawn(async move {
                    let stay = asks.await;
                    fired.notify_waiters();
                    stay
                })
            };
            let waits = (1..CALLERS).map(|_| runtime.spawn(awaits(Arc::clone(&fired))));
            [fires].into_iter().chain(waits).collect()
        })
    }

    fn of(
        runtime: &Runtime,
        crowd: impl FnOnce(&MaskinportenClient, &TokenRequest) -> Vec<JoinHandle<Stay>>,
    ) -> Self {
        let sim = Sim::builder().wall_clock().build();
        sim.fault(Route::Token, Fault::latency(LATENCY));
        sim.fault(Route::Exchange, Fault::latency(LATENCY));
        let registered = sim.new_client(["altinn:serviceowner"]);
        let client = world::builder(&sim, &registered).build().unwrap();
        let request = TokenRequest::scopes(["altinn:serviceowner"]).unwrap();

        // The last to come first: it is among the last to be served, and this thread then sleeps while the
        // two workers serve the others.
        let crowd = crowd(&client, &request).into_iter().rev();
        let stays = crowd.map(|caller| runtime.block_on(caller).unwrap());
        let stays: Vec<Stay> = stays.collect();
        let last_came = stays.iter().map(|(came, _)| came).max();
        let first_went = stays.iter().map(|(_, went)| went).min();
        assert!(
            last_came < first_went,
            "the token was there before all callers were"
        );

        let waits = stays.iter().map(|(came, went)| went.duration_since(*came));
        let mut waits: Vec<f64> = waits.map(|wait| wait.as_secs_f64() * 1e3).collect();
        waits.sort_by(f64::total_cmp);
        let journal = sim.journal();
        Self {
            token_requests: journal.token_requests(),
            exchanges: journal.exchanges(),
            waits,
        }
    }

    fn p99_beyond_server_ms(&self) -> f64 {
        let server = (LATENCY + LATENCY).as_secs_f64() * 1e3;
        self.waits[CALLERS * 99 / 100] - server
    }

    fn samples(&self) -> Value {
        json!({
            "token_requests": self.token_requests,
            "exchanges": self.exchanges,
            "p50_wait_ms": self.waits[CALLERS / 2],
            "p99_wait_ms": self.waits[CALLERS * 99 / 100],
            "longest_wait_ms": self.waits[CALLERS - 1],
        })
    }
}

async fn asks(client: MaskinportenClient, request: TokenRequest) -> Stay {
    let came = Instant::now();
    client.altinn_token(&request).await.unwrap();
    (came, Instant::now())
}

async fn awaits(fired: Arc<Notify>) -> Stay {
    let came = Instant::now();
    fired.notified().await;
    (came, Instant::now())
}
