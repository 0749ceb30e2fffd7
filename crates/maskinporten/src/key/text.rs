//! The text of a key: which form it has, and base64 and UTF-16 however they were written.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};

use super::members::Members;
use super::{Number, foreign, pem};

/// What editors and exporters leave around a text: white space, and a byte order mark.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|found: char| found.is_whitespace() || found == '\u{feff}')
}

/// The text of UTF-16 that opens with its byte order mark, as PowerShell and Notepad write it; `None`
/// for any other bytes, and where a half of a pair stands alone.
pub(crate) fn from_utf16(bytes: &[u8]) -> Option<Zeroizing<String>> {
    // Text in UTF-16 has no such run of bytes: it is a PEM behind bytes that look like the mark.
    if pem::is_in(bytes) {
        return None;
    }
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

pub(crate) fn decode_base64(text: &str) -> Option<Number> {
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
    Pem(Number),
    Der(Number),
    Pkcs12(Number),
}

/// What was taken off so far: each layer once, so that no input is unpacked without end.
#[derive(Clone, Copy, Default)]
struct Layers {
    utf16: bool,
    quoted: bool,
    base64: bool,
}

impl Shape {
    /// Tells bytes of any shape apart, and takes off UTF-16, a JSON string and base64.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        Self::below(bytes, Layers::default())
    }

    fn below(bytes: &[u8], layers: Layers) -> Result<Self> {
        if !layers.utf16
            && let Some(text) = from_utf16(bytes)
        {
            let utf16 = true;
            return Self::below(text.as_bytes(), Layers { utf16, ..layers });
        }
        let copy = || Zeroizing::new(bytes.to_vec());
        let text = std::str::from_utf8(bytes).ok().map(trim);
        let json = text.filter(|text| text.starts_with(['{', '[', '"']));
        let json = json.filter(|json| serde_json::from_str::<&RawValue>(json).is_ok());
        // A PEM counts between any bytes, unless it is a member of JSON.
        if json.is_none() && pem::is_in(bytes) {
            return Ok(Self::Pem(copy()));
        }
        match Binary::of(bytes) {
            Some(Binary::Der) => return Ok(Self::Der(copy())),
            Some(Binary::Pkcs12) => return Ok(Self::Pkcs12(copy())),
            Some(other) => return Err(other.refusal("the key is")),
            None => {}
        }
        let text = text.unwrap_or_default();
        if let Some(quoted) = json.filter(|json| json.starts_with('"') && !layers.quoted)
            && let Ok(inner) = serde_json::from_str::<String>(quoted)
        {
            let (inner, quoted) = (Zeroizing::new(inner), true);
            return Self::below(inner.as_bytes(), Layers { quoted, ..layers });
        }
        if json.is_some() && text.starts_with('"') {
            return Err(foreign::twice_quoted());
        }
        if text.starts_with(['{', '[']) {
            return Ok(Self::Jwk(Zeroizing::new(text.to_owned())));
        }
        if text.is_empty() {
            return Err(Error::key("the key is blank").with_advice(&advice::KEY_FORMAT));
        }
        Self::in_base64(text, layers)
    }

    fn in_base64(text: &str, layers: Layers) -> Result<Self> {
        let unknown = || {
            let message = "the key is neither JWK, PEM nor DER, nor base64 of one";
            Error::key(message).with_advice(&advice::KEY_FORMAT)
        };
        let Some(decoded) = decode_base64(text) else {
            return Err(foreign::text(text).unwrap_or_else(unknown));
        };
        let inner = Self::below(
            &decoded,
            Layers {
                base64: true,
                ..layers
            },
        );
        match inner {
            Err(error) if foreign::is_escaped(&error) => Err(error),
            // JSON that does not open as JSON, most likely: its reader tells where it ends being one.
            Err(_) if layers.base64 => Ok(Self::Jwk(Zeroizing::new(text.to_owned()))),
            Ok(Self::Jwk(json)) if layers.base64 && Members::parse(&json).is_err() => {
                Ok(Self::Jwk(Zeroizing::new(text.to_owned())))
            }
            Ok(_) if layers.base64 => Err(foreign::twice_in_base64()),
            Ok(shape) => Ok(shape),
            // A path, and many a word, is base64 by its letters.
            Err(error) if foreign::is_unknown(&error) => {
                Err(foreign::text(text).unwrap_or_else(unknown))
            }
            Err(error) => Err(error),
        }
    }
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
