//! The binary as it is used: real processes, real sockets, nothing inherited from the environment.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests time a process and read what the platform needs to start one"
)]

mod support;

mod settings;

mod request;

mod refusal;

mod answer;

mod defaults;

mod foreign;

mod keygen;

mod keystore;

mod warnings;
