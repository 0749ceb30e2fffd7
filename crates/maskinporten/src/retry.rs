//! Retries within one fetch: exponential backoff with full jitter, bounded in number and time.

use std::time::Duration;

use crate::clock::{AnyClock, Moment};
use crate::error::{Error, Result};
use crate::random;

/// A fetch's whole time, all its attempts and pauses included. Waiting for its turn is not.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// One round trip's time, connection and body included.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a transient failure is tried in all, each time with a new assertion.
const ATTEMPTS: u32 = 3;

/// The longest pause after the first attempt; doubled after each. The pause is drawn from the whole
/// range below (full jitter), so that replicas that failed together do not come back together.
const PAUSE: Duration = Duration::from_millis(250);

/// The attempts of one fetch.
#[derive(Debug)]
pub(crate) struct Attempts {
    ends_at: Moment,
    left: u32,
    longest_pause: Duration,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The fetch has failed.
    Fail,
    /// Another attempt, after a pause.
    After(Duration),
}

impl Attempts {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            ends_at: now.after(DEADLINE),
            left: ATTEMPTS,
            longest_pause: PAUSE,
        }
    }

    /// What is left of the fetch's time.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        now.until(self.ends_at)
    }

    /// Adds time that was spent waiting for a turn.
    pub(crate) fn extend(&mut self, time: Duration) {
        self.ends_at = self.ends_at.after(time);
    }

    /// Makes as many attempts possible as at the beginning, in the time that is left.
    pub(crate) fn renew(&mut self) {
        self.left = ATTEMPTS;
    }

    /// Whether another attempt is made: as long as the failure is transient and not from memory, and there is time.
    pub(crate) fn next(&mut self, error: &Error, now: Moment) -> Next {
        // An error that says when it will be tried again comes from memory.
        if !error.is_transient() || error.retry_at().is_some() {
            return Next::Fail;
        }
        self.left = self.left.saturating_sub(1);
        let pause = self.longest_pause.mul_f64(random::unit());
        let pause = pause.max(error.retry_after().unwrap_or_default());
        if self.left == 0 || now.after(pause) >= self.ends_at {
            return Next::Fail;
        }
        self.longest_pause = self.longest_pause.saturating_mul(2);
        tracing::debug!(target: "maskinporten::token", %error, ?pause, "trying again");
        Next::After(pause)
    }
}

/// Makes attempts until one succeeds or no other follows. The last failure is left in `last_error` during the
/// pauses, for a caller that cuts them short.
pub(crate) async fn attempts<T, F>(
    clock: &AnyClock,
    last_error: &mut Option<Error>,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempts = Attempts::new(clock.now());
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match attempts.next(&error, clock.now()) {
            Next::Fail => return Err(error),
            Next::After(pause) => {
                *last_error = Some(error);
                tokio::time::sleep(pause).await;
            }
        }
    }
}
