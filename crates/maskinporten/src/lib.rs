//! Tokens from Maskinporten and Altinn.

mod advice;
pub use advice::{Advice, Owner, Retry};

mod environment;
pub use environment::Environment;

mod error;
pub use error::{Error, ErrorKind, Result};

mod key;
pub use key::{GeneratedKey, SigningAlgorithm, SigningKey};

mod organisation;
pub use organisation::OrganisationNumber;

mod request;
pub use request::{Consent, IntoTokenRequest, SystemUser, TokenKind, TokenRequest};

mod scope;
pub use scope::{Scope, ScopeSet};

mod secret;
pub use secret::Secret;

mod settings;
pub use settings::{AltinnSettings, Authority, MaskinportenSettings};

mod signer;
pub use signer::{BoxFuture, KeyReference, LocalSigner, Signer};
