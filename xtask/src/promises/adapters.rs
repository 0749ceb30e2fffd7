//! P1 over real clients: what the layer adds to a call of each client that it is made for.

use maskinporten_measure::{Bound, Finding, Unit, median};
use serde_json::Value;

use super::Result;
use super::samples::{number, triples};

const CLIENTS: [&str; 4] = ["hyper-util", "reqwest", "reqwest-middleware", "tonic"];

const TIME: Bound = Bound::at_most(1.05, Unit::Ratio);
const ROUNDS: usize = 50;

const NONE: Bound = Bound::exactly(0.0, Unit::Count);
const BATCHES: usize = 15;

pub(super) fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for client in CLIENTS {
        findings.push(time(samples, client)?);
    }
    for client in CLIENTS {
        findings.push(allocations(samples, client)?);
    }
    Ok(findings)
}

fn time(samples: &Value, client: &str) -> Result<Finding> {
    let rounds = triples(samples, &format!("/clients/{client}/rounds_ns"), ROUNDS)?;
    let ratio = median(rounds.iter().map(|[bare, _, ours]| ours / bare))?;
    let floor = median(rounds.iter().map(|[bare, floor, _]| floor / bare))?;
    let bare = median(rounds.iter().map(|[bare, ..]| *bare))? / 1e3;
    let finding = Finding::judged(format!("time ÷ the bare client's, {client}"), ratio, TIME);
    Ok(finding.with_note(format!(
        "a bare call takes {bare:.1} µs; the floor: {floor:.2}"
    )))
}

/// Allocations in a batch of many calls: one more in all of them breaks it. The quietest batch of each way
/// counts, because now and then a connection makes a buffer larger, whoever is calling.
fn allocations(samples: &Value, client: &str) -> Result<Finding> {
    let batches = triples(samples, &format!("/clients/{client}/allocations"), BATCHES)?;
    let calls = number(samples, "/batch")?;
    let least = |way: usize| {
        batches
            .iter()
            .map(|batch| batch[way])
            .fold(f64::MAX, f64::min)
    };
    let [bare, floor, ours] = [0, 1, 2].map(least);
    let what = format!("allocations beyond the floor, {client}");
    let finding = Finding::judged(what, ours - floor, NONE);
    let (bare, forced) = (bare / calls, (floor - bare) / calls);
    Ok(finding.with_note(format!(
        "in {calls} calls; one bare call makes {bare:.1}, the floor {forced:.1} more"
    )))
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        let client = json!({
            "rounds_ns": vec![[60_000.0, 60_100.0, 60_500.0]; 50],
            "allocations": vec![[5_000, 5_300, 5_300]; 15],
        });
        let clients = CLIENTS.map(|name| (name.to_owned(), client.clone()));
        let clients: serde_json::Map<_, _> = clients.into_iter().collect();
        json!({"clients": clients, "batch": 100})
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        *samples.pointer_mut(pointer).unwrap() = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn a_call_costs_little_more_and_allocates_nothing_beyond_the_floor() {
        check("/batch", json!(100), &[]);
        check(
            "/clients/reqwest/rounds_ns",
            json!(vec![[60_000.0, 60_000.0, 63_100.0]; 50]),
            &["time ÷ the bare client's, reqwest"],
        );
        let mut noisy = vec![[5_002, 5_000, 5_002]; 14];
        noisy.push([5_000, 5_002, 5_000]);
        check("/clients/tonic/allocations", json!(noisy), &[]);
        check(
            "/clients/tonic/allocations",
            json!(vec![[5_000, 5_000, 5_001]; 15]),
            &["allocations beyond the floor, tonic"],
        );
    }

    #[test]
    fn what_the_client_forces_is_told_beside_it() {
        let findings = judge(&samples()).unwrap();

        assert_eq!(
            findings[4].note.as_deref(),
            Some("in 100 calls; one bare call makes 50.0, the floor 3.0 more")
        );
    }

    #[test]
    fn a_missing_client_or_too_few_rounds_are_no_measure() {
        let mut missing = samples();
        missing["clients"].as_object_mut().unwrap().remove("tonic");
        assert!(judge(&missing).is_err());

        let mut few = samples();
        few["clients"]["tonic"]["rounds_ns"] = json!(vec![[1.0, 1.0, 1.0]; 49]);
        assert!(judge(&few).is_err());
    }
}
