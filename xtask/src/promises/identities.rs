//! P7: many identities of one client: what looking one up and keeping one costs.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::program::Program;
use super::samples::number;
use super::{Measured, Result, Workspace};

/// How many identities the promise speaks of; a run with fewer shows nothing.
const IDENTITIES: Bound = Bound::at_least(100_000.0, Unit::Count);
/// What a look-up among all of them may cost beside one among ten.
const LOOK_UP: Bound = Bound::at_most(1.5, Unit::Ratio);
/// What one identity may take beside its token's bytes.
const EACH: Bound = Bound::at_most(2_500.0, Unit::Bytes);

/// Measures look-ups, memory, and how many are kept under a cap.
pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let program = Program::build(workspace, "maskinporten-tests", "identities")?;
    let samples = program.json("")?;
    let mut measured = Measured::default();
    measured.add(
        "identities",
        judge(&samples).map(|findings| (findings, samples)),
    );
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let kept = Bound::at_most(number(samples, "/cap")?, Unit::Count);
    let all = number(samples, "/all")?;
    Ok(vec![
        Finding::judged("identities kept", number(samples, "/many")?, IDENTITIES),
        Finding::judged(
            "look-up, ten of them busy",
            number(samples, "/hot")?,
            LOOK_UP,
        )
        .with_note(format!(
            "{all:.1} where all are busy in no order: the machine's memory, not the map"
        )),
        Finding::judged("memory for each", number(samples, "/bytes_each")?, EACH),
        Finding::judged("kept under a cap", number(samples, "/kept_at_most")?, kept),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(hot: f64, bytes_each: f64, kept_at_most: u32, broken: &[&str]) {
        let samples = json!({"many": 100_000, "hot": hot, "all": 9.0, "bytes_each": bytes_each,
            "cap": 1_000, "kept_at_most": kept_at_most});

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn a_flat_look_up_little_memory_and_a_cap_are_promised() {
        check(1.1, 1_100.0, 1_000, &[]);
        check(1.6, 1_100.0, 1_000, &["look-up, ten of them busy"]);
        check(1.1, 2_501.0, 1_000, &["memory for each"]);
        check(1.1, 1_100.0, 1_001, &["kept under a cap"]);
    }

    #[test]
    fn a_missing_figure_is_an_error() {
        assert!(judge(&json!({"many": 100_000, "hot": 1.0})).is_err());
    }
}
