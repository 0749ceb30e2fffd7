//! Clocks that are moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use maskinporten::Clock;
use tokio::time::Instant;

/// Tokio's clock, and what has happened to the machine: how long it slept, and by how much somebody
/// has set its wall clock. Its timers stand for those that stop while a machine sleeps, as Linux's do.
#[derive(Clone, Debug)]
pub(crate) struct Clocks(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    started: Instant,
    wall_at_start: SystemTime,
    asleep_ms: AtomicU64,
    off_seconds: AtomicI64,
}

impl Clocks {
    pub(crate) fn starting_at(wall: SystemTime) -> Self {
        Self(Arc::new(Hands {
            started: Instant::now(),
            wall_at_start: wall,
            asleep_ms: AtomicU64::new(0),
            off_seconds: AtomicI64::new(0),
        }))
    }

    pub(crate) fn wall_at_start(&self) -> SystemTime {
        self.0.wall_at_start
    }

    /// The machine sleeps: its timers stand still, its other clocks do not.
    pub(crate) fn suspend(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap();
        self.0.asleep_ms.fetch_add(time, Ordering::Relaxed);
    }

    /// Moves the wall clock by so many seconds, and tells by how much it is wrong from now on.
    pub(crate) fn set_wall(&self, by: i64) -> i64 {
        self.0.off_seconds.fetch_add(by, Ordering::Relaxed) + by
    }
}

impl Clock for Clocks {
    fn monotonic(&self) -> Duration {
        self.0.started.elapsed() + Duration::from_millis(self.0.asleep_ms.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        let right = self.0.wall_at_start + self.monotonic();
        let off = self.0.off_seconds.load(Ordering::Relaxed);
        let by = Duration::from_secs(off.unsigned_abs());
        if off < 0 { right - by } else { right + by }
    }
}
