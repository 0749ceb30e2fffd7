//! One figure with its bound, and the verdict that follows from the two.

use std::fmt;

use serde_json::Value;

/// One row of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// What it measured; nothing where it could not be.
    pub figure: Option<f64>,
    /// What it may measure.
    pub bound: Option<Bound>,
    /// What follows.
    pub verdict: Verdict,
    /// What the reader should know as well.
    pub note: Option<String>,
    /// What the figure was computed from, for `--json`.
    pub samples: Option<Value>,
}

impl Finding {
    /// Compares `figure` with `bound`.
    #[must_use]
    pub fn judged(what: impl Into<String>, figure: f64, bound: Bound) -> Self {
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
            samples: None,
        }
    }

    /// There is no figure, and so the promise is not kept.
    #[must_use]
    pub fn unmeasured(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            figure: None,
            bound: None,
            verdict: Verdict::Unmeasured,
            note: Some(reason.into()),
            samples: None,
        }
    }

    /// This machine cannot show what was to be shown; the figure, if there is one, is only printed.
    #[must_use]
    pub fn not_judged(self, reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::NotJudged,
            note: Some(reason.into()),
            ..self
        }
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
            ..self
        }
    }

    /// Whether the promise fails with it.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Broken | Verdict::Unmeasured)
    }

    /// The figure in the unit of its bound, or nothing.
    #[must_use]
    pub fn figure_text(&self) -> String {
        let text = |bound: Bound| Some(bound.show(self.figure?));
        self.bound.and_then(text).unwrap_or_default()
    }
}

/// What follows from a figure and its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The figure is within the bound.
    Kept,
    /// The figure is beyond the bound.
    Broken,
    /// The run itself showed that the figure means nothing here. No failure, and no proof.
    NotJudged,
    /// There is no figure.
    Unmeasured,
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::Kept, Self::Broken, Self::NotJudged, Self::Unmeasured];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "BROKEN",
            Self::NotJudged => "not judged",
            Self::Unmeasured => "UNMEASURED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

// ===== impl Bound =====

/// What a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    pub(crate) limit: Limit,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    AtMost,
    Below,
    AtLeast,
    Exactly,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// One quantity by another of its kind.
    Ratio,
    /// Whole things.
    Count,
    /// Instructions of the processor.
    Instructions,
    /// Time.
    Milliseconds,
    /// Memory.
    Kibibytes,
    /// Little memory.
    Bytes,
}

impl Bound {
    /// No more than `value`.
    #[must_use]
    pub const fn at_most(value: f64, unit: Unit) -> Self {
        Self::new(Limit::AtMost, value, unit)
    }

    /// Less than `value`.
    #[must_use]
    pub const fn below(value: f64, unit: Unit) -> Self {
        Self::new(Limit::Below, value, unit)
    }

    /// No less than `value`.
    #[must_use]
    pub const fn at_least(value: f64, unit: Unit) -> Self {
        Self::new(Limit::AtLeast, value, unit)
    }

    /// This and nothing else.
    #[must_use]
    pub const fn exactly(value: f64, unit: Unit) -> Self {
        Self::new(Limit::Exactly, value, unit)
    }

    const fn new(limit: Limit, value: f64, unit: Unit) -> Self {
        Self { limit, value, unit }
    }

    /// Whether `figure` is within; NaN never is.
    #[must_use]
    pub fn holds(self, figure: f64) -> bool {
        match self.limit {
            Limit::AtMost => figure <= self.value,
            Limit::Below => figure < self.value,
            Limit::AtLeast => figure >= self.value,
            Limit::Exactly => figure == self.value,
        }
    }

    /// How far `figure` is beyond, in its unit; negative where it is within.
    pub(crate) fn excess(self, figure: f64) -> f64 {
        match self.limit {
            Limit::AtMost | Limit::Below => figure - self.value,
            Limit::AtLeast => self.value - figure,
            Limit::Exactly => (figure - self.value).abs(),
        }
    }

    pub(crate) fn show(self, figure: f64) -> String {
        self.unit.show(figure)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", self.limit.sign(), self.show(self.value)))
    }
}

impl Limit {
    pub(crate) const ALL: [Self; 4] = [Self::AtMost, Self::Below, Self::AtLeast, Self::Exactly];

    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "≤",
            Self::Below => "<",
            Self::AtLeast => "≥",
            Self::Exactly => "=",
        }
    }
}

impl Unit {
    pub(crate) const ALL: [Self; 6] = [
        Self::Ratio,
        Self::Count,
        Self::Instructions,
        Self::Milliseconds,
        Self::Kibibytes,
        Self::Bytes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Count => "count",
            Self::Instructions => "instructions",
            Self::Milliseconds => "milliseconds",
            Self::Kibibytes => "kibibytes",
            Self::Bytes => "bytes",
        }
    }

    fn show(self, figure: f64) -> String {
        match self {
            Self::Ratio => format!("{figure:.2}"),
            Self::Count => format!("{figure}"),
            Self::Instructions => format!("{figure:.0}"),
            Self::Milliseconds => format!("{figure:.1} ms"),
            Self::Kibibytes => format!("{figure:.0} KiB"),
            Self::Bytes => format!("{figure:.0} B"),
        }
    }
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
    fn nan_keeps_no_promise() {
        check(Bound::at_most(1.25, Unit::Ratio), f64::NAN, Verdict::Broken);
        check(Bound::at_least(1.8, Unit::Ratio), f64::NAN, Verdict::Broken);
    }

    #[test]
    fn only_what_is_broken_or_unmeasured_fails() {
        let slow = Finding::judged("x", 1.2, Bound::at_least(1.8, Unit::Ratio));

        assert!(slow.is_failure());
        assert!(!slow.not_judged("one core").is_failure());
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
