//! What was found of settings in one place, before it is known whether that is all.

use crate::advice;
use crate::error::{Error, Result};
use crate::secret::Secret;

use super::values::{Problems, Section};
use super::{Finding, MaskinportenSettings, jwk, legacy};

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

/// Whether a name at the top of a JSON text tells that settings stand there without a section.
pub(super) fn is_mark(name: &str) -> bool {
    // Not `Kid`, which a bare key has too.
    let mut marks = ["Authority", "ClientId"].iter().chain(&KEYS);
    marks.any(|mark| mark.eq_ignore_ascii_case(name))
}

/// What a section comes to.
///
/// # Errors
///
/// Everything that is of the wrong type or given twice, with what is missing; a key that cannot be read here,
/// where it is the only one; more than one key.
pub(super) fn read(section: &Section) -> Result<Finding> {
    let mut draft = Draft::default();
    let mut problems = Problems::default();
    for name in NAMES {
        let found = match name {
            "Jwk" | "PreviousJwk" => jwk::in_section(section, name),
            "Jwks" => jwk::set_in_section(section, name),
            _ => section.text(name).map(|text| text.cloned()),
        };
        match found {
            Ok(value) => draft.values.extend(value.map(|value| (name, value))),
            Err(error) => {
                draft.unusable.push(name);
                problems.add(&error);
            }
        }
    }
    if !KEYS.iter().any(|key| draft.names(key)) && !legacy::is_of_package(section) {
        for (name, what) in FOREIGN {
            if section.has(name) {
                return Err(foreign(section.source(), &section.name(name), what));
            }
        }
    }
    if problems.is_empty() {
        return draft.finish(section);
    }
    for name in draft.missing(section) {
        problems.tell(is_missing(name));
    }
    Err(problems.into_error(section.source(), &advice::SETTINGS_FILE))
}

/// What is missing, as a problem among others.
pub(super) fn is_missing(name: String) -> String {
    match name.strip_prefix("a key ") {
        Some(keys) => format!("a key is missing {keys}"),
        None => format!("{name} is missing"),
    }
}

/// Values by the names above; a name that is not given has none.
#[derive(Default)]
struct Draft {
    values: Vec<(&'static str, Secret)>,
    /// Names that are given and cannot be used.
    unusable: Vec<&'static str>,
}

impl Draft {
    /// Whether a name is given, usable or not.
    fn names(&self, name: &str) -> bool {
        let mut names = self.values.iter().map(|(found, _)| found);
        names.any(|found| *found == name) || self.unusable.contains(&name)
    }

    fn take(&mut self, name: &str) -> Option<Secret> {
        let at = self.values.iter().position(|(found, _)| *found == name)?;
        Some(self.values.swap_remove(at).1)
    }

    fn take_plain(&mut self, name: &str) -> Option<String> {
        Some(self.take(name)?.expose().trim().to_owned())
    }

    /// What is missing, as the place spells it.
    fn missing(&self, section: &Section) -> Vec<String> {
        let mut missing: Vec<String> = ["Authority", "ClientId"]
            .into_iter()
            .filter(|name| !self.names(name))
            .map(|name| section.spelled(name))
            .collect();
        if !KEYS.iter().any(|key| self.names(key)) {
            let keys = [KEYS[0], KEYS[1], KEYS[3]].map(|key| section.spelled(key));
            missing.push(format!("a key ({}, {} or {})", keys[0], keys[1], keys[2]));
        }
        missing
    }

    /// The settings, or what is missing.
    ///
    /// # Errors
    ///
    /// Where there is more than one key.
    fn finish(mut self, section: &Section) -> Result<Finding> {
        let is_there = section.is_object() || legacy::is_of_package(section);
        if self.values.is_empty() && !is_there {
            return Ok(Finding::Nothing);
        }
        let missing = self.missing(section);
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
        section.source().clone_into(&mut settings.source);
        Ok(settings.with_one_key()?.into())
    }
}

/// Tells what to do with a credential that is found and cannot be read here.
pub(super) fn foreign(place: &str, name: &str, what: &str) -> Error {
    let message = format!("{place} cannot be used: `{name}` is {what}, which is not read here");
    Error::settings(message).with_advice(&advice::FOREIGN_KEYSTORE)
}
