//! Settings as nais and SKIP name them, in variables or in one file for each: what their operator,
//! digdirator, writes, and the names that stand beside it.

use crate::advice;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::secret::Secret;

use super::draft;
use super::near_miss::{NearMisses, Setting};
use super::request_default::RequestDefaults;
use super::{Authority, Finding, MaskinportenSettings, disk, identifier, names};

/// The names of credentials.
pub(super) const NAMES: [&str; 13] = [
    names::CLIENT_ID,
    names::CLIENT_JWK,
    names::KEY_FILE,
    names::KEY_PASSWORD,
    names::CERTIFICATE_FILE,
    names::KID,
    names::AUTHORITIES[0],
    names::AUTHORITIES[1],
    names::AUTHORITIES[2],
    names::AUTHORITIES[3],
    names::WELL_KNOWN_URL,
    names::TOKEN_ENDPOINT,
    names::KEYSTORE_PATH,
];

/// The other names that have one value.
pub(super) const NOT_CREDENTIALS: [&str; 3] = [
    names::SCOPES,
    names::MAX_CONCURRENT_FETCHES,
    names::FETCH_QUEUE_TIMEOUT,
];

/// Whether a name is one that is read.
pub(super) fn is_own(name: &str) -> bool {
    let defaults = names::CONSUMER_ORGS.iter().chain(&names::RESOURCES);
    let mut own = NAMES.iter().chain(&NOT_CREDENTIALS).chain(defaults);
    own.any(|own| *own == name)
}

/// Whether a key itself stands under a name.
pub(super) fn is_key(name: &str) -> bool {
    name == names::CLIENT_JWK
}

/// Reads what stands under these names; `value` gives what does, and `place` is how messages name
/// where.
pub(super) fn read<'a>(
    value: &dyn Fn(&str) -> Option<&'a Secret>,
    near_misses: NearMisses,
    place: &str,
) -> Result<Finding> {
    // A blank one counts as not given: a deployment often empties what it cannot remove.
    let value = |name: &str| value(name).filter(|value| !value.expose().trim().is_empty());
    let text = |name: &str| value(name).map(|value| value.expose().trim());
    let (jwk, key_file) = (value(names::CLIENT_JWK), value(names::KEY_FILE));
    let has_key = jwk.is_some() || key_file.is_some();
    let authority = authority(&text)?;
    let metadata_url = text(names::WELL_KNOWN_URL);
    let is_misnamed = NAMES.iter().all(|name| value(name).is_none());
    if is_misnamed && !near_misses.has_credentials() {
        return Ok(Finding::Nothing);
    }
    if !has_key && value(names::KEYSTORE_PATH).is_some() {
        return Err(draft::foreign(place, names::KEYSTORE_PATH, "a keystore"));
    }

    let defaults = RequestDefaults::in_variables(&value);
    let near_misses = near_misses.without_given(|setting| match setting {
        Setting::Authority | Setting::Metadata => authority.is_some() || metadata_url.is_some(),
        setting if setting.is_key() => has_key,
        Setting::ConsumerOrg => defaults.consumer_org.is_some(),
        Setting::Resource => defaults.resource.is_some(),
        setting => value(setting.in_variables()).is_some(),
    });
    let mut missing = Vec::new();
    if value(names::CLIENT_ID).is_none() {
        missing.push(names::CLIENT_ID.to_owned());
    }
    if !has_key {
        let client_id = text(names::CLIENT_ID).unwrap_or_default();
        let note = identifier::note(names::CLIENT_ID, client_id);
        missing.push(format!(
            "a key ({} or {}{note})",
            names::CLIENT_JWK,
            names::KEY_FILE
        ));
    }
    // The authority's own name before the address of its metadata: what is wrong with either is told so.
    let told = match (authority, metadata_url) {
        (Some((name, text)), Some(_)) if Authority::parse(text).is_err() => Some((name, text)),
        (_, Some(url)) => Some((names::WELL_KNOWN_URL, url)),
        (authority, None) => authority,
    };
    if told.is_none() {
        missing.push(names::AUTHORITIES[0].to_owned());
    }
    let (Some(told), Some(client_id), true) = (told, text(names::CLIENT_ID), missing.is_empty())
    else {
        near_misses.explain(&mut missing);
        return Ok(if is_misnamed {
            Finding::Misnamed(missing)
        } else {
            Finding::Incomplete(missing)
        });
    };
    if jwk.is_some() && key_file.is_some() {
        let (jwk, file) = (names::CLIENT_JWK, names::KEY_FILE);
        let message = format!("{place} holds more than one key: {jwk} and {file}");
        return Err(Error::settings(message).with_advice(&advice::ONE_KEY));
    }

    let authority = authority.map_or("", |(_, text)| text);
    let mut settings = MaskinportenSettings::new(authority, client_id);
    place.clone_into(&mut settings.source);
    let key = jwk.map(|jwk| (names::CLIENT_JWK, jwk.expose()));
    for (what, name) in [("client id", names::CLIENT_ID), ("kid", names::KID)] {
        identifier::check(what, name, text(name).unwrap_or_default(), key)
            .map_err(|error| settings.found_here(&error))?;
    }
    settings.metadata_url = metadata_url.map(str::to_owned);
    settings.token_endpoint = text(names::TOKEN_ENDPOINT).map(str::to_owned);
    draft::check_names(&settings, told, names::CLIENT_ID)?;
    settings.jwk = jwk.cloned();
    let mut files = Vec::new();
    if let Some(path) = key_file {
        let path = disk::named(names::KEY_FILE, path)?;
        settings.key = Some(disk::key(path)?);
        files.push(format!("key file {}", path.display()));
    }
    if let Some(path) = value(names::CERTIFICATE_FILE) {
        let path = disk::named(names::CERTIFICATE_FILE, path)?;
        settings.certificate = Some(disk::certificate(path)?);
        files.push(format!("certificate file {}", path.display()));
    }
    if !files.is_empty() {
        settings.source = format!("{place} with {}", files.join(" and "));
    }
    settings.kid = text(names::KID).map(str::to_owned);
    settings.key_password = value(names::KEY_PASSWORD).cloned();
    settings.scopes = text(names::SCOPES).map(str::to_owned);
    settings.near_misses = near_misses.into_vec();
    settings.consumer_org = defaults.consumer_org;
    settings.resource = defaults.resource;
    settings.limits = defaults.limits;
    Ok(settings.into())
}

/// The environment that these names tell of, where it is a known one.
///
/// # Errors
///
/// Where two names tell of two authorities.
pub(super) fn environment<'a>(
    text: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Option<Environment>> {
    let authority = match (authority(text)?, text(names::WELL_KNOWN_URL)) {
        (Some((_, text)), _) => Authority::parse(text),
        (None, Some(url)) => Authority::of_metadata(url),
        (None, None) => return Ok(None),
    };
    Ok(authority.ok().and_then(|found| found.environment()))
}

/// The authority and the name it stands under, whichever of its names is set; those that are set must
/// agree.
fn authority<'a>(
    text: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Option<(&'static str, &'a str)>> {
    let mut set = names::AUTHORITIES
        .into_iter()
        .filter_map(|name| Some((name, text(name)?)));
    let Some((name, first)) = set.next() else {
        return Ok(None);
    };
    for (other_name, other) in set {
        let parsed = |text: &str| Authority::parse(text).ok();
        if first != other && (parsed(first).is_none() || parsed(first) != parsed(other)) {
            let message = format!("{name} and {other_name} name two authorities");
            return Err(Error::settings(message).with_advice(&advice::AUTHORITY));
        }
    }
    Ok(Some((name, first)))
}
