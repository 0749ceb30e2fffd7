//! Single flight: one run that many wait for, with a lease after which it counts as lost.
//!
//! - The first landing counts. Waiters are woken in the order they came.
//! - A run whose runtime is not driven any more never lands: its waiters give it up when its lease is over. The lease
//!   can be renewed as the run moves on, also while it is waited for.

use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::{AnyClock, Moment};
use std::sync::atomic::{AtomicU64, Ordering};

/// One run and its outcome.
pub(crate) struct SingleFlight<T> {
    outcome: OnceLock<T>,
    /// Wakes the waiters in the order they came. A `watch` channel of tokio's keeps several queues: of ten
    /// thousand waiters some of the first were served among the last.
    landed: Notify,
    lease: Lease,
}

/// When a run counts as lost, in nanoseconds of the monotonic clock.
pub(crate) struct Lease(AtomicU64);

impl<T: Clone> SingleFlight<T> {
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            outcome: OnceLock::new(),
            landed: Notify::new(),
            lease,
        }
    }

    /// Lands it, and wakes those who wait. False where it has landed before.
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

    /// Whether an outcome can still come.
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
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            landed.await;
        }
    }

    /// Waits for the outcome, or until the lease is over.
    pub(crate) async fn wait(&self, clock: &AnyClock) -> Option<T> {
        loop {
            let patience = clock.now().until(self.lease.ends());
            match timeout(patience, self.ended()).await {
                Ok(outcome) => return Some(outcome),
                // The lease may have been renewed meanwhile, or the run may have landed this moment.
                Err(_elapsed) if self.is_alive(clock.now()) => {}
                Err(_elapsed) => return self.outcome(),
            }
        }
    }
}

impl Lease {
    pub(crate) fn unlimited() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    pub(crate) fn until(moment: Moment) -> Self {
        Self(AtomicU64::new(moment.as_nanoseconds()))
    }

    pub(crate) fn renew(&self, until: Moment) {
        self.0.store(until.as_nanoseconds(), Ordering::Relaxed);
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.0.load(Ordering::Relaxed) == u64::MAX
    }

    pub(crate) fn ends(&self) -> Moment {
        Moment::from_nanoseconds(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn is_over(&self, now: Moment) -> bool {
        now >= self.ends()
    }
}
