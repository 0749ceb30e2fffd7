//! What the simulator promises, asked from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests measure paused time and spawn their callers"
)]

mod api;
mod exchange;
mod fault;
mod grant;
mod refusal;
mod rotation;
mod server;
mod sidecar;
mod support;
mod world;
