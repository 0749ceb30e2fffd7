//! What is given in place of a key and is none: recognised, so that the message says what it is.
//!
//! Nothing of it is read, and of its text no more is repeated than names of members that are known.

use serde_json::value::RawValue;

use crate::advice::{self, Advice};
use crate::error::Error;

use super::members::{Fault, Given, Member, Members};
use super::pem;
use super::text::{Binary, decode_base64};

/// Names under which tools, vaults and settings keep a key. No other name is repeated: it may be a secret
/// in the wrong place.
const KNOWN_NAMES: [&str; 20] = [
    "data",
    "EncodedJwk",
    "EncodedX509",
    "items",
    "jwk",
    "JwkBase64",
    "jwks",
    "key",
    "keystore",
    "MASKINPORTEN_CLIENT_JWK",
    "Maskinporten",
    "MaskinportenSettings",
    "MaskinportenSettings:Jwk",
    "MaskinportenSettings:JwkBase64",
    "pem",
    "private_key",
    "privateKey",
    "secret",
    "SecretString",
    "value",
];

/// How deep a key is looked for in JSON: a list of secrets has it four levels down.
const DEEPEST: usize = 4;

/// Most entries of an array that are looked into.
const SEARCHED_ENTRIES: usize = 16;

/// Names that settings open with, alone or before those of their members.
const SETTINGS: [&str; 4] = [
    "MaskinportenSettings",
    "Maskinporten",
    "Authority",
    "ClientId",
];

type Recognise = fn(&str) -> bool;

/// Texts that are no key, by how they are recognised; the more telling first.
const TEXTS: &[(Recognise, &str, &Advice)] = &[
    (
        |text| text.contains("<RSAKeyValue"),
        "the key is XML, as .NET's `ToXmlString` writes it",
        &advice::KEY_IN_XML,
    ),
    (
        |text| text.starts_with('<'),
        "the key is an HTML or XML page",
        &advice::KEY_FORMAT,
    ),
    (
        |text| text.starts_with("b'") || text.starts_with("b\""),
        "the key is the `repr` of Python bytes",
        &advice::KEY_IN_PYTHON,
    ),
    (
        |text| {
            is_after(
                text.strip_prefix('[').map_or(text, str::trim_start),
                '{',
                '\'',
            )
        },
        "the key is the `repr` of a Python dict",
        &advice::KEY_IN_PYTHON,
    ),
    (
        |text| text.starts_with("@Microsoft.KeyVault("),
        "the key is a reference to Key Vault that was not resolved",
        &advice::KEY_VAULT_REFERENCE,
    ),
    (
        |text| {
            ["&quot;", "&#34;", "&#x22;", "&#39;", "&amp;"]
                .iter()
                .any(|found| text.contains(found))
        },
        "the key is escaped for HTML",
        &advice::KEY_ESCAPED,
    ),
    (
        |text| is_after(text, '{', '\\'),
        "the key is JSON whose quotes are escaped (`\\\"`)",
        &advice::KEY_ESCAPED,
    ),
    (
        is_url_escaped,
        "the key is escaped for a URL",
        &advice::KEY_ESCAPED,
    ),
    (
        |text| text.starts_with(['\'', '`']) && text.len() > 1 && text.ends_with(['\'', '`']),
        "the key stands in quotes",
        &advice::KEY_IN_QUOTES,
    ),
    (
        is_assignment,
        "the key is a line of an env file, with its name",
        &advice::KEY_IN_QUOTES,
    ),
    (
        is_reference,
        "the key is a reference to a variable that was not replaced",
        &advice::KEY_REFERENCE,
    ),
    (
        |text| text.to_ascii_uppercase().contains("PRIVATE KEY") && !pem::is_in(text.as_bytes()),
        "the key resembles a PEM whose first line is not `-----BEGIN … KEY-----`",
        &advice::KEY_FORMAT,
    ),
    (
        |text| text.starts_with("PuTTY-User-Key-File"),
        "the key is PuTTY's",
        &advice::KEY_FORMAT,
    ),
    (
        |text| text.starts_with("ssh-rsa "),
        "the key is the public half of an SSH key",
        &advice::PUBLIC_KEY,
    ),
    (
        is_path,
        "the key is the path or the address of a file",
        &advice::KEY_IS_A_PATH,
    ),
];

/// What a text is that is no key, where it is known.
pub(super) fn text(text: &str) -> Option<Error> {
    let (_, message, advice) = TEXTS.iter().find(|(is_it, ..)| is_it(text))?;
    Some(Error::key(*message).with_advice(advice))
}

/// Base64 within base64.
pub(super) fn twice_in_base64() -> Error {
    Error::key("the key is base64 of base64").with_advice(&advice::KEY_ESCAPED)
}

/// A JSON string within a JSON string.
pub(super) fn twice_quoted() -> Error {
    Error::key("the key is a JSON string within a JSON string").with_advice(&advice::KEY_ESCAPED)
}

/// Whether an error says no more than that there is no key.
pub(super) fn is_unknown(error: &Error) -> bool {
    error
        .advice()
        .is_some_and(|found| std::ptr::eq(found, &advice::KEY_FORMAT))
}

/// Whether an error says that a key was escaped or encoded once too often.
pub(super) fn is_escaped(error: &Error) -> bool {
    error
        .advice()
        .is_some_and(|found| std::ptr::eq(found, &advice::KEY_ESCAPED))
}

/// What opens like JSON and is none.
pub(super) fn not_json(json: &str, fault: Fault) -> Error {
    text(json).unwrap_or_else(|| {
        let message = format!("the key is no JWK: it is {fault}");
        Error::key(message).with_advice(&advice::KEY_FORMAT)
    })
}

/// What JSON is that has none of the members of a JWK; `None` for what may be meant as one.
pub(super) fn other_json(members: &Members<'_>) -> Option<Error> {
    let marks = [
        "kty", "n", "e", "d", "p", "q", "k", "crv", "kid", "alg", "use",
    ];
    if marks.iter().any(|mark| members.has(mark)) {
        return None;
    }
    // What has a private part before what has none: many files have both halves.
    let held = [Half::Private, Half::Either].into_iter();
    let mut held = held.filter_map(|half| held_inside(members, half, DEEPEST));
    if let Some((path, held)) = held.next() {
        let path = path.join(":");
        return Some(match held {
            Held::Key(what) => {
                let message = format!("the key is JSON that holds {what} under `{path}`");
                Error::key(message).with_advice(&advice::KEY_INSIDE_JSON)
            }
            Held::Keystore(what) => {
                let message = format!("the key is JSON that holds {what} in base64 under `{path}`");
                Error::key(message).with_advice(&advice::KEYSTORE_IN_JSON)
            }
        });
    }
    let is_settings = |(name, _): (&str, Member<'_>)| {
        let section = name.split([':', '_', '-']).next().unwrap_or_default();
        SETTINGS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(section))
    };
    if members.iter().any(is_settings) {
        let message = "the key is a settings file";
        return Some(Error::key(message).with_advice(&advice::KEY_INSIDE_JSON));
    }
    let message = "the key is JSON without any member of a JWK";
    Some(Error::key(message).with_advice(&advice::KEY_FORMAT))
}

/// What a member of other JSON holds.
enum Held {
    Key(&'static str),
    Keystore(&'static str),
}

/// Which keys are looked for.
#[derive(Clone, Copy)]
enum Half {
    Private,
    Either,
}

impl Half {
    fn is_jwk(self, members: &Members<'_>) -> bool {
        match self {
            Self::Private => members.has("kty") && members.has("d"),
            Self::Either => members.has("kty"),
        }
    }
}

/// The first member that holds a key, by its path.
fn held_inside(members: &Members<'_>, half: Half, deep: usize) -> Option<(Vec<String>, Held)> {
    (1..)
        .zip(members.iter())
        .find_map(|(number, (name, member))| {
            let (mut path, held) = match member {
                Member::Text(text) => held_in_text(&text, half, deep)?,
                Member::Object(json) => held_in_object(json, half, deep)?,
                Member::Array(json) => held_in_array(json, half, deep)?,
                Member::Null | Member::Other(_) => return None,
            };
            path.insert(0, named(name, number));
            Some((path, held))
        })
}

fn held_in_object(json: &str, half: Half, deep: usize) -> Option<(Vec<String>, Held)> {
    let inner = Members::parse(json).ok()?;
    if half.is_jwk(&inner) {
        return Some((Vec::new(), Held::Key("a JWK")));
    }
    if let Given::One(Member::Array(_), _) = inner.given("keys") {
        return Some((Vec::new(), Held::Key("a JWK set")));
    }
    if deep > 1 {
        held_inside(&inner, half, deep - 1)
    } else {
        None
    }
}

fn held_in_array(json: &str, half: Half, deep: usize) -> Option<(Vec<String>, Held)> {
    let entries: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let mut entries = (1..).zip(entries).take(SEARCHED_ENTRIES);
    entries.find_map(|(number, entry)| {
        let (mut path, held) = held_in_object(entry.get(), half, deep.checked_sub(1)?)?;
        path.insert(0, format!("entry {number}"));
        Some((path, held))
    })
}

fn held_in_text(text: &str, half: Half, deep: usize) -> Option<(Vec<String>, Held)> {
    let found = |held| Some((Vec::new(), held));
    if pem::is_in(text.as_bytes()) {
        return found(Held::Key("a PEM"));
    }
    if let Ok(inner) = Members::parse(text) {
        if half.is_jwk(&inner) {
            return found(Held::Key("a JWK as text"));
        }
        return if deep > 1 {
            held_inside(&inner, half, deep - 1)
        } else {
            None
        };
    }
    let bytes = decode_base64(text)?;
    match Binary::of(&bytes) {
        Some(Binary::Pkcs12) => return found(Held::Keystore("a PKCS#12")),
        Some(Binary::JavaKeystore) => return found(Held::Keystore("a Java keystore")),
        _ => {}
    }
    let inner = Members::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
    half.is_jwk(&inner)
        .then_some((Vec::new(), Held::Key("a JWK in base64")))
}

fn named(name: &str, number: usize) -> String {
    let is_known = KNOWN_NAMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name));
    if is_known {
        name.to_owned()
    } else {
        format!("member {number}")
    }
}

/// Whether a text opens with one character and has another next, white space aside.
fn is_after(text: &str, first: char, next: char) -> bool {
    text.strip_prefix(first)
        .is_some_and(|rest| rest.trim_start().starts_with(next))
}

/// `%7B`, `%22`: three characters of which no form of a key has the first.
fn is_url_escaped(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(3).any(|found| {
        found[0] == b'%' && found[1].is_ascii_hexdigit() && found[2].is_ascii_hexdigit()
    })
}

/// `NAME={"kty"…`, `NAME='…`: base64 has no more than two signs of equality, at its end.
fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else {
        return false;
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    !name.is_empty()
        && name.bytes().all(is_name)
        && value.trim_start().starts_with(['{', '"', '\'', '-'])
}

/// `${NAME}`, `$NAME`, `%NAME%`, `{{ name }}`, `$(NAME)`: what a shell or a template was to replace.
fn is_reference(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-: ".contains(&byte);
    let inner = [
        ("${", "}"),
        ("$(", ")"),
        ("{{", "}}"),
        ("#{", "}#"),
        ("%", "%"),
        ("$", ""),
    ];
    inner.iter().any(|(start, end)| {
        let inner = text
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end));
        inner.is_some_and(|name| !name.is_empty() && name.bytes().all(is_name))
    })
}

fn is_path(text: &str) -> bool {
    let drive = |text: &str| matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    let starts = [
        "/",
        "./",
        "../",
        "~/",
        "@/",
        "file:",
        "classpath:",
        "http://",
        "https://",
    ];
    let ends = [
        ".pem", ".jwk", ".json", ".key", ".p12", ".pfx", ".jks", ".der",
    ];
    let opens = starts.iter().any(|start| text.starts_with(start));
    let closes = ends.iter().any(|end| text.ends_with(end));
    (opens || closes || drive(text)) && !text.contains(['\n', '{'])
}
