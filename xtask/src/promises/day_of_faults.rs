//! P5, the other half: a day of faults at random.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::Result;
use super::outage::{NO_WAIT, NONE, SOME};
use super::samples::{list, number};

const HOURS: Bound = Bound::at_least(24.0, Unit::Count);
/// The longest that a failure is remembered, for a refusal as for `Retry-After`.
const REMEMBERED: Bound = Bound::at_most(60_000.0, Unit::Milliseconds);
/// Several lives of tokens side by side, and Altinn's.
const IDENTITIES: usize = 5;

pub(super) fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let identities = list(samples, "/identities")?.len();
    if identities < IDENTITIES {
        return Err(format!("only {identities} identities, {IDENTITIES} are needed").into());
    }
    let figure = |member: &str| number(samples, &format!("/{member}"));
    let judged = |what: &str, member: &str, bound| -> Result<Finding> {
        Ok(Finding::judged(what, figure(member)?, bound))
    };
    let about = format!(
        "seed {}: {} requests of {identities} identities, {} spells of faults",
        figure("seed")?,
        figure("requests")?,
        figure("spells")?
    );
    Ok(vec![
        judged("hours of faults at random", "hours", HOURS)?.with_note(about),
        judged("failed for want of a token (control)", "failed", SOME)?,
        judged("failed with a good token", "failed_with_a_good_token", NONE)?,
        judged("failed before any fault", "failed_before_any_fault", NONE)?,
        judged(
            "latest failure after its spell of faults",
            "longest_after_its_spell_ms",
            REMEMBERED,
        )?,
        judged("requests with an expired token, by day", "expired", NONE)?,
        judged(
            "longest wait while the token is good, by day",
            "longest_needless_wait_ms",
            NO_WAIT,
        )?,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        json!({"seed": 7, "identities": ["a", "b", "c", "d", "e"], "spells": 150, "hours": 24.0,
            "requests": 50_000, "failed": 9_000, "failed_with_a_good_token": 0,
            "failed_before_any_fault": 0, "longest_after_its_spell_ms": 54_000.0, "expired": 0,
            "longest_needless_wait_ms": 0.0})
    }

    #[track_caller]
    fn check(member: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        samples[member] = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn a_request_fails_only_while_no_token_can_be_had() {
        check("hours", json!(24.0), &[]);
        check("hours", json!(23.0), &["hours of faults at random"]);
        check(
            "failed",
            json!(0),
            &["failed for want of a token (control)"],
        );
        check(
            "failed_with_a_good_token",
            json!(1),
            &["failed with a good token"],
        );
        check(
            "failed_before_any_fault",
            json!(1),
            &["failed before any fault"],
        );
        check(
            "longest_after_its_spell_ms",
            json!(60_001.0),
            &["latest failure after its spell of faults"],
        );
        check(
            "expired",
            json!(1),
            &["requests with an expired token, by day"],
        );
        check(
            "longest_needless_wait_ms",
            json!(1.0),
            &["longest wait while the token is good, by day"],
        );
    }

    #[test]
    fn the_seed_is_told() {
        let findings = judge(&samples()).unwrap();

        assert_eq!(
            findings[0].note.as_deref(),
            Some("seed 7: 50000 requests of 5 identities, 150 spells of faults")
        );
    }

    #[test]
    fn a_few_identities_are_no_measure() {
        let mut few = samples();
        few["identities"] = json!(["a"]);
        assert!(judge(&few).is_err());
    }
}
