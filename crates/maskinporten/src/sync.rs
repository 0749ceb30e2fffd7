//! What `single_flight.rs` is built from, by one name: a model checker builds the same file with its own atomics,
//! `Notify` and timer.

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use tokio::sync::Notify;
pub(crate) use tokio::time::sleep;
