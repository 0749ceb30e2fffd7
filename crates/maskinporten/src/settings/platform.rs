//! Every place that a platform leaves credentials in, and which of them is used.
//!
//! A place on a higher rung is asked for first and wins. Two on one rung are equals: where both have
//! settings of the same client the first is used, and where they name two clients nobody can tell
//! which is meant. What was found and not used is told in the log and in the description.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::advice;
use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::{Error, Result};

use super::altinn::PlatformSettings;
use super::authority::is_name;
use super::environment::SettingsVariables;
use super::local::LocalSource;
use super::variables::Variables;
use super::{
    AltinnSettings, Finding, LegacySettings, MaskinportenSettings, RequestDefault, RequestDefaults,
    SecretsDirectory, SettingsFile, SettingsSource, Sidecar, digdirator, disk, names,
};

/// What a platform gives to a process: variables, and what it mounts.
///
/// Credentials are looked for in this order, and taken whole from the first place that has them:
///
/// 1. the settings file that `MASKINPORTEN_SETTINGS_FILE` or `MaskinportenSettingsFilepath` names;
/// 2. the sidecar at `NAIS_TOKEN_ENDPOINT`: the key then stays out of this process;
/// 3. the directory of secrets that `MASKINPORTEN_SECRETS_DIR` names;
/// 4. the directories that nais, SKIP and Altinn mount: `/var/run/secrets/nais.io/maskinporten`,
///    `/var/run/secrets/skip/maskinporten`, and `/mnt/app-secrets` (`RUNTIME_APP_SECRETS_DIR` and
///    `AppSettings__RuntimeSecretsDirectory` name another) with `maskinporten-settings.json`;
/// 5. the variables `MASKINPORTEN_CLIENT_ID` … and `MaskinportenSettings__ClientId` …
///
/// The Altinn that exchanges tokens is told by `ALTINN_PLATFORM_URL`, and by the section `PlatformSettings`
/// (`ApiAuthenticationEndpoint`, `SubscriptionKey`) of the variables, of the JSON files in Altinn's directory
/// (those with `override` in their name before the others, and these before `maskinporten-settings.json`),
/// and of the settings file (1). The first address that is given wins, and a key that stands with another address
/// is not sent to it: see [`altinn`](Self::altinn).
///
/// What changes while the process runs stands before what does not. `MASKINPORTEN_SOURCE` narrows it down:
/// `file` (1), `sidecar` (2), `dir` (3 and 4), `env` (5), `direct` (all but the sidecar), or `sim` (all,
/// and refused unless the authority is on this machine).
///
/// ```
/// use maskinporten::Platform;
///
/// let platform = Platform::new([("MASKINPORTEN_CLIENT_ID".to_owned(), "our-client".to_owned())])
///     .with_root("/no/such/root");
/// let error = platform.credentials().unwrap_err();
/// assert!(error.to_string().contains("lacks a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE)"));
/// ```
#[derive(Clone, Debug)]
pub struct Platform {
    given: Option<Arc<Variables>>,
    section: String,
    root: PathBuf,
    settings_file: Option<PathBuf>,
}

impl Platform {
    /// The platform that this process runs on.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            given: None,
            section: MaskinportenSettings::DEFAULT_SECTION.to_owned(),
            root: PathBuf::from("/"),
            settings_file: None,
        }
    }

    /// A platform that gives these variables.
    #[must_use]
    pub fn new(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            given: Some(Arc::new(Variables::new(vars))),
            ..Self::of_process()
        }
    }

    /// Looks for this section of settings, such as `myapp:MaskinportenSettings`, wherever there are
    /// sections.
    #[must_use]
    pub fn with_section(mut self, section: impl Into<String>) -> Self {
        self.section = section.into();
        self
    }

    /// Looks for what is mounted below this directory in place of `/`. What a variable names is found
    /// where it says.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Takes credentials from this settings file and from no other place; `MASKINPORTEN_SOURCE` is ignored, and
    /// `PlatformSettings` is read from it and from the variables.
    #[must_use]
    pub fn with_settings_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings_file = Some(path.into());
        self
    }

    /// The credentials it leaves.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): where no place has them, with what each
    /// lacks; where two places of one rung name two clients; and where a place that comes before all that
    /// have them cannot be used.
    pub fn credentials(&self) -> Result<Credentials> {
        let variables = self.variables()?;
        if let Some(path) = &self.settings_file {
            let file = self.settings_file(path);
            let settings = file.read()?;
            let not_used = settings.passed_over().to_vec();
            let credentials = Credentials::read_from(settings, Arc::new(file));
            let credentials = credentials.with_defaults(self.request_defaults(&variables));
            return Ok(credentials.beside(not_used, Vec::new()));
        }
        let kind = Kind::wanted(&variables)?;
        let places = self.places(&variables)?;
        let credentials = choose(places.into_iter().filter(|place| kind.takes(place.kind)))?;
        let credentials = credentials.with_defaults(self.request_defaults(&variables));
        match kind {
            Kind::Sim => only_on_this_machine(credentials),
            _ => Ok(credentials),
        }
    }

    /// Where its Altinn exchanges tokens, and the key for the gateway before it. The address is taken from the
    /// first of these that gives it:
    ///
    /// 1. the variables, as [`AltinnSettings::from_env`] reads them;
    /// 2. `PlatformSettings` in the JSON files of Altinn's directory, and of the directory that
    ///    `MASKINPORTEN_SECRETS_DIR` names where it has a `maskinporten-settings.json`; the last by name first,
    ///    those with `override` in their name before the others, `maskinporten-settings.json` last;
    /// 3. `PlatformSettings` in the settings file that is named by a variable;
    /// 4. `fallback`.
    ///
    /// That is the order of Altinn's .NET apps. Of the subscription keys in these places the first is taken that
    /// may be sent there: one that stands with an address in the same file, or in the variables'
    /// `PlatformSettings__…`, is for the origin of that address and for no other; one without an address is for
    /// the address that is used. One that is not sent for that is warned of with both places.
    ///
    /// `MASKINPORTEN_SOURCE` leaves out 2 and 3 where it leaves out such places; a
    /// [settings file](Self::with_settings_file) that code names takes the place of both.
    ///
    /// # Errors
    ///
    /// As [`AltinnSettings::from_env`], and where one of the files cannot be read or is no JSON.
    pub fn altinn(&self, fallback: Option<Environment>) -> Result<Option<AltinnSettings>> {
        let variables = self.variables()?;
        let mut found = self.platform_in_files(&variables)?;
        found.add_variables(&variables)?;
        found.altinn(fallback)
    }

    /// Where settings of the .NET package exchange tokens; none where they do not exchange them. It is
    /// [`altinn`](Self::altinn) with their own address, [`LegacySettings::altinn`], between 1 and 2: the variables
    /// win over it, and a subscription key that stands without another address is sent to it.
    ///
    /// # Errors
    ///
    /// As [`altinn`](Self::altinn), and as [`LegacySettings::altinn`] where no other address is given.
    pub fn altinn_of(&self, legacy: &LegacySettings) -> Result<Option<AltinnSettings>> {
        if !legacy.exchange_to_altinn_token {
            return Ok(None);
        }
        let variables = self.variables()?;
        let mut found = self.platform_in_files(&variables)?;
        found.add_altinn(legacy.altinn(), legacy.source());
        found.add_variables(&variables)?;
        let mut found = found.altinn(None)?;
        if let Some(found) = &mut found {
            found.test_org = legacy.use_altinn_test_org;
        }
        Ok(found)
    }

    /// What the settings file and Altinn's directory say of Altinn's platform.
    fn platform_in_files(&self, variables: &Variables) -> Result<PlatformSettings> {
        let mut found = PlatformSettings::default();
        if let Some(path) = &self.settings_file {
            self.settings_file(path).add_platform(&mut found)?;
            return Ok(found);
        }
        let kind = Kind::wanted(variables)?;
        if kind.takes(Kind::File)
            && let Some(path) = named_file(variables)?
        {
            self.settings_file(path).add_platform(&mut found)?;
        }
        if kind.takes(Kind::Dir) {
            let altinns = self.altinns_directory(variables)?;
            self.directory(&altinns).add_platform(&mut found)?;
            if let Some(named) = named_directory(variables)?.map(|path| self.directory(path))
                && named.is_altinns()
            {
                named.add_platform(&mut found)?;
            }
        }
        Ok(found)
    }

    /// The organisation that its variables name for requests (`MASKINPORTEN_CONSUMER_ORG`,
    /// `MaskinportenSettings__ConsumerOrgNo`), wherever its credentials stand.
    ///
    /// [`credentials`](Self::credentials) come with it; this is for credentials from elsewhere.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where one of our variables is not UTF-8 text.
    pub fn consumer_org(&self) -> Result<Option<RequestDefault>> {
        Ok(self.request_defaults(&*self.variables()?).consumer_org)
    }

    /// The API that its variables name for requests (`MASKINPORTEN_RESOURCE`,
    /// `MaskinportenSettings__Resource`), as [`consumer_org`](Self::consumer_org).
    ///
    /// # Errors
    ///
    /// As [`consumer_org`](Self::consumer_org).
    pub fn resource(&self) -> Result<Option<RequestDefault>> {
        Ok(self.request_defaults(&*self.variables()?).resource)
    }

    fn request_defaults(&self, variables: &Variables) -> RequestDefaults {
        RequestDefaults::of_variables(variables, &self.section)
    }

    /// The settings that its variables hold, and nothing else.
    pub(super) fn in_variables(&self) -> Result<MaskinportenSettings> {
        let places = self.places(&self.variables()?)?.into_iter();
        let credentials = choose(places.filter(|place| place.kind == Kind::Env))?;
        credentials.into_settings()
    }

    fn variables(&self) -> Result<Arc<Variables>> {
        match &self.given {
            Some(given) => Ok(Arc::clone(given)),
            None => Ok(Arc::new(Variables::of_process(&self.section)?)),
        }
    }

    /// In the order they are looked into.
    fn places(&self, variables: &Arc<Variables>) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        let mut add = |rung, kind, name: String, look| {
            places.push(Place {
                name,
                rung,
                kind,
                look,
            });
        };
        for name in SETTINGS_FILES {
            let look = match variables.get_in_any_case(name)? {
                None => Look::Unset,
                Some(path) => {
                    let file = self.settings_file(disk::named(name, path)?);
                    Look::Source(Arc::new(file))
                }
            };
            add(0, Kind::File, format!("settings file ({name})"), look);
        }

        let look = match variables.get(names::SIDECAR) {
            None => Look::Unset,
            Some(_) => Look::Sidecar(Arc::clone(variables)),
        };
        add(
            1,
            Kind::Sidecar,
            format!("sidecar ({})", names::SIDECAR),
            look,
        );

        let look = match named_directory(variables)? {
            None => Look::Unset,
            Some(path) => Look::Source(Arc::new(self.directory(path).required())),
        };
        let name = format!("secrets directory ({})", names::SECRETS_DIR);
        add(2, Kind::Dir, name, look);

        let mut mounts: Vec<PathBuf> = [names::NAIS_SECRETS, names::SKIP_SECRETS]
            .iter()
            .map(|path| self.mounted(path))
            .collect();
        mounts.push(self.altinns_directory(variables)?);
        for path in mounts {
            let source = self.directory(&path);
            let name = source.name().to_owned();
            add(3, Kind::Dir, name, Look::Source(Arc::new(source)));
        }

        let named = SettingsVariables::named(Arc::clone(variables), &self.section);
        let name = "variables of a client (MASKINPORTEN_CLIENT_ID …)".to_owned();
        add(4, Kind::Env, name, Look::Source(Arc::new(named)));
        let section = SettingsVariables::in_section(Arc::clone(variables), &self.section);
        let prefix = super::values::levels(&self.section).join("__");
        let name = format!("variables of the settings section ({prefix}__ClientId …)");
        add(4, Kind::Env, name, Look::Source(Arc::new(section)));
        Ok(places)
    }

    fn settings_file(&self, path: &Path) -> SettingsFile {
        let file = SettingsFile::new(path).with_section(&self.section);
        file.required()
    }

    fn directory(&self, path: &Path) -> SecretsDirectory {
        SecretsDirectory::new(path).with_section(&self.section)
    }

    /// The directory that Altinn mounts, or the one that a variable names in its place.
    fn altinns_directory(&self, variables: &Variables) -> Result<PathBuf> {
        for name in names::ALTINN_SECRETS_DIRS {
            if let Some(path) = variables.get_in_any_case(name)? {
                return disk::named(name, path).map(Path::to_owned);
            }
        }
        Ok(self.mounted(names::ALTINN_SECRETS))
    }

    fn mounted(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// Variables that name a settings file, the first first.
const SETTINGS_FILES: [&str; 2] = [names::SETTINGS_FILE, names::SETTINGS_FILEPATH];

/// The settings file that a variable names.
fn named_file(variables: &Variables) -> Result<Option<&Path>> {
    for name in SETTINGS_FILES {
        if let Some(path) = variables.get_in_any_case(name)? {
            return disk::named(name, path).map(Some);
        }
    }
    Ok(None)
}

/// The directory of secrets that a variable names.
fn named_directory(variables: &Variables) -> Result<Option<&Path>> {
    let path = variables.get(names::SECRETS_DIR);
    path.map(|path| disk::named(names::SECRETS_DIR, path))
        .transpose()
}

/// A place, what it is called where nothing was found, and how it is looked into.
struct Place {
    name: String,
    rung: u8,
    kind: Kind,
    look: Look,
}

enum Look {
    /// The variable that would name it is not set.
    Unset,
    Sidecar(Arc<Variables>),
    Source(Arc<dyn LocalSource>),
}

/// What `MASKINPORTEN_SOURCE` may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Direct,
    Sim,
    File,
    Sidecar,
    Dir,
    Env,
}

impl Kind {
    fn wanted(variables: &Variables) -> Result<Self> {
        let Some(wanted) = variables.get(names::SOURCE) else {
            return Ok(Self::Any);
        };
        let wanted = wanted.expose().trim().to_ascii_lowercase();
        let known = [
            ("direct", Self::Direct),
            ("sidecar", Self::Sidecar),
            ("file", Self::File),
            ("dir", Self::Dir),
            ("env", Self::Env),
            ("sim", Self::Sim),
        ];
        let found = known.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let name = names::SOURCE;
            let message = if is_name(&wanted) {
                format!("{name} is {wanted:?}, which is no source")
            } else {
                format!("{name} holds a text that is no source")
            };
            Error::settings(message).with_advice(&advice::SOURCE)
        })
    }

    fn takes(self, place: Self) -> bool {
        match self {
            Self::Any | Self::Sim => true,
            Self::Direct => place != Self::Sidecar,
            only => place == only,
        }
    }
}

/// What is used so far.
enum Chosen {
    Settings(Box<MaskinportenSettings>, Arc<dyn LocalSource>),
    Sidecar(Sidecar),
}

fn choose(places: impl Iterator<Item = Place>) -> Result<Credentials> {
    let mut chosen: Option<(u8, Chosen)> = None;
    let mut unset = Vec::new();
    let mut misnamed = Vec::new();
    let mut not_used = Vec::new();
    // What a platform gives twice on purpose is no reason to warn.
    let mut expected = Vec::new();
    for place in places {
        let higher = chosen.as_ref().filter(|(rung, _)| *rung < place.rung);
        let found = match &place.look {
            Look::Unset => {
                unset.push(format!("{}: not set", place.name));
                continue;
            }
            Look::Sidecar(variables) => sidecar(variables).map(Chosen::Sidecar),
            Look::Source(source) => match source.look_now() {
                Ok(Finding::Nothing) => {
                    let instead = source.instead().map(|what| format!(" ({what})"));
                    let instead = instead.unwrap_or_default();
                    unset.push(format!("{}: nothing there{instead}", place.name));
                    continue;
                }
                Ok(Finding::Incomplete(missing)) => {
                    not_used.push(format!("{}: lacks {}", place.name, missing.join(", ")));
                    continue;
                }
                Ok(Finding::Misnamed(missing)) => {
                    misnamed.push(format!("{}: lacks {}", place.name, missing.join(", ")));
                    continue;
                }
                Ok(Finding::Complete(settings)) => {
                    not_used.extend_from_slice(settings.passed_over());
                    Ok(Chosen::Settings(settings, Arc::clone(source)))
                }
                Err(error) => Err(error),
            },
        };
        match (found, &chosen) {
            // What cannot be used is no matter where better was found on a higher rung.
            (Err(error), _) if higher.is_some() => {
                not_used.push(format!("{}: {error}", place.name));
            }
            (Err(error), _) => return Err(error),
            (Ok(found), None) => chosen = Some((place.rung, found)),
            (Ok(found), Some((rung, first))) => {
                if let (Chosen::Settings(first, _), Chosen::Settings(found, _)) = (first, &found)
                    && *rung == place.rung
                    && first.client_id != found.client_id
                {
                    return Err(super::two_clients(first, found));
                }
                match first.is_expected_beside(&found) {
                    true => expected.push(found.to_string()),
                    false => not_used.push(found.to_string()),
                }
            }
        }
    }
    let Some((_, chosen)) = chosen else {
        // What lacks something is nearer to what was meant than what is not set at all.
        not_used.extend(misnamed);
        not_used.extend(unset);
        let message = format!("no settings were found: {}", not_used.join("; "));
        let error = Error::settings(message).with_advice(&advice::NO_SETTINGS);
        let tell = |error: Error, place| error.with_detail("place", place);
        return Err(not_used.into_iter().fold(error, tell));
    };
    let credentials = match chosen {
        Chosen::Settings(settings, source) => Credentials::read_from(*settings, source),
        Chosen::Sidecar(sidecar) => Credentials::from(sidecar),
    };
    Ok(credentials.beside(not_used, expected))
}

/// The sidecar, and the environment of its tokens where the platform tells the authority.
fn sidecar(variables: &Variables) -> Result<Sidecar> {
    let text = |name: &str| variables.get(name).map(|value| value.expose().trim());
    let sidecar = Sidecar::new(text(names::SIDECAR).unwrap_or_default())?;
    let environment = digdirator::environment(&text)?;
    Ok(match environment {
        Some(environment) => sidecar.with_environment(environment),
        None => sidecar,
    })
}

fn only_on_this_machine(credentials: Credentials) -> Result<Credentials> {
    let is_here = match (credentials.settings(), credentials.sidecar()) {
        (Some(settings), _) => settings.authority()?.is_on_this_machine(),
        (None, Some(sidecar)) => super::authority::is_loopback(sidecar.endpoint()),
        (None, None) => false,
    };
    if is_here {
        return Ok(credentials);
    }
    let message = format!(
        "{} is sim, and what was found is no simulator: {}",
        names::SOURCE,
        credentials.describe()
    );
    Err(Error::settings(message).with_advice(&advice::NO_SIMULATOR))
}

impl Chosen {
    /// Whether another is there by the platform's own doing: a key beside its sidecar, or the same
    /// client in its files and in its variables.
    fn is_expected_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Settings(first, _), Self::Settings(other, _)) => {
                first.client_id == other.client_id
            }
            (Self::Sidecar(_), _) => true,
            (Self::Settings(..), Self::Sidecar(_)) => false,
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(settings, _) => {
                write!(
                    f,
                    "{} (client id {})",
                    settings.source(),
                    super::shown_identifier(&settings.client_id)
                )
            }
            Self::Sidecar(sidecar) => sidecar.fmt(f),
        }
    }
}
