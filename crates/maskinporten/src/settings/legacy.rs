//! [`LegacySettings`]: the settings object of the .NET package Altinn.ApiClients.Maskinporten, as it stands.
//!
//! It says more than who the client is: which token is wanted, whether it is exchanged and where, and what
//! becomes of a header that is already there. So it is no place of settings among others
//! ([`SettingsSource`](super::SettingsSource)), which would carry the half of it over and watch that.

use std::error::Error as _;
use std::path::Path;

use crate::advice::{self, Advice};
use crate::authorize::ExistingHeader;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::key::trim;
use crate::organisation::OrganisationNumber;
use crate::request::{TokenKind, TokenRequest};
use crate::secret::Secret;

use super::json::{Document, without_comments};
use super::values::{Problems, Section, levels};
use super::variables::Variables;
use super::{
    AltinnSettings, Authority, MaskinportenSettings, authority, disk, draft, identifier, jwk,
    located,
};

/// Every name that the package reads, as it spells them, and the exchange's a second time without the slip.
const NAMES: [&str; 22] = [
    "Environment",
    "ClientId",
    ENCODED_JWK,
    ENCODED_X509,
    PKCS12_PATH,
    PKCS12_PASSWORD,
    THUMBPRINT,
    "Kid",
    "Scope",
    "Resource",
    "ConsumerOrgNo",
    TOKEN_ENDPOINT,
    AUDIENCE,
    EXCHANGE,
    EXCHANGE_CORRECTED,
    EXCHANGE_ENDPOINT,
    EXCHANGE_ENVIRONMENT,
    "UseAltinnTestOrg",
    "OverwriteAuthorizationHeader",
    "EnableDebugLogging",
    ENTERPRISE_USER[0],
    ENTERPRISE_USER[1],
];

const ENCODED_JWK: &str = "EncodedJwk";

const ENCODED_X509: &str = "EncodedX509";

const PKCS12_PATH: &str = "CertificatePkcs12Path";

const PKCS12_PASSWORD: &str = "CertificatePkcs12Password";

const THUMBPRINT: &str = "CertificateStoreThumbprint";

/// Those of them that hold a key, or name one.
const KEYS: [&str; 4] = [ENCODED_JWK, ENCODED_X509, PKCS12_PATH, THUMBPRINT];

const TOKEN_ENDPOINT: &str = "TokenEndpoint";

/// The issuer, in the package's words.
const AUDIENCE: &str = "AssertionAudience";

/// The package's own spelling.
const EXCHANGE: &str = "ExhangeToAltinnToken";

const EXCHANGE_CORRECTED: &str = "ExchangeToAltinnToken";

const EXCHANGE_ENDPOINT: &str = "TokenExchangeEndpoint";

const EXCHANGE_ENVIRONMENT: &str = "TokenExchangeEnvironment";

/// Who asked Altinn before there were system users. The package ignores them since Altinn answers 410.
const ENTERPRISE_USER: [&str; 2] = ["EnterpriseUserName", "EnterpriseUserPassword"];

/// The settings of the .NET package Altinn.ApiClients.Maskinporten, as an `appsettings.json`, the
/// environment or a vault holds them.
///
/// - They name an `Environment`, or `TokenEndpoint` and `AssertionAudience`; a `ClientId`; and a key. What
///   code sets over there on `ClientSettings` is set on the fields here.
/// - Names are read in any case; a blank value is not given; `true` and `false` may be text. All
///   that is wrong is told at once, by name and never by value.
/// - The key is an `EncodedJwk`. With the cargo feature `pkcs12` it may be an `EncodedX509` or a
///   `CertificatePkcs12Path`; without it they are refused, and a `CertificateStoreThumbprint` always is.
/// - `ver1` and `ver2` are refused, with what takes their place.
/// - `EnableDebugLogging` changes nothing: it wrote signed assertions to the log. Enterprise users are
///   ignored, as the package does, with a warning.
///
/// ```
/// use maskinporten::{ExistingHeader, LegacySettings};
///
/// let appsettings = r#"{
///   "Maskinporten-Config-Path": {
///     "Environment": "test",
///     "ClientId": "our-client",
///     "EncodedJwk": "eyJrdHkiOiAi4oCmIn0=",
///     "ExhangeToAltinnToken": true
///   }
/// }"#;
/// let mut legacy = LegacySettings::from_json(appsettings, "Maskinporten-Config-Path")?;
/// legacy.scope = Some("altinn:serviceowner/instances.read".to_owned());
///
/// let altinn = legacy.altinn()?.expect("they exchange");
/// assert_eq!(altinn.exchange_url().host(), Some("platform.tt02.altinn.no"));
/// assert_eq!(legacy.existing_header(), ExistingHeader::Keep);
/// assert_eq!(legacy.settings().authority, "https://test.maskinporten.no/");
/// # Ok::<(), maskinporten::Error>(())
/// ```
///
/// The crate `tower-maskinporten` has a layer that is made of them, `LegacyAuthLayer`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LegacySettings {
    /// `Environment`: `prod`, `test` or `dev`. It may be missing where `TokenEndpoint` and
    /// `AssertionAudience` are both given.
    pub environment: Option<Environment>,
    /// `ClientId`.
    pub client_id: String,
    /// `EncodedJwk`, `EncodedX509` or `CertificatePkcs12Path`.
    pub key: LegacyKey,
    /// `Kid`: wins over the one inside the JWK.
    pub kid: Option<String>,
    /// `Scope`: scopes, separated by spaces. Often set in code.
    pub scope: Option<String>,
    /// `Resource`: the API that the token is for.
    pub resource: Option<String>,
    /// `ConsumerOrgNo`: the organisation on whose behalf it is.
    pub consumer_org_no: Option<String>,
    /// `TokenEndpoint`: where grants are sent. That of `Environment` where it is not given.
    pub token_endpoint: Option<String>,
    /// `AssertionAudience`: the issuer, and the audience of every assertion. That of `Environment` where it
    /// is not given.
    pub assertion_audience: Option<String>,
    /// `ExhangeToAltinnToken`, or as one would spell it: whether Altinn's token is wanted.
    pub exchange_to_altinn_token: bool,
    /// `TokenExchangeEndpoint`: the whole address that tokens are exchanged at. It wins over
    /// `TokenExchangeEnvironment`.
    pub token_exchange_endpoint: Option<String>,
    /// `TokenExchangeEnvironment`: `prod`, `tt02`, `test`, `at21` to `at24` or `yt01`. The Altinn of
    /// `Environment` where it is not given.
    pub token_exchange_environment: Option<String>,
    /// `UseAltinnTestOrg`: asks for `ttd`; see [`AltinnSettings::test_org`].
    pub use_altinn_test_org: bool,
    /// `OverwriteAuthorizationHeader`: whether a header that is already there is replaced.
    pub overwrite_authorization_header: bool,
    source: String,
}

/// The key of [`LegacySettings`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LegacyKey {
    /// `EncodedJwk`: the private JWK in base64.
    Jwk(Secret),
    /// The key and its certificate in a PKCS#12, which are sent as `x5c`. It signs with the cargo feature
    /// `pkcs12`.
    Pkcs12 {
        /// The PKCS#12 in base64: `EncodedX509`, or what the file at `CertificatePkcs12Path` held when the
        /// settings were read. A relative path starts at the directory that the process works in.
        content: Secret,
        /// `CertificatePkcs12Password`; empty for an `EncodedX509`.
        password: Secret,
    },
}

impl LegacySettings {
    /// Reads JSON: the settings themselves, or an object that holds them under `section`, as
    /// [`MaskinportenSettings::from_json`] reads its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings), naming everything that is missing, not
    /// understood or no longer served, and a file at `CertificatePkcs12Path` that cannot be read. The key
    /// itself is read when a client is made.
    pub fn from_json(json: &str, section: &str) -> Result<Self> {
        Self::of_json(json, section, "legacy settings JSON")
    }

    /// Reads a JSON file as [`from_json`](Self::from_json) reads its text.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and where the file cannot be read, is larger than 1 MiB or is
    /// text neither in UTF-8 nor in UTF-16 with its byte order mark.
    pub fn from_file(path: impl AsRef<Path>, section: &str) -> Result<Self> {
        let path = path.as_ref();
        let json = disk::settings(path)?;
        Self::of_json(
            &json,
            section,
            &format!("legacy settings file {}", path.display()),
        )
    }

    /// Whether a JSON file holds settings of the package under `section`, or bare: it has an `Environment`, an
    /// `AssertionAudience` or one of the package's keys, and neither an `Authority` nor a key of
    /// [`MaskinportenSettings`]. Nothing more is checked.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, is larger than 1 MiB or is no JSON object, and where something else
    /// than an object is in the section's place.
    pub fn is_in_file(path: impl AsRef<Path>, section: &str) -> Result<bool> {
        let path = path.as_ref();
        let json = disk::settings(path)?;
        let json = without_comments(trim(&json));
        let place = format!("settings file {}", path.display());
        let found = Document::parse(&json, &place)?.section(section, &is_bare)?;
        Ok(found.as_ref().is_some_and(is_of_package))
    }

    /// Reads the environment of this process: `Maskinporten-Config-Path__ClientId` for a section of that name.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and where a variable of the section is not UTF-8.
    pub fn from_env(section: &str) -> Result<Self> {
        let variables = Variables::of_process(section)?;
        Self::of_values(variables.all(), section, "__", "the variables")
    }

    /// Reads flat names and their values, as a vault has them: `Maskinporten-Config-Path--ClientId`.
    ///
    /// Levels are separated by `:`, `__` or `--`. Names of other sections are left alone. `place` is how
    /// messages name where they were found.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and where one name stands there twice with two values.
    pub fn from_values(
        values: impl IntoIterator<Item = (String, Secret)>,
        section: &str,
        place: &str,
    ) -> Result<Self> {
        let values: Vec<_> = values.into_iter().collect();
        Self::of_values(&values, section, "--", place)
    }

    fn of_json(json: &str, section: &str, place: &str) -> Result<Self> {
        let ours = |error: Error| error.with_advice(&advice::LEGACY_SETTINGS);
        let json = without_comments(trim(json));
        let document = Document::parse(&json, place).map_err(ours)?;
        match document.section(section, &is_bare).map_err(ours)? {
            Some(found) => Reading::of(&found).finish(),
            None => Err(document.lacks(section, &advice::LEGACY_SETTINGS)),
        }
    }

    fn of_values(
        values: &[(String, Secret)],
        section: &str,
        separator: &'static str,
        place: &str,
    ) -> Result<Self> {
        let path = levels(section).join(separator);
        let source = format!("{place}, section {path}");
        let found = Section::of_values(values, section, separator, source);
        if !NAMES.iter().any(|name| found.has(name)) {
            let message = format!("{place} cannot be used: nothing of the section {path} is there");
            return Err(Error::settings(message).with_advice(&advice::LEGACY_SETTINGS));
        }
        Reading::of(&found).finish()
    }

    /// Who the client is: authority, client id and key.
    #[must_use]
    pub fn settings(&self) -> MaskinportenSettings {
        let audience = given(self.assertion_audience.as_deref());
        let authority = audience.or_else(|| self.environment.map(Environment::authority));
        let mut settings =
            MaskinportenSettings::new(authority.unwrap_or_default(), self.client_id.clone());
        match &self.key {
            LegacyKey::Jwk(jwk) => settings.jwk_base64 = Some(jwk.clone()),
            LegacyKey::Pkcs12 { content, password } => {
                settings.key = Some(content.clone());
                settings.key_password = Some(password.clone());
            }
        }
        settings.kid = given(self.kid.as_deref()).map(str::to_owned);
        let endpoint = given(self.token_endpoint.as_deref()).map(str::to_owned);
        // An audience says nothing of where grants are sent: without an address that is the environment's.
        let of_environment = || {
            let authority = Authority::parse(self.environment?.authority()).ok()?;
            audience.and(authority.token_endpoint().map(ToString::to_string))
        };
        settings.token_endpoint = endpoint.or_else(of_environment);
        settings.environment = self.environment;
        settings.is_of_package = true;
        settings.source.clone_from(&self.source);
        settings
    }

    /// The token that is wanted: `Scope`, `Resource` and `ConsumerOrgNo`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where no scope is given, or one of them is not what
    /// it should be.
    pub fn token_request(&self) -> Result<TokenRequest> {
        let request = || {
            let scope = self.scope.as_deref().unwrap_or_default();
            let resource = self.resource.as_deref().unwrap_or_default();
            let request = TokenRequest::scopes([scope])?.resource(resource)?;
            match given(self.consumer_org_no.as_deref()) {
                Some(organisation) => request.consumer_org(organisation),
                None => Ok(request),
            }
        };
        request().map_err(|error| located(&error, &self.source))
    }

    /// Whose token is wanted: Altinn's where they exchange it.
    #[must_use]
    pub fn token_kind(&self) -> TokenKind {
        match self.exchange_to_altinn_token {
            true => TokenKind::Altinn,
            false => TokenKind::Maskinporten,
        }
    }

    /// The Altinn that tokens are exchanged at; none where they are not exchanged.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where `TokenExchangeEndpoint` is no address,
    /// `TokenExchangeEnvironment` names none, or either does not take the tokens of the settings' environment;
    /// where nothing tells which Altinn it is; and for `dev`, which has none.
    pub fn altinn(&self) -> Result<Option<AltinnSettings>> {
        if !self.exchange_to_altinn_token {
            return Ok(None);
        }
        let exchange = Exchange {
            endpoint: given(self.token_exchange_endpoint.as_deref()),
            name: given(self.token_exchange_environment.as_deref()),
            environment: self.environment.or_else(|| {
                let audience = given(self.assertion_audience.as_deref())?;
                Authority::parse(audience).ok()?.environment()
            }),
        };
        let altinn = exchange.altinn().map_err(|error| {
            let error = exchange.named(&error, &|name| format!("`{name}`"));
            located(&error, &self.source)
        })?;
        let source = match exchange.member() {
            Some(member) => format!("`{member}` of {}", self.source),
            None => format!("{} of {}", altinn.source(), self.source),
        };
        let mut altinn = altinn.from(source);
        altinn.test_org = self.use_altinn_test_org;
        Ok(Some(altinn))
    }

    /// Where they came from, in words.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// What becomes of an `Authorization` header that is already there. The package keeps it unless it is
    /// told to overwrite it; the layers here replace it unless they are told otherwise.
    #[must_use]
    pub fn existing_header(&self) -> ExistingHeader {
        match self.overwrite_authorization_header {
            true => ExistingHeader::Replace,
            false => ExistingHeader::Keep,
        }
    }
}

/// Whether a name at the top of a JSON text tells that the package's settings stand there without a section.
fn is_bare(name: &str) -> bool {
    let mut marks = ["ClientId"].iter().chain(&KEYS);
    marks.any(|mark| mark.eq_ignore_ascii_case(name))
}

/// Whether a name, in any case, is one that the package's settings need.
pub(super) fn is_mark(name: &str) -> bool {
    let mut others = ["Environment", AUDIENCE].iter();
    is_bare(name) || others.any(|mark| mark.eq_ignore_ascii_case(name))
}

/// Whether a section is the package's and not one of ours.
pub(super) fn is_of_package(section: &Section) -> bool {
    let mut keys = draft::KEYS.iter();
    let mut theirs = ["Environment", AUDIENCE].iter().chain(&KEYS);
    let is_ours = section.has("Authority") || keys.any(|key| jwk::is_given(section, key));
    !is_ours && theirs.any(|name| section.has(name))
}

/// What is said of the package's settings where ours are read.
pub(super) fn not_ours() -> Error {
    Error::settings("it holds settings of the .NET package Altinn.ApiClients.Maskinporten")
        .with_advice(&advice::LEGACY_ELSEWHERE)
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// What tells where tokens are exchanged.
struct Exchange<'a> {
    endpoint: Option<&'a str>,
    name: Option<&'a str>,
    /// Whose tokens they are, where that is known.
    environment: Option<Environment>,
}

impl Exchange<'_> {
    fn altinn(&self) -> Result<AltinnSettings> {
        let altinn = match (self.endpoint, self.name) {
            (Some(url), _) => AltinnSettings::exchange(url)?,
            (None, Some(name)) => match Environment::altinn_platform_named(name) {
                Some(platform) => AltinnSettings::platform(&platform)?,
                None => {
                    let message = "it is none of prod, tt02, test, at21 to at24 and yt01";
                    return Err(Error::settings(message).with_advice(&advice::LEGACY_SETTINGS));
                }
            },
            (None, None) => return self.of_environment(),
        };
        if let Some(environment) = self.environment {
            altinn.check_against(environment).map_err(|error| {
                // No more of an address than its name is repeated.
                let message = format!("it takes no tokens of {environment}");
                match self.endpoint {
                    Some(_) => Error::settings(message).with_advice(&advice::CROSSED_ENVIRONMENTS),
                    None => error,
                }
            })?;
        }
        Ok(altinn)
    }

    fn of_environment(&self) -> Result<AltinnSettings> {
        let Some(environment) = self.environment else {
            let message = "it is missing, and nothing else tells which Altinn exchanges the tokens";
            return Err(Error::settings(message).with_advice(&advice::LEGACY_SETTINGS));
        };
        AltinnSettings::of(environment).ok_or_else(|| {
            let message = format!("no Altinn takes the tokens of {environment}");
            Error::settings(message).with_advice(&advice::CROSSED_ENVIRONMENTS)
        })
    }

    /// The setting that tells the Altinn, where it does not follow from the environment.
    fn member(&self) -> Option<&'static str> {
        let endpoint = self.endpoint.map(|_| EXCHANGE_ENDPOINT);
        endpoint.or(self.name.map(|_| EXCHANGE_ENVIRONMENT))
    }

    /// The same error with the name of the setting it is about.
    fn named(&self, error: &Error, spelled: &dyn Fn(&str) -> String) -> Error {
        let name = self.member().unwrap_or(EXCHANGE_ENVIRONMENT);
        let named = Error::settings(format!("{}: {error}", spelled(name)));
        match error.advice() {
            Some(advice) => named.with_advice(advice),
            None => named,
        }
    }
}

// ===== one reading =====

/// What was found, and all that is wrong with it so far.
struct Reading<'a> {
    section: &'a Section,
    found: Vec<(&'static str, Secret)>,
    problems: Problems,
}

impl<'a> Reading<'a> {
    fn of(section: &'a Section) -> Self {
        let mut reading = Self {
            section,
            found: Vec::new(),
            problems: Problems::default(),
        };
        for name in NAMES {
            match section.text(name) {
                Ok(value) => {
                    let value = value.map(|value| (name, value.clone()));
                    reading.found.extend(value);
                }
                // What to do about it is said for all of the settings.
                Err(error) => reading.problems.tell(error.to_string()),
            }
        }
        reading
    }

    fn get(&self, name: &str) -> Option<&Secret> {
        let found = self.found.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.expose().trim().to_owned())
    }

    fn refuse(&mut self, name: &str, why: &str) {
        self.problems
            .tell(format!("{} {why}", self.section.spelled(name)));
    }

    fn refuse_for(&mut self, advice: &'static Advice, name: &str, why: &str) {
        let message = format!("{} {why}", self.section.spelled(name));
        self.problems
            .add(&Error::settings(message).with_advice(advice));
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        // One that is of the wrong type is there, and was told.
        if text.is_none() && !self.section.has(name) {
            self.refuse(name, "is missing");
        }
        text
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.text(name) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => {
                self.refuse(name, "is neither true nor false");
                false
            }
        }
    }

    /// The flag of two spellings, which agree where both are given.
    fn exchange(&mut self) -> bool {
        let (theirs, corrected) = (self.flag(EXCHANGE), self.flag(EXCHANGE_CORRECTED));
        let both = self.get(EXCHANGE).is_some() && self.get(EXCHANGE_CORRECTED).is_some();
        if both && theirs != corrected {
            let other = self.section.spelled(EXCHANGE);
            self.refuse(EXCHANGE_CORRECTED, &format!("and {other} differ"));
        }
        theirs || corrected
    }

    fn environment(&mut self) -> Option<Environment> {
        let addresses = [TOKEN_ENDPOINT, AUDIENCE];
        let text = match addresses.iter().all(|name| self.section.has(name)) {
            true => self.text("Environment")?,
            false => self.required("Environment")?,
        };
        if matches!(text.to_ascii_lowercase().as_str(), "ver1" | "ver2") {
            let why = "names ver1 or ver2, which were closed in June 2024: test takes their place";
            self.refuse_for(&advice::RETIRED_ENVIRONMENT, "Environment", why);
            return None;
        }
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.refuse("Environment", "is none of prod, test and dev");
        }
        parsed
    }

    /// An absolute address.
    fn address(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        match authority::url(&text) {
            Ok(_) => Some(text),
            Err(why) => {
                self.refuse(name, &format!("cannot be used: {why}"));
                None
            }
        }
    }

    /// The issuer, which is of the environment where both are told.
    fn audience(&mut self, environment: Option<Environment>) -> Option<Authority> {
        let text = self.address(AUDIENCE)?;
        let authority = match Authority::parse(&text) {
            Ok(authority) => authority,
            Err(error) => {
                let why = "is no issuer: it names an endpoint, or an environment that was closed";
                let advice = error.advice().unwrap_or(&advice::LEGACY_SETTINGS);
                self.refuse_for(advice, AUDIENCE, why);
                return None;
            }
        };
        if let (Some(theirs), Some(environment)) = (authority.environment(), environment)
            && theirs != environment
        {
            let name = self.section.spelled("Environment");
            let why = format!("is the issuer of {theirs}, and {name} is {environment}");
            self.refuse_for(&advice::CROSSED_CREDENTIALS, AUDIENCE, &why);
        }
        Some(authority)
    }

    fn key(&mut self) -> Option<LegacyKey> {
        let mut is_refused = false;
        let mut refuse = |reading: &mut Self, name, why, advice| {
            if reading.section.has(name) {
                reading.refuse_for(advice, name, why);
                is_refused = true;
            }
        };
        let why = "is a certificate of the Windows store, which is not read here";
        refuse(self, THUMBPRINT, why, &advice::FOREIGN_KEYSTORE);
        if !cfg!(feature = "pkcs12") {
            let why = "is of a PKCS#12, which is not read here without the cargo feature `pkcs12`";
            for name in [ENCODED_X509, PKCS12_PATH, PKCS12_PASSWORD] {
                refuse(self, name, why, &advice::PKCS12_FEATURE);
            }
        }
        if is_refused {
            return None;
        }
        let given = KEYS.into_iter().filter(|name| self.section.has(name));
        match given.collect::<Vec<_>>()[..] {
            [ENCODED_JWK] => self.get(ENCODED_JWK).cloned().map(LegacyKey::Jwk),
            [ENCODED_X509] => Some(LegacyKey::Pkcs12 {
                content: self.get(ENCODED_X509)?.clone(),
                password: Secret::from(""),
            }),
            [PKCS12_PATH] => self.pkcs12(),
            [] => {
                self.refuse(ENCODED_JWK, "is missing");
                None
            }
            ref several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|name| self.section.spelled(name))
                    .collect();
                let message = format!("more than one key is given: {}", names.join(" and "));
                let error = Error::settings(message).with_advice(&advice::LEGACY_SETTINGS);
                self.problems.add(&error);
                None
            }
        }
    }

    /// What the file holds that is named in place of a key.
    fn pkcs12(&mut self) -> Option<LegacyKey> {
        let spelled = self.section.spelled(PKCS12_PATH);
        let read = |path| disk::key(disk::named(&spelled, path)?);
        match read(self.get(PKCS12_PATH)?) {
            Ok(content) => Some(LegacyKey::Pkcs12 {
                content,
                password: self
                    .get(PKCS12_PASSWORD)
                    .map_or_else(|| Secret::from(""), Clone::clone),
            }),
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}"));
                let message = format!("{spelled}: {error}{}", cause.unwrap_or_default());
                let advice = error.advice().unwrap_or(&advice::LEGACY_SETTINGS);
                self.problems
                    .add(&Error::settings(message).with_advice(advice));
                None
            }
        }
    }

    /// What can be said of the token before it is asked for. A scope may still come from code.
    fn request(&mut self) {
        if let Some(scope) = self.text("Scope")
            && TokenRequest::scopes([scope]).is_err()
        {
            self.refuse("Scope", "is no list of scopes with a space between them");
        }
        if let Some(resource) = self.text("Resource")
            && TokenRequest::scopes(["any"])
                .and_then(|request| request.resource(resource))
                .is_err()
        {
            self.refuse("Resource", "is no absolute URI");
        }
        if let Some(organisation) = self.text("ConsumerOrgNo")
            && organisation.parse::<OrganisationNumber>().is_err()
        {
            self.refuse("ConsumerOrgNo", "is no organisation number");
        }
    }

    /// The text of a name that is shown and sent: a key in its place is refused before either.
    fn identifier(&mut self, name: &str, what: &str, is_required: bool) -> Option<String> {
        let text = if is_required {
            self.required(name)
        } else {
            self.text(name)
        }?;
        let spelled = self.section.spelled(name);
        if let Err(error) = identifier::check(what, &spelled, &text, None) {
            self.problems.add(&error);
        }
        Some(text)
    }

    fn finish(mut self) -> Result<LegacySettings> {
        let environment = self.environment();
        let token_endpoint = self.address(TOKEN_ENDPOINT);
        let audience = self.audience(environment);
        let client_id = self.identifier("ClientId", "client id", true);
        self.identifier("Kid", "kid", false);
        let key = self.key();
        self.request();
        let exchange_to_altinn_token = self.exchange();
        let use_altinn_test_org = self.flag("UseAltinnTestOrg");
        let overwrite_authorization_header = self.flag("OverwriteAuthorizationHeader");
        let is_talkative = self.flag("EnableDebugLogging");
        let endpoint = self.address(EXCHANGE_ENDPOINT);
        let name = self.text(EXCHANGE_ENVIRONMENT);
        let exchange = Exchange {
            endpoint: endpoint.as_deref(),
            name: name.as_deref(),
            environment: environment.or_else(|| audience.as_ref().and_then(Authority::environment)),
        };
        // One that is not used yet is checked too: code may turn the exchange on. What depends on an
        // environment that cannot be used was told there.
        let is_named = exchange.endpoint.is_some() || exchange.name.is_some();
        let is_told = exchange.environment.is_none() && !self.problems.is_empty();
        if (is_named || exchange_to_altinn_token && !is_told)
            && let Err(error) = exchange.altinn()
        {
            let spelled = |name: &str| self.section.spelled(name);
            self.problems.add(&exchange.named(&error, &spelled));
        }
        let source = self.section.source();
        let (Some(client_id), Some(key), true) = (client_id, key, self.problems.is_empty()) else {
            return Err(self.problems.into_error(source, &advice::LEGACY_SETTINGS));
        };
        if is_talkative {
            tracing::warn!(
                target: "maskinporten::settings",
                source,
                "EnableDebugLogging changes nothing here: it wrote signed assertions, which are \
                 credentials, to the log"
            );
        }
        let has = |name: &&str| self.section.has(name);
        if ENTERPRISE_USER.iter().any(has) {
            tracing::warn!(
                target: "maskinporten::settings",
                source,
                "EnterpriseUserName and EnterpriseUserPassword are ignored: Altinn answers enterprise \
                 users with 410 since June 2026; use a system user (`TokenRequest::system_user`)"
            );
        }
        let text = |name: &str| self.text(name);
        Ok(LegacySettings {
            environment,
            client_id,
            key,
            kid: text("Kid"),
            scope: text("Scope"),
            resource: text("Resource"),
            consumer_org_no: text("ConsumerOrgNo"),
            token_endpoint,
            assertion_audience: text(AUDIENCE),
            exchange_to_altinn_token,
            token_exchange_endpoint: endpoint,
            token_exchange_environment: name,
            use_altinn_test_org,
            overwrite_authorization_header,
            source: source.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &[(&str, &str)]) -> Result<LegacySettings> {
        let given = [("Environment", "test"), ("ClientId", "our-client")];
        let given = given.iter().chain(key);
        let values = given.map(|(name, value)| (format!("Mp--{name}"), Secret::from(*value)));
        LegacySettings::from_values(values, "Mp", "vault v")
    }

    #[track_caller]
    fn refused(key: &[(&str, &str)], told: &str) {
        let error = read(key).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }

    #[test]
    fn a_key_is_given_once() {
        assert!(read(&[("EncodedJwk", "e30=")]).is_ok());
        refused(&[], "Mp--EncodedJwk is missing");
        refused(&[("EncodedJwk", " ")], "Mp--EncodedJwk is missing");
        refused(&[("CertificateStoreThumbprint", "hush")], "not read here");
    }

    #[cfg(not(feature = "pkcs12"))]
    #[test]
    fn a_pkcs12_is_refused_without_its_feature() {
        for name in [ENCODED_X509, PKCS12_PATH, PKCS12_PASSWORD] {
            refused(&[(name, "hush")], "without the cargo feature `pkcs12`");
            refused(&[("EncodedJwk", "e30="), (name, "hush")], name);
        }
    }

    #[cfg(feature = "pkcs12")]
    #[test]
    fn a_pkcs12_is_the_key_with_its_feature() {
        let found = read(&[(ENCODED_X509, "MII=")]).unwrap();
        let LegacyKey::Pkcs12 { content, password } = found.key else {
            panic!("{:?}", found.key);
        };
        assert_eq!((content.expose(), password.expose()), ("MII=", ""));
        let two = "more than one key is given: Mp--EncodedJwk and Mp--EncodedX509";
        refused(&[("EncodedJwk", "e30="), (ENCODED_X509, "hush")], two);
        refused(&[(PKCS12_PASSWORD, "hush")], "Mp--EncodedJwk is missing");
        let gone = "Mp--CertificatePkcs12Path: key file /no/such/key.p12 cannot be read";
        refused(&[(PKCS12_PATH, "/no/such/key.p12")], gone);
        // A key in place of its path is not shown.
        let key = "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----";
        refused(
            &[(PKCS12_PATH, key)],
            "Mp--CertificatePkcs12Path holds no path",
        );
    }
}
