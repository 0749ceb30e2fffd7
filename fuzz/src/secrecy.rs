//! A secret that is planted, and looked for.

use std::error::Error as _;

use maskinporten::Error;

/// What is planted. Its characters are plain in JSON, in base64 and in a header, so that it gets as far
/// as a secret would; it is longer than any name that an error repeats.
pub const CANARY: &str = "hush7d41e09fhush";

/// Where it is planted: the substitute character of ASCII, which stands in no text of ours.
pub const MARK: char = '\u{1a}';

/// The text with the secret in it.
pub fn planted(text: &str) -> String {
    text.replace(MARK, CANARY)
}

/// Whether the secret stands in an input itself, where nobody can tell what was planted: the fuzzer
/// learns it from the comparisons it watches.
pub fn holds_canary(input: &[u8]) -> bool {
    let mut windows = input.windows(CANARY.len());
    windows.any(|window| window == CANARY.as_bytes())
}

/// Everything that an error tells anybody.
pub fn told(error: &Error) -> String {
    let mut told = format!("{error}\n{error:#?}\n{error:?}\n{:?}", error.endpoint());
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&format!("\n{error}\n{error:?}"));
        cause = error.source();
    }
    told
}

/// Checks that an error keeps the secret.
///
/// # Panics
///
/// Where it does not.
#[track_caller]
pub fn was_kept(error: &Error) {
    let told = told(error);
    assert!(!told.contains(CANARY), "the secret is told: {told}");
}
