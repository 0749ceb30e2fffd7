//! Single flight: no wake-up is lost between look and wait, the first landing counts, and a lease ends every wait.
//!
//! Explored is `single_flight/flight.rs` itself, over models of tokio's `Notify` and of a clock that is moved on.
#![allow(dead_code, reason = "the engine uses what is not explored")]

use std::sync::Arc;

use loom::future::block_on;
use loom::thread::{self, JoinHandle};

use crate::clock::Moment;
use crate::world::{NOW, at, explore, explore_within};
use flight::{Lease, SingleFlight};
use sync::AnyClock;

#[path = "../../../crates/maskinporten/src/single_flight/flight.rs"]
mod flight;

/// When a lease is over, and when it is over once renewed.
const END: Moment = at(1_010);
const LATER: Moment = at(1_020);

/// The bound of a model of three threads, two of which wait or look at the clock.
const PREEMPTIONS: usize = 3;

struct Run {
    flight: SingleFlight<u64>,
    clock: AnyClock,
}

impl Run {
    fn new(lease: Lease) -> Arc<Self> {
        Arc::new(Self {
            flight: SingleFlight::new(lease),
            clock: AnyClock::new(NOW),
        })
    }

    fn wait(&self) -> Option<u64> {
        block_on(self.flight.wait(&self.clock))
    }

    fn ended(&self) -> u64 {
        block_on(self.flight.ended())
    }

    fn is_alive(&self) -> bool {
        self.flight.is_alive(self.clock.now())
    }
}

/// Does something in a thread of its own.
fn meanwhile<R: 'static>(run: &Arc<Run>, act: impl FnOnce(&Run) -> R + 'static) -> JoinHandle<R> {
    let run = Arc::clone(run);
    thread::spawn(move || act(&run))
}

#[test]
fn no_landing_is_missed_between_look_and_wait() {
    explore_within(PREEMPTIONS, || {
        let run = Run::new(Lease::unlimited());

        let first = meanwhile(&run, Run::ended);
        let second = meanwhile(&run, Run::ended);
        assert!(run.flight.land(1));

        assert_eq!([first.join().unwrap(), second.join().unwrap()], [1, 1]);
    });
}

#[test]
fn no_landing_is_missed_by_a_waiter_with_a_lease() {
    for lease in [Lease::unlimited, || Lease::until(END)] {
        explore(move || {
            let run = Run::new(lease());

            let waiter = meanwhile(&run, Run::wait);
            assert!(run.flight.land(1));

            assert_eq!(waiter.join().unwrap(), Some(1));
        });
    }
}

#[test]
fn the_first_landing_counts_for_all() {
    explore(|| {
        let run = Run::new(Lease::unlimited());

        let other = meanwhile(&run, |run| run.flight.land(1));
        let waiter = meanwhile(&run, Run::ended);
        let is_first = run.flight.land(2);

        assert_ne!(is_first, other.join().unwrap());
        let landed = if is_first { 2 } else { 1 };
        assert_eq!(waiter.join().unwrap(), landed);
        assert_eq!(run.flight.outcome(), Some(landed));
        assert!(!run.is_alive());
    });
}

#[test]
fn a_waiter_ends_when_the_lease_is_over_or_the_run_lands() {
    explore_within(PREEMPTIONS, || {
        let run = Run::new(Lease::until(END));

        let waiter = meanwhile(&run, Run::wait);
        let landing = meanwhile(&run, |run| run.flight.land(1));
        run.clock.pass(END);

        let outcome = waiter.join().unwrap();
        assert!(matches!(outcome, None | Some(1)), "{outcome:?}");
        assert!(landing.join().unwrap());
        assert_eq!(run.wait(), Some(1));
    });
}

#[test]
fn a_waiter_ends_when_a_lost_run_s_lease_is_over() {
    explore(|| {
        let run = Run::new(Lease::until(END));

        let waiter = meanwhile(&run, Run::wait);
        run.clock.pass(END);

        assert_eq!(waiter.join().unwrap(), None);
        assert!(!run.is_alive());
    });
}

#[test]
fn a_run_that_landed_before_its_lease_was_over_is_not_lost() {
    explore(|| {
        let run = Run::new(Lease::until(END));

        let waiter = meanwhile(&run, Run::wait);
        run.flight.land(1);
        run.clock.pass(END);

        assert_eq!(waiter.join().unwrap(), Some(1));
    });
}

#[test]
fn a_lease_that_was_renewed_in_time_is_not_given_up_at_its_former_end() {
    explore(|| {
        let run = Run::new(Lease::until(END));

        let waiter = meanwhile(&run, Run::wait);
        run.flight.lease().renew(LATER);
        run.clock.pass(END);
        run.flight.land(1);

        assert_eq!(waiter.join().unwrap(), Some(1));
    });
}

#[test]
fn a_lease_that_was_renewed_ends_a_wait_at_its_new_end() {
    for lease in [Lease::unlimited, || Lease::until(END)] {
        explore(move || {
            let run = Run::new(lease());

            let waiter = meanwhile(&run, Run::wait);
            run.flight.lease().renew(LATER);
            run.clock.pass(LATER);

            assert_eq!(waiter.join().unwrap(), None);
        });
    }
}

#[test]
fn an_unlimited_lease_that_gets_an_end_in_the_past_ends_a_wait_at_once() {
    explore(|| {
        let run = Run::new(Lease::unlimited());

        let waiter = meanwhile(&run, Run::wait);
        run.flight.lease().renew(NOW);

        assert_eq!(waiter.join().unwrap(), None);
    });
}

/// What `flight.rs` is built from.
mod sync {
    use std::future::poll_fn;
    use std::sync::OnceLock as Value;
    use std::task::{Poll, Waker};

    use crate::clock::Moment;
    use crate::sync::{AtomicBool, Mutex};
    pub(crate) use crate::sync::{AtomicU64, Ordering};

    /// As std has it: one call sets it. A thread that sees that it is set sees the value.
    pub(crate) struct OnceLock<T> {
        setting: Mutex<()>,
        value: Value<T>,
        is_set: AtomicBool,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self {
                setting: Mutex::new(()),
                value: Value::new(),
                is_set: AtomicBool::new(false),
            }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let _setting = self.setting.lock();
            self.value.set(value)?;
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }

        pub(crate) fn get(&self) -> Option<&T> {
            let is_set = self.is_set.load(Ordering::Acquire);
            self.value.get().filter(|_| is_set)
        }
    }

    /// As tokio has it, where all are woken at once: a future that was made before a call is woken by it, also where
    /// it was not yet polled.
    pub(crate) struct Notify(Mutex<Waiters>);

    #[derive(Default)]
    struct Waiters {
        calls: u64,
        wakers: Vec<Waker>,
    }

    impl Notify {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(Waiters::default()))
        }

        pub(crate) fn notify_waiters(&self) {
            let woken = {
                let mut waiters = self.0.lock();
                waiters.calls += 1;
                std::mem::take(&mut waiters.wakers)
            };
            woken.into_iter().for_each(Waker::wake);
        }

        pub(crate) fn notified(&self) -> impl Future<Output = ()> + Unpin + '_ {
            let made_at = self.0.lock().calls;
            poll_fn(move |context| {
                let mut waiters = self.0.lock();
                if waiters.calls != made_at {
                    return Poll::Ready(());
                }
                waiters.wakers.push(context.waker().clone());
                Poll::Pending
            })
        }
    }

    /// A clock that shows what a model says, to all threads at once.
    pub(crate) struct AnyClock {
        now: Mutex<Moment>,
        passes: Notify,
    }

    impl AnyClock {
        pub(crate) fn new(now: Moment) -> Self {
            Self {
                now: Mutex::new(now),
                passes: Notify::new(),
            }
        }

        pub(crate) fn now(&self) -> Moment {
            *self.now.lock()
        }

        pub(crate) fn pass(&self, now: Moment) {
            *self.now.lock() = now;
            self.passes.notify_waiters();
        }
    }

    pub(crate) async fn sleep_until(clock: &AnyClock, end: Moment) {
        loop {
            let passes = clock.passes.notified();
            if clock.now() >= end {
                return;
            }
            passes.await;
        }
    }
}
