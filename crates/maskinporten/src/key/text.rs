//! The text of a key: which form it has, and base64 however it was written.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};

use super::{Number, pem};

/// The form a key's text has, told by its first characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextForm {
    Jwk,
    Pem,
    /// Base64, or no key.
    Other,
}

impl TextForm {
    fn of(text: &str) -> Self {
        let text = trim(text);
        if text.starts_with(['{', '[']) {
            Self::Jwk
        } else if text.contains(pem::OPENING) {
            Self::Pem
        } else {
            Self::Other
        }
    }
}

/// What editors and exporters leave around a text: white space, and a byte order mark.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|found: char| found.is_whitespace() || found == '\u{feff}')
}

/// The text of UTF-16 that opens with its byte order mark, as PowerShell and Notepad write it; `None`
/// for any other bytes, and where a half of a pair stands alone.
pub(crate) fn from_utf16(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let (pairs, rest) = bytes[2..].as_chunks();
    if !rest.is_empty() {
        return None;
    }
    // Three bytes of UTF-8 at most for each unit, so that no half-made copy is left behind.
    let mut text = Zeroizing::new(String::with_capacity(pairs.len() * 3));
    for found in char::decode_utf16(pairs.iter().copied().map(unit)) {
        text.push(found.ok()?);
    }
    Some(text)
}

/// Either alphabet reads as the standard one; a padding that is left out or cut short is no reason
/// to refuse a key, and neither are stray bits behind its last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) fn decode_base64(text: &str) -> Option<Number> {
    let mut clean = Zeroizing::new(String::with_capacity(text.len()));
    clean.extend(text.chars().filter_map(|found| match found {
        '-' => Some('+'),
        '_' => Some('/'),
        '\u{feff}' => None,
        found if found.is_whitespace() => None,
        found => Some(found),
    }));
    // Room for all of it, so that no half-decoded copy is left behind when it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(clean.len()));
    BASE64.decode_vec(clean.as_str(), &mut bytes).ok()?;
    Some(bytes)
}

/// A key as it lies in what was given.
pub(super) enum Shape {
    Jwk(Zeroizing<String>),
    Pem(Zeroizing<String>),
    Der(Number),
}

impl Shape {
    /// Tells bytes of any shape apart, and takes base64 off them.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let text = match Self::bare(bytes)? {
            Ok(shape) => return Ok(shape),
            Err(text) => text,
        };
        let decoded = decoded(text)?;
        match Self::bare(&decoded)? {
            Ok(shape) => Ok(shape),
            // JSON that does not open as JSON, most likely: its reader tells where it ends being one.
            Err(text) => Ok(Self::Jwk(Zeroizing::new(text.to_owned()))),
        }
    }

    /// What is no base64, or else the text that may be.
    fn bare(bytes: &[u8]) -> Result<Result<Self, &str>> {
        let binary = Binary::of(bytes);
        if let Some(Binary::Der) = binary {
            return Ok(Ok(Self::Der(Zeroizing::new(bytes.to_vec()))));
        }
        if let Some(binary) = binary {
            return Err(binary.refusal("the key is"));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Binary::Unknown.refusal("the key is"));
        };
        let text = trim(text);
        let copy = || Zeroizing::new(text.to_owned());
        Ok(match TextForm::of(text) {
            TextForm::Jwk => Ok(Self::Jwk(copy())),
            TextForm::Pem => Ok(Self::Pem(copy())),
            TextForm::Other => Err(text),
        })
    }
}

fn decoded(text: &str) -> Result<Number> {
    let refuse = |what: &'static str| Err(Error::key(what).with_advice(&advice::KEY_FORMAT));
    if text.is_empty() {
        return refuse("the key is blank");
    }
    decode_base64(text).map_or_else(|| refuse("the key is neither JWK, PEM nor base64"), Ok)
}

/// Bytes that are no text in UTF-8, by their first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    JavaKeystore,
    Pkcs12,
    Utf16,
    Der,
    Unknown,
}

impl Binary {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => Some(Self::JavaKeystore),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Self::Utf16),
            // The same without its mark: every key's text opens with two characters of ASCII.
            [0, 1..=0xff, 0, 1..=0xff, ..] | [1..=0xff, 0, 1..=0xff, 0, ..] => Some(Self::Utf16),
            // A SEQUENCE that opens with version 3 is a PKCS#12 (RFC 7292 §4).
            [0x30, ..] if contents(bytes).starts_with(&[2, 1, 3]) => Some(Self::Pkcs12),
            [0x30, 0x80..=0xff, ..] => Some(Self::Der),
            _ if std::str::from_utf8(bytes).is_err() => Some(Self::Unknown),
            _ => None,
        }
    }

    pub(super) fn refusal(self, subject: &str) -> Error {
        let (what, advice) = match self {
            Self::JavaKeystore => ("a Java keystore", &advice::JAVA_KEYSTORE),
            Self::Pkcs12 => ("a PKCS#12", &advice::PKCS12),
            Self::Utf16 => ("text in UTF-16", &advice::UTF16),
            Self::Der => ("bare DER", &advice::KEY_FORMAT),
            Self::Unknown => ("bytes that are no text and no DER", &advice::KEY_FORMAT),
        };
        Error::key(format!("{subject} {what}")).with_advice(advice)
    }
}

/// What follows tag and length (X.690 §8.1.3; the indefinite form too, which some keystores write).
fn contents(der: &[u8]) -> &[u8] {
    let length = match der.get(1) {
        Some(long @ 0x81..=0x84) => usize::from(long & 0x7f),
        _ => 0,
    };
    der.get(2 + length..).unwrap_or_default()
}
