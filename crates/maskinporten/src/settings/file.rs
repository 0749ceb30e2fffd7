//! Settings files as sources: [`SettingsFile`], and the [`AppSettings`] of a .NET application.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::signer::BoxFuture;

use super::altinn::PlatformSettings;
use super::local::{LocalSource, POLL_INTERVAL, looked_for};
use super::{Finding, MaskinportenSettings, SettingsSource, disk, json};

/// A settings file: the one that Altinn mounts, or one like it. Read again every 5 seconds.
///
/// It is asked by its path each time, so a link that is swapped is followed, as Kubernetes swaps what
/// a volume holds. A file that is not there holds nothing.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    path: PathBuf,
    section: String,
    name: String,
    interval: Duration,
    is_required: bool,
}

impl SettingsFile {
    /// The settings of a file, in the section `MaskinportenSettings` or bare.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: format!("settings file {}", path.display()),
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

    /// Takes it for an error where the settings are not all there.
    pub(super) fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Its settings; where they are not all there, an error.
    pub(super) fn read(&self) -> Result<MaskinportenSettings> {
        let text = disk::settings(&self.path)?;
        json::read(&text, &self.section, &self.name)
    }

    /// What it says of Altinn's platform.
    pub(super) fn add_platform(&self, found: &mut PlatformSettings) -> Result<()> {
        found.add_json(&disk::settings(&self.path)?, &self.name)
    }
}

impl LocalSource for SettingsFile {
    fn look_now(&self) -> Result<Finding> {
        if self.is_required {
            return Ok(self.read()?.into());
        }
        match is_there(&self.path) {
            true => json::look(&disk::settings(&self.path)?, &self.section, &self.name),
            false => Ok(Finding::Nothing),
        }
    }
}

impl SettingsSource for SettingsFile {
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

/// `appsettings.{environment}.json`, else `appsettings.json`, of one directory. Read again every 5
/// seconds.
///
/// .NET merges the two key by key. Here the settings stand whole in one of them: in that of the
/// environment, or in the common one. What either holds of them and does not complete is told.
#[derive(Clone, Debug)]
pub struct AppSettings {
    directory: PathBuf,
    environment: Option<String>,
    section: String,
    name: String,
    interval: Duration,
}

impl AppSettings {
    /// The files in a directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            name: format!("appsettings in {}", directory.display()),
            directory,
            environment: None,
            section: MaskinportenSettings::DEFAULT_SECTION.to_owned(),
            interval: POLL_INTERVAL,
        }
    }

    /// Looks in `appsettings.{environment}.json` first.
    #[must_use]
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.environment = Some(environment.into());
        self
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
}

impl LocalSource for AppSettings {
    fn look_now(&self) -> Result<Finding> {
        let own = self.environment.as_ref();
        let own = own.map(|environment| format!("appsettings.{environment}.json"));
        let files = own.into_iter().chain(["appsettings.json".to_owned()]);
        let found = files.map(|name| {
            let path = self.directory.join(&name);
            let found = SettingsFile::new(path)
                .with_section(&self.section)
                .look_now()?;
            Ok((name.clone(), found.named(&format!(" in {name}"))))
        });
        // Each of the two has its own client, so there is nothing for them to agree on.
        Ok(Finding::first_of(found.collect::<Result<Vec<_>>>()?))
    }
}

impl SettingsSource for AppSettings {
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

/// Whether there is anything of that name, be it a link that leads nowhere.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
