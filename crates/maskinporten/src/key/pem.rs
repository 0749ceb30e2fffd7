//! One private key in PEM → the numbers of a key.
//!
//! It is read here rather than by a library for three reasons: what operators hold has `\n` as two
//! characters, indentation, or a certificate beside the key; every copy on the way is wiped; and a
//! block of another kind is refused by the name in its header. The DER inside is for `der.rs`.

use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};

use super::der::{self, refuse};
use super::{Components, Number, decode_base64, encrypted};

/// How every header opens (RFC 7468 §2).
pub(super) const OPENING: &str = "-----BEGIN ";

const DASHES: &str = "-----";

/// Longest header that is repeated in a message: names of blocks are shorter.
const SHOWN_HEADER: usize = 40;

/// Most kinds of blocks that a message names where there is no key among them.
const SHOWN_KINDS: usize = 3;

pub(super) fn read(pem: &str, password: Option<&str>) -> Result<Components> {
    let pem = with_line_ends(pem);
    let blocks = blocks(&pem)?;
    let mut keys = blocks.iter().filter(|block| block.is_private_key());
    let Some(key) = keys.next() else {
        return Err(no_private_key(&blocks));
    };
    if keys.next().is_some() {
        return refuse(
            "the PEM holds more than one private key: give one",
            &advice::KEY_FORMAT,
        );
    }
    key.components(password)
}

/// Environment variables often carry line ends as the two characters `\n`.
pub(super) fn with_line_ends(pem: &str) -> Zeroizing<String> {
    // Neither character can stand in a PEM's base64, so both forms can be read at once.
    let mut text = Zeroizing::new(String::with_capacity(pem.len()));
    let mut rest = pem;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        text.push('\n');
        rest = after.strip_prefix(['n', 'r']).unwrap_or(after);
    }
    text.push_str(rest);
    text
}

/// One block: what stands between BEGIN and END.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    body: &'a str,
}

pub(super) fn blocks(pem: &str) -> Result<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some((_, opened)) = rest.split_once(OPENING) {
        let Some((label, after)) = opened.split_once(DASHES) else {
            return refuse("the PEM's header is cut short", &advice::KEY_FORMAT);
        };
        let end = format!("-----END {label}{DASHES}");
        let Some((body, after)) = after.split_once(end.as_str()) else {
            let message = format!("the PEM has BEGIN {} without its END", shown(label));
            return refuse(message, &advice::KEY_FORMAT);
        };
        blocks.push(Block { label, body });
        rest = after;
    }
    Ok(blocks)
}

impl Block<'_> {
    fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    fn components(&self, password: Option<&str>) -> Result<Components> {
        match self.label {
            // PKCS#1 marks encryption by a line within the block (RFC 1421 §4.6.1.1).
            "RSA PRIVATE KEY" if self.body.contains("Proc-Type:") => Err(encrypted::foreign(
                "the way PKCS#1 was (BEGIN RSA PRIVATE KEY with Proc-Type ENCRYPTED)",
            )),
            "RSA PRIVATE KEY" => der::from_pkcs1(&self.der()?),
            "PRIVATE KEY" => der::from_pkcs8(&self.der()?),
            "ENCRYPTED PRIVATE KEY" => der::from_encrypted(&self.der()?, password),
            "EC PRIVATE KEY" => refuse(
                "the PEM is BEGIN EC PRIVATE KEY: Maskinporten takes RSA keys only",
                &advice::EC_KEY,
            ),
            other => {
                let message = format!("the PEM is BEGIN {}, not PKCS#8 or PKCS#1", shown(other));
                refuse(message, &advice::KEY_FORMAT)
            }
        }
    }

    pub(super) fn der(&self) -> Result<Number> {
        decode_base64(self.body).map_or_else(
            || refuse("the PEM's body is not base64", &advice::KEY_FORMAT),
            Ok,
        )
    }
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
    if label.len() <= SHOWN_HEADER && label.bytes().all(plain) {
        label.to_owned()
    } else {
        "something else".to_owned()
    }
}
