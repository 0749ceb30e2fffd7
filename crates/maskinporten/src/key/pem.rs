//! One private key in PEM → the numbers of a key.
//!
//! - Only what stands between BEGIN and END counts (RFC 7468 §2): the text around a block may be of any
//!   encoding, such as the Latin-1 of a `friendlyName` that `openssl pkcs12` prints above its key.
//! - It is read here rather than by a library for three reasons: what operators hold has `\n` as two
//!   characters, indentation, or a certificate next to the key; every copy on the way is wiped; and a
//!   block of another kind is refused by the name in its header. The DER inside is for `der.rs`.

use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};

use super::der::{self, refuse};
use super::encrypted::Container;
use super::{Components, Number, decode_base64};

/// How every header opens (RFC 7468 §2).
const OPENING: &[u8] = b"-----BEGIN ";

const DASHES: &[u8] = b"-----";

/// Longest label of a block that is taken for one: those in use are half as long.
const LONGEST_LABEL: usize = 64;

/// Longest label that is repeated in a message: names of blocks are shorter.
const SHOWN_LABEL: usize = 40;

/// Most kinds of blocks that a message names where there is no key among them.
const SHOWN_KINDS: usize = 3;

/// Whether a block opens anywhere.
pub(super) fn is_in(bytes: &[u8]) -> bool {
    find(bytes, OPENING).is_some()
}

pub(super) fn read(pem: &[u8], password: Option<&str>) -> Result<Components> {
    let blocks = blocks(pem)?;
    let mut keys = blocks.iter().filter(|block| block.is_private_key());
    let Some(key) = keys.next() else {
        return Err(no_private_key(&blocks));
    };
    // The same one twice is what joining two exports gives.
    let is_another = |other: &Block<'_>| other.der().ok() != key.der().ok();
    if keys.any(is_another) {
        return refuse(
            "the PEM holds more than one private key: give one",
            &advice::KEY_FORMAT,
        );
    }
    key.components(password)
}

/// The blocks of a PEM without the text around them, for where only text can be kept; `None` for what
/// holds no whole block.
pub(crate) fn blocks_alone(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let blocks = blocks(bytes).ok()?;
    let length = |block: &Block<'_>| 2 * (block.label.len() + 18) + block.body.len();
    // Room for all of it, so that no half-made copy is left behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(blocks.iter().map(length).sum()));
    for Block { label, body } in &blocks {
        let body = std::str::from_utf8(body).ok()?;
        for part in [
            "-----BEGIN ",
            label,
            "-----",
            body,
            "-----END ",
            label,
            "-----\n",
        ] {
            text.push_str(part);
        }
    }
    (!blocks.is_empty()).then_some(text)
}

/// One block: what stands between BEGIN and END.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    body: &'a [u8],
}

pub(super) fn blocks(pem: &[u8]) -> Result<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut rest = pem;
    let mut is_cut_short = false;
    while let Some(at) = find(rest, OPENING) {
        let opened = &rest[at + OPENING.len()..];
        let Some(length) = find(opened, DASHES) else {
            is_cut_short = true;
            break;
        };
        // What is no label is text that happens to look like a header.
        let Some(label) = label(&opened[..length]) else {
            rest = opened;
            continue;
        };
        let after = &opened[length + DASHES.len()..];
        // A header that text mentions has other text behind it, and a block that is cut short has base64.
        if let Some(next) = find(after, OPENING)
            && find(&after[..next], b"-----END ").is_none()
            && decode(&after[..next]).is_none()
        {
            rest = after;
            continue;
        }
        let end = format!("-----END {label}-----");
        let Some(length) = find(after, end.as_bytes()) else {
            let message = format!("the PEM has BEGIN {} without its END", shown(label));
            return refuse(message, &advice::KEY_FORMAT);
        };
        blocks.push(Block {
            label,
            body: &after[..length],
        });
        rest = &after[length + end.len()..];
    }
    if blocks.is_empty() && is_cut_short {
        return refuse("the PEM's header is cut short", &advice::KEY_FORMAT);
    }
    Ok(blocks)
}

fn label(bytes: &[u8]) -> Option<&str> {
    let is_label = |byte: &u8| *byte == b' ' || byte.is_ascii_graphic();
    let label = std::str::from_utf8(bytes).ok()?;
    (label.len() <= LONGEST_LABEL && bytes.iter().all(is_label)).then_some(label)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

impl Block<'_> {
    fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    fn components(&self, password: Option<&str>) -> Result<Components> {
        match self.label {
            // PKCS#1 marks encryption by a line within the block (RFC 1421 §4.6.1.1).
            "RSA PRIVATE KEY" if find(self.body, b"Proc-Type:").is_some() => {
                let how = "the way PKCS#1 was (BEGIN RSA PRIVATE KEY with Proc-Type ENCRYPTED)";
                Err(Container::pkcs8().foreign(how))
            }
            // Tools mix the three up, and what is inside tells.
            "RSA PRIVATE KEY" | "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                der::read(&self.der()?, password)
            }
            "EC PRIVATE KEY" => refuse(
                "the PEM is BEGIN EC PRIVATE KEY: Maskinporten takes RSA keys only",
                &advice::EC_KEY,
            ),
            "OPENSSH PRIVATE KEY" => refuse(
                "the PEM is BEGIN OPENSSH PRIVATE KEY, not PKCS#8 or PKCS#1",
                &advice::OPENSSH_KEY,
            ),
            other => {
                let message = format!("the PEM is BEGIN {}, not PKCS#8 or PKCS#1", shown(other));
                refuse(message, &advice::KEY_FORMAT)
            }
        }
    }

    pub(super) fn der(&self) -> Result<Number> {
        decode(self.body).map_or_else(
            || refuse("the PEM's body is not base64", &advice::KEY_FORMAT),
            Ok,
        )
    }
}

fn decode(body: &[u8]) -> Option<Number> {
    let text = std::str::from_utf8(body).ok()?;
    decode_base64(&with_line_ends(text))
}

/// Environment variables often carry line ends as the two characters `\n`.
fn with_line_ends(body: &str) -> Zeroizing<String> {
    // Neither character can stand in base64, so both forms can be read at once.
    let mut text = Zeroizing::new(String::with_capacity(body.len()));
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        text.push('\n');
        rest = after.strip_prefix(['n', 'r']).unwrap_or(after);
    }
    text.push_str(rest);
    text
}

fn no_private_key(blocks: &[Block<'_>]) -> Error {
    if blocks.is_empty() {
        return Error::key("the key is no PEM").with_advice(&advice::KEY_FORMAT);
    }
    // A bundle has a hundred blocks of one kind.
    let mut kinds: Vec<String> = Vec::new();
    let mut others = "";
    for block in blocks {
        let kind = shown(block.label);
        if kinds.contains(&kind) {
            continue;
        }
        if kinds.len() == SHOWN_KINDS {
            others = " and others";
            break;
        }
        kinds.push(kind);
    }
    let kinds = kinds.join(", BEGIN ");
    let message = format!("the PEM holds no private key: it is BEGIN {kinds}{others}");
    Error::key(message).with_advice(&advice::PUBLIC_KEY)
}

fn shown(label: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ';
    if label.len() <= SHOWN_LABEL && label.bytes().all(plain) {
        label.to_owned()
    } else {
        "something else".to_owned()
    }
}
