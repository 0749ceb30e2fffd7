//! Holder count of a cache entry, with a retired flag, in one atomic: eviction's pin count.
//!
//! - An entry is *held* by a layer, a handle, a caller who waits, or another entry whose token is made of
//!   this one's. A held entry is never retired.
//! - A *retired* entry was evicted. It is never held again: the next look-up makes a new one.
//! - This is not the count of an `Arc`: a table that only remembers where a token was found keeps an
//!   `Arc` of the entry, and does not hold it.

use super::sync::{AtomicU64, Ordering};

/// How many hold an entry, and whether it was retired.
pub(crate) struct Holders(AtomicU64);

/// Set once the entry was retired. The bits below it are the count.
const RETIRED: u64 = 1 << 63;

impl Holders {
    /// Of an entry that is held by who makes it.
    pub(crate) fn one() -> Self {
        Self(AtomicU64::new(1))
    }

    /// Counts one more holder. False where the entry was retired: nothing is to be released then.
    #[must_use]
    pub(crate) fn hold(&self) -> bool {
        let before = self.0.fetch_add(1, Ordering::Acquire);
        let is_held = before & RETIRED == 0;
        if !is_held {
            // The flag stays set meanwhile, so that no other thread is misled by the count.
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        is_held
    }

    /// Counts one holder less.
    pub(crate) fn release(&self) {
        // What was done while it was held happens before its retirement.
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// Retires the entry, unless it is held or was retired before.
    #[must_use]
    pub(crate) fn retire(&self) -> bool {
        self.0
            .compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.0.load(Ordering::Acquire) & RETIRED != 0
    }

    pub(crate) fn is_held(&self) -> bool {
        self.count() > 0
    }

    /// How many hold it; none where it was retired.
    pub(crate) fn count(&self) -> u64 {
        let holders = self.0.load(Ordering::Acquire);
        if holders & RETIRED == 0 { holders } else { 0 }
    }
}
