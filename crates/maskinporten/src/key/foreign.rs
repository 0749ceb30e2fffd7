//! What is given in place of a key and is none: recognised, so that the message says what it is.
//!
//! Nothing of it is read, and of its text no more is repeated than names of members that are known.

use crate::advice::{self, Advice};
use crate::error::Error;

use super::members::{Fault, Member, Members};
use super::pem;
use super::text::{Binary, decode_base64};

/// Names under which tools, vaults and settings keep a key. No other name is repeated: it may be a secret
/// in the wrong place.
const KNOWN_NAMES: [&str; 18] = [
    "data",
    "EncodedJwk",
    "EncodedX509",
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
    "SecretString",
    "value",
];

/// How deep a key is looked for in JSON: settings have it under a section and a name.
const DEEPEST: usize = 3;

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
            ["&quot;", "&#34;", "&#x22;", "&#39;"]
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
        "the key is the path of a file",
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
    if let Some((path, held)) = held_inside(members, DEEPEST) {
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
    let message = "the key is JSON without any member of a JWK";
    Some(Error::key(message).with_advice(&advice::KEY_FORMAT))
}

/// What a member of other JSON holds.
enum Held {
    Key(&'static str),
    Keystore(&'static str),
}

/// The first member that holds a key, by its path.
fn held_inside(members: &Members<'_>, deep: usize) -> Option<(Vec<String>, Held)> {
    (1..)
        .zip(members.iter())
        .find_map(|(number, (name, member))| {
            let (mut path, held) = match member {
                Member::Text(text) => (Vec::new(), held_in_text(&text)?),
                Member::Object(json) => {
                    let inner = Members::parse(json).ok()?;
                    if inner.has("kty") {
                        (Vec::new(), Held::Key("a JWK"))
                    } else if deep > 1 {
                        held_inside(&inner, deep - 1)?
                    } else {
                        return None;
                    }
                }
                Member::Array(_) | Member::Null | Member::Other(_) => return None,
            };
            path.insert(0, named(name, number));
            Some((path, held))
        })
}

fn held_in_text(text: &str) -> Option<Held> {
    let is_jwk = |text: &str| Members::parse(text).is_ok_and(|members| members.has("kty"));
    if pem::is_in(text.as_bytes()) {
        return Some(Held::Key("a PEM"));
    }
    if is_jwk(text) {
        return Some(Held::Key("a JWK as text"));
    }
    let bytes = decode_base64(text)?;
    match Binary::of(&bytes) {
        Some(Binary::Pkcs12) => return Some(Held::Keystore("a PKCS#12")),
        Some(Binary::JavaKeystore) => return Some(Held::Keystore("a Java keystore")),
        _ => {}
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    is_jwk(text).then_some(Held::Key("a JWK in base64"))
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

fn is_path(text: &str) -> bool {
    let drive = |text: &str| matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    let opens = ["/", "./", "../", "~/", "file:"]
        .iter()
        .any(|start| text.starts_with(start));
    (opens || drive(text)) && !text.contains('\n')
}
