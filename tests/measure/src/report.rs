//! [`Report`]: judges figures and prints a promise line for each.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};

use serde_json::Value;

use crate::Result;
use crate::finding::{Bound, Finding};

/// The findings of one promise, each printed to standard output as soon as it is judged, so that a
/// program that ends early has reported what it had.
#[derive(Debug)]
pub struct Report {
    promise: &'static str,
}

impl Report {
    /// Starts the report of a promise, named as `cargo xtask promises` names it.
    #[must_use]
    pub fn new(promise: &'static str) -> Self {
        Self { promise }
    }

    /// Judges a figure by its bound.
    pub fn judge(&mut self, what: impl Into<String>, bound: Bound, figure: impl Into<Figure>) {
        self.print(&figure.into().judged(what.into(), bound));
    }

    /// Judges what a measurement gave. One that failed is `UNMEASURED`; one that this machine cannot
    /// make ([`Unavailable`]) is `not judged`.
    pub fn measured(&mut self, what: impl Into<String>, bound: Bound, measured: Result<Figure>) {
        self.print(&finding(what.into(), bound, measured));
    }

    fn print(&mut self, finding: &Finding) {
        let line = finding.line(self.promise);
        // Without a reader there is nothing left to report to, and the reader sees the missing line.
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

fn finding(what: String, bound: Bound, measured: Result<Figure>) -> Finding {
    match measured {
        Ok(figure) => figure.judged(what, bound),
        Err(error) if error.is::<Unavailable>() => Finding {
            bound: Some(bound),
            ..Finding::unmeasured(what, "").not_judged(error.to_string())
        },
        Err(error) => Finding::unmeasured(what, error.to_string()),
    }
}

// ===== impl Figure =====

/// One figure, before it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    value: f64,
    note: Option<String>,
    samples: Option<Value>,
    means_nothing: Option<String>,
}

impl Figure {
    /// A figure in the unit of the bound that it will be judged by.
    #[must_use]
    pub fn new(value: f64) -> Self {
        Self {
            value,
            note: None,
            samples: None,
            means_nothing: None,
        }
    }

    /// The same with a remark for the reader.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The same with what it was computed from.
    #[must_use]
    pub fn with_samples(mut self, samples: Value) -> Self {
        self.samples = Some(samples);
        self
    }

    /// The same, to be printed and not judged: the run itself showed that it means nothing here.
    #[must_use]
    pub fn not_judged(mut self, reason: impl Into<String>) -> Self {
        self.means_nothing = Some(reason.into());
        self
    }

    /// The one of several that says the most against the promise, with all of them in its note: one
    /// beyond the bound before one that is not judged, and that before one within; of equals, the one
    /// nearest to the bound or farthest beyond. Nothing where there are none.
    #[must_use]
    pub fn worst(bound: Bound, figures: Vec<(&str, Self)>) -> Option<Self> {
        let all: Vec<String> = figures
            .iter()
            .map(|(name, figure)| format!("{name} {}", bound.show(figure.value)))
            .collect();
        let samples = figures.iter().map(|(name, figure)| {
            let samples = figure.samples.clone().unwrap_or_default();
            ((*name).to_owned(), samples)
        });
        let samples = Value::Object(samples.collect());
        let worst = figures.into_iter().max_by(|(_, one), (_, other)| {
            let rank = |figure: &Self| figure.rank(bound);
            let (one_rank, other_rank) = (rank(one), rank(other));
            let by_excess = || {
                bound
                    .excess(one.value)
                    .total_cmp(&bound.excess(other.value))
            };
            one_rank.cmp(&other_rank).then_with(by_excess)
        });
        let (_, mut worst) = worst?;
        let note = worst
            .note
            .map_or_else(String::new, |note| format!("; {note}"));
        worst.note = Some(format!("{}{note}", all.join(", ")));
        worst.samples = Some(samples);
        Some(worst)
    }

    fn rank(&self, bound: Bound) -> u8 {
        if self.means_nothing.is_some() {
            1
        } else if bound.holds(self.value) {
            0
        } else {
            2
        }
    }

    fn judged(self, what: String, bound: Bound) -> Finding {
        let finding = Finding::judged(what, self.value, bound);
        let finding = Finding {
            note: self.note,
            samples: self.samples,
            ..finding
        };
        let Some(reason) = self.means_nothing else {
            return finding;
        };
        let note = finding.note.clone();
        finding.not_judged(
            [Some(reason), note]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        )
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self::new(value)
    }
}

// ===== impl Unavailable =====

/// The error of a measurement that this machine cannot make: the figure is then not judged.
#[derive(Debug)]
pub struct Unavailable(String);

impl Unavailable {
    /// Says what the machine lacks.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unavailable {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Unit, Verdict};
    use serde_json::json;

    const TIME: Bound = Bound::at_most(1.35, Unit::Ratio);
    const THREADS: Bound = Bound::at_least(1.8, Unit::Ratio);

    #[track_caller]
    fn check(measured: Result<Figure>, verdict: Verdict, note: Option<&str>) {
        let finding = finding("x".to_owned(), TIME, measured);

        assert_eq!((finding.verdict, finding.note.as_deref()), (verdict, note));
    }

    #[test]
    fn a_measurement_is_judged_by_its_bound() {
        check(Ok(Figure::new(1.35)), Verdict::Kept, None);
        let slow = Figure::new(1.36).with_note("7 processes");
        check(Ok(slow), Verdict::Broken, Some("7 processes"));
    }

    #[test]
    fn a_measurement_that_failed_is_no_pass() {
        check(
            Err("no pairs".into()),
            Verdict::Unmeasured,
            Some("no pairs"),
        );
    }

    #[test]
    fn what_this_machine_cannot_show_is_not_judged_with_the_reason() {
        let missing = Unavailable::new("valgrind is missing");
        check(
            Err(missing.into()),
            Verdict::NotJudged,
            Some("valgrind is missing"),
        );
        let noisy = Figure::new(1.2).with_note("5 processes");
        check(
            Ok(noisy.not_judged("control: 1.60")),
            Verdict::NotJudged,
            Some("control: 1.60; 5 processes"),
        );
    }

    #[track_caller]
    fn check_worst(bound: Bound, figures: Vec<(&str, Figure)>, verdict: Verdict, note: &str) {
        let worst = Figure::worst(bound, figures)
            .unwrap()
            .judged("x".to_owned(), bound);

        assert_eq!(
            (worst.verdict, worst.note.as_deref()),
            (verdict, Some(note))
        );
    }

    #[test]
    fn the_worst_of_several_figures_is_judged() {
        let figure = |value| Figure::new(value).with_samples(json!([value]));
        check_worst(
            TIME,
            vec![("kept", figure(1.3)), ("cloned", figure(1.4))],
            Verdict::Broken,
            "kept 1.30, cloned 1.40",
        );
        check_worst(
            THREADS,
            vec![("kept", figure(1.85)), ("cloned", figure(1.9))],
            Verdict::Kept,
            "kept 1.85, cloned 1.90",
        );
        check_worst(
            THREADS,
            vec![
                ("kept", figure(1.1).not_judged("control: 1.50")),
                ("cloned", figure(1.7)),
            ],
            Verdict::Broken,
            "kept 1.10, cloned 1.70",
        );
        check_worst(
            THREADS,
            vec![
                ("kept", figure(1.7).not_judged("control: 1.50")),
                ("cloned", figure(1.9)),
            ],
            Verdict::NotJudged,
            "control: 1.50; kept 1.70, cloned 1.90",
        );
        assert_eq!(Figure::worst(TIME, Vec::new()), None);
    }

    #[test]
    fn the_samples_of_all_figures_stay() {
        let figure = |value| Figure::new(value).with_samples(json!([value]));
        let worst = Figure::worst(TIME, vec![("kept", figure(1.3)), ("cloned", figure(1.4))]);

        let samples = json!({"kept": [1.3], "cloned": [1.4]});
        assert_eq!(worst.unwrap().samples, Some(samples));
    }
}
