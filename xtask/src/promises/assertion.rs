//! P8: an assertion built and signed against a bare RSA-2048 signature, both on the signing thread.

use serde_json::Value;

use super::finding::{Bound, Finding, Unit};
use super::program::Program;
use super::samples::{median, numbers, pairs};
use super::{Measured, Result, Workspace};

const ASSERTION: Bound = Bound::at_most(1.05, Unit::Ratio);
const PAIRS: usize = 50;

/// Measures the assertion; the hop to the signing thread is printed beside it and not judged.
pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let program = Program::build(workspace, "maskinporten", "assertion")?;
    let samples = program.json("")?;
    let mut measured = Measured::default();
    measured.add(
        "assertion",
        judge(&samples).map(|finding| (vec![finding], samples)),
    );
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Finding> {
    let pairs = pairs(samples, "/pairs", PAIRS)?;
    let ratio = median(pairs.iter().map(|[assertion, bare]| assertion / bare))?;
    let hop = median(numbers(samples, "/hop_ns")?)? / 1e3;
    let finding = Finding::judged("assertion ÷ its bare signature", ratio, ASSERTION);
    Ok(finding.with_note(format!("hop to the signing thread and back: {hop:.1} µs")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use serde_json::json;

    #[test]
    fn an_assertion_is_judged_by_its_signature() {
        let samples =
            json!({"pairs": vec![[262_000.0, 260_000.0]; 50], "hop_ns": [61_000, 75_000, 95_000]});

        let finding = judge(&samples).unwrap();

        assert_eq!(finding.verdict, Verdict::Kept);
        assert_eq!(
            finding.note.unwrap(),
            "hop to the signing thread and back: 75.0 µs"
        );
    }

    #[test]
    fn a_slow_assertion_breaks_the_promise() {
        let samples = json!({"pairs": vec![[280_000.0, 260_000.0]; 50], "hop_ns": [75_000]});

        assert_eq!(judge(&samples).unwrap().verdict, Verdict::Broken);
    }

    #[test]
    fn without_a_hop_it_is_unmeasured() {
        assert!(judge(&json!({"pairs": vec![[1.0, 1.0]; 50]})).is_err());
    }
}
