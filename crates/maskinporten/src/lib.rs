//! Tokens from Maskinporten and Altinn, kept so that no request waits for one.
//!
//! The rooms below lie along the path a token takes:
//! settings → signer → assertion → grant → token (→ exchange) → source → cache → provider → header.
//!
//! - [`MaskinportenClient`] is where everybody starts: made from settings, asked for tokens.
//! - [`Authorizer`] sets the header on requests to listed origins, and on no others. The crate
//!   `tower-maskinporten` makes a layer of it.
//! - [`TokenSource`], [`Signer`], [`Transport`] and [`Clock`] are where other parts plug in.
//! - [`Error`] says what happened, who can mend it, and how.
//!
//! ```no_run
//! use maskinporten::{MaskinportenClient, TokenRequest};
//!
//! # async fn example() -> maskinporten::Result<()> {
//! // The settings file that the platform mounts, or the environment.
//! let client = MaskinportenClient::discover()?;
//!
//! // Maskinporten's token, on behalf of an organisation that has delegated the scope.
//! let request = TokenRequest::scopes(["krr:global/kontaktinformasjon.read"])?
//!     .consumer_org("991825827")?;
//! let token = client.access_token(&request).await?;
//!
//! // Altinn's, kept for its own half hour.
//! let altinn = client.altinn_token(["altinn:serviceowner"]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `client` (default): the default [`Transport`], hyper over rustls, with proxies; its connector.
//! - `metrics`: counters, gauges and histograms through the facade of that name. What they count is in
//!   [`Stats`] without it.
//! - `pkcs12`: keys in a PKCS#12 (`.p12`, `.pfx`), encrypted with AES, 3DES or RC2.

mod settings;
pub use settings::{
    AltinnSettings, AppSettings, Authority, Finding, LegacyKey, LegacySettings,
    MaskinportenSettings, Platform, RequestDefault, SecretsDirectory, SettingsFile, SettingsSource,
    SettingsVariables, Sidecar,
};

mod secret;
pub use secret::Secret;

mod environment;
pub use environment::Environment;

mod fetch_limits;

mod metadata;

mod organisation;
pub use organisation::OrganisationNumber;

mod scope;
pub use scope::{Scope, ScopeSet};

mod request;
pub use request::{Consent, IntoTokenRequest, SystemUser, TokenContext, TokenKind, TokenRequest};

mod key;
pub use key::{GeneratedKey, KeyOptions, SigningAlgorithm, SigningKey};

mod signer;
pub use signer::{BoxFuture, KeyReference, LocalSigner, Signer};

mod credentials;
pub use credentials::{Credentials, SettingsSources};

mod assertion;
pub use assertion::ASSERTION_LIFETIME;

mod grant;

mod answer;

mod refusal;

mod token;
pub use token::AccessToken;

mod header;

mod exchange;

mod transport;
pub use transport::Transport;
#[cfg(feature = "client")]
pub use transport::{HttpsConnection, HttpsConnector, TransportBuilder};

mod discovery;

mod source;
pub use source::{FixedToken, SourceIdentity, TokenSource};

mod cache;

mod stats;
pub use stats::{Durations, Failures, Lookups, QueueStats, Reloads, Requests, Stats, TokenStats};

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
pub use metrics::{Metric, MetricKind};

mod quiet;

mod provider;
pub use provider::{TokenHandle, TokenProvider};

mod origin;
pub use origin::{IntoOrigins, Origin, Target};

mod authorize;
pub use authorize::{
    Acquire, Authorizer, Challenge, Decision, ExistingHeader, HeaderToken, RejectedToken,
    Replacement, SentToken, WarmUp, WarmUpSummary, WarmedUp,
};

mod health;
pub use health::{Health, HealthState};

mod client;
pub use client::{MaskinportenClient, MaskinportenClientBuilder};

mod clock;
pub use clock::{Clock, SystemClock, TokioClock};

mod random;

mod retry;

mod single_flight;

mod blocking;

mod advice;
pub use advice::{About, Advice, Owner, Retry};

mod error;
pub use error::{Error, ErrorKind, Result};

/// The pages whose examples are compiled with this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/credentials.md")]
struct Pages;
