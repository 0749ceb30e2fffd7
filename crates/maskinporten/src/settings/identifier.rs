//! Client ids and key identifiers: texts that are shown in messages and logs, and sent, so that a key in
//! their place is refused before either.

use crate::advice;
use crate::error::{Error, Result};
use crate::key::decode_base64;

/// Longer than any client id or key identifier that is known, and shorter than any private RSA key.
const MAXIMUM_LENGTH: usize = 256;

/// What is shown of a text that cannot be an identifier.
const UNUSABLE: &str = "[unusable]";

/// Why a text cannot be a client id or a key identifier.
fn fault(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if text.contains('{') || text.contains("-----BEGIN") || is_encoded_json(text) {
        return Some("a key or settings stand there");
    }
    if text.chars().count() > MAXIMUM_LENGTH {
        return Some("the text is longer than 256 characters, as a key is");
    }
    // A kid is any text that was registered, and people name keys in words.
    let is_spaced =
        text.contains(|found: char| found.is_control() || found.is_whitespace() && found != ' ');
    is_spaced.then_some("the text has a line break, a tab or a control character inside")
}

fn is_encoded_json(text: &str) -> bool {
    let is_json = |bytes: &[u8]| {
        let inside = bytes.trim_ascii_start().strip_prefix(b"{");
        inside.is_some_and(|inside| inside.trim_ascii_start().starts_with(b"\""))
    };
    decode_base64(text).is_some_and(|bytes| is_json(&bytes))
}

/// The identifier as messages may show it.
pub(crate) fn shown(text: &str) -> &str {
    match fault(text) {
        None => text,
        Some(_) => UNUSABLE,
    }
}

/// Refuses a client id or a key identifier that cannot be one, by the name it stands under. `key` is the name
/// of the key that is given with it, and its text: where that is short, the two may be swapped.
pub(super) fn check(what: &str, name: &str, text: &str, key: Option<(&str, &str)>) -> Result<()> {
    let Some(fault) = fault(text) else {
        return Ok(());
    };
    let mut message = format!("{name} holds no {what}: {fault}");
    if let Some((key, text)) = key
        && self::fault(text).is_none()
    {
        message.push_str(&format!("; {key} holds a short text: are they swapped?"));
    }
    Err(Error::settings(message).with_advice(&advice::IDENTIFIER))
}

/// A note for a place that lacks a key: that the client id's name holds what cannot be a client id. Empty where
/// it can.
pub(super) fn note(name: &str, text: &str) -> String {
    fault(text).map_or_else(String::new, |fault| {
        format!("; {name} holds no client id: {fault}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_as_they_are_written_are_shown() {
        for text in [
            "9b0d4c4e-6e33-4f44-9ef1-3ad0ff1a3b2c",
            "prod-fss:team:app",
            "our-client",
            " our-client\n",
            "digdir-TEST.8_fL-w",
            "Zm9vYmFy",
            "our key of 2026",
            "",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_cannot_be_an_identifier_is_not_shown() {
        let small = "eyJrdHkiOiJFQyIsImQiOiJodXNoIn0";
        let long = "x".repeat(MAXIMUM_LENGTH + 1);
        for (text, why) in [
            (r#"{"kty":"RSA","d":"hush"}"#, "a key or settings"),
            ("-----BEGIN PRIVATE KEY-----", "a key or settings"),
            (small, "a key or settings"),
            (&*long, "256 characters"),
            ("hush\thush", "a tab"),
            ("hush\nhush", "line break"),
            ("hush\u{0}", "control character"),
        ] {
            assert_eq!(shown(text), UNUSABLE, "{text}");
            let error = check("kid", "MASKINPORTEN_KID", text, None).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }
}
