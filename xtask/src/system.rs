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
    let silent = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Makes sure that `program`, which comes in a package of the same name, can be started.
///
/// A missing one is installed with apt-get where that needs no question: as root, and in CI.
pub(crate) fn ensure(program: &str) -> Result<()> {
    if present(program) {
        return Ok(());
    }
    let Some(install) = installer() else {
        return Err(format!("{program} is missing: install it with this system's packages").into());
    };
    eprintln!("{program} is missing, installing it with apt-get");
    command::run(install().args(["apt-get", "update", "--quiet"]))?;
    command::run(install().args(["apt-get", "install", "--quiet", "--yes", program]))?;
    if !present(program) {
        return Err(format!("{program} was installed but does not start").into());
    }
    Ok(())
}

fn present(program: &str) -> bool {
    answers(Command::new(program).arg("--version"))
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
