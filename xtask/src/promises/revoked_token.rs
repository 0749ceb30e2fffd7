//! P6: many requests are under way when their token is revoked.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::samples::number;
use super::{Measured, Result, Workspace};

const IN_FLIGHT: f64 = 1_000.0;
const NONE: Bound = Bound::exactly(0.0, Unit::Count);
const ONE: Bound = Bound::exactly(1.0, Unit::Count);

/// A kind of token, and what replacing it may take. Altinn's is had for the Maskinporten token that is
/// there already.
struct Kind {
    name: &'static str,
    grants: Bound,
    exchanges: Bound,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "raw",
        grants: ONE,
        exchanges: NONE,
    },
    Kind {
        name: "altinn",
        grants: NONE,
        exchanges: ONE,
    },
];

pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add_program(workspace, "revoked_token", judge);
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for kind in &KINDS {
        findings.extend(judge_kind(samples, kind)?);
    }
    Ok(findings)
}

fn judge_kind(samples: &Value, kind: &Kind) -> Result<[Finding; 4]> {
    let figure = |member: &str| number(samples, &format!("/{}/{member}", kind.name));
    let in_flight = figure("in_flight")?;
    if in_flight < IN_FLIGHT {
        return Err(format!("only {in_flight} requests were in flight").into());
    }
    let judged = |what: &str, member: &str, bound| -> Result<Finding> {
        let what = format!("{}: {what}", kind.name);
        Ok(Finding::judged(what, figure(member)?, bound))
    };
    let all = Bound::exactly(in_flight, Unit::Count);
    Ok([
        judged("requests in flight that got a 401", "rejected", all)?,
        judged("token requests that followed", "new_grants", kind.grants)?,
        judged("exchanges that followed", "new_exchanges", kind.exchanges)?,
        judged("requests that the API took then", "accepted_after", ONE)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        let kind = |grants: u32, exchanges: u32| {
            json!({"in_flight": 1_000, "rejected": 1_000, "new_grants": grants,
                "new_exchanges": exchanges, "accepted_after": 1})
        };
        json!({"raw": kind(1, 0), "altinn": kind(0, 1)})
    }

    #[track_caller]
    fn check(pointer: &str, value: u32, broken: &[&str]) {
        let mut samples = samples();
        *samples.pointer_mut(pointer).unwrap() = json!(value);

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn one_new_token_is_promised() {
        check("/raw/new_grants", 1, &[]);
        check("/raw/new_grants", 0, &["raw: token requests that followed"]);
        check("/raw/new_grants", 2, &["raw: token requests that followed"]);
        check(
            "/altinn/new_exchanges",
            2,
            &["altinn: exchanges that followed"],
        );
        check(
            "/altinn/rejected",
            999,
            &["altinn: requests in flight that got a 401"],
        );
        check(
            "/raw/accepted_after",
            0,
            &["raw: requests that the API took then"],
        );
    }

    #[test]
    fn fewer_requests_in_flight_are_no_measure() {
        let mut few = samples();
        few["altinn"]["in_flight"] = json!(999);
        assert!(judge(&few).is_err());
    }
}
