//! What this workspace asks of itself, in one command per question.
//!
//! - `cargo xtask test`: may this change land? What CI runs.
//! - `cargo xtask weekly`: do the promises to other people's builds still hold?
//! - `cargo xtask foreign`: are keys read as other tools write them today?
//! - `cargo xtask promises`: what do the figures we claim measure today?

#![allow(
    clippy::disallowed_methods,
    reason = "a build tool reads its environment and its watch"
)]

mod cargo;
mod command;
mod foreign;
mod promises;
mod step;
mod system;
mod test;
mod weekly;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use cargo::Workspace;

/// The result of whatever may fail here; the error is a text for the person at the terminal.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
usage: cargo xtask <verb>

  test                     all that a change must pass; what CI runs
  weekly                   oldest compiler, lowest versions, semver, public types
  foreign                  keys by tools of other languages, and the commands that hints print
  promises [--json] [P…]   measure the promises, or only those named";

/// Answers a command line that is not understood, as clap and most Unix tools do.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<ExitCode> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["test"] => Ok(test::run(&Workspace::load()?)),
        ["weekly"] => Ok(weekly::run(&Workspace::load()?)),
        ["foreign"] => Ok(foreign::run(&Workspace::load()?)),
        ["promises", rest @ ..] => {
            let request = promises::Request::parse(rest)?;
            promises::run(&Workspace::load()?, &request)
        }
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(USAGE_ERROR))
        }
    }
}
