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

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    // Taken for a few reads and writes, never across an await.
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
        self.book.lock().follow(revision);
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
        self.book.lock().state = State::default();
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

    fn follow(&mut self, revision: u64) {
        if self.revision != revision {
            self.revision = revision;
            self.state = State::default();
        }
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
        let mut opened = None;
        let was_open = self.breaker.book.lock().is_open();
        let outcome = self.note(token, clock, outcome, &mut opened);
        self.give_back();
        if was_open || opened.is_some() {
            // Whoever is in line hears of it now: that all may go, or that none may.
            self.breaker.freed.notify_waiters();
        }
        if let Some((error, pause)) = opened
            && let Some(suppressed) = self.breaker.told.may_tell(clock.now())
        {
            // Under no lock: a subscriber is somebody else's code.
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

    fn note<T>(
        &self,
        token: u64,
        clock: &AnyClock,
        outcome: Result<T>,
        opened: &mut Option<(Error, Duration)>,
    ) -> Result<T> {
        let mut book = self.breaker.book.lock();
        let failure = match outcome {
            // Whoever remembered it was not asked, so nothing is known that was not before.
            Err(error) if error.retry_at().is_some() => return Err(error),
            Err(error) if concerns_everybody(&error) => error,
            // A server that refuses one token's request is there, and knows the client.
            answered => {
                book.state = State::default();
                return answered;
            }
        };
        let lease = self.lease.load(Ordering::Relaxed);
        let pauses = match &mut book.state {
            State::Closed(failed) => {
                if !failed.contains(&token) {
                    failed.push(token);
                }
                if failed.len() < FAILURES {
                    return Err(failure);
                }
                0
            }
            State::Open { pauses, probe, .. } if *probe == Some(lease) => pauses.saturating_add(1),
            // It took off before the breaker opened, and says nothing new.
            State::Open { error, .. } => return Err(failure.remembered_like(error)),
        };
        let (now, wall, chance) = (clock.now(), clock.wall(), random::unit());
        // A refusal of the client itself is remembered for longer; Altinn's may be about each token.
        let bounded = failure.kind() == ErrorKind::Exchange || failure.is_transient();
        let longest = bounded.then_some(LONGEST_PAUSE);
        let pause = backoff::pause(&failure, pauses, longest, wall, chance).time;
        let failure = match wall.checked_add(pause) {
            Some(at) => failure.with_retry_at(at),
            None => failure,
        };
        let error = failure.of_others();
        *opened = Some((error.clone(), pause));
        book.state = State::Open {
            until: now.after(pause),
            error,
            pauses,
            probe: None,
        };
        Err(failure)
    }
}

impl Drop for Clearance {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Whether a failure says something about the server or the client, and not about one token's request.
fn concerns_everybody(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::ScopeRejected | ErrorKind::OrganisationRejected | ErrorKind::Request
    )
}
