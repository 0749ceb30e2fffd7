//! The locks and atomics of the token's state machine and its header's copies, by one name: a model checker builds
//! the same files with its own.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use parking_lot::{Mutex, MutexGuard};
