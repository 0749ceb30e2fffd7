//! Flights that a model starts, lands and loses, and the judge who counts those in the air.
//!
//! A flight's channel is what `cache/fetch/mod.rs` makes of tokio's `Notify`: a landing that is told once,
//! with an outcome or without one; its waiters are woken by either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool as Unseen, AtomicU64 as Count, Ordering as Std};

use crate::cache::state::{self, InFlight, Takeoff};
use crate::clock::Moment;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};

/// A life whose tokens are the numbers of the flights that brought them.
pub(crate) type Life = state::Life<u64, Failed, Flight>;
pub(crate) type Snapshot = state::Snapshot<u64>;
pub(crate) type Outcome = Result<Arc<Snapshot>, Failed>;

/// Why there is no token: the number of the flight that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) u64);

#[derive(Clone)]
pub(crate) struct Flight(Arc<Channel>);

struct Channel {
    number: u64,
    takeoff: Takeoff,
    landing: Mutex<Landing>,
    told: Condvar,
    /// Whether the sender is there still, and the flight not overdue.
    alive: AtomicBool,
    /// Whether its task was aborted: it ends at its next await, if it has one.
    cancelled: AtomicBool,
    /// Whether nothing of it can reach a server any more. Only the judge reads it, and no thread is
    /// switched there: watching adds no interleavings.
    over: Unseen,
}

enum Landing {
    InTheAir,
    Landed(Outcome),
    Lost,
}

impl Flight {
    fn new(number: u64, takeoff: Takeoff) -> Self {
        Self(Arc::new(Channel {
            number,
            takeoff,
            landing: Mutex::new(Landing::InTheAir),
            told: Condvar::new(),
            alive: AtomicBool::new(true),
            cancelled: AtomicBool::new(false),
            over: Unseen::new(false),
        }))
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn takeoff(&self) -> Takeoff {
        self.0.takeoff
    }

    /// Notes that it asks no server any more. It says so before it tells anybody else.
    pub(crate) fn end(&self) {
        self.0.over.store(true, Std::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(Std::SeqCst)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Tells its outcome, and then drops the sender.
    pub(crate) fn tell(&self, outcome: Outcome) {
        *self.0.landing.lock() = Landing::Landed(outcome);
        self.0.told.notify_all();
        self.0.alive.store(false, Ordering::Release);
    }

    /// Drops the sender without an outcome, or stands still for longer than its waiters have patience:
    /// it may move on some day. Whoever is woken by that finds it dead.
    pub(crate) fn lose(&self) {
        self.0.alive.store(false, Ordering::Release);
        *self.0.landing.lock() = Landing::Lost;
        self.0.told.notify_all();
    }

    /// Waits for what it brings; none where it ends, or stands still, without an outcome.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let mut landing = self.0.landing.lock();
        loop {
            match &*landing {
                Landing::InTheAir => {}
                Landing::Landed(outcome) => return Some(outcome.clone()),
                Landing::Lost => return None,
            }
            landing = self.0.told.wait(landing).unwrap();
        }
    }
}

impl InFlight for Flight {
    fn is_alive(&self, _now: Moment) -> bool {
        self.0.alive.load(Ordering::Acquire)
    }

    fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.end();
    }

    /// Its thread sees at its next step that it was cancelled.
    fn abort(&self) {}
}

/// Starts flights, and sees to it that no two are in the air at once.
#[derive(Default)]
pub(crate) struct Air {
    started: Count,
    flights: std::sync::Mutex<Vec<Flight>>,
}

impl Air {
    /// Called by a life under its lock.
    #[track_caller]
    pub(crate) fn take_off(&self, takeoff: Takeoff) -> Flight {
        let number = self.started.fetch_add(1, Std::SeqCst) + 1;
        let flight = Flight::new(number, takeoff);
        let mut flights = self.flights.lock().unwrap();
        let alone = flights.iter().all(Flight::is_over);
        flights.push(flight.clone());
        drop(flights);
        // One that was declared void, or given up for lost, was cancelled: each epoch counts alone.
        assert!(alone, "a flight was started beside one in the air");
        flight
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Std::SeqCst)
    }

    /// Flights are counted from 1.
    pub(crate) fn flight(&self, number: u64) -> Flight {
        let index = usize::try_from(number - 1).unwrap();
        self.flights.lock().unwrap()[index].clone()
    }
}
