//! [`RequestDefault`]: what stood with the settings and is a request's to say.

use std::fmt;

use crate::advice;
use crate::error::{Error, Result};
use crate::organisation::OrganisationNumber;
use crate::request::TokenRequest;
use crate::secret::Secret;

use super::near_miss::{NearMiss, NearMisses, Setting};
use super::values::{Found, Named, Section};
use super::variables::Variables;
use super::{FoundLimits, MaskinportenSettings, draft, names};

/// A default for requests that was found with the settings: an organisation to ask on behalf of, or the API
/// that tokens are for.
///
/// It changes whom a token is for, so it is never applied without being asked for: the binary `maskinporten`
/// takes it where its command line says nothing, and code may add it to its requests. A client that is made
/// of settings that still hold one warns by its name.
///
/// ```
/// use maskinporten::{MaskinportenSettings, TokenRequest};
///
/// let json = r#"{"Authority": "test", "ClientId": "our-client", "Jwk": "{…}", "ConsumerOrgNo": "991825827"}"#;
/// let mut settings = MaskinportenSettings::from_json(json, MaskinportenSettings::DEFAULT_SECTION)?;
///
/// let mut request = TokenRequest::scopes(["krr:read"])?;
/// if let Some(organisation) = settings.consumer_org.take() {
///     request = request.consumer_org(organisation.value()?)?;
/// }
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RequestDefault {
    kind: Kind,
    found: Named,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ConsumerOrg,
    Resource,
}

impl RequestDefault {
    /// The name it was found under, as it stands there: `MASKINPORTEN_CONSUMER_ORG`,
    /// `MaskinportenSettings__ConsumerOrgNo`, `ConsumerOrgNo`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.found.name
    }

    /// Its value, checked: an organisation number, or an absolute URI.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where it is not that, and where two names give
    /// two values. The message has the name and not the value.
    pub fn value(&self) -> Result<&str> {
        let Self {
            kind,
            found: Named { name, value },
        } = self;
        let (is_good, what, advice) = match kind {
            Kind::ConsumerOrg => (
                value.as_ref().is_ok_and(|text| is_organisation(text)),
                "organisation number",
                &advice::ORGANISATION,
            ),
            Kind::Resource => (
                value.as_ref().is_ok_and(|text| is_resource(text)),
                "absolute URI",
                &advice::RESOURCE,
            ),
        };
        let message = match value {
            Ok(value) if is_good => return Ok(value),
            Ok(_) => format!("{name} is no {what}"),
            Err(problem) => problem.clone(),
        };
        Err(Error::settings(message).with_advice(advice))
    }

    /// Warns that it is found and not used, and what to do.
    pub(crate) fn warn(&self, source: &str) {
        let method = match self.kind {
            Kind::ConsumerOrg => "consumer_org",
            Kind::Resource => "resource",
        };
        tracing::warn!(
            target: "maskinporten::settings",
            name = self.name(),
            source,
            "this is found and not used, since it changes whom a token is for: give it to each request \
             (`TokenRequest::{method}`, or a `TokenContext`), or remove it"
        );
    }

    /// Whether both say the same; their names may differ.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.kind == other.kind && self.found.value == other.found.value
    }

    /// The same, or an error where another one that stands in the same place says something else.
    fn joined(self, other: Self) -> Self {
        Self {
            found: self.found.joined(other.found),
            ..self
        }
    }

    /// The one of several values that stand in one place. None of them is blank.
    fn of(kind: Kind, found: Vec<(String, Found)>) -> Option<Self> {
        Named::of(found).map(|found| Self { kind, found })
    }
}

fn is_organisation(text: &str) -> bool {
    text.parse::<OrganisationNumber>().is_ok()
}

fn is_resource(text: &str) -> bool {
    TokenRequest::scopes(["any"])
        .and_then(|request| request.resource(text))
        .is_ok()
}

impl fmt::Debug for RequestDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RequestDefault");
        out.field("name", &self.found.name);
        // What is not what it should be may be a key that was put there.
        match self.value() {
            Ok(value) => out.field("value", &value),
            Err(_) => out.field("value", &format_args!("[unusable]")),
        };
        out.finish()
    }
}

/// Both defaults of one place, and its limits of the fetch queue. None of them is a part of credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestDefaults {
    pub(crate) consumer_org: Option<RequestDefault>,
    pub(crate) resource: Option<RequestDefault>,
    pub(crate) limits: FoundLimits,
    /// Names that resemble those of the above, where these are not given.
    near_misses: Vec<NearMiss>,
}

impl RequestDefaults {
    pub(super) fn of(
        consumer_org: Option<RequestDefault>,
        resource: Option<RequestDefault>,
        limits: FoundLimits,
    ) -> Self {
        Self {
            consumer_org,
            resource,
            limits,
            near_misses: Vec::new(),
        }
    }

    /// Those that stand under names of the shape `MASKINPORTEN_…`.
    pub(crate) fn in_variables<'a>(value: &dyn Fn(&str) -> Option<&'a Secret>) -> Self {
        let found = |names: &[&str]| Named::in_variables(value, names);
        Self::of(
            RequestDefault::of(Kind::ConsumerOrg, found(&names::CONSUMER_ORGS)),
            RequestDefault::of(Kind::Resource, found(&names::RESOURCES)),
            FoundLimits::in_variables(value),
        )
    }

    /// Those that stand in a section.
    pub(super) fn in_section(section: &Section) -> Self {
        let found = |names: &[&str]| names.iter().flat_map(|name| section.all(name)).collect();
        Self::of(
            RequestDefault::of(Kind::ConsumerOrg, found(&draft::CONSUMER_ORGS)),
            RequestDefault::of(Kind::Resource, found(&draft::RESOURCES)),
            FoundLimits::in_section(section),
        )
    }

    /// Those that variables of either shape give.
    pub(super) fn of_variables(variables: &Variables, section: &str) -> Self {
        let names = variables.all().iter().map(|(name, _)| name.as_str());
        let near_misses = NearMisses::in_variables(names);
        let named = Self::in_variables(&|name| variables.get(name));
        let section = Section::of_values(variables.all(), section, "__", "");
        let found = named.joined(Self::in_section(&section));
        let near_misses = near_misses.of_either_shape(draft::near_misses(&section));
        let near_misses = near_misses.without_given(|setting| match setting {
            Setting::ConsumerOrg => found.consumer_org.is_some(),
            Setting::Permits => found.limits.has_permits(),
            Setting::QueueTimeout => found.limits.has_wait(),
            _ => found.resource.is_some(),
        });
        Self {
            near_misses: near_misses.into_vec(),
            ..found
        }
    }

    /// These and others of the same place, which must say the same.
    pub(super) fn joined(self, others: Self) -> Self {
        let join = |own: Option<RequestDefault>, other| match (own, other) {
            (Some(own), Some(other)) => Some(own.joined(other)),
            (own, other) => own.or(other),
        };
        Self {
            consumer_org: join(self.consumer_org, others.consumer_org),
            resource: join(self.resource, others.resource),
            limits: self.limits.joined(others.limits),
            near_misses: self.near_misses,
        }
    }

    /// Those that neither stand in `others` nor say the same.
    pub(crate) fn not_in(self, others: &MaskinportenSettings) -> Self {
        let is_news = |own: &RequestDefault, other: &Option<RequestDefault>| {
            other.as_ref().is_none_or(|other| !other.agrees_with(own))
        };
        Self {
            consumer_org: self
                .consumer_org
                .filter(|own| is_news(own, &others.consumer_org)),
            resource: self.resource.filter(|own| is_news(own, &others.resource)),
            limits: self.limits.not_in(&others.limits),
            near_misses: self
                .near_misses
                .into_iter()
                .filter(|near| {
                    others
                        .near_misses
                        .iter()
                        .all(|other| other.name != near.name)
                })
                .collect(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RequestDefault> {
        self.consumer_org.iter().chain(&self.resource)
    }

    pub(crate) fn near_misses(&self) -> &[NearMiss] {
        &self.near_misses
    }
}
