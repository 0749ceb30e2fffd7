//! `maskinporten keygen`: a new key, its private half in a file and its public half on stdout.
//!
//! - The file is made, never overwritten: not one that is there, nor one a symbolic link points at.
//! - It is readable by its owner alone from the moment it is made, where files have modes. Elsewhere
//!   (Windows) it has the permissions of its folder.
//! - Both halves are given out or neither: where one fails, no file is left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use maskinporten::{GeneratedKey, SigningKey};

use crate::exit::Exit;
use crate::report::{self, Failure};

/// Make a key: the private JWK goes into a file, the public one to stdout
///
/// The file is made with mode 600 and never overwritten, nor is what a symbolic link points at.
/// On systems without modes, such as Windows, it gets the permissions of its folder: choose one
/// that only you can read.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The file to make for the private JWK
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Length of the key
    #[arg(long, value_enum, default_value = "2048")]
    bits: Bits,

    /// The identifier of the key, in place of its thumbprint (RFC 7638)
    #[arg(long)]
    kid: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bits {
    #[value(name = "2048")]
    Rsa2048,
    #[value(name = "3072")]
    Rsa3072,
    #[value(name = "4096")]
    Rsa4096,
}

impl Bits {
    fn count(self) -> usize {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let bits = args.bits.count();
    let key = SigningKey::generate(bits, args.kid.as_deref())?;
    write(&args.out, &key)?;
    let file = args.out.display();
    report::print(key.public_jwk()).map_err(|cause| {
        // Nobody has the public half, so the private one is worth nothing.
        let _ = fs::remove_file(&args.out);
        let phrase = format!("the public JWK cannot be printed, and {file} was removed");
        Failure::unprinted(phrase, cause)
    })?;
    if !quiet {
        let kid = key.kid();
        report::note(format_args!(
            "wrote the private key to {file} (RSA {bits} bits, kid {kid}): keep it to yourself"
        ));
        report::note("next:");
        report::note(
            "  1. register the public JWK, as printed, on your client in the self-service portal;",
        );
        report::note(
            "     posting replaces the keys that are there: post the old one too while it is in use",
        );
        report::note("  2. point the settings at the file:");
        report::note(format_args!("       MASKINPORTEN_KEY_FILE={file}"));
        report::note("       MASKINPORTEN_CLIENT_ID=<your client's id>");
        report::note("       MASKINPORTEN_ISSUER=https://test.maskinporten.no/");
        report::note("     or put its contents as Jwk into a settings file");
        report::note("  3. try it, which may take up to 15 minutes to work:");
        report::note("       maskinporten token --scope <one of your client's scopes>");
    }
    Ok(())
}

/// Makes the file with the key in it, or no file.
fn write(path: &Path, key: &GeneratedKey) -> Result<(), Failure> {
    let failed = |phrase: &str, hint, cause| Failure::Local {
        exit: Exit::Usage,
        phrase: format!("{} {phrase}", path.display()),
        cause,
        hint,
    };
    let mut file = create(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => failed(
            "is there already, and a key is never overwritten",
            "choose another name, or move the file away once no client uses its key any more",
            cause,
        ),
        _ => failed(
            "cannot be made",
            "choose a file in a folder that is there and that you may write to",
            cause,
        ),
    })?;
    let written = file
        .write_all(key.private_jwk().expose().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    written.map_err(|cause| {
        let _ = fs::remove_file(path);
        failed(
            "cannot be written, and was removed",
            "look at the space on the disk and the limits of this process",
            cause,
        )
    })
}

/// A file that was not there before. `create_new` follows no symbolic link, not even one that
/// points at nothing.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
