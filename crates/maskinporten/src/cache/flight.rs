//! One spawned request, many waiters; re-elected if it dies.
//!
//! - A flight belongs to nobody who can be dropped: it runs as a task of its own, under its own
//!   deadline. Were it run in a caller's future, callers with 50 ms of patience and a server that
//!   needs 80 would never complete one.
//! - The runtime is looked up when a flight starts, so a client outlives the runtime it was built on.
//! - A flight that ends without an outcome (a panic, an abort, its runtime gone) drops its sender;
//!   its waiters notice, and elect another.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::advice;
use crate::cache::slot::{Slot, Snapshot};
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::token::AccessToken;

/// A flight's whole time, all its attempts and pauses included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// One round trip's time, connection and body included.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a transient failure is tried in all, each time with a new assertion.
const ATTEMPTS: u32 = 3;

/// The longest pause after the first attempt; doubled after each. The pause is drawn from the whole
/// range below (full jitter), so that replicas that failed together do not come back together.
const PAUSE: Duration = Duration::from_millis(250);

/// How long after its deadline a flight is given up for lost: its runtime stands still.
const GRACE: Duration = Duration::from_secs(1);

type Outcome = Result<Arc<Snapshot>>;

/// A flight as its waiters see it.
#[derive(Clone)]
pub(crate) struct Flight {
    outcome: watch::Receiver<Option<Outcome>>,
    overdue_at: Moment,
}

/// Sends a task for the slot's token.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that spawns, on the runtime it finds here and now"
)]
pub(crate) fn start(slot: Arc<Slot>, now: Moment) -> Result<Flight> {
    let runtime = Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Runtime, "there is no tokio runtime here")
            .with_advice(&advice::NO_RUNTIME)
    })?;
    let (sender, receiver) = watch::channel(None);
    runtime.spawn(async move {
        let outcome = fly(&slot).await;
        // Nobody may be waiting any more: the slot has it all the same.
        sender.send_replace(Some(outcome));
    });
    Ok(Flight {
        outcome: receiver,
        overdue_at: now.after(DEADLINE).after(GRACE),
    })
}

async fn fly(slot: &Slot) -> Outcome {
    let mut last_error = None;
    let fetched = tokio::time::timeout(DEADLINE, fetch(slot, &mut last_error)).await;
    match fetched {
        Ok(Ok((token, asked))) => Ok(slot.publish(token, asked)),
        Ok(Err(error)) => Err(slot.fail(error)),
        Err(_) => Err(slot.fail(last_error.unwrap_or_else(|| {
            Error::new(ErrorKind::Unreachable, "the token did not come in time")
                .with_advice(&advice::SILENCE)
        }))),
    }
}

/// Asks the slot's source, again where that may help, and tells when the request left.
async fn fetch(slot: &Slot, last_error: &mut Option<Error>) -> Result<(AccessToken, Moment)> {
    let clock = slot.clock();
    let started = clock.now();
    attempts(clock, last_error, || async {
        let asked = clock.now();
        let token = slot.source().fetch(&slot.identity().request).await?;
        tracing::debug!(
            target: "maskinporten::token",
            lifetime_s = token.lifetime().as_secs(),
            took_ms = started.until(clock.now()).as_millis(),
            "token fetched"
        );
        Ok((token, asked))
    })
    .await
}

/// Tries what may fail for a while: at most [`ATTEMPTS`] times, as long as the failure is transient
/// and nobody has already tried it to the end. The last failure is left in `last_error` during the
/// pauses, for whoever cuts them short.
pub(crate) async fn attempts<T, F>(
    clock: &AnyClock,
    last_error: &mut Option<Error>,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = clock.now().after(DEADLINE);
    let mut longest = PAUSE;
    for _ in 1..ATTEMPTS {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        // An error that says when it will be tried again comes from somebody's memory.
        if !error.is_transient() || error.retry_at().is_some() {
            return Err(error);
        }
        let pause = longest.mul_f64(random::unit());
        let pause = pause.max(error.retry_after().unwrap_or_default());
        if clock.now().after(pause) >= deadline {
            return Err(error);
        }
        tracing::debug!(target: "maskinporten::token", %error, ?pause, "trying again");
        *last_error = Some(error);
        tokio::time::sleep(pause).await;
        longest = longest.saturating_mul(2);
    }
    attempt().await
}

impl Flight {
    /// What the flight brought; none where it ended, or stands still, without an outcome.
    pub(crate) async fn outcome(mut self, clock: &AnyClock) -> Option<Outcome> {
        let patience = clock.now().until(self.overdue_at);
        let landed = pin!(self.outcome.wait_for(Option::is_some));
        match tokio::time::timeout(patience, landed).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Whether an outcome can still come.
    pub(crate) fn is_alive(&self, now: Moment) -> bool {
        // A closed channel that holds no outcome is a task that died.
        now < self.overdue_at && self.outcome.has_changed().is_ok()
    }

    pub(crate) fn overdue_at(&self) -> Moment {
        self.overdue_at
    }
}
