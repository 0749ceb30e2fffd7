//! P1: what a layer costs when the token is already there, against tower-http's static
//! `AddAuthorization` over the same inner service, origin guard and 401 hook included.
//!
//! - Both requests carry six usual headers, and each of the three [ways](Way) of use is measured.
//! - Instructions are the gate: they repeat to the digit where time swings by a factor of two.
//! - Time is a ratio inside one process, and its figure the median over several processes.
//! - Two threads use services of one client. Each has [its own service](Services::Own) or both
//!   [share one](Services::Shared); the control is a static header for each thread and shares nothing.
//!
//! ```text
//! authorised_call                                       judges P1
//! authorised_call count  kept|cloned|shared ours|static CALLS
//! authorised_call time   kept|cloned|shared             pairs of nanoseconds a call, as JSON
//! authorised_call threads kept|cloned|shared own|shared pairs of calls a second, as JSON
//! ```

#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod call;

use std::hint::black_box;
use std::time::Duration;

use maskinporten_measure::{self as measure, Bound, Figure, Report, Result, Speedup, Unit};
use serde_json::{Value, json};
use tower::Layer;
use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
use tower_maskinporten::{BearerAuth, MaskinportenAuthLayer};

use call::{Echo, ORIGIN, Subject, Way, fixed, request, run, run_by_reference, token};

/// A static header with six others takes about 900: what is ours is at most a third of a call that does
/// nothing else.
const INSTRUCTIONS: Bound = Bound::at_most(300.0, Unit::Instructions);
const CALLS: [usize; 2] = [1_000, 3_000];

const TIME: Bound = Bound::at_most(1.35, Unit::Ratio);
const TIME_PROCESSES: usize = 9;
const TIME_PAIRS: usize = 51;
const TIME_CALLS: usize = 5_000;

const ALLOCATIONS: Bound = Bound::exactly(0.0, Unit::Count);

const TWO_THREADS: Bound = Bound::at_least(1.8, Unit::Ratio);
const THREAD_BATCH: usize = 200;

/// After so many calls nothing grows any more.
const WARM_UP: usize = 16;

fn main() {
    let arguments = measure::arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => judge(),
        ["count", way, "ours", calls] => count(&mut ours(&layer()), Way::named(way), calls),
        ["count", way, "static", calls] => count(&mut fixed(), Way::named(way), calls),
        ["time", way] => println!("{}", json!(time_pairs(Way::named(way)))),
        ["threads", way, "own"] => println!("{}", threads(Way::named(way), Services::Own)),
        ["threads", way, "shared"] => println!("{}", threads(Way::named(way), Services::Shared)),
        _ => panic!("see the top of this file for the arguments"),
    }
}

fn judge() {
    let mut report = Report::new("P1");
    for way in Way::ALL {
        let what = format!("instructions above a static header, {}", way.name());
        report.measured(what, INSTRUCTIONS, instructions(way));
    }
    for way in Way::ALL {
        let what = format!("time ÷ that of a static header, {}", way.name());
        report.measured(what, TIME, time(way));
    }
    for way in Way::ALL {
        let what = format!("heap allocations, {}", way.name());
        report.judge(what, ALLOCATIONS, allocations(way));
    }
    for services in [Services::Own, Services::Shared] {
        for way in Way::ALL {
            let (way, services) = (way.name(), services.name());
            let what = format!("two threads ÷ one, {way}, {services} service");
            let speedup = Speedup::of_processes(&["threads", way, services]);
            report.measured(what, TWO_THREADS, speedup.and_then(Speedup::figure));
        }
    }
}

// ===== the subjects =====

/// The layer on a client that has its token.
fn layer() -> MaskinportenAuthLayer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let source = FixedToken::new(&token(), Duration::from_secs(3600)).expect("a token");
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .expect("a client");
    runtime
        .block_on(client.access_token(["a:b"]))
        .expect("a token");
    MaskinportenAuthLayer::new(&client, ["a:b"], ORIGIN).expect("a layer")
}

fn ours(layer: &MaskinportenAuthLayer) -> BearerAuth<Echo> {
    layer.layer(Echo)
}

// ===== instructions =====

fn instructions(way: Way) -> Result<Figure> {
    let counted = |subject| measure::instructions(&["count", way.name(), subject], CALLS);
    let (ours, fixed) = (counted("ours")?, counted("static")?);
    Ok(Figure::new(ours - fixed).with_note(format!("{ours:.0} − {fixed:.0} a call")))
}

fn count(service: &mut impl Subject, way: Way, calls: &str) {
    let calls = calls.parse().expect("a number of calls");
    let request = run(service, way, WARM_UP, request(), |_| {});
    black_box(run(service, way, calls, request, |_| {}));
}

// ===== time =====

fn time(way: Way) -> Result<Figure> {
    let processes = measure::processes(TIME_PROCESSES, &["time", way.name()])?;
    let ratio = measure::median_of_processes(&processes, "", TIME_PAIRS)?;
    Ok(Figure::new(ratio).with_samples(processes.into()))
}

fn time_pairs(way: Way) -> Vec<[f64; 2]> {
    measure::pairs(TIME_PAIRS, timed(ours(&layer()), way), timed(fixed(), way))
}

/// Nanoseconds for one call, each time it is asked.
fn timed<S: Subject>(mut service: S, way: Way) -> impl FnMut() -> f64 {
    let mut request = run(&mut service, way, WARM_UP, request(), |_| {});
    move || {
        let mut calls = |calls| {
            let request_now = std::mem::take(&mut request);
            request = run(&mut service, way, calls, request_now, |_| {});
        };
        // What ran before has filled the processor's caches with its own.
        calls(WARM_UP);
        measure::nanoseconds_each(TIME_CALLS, || calls(TIME_CALLS))
    }
}

// ===== allocations =====

fn allocations(way: Way) -> f64 {
    let mut ours = ours(&layer());
    let request = run(&mut ours, way, WARM_UP, request(), |_| {});
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        kept = Some(run(&mut ours, way, 1_000, request, |_| {}));
    });
    counted.count_total as f64
}

// ===== threads =====

/// Whose service a thread keeps, clones or calls by reference.
#[derive(Clone, Copy, Debug)]
enum Services {
    Own,
    Shared,
}

impl Services {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
        }
    }
}

fn threads(way: Way, services: Services) -> Value {
    let layer = layer();
    let shared = ours(&layer);
    let ours = |_| {
        let mut own = match services {
            Services::Own => ours(&layer),
            // What is kept is a clone.
            Services::Shared => shared.clone(),
        };
        let mut request = run(&mut own, way, WARM_UP, request(), |_| {});
        let shared = &shared;
        move || {
            let request_now = std::mem::take(&mut request);
            request = match (services, way) {
                (Services::Own, _) | (_, Way::Kept) => {
                    run(&mut own, way, THREAD_BATCH, request_now, |_| {})
                }
                _ => run_by_reference(shared, way, THREAD_BATCH, request_now, |_| {}),
            };
            THREAD_BATCH
        }
    };
    let control = |_| {
        let mut own = fixed();
        let mut request = run(&mut own, way, WARM_UP, request(), |_| {});
        move || {
            let request_now = std::mem::take(&mut request);
            request = run(&mut own, way, THREAD_BATCH, request_now, |_| {});
            THREAD_BATCH
        }
    };
    measure::speedup(ours, control)
}
