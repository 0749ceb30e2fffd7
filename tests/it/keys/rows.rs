//! The rows of the manifest, and the files they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const MANIFEST: &str = include_str!("../../vectors/tools/manifest.json");

/// Where keys are that were made now.
const FOREIGN_KEYS: &str = "FOREIGN_KEYS";

/// One file, what stands next to it, and what should become of it.
pub(super) struct Row {
    pub(super) file: String,
    pub(super) holds: Holds,
    pub(super) bytes: Vec<u8>,
    pub(super) kid: Option<String>,
    pub(super) password: Option<String>,
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) outcome: Outcome,
    key: Option<String>,
}

/// The shape of a key, which decides the places that are for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Jwk,
    Set,
    Pem,
    Der,
    Pkcs12,
    /// Bytes that are no text and no key that is read.
    Binary,
    /// Base64 of a text.
    Base64,
    /// Text that is no key that is read.
    Text,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A grant whose header has this `kid`.
    Kid(String),
    /// A grant whose header has so many certificates.
    Chain(usize),
    /// An error that says each of these, in its message or in its hint.
    Refused(Vec<String>),
}

/// Whether the keys are those of `FOREIGN_KEYS`.
pub(super) fn made_now() -> bool {
    env::var_os(FOREIGN_KEYS).is_some()
}

/// The directory of the vectors.
pub(super) fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/tools")
}

fn directory() -> PathBuf {
    env::var_os(FOREIGN_KEYS).map_or_else(committed, PathBuf::from)
}

/// The rows of a tool; of keys that are made now, those that it makes.
pub(super) fn of(tool: &str) -> Vec<Row> {
    let is_of_tool = |row: &Value| {
        let file = row["file"].as_str().unwrap();
        file.split('/').next() == Some(tool)
    };
    let mut rows = manifest();
    rows.retain(|row| is_of_tool(row) && (!made_now() || row["kept"] != true));
    rows.iter().map(Row::parse).collect()
}

/// The files that the rows name.
pub(super) fn files() -> BTreeSet<String> {
    let rows = manifest();
    let names = rows
        .iter()
        .flat_map(|row| [&row["file"], &row["certificate"]]);
    names
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

fn manifest() -> Vec<Value> {
    serde_json::from_str(MANIFEST).unwrap()
}

impl Row {
    fn parse(row: &Value) -> Self {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        let read = |file: &String| {
            let path = directory().join(file);
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let file = text("file").unwrap();
        let outcome = match (&row["signs"], &row["refused"]) {
            (Value::String(kid), Value::Null) => Outcome::Kid(kid.clone()),
            (Value::Number(length), Value::Null) => {
                Outcome::Chain(length.as_u64().unwrap().try_into().unwrap())
            }
            (Value::Null, Value::Array(words)) => {
                let words = words.iter().map(|word| word.as_str().unwrap().to_owned());
                Outcome::Refused(words.collect())
            }
            _ => panic!("{file}: either it signs or it is refused"),
        };
        Self {
            holds: Holds::named(row["holds"].as_str().unwrap()),
            bytes: read(&file),
            kid: text("kid"),
            password: text("password"),
            certificate: text("certificate").as_ref().map(read),
            outcome,
            key: text("key"),
            file,
        }
    }

    /// The file as text, where it is.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The modulus of its key, in base64url, as another tool than ours has found it.
    pub(super) fn modulus(&self) -> &'static str {
        static KNOWN: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
            let text = fs::read_to_string(directory().join("public.txt")).unwrap();
            let pair = |line: &str| {
                line.split_once(' ')
                    .map(|(name, n)| (name.into(), n.into()))
            };
            text.lines().map(|line| pair(line).unwrap()).collect()
        });
        let key = self
            .key
            .as_deref()
            .unwrap_or_else(|| panic!("{self} names no key"));
        KNOWN
            .get(key)
            .unwrap_or_else(|| panic!("no key {key} in public.txt"))
    }

    /// Everything long in the file that may be secret, in pieces without line ends.
    pub(super) fn secrets(&self) -> Vec<String> {
        let encoded = STANDARD.encode(&self.bytes);
        let text = String::from_utf8_lossy(&self.bytes);
        let is_base64 = |found: char| found.is_ascii_alphanumeric() || "+/-_".contains(found);
        let tokens = text.split(|found| !is_base64(found)).map(str::to_owned);
        let mut secrets: Vec<String> = tokens.chain([encoded]).collect();
        let public = [self.kid.as_deref(), self.inner_kid()];
        secrets.retain(|secret| !public.contains(&Some(secret)));
        secrets
    }

    fn inner_kid(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Kid(kid) => Some(kid),
            Outcome::Chain(_) | Outcome::Refused(_) => None,
        }
    }
}

impl Holds {
    fn named(name: &str) -> Self {
        match name {
            "jwk" => Self::Jwk,
            "set" => Self::Set,
            "pem" => Self::Pem,
            "der" => Self::Der,
            "pkcs12" => Self::Pkcs12,
            "binary" => Self::Binary,
            "base64" => Self::Base64,
            "text" => Self::Text,
            other => panic!("{other} is no shape of a key"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        let beside = [
            ("a kid", self.kid.is_some()),
            ("a password", self.password.is_some()),
            ("certificates", self.certificate.is_some()),
        ];
        let beside = beside.iter().filter(|(_, is_given)| *is_given);
        let beside: Vec<_> = beside.map(|(what, _)| *what).collect();
        match beside.is_empty() {
            true => Ok(()),
            false => write!(f, " with {}", beside.join(" and ")),
        }
    }
}
