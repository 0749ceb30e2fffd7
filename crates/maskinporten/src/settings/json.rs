//! Settings as JSON: the file that Altinn mounts, an `appsettings.json`, or one like them.
//!
//! - The settings stand under their section or are the whole text; a section path has levels
//!   separated by `:`, `__` or `--`. Names are read in any case, and one that stands twice is refused.
//! - Keys are an object, or a string that holds one. Members of other names are left alone.
//! - Comments and commas before a closing bracket are read over, as .NET's configuration does.
//! - Everything of the wrong type is told at once, by name; values never are.

use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};
use crate::key::members::{Member, Members};
use crate::key::trim;
use crate::secret::Secret;

use super::draft::{self, Draft};
use super::{Finding, jwk, values};

/// Looks for settings in `json`; `place` tells where the text came from, as messages should say it.
pub(super) fn look(json: &str, section: &str, place: &str) -> Result<Finding> {
    look_closely(json, section, place).map(|(finding, _)| finding)
}

/// The finding, and where in the text it was.
fn look_closely(json: &str, section: &str, place: &str) -> Result<(Finding, String)> {
    let refuse = |why: String| unusable(place, &why);
    let json = without_comments(trim(json));
    let root = Members::parse(&json).map_err(|fault| refuse(format!("it is {fault}")))?;
    let (object, source) = match in_section(&root, section).map_err(refuse)? {
        Some(found) => (found, format!("{place}, section {section}")),
        None if is_bare(&root) => (root, place.to_owned()),
        None if root.count("kty") > 0 => {
            let why = "it is a bare key: settings name Authority, ClientId and Jwk";
            return Err(refuse(why.to_owned()));
        }
        None => return Ok((Finding::Nothing, place.to_owned())),
    };

    let mut draft = Draft::default();
    let mut problems = Vec::new();
    for name in draft::NAMES {
        match value(&object, name) {
            Ok(Some(value)) => draft.set(name, &value),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if !draft::KEYS.iter().any(|key| draft.has(key)) {
        for (name, what) in draft::FOREIGN {
            if let Ok(Some(Member::Text(_))) = find(&object, name) {
                return Err(draft::foreign(&source, name, what));
            }
        }
    }
    if !problems.is_empty() {
        // A key of the wrong type is there: that there is none would be no news.
        let key = |problem: &String| {
            draft::KEYS
                .iter()
                .any(|key| problem.starts_with(&format!("`{key}`")))
        };
        let with_key = problems.iter().any(key);
        if let Finding::Incomplete(missing) = draft.finish(source.clone(), &quoted)? {
            let missing = missing
                .into_iter()
                .filter(|name| !(with_key && name.starts_with("a key")));
            problems.extend(missing.map(is_missing));
        }
        return Err(with_problems(
            unusable(&source, &problems.join("; ")),
            problems,
        ));
    }
    let finding = draft.finish(source.clone(), &quoted)?;
    Ok((finding, source))
}

/// Reads settings from `json`, where they must be, and whole.
pub(super) fn read(json: &str, section: &str, place: &str) -> Result<super::MaskinportenSettings> {
    match look_closely(json, section, place)? {
        (Finding::Complete(settings), _) => Ok(*settings),
        (Finding::Incomplete(missing), source) => {
            let problems: Vec<String> = missing.into_iter().map(is_missing).collect();
            Err(with_problems(
                unusable(&source, &problems.join("; ")),
                problems,
            ))
        }
        (Finding::Nothing, _) => Err(unusable(place, &format!("it has no section {section}"))),
    }
}

/// Values of other settings than ours, what is of the wrong type among them, and where they were.
pub(super) struct Scalars {
    pub(super) values: Vec<(&'static str, Secret)>,
    pub(super) problems: Vec<String>,
    pub(super) source: String,
}

/// Reads what `json` holds by `names`, under `section` or, where one of `marks` is among its members, as
/// the whole. Numbers and booleans are their text, as in .NET's configuration.
pub(super) fn scalars(
    json: &str,
    section: &str,
    place: &str,
    names: &[&'static str],
    marks: &[&str],
) -> Result<Scalars> {
    let refuse = |why: String| unusable(place, &why);
    let json = without_comments(trim(json));
    let root = Members::parse(&json).map_err(|fault| refuse(format!("it is {fault}")))?;
    let is_whole = || {
        let is_mark = |found: &str| marks.iter().any(|mark| mark.eq_ignore_ascii_case(found));
        root.iter().any(|(found, _)| is_mark(found))
    };
    let (object, source) = match in_section(&root, section).map_err(refuse)? {
        Some(found) => (found, format!("{place}, section {section}")),
        None if is_whole() => (root, place.to_owned()),
        None => return Err(refuse(format!("it has no section {section}"))),
    };
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for &name in names {
        let value = find(&object, name).and_then(|member| match member {
            None | Some(Member::Null) => Ok(None),
            Some(Member::Text(text)) => Ok(Some(Secret::from(text.as_str()))),
            Some(Member::Other("a number" | "a boolean")) => {
                Ok(raw(&object, name).map(Secret::from))
            }
            Some(other) => Err(format!("`{name}` is {}, not a string", other.kind())),
        });
        match value {
            Ok(value) => values.extend(value.map(|value| (name, value))),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(Scalars {
        values,
        problems,
        source,
    })
}

fn unusable(place: &str, why: &str) -> Error {
    Error::settings(format!("{place} cannot be used: {why}")).with_advice(&advice::SETTINGS_FILE)
}

fn with_problems(error: Error, problems: Vec<String>) -> Error {
    let tell = |error: Error, problem| error.with_detail("problem", problem);
    problems.into_iter().fold(error, tell)
}

fn quoted(name: &str) -> String {
    format!("`{name}`")
}

fn is_missing(name: String) -> String {
    match name.strip_prefix("a key ") {
        Some(keys) => format!("a key is missing {keys}"),
        None => format!("{name} is missing"),
    }
}

/// The text without what .NET's reader of configuration reads over and JSON does not have.
fn without_comments(json: &str) -> Zeroizing<String> {
    // Never longer than what it is made of, so that no half-made copy is left behind.
    let mut clean = Zeroizing::new(String::with_capacity(json.len()));
    let mut rest = json;
    while let Some(at) = rest.find(['"', '/', ',']) {
        let (before, from) = rest.split_at(at);
        clean.push_str(before);
        rest = if from.starts_with('"') {
            let end = end_of_string(from);
            clean.push_str(&from[..end]);
            &from[end..]
        } else if let Some(after) = comment(from) {
            // Tokens that a comment parts stay apart.
            clean.push(' ');
            after
        } else {
            let mut next = from[1..].trim_start();
            while let Some(after) = comment(next) {
                next = after.trim_start();
            }
            let closes = from.starts_with(',') && next.starts_with(['}', ']']);
            if !closes {
                clean.push_str(&from[..1]);
            }
            &from[1..]
        };
    }
    clean.push_str(rest);
    clean
}

/// Where the string that `text` opens with ends.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What comes after the comment that `text` opens with.
fn comment(text: &str) -> Option<&str> {
    if text.starts_with("//") {
        return Some(text.find('\n').map_or("", |at| &text[at..]));
    }
    let after = text.strip_prefix("/*")?;
    Some(after.split_once("*/").map_or("", |(_, after)| after))
}

fn in_section<'a>(root: &Members<'a>, section: &str) -> Result<Option<Members<'a>>, String> {
    let mut deepest: Option<Members<'a>> = None;
    for level in values::levels(section) {
        match find(deepest.as_ref().unwrap_or(root), &level)? {
            None | Some(Member::Null) => return Ok(None),
            Some(Member::Object(text)) => {
                let object = Members::parse(text).map_err(|fault| format!("{level} is {fault}"))?;
                deepest = Some(object);
            }
            Some(other) => {
                return Err(format!(
                    "section {level} is {}, not an object",
                    other.kind()
                ));
            }
        }
    }
    Ok(deepest)
}

fn is_bare(root: &Members<'_>) -> bool {
    // Not `Kid`, which a bare key has too.
    let names = ["Authority", "ClientId"].iter().chain(&draft::KEYS);
    let names: Vec<&str> = names.copied().collect();
    root.iter()
        .any(|(found, _)| names.iter().any(|name| name.eq_ignore_ascii_case(found)))
}

/// The one member of a name, in any case.
fn find<'a>(object: &Members<'a>, name: &str) -> Result<Option<Member<'a>>, String> {
    let mut found = object
        .iter()
        .filter(|(found, _)| found.eq_ignore_ascii_case(name));
    let first = found.next();
    match (&first, found.next()) {
        (Some((one, _)), Some((other, _))) => Err(format!(
            "`{name}` stands there twice, as `{one}` and `{other}`"
        )),
        _ => Ok(first.map(|(_, member)| member)),
    }
}

/// What a member holds, as text. `null` counts as left out.
fn value(object: &Members<'_>, name: &str) -> Result<Option<Secret>, String> {
    match find(object, name)? {
        None | Some(Member::Null) => Ok(None),
        Some(Member::Text(text)) => Ok(Some(Secret::from(text.as_str()))),
        Some(Member::Object(text)) if matches!(name, "Jwk" | "PreviousJwk") => {
            Ok(Some(jwk::with_its_own_names(text)))
        }
        Some(Member::Object(text)) if name == "Jwks" => Ok(Some(Secret::from(text))),
        Some(other) => {
            if name == "Jwks" && other.kind() == "an array" {
                return Ok(raw(object, name).map(Secret::from));
            }
            let wanted = match name {
                "Jwk" | "PreviousJwk" => "an object",
                "Jwks" => "a set of keys",
                _ => "a string",
            };
            Err(format!("`{name}` is {}, not {wanted}", other.kind()))
        }
    }
}

/// A member as it stands, whatever it is.
fn raw<'a>(object: &Members<'a>, name: &str) -> Option<&'a str> {
    let spelled = object
        .iter()
        .find(|(found, _)| found.eq_ignore_ascii_case(name));
    spelled.and_then(|(found, _)| object.raw(found))
}
