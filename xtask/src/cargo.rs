//! The workspace as cargo describes it, and commands of cargo's run at its root.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Result, command};

/// The workspace: its root, its packages and where its builds go.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the virtual manifest.
    pub(crate) root: PathBuf,
    /// The one target folder every step shares, so that no step builds what another has built.
    pub(crate) target: PathBuf,
    /// Every member.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name as in `-p`.
    pub(crate) name: String,
    /// Its features in alphabetical order, `default` among them where it has one.
    pub(crate) features: Vec<String>,
    /// Whether others can depend on it.
    pub(crate) published: bool,
    /// Whether it holds a library, not only a binary.
    pub(crate) library: bool,
    /// The oldest compiler it promises to build with.
    pub(crate) rust_version: Option<String>,
}

impl Workspace {
    /// Asks cargo for the workspace this crate belongs to, wherever the caller stands.
    pub(crate) fn load() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("xtask has no folder above it to be the workspace")?;
        let metadata = command::read(&mut cargo(root, "metadata --no-deps --format-version 1"))?;
        Self::parse(root, &metadata)
    }

    fn parse(root: &Path, metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata)?;
        let target = metadata["target_directory"]
            .as_str()
            .ok_or("cargo metadata names no target folder")?;
        let packages = metadata["packages"]
            .as_array()
            .ok_or("cargo metadata names no packages")?
            .iter()
            // A package left out for being unreadable would pass every check unseen.
            .map(|package| Package::parse(package).ok_or("cargo metadata holds half a package"))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            root: root.to_owned(),
            target: target.into(),
            packages,
        })
    }

    /// A command of cargo's at the root; `args` are divided at spaces, paths are added by the caller.
    pub(crate) fn cargo(&self, args: &str) -> Command {
        cargo(&self.root, args)
    }

    /// Any other program, started at the root; `args` are divided at spaces.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>, args: &str) -> Command {
        at(&self.root, Command::new(program), args)
    }

    /// The members others can depend on.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.published)
    }
}

impl Package {
    fn parse(package: &Value) -> Option<Self> {
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            features: package["features"].as_object()?.keys().cloned().collect(),
            // `publish = false` reads as an empty list of registries, anything else as null or names.
            published: package["publish"]
                .as_array()
                .is_none_or(|registries| !registries.is_empty()),
            library: package["targets"].as_array()?.iter().any(is_library),
            rust_version: package["rust_version"].as_str().map(str::to_owned),
        })
    }
}

fn is_library(target: &Value) -> bool {
    target["kind"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"))
}

fn cargo(root: &Path, args: &str) -> Command {
    at(root, Command::new("cargo"), args)
}

fn at(root: &Path, mut command: Command, args: &str) -> Command {
    command.current_dir(root).args(args.split_whitespace());
    // `cargo run` describes this crate to us in variables which some build scripts watch. Passed on,
    // they would make what we build differ from what the same command builds in a shell.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_tells_what_is_published_and_with_which_features() {
        let metadata = r#"{"target_directory": "/t", "packages": [
            {"name": "a", "features": {"ring": [], "default": []}, "publish": null,
             "targets": [{"kind": ["lib"]}, {"kind": ["bench"]}], "rust_version": "1.88"},
            {"name": "b", "features": {}, "publish": [], "targets": [{"kind": ["bin"]}]}]}"#;

        let workspace = Workspace::parse(Path::new("/w"), metadata).unwrap();

        assert_eq!(workspace.target, Path::new("/t"));
        assert_eq!(workspace.packages.len(), 2);
        let published: Vec<_> = workspace.published().collect();
        let features = vec!["default".to_owned(), "ring".to_owned()];
        let rust_version = Some("1.88".to_owned());
        assert_eq!(
            published,
            [&Package {
                name: "a".to_owned(),
                features,
                published: true,
                library: true,
                rust_version
            }]
        );
    }

    #[test]
    fn metadata_that_is_not_a_workspace_is_an_error() {
        assert!(Workspace::parse(Path::new("/w"), "{}").is_err());
        assert!(Workspace::parse(Path::new("/w"), "cargo: error").is_err());
        let half = r#"{"target_directory": "/t", "packages": [{"name": "a"}]}"#;
        assert!(Workspace::parse(Path::new("/w"), half).is_err());
    }
}
