//! Text files that may hold secrets: bounded, and wiped when dropped.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::{Error, Result};
use crate::key;

/// Settings and keys are a few kilobytes; what is larger is another file.
const MAXIMUM_SIZE: u64 = 1024 * 1024;

/// Reads a settings file.
pub(super) fn settings(path: &Path) -> Result<Zeroizing<String>> {
    let refuse = |why: &str| {
        let message = format!("settings file {} cannot be used: {why}", path.display());
        Error::settings(message).with_advice(&advice::SETTINGS_FILE)
    };
    text(path, "settings file", &advice::SETTINGS_FILE)?.map_err(|_| refuse("it is not UTF-8 text"))
}

/// Reads a key file. A binary one is told by what it seems to be.
pub(super) fn key(path: &Path) -> Result<Zeroizing<String>> {
    text(path, "key file", &advice::KEY_FORMAT)?.map_err(|bytes| {
        let what = key::binary_form(&bytes);
        let message = format!("key file {} cannot be used: {what}", path.display());
        Error::key(message).with_advice(&advice::KEY_FORMAT)
    })
}

type Bytes = Zeroizing<Vec<u8>>;

fn text(
    path: &Path,
    what: &str,
    advice: &'static Advice,
) -> Result<Result<Zeroizing<String>, Bytes>> {
    let unreadable = |error: std::io::Error| {
        let message = format!("{what} {} cannot be read", path.display());
        Error::settings(message)
            .with_advice(advice)
            .with_source(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    // Room for all of it, so that no half-read copy is left behind when it grows.
    let size = file.metadata().map_err(unreadable)?.len().min(MAXIMUM_SIZE);
    let mut bytes = Bytes::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(MAXIMUM_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAXIMUM_SIZE {
        let message = format!("{what} {} is larger than 1 MiB", path.display());
        return Err(Error::settings(message).with_advice(advice));
    }
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(bytes),
    })
}
