//! The measuring program runs itself: in processes with another memory layout each, and under valgrind.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::Result;
use crate::report::Unavailable;

/// What this program was started with, without what cargo adds: nothing where it is to judge itself.
#[must_use]
pub fn arguments() -> Vec<String> {
    let arguments = env::args().skip(1);
    arguments.filter(|argument| argument != "--bench").collect()
}

/// What this program prints as JSON when it is started again with `args`.
///
/// # Errors
///
/// If it cannot be started, fails, or prints something else.
pub fn again(args: &[&str]) -> Result<Value> {
    let mut command = Command::new(env::current_exe()?);
    let output = successful(command.args(args).stderr(Stdio::inherit()))?;
    let json = serde_json::from_slice(&output.stdout);
    json.map_err(|error| format!("`{}` printed no JSON: {error}", args.join(" ")).into())
}

/// The same of `count` processes, one after the other.
///
/// # Errors
///
/// As [`again`].
pub fn processes(count: usize, args: &[&str]) -> Result<Vec<Value>> {
    (0..count).map(|_| again(args)).collect()
}

/// How many instructions one call takes, as valgrind counts them when this program is started again
/// with `args` and a number of calls: the difference of two such runs is calls and nothing else, start
/// and warm-up fall out. It repeats to the digit on every machine that runs the same code.
///
/// # Errors
///
/// [`Unavailable`] where valgrind is missing; another where it or the program fails, or where more calls
/// took no more instructions.
pub fn instructions(args: &[&str], [few, many]: [usize; 2]) -> Result<f64> {
    per_call([few, many], [total(args, few)?, total(args, many)?])
}

fn per_call([few, many]: [usize; 2], [of_few, of_many]: [u64; 2]) -> Result<f64> {
    if few >= many || of_few >= of_many {
        return Err("more calls took no more instructions: is the work optimised away?".into());
    }
    Ok((of_many - of_few) as f64 / (many - few) as f64)
}

fn total(args: &[&str], calls: usize) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(args)
        .arg(calls.to_string());
    let output = successful(&mut valgrind)?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said).ok_or_else(|| format!("valgrind named no total:\n{said}").into())
}

/// The total on callgrind's line `==1234== Collected : 56789`.
fn collected(said: &str) -> Option<u64> {
    let (_, total) = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))?;
    total.trim().parse().ok()
}

fn successful(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .map_err(|error| not_started(command, error))?;
    if output.status.success() {
        return Ok(output);
    }
    let args = command.get_args().collect::<Vec<_>>().join(OsStr::new(" "));
    let (args, said) = (args.display(), String::from_utf8_lossy(&output.stderr));
    let message = format!("`{args}` ended with {}\n{}", output.status, said.trim());
    Err(message.trim().into())
}

fn not_started(command: &Command, error: io::Error) -> Box<dyn std::error::Error> {
    let program = command.get_program().display();
    if error.kind() == io::ErrorKind::NotFound {
        Unavailable::new(format!("{program} is missing")).into()
    } else {
        format!("{program} could not be started: {error}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_callgrind_is_read() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n==7== I   refs:      1,234,567\n";

        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==7== Collected : none"), None);
        assert_eq!(collected("valgrind: not found"), None);
    }

    #[test]
    fn instructions_are_counted_without_start_and_warm_up() {
        let totals = [7_000_000, 7_000_000 + 2_000 * 750];

        assert_eq!(per_call([1_000, 3_000], totals).unwrap(), 750.0);
    }

    #[test]
    fn calls_that_cost_nothing_were_not_counted() {
        assert!(per_call([1, 2], [5, 5]).is_err());
        assert!(per_call([1, 2], [6, 5]).is_err());
        assert!(per_call([2, 2], [5, 6]).is_err());
    }

    #[test]
    fn a_program_that_is_missing_cannot_be_used_here() {
        let error = successful(&mut Command::new("no-such-program")).unwrap_err();

        assert!(error.is::<Unavailable>());
        assert_eq!(error.to_string(), "no-such-program is missing");
    }

    #[test]
    fn a_program_that_fails_is_an_error() {
        let error = successful(&mut Command::new("false")).unwrap_err();

        assert!(!error.is::<Unavailable>());
    }
}
