//! A fetch that has its permit: one task, its attempts, and what its limiter is told at the end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{Course, Fetch, GRACE, GoneOnPanic, LOOK_AFTER, Landing, Permit, Turn};
use crate::advice;
use crate::advice::About;
use crate::cache::entry::state::InFlight as _;
use crate::cache::limiter::{self, Outcome};
use crate::cache::trail;
use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Attempts, DEADLINE, Next};
use crate::token::AccessToken;

impl Fetch {
    /// Spawns its task.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that spawns, on the runtime of who asked"
    )]
    pub(super) fn start(self, permit: Permit) {
        let _guard = GoneOnPanic(&self);
        let now = self.clock().now();
        let queued_at = Moment::from_nanoseconds(self.0.queued_at.load(Ordering::Relaxed));
        self.0.errand.tally.waited(queued_at.until(now));
        self.hold(permit, now);
        // After the lease has begun: from now on those who wait look after that.
        self.0.is_running.store(true, Ordering::SeqCst);
        let ends = EndsFetch(self.clone());
        let task = self.0.runtime.spawn(run(ends));
        *self.0.task.lock() = Some(task.abort_handle());
        // What cancelled it before this found no task to abort.
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            self.abort();
        }
    }

    /// Takes a permit, with which it runs until the lease is over.
    fn hold(&self, permit: Permit, now: Moment) {
        *self.0.place.lock() = None;
        self.0
            .flight
            .lease()
            .renew(now.after(DEADLINE).after(GRACE));
        let before = self.0.permit.lock().replace(Arc::new(permit));
        drop(before);
    }

    fn permit(&self) -> Option<Arc<Permit>> {
        self.0.permit.lock().clone()
    }

    pub(super) fn give_permit_back(&self) {
        let permit = self.0.permit.lock().take();
        if let Some(permit) = permit {
            permit.give_back();
        }
    }

    /// Gives its permit back for a pause, and waits for another one. False where it gets none.
    async fn pause(&self, pause: Duration) -> bool {
        let errand = &self.0.errand;
        // It counts as lost if it has not gone on when a caller would have lost patience.
        let longest = pause + errand.patience + DEADLINE + GRACE;
        let lease = self.0.flight.lease();
        lease.renew(self.clock().now().after(longest));
        self.give_permit_back();
        tokio::time::sleep(pause).await;
        let (sender, turn) = oneshot::channel();
        let entrance = self.entrance(self.0.number.load(Ordering::Relaxed));
        self.limiter()
            .enter(&errand.member, entrance, Turn::Resume(self.clone(), sender));
        match self.turn(turn).await {
            Ok(permit) => {
                self.hold(permit, self.clock().now());
                true
            }
            Err(_refused) => false,
        }
    }

    /// Waits for a permit, and does what is due meanwhile: those who wait for this fetch wait for its end.
    async fn turn(
        &self,
        turn: oneshot::Receiver<Permit>,
    ) -> Result<Permit, oneshot::error::RecvError> {
        let mut turn = pin!(turn);
        loop {
            let mut nudged = pin!(self.0.nudged.notified());
            nudged.as_mut().enable();
            let now = self.clock().now();
            let looks_at = now.after(LOOK_AFTER);
            let wakes_at = self
                .limiter()
                .wakes_at()
                .map_or(looks_at, |at| at.min(looks_at));
            let woken = poll_fn(|cx| match turn.as_mut().poll(cx) {
                Poll::Ready(granted) => Poll::Ready(Some(granted)),
                Poll::Pending => nudged.as_mut().poll(cx).map(|()| None),
            });
            match timeout(now.until(wakes_at), woken).await {
                Ok(Some(granted)) => return granted,
                Ok(None) => {}
                Err(_elapsed) => self.limiter().look(),
            }
        }
    }

    /// Asks, again where that may help, and notes when the request left.
    async fn ask(&self) -> Result<(AccessToken, Moment)> {
        let Course { errand, parent, .. } = &*self.0;
        let clock = &errand.clock;
        let parent = parent.lock().clone();
        let mut attempts = Attempts::new(clock.now());
        let mut last_error = None;
        loop {
            let began = clock.now();
            let request = errand.tally.request(clock);
            let asked = request.began();
            let attempt = timeout(attempts.left(began), errand.fetch(parent.as_ref()));
            let outcome = match self.unless_recovered(attempt).await {
                Some(Ok(outcome)) => outcome,
                Some(Err(_elapsed)) => return Err(last_error.unwrap_or_else(too_late)),
                None => continue,
            };
            request.ended(outcome.as_ref());
            let error = match outcome {
                Ok(token) => {
                    tracing::debug!(
                        target: "maskinporten::token",
                        lifetime_s = token.lifetime().as_secs(),
                        took_ms = began.until(clock.now()).as_millis(),
                        "token fetched"
                    );
                    return Ok((token, asked));
                }
                Err(error) => error,
            };
            let permit = self.permit();
            let permit = permit.as_deref();
            if error.is_throttled() {
                if let Some(permit) = permit {
                    permit.throttle();
                }
                // A server that serves others will serve this one too, when its turn comes.
                let served_at = self.limiter().served_at();
                if served_at.is_some_and(|at| clock.now() < at.after(DEADLINE)) {
                    attempts.bear(clock.now());
                }
            }
            let next = attempts.next(&error, clock.now());
            // A probe is one attempt, and where the circuit is open another one is none of this fetch's business.
            let is_last = permit.is_none_or(|permit| permit.is_probe() || permit.is_refused());
            match next {
                Next::Repeat => {}
                Next::Fail => return Err(error),
                Next::After(_) if is_last => return Err(error),
                Next::After(pause) if error.is_throttled() => {
                    let paused_at = clock.now();
                    if !self.pause(pause).await {
                        return Err(error);
                    }
                    attempts.paused(pause, paused_at.until(clock.now()));
                    last_error = Some(error);
                }
                Next::After(pause) => {
                    tokio::time::sleep(pause).await;
                    last_error = Some(error);
                }
            }
        }
    }

    /// Waits for an attempt. A probe gives its own up where another one has closed the circuit meanwhile: it may have
    /// gone to a server that is no more.
    async fn unless_recovered<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let Some(probe) = self.permit().filter(|permit| permit.is_probe()) else {
            return Some(attempt.await);
        };
        let mut attempt = pin!(attempt);
        let was_refused = probe.is_refused();
        loop {
            let mut nudged = pin!(self.0.nudged.notified());
            nudged.as_mut().enable();
            if was_refused && !probe.is_refused() {
                return None;
            }
            let woken = poll_fn(|cx| match attempt.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => nudged.as_mut().poll(cx).map(|()| None),
            });
            if let Some(done) = woken.await {
                return Some(done);
            }
        }
    }

    /// Gives the permit back with what its limiter is to know. Gives until when the tenant may not fetch.
    fn finish(&self, fetched: &Result<(AccessToken, Moment)>) -> Option<Moment> {
        let permit = self.0.permit.lock().take()?;
        let finished = permit.finish(outcome(fetched))?;
        if let (Some(_), Err(error)) = (finished.opened, fetched) {
            self.0.errand.log_opened(error);
        }
        finished.refused_until
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::Unreachable, "the token did not come in time")
        .with_advice(&advice::SILENCE)
}

/// What a limiter is to know of the end of a fetch.
fn outcome(fetched: &Result<(AccessToken, Moment)>) -> Outcome<Error> {
    let error = match fetched {
        Ok(_) => return Outcome::Served,
        Err(error) => error,
    };
    // What is remembered was not asked, and what stops here says nothing about a server.
    if error.retry_at().is_some() || matches!(error.kind(), ErrorKind::Runtime | ErrorKind::Closed)
    {
        return Outcome::Unknown;
    }
    match error.about() {
        _ if error.is_throttled() => Outcome::Unknown,
        About::Server => Outcome::Failed(limiter::About::Server, error.of_others()),
        About::Credentials => Outcome::Failed(limiter::About::Credentials, error.of_others()),
        About::Request => Outcome::Answered,
    }
}

/// Held by a fetch's task, and dropped with it, whether it has begun or not.
struct EndsFetch(Fetch);

impl Drop for EndsFetch {
    fn drop(&mut self) {
        self.0.0.trail.end();
        self.0.give_permit_back();
        self.0.land(Landing::Gone);
    }
}

/// A fetch's task.
async fn run(ends: EndsFetch) {
    let fetch = &ends.0;
    let Course {
        entry,
        errand,
        takeoff,
        trail,
        is_cancelled,
        ..
    } = &*fetch.0;
    // It may have been cancelled before it was spawned.
    if is_cancelled.load(Ordering::Relaxed) {
        return;
    }
    // Made here, where no lock is held: a subscriber is foreign code.
    let span = trail::span(errand, *takeoff);
    trail.begin(&span);
    let running = async {
        if takeoff.renews() {
            tracing::debug!(
                target: "maskinporten::token",
                authority = errand.tally.kind().authority(),
                "the token is renewed ahead of its end"
            );
        }
        let fetched = fetch.ask().await;
        trail::record(&fetched);
        let refused_until = fetch.finish(&fetched);
        match fetched {
            // Where its entry is gone, or the fetch was declared void, it lands without an outcome when the task
            // ends.
            Ok((token, asked)) => {
                let published = entry
                    .upgrade()
                    .and_then(|entry| entry.publish(*takeoff, token, asked));
                if let Some(published) = published {
                    fetch.land(published.map_or(Landing::Outlived, Landing::Token));
                }
                errand.tally.landed();
            }
            Err(error) => fetch.fail(error, refused_until),
        }
    };
    running.instrument(span).await;
}
