//! P17: organisations in rounds through one client: how many calls find their token in the cache.
//!
//! - Tokens live for 120 s, and the token server takes 20 ms for one. Time is paused: the counts are the same on
//!   every machine.
//! - At the default number of identities 2 000 organisations fit, and every call from the second round on is to
//!   be a hit.
//! - A cycle over twice the number of identities, one call after another, is what LRU eviction keeps nothing of.
//!
//! `cargo xtask promises P17` runs this and tabulates what it prints.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]
#![allow(dead_code, reason = "the tests use more of what they share with this")]

#[path = "../it/rounds/measured.rs"]
mod measured;

use std::time::Duration;

use maskinporten_measure::{Bound, Figure, Report, Unit};
use tokio::runtime::Builder;

use measured::{Round, Rounds, measured};

/// What is not a hit from the second round on.
const MISSES: Bound = Bound::exactly(0.0, Unit::Count);
const HITS: Bound = Bound::at_least(0.4, Unit::Ratio);

/// How many identities are kept for the cycle.
const CAPACITY: usize = 500;

fn main() {
    let mut report = Report::new("P17");

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

fn rounds(of: Rounds) -> Vec<Round> {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(measured(of)).0
}

fn sum(rounds: &[Round]) -> (u64, u64) {
    let of = |count: fn(&Round) -> u64| rounds.iter().map(count).sum();
    (of(|round| round.calls), of(|round| round.hits))
}
