//! Settings in flat names: variables, vault secrets, files that are named like them.

use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};
use crate::secret::Secret;

use super::draft::{self, Draft};
use super::{Finding, jwk};

/// Reads what `values` say of `section`. `separator` is what the place itself puts between levels, for
/// messages: any of them is read.
pub(super) fn read(
    values: &[(String, Secret)],
    section: &str,
    separator: &str,
    place: &str,
) -> Result<Finding> {
    let path = levels(section);
    let spelled = |name: &str| {
        let mut levels = path.clone();
        levels.push(name.to_owned());
        levels.join(separator)
    };
    let ours = below(values, &path);
    let one = |name: &str| one(&ours, name);

    for (name, what) in draft::FOREIGN {
        if one(name)?.is_some()
            && !draft::KEYS
                .iter()
                .any(|key| matches!(one(key), Ok(Some(_))))
        {
            return Err(draft::foreign(place, &spelled(name), what));
        }
    }
    let mut draft = Draft::default();
    for name in draft::NAMES {
        if let Some(value) = one(name)? {
            draft.set(name, value);
        }
    }
    for key in ["Jwk", "PreviousJwk"] {
        let Some(members) = member_by_member(&ours, key)? else {
            continue;
        };
        if draft.has(key) {
            let (whole, one) = (spelled(key), spelled(&format!("{key}{separator}n")));
            let message = format!("the key is given whole and in parts: {whole} and {one} …");
            return Err(Error::settings(message).with_advice(&advice::ONE_KEY));
        }
        draft.set(key, &members);
    }
    match draft.is_empty() {
        true => Ok(Finding::Nothing),
        false => draft.finish(place.to_owned(), &spelled),
    }
}

/// A value that is given: the levels of its name below the section, the name as it stands, and the value.
pub(super) type Below<'a> = (Vec<String>, &'a str, &'a Secret);

/// The values below a section. A blank one is not given.
pub(super) fn below<'a>(values: &'a [(String, Secret)], section: &[String]) -> Vec<Below<'a>> {
    values
        .iter()
        .filter(|(_, value)| !value.expose().trim().is_empty())
        .filter_map(|(name, value)| {
            let levels = levels(name);
            let below = levels.get(section.len()..)?;
            let same = |(a, b): (&String, &String)| a.eq_ignore_ascii_case(b);
            let is_ours = !below.is_empty() && section.iter().zip(&levels).all(same);
            is_ours.then(|| (below.to_vec(), name.as_str(), value))
        })
        .collect()
}

/// The one value of a name, in any case.
///
/// # Errors
///
/// Where it stands there twice, with two values.
pub(super) fn one<'a>(ours: &[Below<'a>], name: &str) -> Result<Option<&'a Secret>> {
    let mut found = ours.iter().filter(
        |(below, ..)| matches!(below.as_slice(), [only] if only.eq_ignore_ascii_case(name)),
    );
    let Some((_, first, value)) = found.next() else {
        return Ok(None);
    };
    match found.find(|(.., other)| other != value) {
        Some((_, other, _)) => Err(differ(first, other)),
        None => Ok(Some(value)),
    }
}

/// The levels of a section path or of a name, however they are separated.
pub(super) fn levels(path: &str) -> Vec<String> {
    let path = path.replace("__", ":").replace("--", ":");
    path.split(':')
        .map(str::trim)
        .filter(|level| !level.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The key as one value for each member: `…__Jwk__kty`, `…__Jwk__n` and so on.
fn member_by_member(ours: &[Below<'_>], key: &str) -> Result<Option<Secret>> {
    let mut members: Vec<(&'static str, &str, &Secret)> = Vec::new();
    for (below, name, value) in ours {
        let [first, member] = below.as_slice() else {
            continue;
        };
        let Some(own) = jwk::own_name(member).filter(|_| first.eq_ignore_ascii_case(key)) else {
            continue;
        };
        match members.iter().find(|(found, ..)| *found == own) {
            None => members.push((own, name, value)),
            Some((.., first)) if first == value => {}
            Some((_, first, _)) => return Err(differ(first, name)),
        }
    }
    let trimmed: Vec<_> = members
        .iter()
        .map(|(own, _, value)| (*own, Zeroizing::new(value.expose().trim().to_owned())))
        .collect();
    let texts = trimmed.iter().map(|(own, value)| (*own, value.as_str()));
    Ok((!trimmed.is_empty()).then(|| jwk::assembled(texts)))
}

fn differ(first: &str, other: &str) -> Error {
    let message = match first == other {
        true => format!("{first} stands there twice, with two values"),
        false => format!("{first} and {other} are one name and differ"),
    };
    Error::settings(message).with_advice(&advice::VARIABLE)
}
