//! What time it is: the only reader of time.

#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod agreement;
mod moment;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use moment::Moment;
use moment::nanoseconds;

/// Two readings of time.
///
/// - Validity is counted on a clock that never goes back and counts while the machine sleeps, so
///   that neither suspend nor a corrected wall clock can make a token look younger or older.
/// - Wall time is read for claims, and for what people are shown.
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

    pub(crate) fn glance_and_now(&self) -> (Glance, Moment) {
        let glance = self.glance();
        (glance, self.now())
    }

    #[inline]
    fn glance(&self) -> Glance {
        match self {
            Self::System => glance(),
            Self::Custom(clock) => Glance::exact(Self::custom_now(&**clock)),
        }
    }
}

/// Two coarse readings, which together cost half of an exact one.
///
/// One clock stands still while the machine sleeps, and the other can be set. Either alone could make
/// a token look younger than it is; while both have moved on by the same, neither has.
#[derive(Clone, Copy)]
pub(crate) struct Glance {
    steady: u64,
    wall: u64,
}

impl Glance {
    fn exact(now: Moment) -> Self {
        Self {
            steady: now.as_nanoseconds(),
            wall: now.as_nanoseconds(),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn glance() -> Glance {
    use rustix::time::ClockId;
    Glance {
        steady: reading(ClockId::MonotonicCoarse),
        wall: reading(ClockId::RealtimeCoarse),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn glance() -> Glance {
    Glance::exact(boot_time())
}

/// A moment ahead, and whether it is still ahead by a glance at the clock.
///
/// The answer "no" is to be checked by an exact reading: it is also given when the clocks have moved
/// apart, by a suspend or by somebody who set one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    until: u64,
    apart: u64,
}

impl Horizon {
    /// How far the two clocks may move apart before they are not trusted: more than the ticks that
    /// coarse readings lag by, less than a token's margin of a second at its hard end.
    const TOLERANCE: u64 = 500_000_000;

    /// Behind every glance.
    pub(crate) const PAST: Self = Self { until: 0, apart: 0 };

    /// A moment ahead of `now`, as glances from now on will see it.
    pub(crate) fn at(moment: Moment, now: Moment, Glance { steady, wall }: Glance) -> Self {
        Self {
            until: steady.saturating_add(nanoseconds(now.until(moment))),
            apart: wall.wrapping_sub(steady),
        }
    }

    #[inline]
    pub(crate) fn is_ahead(&self, clock: &AnyClock) -> bool {
        self.is_ahead_by(clock.glance())
    }

    #[inline]
    fn is_ahead_by(&self, Glance { steady, wall }: Glance) -> bool {
        let moved = wall.wrapping_sub(steady).wrapping_sub(self.apart);
        steady < self.until && moved.wrapping_add(Self::TOLERANCE) <= 2 * Self::TOLERANCE
    }
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
    fn a_horizon_is_ahead_until_it_is_passed_or_the_clocks_part() {
        let horizon = Horizon {
            until: 10_000_000_000,
            apart: 5_000_000_000,
        };
        let check = |steady: u64, wall: u64, ahead: bool| {
            let glance = Glance { steady, wall };
            assert_eq!(horizon.is_ahead_by(glance), ahead, "{steady} {wall}");
        };
        let second = 1_000_000_000;
        check(9 * second, 14 * second, true);
        check(9 * second, 14 * second + 400_000_000, true);
        check(9 * second, 14 * second - 400_000_000, true);
        check(10 * second, 15 * second, false);
        // Suspended for an hour: one clock moved on.
        check(9 * second, 3614 * second, false);
        // Set back by ten seconds, or to before the epoch of the other.
        check(9 * second, 4 * second, false);
        check(9 * second, 0, false);
        assert!(!Horizon::PAST.is_ahead(&AnyClock::System));
    }

    #[test]
    fn a_horizon_of_the_system_clock_is_ahead_at_first() {
        let clock = AnyClock::System;
        let (glance, now) = clock.glance_and_now();
        let horizon = Horizon::at(now.after(Duration::from_secs(60)), now, glance);
        assert!(horizon.is_ahead(&clock));
        assert!(!Horizon::at(now, now, glance).is_ahead(&clock));
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
