//! [`ShortText`]: text that is copied with the value that holds it, so that a clone writes to no shared count.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest text that is kept inline, in bytes: a UUID with a prefix fits.
const INLINE: usize = 46;

/// Immutable text. Up to 46 bytes are inline: a clone then neither allocates nor counts up. A longer text is
/// shared by its clones.
#[derive(Clone)]
pub(crate) enum ShortText {
    Inline { length: u8, bytes: [u8; INLINE] },
    Shared(Arc<str>),
}

impl ShortText {
    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Inline { length, bytes }
            }
            _ => Self::Shared(text.into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Inline { length, bytes } => {
                // Whole text was copied in, so both fallbacks are never taken.
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                str::from_utf8(text).unwrap_or_default()
            }
            Self::Shared(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Shared(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for ShortText {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ShortText {}

impl Hash for ShortText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_every_length_is_kept_whole() {
        for length in [0, 1, INLINE - 1, INLINE, INLINE + 1, 255] {
            let text = "å".repeat(length / 2) + &"x".repeat(length % 2);
            let short = ShortText::new(&text);
            assert_eq!(short.as_str(), text);
            assert_eq!(short, short.clone());
            assert_eq!(matches!(short, ShortText::Inline { .. }), length <= INLINE);
        }
        assert_ne!(ShortText::new("a"), ShortText::new("b"));
    }
}
