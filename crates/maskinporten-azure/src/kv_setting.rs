//! `kvSetting`: what an Altinn app names its vault by.

use std::path::Path;
use std::{fs, io};

use maskinporten::{Error, Result, Secret};
use serde_json::Value;

use crate::identity::Identity;
use crate::vault::{KeyVault, KeyVaultBuilder};

/// The section, in the case it is written in.
const SECTION: &str = "kvSetting";

/// Where Azure Functions keeps variables in a `local.settings.json`.
const VALUES: &str = "Values";

/// Its four keys; all of them are needed.
const KEYS: [&str; 4] = ["SecretUri", "ClientId", "ClientSecret", "TenantId"];

/// The section `kvSetting` of an Altinn app: its vault, and the application that asks it.
///
/// - It is found in the environment (`kvSetting__SecretUri`, `__ClientId`, `__ClientSecret`,
///   `__TenantId`) or in a settings file (`{"kvSetting": {"SecretUri": …}}`), names in any case. Those of a
///   file may be flat (`"kvSetting:SecretUri"`), and stand in `Values` of a `local.settings.json`.
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
    /// It cannot be read, is text neither in UTF-8 nor in UTF-16 with its byte order mark, is no JSON, lacks
    /// some of the four, or has one of them twice, with two values.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let unreadable = |cause| {
            let message = format!("{} cannot be read for `{SECTION}`", file.display());
            Error::settings(message).caused_by(cause)
        };
        let text = fs::read(file)
            .and_then(text)
            .map_err(unreadable)
            .map(Secret::from)?;
        Self::from_json(text.expose())
    }

    /// From the text of a settings file, or of the section alone with its name around it.
    ///
    /// # Errors
    ///
    /// It is no JSON, lacks some of the four, or has one of them twice, with two values.
    pub fn from_json(text: &str) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let document: Value = serde_json::from_str(text).map_err(|cause| {
            // Its words may quote the text, so only the place is told.
            let (line, column) = (cause.line(), cause.column());
            Error::settings(format!(
                "the settings for the key vault are no JSON: line {line}, column {column}"
            ))
        })?;
        Found::of_json(&document)?.whole()
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
            if let Some(at) = key_in_section(&name).and_then(position) {
                values[at] = usable(&value);
            }
        }
        Self {
            place: "the environment",
            separator: "__",
            values,
        }
    }

    fn of_json(document: &Value) -> Result<Self> {
        let mut values = [None, None, None, None];
        let mut written_as: [String; 4] = Default::default();
        for (written, name, value) in named(document) {
            let key = key_in_section(&name).and_then(position);
            let (Some(at), Some(value)) = (key, text_of(value)) else {
                continue;
            };
            if values[at].get_or_insert_with(|| value.clone()) != &value {
                let first = &written_as[at];
                let message = format!("`{first}` and `{written}` are one name and differ");
                return Err(Error::settings(message));
            }
            written_as[at] = written;
        }
        Ok(Self {
            place: "the settings file",
            separator: ":",
            values,
        })
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

/// What a name has behind the section. .NET reads a colon and two underlines as the same, and in a vault two
/// dashes.
fn key_in_section(name: &str) -> Option<&str> {
    let (section, key) = [":", "__", "--"]
        .into_iter()
        .find_map(|separator| name.split_once(separator))?;
    same(section, SECTION).then_some(key)
}

fn position(key: &str) -> Option<usize> {
    KEYS.iter().position(|known| same(known, key))
}

/// The values of a document, flat as `dotnet user-secrets` writes them or one level down: as they are written,
/// by their whole names, and what they are.
fn named(document: &Value) -> Vec<(String, String, &Value)> {
    let mut named = Vec::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        let Some(inner) = value.as_object() else {
            named.push((name.clone(), name.clone(), value));
            continue;
        };
        for (key, value) in inner {
            let whole = match same(name, VALUES) {
                true => key.clone(),
                false => format!("{name}:{key}"),
            };
            named.push((format!("{name}.{key}"), whole, value));
        }
    }
    named
}

/// Text, and a number or a boolean as it is written, as .NET's configuration has them.
fn text_of(value: &Value) -> Option<Secret> {
    match value {
        Value::String(text) => usable(text),
        Value::Number(number) => usable(&number.to_string()),
        Value::Bool(flag) => usable(&flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// UTF-8, or UTF-16 with its byte order mark, as PowerShell writes it.
fn text(bytes: Vec<u8>) -> io::Result<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes[..] {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            return String::from_utf8(bytes).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is text neither in UTF-8 nor in UTF-16",
                )
            });
        }
    };
    let (pairs, rest) = bytes[2..].as_chunks();
    let units = pairs.iter().copied().map(unit);
    let text: Result<String, _> = char::decode_utf16(units).collect();
    match text {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its UTF-16 is broken",
        )),
    }
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
