//! The life of one token: empty, fetching, fresh, ageing, spent.
//!
//! - A request that finds the token fresh writes nothing that another one reads.
//! - One that finds it ageing starts the renewal and goes on with it.
//! - One that finds none waits for the flight that fetches it, or starts that flight.
//! - A failed flight is remembered: until its `retry_at` every caller gets the one error at once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::advice;
use crate::cache::Identity;
use crate::cache::flight::{self, Flight};
use crate::cache::registry;
use crate::cache::window::Window;
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::source::TokenSource;
use crate::token::AccessToken;

/// How often a flight that goes down without an outcome is started anew for one caller.
const ELECTIONS: usize = 3;

/// How long a refusal is remembered: doubled with each one in a row.
const REFUSED_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long an outage is remembered: shorter, since nobody has to act to end it.
const UNREACHABLE_FOR: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The most a server's `Retry-After` is honoured: longer is a mistake of somebody's.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A token spent on arrival is asked for again at most this often.
const SPENT_FOR: Duration = Duration::from_secs(1);

/// A rejected token is replaced at most this often: a second rejection is about something else.
const FORCED_REFRESH_EVERY: Duration = Duration::from_secs(30);

/// One token's place. Aligned so that neither its own count of owners nor a neighbour shares a line
/// with the generation, which every request reads.
#[repr(align(128))]
pub(crate) struct Slot {
    /// The generation of the token that may be used; [`NO_TOKEN`] where there is none.
    generation: AtomicU64,
    /// When a request that finds the token ageing next tries to start its renewal, in nanoseconds:
    /// one relaxed read spares all others the lock while a renewal runs or has just failed.
    refresh_at: AtomicU64,
    clock: AnyClock,
    id: u64,
    identity: Arc<Identity>,
    source: Arc<dyn TokenSource>,
    // Taken for a few reads and writes, never across an await: its guard ends with a block that has
    // none.
    control: Mutex<Control>,
}

/// Generations are counted from 1, so that a view of nothing never equals a slot's.
pub(crate) const NO_TOKEN: u64 = 0;

/// One token with its window: never changed once published.
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) window: Window,
    pub(crate) token: AccessToken,
}

#[derive(Default)]
struct Control {
    current: Option<Arc<Snapshot>>,
    flight: Option<Flight>,
    failure: Option<Failure>,
    failures_in_a_row: u32,
    last_generation: u64,
    forced_at: Option<Moment>,
}

struct Failure {
    error: Error,
    until: Moment,
}

impl Slot {
    pub(crate) fn new(
        identity: Arc<Identity>,
        source: Arc<dyn TokenSource>,
        clock: AnyClock,
    ) -> Arc<Self> {
        Arc::new_cyclic(|slot| Self {
            generation: AtomicU64::new(NO_TOKEN),
            refresh_at: AtomicU64::new(0),
            clock,
            id: registry::enter(Weak::clone(slot)),
            identity,
            source,
            control: Mutex::default(),
        })
    }

    /// What a response carries instead of a reference: see [`registry`].
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The token, if there is one that may be used now.
    pub(crate) fn current(&self, now: Moment) -> Option<Arc<Snapshot>> {
        let control = self.control.lock();
        let current = control.current.as_ref();
        current
            .filter(|current| now < current.window.hard)
            .map(Arc::clone)
    }

    /// Starts the renewal of an ageing token, unless one runs or has just failed.
    pub(crate) fn refresh_if_due(self: &Arc<Self>, now: Moment) {
        if now.as_nanoseconds() < self.refresh_at.load(Ordering::Relaxed) {
            return;
        }
        let mut control = self.control.lock();
        // Without a runtime nothing can be started; the token is still good, so nothing is lost.
        let _ = self.join_flight(&mut control, now);
    }

    /// The token, fetched where there is none. Dropping the future harms nobody else: it only waits.
    pub(crate) async fn acquire(self: Arc<Self>) -> Result<Arc<Snapshot>> {
        let mut elections = 0;
        loop {
            let flight = {
                let now = self.clock.now();
                let mut control = self.control.lock();
                if let Some(current) = &control.current
                    && now < current.window.hard
                {
                    let current = Arc::clone(current);
                    drop(control);
                    if now >= current.window.soft {
                        self.refresh_if_due(now);
                    }
                    return Ok(current);
                }
                match &control.failure {
                    Some(failure) if now < failure.until => return Err(failure.error.clone()),
                    _ => self.join_flight(&mut control, now)?,
                }
            };
            if let Some(outcome) = flight.outcome(&self.clock).await {
                return outcome;
            }
            elections += 1;
            if elections == ELECTIONS {
                return Err(Error::new(
                    ErrorKind::Runtime,
                    "whatever fetched the token went away before it was done",
                )
                .with_transient(true)
                .with_advice(&advice::RUNTIME_GONE));
            }
        }
    }

    /// A token newer than the one that was rejected; none where forcing one again is too early.
    ///
    /// Everybody else keeps the rejected one meanwhile: it may have been rejected for a reason that
    /// does not concern them.
    pub(crate) async fn renewed(self: Arc<Self>, rejected: u64) -> Option<Result<Arc<Snapshot>>> {
        let flight = {
            let mut control = self.control.lock();
            match &control.current {
                Some(current) if current.generation != rejected => {
                    return Some(Ok(Arc::clone(current)));
                }
                _ => self.force(&mut control)?,
            }
        };
        flight.outcome(&self.clock).await
    }

    /// Notes that an API did not accept the token of a generation, and starts its replacement.
    ///
    /// A late word about an older token changes nothing, and neither does one that comes within
    /// [`FORCED_REFRESH_EVERY`] of the last.
    pub(crate) fn report_rejected(self: &Arc<Self>, rejected: u64) {
        let mut control = self.control.lock();
        let current = control.current.as_ref().map(|current| current.generation);
        if current == Some(rejected) && self.force(&mut control).is_some() {
            tracing::warn!(
                target: "maskinporten::token",
                generation = rejected,
                "an api did not accept the token; a new one is being fetched"
            );
        }
    }

    fn force(self: &Arc<Self>, control: &mut Control) -> Option<Flight> {
        let now = self.clock.now();
        let too_early = |forced: &Moment| now < forced.after(FORCED_REFRESH_EVERY);
        if control.forced_at.as_ref().is_some_and(too_early) {
            return None;
        }
        let flight = self.join_flight(control, now).ok()?;
        control.forced_at = Some(now);
        Some(flight)
    }

    /// The flight that is in the air, or a new one.
    fn join_flight(self: &Arc<Self>, control: &mut Control, now: Moment) -> Result<Flight> {
        if let Some(flight) = &control.flight
            && flight.is_alive(now)
        {
            return Ok(flight.clone());
        }
        let flight = flight::start(Arc::clone(self), now)?;
        self.refresh_at
            .store(flight.overdue_at().as_nanoseconds(), Ordering::Relaxed);
        control.flight = Some(flight.clone());
        Ok(flight)
    }
}

// ===== what a flight does to its slot =====

impl Slot {
    pub(crate) fn source(&self) -> &dyn TokenSource {
        &*self.source
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    #[inline]
    pub(crate) fn clock(&self) -> &AnyClock {
        &self.clock
    }

    /// Publishes a fetched token. `asked` is when its request left.
    pub(crate) fn publish(&self, token: AccessToken, asked: Moment) -> Arc<Snapshot> {
        let now = self.clock.now();
        let asked_at = self.clock.wall().checked_sub(asked.until(now));
        let window = Window::of(asked, token.lifetime(), random::unit());
        let mut control = self.control.lock();
        control.last_generation += 1;
        let snapshot = Arc::new(Snapshot {
            generation: control.last_generation,
            window,
            token: match asked_at {
                Some(wall) => token.asked_for_at(wall),
                None => token,
            },
        });
        control.flight = None;
        control.failures_in_a_row = 0;
        if now < window.hard {
            control.failure = None;
            control.current = Some(Arc::clone(&snapshot));
            // The number last: a reader that sees the new one finds what belongs to it, for it has to
            // take the lock to look.
            self.refresh_at
                .store(window.soft.as_nanoseconds(), Ordering::Relaxed);
            self.generation
                .store(snapshot.generation, Ordering::Release);
        } else {
            // Whoever waited for it uses it once; it is not kept, and not fetched in a loop.
            let error =
                Error::protocol("the token server hands out tokens that are spent on arrival")
                    .with_advice(&advice::UNUSABLE_TOKEN);
            self.remember(&mut control, error, now, SPENT_FOR);
        }
        snapshot
    }

    /// Remembers why there is no token, and until when nobody is asked again.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let now = self.clock.now();
        let mut control = self.control.lock();
        control.flight = None;
        let (first, longest) = match error.is_transient() {
            true => UNREACHABLE_FOR,
            false => REFUSED_FOR,
        };
        let doubled = first.saturating_mul(1 << control.failures_in_a_row.min(8));
        let wished = error.retry_after().unwrap_or_default();
        // An error that says when comes from somebody's memory, who will not be asked before then.
        let at = error.retry_at().unwrap_or(SystemTime::UNIX_EPOCH);
        let known = at.duration_since(self.clock.wall()).unwrap_or_default();
        let time = doubled
            .min(longest)
            .max(wished.max(known).min(LONGEST_RETRY_AFTER));
        control.failures_in_a_row += 1;
        self.remember(&mut control, error, now, time)
    }

    fn remember(&self, control: &mut Control, error: Error, now: Moment, time: Duration) -> Error {
        let error = match self.clock.wall().checked_add(time) {
            Some(at) => error.with_retry_at(at),
            None => error,
        };
        let until = now.after(time);
        self.refresh_at
            .store(until.as_nanoseconds(), Ordering::Relaxed);
        control.failure = Some(Failure {
            error: error.clone(),
            until,
        });
        error
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        registry::leave(self.id);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Slot");
        out.field("identity", &self.identity);
        out.field("generation", &self.generation);
        out.finish_non_exhaustive()
    }
}
