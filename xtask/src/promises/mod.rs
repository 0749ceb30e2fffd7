//! `cargo xtask promises`: what the figures we claim measure today, on this machine.
//!
//! - A promise that is unknown, or that could not be measured, is a failure and never a pass.
//! - A figure is a ratio, a count or a difference inside one run, so that machines can differ.
//! - What is good enough is decided next to the measure: in the programs on the measure kit
//!   (`tests/measure`), which print their verdicts, and for all others in a file here.

mod adapters;
mod day_of_faults;
mod failing_server;
mod hostile_answers;
mod identities;
mod impatient_callers;
mod outage;
mod resident;
mod revoked_token;
mod rotation;

mod judged;
mod program;
mod report;
mod samples;

use std::process::ExitCode;

use maskinporten_measure::Finding;
use serde_json::Value;

use crate::Result;
use crate::cargo::Workspace;
use program::Program;

/// Every promise that has a measure, in the order of their numbers.
const PROMISES: &[Promise] = &[
    Promise {
        id: "P1",
        text: "an authorised call on a cached token costs little more than a static header",
        measure: |workspace| {
            judged::ensure_valgrind()?;
            let mut measured = Measured::default();
            measured.add_judged(workspace, "tower-maskinporten", "authorised_call", "P1");
            measured.add_program(workspace, "adapters", adapters::judge);
            Ok(measured)
        },
    },
    Promise {
        id: "P3",
        text: "10 000 callers on a cold entry cause one token request and one exchange, or share one error",
        measure: |workspace| {
            let mut measured = Measured::default();
            measured.add_judged(workspace, "maskinporten-tests", "cold_entry", "P3");
            measured.add_program(workspace, "failing_server", failing_server::judge);
            Ok(measured)
        },
    },
    Promise {
        id: "P4",
        text: "callers with less patience than the server needs get a token all the same",
        measure: impatient_callers::measure,
    },
    Promise {
        id: "P5",
        text: "an outage shorter than what is left of the token is not noticed; none is sent expired",
        measure: outage::measure,
    },
    Promise {
        id: "P6",
        text: "1 000 requests in flight on a revoked token cause one new token",
        measure: revoked_token::measure,
    },
    Promise {
        id: "P7",
        text: "100 000 identities are looked up as fast as ten, take little, and are bounded by a cap",
        measure: identities::measure,
    },
    Promise {
        id: "P8",
        text: "an assertion costs hardly more than its bare RSA-2048 signature",
        measure: |workspace| {
            judged::ensure_valgrind()?;
            let mut measured = Measured::default();
            measured.add_judged(workspace, "maskinporten", "assertion", "P8");
            Ok(measured)
        },
    },
    Promise {
        id: "P9",
        text: "keys rotated and settings swapped under 10 000 requests: none fails",
        measure: rotation::measure,
    },
    Promise {
        id: "P11",
        text: "whatever the token server sends: little memory, a typed error, within the deadline",
        measure: hostile_answers::measure,
    },
    Promise {
        id: "P13",
        text: "green in three commands; a service with tokens and 1 000 calls a second stays small",
        measure: resident::measure,
    },
    Promise {
        id: "P14",
        text: "a call on behalf of one of many organisations costs little more than a static header",
        measure: |workspace| {
            judged::ensure_valgrind()?;
            let mut measured = Measured::default();
            measured.add_judged(workspace, "tower-maskinporten", "organisations", "P14");
            Ok(measured)
        },
    },
    Promise {
        id: "P15",
        text: "one tenant's trouble is noticed by no other; an outage is probed and is over for all at its end",
        measure: |workspace| {
            let mut measured = Measured::default();
            measured.add_judged(workspace, "maskinporten-tests", "isolation", "P15");
            Ok(measured)
        },
    },
    Promise {
        id: "P16",
        text: "a crowd of one tenant is served where it stays, is forgotten where it goes, and delays no other",
        measure: |workspace| {
            let mut measured = Measured::default();
            measured.add_judged(workspace, "maskinporten-tests", "crowd", "P16");
            Ok(measured)
        },
    },
    Promise {
        id: "P17",
        text: "organisations at once are all served in time; in rounds they find their tokens, also where there are twice too many",
        measure: |workspace| {
            let mut measured = Measured::default();
            measured.add_judged(workspace, "maskinporten-tests", "rounds", "P17");
            Ok(measured)
        },
    },
];

/// One claim and the function that measures it.
#[derive(Debug)]
struct Promise {
    id: &'static str,
    text: &'static str,
    measure: fn(&Workspace) -> Result<Measured>,
}

/// What measuring one promise gave.
#[derive(Debug, Default)]
struct Measured {
    findings: Vec<Finding>,
    /// All that the measuring program said, under the name of the measurement.
    samples: serde_json::Map<String, Value>,
}

impl Measured {
    /// Takes in one measurement of several; one that failed is a finding too.
    fn add(&mut self, what: &str, measurement: Result<(Vec<Finding>, Value)>) {
        match measurement {
            Ok((findings, samples)) => {
                self.findings.extend(findings);
                self.samples.insert(what.to_owned(), samples);
            }
            Err(error) => self
                .findings
                .push(Finding::unmeasured(what, error.to_string())),
        }
    }

    /// Runs a bench target of the package that uses the crates as users do, and takes in what `judge`
    /// makes of what it prints.
    fn add_program(
        &mut self,
        workspace: &Workspace,
        bench: &str,
        judge: fn(&Value) -> Result<Vec<Finding>>,
    ) {
        self.add_program_of(workspace, "maskinporten-tests", bench, judge);
    }

    /// The same of another package.
    fn add_program_of(
        &mut self,
        workspace: &Workspace,
        package: &str,
        bench: &str,
        judge: fn(&Value) -> Result<Vec<Finding>>,
    ) {
        let judged = Program::build(workspace, package, bench)
            .and_then(|program| program.json(""))
            .and_then(|samples| Ok((judge(&samples)?, samples)));
        self.add(&bench.replace('_', " "), judged);
    }

    fn is_kept(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| !finding.is_failure())
    }
}

// ===== impl Request =====

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Request {
    json: bool,
    chosen: Vec<&'static Promise>,
}

impl Request {
    /// Reads what follows `promises` on the command line; no name means every promise.
    pub(crate) fn parse(args: &[&str]) -> Result<Self> {
        let (flags, names): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-'));
        if let Some(flag) = flags.iter().find(|flag| **flag != "--json") {
            return Err(format!("unknown option {flag}; there is only --json").into());
        }
        if let Some(name) = names.iter().find(|name| !known().any(|id| id == **name)) {
            let known: Vec<_> = known().collect();
            return Err(format!("unknown promise {name}; known are {}", known.join(", ")).into());
        }
        let chosen = |promise: &&Promise| names.is_empty() || names.contains(&promise.id);
        Ok(Self {
            json: !flags.is_empty(),
            chosen: PROMISES.iter().filter(chosen).collect(),
        })
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    PROMISES.iter().map(|promise| promise.id)
}

/// Measures what was asked for, prints it, and fails unless every promise was measured and kept.
pub(crate) fn run(workspace: &Workspace, request: &Request) -> Result<ExitCode> {
    let mut results = Vec::new();
    for promise in &request.chosen {
        eprintln!("\n== {}: {}", promise.id, promise.text);
        results.push((*promise, measure(workspace, promise)));
    }
    if request.json {
        println!("{}", serde_json::to_string_pretty(&report::json(&results))?);
    } else {
        println!("\n{}", report::table(&results));
    }
    let kept = results.iter().all(|(_, measured)| measured.is_kept());
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure(workspace: &Workspace, promise: &Promise) -> Measured {
    (promise.measure)(workspace).unwrap_or_else(|error| Measured {
        findings: vec![Finding::unmeasured("measuring program", error.to_string())],
        samples: serde_json::Map::new(),
    })
}

/// What a promise fails with, for the tests of its judge.
#[cfg(test)]
fn failures(findings: &[Finding]) -> Vec<&str> {
    let failures = findings.iter().filter(|finding| finding.is_failure());
    failures.map(|finding| finding.what.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &[&str]) -> Vec<&'static str> {
        Request::parse(args)
            .unwrap()
            .chosen
            .iter()
            .map(|promise| promise.id)
            .collect()
    }

    #[test]
    fn no_name_means_every_promise() {
        let every = [
            "P1", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11", "P13", "P14", "P15", "P16",
            "P17",
        ];
        assert_eq!(chosen(&[]), every);
        assert_eq!(chosen(&["--json"]), every);
    }

    #[test]
    fn names_choose_promises_once_and_in_their_order() {
        assert_eq!(chosen(&["P8", "--json", "P1", "P8"]), ["P1", "P8"]);
    }

    #[test]
    fn an_unknown_promise_is_a_failure_that_names_the_known() {
        let error = Request::parse(&["P1", "P99"]).unwrap_err().to_string();

        assert_eq!(
            error,
            "unknown promise P99; known are P1, P3, P4, P5, P6, P7, P8, P9, P11, P13, P14, P15, P16, P17"
        );
    }

    #[test]
    fn an_unknown_option_is_a_failure() {
        assert!(Request::parse(&["--jsno"]).is_err());
    }

    #[test]
    fn a_promise_that_cannot_be_measured_is_not_kept() {
        let workspace = Workspace {
            root: "/".into(),
            target: "/".into(),
            packages: Vec::new(),
        };
        let promise = Promise {
            id: "P0",
            text: "none",
            measure: |_| Err("no program".into()),
        };

        assert!(!measure(&workspace, &promise).is_kept());
        assert!(!Measured::default().is_kept());
    }
}
