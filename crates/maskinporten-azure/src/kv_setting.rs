//! `kvSetting`: what an Altinn app names its vault by.

use std::fs;
use std::path::Path;

use maskinporten::{Error, Result, Secret};
use serde_json::Value;

use crate::identity::Identity;
use crate::vault::{KeyVault, KeyVaultBuilder};

/// The section, in the case it is written in.
const SECTION: &str = "kvSetting";

/// Its four keys; all of them are needed.
const KEYS: [&str; 4] = ["SecretUri", "ClientId", "ClientSecret", "TenantId"];

/// The section `kvSetting` of an Altinn app: its vault, and the application that asks it.
///
/// - It is found in the environment (`kvSetting__SecretUri`, `__ClientId`, `__ClientSecret`,
///   `__TenantId`) or in a settings file (`{"kvSetting": {"SecretUri": …}}`), names in any case.
/// - It is taken whole from one of them. What is missing there is an error that names it, and never
///   filled up from the other.
///
/// ```
/// use maskinporten_azure::KvSetting;
///
/// let settings = KvSetting::from_json(
///     r#"{"kvSetting": {
///         "SecretUri": "https://ttd-test-kv.vault.azure.net/",
///         "ClientId": "9b0d4c4e-6e33-4f44-9ef1-3ad0ff1a3b2c",
///         "ClientSecret": "hush",
///         "TenantId": "cd0026d8-283b-4a55-9bfa-d0ef4a8ba21c"
///     }}"#,
/// )?;
/// let vault = settings.key_vault()?;
/// assert_eq!(vault.address(), "https://ttd-test-kv.vault.azure.net");
/// assert!(!format!("{settings:?}").contains("hush"));
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KvSetting {
    /// Where the vault is: `SecretUri`.
    pub secret_uri: String,
    /// The application that asks it: `ClientId`.
    pub client_id: String,
    /// The application's secret: `ClientSecret`.
    pub client_secret: Secret,
    /// The tenant the application is registered in: `TenantId`.
    pub tenant_id: String,
}

impl KvSetting {
    /// From the environment where it holds any of the four, else from the file.
    ///
    /// # Errors
    ///
    /// Whichever it was lacks some of them, or there is no file that could be read.
    pub fn discover(file: impl AsRef<Path>) -> Result<Self> {
        let found = Found::of_variables(environment());
        match found.is_empty() {
            true => Self::from_file(file),
            false => found.whole(),
        }
    }

    /// From the environment.
    ///
    /// # Errors
    ///
    /// Some of the four are not there, or empty.
    pub fn from_environment() -> Result<Self> {
        Self::from_variables(environment())
    }

    /// From names and values such as those of the environment: `kvSetting__SecretUri`.
    ///
    /// # Errors
    ///
    /// Some of the four are not there, or empty.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        Found::of_variables(variables).whole()
    }

    /// From a settings file such as `appsettings.json`, which is read now and blocks while it is.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no JSON, or lacks some of the four.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let text = fs::read_to_string(file).map_err(|cause| {
            let message = format!("{} cannot be read for `{SECTION}`", file.display());
            Error::settings(message).caused_by(cause)
        })?;
        Self::from_json(&text)
    }

    /// From the text of a settings file, or of the section alone with its name around it.
    ///
    /// # Errors
    ///
    /// It is no JSON, or lacks some of the four.
    pub fn from_json(text: &str) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let document: Value = serde_json::from_str(text).map_err(|cause| {
            // Its words may quote the text, so only the place is told.
            let (line, column) = (cause.line(), cause.column());
            Error::settings(format!(
                "the settings for the key vault are no JSON: line {line}, column {column}"
            ))
        })?;
        Found::of_json(&document).whole()
    }

    /// The vault, asked as this application, to be told more.
    #[must_use]
    pub fn builder(&self) -> KeyVaultBuilder {
        KeyVault::builder(&self.secret_uri).identity(Identity::client_secret(
            &self.tenant_id,
            &self.client_id,
            self.client_secret.clone(),
        ))
    }

    /// The vault, asked as this application.
    ///
    /// # Errors
    ///
    /// One of the four is malformed.
    pub fn key_vault(&self) -> Result<KeyVault> {
        self.builder().build()
    }
}

// ===== what was found at one place =====

struct Found {
    place: &'static str,
    separator: &'static str,
    values: [Option<Secret>; 4],
}

impl Found {
    fn of_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut values = [None, None, None, None];
        for (name, value) in variables {
            // .NET reads a colon and two underlines as the same.
            let name = name.replace("__", ":");
            let key = name
                .split_once(':')
                .filter(|(section, _)| same(section, SECTION));
            if let Some(slot) = key.and_then(|(_, key)| slot(&mut values, key)) {
                *slot = usable(&value);
            }
        }
        Self {
            place: "the environment",
            separator: "__",
            values,
        }
    }

    fn of_json(document: &Value) -> Self {
        let mut values = [None, None, None, None];
        let section = document
            .as_object()
            .and_then(|members| members.iter().find(|(name, _)| same(name, SECTION)));
        for (key, value) in section
            .iter()
            .filter_map(|(_, it)| it.as_object())
            .flatten()
        {
            if let (Some(slot), Some(value)) = (slot(&mut values, key), value.as_str()) {
                *slot = usable(value);
            }
        }
        Self {
            place: "the settings file",
            separator: ":",
            values,
        }
    }

    fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    fn whole(self) -> Result<KvSetting> {
        let missing: Vec<_> = KEYS
            .iter()
            .zip(&self.values)
            .filter(|(_, value)| value.is_none())
            .map(|(key, _)| format!("{SECTION}{}{key}", self.separator))
            .collect();
        let [
            Some(secret_uri),
            Some(client_id),
            Some(client_secret),
            Some(tenant_id),
        ] = self.values
        else {
            let message = format!("{} lacks {}", self.place, missing.join(", "));
            return Err(Error::settings(message));
        };
        Ok(KvSetting {
            secret_uri: secret_uri.expose().to_owned(),
            client_id: client_id.expose().to_owned(),
            client_secret,
            tenant_id: tenant_id.expose().to_owned(),
        })
    }
}

fn slot<'a>(values: &'a mut [Option<Secret>; 4], key: &str) -> Option<&'a mut Option<Secret>> {
    let index = KEYS.iter().position(|known| same(known, key))?;
    values.get_mut(index)
}

/// An empty value is a placeholder that nobody filled in.
fn usable(value: &str) -> Option<Secret> {
    let value = value.trim();
    (!value.is_empty()).then(|| Secret::from(value))
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that knows the names of `kvSetting` in the environment"
)]
fn environment() -> impl Iterator<Item = (String, String)> {
    // Variables that are no text are none of these.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
