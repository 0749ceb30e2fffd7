//! `cargo xtask foreign`: what needs other languages than ours. Are keys read as other tools write them today?
//!
//! - Each tool makes its keys again, by `tests/vectors/tools/make.sh`, and the table of `tests/it/keys` judges
//!   them as it judges the committed ones.
//! - The commands that are printed for a person run, those of `keytool` among them.
//! - A tool that is missing is installed where that needs no question. Else its step is "not run", and then the
//!   run did not pass: exit code 3.
//!
//! Python's packages go to a virtual environment, npm's to a folder; both lie below the target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cargo::Workspace;
use crate::step::{self, OnFailure, Outcome, Step};
use crate::{Result, command, system};

const STEPS: &[Step] = &[
    Step {
        name: "keys by openssl",
        run: |workspace| keys(workspace, "openssl", openssl),
    },
    Step {
        name: "keys by node",
        run: |workspace| keys(workspace, "node", node),
    },
    Step {
        name: "keys by python",
        run: |workspace| keys(workspace, "python", python),
    },
    Step {
        name: "keys by go",
        run: |workspace| keys(workspace, "go", go),
    },
    Step {
        name: "keys by keytool",
        run: |workspace| keys(workspace, "keytool", keytool),
    },
    Step {
        name: "keys by nimbus",
        run: |workspace| keys(workspace, "nimbus", nimbus),
    },
    Step {
        name: "printed commands",
        run: printed_commands,
    },
];

/// What makes the keys, and what its parts need.
const MAKE: &str = "tests/vectors/tools/make.sh";
const PYTHON_PACKAGES: &str = "tests/vectors/tools/make/requirements.txt";
const NPM_PACKAGES: &str = "tests/vectors/tools/make/package.json";

/// Where Debian puts go-jose.
const GO_JOSE: &str = "/usr/share/gocode/src/gopkg.in/square/go-jose.v2";

/// Runs the steps and tells which ran, which could not, and which failed.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    step::run(workspace, STEPS, OnFailure::Continue).conclude()
}

/// What a tool needs in the environment of `make.sh`; an error says why it cannot run here.
type Prepare = fn(&Workspace) -> Result<Vec<(&'static str, PathBuf)>>;

/// Makes the keys of one tool and gives them to the tests.
fn keys(workspace: &Workspace, tool: &str, prepare: Prepare) -> Result<Outcome> {
    let environment = match prepare(workspace) {
        Ok(environment) => environment,
        Err(reason) => return Ok(Outcome::NotRun(reason.to_string())),
    };
    let folder = folder(workspace, "keys")?;
    let mut make = workspace.program(MAKE, "");
    command::run(make.arg(&folder).arg(tool).envs(environment))?;
    let test = format!("keys::what_{tool}_writes_is_read_or_named");
    let mut judge = tests(workspace, &test)?;
    command::run(judge.env("FOREIGN_KEYS", folder))?;
    Ok(Outcome::Passed)
}

fn printed_commands(workspace: &Workspace) -> Result<Outcome> {
    if let Err(reason) = openssl(workspace).and_then(|_| keytool(workspace)) {
        return Ok(Outcome::NotRun(reason.to_string()));
    }
    let test = "printed::every_command_of_a_hint_does_what_it_is_printed_for";
    command::run(&mut tests(workspace, test)?)?;
    let test = "printed::every_option_that_a_hint_names_is_taken_by_its_command";
    command::run(&mut tests(workspace, test)?)?;
    Ok(Outcome::Passed)
}

/// The command that runs one test of `tests/it`.
///
/// A name that fits no test would succeed as well, having run none.
fn tests(workspace: &Workspace, name: &str) -> Result<Command> {
    let test = || {
        let args = "test --package maskinporten-tests --all-features --locked --test it -- --exact";
        let mut test = workspace.cargo(args);
        test.arg(name);
        test
    };
    let found = command::read(test().arg("--list"))?;
    if !found.contains(&format!("{name}: test")) {
        return Err(format!("there is no test {name}").into());
    }
    let mut test = test();
    test.arg("--nocapture");
    Ok(test)
}

/// A folder of ours below the target folder.
fn folder(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.target.join("foreign").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

// ===== what each tool needs =====

fn openssl(_: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    system::ensure("openssl")?;
    system::ensure("xxd")?;
    system::ensure_of("ssh-keygen", "openssh-client")?;
    Ok(Vec::new())
}

fn node(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    system::ensure_of("node", "nodejs")?;
    system::ensure("npm")?;
    let folder = folder(workspace, "npm")?;
    fs::copy(
        workspace.root.join(NPM_PACKAGES),
        folder.join("package.json"),
    )?;
    let mut install = workspace.program("npm", "install --no-audit --no-fund --ignore-scripts");
    command::run(install.arg("--prefix").arg(&folder))?;
    Ok(vec![("NODE_PATH", folder.join("node_modules"))])
}

fn python(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    system::ensure("python3")?;
    let folder = folder(workspace, "python")?;
    let python = folder.join("bin/python");
    let mut venv = workspace.program("python3", "-m venv");
    command::run(venv.arg(&folder))?;
    let mut install = workspace.program(&python, "-m pip install --quiet --requirement");
    command::run(install.arg(PYTHON_PACKAGES))?;
    Ok(vec![("PYTHON", python)])
}

fn go(_: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    system::ensure_of("go", "golang")?;
    if !Path::new(GO_JOSE).is_dir() {
        system::install("golang-gopkg-square-go-jose.v2-dev")?;
    }
    Ok(Vec::new())
}

fn keytool(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    openssl(workspace)?;
    system::ensure_of("keytool", "default-jre-headless")?;
    Ok(Vec::new())
}

/// No package of Debian's has it, so that it must be there.
fn nimbus(_: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    if env::var_os("NIMBUS_CLASSPATH").is_none() {
        return Err("NIMBUS_CLASSPATH does not name the JAR file of nimbus-jose-jwt".into());
    }
    system::ensure_of("java", "default-jdk-headless")?;
    Ok(Vec::new())
}
