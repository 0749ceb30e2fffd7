//! Steps in order: each is named, timed, and stands in the closing summary.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::Result;
use crate::cargo::Workspace;

/// One question to the workspace.
#[derive(Debug)]
pub(crate) struct Step {
    /// What it is called in the output.
    pub(crate) name: &'static str,
    /// Asks; an error is a no.
    pub(crate) run: fn(&Workspace) -> Result<Outcome>,
}

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran and found nothing.
    Passed,
    /// It could not run here. Never a pass: the summary says so, with this reason.
    NotRun(String),
}

/// Whether the steps after a failed one still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// The first failure is the answer.
    Stop,
    /// Every step has its own answer.
    Continue,
}

/// The exit code where nothing failed, but not everything was asked.
const INCOMPLETE: u8 = 3;

/// Runs `steps` in order.
pub(crate) fn run(workspace: &Workspace, steps: &[Step], on_failure: OnFailure) -> Summary {
    let mut summary = Summary {
        ended: Vec::new(),
        steps: steps.len(),
    };
    for step in steps {
        let started = Instant::now();
        eprintln!("\n== {}", step.name);
        let ended = Ended {
            name: step.name,
            outcome: (step.run)(workspace),
            took: started.elapsed(),
        };
        eprintln!(
            "== {} {} in {}",
            ended.name,
            ended.verdict(),
            Seconds(ended.took)
        );
        let failed = ended.outcome.is_err();
        summary.ended.push(ended);
        if failed && on_failure == OnFailure::Stop {
            break;
        }
    }
    summary
}

// ===== impl Summary =====

/// How the steps ended; printed, it is a line per step and its reason where there is one.
#[derive(Debug)]
pub(crate) struct Summary {
    ended: Vec<Ended>,
    steps: usize,
}

impl Summary {
    /// The names of the steps that failed.
    pub(crate) fn failed(&self) -> Vec<&'static str> {
        self.names(|ended| ended.outcome.is_err())
    }

    /// The names of the steps that could not run here.
    pub(crate) fn not_run(&self) -> Vec<&'static str> {
        self.names(|ended| matches!(ended.outcome, Ok(Outcome::NotRun(_))))
    }

    /// Prints itself, and says whether all was asked and nothing failed.
    pub(crate) fn conclude(&self) -> ExitCode {
        println!("\n{self}");
        if !self.not_run().is_empty() {
            println!("not run, so not known: {}", self.not_run().join(", "));
        }
        match (self.failed().is_empty(), self.not_run().is_empty()) {
            (false, _) => ExitCode::FAILURE,
            (true, false) => ExitCode::from(INCOMPLETE),
            (true, true) => ExitCode::SUCCESS,
        }
    }

    fn names(&self, wanted: impl Fn(&Ended) -> bool) -> Vec<&'static str> {
        self.ended
            .iter()
            .filter(|ended| wanted(ended))
            .map(|ended| ended.name)
            .collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ended in &self.ended {
            writeln!(
                f,
                "{:8} {:24} {:>9}",
                ended.verdict(),
                ended.name,
                Seconds(ended.took).to_string()
            )?;
            let Some(reason) = ended.reason() else {
                continue;
            };
            reason
                .lines()
                .try_for_each(|line| writeln!(f, "         {line}"))?;
        }
        let (failed, not_run) = (self.failed().len(), self.not_run().len());
        let passed = self.ended.len() - failed - not_run;
        let took = Seconds(self.ended.iter().map(|ended| ended.took).sum());
        let steps = self.steps;
        write!(
            f,
            "{passed} passed, {failed} failed, {not_run} not run, of {steps} steps in {took}"
        )
    }
}

// ===== impl Ended =====

#[derive(Debug)]
struct Ended {
    name: &'static str,
    outcome: Result<Outcome>,
    took: Duration,
}

impl Ended {
    fn verdict(&self) -> &'static str {
        match &self.outcome {
            Ok(Outcome::Passed) => "passed",
            Ok(Outcome::NotRun(_)) => "not run",
            Err(_) => "failed",
        }
    }

    fn reason(&self) -> Option<String> {
        match &self.outcome {
            Ok(Outcome::Passed) => None,
            Ok(Outcome::NotRun(reason)) => Some(reason.clone()),
            Err(error) => Some(error.to_string()),
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Step] = &[
        Step {
            name: "first",
            run: |_| Ok(Outcome::Passed),
        },
        Step {
            name: "absent",
            run: |_| Ok(Outcome::NotRun("no tool".to_owned())),
        },
        Step {
            name: "broken",
            run: |_| Err("exit status: 1; to run it again:\ncargo fmt".into()),
        },
        Step {
            name: "last",
            run: |_| Ok(Outcome::Passed),
        },
    ];

    fn summary(on_failure: OnFailure) -> Summary {
        let workspace = Workspace {
            root: "/".into(),
            target: "/".into(),
            packages: Vec::new(),
        };
        run(&workspace, STEPS, on_failure)
    }

    #[test]
    fn the_first_failure_ends_a_run_that_stops() {
        let summary = summary(OnFailure::Stop);

        assert_eq!(summary.failed(), ["broken"]);
        assert_eq!(summary.not_run(), ["absent"]);
        assert!(
            summary
                .to_string()
                .ends_with("1 passed, 1 failed, 1 not run, of 4 steps in 0.0 s"),
            "{summary}"
        );
    }

    #[test]
    fn a_failure_is_passed_by_in_a_run_that_continues() {
        let summary = summary(OnFailure::Continue);

        assert_eq!(summary.failed(), ["broken"]);
        assert!(
            summary
                .to_string()
                .ends_with("2 passed, 1 failed, 1 not run, of 4 steps in 0.0 s"),
            "{summary}"
        );
    }

    #[test]
    fn a_summary_gives_the_reason_and_the_line_to_repeat() {
        let text = summary(OnFailure::Stop).to_string();

        assert!(
            text.contains("not run  absent                       0.0 s\n         no tool\n"),
            "{text}"
        );
        assert!(text.contains("\n         cargo fmt\n"), "{text}");
    }
}
