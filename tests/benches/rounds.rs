//! P17: organisations at once and in rounds through one client: how long the first tokens take, what they cost in TLS
//! handshakes, and how many calls find their token in the cache.
//!
//! - 500 and 5 000 organisations come at once, at the default number of permits and at 8. The token server takes 300 ms
//!   for a token; the ideal is what the permits allow.
//! - Handshakes are counted over real sockets and TLS, in real time, with the same server.
//! - In rounds, tokens live for 120 s, and the token server takes 20 ms for one. Time is paused, as it is for the
//!   organisations at once: the counts are the same on every machine.
//! - At the default number of identities 2 000 organisations fit, and every call from the second round on is to
//!   be a hit.
//! - A cycle over twice the number of identities, one call after another, is what LRU eviction keeps nothing of.
//!
//! `cargo xtask promises P17` runs this and tabulates what it prints.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads its watch and spawns its server"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]
#![allow(dead_code, reason = "the tests use more of what they share with this")]

#[path = "../it/tenants/crowd.rs"]
mod crowd;
#[path = "../it/handshakes/measured.rs"]
mod handshakes;
#[path = "../it/rounds/measured.rs"]
mod measured;

mod paused;
mod world;

use std::time::Duration;

use maskinporten_measure::{Bound, Figure, Report, Unit};
use tokio::runtime::Builder;

use crowd::at_once;
use handshakes::{Fetches, counted};
use measured::{Round, Rounds, measured};

/// The time of the token server for a first token.
const SERVER: Duration = Duration::from_millis(300);

/// The default number of permits.
const PERMITS: f64 = 32.0;

/// How many organisations come at once over real sockets.
const FETCHES: usize = 500;

/// Time until the last organisation is served, by the least that server and permits allow.
const TIME: Bound = Bound::at_most(1.2, Unit::Ratio);
const HANDSHAKES: Bound = Bound::at_most(PERMITS + 0.1 * FETCHES as f64, Unit::Count);

/// What is not a hit from the second round on.
const MISSES: Bound = Bound::exactly(0.0, Unit::Count);
const HITS: Bound = Bound::at_least(0.4, Unit::Ratio);

/// How many identities are kept for the cycle.
const CAPACITY: usize = 500;

fn main() {
    let mut report = Report::new("P17");

    for (organisations, permits) in [(500, None), (500, Some(8)), (5_000, None), (5_000, Some(8))] {
        first_tokens(&mut report, organisations, permits);
    }
    report.measured(
        format!("TLS handshakes for {FETCHES} organisations at once"),
        HANDSHAKES,
        connections(),
    );

    let fit = rounds(Rounds {
        organisations: 2_000,
        max_identities: None,
        rounds: 6,
        at_once: 8,
        pause: Duration::from_secs(20),
    });
    let (calls, hits) = sum(&fit[1..]);
    report.judge(
        "misses of 2 000 organisations from the second round on",
        MISSES,
        Figure::new((calls - hits) as f64).with_note(format!("{hits} hits")),
    );

    for at_once in [1, 8] {
        let cycle = rounds(Rounds {
            organisations: 2 * CAPACITY,
            max_identities: Some(CAPACITY),
            rounds: 10,
            at_once,
            pause: Duration::ZERO,
        });
        let (calls, hits) = sum(&cycle[1..]);
        report.judge(
            format!("hits of a cycle over twice the capacity, {at_once} at once"),
            HITS,
            Figure::new(hits as f64 / calls as f64).with_note(format!("{hits} of {calls}")),
        );
    }
}

fn first_tokens(report: &mut Report, organisations: usize, permits: Option<usize>) {
    let took = paused::run(at_once(organisations, permits, SERVER));
    let at = permits.map_or_else(|| "default".to_owned(), |permits| permits.to_string());
    let row = format!("{organisations} organisations at once, permits: {at}");
    report.judge(
        format!("{row}: served"),
        Bound::exactly(organisations as f64, Unit::Count),
        took.served as f64,
    );
    let (took, ideal) = (took.took.as_secs_f64(), took.ideal.as_secs_f64());
    report.judge(
        format!("{row}: time ÷ the ideal"),
        TIME,
        Figure::new(took / ideal).with_note(format!("{took:.1} s ÷ {ideal:.1} s")),
    );
}

/// Handshakes of a client whose connections are real.
fn connections() -> maskinporten_measure::Result<Figure> {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    let counted = runtime.block_on(counted(Fetches {
        organisations: FETCHES,
        server: SERVER,
    }))?;
    Ok(Figure::new(counted.handshakes as f64).with_note(format!(
        "{} token requests, at most {} at once",
        counted.token_requests, counted.at_once
    )))
}

fn rounds(of: Rounds) -> Vec<Round> {
    paused::run(measured(of)).0
}

fn sum(rounds: &[Round]) -> (u64, u64) {
    let of = |count: fn(&Round) -> u64| rounds.iter().map(count).sum();
    (of(|round| round.calls), of(|round| round.hits))
}
