//! The very files of the engine, over the locks and atomics of a model checker.
//!
//! `state.rs` and `holders.rs` take them from `super::sync`, which each binary defines for itself here.
#![allow(
    dead_code,
    reason = "the engine uses what is not explored, and each binary explores what it can"
)]

use crate::sync;

#[path = "../../crates/maskinporten/src/cache/entry/state.rs"]
pub(crate) mod state;

#[path = "../../crates/maskinporten/src/cache/entry/rejection.rs"]
pub(crate) mod rejection;

#[path = "../../crates/maskinporten/src/cache/holders.rs"]
pub(crate) mod holders;

#[path = "../../crates/maskinporten/src/cache/window.rs"]
pub(crate) mod window;

#[path = "../../crates/maskinporten/src/cache/stripe.rs"]
pub(crate) mod stripe;

#[path = "../../crates/maskinporten/src/cache/headers.rs"]
pub(crate) mod headers;
