//! Who may ask a server now: at most four flights at once, and nobody but a probe while it fails.
//!
//! - Each client has one for its authority and one for its Altinn, so that Altinn's outage is not
//!   Maskinporten's.
//! - It opens when flights of four different tokens fail without a success between them, for reasons
//!   that are not about one token alone. Those who come then are refused at once, with that reason,
//!   until a pause is over; one flight then probes, and what it brings decides for all who wait.
//! - Whoever held a good token until now, and meets the open breaker with its end, waits for the next
//!   probe instead: an outage that was over before the token ended costs it nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};

use crate::cache::backoff;
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// How many flights are in the air at once.
pub(crate) const FLIGHTS: usize = 4;

/// Of how many tokens the flights fail in a row before it opens: one bad request is nobody else's
/// trouble.
const FAILURES: usize = 4;

/// The longest pause between two probes of a server that does not answer. Shorter than a single
/// token's, for it is shared by all who wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Decides who flies.
#[derive(Debug)]
pub(crate) struct Breaker {
    flights: Semaphore,
    // Held by a probe while it flies, so that those who come meanwhile learn what it brought.
    probe: tokio::sync::Mutex<()>,
    // Taken for a few reads and writes, never across an await.
    state: Mutex<State>,
    /// What the source was when it was last asked: another one starts with a clean slate.
    revision: AtomicU64,
}

#[derive(Debug)]
enum State {
    /// With the tokens whose flights have failed since the last success.
    Closed(Vec<u64>),
    Open {
        until: Moment,
        error: Error,
        pauses: u32,
    },
}

/// Leave to fly. Dropped without a word, it changes nothing but to let the next one in.
#[derive(Debug)]
pub(crate) struct Clearance<'a> {
    breaker: &'a Breaker,
    _flight: SemaphorePermit<'a>,
    probe: Option<MutexGuard<'a, ()>>,
}

/// What the state says to somebody who wants to fly.
enum Word {
    Fly,
    Probe,
    Wait(Duration),
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            flights: Semaphore::new(FLIGHTS),
            probe: tokio::sync::Mutex::default(),
            state: Mutex::new(State::Closed(Vec::new())),
            revision: AtomicU64::new(0),
        }
    }
}

impl Breaker {
    /// Waits in line for leave to fly. Dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// Why the server is left alone now, with when it will be asked again; not for the urgent, who wait
    /// until then.
    pub(crate) async fn clear(
        &self,
        clock: &AnyClock,
        revision: u64,
        urgent: bool,
    ) -> Result<Clearance<'_>> {
        if self.revision.swap(revision, Ordering::Relaxed) != revision {
            self.reset();
        }
        loop {
            // Before the line too: those who are refused do not wait, and those who wait hold no place.
            if let Word::Wait(pause) = self.word(clock, urgent)? {
                tokio::time::sleep(pause).await;
                continue;
            }
            let Ok(flight) = self.flights.acquire().await else {
                // It is never closed.
                return Err(Error::new(
                    ErrorKind::Closed,
                    "no token is fetched any more",
                ));
            };
            if let Word::Fly = self.word(clock, urgent)? {
                return Ok(self.clearance(flight, None));
            }
            let probe = self.probe.lock().await;
            match self.word(clock, urgent)? {
                Word::Fly => return Ok(self.clearance(flight, None)),
                Word::Probe => return Ok(self.clearance(flight, Some(probe))),
                Word::Wait(_) => {}
            }
        }
    }

    fn clearance<'a>(
        &'a self,
        flight: SemaphorePermit<'a>,
        probe: Option<MutexGuard<'a, ()>>,
    ) -> Clearance<'a> {
        Clearance {
            breaker: self,
            _flight: flight,
            probe,
        }
    }

    fn word(&self, clock: &AnyClock, urgent: bool) -> Result<Word> {
        match &*self.state.lock() {
            State::Closed(_) => Ok(Word::Fly),
            State::Open { until, error, .. } => match clock.now().until(*until) {
                Duration::ZERO => Ok(Word::Probe),
                left if urgent => Ok(Word::Wait(left)),
                _ => Err(error.clone()),
            },
        }
    }

    /// Forgets what has failed: whoever asks next may succeed.
    pub(crate) fn reset(&self) {
        *self.state.lock() = State::Closed(Vec::new());
    }
}

impl Clearance<'_> {
    /// Tells how the flight of a token ended. Gives the outcome as the token is to remember it: a
    /// failure as long as nobody may fly.
    pub(crate) fn landed<T>(self, token: u64, clock: &AnyClock, outcome: Result<T>) -> Result<T> {
        let mut state = self.breaker.state.lock();
        let failure = match outcome {
            // Whoever remembered it was not asked, so nothing is known that was not before.
            Err(error) if error.retry_at().is_some() => return Err(error),
            Err(error) if concerns_everybody(&error) => error,
            // A server that refuses one token's request is there, and knows the client.
            answered => {
                *state = State::Closed(Vec::new());
                return answered;
            }
        };
        let pauses = match &mut *state {
            State::Closed(failed) => {
                if !failed.contains(&token) {
                    failed.push(token);
                }
                if failed.len() < FAILURES {
                    return Err(failure);
                }
                0
            }
            State::Open { pauses, .. } if self.probe.is_some() => pauses.saturating_add(1),
            // It took off before the breaker opened, and says nothing new.
            State::Open { error, .. } => return Err(failure.remembered_like(error)),
        };
        let (now, wall, chance) = (clock.now(), clock.wall(), random::unit());
        let pause = backoff::pause(&failure, pauses, Some(LONGEST_PAUSE), wall, chance).time;
        let failure = match wall.checked_add(pause) {
            Some(at) => failure.with_retry_at(at),
            None => failure,
        };
        let error = failure.of_others();
        tracing::warn!(
            target: "maskinporten::token",
            %error,
            pause_ms = pause.as_millis(),
            "tokens are not fetched for a while: one after another has failed"
        );
        *state = State::Open {
            until: now.after(pause),
            error,
            pauses,
        };
        Err(failure)
    }
}

/// Whether a failure says something about the server or the client, and not about one token's request.
fn concerns_everybody(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::ScopeRejected | ErrorKind::OrganisationRejected | ErrorKind::Request
    )
}
