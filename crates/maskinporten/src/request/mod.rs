//! What a token is asked for: scopes, and whatever else changes what is sent.

mod context;
mod details;
mod short_text;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::advice;
use crate::error::{Error, Result};
use crate::organisation::OrganisationNumber;
use crate::scope::ScopeSet;

pub use context::TokenContext;
pub use details::{Consent, SystemUser};

/// Whose token is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenKind {
    /// Maskinporten's own, as the token endpoint gives it.
    Maskinporten,
    /// Altinn's: the same, exchanged once more.
    Altinn,
}

impl TokenKind {
    /// Who issues it, as logs and metrics spell it.
    pub(crate) fn authority(self) -> &'static str {
        match self {
            Self::Maskinporten => "maskinporten",
            Self::Altinn => "altinn",
        }
    }
}

/// Whom a token is for: the unit of fairness and of isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tenant {
    /// The service itself.
    Itself,
    /// The organisation that has delegated its scope, or whose system user it is.
    Organisation(OrganisationNumber),
}

/// Everything about a token that a caller decides: protocol, not policy.
///
/// - A [`TokenRequest`] is checked when it is made; one that exists can be sent.
/// - Two requests that would send the same are equal, whatever order their parts were given in, and
///   share one token. Two that differ in anything never do: the request is part of the cache key.
/// - It is cheap to clone.
///
/// ```
/// use maskinporten::{SystemUser, TokenRequest};
///
/// let request = TokenRequest::scopes(["altinn:serviceowner", "krr:global/kontaktinformasjon.read"])?
///     .resource("https://krr.example.no")?
///     .consumer_org("991825827")?;
///
/// let for_a_customer = TokenRequest::scopes(["altinn:instances.read"])?
///     .system_user(SystemUser::new("311169963")?.external_ref("avd_oslo")?);
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    scopes: ScopeSet,
    resources: Option<Arc<[Box<str>]>>,
    consumer_org: Option<OrganisationNumber>,
    authorization_details: Option<Arc<Value>>,
}

impl TokenRequest {
    /// A request for scopes. Each entry may hold several, separated by white space.
    ///
    /// Those that Altinn Studio gives an app are [`Scope::STUDIO_DEFAULTS`](crate::Scope::STUDIO_DEFAULTS).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where no scope is left, or one is none.
    pub fn scopes<I>(scopes: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        ScopeSet::new(scopes).map(Self::from)
    }

    /// Restricts the token to an API: it becomes the token's audience (RFC 8707 §2).
    ///
    /// Said once, the claim is a string; said again, it is an array of all that were said. Blank
    /// text changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is no absolute URI, or has a
    /// fragment, which Maskinporten refuses.
    pub fn resource(mut self, resource: impl AsRef<str>) -> Result<Self> {
        self.resources = with_resource(self.resources, resource.as_ref())?;
        Ok(self)
    }

    /// Asks on behalf of an organisation that has delegated the scope in Altinn.
    ///
    /// Both notations are accepted; nine digits are sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is no organisation number.
    pub fn consumer_org<O>(mut self, organisation: O) -> Result<Self>
    where
        O: TryInto<OrganisationNumber>,
        Error: From<O::Error>,
    {
        self.consumer_org = Some(organisation.try_into()?);
        Ok(self)
    }

    /// Asks as a customer's system user (`urn:altinn:systemuser`, RFC 9396).
    #[must_use]
    pub fn system_user(self, user: SystemUser) -> Self {
        self.with_details(&user.details())
    }

    /// Asks by a consent that was given (`urn:altinn:consent`, RFC 9396).
    #[must_use]
    pub fn consent(self, consent: Consent) -> Self {
        self.with_details(&consent.into_details())
    }

    /// Sends `authorization_details` as given: one JSON object, or an array with exactly one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is not that, or has no `type`.
    pub fn authorization_details(self, json: impl AsRef<str>) -> Result<Self> {
        let refuse = |why: &'static str| {
            Err(Error::request(why).with_advice(&advice::AUTHORIZATION_DETAILS))
        };
        let Ok(value) = serde_json::from_str::<Value>(json.as_ref()) else {
            return refuse("authorization_details is not JSON");
        };
        let details = match value {
            Value::Array(mut entries) if entries.len() == 1 => entries.remove(0),
            Value::Array(_) => return refuse("authorization_details must hold exactly one entry"),
            single => single,
        };
        let Value::Object(details) = details else {
            return refuse("authorization_details must be a JSON object");
        };
        if !details.get("type").is_some_and(Value::is_string) {
            return refuse("authorization_details has no `type`");
        }
        Ok(self.with_details(&details))
    }

    /// The scopes, sorted.
    #[must_use]
    pub fn scope_set(&self) -> &ScopeSet {
        &self.scopes
    }

    fn with_details(mut self, details: &Map<String, Value>) -> Self {
        self.authorization_details = Some(written(details));
        self
    }
}

// ===== what the assertion reads =====

impl TokenRequest {
    pub(crate) fn consumer(&self) -> Option<&OrganisationNumber> {
        self.consumer_org.as_ref()
    }

    pub(crate) fn resources(&self) -> Option<&[Box<str>]> {
        self.resources.as_deref()
    }

    pub(crate) fn details(&self) -> Option<&Value> {
        self.authorization_details.as_deref()
    }

    /// Whom the token is for.
    pub(crate) fn tenant(&self) -> Tenant {
        let number = self.consumer_org.or_else(|| {
            let system = self.details()?.get(0)?.get("systemuser_org")?;
            system.get("ID")?.as_str()?.parse().ok()
        });
        number.map_or(Tenant::Itself, Tenant::Organisation)
    }

    /// Whether the token speaks for another party than the service: an organisation, a system user, a consent.
    pub(crate) fn is_on_behalf(&self) -> bool {
        self.consumer_org.is_some() || self.authorization_details.is_some()
    }
}

impl From<ScopeSet> for TokenRequest {
    fn from(scopes: ScopeSet) -> Self {
        Self {
            scopes,
            resources: None,
            consumer_org: None,
            authorization_details: None,
        }
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TokenRequest");
        out.field("scopes", &self.scopes);
        if let Some(resources) = &self.resources {
            out.field("resources", resources);
        }
        if let Some(consumer) = &self.consumer_org {
            out.field("consumer_org", consumer);
        }
        if self.authorization_details.is_some() {
            // A consent names a person: their number stays out of logs.
            out.field("authorization_details", &format_args!("[redacted]"));
        }
        out.finish()
    }
}

/// What can stand where a [`TokenRequest`] is asked for: one, or a list of scopes.
pub trait IntoTokenRequest {
    /// Checks and converts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where the list holds no scope, or one that
    /// is none.
    fn into_token_request(self) -> Result<TokenRequest>;
}

impl IntoTokenRequest for TokenRequest {
    fn into_token_request(self) -> Result<TokenRequest> {
        Ok(self)
    }
}

impl IntoTokenRequest for &TokenRequest {
    fn into_token_request(self) -> Result<TokenRequest> {
        Ok(self.clone())
    }
}

impl IntoTokenRequest for ScopeSet {
    fn into_token_request(self) -> Result<TokenRequest> {
        Ok(self.into())
    }
}

impl IntoTokenRequest for &str {
    fn into_token_request(self) -> Result<TokenRequest> {
        TokenRequest::scopes([self])
    }
}

impl<S: AsRef<str>, const N: usize> IntoTokenRequest for [S; N] {
    fn into_token_request(self) -> Result<TokenRequest> {
        TokenRequest::scopes(self)
    }
}

impl<S: AsRef<str>> IntoTokenRequest for &[S] {
    fn into_token_request(self) -> Result<TokenRequest> {
        TokenRequest::scopes(self)
    }
}

impl<S: AsRef<str>> IntoTokenRequest for Vec<S> {
    fn into_token_request(self) -> Result<TokenRequest> {
        TokenRequest::scopes(self)
    }
}

impl TryFrom<&str> for OrganisationNumber {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&String> for OrganisationNumber {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for OrganisationNumber {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Resources with one more among them, as a sorted set; blank text is none.
fn with_resource(
    resources: Option<Arc<[Box<str>]>>,
    resource: &str,
) -> Result<Option<Arc<[Box<str>]>>> {
    let resource = resource.trim();
    if resource.is_empty() {
        return Ok(resources);
    }
    if !is_absolute_uri(resource) {
        let shown: String = resource.chars().take(80).collect();
        let message = format!("{shown:?} is no absolute URI without fragment");
        return Err(Error::request(message).with_advice(&advice::RESOURCE));
    }
    let mut resources: Vec<Box<str>> = resources.iter().flat_map(|r| r.to_vec()).collect();
    resources.push(resource.into());
    resources.sort_unstable();
    resources.dedup();
    Ok(Some(resources.into()))
}

/// `authorization_details` as it is sent and compared: an array of one.
fn written(details: &Map<String, Value>) -> Arc<Value> {
    let mut details = json!([details]);
    // Sorted already, unless another crate of the build asks serde_json to keep the order.
    details.sort_all_objects();
    details.into()
}

/// A scheme, a colon and something after it (RFC 3986 §4.3), without white space or fragment.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_character = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let path_only = rest.trim_start_matches('/').is_empty();
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(scheme_character)
        && !path_only
        && !rest.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> TokenRequest {
        TokenRequest::scopes(["a:b"]).unwrap()
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        let check = |resource: &str, accepted: bool| {
            assert_eq!(request().resource(resource).is_ok(), accepted, "{resource}");
        };
        check("https://api.example.no/x", true);
        check("urn:altinn:resource:x", true);
        check("https://api.example.no/a%23b", true);
        check("  https://api.example.no ", true);
        check("api.example.no", false);
        check("/path", false);
        check("https://", false);
        check("https://api.example.no/#part", false);
        check("https://api.example.no#", false);
        check("https://api.example.no/a b", false);
    }

    #[test]
    fn a_blank_resource_is_none_and_two_are_a_set() {
        assert_eq!(request().resource("  ").unwrap(), request());
        let two = |a, b| request().resource(a).unwrap().resource(b).unwrap();
        assert_eq!(two("urn:a", "urn:b"), two("urn:b", "urn:a"));
        assert_eq!(
            two("urn:a", "urn:a"),
            request().resource(" urn:a ").unwrap()
        );
    }

    #[test]
    fn a_system_user_is_written_as_maskinporten_reads_it() {
        let user = SystemUser::new("0192:311169963")
            .unwrap()
            .external_ref(" Ærlig_ref-1 ")
            .unwrap();
        assert_eq!(
            request().system_user(user).details().unwrap().to_string(),
            r#"[{"externalRef":"Ærlig_ref-1","systemuser_org":{"ID":"0192:311169963","authority":"iso6523-actorid-upis"},"type":"urn:altinn:systemuser"}]"#,
        );
        let plain = SystemUser::new("311169963").unwrap();
        let blank = plain.clone().external_ref("  ").unwrap();
        assert_eq!(plain, blank);
    }

    #[test]
    fn an_external_reference_outside_the_alphabet_is_refused() {
        let user = || SystemUser::new("311169963").unwrap();
        for reference in ["a b", "a#b", "é", &"x".repeat(256)] {
            assert!(user().external_ref(reference).is_err(), "{reference}");
        }
        assert!(user().external_ref("å".repeat(255)).is_ok());
    }

    #[test]
    fn a_tenant_is_whom_the_token_is_for() {
        let tenant = |number: &str| Tenant::Organisation(number.parse().unwrap());
        assert_eq!(request().tenant(), Tenant::Itself);
        let consumer = request().consumer_org("991825827").unwrap();
        assert_eq!(consumer.tenant(), tenant("991825827"));
        let user = SystemUser::new("311169963").unwrap();
        assert_eq!(request().system_user(user).tenant(), tenant("311169963"));
        let raw = r#"{"type":"urn:x","systemuser_org":{"ID":"0192:311169963"}}"#;
        let raw = request().authorization_details(raw).unwrap();
        assert_eq!(raw.tenant(), tenant("311169963"));
        let consent =
            Consent::from_organisation("77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1", "991825827");
        assert_eq!(request().consent(consent.unwrap()).tenant(), Tenant::Itself);
        let nonsense = r#"{"type":"urn:x","systemuser_org":{"ID":7}}"#;
        let nonsense = request().authorization_details(nonsense).unwrap();
        assert_eq!(nonsense.tenant(), Tenant::Itself);
    }

    #[test]
    fn a_consent_names_its_giver() {
        let id = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";
        let consent = Consent::from_organisation(id, "0192:991825827").unwrap();
        let written = request().consent(consent);
        assert!(
            written
                .details()
                .unwrap()
                .to_string()
                .contains("urn:altinn:organization:identifier-no:991825827")
        );
        assert!(Consent::from_person(id, "1234567890").is_err());
        assert!(Consent::from_person("77ed8698", "01017012345").is_err());
        let person = Consent::from_person(id, "01017012345").unwrap();
        assert!(!format!("{person:?} {:?}", request().consent(person.clone())).contains("0101701"));
    }

    #[test]
    fn raw_details_are_one_object_with_a_type() {
        let one = r#"{"type": "urn:x", "b": 1, "a": 2}"#;
        let bare = request().authorization_details(one).unwrap();
        let wrapped = request()
            .authorization_details(r#"[{"a":2,"b":1,"type":"urn:x"}]"#)
            .unwrap();
        assert_eq!(bare, wrapped);
        for json in [
            "",
            "{",
            "[]",
            "[1]",
            "{}",
            "[{\"type\":\"a\"},{\"type\":\"b\"}]",
            "{\"type\":1}",
        ] {
            assert!(request().authorization_details(json).is_err(), "{json}");
        }
    }
}
