//! What an operator gives beside a key.

use crate::secret::Secret;

use super::given;

/// What is given beside a key: what it goes by, and what opens it.
///
/// A client with registered keys gives a `kid`, one without gives its certificates: an assertion
/// refers to its key by one of them. What is given here wins over what stands in the key. What is
/// blank counts as not given: an environment variable is often emptied, not removed.
///
/// ```
/// use maskinporten::{KeyOptions, SigningKey};
///
/// let made = SigningKey::generate(2048, None)?;
/// let options = KeyOptions::new().with_kid("our-key");
/// let key = SigningKey::read(made.private_jwk().expose().as_bytes(), &options)?;
/// assert_eq!(key.kid(), Some("our-key"));
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyOptions {
    kid: Option<String>,
    password: Option<Secret>,
    certificates: Option<Secret>,
}

impl KeyOptions {
    /// Nothing: for a key that tells everything of itself.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The identifier the key is registered under. Of a JWK set it chooses the key that signs.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The password of an encrypted PKCS#8. Line ends behind it are not part of it: a file that was
    /// written by `echo` has one.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The key's certificate and those above it, in any order: PEM, base64 of that, or one
    /// certificate as base64 of its DER.
    #[must_use]
    pub fn with_certificates(mut self, certificates: impl Into<Secret>) -> Self {
        self.certificates = Some(certificates.into());
        self
    }

    pub(super) fn kid(&self) -> Option<&str> {
        given(self.kid.as_deref())
    }

    pub(super) fn password(&self) -> Option<&str> {
        let password = self.password.as_ref()?.expose();
        // Spaces may be part of a password, and a password of nothing but spaces is none.
        given(Some(password))?;
        Some(password.trim_end_matches(['\r', '\n']))
    }

    pub(super) fn certificates(&self) -> Option<&str> {
        given(self.certificates.as_ref().map(Secret::expose))
    }
}
