//! What a limiter does with a fetch that waits for its permit.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::{Fetch, GoneOnPanic, Permit};
use crate::cache::limiter::{Job, Key};
use crate::clock::Moment;
use crate::error::Error;
use crate::request::Tenant;

/// What waits for a permit: a fetch that has no task yet, or the task of one that pauses.
pub(crate) enum Turn {
    Start(Fetch),
    Resume(Fetch, oneshot::Sender<Permit>),
}

impl Turn {
    fn fetch(&self) -> &Fetch {
        match self {
            Self::Start(fetch) | Self::Resume(fetch, _) => fetch,
        }
    }
}

impl Job for Turn {
    type Tenant = Tenant;
    type Error = Error;
    type Nudge = Fetch;

    fn queued(&self, key: Key) {
        let fetch = self.fetch();
        *fetch.0.place.lock() = Some(key);
        fetch.0.number.store(key.number(), Ordering::Relaxed);
    }

    fn has_callers(&self) -> bool {
        match self {
            Self::Start(fetch) => fetch.callers_wait(),
            Self::Resume(..) => true,
        }
    }

    fn nudge(&self) -> Fetch {
        self.fetch().clone()
    }

    fn nudged(fetch: Fetch) {
        fetch.0.nudged.notify_waiters();
    }

    fn start(self, permit: Permit) {
        match self {
            Self::Start(fetch) => fetch.start(permit),
            // Where its task is gone, the permit is given back with what is given back here.
            Self::Resume(_, sender) => drop(sender.send(permit)),
        }
    }

    fn refuse(self, error: Error, until: Moment) {
        // Where a task waits, it sees that its sender is gone.
        if let Self::Start(fetch) = self {
            let _guard = GoneOnPanic(&fetch);
            let (now, wall) = (fetch.clock().now(), fetch.clock().wall());
            let error = retry_at(error, now, wall, until);
            fetch.fail(error, Some(until));
        }
    }

    fn lapse(self) {
        if let Self::Start(fetch) = self {
            fetch.lapse();
        }
    }
}

/// An error with the moment until which it is remembered, by the wall clock.
pub(crate) fn retry_at(error: Error, now: Moment, wall: SystemTime, until: Moment) -> Error {
    match wall.checked_add(now.until(until)) {
        Some(at) => error.with_retry_at(at),
        None => error,
    }
}
