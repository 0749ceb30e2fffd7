//! Files that may hold secrets: bounded, wiped when dropped, and told of where others may read them.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::engine::{Engine as _, general_purpose::STANDARD};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::{Error, Result};
use crate::key::{blocks_alone, from_utf16, trim};
use crate::secret::Secret;

/// Settings and keys are a few kilobytes; what is larger is another file.
const MAXIMUM_SIZE: u64 = 1024 * 1024;

/// What Kubernetes calls the current state of a volume: a link that it swaps when the volume changes.
pub(super) const VOLUME: &str = "..data";

/// Longer than any path in use, and shorter than any key in one line.
const LONGEST_PATH: usize = 1024;

/// The path that a variable names. Paths stand in messages and in the log, so what is none, but a key or
/// settings that were put there in its place, is refused and not repeated.
pub(super) fn named<'a>(variable: &str, value: &'a Secret) -> Result<&'a Path> {
    let text = value.expose().trim();
    if text.starts_with("file:") {
        let message = format!("{variable} holds an address (`file:`) where a path belongs");
        return Err(Error::settings(message).with_advice(&advice::FILE_ADDRESS));
    }
    let is_path = text.len() <= LONGEST_PATH
        && !text.contains(['\n', '\r', '{'])
        && !text.contains("-----BEGIN");
    if !is_path {
        let message = format!(
            "{variable} holds no path: a key or settings stand there, which belong in a file that it names"
        );
        return Err(Error::settings(message).with_advice(&advice::VARIABLE));
    }
    Ok(Path::new(text))
}

/// Reads a settings file.
pub(super) fn settings(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = bytes(path, "settings file", &advice::SETTINGS_FILE)?;
    text(bytes).map_err(|_| {
        let message = format!(
            "settings file {} cannot be used: it is text neither in UTF-8 nor in UTF-16",
            path.display()
        );
        Error::settings(message).with_advice(&advice::SETTINGS_FILE)
    })
}

/// Reads a key file. A binary one is given as base64: what it is, the key's own reader tells.
pub(super) fn key(path: &Path) -> Result<Secret> {
    const WHAT: &str = "key file";

    let bytes = bytes(path, WHAT, &advice::KEY_FORMAT)?;
    not_empty(text_or_base64(bytes), WHAT, path)
}

/// Reads a file of certificates, which are no secret, binary ones as base64.
pub(super) fn certificate(path: &Path) -> Result<Secret> {
    const WHAT: &str = "certificate file";

    let bytes = read(path, WHAT, &advice::CERTIFICATES)?;
    not_empty(text_or_base64(bytes), WHAT, path)
}

fn not_empty(text: Secret, what: &str, path: &Path) -> Result<Secret> {
    if trim(text.expose()).is_empty() {
        let message = format!("{what} {} is empty", path.display());
        return Err(Error::settings(message).with_advice(&advice::FILE_EMPTY));
    }
    Ok(text)
}

/// Reads one secret of a directory of them, less the line end that editors leave. One that may be a key or a
/// certificate is given as base64 where it is binary, as [`key`] gives it.
pub(super) fn secret(path: &Path, is_key: bool) -> Result<Secret> {
    let bytes = bytes(path, "secret file", &advice::SECRET_FILE)?;
    match text_or_pem(bytes) {
        Ok(text) => {
            let text = text.trim_start_matches('\u{feff}');
            Ok(Secret::from(text.trim_end_matches(['\r', '\n'])))
        }
        Err(bytes) if is_key => Ok(Secret::from(STANDARD.encode(&*bytes))),
        Err(_) => {
            let message = format!(
                "secret file {} cannot be used: it is text neither in UTF-8 nor in UTF-16",
                path.display()
            );
            Err(Error::settings(message).with_advice(&advice::SECRET_FILE))
        }
    }
}

type Bytes = Zeroizing<Vec<u8>>;

/// UTF-8, or UTF-16 with its byte order mark.
fn text(bytes: Bytes) -> Result<Zeroizing<String>, Bytes> {
    if let Some(text) = from_utf16(&bytes) {
        return Ok(text);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(bytes),
    }
}

/// The same, or the blocks of a PEM that stand between bytes of another encoding.
fn text_or_pem(bytes: Bytes) -> Result<Zeroizing<String>, Bytes> {
    text(bytes).or_else(|bytes| blocks_alone(&bytes).ok_or(bytes))
}

fn text_or_base64(bytes: Bytes) -> Secret {
    match text_or_pem(bytes) {
        Ok(text) => Secret::from(text.as_str()),
        Err(bytes) => Secret::from(STANDARD.encode(&*bytes)),
    }
}

/// Reads what is secret.
fn bytes(path: &Path, what: &'static str, advice: &'static Advice) -> Result<Bytes> {
    let bytes = read(path, what, advice)?;
    if let Ok(metadata) = path.metadata() {
        tell_if_loose(path, what, &metadata);
    }
    Ok(bytes)
}

fn read(path: &Path, what: &str, advice: &'static Advice) -> Result<Bytes> {
    let unreadable = |error: std::io::Error| {
        let message = format!("{what} {} cannot be read", path.display());
        Error::settings(message)
            .with_advice(&advice::FILE_UNREADABLE)
            .with_source(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        let message = format!(
            "{what} {} cannot be read: it is a directory",
            path.display()
        );
        return Err(Error::settings(message).with_advice(&advice::FILE_UNREADABLE));
    }
    // Room for all of it, so that no half-read copy is left behind when it grows.
    let size = metadata.len().min(MAXIMUM_SIZE);
    let mut bytes = Bytes::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(MAXIMUM_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAXIMUM_SIZE {
        let message = format!("{what} {} is larger than 1 MiB", path.display());
        return Err(Error::settings(message).with_advice(advice));
    }
    Ok(bytes)
}

/// Tells, once for each file, where others than its owner may read it.
///
/// A volume of Kubernetes is not told of: it is of one pod alone and open to all in it by default.
fn tell_if_loose(path: &Path, what: &'static str, metadata: &Metadata) {
    // Taken for one look-up by a function that is not async; it is logged after it.
    static TOLD: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

    if !is_loose(metadata) || is_mounted(path) {
        return;
    }
    let is_news = TOLD
        .lock()
        .get_or_insert_with(HashSet::new)
        .insert(path.to_owned());
    if is_news {
        tracing::warn!(
            target: "maskinporten::settings",
            path = %path.display(),
            "others than its owner may read this {what}: `chmod 600` closes it"
        );
    }
}

#[cfg(unix)]
fn is_loose(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    /// Group and others, reading.
    const OTHERS: u32 = 0o044;

    metadata.permissions().mode() & OTHERS != 0
}

/// Who may read a file is not told by its mode here.
#[cfg(not(unix))]
fn is_loose(_: &Metadata) -> bool {
    false
}

/// Whether a file is of a Kubernetes volume: its directory has the link, or is what the link leads to.
fn is_mounted(path: &Path) -> bool {
    let directories = path.ancestors().skip(1).take(2);
    directories
        .into_iter()
        .any(|directory| directory.join(VOLUME).exists())
}
