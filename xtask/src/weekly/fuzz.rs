//! What comes from outside, made up by a fuzzer: every target of `fuzz/`, each for a while.

use std::env;
use std::fs;
use std::path::Path;

use crate::cargo::Workspace;
use crate::step::Outcome;
use crate::{Result, command, system};

/// What builds and runs the targets; the one they were written for.
const CARGO_FUZZ: &str = "0.13.2";

/// How long each target runs where `FUZZ_SECONDS` does not tell.
const SECONDS: u32 = 600;

/// Nothing here takes a second of processor time but an encrypted key, which may ask for three and is read
/// twice; and one of scrypt for 128 MiB.
const LIMITS: &str = "-timeout=10 -rss_limit_mb=1024";

/// Runs every target from the corpus it has. What it finds to be new is kept below the target folder,
/// and what it breaks with in `fuzz/artifacts`.
pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    let seconds = seconds(env::var("FUZZ_SECONDS").ok().as_deref())?;
    if !system::answers(&mut workspace.cargo("fuzz --version")) {
        return Ok(Outcome::NotRun(format!(
            "missing; to get it:\ncargo install --locked cargo-fuzz --version {CARGO_FUZZ}"
        )));
    }
    if !system::answers(&mut workspace.program("rustup", "run nightly rustc --version")) {
        return Ok(Outcome::NotRun(
            "no nightly compiler; to get it:\nrustup toolchain install nightly".to_owned(),
        ));
    }
    let targets = command::read(&mut workspace.cargo("fuzz list"))?;
    let targets: Vec<&str> = targets.split_whitespace().collect();
    if targets.is_empty() {
        return Err("`fuzz/` has no target".into());
    }

    let folder = workspace.target.join("weekly/fuzz");
    let mut broken = Vec::new();
    for target in targets {
        if let Err(error) = one(workspace, &folder, target, seconds) {
            broken.push(format!("{target}: {error}"));
        }
    }
    match broken.is_empty() {
        true => Ok(Outcome::Passed),
        false => Err(broken.join("\n").into()),
    }
}

fn one(workspace: &Workspace, folder: &Path, target: &str, seconds: u32) -> Result<()> {
    let found = folder.join("corpus").join(target);
    fs::create_dir_all(&found)?;
    // The targets need the sanitizers of a nightly compiler, and so a folder of their own.
    let mut run = workspace.program("rustup", "run nightly cargo fuzz run --target-dir");
    run.arg(folder.join("target"))
        .arg(target)
        .arg(found)
        .arg(format!("fuzz/corpus/{target}"))
        .arg("--")
        .arg(format!("-dict=fuzz/dictionaries/{target}.dict"))
        .arg(format!("-max_total_time={seconds}"))
        .args(LIMITS.split(' '));
    command::run(&mut run)
}

/// No time at all would be a run that can find nothing, and zero is libFuzzer's word for no end.
fn seconds(told: Option<&str>) -> Result<u32> {
    let Some(told) = told else {
        return Ok(SECONDS);
    };
    match told.parse() {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(format!("FUZZ_SECONDS is {told:?}, no number of seconds").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_time_in_which_it_can_find_something() {
        assert_eq!(seconds(None).unwrap(), SECONDS);
        assert_eq!(seconds(Some("30")).unwrap(), 30);
        for told in ["", "0", "-1", "soon"] {
            assert!(seconds(Some(told)).is_err(), "{told}");
        }
    }
}
