//! [`Sidecar`]: where a platform's own token service listens.

use std::fmt;

use http::Uri;

use crate::advice;
use crate::environment::Environment;
use crate::error::Result;

use super::authority::checked_url;

/// A token service beside this process, as nais has one (`NAIS_TOKEN_ENDPOINT`): it holds the client's
/// key and asks Maskinporten itself.
///
/// - It gives tokens by scopes, with a resource or authorization details. It knows no `consumer_org`: a
///   request on behalf of an organisation is refused before anything is sent.
/// - Its tokens are kept here as those of a signed grant are, and exchanged at Altinn where that is wanted.
///
/// ```
/// use maskinporten::{Credentials, MaskinportenClient, Sidecar};
///
/// let sidecar = Sidecar::new("http://localhost:3000/api/v1/token")?;
/// let client = MaskinportenClient::builder()
///     .credentials(Credentials::from(sidecar))
///     .build()?;
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    endpoint: Uri,
    environment: Option<Environment>,
}

impl Sidecar {
    /// The sidecar at an address: https, or plain http to this machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where it is no such address.
    pub fn new(endpoint: &str) -> Result<Self> {
        let endpoint = checked_url(
            endpoint.trim(),
            "sidecar's address",
            &advice::SIDECAR_ADDRESS,
        )?;
        Ok(Self {
            endpoint,
            environment: None,
        })
    }

    /// Whose tokens it gives: which Altinn takes them follows from it, and others are refused.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Where it is asked.
    #[must_use]
    pub fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// Whose tokens it gives, where that was told.
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        self.environment
    }
}

impl fmt::Display for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sidecar {}", self.endpoint)?;
        match self.environment {
            Some(environment) => write!(f, " ({environment})"),
            None => Ok(()),
        }
    }
}
