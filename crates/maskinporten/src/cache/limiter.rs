//! Who may ask a server now: at most four flights at once, and nobody but a probe while it fails.
//!
//! - Each client has one for its authority and one for its Altinn, so that Altinn's outage is not
//!   Maskinporten's.
//! - It opens when flights of four different tokens fail without a success between them, for reasons
//!   that are not about one token alone. Those who come then are refused at once, with that reason,
//!   until a pause is over; one flight then probes, and what it brings decides for all who wait.
//! - Whoever held a good token until now, and meets the open breaker with its end, waits for the next
//!   probe instead: an outage that was over before the token ended costs it nothing.
//! - A place is leased and not held: a flight whose runtime stands still loses it with its deadline.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::cache::backoff;
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::quiet::Quiet;
use crate::random;

/// How many flights are in the air at once.
const FLIGHTS: usize = 4;

/// Of how many tokens the flights fail in a row before it opens: one bad request is nobody else's
/// trouble.
const FAILURES: usize = 4;

/// The longest pause between two probes of a server that does not answer. Shorter than a single
/// token's, for it is shared by all who wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often those in line look by themselves: the one who was told of a free place may be on a
/// runtime that stands still.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Decides who flies.
#[derive(Default)]
pub(crate) struct Breaker {
    // Taken for a few reads and writes by functions that are not async, so never across an await. Clocks are
    // read before it is taken, and errors that it holds no longer are dropped after it.
    book: Mutex<Book>,
    /// Told of each place that becomes free. The line is not strictly kept: who comes when a place is
    /// free takes it.
    freed: Notify,
    told: Quiet,
}

#[derive(Debug, Default)]
struct Book {
    state: State,
    leases: Vec<Lease>,
    last_lease: u64,
    /// What the source was when it was last asked: another one starts with a clean slate.
    revision: u64,
}

#[derive(Debug)]
enum State {
    /// With the tokens whose flights have failed since the last success.
    Closed(Vec<u64>),
    Open {
        until: Moment,
        error: Error,
        pauses: u32,
        probe: Option<u64>,
    },
}

#[derive(Debug)]
struct Lease {
    number: u64,
    lost_at: Moment,
}

/// Leave to fly, until it is dropped or given back.
#[derive(Debug)]
pub(crate) struct Clearance {
    breaker: Arc<Breaker>,
    /// The lease's number; none once it was given back.
    lease: AtomicU64,
}

/// No lease has this number.
const NONE: u64 = 0;

/// What the book says to somebody who wants to fly.
enum Word {
    Fly(u64),
    /// Until then, or until a place is free.
    Wait(Duration),
    /// For the probe after a pause that ends then.
    WaitForProbe(Moment),
}

impl Breaker {
    /// Waits in line for leave to fly for `time`. Dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// Why the server is left alone now, with when it will be asked again. The urgent wait for the next
    /// probe, where it is not long, and then hear the same.
    pub(crate) async fn clear(
        self: &Arc<Self>,
        clock: &AnyClock,
        revision: u64,
        urgent: bool,
        time: Duration,
    ) -> Result<Clearance> {
        let before = self.book.lock().follow(revision);
        drop(before);
        // The end of the pause that an urgent one waits for: another one is a probe that failed.
        let mut waits_for = None;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on it is told, so that no place is freed between the look and the wait.
            freed.as_mut().enable();
            let now = clock.now();
            let word = self.book.lock().word(now, time, urgent, waits_for)?;
            let patience = match word {
                Word::Fly(lease) => {
                    return Ok(Clearance {
                        breaker: Arc::clone(self),
                        lease: AtomicU64::new(lease),
                    });
                }
                Word::Wait(patience) => patience.min(LOOK_AFTER),
                Word::WaitForProbe(until) => {
                    waits_for = Some(until);
                    now.until(until)
                }
            };
            let _ = timeout(patience, freed).await;
        }
    }

    /// Forgets what has failed: whoever asks next may succeed.
    pub(crate) fn reset(&self) {
        let before = std::mem::take(&mut self.book.lock().state);
        drop(before);
        self.freed.notify_waiters();
    }

    fn give_back(&self, lease: u64) {
        let was_probe = self.book.lock().give_back(lease);
        match was_probe {
            // All of them may go now, or none.
            true => self.freed.notify_waiters(),
            false => self.freed.notify_one(),
        }
    }
}

// ===== impl Book =====

impl Book {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Forgets what another source has failed with. Gives the state before.
    fn follow(&mut self, revision: u64) -> Option<State> {
        let is_another = self.revision != revision;
        self.revision = revision;
        is_another.then(|| std::mem::take(&mut self.state))
    }

    fn word(
        &mut self,
        now: Moment,
        time: Duration,
        urgent: bool,
        waits_for: Option<Moment>,
    ) -> Result<Word> {
        while let Some(lost) = self.leases.iter().find(|lease| now >= lease.lost_at) {
            self.give_back(lost.number);
        }
        let next_lost = self.leases.iter().map(|lease| lease.lost_at).min();
        let patience = next_lost.map_or(LOOK_AFTER, |moment| now.until(moment));
        match &mut self.state {
            State::Open { probe: Some(_), .. } => Ok(Word::Wait(patience)),
            State::Open { until, error, .. } if now < *until => {
                let next = waits_for.is_none() && now.until(*until) <= LONGEST_PAUSE;
                match urgent && (next || waits_for == Some(*until)) {
                    true => Ok(Word::WaitForProbe(*until)),
                    false => Err(error.clone()),
                }
            }
            _ if self.leases.len() >= FLIGHTS => Ok(Word::Wait(patience)),
            state => {
                self.last_lease += 1;
                let number = self.last_lease;
                if let State::Open { probe, .. } = state {
                    *probe = Some(number);
                }
                let lost_at = now.after(time);
                self.leases.push(Lease { number, lost_at });
                Ok(Word::Fly(number))
            }
        }
    }

    /// Tells whether it was the probe's.
    fn give_back(&mut self, lease: u64) -> bool {
        self.leases.retain(|held| held.number != lease);
        match &mut self.state {
            State::Open { probe, .. } if *probe == Some(lease) => {
                *probe = None;
                true
            }
            _ => false,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(Vec::new())
    }
}

// ===== impl Clearance =====

impl Clearance {
    /// Gives the place to the next, whatever becomes of the flight.
    pub(crate) fn give_back(&self) {
        match self.lease.swap(NONE, Ordering::Relaxed) {
            NONE => {}
            lease => self.breaker.give_back(lease),
        }
    }

    /// Tells how the flight of a token ended. Gives the outcome as the token is to remember it: a
    /// failure as long as nobody may fly.
    pub(crate) fn landed<T>(&self, token: u64, clock: &AnyClock, outcome: Result<T>) -> Result<T> {
        let at = Landing {
            token,
            lease: self.lease.load(Ordering::Relaxed),
            now: clock.now(),
            wall: clock.wall(),
            chance: random::unit(),
        };
        let (was_open, noted) = {
            let mut book = self.breaker.book.lock();
            (book.is_open(), book.note(at, outcome))
        };
        let Noted {
            outcome,
            opened,
            before,
        } = noted;
        drop(before);
        self.give_back();
        if was_open || opened.is_some() {
            // Whoever is in line hears of it now: that all may go, or that none may.
            self.breaker.freed.notify_waiters();
        }
        if let Some((error, pause)) = opened
            && let Some(suppressed) = self.breaker.told.may_tell(at.now)
        {
            tracing::warn!(
                target: "maskinporten::token",
                %error,
                code = error.code(),
                hint = error.hint(),
                pause_ms = pause.as_millis(),
                suppressed,
                "tokens are not fetched for a while: one after another has failed"
            );
        }
        outcome
    }
}

/// The end of a flight, with all that is read of clocks and chance.
#[derive(Clone, Copy)]
struct Landing {
    token: u64,
    lease: u64,
    now: Moment,
    wall: SystemTime,
    chance: f64,
}

/// What comes of the end of a flight.
struct Noted<T> {
    /// As the token is to remember it.
    outcome: Result<T>,
    /// The error that others are given from now on, and the pause until the next probe, where it has just
    /// opened.
    opened: Option<(Error, Duration)>,
    /// The state before, where it is another now.
    before: Option<State>,
}

impl<T> Noted<T> {
    /// The state stays as it is.
    fn unchanged(outcome: Result<T>) -> Self {
        Self {
            outcome,
            opened: None,
            before: None,
        }
    }
}

impl Book {
    /// Notes how a flight ended.
    fn note<T>(&mut self, at: Landing, outcome: Result<T>) -> Noted<T> {
        let failure = match outcome {
            // Whoever remembered it was not asked, so nothing is known that was not before.
            Err(error) if error.retry_at().is_some() => return Noted::unchanged(Err(error)),
            Err(error) if concerns_everybody(&error) => error,
            // A server that refuses one token's request is there, and knows the client.
            answered => {
                return Noted {
                    outcome: answered,
                    opened: None,
                    before: Some(std::mem::take(&mut self.state)),
                };
            }
        };
        let pauses = match &mut self.state {
            State::Closed(failed) => {
                if !failed.contains(&at.token) {
                    failed.push(at.token);
                }
                if failed.len() < FAILURES {
                    return Noted::unchanged(Err(failure));
                }
                0
            }
            State::Open { pauses, probe, .. } if *probe == Some(at.lease) => {
                pauses.saturating_add(1)
            }
            // It took off before the breaker opened, and says nothing new.
            State::Open { error, .. } => {
                return Noted::unchanged(Err(failure.remembered_like(error)));
            }
        };
        // A refusal of the client itself is remembered for longer; Altinn's may be about each token.
        let bounded = failure.kind() == ErrorKind::Exchange || failure.is_transient();
        let longest = bounded.then_some(LONGEST_PAUSE);
        let pause = backoff::pause(&failure, pauses, longest, at.wall, at.chance).time;
        let failure = match at.wall.checked_add(pause) {
            Some(at) => failure.with_retry_at(at),
            None => failure,
        };
        let error = failure.of_others();
        let open = State::Open {
            until: at.now.after(pause),
            error: error.clone(),
            pauses,
            probe: None,
        };
        Noted {
            outcome: Err(failure),
            opened: Some((error, pause)),
            before: Some(std::mem::replace(&mut self.state, open)),
        }
    }
}

impl Drop for Clearance {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it is printed to, and what its error holds, is foreign code: its lock is not taken.
        f.debug_struct("Breaker").finish_non_exhaustive()
    }
}

/// Whether a failure says something about the server or the client, and not about one token's request.
fn concerns_everybody(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::ScopeRejected | ErrorKind::OrganisationRejected | ErrorKind::Request
    )
}
