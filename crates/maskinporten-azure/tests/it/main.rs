//! Key Vault over real sockets and real TLS, in real time: the vaults are those of `azure.rs`.

mod azure;
mod child;
mod end_to_end;
mod failures;
mod identity;
mod secrecy;
mod settings;
mod signer;
