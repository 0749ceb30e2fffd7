//! Single flight: one run that many wait for, with a lease after which it counts as lost.
//!
//! - The first landing counts. Waiters are woken in the order they came.
//! - A run whose runtime is no longer driven never lands. Its waiters give it up when its lease is over.
//! - A lease can be renewed while the run is waited for. A later end counts at once. An earlier end counts when the
//!   former end is reached, or at once where the lease was unlimited.

mod flight;
mod sync;

pub(crate) use flight::{Lease, SingleFlight};

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "waiters are tasks here")]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use parking_lot::Mutex;
    use tokio::task::yield_now;

    use super::*;
    use crate::clock::{AnyClock, TokioClock};

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
