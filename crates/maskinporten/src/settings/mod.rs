//! What an operator writes, one file per place it is found; parsed once.

mod altinn;
mod authority;
mod discover;
mod file;
mod json;
mod jwk;
mod names;
mod variables;

use std::fmt;
use std::path::Path;

use crate::advice;
use crate::error::{Error, Result};
use crate::key::SigningKey;
use crate::key::members::{Member, Members};
use crate::secret::Secret;

pub use altinn::AltinnSettings;
pub use authority::Authority;

use variables::Variables;

const NO_KEY: &str = "a key is missing (`Jwk`, `JwkBase64` or `Pem`)";

/// Who we are to Maskinporten: the authority, the client id and the client's key.
///
/// - Settings are taken whole from one place and never put together of two: credentials of two
///   clients mixed would be refused by the token server with a message that helps nobody.
/// - They name an authority, a client id and exactly one key: [`jwk`](MaskinportenSettings::jwk),
///   [`jwk_base64`](MaskinportenSettings::jwk_base64) or [`pem`](MaskinportenSettings::pem).
/// - A place that holds some of it and not all is told by what it lacks, never passed over in
///   silence; so is a place that was found and not used.
/// - Messages name files, sections, variables and members, never what stands in them.
///
/// ```
/// use maskinporten::MaskinportenSettings;
///
/// let json = r#"{"MaskinportenSettings": {"Authority": "test", "ClientId": "my-client"}}"#;
/// let error = MaskinportenSettings::from_json(json, MaskinportenSettings::DEFAULT_SECTION)
///     .unwrap_err();
/// assert!(error.to_string().contains("a key is missing"));
/// ```
///
/// Secret members print as `[redacted]`, are wiped when dropped and are never serialised.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MaskinportenSettings {
    /// The authority: a URL, or `prod`, `test` or `dev`. See [`Authority`] for how it is read.
    pub authority: String,
    /// The client's identifier in the self-service portal: `iss` of every assertion.
    pub client_id: String,
    /// The private key as one JWK.
    pub jwk: Option<Secret>,
    /// The private key as one JWK in base64.
    pub jwk_base64: Option<Secret>,
    /// The private key as a PEM (PKCS#8 or PKCS#1), which needs a `kid` beside it.
    pub pem: Option<Secret>,
    /// The identifier the key is registered under. It wins over the one inside a JWK.
    pub kid: Option<String>,
    source: String,
    not_used: Vec<String>,
}

impl MaskinportenSettings {
    /// The section that settings stand in unless another is named.
    pub const DEFAULT_SECTION: &str = "MaskinportenSettings";

    /// Settings written in code. A key is still to be added.
    ///
    /// `authority` is a URL, or `prod`, `test` or `dev`.
    #[must_use]
    pub fn new(authority: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            authority: authority.into(),
            client_id: client_id.into(),
            jwk: None,
            jwk_base64: None,
            pem: None,
            kid: None,
            source: "code".to_owned(),
            not_used: Vec::new(),
        }
    }

    /// Signs with this private JWK.
    #[must_use]
    pub fn with_jwk(mut self, jwk: impl Into<Secret>) -> Self {
        self.jwk = Some(jwk.into());
        self
    }

    /// Signs with this private JWK in base64.
    #[must_use]
    pub fn with_jwk_base64(mut self, jwk: impl Into<Secret>) -> Self {
        self.jwk_base64 = Some(jwk.into());
        self
    }

    /// Signs with this PEM; [`with_kid`](Self::with_kid) tells its identifier.
    #[must_use]
    pub fn with_pem(mut self, pem: impl Into<Secret>) -> Self {
        self.pem = Some(pem.into());
        self
    }

    /// The identifier the key is registered under, over the one inside a JWK.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Reads JSON: the settings themselves, or an object that holds them under `section`.
    ///
    /// A section may lie deeper: `myapp:MaskinportenSettings`, its levels separated by `:`, `__` or
    /// `--`. Names are read in any case.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings), naming everything that is missing or of
    /// the wrong type. The key itself is read by [`signing_key`](Self::signing_key).
    pub fn from_json(json: &str, section: &str) -> Result<Self> {
        json::read(json, section, "settings JSON")
    }

    /// Reads a JSON file as [`from_json`](Self::from_json) reads its text.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and where the file cannot be read, is larger than 1 MiB or
    /// is not UTF-8. Every message names the file.
    pub fn from_file(path: impl AsRef<Path>, section: &str) -> Result<Self> {
        let path = path.as_ref();
        let text = file::settings(path)?;
        json::read(&text, section, &format!("settings file {}", path.display()))
    }

    /// Reads the environment of this process, in either of two shapes and never a mix of them:
    ///
    /// 1. `MaskinportenSettings__Authority`, `__ClientId`, `__Kid` and the key as `__JwkBase64`,
    ///    `__Jwk` (the whole JSON), `__Jwk__n` … (member by member) or `__Pem`; in any case;
    /// 2. `MASKINPORTEN_CLIENT_ID`, `MASKINPORTEN_KEY_FILE` (a JWK or PEM), `MASKINPORTEN_KID`, and
    ///    the authority as `MASKINPORTEN_ISSUER`, `_AUDIENCE` or `_AUTHORITY`.
    ///
    /// A blank variable counts as not set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where neither shape is complete, telling
    /// what each lacks, and where both are and name different clients.
    pub fn from_env() -> Result<Self> {
        let variables = Variables::of_process()?;
        discover::in_environment(&variables, Self::DEFAULT_SECTION)
    }

    /// Reads variables as [`from_env`](Self::from_env) reads those of the process, with `section`
    /// in place of `MaskinportenSettings`; the levels of a section path are separated by `__`.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
        section: &str,
    ) -> Result<Self> {
        discover::in_environment(&Variables::new(vars), section)
    }

    /// Looks in every place settings are found in, the first that has them winning: the file that
    /// `MASKINPORTEN_SETTINGS_FILE` names, then the environment as [`from_env`](Self::from_env).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where no place has them, telling of each
    /// what it lacks. A file that is named and cannot be used is an error whatever else is set.
    pub fn discover() -> Result<Self> {
        discover::anywhere(&Variables::of_process()?, Self::DEFAULT_SECTION)
    }

    /// The authority, checked.
    ///
    /// # Errors
    ///
    /// As [`Authority::parse`].
    pub fn authority(&self) -> Result<Authority> {
        Authority::parse(&self.authority).map_err(|error| self.found_here(&error))
    }

    /// Reads the key. It takes a few milliseconds; keep what it gives.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where there is no key or more than one:
    /// the .NET client takes `JwkBase64` then, and a forgotten key signs. Else as
    /// [`SigningKey::from_jwk`] and its neighbours, with where the key came from.
    pub fn signing_key(&self) -> Result<SigningKey> {
        let kid = self.kid.as_deref();
        match self.keys().as_slice() {
            [("Jwk", jwk)] => SigningKey::from_jwk(jwk, kid),
            [("JwkBase64", jwk)] => SigningKey::from_jwk_base64(jwk, kid),
            [(_, pem)] => SigningKey::from_pem(pem, kid.unwrap_or_default()),
            [] => {
                let message = format!("the settings cannot be used: {NO_KEY}");
                Err(Error::settings(message).with_advice(&advice::NO_SETTINGS))
            }
            keys => Err(two_keys(keys)),
        }
        .map_err(|error| self.found_here(&error))
    }

    /// Where the settings came from, what they name and what was found and not used, for a log line
    /// or a report. Nothing in it is secret.
    #[must_use]
    pub fn described(&self) -> impl fmt::Display + '_ {
        Described(self)
    }

    /// Where the settings came from, in words.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The keys that are given. Blank ones are not.
    fn keys(&self) -> Vec<(&'static str, &str)> {
        [
            ("Jwk", &self.jwk),
            ("JwkBase64", &self.jwk_base64),
            ("Pem", &self.pem),
        ]
        .into_iter()
        .filter_map(|(name, key)| Some((name, key.as_ref()?.expose())))
        .filter(|(_, key)| !key.trim().is_empty())
        .collect()
    }

    fn with_one_key(self) -> Result<Self> {
        let keys = self.keys();
        if keys.len() > 1 {
            return Err(self.found_here(&two_keys(&keys)));
        }
        Ok(self)
    }

    /// The same error, and where what is wrong came from.
    fn found_here(&self, error: &Error) -> Error {
        let message = format!("{error} ({})", self.source);
        let mut located = Error::new(error.kind(), message);
        if let Some(advice) = error.advice() {
            located = located.with_advice(advice);
        }
        for (name, value) in error.details() {
            located = located.with_detail(name, value);
        }
        located.with_detail("source", self.source.as_str())
    }
}

fn two_keys(keys: &[(&'static str, &str)]) -> Error {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let message = format!(
        "the settings hold more than one key: {}",
        names.join(" and ")
    );
    Error::settings(message).with_advice(&advice::ONE_KEY)
}

// ===== impl Described =====

struct Described<'a>(&'a MaskinportenSettings);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.0;
        // As it is used, where it can be: a user name before the host would else be shown.
        match settings.authority() {
            Ok(authority) => match authority.environment() {
                Some(environment) => write!(f, "authority {authority} ({environment})")?,
                None => write!(f, "authority {authority}")?,
            },
            Err(_) => write!(f, "authority [unusable]")?,
        }
        write!(f, ", client id {}", settings.client_id)?;
        match settings.keys().as_slice() {
            [] => f.write_str(", no key")?,
            [(name, text)] => {
                write!(f, ", key {name} [redacted]")?;
                let inside = || kid_inside(text);
                if let Some(kid) = settings.kid.clone().or_else(inside) {
                    write!(f, " with kid {kid}")?;
                }
            }
            _ => f.write_str(", more than one key")?,
        }
        write!(f, ", from {}", settings.source)?;
        for place in &settings.not_used {
            write!(f, "; not used: {place}")?;
        }
        Ok(())
    }
}

fn kid_inside(jwk: &str) -> Option<String> {
    match Members::parse(jwk).ok()?.get("kid")? {
        Member::Text(kid) => Some(kid.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
