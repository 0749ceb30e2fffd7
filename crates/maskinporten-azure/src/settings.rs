//! The secrets of a vault, as settings.

use std::fmt;
use std::time::{Duration, SystemTime};

use azure_core::http::Pager;
use azure_security_keyvault_secrets::ResourceExt as _;
use azure_security_keyvault_secrets::models::SecretProperties;
use futures_util::TryStreamExt;
use maskinporten::{
    BoxFuture, Clock as _, Error, Finding, MaskinportenSettings, Result, Secret, SettingsSource,
    SystemClock,
};

use crate::bounds::within;
use crate::failure::Attempt;
use crate::vault::KeyVault;

/// How often a vault is looked at while a client lives: every 5 minutes, as .NET's provider does.
const INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Time for one look, however many requests it takes: 10 s.
const DEADLINE: Duration = Duration::from_secs(10);

/// The most pages of names that are read: a page holds up to 25.
const MOST_PAGES: usize = 80;

/// The most secrets that are read: a JWK written member by member, and everything beside it, is 20.
const MOST_SECRETS: usize = 40;

const RIGHTS: &str =
    "the role Key Vault Secrets User, or an access policy with get and list on secrets";

/// Settings that stand in a vault as secrets, one for each: `MaskinportenSettings--ClientId`.
///
/// - Two hyphens stand for a level, and names are read in any case. The section is
///   `MaskinportenSettings` unless another is named: `myapp:MaskinportenSettings` stands in the vault as
///   `myapp--MaskinportenSettings--ClientId`.
/// - The names of all secrets are listed, and the values of this section read, each in its latest
///   version. No other value is.
/// - A secret that is disabled, has expired or is not valid yet counts as not there, and messages say
///   which it is.
/// - It is looked at when a client is made, and every 5 minutes while it lives. A new key is signed with
///   from the next look on; until a look succeeds the client keeps what it has.
///
/// A look takes 10 s at most. One that is dropped leaves nothing behind.
#[derive(Clone)]
pub struct KeyVaultSettings {
    vault: KeyVault,
    section: String,
    name: String,
    interval: Duration,
    deadline: Duration,
}

impl KeyVaultSettings {
    /// The settings in this vault.
    #[must_use]
    pub fn new(vault: &KeyVault) -> Self {
        Self {
            vault: vault.clone(),
            section: MaskinportenSettings::DEFAULT_SECTION.to_owned(),
            name: format!("key vault {}", vault.address()),
            interval: INTERVAL,
            deadline: DEADLINE,
        }
    }

    /// Another section than `MaskinportenSettings`, its levels separated by `:`.
    #[must_use]
    pub fn with_section(mut self, section: &str) -> Self {
        self.section = section.trim().to_owned();
        self.name = format!(
            "key vault {}, section {}",
            self.vault.address(),
            self.section
        );
        self
    }

    /// How often the vault is looked at while a client lives; 5 minutes unless said otherwise.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Time for one look, however many requests it takes; 10 s unless said otherwise.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn find(&self) -> Result<Finding> {
        let mut listed = self.list().await?;
        listed.usable.sort_unstable();
        if listed.usable.len() > MOST_SECRETS {
            return Err(Error::settings(format!(
                "{} holds more than {MOST_SECRETS} secrets below {}, which cannot all be settings",
                self.vault.host(),
                self.prefix()
            )));
        }
        let mut values = Vec::with_capacity(listed.usable.len());
        for name in listed.usable {
            let value = self.read(&name).await?;
            values.push((name, value));
        }
        let found = Finding::of_values(values, &self.section, &self.name)?;
        Ok(told_with(found, listed.unusable))
    }

    async fn list(&self) -> Result<Listed> {
        let prefix = self.prefix();
        let now = SystemClock.wall();
        let failed = |error| self.failed("list its secrets", "the list of secrets", &error);

        let names = self.vault.secrets().list_secret_properties(None);
        let mut pages = names.map(Pager::into_pages).map_err(failed)?;
        let mut listed = Listed::default();
        for _ in 0..MOST_PAGES {
            let Some(page) = pages.try_next().await.map_err(failed)? else {
                return Ok(listed);
            };
            for secret in page.into_model().map_err(failed)?.value {
                listed.take(&prefix, &secret, now);
            }
        }
        Err(Error::settings(format!(
            "{} lists more than {MOST_PAGES} pages of secrets: give these settings a vault of their own",
            self.vault.host()
        )))
    }

    async fn read(&self, name: &str) -> Result<Secret> {
        let read = async {
            let secret = self.vault.secrets().get_secret(name, None).await?;
            secret.into_model()
        };
        let secret = read.await.map_err(|error| {
            self.failed("show this secret", &format!("the secret `{name}`"), &error)
        })?;
        Ok(Secret::from(secret.value.unwrap_or_default()))
    }

    fn failed(&self, to: &str, thing: &str, error: &azure_core::Error) -> Error {
        let attempt = Attempt {
            vault: self.vault.host(),
            to,
            thing,
            rights: RIGHTS,
        };
        attempt.failed(error)
    }

    /// What the names of this section begin with in a vault, which knows no colon.
    fn prefix(&self) -> String {
        let section = self.section.replace("__", "--").replace(':', "--");
        format!("{section}--")
    }
}

impl SettingsSource for KeyVaultSettings {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        let late = || {
            let host = self.vault.host();
            format!(
                "{host} did not show its settings within {:?}",
                self.deadline
            )
        };
        Box::pin(within(self.deadline, late, self.find()))
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }
}

impl fmt::Debug for KeyVaultSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVaultSettings")
            .field("vault", &self.vault.address())
            .field("section", &self.section)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

// ===== what a list of secrets says =====

#[derive(Default)]
struct Listed {
    usable: Vec<String>,
    /// With what is wrong with each.
    unusable: Vec<(String, &'static str)>,
}

impl Listed {
    fn take(&mut self, prefix: &str, secret: &SecretProperties, now: SystemTime) {
        let Some(name) = secret.resource_id().ok().map(|id| id.name) else {
            return;
        };
        let start = name.get(..prefix.len());
        let is_ours = start.is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        // The SDK writes a name into a path as it is.
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_ours || !is_name {
            return;
        }
        match problem(secret, now) {
            None => self.usable.push(name),
            Some(problem) => self.unusable.push((name, problem)),
        }
    }
}

/// The vault itself refuses only disabled ones; it shows an expired one to whoever asks.
fn problem(secret: &SecretProperties, now: SystemTime) -> Option<&'static str> {
    let attributes = secret.attributes.as_ref()?;
    if attributes.enabled == Some(false) {
        return Some("is disabled");
    }
    if attributes
        .expires
        .is_some_and(|end| SystemTime::from(end) <= now)
    {
        return Some("has expired");
    }
    let start = attributes.not_before.map(SystemTime::from);
    start
        .is_some_and(|start| now < start)
        .then_some("is not valid yet")
}

/// What was found, with the secrets that would have been settings too.
fn told_with(found: Finding, unusable: Vec<(String, &'static str)>) -> Finding {
    let mut missing = match found {
        Finding::Nothing if unusable.is_empty() => return Finding::Nothing,
        Finding::Nothing => Vec::new(),
        Finding::Incomplete(missing) | Finding::Misnamed(missing) => missing,
        complete => return complete,
    };
    for (name, problem) in unusable {
        missing.retain(|missing| !missing.eq_ignore_ascii_case(&name));
        missing.push(format!("{name} (it {problem})"));
    }
    Finding::Incomplete(missing)
}
