//! What is known of the authority's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// The authority's clock minus ours, in whole seconds: zero until a refusal for the time's sake.
#[derive(Debug, Default)]
pub(crate) struct Skew(AtomicI64);

impl Skew {
    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The authority is another one now.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Takes a new reading.
    pub(super) fn correct(&self, seconds: i64) {
        let before = self.0.swap(seconds, Ordering::Relaxed);
        if before != seconds {
            tracing::warn!(
                target: "maskinporten::token",
                skew_s = seconds,
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
