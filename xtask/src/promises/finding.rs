//! One figure beside its bound, and what follows from the two.

use std::fmt;

/// One row of the report.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    /// What was measured.
    pub(super) what: String,
    /// What it measured; nothing where it could not be.
    pub(super) figure: Option<f64>,
    /// What it may measure.
    pub(super) bound: Option<Bound>,
    /// What follows.
    pub(super) verdict: Verdict,
    /// What the reader should know beside it.
    pub(super) note: Option<String>,
}

impl Finding {
    /// Holds `figure` against `bound`.
    pub(super) fn judged(what: impl Into<String>, figure: f64, bound: Bound) -> Self {
        let verdict = if bound.holds(figure) {
            Verdict::Kept
        } else {
            Verdict::Broken
        };
        Self {
            what: what.into(),
            figure: Some(figure),
            bound: Some(bound),
            verdict,
            note: None,
        }
    }

    /// There is no figure, and so the promise is not kept.
    pub(super) fn unmeasured(what: &str, reason: &str) -> Self {
        let note = Some(reason.to_owned());
        Self {
            what: what.to_owned(),
            figure: None,
            bound: None,
            verdict: Verdict::Unmeasured,
            note,
        }
    }

    /// There is a figure, but this machine cannot show what it was to show.
    pub(super) fn not_judged(self, reason: String) -> Self {
        Self {
            verdict: Verdict::NotJudged,
            note: Some(reason),
            ..self
        }
    }

    /// The same with a remark beside it.
    pub(super) fn with_note(self, note: String) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }

    /// Whether the promise fails with it.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Broken | Verdict::Unmeasured)
    }

    /// The figure in the unit of its bound, or nothing.
    pub(super) fn figure_text(&self) -> String {
        let text = |bound: Bound| Some(bound.unit.show(self.figure?));
        self.bound.and_then(text).unwrap_or_default()
    }
}

/// What follows from a figure and its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The figure is within the bound.
    Kept,
    /// The figure is beyond the bound.
    Broken,
    /// The run itself showed that the figure means nothing here. No failure, and no proof.
    NotJudged,
    /// There is no figure.
    Unmeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept => "kept",
            Self::Broken => "BROKEN",
            Self::NotJudged => "not judged",
            Self::Unmeasured => "UNMEASURED",
        })
    }
}

// ===== impl Bound =====

/// What a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    limit: Limit,
    value: f64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    AtMost,
    Below,
    AtLeast,
    Exactly,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// One quantity by another of its kind.
    Ratio,
    /// Whole things.
    Count,
    /// Time.
    Milliseconds,
    /// Memory.
    Kibibytes,
    /// Little memory.
    Bytes,
}

impl Bound {
    /// No more than `value`.
    pub(super) const fn at_most(value: f64, unit: Unit) -> Self {
        Self {
            limit: Limit::AtMost,
            value,
            unit,
        }
    }

    /// Less than `value`.
    pub(super) const fn below(value: f64, unit: Unit) -> Self {
        Self {
            limit: Limit::Below,
            value,
            unit,
        }
    }

    /// No less than `value`.
    pub(super) const fn at_least(value: f64, unit: Unit) -> Self {
        Self {
            limit: Limit::AtLeast,
            value,
            unit,
        }
    }

    /// This and nothing else.
    pub(super) const fn exactly(value: f64, unit: Unit) -> Self {
        Self {
            limit: Limit::Exactly,
            value,
            unit,
        }
    }

    /// Whether `figure` is within; a figure that is no number never is.
    pub(super) fn holds(self, figure: f64) -> bool {
        match self.limit {
            Limit::AtMost => figure <= self.value,
            Limit::Below => figure < self.value,
            Limit::AtLeast => figure >= self.value,
            Limit::Exactly => figure == self.value,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.limit {
            Limit::AtMost => '≤',
            Limit::Below => '<',
            Limit::AtLeast => '≥',
            Limit::Exactly => '=',
        };
        f.pad(&format!("{sign} {}", self.unit.show(self.value)))
    }
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Ratio => format!("{figure:.2}"),
            Self::Count => format!("{figure}"),
            Self::Milliseconds => format!("{figure:.1} ms"),
            Self::Kibibytes => format!("{figure:.0} KiB"),
            Self::Bytes => format!("{figure:.0} B"),
        }
    }
}

/// What a promise fails with, for the tests of its judge.
#[cfg(test)]
pub(super) fn failures(findings: &[Finding]) -> Vec<&str> {
    let failures = findings.iter().filter(|finding| finding.is_failure());
    failures.map(|finding| finding.what.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bound: Bound, figure: f64, verdict: Verdict) {
        assert_eq!(Finding::judged("x", figure, bound).verdict, verdict);
    }

    #[test]
    fn a_figure_on_its_bound_is_within() {
        check(Bound::at_most(1.25, Unit::Ratio), 1.25, Verdict::Kept);
        check(Bound::at_most(1.25, Unit::Ratio), 1.2501, Verdict::Broken);
        check(Bound::below(1024.0, Unit::Kibibytes), 1023.9, Verdict::Kept);
        check(
            Bound::below(1024.0, Unit::Kibibytes),
            1024.0,
            Verdict::Broken,
        );
        check(Bound::at_least(1.8, Unit::Ratio), 1.8, Verdict::Kept);
        check(Bound::at_least(1.8, Unit::Ratio), 1.79, Verdict::Broken);
        check(Bound::exactly(1.0, Unit::Count), 1.0, Verdict::Kept);
        check(Bound::exactly(1.0, Unit::Count), 0.0, Verdict::Broken);
    }

    #[test]
    fn what_is_no_number_keeps_no_promise() {
        check(Bound::at_most(1.25, Unit::Ratio), f64::NAN, Verdict::Broken);
        check(Bound::at_least(1.8, Unit::Ratio), f64::NAN, Verdict::Broken);
    }

    #[test]
    fn only_what_is_broken_or_unmeasured_fails() {
        let slow = Finding::judged("x", 1.2, Bound::at_least(1.8, Unit::Ratio));

        assert!(slow.is_failure());
        assert!(!slow.not_judged("one core".to_owned()).is_failure());
        assert!(Finding::unmeasured("x", "no valgrind").is_failure());
    }

    #[test]
    fn a_bound_is_shown_in_its_unit() {
        assert_eq!(Bound::at_most(1.3, Unit::Ratio).to_string(), "≤ 1.30");
        assert_eq!(Bound::exactly(1.0, Unit::Count).to_string(), "= 1");
        assert_eq!(
            Bound::at_most(20.0, Unit::Milliseconds).to_string(),
            "≤ 20.0 ms"
        );
        assert_eq!(
            Bound::below(1024.0, Unit::Kibibytes).to_string(),
            "< 1024 KiB"
        );
    }
}
