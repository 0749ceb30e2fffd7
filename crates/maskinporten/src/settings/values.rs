//! A section of settings: values by their names, from variables, vault secrets, files that are named like
//! them, or JSON ([`super::json`]). One reader for all, so that a name means the same in every place.

use crate::advice::{self, Advice};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What one place holds of a section.
pub(super) struct Section {
    entries: Vec<Entry>,
    /// Where it is, as messages say it.
    source: String,
    spelling: Spelling,
}

/// A value that is given. A blank one is not.
pub(super) struct Entry {
    /// The levels of its name below the section.
    pub(super) levels: Vec<String>,
    /// The name as it is written, for messages.
    pub(super) written: String,
    pub(super) value: Value,
}

#[derive(PartialEq)]
pub(super) enum Value {
    /// Text, or a number or a boolean of JSON as it is written, as in .NET's configuration.
    Text(Secret),
    /// An object or an array of JSON, as it is written; its kind is named with its article.
    Structure { kind: &'static str, json: Secret },
    /// A member of a JSON object that has it under this name as well.
    Twice(String),
}

/// How a place writes names.
pub(super) enum Spelling {
    /// As a member of a JSON object.
    Member,
    /// With the levels of the section before it.
    Path {
        section: Vec<String>,
        separator: &'static str,
    },
}

impl Section {
    pub(super) fn new(entries: Vec<Entry>, source: String, spelling: Spelling) -> Self {
        let is_given = |entry: &Entry| match &entry.value {
            Value::Text(text) => !text.expose().trim().is_empty(),
            Value::Structure { .. } | Value::Twice(_) => true,
        };
        Self {
            entries: entries.into_iter().filter(is_given).collect(),
            source,
            spelling,
        }
    }

    /// What flat names say of `section`. `separator` is what the place itself writes between levels, for
    /// messages: each of them is read.
    pub(super) fn of_values(
        values: &[(String, Secret)],
        section: &str,
        separator: &'static str,
        source: impl Into<String>,
    ) -> Self {
        let section = levels(section);
        let entries = values.iter().filter_map(|(name, value)| {
            let levels = levels(name);
            is_below(&levels, &section).then(|| Entry {
                levels: levels[section.len()..].to_vec(),
                written: name.clone(),
                value: Value::Text(value.clone()),
            })
        });
        let entries = entries.collect();
        Self::new(
            entries,
            source.into(),
            Spelling::Path { section, separator },
        )
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the section is a JSON object, which is there even where it is empty.
    pub(super) fn is_object(&self) -> bool {
        matches!(self.spelling, Spelling::Member)
    }

    /// The whole name of a value, as the place writes it.
    pub(super) fn name(&self, name: &str) -> String {
        match &self.spelling {
            Spelling::Member => name.to_owned(),
            Spelling::Path { section, separator } => {
                [&section[..], &levels(name)].concat().join(separator)
            }
        }
    }

    /// The same as messages write it: a member of JSON in backquotes.
    pub(super) fn spelled(&self, name: &str) -> String {
        self.quoted(&self.name(name))
    }

    /// A name as it is written, as messages show it.
    pub(super) fn quoted(&self, written: &str) -> String {
        match self.spelling {
            Spelling::Member => format!("`{written}`"),
            Spelling::Path { .. } => written.to_owned(),
        }
    }

    /// The names of its values that lie directly in it: below the section, and as they are written.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .filter_map(|entry| match entry.levels.as_slice() {
                [only] => Some((only.as_str(), entry.written.as_str())),
                _ => None,
            })
    }

    /// Every value of a name, by the names as they are written: its text, or why it is none.
    pub(super) fn all(&self, name: &str) -> Vec<(String, Result<String, String>)> {
        let found = self.find(name).map(|entry| {
            let written = self.quoted(&entry.written);
            let text = match &entry.value {
                Value::Text(text) => Ok(text.expose().trim().to_owned()),
                Value::Structure { kind, .. } => Err(format!("{written} is {kind}, not a string")),
                Value::Twice(other) => {
                    let other = self.quoted(other);
                    Err(format!("{written} stands there twice, as {other} too"))
                }
            };
            (entry.written.clone(), text)
        });
        found.collect()
    }

    /// Whether a value of this name is given, usable or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).next().is_some()
    }

    fn find(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let wanted = levels(name);
        self.entries.iter().filter(move |entry| {
            entry.levels.len() == wanted.len() && is_within(&entry.levels, &wanted)
        })
    }

    /// The one value of a name, in any case. `Jwk:n` is one that lies deeper.
    ///
    /// # Errors
    ///
    /// Where it is given twice: with two values, or in one JSON object.
    pub(super) fn one(&self, name: &str) -> Result<Option<&Value>> {
        let mut first: Option<&Entry> = None;
        for entry in self.find(name) {
            let written = self.quoted(&entry.written);
            if let Value::Twice(other) = &entry.value {
                let (name, other) = (self.spelled(name), self.quoted(other));
                let message = format!("{name} stands there twice, as {other} and {written}");
                return Err(self.wrong(message));
            }
            match first {
                None => first = Some(entry),
                Some(first) if first.value == entry.value => {}
                Some(first) if first.written == entry.written => {
                    let message = format!("{written} stands there twice, with two values");
                    return Err(self.wrong(message));
                }
                Some(first) => {
                    let first = self.quoted(&first.written);
                    let message = format!("{first} and {written} are one name and differ");
                    return Err(self.wrong(message));
                }
            }
        }
        Ok(first.map(|entry| &entry.value))
    }

    /// The one value of a name, where it is text.
    ///
    /// # Errors
    ///
    /// As [`one`](Self::one), and where it is an object or an array.
    pub(super) fn text(&self, name: &str) -> Result<Option<&Secret>> {
        match self.one(name)? {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Structure { kind, .. }) => {
                let name = self.spelled(name);
                Err(self.wrong(format!("{name} is {kind}, not a string")))
            }
            Some(Value::Twice(_)) | None => Ok(None),
        }
    }

    /// One thing that is wrong with it.
    pub(super) fn wrong(&self, message: String) -> Error {
        Error::settings(message).with_advice(self.advice())
    }

    fn advice(&self) -> &'static Advice {
        match self.spelling {
            Spelling::Member => &advice::SETTINGS_FILE,
            Spelling::Path { .. } => &advice::VARIABLE,
        }
    }
}

/// What stands under a name that several names of one place may stand for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// As it is written there.
    pub(super) name: String,
    pub(super) value: Found,
}

/// What stands under a name, or why that cannot be used.
pub(super) type Found = std::result::Result<String, String>;

impl Named {
    /// What stands under names of the shape `MASKINPORTEN_…`, unless it is blank.
    pub(super) fn in_variables<'a>(
        value: &dyn Fn(&str) -> Option<&'a Secret>,
        names: &[&str],
    ) -> Vec<(String, Found)> {
        let found = names.iter().filter_map(|name| {
            let text = value(name)?.expose().trim();
            (!text.is_empty()).then(|| ((*name).to_owned(), Ok(text.to_owned())))
        });
        found.collect()
    }

    /// The one of several values that stand in one place. None of them is blank.
    pub(super) fn of(found: Vec<(String, Found)>) -> Option<Self> {
        let mut found = found.into_iter();
        let (name, value) = found.next()?;
        let other = found.find(|(_, other)| *other != value);
        let value = match other {
            Some((other, _)) => Err(format!("{name} and {other} differ")),
            None => value,
        };
        Some(Self { name, value })
    }

    /// The one of two, or an error where both stand in one place and say two things.
    pub(super) fn join(own: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (own, other) {
            (Some(own), Some(other)) => Some(own.joined(other)),
            (own, other) => own.or(other),
        }
    }

    pub(super) fn joined(self, other: Self) -> Self {
        let value = match (self.value, other.value) {
            (Ok(own), Ok(other_value)) if own != other_value => {
                Err(format!("{} and {} differ", self.name, other.name))
            }
            (Ok(_), Err(problem)) => Err(problem),
            (own, _) => own,
        };
        Self { value, ..self }
    }
}

/// All that is wrong in one place, to be told at once.
#[derive(Default)]
pub(super) struct Problems {
    texts: Vec<String>,
    advice: Option<&'static Advice>,
}

impl Problems {
    /// Adds a problem. The advice of the first that has one is the advice of the whole error.
    pub(super) fn add(&mut self, error: &Error) {
        self.texts.push(error.to_string());
        if let Some(advice) = error.advice() {
            self.advice.get_or_insert(advice);
        }
    }

    pub(super) fn tell(&mut self, text: String) {
        self.texts.push(text);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(super) fn into_error(self, source: &str, otherwise: &'static Advice) -> Error {
        let message = format!("{source} cannot be used: {}", self.texts.join("; "));
        let error = Error::settings(message).with_advice(self.advice.unwrap_or(otherwise));
        let tell = |error: Error, problem| error.with_detail("problem", problem);
        self.texts.into_iter().fold(error, tell)
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

/// Whether a name lies below a section.
pub(super) fn is_below(name: &[String], section: &[String]) -> bool {
    name.len() > section.len() && is_within(name, section)
}

/// Whether two paths are the same as far as both go.
pub(super) fn is_within(one: &[String], other: &[String]) -> bool {
    let same = |(one, other): (&String, &String)| one.eq_ignore_ascii_case(other);
    one.iter().zip(other).all(same)
}
