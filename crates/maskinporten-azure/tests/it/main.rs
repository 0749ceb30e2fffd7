//! Key Vault over real sockets and real TLS, in real time: the vaults are those of `azure.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers beside the tests read clocks, variables and unwrap as tests do"
)]

mod azure;
mod child;
mod end_to_end;
mod failures;
mod identity;
mod secrecy;
mod settings;
mod signer;
