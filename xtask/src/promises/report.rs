//! What was found, as a table for people and as JSON for programs.

use maskinporten_measure::{Finding, Verdict};
use serde_json::{Value, json};

use super::{Measured, Promise};

/// Width of a note; with its indent it ends inside 100 columns.
const NOTE_WIDTH: usize = 92;

/// A line per finding in aligned columns, notes below it, and a sentence at the end.
pub(super) fn table(results: &[(&Promise, Measured)]) -> String {
    let mut lines = vec![row("", "what", "figure", "bound", "verdict")];
    for (promise, measured) in results {
        for finding in &measured.findings {
            lines.push(finding_row(promise.id, finding));
            let notes = finding.note.iter().flat_map(|note| wrapped(note));
            lines.extend(notes.map(|line| format!("      {line}")));
        }
    }
    lines.push(String::new());
    lines.push(sentence(results));
    lines.join("\n")
}

fn finding_row(id: &str, finding: &Finding) -> String {
    let bound = finding
        .bound
        .map(|bound| bound.to_string())
        .unwrap_or_default();
    row(
        id,
        &finding.what,
        &finding.figure_text(),
        &bound,
        &finding.verdict.to_string(),
    )
}

fn row(id: &str, what: &str, figure: &str, bound: &str, verdict: &str) -> String {
    format!("{id:4}  {what:52}  {figure:>10}  {bound:12}  {verdict}")
}

fn sentence(results: &[(&Promise, Measured)]) -> String {
    let kept = ids(results, Measured::is_kept).len();
    let mut sentence = format!("{kept} of {} promises kept", results.len());
    let not_kept = ids(results, |measured| !measured.is_kept());
    for (label, ids) in [
        ("not", not_kept),
        ("in part not judged", ids(results, has_unjudged)),
    ] {
        if !ids.is_empty() {
            sentence = format!("{sentence}; {label}: {}", ids.join(", "));
        }
    }
    sentence
}

fn ids(results: &[(&Promise, Measured)], wanted: fn(&Measured) -> bool) -> Vec<&'static str> {
    let wanted = results.iter().filter(|(_, measured)| wanted(measured));
    wanted.map(|(promise, _)| promise.id).collect()
}

fn has_unjudged(measured: &Measured) -> bool {
    measured
        .findings
        .iter()
        .any(|finding| finding.verdict == Verdict::NotJudged)
}

/// `text` in lines of at most `NOTE_WIDTH` characters; a longer word has a line of its own.
fn wrapped(text: &str) -> Vec<String> {
    text.lines().flat_map(wrapped_line).collect()
}

fn wrapped_line(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= NOTE_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The same with every raw sample.
pub(super) fn json(results: &[(&Promise, Measured)]) -> Value {
    let promises: Vec<_> = results.iter().map(promise_json).collect();
    json!({ "promises": promises })
}

fn promise_json((promise, measured): &(&Promise, Measured)) -> Value {
    let findings: Vec<_> = measured.findings.iter().map(finding_json).collect();
    json!({
        "id": promise.id,
        "text": promise.text,
        "kept": measured.is_kept(),
        "findings": findings,
        "samples": measured.samples,
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "what": finding.what,
        "figure": finding.figure,
        "bound": finding.bound.map(|bound| bound.to_string()),
        "verdict": finding.verdict.to_string().to_lowercase(),
        "note": finding.note,
        "samples": finding.samples,
    })
}

#[cfg(test)]
mod tests {
    use super::super::PROMISES;
    use super::*;
    use maskinporten_measure::{Bound, Unit};

    fn results() -> Vec<(&'static Promise, Measured)> {
        let kept = Finding::judged("time", 1.2, Bound::at_most(1.35, Unit::Ratio));
        let slow = Finding::judged("threads", 1.4, Bound::at_least(1.8, Unit::Ratio));
        let findings = vec![
            kept,
            slow.not_judged("control reached only 1.60".to_owned()),
        ];
        let missing = vec![Finding::unmeasured(
            "cold slot",
            "no program ".repeat(20).trim(),
        )];
        let measured = |findings| Measured {
            findings,
            ..Measured::default()
        };
        vec![
            (&PROMISES[0], measured(findings)),
            (&PROMISES[1], measured(missing)),
        ]
    }

    #[test]
    fn a_table_aligns_and_fits_a_hundred_columns() {
        let table = table(&results());

        let columns: Vec<_> = table
            .lines()
            .filter(|line| line.contains(" ≤ ") || line.contains(" ≥ "))
            .map(|line| line.chars().position(|char| matches!(char, '≤' | '≥')))
            .collect();
        assert_eq!(columns, [Some(72), Some(72)], "{table}");
        assert!(
            table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        assert!(
            table.ends_with("\n1 of 2 promises kept; not: P3; in part not judged: P1"),
            "{table}"
        );
    }

    #[test]
    fn json_tells_each_verdict() {
        let json = json(&results());

        assert_eq!(json["promises"][0]["kept"], true);
        assert_eq!(json["promises"][0]["findings"][1]["verdict"], "not judged");
        assert_eq!(json["promises"][1]["kept"], false);
        assert_eq!(json["promises"][1]["findings"][0]["figure"], Value::Null);
    }
}
