//! [`SecretsDirectory`]: a mounted directory of secrets as a source.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::advice;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::signer::BoxFuture;

use super::altinn::PlatformSettings;
use super::local::{LocalSource, POLL_INTERVAL, looked_for};
use super::near_miss::NearMisses;
use super::values::{Section, is_below, levels};
use super::{Finding, MaskinportenSettings, RequestDefaults, SettingsSource};
use super::{digdirator, disk, draft, json, names};

/// How often a directory is read that changes while it is read.
const READINGS: usize = 5;

/// How many files of a directory are looked at: what holds more is no directory of secrets.
const MAXIMUM_FILES: usize = 4096;

/// How many files are named where none of them is the one that is looked for.
const FILES_SHOWN: usize = 5;

/// A mounted directory of secrets, in any of three shapes. Read again every 5 seconds.
///
/// 1. one file for each name, as nais and SKIP mount what digdirator makes: `MASKINPORTEN_CLIENT_ID`,
///    `MASKINPORTEN_CLIENT_JWK`, `MASKINPORTEN_ISSUER` …;
/// 2. `maskinporten-settings.json`, as Altinn mounts it (what the other JSON files there say of Altinn's
///    platform is read by [`Platform::altinn`](crate::Platform::altinn));
/// 3. one file for each secret of a vault, named as the secret: `MaskinportenSettings--ClientId`,
///    or `myapp--MaskinportenSettings--ClientId` where the section is `myapp:MaskinportenSettings`.
///
/// The shapes are not put together, and neither are two states of the directory: where Kubernetes swaps
/// `..data`, all files are read of one state, and elsewhere a directory that changes while it is read is
/// read again.
#[derive(Clone, Debug)]
pub struct SecretsDirectory {
    path: PathBuf,
    section: String,
    name: String,
    interval: Duration,
    is_required: bool,
}

impl SecretsDirectory {
    /// The secrets in a directory, with the section `MaskinportenSettings`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: format!("secrets directory {}", path.display()),
            path,
            section: MaskinportenSettings::DEFAULT_SECTION.to_owned(),
            interval: POLL_INTERVAL,
            is_required: false,
        }
    }

    /// Reads this section, such as `myapp:MaskinportenSettings`.
    #[must_use]
    pub fn with_section(mut self, section: impl Into<String>) -> Self {
        self.section = section.into();
        self
    }

    /// Reads it again this often.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Takes it for an error where there is no such directory.
    pub(super) fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    fn state(&self) -> std::io::Result<State> {
        let volume = self.path.join(disk::VOLUME).canonicalize();
        let directory = volume.unwrap_or_else(|_| self.path.clone());
        Ok(State {
            files: files(&directory)?,
            directory,
        })
    }

    fn read(&self, state: &State) -> Result<Finding> {
        let mut named = Vec::new();
        let section = levels(&self.section);
        for file in &state.files {
            let is_ours = digdirator::is_own(&file.name) || is_below(&levels(&file.name), &section);
            if is_ours {
                let is_key = digdirator::is_key(&file.name) || draft::is_key(&file.name);
                let secret = disk::secret(&state.directory.join(&file.name), is_key)?;
                named.push((file.name.clone(), secret));
            }
        }
        let value = |name: &str| -> Option<&Secret> {
            let found = named.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| value)
        };
        let altinn = || match state
            .files
            .iter()
            .any(|file| file.name == names::ALTINN_FILE)
        {
            false => Ok(Finding::Nothing),
            true => {
                // Named by where it was looked for, not by the state it was found in.
                let shown = self.path.join(names::ALTINN_FILE);
                let text = disk::settings(&state.directory.join(names::ALTINN_FILE))?;
                let place = format!("settings file {}", shown.display());
                json::look(&text, &self.section, &place)
            }
        };
        // Told by their names alone: what such a file holds is not looked at.
        let filled = state.files.iter().filter(|file| file.size > 0);
        let near_misses = NearMisses::in_variables(filled.map(|file| file.name.as_str()));
        let shape = |what: &str| format!("{} in {}", what, self.name);
        let files = Section::of_values(&named, &self.section, "--", self.section_name());
        let defaults = RequestDefaults::in_variables(&value);
        let defaults = defaults.joined(RequestDefaults::in_section(&files));
        let found = Finding::of_shapes([
            (
                shape("MASKINPORTEN_…"),
                digdirator::read(&value, near_misses, &self.name)?,
            ),
            (shape(names::ALTINN_FILE), altinn()?),
            (shape("secrets of the section"), draft::read(&files)?),
        ])?;
        Ok(found.with_defaults(defaults))
    }

    /// What its JSON files say of Altinn's platform, in the order in which .NET reads them: the settings file,
    /// then the others by name, then those that are called overrides.
    pub(super) fn add_platform(&self, found: &mut PlatformSettings) -> Result<()> {
        if !self.path.is_dir() {
            return Ok(());
        }
        let texts = self.in_one_state(|state| {
            let mut names: Vec<&str> = state.json_files().collect();
            names.sort_by_key(|name| {
                let is_override = name.to_ascii_lowercase().contains("override");
                (*name != names::ALTINN_FILE, is_override, *name)
            });
            let read = |name: &str| {
                let text = disk::settings(&state.directory.join(name))
                    .map_err(|error| error.with_advice(&advice::PLATFORM_FILE))?;
                let shown = self.path.join(name);
                Ok((format!("settings file {}", shown.display()), text))
            };
            names.into_iter().map(read).collect::<Result<Vec<_>>>()
        })?;
        for (place, text) in texts {
            found.add_json(&text, &place)?;
        }
        Ok(())
    }

    /// Whether it has the settings file that Altinn mounts.
    pub(super) fn is_altinns(&self) -> bool {
        self.path.join(names::ALTINN_FILE).is_file()
    }

    /// Reads what is in the directory while it does not change.
    fn in_one_state<T>(&self, read: impl Fn(&State) -> Result<T>) -> Result<T> {
        for _ in 0..READINGS {
            let before = match self.state() {
                Ok(before) => before,
                // The volume was swapped, and its old state removed, after the link to it was followed.
                Err(error) if error.kind() == ErrorKind::NotFound && self.path.is_dir() => continue,
                Err(error) => return Err(self.unreadable(error)),
            };
            let outcome = read(&before);
            // What was read of a state that is no more is of no use, and neither is why it failed.
            if self.state().is_ok_and(|after| after == before) {
                return outcome;
            }
        }
        let message = format!("{} changes while it is read", self.name);
        Err(Error::unavailable(message))
    }

    fn section_name(&self) -> String {
        format!("{}, section {}", self.name, self.section)
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        Error::settings(format!("{} cannot be read", self.name))
            .with_advice(&advice::SECRETS_DIRECTORY)
            .with_source(error)
    }
}

impl LocalSource for SecretsDirectory {
    fn look_now(&self) -> Result<Finding> {
        if !self.is_required && !self.path.is_dir() {
            return Ok(Finding::Nothing);
        }
        self.in_one_state(|state| self.read(state))
    }

    fn instead(&self) -> Option<String> {
        let state = self.state().ok()?;
        let mut found: Vec<&str> = state.json_files().collect();
        if found.is_empty() {
            return None;
        }
        if found.contains(&names::ALTINN_FILE) {
            return Some(format!(
                "{} has no section {}",
                names::ALTINN_FILE,
                self.section
            ));
        }
        let rest = found.len().saturating_sub(FILES_SHOWN);
        found.truncate(FILES_SHOWN);
        let mut shown = format!("it holds {}", found.join(", "));
        if rest > 0 {
            shown.push_str(&format!(" and {rest} more"));
        }
        Some(format!("{shown}, and {} is missing", names::ALTINN_FILE))
    }
}

impl SettingsSource for SecretsDirectory {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        looked_for(self.clone())
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }
}

/// What a directory holds, as far as can be told without reading its files.
#[derive(PartialEq, Eq)]
struct State {
    directory: PathBuf,
    files: Vec<Entry>,
}

impl State {
    /// The names of its JSON files, in order.
    fn json_files(&self) -> impl Iterator<Item = &str> {
        let names = self.files.iter().map(|file| file.name.as_str());
        names.filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|it| it.eq_ignore_ascii_case("json"))
        })
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    size: u64,
    written: Option<SystemTime>,
}

fn files(directory: &Path) -> std::io::Result<Vec<Entry>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()?.take(MAXIMUM_FILES) {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        // A link is followed: every file of a volume is one. What leads nowhere is not there.
        let Ok(metadata) = entry.path().metadata() else {
            continue;
        };
        if name.starts_with('.') || !metadata.is_file() {
            continue;
        }
        files.push(Entry {
            name,
            size: metadata.len(),
            written: metadata.modified().ok(),
        });
    }
    files.sort_unstable();
    Ok(files)
}
