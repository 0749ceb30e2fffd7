//! [`LegacySettings`]: the settings object of the .NET package Altinn.ApiClients.Maskinporten, as it stands.
//!
//! It says more than who the client is: which token is wanted, whether it is exchanged and where, and what
//! becomes of a header that is already there. So it is no place of settings among others
//! ([`SettingsSource`](super::SettingsSource)), which would carry the half of it over and watch that.

use std::path::Path;

use crate::advice::{self, Advice};
use crate::authorizer::ExistingHeader;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::organisation::OrganisationNumber;
use crate::request::{TokenKind, TokenRequest};
use crate::secret::Secret;

use super::variables::Variables;
use super::{AltinnSettings, MaskinportenSettings, disk, json, values};

/// Every name that the package reads, as it spells them, and the exchange's once more without the slip.
const NAMES: [&str; 19] = [
    "Environment",
    "ClientId",
    "EncodedJwk",
    "Kid",
    "Scope",
    "Resource",
    "ConsumerOrgNo",
    EXCHANGE,
    EXCHANGE_CORRECTED,
    "TokenExchangeEnvironment",
    "UseAltinnTestOrg",
    "OverwriteAuthorizationHeader",
    "EnableDebugLogging",
    "EnterpriseUserName",
    "EnterpriseUserPassword",
    "EncodedX509",
    "CertificatePkcs12Path",
    "CertificatePkcs12Password",
    "CertificateStoreThumbprint",
];

/// What tells an object without its section for one of these.
const MARKS: [&str; 2] = ["ClientId", "EncodedJwk"];

/// The package's own spelling.
const EXCHANGE: &str = "ExhangeToAltinnToken";

const EXCHANGE_CORRECTED: &str = "ExchangeToAltinnToken";

/// Keys that are held in what is not read here.
const KEYSTORES: [(&str, &str); 4] = [
    ("EncodedX509", "a PKCS#12 in base64"),
    ("CertificatePkcs12Path", "a PKCS#12"),
    ("CertificatePkcs12Password", "the password of a PKCS#12"),
    (
        "CertificateStoreThumbprint",
        "a certificate of the Windows store",
    ),
];

/// The settings of the .NET package Altinn.ApiClients.Maskinporten, as an `appsettings.json`, the
/// environment or a vault holds them.
///
/// - They name an `Environment`, a `ClientId` and an `EncodedJwk`. What code sets over there on
///   `ClientSettings` is set on the fields here.
/// - Names are read in any case; a blank value is not given; `true` and `false` may be text. All
///   that is wrong is told at once, by name and never by value.
/// - `ver1` and `ver2`, enterprise users and PKCS#12 are refused, with what takes their place.
/// - `EnableDebugLogging` changes nothing: it wrote signed assertions to the log.
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
    /// `Environment`: `prod`, `test` or `dev`.
    pub environment: Environment,
    /// `ClientId`.
    pub client_id: String,
    /// `EncodedJwk`: the private JWK in base64.
    pub encoded_jwk: Secret,
    /// `Kid`: wins over the one inside the JWK.
    pub kid: Option<String>,
    /// `Scope`: scopes, separated by spaces. Often set in code.
    pub scope: Option<String>,
    /// `Resource`: the API that the token is for.
    pub resource: Option<String>,
    /// `ConsumerOrgNo`: the organisation on whose behalf it is.
    pub consumer_org_no: Option<String>,
    /// `ExhangeToAltinnToken`, or as one would spell it: whether Altinn's token is wanted.
    pub exchange_to_altinn_token: bool,
    /// `TokenExchangeEnvironment`: `prod`, `tt02`, `test`, `at21` to `at24` or `yt01`. The Altinn of
    /// `Environment` where it is not given.
    pub token_exchange_environment: Option<String>,
    /// `UseAltinnTestOrg`: asks for `ttd`; see [`AltinnSettings::test_org`].
    pub use_altinn_test_org: bool,
    /// `OverwriteAuthorizationHeader`: whether a header that is already there is replaced.
    pub overwrite_authorization_header: bool,
    source: String,
}

impl LegacySettings {
    /// Reads JSON: the settings themselves, or an object that holds them under `section`, as
    /// [`MaskinportenSettings::from_json`] reads its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings), naming everything that is missing, not
    /// understood or no longer served. The key itself is read when a client is made.
    pub fn from_json(json: &str, section: &str) -> Result<Self> {
        Self::of_json(json, section, "legacy settings JSON")
    }

    /// Reads a JSON file as [`from_json`](Self::from_json) reads its text.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and where the file cannot be read, is larger than 1 MiB or is
    /// not UTF-8.
    pub fn from_file(path: impl AsRef<Path>, section: &str) -> Result<Self> {
        let path = path.as_ref();
        let json = disk::settings(path)?;
        Self::of_json(
            &json,
            section,
            &format!("legacy settings file {}", path.display()),
        )
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
        let found = json::scalars(json, section, place, &NAMES, &MARKS)
            .map_err(|error| error.with_advice(&advice::LEGACY_SETTINGS))?;
        let spelled = |name: &str| format!("`{name}`");
        Reading::of(found.values, found.problems, &spelled).finish(found.source)
    }

    fn of_values(
        values: &[(String, Secret)],
        section: &str,
        separator: &str,
        place: &str,
    ) -> Result<Self> {
        let path = values::levels(section);
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let below = values::below(values, &path);
        for name in NAMES {
            match values::one(&below, name) {
                Ok(Some(value)) => found.push((name, value.clone())),
                Ok(None) => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
        let path = path.join(separator);
        if found.is_empty() && problems.is_empty() {
            let message = format!("{place} cannot be used: nothing of the section {path} is there");
            return Err(Error::settings(message).with_advice(&advice::LEGACY_SETTINGS));
        }
        let spelled = |name: &str| match path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}{separator}{name}"),
        };
        Reading::of(found, problems, &spelled).finish(format!("{place}, section {path}"))
    }

    /// Who the client is: authority, client id and key.
    #[must_use]
    pub fn settings(&self) -> MaskinportenSettings {
        let authority = self.environment.authority();
        let mut settings = MaskinportenSettings::new(authority, self.client_id.clone())
            .with_jwk_base64(self.encoded_jwk.clone());
        settings.kid = given(self.kid.as_deref()).map(str::to_owned);
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
        request().map_err(|error| self.settings().found_here(&error))
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
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where `TokenExchangeEnvironment` names none, or
    /// one that does not take the tokens of `Environment`; and for `dev`, which has no Altinn.
    pub fn altinn(&self) -> Result<Option<AltinnSettings>> {
        if !self.exchange_to_altinn_token {
            return Ok(None);
        }
        let name = given(self.token_exchange_environment.as_deref());
        let mut altinn = exchange_at(name, self.environment, "`TokenExchangeEnvironment`")
            .map_err(|error| self.settings().found_here(&error))?;
        altinn.test_org = self.use_altinn_test_org;
        Ok(Some(altinn))
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

/// The Altinn of a name, or the one of the environment.
fn exchange_at(
    name: Option<&str>,
    environment: Environment,
    spelled: &str,
) -> Result<AltinnSettings> {
    let Some(name) = name else {
        return AltinnSettings::of(environment).ok_or_else(|| {
            let message = format!("no Altinn takes the tokens of {environment}");
            Error::settings(message).with_advice(&advice::CROSSED_ENVIRONMENTS)
        });
    };
    let Some(platform) = Environment::altinn_platform_named(name) else {
        let message = format!("{spelled} is none of prod, tt02, test, at21 to at24 and yt01");
        return Err(Error::settings(message).with_advice(&advice::LEGACY_SETTINGS));
    };
    let altinn = AltinnSettings::platform(&platform)?;
    altinn.check_against(environment)?;
    Ok(altinn)
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

// ===== one reading =====

/// What was found, and all that is wrong with it so far.
struct Reading<'a> {
    found: Vec<(&'static str, Secret)>,
    problems: Vec<String>,
    /// What to do about the first problem that has a remedy of its own.
    advice: Option<&'static Advice>,
    spelled: &'a dyn Fn(&str) -> String,
}

impl<'a> Reading<'a> {
    fn of(
        found: Vec<(&'static str, Secret)>,
        problems: Vec<String>,
        spelled: &'a dyn Fn(&str) -> String,
    ) -> Self {
        Self {
            found,
            problems,
            advice: None,
            spelled,
        }
    }

    fn get(&self, name: &str) -> Option<&Secret> {
        let mut found = self.found.iter().filter(|(found, _)| *found == name);
        let (_, value) = found.next()?;
        Some(value).filter(|value| !value.expose().trim().is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.expose().trim().to_owned())
    }

    fn refuse(&mut self, name: &str, why: &str) {
        self.problems
            .push(format!("{} {why}", (self.spelled)(name)));
    }

    fn refuse_for(&mut self, advice: &'static Advice, name: &str, why: &str) {
        self.advice.get_or_insert(advice);
        self.refuse(name, why);
    }

    /// The text of a name that must be there. One that cannot be read is told already.
    fn required(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        let spelled = (self.spelled)(name);
        let is_told = |problem: &String| problem.contains(&spelled);
        if text.is_none() && !self.problems.iter().any(is_told) {
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
            let other = (self.spelled)(EXCHANGE);
            self.refuse(EXCHANGE_CORRECTED, &format!("and {other} differ"));
        }
        theirs || corrected
    }

    fn environment(&mut self) -> Option<Environment> {
        let text = self.required("Environment")?;
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

    fn key(&mut self) -> Option<Secret> {
        let mut is_kept_elsewhere = false;
        for (name, what) in KEYSTORES {
            if self.get(name).is_some() {
                is_kept_elsewhere = true;
                let why = format!("is {what}, which is not read here");
                self.refuse_for(&advice::FOREIGN_KEYSTORE, name, &why);
            }
        }
        let key = self.get("EncodedJwk").cloned();
        if !is_kept_elsewhere {
            self.required("EncodedJwk");
        }
        key
    }

    fn enterprise_user(&mut self) {
        for name in ["EnterpriseUserName", "EnterpriseUserPassword"] {
            if self.get(name).is_some() {
                let why = "is an enterprise user's, which Altinn has answered with 410 since June \
                    2026: use a system user";
                self.refuse_for(&advice::ENTERPRISE_USER, name, why);
            }
        }
    }

    /// Whatever can be said of the token before it is asked for. A scope may still come from code.
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

    fn finish(mut self, source: String) -> Result<LegacySettings> {
        let environment = self.environment();
        let client_id = self.required("ClientId");
        let key = self.key();
        self.enterprise_user();
        self.request();
        let exchange = self.exchange();
        let test_org = self.flag("UseAltinnTestOrg");
        let overwrite = self.flag("OverwriteAuthorizationHeader");
        let is_talkative = self.flag("EnableDebugLogging");
        let altinn = self.text("TokenExchangeEnvironment");
        // One that is not used yet is checked too: code may turn the exchange on.
        if let Some(environment) = environment
            && (exchange || altinn.is_some())
        {
            let spelled = (self.spelled)("TokenExchangeEnvironment");
            if let Err(error) = exchange_at(altinn.as_deref(), environment, &spelled) {
                if let Some(advice) = error.advice() {
                    self.advice.get_or_insert(advice);
                }
                let message = error.to_string();
                self.problems.push(match message.starts_with(&spelled) {
                    true => message,
                    false => format!("{spelled}: {message}"),
                });
            }
        }
        let (Some(environment), Some(client_id), Some(encoded_jwk), []) =
            (environment, client_id, key, self.problems.as_slice())
        else {
            let message = format!("{source} cannot be used: {}", self.problems.join("; "));
            let advice = self.advice.unwrap_or(&advice::LEGACY_SETTINGS);
            let error = Error::settings(message).with_advice(advice);
            let tell = |error: Error, problem| error.with_detail("problem", problem);
            return Err(self.problems.into_iter().fold(error, tell));
        };
        if is_talkative {
            tracing::warn!(
                target: "maskinporten::settings",
                source,
                "EnableDebugLogging changes nothing here: it wrote signed assertions, which are \
                 credentials, to the log"
            );
        }
        Ok(LegacySettings {
            environment,
            client_id,
            encoded_jwk,
            kid: self.text("Kid"),
            scope: self.text("Scope"),
            resource: self.text("Resource"),
            consumer_org_no: self.text("ConsumerOrgNo"),
            exchange_to_altinn_token: exchange,
            token_exchange_environment: altinn,
            use_altinn_test_org: test_org,
            overwrite_authorization_header: overwrite,
            source,
        })
    }
}
