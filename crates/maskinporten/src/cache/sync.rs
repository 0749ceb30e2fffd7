//! The locks and atomics of [`Life`](super::life::Life), by one name: a model checker builds the same
//! file with its own.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use parking_lot::Mutex;
