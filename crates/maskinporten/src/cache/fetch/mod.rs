//! Single flight: one spawned fetch, many waiters; started again if it dies.
//!
//! - A fetch belongs to no caller who can be dropped: it runs as a task, under its own deadline. Were it run in a
//!   caller's future, callers with 50 ms of patience and a server that needs 80 would never complete one.
//! - It keeps no entry alive either: when the last who could use its token is gone, it ends.
//! - Until its turn comes it is a place in the queue of its [`Limiter`], and no task. One whose token is made of
//!   another one follows the fetch of that first, which costs no task either.
//! - It runs on the runtime of who asked first, so a client outlives the runtime it was built on.
//! - A fetch that ends without an outcome (a panic, an abort, its runtime gone) lands as such when its task is
//!   dropped; its waiters notice, and start another.
//! - What it has to wait for before it may ask is not counted on its deadline.
//!
//! [`Limiter`]: super::limiter::Limiter

mod caller;
mod errand;
mod run;
mod turn;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::advice;
use crate::cache::entry::state::{Found, InFlight, Takeoff};
use crate::cache::entry::{Counted, Entry, Origin, Snapshot};
use crate::cache::limiter::{self, Entrance, Key};
use crate::cache::trail::Trail;
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::retry::DEADLINE;
use crate::single_flight::{Lease, SingleFlight};

pub(crate) use caller::{Caller, TooLong, all_gone};
pub(crate) use errand::{Errand, Fetching};
pub(crate) use turn::{Turn, retry_at};

/// How long after its deadline a fetch is given up for lost: its runtime is not driven any more.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// How often those look after a fetch who wait for its turn.
const LOOK_AFTER: Duration = DEADLINE.saturating_add(GRACE);

/// How often a fetch that dies without an outcome is started again for one caller.
pub(crate) const ELECTIONS: usize = 3;

/// The limiter of one authority.
pub(crate) type Limiter = limiter::Limiter<Turn>;
type Permit = limiter::Permit<Turn>;

/// One fetch as its waiters see it: one reference, since thousands of waiters take and drop it at the same time
/// and contend for every count that they share.
#[derive(Clone)]
pub(crate) struct Fetch(Arc<Course>);

struct Course {
    entry: Weak<Entry>,
    errand: Arc<Errand>,
    takeoff: Takeoff,
    runtime: Handle,
    flight: SingleFlight<Landing>,
    /// The hard end of the token that is renewed, or of the one that is made of it.
    hard_end: Option<Moment>,
    /// Its place in the queue, and the number of the first that it had there.
    place: Mutex<Option<Key>>,
    number: AtomicU64,
    /// When it entered the queue, in nanoseconds.
    queued_at: AtomicU64,
    /// Whether it has its permit: from then on callers are not counted.
    is_running: AtomicBool,
    callers: AtomicUsize,
    /// Wakes waiters who have to look for how long they may sleep.
    nudged: Notify,
    /// The fetch that it follows.
    follows: Mutex<Option<Followed>>,
    // None of these locks is held across an await, or while another one is taken but that of `callers_wait`.
    followers: Mutex<Vec<Fetch>>,
    /// The token that it is made of.
    parent: Mutex<Option<Arc<Snapshot>>>,
    /// Given back also where the fetch is ended from outside: a task that is aborted on a runtime that is not driven drops nothing.
    permit: Mutex<Option<Arc<Permit>>>,
    trail: Trail,
    is_cancelled: AtomicBool,
    // A task is spawned and aborted after it.
    task: Mutex<Option<AbortHandle>>,
}

/// A fetch that another one follows.
struct Followed {
    fetch: Fetch,
    counted: Counted,
}

/// How a fetch ended.
#[derive(Clone)]
pub(crate) enum Landing {
    Token(Arc<Snapshot>),
    Failed(Error),
    /// The token's life was over when it arrived.
    Outlived,
    /// It ended without an outcome (a panic, an abort, a runtime that is gone or is not driven), was declared
    /// void, or lost its place when no caller was left.
    Gone,
}

// ===== impl Fetch =====

impl Fetch {
    /// A fetch for an entry's token, to be sent when the life's lock is free: it runs on the runtime that is here
    /// and now. `hard_end` is that of the token it is for; `callers` are those who wait for it from the start.
    pub(crate) fn prepare(
        entry: Weak<Entry>,
        errand: Arc<Errand>,
        takeoff: Takeoff,
        hard_end: Option<Moment>,
        callers: usize,
    ) -> Result<Self> {
        let runtime = runtime()?;
        Ok(Self(Arc::new(Course {
            entry,
            errand,
            takeoff,
            runtime,
            flight: SingleFlight::new(Lease::unlimited()),
            hard_end,
            place: Mutex::new(None),
            number: AtomicU64::new(0),
            queued_at: AtomicU64::new(0),
            is_running: AtomicBool::new(false),
            callers: AtomicUsize::new(callers),
            nudged: Notify::new(),
            follows: Mutex::new(None),
            followers: Mutex::new(Vec::new()),
            parent: Mutex::new(None),
            permit: Mutex::new(None),
            trail: Trail::default(),
            is_cancelled: AtomicBool::new(false),
            task: Mutex::new(None),
        })))
    }

    /// Sends it on its way: to follow the fetch of the token that its own is made of, or into the queue.
    pub(crate) fn send(&self) {
        let _guard = GoneOnPanic(self);
        match &self.0.errand.origin {
            Origin::Source(_) => self.enter_queue(),
            Origin::Exchange(exchange) => {
                let counted = Counted::by(exchange.parent().tally());
                self.follow_parent(counted);
            }
        }
    }

    /// Notes that the span in which this is called waits for the fetch, or goes on without waiting. Called under no
    /// lock: a subscriber is foreign code.
    pub(crate) fn follow_caller(&self) {
        self.0.trail.follow_caller();
    }

    fn clock(&self) -> &AnyClock {
        &self.0.errand.clock
    }

    fn limiter(&self) -> &Arc<Limiter> {
        self.0.errand.member.limiter()
    }

    /// Lands it. The first landing counts.
    fn land(&self, landing: Landing) {
        if !self.0.flight.land(landing.clone()) {
            return;
        }
        // One that ends before the fetch that it follows is not to be kept by that.
        let followed = self.0.follows.lock().take();
        if let Some(followed) = followed {
            followed.fetch.remove_follower(self);
        }
        // One that comes later finds the outcome.
        let followers = std::mem::take(&mut *self.0.followers.lock());
        for follower in followers {
            follower.parent_landed(&landing);
        }
    }

    /// Ends it with an error, which the entry remembers.
    fn fail(&self, error: Error, refused_until: Option<Moment>) {
        let _guard = GoneOnPanic(self);
        let Course {
            entry,
            errand,
            takeoff,
            ..
        } = &*self.0;
        errand.log(&error);
        let entry = entry.upgrade();
        let failed = entry.and_then(|entry| entry.fail(*takeoff, error, refused_until));
        self.land(failed.map_or(Landing::Gone, Landing::Failed));
        errand.tally.landed();
    }

    /// Ends it without an outcome: it is for no caller any more.
    fn lapse(&self) {
        self.lapse_as(Landing::Gone);
    }

    fn lapse_as(&self, landing: Landing) {
        if let Some(entry) = self.0.entry.upgrade() {
            entry.forget(self.0.takeoff);
        }
        self.land(landing);
        self.0.errand.tally.landed();
    }

    // ===== before its turn =====

    fn enter_queue(&self) {
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            return self.land(Landing::Gone);
        }
        let now = self.clock().now();
        self.0
            .queued_at
            .store(now.as_nanoseconds(), Ordering::Relaxed);
        let errand = &self.0.errand;
        let entrance = self.entrance(0);
        self.limiter()
            .enter(&errand.member, entrance, Turn::Start(self.clone()));
        // What cancelled it before this found no place to leave.
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            self.abort();
        }
    }

    fn entrance(&self, place: u64) -> Entrance {
        let Course {
            errand,
            takeoff,
            hard_end,
            ..
        } = &*self.0;
        Entrance {
            identity: errand.token,
            hard_end: *hard_end,
            is_proven: takeoff.is_proven(),
            revision: errand.revision(),
            place: (place != 0).then_some(place),
        }
    }

    /// Asks for the token that its own is made of, and goes on when that is there.
    fn follow_parent(&self, mut counted: Counted) {
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            return self.land(Landing::Gone);
        }
        let Origin::Exchange(exchange) = &self.0.errand.origin else {
            return self.enter_queue();
        };
        // What it follows runs where it would run itself, also where this is called outside a runtime.
        let _entered = self.0.runtime.enter();
        let parent = match exchange.hold_parent() {
            Ok(parent) => parent,
            Err(error) => return self.fail(error, None),
        };
        match parent.ask_for_child(&mut counted, self.0.hard_end) {
            Found::Good(snapshot) => self.with_parent(snapshot),
            Found::Failed(error) => self.fail(error, None),
            Found::Closed => self.fail(super::closed(), None),
            Found::Awaited(fetch, _) => {
                let follows = Followed {
                    fetch: fetch.clone(),
                    counted,
                };
                let before = self.0.follows.lock().replace(follows);
                drop(before);
                fetch.follow_caller();
                fetch.add_follower(self);
                if self.0.is_cancelled.load(Ordering::Relaxed) {
                    self.abort();
                }
            }
        }
    }

    fn with_parent(&self, snapshot: Arc<Snapshot>) {
        *self.0.parent.lock() = Some(snapshot);
        self.enter_queue();
    }

    fn add_follower(&self, follower: &Self) {
        let landed = {
            let mut followers = self.0.followers.lock();
            let landed = self.0.flight.outcome();
            if landed.is_none() {
                followers.push(follower.clone());
            }
            landed
        };
        match landed {
            Some(landing) => follower.parent_landed(&landing),
            None => self.callers_changed(),
        }
    }

    fn remove_follower(&self, follower: &Self) {
        let removed = {
            let mut followers = self.0.followers.lock();
            let at = followers
                .iter()
                .position(|other| Arc::ptr_eq(&other.0, &follower.0));
            at.map(|at| followers.swap_remove(at))
        };
        drop(removed);
        self.callers_changed();
    }

    /// Goes on after the fetch that it followed. The first who notes its end does so.
    fn parent_landed(&self, landing: &Landing) {
        let _guard = GoneOnPanic(self);
        let Some(mut followed) = self.0.follows.lock().take() else {
            return;
        };
        match landing {
            Landing::Token(snapshot) if snapshot.serves_who_waited(self.clock().now()) => {
                self.with_parent(Arc::clone(snapshot));
            }
            // No caller looked for as long as it lived.
            Landing::Token(_) => self.follow_parent(followed.counted),
            Landing::Failed(error) => {
                followed.counted.fail();
                drop(followed);
                self.fail(error.clone(), None);
            }
            // Its callers start another fetch, on the runtime that they are on by then.
            Landing::Outlived | Landing::Gone => {
                drop(followed);
                self.lapse_as(landing.clone());
            }
        }
    }

    /// Whether a caller waits for it, or for a token that is made of its own.
    fn callers_wait(&self) -> bool {
        if self.0.hard_end.is_some() || self.0.callers.load(Ordering::SeqCst) > 0 {
            return true;
        }
        let followers = self.0.followers.lock();
        followers.iter().any(Self::callers_wait)
    }

    /// Has the queue look whether callers wait for it.
    fn callers_changed(&self) {
        if self.0.is_running.load(Ordering::SeqCst) {
            return;
        }
        let place = *self.0.place.lock();
        if let Some(place) = place {
            return self.limiter().callers_changed(place);
        }
        let followed = self
            .0
            .follows
            .lock()
            .as_ref()
            .map(|followed| followed.fetch.clone());
        if let Some(followed) = followed {
            followed.callers_changed();
        }
    }
}

/// Lands a fetch where a panic ends what is done for it before it has a task: a clock or a source is foreign code.
struct GoneOnPanic<'a>(&'a Fetch);

impl Drop for GoneOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_permit_back();
            self.0.land(Landing::Gone);
        }
    }
}

fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Runtime, "there is no tokio runtime here")
            .with_advice(&advice::NO_RUNTIME)
    })
}

// ===== what a life does with it =====

impl InFlight for Fetch {
    fn is_alive(&self, now: Moment) -> bool {
        self.0.flight.is_alive(now)
    }

    fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }

    fn abort(&self) {
        // Either this finds the task, or `start` takes the lock later and sees that it was cancelled.
        let task = self.0.task.lock().take();
        if let Some(task) = task {
            task.abort();
        }
        let place = self.0.place.lock().take();
        if let Some(place) = place {
            self.limiter().leave(place);
        }
        self.give_permit_back();
        if !self.0.is_running.load(Ordering::SeqCst) {
            // It has no task that would do it.
            self.land(Landing::Gone);
        }
    }
}
