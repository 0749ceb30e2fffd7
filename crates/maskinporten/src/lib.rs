//! Tokens from Maskinporten and Altinn.

mod advice;
pub use advice::{Advice, Owner, Retry};

mod environment;
pub use environment::Environment;

mod error;
pub use error::{Error, ErrorKind, Result};

mod organisation;
pub use organisation::OrganisationNumber;

mod request;
pub use request::{Consent, IntoTokenRequest, SystemUser, TokenKind, TokenRequest};

mod scope;
pub use scope::{Scope, ScopeSet};

mod secret;
pub use secret::Secret;

mod transport;
pub use transport::Transport;
#[cfg(feature = "client")]
pub use transport::TransportBuilder;
