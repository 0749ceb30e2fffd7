//! A finding as one line of JSON, and the reader that accepts no line which contradicts itself.

use serde_json::{Value, json};

use crate::Result;
use crate::finding::{Bound, Finding, Limit, Unit, Verdict};

impl Finding {
    /// The line that a measuring program prints for `promise`.
    #[must_use]
    pub fn line(&self, promise: &str) -> String {
        let bound = self.bound.map(|bound| {
            json!({
                "limit": bound.limit.sign(),
                "value": bound.value,
                "unit": bound.unit.name(),
            })
        });
        let line = json!({
            "promise": promise,
            "what": self.what,
            "figure": self.figure,
            "bound": bound,
            "verdict": self.verdict.name(),
            "note": self.note,
            "samples": self.samples,
        });
        line.to_string()
    }

    /// Reads such a line.
    ///
    /// # Errors
    ///
    /// If it is not JSON, is of another promise, lacks a member, or holds a verdict that its figure and
    /// bound do not give.
    pub fn read(line: &str, promise: &str) -> Result<Self> {
        let json: Value =
            serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
        let text = |name: &str| json[name].as_str();
        match text("promise") {
            Some(named) if named == promise => {}
            Some(named) => return Err(format!("a line of {named}, not of {promise}").into()),
            None => return Err("no `promise`".into()),
        }
        let verdict = text("verdict").ok_or("no `verdict`")?;
        let verdict = Verdict::ALL
            .into_iter()
            .find(|known| known.name() == verdict);
        let finding = Self {
            what: text("what").ok_or("no `what`")?.to_owned(),
            figure: json["figure"].as_f64(),
            bound: bound(&json["bound"])?,
            verdict: verdict.ok_or("an unknown `verdict`")?,
            note: text("note").map(str::to_owned),
            samples: Some(json["samples"].clone()).filter(|samples| !samples.is_null()),
        };
        if finding.is_consistent() {
            Ok(finding)
        } else {
            Err("a `verdict` that figure, bound and note do not give".into())
        }
    }

    fn is_consistent(&self) -> bool {
        match (self.verdict, self.bound) {
            (Verdict::Kept, Some(bound)) => self.figure.is_some_and(|figure| bound.holds(figure)),
            // A figure that is NaN or infinite is broken and has no JSON.
            (Verdict::Broken, Some(bound)) => self.figure.is_none_or(|figure| !bound.holds(figure)),
            (Verdict::Kept | Verdict::Broken, None) => false,
            (Verdict::NotJudged | Verdict::Unmeasured, _) => self.note.is_some(),
        }
    }
}

fn bound(json: &Value) -> Result<Option<Bound>> {
    if json.is_null() {
        return Ok(None);
    }
    let text = |name: &str| json[name].as_str();
    let (limit, unit) = (text("limit"), text("unit"));
    let limit = Limit::ALL
        .into_iter()
        .find(|known| Some(known.sign()) == limit);
    let unit = Unit::ALL
        .into_iter()
        .find(|known| Some(known.name()) == unit);
    let bound = limit.zip(json["value"].as_f64()).zip(unit);
    let ((limit, value), unit) = bound.ok_or("a `bound` without limit, value or unit")?;
    Ok(Some(Bound { limit, value, unit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Bound = Bound::at_most(1.35, Unit::Ratio);

    #[track_caller]
    fn check_same(finding: Finding) {
        let line = finding.line("P1");

        assert!(!line.contains('\n'), "{line}");
        assert_eq!(Finding::read(&line, "P1").unwrap(), finding);
    }

    #[test]
    fn a_finding_is_read_as_it_was_written() {
        check_same(Finding::judged("time", 1.2, TIME));
        check_same(Finding::judged("time", 1.4, TIME).with_note("two\nlines"));
        check_same(Finding::judged("time", 1.4, TIME).not_judged("one core"));
        check_same(Finding::unmeasured("time", "no pairs"));
        check_same(Finding {
            samples: Some(json!({"pairs": [[1, 2]]})),
            ..Finding::judged("count", 1.0, Bound::exactly(1.0, Unit::Count))
        });
    }

    #[test]
    fn a_figure_that_json_cannot_write_is_still_broken() {
        let line = Finding::judged("time", f64::NAN, TIME).line("P1");

        assert_eq!(Finding::read(&line, "P1").unwrap().verdict, Verdict::Broken);
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Value), reason: &str) {
        let kept = Finding::judged("time", 1.2, TIME).line("P1");
        let mut line = serde_json::from_str(&kept).unwrap();
        change(&mut line);

        let error = Finding::read(&line.to_string(), "P1").unwrap_err();
        assert_eq!(error.to_string(), reason);
    }

    #[test]
    fn a_line_that_contradicts_itself_is_no_verdict() {
        let contradicts = "a `verdict` that figure, bound and note do not give";
        check_refused(|line| line["figure"] = json!(1.36), contradicts);
        check_refused(|line| line["figure"] = Value::Null, contradicts);
        check_refused(|line| line["bound"] = Value::Null, contradicts);
        check_refused(|line| line["verdict"] = json!("BROKEN"), contradicts);
        check_refused(|line| line["verdict"] = json!("not judged"), contradicts);
    }

    #[test]
    fn a_line_that_lacks_something_or_is_of_another_promise_is_no_verdict() {
        check_refused(
            |line| line["promise"] = json!("P2"),
            "a line of P2, not of P1",
        );
        check_refused(|line| line["promise"] = Value::Null, "no `promise`");
        check_refused(|line| line["what"] = Value::Null, "no `what`");
        check_refused(|line| line["verdict"] = Value::Null, "no `verdict`");
        check_refused(
            |line| line["verdict"] = json!("good"),
            "an unknown `verdict`",
        );
        check_refused(
            |line| line["bound"]["unit"] = json!("miles"),
            "a `bound` without limit, value or unit",
        );
        assert!(Finding::read("time: 1.2", "P1").is_err());
        assert!(Finding::read("", "P1").is_err());
    }
}
