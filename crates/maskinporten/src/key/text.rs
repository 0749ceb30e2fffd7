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
pub(crate) enum TextForm {
    Jwk,
    Pem,
    /// Base64, or no key.
    Other,
}

impl TextForm {
    pub(crate) fn of(text: &str) -> Self {
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

pub(super) fn decode_text(text: &str) -> Result<Zeroizing<String>> {
    let refuse = |what: &'static str| Err(Error::key(what).with_advice(&advice::KEY_FORMAT));
    if text.is_empty() {
        return refuse("the key is blank");
    }
    let Some(bytes) = decode_base64(text) else {
        return refuse("the key is neither JWK, PEM nor base64");
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => refuse(binary_form(&bytes)),
    }
}

/// What bytes that are no text seem to be, for whoever gave them as a key.
pub(crate) fn binary_form(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => {
            "the key is a Java keystore, not a JWK or PEM"
        }
        // A SEQUENCE that opens with version 3 is a PKCS#12 (RFC 7292 §4), with 0 a private key.
        [0x30, 0x82, _, _, 0x02, 0x01, 0x03, ..] => "the key is a PKCS#12, not a JWK or PEM",
        [0x30, 0x82, _, _, 0x02, 0x01, 0x00, ..] => {
            "the key is bare DER: `openssl pkey -inform DER` turns it into a PEM"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the key is text in UTF-16: save it as UTF-8",
        _ => "the key is neither JWK nor PEM: its bytes are no text",
    }
}
