//! One life, the threads around it, and what each of them may never see.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Seen, Ordering as Std};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

use crate::cache::state::{Found, Rejection, Revision, Setback, Takeoff};
use crate::cache::window::Window;
use crate::clock::Moment;
use crate::flight::{Air, Failed, Flight, Life, Outcome, Snapshot};
use crate::sync::{AtomicU64, Ordering};
use crate::view::{Copies, View};

/// As in `cache/entry/mod.rs`.
const ELECTIONS: usize = 3;
/// How many preemptions PCT places in a run.
const DEPTH: usize = 5;
const SEED: u64 = 0x6d61_736b_696e_706f;

/// Runs a model some thousand times by each scheduler.
#[track_caller]
pub(crate) fn explore(iterations: usize, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        // That orderings are taken for sequentially consistent is known, and told in `main.rs`.
        config.silence_warnings = true;
        let model = Arc::clone(&model);
        Runner::new(scheduler, config).run(move || model());
    };
    run(Box::new(RandomScheduler::new_from_seed(SEED, iterations)));
    run(Box::new(PctScheduler::new_from_seed(
        SEED, DEPTH, iterations,
    )));
}

/// How flights end, as shares of a hundred; the rest stand still until nobody waits any more, and land
/// or fail then.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) land: u32,
    pub(crate) fail: u32,
    pub(crate) die: u32,
}

pub(crate) struct World {
    life: Life,
    copies: Copies,
    air: Air,
    weather: Weather,
    /// The clock, in seconds.
    now: AtomicU64,
    /// What the source is, and how often it recovered.
    source: AtomicU64,
    recoveries: AtomicU64,
    // What follows only the judge reads: no thread is switched there.
    /// The newest generation anybody has seen.
    newest: Seen,
    /// How many invalidations were begun, and how many have returned.
    begun: Seen,
    returned: Seen,
    /// For each flight how many invalidations were begun when it started, and what the source was.
    born: std::sync::Mutex<Vec<(u64, u64)>>,
    /// When the token of each flight may no longer be used.
    ends: std::sync::Mutex<HashMap<u64, Moment>>,
    /// At how many recoveries each flight failed whose failure the next one ends.
    recoverable: std::sync::Mutex<HashMap<u64, u64>>,
}

/// What is known when somebody comes: whatever is served from here on is at least as new.
#[derive(Clone, Copy)]
struct Known {
    generation: u64,
    invalidations: u64,
}

impl World {
    pub(crate) fn new(weather: Weather) -> Arc<Self> {
        Arc::new(Self {
            life: Life::new(),
            copies: Copies::new(),
            air: Air::default(),
            weather,
            now: AtomicU64::new(1_000),
            source: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            newest: Seen::new(0),
            begun: Seen::new(0),
            returned: Seen::new(0),
            born: std::sync::Mutex::default(),
            ends: std::sync::Mutex::default(),
            recoverable: std::sync::Mutex::default(),
        })
    }

    // ===== what threads do =====

    /// Asks and waits, as `Held::acquire` does, and may find the token rejected.
    pub(crate) fn acquire(self: &Arc<Self>) -> Option<Outcome> {
        let mut lost = 0;
        let mut last = 0;
        while lost < ELECTIONS {
            let known = self.known();
            let (now, revision) = (self.now(), self.revision());
            let found = self.starting(|started| {
                let prepare = self.prepare(revision, started);
                self.life.ask(now, revision, prepare)
            });
            let (flight, takeoff) = match found {
                Found::Good(snapshot) => {
                    self.check(&snapshot, known, now);
                    return Some(Ok(snapshot));
                }
                Found::Failed(failed) => {
                    self.check_failure(failed, revision);
                    return Some(Err(failed));
                }
                Found::Closed => return None,
                Found::Awaited(flight, takeoff) => (flight, takeoff),
            };
            assert!(flight.number() > last, "a lost flight is joined again");
            last = flight.number();
            if let Some(outcome) = flight.outcome() {
                if let Ok(snapshot) = &outcome {
                    assert_eq!(snapshot.token, flight.number());
                    self.check_origin(snapshot.token, known);
                }
                return Some(outcome);
            }
            lost += usize::from(self.life.is_of_now(takeoff));
        }
        None
    }

    /// Sets the header of a request, as a layer does.
    pub(crate) fn see(self: &Arc<Self>, view: &mut View) {
        let known = self.known();
        let before = view.generation;
        let now = self.now();
        let refresh = || {
            let revision = self.revision();
            self.starting(|started| {
                let prepare = self.prepare(revision, started);
                self.life.refresh_if_due(now, || revision, prepare);
            });
        };
        if view.is_good(&self.life, &self.copies, now, refresh) {
            assert!(view.generation >= before, "a view went back");
            assert!(view.generation >= known.generation, "a view lags behind");
            let end = self.ends.lock().unwrap()[&view.token];
            assert!(now < end, "a token past its end was set");
            self.check_origin(view.token, known);
        }
        self.note_generation();
    }

    /// Tells that a token was rejected, and waits for the newer one, as `Held::replaced` does.
    pub(crate) fn reject(self: &Arc<Self>, generation: u64) {
        let known = self.known();
        let (now, revision) = (self.now(), self.revision());
        let rejection = self.starting(|started| {
            let prepare = self.prepare(revision, started);
            self.life.reject(generation, now, revision, prepare)
        });
        match rejection {
            Rejection::Newer(newer) => {
                assert!(newer.generation > generation);
                self.check(&newer, known, now);
            }
            Rejection::Awaited(flight) => {
                let newer = flight.outcome().and_then(Result::ok);
                assert!(newer.is_none_or(|newer| newer.generation > generation));
            }
            Rejection::Kept => {}
        }
    }

    pub(crate) fn invalidate(&self) {
        self.begun.fetch_add(1, Std::SeqCst);
        self.life.invalidate();
        self.copies.clear(&self.life);
        self.returned.fetch_add(1, Std::SeqCst);
        self.note_generation();
    }

    pub(crate) fn close(self: &Arc<Self>) {
        if let Some(flight) = self.life.close() {
            assert!(flight.is_over());
        }
        self.copies.clear(&self.life);
        assert!(self.acquire().is_none());
        let started = self.air.started();
        assert!((1..=started).all(|number| self.air.flight(number).is_over()));
        assert!(self.life.current(self.now()).is_none());
    }

    pub(crate) fn generation(&self) -> u64 {
        self.life.generation()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The source becomes another.
    pub(crate) fn change_source(&self) {
        self.source.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn recover(&self) {
        self.recoveries.fetch_add(1, Ordering::SeqCst);
    }

    fn revision(&self) -> Revision {
        Revision {
            source: self.source.load(Ordering::SeqCst),
            recoveries: self.recoveries.load(Ordering::SeqCst),
        }
    }

    fn now(&self) -> Moment {
        at(self.now.load(Ordering::SeqCst))
    }

    // ===== what flights do =====

    /// Makes a flight under the life's lock, as the engine does.
    fn prepare<'a>(
        &'a self,
        revision: Revision,
        started: &'a mut Option<Flight>,
    ) -> impl FnOnce(Takeoff) -> Result<Flight, Failed> + 'a {
        move |takeoff| {
            let flight = self.air.take_off(takeoff);
            let begun = self.begun.load(Std::SeqCst);
            self.born.lock().unwrap().push((begun, revision.source));
            Ok(started.insert(flight).clone())
        }
    }

    /// Does what may start a flight, and spawns that flight's thread when the life's lock is free again.
    fn starting<R>(self: &Arc<Self>, act: impl FnOnce(&mut Option<Flight>) -> R) -> R {
        let mut started = None;
        let result = act(&mut started);
        if let Some(flight) = started {
            let world = Arc::clone(self);
            thread::spawn(move || world.fly(&flight));
        }
        result
    }

    fn fly(&self, flight: &Flight) {
        let asked = self.now();
        for _ in 0..thread_rng().gen_range(0..4) {
            thread::yield_now();
            if flight.is_cancelled() {
                flight.lose();
                return;
            }
        }
        let Weather { land, fail, die } = self.weather;
        let chance = thread_rng().gen_range(0..100);
        if chance < land {
            self.land(flight, asked);
        } else if chance < land + fail {
            self.fail(flight);
        } else if chance < land + fail + die {
            flight.end();
            flight.lose();
        } else {
            // It is given up for lost, and ends all the same.
            flight.lose();
            for _ in 0..thread_rng().gen_range(0..20) {
                thread::yield_now();
            }
            match thread_rng().gen_bool(0.5) {
                true => self.land(flight, asked),
                false => self.fail(flight),
            }
        }
    }

    fn land(&self, flight: &Flight, asked: Moment) {
        flight.end();
        // From one that is spent on arrival to one that outlives the model.
        let lifetime = Duration::from_secs(thread_rng().gen_range(1..60));
        let window = Window::of(asked, lifetime, thread_rng().gen_range(0.0..1.0));
        let number = flight.number();
        self.ends.lock().unwrap().insert(number, window.hard);
        let (takeoff, now) = (flight.takeoff(), self.now());
        let spent = (now >= window.hard).then(|| self.setback(flight, now));
        let published = self.life.publish(takeoff, number, window, now, spent);
        self.copies.clear(&self.life);
        match published {
            Some(snapshot) => flight.tell(Ok(snapshot)),
            None => flight.lose(),
        }
        self.note_generation();
    }

    fn fail(&self, flight: &Flight) {
        flight.end();
        let now = self.now();
        let setback = self.setback(flight, now);
        match self.life.fail(flight.takeoff(), now, setback) {
            Some(failed) => flight.tell(Err(failed)),
            None => flight.lose(),
        }
    }

    fn setback(&self, flight: &Flight, now: Moment) -> Setback<Failed> {
        let pause = Duration::from_secs(5);
        let recoveries = self.recoveries.load(Ordering::SeqCst);
        let ends_with_recovery = thread_rng().gen_bool(0.5);
        if ends_with_recovery {
            let mut recoverable = self.recoverable.lock().unwrap();
            recoverable.insert(flight.number(), recoveries);
        }
        Setback {
            error: Failed(flight.number()),
            until: flight.takeoff().remembered_until(now, pause),
            counts: true,
            ends_with_recovery,
            recoveries,
        }
    }

    // ===== what the judge sees =====

    fn known(&self) -> Known {
        Known {
            generation: self.newest.load(Std::SeqCst),
            invalidations: self.returned.load(Std::SeqCst),
        }
    }

    fn note_generation(&self) {
        // Nothing is switched between the reading and the note.
        let generation = self.life.generation();
        self.newest.fetch_max(generation, Std::SeqCst);
    }

    #[track_caller]
    fn check(&self, snapshot: &Snapshot, known: Known, now: Moment) {
        assert!(now < snapshot.window.hard, "a token past its end is served");
        assert!(
            snapshot.generation >= known.generation,
            "a token older than one that was seen is served"
        );
        self.check_origin(snapshot.token, known);
        self.newest.fetch_max(snapshot.generation, Std::SeqCst);
    }

    /// Whether a flight started after the last invalidation that had returned: one that did not had
    /// seen fewer begun.
    #[track_caller]
    fn check_origin(&self, flight: u64, known: Known) {
        let index = usize::try_from(flight - 1).unwrap();
        let (born, _) = self.born.lock().unwrap()[index];
        assert!(born >= known.invalidations, "a void token is served");
    }

    /// Whether a failure that is remembered is of this source, and no recovery has ended it.
    #[track_caller]
    fn check_failure(&self, failed: Failed, revision: Revision) {
        let index = usize::try_from(failed.0 - 1).unwrap();
        let (_, source) = self.born.lock().unwrap()[index];
        assert_eq!(source, revision.source, "a failure of another source");
        if let Some(&recoveries) = self.recoverable.lock().unwrap().get(&failed.0) {
            assert_eq!(recoveries, revision.recoveries, "a failure that has ended");
        }
    }
}

const fn at(second: u64) -> Moment {
    Moment::from_nanoseconds(second * 1_000_000_000)
}
