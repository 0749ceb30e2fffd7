use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::sync::Weak;
use std::time::SystemTime;

use proptest::prelude::*;
use tokio::time::{advance, sleep};

use super::*;
use crate::cache::{Fetching, Identity, Origin, Snapshot};
use crate::clock::{AnyClock, TokioClock};
use crate::error::Result;
use crate::fetch_limits::FetchLimits;
use crate::request::TokenKind;
use crate::signer::BoxFuture;
use crate::source::{SourceIdentity, TokenSource};
use crate::stats::Tally;
use crate::token::AccessToken;

const LIFE: Duration = Duration::from_secs(60);

/// How long a fetch takes.
const FETCH: Duration = Duration::from_secs(1);

/// A hasher by which all keys are alike, or nearly.
#[derive(Clone, Copy)]
struct Alike {
    hashes: u64,
}

impl BuildHasher for Alike {
    type Hasher = AlikeHasher;

    fn build_hasher(&self) -> AlikeHasher {
        AlikeHasher {
            sum: 0,
            hashes: self.hashes,
        }
    }
}

struct AlikeHasher {
    sum: u64,
    hashes: u64,
}

impl Hasher for AlikeHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }

    fn finish(&self) -> u64 {
        self.sum % self.hashes
    }
}

/// Gives each request a token that names it.
#[derive(Debug)]
struct Naming;

impl TokenSource for Naming {
    fn identity(&self) -> SourceIdentity {
        SourceIdentity::new("naming", "")
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async {
            sleep(FETCH).await;
            AccessToken::new(request.scope_set().as_str(), LIFE)
        })
    }
}

fn request(number: u32) -> TokenRequest {
    TokenRequest::scopes([format!("n{number}")]).unwrap()
}

struct World {
    map: Map<Alike>,
    clock: AnyClock,
    closed: AtomicBool,
    tally: Arc<Tally>,
    fetching: Fetching,
    /// Every entry that there ever was, without holding it.
    entries: HashMap<u64, Arc<Entry>>,
    /// The last token of each, without keeping it.
    tokens: HashMap<u64, Weak<Snapshot>>,
    /// The model: who holds what, and what is in flight until when.
    held: HashMap<u32, Vec<Held>>,
    in_flight: HashMap<u32, (u64, Moment)>,
    most_in_use: usize,
}

impl World {
    fn new(capacity: usize, hashes: u64) -> Self {
        let clock = TokioClock::starting_at(SystemTime::UNIX_EPOCH);
        let clock = AnyClock::Custom(Arc::new(clock));
        let tally = Tally::new(TokenKind::Maskinporten);
        Self {
            map: Map::new(capacity, Alike { hashes }),
            closed: AtomicBool::new(false),
            fetching: Fetching::new(FetchLimits::default(), clock.clone(), Arc::clone(&tally)),
            clock,
            tally,
            entries: HashMap::new(),
            tokens: HashMap::new(),
            held: HashMap::new(),
            in_flight: HashMap::new(),
            most_in_use: 0,
        }
    }

    fn get(&mut self, number: u32) -> Held {
        let make = || {
            let identity = Identity {
                source: Naming.identity(),
                request: request(number),
                exchange: None,
            };
            let origin = Origin::Source(Arc::new(Naming));
            Held::new(identity, origin, &self.fetching)
        };
        let now = self.clock.now();
        let held = self
            .map
            .find_or_insert(&request(number), make, &self.closed, now);
        self.entries.insert(held.id(), Arc::clone(held.entry()));
        held
    }

    async fn play(&mut self, step: Step) {
        match step {
            Step::Fetch(number) => {
                let held = self.get(number);
                let snapshot = held.clone().acquire().await.unwrap();
                self.tokens.insert(held.id(), Arc::downgrade(&snapshot));
                assert_eq!(snapshot.token.expose(), format!("n{number}"));
            }
            Step::Start(number) => {
                let held = self.get(number);
                let id = held.id();
                let is_there = held.good_until(self.clock.now()).is_some();
                drop(held.set_off());
                if !is_there {
                    // At least so long: it may have to wait for its turn.
                    let until = self.clock.now().after(FETCH);
                    self.in_flight.entry(number).or_insert((id, until));
                }
            }
            Step::Hold(number) => {
                let held = self.get(number);
                self.held.entry(number).or_default().push(held);
            }
            Step::Release(number) => {
                self.held.remove(&number);
            }
            Step::Pass(seconds) => sleep(Duration::from_secs(seconds)).await,
        }
        let now = self.clock.now();
        self.in_flight.retain(|_, (_, until)| now < *until);
        self.check(now);
    }

    fn has_token(&self, id: u64) -> bool {
        self.tokens
            .get(&id)
            .is_some_and(|token| token.strong_count() > 0)
    }

    fn check(&mut self, now: Moment) {
        let all = self.map.all();
        let kept: HashMap<&TokenRequest, u64> = all
            .iter()
            .map(|entry| (entry.request(), entry.id()))
            .collect();
        assert_eq!(kept.len(), all.len(), "one request, one entry");
        assert_eq!(all.len(), self.map.len());

        // What is held or in flight is there, and the same.
        let held = self.held.iter();
        let held = held.flat_map(|(number, held)| held.iter().map(|held| (*number, held.id())));
        let in_flight = self.in_flight.iter();
        let in_flight = in_flight.map(|(number, (id, _))| (*number, *id));
        let in_use: HashSet<(u32, u64)> = held.chain(in_flight).collect();
        for (number, id) in &in_use {
            assert_eq!(kept.get(&request(*number)), Some(id), "{number} is in use");
        }

        // What is gone is retired and wiped, and what is retired is gone.
        let ids: HashSet<u64> = kept.into_values().collect();
        for (id, entry) in &self.entries {
            assert_eq!(entry.is_retired(), !ids.contains(id));
            if entry.is_retired() {
                assert!(Held::try_new(entry).is_none());
                assert!(!self.has_token(*id), "the token was not wiped");
            }
        }

        // One for a newcomer, and four whose flights may last longer than is noted.
        let waiting = all.iter().filter(|entry| entry.state(now) == State::InUse);
        self.most_in_use = self.most_in_use.max(waiting.count() + 1);
        let bound = self.map.capacity + self.most_in_use * 9 / 8 + 1;
        assert!(all.len() <= bound, "{} are kept", all.len());
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Fetches a token, where there is none, and waits for it.
    Fetch(u32),
    /// Starts to fetch one, and does not wait.
    Start(u32),
    Hold(u32),
    Release(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0u32..30;
    prop_oneof![
        6 => number().prop_map(Step::Fetch),
        2 => number().prop_map(Step::Start),
        2 => number().prop_map(Step::Hold),
        2 => number().prop_map(Step::Release),
        1 => (0u64..40).prop_map(Step::Pass),
    ]
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_map_is_bounded_compares_whole_keys_keeps_what_is_in_use_and_wipes_what_it_evicts(
        capacity in 0usize..20,
        hashes in prop_oneof![Just(1u64), Just(3), Just(1 << 32)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        run(async || {
            let mut world = World::new(capacity, hashes);
            for step in steps {
                world.play(step).await;
            }
            for entry in world.map.all() {
                entry.close();
                assert!(!world.has_token(entry.id()));
            }
        });
    }
}

#[test]
fn what_is_evicted_while_it_is_good_is_counted_and_what_is_spent_is_not() {
    run(async || {
        let mut world = World::new(4, 1 << 32);
        for number in 0..10 {
            world.play(Step::Fetch(number)).await;
        }
        assert_eq!(world.tally.evicted_so_far(), 6);
        advance(LIFE).await;
        for number in 10..14 {
            world.play(Step::Fetch(number)).await;
        }
        assert_eq!(world.tally.evicted_so_far(), 6);
    });
}

#[test]
fn what_was_in_use_leaves_by_look_ups_of_other_entries_once_a_second() {
    run(async || {
        let mut world = World::new(4, 1 << 32);
        for number in 0..300 {
            world.play(Step::Hold(number)).await;
        }
        world.held.clear();
        for kept in [300 - 64, 300 - 128] {
            sleep(SHRUNK_EVERY).await;
            for _ in 0..10 {
                world.get(299);
            }
            assert_eq!(world.map.len(), kept);
        }
        for _ in 0..10 {
            sleep(SHRUNK_EVERY).await;
            world.get(299);
        }
        assert!(world.map.len() <= 5, "{}", world.map.len());
    });
}

#[test]
fn an_entry_that_is_made_after_the_end_is_closed() {
    run(async || {
        let mut world = World::new(4, 1);
        world.closed.store(true, Ordering::SeqCst);
        let held = world.get(1);
        assert!(held.acquire().await.is_err());
    });
}

#[test]
fn threads_that_ask_for_more_than_is_kept_get_the_entry_of_their_request() {
    run(async || {
        let map = Map::new(8, Alike { hashes: 5 });
        let closed = AtomicBool::new(false);
        let clock = AnyClock::default();
        let tally = Tally::new(TokenKind::Altinn);
        let fetching = Fetching::new(FetchLimits::default(), clock.clone(), tally);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (map, closed, clock) = (&map, &closed, &clock);
                let fetching = &fetching;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let request = request((round * 7 + thread) % 40);
                        let make = || {
                            let identity = Identity {
                                source: Naming.identity(),
                                request: request.clone(),
                                exchange: None,
                            };
                            let origin = Origin::Source(Arc::new(Naming));
                            Held::new(identity, origin, fetching)
                        };
                        let held = map.find_or_insert(&request, make, closed, clock.now());
                        assert_eq!(held.request(), &request);
                        assert!(!held.is_retired());
                    }
                });
            }
        });
        assert!(map.len() <= 8 + 5, "{}", map.len());
        assert!(map.all().iter().all(|entry| !entry.is_retired()));
    });
}
