//! The engine's moments. No clock: a model says itself what time it is.
#![allow(dead_code, reason = "readings that only clocks and atomics deal in")]

#[path = "../../crates/maskinporten/src/clock/moment.rs"]
mod moment;

#[path = "../../crates/maskinporten/src/clock/fresh.rs"]
mod fresh;

pub(crate) use fresh::{CoarseReading, FreshUntil};
pub(crate) use moment::Moment;
