//! `cargo xtask test`: all that a change must pass, what is cheap and often wrong first.
//!
//! - The first failure ends the run and names the command that repeats it.
//! - Every step builds into the same target folder with the same flags: warnings are denied by
//!   clippy's and rustdoc's own arguments, since `RUSTFLAGS` would build every dependency again.
//! - In CI nothing is skipped: a tool that is missing is installed, or the run fails.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::cargo::{Package, Workspace};
use crate::step::{self, OnFailure, Outcome, Step};
use crate::{Result, command, system};

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: |workspace| cargo(workspace, "fmt --all --check"),
    },
    Step {
        name: "lints, all features",
        run: |workspace| {
            cargo(
                workspace,
                "clippy --workspace --all-targets --all-features --locked -- -D warnings",
            )
        },
    },
    Step {
        name: "lints, no features",
        run: |workspace| {
            cargo(
                workspace,
                "clippy --workspace --all-targets --no-default-features --locked -- -D warnings",
            )
        },
    },
    Step {
        name: "tests",
        run: tests,
    },
    Step {
        name: "tests, no features",
        run: |workspace| {
            cargo(
                workspace,
                "test -p maskinporten --no-default-features --lib --locked",
            )
        },
    },
    Step {
        name: "documentation",
        run: documentation,
    },
    Step {
        name: "each feature alone",
        run: each_feature_alone,
    },
    Step {
        name: "both crypto back-ends",
        run: backends,
    },
    Step {
        name: "quickstart",
        run: |workspace| cargo(workspace, "run --locked --example quickstart"),
    },
    Step {
        name: "licences, bans, sources",
        run: deny,
    },
];

/// Runs the steps and tells how they ended.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    let summary = step::run(workspace, STEPS, OnFailure::Stop);
    println!("\n{summary}");
    if summary.failed().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn cargo(workspace: &Workspace, args: &str) -> Result<Outcome> {
    command::run(&mut workspace.cargo(args))?;
    Ok(Outcome::Passed)
}

/// Runs every test. Some run the commands that hints print.
fn tests(workspace: &Workspace) -> Result<Outcome> {
    system::ensure("openssl")?;
    system::ensure_of("ssh-keygen", "openssh-client")?;
    // One failed binary must not hide what the others would have said.
    let test = "test --workspace --all-features --locked --no-fail-fast";
    cargo(workspace, test)
}

fn documentation(workspace: &Workspace) -> Result<Outcome> {
    let mut doc = workspace.cargo("doc --workspace --no-deps --all-features --locked");
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

/// Builds and runs a program whose build turns on both back-ends of jsonwebtoken. A workspace of its
/// own: in this one, the choice would reach every member.
fn backends(workspace: &Workspace) -> Result<Outcome> {
    let mut run = workspace.cargo("run --quiet --locked --manifest-path tests/backends/Cargo.toml");
    command::run(run.env("CARGO_TARGET_DIR", &workspace.target))?;
    Ok(Outcome::Passed)
}

// ===== each feature alone =====

/// Lints every published crate by itself: with no feature, and with each of its features alone.
fn each_feature_alone(workspace: &Workspace) -> Result<Outcome> {
    for package in workspace.published() {
        for args in feature_sets(package) {
            command::run(&mut workspace.cargo(&args))?;
        }
    }
    Ok(Outcome::Passed)
}

/// One command per feature. `-p` because a build of the whole workspace unites its members' features,
/// and clippy instead of check because it denies warnings without building dependencies again.
fn feature_sets(package: &Package) -> Vec<String> {
    let clippy = |features: &str| {
        let name = &package.name;
        format!("clippy --quiet --locked -p {name} --no-default-features{features} -- -D warnings")
    };
    let alone = package
        .features
        .iter()
        .map(|feature| clippy(&format!(" --features {feature}")));
    [clippy("")].into_iter().chain(alone).collect()
}

// ===== licences, bans, sources =====

/// The version `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Checks the dependency tree against `deny.toml`.
///
/// Offline and without the advisories: their database is a git repository that not every runner can
/// reach, and a check that fails with the network says nothing about the change.
fn deny(workspace: &Workspace) -> Result<Outcome> {
    let Some(deny) = cargo_deny(workspace)? else {
        let install = format!("cargo install --locked cargo-deny --version {CARGO_DENY}");
        return Ok(Outcome::NotRun(format!(
            "cargo-deny is missing; to get it:\n{install}"
        )));
    };
    // The graph holds the crates of every platform, the builds above fetched those of one.
    command::run(&mut workspace.cargo("fetch --locked"))?;
    command::run(&mut workspace.program(deny, "--offline check licenses bans sources"))?;
    Ok(Outcome::Passed)
}

/// The program to use: the pinned one in CI, installed if need be; elsewhere any there is.
fn cargo_deny(workspace: &Workspace) -> Result<Option<String>> {
    let tools = workspace.target.join("tools");
    let pinned = tools.join("bin/cargo-deny").display().to_string();
    if version(&pinned).as_deref() == Some(CARGO_DENY) {
        return Ok(Some(pinned));
    }
    if system::in_ci() {
        install(workspace, &tools)?;
        return Ok(Some(pinned));
    }
    Ok(version("cargo-deny").map(|_| "cargo-deny".to_owned()))
}

fn install(workspace: &Workspace, tools: &Path) -> Result<()> {
    let mut install = workspace.cargo("install --locked cargo-deny --version");
    command::run(install.arg(CARGO_DENY).arg("--root").arg(tools))
}

/// What `program --version` says after the name, or nothing where there is no such program.
fn version(program: &str) -> Option<String> {
    let answer = command::read(Command::new(program).arg("--version")).ok()?;
    answer.split_whitespace().nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_checked_alone_and_none_first() {
        let package = Package {
            name: "maskinporten".to_owned(),
            features: vec!["client".to_owned(), "default".to_owned()],
            published: true,
            library: true,
            rust_version: None,
        };

        assert_eq!(
            feature_sets(&package),
            [
                "clippy --quiet --locked -p maskinporten --no-default-features -- -D warnings",
                "clippy --quiet --locked -p maskinporten --no-default-features --features client -- -D warnings",
                "clippy --quiet --locked -p maskinporten --no-default-features --features default -- -D warnings",
            ]
        );
    }

    #[test]
    fn a_version_is_the_word_after_the_name() {
        assert!(version("cargo").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(version("no-such-program"), None);
    }
}
