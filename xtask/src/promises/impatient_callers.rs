//! P4: callers one after another, each of whom gives up before the server can have answered.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::samples::number;
use super::{Measured, Result, Workspace};

const CALLERS: Bound = Bound::at_least(1_000.0, Unit::Count);
/// All but those whose patience the first fetch takes, and some more.
const SERVED: Bound = Bound::at_least(990.0, Unit::Count);
const FETCHES: Bound = Bound::exactly(1.0, Unit::Count);
const PATIENCE: Bound = Bound::exactly(50.0, Unit::Milliseconds);
const SERVER: Bound = Bound::exactly(80.0, Unit::Milliseconds);
/// Their patience, and the millisecond to which timers are rounded.
const LONGEST: Bound = Bound::at_most(51.0, Unit::Milliseconds);

pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add_program(workspace, "impatient_callers", judge);
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let (patience, server) = (
        number(samples, "/patience_ms")?,
        number(samples, "/server_ms")?,
    );
    if !PATIENCE.holds(patience) || !SERVER.holds(server) {
        return Err(format!("{patience} ms of patience with a server of {server} ms").into());
    }
    let judged = |what: &str, pointer: &str, bound| -> Result<Finding> {
        Ok(Finding::judged(what, number(samples, pointer)?, bound))
    };
    Ok(vec![
        judged("callers one after another", "/callers", CALLERS)?
            .with_note(format!("patience: {patience} ms, server: {server} ms")),
        judged("callers served", "/served", SERVED)?,
        judged("token requests", "/token_requests", FETCHES)?,
        judged("longest time that any caller took", "/longest_ms", LONGEST)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        json!({"callers": 1_000, "served": 999, "token_requests": 1, "server_ms": 80.0,
            "patience_ms": 50.0, "longest_ms": 50.0})
    }

    #[track_caller]
    fn check(member: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        samples[member] = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn nearly_all_are_served_by_one_fetch() {
        check("served", json!(990), &[]);
        check("served", json!(989), &["callers served"]);
        check("callers", json!(999), &["callers one after another"]);
        check("token_requests", json!(2), &["token requests"]);
        check("token_requests", json!(0), &["token requests"]);
        check(
            "longest_ms",
            json!(80.0),
            &["longest time that any caller took"],
        );
    }

    #[test]
    fn more_patience_than_the_server_needs_shows_nothing() {
        for (member, value) in [("patience_ms", 90.0), ("server_ms", 40.0)] {
            let mut samples = samples();
            samples[member] = json!(value);
            assert!(judge(&samples).is_err());
        }
    }
}
