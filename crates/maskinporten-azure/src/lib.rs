//! Azure Key Vault for Maskinporten clients: as the source of their settings, and as the signer of their
//! assertions.
//!
//! A service that keeps its client id and key as secrets in a vault reads them from there:
//!
//! ```no_run
//! use maskinporten::{Credentials, MaskinportenClient};
//! use maskinporten_azure::{KeyVaultSettings, KvSetting};
//!
//! # async fn example() -> maskinporten::Result<()> {
//! // An Altinn app names its vault in `kvSetting`, in the environment or in `appsettings.json`.
//! let vault = KvSetting::discover("appsettings.json")?.key_vault()?;
//! let settings = KeyVaultSettings::new(&vault).with_section("myapp:MaskinportenSettings");
//!
//! let credentials = Credentials::load(settings).await?;
//! let client = MaskinportenClient::builder().credentials(credentials).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! A key that was made in the vault, and never leaves it, signs there:
//!
//! ```no_run
//! use maskinporten::{MaskinportenClient, MaskinportenSettings};
//! use maskinporten_azure::{Identity, KeyVault, KeyVaultSigner};
//!
//! # async fn example() -> maskinporten::Result<()> {
//! let vault = KeyVault::builder("https://myvault.vault.azure.net")
//!     .identity(Identity::managed())
//!     .build()?;
//! let signer = KeyVaultSigner::connect(&vault, "maskinporten").await?;
//! // Registered in the portal, once for each version of the key.
//! println!("{}", signer.public_jwk());
//!
//! let settings = MaskinportenSettings::new("prod", "our-client-id").with_signer(signer);
//! let client = MaskinportenClient::from_settings(settings)?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`KeyVault`] is a vault and who asks it; [`KeyVaultSettings`] and [`KeyVaultSigner`] are made of it.
//! - The vault is asked by Microsoft's SDK, over a [`VaultTransport`] of ours that has no other HTTP client
//!   below it. What the SDK may do is bounded: it goes to the vault and to the identity service only, reads
//!   512 KiB of an answer, and is given up on in time.
//! - Nothing secret is in an error, in a `Debug` or in a log record, those of the SDK included. Of what a
//!   server says, the status and its codes are told, and no text. What is kept of a secret is wiped when
//!   dropped; copies that the SDK makes on the way are not.
//!
//! # What can go wrong
//!
//! *Transient* is [`Error::is_transient`](maskinporten::Error::is_transient): asking again may help. A look
//! at settings that fails when a client is made is the error of [`Credentials::load`]; one that fails later
//! leaves the client with what it has. A signature that fails is tried again by the flight that asked for
//! it, if it is transient.
//!
//! | what happens | a look at settings (10 s) | a signature (3 s) |
//! | --- | --- | --- |
//! | the vault is not in DNS, or nobody listens | transient, after 3 attempts | transient, after 2 |
//! | a bad certificate, or no TLS | refused at once | refused at once |
//! | 401 with the vault's own challenge | the identity is asked for a token again, once; then refused | the same |
//! | 401 with a challenge for another domain | refused, and no token asked for | the same |
//! | 403 | refused, with the role or access policy that is missing, or the firewall | the same |
//! | 404 | refused, with the name of what is not there | the same |
//! | 429 or 503 with `Retry-After` | waited for up to 2 s; beyond that, transient at once | transient at once |
//! | 408, 429, 5xx | transient, after 3 attempts | transient, after 2 |
//! | no answer | 3 s an attempt, 10 s in all; transient | 1.3 s an attempt, 3 s in all; transient |
//! | an answer that breaks off | transient, after 3 attempts | transient, after 2 |
//! | an answer that cannot be read | transient | transient |
//! | an answer of more than 512 KiB | refused | refused |
//! | a page on another host | refused, and not asked | – |
//! | a secret is disabled, expired or not valid yet | counts as missing, and is told of | – |
//! | the key is disabled, expired, too small, or not for signing | – | refused, when connected |
//! | the signature is not one of the key | – | transient |
//! | no token: wrong secret, client id or tenant | refused, with Entra's number (`AADSTS…`) | the same |
//! | no token: the identity service fails or is silent | as the vault; a virtual machine's own is asked at the SDK's pace, within the same 10 s | as the vault, within the same 3 s |
//!
//! # Features
//!
//! - `identity` (default): [`Identity`] and [`KvSetting`], by `azure_identity`. Without it, bring a
//!   [`TokenCredential`](azure_core::credentials::TokenCredential): [`KeyVault::new`].
//!
//! [`Credentials::load`]: maskinporten::Credentials::load

pub use azure_core;

mod transport;
pub use transport::{VaultTransport, VaultTransportBuilder};

mod bounds;

mod failure;

#[cfg(feature = "identity")]
mod identity;
#[cfg(feature = "identity")]
pub use identity::Identity;

mod vault;
pub use vault::{KeyVault, KeyVaultBuilder};

#[cfg(feature = "identity")]
mod kv_setting;
#[cfg(feature = "identity")]
pub use kv_setting::KvSetting;

mod settings;
pub use settings::KeyVaultSettings;

mod signer;
pub use signer::{KeyVaultSigner, KeyVaultSignerBuilder};

/// The guide for those who come from .NET: its examples are compiled here, where all the crates meet.
#[cfg(all(doctest, feature = "identity"))]
#[doc = include_str!("../../../docs/coming-from-dotnet.md")]
mod coming_from_dotnet {}
