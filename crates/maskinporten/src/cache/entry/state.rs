//! A cache entry's state machine: one token's life from empty over fetching, kept and renewing to closed.
//!
//! - The states are a type, [`State`]: the diagram of `ARCHITECTURE.md`. It is behind one lock. Next to it are two
//!   numbers that a request reads without the lock: the generation of the token that may be used, and the
//!   moment from which an ageing one is worth the lock.
//! - No clock, task or network is known here: a caller brings `now`, and `prepare`, which makes a flight under
//!   the lock. The caller spawns the flight's task when the lock is free again. So a model checker explores every
//!   interleaving of the threads that use it.
//! - An *epoch* ends when the token is declared void. The outcome of a flight of an earlier epoch is ignored, and
//!   so is that of a flight that was given up for lost and replaced.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::rejection::RejectionBackoff;
use super::stripe::CachePadded;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::window::Window;
use crate::clock::Moment;

/// Generations are counted from 1, so that a view of nothing never equals a life's.
pub(crate) const NO_TOKEN: u64 = 0;

/// How often those who go on with an ageing token check that its renewal still runs: one that died without
/// an outcome is noticed then.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Grace period after a token's end in which a caller counts as recently served.
const JUST_ENDED: Duration = Duration::from_secs(60);

/// How long those who waited for a token that never lived may take to use it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a life knows of the flight that fetches its token.
pub(crate) trait InFlight: Clone {
    /// Whether an outcome can still come.
    fn is_alive(&self, now: Moment) -> bool;

    /// Notes that its outcome is not wanted: a flag and no more, since it is called under a life's lock.
    fn cancel(&self);

    /// Ends its task, once it was cancelled. Called under no lock.
    fn abort(&self);
}

/// One token with its window: never changed once published.
#[derive(Debug)]
pub(crate) struct Snapshot<T> {
    pub(crate) generation: u64,
    pub(crate) window: Window,
    /// When it was published.
    pub(crate) arrived: Moment,
    pub(crate) token: T,
}

impl<T> Snapshot<T> {
    /// Whether a caller that has waited for it may use it. One that was spent when it arrived is for such
    /// callers alone, for as long as it lives; or for a moment, where it has no life by its own word.
    pub(crate) fn serves_who_waited(&self, now: Moment) -> bool {
        let Window { hard, end, .. } = self.window;
        let last = if self.arrived < hard {
            hard
        } else if hard == end {
            self.arrived.after(AT_ONCE)
        } else {
            end
        };
        now < last
    }
}

/// What is known of one token: `T` the token, `E` why there is none, `F` the flight that fetches it.
pub(crate) struct Life<T, E, F> {
    /// The generation of the token that may be used; no token has the number of a void one. It is all of a life
    /// that a hit reads, on a cache line that callers by hand, who take the lock, do not write.
    generation: CachePadded<AtomicU64>,
    /// When a request that finds the token ageing next tries to start its renewal, in nanoseconds:
    /// one relaxed read spares all others the lock while a renewal runs or has just failed.
    refresh_at: AtomicU64,
    // Taken for a few reads and writes by functions that are not async, so never across an await. Nothing
    // foreign is called under it: what is taken out of it is dropped after it (`Locked`).
    control: Mutex<Control<T, E, F>>,
}

struct Control<T, E, F> {
    state: State<T, E, F>,
    rejections: RejectionBackoff,
    last_generation: u64,
    epoch: u64,
    /// How many flights were started. The one in the air, if there is one, is the last of them.
    flights: u64,
}

/// Where a token's life is. Whether a kept token is fresh, ageing or spent is a question of `now`.
///
/// A flight may have died without an outcome: `is_alive` tells. What failed before it, if anything did, is kept
/// with it: health shows that, and pauses grow from it, until a token comes.
enum State<T, E, F> {
    /// There is neither a token nor a failure.
    Empty,
    /// A flight is in the air, and there is no token.
    Fetching(F, Option<Failure<E>>),
    /// There is a token, and no failure since.
    Kept(Arc<Snapshot<T>>),
    /// A flight is in the air, and the last token is used until its end.
    Renewing(Arc<Snapshot<T>>, F, Option<Failure<E>>),
    /// There is a failure, and the last token is used until its end.
    Degraded(Arc<Snapshot<T>>, Failure<E>),
    /// There is a failure, and no token.
    Failed(Failure<E>),
    /// Nothing is fetched any more.
    Closed,
}

/// Why there is no newer token, and until when it is given to all who ask.
struct Failure<E> {
    error: E,
    at: Moment,
    until: Moment,
    /// What the source was at takeoff, and how many recoveries there had been when the failure was noted.
    revision: Revision,
    ends_with_recovery: bool,
    /// When the first failure in the row was noted that no success has interrupted.
    since: Moment,
    /// How many of that row make the next pause longer.
    in_a_row: u32,
}

/// What must not change while a failure is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    /// What the source is: its key, settings or token.
    pub(crate) source: u64,
    /// How often its server, or its credentials, were found to work again.
    pub(crate) recoveries: u64,
}

/// What a flight must know of the life it was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takeoff {
    epoch: u64,
    /// Which flight it is of.
    flight: u64,
    /// What the source was then: a failure is forgotten when it has changed.
    source: u64,
    /// Whether the token has just ended and no failure was noted since: callers that come now were
    /// served until now.
    pub(crate) urgent: bool,
    /// Whether there was a good token then.
    renews: bool,
    /// The hard end of the last token, good or spent.
    hard: Option<Moment>,
    /// How many flights in a row had failed by then.
    failures_in_a_row: u32,
}

impl Takeoff {
    /// Whether there was a good token then: callers go on with that one.
    pub(crate) fn renews(&self) -> bool {
        self.renews
    }

    /// When callers that were served are served no more: the end of the token that is renewed, or the end, in the
    /// past, of one that has [just ended](Self::urgent).
    pub(crate) fn hard_end(&self) -> Option<Moment> {
        self.hard.filter(|_| self.renews || self.urgent)
    }

    /// Whether the last fetch brought a token: there is one, good or spent, and no failure that counts was
    /// noted since.
    pub(crate) fn is_proven(&self) -> bool {
        self.hard.is_some() && self.failures_in_a_row == 0
    }

    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Until when a failure is remembered that is to be remembered for `pause`. No longer than the token
    /// lives that was to be renewed: its end is when callers first notice a failure, and then the server is
    /// asked, however long it was to be left alone.
    pub(crate) fn remembered_until(&self, now: Moment, pause: Duration) -> Moment {
        let until = now.after(pause);
        match self.hard {
            Some(end) if now < end => until.min(end),
            _ => until,
        }
    }

    /// Whether the token that it was to renew has ended.
    fn is_late(&self, now: Moment) -> bool {
        self.renews && self.hard.is_some_and(|end| now >= end)
    }
}

/// What a caller that needs a token finds.
pub(crate) enum Found<T, E, F> {
    /// A token that may be used.
    Good(Arc<Snapshot<T>>),
    /// The failure that is remembered.
    Failed(E),
    /// The flight that will tell.
    Awaited(F, Takeoff),
    /// Nothing is fetched any more.
    Closed,
}

/// What comes of the news that a token was rejected.
pub(crate) enum Rejection<T, F> {
    /// There is a newer one already.
    Newer(Arc<Snapshot<T>>),
    /// A newer one is being fetched.
    Awaited(F),
    /// Nothing: it is too early to fetch one, or there is none to replace.
    Kept,
}

/// What an eviction leaves, to be dropped under no lock.
pub(crate) struct Retired<T, E, F: InFlight> {
    /// Whether its token could still be used.
    pub(crate) was_good: bool,
    _removed: Removed<T, E, F>,
}

/// What a life holds that an eviction would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// A flight that is in the air.
    Flight,
    /// A token that may be used, or a failure that is remembered.
    Outcome,
    /// Neither.
    Nothing,
}

/// How a life stands, for those who watch over it.
#[derive(Clone, Debug)]
pub(crate) struct Standing<E> {
    /// Until when the token may be used, where one may.
    pub(crate) good_until: Option<Moment>,
    pub(crate) failing: Option<Failing<E>>,
}

/// A failure that no success has followed.
#[derive(Clone, Debug)]
pub(crate) struct Failing<E> {
    pub(crate) error: E,
    /// When it was noted.
    pub(crate) at: Moment,
    /// When the first of those in a row was.
    pub(crate) since: Moment,
}

impl<T, E: Clone, F: InFlight> Life<T, E, F> {
    pub(crate) fn new() -> Self {
        Self {
            generation: CachePadded(AtomicU64::new(NO_TOKEN)),
            refresh_at: AtomicU64::new(0),
            control: Mutex::new(Control {
                state: State::Empty,
                rejections: RejectionBackoff::default(),
                last_generation: NO_TOKEN,
                epoch: 0,
                flights: 0,
            }),
        }
    }

    fn lock(&self) -> Locked<'_, T, E, F> {
        Locked {
            control: self.control.lock(),
            removed: Removed {
                cancelled: None,
                landed: None,
                failure: None,
                before: None,
            },
        }
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The token, if there is one that may be used now.
    pub(crate) fn current(&self, now: Moment) -> Option<Arc<Snapshot<T>>> {
        self.control.lock().good(now).map(Arc::clone)
    }

    /// What there is for a caller that needs a token: the token, else the failure that is remembered at this
    /// `revision`, else the flight in the air, or a new one. An ageing token is good, and its
    /// renewal is started.
    pub(crate) fn ask(
        &self,
        now: Moment,
        revision: Revision,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) -> Found<T, E, F> {
        let mut control = self.lock();
        if control.state.is_closed() {
            return Found::Closed;
        }
        if let Some(current) = control.good(now) {
            let current = Arc::clone(current);
            if now >= current.window.soft && self.is_due(now) {
                // Where nothing can be started the token is still good, so nothing is lost.
                let _ = self.join(&mut control, now, revision.source, prepare);
            }
            return Found::Good(current);
        }
        if let Some(failure) = control.remembered(now, revision) {
            return Found::Failed(failure.error.clone());
        }
        match self.join(&mut control, now, revision.source, prepare) {
            Ok((flight, takeoff)) => Found::Awaited(flight, takeoff),
            Err(error) => Found::Failed(error),
        }
    }

    /// Starts the renewal of an ageing token, unless one runs or has just failed.
    pub(crate) fn refresh_if_due(
        &self,
        now: Moment,
        revision: impl FnOnce() -> Revision,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) {
        if !self.is_due(now) {
            return;
        }
        // Asked for before the lock is taken: a source is foreign code.
        let revision = revision();
        let mut control = self.lock();
        // Looked at again: the thread that held the lock may have done what is due.
        if !control.state.is_closed() && self.is_due(now) {
            let _ = self.join(&mut control, now, revision.source, prepare);
        }
    }

    /// Takes the news that the token of a generation was rejected. Where it is the current one, its
    /// replacement is fetched, if that was not done lately; all callers keep it until then.
    pub(crate) fn reject(
        &self,
        rejected: u64,
        now: Moment,
        revision: Revision,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) -> Rejection<T, F> {
        let mut control = self.lock();
        let Some(current) = control.state.token() else {
            return Rejection::Kept;
        };
        if current.generation != rejected {
            let is_newer = current.generation > rejected && now < current.window.hard;
            return if is_newer {
                Rejection::Newer(Arc::clone(current))
            } else {
                Rejection::Kept
            };
        }
        let admitted = control.rejections.admits(rejected, now);
        let flying = control.flying(now).cloned();
        if let Some(flight) = &flying
            && control.rejections.is_pending()
        {
            return Rejection::Awaited(flight.clone());
        }
        let Some(replacement) = admitted else {
            return Rejection::Kept;
        };
        let flight = match flying {
            Some(flight) => flight,
            // A server that has just failed is left alone for this too.
            None if control.remembered(now, revision).is_some() => return Rejection::Kept,
            None => match self.join(&mut control, now, revision.source, prepare) {
                Ok((flight, _)) => flight,
                Err(_) => return Rejection::Kept,
            },
        };
        control.rejections.begin(replacement);
        Rejection::Awaited(flight)
    }

    /// Declares token, failure and flight void: the next caller starts another. The outcome of the flight in the
    /// air is ignored.
    pub(crate) fn invalidate(&self) {
        let mut control = self.lock();
        if !control.state.is_closed() {
            self.clear(&mut control, State::Empty);
        }
    }

    /// The same, for good: nothing is fetched any more. Gives the flight that was in the air.
    pub(crate) fn close(&self) -> Option<F> {
        let mut control = self.lock();
        self.clear(&mut control, State::Closed)
    }

    /// Closes it for an eviction, where no flight is in the air and `let_go` agrees. That is asked under the
    /// lock, so what is in flight is never evicted.
    pub(crate) fn retire(
        &self,
        now: Moment,
        let_go: impl FnOnce() -> bool,
    ) -> Option<Retired<T, E, F>> {
        let mut control = self.lock();
        if control.flying(now).is_some() || !let_go() {
            return None;
        }
        let was_good = control.good(now).is_some();
        self.clear(&mut control, State::Closed);
        let Locked { control, removed } = control;
        drop(control);
        Some(Retired {
            was_good,
            _removed: removed,
        })
    }

    /// What an eviction would lose.
    pub(crate) fn holds(&self, now: Moment) -> Holds {
        let control = self.control.lock();
        if control.flying(now).is_some() {
            return Holds::Flight;
        }
        let failure = control.state.failure();
        if control.good(now).is_some() || failure.is_some_and(|failure| now < failure.until) {
            return Holds::Outcome;
        }
        Holds::Nothing
    }

    /// Whether a takeoff's flight was not declared void.
    pub(crate) fn is_of_now(&self, takeoff: Takeoff) -> bool {
        self.control.lock().is_of_now(takeoff)
    }

    pub(crate) fn standing(&self, now: Moment) -> Standing<E> {
        let control = self.control.lock();
        Standing {
            good_until: control.good(now).map(|current| current.window.hard),
            failing: control.state.failure().map(|failure| Failing {
                error: failure.error.clone(),
                at: failure.at,
                since: failure.since,
            }),
        }
    }

    /// The flight that is in the air, or a new one.
    fn join(
        &self,
        control: &mut Locked<'_, T, E, F>,
        now: Moment,
        source: u64,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) -> Result<(F, Takeoff), E> {
        self.look_again_at(now.after(LOOK_AFTER));
        if let Some(flight) = control.flying(now) {
            return Ok((flight.clone(), control.takeoff(now, source)));
        }
        control.cancel_flight();
        control.flights += 1;
        let takeoff = control.takeoff(now, source);
        let flight = prepare(takeoff)?;
        control.state.take_off(flight.clone());
        Ok((flight, takeoff))
    }

    /// Leaves nothing of what is known. Gives the flight that was in the air.
    fn clear(&self, control: &mut Locked<'_, T, E, F>, state: State<T, E, F>) -> Option<F> {
        let flight = control.cancel_flight().cloned();
        control.turn(state);
        control.epoch += 1;
        control.rejections = RejectionBackoff::default();
        // A number that no token has, so that no view of the token before it finds its generation again.
        control.last_generation += 1;
        self.generation
            .store(control.last_generation, Ordering::Release);
        flight
    }

    fn is_due(&self, now: Moment) -> bool {
        now.as_nanoseconds() >= self.refresh_at.load(Ordering::Relaxed)
    }

    fn look_again_at(&self, moment: Moment) {
        self.refresh_at
            .store(moment.as_nanoseconds(), Ordering::Relaxed);
    }
}

// ===== what a flight does =====

impl<T, E: Clone, F: InFlight> Life<T, E, F> {
    /// Publishes what a flight brought. Gives `None` where it was declared void, or replaced, meanwhile.
    ///
    /// A token that is `spent` on arrival is for those who waited for it, once: it is not kept, and
    /// the error that is given says for how long none is fetched again.
    pub(crate) fn publish(
        &self,
        takeoff: Takeoff,
        token: T,
        window: Window,
        now: Moment,
        spent: Option<Setback<E>>,
    ) -> Option<Arc<Snapshot<T>>> {
        let mut control = self.lock();
        if !control.awaits(takeoff) {
            return None;
        }
        control.last_generation += 1;
        let snapshot = Arc::new(Snapshot {
            generation: control.last_generation,
            window,
            arrived: now,
            token,
        });
        let was_replacement = control.end_flight();
        if let Some(setback) = spent {
            self.remember(&mut control, takeoff, now, setback);
            return Some(snapshot);
        }
        if was_replacement {
            control.rejections.brought(snapshot.generation, now);
        }
        control.turn(State::Kept(Arc::clone(&snapshot)));
        self.look_again_at(window.soft);
        // Under the lock, which a reader that sees the new number takes to look: what it finds is at
        // least as new.
        self.generation
            .store(snapshot.generation, Ordering::Release);
        Some(snapshot)
    }

    /// Ends a flight that brought nothing to remember. False where it was declared void, or replaced,
    /// meanwhile.
    pub(crate) fn end_flight(&self, takeoff: Takeoff) -> bool {
        let mut control = self.lock();
        let awaits = control.awaits(takeoff);
        if awaits {
            control.end_flight();
        }
        awaits
    }

    /// Remembers why a flight brought nothing. Gives `None` where it was declared void, or replaced, meanwhile;
    /// and where it says nothing to those who wait: a renewal that was begun while the token was good
    /// and fails after its end. What kept it may be over, so they start another.
    pub(crate) fn fail(&self, takeoff: Takeoff, now: Moment, setback: Setback<E>) -> Option<E> {
        let mut control = self.lock();
        if !control.awaits(takeoff) {
            return None;
        }
        control.end_flight();
        if takeoff.is_late(now) {
            return None;
        }
        Some(self.remember(&mut control, takeoff, now, setback))
    }

    /// Remembers that one flight after another was lost, and gives the error; or the error of another failure,
    /// where one is remembered already. `None` where nothing is to be remembered any more: another flight is
    /// in the air, or all was declared void.
    pub(crate) fn give_up(&self, takeoff: Takeoff, now: Moment, setback: Setback<E>) -> Option<E> {
        let mut control = self.lock();
        let revision = Revision {
            source: takeoff.source,
            recoveries: setback.recoveries,
        };
        if let Some(failure) = control.remembered(now, revision) {
            return Some(failure.error.clone());
        }
        if !control.is_of_now(takeoff) || control.flying(now).is_some() {
            return None;
        }
        Some(self.remember(&mut control, takeoff, now, setback))
    }

    fn remember(
        &self,
        control: &mut Locked<'_, T, E, F>,
        takeoff: Takeoff,
        now: Moment,
        setback: Setback<E>,
    ) -> E {
        let Setback {
            error,
            until,
            counts,
            ends_with_recovery,
            recoveries,
        } = setback;
        self.look_again_at(until);
        let before = control.state.failure();
        let (since, in_a_row) = before.map_or((now, 0), |before| (before.since, before.in_a_row));
        let failure = Failure {
            error: error.clone(),
            at: now,
            until,
            revision: Revision {
                source: takeoff.source,
                recoveries,
            },
            ends_with_recovery,
            since,
            in_a_row: in_a_row.saturating_add(u32::from(counts)),
        };
        control.removed.failure = control.state.fail(failure);
        error
    }
}

/// A failure as it is to be remembered: all of it is known before the lock is taken.
pub(crate) struct Setback<E> {
    pub(crate) error: E,
    /// Until when it is given to all who ask: see [`Takeoff::remembered_until`].
    pub(crate) until: Moment,
    /// Whether it makes the next pause longer.
    pub(crate) counts: bool,
    /// Whether it is forgotten at the next recovery.
    pub(crate) ends_with_recovery: bool,
    /// How many recoveries there are at the landing, read by the caller.
    pub(crate) recoveries: u64,
}

// ===== impl Locked =====

/// A life's state under its lock.
///
/// What is taken out of it is dealt with when the lock is free again: a flight is aborted, which wakes those
/// in line after it; an error is dropped whose cause is a user's value; a token is wiped byte by byte.
struct Locked<'a, T, E, F: InFlight> {
    // Fields are dropped in this order.
    control: MutexGuard<'a, Control<T, E, F>>,
    removed: Removed<T, E, F>,
}

/// What a life's state no longer holds: at most one of each is taken out under one lock.
struct Removed<T, E, F: InFlight> {
    cancelled: Option<F>,
    landed: Option<F>,
    failure: Option<Failure<E>>,
    before: Option<State<T, E, F>>,
}

impl<T, E, F: InFlight> Drop for Removed<T, E, F> {
    fn drop(&mut self) {
        if let Some(flight) = &self.cancelled {
            flight.abort();
        }
    }
}

impl<T, E, F: InFlight> Locked<'_, T, E, F> {
    /// Cancels the flight that there is, dead or alive.
    fn cancel_flight(&mut self) -> Option<&F> {
        self.rejections.end();
        let flight = self.state.ground()?;
        flight.cancel();
        Some(self.removed.cancelled.insert(flight))
    }

    /// Ends the flight that has landed. Gives whether it was to replace a rejected token.
    fn end_flight(&mut self) -> bool {
        self.removed.landed = self.control.state.ground();
        self.rejections.end()
    }

    /// Puts another state in place of this one, whose flight was taken out.
    fn turn(&mut self, state: State<T, E, F>) {
        self.removed.before = Some(mem::replace(&mut self.control.state, state));
    }
}

impl<T, E, F: InFlight> Deref for Locked<'_, T, E, F> {
    type Target = Control<T, E, F>;

    fn deref(&self) -> &Self::Target {
        &self.control
    }
}

impl<T, E, F: InFlight> DerefMut for Locked<'_, T, E, F> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.control
    }
}

// ===== impl Control =====

impl<T, E, F: InFlight> Control<T, E, F> {
    fn good(&self, now: Moment) -> Option<&Arc<Snapshot<T>>> {
        let current = self.state.token();
        current.filter(|current| now < current.window.hard)
    }

    fn flying(&self, now: Moment) -> Option<&F> {
        self.state.flight().filter(|flight| flight.is_alive(now))
    }

    fn is_of_now(&self, takeoff: Takeoff) -> bool {
        !self.state.is_closed() && self.epoch == takeoff.epoch
    }

    /// Whether the outcome of this takeoff's flight counts. One that was given up for lost may land all the
    /// same: it counts unless another was started, or all was declared void.
    fn awaits(&self, takeoff: Takeoff) -> bool {
        self.state.flight().is_some() && self.flights == takeoff.flight
    }

    fn remembered(&self, now: Moment, revision: Revision) -> Option<&Failure<E>> {
        let failure = self.state.failure();
        failure.filter(|failure| failure.is_remembered(now, revision))
    }

    fn takeoff(&self, now: Moment, source: u64) -> Takeoff {
        let hard = self.state.token().map(|token| token.window.hard);
        let failure = self.state.failure();
        let has_just_ended = |ended: Moment| {
            now >= ended
                && now < ended.after(JUST_ENDED)
                && failure.is_none_or(|failure| failure.at < ended)
        };
        Takeoff {
            epoch: self.epoch,
            flight: self.flights,
            source,
            urgent: hard.is_some_and(has_just_ended),
            renews: hard.is_some_and(|hard| now < hard),
            hard,
            failures_in_a_row: failure.map_or(0, |failure| failure.in_a_row),
        }
    }
}

impl<E> Failure<E> {
    fn is_remembered(&self, now: Moment, revision: Revision) -> bool {
        let has_recovered =
            self.ends_with_recovery && self.revision.recoveries != revision.recoveries;
        now < self.until && self.revision.source == revision.source && !has_recovered
    }
}

// ===== impl State =====

impl<T, E, F> State<T, E, F> {
    fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// The last token, also when it is spent.
    fn token(&self) -> Option<&Arc<Snapshot<T>>> {
        match self {
            Self::Kept(token) | Self::Renewing(token, ..) | Self::Degraded(token, _) => Some(token),
            Self::Empty | Self::Fetching(..) | Self::Failed(_) | Self::Closed => None,
        }
    }

    fn flight(&self) -> Option<&F> {
        match self {
            Self::Fetching(flight, _) | Self::Renewing(_, flight, _) => Some(flight),
            _ => None,
        }
    }

    /// The last failure, also when callers are not given it any more. A token ends it.
    fn failure(&self) -> Option<&Failure<E>> {
        match self {
            Self::Failed(failure) | Self::Degraded(_, failure) => Some(failure),
            Self::Fetching(_, before) | Self::Renewing(_, _, before) => before.as_ref(),
            Self::Empty | Self::Kept(_) | Self::Closed => None,
        }
    }

    /// Adds a flight, after the last one was taken out.
    fn take_off(&mut self, flight: F) {
        *self = match mem::replace(self, Self::Empty) {
            Self::Empty => Self::Fetching(flight, None),
            Self::Failed(failure) => Self::Fetching(flight, Some(failure)),
            Self::Kept(token) => Self::Renewing(token, flight, None),
            Self::Degraded(token, failure) => Self::Renewing(token, flight, Some(failure)),
            // Not met: `join` takes the last flight out first, and is not called when closed.
            state @ (Self::Fetching(..) | Self::Renewing(..) | Self::Closed) => state,
        };
    }

    /// Takes the flight out, dead or alive. What was there when it took off stays.
    fn ground(&mut self) -> Option<F> {
        let (state, flight) = match mem::replace(self, Self::Empty) {
            Self::Fetching(flight, None) => (Self::Empty, Some(flight)),
            Self::Fetching(flight, Some(failure)) => (Self::Failed(failure), Some(flight)),
            Self::Renewing(token, flight, None) => (Self::Kept(token), Some(flight)),
            Self::Renewing(token, flight, Some(failure)) => {
                (Self::Degraded(token, failure), Some(flight))
            }
            state => (state, None),
        };
        *self = state;
        flight
    }

    /// Notes a failure. Gives the one that it takes the place of.
    fn fail(&mut self, failure: Failure<E>) -> Option<Failure<E>> {
        match self {
            Self::Empty => *self = Self::Failed(failure),
            Self::Kept(token) => *self = Self::Degraded(Arc::clone(token), failure),
            Self::Failed(last) | Self::Degraded(_, last) => {
                return Some(mem::replace(last, failure));
            }
            Self::Fetching(_, before) | Self::Renewing(_, _, before) => {
                return before.replace(failure);
            }
            Self::Closed => return Some(failure),
        }
        None
    }
}
