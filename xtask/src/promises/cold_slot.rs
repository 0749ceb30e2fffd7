//! P3: many callers at once on a slot that holds no token yet, counted by the simulator's journal.

use serde_json::Value;

use super::finding::{Bound, Finding, Unit};
use super::samples::number;
use super::{Measured, Result, Workspace, failing_server};

/// How many callers the promise speaks of; a run with fewer shows nothing.
const CALLERS: Bound = Bound::at_least(10_000.0, Unit::Count);
const ONE: Bound = Bound::exactly(1.0, Unit::Count);
/// What a waiting caller may lose beyond the server's own time.
const WAIT: Bound = Bound::at_most(20.0, Unit::Milliseconds);

/// Measures the requests that were sent and the time that was waited, where the server gives a token and
/// where it gives none.
pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add_program(workspace, "cold_slot", judge);
    measured.add_program(workspace, "failing_server", failing_server::judge);
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let server = number(samples, "/server_ms")?;
    let wait = number(samples, "/p99_wait_ms")? - server;
    Ok(vec![
        Finding::judged("callers at once", number(samples, "/callers")?, CALLERS),
        Finding::judged("token requests", number(samples, "/token_requests")?, ONE),
        Finding::judged("exchanges", number(samples, "/exchanges")?, ONE),
        Finding::judged("wait beyond the server's time, p99", wait, WAIT)
            .with_note(format!("server: {server:.1} ms")),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::finding::failures;
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(token_requests: u32, p99_wait_ms: f64, broken: &[&str]) {
        let samples = json!({"callers": 10_000, "token_requests": token_requests, "exchanges": 1,
            "server_ms": 80.0, "p99_wait_ms": p99_wait_ms});

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn one_request_and_a_short_wait_are_promised() {
        check(1, 99.0, &[]);
        check(2, 99.0, &["token requests"]);
        check(0, 99.0, &["token requests"]);
        check(1, 100.5, &["wait beyond the server's time, p99"]);
    }

    #[test]
    fn a_missing_count_is_an_error() {
        assert!(judge(&json!({"callers": 10_000, "server_ms": 80, "p99_wait_ms": 81})).is_err());
    }
}
