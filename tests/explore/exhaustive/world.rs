//! One life, its flights, and the moments of a token.

use std::sync::Arc;
use std::time::Duration;

use loom::thread::{self, JoinHandle};

use crate::cache::state::{Found, Rejection, Revision, Setback, Takeoff};
use crate::cache::window::Window;
use crate::clock::Moment;
use crate::flight::{Air, Failed, Flight, Life, Outcome, Snapshot};
use crate::view::{Copies, View};

/// When everything happens that a model does not place elsewhere.
pub(crate) const NOW: Moment = at(1_000);
/// A token that was renewed last at `NOW`, or is to be.
pub(crate) const AGEING: Window = window(900, 1_100);
/// A token whose renewal is far.
pub(crate) const FRESH: Window = window(1_900, 2_000);
/// A token that has ended before it is there.
const SPENT: Window = window(900, 1_000);
/// How long a failure is remembered.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);
/// What the source is where a model does not change it.
pub(crate) const REVISION: Revision = Revision {
    source: 7,
    recoveries: 3,
};
/// As in `cache/entry/mod.rs`.
pub(crate) const ELECTIONS: usize = 3;

pub(crate) const fn at(second: u64) -> Moment {
    Moment::from_nanoseconds(second * 1_000_000_000)
}

const fn window(soft: u64, hard: u64) -> Window {
    Window {
        soft: at(soft),
        hard: at(hard),
        end: at(hard + 1),
    }
}

/// Runs a model in every interleaving of its threads, and with every value its atomics may show.
#[track_caller]
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(None, model);
}

/// The same, but for interleavings in which more threads than `preemptions` are stopped where they
/// could go on.
#[track_caller]
pub(crate) fn explore_within(
    preemptions: impl Into<Option<usize>>,
    model: impl Fn() + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.into();
    // Nothing else is cut short, whatever the environment says.
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.check(model);
}

/// How a flight ends that runs in a thread of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a fresh token.
    Lands,
    /// With a token that is spent on arrival.
    LandsSpent,
    /// With a failure, which is remembered.
    Fails,
    /// Without an outcome, as of a panic.
    Dies,
}

pub(crate) struct World {
    pub(crate) life: Life,
    pub(crate) copies: Copies,
    pub(crate) air: Air,
    /// How the first flights end, one after another, beginning after those that were landed while
    /// the world was made. Those beyond stay in the air until the model lands them.
    endings: Vec<Ending>,
    before: u64,
}

impl World {
    /// A life without a token.
    pub(crate) fn empty(endings: &[Ending]) -> Arc<Self> {
        Arc::new(Self {
            life: Life::new(),
            copies: Copies::new(),
            air: Air::default(),
            endings: endings.to_vec(),
            before: 0,
        })
    }

    /// A life with the token of flight 1, which has generation 1.
    pub(crate) fn with_token(window: Window, endings: &[Ending]) -> Arc<Self> {
        let world = Self {
            life: Life::new(),
            copies: Copies::new(),
            air: Air::default(),
            endings: endings.to_vec(),
            before: 1,
        };
        let world = Arc::new(world);
        let (flight, _) = awaited(world.ask(NOW));
        world.land(&flight, window);
        world
    }

    pub(crate) fn ask(self: &Arc<Self>, now: Moment) -> Found<u64, Failed, Flight> {
        self.ask_at(REVISION, now)
    }

    pub(crate) fn ask_at(
        self: &Arc<Self>,
        revision: Revision,
        now: Moment,
    ) -> Found<u64, Failed, Flight> {
        self.starting(|started| self.life.ask(now, revision, self.prepare(started)))
    }

    pub(crate) fn refresh_if_due(self: &Arc<Self>, now: Moment) {
        self.starting(|started| {
            let prepare = self.prepare(started);
            self.life.refresh_if_due(now, || REVISION, prepare);
        });
    }

    pub(crate) fn reject(self: &Arc<Self>, rejected: u64, now: Moment) -> Rejection<u64, Flight> {
        self.starting(|started| {
            let prepare = self.prepare(started);
            self.life.reject(rejected, now, REVISION, prepare)
        })
    }

    /// Sets the header of a request, as a layer does.
    pub(crate) fn see(self: &Arc<Self>, view: &mut View, now: Moment) -> bool {
        view.is_good(&self.life, &self.copies, now, || self.refresh_if_due(now))
    }

    /// Asks and waits, as `Slot::acquire` does. None where so many flights were lost, or nothing is
    /// fetched any more.
    pub(crate) fn acquire(self: &Arc<Self>, elections: usize) -> Option<Outcome> {
        let mut lost = 0;
        while lost < elections {
            let (flight, takeoff) = match self.ask(NOW) {
                Found::Good(snapshot) => return Some(Ok(snapshot)),
                Found::Failed(failed) => return Some(Err(failed)),
                Found::Closed => return None,
                Found::Awaited(flight, takeoff) => (flight, takeoff),
            };
            if let Some(outcome) = flight.outcome() {
                return Some(outcome);
            }
            lost += usize::from(self.life.is_of_now(takeoff));
        }
        None
    }

    /// Publishes what a flight brought, at `NOW`.
    pub(crate) fn land(&self, flight: &Flight, window: Window) -> Option<Arc<Snapshot>> {
        flight.end();
        let spent = (NOW >= window.hard).then(|| setback(flight));
        let token = flight.number();
        let published = self
            .life
            .publish(flight.takeoff(), token, window, NOW, spent);
        self.tell(flight, published.clone().map(Ok));
        published
    }

    /// Tells why a flight brought nothing, at `NOW`.
    pub(crate) fn fail(&self, flight: &Flight, setback: Setback<Failed>) -> Option<Failed> {
        flight.end();
        let remembered = self.life.fail(flight.takeoff(), NOW, setback);
        self.tell(flight, remembered.map(Err));
        remembered
    }

    /// Ends a flight without an outcome.
    fn lose(&self, flight: &Flight) {
        flight.end();
        flight.lose();
    }

    fn tell(&self, flight: &Flight, outcome: Option<Outcome>) {
        match outcome {
            Some(outcome) => flight.tell(outcome),
            None => flight.lose(),
        }
    }

    /// Makes a flight under the life's lock, as the engine does.
    fn prepare<'a>(
        &'a self,
        started: &'a mut Option<Flight>,
    ) -> impl FnOnce(Takeoff) -> Result<Flight, Failed> + 'a {
        |takeoff| Ok(started.insert(self.air.take_off(takeoff)).clone())
    }

    /// Does what may start a flight, and spawns that flight's thread when the life's lock is free again.
    fn starting<R>(self: &Arc<Self>, act: impl FnOnce(&mut Option<Flight>) -> R) -> R {
        let mut started = None;
        let result = act(&mut started);
        if let Some(flight) = started {
            self.spawn(flight);
        }
        result
    }

    fn spawn(self: &Arc<Self>, flight: Flight) {
        let ending = flight
            .number()
            .checked_sub(self.before + 1)
            .and_then(|index| self.endings.get(usize::try_from(index).unwrap()));
        if let Some(&ending) = ending {
            let world = Arc::clone(self);
            thread::spawn(move || world.fly(&flight, ending));
        }
    }

    fn fly(&self, flight: &Flight, ending: Ending) {
        // Aborted where it last waited.
        if flight.is_cancelled() {
            self.lose(flight);
        } else {
            self.end(flight, ending);
        }
    }

    /// Ends a flight, at `NOW`.
    pub(crate) fn end(&self, flight: &Flight, ending: Ending) {
        match ending {
            Ending::Lands => drop(self.land(flight, FRESH)),
            Ending::LandsSpent => drop(self.land(flight, SPENT)),
            Ending::Fails => drop(self.fail(flight, setback(flight))),
            Ending::Dies => self.lose(flight),
        }
    }
}

/// Does something in a thread of its own.
pub(crate) fn meanwhile<R: 'static>(
    world: &Arc<World>,
    act: impl FnOnce(&Arc<World>) -> R + 'static,
) -> JoinHandle<R> {
    let world = Arc::clone(world);
    thread::spawn(move || act(&world))
}

#[track_caller]
pub(crate) fn awaited(found: Found<u64, Failed, Flight>) -> (Flight, Takeoff) {
    match found {
        Found::Awaited(flight, takeoff) => (flight, takeoff),
        Found::Good(_) => panic!("there is a token already"),
        Found::Failed(failed) => panic!("{failed:?} is remembered"),
        Found::Closed => panic!("nothing is fetched any more"),
    }
}

pub(crate) fn setback(flight: &Flight) -> Setback<Failed> {
    Setback {
        error: Failed(flight.number()),
        until: flight.takeoff().remembered_until(NOW, PAUSE),
        counts: true,
        ends_with_recovery: false,
        recoveries: REVISION.recoveries,
    }
}
