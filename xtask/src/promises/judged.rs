//! The measuring programs that judge themselves by the measure kit: they print a promise line for each
//! finding, and here they are only built, run and read.

use maskinporten_measure::Finding;

use super::program::Program;
use super::{Measured, Result, Workspace};
use crate::system;

impl Measured {
    /// Runs the bench target `bench` of `package` and takes in the lines that it prints for `promise`.
    ///
    /// A program that cannot be built, fails, prints no line of the promise or a line that is no verdict
    /// is a finding too, and a failure.
    pub(super) fn add_judged(
        &mut self,
        workspace: &Workspace,
        package: &str,
        bench: &str,
        promise: &str,
    ) {
        let printed = Program::build(workspace, package, bench).and_then(|program| program.lines());
        match printed {
            Ok((printed, failure)) => self.findings.extend(read(&printed, failure, promise)),
            Err(error) => self
                .findings
                .push(Finding::unmeasured(bench, error.to_string())),
        }
    }
}

/// Makes sure that instructions can be counted, where that needs no question. In CI they must be;
/// elsewhere the programs say which figures are not judged without.
pub(super) fn ensure_valgrind() -> Result<()> {
    system::ensure("valgrind").or_else(|error| {
        if system::in_ci() {
            return Err(error);
        }
        eprintln!("{error}");
        Ok(())
    })
}

/// The findings among the lines of a program, and what the lines or its end tell against it.
fn read(printed: &str, failure: Option<String>, promise: &str) -> Vec<Finding> {
    let finding = |line: &str| {
        let read = Finding::read(line, promise);
        read.unwrap_or_else(|error| {
            let reason = format!("a line is no verdict, {error}:\n{line}");
            Finding::unmeasured("measuring program", reason)
        })
    };
    let mut findings: Vec<Finding> = printed.lines().map(finding).collect();
    let silence = findings
        .is_empty()
        .then(|| format!("the program printed no line of {promise}"));
    let against = [silence, failure].into_iter().flatten();
    findings.extend(against.map(|reason| Finding::unmeasured("measuring program", reason)));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use maskinporten_measure::{Bound, Unit};

    fn kept() -> Finding {
        Finding::judged("time", 1.2, Bound::at_most(1.35, Unit::Ratio))
    }

    #[track_caller]
    fn check(printed: &str, failure: Option<&str>, expected: &[Finding]) {
        assert_eq!(
            read(printed, failure.map(str::to_owned), "P1"),
            expected,
            "{printed}"
        );
    }

    fn program(reason: &str) -> Finding {
        Finding::unmeasured("measuring program", reason)
    }

    #[test]
    fn the_lines_of_a_program_are_its_findings() {
        let slow = Finding::judged("threads", 1.2, Bound::at_least(1.8, Unit::Ratio));
        let printed = format!("{}\n{}\n", kept().line("P1"), slow.line("P1"));

        check(&printed, None, &[kept(), slow]);
    }

    #[test]
    fn a_program_without_a_line_is_no_pass() {
        check("", None, &[program("the program printed no line of P1")]);
    }

    #[test]
    fn a_program_that_fails_after_its_lines_is_no_pass() {
        let failure = "exit status: 101";

        check(
            &kept().line("P1"),
            Some(failure),
            &[kept(), program(failure)],
        );
    }

    #[test]
    fn a_line_that_is_no_verdict_is_no_pass() {
        let found = |line: &str| read(line, None, "P1");

        assert!(found(&kept().line("P2"))[0].is_failure());
        assert!(found("{}")[0].is_failure());
        assert!(found(&format!("{}\nwarming up", kept().line("P1")))[1].is_failure());
    }
}
