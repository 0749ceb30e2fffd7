//! A day in half a minute: thousands of callers, a dozen identities, and all the weather there is.
//!
//! - Time is virtual; what happens, to whom and for how long is drawn from `SOAK_SEED`, and `SOAK_DAYS`
//!   says for how many days. Both are printed when something did not hold. The spread of the engine's
//!   own waits is drawn anew each time.
//! - What must hold is looked at where it can be seen: at the API that a request arrives at, at the
//!   caller that gets an answer, and at the servers that are asked.
//! - The servers are replaced every hour: what the simulator remembers of a day is not ours to judge.

mod callers;
mod chance;
mod judge;
mod plan;
mod servers;
mod weather;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maskinporten::{AltinnSettings, Clock, MaskinportenClient, SigningKey};
use maskinporten_sim::{Sim, SimClient};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep, sleep_until};

use crate::clocks::Clocks;
use callers::{Doors, day};
use chance::Chance;
use plan::{Identity, PLANS};
use servers::{Here, register, servers};

const SEED: u64 = 20_260_101;
const HOUR: Duration = Duration::from_secs(3600);

/// How long after a storm its last traces may be felt: a failure is remembered for up to 60 s,
/// and so may be the failure of the first token that an exchange needs; a client whose flights
/// failed may pause up to as long as a server asked for, and the flight after that takes its 10 s.
const AFTERMATH: Duration = Duration::from_secs(180);

/// How often a token that an API rejects is replaced at most.
const FORCED_EVERY: Duration = Duration::from_secs(30);

// ===== what was seen =====

/// A token as its issuer knows it.
struct Issued {
    identity: Identity,
    /// Its end by the world's clock, however wrong the issuer's own was.
    end: SystemTime,
    /// Until when it is certainly used by whoever has it, and certainly not renewed, on their clock.
    good_until: Duration,
    fresh_until: Duration,
}

/// What an identity's callers and servers have seen, and from that how often a token may be asked for.
#[derive(Default)]
struct Account {
    calls: usize,
    /// A token that was seen at the API is in hand until then, and needs no renewal until then.
    good_until: Duration,
    fresh_until: Duration,
    sent: usize,
    exchanged: usize,
    /// As many as there can be: renewals, replacements of rejected tokens, and calls in storms.
    renewals: usize,
    renewed_until: Duration,
    forced: usize,
    forced_until: Duration,
    storms: usize,
    /// In the storm of this number, since a token was last seen.
    in_storm: (usize, usize),
}

struct Storm {
    from: Duration,
    to: Option<Duration>,
    name: String,
}

#[derive(Default)]
struct Seen {
    issued: HashMap<String, Issued>,
    /// Tokens that were read before, so that each is read once.
    read: HashMap<String, String>,
    accounts: Vec<Account>,
    storms: Vec<Storm>,
    gave_up: usize,
    failed: usize,
    rejected: usize,
    wrong: Vec<String>,
}

// ===== the world =====

#[derive(Clone)]
struct World {
    clocks: Clocks,
    sim: Arc<Mutex<Sim>>,
    clients: Arc<Vec<SimClient>>,
    identities: Arc<Vec<Identity>>,
    seen: Arc<Mutex<Seen>>,
    trouble: Arc<Mutex<Trouble>>,
    end: Instant,
}

/// What goes wrong before a request reaches a server.
#[derive(Default)]
struct Trouble {
    cut_off: bool,
    panics: u64,
    revoked_until: Duration,
}

impl World {
    fn new(chance: &mut Chance, length: Duration) -> Self {
        let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let sim = servers(chance.next(), start);
        let clients: Vec<SimClient> = (0..2).map(|_| sim.new_client(["soak:two"])).collect();
        register(&sim, &clients);
        let accounts = PLANS.iter().map(|_| Account::default()).collect();
        Self {
            clocks: Clocks::starting_at(start),
            identities: Arc::new(PLANS.iter().map(|plan| plan.identity(&clients)).collect()),
            sim: Arc::new(Mutex::new(sim)),
            clients: Arc::new(clients),
            seen: Arc::new(Mutex::new(Seen {
                accounts,
                ..Seen::default()
            })),
            trouble: Arc::default(),
            end: Instant::now() + length,
        }
    }

    /// Sends everybody to work.
    fn begins_the_day(&self, chance: &mut Chance) {
        let sim = self.sim();
        let clients: Vec<MaskinportenClient> = self
            .clients
            .iter()
            .map(|registered| {
                let jwk = registered.private_jwk().to_string();
                let key = SigningKey::from_jwk(&jwk, None).unwrap();
                MaskinportenClient::builder()
                    .signer(sim.issuer(), registered.client_id(), Here { key })
                    .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
                    .transport(self.transport())
                    .clock(self.clocks.clone())
                    .build()
                    .unwrap()
            })
            .collect();
        for (who, plan) in PLANS.iter().enumerate() {
            let doors = Doors::new(who, self, &clients[plan.client]);
            tokio::spawn(day(doors, self.clone(), Chance(chance.next())));
        }
        tokio::spawn(self.clone().weather(Chance(chance.next())));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn sim(&self) -> Sim {
        self.sim.lock().unwrap().clone()
    }

    fn now(&self) -> Duration {
        self.clocks.monotonic()
    }
}

// ===== the test =====

fn number_from(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap())
}

/// What to run again, and what it was like when something did not hold.
struct Forecast<'a>(u64, &'a World);

impl Drop for Forecast<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, world) = self;
            println!("SOAK_SEED={seed}");
            if let Ok(seen) = world.seen.try_lock() {
                for Storm { from, to, name } in &seen.storms {
                    println!("{from:?} to {to:?}: {name}");
                }
            }
        }
    }
}

#[test]
fn a_day_of_all_weathers_does_no_harm() {
    let seed = number_from("SOAK_SEED", SEED);
    let hours = 24 * number_from("SOAK_DAYS", 1);
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let mut live = 0;
    let mut after_hour = Vec::new();
    let mut chance = Chance(seed);
    let mut account = |step: &mut dyn FnMut()| {
        live += allocation_counter::measure(step).bytes_current;
        live
    };
    let mut world = None;
    account(&mut || {
        let begun = runtime.block_on(async { World::new(&mut chance, HOUR * hours as u32) });
        runtime.block_on(async { begun.begins_the_day(&mut chance) });
        world = Some(begun);
    });
    let world = world.unwrap();
    let forecast = Forecast(seed, &world);
    for hour in 1..=hours {
        let bytes = account(&mut || {
            let end = world.end - HOUR * (hours - hour) as u32;
            runtime.block_on(async {
                sleep_until(end).await;
                world.redeploy(chance.next());
                world.tidy();
            });
        });
        let wrong = std::mem::take(&mut world.seen().wrong);
        assert!(wrong.is_empty(), "in hour {hour}: {wrong:#?}");
        after_hour.push(bytes);
    }
    println!("live bytes after each hour: {after_hour:?}");
    // The least of some hours, so that whoever is at work at the full hour does not count.
    let early = after_hour[1..4].iter().min().unwrap();
    let late = after_hour[after_hour.len() - 3..].iter().min().unwrap();
    assert!(*late < early + early / 2, "memory grows: {after_hour:?}");
    runtime.block_on(async {
        // Whoever still sleeps wakes up and goes home; whatever is in the air lands.
        sleep(HOUR).await;
        let alive = Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive, 0, "tasks are left");
    });
    world.settle_accounts();
    drop(forecast);
}
