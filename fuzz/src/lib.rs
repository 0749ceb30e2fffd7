//! What the targets share: a planted secret, and servers that answer what they are told.
//!
//! - Inputs are text as far as they can be, so that a corpus can be read and written by hand. Parts are
//!   divided by [`DIVIDER`].
//! - Wherever [`MARK`] stands in an input, [`CANARY`] is planted: the fuzzer chooses the places.

mod answer;
pub mod challenge;
mod life;
mod secrecy;
mod server;

pub use answer::Answer;
pub use life::assert_life;
pub use secrecy::{CANARY, MARK, holds_canary, planted, told, was_kept};
pub use server::{Fixed, Server, in_virtual_time};

/// Divides the parts of an input: the record separator of ASCII.
pub const DIVIDER: char = '\u{1e}';
