//! The machine underneath: whether it is a CI runner, and programs that come from its packages.

use std::env;
use std::process::{Command, Stdio};

use crate::{Result, command};

/// Whether nothing may be skipped: `CI` is set, and not to nothing or `false`.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "false" | "0"))
}

/// Whether `command` starts and ends well; what it prints is dropped.
pub(crate) fn answers(command: &mut Command) -> bool {
    silent(command)
        .status()
        .is_ok_and(|status| status.success())
}

fn silent(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Makes sure that `program`, which comes in a package of the same name, can be started.
///
/// A missing one is installed with apt-get where that needs no question: as root, and in CI.
pub(crate) fn ensure(program: &str) -> Result<()> {
    ensure_of(program, program)
}

/// The same for a program of another package.
pub(crate) fn ensure_of(program: &str, package: &str) -> Result<()> {
    if present(program) {
        return Ok(());
    }
    eprintln!("{program} is missing");
    install(package)?;
    if !present(program) {
        return Err(format!("{program} was installed but does not start").into());
    }
    Ok(())
}

/// Installs a package with apt-get, where that needs no question.
pub(crate) fn install(package: &str) -> Result<()> {
    let Some(install) = installer() else {
        return Err(format!("{package} is missing: install it with this system's packages").into());
    };
    eprintln!("installing {package} with apt-get");
    command::run(install().args(["apt-get", "update", "--quiet"]))?;
    command::run(install().args(["apt-get", "install", "--quiet", "--yes", package]))
}

/// Whether a program starts. Some know no `--version` (openssl, go, ssh-keygen) and end with an error of
/// their own, which is an answer too; one that a shell or a loader cannot start ends with 126 or more.
fn present(program: &str) -> bool {
    let mut command = Command::new(program);
    let silent = silent(command.arg("--version"));
    let code = silent.status().ok().and_then(|status| status.code());
    code.is_some_and(|code| code < 126)
}

/// The word before `apt-get`, where apt-get may be used: `sudo` may ask for no password in CI.
fn installer() -> Option<fn() -> Command> {
    if !present("apt-get") {
        return None;
    }
    if is_root() {
        return Some(|| non_interactive("env"));
    }
    in_ci().then_some(|| {
        let mut sudo = non_interactive("sudo");
        sudo.arg("--non-interactive");
        sudo
    })
}

fn non_interactive(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    command::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_there_whatever_it_says_of_its_version() {
        assert!(present("cargo"));
        assert!(present("false"));
        assert!(!present("no-such-program"));
    }
}
