//! Every example is run as it stands, and has to end with 0.
//!
//! `cargo test -p examples` builds the examples first; with `--test run` alone it does not.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// The tests of this example are real ones.
#[path = "../test_with_sim.rs"]
mod test_with_sim;

/// What an example may take, a busy machine included: most take less than a second.
const LIMIT: Duration = Duration::from_secs(60);

/// How often an example is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);

macro_rules! each_runs {
    ($($example:ident)*) => {
        $(
            #[test]
            fn $example() {
                runs(stringify!($example));
            }
        )*

        const RUN: &[&str] = &[$(stringify!($example)),*];
    };
}

each_runs! {
    axum_service
    batch
    dan_client
    events_subscription
    hyper_client
    named_clients
    reqwest_client
    reqwest_middleware
    rotate_keys
    supplier_many_orgs
    test_with_sim
    tonic_client
    vault_signer
}

/// A package of its own, so that a newcomer builds no more than it needs; a step of `cargo xtask test` runs it.
const QUICKSTART: &str = "quickstart";

#[test]
fn no_example_is_left_out() {
    let files = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<_> = sources
        .map(|path| path.file_stem().unwrap().to_owned())
        .collect();
    names.retain(|name| name != QUICKSTART);
    names.sort();
    assert_eq!(names, RUN, "the examples, and those that are run here");
}

#[test]
fn the_table_has_every_example() {
    let table = fs::read_to_string(source("README.md")).unwrap();
    for example in RUN.iter().chain(&[QUICKSTART]) {
        let row = format!("| [`{example}`]({example}.rs) |");
        assert!(table.contains(&row), "README.md has no row {row}");
    }
}

#[track_caller]
fn runs(example: &str) {
    let binary = binary(example);
    let mut output = tempfile::tempfile().unwrap();
    let mut child = Command::new(&binary)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output.try_clone().unwrap())
        .spawn()
        .unwrap();
    let status = ended(&mut child).unwrap();
    let output = read(&mut output).unwrap();
    match status {
        Some(status) => assert!(status.success(), "{example}: {status}\n{output}"),
        None => panic!("{example} has not ended after {LIMIT:?}\n{output}"),
    }
}

/// Beside the folder of this test's own executable.
#[track_caller]
fn binary(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let name = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    let binary = profile.join("examples").join(name);
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let built = changed(&binary);
    // One that was left from another day says nothing about today's source.
    let is_of_today =
        built.is_ok_and(|built| built >= changed(&source(&format!("{example}.rs"))).unwrap());
    assert!(
        is_of_today,
        "{example} is not built: `cargo test -p examples` does it"
    );
    binary
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// How it ended; none if it did not within the limit and was killed.
fn ended(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    for _ in 0..LIMIT.as_millis() / PAUSE.as_millis() {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(PAUSE);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn read(output: &mut File) -> io::Result<String> {
    let mut text = String::new();
    output.rewind()?;
    output.read_to_string(&mut text)?;
    Ok(text)
}
