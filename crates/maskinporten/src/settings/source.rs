//! [`SettingsSource`]: a place that settings are read from, at start and again while a client lives.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::secret::Secret;
use crate::signer::BoxFuture;

use super::values::Section;
use super::{MaskinportenSettings, RequestDefaults, draft};

/// A place that settings are read from, whole.
///
/// - It is asked when a client is made, and again every [`interval`](Self::interval) while the client
///   lives. What it gives then is checked, and signs once, before it is used; until it can be, the
///   client goes on with what it has.
/// - Which of several places is used is decided once, by [`Credentials`](crate::Credentials). A client
///   never goes over from one to another while it lives.
///
/// [`SettingsFile`](crate::SettingsFile), [`AppSettings`](crate::AppSettings),
/// [`SecretsDirectory`](crate::SecretsDirectory) and [`SettingsVariables`](crate::SettingsVariables)
/// are places of this machine; the crate `maskinporten-azure` has one that is a vault.
///
/// ```
/// use maskinporten::{BoxFuture, Finding, Result, Secret, SettingsSource};
///
/// /// Parameters of a store that some platform keeps.
/// #[derive(Debug)]
/// struct Parameters;
///
/// impl SettingsSource for Parameters {
///     fn name(&self) -> &str {
///         "the parameters below /our-app"
///     }
///
///     fn look(&self) -> BoxFuture<'_, Result<Finding>> {
///         let found = vec![("MaskinportenSettings:ClientId".to_owned(), Secret::from("our-client"))];
///         let finding = Finding::of_values(found, "MaskinportenSettings", self.name());
///         Box::pin(std::future::ready(finding))
///     }
/// }
/// ```
pub trait SettingsSource: fmt::Debug + Send + Sync + 'static {
    /// What it is, as messages name it: `settings file /run/settings.json`. Nothing in it is secret.
    fn name(&self) -> &str;

    /// Looks now. A future that is dropped must leave nothing behind.
    ///
    /// # Errors
    ///
    /// Where it cannot be told what is there ([`Error::unavailable`](crate::Error::unavailable)), or
    /// where what is there cannot be used.
    fn look(&self) -> BoxFuture<'_, Result<Finding>>;

    /// How often it is worth looking again. None, the default, for what never changes.
    fn interval(&self) -> Option<Duration> {
        None
    }
}

/// What a place holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// Nothing of what settings are made of.
    Nothing,
    /// Some of it and not all: what is missing, by the names that the place has for it.
    Incomplete(Vec<String>),
    /// Nothing under the names that are read, and names that resemble them: what is missing, with those names.
    /// It counts as [`Nothing`](Self::Nothing) where another place is complete.
    Misnamed(Vec<String>),
    /// Authority, client id and a key.
    Complete(Box<MaskinportenSettings>),
}

impl Finding {
    /// What flat names and their values say of a section, as a vault or an environment has them:
    /// `MaskinportenSettings--ClientId`, `myapp:MaskinportenSettings:Jwk:n`.
    ///
    /// Levels are separated by `:`, `__` or `--`, and names are read in any case. Names of other sections
    /// are left alone. A blank value counts as not given. `place` is how messages name where it was found.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where one name stands there twice with two
    /// values, and where there is more than one key.
    pub fn of_values(
        values: impl IntoIterator<Item = (String, Secret)>,
        section: &str,
        place: &str,
    ) -> Result<Self> {
        let values: Vec<_> = values.into_iter().collect();
        draft::read(&Section::of_values(&values, section, "--", place))
    }
}

impl Finding {
    /// What is missing, with where it is missing.
    pub(super) fn named(self, place: &str) -> Self {
        match self {
            Self::Incomplete(missing) => {
                Self::Incomplete(missing.into_iter().map(|name| name + place).collect())
            }
            Self::Misnamed(missing) => {
                Self::Misnamed(missing.into_iter().map(|name| name + place).collect())
            }
            other => other,
        }
    }

    /// The same with the defaults for requests that the whole place gives, in whichever shape of names.
    pub(super) fn with_defaults(self, defaults: RequestDefaults) -> Self {
        let Self::Complete(mut settings) = self else {
            return self;
        };
        let own = RequestDefaults::of(
            settings.consumer_org.take(),
            settings.resource.take(),
            std::mem::take(&mut settings.limits),
        );
        let all = own.joined(defaults);
        settings.consumer_org = all.consumer_org;
        settings.resource = all.resource;
        settings.limits = all.limits;
        Self::Complete(settings)
    }

    /// What several shapes in one place come to: the first that is complete, and what it was chosen over.
    /// They must be of one client.
    pub(super) fn of_shapes(shapes: impl IntoIterator<Item = (String, Self)>) -> Result<Self> {
        let shapes: Vec<_> = shapes.into_iter().collect();
        let mut complete = shapes.iter().filter_map(|(_, shape)| match shape {
            Self::Complete(settings) => Some(settings),
            Self::Nothing | Self::Incomplete(_) | Self::Misnamed(_) => None,
        });
        if let Some(first) = complete.next()
            && let Some(other) = complete.find(|other| other.client_id != first.client_id)
        {
            return Err(super::two_clients(first, other));
        }
        Ok(Self::first_of(shapes))
    }

    /// The first that is complete, and what it was chosen over.
    pub(super) fn first_of(shapes: Vec<(String, Self)>) -> Self {
        let mut complete: Option<Box<MaskinportenSettings>> = None;
        let mut missing = Vec::new();
        let mut misnamed = Vec::new();
        let mut passed_over = Vec::new();
        for (name, shape) in shapes {
            match (shape, &complete) {
                (Self::Nothing, _) => {}
                (Self::Misnamed(names), _) => misnamed.extend(names),
                (Self::Incomplete(names), _) => {
                    passed_over.push(format!("{name}: lacks {}", names.join(", ")));
                    missing.extend(names);
                }
                (Self::Complete(found), None) => complete = Some(found),
                (Self::Complete(found), Some(_)) => {
                    passed_over.push(format!(
                        "{name} (client id {})",
                        super::shown_identifier(&found.client_id)
                    ));
                }
            }
        }
        match complete {
            Some(mut settings) => {
                settings.passed_over = passed_over;
                Self::Complete(settings)
            }
            None if missing.is_empty() && misnamed.is_empty() => Self::Nothing,
            None if missing.is_empty() => Self::Misnamed(misnamed),
            None => {
                missing.extend(misnamed);
                Self::Incomplete(missing)
            }
        }
    }
}

impl From<MaskinportenSettings> for Finding {
    fn from(settings: MaskinportenSettings) -> Self {
        Self::Complete(Box::new(settings))
    }
}
