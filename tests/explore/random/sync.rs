//! shuttle's locks and atomics, by the names the engine uses.

pub(crate) use shuttle::sync::Condvar;
pub(crate) use shuttle::sync::MutexGuard;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A lock as `parking_lot` has it, which knows no poisoning.
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// What is only tried, mostly: here the same lock.
pub(crate) type TryLock<T> = Mutex<T>;
pub(crate) type TryLockGuard<'a, T> = MutexGuard<'a, T>;
