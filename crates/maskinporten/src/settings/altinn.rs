//! Where Altinn exchanges tokens.

use http::Uri;

use crate::advice;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::key::members::{Fault, Members};
use crate::key::trim;
use crate::origin::Origin;
use crate::secret::Secret;

use super::authority::checked_url;
use super::json::{Document, without_comments};
use super::values::Section;
use super::variables::Variables;
use super::{IN_CODE, located, names};

/// The authentication API on a platform's host.
const AUTHENTICATION_API: &str = "/authentication/api/v1";

/// The exchange below the authentication API.
const EXCHANGE: &str = "/exchange/maskinporten";

/// Altinn's exchange of tokens, and what is sent along.
///
/// - Altinn follows Maskinporten's environment unless an address is given; a pair of two
///   environments that are known not to match is refused before anything is sent.
/// - An address is https; plain http only to a server on this machine.
///
/// ```
/// use maskinporten::{AltinnSettings, Environment};
///
/// let altinn = AltinnSettings::platform("https://platform.tt02.altinn.no")?.with_test_org();
/// assert_eq!(
///     altinn.exchange_uri(),
///     "https://platform.tt02.altinn.no/authentication/api/v1/exchange/maskinporten?test=true",
/// );
/// assert!(altinn.check_against(Environment::Production).is_err());
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AltinnSettings {
    exchange_url: Uri,
    exchange_url_for_test_org: Uri,
    /// The key for the gateway before Altinn, where it asks for one.
    pub subscription_key: Option<Secret>,
    /// Whether the token shall name the test organisation `ttd` in place of Digdir, whom test
    /// tokens else name. Altinn heeds it in its test environments only.
    pub test_org: bool,
    source: String,
    /// Where the key came from, while there is one.
    subscription_key_source: String,
}

impl AltinnSettings {
    /// Altinn's platform by its host: `https://platform.tt02.altinn.no`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where it is not an https address without
    /// a path, or plain http to this machine.
    pub fn platform(url: &str) -> Result<Self> {
        let uri = checked(url)?;
        if uri.path() != "/" {
            let message = "the Altinn address has a path where the platform's host is expected";
            return Err(Error::settings(message).with_advice(&advice::ALTINN_ADDRESS));
        }
        let host = url.trim().trim_end_matches('/');
        Self::new(&format!("{host}{AUTHENTICATION_API}{EXCHANGE}"))
    }

    /// Altinn's authentication API, as Altinn apps name it:
    /// `https://platform.tt02.altinn.no/authentication/api/v1/`.
    ///
    /// # Errors
    ///
    /// As [`platform`](Self::platform), with any path.
    pub fn api_authentication_endpoint(url: &str) -> Result<Self> {
        checked(url)?;
        let endpoint = url.trim().trim_end_matches('/');
        Self::new(&format!("{endpoint}{EXCHANGE}"))
    }

    /// The exchange by its whole address:
    /// `https://platform.tt02.altinn.no/authentication/api/v1/exchange/maskinporten`.
    ///
    /// # Errors
    ///
    /// As [`platform`](Self::platform), with any path.
    pub fn exchange(url: &str) -> Result<Self> {
        Self::new(url.trim())
    }

    /// The Altinn that takes this environment's tokens; none for Digdir's own development.
    #[must_use]
    pub fn of(environment: Environment) -> Option<Self> {
        let found = Self::platform(environment.altinn_platform()?).ok()?;
        Some(found.from(format!("the environment {environment}")))
    }

    /// Reads `ALTINN_PLATFORM_URL`, else `PlatformSettings__ApiAuthenticationEndpoint`, and
    /// `PlatformSettings__SubscriptionKey`. Where neither address is set, `fallback` gives it.
    ///
    /// The key is for the `ApiAuthenticationEndpoint` where that is given: where `ALTINN_PLATFORM_URL` names
    /// another origin it is not sent, with a warning.
    ///
    /// # Errors
    ///
    /// As [`platform`](Self::platform), and where a subscription key is set that no address can be
    /// told for.
    pub fn from_env(fallback: Option<Environment>) -> Result<Option<Self>> {
        let mut found = PlatformSettings::default();
        found.add_variables(&Variables::of_process("")?)?;
        found.altinn(fallback)
    }

    /// Reads variables as [`from_env`](Self::from_env) reads those of the process.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
        fallback: Option<Environment>,
    ) -> Result<Option<Self>> {
        let mut found = PlatformSettings::default();
        found.add_variables(&Variables::new(vars))?;
        found.altinn(fallback)
    }

    fn new(exchange_url: &str) -> Result<Self> {
        let test = format!("{exchange_url}?test=true");
        Ok(Self {
            exchange_url: checked(exchange_url)?,
            // What was checked is still a URL with a query behind it, unless it grows too long.
            exchange_url_for_test_org: test.parse().map_err(|_| too_long())?,
            subscription_key: None,
            test_org: false,
            source: IN_CODE.to_owned(),
            subscription_key_source: IN_CODE.to_owned(),
        })
    }

    /// The same, with the words for where the address came from.
    pub(super) fn from(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// Where the address came from, in words: a file, a variable, an environment, or `code`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where the subscription key came from, in the words of [`source`](Self::source); none without a key. It
    /// may be another place than that of the address.
    #[must_use]
    pub fn subscription_key_source(&self) -> Option<&str> {
        self.subscription_key.as_ref()?;
        Some(&self.subscription_key_source)
    }

    /// Sends this key to the gateway before Altinn.
    #[must_use]
    pub fn with_subscription_key(mut self, key: impl Into<Secret>) -> Self {
        self.subscription_key = Some(key.into());
        IN_CODE.clone_into(&mut self.subscription_key_source);
        self
    }

    /// Asks for the test organisation `ttd`; see [`test_org`](Self::test_org).
    #[must_use]
    pub fn with_test_org(mut self) -> Self {
        self.test_org = true;
        self
    }

    /// The address tokens are exchanged at, without a query.
    #[must_use]
    pub fn exchange_url(&self) -> &Uri {
        &self.exchange_url
    }

    /// The address the exchange is asked for at: with `?test=true` for the test organisation.
    #[must_use]
    pub fn exchange_uri(&self) -> Uri {
        if self.test_org {
            self.exchange_url_for_test_org.clone()
        } else {
            self.exchange_url.clone()
        }
    }

    /// Refuses a pair that is known not to match: Altinn takes the tokens of one environment only.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) naming both. An address on either side
    /// that is not known is taken to be right.
    pub fn check_against(&self, issuer: Environment) -> Result<()> {
        let host = self.exchange_url.host().unwrap_or_default();
        let Some(altinn) = Environment::of_altinn_host(host) else {
            return Ok(());
        };
        if altinn == issuer {
            return Ok(());
        }
        let authority = issuer.authority();
        let message =
            format!("{host} takes tokens of {altinn}, and {authority} issues those of {issuer}");
        Err(Error::settings(message).with_advice(&advice::CROSSED_ENVIRONMENTS))
    }
}

/// What a platform says of its Altinn: the places that say it, each on top of those before.
///
/// - The address is that of the last place that has one.
/// - A subscription key goes to the origin of the address that stands with it in one place, and to no other.
///   Without such an address it goes to the one that is used. The last that may be sent is.
#[derive(Default)]
pub(super) struct PlatformSettings(Vec<Place>);

/// What one place says.
struct Place {
    source: String,
    address: Option<Address>,
    subscription_key: Option<Secret>,
    is_of_variables: bool,
}

enum Address {
    Platform(Secret),
    Api(Secret),
    Known(Result<Box<AltinnSettings>>),
}

impl PlatformSettings {
    /// Adds what a JSON file holds. A text that is JSON and no object holds nothing.
    pub(super) fn add_json(&mut self, json: &str, place: &str) -> Result<()> {
        let json = without_comments(trim(json));
        if let Err(Fault::NotAnObject(_)) = Members::parse(&json) {
            return Ok(());
        }
        let read = || {
            let document = Document::parse(&json, place)?;
            let section = document.section(names::PLATFORM_SETTINGS, &|_| false)?;
            section.as_ref().map(Place::of).transpose()
        };
        let found = read().map_err(|error| error.with_advice(&advice::PLATFORM_FILE))?;
        self.0.extend(found);
        Ok(())
    }

    pub(super) fn add_variables(&mut self, variables: &Variables) -> Result<()> {
        let (all, section) = (variables.all(), names::PLATFORM_SETTINGS);
        let section = Section::of_values(all, section, "__", "the variables PlatformSettings__…");
        self.0.push(Place {
            is_of_variables: true,
            ..Place::of(&section)?
        });
        // A place above the section: where that has an address, its key is for it and not for this one.
        if let Some(url) = variables.get(names::ALTINN_PLATFORM_URL) {
            self.0.push(Place {
                source: format!("the variable {}", names::ALTINN_PLATFORM_URL),
                address: Some(Address::Platform(url.clone())),
                subscription_key: None,
                is_of_variables: true,
            });
        }
        Ok(())
    }

    /// Adds what other settings say. That they cannot be used is an error unless another place comes on top.
    pub(super) fn add_altinn(&mut self, altinn: Result<Option<AltinnSettings>>, source: &str) {
        let Some(altinn) = altinn.transpose() else {
            return;
        };
        self.0.push(Place {
            source: source.to_owned(),
            address: Some(Address::Known(altinn.map(Box::new))),
            subscription_key: None,
            is_of_variables: false,
        });
    }

    /// The Altinn that it comes to; `fallback` gives the address where nothing else does.
    ///
    /// # Errors
    ///
    /// Where the address cannot be used, and where variables give a key and nothing tells for which address.
    pub(super) fn altinn(self, fallback: Option<Environment>) -> Result<Option<AltinnSettings>> {
        let mut places = self.0.into_iter().rev().collect::<Vec<_>>();
        let named = places.iter().find_map(Place::altinn).transpose()?;
        let found = named.or_else(|| AltinnSettings::of(fallback?));
        places.retain(|place| place.subscription_key.is_some());
        let Some(found) = found else {
            return match places.first() {
                Some(place) => place.lacks_address(),
                None => Ok(None),
            };
        };
        for place in places {
            if place.is_key_for(&found) {
                return Ok(Some(AltinnSettings {
                    subscription_key: place.subscription_key,
                    subscription_key_source: place.source,
                    ..found
                }));
            }
            tracing::warn!(
                target: "maskinporten::settings",
                source = place.source,
                used = found.source,
                "SubscriptionKey is not sent: it stands with an address of another origin than the one that is used"
            );
        }
        Ok(Some(found))
    }
}

// ===== impl Place =====

impl Place {
    fn of(section: &Section) -> Result<Self> {
        let text = |name| {
            let text = section.text(name);
            text.map_err(|error| located(&error, section.source()))
        };
        let address = text(names::API_AUTHENTICATION_ENDPOINT)?;
        let key = text(names::SUBSCRIPTION_KEY)?;
        Ok(Self {
            source: section.source().to_owned(),
            address: address.cloned().map(Address::Api),
            subscription_key: key.map(|key| Secret::from(key.expose().trim())),
            is_of_variables: false,
        })
    }

    /// The Altinn at its address.
    fn altinn(&self) -> Option<Result<AltinnSettings>> {
        let found = match self.address.as_ref()? {
            Address::Platform(url) => AltinnSettings::platform(url.expose()),
            Address::Api(url) => AltinnSettings::api_authentication_endpoint(url.expose()),
            Address::Known(altinn) => return Some(altinn.clone().map(|altinn| *altinn)),
        };
        let found = found.map(|found| found.from(self.source.clone()));
        Some(found.map_err(|error| located(&error, &self.source)))
    }

    /// Whether its key may be sent there. An address that cannot be used is another one.
    fn is_key_for(&self, used: &AltinnSettings) -> bool {
        let is_same = |own: Result<AltinnSettings>| {
            let origin = own.and_then(|own| Origin::of((&own.exchange_url).into()));
            origin.is_ok_and(|origin| origin.admits(&used.exchange_url))
        };
        self.altinn().is_none_or(is_same)
    }

    /// What is said of its key where no address is known. One of a file is no error: it is of no consequence
    /// to a client that never exchanges.
    fn lacks_address(&self) -> Result<Option<AltinnSettings>> {
        let (key, url) = (names::SUBSCRIPTION_KEY, names::ALTINN_PLATFORM_URL);
        if self.is_of_variables {
            let message = format!(
                "{}__{key} is set and {url} is not: for which Altinn is it?",
                names::PLATFORM_SETTINGS
            );
            return Err(Error::settings(message).with_advice(&advice::ALTINN_ADDRESS));
        }
        tracing::warn!(
            target: "maskinporten::settings",
            source = self.source,
            "{key} is not used: no address of an Altinn is given, and none follows from the authority"
        );
        Ok(None)
    }
}

fn checked(url: &str) -> Result<Uri> {
    checked_url(url.trim(), "Altinn address", &advice::ALTINN_ADDRESS)
}

fn too_long() -> Error {
    Error::settings("the Altinn address is too long").with_advice(&advice::ALTINN_ADDRESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TT02: &str =
        "https://platform.tt02.altinn.no/authentication/api/v1/exchange/maskinporten";

    #[test]
    fn the_exchange_follows_from_either_address() {
        let check = |settings: Result<AltinnSettings>, expected: &str| {
            assert_eq!(settings.unwrap().exchange_uri(), expected);
        };
        check(
            AltinnSettings::platform("https://platform.tt02.altinn.no"),
            TT02,
        );
        check(
            AltinnSettings::platform(" https://platform.tt02.altinn.no/\n"),
            TT02,
        );
        let api = "https://platform.tt02.altinn.no/authentication/api/v1";
        check(AltinnSettings::api_authentication_endpoint(api), TT02);
        check(
            AltinnSettings::api_authentication_endpoint(&format!("{api}//")),
            TT02,
        );
        let local = "http://localhost:5101/authentication/api/v1/";
        check(
            AltinnSettings::api_authentication_endpoint(local),
            "http://localhost:5101/authentication/api/v1/exchange/maskinporten",
        );
    }

    #[test]
    fn the_test_organisation_is_asked_for_by_query() {
        let altinn = AltinnSettings::of(Environment::Test)
            .unwrap()
            .with_test_org();
        assert_eq!(altinn.exchange_uri(), format!("{TT02}?test=true").as_str());
        assert_eq!(*altinn.exchange_url(), TT02);
        assert!(AltinnSettings::of(Environment::Development).is_none());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let check = |url: &str, why: &str| {
            let error = AltinnSettings::platform(url).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.hint().unwrap().contains("platform.altinn.no"));
        };
        check("", "no URL");
        check("platform.altinn.no", "opens with https://");
        check("http://platform.altinn.no", "plain http");
        check("http://local.altinn.cloud", "plain http");
        check(
            "https://platform.altinn.no/authentication/api/v1/",
            "has a path",
        );
        check("https://platform.altinn.no/?a=b", "query");
        let endpoint = "http://platform.altinn.no/authentication/api/v1/";
        assert!(AltinnSettings::api_authentication_endpoint(endpoint).is_err());
    }

    #[test]
    fn environments_are_not_crossed() {
        let check = |platform: &str, issuer: &str, fits: bool| {
            let issuer = issuer.parse().unwrap();
            let checked = AltinnSettings::platform(platform)
                .unwrap()
                .check_against(issuer);
            assert_eq!(checked.is_ok(), fits, "{checked:?}");
        };
        check("https://platform.altinn.no", "prod", true);
        check("https://platform.altinn.no", "test", false);
        check("https://platform.tt02.altinn.no", "prod", false);
        check("https://platform.tt02.altinn.no", "test", true);
        check("https://platform.at22.altinn.cloud", "test", true);
        check("https://platform.at22.altinn.cloud", "dev", false);
        check("https://proxy.example.no", "prod", true);
        check("http://127.0.0.1:5101", "test", true);
    }

    #[test]
    fn the_environment_names_address_and_key() {
        let endpoint = (
            "PlatformSettings__ApiAuthenticationEndpoint",
            "https://e.no/api/",
        );
        let platform = ("ALTINN_PLATFORM_URL", "https://p.no");
        let key = ("PLATFORMSETTINGS__SUBSCRIPTIONKEY", " hush ");
        let read = |vars: &[(&str, &str)], fallback| {
            let owned = vars
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            AltinnSettings::from_vars(owned, fallback)
        };
        let check = |vars: &[(&str, &str)], fallback, expected: Option<&str>| {
            let found = read(vars, fallback).unwrap();
            let host = found.as_ref().and_then(|found| found.exchange_url().host());
            assert_eq!(host, expected);
            assert!(!format!("{found:?}").contains("hush"));
            found.and_then(|found| found.subscription_key)
        };
        assert!(check(&[], None, None).is_none());
        assert!(check(&[endpoint], None, Some("e.no")).is_none());
        assert!(check(&[endpoint, platform], None, Some("p.no")).is_none());
        let found = check(&[key, endpoint], None, Some("e.no"));
        assert_eq!(found.unwrap().expose(), "hush");
        let test = Some(Environment::Test);
        let found = check(&[key], test, Some("platform.tt02.altinn.no"));
        assert_eq!(found.unwrap().expose(), "hush");
        for fallback in [None, Some(Environment::Development)] {
            let error = read(&[key], fallback).unwrap_err();
            assert!(error.to_string().contains("ALTINN_PLATFORM_URL"));
            assert!(!format!("{error:?}").contains("hush"));
        }
    }
}
