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

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::advice;
use crate::advice::About;
use crate::cache::Identity;
use crate::cache::entry::state::{Found, InFlight, Takeoff};
use crate::cache::entry::{Counted, Entry, Origin, Snapshot};
use crate::cache::limiter::{self, Entrance, Job, Key, Member, Outcome};
use crate::cache::trail::{self, Trail};
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::fetch_limits::FetchLimits;
use crate::quiet::Quiet;
use crate::request::{Tenant, TokenRequest};
use crate::retry::{Attempts, DEADLINE, Next};
use crate::single_flight::{Lease, SingleFlight};
use crate::source::SourceIdentity;
use crate::stats::{QueueStats, Tally};
use crate::token::AccessToken;

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

/// Why a caller does not wait for a fetch any longer.
pub(crate) struct TooLong {
    /// How many fetches of the same tenant are before it.
    pub(crate) ahead: usize,
}

/// What all fetches from one authority share.
#[derive(Clone)]
pub(crate) struct Fetching {
    pub(crate) limiter: Arc<Limiter>,
    /// How long a caller waits for its turn.
    pub(crate) patience: Duration,
    pub(crate) clock: AnyClock,
    pub(crate) tally: Arc<Tally>,
}

impl Fetching {
    pub(crate) fn new(limits: FetchLimits, clock: AnyClock, tally: Arc<Tally>) -> Self {
        let of_limiter = clock.clone();
        let lease = DEADLINE + GRACE;
        Self {
            limiter: Arc::new(Limiter::new(limits.permits, lease, move || {
                of_limiter.now()
            })),
            patience: limits.wait,
            clock,
            tally,
        }
    }
}

impl Limiter {
    pub(crate) fn stats(&self) -> QueueStats {
        let standing = self.standing();
        QueueStats {
            waiting: standing.waiting,
            longest_wait: standing.longest_wait,
            permits: standing.permits,
            in_use: standing.in_use,
            open_circuits: standing.open_circuits,
        }
    }
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it is printed to is foreign code: the limiter's lock is not taken.
        f.debug_struct("Fetching").finish_non_exhaustive()
    }
}

/// What a fetch needs. It is all that a fetch holds: none keeps its entry.
pub(crate) struct Errand {
    token: u64,
    identity: Identity,
    origin: Origin,
    member: Member<Turn>,
    clock: AnyClock,
    tally: Arc<Tally>,
    /// How often it is logged that it brought nothing.
    failures: Quiet,
    /// Whether an API has not accepted the last token, and no other was asked for since.
    rejected: AtomicBool,
    /// How long a caller waits for its turn.
    patience: Duration,
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

    // ===== its turn =====

    /// Spawns its task.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that spawns, on the runtime of who asked"
    )]
    fn start(self, permit: Permit) {
        let _guard = GoneOnPanic(&self);
        let now = self.clock().now();
        let queued_at = Moment::from_nanoseconds(self.0.queued_at.load(Ordering::Relaxed));
        self.0.errand.tally.waited(queued_at.until(now));
        self.hold(permit, now);
        // After the lease has begun: from now on those who wait look after that.
        self.0.is_running.store(true, Ordering::SeqCst);
        let ends = EndsFetch(self.clone());
        let task = self.0.runtime.spawn(run(ends));
        *self.0.task.lock() = Some(task.abort_handle());
        // What cancelled it before this found no task to abort.
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            self.abort();
        }
    }

    /// Takes a permit, with which it runs until the lease is over.
    fn hold(&self, permit: Permit, now: Moment) {
        *self.0.place.lock() = None;
        self.0
            .flight
            .lease()
            .renew(now.after(DEADLINE).after(GRACE));
        let before = self.0.permit.lock().replace(Arc::new(permit));
        drop(before);
    }

    fn permit(&self) -> Option<Arc<Permit>> {
        self.0.permit.lock().clone()
    }

    fn give_permit_back(&self) {
        let permit = self.0.permit.lock().take();
        if let Some(permit) = permit {
            permit.give_back();
        }
    }

    /// Gives its permit back for a pause, and waits for another one. False where it gets none.
    async fn pause(&self, pause: Duration) -> bool {
        let errand = &self.0.errand;
        // It counts as lost if it has not gone on when a caller would have lost patience.
        let longest = pause + errand.patience + DEADLINE + GRACE;
        let lease = self.0.flight.lease();
        lease.renew(self.clock().now().after(longest));
        self.give_permit_back();
        tokio::time::sleep(pause).await;
        let (sender, turn) = oneshot::channel();
        let entrance = self.entrance(self.0.number.load(Ordering::Relaxed));
        self.limiter()
            .enter(&errand.member, entrance, Turn::Resume(self.clone(), sender));
        match self.turn(turn).await {
            Ok(permit) => {
                self.hold(permit, self.clock().now());
                true
            }
            Err(_refused) => false,
        }
    }

    /// Waits for a permit, and does what is due meanwhile: those who wait for this fetch wait for its end.
    async fn turn(
        &self,
        turn: oneshot::Receiver<Permit>,
    ) -> Result<Permit, oneshot::error::RecvError> {
        let mut turn = pin!(turn);
        loop {
            let mut nudged = pin!(self.0.nudged.notified());
            nudged.as_mut().enable();
            let now = self.clock().now();
            let looks_at = now.after(LOOK_AFTER);
            let wakes_at = self
                .limiter()
                .wakes_at()
                .map_or(looks_at, |at| at.min(looks_at));
            let woken = poll_fn(|cx| match turn.as_mut().poll(cx) {
                Poll::Ready(granted) => Poll::Ready(Some(granted)),
                Poll::Pending => nudged.as_mut().poll(cx).map(|()| None),
            });
            match timeout(now.until(wakes_at), woken).await {
                Ok(Some(granted)) => return granted,
                Ok(None) => {}
                Err(_elapsed) => self.limiter().look(),
            }
        }
    }

    /// Asks, again where that may help, and notes when the request left.
    async fn ask(&self) -> Result<(AccessToken, Moment)> {
        let Course { errand, parent, .. } = &*self.0;
        let clock = &errand.clock;
        let parent = parent.lock().clone();
        let mut attempts = Attempts::new(clock.now());
        let mut last_error = None;
        loop {
            let began = clock.now();
            let request = errand.tally.request(clock);
            let asked = request.began();
            let attempt = timeout(attempts.left(began), errand.fetch(parent.as_ref()));
            let outcome = match self.unless_recovered(attempt).await {
                Some(Ok(outcome)) => outcome,
                Some(Err(_elapsed)) => return Err(last_error.unwrap_or_else(too_late)),
                None => continue,
            };
            request.ended(outcome.as_ref());
            let error = match outcome {
                Ok(token) => {
                    tracing::debug!(
                        target: "maskinporten::token",
                        lifetime_s = token.lifetime().as_secs(),
                        took_ms = began.until(clock.now()).as_millis(),
                        "token fetched"
                    );
                    return Ok((token, asked));
                }
                Err(error) => error,
            };
            let permit = self.permit();
            let permit = permit.as_deref();
            if error.is_throttled() {
                if let Some(permit) = permit {
                    permit.throttle();
                }
                // A server that serves others will serve this one too, when its turn comes.
                let served_at = self.limiter().served_at();
                if served_at.is_some_and(|at| clock.now() < at.after(DEADLINE)) {
                    attempts.bear(clock.now());
                }
            }
            let next = attempts.next(&error, clock.now());
            // A probe is one attempt, and where the circuit is open another one is none of this fetch's business.
            let is_last = permit.is_none_or(|permit| permit.is_probe() || permit.is_refused());
            match next {
                Next::Repeat => {}
                Next::Fail => return Err(error),
                Next::After(_) if is_last => return Err(error),
                Next::After(pause) if error.is_throttled() => {
                    let paused_at = clock.now();
                    if !self.pause(pause).await {
                        return Err(error);
                    }
                    attempts.paused(pause, paused_at.until(clock.now()));
                    last_error = Some(error);
                }
                Next::After(pause) => {
                    tokio::time::sleep(pause).await;
                    last_error = Some(error);
                }
            }
        }
    }

    /// Waits for an attempt. A probe gives its own up where another one has closed the circuit meanwhile: it may have
    /// gone to a server that is no more.
    async fn unless_recovered<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let Some(probe) = self.permit().filter(|permit| permit.is_probe()) else {
            return Some(attempt.await);
        };
        let mut attempt = pin!(attempt);
        let was_refused = probe.is_refused();
        loop {
            let mut nudged = pin!(self.0.nudged.notified());
            nudged.as_mut().enable();
            if was_refused && !probe.is_refused() {
                return None;
            }
            let woken = poll_fn(|cx| match attempt.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => nudged.as_mut().poll(cx).map(|()| None),
            });
            if let Some(done) = woken.await {
                return Some(done);
            }
        }
    }

    /// Gives the permit back with what its limiter is to know. Gives until when the tenant may not fetch.
    fn finish(&self, fetched: &Result<(AccessToken, Moment)>) -> Option<Moment> {
        let permit = self.0.permit.lock().take()?;
        let finished = permit.finish(outcome(fetched))?;
        if let (Some(_), Err(error)) = (finished.opened, fetched) {
            self.0.errand.log_opened(error);
        }
        finished.refused_until
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::Unreachable, "the token did not come in time")
        .with_advice(&advice::SILENCE)
}

/// What a limiter is to know of the end of a fetch.
fn outcome(fetched: &Result<(AccessToken, Moment)>) -> Outcome<Error> {
    let error = match fetched {
        Ok(_) => return Outcome::Served,
        Err(error) => error,
    };
    // What is remembered was not asked, and what stops here says nothing about a server.
    if error.retry_at().is_some() || matches!(error.kind(), ErrorKind::Runtime | ErrorKind::Closed)
    {
        return Outcome::Unknown;
    }
    match error.about() {
        _ if error.is_throttled() => Outcome::Unknown,
        About::Server => Outcome::Failed(limiter::About::Server, error.of_others()),
        About::Credentials => Outcome::Failed(limiter::About::Credentials, error.of_others()),
        About::Request => Outcome::Answered,
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

/// Held by a fetch's task, and dropped with it, whether it has begun or not.
struct EndsFetch(Fetch);

impl Drop for EndsFetch {
    fn drop(&mut self) {
        self.0.0.trail.end();
        self.0.give_permit_back();
        self.0.land(Landing::Gone);
    }
}

/// A fetch's task.
async fn run(ends: EndsFetch) {
    let fetch = &ends.0;
    let Course {
        entry,
        errand,
        takeoff,
        trail,
        is_cancelled,
        ..
    } = &*fetch.0;
    // It may have been cancelled before it was spawned.
    if is_cancelled.load(Ordering::Relaxed) {
        return;
    }
    // Made here, where no lock is held: a subscriber is foreign code.
    let span = trail::span(errand, *takeoff);
    trail.begin(&span);
    let running = async {
        if takeoff.renews() {
            tracing::debug!(
                target: "maskinporten::token",
                authority = errand.tally.kind().authority(),
                "the token is renewed ahead of its end"
            );
        }
        let fetched = fetch.ask().await;
        trail::record(&fetched);
        let refused_until = fetch.finish(&fetched);
        match fetched {
            // Where its entry is gone, or the fetch was declared void, it lands without an outcome when the task
            // ends.
            Ok((token, asked)) => {
                let published = entry
                    .upgrade()
                    .and_then(|entry| entry.publish(*takeoff, token, asked));
                if let Some(published) = published {
                    fetch.land(published.map_or(Landing::Outlived, Landing::Token));
                }
                errand.tally.landed();
            }
            Err(error) => fetch.fail(error, refused_until),
        }
    };
    running.instrument(span).await;
}

fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Runtime, "there is no tokio runtime here")
            .with_advice(&advice::NO_RUNTIME)
    })
}

// ===== what a limiter does with it =====

/// What waits for a permit: a fetch that has no task yet, or the task of one that pauses.
pub(crate) enum Turn {
    Start(Fetch),
    Resume(Fetch, oneshot::Sender<Permit>),
}

impl Turn {
    fn fetch(&self) -> &Fetch {
        match self {
            Self::Start(fetch) | Self::Resume(fetch, _) => fetch,
        }
    }
}

impl Job for Turn {
    type Tenant = Tenant;
    type Error = Error;
    type Nudge = Fetch;

    fn queued(&self, key: Key) {
        let fetch = self.fetch();
        *fetch.0.place.lock() = Some(key);
        fetch.0.number.store(key.number(), Ordering::Relaxed);
    }

    fn has_callers(&self) -> bool {
        match self {
            Self::Start(fetch) => fetch.callers_wait(),
            Self::Resume(..) => true,
        }
    }

    fn nudge(&self) -> Fetch {
        self.fetch().clone()
    }

    fn nudged(fetch: Fetch) {
        fetch.0.nudged.notify_waiters();
    }

    fn start(self, permit: Permit) {
        match self {
            Self::Start(fetch) => fetch.start(permit),
            // Where its task is gone, the permit is given back with what is given back here.
            Self::Resume(_, sender) => drop(sender.send(permit)),
        }
    }

    fn refuse(self, error: Error, until: Moment) {
        // Where a task waits, it sees that its sender is gone.
        if let Self::Start(fetch) = self {
            let _guard = GoneOnPanic(&fetch);
            let (now, wall) = (fetch.clock().now(), fetch.clock().wall());
            let error = retry_at(error, now, wall, until);
            fetch.fail(error, Some(until));
        }
    }

    fn lapse(self) {
        if let Self::Start(fetch) = self {
            fetch.lapse();
        }
    }
}

/// An error with the moment until which it is remembered, by the wall clock.
pub(crate) fn retry_at(error: Error, now: Moment, wall: SystemTime, until: Moment) -> Error {
    match wall.checked_add(now.until(until)) {
        Some(at) => error.with_retry_at(at),
        None => error,
    }
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

// ===== those who wait for it =====

/// One who waits for a fetch: counted until the fetch has its permit, so that a place without callers is known.
pub(crate) struct Caller {
    fetch: Fetch,
    is_counted: bool,
}

impl Caller {
    /// Of the caller who was counted when the fetch was made.
    pub(crate) fn first(fetch: Fetch) -> Self {
        Self {
            fetch,
            is_counted: true,
        }
    }

    pub(crate) fn joining(fetch: Fetch) -> Self {
        let is_counted = !fetch.0.is_running.load(Ordering::SeqCst);
        if is_counted && fetch.0.callers.fetch_add(1, Ordering::SeqCst) == 0 {
            fetch.callers_changed();
        }
        Self { fetch, is_counted }
    }

    /// How the fetch ended, or [`Landing::Gone`] where its runtime is not driven.
    pub(crate) async fn landing(&self, waits_until: Moment) -> Result<Landing, TooLong> {
        // One that was started elsewhere may be joined where there is no timer to wait by.
        if let Err(error) = runtime() {
            return Ok(Landing::Failed(error));
        }
        let (fetch, course) = (&self.fetch, &*self.fetch.0);
        let clock = fetch.clock();
        loop {
            if course.is_running.load(Ordering::SeqCst) {
                return Ok(course.flight.wait(clock).await.unwrap_or(Landing::Gone));
            }
            let mut nudged = pin!(course.nudged.notified());
            // From here on it is woken, so that nothing changes between the look and the wait.
            nudged.as_mut().enable();
            if let Some(landing) = course.flight.outcome() {
                return Ok(landing);
            }
            let now = clock.now();
            if now >= waits_until {
                return Err(TooLong {
                    ahead: fetch.ahead(),
                });
            }
            // It may get its permit meanwhile, and be lost: then thousands need not be woken for its lease.
            let looks_at = waits_until.min(now.after(LOOK_AFTER));
            let wakes_at = fetch.wakes_at().map_or(looks_at, |at| at.min(looks_at));
            let mut ended = pin!(course.flight.ended());
            let woken = poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(landing) => Poll::Ready(Some(landing)),
                Poll::Pending => nudged.as_mut().poll(cx).map(|()| None),
            });
            match timeout(now.until(wakes_at), woken).await {
                Ok(Some(landing)) => return Ok(landing),
                Ok(None) => {}
                // Also where its patience is over: a caller that was not polled for long may be the first to look.
                Err(_elapsed) => fetch.look(clock.now()),
            }
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let course = &self.fetch.0;
        if self.is_counted && course.callers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.fetch.callers_changed();
        }
    }
}

impl Fetch {
    /// When those who wait have to look after it, unless it lands before.
    fn wakes_at(&self) -> Option<Moment> {
        let place = *self.0.place.lock();
        if place.is_some() {
            return self.limiter().wakes_at();
        }
        let followed = self.followed()?;
        match followed.0.flight.lease().is_unlimited() {
            true => followed.wakes_at(),
            false => Some(followed.0.flight.lease().ends()),
        }
    }

    /// Does for it what is due.
    fn look(&self, now: Moment) {
        let place = *self.0.place.lock();
        if place.is_some() {
            return self.limiter().look();
        }
        if let Some(followed) = self.followed() {
            match followed.is_alive(now) {
                true => followed.look(now),
                // Its runtime is not driven any more.
                false => self.parent_landed(&followed.0.flight.outcome().unwrap_or(Landing::Gone)),
            }
        }
    }

    fn followed(&self) -> Option<Self> {
        let follows = self.0.follows.lock();
        follows.as_ref().map(|followed| followed.fetch.clone())
    }

    /// How many fetches of the same tenant are before it.
    fn ahead(&self) -> usize {
        let place = *self.0.place.lock();
        if let Some(place) = place {
            return self.limiter().ahead(place).unwrap_or_default();
        }
        self.followed().map_or(0, |followed| followed.ahead())
    }
}

/// Waits until all have ended, with an outcome or without; a second at most, for one whose runtime is not driven
/// never does.
pub(crate) async fn all_gone(fetches: Vec<Fetch>) {
    if fetches.is_empty() {
        return;
    }
    let gone = async {
        for fetch in fetches {
            fetch.0.flight.ended().await;
        }
    };
    let _ = timeout(GRACE, gone).await;
}

// ===== impl Errand =====

impl Errand {
    pub(crate) fn new(token: u64, identity: Identity, origin: Origin, fetching: &Fetching) -> Self {
        Self {
            member: fetching.limiter.join(identity.request.tenant()),
            token,
            identity,
            origin,
            clock: fetching.clock.clone(),
            tally: Arc::clone(&fetching.tally),
            failures: Quiet::default(),
            rejected: AtomicBool::new(false),
            patience: fetching.patience,
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the source is now: a failure is forgotten when it has become another.
    pub(crate) fn revision(&self) -> u64 {
        match &self.origin {
            Origin::Source(source) => source.revision(),
            Origin::Exchange(exchange) => exchange.parent().errand().revision(),
        }
    }

    /// How often circuits were closed on whose account failures are remembered.
    pub(crate) fn recoveries(&self) -> u64 {
        let own = self.member.recoveries();
        match &self.origin {
            Origin::Source(_) => own,
            // A failure of the parent is remembered here too.
            Origin::Exchange(exchange) => own.wrapping_add(exchange.parent().errand().recoveries()),
        }
    }

    /// How long a caller waits for its turn.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Notes that the last token was rejected: a source that keeps tokens is to pass it over.
    pub(crate) fn reject(&self) {
        self.rejected.store(true, Ordering::Relaxed);
    }

    /// Asks for the token, of the parent's where it is made of that.
    async fn fetch(&self, parent: Option<&Arc<Snapshot>>) -> Result<AccessToken> {
        match &self.origin {
            Origin::Source(source) => {
                let request = &self.identity.request;
                let rejected = || self.rejected.load(Ordering::Relaxed);
                if !rejected() {
                    let token = source.fetch(request).await?;
                    // Not taken back here: it may be set at this moment, by one that this fetch is too late for.
                    if !rejected() {
                        return Ok(token);
                    }
                    // One that was rejected meanwhile may be the very token that a source has kept.
                    if !source.keeps_tokens() {
                        self.rejected.store(false, Ordering::Relaxed);
                        return Ok(token);
                    }
                }
                let token = source.fetch_anew(request).await?;
                // What is asked for after this one may come from a source's memory again.
                self.rejected.store(false, Ordering::Relaxed);
                Ok(token)
            }
            Origin::Exchange(exchange) => exchange.fetch(parent).await,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn request(&self) -> &TokenRequest {
        &self.identity.request
    }

    /// Whose tokens are fetched now: after another client's credentials were taken, no longer those that the entry
    /// was made for.
    pub(crate) fn source_identity(&self) -> SourceIdentity {
        match &self.origin {
            Origin::Source(source) => source.identity(),
            Origin::Exchange(exchange) => exchange.parent().errand().source_identity(),
        }
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Whether the source keeps tokens, as a sidecar does.
    pub(crate) fn is_from_sidecar(&self) -> bool {
        match &self.origin {
            Origin::Source(source) => source.keeps_tokens(),
            Origin::Exchange(exchange) => exchange.parent().errand().is_from_sidecar(),
        }
    }

    /// Logs that a fetch brought nothing, once in a while.
    fn log(&self, error: &Error) {
        let authority = self.tally.kind().authority();
        // What comes from memory was logged when it was met.
        if error.retry_at().is_some() {
            tracing::debug!(
                target: "maskinporten::token",
                authority,
                %error,
                "the token was not asked for: another failure is remembered"
            );
        } else if let Some(suppressed) = self.failures.may_tell(self.clock.now()) {
            tracing::warn!(
                target: "maskinporten::token",
                authority,
                scopes = %self.identity.request.scope_set(),
                %error,
                code = error.code(),
                trace_id = error.trace_id(),
                hint = error.hint(),
                suppressed,
                "no token was fetched"
            );
        }
    }

    /// Logs that the authority's circuit has opened: without a word about the identity that was the last to fail.
    fn log_opened(&self, error: &Error) {
        let error = error.of_others();
        if let Some(suppressed) = self.tally.may_report_open_circuit(self.clock.now()) {
            tracing::warn!(
                target: "maskinporten::token",
                authority = self.tally.kind().authority(),
                %error,
                code = error.code(),
                hint = error.hint(),
                suppressed,
                "the circuit is open: but for probes, no tokens are fetched until one succeeds"
            );
        }
    }
}
