//! One private key in PEM → the numbers of a key.
//!
//! It is read here rather than by a library for three reasons: what operators hold has `\n` as two
//! characters, indentation, or a certificate beside the key; every copy on the way is wiped; and a
//! block of another kind is refused by the name in its header. The DER inside is the libraries'.

use std::borrow::Cow;

use pkcs1::RsaPrivateKeyRef;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::{Error, Result};

use super::{Components, Number, decode_base64};

/// How every header opens (RFC 7468 §2).
pub(super) const OPENING: &str = "-----BEGIN ";

const DASHES: &str = "-----";

/// Longest header that is repeated in a message: names of blocks are shorter.
const SHOWN_HEADER: usize = 40;

/// rsaEncryption (RFC 8017, appendix C).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// id-RSASSA-PSS (RFC 8017, appendix C): such a key may not sign as RS256 does.
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

pub(super) fn read(pem: &str) -> Result<Components> {
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
    key.components()
}

/// Environment variables often carry line ends as the two characters `\n`.
fn with_line_ends(pem: &str) -> Zeroizing<String> {
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
struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

fn blocks(pem: &str) -> Result<Vec<Block<'_>>> {
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

    fn components(&self) -> Result<Components> {
        match self.label {
            // PKCS#1 marks encryption by a line within the block (RFC 1421 §4.6.1.1).
            "RSA PRIVATE KEY" if self.body.contains("Proc-Type:") => {
                encrypted("BEGIN RSA PRIVATE KEY with Proc-Type ENCRYPTED")
            }
            "RSA PRIVATE KEY" => from_pkcs1(&self.der()?),
            "PRIVATE KEY" => from_pkcs8(&self.der()?),
            "ENCRYPTED PRIVATE KEY" => encrypted("BEGIN ENCRYPTED PRIVATE KEY"),
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

    fn der(&self) -> Result<Number> {
        decode_base64(self.body).map_or_else(
            || refuse("the PEM's body is not base64", &advice::KEY_FORMAT),
            Ok,
        )
    }
}

fn from_pkcs8(der: &[u8]) -> Result<Components> {
    // The libraries' errors tell places in the DER, which would help nobody; they stay out.
    let Ok(info) = PrivateKeyInfoRef::try_from(der) else {
        return refuse(
            "the PEM is BEGIN PRIVATE KEY and what is in it is no PKCS#8",
            &advice::KEY_FORMAT,
        );
    };
    match info.algorithm.oid {
        RSA => from_pkcs1(info.private_key.as_bytes()),
        RSA_PSS => refuse(
            "the key is RSA-PSS: Maskinporten takes RS256, RS384 and RS512 only",
            &advice::NEW_KEY,
        ),
        other => {
            let message = format!("the key is not RSA but of algorithm {}", named(other));
            refuse(message, &advice::EC_KEY)
        }
    }
}

pub(super) fn from_pkcs1(der: &[u8]) -> Result<Components> {
    let Ok(key) = RsaPrivateKeyRef::try_from(der) else {
        return refuse("what is in the PEM is no RSA key", &advice::KEY_FORMAT);
    };
    if key.other_prime_infos.is_some() {
        return refuse("the key has more than two primes", &advice::NEW_KEY);
    }
    let number = |found: pkcs1::UintRef<'_>| Zeroizing::new(found.as_bytes().to_vec());
    Ok(Components {
        n: number(key.modulus),
        e: number(key.public_exponent),
        d: number(key.private_exponent),
        p: number(key.prime1),
        q: number(key.prime2),
        dp: number(key.exponent1),
        dq: number(key.exponent2),
        qi: number(key.coefficient),
    })
}

fn named(algorithm: ObjectIdentifier) -> String {
    match algorithm.to_string().as_str() {
        "1.2.840.10045.2.1" => "EC".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        other => other.to_owned(),
    }
}

fn no_private_key(blocks: &[Block<'_>]) -> Error {
    let labels: Vec<String> = blocks.iter().map(|block| shown(block.label)).collect();
    if labels.is_empty() {
        return Error::key("the key is no PEM").with_advice(&advice::KEY_FORMAT);
    }
    let message = format!(
        "the PEM holds no private key: it is BEGIN {}",
        labels.join(", BEGIN ")
    );
    Error::key(message).with_advice(&advice::PUBLIC_KEY)
}

fn encrypted<T>(header: &str) -> Result<T> {
    let message =
        format!("the PEM is encrypted ({header}): `openssl pkey -in key.pem` decrypts it");
    refuse(message, &advice::KEY_FORMAT)
}

fn refuse<T>(message: impl Into<Cow<'static, str>>, advice: &'static Advice) -> Result<T> {
    Err(Error::key(message).with_advice(advice))
}

fn shown(label: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ';
    if label.len() <= SHOWN_HEADER && label.bytes().all(plain) {
        label.to_owned()
    } else {
        "something else".to_owned()
    }
}
