//! What the crates promise, asked for as users ask: through public API, against the simulator.
//!
//! A test's name is its promise. Time is paused, never slept through; what is about sockets uses
//! real ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers beside the tests read clocks, spawn and unwrap as tests do"
)]

mod child;
mod clocks;
mod watch;
mod wire;
mod world;

mod answers;
mod cancel;
mod clients;
mod context;
mod crowd;
mod dotnet;
mod ending;
mod faults;
mod flight;
mod grant;
mod grpc;
mod handshakes;
mod identity;
#[cfg(unix)]
mod keys;
mod layer;
mod metadata;
mod observability;
mod orders;
mod origin;
#[cfg(unix)]
mod printed;
mod redirect;
mod reentrant;
mod registry;
mod rejected;
mod replay;
mod rotation;
mod rounds;
mod secrecy;
mod settings;
mod sidecar;
mod simulator_faults;
mod soak;
#[cfg(unix)]
mod sources;
mod stack;
mod still;
mod tenants;
