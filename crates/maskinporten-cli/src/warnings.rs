//! The library's warnings at the terminal: a `tracing` subscriber that shows them as lines on stderr.
//!
//! - What the library warns of is shown with its fields, one event on one line; what it logs at lower levels,
//!   and what other crates log, is not.
//! - What is said elsewhere is left out: a failed fetch is the report's, and what was found and not used is
//!   in the line `using:`, unless that is not shown.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Subscriber, set_global_default};
use tracing::{Event, Level, Metadata};

use crate::report;

/// How the targets of the library's events begin.
const LIBRARY: &str = "maskinporten";

/// A field of the events that the report of the failure says.
const IN_REPORT: &str = "error";

/// Fields of the events that the line `using:` says.
const IN_USING: [&str; 2] = ["not_used", "meant"];

/// Shows warnings from here on. `quiet` tells that no line `using:` is shown.
pub(crate) fn show(quiet: bool) {
    // It fails where another was set before, which this program does not do; tokens do not depend on it.
    let _ = set_global_default(Warnings { quiet });
}

struct Warnings {
    quiet: bool,
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let has = |name: &&str| metadata.fields().field(name).is_some();
        let is_said = has(&IN_REPORT) || !self.quiet && IN_USING.iter().any(has);
        metadata.is_event()
            && *metadata.level() <= Level::WARN
            && metadata.target().starts_with(LIBRARY)
            && !is_said
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { message, fields } = line;
        if fields.is_empty() {
            report::note(format_args!("warning: {message}"));
        } else {
            report::note(format_args!("warning: {message} ({fields})"));
        }
    }

    // No span is enabled.

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What an event says, and its fields as `name: value; name: value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        let _ = if name == "message" {
            write!(self.message, "{value:?}")
        } else {
            let separator = if self.fields.is_empty() { "" } else { "; " };
            write!(self.fields, "{separator}{name}: {value:?}")
        };
    }
}
