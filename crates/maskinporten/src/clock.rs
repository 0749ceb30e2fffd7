//! What time it is: the only reader of time.

#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod agreement;
mod fresh;
mod moment;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use fresh::{CoarseReading, FreshUntil};
pub(crate) use moment::Moment;
use moment::nanoseconds;

/// Two readings of time.
///
/// - Validity is counted on a clock that never goes back and counts while the machine sleeps, so
///   that neither suspend nor a corrected wall clock can make a token look younger or older.
/// - Wall time is read for claims, and for what people are shown.
/// - A clock may call the client that it was given to: it is read under no lock.
///
/// [`SystemClock`] is the default; tests bring [`TokioClock`], or one of their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since some fixed moment: never goes back, and runs on while the machine is suspended.
    fn monotonic(&self) -> Duration;

    /// What the wall clock shows (UTC).
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks: boot time where the system has it (Linux, Android); else [`Instant`], which
/// may stand still during suspend, moved on by whatever the wall clock gains on it.
///
/// [`Instant`]: std::time::Instant
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(boot_time().as_nanoseconds())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that reads time"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn boot_time() -> Moment {
    // `Instant` stops in suspend on Linux; this reading costs 3 ns more and does not.
    Moment::from_nanoseconds(reading(rustix::time::ClockId::Boottime))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn reading(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    // By the kernel's contract neither part is negative; the sum is good for 584 years.
    (time.tv_sec as u64).wrapping_mul(1_000_000_000) + time.tv_nsec as u64
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that reads time"
)]
fn boot_time() -> Moment {
    use std::sync::OnceLock;
    use std::time::Instant;

    use agreement::Agreement;
    use parking_lot::Mutex;

    static START: OnceLock<(Instant, Mutex<Agreement>)> = OnceLock::new();
    let since_epoch = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall = nanoseconds(since_epoch().unwrap_or_default());
    let (start, clock) =
        START.get_or_init(|| (Instant::now(), Mutex::new(Agreement::new(0, wall))));
    // Held for one reading, by a function that is not async.
    let mut clock = clock.lock();
    Moment::from_nanoseconds(clock.read(nanoseconds(start.elapsed()), wall))
}

/// Tokio's clock, for tests: paused and advanced together with the runtime's timers.
///
/// The wall clock starts where it is told to and moves with it.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    wall_at_start: SystemTime,
}

impl TokioClock {
    /// A clock whose wall time is `wall` now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that reads time"
    )]
    pub fn starting_at(wall: SystemTime) -> Self {
        Self {
            start: tokio::time::Instant::now(),
            wall_at_start: wall,
        }
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.wall_at_start + self.start.elapsed()
    }
}

/// The clock as the rooms hold it: the default without a virtual call, any other behind one.
#[derive(Clone, Debug, Default)]
pub(crate) enum AnyClock {
    #[default]
    System,
    Custom(Arc<dyn Clock>),
}

impl AnyClock {
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System => boot_time(),
            Self::Custom(clock) => Self::custom_now(&**clock),
        }
    }

    #[cold]
    fn custom_now(clock: &dyn Clock) -> Moment {
        Moment::from_nanoseconds(nanoseconds(clock.monotonic()))
    }

    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Self::System => SystemClock.wall(),
            Self::Custom(clock) => clock.wall(),
        }
    }

    /// A coarse reading, and then an exact one: the order that [`FreshUntil::at`] needs.
    pub(crate) fn coarse_and_now(&self) -> (CoarseReading, Moment) {
        let reading = self.coarse();
        (reading, self.now())
    }

    #[inline]
    pub(crate) fn coarse(&self) -> CoarseReading {
        match self {
            Self::System => coarse(),
            Self::Custom(clock) => CoarseReading::exact(Self::custom_now(&**clock)),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn coarse() -> CoarseReading {
    use rustix::time::ClockId;
    CoarseReading {
        steady: reading(ClockId::MonotonicCoarse),
        wall: reading(ClockId::RealtimeCoarse),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn coarse() -> CoarseReading {
    CoarseReading::exact(boot_time())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_goes_back() {
        let readings: Vec<_> = (0..1000).map(|_| AnyClock::System.now()).collect();
        assert!(readings.is_sorted());
        assert!(readings[0] > Moment::PAST);
    }

    #[test]
    fn a_moment_of_the_system_clock_is_ahead_at_first() {
        let clock = AnyClock::System;
        let (reading, now) = clock.coarse_and_now();
        let fresh = FreshUntil::at(now.after(Duration::from_secs(60)), now, reading);
        assert!(fresh.is_ahead(clock.coarse()));
        assert!(!FreshUntil::at(now, now, reading).is_ahead(clock.coarse()));
    }

    #[tokio::test(start_paused = true)]
    async fn tokios_clock_moves_both_readings_together() {
        let clock = TokioClock::starting_at(SystemTime::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.monotonic(), Duration::from_secs(90));
        assert_eq!(
            clock.wall(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(90)
        );
    }
}
