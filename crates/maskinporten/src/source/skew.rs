//! What is known of the authority's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::Moment;
use crate::quiet::Quiet;

/// The authority's clock minus ours, in whole seconds: zero until a refusal for the time's sake.
#[derive(Debug, Default)]
pub(crate) struct Skew {
    seconds: AtomicI64,
    told: Quiet,
}

impl Skew {
    pub(crate) fn seconds(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// The authority is another one now.
    pub(crate) fn forget(&self) {
        self.seconds.store(0, Ordering::Relaxed);
    }

    /// Takes a new reading.
    pub(super) fn correct(&self, seconds: i64, now: Moment) {
        let before = self.seconds.swap(seconds, Ordering::Relaxed);
        if before != seconds
            && let Some(suppressed) = self.told.may_tell(now)
        {
            tracing::warn!(
                target: "maskinporten::token",
                skew_s = seconds,
                suppressed,
                "this machine's clock differs from the token server's; assertions follow the server's"
            );
        }
    }
}

pub(super) fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let shifted = match seconds < 0 {
        true => time.checked_sub(by),
        false => time.checked_add(by),
    };
    shifted.unwrap_or(time)
}
