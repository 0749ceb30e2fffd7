//! A day of requests through layers, for several identities, while the token server fails at random
//! times in every way it can: which requests failed, and when.
//!
//! ```text
//! day_of_faults [--seed N]
//! ```
//!
//! - Time is paused and the simulator in this process. Faults and traffic follow from the seed, which
//!   is printed; without one it is another each time. What the engine draws by lot does not follow.
//! - Spells of faults and of health alternate. A spell has one kind of fault, or a mixture in which
//!   some requests are answered.
//! - Identities differ in the lives of their tokens, and one in its kind. Their requests come in
//!   bursts with idle times between them.
//! - A request that failed is held against the spell it failed in, else against the last one before.
//!
//! `cargo xtask promises P5` runs this and judges what it prints.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark spawns its requests, and takes a seed from the clock"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod api;
mod paused;
mod world;

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode};
use maskinporten::{MaskinportenClient, TokenRequest};
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::Layer;
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, MaskinportenAuthLayer};

use api::{Api, Call};

const DAY: f64 = 24.0 * 60.0 * 60.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--seed");
    let seed = match at {
        Some(at) => arguments[at + 1].parse().unwrap(),
        None => u64::from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .subsec_nanos(),
        ),
    };
    println!("{}", paused::run(day(seed)));
}

async fn day(seed: u64) -> Value {
    let mut random = Random(seed);
    let sim = Sim::builder().seed(seed).build();
    let identities = identities(&sim);
    let names: Vec<_> = identities.iter().map(|identity| identity.name).collect();
    let weather = tokio::spawn(weather(sim.clone(), random.fork()));
    let traffic: Vec<_> = identities
        .into_iter()
        .map(|identity| tokio::spawn(traffic(identity, random.fork())))
        .collect();

    let mut records = Vec::new();
    for one in traffic {
        records.push(one.await.unwrap());
    }
    let spells = weather.await.unwrap();

    let mut total = Tally::default();
    for record in &records {
        total.add(record, &spells);
    }
    let journal = sim.journal();
    json!({
        "seed": seed,
        "identities": names,
        "spells": spells.len(),
        "hours": DAY / 3600.0,
        "token_requests": journal.token_requests(),
        "grants": journal.grants(),
        "requests": total.requests,
        "failed": total.failed,
        "failed_with_a_good_token": total.failed_with_a_good_token,
        "failed_before_any_fault": total.failed_before_any_fault,
        "longest_after_its_spell_ms": total.longest_after_its_spell * 1e3,
        "expired": total.expired,
        "waited": total.waited,
        "longest_needless_wait_ms": total.longest_needless_wait_ms,
    })
}

// ===== chance =====

/// SplitMix64 (Steele, Lea and Flood 2014): a printed seed is to mean the same next year.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, range: RangeInclusive<f64>) -> f64 {
        range.start() + (range.end() - range.start()) * self.unit()
    }

    /// As often from one to ten as from ten to a hundred.
    fn magnitude(&mut self, range: RangeInclusive<f64>) -> f64 {
        self.between(range.start().ln()..=range.end().ln()).exp()
    }
}

async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

// ===== faults =====

/// A time of faults, in seconds since 1970.
struct Spell {
    from: f64,
    until: f64,
}

/// Lets spells of faults and of health alternate for a day.
async fn weather(sim: Sim, mut random: Random) -> Vec<Spell> {
    let clock = Api::new(&sim);
    let mut spells = Vec::new();
    let end = clock.now() + DAY;
    while clock.now() < end {
        pause(random.magnitude(30.0..=1_800.0)).await;
        let from = clock.now();
        let faults = faults(&mut random);
        for route in [Route::Metadata, Route::Token, Route::Exchange] {
            for fault in &faults {
                sim.fault(route, fault.clone());
            }
        }
        pause(random.magnitude(1.0..=1_200.0)).await;
        sim.clear_faults();
        let until = clock.now();
        spells.push(Spell { from, until });
    }
    spells
}

/// The faults of one spell.
fn faults(random: &mut Random) -> Vec<Fault> {
    let one = match random.next() % 12 {
        0 => Fault::status(StatusCode::SERVICE_UNAVAILABLE),
        1 => answer(StatusCode::BAD_GATEWAY, None, "<html>no gateway</html>"),
        2 => answer(StatusCode::TOO_MANY_REQUESTS, Some("20"), ""),
        3 => answer(StatusCode::SERVICE_UNAVAILABLE, Some("86400"), ""),
        4 => answer(StatusCode::OK, None, "<html>a portal</html>"),
        5 => answer(
            StatusCode::UNAUTHORIZED,
            None,
            r#"{"error":"invalid_client"}"#,
        ),
        6 => Fault::hang(),
        7 => Fault::latency(Duration::from_secs(5)),
        8 => Fault::truncated(),
        9 => Fault::slow_body(1, Duration::from_secs(1)),
        10 => Fault::huge(64 * 1024 * 1024),
        _ => return mixture(random),
    };
    vec![one]
}

/// One request fares well and the next one badly.
fn mixture(random: &mut Random) -> Vec<Fault> {
    let one = |random: &mut Random| match random.next() % 6 {
        0 => Fault::status(StatusCode::SERVICE_UNAVAILABLE),
        1 => Fault::hang(),
        2 => Fault::truncated(),
        _ => Fault::latency(Duration::from_secs_f64(random.between(0.0..=4.0))),
    };
    (0..300).map(|_| one(random).times(1)).collect()
}

fn answer(status: StatusCode, retry_after: Option<&'static str>, body: &'static str) -> Fault {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert("retry-after", HeaderValue::from_static(seconds));
    }
    Fault::answer(status, headers, body)
}

// ===== requests =====

struct Identity {
    name: &'static str,
    service: BearerAuth<Api>,
    /// Mean time between two requests of a burst, in seconds.
    gap: f64,
    /// The longest time from when a token was asked for to when it was given out, in seconds.
    slowest: f64,
}

/// A limit of one attempt, and one of a whole flight with the time that it is given up after.
const ATTEMPT: f64 = 3.0;
const FLIGHT: f64 = 11.0;

fn identities(sim: &Sim) -> Vec<Identity> {
    let scopes = [
        ("life:30s", 30),
        ("life:2min", 120),
        ("life:10min", 599),
        ("life:30min", 1_800),
        ("life:2h", 7_200),
    ];
    for (scope, seconds) in scopes {
        sim.scope_lifetime(scope, Duration::from_secs(seconds));
    }
    let consumer = "311169963";
    sim.delegate(consumer, "991825827", "life:2min");
    let mut registered_for = scopes.map(|(scope, _)| scope).to_vec();
    registered_for.push("altinn:serviceowner");
    let registered = sim.new_client(registered_for);
    let client = paused::client(sim, &registered);

    let raw = |name, request: TokenRequest, gap| Identity {
        name,
        service: MaskinportenAuthLayer::new(&client, request, api::ORIGIN)
            .unwrap()
            .layer(Api::new(sim)),
        gap,
        slowest: ATTEMPT,
    };
    let scope = |scope: &str| TokenRequest::scopes([scope]).unwrap();
    vec![
        raw("30 s", scope("life:30s"), 1.0),
        raw("2 min", scope("life:2min"), 3.0),
        raw(
            "2 min, for another organisation",
            scope("life:2min").consumer_org(consumer).unwrap(),
            3.0,
        ),
        raw("10 min", scope("life:10min"), 5.0),
        raw("30 min", scope("life:30min"), 10.0),
        raw("2 h", scope("life:2h"), 10.0),
        altinn(sim, &client),
    ]
}

fn altinn(sim: &Sim, client: &MaskinportenClient) -> Identity {
    let layer = AltinnAuthLayer::new(client, ["altinn:serviceowner"], api::ORIGIN).unwrap();
    Identity {
        name: "30 min, of Altinn",
        service: layer.layer(Api::new(sim)),
        gap: 10.0,
        // Its Maskinporten token may be fetched first.
        slowest: FLIGHT,
    }
}

/// What one identity saw.
struct Record {
    calls: Vec<Call>,
    expired: usize,
    slowest: f64,
}

/// Requests in bursts for a day.
async fn traffic(identity: Identity, mut random: Random) -> Record {
    let Identity { service, gap, .. } = identity;
    let start = Instant::now();
    let mut under_way = Vec::new();
    while start.elapsed().as_secs_f64() < DAY {
        let burst = Instant::now();
        let length = random.between(60.0..=900.0);
        while burst.elapsed().as_secs_f64() < length {
            pause(random.between(0.0..=2.0 * gap)).await;
            under_way.push(tokio::spawn(Call::through(service.clone())));
        }
        pause(random.between(0.0..=2_400.0)).await;
    }
    let mut calls = Vec::new();
    for call in under_way {
        calls.push(call.await.unwrap());
    }
    Record {
        calls,
        expired: service.get_ref().seen().expired,
        slowest: identity.slowest,
    }
}

// ===== what came of it =====

#[derive(Default)]
struct Tally {
    requests: usize,
    failed: usize,
    failed_with_a_good_token: usize,
    failed_before_any_fault: usize,
    longest_after_its_spell: f64,
    expired: usize,
    waited: usize,
    longest_needless_wait_ms: f64,
}

impl Tally {
    fn add(&mut self, record: &Record, spells: &[Spell]) {
        self.requests += record.calls.len();
        self.expired += record.expired;
        for call in &record.calls {
            self.waited += usize::from(call.waited.is_some());
            self.longest_needless_wait_ms = self
                .longest_needless_wait_ms
                .max(call.needless_wait_ms(record.slowest));
            if call.outcome.is_err() {
                self.failed += 1;
                self.failed_with_a_good_token += usize::from(call.had_good_token(record.slowest));
                self.blame(call, spells);
            }
        }
    }

    /// Holds a failed request against a spell.
    fn blame(&mut self, call: &Call, spells: &[Spell]) {
        let failed_at = call.came + call.waited.unwrap_or_default().as_secs_f64();
        match spells.iter().rfind(|spell| spell.from <= failed_at) {
            Some(spell) => {
                let after = (failed_at - spell.until).max(0.0);
                self.longest_after_its_spell = self.longest_after_its_spell.max(after);
            }
            None => self.failed_before_any_fault += 1,
        }
    }
}
