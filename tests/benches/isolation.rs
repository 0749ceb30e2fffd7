//! P15: one tenant in trouble, and what others notice of it; and a real outage, with its probes.
//!
//! - One tenant asks for five different identities a second and is answered every row of the table of refusals, two
//!   unknown codes and every other trouble: all in turn, and each alone, for 120 s. A warm tenant, a first
//!   token each second and the service itself ask at the same time.
//! - While that tenant is in trouble the server goes down for all: the errors of others are searched for text about it.
//! - In an outage of 60 s 500 tenants ask again every half second.
//!
//! Time is paused and the simulator in this process: the counts are the same on every machine.
//!
//! `cargo xtask promises P15` runs this and tabulates what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]
#![allow(dead_code, reason = "the tests use more of what they share with this")]

#[path = "../it/tenants/isolation.rs"]
mod scenario;

mod paused;
mod world;

use std::time::Duration;

use http::StatusCode;
use maskinporten::Error;
use maskinporten_measure::{Bound, Figure, Report, Unit};
use maskinporten_sim::Fault;

use scenario::{
    At, Noticed, SERVER, about_troubled, isolation, outage, shown, troubles_of_maskinporten,
    troubles_of_the_exchange,
};

const FAILURES: Bound = Bound::exactly(0.0, Unit::Count);
const TEXTS: Bound = Bound::exactly(0.0, Unit::Count);

/// A first token is late by this at most.
const LATE: Duration = Duration::from_secs(1);

const TIME: Duration = Duration::from_secs(120);

const TENANTS: usize = 500;
const SERVED: Bound = Bound::exactly(TENANTS as f64, Unit::Count);
const PROBES: Bound = Bound::at_most(1.0, Unit::Count);
const RECOVERY: Bound = Bound::at_most(2_000.0, Unit::Milliseconds);

fn main() {
    let mut report = Report::new("P15");
    let maskinporten = troubles_of_maskinporten();
    for (at, name, troubles, answer) in [
        (At::Maskinporten, "Maskinporten", maskinporten, SERVER),
        (
            At::Exchange,
            "exchange",
            troubles_of_the_exchange(),
            2 * SERVER,
        ),
    ] {
        let longest = Bound::at_most(milliseconds(answer + LATE), Unit::Milliseconds);
        let in_turn = paused::run(isolation(at, &troubles, TIME));
        judge(&mut report, &format!("{name}, in turn"), longest, &in_turn);

        let mut alone = Noticed::default();
        for trouble in troubles.clone() {
            let noticed = paused::run(isolation(at, &[trouble], TIME));
            alone.asked += noticed.asked;
            alone.failed += noticed.failed;
            alone.others += noticed.others;
            alone.failures.extend(noticed.failures);
            alone.longest = alone.longest.max(noticed.longest);
        }
        let row = format!("{name}, each of {} alone", troubles.len());
        judge(&mut report, &row, longest, &alone);

        let failures = [in_turn.failures, alone.failures].concat();
        texts(&mut report, at, name, &troubles, failures);
    }
    for (name, trouble) in [
        ("503", Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
        ("lost connections", Fault::disconnect()),
        ("silence", Fault::hang()),
    ] {
        outages(&mut report, name, trouble);
    }
}

fn judge(report: &mut Report, row: &str, longest: Bound, noticed: &Noticed) {
    let failures = Figure::new(noticed.failures.len() as f64).with_note(format!(
        "of {}; the tenant in trouble asked {} times and failed {} times",
        noticed.others, noticed.asked, noticed.failed
    ));
    report.judge(format!("{row}: failures of others"), FAILURES, failures);
    report.judge(
        format!("{row}: longest first token of others"),
        longest,
        milliseconds(noticed.longest),
    );
}

/// Searches `failures`, and the errors of others when the server is down for all.
fn texts(report: &mut Report, at: At, name: &str, troubles: &[Fault], failures: Vec<Error>) {
    let (mut of_others, mut marked) = (failures, 0);
    for trouble in troubles {
        let shown = paused::run(shown(at, trouble.clone()));
        marked += shown.marked();
        of_others.extend(shown.to_others);
    }
    // A search that has nothing to find, or nothing to search, shows nothing.
    let found = if marked == 0 || of_others.is_empty() {
        Err("there was no text to find, or no error to search".into())
    } else {
        Ok(
            Figure::new(about_troubled(&of_others) as f64).with_note(format!(
                "{} searched; {marked} errors of the tenant in trouble have such a text",
                of_others.len()
            )),
        )
    };
    report.measured(
        format!("{name}: errors of others with text about the tenant in trouble"),
        TEXTS,
        found,
    );
}

fn outages(report: &mut Report, name: &str, trouble: Fault) {
    let outage = paused::run(outage(TENANTS, trouble));
    report.judge(
        format!("outage by {name}: requests in the busiest second, the circuit open"),
        PROBES,
        Figure::new(outage.busiest as f64).with_note(format!("{} in the first 14 s", outage.first)),
    );
    report.judge(
        format!("outage by {name}: tenants served"),
        SERVED,
        outage.served as f64,
    );
    report.judge(
        format!("outage by {name}: the last is served after its end"),
        RECOVERY,
        milliseconds(outage.recovered_after),
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
