//! Single flight: one spawned request, many waiters; re-elected if it dies.
//!
//! - A flight belongs to nobody who can be dropped: it runs as a task of its own, under its own
//!   deadline. Were it run in a caller's future, callers with 50 ms of patience and a server that
//!   needs 80 would never complete one.
//! - It keeps nobody alive either: when the last who could use its token is gone, it ends.
//! - The runtime is looked up when a flight starts, so a client outlives the runtime it was built on.
//! - A flight that ends without an outcome (a panic, an abort, its runtime gone) lands as such when its
//!   task is dropped; its waiters notice, and elect another.
//! - Its waiters are woken in the order they came.
//! - What it has to wait for before it may ask (another token, its turn) is not counted on its
//!   deadline, and has one of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::advice;
use crate::cache::entry::state::{InFlight, Takeoff};
use crate::cache::entry::{Entry, Errand, Snapshot};
use crate::cache::limiter::Clearance;
use crate::cache::trail::{self, Trail};
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{DEADLINE, attempts};
use crate::token::AccessToken;

/// How long a flight waits for its turn. A thousand identities that start together, four at a time
/// with a server that needs 100 ms, are through in 25 s.
const TURN: Duration = Duration::from_secs(30);

/// How long after its deadline a flight is given up for lost: its runtime stands still.
const GRACE: Duration = Duration::from_secs(1);

/// A flight as its waiters see it: one reference, since thousands of waiters take and drop it at the same time
/// and contend for every count that they share.
#[derive(Clone)]
pub(crate) struct Flight(Arc<Course>);

/// What a flight and those who wait for it know of its course.
#[derive(Default)]
struct Course {
    landing: OnceLock<Landing>,
    /// Wakes the waiters in the order they came. A `watch` channel of tokio's keeps several queues: of ten
    /// thousand waiters some of the first were served among the last.
    landed: Notify,
    overdue_at: Overdue,
    /// Its leave to fly. Given back by whoever ends the flight: a task that is aborted on a runtime that
    /// stands still drops nothing.
    clearance: OnceLock<Clearance>,
    trail: Trail,
    is_cancelled: AtomicBool,
    // Taken for one read or write by functions that are not async; a task is spawned and aborted after it.
    task: Mutex<Option<AbortHandle>>,
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Landing {
    Token(Arc<Snapshot>),
    Failed(Error),
    /// The token's life was over when it arrived.
    Outlived,
    /// Its task ended without an outcome (a panic, an abort, a runtime that is gone or is not driven), or the
    /// flight was declared void.
    Gone,
}

/// Held by a flight's task, and dropped with it, whether it has begun or not.
struct EndsCourse(Arc<Course>);

impl Drop for EndsCourse {
    fn drop(&mut self) {
        self.0.trail.end();
        self.0.land(Landing::Gone);
    }
}

/// When a flight is given up for lost, in nanoseconds: it moves on as the flight does.
#[derive(Default)]
struct Overdue(AtomicU64);

/// A flight that has its place in a life, and no task yet.
///
/// It is made under the life's lock, and sent when that lock is free again: a runtime calls hooks, and a
/// subscriber where tokio is traced, for each task that it spawns.
pub(crate) struct Launch {
    runtime: Handle,
    entry: Weak<Entry>,
    errand: Arc<Errand>,
    takeoff: Takeoff,
    ends_course: EndsCourse,
}

impl Launch {
    /// A flight for an entry's token, on the runtime that is here and now.
    pub(crate) fn prepare(
        entry: Weak<Entry>,
        errand: Arc<Errand>,
        takeoff: Takeoff,
        now: Moment,
    ) -> Result<Self> {
        let runtime = runtime()?;
        let course = Arc::new(Course::default());
        course.overdue_at.set(now, DEADLINE);
        Ok(Self {
            runtime,
            entry,
            errand,
            takeoff,
            ends_course: EndsCourse(course),
        })
    }

    /// As its waiters see it. Until it is sent they wait for that too.
    pub(crate) fn flight(&self) -> Flight {
        Flight(Arc::clone(&self.ends_course.0))
    }

    /// Spawns its task.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that spawns, on the runtime it finds here and now"
    )]
    pub(crate) fn send(self) -> Flight {
        let flight = self.flight();
        let Self {
            runtime,
            entry,
            errand,
            takeoff,
            ends_course,
        } = self;
        let task = runtime.spawn(run(entry, errand, takeoff, ends_course));
        *flight.0.task.lock() = Some(task.abort_handle());
        // What cancelled it before this found no task to abort.
        if flight.0.is_cancelled.load(Ordering::Relaxed) {
            flight.abort();
        }
        flight
    }
}

/// A flight's task.
async fn run(entry: Weak<Entry>, errand: Arc<Errand>, takeoff: Takeoff, seen: EndsCourse) {
    // It may have been cancelled before it was spawned.
    if seen.0.is_cancelled.load(Ordering::Relaxed) {
        return;
    }
    // Made here, where no lock is held: a subscriber is foreign code.
    let span = trail::span(&errand, takeoff);
    seen.0.trail.begin(&span);
    let flight = async {
        if takeoff.renews() {
            tracing::debug!(
                target: "maskinporten::token",
                authority = errand.tally().kind().authority(),
                "the token is renewed ahead of its end"
            );
        }
        let fetched = fly(&errand, takeoff, &seen.0).await;
        trail::record(&fetched);
        // Where its entry is gone, or the flight was declared void, it lands without an outcome when the task
        // ends.
        let landing = entry.upgrade().and_then(|entry| match fetched {
            Ok((token, asked)) => entry
                .publish(takeoff, token, asked)
                .map(|published| published.map_or(Landing::Outlived, Landing::Token)),
            Err(error) => {
                errand.tell_of(&error);
                entry.fail(takeoff, error).map(Landing::Failed)
            }
        });
        if let Some(landing) = landing {
            seen.0.land(landing);
        }
        errand.tally().landed();
    };
    flight.instrument(span).await;
}

fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Runtime, "there is no tokio runtime here")
            .with_advice(&advice::NO_RUNTIME)
    })
}

/// Waits for its turn, asks, and tells how it went.
async fn fly(errand: &Errand, takeoff: Takeoff, course: &Course) -> Result<(AccessToken, Moment)> {
    let clock = errand.clock();
    course.overdue_at.set(clock.now(), TURN);
    let (parent, clearance) =
        timeout(TURN, turn(errand, takeoff))
            .await
            .unwrap_or_else(|_elapsed| {
                let message = "too many tokens are being fetched before this one";
                Err(Error::new(ErrorKind::Unavailable, message).with_advice(&advice::QUEUE))
            })?;
    course.overdue_at.set(clock.now(), DEADLINE);
    let clearance = course.clearance.get_or_init(|| clearance);
    // Also where a panic or an abort ends it.
    let _place = GivenBack(clearance);
    let mut last_error = None;
    let fetched = timeout(DEADLINE, fetch(errand, parent.as_ref(), &mut last_error)).await;
    let fetched = fetched.unwrap_or_else(|_elapsed| {
        Err(last_error.unwrap_or_else(|| {
            Error::new(ErrorKind::Unreachable, "the token did not come in time")
                .with_advice(&advice::SILENCE)
        }))
    });
    clearance.landed(errand.token(), clock, fetched)
}

/// Gives a place back when it is dropped.
struct GivenBack<'a>(&'a Clearance);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// The parent's token, where this one is made of it, and then leave to ask for this one.
async fn turn(errand: &Errand, takeoff: Takeoff) -> Result<(Option<Arc<Snapshot>>, Clearance)> {
    let parent = errand.parent_token().await?;
    let (clock, revision) = (errand.clock(), errand.revision());
    let breaker = errand.breaker();
    let clearance = breaker.clear(clock, revision, takeoff.urgent, DEADLINE + GRACE);
    Ok((parent, clearance.await?))
}

/// Asks, again where that may help, and tells when the request left.
async fn fetch(
    errand: &Errand,
    parent: Option<&Arc<Snapshot>>,
    last_error: &mut Option<Error>,
) -> Result<(AccessToken, Moment)> {
    let clock = errand.clock();
    let started = clock.now();
    attempts(clock, last_error, || async {
        let request = errand.tally().request(clock);
        let asked = request.began();
        let outcome = errand.fetch(parent).await;
        request.ended(outcome.as_ref());
        let token = outcome?;
        tracing::debug!(
            target: "maskinporten::token",
            lifetime_s = token.lifetime().as_secs(),
            took_ms = started.until(clock.now()).as_millis(),
            "token fetched"
        );
        Ok((token, asked))
    })
    .await
}

impl Flight {
    /// Notes that the span in which this is called waits for the flight, or goes on without waiting. Called
    /// under no lock: a subscriber is foreign code.
    pub(crate) fn follow_caller(&self) {
        self.0.trail.follow_caller();
    }

    /// How the flight ended, or [`Landing::Gone`] where its runtime is not driven.
    pub(crate) async fn landing(self, clock: &AnyClock) -> Landing {
        // One that was started elsewhere may be joined where there is no timer to wait by.
        if let Err(error) = runtime() {
            return Landing::Failed(error);
        }
        loop {
            let patience = clock.now().until(self.0.overdue_at.get());
            match timeout(patience, self.0.ended()).await {
                Ok(landing) => return landing.clone(),
                // Its time may have been extended meanwhile, or it may have landed this moment.
                Err(_elapsed) if self.is_alive(clock.now()) || self.0.landing.get().is_some() => {}
                Err(_elapsed) => return Landing::Gone,
            }
        }
    }
}

/// Waits until the tasks of all are gone, with an outcome or without; a second at most, for one whose
/// runtime stands still never is.
pub(crate) async fn all_gone(flights: Vec<Flight>) {
    if flights.is_empty() {
        return;
    }
    let gone = async {
        for flight in flights {
            flight.0.ended().await;
        }
    };
    let _ = timeout(GRACE, gone).await;
}

impl InFlight for Flight {
    fn is_alive(&self, now: Moment) -> bool {
        now < self.0.overdue_at.get() && self.0.landing.get().is_none()
    }

    fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }

    fn abort(&self) {
        // Either this finds the task, or `Launch::send` takes the lock later and sees that it was cancelled.
        let task = self.0.task.lock().take();
        if let Some(task) = task {
            task.abort();
        }
        if let Some(clearance) = self.0.clearance.get() {
            clearance.give_back();
        }
    }
}

// ===== impl Course =====

impl Course {
    /// Lands the flight. The first landing counts.
    fn land(&self, landing: Landing) {
        if self.landing.set(landing).is_ok() {
            self.landed.notify_waiters();
        }
    }

    async fn ended(&self) -> &Landing {
        loop {
            // Made before the look: a landing after it wakes this waiter.
            let landed = self.landed.notified();
            if let Some(landing) = self.landing.get() {
                return landing;
            }
            landed.await;
        }
    }
}

impl Overdue {
    fn set(&self, now: Moment, time: Duration) {
        let moment = now.after(time).after(GRACE);
        self.0.store(moment.as_nanoseconds(), Ordering::Relaxed);
    }

    fn get(&self) -> Moment {
        Moment::from_nanoseconds(self.0.load(Ordering::Relaxed))
    }
}
