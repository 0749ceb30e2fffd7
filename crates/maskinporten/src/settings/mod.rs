//! What an operator writes, one file per place it is found; parsed once.

mod altinn;
mod authority;
mod digdirator;
mod directory;
mod disk;
mod draft;
mod environment;
mod fetch_limit;
mod file;
mod identifier;
mod json;
mod jwk;
mod legacy;
mod local;
mod names;
mod near_miss;
mod platform;
mod request_default;
mod sidecar;
mod source;
mod values;
mod variables;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use http::Uri;

use crate::advice;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fetch_limits::GivenLimits;
use crate::key::members::{Given, Member, Members};
use crate::key::{KeyOptions, SigningKey};
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::signer::{KeyReference, LocalSigner, Signer};

pub use altinn::AltinnSettings;
pub use authority::Authority;
pub use directory::SecretsDirectory;
pub use environment::SettingsVariables;
pub(crate) use fetch_limit::FoundLimits;
pub use file::{AppSettings, SettingsFile};
pub use legacy::{LegacyKey, LegacySettings};
pub(crate) use local::LocalSource;
pub use platform::Platform;
pub use request_default::RequestDefault;
pub(crate) use request_default::RequestDefaults;
pub use sidecar::Sidecar;
pub use source::{Finding, SettingsSource};

pub(crate) use authority::same_origin;
pub(crate) use identifier::shown as shown_identifier;

use authority::checked_url;
use near_miss::NearMiss;

/// Where settings come from that nothing was read for.
const IN_CODE: &str = "code";

const NO_KEY: &str = "a key is missing (`Jwk`, `JwkBase64` or `Pem`)";

/// Who we are to Maskinporten: the authority, the client id and the client's key.
///
/// - Settings are taken whole from one place and never put together of two: credentials of two
///   clients mixed would be refused by the token server with a message that helps nobody.
/// - They name an authority, a client id and exactly one key: [`jwk`](MaskinportenSettings::jwk),
///   [`jwk_base64`](MaskinportenSettings::jwk_base64), [`pem`](MaskinportenSettings::pem), one in
///   [any form](MaskinportenSettings::key), or a [signer](MaskinportenSettings::with_signer) that keeps it
///   elsewhere.
/// - Other keys of the same client may stand beside it ([`jwks`](MaskinportenSettings::jwks),
///   [`previous_jwk`](MaskinportenSettings::previous_jwk)): they sign where the first is refused, so that a
///   rotation has an overlap. A set alone is a key too: the one that `kid` names signs, else the one that
///   ends last.
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
#[derive(Clone)]
#[non_exhaustive]
pub struct MaskinportenSettings {
    /// The authority: a URL, or `prod`, `test` or `dev`. See [`Authority`] for how it is read. Blank where
    /// [`metadata_url`](Self::metadata_url) alone tells it.
    pub authority: String,
    /// The client's identifier in the self-service portal: `iss` of every assertion.
    pub client_id: String,
    /// The private key as one JWK.
    pub jwk: Option<Secret>,
    /// The private key as one JWK in base64.
    pub jwk_base64: Option<Secret>,
    /// The private keys of the client as a JWK set (RFC 7517 §5).
    pub jwks: Option<Secret>,
    /// The private key as a PEM (PKCS#8 or PKCS#1), which needs a `kid` or a certificate beside it.
    pub pem: Option<Secret>,
    /// The private key in whichever form [`SigningKey::read`] reads, binary ones in base64.
    pub key: Option<Secret>,
    /// The key that signed before, as a JWK, plain or in base64.
    pub previous_jwk: Option<Secret>,
    /// The identifier the key is registered under. It wins over the one inside a JWK.
    pub kid: Option<String>,
    /// Opens an encrypted key.
    pub key_password: Option<Secret>,
    /// The enterprise certificate of the key and those above it, as PEM: sent in place of a `kid`.
    pub certificate: Option<Secret>,
    /// Where grants are sent, whatever the authority publishes.
    pub token_endpoint: Option<String>,
    /// Where the authority publishes its metadata (`MASKINPORTEN_WELL_KNOWN_URL`), asked exactly as it
    /// stands. The default is below the authority.
    ///
    /// Without an authority the issuer is the one in the metadata, which must fit this address; with one,
    /// both have the same origin. An authority that is one of Digdir's environments is not asked, and neither is
    /// any with a `token_endpoint`: an address of another origin is ignored then, with a warning.
    pub metadata_url: Option<String>,
    /// The scopes that the client is registered with, where the platform tells them; separated by spaces.
    pub scopes: Option<String>,
    /// The organisation that requests are to be made on behalf of, as it was found with the settings
    /// (`MASKINPORTEN_CONSUMER_ORG`, `ConsumerOrgNo`). Never applied: see [`RequestDefault`].
    pub consumer_org: Option<RequestDefault>,
    /// The API that tokens are to be for, as it was found with the settings (`MASKINPORTEN_RESOURCE`,
    /// `Resource`). Never applied: see [`RequestDefault`].
    pub resource: Option<RequestDefault>,
    /// The limits of the fetch queue, where they were found.
    limits: FoundLimits,
    signers: Vec<Arc<dyn Signer>>,
    /// Which of Digdir's environments it is, where that is told and the authority does not show it.
    environment: Option<Environment>,
    /// Whether they are made of settings of the .NET package, which has other names for the same.
    is_of_package: bool,
    source: String,
    /// What stood beside them in the same place and was not used.
    passed_over: Vec<String>,
    /// Names in the same place that are not read, where the ones they resemble are not given.
    near_misses: Vec<NearMiss>,
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
            jwks: None,
            pem: None,
            key: None,
            previous_jwk: None,
            kid: None,
            key_password: None,
            certificate: None,
            token_endpoint: None,
            metadata_url: None,
            scopes: None,
            consumer_org: None,
            resource: None,
            limits: FoundLimits::default(),
            signers: Vec::new(),
            environment: None,
            is_of_package: false,
            source: IN_CODE.to_owned(),
            passed_over: Vec::new(),
            near_misses: Vec::new(),
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

    /// Signs with this key, in whichever form [`SigningKey::read`] reads.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Secret>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Signs with the keys of this JWK set.
    #[must_use]
    pub fn with_jwks(mut self, jwks: impl Into<Secret>) -> Self {
        self.jwks = Some(jwks.into());
        self
    }

    /// Signs with this private JWK where the key itself is refused.
    #[must_use]
    pub fn with_previous_jwk(mut self, jwk: impl Into<Secret>) -> Self {
        self.previous_jwk = Some(jwk.into());
        self
    }

    /// Signs elsewhere: in a vault, an HSM. A second signer, and a third, sign where the one before is
    /// refused.
    #[must_use]
    pub fn with_signer(mut self, signer: impl Signer) -> Self {
        self.signers.push(Arc::new(signer));
        self
    }

    /// The identifier the key is registered under, over the one inside a JWK.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Opens an encrypted key.
    #[must_use]
    pub fn with_key_password(mut self, password: impl Into<Secret>) -> Self {
        self.key_password = Some(password.into());
        self
    }

    /// Sends this enterprise certificate, and those above it, in place of a `kid`.
    #[must_use]
    pub fn with_certificate(mut self, certificate: impl Into<Secret>) -> Self {
        self.certificate = Some(certificate.into());
        self
    }

    /// Reads JSON: the settings themselves, or an object that holds them under `section`.
    ///
    /// A section may lie deeper: `myapp:MaskinportenSettings`, its levels separated by `:`, `__` or
    /// `--`. Names are read in any case, and may be flat: `"MaskinportenSettings:ClientId"`. The object
    /// `Values` of a `local.settings.json` is read as variables are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings), naming everything that is missing, of the wrong
    /// type, or given twice with two values. The hint tells where the settings are those of the .NET package
    /// Altinn.ApiClients.Maskinporten: see [`LegacySettings`]. The key itself is read by
    /// [`signing_key`](Self::signing_key).
    pub fn from_json(json: &str, section: &str) -> Result<Self> {
        json::read(json, section, "settings JSON")
    }

    /// Reads a JSON file as [`from_json`](Self::from_json) reads its text.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and where the file cannot be read, is larger than 1 MiB or
    /// is text neither in UTF-8 nor in UTF-16 with its byte order mark. Every message names the file.
    pub fn from_file(path: impl AsRef<Path>, section: &str) -> Result<Self> {
        let file = SettingsFile::new(path.as_ref());
        file.with_section(section).read()
    }

    /// Reads the environment of this process: see [`SettingsVariables`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where neither shape is complete, telling
    /// what each lacks, and where both are and name different clients.
    pub fn from_env() -> Result<Self> {
        Platform::of_process().in_variables()
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
        Platform::new(vars).with_section(section).in_variables()
    }

    /// The authority, checked.
    ///
    /// # Errors
    ///
    /// As [`Authority::parse`], and where the address of its metadata cannot be used or is of another
    /// origin.
    pub fn authority(&self) -> Result<Authority> {
        self.checked_authority()
            .map_err(|error| self.found_here(&error))
    }

    /// The client id, checked.
    pub(crate) fn checked_client_id(&self) -> Result<&str> {
        self.check_identifier("client id", "client_id", &self.client_id)?;
        Ok(&self.client_id)
    }

    fn check_identifier(&self, what: &str, field: &str, text: &str) -> Result<()> {
        let name = format!("`{field}`");
        identifier::check(what, &name, text, self.given_key())
            .map_err(|error| self.found_here(&error))
    }

    fn checked_authority(&self) -> Result<Authority> {
        match (self.authority.trim(), given(&self.metadata_url)) {
            ("", Some(url)) => Authority::of_metadata(url),
            (authority, Some(url)) => {
                let is_pinned = given(&self.token_endpoint).is_some();
                Authority::parse(authority)?.with_metadata_url(url, is_pinned)
            }
            (authority, None) => Authority::parse(authority),
        }
    }

    /// The name of the metadata's address, where one of another origin than the issuer's is given and not asked.
    fn unused_metadata_url(&self) -> Option<&'static str> {
        let url: Uri = given(&self.metadata_url)?.parse().ok()?;
        let authority = self.checked_authority().ok()?;
        let is_used = same_origin(&url, authority.metadata_url());
        let name = match self.source.as_str() {
            IN_CODE => "metadata_url",
            _ => names::WELL_KNOWN_URL,
        };
        (!is_used).then_some(name)
    }

    /// The scopes that the client is registered with, where the platform tells them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where they are no scopes.
    pub fn scope_set(&self) -> Result<Option<ScopeSet>> {
        given(&self.scopes)
            .map(|scopes| ScopeSet::new([scopes]))
            .transpose()
            .map_err(|error| self.found_here(&error))
    }

    /// Reads the keys, the one that signs first first. It takes a few milliseconds for each; keep what it
    /// gives. There are none where signers stand in their place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where there is no key or more than one that
    /// could be meant: the .NET client takes `JwkBase64` then, and a forgotten key signs. The same where the
    /// `kid` that is given with them cannot be one, such as a key in its place. Else as
    /// [`SigningKey::read`], with where the key came from.
    pub fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        if let Some(kid) = &self.kid {
            self.check_identifier("kid", "kid", kid)?;
        }
        self.read_keys().map_err(|error| {
            let mut place = self.source.clone();
            // What the key lacks may stand under a name that is not read.
            for near in &self.near_misses {
                if near.setting.is_lacked_by(&error) {
                    place.push_str(&format!("; {near}"));
                }
            }
            let located = located(&error, &place);
            match error.advice() {
                Some(found) if self.is_of_package && advice::is_of_password(found) => {
                    located.with_advice(&advice::LEGACY_PASSWORD)
                }
                _ => located,
            }
        })
    }

    /// Reads the key that signs first: see [`signing_keys`](Self::signing_keys).
    ///
    /// # Errors
    ///
    /// As [`signing_keys`](Self::signing_keys), and where signers stand in the keys' place.
    pub fn signing_key(&self) -> Result<SigningKey> {
        let first = self.signing_keys()?.into_iter().next();
        first.ok_or_else(|| {
            let message = "the settings hold no key but signers, which do not show theirs";
            self.found_here(&Error::settings(message).with_advice(&advice::NO_SETTINGS))
        })
    }

    fn read_keys(&self) -> Result<Vec<SigningKey>> {
        let mut options = KeyOptions::new();
        if let Some(kid) = &self.kid {
            options = options.with_kid(kid);
        }
        if let Some(password) = &self.key_password {
            options = options.with_password(password.clone());
        }
        if let Some(certificate) = &self.certificate {
            options = options.with_certificates(certificate.clone());
        }
        let jwks = self.jwks.as_ref().map(Secret::expose);
        let jwks = jwks.filter(|text| !text.trim().is_empty());
        let mut keys = match (self.keys().as_slice(), jwks) {
            ([("JwkBase64", jwk)], _) => {
                vec![SigningKey::from_jwk_base64(jwk, self.kid.as_deref())?]
            }
            ([(_, key)], _) => SigningKey::read_set(key.as_bytes(), &options)?,
            ([], Some(set)) => SigningKey::read_set(set.as_bytes(), &options)?,
            ([], None) if !self.signers.is_empty() => Vec::new(),
            ([], None) => {
                let message = format!("the settings cannot be used: {NO_KEY}");
                return Err(Error::settings(message).with_advice(&advice::NO_SETTINGS));
            }
            (keys, _) => return Err(two_keys(keys)),
        };
        let others = [self.previous_jwk.as_ref(), self.jwks.as_ref()].into_iter();
        for text in others
            .flatten()
            .filter(|text| !text.expose().trim().is_empty())
        {
            for key in SigningKey::read_beside(text.expose().as_bytes())? {
                let is_known = |known: &SigningKey| known.public_jwk() == key.public_jwk();
                if !keys.iter().any(is_known) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    /// What signs, the first first; refused where it is not of the authority's environment, or its
    /// certificate is not in date. A JWK that has ended by its own `exp` is not refused: whoever
    /// registers a key again gives it another year, and the JWK does not know.
    pub(crate) fn signers(
        &self,
        authority: &Authority,
        now: SystemTime,
    ) -> Result<Vec<Arc<dyn Signer>>> {
        let mut signers = self.signers.clone();
        for key in self.signing_keys()? {
            let environment = authority.environment().or(self.environment);
            check_key(&key, environment, now).map_err(|error| self.found_here(&error))?;
            signers.push(Arc::new(LocalSigner::new(key)));
        }
        Ok(signers)
    }

    /// The limits of the fetch queue, checked, where they were found with the settings.
    pub(crate) fn fetch_limits(&self) -> Result<GivenLimits> {
        self.limits
            .checked()
            .map_err(|error| self.found_here(&error))
    }

    /// Which of Digdir's environments they are of, where that is known.
    pub(crate) fn environment(&self) -> Result<Option<Environment>> {
        Ok(self.authority()?.environment().or(self.environment))
    }

    /// Where grants are sent, checked, where the settings tell.
    pub(crate) fn token_endpoint(&self) -> Result<Option<Uri>> {
        given(&self.token_endpoint)
            .map(|url| checked_url(url, "token endpoint", &advice::AUTHORITY))
            .transpose()
            .map_err(|error| self.found_here(&error))
    }

    /// Whether a client made of these would be the same as one made of others, to the last key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.signers.iter(), other.signers.iter());
        self.parts() == other.parts()
            && mine.len() == theirs.len()
            && mine
                .zip(theirs)
                .all(|(mine, theirs)| Arc::ptr_eq(mine, theirs))
    }

    /// All that a grant is made of, signers aside.
    fn parts(&self) -> [Option<&str>; 13] {
        // Taken apart by name, so that a new field is not forgotten here.
        let Self {
            authority,
            client_id,
            jwk,
            jwk_base64,
            jwks,
            pem,
            key,
            previous_jwk,
            kid,
            key_password,
            certificate,
            token_endpoint,
            metadata_url,
            scopes: _,
            consumer_org: _,
            resource: _,
            limits: _,
            signers: _,
            environment: _,
            is_of_package: _,
            source: _,
            passed_over: _,
            near_misses: _,
        } = self;
        [
            Some(authority),
            Some(client_id),
            kid.as_deref(),
            token_endpoint.as_deref(),
            metadata_url.as_deref(),
            jwk.as_ref().map(Secret::expose),
            jwk_base64.as_ref().map(Secret::expose),
            jwks.as_ref().map(Secret::expose),
            pem.as_ref().map(Secret::expose),
            key.as_ref().map(Secret::expose),
            previous_jwk.as_ref().map(Secret::expose),
            key_password.as_ref().map(Secret::expose),
            certificate.as_ref().map(Secret::expose),
        ]
    }

    /// Where the settings came from and what they name, for a log line or a report. Nothing in it is
    /// secret.
    pub fn describe(&self) -> impl fmt::Display + '_ {
        Description(self)
    }

    /// Where the settings came from, in words.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether they were read from another file, directory or section.
    pub(crate) fn is_from_elsewhere_than(&self, other: &Self) -> bool {
        self.source != other.source && self.source != IN_CODE && other.source != IN_CODE
    }

    /// What stood beside them in the same place and was not used.
    pub(crate) fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Names that stand with them and are not used: defaults for requests, and names that are nearly ours.
    fn unused_names(&self) -> Vec<String> {
        let defaults = self.consumer_org.iter().chain(&self.resource);
        let defaults = defaults.map(|default| default.name().to_owned());
        let near = self.certain_near_misses();
        let near = near.map(|near| near.described().to_string());
        let address = self.unused_metadata_url().into_iter();
        let address = address.map(|name| format!("{name} (of another origin than the issuer)"));
        defaults.chain(near).chain(address).collect()
    }

    fn certain_near_misses(&self) -> impl Iterator<Item = &NearMiss> {
        self.near_misses.iter().filter(|near| !near.is_doubtful)
    }

    /// Warns of each name that is found and not used.
    pub(crate) fn warn_of_unused_names(&self) {
        for default in self.consumer_org.iter().chain(&self.resource) {
            default.warn(&self.source);
        }
        if let Some(name) = self.unused_metadata_url() {
            tracing::warn!(
                target: "maskinporten::settings",
                name,
                source = self.source,
                "this address has another origin than the issuer and is not asked: issuer and token endpoint are known without it"
            );
        }
        for near in self.certain_near_misses() {
            near.warn(&self.source);
        }
    }

    /// The keys that are given. Blank ones are not.
    fn keys(&self) -> Vec<(&'static str, &str)> {
        [
            ("Jwk", &self.jwk),
            ("JwkBase64", &self.jwk_base64),
            ("Pem", &self.pem),
            ("Key", &self.key),
        ]
        .into_iter()
        .filter_map(|(name, key)| Some((name, key.as_ref()?.expose())))
        .filter(|(_, key)| !key.trim().is_empty())
        .collect()
    }

    /// The key that is given, or else the set.
    fn given_key(&self) -> Option<(&'static str, &str)> {
        let set = || Some(("Jwks", self.jwks.as_ref()?.expose()));
        self.keys().first().copied().or_else(set)
    }

    fn with_one_key(self) -> Result<Self> {
        let keys = self.keys();
        if keys.len() > 1 {
            return Err(self.found_here(&two_keys(&keys)));
        }
        Ok(self)
    }

    fn found_here(&self, error: &Error) -> Error {
        located(error, &self.source)
    }
}

/// A text that is given: one that is not blank.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// The same error, and where what is wrong came from.
fn located(error: &Error, source: &str) -> Error {
    let message = format!("{error} ({source})");
    let mut located = Error::new(error.kind(), message);
    if let Some(advice) = error.advice() {
        located = located.with_advice(advice);
    }
    for (name, value) in error.details() {
        located = located.with_detail(name, value);
    }
    located.with_detail("source", source)
}

fn check_key(key: &SigningKey, ours: Option<Environment>, now: SystemTime) -> Result<()> {
    let what = match key.key_reference() {
        KeyReference::Chain(_) => {
            key.check_dates(now)?;
            "the certificate".to_owned()
        }
        KeyReference::Kid(kid) => format!("the key {kid}"),
    };
    match (key.environment(), ours) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let message = format!("{what} is of {theirs} and the authority of {ours}");
            Err(Error::settings(message).with_advice(&advice::CROSSED_CREDENTIALS))
        }
        _ => Ok(()),
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

fn two_clients(first: &MaskinportenSettings, other: &MaskinportenSettings) -> Error {
    let message = format!(
        "two places name two clients: {} has {} and {} has {}",
        first.source,
        shown_identifier(&first.client_id),
        other.source,
        shown_identifier(&other.client_id)
    );
    Error::settings(message).with_advice(&advice::TWO_CLIENTS)
}

// ===== impl Debug =====

impl fmt::Debug for MaskinportenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart by name, so that a new field is not forgotten here.
        let Self {
            authority,
            client_id,
            jwk,
            jwk_base64,
            jwks,
            pem,
            key,
            previous_jwk,
            kid,
            key_password,
            certificate,
            token_endpoint,
            metadata_url,
            scopes,
            consumer_org,
            resource,
            limits,
            signers,
            environment,
            is_of_package,
            source,
            passed_over,
            near_misses,
        } = self;
        // What is not what it should be may be a key that was put there.
        let scopes = scopes.as_deref().map(|scopes| {
            let mut words = scopes.split_whitespace();
            let is_shown = words.all(|word| shown_identifier(word) == word);
            if is_shown { scopes } else { "[unusable]" }
        });
        f.debug_struct("MaskinportenSettings")
            .field("authority", &authority::debug(authority))
            .field("client_id", &shown_identifier(client_id))
            .field("jwk", jwk)
            .field("jwk_base64", jwk_base64)
            .field("jwks", jwks)
            .field("pem", pem)
            .field("key", key)
            .field("previous_jwk", previous_jwk)
            .field("kid", &kid.as_deref().map(shown_identifier))
            .field("key_password", key_password)
            .field("certificate", certificate)
            .field(
                "token_endpoint",
                &token_endpoint.as_deref().map(authority::debug),
            )
            .field(
                "metadata_url",
                &metadata_url.as_deref().map(authority::debug),
            )
            .field("scopes", &scopes)
            .field("consumer_org", consumer_org)
            .field("resource", resource)
            .field("limits", limits)
            .field("signers", signers)
            .field("environment", environment)
            .field("is_of_package", is_of_package)
            .field("source", source)
            .field("passed_over", passed_over)
            .field("near_misses", near_misses)
            .finish()
    }
}

// ===== impl Description =====

struct Description<'a>(&'a MaskinportenSettings);

impl fmt::Display for Description<'_> {
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
        write!(f, ", client id {}", shown_identifier(&settings.client_id))?;
        match settings.keys().as_slice() {
            [] if settings.jwks.is_some() => f.write_str(", keys Jwks [redacted]")?,
            [] => match settings.signers.as_slice() {
                [] => f.write_str(", no key")?,
                [first, ..] => match first.key_reference() {
                    KeyReference::Kid(kid) => {
                        write!(f, ", a signer with kid {}", shown_identifier(kid))?;
                    }
                    KeyReference::Chain(_) => f.write_str(", a signer with a certificate")?,
                },
            },
            [(name, text)] => {
                write!(f, ", key {name} [redacted]")?;
                let inside = || kid_inside(text);
                if let Some(kid) = settings.kid.clone().or_else(inside) {
                    write!(f, " with kid {}", shown_identifier(&kid))?;
                }
            }
            _ => f.write_str(", more than one key")?,
        }
        for limit in settings.limits.described() {
            write!(f, ", {limit}")?;
        }
        write!(f, ", from {}", settings.source)?;
        let unused = settings.unused_names();
        if !unused.is_empty() {
            write!(f, ", found and not used: {}", unused.join(", "))?;
        }
        Ok(())
    }
}

fn kid_inside(jwk: &str) -> Option<String> {
    match Members::parse(jwk).ok()?.given("kid") {
        Given::One(Member::Text(kid), _) => Some(kid.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
