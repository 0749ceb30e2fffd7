//! P3, the other half: many callers at once on a cold slot before a server that gives no token.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::Result;
use super::samples::{number, text};

/// How many callers the promise speaks of; a run with fewer shows nothing.
const CALLERS: Bound = Bound::at_least(10_000.0, Unit::Count);
const NONE: Bound = Bound::exactly(0.0, Unit::Count);
/// A flight's deadline of 10 s, and the second after which one that stands still is given up.
const WAIT: Bound = Bound::at_most(11_000.0, Unit::Milliseconds);

/// A way of giving no token.
struct Case {
    name: &'static str,
    kind: &'static str,
    /// What one flight may ask: a refusal is the same the next time, all else is tried three times.
    requests: Bound,
}

const CASES: [Case; 3] = [
    Case {
        name: "unavailable",
        kind: "Unavailable",
        requests: Bound::at_most(3.0, Unit::Count),
    },
    Case {
        name: "invalid_client",
        kind: "Rejected",
        requests: Bound::exactly(1.0, Unit::Count),
    },
    Case {
        name: "silent",
        kind: "Unreachable",
        requests: Bound::at_most(3.0, Unit::Count),
    },
];

pub(super) fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let callers = number(samples, "/callers")?;
    let mut findings = vec![Finding::judged("callers in each herd", callers, CALLERS)];
    for case in &CASES {
        findings.extend(judge_case(samples, case)?);
    }
    Ok(findings)
}

fn judge_case(samples: &Value, case: &Case) -> Result<[Finding; 5]> {
    let Case { name, kind, .. } = case;
    let told = text(samples, &format!("/cases/{name}/kind"))?;
    if told != *kind {
        return Err(format!("{name}: the callers were told {told}, not {kind}").into());
    }
    let figure = |of: &str| number(samples, &format!("/cases/{name}/{of}"));
    let (first, next) = (figure("cold/requests")?, figure("later/requests")?);
    if first == 0.0 || next == 0.0 {
        return Err(format!("{name}: nobody asked the server, so nothing was shown").into());
    }
    let mut without = 0.0;
    let mut wait: f64 = 0.0;
    for herd in ["cold", "remembered", "later"] {
        without += figure(&format!("{herd}/without_the_error"))?;
        wait = wait.max(figure(&format!("{herd}/longest_wait_ms"))?);
    }
    let remembered = figure("remembered/requests")?;
    let judged =
        |what: &str, figure, bound| Finding::judged(format!("{name}: {what}"), figure, bound);
    Ok([
        judged("requests of the first flight", first, case.requests),
        judged("requests while that is remembered", remembered, NONE),
        judged("requests of the next flight", next, case.requests),
        judged("callers without the one error", without, NONE),
        judged("longest wait", wait, WAIT),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        let herd = |requests: u32, wait: f64| json!({"requests": requests, "without_the_error": 0, "longest_wait_ms": wait});
        let case = |kind: &str, requests: u32, wait: f64| {
            json!({"kind": kind, "cold": herd(requests, wait), "remembered": herd(0, 0.0),
                "later": herd(requests, wait)})
        };
        json!({"callers": 10_000, "cases": {
            "unavailable": case("Unavailable", 3, 700.0),
            "invalid_client": case("Rejected", 1, 0.0),
            "silent": case("Unreachable", 3, 9_500.0),
        }})
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        *samples.pointer_mut(pointer).unwrap() = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn one_flight_and_one_error_are_promised() {
        check("/callers", json!(10_000), &[]);
        check("/callers", json!(9_999), &["callers in each herd"]);
        check(
            "/cases/unavailable/cold/requests",
            json!(4),
            &["unavailable: requests of the first flight"],
        );
        check(
            "/cases/invalid_client/later/requests",
            json!(2),
            &["invalid_client: requests of the next flight"],
        );
        check(
            "/cases/silent/remembered/requests",
            json!(1),
            &["silent: requests while that is remembered"],
        );
        check(
            "/cases/silent/remembered/without_the_error",
            json!(1),
            &["silent: callers without the one error"],
        );
        check(
            "/cases/silent/later/longest_wait_ms",
            json!(11_001.0),
            &["silent: longest wait"],
        );
    }

    #[test]
    fn another_kind_or_no_request_is_no_measure() {
        let mut other = samples();
        other["cases"]["silent"]["kind"] = json!("Protocol");
        assert!(judge(&other).is_err());

        let mut unasked = samples();
        unasked["cases"]["unavailable"]["cold"]["requests"] = json!(0);
        assert!(judge(&unasked).is_err());
    }
}
