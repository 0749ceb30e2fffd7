//! P1: an authorised call on a cached token against tower-http's static `AddAuthorization` on the
//! same inner service, in the three ways a service is used.
//!
//! - Instructions are the gate: they repeat to the digit where time swings by a factor of two.
//! - Time and threads are medians of interleaved pairs of one run.
//! - Threads are judged only where a control that shares nothing shows the machine has two to give.

use serde_json::{Value, json};

use super::finding::{Bound, Finding, Unit};
use super::program::Program;
use super::samples::{median, number, pairs};
use super::{Measured, Result, Workspace, adapters};

/// A way of using the service, and what its instructions may be, as a multiple of the static header's.
struct Way {
    name: &'static str,
    instructions: Bound,
}

const WAYS: [Way; 3] = [
    Way {
        name: "kept",
        instructions: Bound::at_most(1.25, Unit::Ratio),
    },
    // The baseline is cloned for every call too, but its clone has less to copy.
    Way {
        name: "cloned",
        instructions: Bound::at_most(1.30, Unit::Ratio),
    },
    Way {
        name: "shared",
        instructions: Bound::at_most(1.25, Unit::Ratio),
    },
];

const TIME: Bound = Bound::at_most(1.35, Unit::Ratio);
const TIME_PAIRS: usize = 50;

const TWO_THREADS: Bound = Bound::at_least(1.8, Unit::Ratio);
const THREAD_PAIRS: usize = 15;
/// Below this the machine, not the code, is what keeps two threads from twice the work of one.
const CONTROL: Bound = Bound::at_least(1.9, Unit::Ratio);

const ALLOCATIONS: Bound = Bound::exactly(0.0, Unit::Count);

/// Measures the four costs, and what each client adds to them; one that cannot be measured hides no other.
pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let program = Program::build(workspace, "tower-maskinporten", "authorised_call")?;
    let mut measured = Measured::default();
    measured.add("instructions", instructions(&program));
    measured.add("time", program.json("time").and_then(judged(time)));
    measured.add("threads", program.json("threads").and_then(judged(threads)));
    measured.add(
        "allocations",
        program.json("allocations").and_then(judged(allocations)),
    );
    measured.add_program(workspace, "adapters", adapters::judge);
    Ok(measured)
}

/// Judges every way of use by `judge` and keeps what was judged.
fn judged(
    judge: fn(&Value, &Way) -> Result<Finding>,
) -> impl Fn(Value) -> Result<(Vec<Finding>, Value)> {
    move |samples| {
        let findings = WAYS
            .iter()
            .map(|way| judge(&samples, way))
            .collect::<Result<_>>()?;
        Ok((findings, samples))
    }
}

fn time(samples: &Value, way: &Way) -> Result<Finding> {
    let pairs = pairs(samples, &format!("/ways/{}/pairs", way.name), TIME_PAIRS)?;
    let ratio = median(pairs.iter().map(|[ours, fixed]| ours / fixed))?;
    Ok(Finding::judged(
        format!("time ÷ that of a static header, {}", way.name),
        ratio,
        TIME,
    ))
}

fn threads(samples: &Value, way: &Way) -> Result<Finding> {
    let speedup = |of: &str| {
        let pairs = pairs(samples, &format!("/ways/{}/{of}", way.name), THREAD_PAIRS)?;
        median(pairs.iter().map(|[one, two]| two / one))
    };
    let what = format!("two threads ÷ one, {}", way.name);
    let finding = Finding::judged(what, speedup("pairs")?, TWO_THREADS);
    let control = speedup("control")?;
    if CONTROL.holds(control) {
        Ok(finding.with_note(format!("control: {control:.2}")))
    } else {
        Ok(finding.not_judged(format!("control reached only {control:.2}")))
    }
}

fn allocations(samples: &Value, way: &Way) -> Result<Finding> {
    let count = number(samples, &format!("/{}", way.name))?;
    Ok(Finding::judged(
        format!("heap allocations, {}", way.name),
        count,
        ALLOCATIONS,
    ))
}

// ===== instructions =====

/// Two lengths of run: their difference is calls and nothing else, start and warm-up fall out.
const CALLS: [u64; 2] = [1_000, 3_000];

fn instructions(program: &Program<'_>) -> Result<(Vec<Finding>, Value)> {
    let mut findings = Vec::new();
    let mut samples = serde_json::Map::new();
    for way in &WAYS {
        let ours = totals(program, way, "ours")?;
        let fixed = totals(program, way, "static")?;
        findings.push(judge_instructions(way, ours, fixed)?);
        samples.insert(
            way.name.to_owned(),
            json!({"ours": ours, "static": fixed, "calls": CALLS}),
        );
    }
    Ok((findings, Value::Object(samples)))
}

/// What the two runs take in all.
fn totals(program: &Program<'_>, way: &Way, subject: &str) -> Result<[u64; 2]> {
    let total = |calls: u64| {
        let way = way.name;
        program.instructions(&format!(
            "count --way {way} --subject {subject} --calls {calls}"
        ))
    };
    Ok([total(CALLS[0])?, total(CALLS[1])?])
}

fn judge_instructions(way: &Way, ours: [u64; 2], fixed: [u64; 2]) -> Result<Finding> {
    let (ours, fixed) = (per_call(ours)?, per_call(fixed)?);
    let what = format!("instructions ÷ those of a static header, {}", way.name);
    let finding = Finding::judged(what, ours / fixed, way.instructions);
    Ok(finding.with_note(format!("{ours:.0} ÷ {fixed:.0} a call")))
}

fn per_call([few, many]: [u64; 2]) -> Result<f64> {
    let of_calls = many
        .checked_sub(few)
        .filter(|instructions| *instructions > 0);
    let of_calls =
        of_calls.ok_or("more calls took no more instructions: is the work optimised away?")?;
    Ok(of_calls as f64 / (CALLS[1] - CALLS[0]) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    const KEPT: &Way = &WAYS[0];

    fn repeated(pair: [f64; 2], times: usize) -> Vec<[f64; 2]> {
        vec![pair; times]
    }

    #[test]
    fn instructions_are_counted_without_start_and_warm_up() {
        let fixed = [5_000_000, 5_000_000 + 2_000 * 800];

        let kept = judge_instructions(KEPT, [7_000_000, 7_000_000 + 2_000 * 1_000], fixed).unwrap();
        let broken =
            judge_instructions(KEPT, [7_000_000, 7_000_000 + 2_000 * 1_001], fixed).unwrap();

        assert_eq!((kept.figure, kept.verdict), (Some(1.25), Verdict::Kept));
        assert_eq!(kept.note.unwrap(), "1000 ÷ 800 a call");
        assert_eq!(broken.verdict, Verdict::Broken);
    }

    #[test]
    fn calls_that_cost_nothing_were_not_counted() {
        assert!(per_call([5, 5]).is_err());
        assert!(per_call([6, 5]).is_err());
    }

    #[test]
    fn time_is_the_median_of_the_ratios() {
        let samples = json!({"ways": {"kept": {"pairs": repeated([130.0, 100.0], 50)}}});

        let finding = time(&samples, KEPT).unwrap();

        assert_eq!(
            (finding.figure, finding.verdict),
            (Some(1.3), Verdict::Kept)
        );
    }

    #[test]
    fn time_needs_enough_pairs() {
        let samples = json!({"ways": {"kept": {"pairs": repeated([130.0, 100.0], 49)}}});

        assert!(time(&samples, KEPT).is_err());
    }

    #[track_caller]
    fn check_threads(two: f64, control: f64, verdict: Verdict) {
        let way =
            json!({"pairs": repeated([1.0, two], 15), "control": repeated([1.0, control], 15)});

        assert_eq!(
            threads(&json!({"ways": {"kept": way}}), KEPT)
                .unwrap()
                .verdict,
            verdict
        );
    }

    #[test]
    fn threads_are_judged_where_the_control_has_two() {
        check_threads(1.8, 1.9, Verdict::Kept);
        check_threads(1.7, 1.9, Verdict::Broken);
        check_threads(1.7, 1.8, Verdict::NotJudged);
        check_threads(1.9, 1.8, Verdict::NotJudged);
    }

    #[test]
    fn one_allocation_is_too_many() {
        assert_eq!(
            allocations(&json!({"kept": 0}), KEPT).unwrap().verdict,
            Verdict::Kept
        );
        assert_eq!(
            allocations(&json!({"kept": 1}), KEPT).unwrap().verdict,
            Verdict::Broken
        );
        assert!(allocations(&json!({"cloned": 0}), KEPT).is_err());
    }
}
