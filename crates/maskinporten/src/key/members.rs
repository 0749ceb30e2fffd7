//! The members of a JSON object that may hold secrets, borrowed from its text.
//!
//! - Nothing is copied before a member is asked for, and a member that is text is wiped when dropped.
//! - A fault tells where the text stops being JSON and never what stands there: the JSON library's
//!   own errors repeat values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// One JSON object: its members in the order they stand, doubles among them.
pub(crate) struct Members<'a>(Vec<(String, &'a RawValue)>);

/// What a member holds.
pub(crate) enum Member<'a> {
    Text(Zeroizing<String>),
    /// The whole object as it stands.
    Object(&'a str),
    /// The whole array as it stands.
    Array(&'a str),
    Null,
    /// Something else, named with its article: `a number`.
    Other(&'static str),
}

/// What the members of one name say together: see [`Members::given`].
pub(crate) enum Given<'a> {
    Absent,
    One(Member<'a>, &'a str),
    /// Two spellings of the name, or one of them twice, with two values.
    Differing,
}

/// Why a text is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends before the object does, as a file does that is being written.
    Half {
        line: usize,
        column: usize,
    },
    NotJson {
        line: usize,
        column: usize,
    },
    NotAnObject(&'static str),
}

impl<'a> Members<'a> {
    pub(crate) fn parse(json: &'a str) -> Result<Self, Fault> {
        let opening = json.trim_start();
        if !opening.is_empty() && !opening.starts_with('{') {
            let whole = serde_json::from_str::<&RawValue>(json).map_err(Fault::new)?;
            return Err(Fault::NotAnObject(kind(whole.get())));
        }
        serde_json::from_str(json).map_err(Fault::new)
    }

    /// The text of a member as it stands.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, raw)| raw.get())
    }

    /// Every member's name and what it holds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Member<'a>)> {
        self.0
            .iter()
            .map(|(name, raw)| (name.as_str(), Member::new(raw.get())))
    }

    /// The one value of a name, by the rules of .NET's `JsonWebKey`: a member that is null, blank or empty
    /// is absent, and the name may be written in any case.
    pub(crate) fn given(&self, name: &str) -> Given<'a> {
        let mut found = self.0.iter().filter(|(found, raw)| {
            found.eq_ignore_ascii_case(name) && !Member::new(raw.get()).is_empty()
        });
        let Some((_, first)) = found.next() else {
            return Given::Absent;
        };
        let first = first.get();
        if found.all(|(_, other)| is_same(first, other.get())) {
            Given::One(Member::new(first), first)
        } else {
            Given::Differing
        }
    }

    /// Whether [`given`](Self::given) finds a value, or several.
    pub(crate) fn has(&self, name: &str) -> bool {
        !matches!(self.given(name), Given::Absent)
    }
}

impl<'a> Member<'a> {
    // The text is one JSON value: the parser has been over it.
    fn new(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(json)
                .map_or(Self::Other("no text"), |text| {
                    Self::Text(Zeroizing::new(text))
                }),
            Some(b'{') => Self::Object(json),
            Some(b'[') => Self::Array(json),
            Some(b'n') => Self::Null,
            _ => Self::Other(kind(json)),
        }
    }

    /// Whether it holds nothing: null, a blank text, an array or an object without members.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Object(json) => json[1..].trim_start().starts_with('}'),
            Self::Array(json) => json[1..].trim_start().starts_with(']'),
            Self::Null => true,
            Self::Other(_) => false,
        }
    }

    /// What it is, with its article, for a message about a member of the wrong type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Object(_) => "an object",
            Self::Array(_) => "an array",
            Self::Null => "null",
            Self::Other(kind) => kind,
        }
    }
}

/// Whether two JSON values are the same text, or written the same way.
fn is_same(one: &str, other: &str) -> bool {
    match (Member::new(one), Member::new(other)) {
        (Member::Text(one), Member::Text(other)) => one == other,
        _ => one == other,
    }
}

fn kind(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object).map(Self)
    }
}

impl Fault {
    pub(super) fn new(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        if error.is_eof() {
            Self::Half { line, column }
        } else {
            Self::NotJson { line, column }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Half { line, column } => {
                write!(f, "half a JSON: it ends in line {line}, column {column}")
            }
            Self::NotJson { line, column } => {
                write!(f, "no JSON: line {line}, column {column} is wrong")
            }
            Self::NotAnObject(kind) => write!(f, "{kind}, not a JSON object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let fault = Members::parse(json).err().unwrap();
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn a_fault_tells_where_and_never_what() {
        check("", "half a JSON: it ends in line 1, column 0");
        check(
            "{\n\"d\": \"sec",
            "half a JSON: it ends in line 2, column 9",
        );
        check("{\"d\": hush}", "no JSON: line 1, column 7 is wrong");
        check("hush", "no JSON: line 1, column 1 is wrong");
        check("{} {}", "no JSON: line 1, column 4 is wrong");
        check("[1]", "an array, not a JSON object");
        check("\"hush\"", "a string, not a JSON object");
        check("7", "a number, not a JSON object");
    }

    #[test]
    fn a_member_is_found_in_any_case_and_an_empty_one_is_absent() {
        let check = |json: &str, expected: Result<Option<&str>, ()>| {
            let members = Members::parse(json).unwrap();
            let found = match members.given("kid") {
                Given::Absent => Ok(None),
                Given::One(_, raw) => Ok(Some(raw)),
                Given::Differing => Err(()),
            };
            assert_eq!(found, expected, "{json}");
        };
        for empty in ["null", "\"\"", "\" \\t\"", "[]", "[ ]", "{}", "{\n}"] {
            check(&format!("{{\"kid\": {empty}}}"), Ok(None));
            check(
                &format!("{{\"kid\": {empty}, \"Kid\": \"k\"}}"),
                Ok(Some("\"k\"")),
            );
        }
        check("{}", Ok(None));
        check("{\"KID\": 7}", Ok(Some("7")));
        check("{\"kid\": [null]}", Ok(Some("[null]")));
        check("{\"kid\": \"k\", \"Kid\": \"\\u006b\"}", Ok(Some("\"k\"")));
        check("{\"kid\": \"k\", \"Kid\": \"l\"}", Err(()));
        check("{\"kid\": 1, \"kid\": 2}", Err(()));
    }

    #[test]
    fn doubles_are_seen() {
        let members = Members::parse("{\"a\": 1, \"A\": 2, \"a\": \"x\\ny\"}").unwrap();
        let names: Vec<&str> = members.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "A", "a"]);
    }
}
