//! One spawned request, many waiters; re-elected if it dies.
//!
//! - A flight belongs to nobody who can be dropped: it runs as a task of its own, under its own
//!   deadline. Were it run in a caller's future, callers with 50 ms of patience and a server that
//!   needs 80 would never complete one.
//! - It keeps nobody alive either: when the last who could use its token is gone, it ends.
//! - The runtime is looked up when a flight starts, so a client outlives the runtime it was built on.
//! - A flight that ends without an outcome (a panic, an abort, its runtime gone) drops its sender;
//!   its waiters notice, and elect another.
//! - What it has to wait for before it may ask (another token, its turn) is not counted on its
//!   deadline, and has one of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::advice;
use crate::cache::attempts::{DEADLINE, attempts};
use crate::cache::breaker::Clearance;
use crate::cache::life::{InFlight, Takeoff};
use crate::cache::slot::{Errand, Slot, Snapshot};
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::token::AccessToken;

/// How long a flight waits for its turn. A thousand identities that start together, four at a time
/// with a server that needs 100 ms, are through in 25 s.
const TURN: Duration = Duration::from_secs(30);

/// How long after its deadline a flight is given up for lost: its runtime stands still.
const GRACE: Duration = Duration::from_secs(1);

/// What a flight brings: a token, or none where the token's life was over before it was here.
type Outcome = Result<Option<Arc<Snapshot>>>;

/// A flight as its waiters see it.
#[derive(Clone)]
pub(crate) struct Flight {
    outcome: watch::Receiver<Option<Outcome>>,
    overdue_at: Arc<Overdue>,
    task: AbortHandle,
}

/// When a flight is given up for lost, in nanoseconds: it moves on as the flight does.
struct Overdue(AtomicU64);

/// Sends a task for a slot's token.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that spawns, on the runtime it finds here and now"
)]
pub(crate) fn start(
    slot: Weak<Slot>,
    errand: Arc<Errand>,
    takeoff: Takeoff,
    now: Moment,
) -> Result<Flight> {
    let runtime = Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Runtime, "there is no tokio runtime here")
            .with_advice(&advice::NO_RUNTIME)
    })?;
    let (sender, receiver) = watch::channel(None);
    let overdue_at = Arc::new(Overdue(AtomicU64::new(0)));
    overdue_at.set(now, DEADLINE);
    let seen = Arc::clone(&overdue_at);
    let task = runtime.spawn(async move {
        let fetched = fly(&errand, takeoff, &seen).await;
        // Whoever could use it may be gone by now, and those who still wait may want another: the
        // channel closes without an outcome then.
        let landed = slot.upgrade().and_then(|slot| match fetched {
            Ok((token, asked)) => slot.publish(takeoff, token, asked).map(Ok),
            Err(error) => slot.fail(takeoff, error).map(Err),
        });
        if let Some(outcome) = landed {
            // Nobody may be waiting any more: the slot has it all the same.
            sender.send_replace(Some(outcome));
        }
    });
    Ok(Flight {
        outcome: receiver,
        overdue_at,
        task: task.abort_handle(),
    })
}

/// Waits for its turn, asks, and tells how it went.
async fn fly(
    errand: &Errand,
    takeoff: Takeoff,
    overdue_at: &Overdue,
) -> Result<(AccessToken, Moment)> {
    let clock = errand.clock();
    overdue_at.set(clock.now(), TURN);
    let clearance = timeout(TURN, turn(errand, takeoff))
        .await
        .unwrap_or_else(|_elapsed| {
            let message = "too many tokens are being fetched before this one";
            Err(Error::new(ErrorKind::Unavailable, message).with_advice(&advice::QUEUE))
        })?;
    overdue_at.set(clock.now(), DEADLINE);
    let mut last_error = None;
    let fetched = timeout(DEADLINE, fetch(errand, &mut last_error)).await;
    let fetched = fetched.unwrap_or_else(|_elapsed| {
        Err(last_error.unwrap_or_else(|| {
            Error::new(ErrorKind::Unreachable, "the token did not come in time")
                .with_advice(&advice::SILENCE)
        }))
    });
    clearance.landed(errand.token(), clock, fetched)
}

/// The parent's token, where this one is made of it, and then leave to ask for this one.
async fn turn(errand: &Errand, takeoff: Takeoff) -> Result<Clearance<'_>> {
    if let Some(parent) = errand.parent() {
        Arc::clone(parent).acquire().await?;
    }
    let revision = errand.source().revision();
    let breaker = errand.breaker();
    breaker
        .clear(errand.clock(), revision, takeoff.urgent)
        .await
}

/// Asks the source, again where that may help, and tells when the request left.
async fn fetch(errand: &Errand, last_error: &mut Option<Error>) -> Result<(AccessToken, Moment)> {
    let clock = errand.clock();
    let started = clock.now();
    attempts(clock, last_error, || async {
        let asked = clock.now();
        let token = errand.source().fetch(errand.request()).await?;
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

impl Flight {
    /// What the flight brought; none where it ended, or stands still, without an outcome.
    pub(crate) async fn outcome(mut self, clock: &AnyClock) -> Option<Outcome> {
        loop {
            let patience = clock.now().until(self.overdue_at.get());
            let landed = timeout(patience, self.outcome.wait_for(Option::is_some));
            let landed = landed
                .await
                .map(|landed| landed.ok().and_then(|seen| seen.clone()));
            match landed {
                Ok(outcome) => return outcome,
                // Its time may have been extended meanwhile.
                Err(_elapsed) if self.is_alive(clock.now()) => {}
                Err(_elapsed) => return None,
            }
        }
    }

    /// Waits until its task is gone, with an outcome or without.
    pub(crate) async fn gone(mut self) {
        let _ = timeout(GRACE, self.outcome.wait_for(Option::is_some)).await;
    }
}

impl InFlight for Flight {
    fn is_alive(&self, now: Moment) -> bool {
        // A closed channel that holds no outcome is a task that died.
        now < self.overdue_at.get() && self.outcome.has_changed().is_ok()
    }

    fn cancel(&self) {
        self.task.abort();
    }
}

impl Overdue {
    fn set(&self, now: Moment, time: Duration) {
        let moment = now.after(time).after(GRACE);
        self.0.store(moment.as_nanoseconds(), Ordering::Relaxed);
    }

    fn get(&self) -> Moment {
        Moment::from_nanoseconds(self.0.load(Ordering::Relaxed))
    }
}
