//! The locks and atomics of the token's state machine and its header's copies, by one name: a model checker builds
//! the same files with its own.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

use atomic_refcell::{AtomicRefCell, AtomicRefMut};
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// A lock that is tried: for a value that each thread takes for a few instructions, and seldom two at once.
///
/// To give it back is a plain store, where a mutex that may have sleepers needs a second locked instruction.
pub(crate) struct TryLock<T>(AtomicRefCell<T>);

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(AtomicRefCell::new(value))
    }

    #[inline]
    pub(crate) fn try_lock(&self) -> Option<TryLockGuard<'_, T>> {
        self.0.try_borrow_mut().ok()
    }

    /// Waits for the thread that has it, which is done after a few instructions unless it was stopped.
    pub(crate) fn lock(&self) -> TryLockGuard<'_, T> {
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            std::thread::yield_now();
        }
    }
}

pub(crate) type TryLockGuard<'a, T> = AtomicRefMut<'a, T>;

/// The number of the calling thread: no two have the same.
pub(crate) fn thread_number() -> usize {
    super::stripe::number()
}
