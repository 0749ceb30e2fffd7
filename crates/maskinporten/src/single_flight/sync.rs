//! What `flight.rs` is built from, by one name: a model checker builds the same file with its own atomics, `Notify`
//! and clock.

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use tokio::sync::Notify;
use tokio::time::sleep;

pub(crate) use crate::clock::AnyClock;
use crate::clock::Moment;

/// Waits until the clock shows `end`, or a little before where it runs slower than tokio's timer.
pub(crate) async fn sleep_until(clock: &AnyClock, end: Moment) {
    sleep(clock.now().until(end)).await;
}
