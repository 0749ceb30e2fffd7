//! What was found of settings in one place, before it is known whether that is all.

use crate::advice;
use crate::error::{Error, Result};
use crate::secret::Secret;

use super::authority::is_uuid;
use super::near_miss::{NearMisses, Setting};
use super::request_default::RequestDefaults;
use super::values::{Problems, Section, levels};
use super::{Authority, Finding, MaskinportenSettings, identifier, jwk, legacy, located};

/// The names of all that settings may hold, as the settings section spells them.
pub(super) const NAMES: [&str; 12] = [
    "Authority",
    "ClientId",
    "Jwk",
    "JwkBase64",
    "Jwks",
    "Pem",
    "PreviousJwk",
    "Kid",
    "KeyPassword",
    "Certificate",
    "TokenEndpoint",
    "Scopes",
];

/// Those of them that are a key.
pub(super) const KEYS: [&str; 4] = ["Jwk", "JwkBase64", "Jwks", "Pem"];

/// The organisation that tokens are to be asked for on behalf of: a default that the binary applies, and the
/// library never does.
pub(super) const CONSUMER_ORGS: [&str; 2] = ["ConsumerOrgNo", "ConsumerOrg"];

/// The API that tokens are to be for: a default as the organisation is.
pub(super) const RESOURCES: [&str; 1] = ["Resource"];

/// The permits of the fetch queue, and how long a caller waits in it: no parts of credentials.
pub(super) const MAX_CONCURRENT_FETCHES: &str = "MaxConcurrentFetches";
pub(super) const FETCH_QUEUE_TIMEOUT: &str = "FetchQueueTimeout";

/// Whether a name, in any case, is one that is read or that [`FOREIGN`] has a message for.
pub(super) fn is_own(name: &str) -> bool {
    let own = NAMES.iter().chain(&CONSUMER_ORGS).chain(&RESOURCES);
    let own = own.chain(&[MAX_CONCURRENT_FETCHES, FETCH_QUEUE_TIMEOUT]);
    let foreign = FOREIGN.iter().map(|(name, _)| name);
    own.chain(foreign).any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether a key or a certificate itself stands under a name, which may be that of a vault's secret.
pub(super) fn is_key(name: &str) -> bool {
    let mut keys = KEYS.iter().chain(&["PreviousJwk", "Certificate"]);
    let levels = levels(name);
    levels
        .last()
        .is_some_and(|last| keys.any(|key| key.eq_ignore_ascii_case(last)))
}

/// Names that other clients have for what cannot be read here, and what to do about each.
pub(super) const FOREIGN: [(&str, &str); 4] = [
    ("EncodedX509", "a PKCS#12 in base64"),
    ("CertificatePkcs12Path", "a PKCS#12"),
    (
        "CertificateStoreThumbprint",
        "a certificate of the Windows store",
    ),
    ("Keystore", "a keystore"),
];

/// Whether a name at the top of a JSON text tells that settings stand there without a section.
pub(super) fn is_mark(name: &str) -> bool {
    // Not `Kid`, which a bare key has too.
    let mut marks = ["Authority", "ClientId"].iter().chain(&KEYS);
    marks.any(|mark| mark.eq_ignore_ascii_case(name))
}

/// What a section comes to.
///
/// # Errors
///
/// Everything that is of the wrong type or given twice, with what is missing; a key that cannot be read here,
/// where it is the only one; more than one key.
pub(super) fn read(section: &Section) -> Result<Finding> {
    let mut draft = Draft {
        defaults: RequestDefaults::in_section(section),
        ..Draft::default()
    };
    let mut problems = Problems::default();
    for name in NAMES {
        let found = match name {
            "Jwk" | "PreviousJwk" => jwk::in_section(section, name),
            "Jwks" => jwk::set_in_section(section, name),
            _ => section.text(name).map(|text| text.cloned()),
        };
        match found {
            Ok(value) => draft.values.extend(value.map(|value| (name, value))),
            Err(error) => {
                draft.unusable.push(name);
                problems.add(&error);
            }
        }
    }
    if !KEYS.iter().any(|key| draft.names(key)) && !legacy::is_of_package(section) {
        for (name, what) in FOREIGN {
            if section.has(name) {
                return Err(foreign(section.source(), &section.name(name), what));
            }
        }
    }
    if problems.is_empty() {
        return draft.finish(section);
    }
    for name in draft.explained(section, &draft.near_misses(section)) {
        problems.tell(is_missing(name));
    }
    Err(problems.into_error(section.source(), &advice::SETTINGS_FILE))
}

/// Names in a section that resemble those that are read. The .NET package's settings have none: they are settings
/// of another kind.
pub(super) fn near_misses(section: &Section) -> NearMisses {
    if legacy::is_of_package(section) {
        return NearMisses::default();
    }
    NearMisses::in_section(section)
}

/// What is missing, as a problem among others.
pub(super) fn is_missing(name: String) -> String {
    match name.split_once(" (") {
        Some((name, note)) => format!("{name} is missing ({note}"),
        None => format!("{name} is missing"),
    }
}

/// Values by the names above; a name that is not given has none.
#[derive(Default)]
struct Draft {
    values: Vec<(&'static str, Secret)>,
    /// Names that are given and cannot be used.
    unusable: Vec<&'static str>,
    defaults: RequestDefaults,
}

impl Draft {
    /// Whether a name is given, usable or not.
    fn names(&self, name: &str) -> bool {
        let mut names = self.values.iter().map(|(found, _)| found);
        names.any(|found| *found == name) || self.unusable.contains(&name)
    }

    fn gives(&self, setting: Setting) -> bool {
        match setting {
            setting if setting.is_key() => KEYS.iter().any(|key| self.names(key)),
            Setting::ConsumerOrg => self.defaults.consumer_org.is_some(),
            Setting::Resource => self.defaults.resource.is_some(),
            Setting::Permits => self.defaults.limits.has_permits(),
            Setting::QueueTimeout => self.defaults.limits.has_wait(),
            setting => self.names(setting.in_section()),
        }
    }

    /// Names that resemble one of the settings which is not given.
    fn near_misses(&self, section: &Section) -> NearMisses {
        near_misses(section).without_given(|setting| self.gives(setting))
    }

    fn take(&mut self, name: &str) -> Option<Secret> {
        let at = self.values.iter().position(|(found, _)| *found == name)?;
        Some(self.values.swap_remove(at).1)
    }

    fn take_plain(&mut self, name: &str) -> Option<String> {
        Some(self.take(name)?.expose().trim().to_owned())
    }

    /// What is missing, as the place spells it.
    fn missing(&self, section: &Section) -> Vec<String> {
        let mut missing: Vec<String> = ["Authority", "ClientId"]
            .into_iter()
            .filter(|name| !self.names(name))
            .map(|name| section.spelled(name))
            .collect();
        if !KEYS.iter().any(|key| self.names(key)) {
            let keys = [KEYS[0], KEYS[1], KEYS[3]].map(|key| section.spelled(key));
            let client_id = self.values.iter().find(|(name, _)| *name == "ClientId");
            let client_id = client_id.map_or("", |(_, value)| value.expose());
            let note = identifier::note(&section.spelled("ClientId"), client_id);
            missing.push(format!(
                "a key ({}, {} or {}{note})",
                keys[0], keys[1], keys[2]
            ));
        }
        missing
    }

    /// The same, with the names that may have been meant for it.
    fn explained(&self, section: &Section, near_misses: &NearMisses) -> Vec<String> {
        let mut missing = self.missing(section);
        near_misses.explain(&mut missing);
        missing
    }

    /// The settings, or what is missing.
    ///
    /// # Errors
    ///
    /// Where there is more than one key, and where the authority cannot be used.
    fn finish(mut self, section: &Section) -> Result<Finding> {
        let near_misses = self.near_misses(section);
        let is_there = section.is_object() || legacy::is_of_package(section);
        let is_misnamed = self.values.is_empty() && !is_there;
        if is_misnamed && !near_misses.has_credentials() {
            return Ok(Finding::Nothing);
        }
        if !self.missing(section).is_empty() {
            let missing = self.explained(section, &near_misses);
            return Ok(if is_misnamed {
                Finding::Misnamed(missing)
            } else {
                Finding::Incomplete(missing)
            });
        }
        let authority = self.take_plain("Authority").unwrap_or_default();
        let client_id = self.take_plain("ClientId").unwrap_or_default();
        let mut settings = MaskinportenSettings::new(authority, client_id);
        settings.jwk = self.take("Jwk");
        settings.jwk_base64 = self.take("JwkBase64");
        settings.jwks = self.take("Jwks");
        settings.pem = self.take("Pem");
        settings.previous_jwk = self.take("PreviousJwk");
        settings.kid = self.take_plain("Kid");
        settings.key_password = self.take("KeyPassword");
        settings.certificate = self.take("Certificate");
        settings.token_endpoint = self.take_plain("TokenEndpoint");
        settings.scopes = self.take_plain("Scopes");
        section.source().clone_into(&mut settings.source);
        settings.near_misses = near_misses.into_vec();
        settings.consumer_org = self.defaults.consumer_org;
        settings.resource = self.defaults.resource;
        settings.limits = self.defaults.limits;
        check_identifiers(section, &settings)?;
        let told = (section.spelled("Authority"), settings.authority.clone());
        check_names(&settings, (&told.0, &told.1), &section.spelled("ClientId"))?;
        Ok(settings.with_one_key()?.into())
    }
}

/// Refuses a client id and a kid that cannot be one, by their names in the section.
fn check_identifiers(section: &Section, settings: &MaskinportenSettings) -> Result<()> {
    let key = settings
        .given_key()
        .map(|(name, text)| (section.spelled(name), text));
    let key = key.as_ref().map(|(name, text)| (name.as_str(), *text));
    let check = |what, name, text| {
        identifier::check(what, &section.spelled(name), text, key)
            .map_err(|error| settings.found_here(&error))
    };
    check("client id", "ClientId", &settings.client_id)?;
    settings
        .kid
        .as_deref()
        .map_or(Ok(()), |kid| check("kid", "Kid", kid))
}

/// Refuses an authority that cannot be used, by the name and text that `authority` has in its place, and
/// tells a client id and an issuer that stand in each other's.
pub(super) fn check_names(
    settings: &MaskinportenSettings,
    authority: (&str, &str),
    client_id: &str,
) -> Result<()> {
    let (authority, text) = authority;
    let checked = settings.checked_authority().err();
    let has_client_id = checked.is_some() && (is_uuid(text) || text == settings.client_id);
    let message = match (has_client_id, is_issuer(&settings.client_id)) {
        (false, false) => {
            let place = format!("{authority}, {}", settings.source);
            return match checked {
                Some(error) => Err(located(&error, &place)),
                None => Ok(()),
            };
        }
        (true, true) => {
            format!("{authority} holds a client id and {client_id} an issuer: are they swapped?")
        }
        (true, false) => format!("{authority} holds a client id, where the issuer belongs"),
        (false, true) => format!("{client_id} holds an issuer, where the client id belongs"),
    };
    let error = Error::settings(message).with_advice(&advice::SWAPPED);
    Err(settings.found_here(&error))
}

/// Whether a client id is an address, or a host of Digdir's: no client is called that.
fn is_issuer(client_id: &str) -> bool {
    let as_address = format!("https://{client_id}");
    client_id.contains("://")
        || Authority::parse(&as_address).is_ok_and(|found| found.environment().is_some())
}

/// Tells what to do with a credential that is found and cannot be read here.
pub(super) fn foreign(place: &str, name: &str, what: &str) -> Error {
    let message = format!("{place} cannot be used: `{name}` is {what}, which is not read here");
    Error::settings(message).with_advice(&advice::FOREIGN_KEYSTORE)
}
