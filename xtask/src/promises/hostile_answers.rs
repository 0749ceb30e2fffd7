//! P11: every hostile answer of a token server ends in time, with little memory and as it should.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::samples::{list, number, text};
use super::{Measured, Result, Workspace};

/// The ways of going wrong; each is to be met.
const GROUPS: [&str; 14] = [
    "no connection",
    "silence",
    "a byte a second",
    "an answer cut off",
    "a server error",
    "Retry-After",
    "a refusal",
    "a redirect",
    "no token answer",
    "expires_in",
    "spent on arrival",
    "an unfit token",
    "a body too large",
    "a head too large",
];

const MEMORY: Bound = Bound::below(1_024.0, Unit::Kibibytes);
/// What a body takes that nobody limits: a rig that does not see it sees nothing.
const CONTROL: Bound = Bound::at_least(64.0 * 1_024.0, Unit::Kibibytes);
/// A flight's deadline of 10 s, and a second for a machine that is busy.
const TIME: Bound = Bound::at_most(11_000.0, Unit::Milliseconds);
const REQUESTS: Bound = Bound::at_most(3.0, Unit::Count);
const NONE: Bound = Bound::exactly(0.0, Unit::Count);

pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add_program(workspace, "hostile_answers", judge);
    Ok(measured)
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    let answers: Vec<Answer<'_>> = list(samples, "/answers")?
        .iter()
        .map(Answer::read)
        .collect::<Result<_>>()?;
    let mut findings = Vec::new();
    for group in GROUPS {
        findings.push(judge_group(&answers, group)?);
    }
    let elsewhere = number(samples, "/requests_elsewhere")?;
    let control = number(samples, "/control_peak_bytes")? / 1_024.0;
    findings.extend([
        judge_outcomes(&answers),
        judge_worst(&answers, "longest time", TIME, |answer| answer.took_ms)?,
        judge_worst(&answers, "most requests", REQUESTS, |answer| {
            answer.requests
        })?,
        Finding::judged("requests to where a redirect leads", elsewhere, NONE),
        Finding::judged("memory without a limit (control)", control, CONTROL),
    ]);
    Ok(findings)
}

/// One answer and what came of it.
struct Answer<'a> {
    group: &'a str,
    name: &'a str,
    expected: &'a str,
    outcome: &'a str,
    peak_kib: f64,
    took_ms: f64,
    requests: f64,
}

impl<'a> Answer<'a> {
    fn read(json: &'a Value) -> Result<Self> {
        Ok(Self {
            group: text(json, "/group")?,
            name: text(json, "/answer")?,
            expected: text(json, "/expected")?,
            outcome: text(json, "/outcome")?,
            peak_kib: number(json, "/peak_bytes")? / 1_024.0,
            took_ms: number(json, "/took_ms")?,
            requests: number(json, "/requests")?,
        })
    }

    fn full_name(&self) -> String {
        match self.name {
            "" => self.group.to_owned(),
            name => format!("{}: {name}", self.group),
        }
    }
}

fn worst<'a, 'b>(
    answers: impl IntoIterator<Item = &'b Answer<'a>>,
    figure: impl Fn(&Answer<'a>) -> f64,
) -> Option<&'b Answer<'a>>
where
    'a: 'b,
{
    answers
        .into_iter()
        .max_by(|one, other| figure(one).total_cmp(&figure(other)))
}

fn judge_group(answers: &[Answer<'_>], group: &str) -> Result<Finding> {
    let of_group = || answers.iter().filter(|answer| answer.group == group);
    let worst = worst(of_group(), |answer| answer.peak_kib)
        .ok_or_else(|| format!("the program met no answer of the group {group}"))?;
    let finding = Finding::judged(format!("memory, {group}"), worst.peak_kib, MEMORY);
    Ok(match of_group().count() {
        1 => finding,
        count => finding.with_note(format!("{count} answers; the most for: {}", worst.name)),
    })
}

fn judge_outcomes(answers: &[Answer<'_>]) -> Finding {
    let wrong: Vec<String> = answers
        .iter()
        .filter(|answer| answer.outcome != answer.expected)
        .map(|answer| {
            let Answer {
                outcome, expected, ..
            } = answer;
            format!("{}: {outcome}, not {expected}", answer.full_name())
        })
        .collect();
    let finding = Finding::judged("ended otherwise than it should", wrong.len() as f64, NONE);
    let of = format!("of {} answers", answers.len());
    match wrong.is_empty() {
        true => finding.with_note(of),
        false => finding.with_note(format!("{of}; {}", wrong.join("; "))),
    }
}

fn judge_worst(
    answers: &[Answer<'_>],
    what: &str,
    bound: Bound,
    figure: fn(&Answer<'_>) -> f64,
) -> Result<Finding> {
    let worst = worst(answers, figure).ok_or("the program met no answer")?;
    let finding = Finding::judged(what, figure(worst), bound);
    Ok(finding.with_note(worst.full_name()))
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        let answer = |group: &str| {
            json!({"group": group, "answer": "", "expected": "Protocol", "outcome": "Protocol",
                "peak_bytes": 50_000, "took_ms": 400.0, "requests": 3})
        };
        json!({"answers": GROUPS.map(answer), "requests_elsewhere": 0,
            "control_peak_bytes": 70_000_000})
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        *samples.pointer_mut(pointer).unwrap() = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn memory_time_and_outcome_are_promised() {
        check("/answers/0/peak_bytes", json!(1_048_575), &[]);
        check(
            "/answers/0/peak_bytes",
            json!(1_048_576),
            &["memory, no connection"],
        );
        check("/answers/1/took_ms", json!(11_000.1), &["longest time"]);
        check("/answers/2/requests", json!(4), &["most requests"]);
        check(
            "/answers/3/outcome",
            json!("nothing"),
            &["ended otherwise than it should"],
        );
        check(
            "/requests_elsewhere",
            json!(1),
            &["requests to where a redirect leads"],
        );
    }

    #[test]
    fn a_rig_that_sees_no_memory_is_found_out() {
        check(
            "/control_peak_bytes",
            json!(50_000),
            &["memory without a limit (control)"],
        );
    }

    #[test]
    fn the_worst_of_a_group_is_judged_and_named() {
        let mut samples = samples();
        let mut other = samples["answers"][8].clone();
        other["answer"] = json!("null");
        other["peak_bytes"] = json!(2_097_152);
        other["outcome"] = json!("token");
        samples["answers"].as_array_mut().unwrap().push(other);

        let findings = judge(&samples).unwrap();

        assert_eq!(findings[8].figure, Some(2_048.0));
        assert_eq!(
            findings[8].note.as_deref(),
            Some("2 answers; the most for: null")
        );
        assert_eq!(
            findings[14].note.as_deref(),
            Some("of 15 answers; no token answer: null: token, not Protocol")
        );
    }

    #[test]
    fn a_missing_group_is_no_measure() {
        let mut missing = samples();
        missing["answers"].as_array_mut().unwrap().remove(5);
        assert!(judge(&missing).is_err());
    }
}
