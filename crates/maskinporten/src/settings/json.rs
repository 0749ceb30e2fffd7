//! Settings as JSON: the file that Altinn mounts, an `appsettings.json`, or one like them.
//!
//! - The settings stand under their section or are the whole text. Names may be nested, or flat as
//!   `dotnet user-secrets` writes them (`"MaskinportenSettings:ClientId"`), or both; levels are separated by
//!   `:`, `__` or `--`, and names are read in any case.
//! - The object `Values` of an Azure Functions `local.settings.json` holds variables: those of the section,
//!   and those of the shape `MASKINPORTEN_…`.
//! - Keys are an object, or a string that holds one. A number or a boolean is its text. Members of other
//!   names are left alone.
//! - Comments and commas before a closing bracket are read over, as .NET's configuration does.
//! - Everything of the wrong type is told at once, by name; values never are.

use std::collections::{BTreeMap, HashMap, HashSet};

use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::{Error, Result};
use crate::key::members::{Fault, Member, Members};
use crate::key::trim;
use crate::secret::Secret;

use super::draft::{self, is_missing};
use super::legacy;
use super::near_miss::NearMisses;
use super::values::{Entry, Problems, Section, Spelling, Value, is_within, levels};
use super::{Finding, MaskinportenSettings, RequestDefaults, digdirator};

/// Where Azure Functions keeps variables in a `local.settings.json`.
const VALUES: &str = "Values";

/// The longest name of a section that is shown.
const LONGEST_NAME: usize = 40;

/// How many sections are named that look like the one that is missing.
const SECTIONS_SHOWN: usize = 5;

/// Looks for settings in `json`; `place` tells where the text came from, as messages should say it.
pub(super) fn look(json: &str, section: &str, place: &str) -> Result<Finding> {
    let json = without_comments(trim(json));
    Document::parse(&json, place)?.settings(section)
}

/// Reads settings from `json`, where they must be, and whole.
pub(super) fn read(json: &str, section: &str, place: &str) -> Result<MaskinportenSettings> {
    let json = without_comments(trim(json));
    let document = Document::parse(&json, place)?;
    let missing = match document.settings(section)? {
        Finding::Complete(settings) => return Ok(*settings),
        Finding::Incomplete(missing) | Finding::Misnamed(missing) => missing,
        Finding::Nothing => return Err(document.lacks(section, &advice::SETTINGS_FILE)),
    };
    let mut problems = Problems::default();
    let found = document.section(section, &draft::is_mark)?;
    if found.as_ref().is_some_and(legacy::is_of_package) {
        problems.add(&legacy::not_ours());
    }
    for name in missing {
        problems.tell(is_missing(name));
    }
    let source = found.as_ref().map_or(place, Section::source);
    Err(problems.into_error(source, &advice::SETTINGS_FILE))
}

/// A JSON object, and how messages name where it came from.
pub(super) struct Document<'a> {
    root: Members<'a>,
    place: &'a str,
}

impl<'a> Document<'a> {
    /// `json` has no comments any more: see [`without_comments`].
    pub(super) fn parse(json: &'a str, place: &'a str) -> Result<Self> {
        match Members::parse(json) {
            Ok(root) => Ok(Self { root, place }),
            Err(_) if json.trim().is_empty() => Err(unusable(place, "it is empty")),
            Err(fault @ Fault::Half { .. }) => {
                Err(unusable(place, &format!("it is {fault}")).with_advice(&advice::SETTINGS_HALF))
            }
            Err(fault) => Err(unusable(place, &format!("it is {fault}"))),
        }
    }

    fn settings(&self, section: &str) -> Result<Finding> {
        let mut defaults = RequestDefaults::default();
        let found = match self.section(section, &draft::is_mark)? {
            Some(section) => {
                defaults = RequestDefaults::in_section(&section);
                draft::read(&section)?
            }
            None if self.root.has("kty") || self.root.has("keys") => {
                let why = "it is a bare key: settings name Authority, ClientId and Jwk";
                return Err(unusable(self.place, why));
            }
            None => Finding::Nothing,
        };
        let variables = self.variables()?;
        let value = |name: &str| variables.get(name);
        let names = variables.keys().map(String::as_str);
        let near_misses = NearMisses::in_variables(names);
        let place = format!("{}, {VALUES}", self.place);
        let defaults = RequestDefaults::in_variables(&value).joined(defaults);
        let found = Finding::of_shapes([
            (
                format!("MASKINPORTEN_… in {place}"),
                digdirator::read(&value, near_misses, &place)?,
            ),
            (format!("section {section} in {}", self.place), found),
        ])?;
        Ok(found.with_defaults(defaults))
    }

    /// What it holds of a section; or all of it, where a name at the top is one that settings open with.
    ///
    /// # Errors
    ///
    /// Where something else than an object is in the section's place, or two objects are.
    pub(super) fn section(
        &self,
        section: &str,
        is_mark: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Section>> {
        let refuse = |why: String| unusable(self.place, &why);
        let path = levels(section);
        let mut found = Found::new(&path);
        if !path.is_empty() {
            found.look_into(&self.root, &[], "").map_err(refuse)?;
            if let Some(json) = self.values() {
                let values =
                    Members::parse(json).map_err(|fault| refuse(format!("{VALUES} is {fault}")))?;
                found.look_into(&values, &[], VALUES).map_err(refuse)?;
            }
        }
        if found.is_there {
            let source = format!("{}, section {section}", self.place);
            return Ok(Some(Section::new(found.entries, source, Spelling::Member)));
        }
        if !self.root.iter().any(|(name, _)| is_mark(name)) {
            return Ok(None);
        }
        let mut all = Found::new(&[]);
        all.look_into(&self.root, &[], "").map_err(refuse)?;
        let source = self.place.to_owned();
        Ok(Some(Section::new(all.entries, source, Spelling::Member)))
    }

    /// The error for a section that is not there, with the names of others that look like settings; `otherwise`
    /// is what to do where there are none.
    pub(super) fn lacks(&self, section: &str, otherwise: &'static Advice) -> Error {
        let found = self.lookalikes();
        let why = format!("it has no section {section}");
        if found.is_empty() {
            return unusable(self.place, &why).with_advice(otherwise);
        }
        let why = format!("{why}, and settings seem to stand in {}", found.join(", "));
        unusable(self.place, &why).with_advice(&advice::OTHER_SECTION)
    }

    /// Sections at the top that look like settings, ours or the .NET package's, where their names may be shown.
    fn lookalikes(&self) -> Vec<String> {
        let mut found: BTreeMap<String, HashSet<String>> = BTreeMap::new();
        let mut note = |section: &str, name: &str| {
            let name = name.to_ascii_lowercase();
            let names = found.entry(section.to_owned()).or_default();
            if draft::is_mark(&name) || legacy::is_mark(&name) {
                names.insert(name);
            }
        };
        for (name, member) in self.root.iter() {
            match (&levels(name)[..], member) {
                ([section], Member::Object(json)) => {
                    let inner = Members::parse(json);
                    for (name, _) in inner.iter().flat_map(Members::iter) {
                        note(section, name);
                    }
                }
                ([section, name], _) => note(section, name),
                _ => {}
            }
        }
        // These are in the sections of other libraries too.
        let is_common = |name: &String| ["authority", "clientid"].contains(&name.as_str());
        found.retain(|section, names| {
            names.len() > 1 && !names.iter().all(is_common) && is_plain(section)
        });
        found.into_keys().take(SECTIONS_SHOWN).collect()
    }

    fn values(&self) -> Option<&'a str> {
        let mut members = self.root.iter();
        members.find_map(|(name, member)| match member {
            Member::Object(json) if name.eq_ignore_ascii_case(VALUES) => Some(json),
            _ => None,
        })
    }

    /// The variables that it holds, by their whole names.
    fn variables(&self) -> Result<HashMap<String, Secret>> {
        let mut variables = HashMap::new();
        let Some(json) = self.values() else {
            return Ok(variables);
        };
        let refuse = |why: String| unusable(self.place, &why);
        let values =
            Members::parse(json).map_err(|fault| refuse(format!("{VALUES} is {fault}")))?;
        for (name, member) in values.iter() {
            let Some(Value::Text(text)) = value(&values, name, member) else {
                continue;
            };
            let found = variables
                .entry(name.to_owned())
                .or_insert_with(|| text.clone());
            let mut ours = digdirator::NAMES.iter().chain(&digdirator::NOT_CREDENTIALS);
            let is_ours = ours.any(|own| *own == name);
            if is_ours && *found != text {
                return Err(refuse(format!("`{name}` stands in {VALUES} twice")));
            }
        }
        Ok(variables)
    }
}

/// Whether a section's name is what people write, and no text that was put there by mistake.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

/// What was found of a section so far.
struct Found<'p> {
    section: &'p [String],
    is_there: bool,
    entries: Vec<Entry>,
}

impl<'p> Found<'p> {
    fn new(section: &'p [String]) -> Self {
        Self {
            section,
            is_there: false,
            entries: Vec::new(),
        }
    }

    /// Looks into an object whose name has the levels `above`, written as `written`.
    fn look_into(
        &mut self,
        object: &Members<'_>,
        above: &[String],
        written: &str,
    ) -> Result<(), String> {
        let mut seen = HashMap::new();
        for (name, member) in object.iter() {
            let levels = [above, &levels(name)].concat();
            if levels.len() == above.len() || !is_within(&levels, self.section) {
                continue;
            }
            let written = match written {
                "" => name.to_owned(),
                above => format!("{above}.{name}"),
            };
            let earlier = seen.insert(name.to_ascii_lowercase(), written.clone());
            let is_above = levels.len() <= self.section.len();
            let value = match (member, earlier) {
                (Member::Null, None) => continue,
                (_, Some(earlier)) if is_above => {
                    return Err(format!(
                        "section {name} stands there twice, as `{earlier}` and `{written}`"
                    ));
                }
                (Member::Object(json), None) if is_above => {
                    let inner = Members::parse(json)
                        .map_err(|fault| format!("section {name} is {fault}"))?;
                    self.is_there |= levels.len() == self.section.len();
                    self.look_into(&inner, &levels, &written)?;
                    continue;
                }
                (other, None) if is_above => {
                    let kind = other.kind();
                    return Err(format!("section {name} is {kind}, not an object"));
                }
                (_, Some(earlier)) => Value::Twice(earlier),
                (member, None) => match value(object, name, member) {
                    Some(value) => value,
                    None => continue,
                },
            };
            self.is_there = true;
            self.entries.push(Entry {
                levels: levels[self.section.len()..].to_vec(),
                written,
                value,
            });
        }
        Ok(())
    }
}

/// What a member holds; nothing where it is `null`.
fn value(object: &Members<'_>, name: &str, member: Member<'_>) -> Option<Value> {
    Some(match member {
        Member::Null => return None,
        Member::Text(text) => Value::Text(Secret::from(text.as_str())),
        Member::Object(json) => Value::Structure {
            kind: "an object",
            json: Secret::from(json),
        },
        Member::Array(json) => Value::Structure {
            kind: "an array",
            json: Secret::from(json),
        },
        Member::Other(kind) => {
            let json = Secret::from(object.raw(name)?);
            match kind {
                "a number" | "a boolean" => Value::Text(json),
                kind => Value::Structure { kind, json },
            }
        }
    })
}

fn unusable(place: &str, why: &str) -> Error {
    Error::settings(format!("{place} cannot be used: {why}")).with_advice(&advice::SETTINGS_FILE)
}

/// The text without what .NET's reader of configuration reads over and JSON does not have.
pub(super) fn without_comments(json: &str) -> Zeroizing<String> {
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
