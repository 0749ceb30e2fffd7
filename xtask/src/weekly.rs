//! `cargo xtask weekly`: whether the promises to other people's builds still hold.
//!
//! These need other toolchains, other lock files or tools that take minutes to install, and change
//! their answer when the world does rather than when the code does. So they gate no change.
//!
//! - Every step runs, whatever the one before it found.
//! - A step whose tool is missing is "not run", and then the run did not pass: exit code 3.

mod fuzz;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::cargo::{Package, Workspace};
use crate::step::{self, OnFailure, Outcome, Step};
use crate::{Result, command, system};

const STEPS: &[Step] = &[
    Step {
        name: "oldest compiler",
        run: oldest_compiler,
    },
    Step {
        name: "lowest direct versions",
        run: lowest_versions,
    },
    Step {
        name: "semver",
        run: semver,
    },
    Step {
        name: "public types",
        run: public_types,
    },
    Step {
        name: "mutants",
        run: mutants,
    },
    Step {
        name: "fuzz",
        run: fuzz::run,
    },
];

/// Runs the steps and tells which ran, which could not, and which failed.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    step::run(workspace, STEPS, OnFailure::Continue).conclude()
}

fn not_run(reason: &str) -> Result<Outcome> {
    Ok(Outcome::NotRun(reason.to_owned()))
}

// ===== oldest compiler =====

/// Checks every target of every member with the `rust-version` the members promise.
fn oldest_compiler(workspace: &Workspace) -> Result<Outcome> {
    let promised = workspace
        .published()
        .find_map(|package| package.rust_version.as_deref());
    let rust_version = promised.ok_or("no published crate names a rust-version")?;
    let Some(toolchain) = toolchain(workspace, rust_version) else {
        return Ok(Outcome::NotRun(format!(
            "Rust {rust_version} could not be installed"
        )));
    };
    let target = workspace.target.join("weekly/oldest-compiler");
    let check = "cargo check --workspace --all-targets --all-features --locked --target-dir";
    let mut rustup = workspace.program("rustup", "run");
    command::run(rustup.arg(toolchain).args(check.split(' ')).arg(target))?;
    Ok(Outcome::Passed)
}

/// The name of a toolchain of this version, installed if need be.
fn toolchain(workspace: &Workspace, rust_version: &str) -> Option<String> {
    let installed = || {
        let list = command::read(&mut workspace.program("rustup", "toolchain list")).ok()?;
        named(&list, rust_version)
    };
    installed().or_else(|| {
        let mut install = workspace.program("rustup", "toolchain install --profile minimal");
        command::run(install.arg(rust_version))
            .inspect_err(|error| eprintln!("{error}"))
            .ok()?;
        installed()
    })
}

/// The first toolchain in rustup's `list` that is of `version`: `1.88` is `1.88-…` and `1.88.0-…`.
fn named(list: &str, version: &str) -> Option<String> {
    let mut names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let of_version = |name: &&str| {
        name.strip_prefix(version)
            .is_some_and(|rest| rest.starts_with(['-', '.']))
    };
    names.find(of_version).map(str::to_owned)
}

// ===== lowest direct versions =====

/// Checks the published crates against the lowest versions their manifests admit.
///
/// A bound that is too low shows here and nowhere else: every other build takes newer versions from
/// the lock file. The copy has a lock file of its own, so the one under review is left alone.
fn lowest_versions(workspace: &Workspace) -> Result<Outcome> {
    let folder = workspace.target.join("weekly/lowest-versions");
    let source = folder.join("source");
    copy(workspace, &source)?;
    let manifest = source.join("Cargo.toml");

    // The flag is unstable. It chooses versions and compiles nothing, so the stable cargo may be told
    // to take it; the check below is an ordinary one.
    let mut resolve =
        workspace.cargo("-Z direct-minimal-versions generate-lockfile --manifest-path");
    command::run(resolve.arg(&manifest).env("RUSTC_BOOTSTRAP", "1"))?;

    let mut check = workspace.cargo("check --all-features --locked");
    check
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(folder.join("target"));
    for package in workspace.published() {
        check.args(["-p", &package.name]);
    }
    command::run(&mut check)?;
    Ok(Outcome::Passed)
}

/// Copies what git knows or would add, without the lock file, to an empty folder.
fn copy(workspace: &Workspace, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let files = "ls-files -z --cached --others --exclude-standard";
    let files = command::read(&mut workspace.program("git", files))?;
    for file in files
        .split_terminator('\0')
        .filter(|file| *file != "Cargo.lock")
    {
        let from = workspace.root.join(file);
        // Listed but gone from the folder: deleted and not yet committed.
        if from.is_file() {
            let to = to.join(file);
            fs::create_dir_all(to.parent().ok_or("a file outside every folder")?)?;
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

// ===== semver =====

/// Compares the published crates with the last release.
fn semver(workspace: &Workspace) -> Result<Outcome> {
    if !system::answers(&mut workspace.cargo("semver-checks --version")) {
        return not_run("missing; to get it:\ncargo install --locked cargo-semver-checks");
    }
    let tags =
        command::read(&mut workspace.program("git", "tag --merged HEAD --sort=-creatordate"))?;
    let Some(release) = tags.lines().next() else {
        return not_run("nothing is released: no tag to compare with");
    };
    command::run(
        workspace
            .cargo("semver-checks --workspace --baseline-rev")
            .arg(release),
    )?;
    Ok(Outcome::Passed)
}

// ===== public types =====

/// The crates whose types a public signature may show; serde's only stand in impls.
///
/// Any other type would bring its breaking releases along.
const PUBLIC: &[&str] = &[
    "alloc",
    "bytes",
    "core",
    "http",
    "http_body",
    "serde",
    "serde_core",
    "std",
    // A method on `&str` is printed as a path.
    "str",
    "tower_layer",
    "tower_service",
];

/// What one crate may show besides. The simulator gives claims and keys as its users compare them,
/// and is a dependency of tests only.
const PUBLIC_BESIDES: &[(&str, &str)] = &[
    ("maskinporten-sim", "serde_json"),
    // `HttpsConnector` is one for clients of hyper's, by whose traits it is used.
    ("maskinporten", "hyper"),
    ("maskinporten", "hyper_util"),
    // What it is for: a credential and a transport of the SDK come in, and its crate goes out again.
    ("maskinporten-azure", "azure_core"),
    ("maskinporten-azure", "typespec_client_core"),
];

/// Looks for foreign types in what the published crates show with their default features.
fn public_types(workspace: &Workspace) -> Result<Outcome> {
    if !system::answers(&mut workspace.cargo("public-api --version")) {
        return not_run("missing; to get it:\ncargo install --locked cargo-public-api");
    }
    let own: Vec<String> = workspace.published().map(crate_name).collect();
    let mut found = Vec::new();
    for package in workspace.published().filter(|package| package.library) {
        // Thrice simplified: no blanket, automatic or derived impls, which nobody chose.
        let mut list = workspace.cargo("public-api -sss --package");
        let api = command::read(list.arg(&package.name))?;
        let besides = PUBLIC_BESIDES
            .iter()
            .filter(|(name, _)| *name == package.name)
            .map(|(_, besides)| (*besides).to_owned());
        let own: Vec<String> = own.iter().cloned().chain(besides).collect();
        found.extend(
            api.lines()
                .filter(|line| shows_foreign_type(line, &own))
                .map(str::to_owned),
        );
    }
    if found.is_empty() {
        Ok(Outcome::Passed)
    } else {
        Err(foreign(&found).into())
    }
}

fn foreign(lines: &[String]) -> String {
    format!(
        "these show a type that is not ours and not in the list of public crates:\n{}",
        lines.join("\n")
    )
}

fn crate_name(package: &Package) -> String {
    package.name.replace('-', "_")
}

/// Whether an item as cargo-public-api prints it names a path into a crate that is not `PUBLIC`. What
/// a macro hides behind `__private` is nobody's to name, and so not shown.
fn shows_foreign_type(item: &str, own: &[String]) -> bool {
    !item.contains("::__private::")
        && roots(item).any(|root| !PUBLIC.contains(&root) && !own.iter().any(|name| name == root))
}

/// The crates at the head of the paths in `item`; `Self::…` and `S::…` are of no crate.
fn roots(item: &str) -> impl Iterator<Item = &str> {
    let is_path = |char: char| char.is_alphanumeric() || matches!(char, '_' | ':');
    item.split(move |char| !is_path(char))
        .filter_map(|path| path.split_once("::"))
        .map(|(root, _)| root)
        .filter(|root| root.starts_with(|first: char| first.is_lowercase()))
}

// ===== mutants =====

/// What changes the code on purpose; another version would change it in other places.
const CARGO_MUTANTS: &str = "27.1.0";

/// Breaks the token's life in one place at a time, and looks for a test that notices.
///
/// `.cargo/mutants.toml` names the files, the tests, and what may survive, each with its reason.
fn mutants(workspace: &Workspace) -> Result<Outcome> {
    let installed = system::answers(&mut workspace.cargo("mutants --version"));
    if !installed {
        return Ok(Outcome::NotRun(format!(
            "missing; to get it:\ncargo install --locked cargo-mutants --version {CARGO_MUTANTS}"
        )));
    }
    let folder = workspace.target.join("weekly/mutants");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut mutants = workspace.cargo("mutants --output");
    // Every mutant is linked anew, and nobody looks at its backtraces.
    mutants.arg(&folder).env("CARGO_PROFILE_DEV_DEBUG", "0");
    let ended = command::run(&mut mutants);
    // Its exit code is the same for mutants that hang, which are noticed, whether others survive or
    // not: the counts tell them apart.
    let outcomes = fs::read_to_string(folder.join("mutants.out/outcomes.json"));
    match outcomes.ok().and_then(|outcomes| survivors(&outcomes)) {
        None => Err(ended
            .err()
            .unwrap_or_else(|| "not every mutant was tried".into())),
        Some(survivors) if survivors.is_empty() => Ok(Outcome::Passed),
        Some(survivors) => Err(format!("no test notices:\n{}", survivors.join("\n")).into()),
    }
}

/// The mutants that no test noticed; none where not all were tried, or there were none.
fn survivors(outcomes: &str) -> Option<Vec<String>> {
    let outcomes: Value = serde_json::from_str(outcomes).ok()?;
    let count = |name: &str| outcomes[name].as_u64();
    let tried = count("caught")? + count("missed")? + count("timeout")? + count("unviable")?;
    let is_done = !outcomes["end_time"].is_null() && tried == count("total_mutants")?;
    if tried == 0 || !is_done {
        return None;
    }
    let missed = outcomes["outcomes"].as_array()?.iter();
    let missed = missed.filter(|outcome| outcome["summary"] == "MissedMutant");
    missed
        .map(|outcome| Some(outcome["scenario"]["Mutant"]["name"].as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_found_by_its_version() {
        let list = "stable-x86_64 (active, default)\n1.880-x86_64\n1.88.0-x86_64\n";

        assert_eq!(named(list, "1.88").as_deref(), Some("1.88.0-x86_64"));
        assert_eq!(named(list, "1.8"), None);
        assert_eq!(named("no installed toolchains", "1.88"), None);
    }

    #[test]
    fn a_run_of_mutants_tells_who_survived_if_it_tried_all() {
        let run = |caught: u64, ended: &str| {
            let outcomes = format!(
                r#"{{"total_mutants":4,"caught":{caught},"missed":1,"timeout":1,"unviable":1,
                "end_time":{ended},"outcomes":[{{"summary":"Success","scenario":"Baseline"}},
                {{"summary":"MissedMutant","scenario":{{"Mutant":{{"name":"a.rs:1"}}}}}},
                {{"summary":"Timeout","scenario":{{"Mutant":{{"name":"b.rs:2"}}}}}}]}}"#
            );
            survivors(&outcomes)
        };

        assert_eq!(run(1, r#""then""#), Some(vec!["a.rs:1".to_owned()]));
        assert_eq!(run(0, r#""then""#), None);
        assert_eq!(run(1, "null"), None);
        assert_eq!(survivors("{}"), None);
    }

    #[track_caller]
    fn check(item: &str, foreign: bool) {
        assert_eq!(
            shows_foreign_type(item, &["maskinporten".to_owned()]),
            foreign,
            "{item}"
        );
    }

    #[test]
    fn our_types_and_those_of_public_crates_may_be_shown() {
        check("pub mod maskinporten", false);
        check("pub fn maskinporten::Scope::new(text: &str) -> Self", false);
        check(
            "pub fn maskinporten::T::f<S: http::Uri>(s: S::Error) -> core::result::Result<(), Self::E>",
            false,
        );
        check(
            "impl serde_core::ser::Serialize for maskinporten::Scope",
            false,
        );
        check("pub fn &str::into_origins(self)", false);
        check(
            "impl<S> core::marker::Unpin for maskinporten::F<S> where pin_project_lite::__private::Of<S>: core::marker::Unpin",
            false,
        );
    }

    #[test]
    fn any_other_type_is_foreign() {
        check(
            "pub fn maskinporten::T::f() -> hyper::Response<bytes::Bytes>",
            true,
        );
        check(
            "pub maskinporten::T::url: core::option::Option<url::Url>",
            true,
        );
        check(
            "impl core::convert::From<serde_json::Value> for maskinporten::T",
            true,
        );
    }
}
