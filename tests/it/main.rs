//! What the crates promise, asked for as users ask: through public API, against the simulator.
//!
//! A test's name is its promise. Time is paused, never slept through; what is about sockets uses
//! real ones.

mod world;

mod answers;
mod cancel;
mod flight;
mod grant;
mod identity;
mod layer;
mod metadata;
mod origin;
mod secrecy;
mod settings;
mod stack;
