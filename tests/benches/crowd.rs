//! P16: 100 000 contexts of one tenant at once, and callers with less patience than the server needs.
//!
//! - All callers of the crowd but 500 give up: all when the last has asked, or each when it has asked. Another tenant
//!   comes with its first token, and a warm token is asked for every 100 ms.
//! - Memory is that of live blocks as the allocator was asked for them, from before the client is made until the crowd
//!   is served and its callers are gone; the client lives.
//! - Two impatient callers for each of 500 organisations ask again every 50 ms until they are served.
//!
//! Time is paused, and the token source signs nothing.
//!
//! `cargo xtask promises P16` runs this and tabulates what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]
#![allow(dead_code, reason = "the tests use more of what they share with this")]

#[path = "../it/tenants/crowd.rs"]
mod scenario;

use std::time::Duration;

use maskinporten_measure::{Bound, Figure, Report, Unit};
use tokio::runtime::{Builder, Runtime};

use scenario::{Flood, GiveUp, flood, impatient};

const CROWD: usize = 100_000;
const STAY: usize = 500;
const ORGANISATIONS: usize = 500;

/// The time of the token server for one token.
const SERVER: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_millis(50);

const STAYED: Bound = Bound::exactly(STAY as f64, Unit::Count);
const MEMORY: Bound = Bound::at_most(32.0 * 1_024.0, Unit::Kibibytes);
const FIRST_TOKEN: Bound = Bound::at_most(1_300.0, Unit::Milliseconds);
const WARM_FAILURES: Bound = Bound::exactly(0.0, Unit::Count);

const IMPATIENT: Bound = Bound::exactly(2.0 * ORGANISATIONS as f64, Unit::Count);
const TIME: Bound = Bound::at_most(1.5, Unit::Ratio);

fn main() {
    let mut report = Report::new("P16");
    crowd(&mut report, "all give up at once", GiveUp::AtOnce);
    crowd(
        &mut report,
        "each gives up when it has asked",
        GiveUp::OneByOne,
    );

    let took = paused().block_on(impatient(ORGANISATIONS, PATIENCE, SERVER));
    report.judge("impatient callers served", IMPATIENT, took.served as f64);
    report.judge(
        "time until the last impatient caller is served ÷ the ideal",
        TIME,
        Figure::new(took.took.as_secs_f64() / took.ideal.as_secs_f64()).with_note(format!(
            "{:.1} s ÷ {:.1} s",
            took.took.as_secs_f64(),
            took.ideal.as_secs_f64()
        )),
    );
}

fn crowd(report: &mut Report, row: &str, give_up: GiveUp) {
    let mut flooded: Option<Flood> = None;
    // It lives on, so that its tasks and timers count. What another thread allocates would not be counted: there is none.
    let runtime = paused();
    let memory = allocation_counter::measure(|| {
        flooded = Some(runtime.block_on(flood(CROWD, STAY, give_up, SERVER)));
    });
    let flooded = flooded.unwrap();

    report.judge(
        format!("{row}: callers served of those who stay"),
        STAYED,
        Figure::new(flooded.served as f64).with_note(format!(
            "of {CROWD} contexts; at most {} waited and {} tasks lived",
            flooded.most_waiting, flooded.most_tasks
        )),
    );
    report.judge(
        format!("{row}: memory kept when the crowd is gone"),
        MEMORY,
        Figure::new(memory.bytes_current as f64 / 1_024.0)
            .with_note(format!("{} KiB at most", memory.bytes_max / 1_024)),
    );
    report.judge(
        format!("{row}: first token of another tenant"),
        FIRST_TOKEN,
        flooded.first_token.as_secs_f64() * 1_000.0,
    );
    report.judge(
        format!("{row}: warm calls that fail"),
        WARM_FAILURES,
        Figure::new(flooded.warm_failures as f64).with_note(format!("of {}", flooded.warm)),
    );
}

fn paused() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}
