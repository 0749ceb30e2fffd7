//! The life of one token: empty, fetching, fresh, ageing, spent; and what may be done in each.
//!
//! - What is known of a token is in one place, behind one lock. Beside it stand two numbers that a
//!   request reads without the lock: the generation of the token that may be used, and the moment from
//!   which an ageing one is worth the lock.
//! - Nothing here knows the time, a task or a network: a caller brings `now`, and `prepare`, which makes a
//!   flight under the lock. The flight's task is spawned by the caller when the lock is free again. All of it
//!   can therefore be explored, every interleaving of its threads included.
//! - An *epoch* ends when the token is declared void. What a flight of an earlier epoch brings is
//!   nobody's, and neither is what one brings that was given up for lost and replaced.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::stripe::CachePadded;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::window::Window;
use crate::clock::Moment;

/// Generations are counted from 1, so that a view of nothing never equals a life's.
pub(crate) const NO_TOKEN: u64 = 0;

/// A rejected token is replaced at most this often: a second rejection is about something else.
pub(crate) const FORCED_REFRESH_EVERY: Duration = Duration::from_secs(30);

/// The longest that grows to, doubled each time a token that was fetched for a rejection is rejected
/// at once in its turn: an API that refuses for another reason refuses the next one too.
const FORCED_REFRESH_AT_LEAST_EVERY: Duration = Duration::from_secs(600);

/// How often a renewal that runs is looked after by those who go on with the ageing token: one that
/// died without an outcome is noticed then.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How long after its end a token has ended just now: whoever was served until then may still come.
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
    /// Whether somebody who has waited for it may use it. One that was spent when it arrived is for
    /// them alone, for as long as it lives; or for a moment, where it has no life by its own word.
    pub(crate) fn serves_who_waited(&self, now: Moment) -> bool {
        let Window { hard, end, .. } = self.window;
        let last = match self.arrived < hard {
            true => hard,
            false if hard == end => self.arrived.after(AT_ONCE),
            false => end,
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
    /// The last token, also when it is spent.
    current: Option<Arc<Snapshot<T>>>,
    flight: Option<F>,
    failure: Option<Failure<E>>,
    failures_in_a_row: u32,
    failing_since: Option<Moment>,
    last_generation: u64,
    epoch: u64,
    /// How many flights were started. The last one's outcome is awaited, and no other's.
    flights: u64,
    forced: Forced,
    closed: bool,
}

/// Why there is no newer token, and until when nobody asks again.
struct Failure<E> {
    error: E,
    at: Moment,
    until: Moment,
    revision: Revision,
    ends_with_recovery: bool,
}

/// What was done for the sake of a rejected token.
#[derive(Default)]
struct Forced {
    at: Option<Moment>,
    /// Whether the flight in the air is for its sake.
    pending: bool,
    /// The generation that the last such flight brought, and when.
    brought: u64,
    brought_at: Option<Moment>,
    /// Whether that was rejected while it was fresh: then it was not for its age.
    in_vain: bool,
    /// How many in a row were.
    in_vain_in_a_row: u32,
}

/// What a remembered failure was met with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    /// What the source is.
    pub(crate) source: u64,
    /// How often its circuits were closed.
    pub(crate) recoveries: u64,
}

/// What a flight must know of the life it was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takeoff {
    epoch: u64,
    /// Which flight it is of.
    flight: u64,
    /// What was then: a failure is forgotten when it has become another.
    revision: Revision,
    /// Whether the token has just ended and nothing was heard of a failure since: those who come now
    /// have been served until now.
    pub(crate) urgent: bool,
    /// The end of the token that was good then: whoever it is fetched for goes on with that one.
    renews_until: Option<Moment>,
    /// How many flights in a row had failed by then.
    failures_in_a_row: u32,
    /// Whether there was a token then, spent or not.
    had_token: bool,
    ended: Option<Moment>,
}

impl Takeoff {
    /// Whether the last fetch brought a token.
    pub(crate) fn is_proven(&self) -> bool {
        self.had_token && self.failures_in_a_row == 0
    }

    /// The end of the good token that is renewed, or of one that has just ended.
    pub(crate) fn hard_end(&self) -> Option<Moment> {
        self.renews_until.or(self.ended.filter(|_| self.urgent))
    }

    /// Whether there was a good token then.
    pub(crate) fn renews(&self) -> bool {
        self.renews_until.is_some()
    }

    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Until when a failure is remembered that is to be remembered for `pause`. No longer than the token
    /// lives that was to be renewed: its end is when a failure is first noticed, and then the server is
    /// asked, however long it was to be left alone.
    pub(crate) fn remembered_until(&self, now: Moment, pause: Duration) -> Moment {
        let until = now.after(pause);
        match self.renews_until {
            Some(end) if now < end => until.min(end),
            _ => until,
        }
    }
}

/// What somebody who needs a token finds.
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
    /// Until when the token may be used; none where none may.
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
                current: None,
                flight: None,
                failure: None,
                failures_in_a_row: 0,
                failing_since: None,
                last_generation: NO_TOKEN,
                epoch: 0,
                flights: 0,
                forced: Forced::default(),
                closed: false,
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
                token: None,
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

    /// What there is for somebody who needs a token: the token, else the failure of this `revision`
    /// that is remembered, else the flight in the air, or a new one. An ageing token is good, and its
    /// renewal is started.
    pub(crate) fn ask(
        &self,
        now: Moment,
        revision: Revision,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) -> Found<T, E, F> {
        let mut control = self.lock();
        if control.closed {
            return Found::Closed;
        }
        if let Some(current) = control.good(now) {
            let current = Arc::clone(current);
            if now >= current.window.soft && self.is_due(now) {
                // Where nothing can be started the token is still good, so nothing is lost.
                let _ = self.join(&mut control, now, revision, prepare);
            }
            return Found::Good(current);
        }
        if let Some(failure) = control.remembered(now, revision) {
            return Found::Failed(failure.error.clone());
        }
        match self.join(&mut control, now, revision, prepare) {
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
        // Looked at again: whoever held the lock may have done what is due.
        if !control.closed && self.is_due(now) {
            let _ = self.join(&mut control, now, revision, prepare);
        }
    }

    /// Takes the news that the token of a generation was rejected. Where it is the current one, its
    /// replacement is fetched, if that was not done lately; everybody keeps it until then.
    pub(crate) fn reject(
        &self,
        rejected: u64,
        now: Moment,
        revision: Revision,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) -> Rejection<T, F> {
        let mut control = self.lock();
        let Some(current) = control.current.as_ref().filter(|_| !control.closed) else {
            return Rejection::Kept;
        };
        if current.generation != rejected {
            let newer = current.generation > rejected && now < current.window.hard;
            return match newer {
                true => Rejection::Newer(Arc::clone(current)),
                false => Rejection::Kept,
            };
        }
        let forced = &mut control.forced;
        let was_forced = forced.brought == rejected;
        let is_fresh = |at: Moment| now < at.after(FORCED_REFRESH_EVERY);
        forced.in_vain = was_forced && (forced.in_vain || forced.brought_at.is_some_and(is_fresh));
        let in_a_row = match forced.in_vain {
            true => forced.in_vain_in_a_row.saturating_add(1),
            false => 0,
        };
        let pause = FORCED_REFRESH_EVERY
            .saturating_mul(1 << in_a_row.min(8))
            .min(FORCED_REFRESH_AT_LEAST_EVERY);
        let is_early = forced.at.is_some_and(|at| now < at.after(pause));
        let flight = match control.flying(now) {
            Some(flight) if control.forced.pending => return Rejection::Awaited(flight.clone()),
            _ if is_early => return Rejection::Kept,
            Some(flight) => flight.clone(),
            // A server that has just failed is left alone for this too.
            None if control.remembered(now, revision).is_some() => return Rejection::Kept,
            None => match self.join(&mut control, now, revision, prepare) {
                Ok((flight, _)) => flight,
                Err(_) => return Rejection::Kept,
            },
        };
        let forced = &mut control.forced;
        forced.at = Some(now);
        forced.pending = true;
        forced.in_vain_in_a_row = in_a_row;
        Rejection::Awaited(flight)
    }

    /// Declares token, failure and flight void: the next who asks starts anew. What the flight in the
    /// air would bring is nobody's.
    pub(crate) fn invalidate(&self) {
        let mut control = self.lock();
        self.clear(&mut control);
    }

    /// The same, for good: nothing is fetched any more. Gives the flight that was in the air.
    pub(crate) fn close(&self) -> Option<F> {
        let mut control = self.lock();
        control.closed = true;
        self.clear(&mut control)
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
        control.closed = true;
        self.clear(&mut control);
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
        let is_remembered = |failure: &Failure<E>| now < failure.until;
        if control.good(now).is_some() || control.failure.as_ref().is_some_and(is_remembered) {
            return Holds::Outcome;
        }
        Holds::Nothing
    }

    /// Whether a takeoff is still the present's: nobody has declared it void.
    pub(crate) fn is_of_now(&self, takeoff: Takeoff) -> bool {
        let control = self.control.lock();
        !control.closed && control.epoch == takeoff.epoch
    }

    pub(crate) fn standing(&self, now: Moment) -> Standing<E> {
        let control = self.control.lock();
        let failing = control.failure.as_ref().zip(control.failing_since);
        Standing {
            good_until: control.good(now).map(|current| current.window.hard),
            failing: failing.map(|(failure, since)| Failing {
                error: failure.error.clone(),
                at: failure.at,
                since,
            }),
        }
    }

    /// The flight that is in the air, or a new one.
    fn join(
        &self,
        control: &mut Locked<'_, T, E, F>,
        now: Moment,
        revision: Revision,
        prepare: impl FnOnce(Takeoff) -> Result<F, E>,
    ) -> Result<(F, Takeoff), E> {
        self.look_again_at(now.after(LOOK_AFTER));
        if let Some(flight) = control.flying(now) {
            return Ok((flight.clone(), control.takeoff(now, revision)));
        }
        control.cancel_flight();
        control.forced.pending = false;
        control.flights += 1;
        let takeoff = control.takeoff(now, revision);
        let flight = prepare(takeoff)?;
        control.flight = Some(flight.clone());
        Ok((flight, takeoff))
    }

    fn clear(&self, control: &mut Locked<'_, T, E, F>) -> Option<F> {
        let flight = control.cancel_flight().cloned();
        control.epoch += 1;
        control.removed.token = control.current.take();
        control.forget_failure();
        control.forced = Forced::default();
        // A number of its own, so that no view of the token before it finds its generation again.
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
    /// Publishes what a flight brought. None where it was declared void, or replaced, meanwhile.
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
        let was_forced = control.end_flight();
        if let Some(setback) = spent {
            self.remember(&mut control, takeoff, now, setback);
            return Some(snapshot);
        }
        if was_forced {
            control.forced.brought = snapshot.generation;
            control.forced.brought_at = Some(now);
            control.forced.in_vain = false;
        }
        control.forget_failure();
        control.keep(Arc::clone(&snapshot));
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

    /// Remembers why a flight brought nothing. None where it was declared void, or replaced, meanwhile;
    /// and where it says nothing to those who wait: a renewal that was begun while the token was good
    /// and fails after its end. What kept it may be over, so they start another.
    pub(crate) fn fail(&self, takeoff: Takeoff, now: Moment, setback: Setback<E>) -> Option<E> {
        let mut control = self.lock();
        if !control.awaits(takeoff) {
            return None;
        }
        control.end_flight();
        if takeoff.renews_until.is_some_and(|end| now >= end) {
            return None;
        }
        Some(self.remember(&mut control, takeoff, now, setback))
    }

    /// Remembers that one flight after another was lost, and gives the error; or the error of another failure,
    /// where one is remembered already. `None` where nothing is to be remembered any more: another flight is
    /// in the air, or all was declared void.
    pub(crate) fn give_up(&self, takeoff: Takeoff, now: Moment, setback: Setback<E>) -> Option<E> {
        let mut control = self.lock();
        if let Some(failure) = control.remembered(now, takeoff.revision) {
            return Some(failure.error.clone());
        }
        let is_of_now = !control.closed && control.epoch == takeoff.epoch;
        if !is_of_now || control.flying(now).is_some() {
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
        if counts {
            control.failures_in_a_row = control.failures_in_a_row.saturating_add(1);
        }
        control.failing_since.get_or_insert(now);
        let failure = Failure {
            error: error.clone(),
            at: now,
            until,
            revision: Revision {
                source: takeoff.revision.source,
                recoveries,
            },
            ends_with_recovery,
        };
        control.removed.failure = control.failure.replace(failure);
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
    /// Whether it is forgotten when a circuit closes, and how often one was closed when it was noted.
    pub(crate) ends_with_recovery: bool,
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

/// What a life's state no longer holds: at most one of each, since none is taken out twice under one lock.
struct Removed<T, E, F: InFlight> {
    cancelled: Option<F>,
    landed: Option<F>,
    failure: Option<Failure<E>>,
    token: Option<Arc<Snapshot<T>>>,
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
        let flight = self.control.flight.take()?;
        flight.cancel();
        Some(self.removed.cancelled.insert(flight))
    }

    /// Ends the flight that has landed. Tells whether it was for the sake of a rejected token.
    fn end_flight(&mut self) -> bool {
        self.removed.landed = self.control.flight.take();
        std::mem::take(&mut self.control.forced.pending)
    }

    fn forget_failure(&mut self) {
        self.removed.failure = self.control.failure.take();
        self.control.failures_in_a_row = 0;
        self.control.failing_since = None;
    }

    fn keep(&mut self, token: Arc<Snapshot<T>>) {
        self.removed.token = self.control.current.replace(token);
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
        let current = self.current.as_ref();
        current.filter(|current| now < current.window.hard)
    }

    fn flying(&self, now: Moment) -> Option<&F> {
        self.flight.as_ref().filter(|flight| flight.is_alive(now))
    }

    /// Whether an outcome of this takeoff's flight is anybody's. One that was given up for lost may
    /// land all the same: its place is another's by then.
    fn awaits(&self, takeoff: Takeoff) -> bool {
        !self.closed && self.epoch == takeoff.epoch && self.flights == takeoff.flight
    }

    fn remembered(&self, now: Moment, revision: Revision) -> Option<&Failure<E>> {
        let failure = self.failure.as_ref();
        failure.filter(|failure| {
            let is_recovered =
                failure.ends_with_recovery && failure.revision.recoveries != revision.recoveries;
            now < failure.until && failure.revision.source == revision.source && !is_recovered
        })
    }

    fn takeoff(&self, now: Moment, revision: Revision) -> Takeoff {
        let urgent = self.current.as_ref().is_some_and(|current| {
            let ended = current.window.hard;
            let unheard = |failure: &Failure<E>| failure.at < ended;
            now >= ended
                && now < ended.after(JUST_ENDED)
                && self.failure.as_ref().is_none_or(unheard)
        });
        Takeoff {
            epoch: self.epoch,
            flight: self.flights,
            revision,
            urgent,
            renews_until: self.good(now).map(|current| current.window.hard),
            failures_in_a_row: self.failures_in_a_row,
            had_token: self.current.is_some(),
            ended: self.current.as_ref().map(|current| current.window.hard),
        }
    }
}
