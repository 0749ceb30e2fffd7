//! The measuring programs: bench targets without a harness, built as users build and run directly.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::Workspace;
use crate::{Result, command};

/// A program that has been built.
#[derive(Debug)]
pub(super) struct Program<'a> {
    workspace: &'a Workspace,
    path: PathBuf,
}

impl<'a> Program<'a> {
    /// Builds the bench target `bench` of `package` in the bench profile.
    pub(super) fn build(workspace: &'a Workspace, package: &str, bench: &str) -> Result<Self> {
        let args =
            format!("bench --locked --no-run --message-format=json -p {package} --bench {bench}");
        let messages = command::read(&mut workspace.cargo(&args))?;
        let path = executable(&messages, bench)
            .ok_or_else(|| format!("cargo built no program for the bench {bench} of {package}"))?;
        Ok(Self { workspace, path })
    }

    /// Builds the binary `binary` of `package` in the release profile.
    pub(super) fn build_binary(
        workspace: &'a Workspace,
        package: &str,
        binary: &str,
    ) -> Result<Self> {
        let args =
            format!("build --locked --release --message-format=json -p {package} --bin {binary}");
        let messages = command::read(&mut workspace.cargo(&args))?;
        let path = executable(&messages, binary)
            .ok_or_else(|| format!("cargo built no binary {binary} of {package}"))?;
        Ok(Self { workspace, path })
    }

    /// What the program prints, as JSON.
    pub(super) fn json(&self, args: &str) -> Result<Value> {
        self.printed(&mut self.workspace.program(&self.path, args))
    }

    /// What the program prints of another one, which it starts itself.
    pub(super) fn json_of(&self, other: &Self) -> Result<Value> {
        let mut program = self.workspace.program(&self.path, "");
        self.printed(program.arg(&other.path))
    }

    fn printed(&self, command: &mut Command) -> Result<Value> {
        let printed = command::read(command)?;
        serde_json::from_str(&printed)
            .map_err(|error| format!("{} printed no JSON: {error}", self.path.display()).into())
    }

    /// What the program prints, and why it failed where it did.
    pub(super) fn lines(&self) -> Result<(String, Option<String>)> {
        let mut command = self.workspace.program(&self.path, "");
        let output = command.stderr(Stdio::inherit()).output()?;
        let failure = (!output.status.success())
            .then(|| format!("{} ended with {}", self.path.display(), output.status));
        Ok((String::from_utf8(output.stdout)?, failure))
    }
}

/// The executable of `bench` among cargo's JSON messages.
fn executable(messages: &str, bench: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["target"]["name"] == bench)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_of_the_bench() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"cold_slot","kind":["lib"]},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"other","kind":["bench"]},"executable":"/t/other"}
            {"reason":"compiler-artifact","target":{"name":"cold_slot","kind":["bench"]},"executable":"/t/cold_slot"}
            {"reason":"build-finished","success":true}"#;

        assert_eq!(
            executable(messages, "cold_slot"),
            Some("/t/cold_slot".into())
        );
        assert_eq!(executable(messages, "assertion"), None);
    }
}
