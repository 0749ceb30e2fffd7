//! The keys of one client: which of them signs, and which is tried where that one is refused.
//!
//! A key that was registered just now takes up to a quarter of an hour to be known everywhere, and one
//! that was registered a year ago is no longer: in both cases another key of the same client still opens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::clock::Moment;
use crate::signer::Signer;

/// For how long the key that opened signs in place of the one that was refused. By then a new key has
/// spread.
const DETOUR: Duration = Duration::from_secs(15 * 60);

/// The keys, the one to sign first. There is one at least.
pub(crate) struct KeyRing {
    signers: Vec<Arc<dyn Signer>>,
    // Taken for one read or write of two numbers by functions that are not async. No signer is asked under it.
    detour: Mutex<Option<Detour>>,
}

#[derive(Clone, Copy)]
struct Detour {
    key: usize,
    until: Moment,
}

impl KeyRing {
    /// None where there are no keys.
    pub(crate) fn new(signers: Vec<Arc<dyn Signer>>) -> Option<Self> {
        (!signers.is_empty()).then(|| Self {
            signers,
            detour: Mutex::new(None),
        })
    }

    /// The keys in the order in which they are to be tried now.
    pub(crate) fn in_order(&self, now: Moment, wall: SystemTime) -> Vec<usize> {
        let detour = *self.detour.lock();
        let detour = detour.filter(|detour| now < detour.until);
        let mut order: Vec<usize> = (0..self.signers.len()).collect();
        // The sort keeps the order of those that are alike.
        order.sort_by_key(|key| {
            let has_ended = self.signers[*key]
                .expires_at()
                .is_some_and(|end| end <= wall);
            (has_ended, detour.is_none_or(|detour| detour.key != *key))
        });
        order
    }

    pub(crate) fn signer(&self, key: usize) -> &Arc<dyn Signer> {
        &self.signers[key]
    }

    pub(crate) fn signers(&self) -> &[Arc<dyn Signer>] {
        &self.signers
    }

    /// Notes that a key opened where one before it was refused: it is tried first for a while.
    pub(crate) fn remember(&self, key: usize, now: Moment) {
        let until = now.after(DETOUR);
        *self.detour.lock() = Some(Detour { key, until });
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("signers", &self.signers)
            .finish_non_exhaustive()
    }
}
