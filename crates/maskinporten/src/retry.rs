//! Retries within one fetch: exponential backoff with full jitter, bounded in number and time.

use std::time::Duration;

use crate::clock::{AnyClock, Moment};
use crate::error::{Error, Result};
use crate::{random, transport};

/// A fetch's whole time, all its attempts and pauses included. Waiting for its turn is not.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// One round trip's time, connection and body included.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a transient failure is tried in all, each time with a new assertion.
const ATTEMPTS: u32 = 3;

/// The longest pause after the first attempt; doubled after each. The pause is drawn from the whole
/// range below (full jitter), so that replicas that failed together do not come back together.
const PAUSE: Duration = Duration::from_millis(250);

/// What the range grows to, for a server that asks for fewer requests again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a server is borne with that asks one for fewer requests and serves others.
const BORNE_FOR: Duration = Duration::from_secs(20);

/// The attempts of one fetch.
#[derive(Debug)]
pub(crate) struct Attempts {
    ends_at: Moment,
    left: u32,
    longest_pause: Duration,
    /// Whether this attempt was made again because its kept connection was closed.
    is_repeated: bool,
    /// Until when a server that asks for fewer requests is borne with, and whether it was just now.
    borne_until: Option<Moment>,
    is_borne: bool,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The fetch has failed.
    Fail,
    /// The same attempt again, at once: the server is not at fault, it has closed an idle connection.
    Repeat,
    /// Another attempt, after a pause.
    After(Duration),
}

impl Attempts {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            ends_at: now.after(DEADLINE),
            left: ATTEMPTS,
            longest_pause: PAUSE,
            is_repeated: false,
            borne_until: None,
            is_borne: false,
        }
    }

    /// What is left of the fetch's time.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        now.until(self.ends_at)
    }

    /// Bears with a server that asks for fewer requests and serves others: neither attempts nor pauses are counted,
    /// for [`BORNE_FOR`] at most.
    pub(crate) fn bear(&mut self, now: Moment) {
        let until = *self.borne_until.get_or_insert(now.after(BORNE_FOR));
        self.is_borne = now < until;
        if self.is_borne {
            self.left = ATTEMPTS;
        }
    }

    /// Notes that a pause was made, and how long it took with waiting for a turn, which is not counted.
    pub(crate) fn paused(&mut self, pause: Duration, took: Duration) {
        let uncounted = if self.is_borne {
            took
        } else {
            took.saturating_sub(pause)
        };
        self.is_borne = false;
        self.ends_at = self.ends_at.after(uncounted);
    }

    /// Whether another attempt is made: as long as the failure is transient and not from memory, and there is time.
    pub(crate) fn next(&mut self, error: &Error, now: Moment) -> Next {
        if transport::is_hung_up(error) && !self.is_repeated {
            self.is_repeated = true;
            return Next::Repeat;
        }
        self.is_repeated = false;
        // An error that says when it will be tried again comes from memory.
        if !error.is_transient() || error.retry_at().is_some() {
            return Next::Fail;
        }
        self.left = self.left.saturating_sub(1);
        let pause = self.longest_pause.mul_f64(random::unit());
        let pause = pause.max(error.retry_after().unwrap_or_default());
        // One that wishes for a longer pause is left alone for that long: the failure says until when.
        let ends_at = match self.borne_until {
            Some(until) if self.is_borne => until,
            _ => self.ends_at,
        };
        let is_in_time = now.after(pause) < ends_at;
        if self.left == 0 || !is_in_time {
            return Next::Fail;
        }
        self.longest_pause = self.longest_pause.saturating_mul(2).min(LONGEST_PAUSE);
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
            Next::Repeat => {}
            Next::After(pause) => {
                *last_error = Some(error);
                tokio::time::sleep(pause).await;
            }
        }
    }
}
