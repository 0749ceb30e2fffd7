//! [`SettingsVariables`]: environment variables as a source.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::signer::BoxFuture;

use super::local::{LocalSource, POLL_INTERVAL, looked_for};
use super::near_miss::NearMisses;
use super::values::{self, Section};
use super::variables::Variables;
use super::{Finding, RequestDefaults, SettingsSource, digdirator, draft, names};

/// Environment variables, in either of two shapes and never a mix of them:
///
/// 1. `MASKINPORTEN_CLIENT_ID`, the key as `MASKINPORTEN_CLIENT_JWK` or `MASKINPORTEN_KEY_FILE`, and
///    the authority as `MASKINPORTEN_ISSUER` (`_AUDIENCE`, `_AUTHORITY`, or by
///    `MASKINPORTEN_WELL_KNOWN_URL`);
/// 2. `MaskinportenSettings__Authority`, `__ClientId`, and the key as `__JwkBase64`, `__Jwk` (the whole
///    JSON), `__Jwk__n` … (member by member) or `__Pem`; in any case.
///
/// They are taken once: a process keeps the environment it was started with. A key file that one of them
/// names is read again every 5 seconds.
#[derive(Clone, Debug)]
pub struct SettingsVariables {
    variables: Arc<Variables>,
    section: String,
    shapes: Shapes,
    name: String,
}

#[derive(Clone, Copy, Debug)]
enum Shapes {
    Named,
    Section,
    Both,
}

impl SettingsVariables {
    /// The variables of this process, with a section such as `MaskinportenSettings`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where one of ours is not UTF-8 text.
    pub fn of_process(section: &str) -> Result<Self> {
        let variables = Arc::new(Variables::of_process(section)?);
        Ok(Self::of(variables, section, Shapes::Both))
    }

    /// These variables in place of those of the process.
    pub fn new(vars: impl IntoIterator<Item = (String, String)>, section: &str) -> Self {
        Self::of(Arc::new(Variables::new(vars)), section, Shapes::Both)
    }

    pub(super) fn named(variables: Arc<Variables>, section: &str) -> Self {
        Self::of(variables, section, Shapes::Named)
    }

    pub(super) fn in_section(variables: Arc<Variables>, section: &str) -> Self {
        Self::of(variables, section, Shapes::Section)
    }

    fn of(variables: Arc<Variables>, section: &str, shapes: Shapes) -> Self {
        let prefix = values::levels(section).join("__");
        let name = match shapes {
            Shapes::Named => "the variables MASKINPORTEN_…".to_owned(),
            Shapes::Section => format!("the variables {prefix}__…"),
            Shapes::Both => format!("the variables MASKINPORTEN_… and {prefix}__…"),
        };
        Self {
            variables,
            section: section.to_owned(),
            shapes,
            name,
        }
    }
}

impl LocalSource for SettingsVariables {
    fn look_now(&self) -> Result<Finding> {
        // These are no credentials, so both shapes count whichever the credentials have.
        let defaults = RequestDefaults::of_variables(&self.variables, &self.section);
        Ok(self.look_at_shapes()?.with_defaults(defaults))
    }
}

impl SettingsVariables {
    fn look_at_shapes(&self) -> Result<Finding> {
        match self.shapes {
            Shapes::Named => {
                let names = self.variables.all().iter().map(|(name, _)| name.as_str());
                let near_misses = NearMisses::in_variables(names);
                digdirator::read(&|name| self.variables.get(name), near_misses, &self.name)
            }
            Shapes::Section => {
                let variables = self.variables.all();
                let section = Section::of_values(variables, &self.section, "__", &self.name);
                draft::read(&section)
            }
            Shapes::Both => {
                let shape = |shapes| Self::of(Arc::clone(&self.variables), &self.section, shapes);
                let shapes = [shape(Shapes::Named), shape(Shapes::Section)];
                let found = shapes.map(|shape| Ok((shape.name.clone(), shape.look_now()?)));
                Finding::of_shapes(found.into_iter().collect::<Result<Vec<_>>>()?)
            }
        }
    }
}

impl SettingsSource for SettingsVariables {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        looked_for(self.clone())
    }

    fn interval(&self) -> Option<Duration> {
        let files = [names::KEY_FILE, names::CERTIFICATE_FILE];
        let names_a_file = files.iter().any(|name| self.variables.get(name).is_some());
        names_a_file.then_some(POLL_INTERVAL)
    }
}
