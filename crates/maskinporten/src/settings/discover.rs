//! Every place settings are found in, and which of them is used.
//!
//! A place on a higher rung is asked for first and wins. Two on one rung are equals: where both have
//! settings of the same client the first is used, and where they name two clients nobody can tell
//! which is meant. What was found and not used is told in the log and in the description.

use std::path::Path;

use crate::advice;
use crate::error::{Error, Result};
use crate::key::TextForm;
use crate::secret::Secret;

use super::variables::Variables;
use super::{Authority, MaskinportenSettings, file, json, jwk, names};

/// A place, what it is called in messages, and how it is looked into.
struct Place {
    name: &'static str,
    rung: u8,
    look: fn(&Variables, &str) -> Result<Found>,
}

const NAMED_FILE: u8 = 0;
const ENVIRONMENT: u8 = 1;

/// In the order they are looked into.
const PLACES: [Place; 3] = [
    Place {
        name: "settings file (MASKINPORTEN_SETTINGS_FILE)",
        rung: NAMED_FILE,
        look: settings_file,
    },
    Place {
        name: "variables of the settings section (MaskinportenSettings__ClientId …)",
        rung: ENVIRONMENT,
        look: section_variables,
    },
    Place {
        name: "variables of a key file (MASKINPORTEN_CLIENT_ID …)",
        rung: ENVIRONMENT,
        look: key_file_variables,
    },
];

/// What a place holds.
enum Found {
    Nothing,
    /// Some of what it takes, and what is lacking.
    Part(Vec<String>),
    Settings(Box<MaskinportenSettings>),
}

pub(super) fn anywhere(variables: &Variables, section: &str) -> Result<MaskinportenSettings> {
    choose(PLACES.iter(), variables, section)
}

pub(super) fn in_environment(variables: &Variables, section: &str) -> Result<MaskinportenSettings> {
    let places = PLACES.iter().filter(|place| place.rung == ENVIRONMENT);
    choose(places, variables, section)
}

fn choose<'a>(
    places: impl Iterator<Item = &'a Place>,
    variables: &Variables,
    section: &str,
) -> Result<MaskinportenSettings> {
    let mut chosen: Option<(u8, MaskinportenSettings)> = None;
    let mut unset = Vec::new();
    let mut not_used = Vec::new();
    for place in places {
        let higher = chosen.as_ref().filter(|(rung, _)| *rung < place.rung);
        match (place.look)(variables, section) {
            Ok(Found::Nothing) => unset.push(format!("{}: not set", place.name)),
            Ok(Found::Part(lacking)) => {
                not_used.push(format!("{}: lacks {}", place.name, lacking.join(", ")));
            }
            // What cannot be used is no matter where better was found on a higher rung.
            Err(error) if higher.is_some() => not_used.push(format!("{}: {error}", place.name)),
            Err(error) => return Err(error),
            Ok(Found::Settings(found)) => match &chosen {
                None => chosen = Some((place.rung, *found)),
                Some((rung, first)) => {
                    if *rung == place.rung && first.client_id != found.client_id {
                        return Err(two_clients(first, &found));
                    }
                    not_used.push(format!("{} (client id {})", found.source, found.client_id));
                }
            },
        }
    }
    let Some((_, mut settings)) = chosen else {
        // What lacks something is nearer to what was meant than what is not set at all.
        not_used.extend(unset);
        let message = format!("no settings were found: {}", not_used.join("; "));
        let error = Error::settings(message).with_advice(&advice::NO_SETTINGS);
        let tell = |error: Error, place| error.with_detail("place", place);
        return Err(not_used.into_iter().fold(error, tell));
    };
    for place in &not_used {
        tracing::warn!(used = %settings.source, not_used = %place, "settings found and not used");
    }
    settings.not_used = not_used;
    Ok(settings)
}

fn two_clients(first: &MaskinportenSettings, other: &MaskinportenSettings) -> Error {
    let message = format!(
        "two places name two clients: {} has {} and {} has {}",
        first.source, first.client_id, other.source, other.client_id
    );
    Error::settings(message).with_advice(&advice::TWO_CLIENTS)
}

// ===== the places =====

fn settings_file(variables: &Variables, section: &str) -> Result<Found> {
    let Some(path) = variables.get(names::SETTINGS_FILE) else {
        return Ok(Found::Nothing);
    };
    let settings = MaskinportenSettings::from_file(Path::new(path.expose()), section)?;
    Ok(Found::Settings(Box::new(settings)))
}

/// `MaskinportenSettings__ClientId` and its neighbours, as .NET reads them.
fn section_variables(variables: &Variables, section: &str) -> Result<Found> {
    let prefix = json::levels(section).join("__");
    let variable = |name: &str| format!("{prefix}__{name}");
    let get = |name: &str| variables.get_in_any_case(&variable(name));

    let names = ["Authority", "ClientId", "Jwk", "JwkBase64", "Pem", "Kid"];
    let [authority, client_id, jwk, jwk_base64, pem, kid] = names.map(get);
    let (authority, client_id, kid) = (authority?, client_id?, kid?);
    let (jwk, jwk_base64, pem) = (jwk?.cloned(), jwk_base64?.cloned(), pem?.cloned());
    let members = member_by_member(variables, &variable("Jwk__"))?;
    if jwk.is_some() && members.is_some() {
        let (whole, one) = (variable("Jwk"), variable("Jwk__n"));
        let message = format!("the key is given whole and in parts: {whole} and {one} …");
        return Err(Error::settings(message).with_advice(&advice::ONE_KEY));
    }
    let jwk = jwk.or(members);

    let has_key = jwk.is_some() || jwk_base64.is_some() || pem.is_some();
    if authority.is_none() && client_id.is_none() && kid.is_none() && !has_key {
        return Ok(Found::Nothing);
    }
    let mut lacking = Vec::new();
    if authority.is_none() {
        lacking.push(variable("Authority"));
    }
    if client_id.is_none() {
        lacking.push(variable("ClientId"));
    }
    if !has_key {
        lacking.push(format!("a key ({})", variable("JwkBase64")));
    }
    let (Some(authority), Some(client_id), []) = (authority, client_id, lacking.as_slice()) else {
        return Ok(Found::Part(lacking));
    };
    let mut settings = MaskinportenSettings::new(plain(authority), plain(client_id));
    settings.jwk = jwk;
    settings.jwk_base64 = jwk_base64;
    settings.pem = pem;
    settings.kid = kid.map(plain);
    settings.source = format!("the variables {prefix}__…");
    Ok(Found::Settings(Box::new(settings.with_one_key()?)))
}

/// The key as one variable for each member: `…__Jwk__kty`, `…__Jwk__n` and so on.
fn member_by_member(variables: &Variables, prefix: &str) -> Result<Option<Secret>> {
    let mut members: Vec<(&'static str, &Secret)> = Vec::new();
    for (name, value) in variables.below(prefix) {
        let Some(own) = jwk::own_name(name) else {
            continue;
        };
        match members.iter().find(|(found, _)| *found == own) {
            None => members.push((own, value)),
            Some((_, first)) if *first == value => {}
            Some(_) => {
                let message = format!("the variable {prefix}{own} stands in two cases that differ");
                return Err(Error::settings(message).with_advice(&advice::ONE_KEY));
            }
        }
    }
    let texts = members.iter().map(|(name, value)| (*name, value.expose()));
    Ok((!members.is_empty()).then(|| jwk::assembled(texts)))
}

/// `MASKINPORTEN_CLIENT_ID`, `MASKINPORTEN_KEY_FILE` and their neighbours.
fn key_file_variables(variables: &Variables, _section: &str) -> Result<Found> {
    let client_id = variables.get(names::CLIENT_ID);
    let key_file = variables.get(names::KEY_FILE);
    let kid = variables.get(names::KID);
    let authority = authority_variable(variables)?;
    if client_id.is_none() && key_file.is_none() && kid.is_none() && authority.is_none() {
        return Ok(Found::Nothing);
    }
    let mut lacking = Vec::new();
    if client_id.is_none() {
        lacking.push(names::CLIENT_ID.to_owned());
    }
    if key_file.is_none() {
        lacking.push(names::KEY_FILE.to_owned());
    }
    if authority.is_none() {
        lacking.push(names::AUTHORITIES[0].to_owned());
    }
    let (Some(authority), Some(client_id), Some(path)) = (authority, client_id, key_file) else {
        return Ok(Found::Part(lacking));
    };
    let path = path.expose();
    let text = file::key(Path::new(path))?;
    let mut settings = MaskinportenSettings::new(plain(authority), plain(client_id));
    let key = Some(Secret::from(text.as_str()));
    match TextForm::of(&text) {
        TextForm::Jwk => settings.jwk = key,
        TextForm::Pem if kid.is_none() => return Ok(Found::Part(vec![names::KID.to_owned()])),
        TextForm::Pem => settings.pem = key,
        TextForm::Other => settings.jwk_base64 = key,
    }
    settings.kid = kid.map(plain);
    settings.source = format!("the variables MASKINPORTEN_… with key file {path}");
    Ok(Found::Settings(Box::new(settings)))
}

/// The authority, by whichever of its names is set. Two that are set must agree.
fn authority_variable(variables: &Variables) -> Result<Option<&Secret>> {
    let mut set = names::AUTHORITIES
        .into_iter()
        .filter_map(|name| Some((name, variables.get(name)?)));
    let Some((name, first)) = set.next() else {
        return Ok(None);
    };
    for (other_name, other) in set {
        let parsed = |text: &Secret| Authority::parse(text.expose()).ok();
        if first != other && (parsed(first).is_none() || parsed(first) != parsed(other)) {
            let message = format!("the variables {name} and {other_name} name two authorities");
            return Err(Error::settings(message).with_advice(&advice::AUTHORITY));
        }
    }
    Ok(Some(first))
}

fn plain(text: &Secret) -> String {
    text.expose().trim().to_owned()
}
