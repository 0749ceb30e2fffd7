//! Chance: an assertion's `jti`, and the spread of waits.

use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::error::{Error, Result};

/// A random UUID, version 4 (RFC 9562 §5.4): 122 bits nobody else draws.
pub(crate) fn uuid() -> Result<String> {
    let mut bytes = [0_u8; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Err(Error::key("the system gave no random bytes"));
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// A number from 0 up to, but not, 1, to spread waits by. Nothing secret hangs on it: it comes from
/// the seeds of the standard library's hash maps, not from the generator that keys come from.
pub(crate) fn unit() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    // As many bits as a float holds exactly.
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uuids_have_the_shape_of_version_4_and_differ() {
        let drawn: HashSet<String> = (0..10_000).map(|_| uuid().unwrap()).collect();
        assert_eq!(drawn.len(), 10_000);
        for text in drawn {
            assert_eq!(text.len(), 36);
            assert_eq!(&text[14..15], "4");
            assert!("89ab".contains(&text[19..20]));
        }
    }

    #[test]
    fn units_stay_below_one() {
        assert!((0..10_000).map(|_| unit()).all(|u| (0.0..1.0).contains(&u)));
    }
}
