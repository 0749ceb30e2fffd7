//! The engine's moments. No clock: a model says itself what time it is.
#![allow(dead_code, reason = "readings that only clocks and atomics deal in")]

#[path = "../../crates/maskinporten/src/clock/moment.rs"]
mod moment;

pub(crate) use moment::Moment;
