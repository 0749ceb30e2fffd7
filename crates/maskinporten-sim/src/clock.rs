//! The time of the world: the only reader of clocks in this crate.
//!
//! * A world made for unit tests starts at a fixed instant and follows tokio's clock from there, so
//!   that paused time moves it.
//! * A world on a port follows the wall clock, so that real clients agree with it.
//! * Both can be moved by hand, forwards or backwards.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-01-01T10:00:00Z: a whole hour in the past, far from leap days and from year ends.
pub(crate) const DEFAULT_START: Duration = Duration::from_secs(1_767_261_600);

/// A handle on the clock of one [`Sim`](crate::Sim); clones move the same clock.
#[derive(Clone)]
pub struct SimClock {
    inner: Arc<Inner>,
}

struct Inner {
    base: Base,
    /// Nanoseconds added by hand; an `i64` reaches 292 years either way.
    shift: AtomicI64,
}

/// What moves the clock when nobody does.
#[derive(Clone, Copy)]
pub(crate) enum Base {
    Virtual {
        start: SystemTime,
        origin: tokio::time::Instant,
    },
    Wall,
}

impl Base {
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the only reader of time"
    )]
    pub(crate) fn starting_at(start: SystemTime) -> Self {
        Self::Virtual {
            start,
            origin: tokio::time::Instant::now(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the only reader of time"
    )]
    fn now(self) -> SystemTime {
        match self {
            // Saturates: a world made outside a paused runtime may be a little ahead of it.
            Self::Virtual { start, origin } => {
                start + tokio::time::Instant::now().saturating_duration_since(origin)
            }
            Self::Wall => SystemTime::now(),
        }
    }
}

impl SimClock {
    pub(crate) fn new(base: Base) -> Self {
        Self {
            inner: Arc::new(Inner {
                base,
                shift: AtomicI64::new(0),
            }),
        }
    }

    /// What time it is in this world.
    pub fn now(&self) -> SystemTime {
        let shift = self.inner.shift.load(Ordering::Relaxed);
        let distance = Duration::from_nanos(shift.unsigned_abs());
        let base = self.inner.base.now();
        // A clock moved before 1970 stands still there; no token can be dated earlier anyway.
        if shift < 0 {
            base.checked_sub(distance).unwrap_or(UNIX_EPOCH)
        } else {
            base.checked_add(distance).unwrap_or(base)
        }
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        self.inner
            .shift
            .fetch_add(nanoseconds(by), Ordering::Relaxed);
    }

    /// Sets the clock to `to`, which may lie in its past; it runs on from there.
    pub fn set(&self, to: SystemTime) {
        let shift = match to.duration_since(self.inner.base.now()) {
            Ok(ahead) => nanoseconds(ahead),
            Err(behind) => -nanoseconds(behind.duration()),
        };
        self.inner.shift.store(shift, Ordering::Relaxed);
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimClock").field(&self.now()).finish()
    }
}

/// A clock that is off by so many seconds. It stands still where HTTP's dates end, at either end.
pub(crate) fn skewed(at: SystemTime, seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        at.checked_sub(distance)
            .unwrap_or(UNIX_EPOCH)
            .max(UNIX_EPOCH)
    } else {
        at.checked_add(distance)
            .filter(|at| unix_seconds(*at) < YEAR_10000)
            .unwrap_or(UNIX_EPOCH + Duration::from_secs(YEAR_10000 - 1))
    }
}

/// Where the dates of HTTP end, in seconds since 1970; `httpdate` panics beyond.
pub(crate) const YEAR_10000: u64 = 253_402_300_800;

/// Seconds since 1970 with their fraction; the checks of a JWT compare these.
pub(crate) fn unix_time(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Whole seconds since 1970, as a JWT dates things.
pub(crate) fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Milliseconds since 1970: whole, since a fraction does not survive JSON unharmed.
pub(crate) fn unix_milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
