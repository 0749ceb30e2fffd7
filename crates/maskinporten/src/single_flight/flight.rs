//! Single flight and its lease. A model checker explores this file.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::sync::{AnyClock, AtomicU64, Notify, OnceLock, Ordering, sleep_until};
use crate::clock::Moment;

/// One run and its outcome.
pub(crate) struct SingleFlight<T> {
    outcome: OnceLock<T>,
    /// Wakes the waiters in the order they came. A `watch` channel of tokio's keeps several queues: of ten
    /// thousand waiters some of the first were served among the last.
    landed: Notify,
    lease: Lease,
}

/// When a run counts as lost, in nanoseconds of the monotonic clock. It is renewed as the run moves on.
pub(crate) struct Lease {
    ends: AtomicU64,
    /// Wakes those who wait under an unlimited lease, and so without a timer, when it gets an end.
    limited: Notify,
}

/// The end of a lease that has no end.
const UNLIMITED: Moment = Moment::from_nanoseconds(u64::MAX);

impl<T: Clone> SingleFlight<T> {
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            outcome: OnceLock::new(),
            landed: Notify::new(),
            lease,
        }
    }

    /// Lands the run and wakes its waiters. False where it had landed: the first landing counts.
    pub(crate) fn land(&self, outcome: T) -> bool {
        let is_first = self.outcome.set(outcome).is_ok();
        if is_first {
            self.landed.notify_waiters();
        }
        is_first
    }

    pub(crate) fn outcome(&self) -> Option<T> {
        self.outcome.get().cloned()
    }

    /// Whether an outcome can still come: the run has not landed, and its lease is not over.
    pub(crate) fn is_alive(&self, now: Moment) -> bool {
        !self.lease.is_over(now) && self.outcome.get().is_none()
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Waits for the outcome, however long that takes.
    pub(crate) async fn ended(&self) -> T {
        loop {
            // Made before the look: a landing after it wakes this waiter.
            let landed = self.landed.notified();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            landed.await;
        }
    }

    /// Waits for the outcome until the lease is over. Called where tokio's timer is.
    pub(crate) async fn wait(&self, clock: &AnyClock) -> Option<T> {
        // Both are kept until one is done: a renewal does not cost a waiter its place in the queue.
        let mut ended = pin!(self.ended());
        let mut over = pin!(self.lease.over(clock));
        poll_fn(|context| match ended.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            // It may have landed this moment.
            Poll::Pending => over.as_mut().poll(context).map(|()| self.outcome()),
        })
        .await
    }
}

// ===== impl Lease =====

impl Lease {
    pub(crate) fn unlimited() -> Self {
        Self::until(UNLIMITED)
    }

    pub(crate) fn until(end: Moment) -> Self {
        Self {
            ends: AtomicU64::new(end.as_nanoseconds()),
            limited: Notify::new(),
        }
    }

    /// Moves its end.
    pub(crate) fn renew(&self, end: Moment) {
        let before = self.ends.swap(end.as_nanoseconds(), Ordering::Relaxed);
        if Moment::from_nanoseconds(before) == UNLIMITED {
            self.limited.notify_waiters();
        }
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.ends() == UNLIMITED
    }

    pub(crate) fn ends(&self) -> Moment {
        Moment::from_nanoseconds(self.ends.load(Ordering::Relaxed))
    }

    pub(crate) fn is_over(&self, now: Moment) -> bool {
        now >= self.ends()
    }

    /// Waits until it is over.
    async fn over(&self, clock: &AnyClock) {
        loop {
            // Made before the look, as in `ended`.
            let limited = self.limited.notified();
            // The clock is read first: a renewal before that moment counts.
            if self.is_over(clock.now()) {
                return;
            }
            if self.is_unlimited() {
                limited.await;
            } else {
                sleep_until(clock, self.ends()).await;
            }
        }
    }
}
