//! What time it is: the only reader of time.
//!
//! - Validity is counted on a clock that never goes back and counts while the machine sleeps, so
//!   that neither suspend nor a corrected wall clock can make a token look younger or older.
//! - Wall time is read for claims, and for what people are shown.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Two readings of time.
///
/// [`SystemClock`] is the default; tests bring [`TokioClock`], or one of their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since some fixed moment: never goes back, and runs on while the machine is suspended.
    fn monotonic(&self) -> Duration;

    /// What the wall clock shows (UTC).
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks: boot time where the system has it (Linux, Android), else [`Instant`],
/// which may stand still during suspend.
///
/// [`Instant`]: std::time::Instant
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(boot_time().0)
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
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // By the kernel's contract neither part is negative; the product is good for 584 years.
    Moment((time.tv_sec as u64).wrapping_mul(1_000_000_000) + time.tv_nsec as u64)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that reads time"
)]
fn boot_time() -> Moment {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    Moment(nanoseconds(START.get_or_init(Instant::now).elapsed()))
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

/// A reading of the monotonic clock in nanoseconds: 584 years fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

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
        Moment(nanoseconds(clock.monotonic()))
    }

    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Self::System => SystemClock.wall(),
            Self::Custom(clock) => clock.wall(),
        }
    }
}

impl Moment {
    /// Before every reading.
    pub(crate) const PAST: Self = Self(0);

    pub(crate) fn as_nanoseconds(self) -> u64 {
        self.0
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(time)))
    }

    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(time.subsec_nanos()))
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
