//! [`Credentials`]: what a client proves itself by, chosen whole, and kept up to date while it lives.
//!
//! - They are settings with a key, or a sidecar that holds the key itself.
//! - Where they were read from a source that may change, that source is watched ([`live`]): what is new is
//!   checked, signs once and is then taken at once, or it is told of and left.
//! - Two keys may be registered at a time, so a rotation has an overlap ([`ring`]).

mod expiry;
mod live;
mod material;
mod ring;

use std::fmt;
use std::sync::Arc;

use crate::advice;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fetch_limits::GivenLimits;
use crate::settings::{
    Finding, LocalSource, MaskinportenSettings, Platform, RequestDefault, RequestDefaults,
    SettingsSource, Sidecar, shown_identifier,
};

pub(crate) use live::Live;
pub(crate) use material::{Material, Parts};

/// What a client proves itself by: settings with a key, or a sidecar; from one place, whole.
///
/// - [`discover`](Self::discover) chooses among what the platform gives, [`load`](Self::load) among sources
///   that code lists. Nothing is ever put together of two of them, and what was found and not used is told.
/// - A client that is made of them goes on watching the place they were read from. It never goes over to
///   another place while it lives.
///
/// ```
/// use maskinporten::{Credentials, MaskinportenSettings};
///
/// let settings = MaskinportenSettings::new("test", "our-client").with_jwk("{…}");
/// let credentials = Credentials::from(settings);
/// assert_eq!(
///     credentials.describe().to_string(),
///     "authority https://test.maskinporten.no/ (test), client id our-client, key Jwk [redacted], from code",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Credentials {
    proof: Proof,
    source: Option<Arc<dyn SettingsSource>>,
    not_used: Vec<String>,
    /// Defaults for requests that variables give, where the place of the credentials gives others or none.
    defaults: RequestDefaults,
}

#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Settings(Box<MaskinportenSettings>),
    Sidecar(Sidecar),
}

impl Credentials {
    /// Those that the platform gives to this process: see [`Platform`].
    ///
    /// # Errors
    ///
    /// As [`Platform::credentials`].
    pub fn discover() -> Result<Self> {
        Platform::of_process().credentials()
    }

    /// Asks sources, one or several, and takes the settings of the **last** that has them complete: what
    /// is written further down comes on top, as in .NET. The others are told of.
    ///
    /// An application that goes over from Key Vault to the credentials that Altinn Studio mounts has both
    /// for a while: whichever is listed last is used as long as it is complete.
    ///
    /// ```no_run
    /// use maskinporten::{Credentials, MaskinportenClient, SettingsFile, SettingsSources, SettingsVariables};
    ///
    /// # async fn example() -> maskinporten::Result<()> {
    /// let sources = SettingsSources::new()
    ///     .with(SettingsFile::new("/mnt/app-secrets/maskinporten-settings.json"))
    ///     .with(SettingsVariables::of_process("myapp:MaskinportenSettings")?);
    /// let credentials = Credentials::load(sources).await?;
    /// tracing::info!("using {}", credentials.describe());
    /// let client = MaskinportenClient::builder().credentials(credentials).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// All are asked at once. It has no deadline of its own: each source has its own, and so may the caller.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where none is complete, with what each lacks.
    /// The error of a source that comes after all that are complete: it cannot be told what it has, and
    /// which client this is must not depend on the weather.
    pub async fn load(sources: impl Into<SettingsSources>) -> Result<Self> {
        let sources = sources.into().0;
        let mut looks: Vec<_> = sources.iter().map(|source| source.look()).collect();
        let findings = all(&mut looks).await;
        let mut chosen: Option<(usize, Box<MaskinportenSettings>)> = None;
        let mut failed: Option<Error> = None;
        let mut not_used = Vec::new();
        let mut misnamed = Vec::new();
        let mut empty = Vec::new();
        // The last one first.
        for (at, finding) in findings.into_iter().enumerate().rev() {
            let name = sources[at].name();
            match finding {
                Ok(Finding::Nothing) => empty.push(format!("{name}: nothing there")),
                Ok(Finding::Incomplete(missing)) => {
                    not_used.push(format!("{name}: lacks {}", missing.join(", ")));
                }
                Ok(Finding::Misnamed(missing)) => {
                    misnamed.push(format!("{name}: lacks {}", missing.join(", ")));
                }
                Ok(Finding::Complete(found)) if chosen.is_none() => chosen = Some((at, found)),
                Ok(Finding::Complete(found)) => {
                    not_used.push(format!(
                        "{} (client id {})",
                        found.source(),
                        shown_identifier(&found.client_id)
                    ));
                }
                Err(error) if chosen.is_some() => not_used.push(format!("{name}: {error}")),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let Some((at, settings)) = chosen else {
            not_used.extend(misnamed);
            not_used.extend(empty);
            let message = format!("no settings were found: {}", not_used.join("; "));
            let error = Error::settings(message).with_advice(&advice::NO_SETTINGS);
            let tell = |error: Error, place| error.with_detail("place", place);
            return Err(not_used.into_iter().fold(error, tell));
        };
        not_used.extend_from_slice(settings.passed_over());
        let mut credentials = Self::from(*settings);
        credentials.source = Some(Arc::clone(&sources[at]));
        Ok(credentials.beside(not_used, Vec::new()))
    }

    /// The settings, unless it is a sidecar.
    #[must_use]
    pub fn settings(&self) -> Option<&MaskinportenSettings> {
        match &self.proof {
            Proof::Settings(settings) => Some(settings),
            Proof::Sidecar(_) => None,
        }
    }

    /// The sidecar, where it is one.
    #[must_use]
    pub fn sidecar(&self) -> Option<&Sidecar> {
        match &self.proof {
            Proof::Settings(_) => None,
            Proof::Sidecar(sidecar) => Some(sidecar),
        }
    }

    /// Which of Digdir's environments they are of; none for any other authority, and for a sidecar that
    /// does not tell.
    ///
    /// # Errors
    ///
    /// Where the authority cannot be used.
    pub fn environment(&self) -> Result<Option<Environment>> {
        match &self.proof {
            Proof::Settings(settings) => settings.environment(),
            Proof::Sidecar(sidecar) => Ok(sidecar.environment()),
        }
    }

    /// Takes the organisation that requests are to be made on behalf of, where one was found with the
    /// credentials or in the platform's variables. What is taken counts as used: it is not warned of when a
    /// client is made, and [`describe`](Self::describe) leaves it out.
    pub fn take_consumer_org(&mut self) -> Option<RequestDefault> {
        let own = match &mut self.proof {
            Proof::Settings(settings) => settings.consumer_org.take(),
            Proof::Sidecar(_) => None,
        };
        own.or_else(|| self.defaults.consumer_org.take())
    }

    /// Takes the API that tokens are to be for, as [`take_consumer_org`](Self::take_consumer_org) does the
    /// organisation.
    pub fn take_resource(&mut self) -> Option<RequestDefault> {
        let own = match &mut self.proof {
            Proof::Settings(settings) => settings.resource.take(),
            Proof::Sidecar(_) => None,
        };
        own.or_else(|| self.defaults.resource.take())
    }

    /// What was chosen, where it came from and what was found and not used, for a log line or a report.
    /// Nothing in it is secret.
    pub fn describe(&self) -> impl fmt::Display + '_ {
        Description(self)
    }

    /// Settings that a source of this machine gave, which is watched from now on.
    pub(crate) fn read_from(settings: MaskinportenSettings, source: Arc<dyn LocalSource>) -> Self {
        Self {
            source: Some(source),
            ..Self::from(settings)
        }
    }

    /// Notes what was found and not used, and tells of it. What was to be `expected` there is told more
    /// softly.
    pub(crate) fn beside(mut self, not_used: Vec<String>, expected: Vec<String>) -> Self {
        let used = self.source();
        for place in &not_used {
            tracing::warn!(
                target: "maskinporten::settings",
                used = %used,
                not_used = %place,
                "credentials found and not used"
            );
        }
        for place in &expected {
            tracing::info!(
                target: "maskinporten::settings",
                used = %used,
                not_used = %place,
                "credentials found and not used"
            );
        }
        self.not_used = not_used;
        self.not_used.extend(expected);
        self
    }

    /// Notes defaults for requests that stand elsewhere, unless they say the same as those with the
    /// settings.
    pub(crate) fn with_defaults(mut self, defaults: RequestDefaults) -> Self {
        self.defaults = match &self.proof {
            Proof::Settings(settings) => defaults.not_in(settings),
            Proof::Sidecar(_) => defaults,
        };
        self
    }

    /// Warns of each name that is found and not used by a client that is made of these.
    pub(crate) fn warn_of_unused_names(&self) {
        if let Proof::Settings(settings) = &self.proof {
            settings.warn_of_unused_names();
        }
        for default in self.defaults.iter() {
            default.warn("the environment");
        }
        for near in self.defaults.near_misses() {
            near.warn("the environment");
        }
    }

    /// The limits of the fetch queue, checked: a variable comes on top of what stands with the credentials.
    pub(crate) fn fetch_limits(&self) -> Result<GivenLimits> {
        let on_top = self.defaults.limits.checked().map_err(|error| {
            let message = format!("{error} (the environment)");
            Error::settings(message).with_advice(&advice::FETCH_LIMITS)
        })?;
        match &self.proof {
            Proof::Settings(settings) => Ok(on_top.or(settings.fetch_limits()?)),
            Proof::Sidecar(_) => Ok(on_top),
        }
    }

    /// Where they came from, in words.
    fn source(&self) -> String {
        match &self.proof {
            Proof::Settings(settings) => settings.source().to_owned(),
            Proof::Sidecar(sidecar) => sidecar.to_string(),
        }
    }

    pub(crate) fn into_settings(self) -> Result<MaskinportenSettings> {
        match self.proof {
            Proof::Settings(settings) => Ok(*settings),
            Proof::Sidecar(_) => {
                let message = "a sidecar was found where settings with a key are needed";
                Err(Error::settings(message).with_advice(&advice::SIDECAR_ONLY))
            }
        }
    }

    pub(crate) fn into_parts(self) -> (Proof, Option<Arc<dyn SettingsSource>>) {
        (self.proof, self.source)
    }
}

impl From<MaskinportenSettings> for Credentials {
    /// Settings as they are: nothing is watched.
    fn from(settings: MaskinportenSettings) -> Self {
        Self {
            proof: Proof::Settings(Box::new(settings)),
            source: None,
            not_used: Vec::new(),
            defaults: RequestDefaults::default(),
        }
    }
}

impl From<Sidecar> for Credentials {
    fn from(sidecar: Sidecar) -> Self {
        Self {
            proof: Proof::Sidecar(sidecar),
            source: None,
            not_used: Vec::new(),
            defaults: RequestDefaults::default(),
        }
    }
}

/// Waits for all, whatever becomes of each.
async fn all<T>(looks: &mut [crate::signer::BoxFuture<'_, T>]) -> Vec<T> {
    let mut done: Vec<Option<T>> = looks.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (look, done) in looks.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(outcome) = look.as_mut().poll(context)
            {
                *done = Some(outcome);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

// ===== a list of sources =====

/// Sources in the order in which each comes on top of those before it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SettingsSources(Vec<Arc<dyn SettingsSource>>);

impl SettingsSources {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one on top.
    pub fn with(mut self, source: impl SettingsSource) -> Self {
        self.0.push(Arc::new(source));
        self
    }
}

impl<S: SettingsSource> From<S> for SettingsSources {
    fn from(source: S) -> Self {
        Self::new().with(source)
    }
}

// ===== impl Description =====

struct Description<'a>(&'a Credentials);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.proof {
            Proof::Settings(settings) => write!(f, "{}", settings.describe())?,
            Proof::Sidecar(sidecar) => write!(f, "{sidecar}")?,
        }
        for limit in self.0.defaults.limits.described() {
            write!(f, "; {limit} of the environment, which comes first")?;
        }
        for default in self.0.defaults.iter() {
            write!(f, "; found and not used: {}", default.name())?;
        }
        for near in self.0.defaults.near_misses() {
            write!(f, "; found and not used: {}", near.described())?;
        }
        for place in &self.0.not_used {
            write!(f, "; not used: {place}")?;
        }
        Ok(())
    }
}
