//! Other programs: shown before they run, and named again when they fail.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::process::{Command, Output, Stdio};

use crate::Result;

/// Runs `command`; what it prints goes straight to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", Line(command));
    let status = command
        .status()
        .map_err(|error| Failed::to_start(command, &error))?;
    if !status.success() {
        return Err(Failed::with(command, &status.to_string()).into());
    }
    Ok(())
}

/// Runs `command` and returns its standard output; its standard error goes to the terminal.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = capture(command.stderr(Stdio::inherit()))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs `command` and returns all it printed.
pub(crate) fn capture(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .map_err(|error| Failed::to_start(command, &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let outcome = format!("{} {}", output.status, said.trim());
        return Err(Failed::with(command, outcome.trim()).into());
    }
    Ok(output)
}

// ===== impl Failed =====

/// A program that could not be started or did not end well, with the line that repeats it.
#[derive(Debug)]
struct Failed {
    line: String,
    outcome: String,
}

impl Failed {
    fn with(command: &Command, outcome: &str) -> Self {
        Self {
            line: Line(command).to_string(),
            outcome: outcome.to_owned(),
        }
    }

    fn to_start(command: &Command, error: &io::Error) -> Self {
        Self::with(command, &format!("could not be started: {error}"))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; to run it again:\n{}", self.outcome, self.line)
    }
}

impl Error for Failed {}

// ===== impl Line =====

/// A command as it would be typed at the workspace root.
struct Line<'a>(&'a Command);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A variable without a value is one that was taken away, not one that was set.
        for (name, value) in self.0.get_envs() {
            if let Some(value) = value {
                write!(f, "{}={} ", name.to_string_lossy(), quoted(value))?;
            }
        }
        f.write_str(&quoted(self.0.get_program()))?;
        self.0
            .get_args()
            .try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_typed_again() {
        let mut command = Command::new("cargo");
        command
            .args(["doc", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env_remove("HOME");

        assert_eq!(
            Line(&command).to_string(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
    }

    #[test]
    fn a_failure_names_the_line_that_repeats_it() {
        let error = capture(Command::new("cargo").arg("no-such-verb"))
            .unwrap_err()
            .to_string();

        assert!(error.contains("exit status: 101"), "{error}");
        assert!(error.ends_with("\ncargo no-such-verb"), "{error}");
    }

    #[test]
    fn a_missing_program_is_a_failure() {
        let error = read(&mut Command::new("no-such-program"))
            .unwrap_err()
            .to_string();

        assert!(error.contains("could not be started"), "{error}");
    }
}
