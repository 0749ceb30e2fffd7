//! Azure Key Vault for Maskinporten clients.
mod transport;
pub use transport::{VaultTransport, VaultTransportBuilder};

mod bounds;

mod failure;

#[cfg(feature = "identity")]
mod identity;
#[cfg(feature = "identity")]
pub use identity::Identity;

#[cfg(feature = "identity")]
mod kv_setting;
#[cfg(feature = "identity")]
pub use kv_setting::KvSetting;

mod vault;
pub use vault::{KeyVault, KeyVaultBuilder};

mod settings;
pub use settings::KeyVaultSettings;

mod signer;
pub use signer::{KeyVaultSigner, KeyVaultSignerBuilder};
