//! What was found of settings in one place, before it is known whether that is all.

use crate::advice;
use crate::error::{Error, Result};
use crate::secret::Secret;

use super::{Finding, MaskinportenSettings};

/// The names of all that settings may hold, as the settings section spells them.
pub(super) const NAMES: [&str; 12] = [
    "Authority",
    "ClientId",
    "Jwk",
    "JwkBase64",
    "Jwks",
    "Pem",
    "PreviousJwk",
    "Kid",
    "KeyPassword",
    "Certificate",
    "TokenEndpoint",
    "Scopes",
];

/// Those of them that are a key.
pub(super) const KEYS: [&str; 4] = ["Jwk", "JwkBase64", "Jwks", "Pem"];

/// Names that other clients have for what cannot be read here, and what to do about each.
pub(super) const FOREIGN: [(&str, &str); 4] = [
    ("EncodedX509", "a PKCS#12 in base64"),
    ("CertificatePkcs12Path", "a PKCS#12"),
    (
        "CertificateStoreThumbprint",
        "a certificate of the Windows store",
    ),
    ("Keystore", "a keystore"),
];

/// Values by the names above; a name that is not set has none.
#[derive(Default)]
pub(super) struct Draft(Vec<(&'static str, Secret)>);

impl Draft {
    /// Takes a value, unless it is blank: a deployment often empties what it cannot remove.
    pub(super) fn set(&mut self, name: &'static str, value: &Secret) {
        if !value.expose().trim().is_empty() {
            self.0.push((name, value.clone()));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| *found == name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, name: &str) -> Option<Secret> {
        let at = self.0.iter().position(|(found, _)| *found == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn take_plain(&mut self, name: &str) -> Option<String> {
        Some(self.take(name)?.expose().trim().to_owned())
    }

    /// What is still missing, as `spelled` by the place it was looked for in.
    fn missing(&self, spelled: &dyn Fn(&str) -> String) -> Vec<String> {
        let mut missing: Vec<String> = ["Authority", "ClientId"]
            .into_iter()
            .filter(|name| !self.has(name))
            .map(spelled)
            .collect();
        if !KEYS.iter().any(|key| self.has(key)) {
            let keys = [KEYS[0], KEYS[1], KEYS[3]].map(spelled);
            missing.push(format!("a key ({}, {} or {})", keys[0], keys[1], keys[2]));
        }
        missing
    }

    /// The settings, or what is missing. `source` is how messages name where they were found.
    ///
    /// # Errors
    ///
    /// Where there is more than one key.
    pub(super) fn finish(
        mut self,
        source: String,
        spelled: &dyn Fn(&str) -> String,
    ) -> Result<Finding> {
        let missing = self.missing(spelled);
        if !missing.is_empty() {
            return Ok(Finding::Incomplete(missing));
        }
        let authority = self.take_plain("Authority").unwrap_or_default();
        let client_id = self.take_plain("ClientId").unwrap_or_default();
        let mut settings = MaskinportenSettings::new(authority, client_id);
        settings.jwk = self.take("Jwk");
        settings.jwk_base64 = self.take("JwkBase64");
        settings.jwks = self.take("Jwks");
        settings.pem = self.take("Pem");
        settings.previous_jwk = self.take("PreviousJwk");
        settings.kid = self.take_plain("Kid");
        settings.key_password = self.take("KeyPassword");
        settings.certificate = self.take("Certificate");
        settings.token_endpoint = self.take_plain("TokenEndpoint");
        settings.scopes = self.take_plain("Scopes");
        settings.source = source;
        Ok(settings.with_one_key()?.into())
    }
}

/// Tells what to do with a credential that is found and cannot be read here.
pub(super) fn foreign(place: &str, name: &str, what: &str) -> Error {
    let message = format!("{place} cannot be used: `{name}` is {what}, which is not read here");
    Error::settings(message).with_advice(&advice::FOREIGN_KEYSTORE)
}
