//! P5: the token server is gone for a time shorter than what is left of the token.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::samples::{list, number, text};
use super::{Measured, Result, Workspace, day_of_faults};

pub(super) const NONE: Bound = Bound::exactly(0.0, Unit::Count);
/// Even a wait without duration is printed as one millisecond.
pub(super) const NO_WAIT: Bound = Bound::exactly(0.0, Unit::Milliseconds);
/// Of a control: it shows that what must not happen would have been seen.
pub(super) const SOME: Bound = Bound::at_least(1.0, Unit::Count);

/// Lives of tokens in seconds, from the shortest to the longest that is met with.
const LIVES: [f64; 5] = [30.0, 120.0, 599.0, 1_800.0, 7_200.0];
/// Requests in one outage; fewer would pass by what goes wrong.
const REQUESTS: f64 = 400.0;

/// Measures single outages, and a day of faults at random.
pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add_program(workspace, "outage", judge);
    measured.add_program(workspace, "day_of_faults", day_of_faults::judge);
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut expired = number(samples, "/control/expired")?;
    let mut wait: f64 = 0.0;
    for life in LIVES {
        let of = of_life(samples, life)?;
        findings.push(failed(of, life)?);
        expired += number(of, "/expired")?;
        wait = wait.max(number(of, "/longest_needless_wait_ms")?);
    }
    let control = number(samples, "/control/failed")?;
    findings.extend([
        Finding::judged("requests with an expired token", expired, NONE),
        Finding::judged("longest wait while the token is good", wait, NO_WAIT),
        Finding::judged(
            "failed requests in a longer outage (control)",
            control,
            SOME,
        ),
    ]);
    Ok(findings)
}

fn of_life(samples: &Value, life: f64) -> Result<&Value> {
    let of = list(samples, "/lives")?
        .iter()
        .find(|of| of["life_s"].as_f64() == Some(life));
    Ok(of.ok_or_else(|| format!("the program printed nothing for a life of {life} s"))?)
}

fn failed(of: &Value, life: f64) -> Result<Finding> {
    let outages = list(of, "/outages")?;
    let requests = number(of, "/requests")?;
    if requests < REQUESTS * outages.len() as f64 {
        return Err(format!("only {requests} requests in {} outages", outages.len()).into());
    }
    let failed = number(of, "/failed")?;
    let what = format!("failed requests, life of {life} s");
    let finding = Finding::judged(what, failed, NONE);
    let mut note = format!("{requests} requests in {} outages", outages.len());
    if let Some(worst) = worst(outages)? {
        note = format!("{note}; the worst: {worst}");
    }
    Ok(finding.with_note(note))
}

/// The outage in which most requests failed, in words.
fn worst(outages: &[Value]) -> Result<Option<String>> {
    let mut worst = (0.0, None);
    for outage in outages {
        let failed = number(outage, "/failed")?;
        if failed > worst.0 {
            worst = (failed, Some(outage));
        }
    }
    let (failed, Some(outage)) = worst else {
        return Ok(None);
    };
    let kind = text(outage, "/kind")?;
    let (from, until) = (number(outage, "/from")?, number(outage, "/until")?);
    let share = |part: f64| format!("{:.1} %", part * 100.0);
    Ok(Some(format!(
        "{failed} failed with {kind} from {} to {} of the time that the token is used",
        share(from),
        share(until)
    )))
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        let life = |life: f64| {
            json!({"life_s": life, "requests": 960, "failed": 0, "expired": 0,
            "longest_needless_wait_ms": 0.0, "outages": [
                {"kind": "503", "from": 0.01, "until": 0.9, "failed": 0},
                {"kind": "silence", "from": 0.5, "until": 0.97, "failed": 0},
            ]})
        };
        json!({"lives": LIVES.map(life), "control": {"failed": 9, "expired": 0}})
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        *samples.pointer_mut(pointer).unwrap() = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn nobody_notices_a_short_outage() {
        check("/control/failed", json!(9), &[]);
        check(
            "/lives/0/failed",
            json!(1),
            &["failed requests, life of 30 s"],
        );
        check(
            "/lives/4/expired",
            json!(1),
            &["requests with an expired token"],
        );
        check(
            "/control/expired",
            json!(1),
            &["requests with an expired token"],
        );
        check(
            "/lives/2/longest_needless_wait_ms",
            json!(1.0),
            &["longest wait while the token is good"],
        );
    }

    #[test]
    fn a_control_that_feels_nothing_proves_nothing() {
        check(
            "/control/failed",
            json!(0),
            &["failed requests in a longer outage (control)"],
        );
    }

    #[test]
    fn the_worst_outage_is_named() {
        let mut samples = samples();
        samples["lives"][0]["failed"] = json!(7);
        samples["lives"][0]["outages"][1]["failed"] = json!(7);

        let findings = judge(&samples).unwrap();

        assert_eq!(
            findings[0].note.as_deref(),
            Some(
                "960 requests in 2 outages; the worst: 7 failed with silence from 50.0 % to 97.0 % of \
                 the time that the token is used"
            )
        );
    }

    #[test]
    fn a_missing_life_or_too_few_requests_are_no_measure() {
        let mut missing = samples();
        missing["lives"].as_array_mut().unwrap().remove(3);
        assert!(judge(&missing).is_err());

        let mut few = samples();
        few["lives"][0]["requests"] = json!(799);
        assert!(judge(&few).is_err());
    }
}
