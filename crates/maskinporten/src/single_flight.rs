//! Single flight: one run that many wait for, with a lease after which it counts as lost.
//!
//! - The first landing counts. Waiters are woken in the order they came.
//! - A run whose runtime is no longer driven never lands. Its waiters give it up when its lease is over.
//! - A lease can be renewed while the run is waited for. A later end counts at once. An earlier end counts when the
//!   former end is reached, or at once where the lease was unlimited.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::clock::{AnyClock, Moment};
use crate::sync::{AtomicU64, Notify, OnceLock, Ordering, sleep};

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
            // The clock is read first: the end that is read then is not older than that.
            let now = clock.now();
            if self.is_over(now) {
                return;
            }
            if self.is_unlimited() {
                limited.await;
            } else {
                sleep(now.until(self.ends())).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use parking_lot::Mutex;
    use tokio::task::yield_now;

    use super::*;
    use crate::clock::TokioClock;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> AnyClock {
        AnyClock::Custom(Arc::new(TokioClock::starting_at(UNIX_EPOCH)))
    }

    fn flight(lease: Lease) -> Arc<SingleFlight<&'static str>> {
        Arc::new(SingleFlight::new(lease))
    }

    /// What a waiter sees, and when in seconds. It waits from now on.
    async fn waiter(
        flight: &Arc<SingleFlight<&'static str>>,
        clock: &AnyClock,
    ) -> tokio::task::JoinHandle<(Option<&'static str>, u64)> {
        let (flight, clock) = (Arc::clone(flight), clock.clone());
        let waiter = tokio::spawn(async move {
            let outcome = flight.wait(&clock).await;
            (outcome, clock.now().as_nanoseconds() / 1_000_000_000)
        });
        yield_now().await;
        waiter
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_woken_in_the_order_they_came() {
        let clock = clock();
        let flight = flight(Lease::until(clock.now().after(SECOND)));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = Vec::new();
        for number in 0..100 {
            let (flight, clock) = (Arc::clone(&flight), clock.clone());
            let order = Arc::clone(&order);
            waiters.push(tokio::spawn(async move {
                // Half of them wait without a lease.
                let outcome = match number % 2 {
                    0 => flight.wait(&clock).await,
                    _ => Some(flight.ended().await),
                };
                order.lock().push(number);
                outcome
            }));
            yield_now().await;
        }
        // Renewed while they wait: each keeps its place.
        flight.lease().renew(clock.now().after(3 * SECOND));
        tokio::time::advance(2 * SECOND).await;
        yield_now().await;

        assert!(flight.land("token"));
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Some("token"));
        }
        assert_eq!(*order.lock(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_landing_counts() {
        let clock = clock();
        let flight = flight(Lease::unlimited());

        assert!(flight.land("first") && !flight.land("second"));

        assert!(!flight.is_alive(clock.now()));
        assert_eq!(flight.wait(&clock).await, Some("first"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gives_up_when_the_lease_is_over() {
        let clock = clock();
        let flight = flight(Lease::until(clock.now().after(SECOND)));

        let waiter = waiter(&flight, &clock).await;

        assert!(flight.is_alive(clock.now()));
        assert_eq!(waiter.await.unwrap(), (None, 1));
        assert!(!flight.is_alive(clock.now()));
        // It lands all the same, for those who come later.
        assert!(flight.land("token"));
        assert_eq!(flight.wait(&clock).await, Some("token"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_while_it_is_waited_for_counts_until_its_new_end() {
        let clock = clock();
        let flight = flight(Lease::until(clock.now().after(SECOND)));

        let waiter = waiter(&flight, &clock).await;
        flight.lease().renew(clock.now().after(3 * SECOND));

        assert_eq!(waiter.await.unwrap(), (None, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unlimited_lease_that_gets_an_end_while_it_is_waited_for_ends_then() {
        let clock = clock();
        let flight = flight(Lease::unlimited());

        let waiter = waiter(&flight, &clock).await;
        tokio::time::advance(SECOND).await;
        yield_now().await;
        assert!(flight.lease().is_unlimited() && !waiter.is_finished());
        flight.lease().renew(clock.now().after(SECOND));

        assert_eq!(waiter.await.unwrap(), (None, 2));
    }
}
