//! The measure kit: bounds, verdicts and promise lines for the programs that measure.
//!
//! A measuring program states each bound next to its measure and prints one JSON line for each
//! finding; `cargo xtask promises` only builds, runs and tabulates. The rules:
//!
//! 1. A figure within its bound is `kept`, any other is `BROKEN`.
//! 2. What this machine cannot show (valgrind is missing, it has no second core to give) is `not judged`,
//!    with the reason: no failure, and no proof.
//! 3. What should have been measured and was not is `UNMEASURED`, with the reason: a failure.
//! 4. A line that contradicts itself is an error for the program that reads it.
//!
//! ```
//! use maskinporten_measure::{Bound, Figure, Report, Unit};
//!
//! let mut report = Report::new("P3");
//! report.judge("token requests", Bound::exactly(1.0, Unit::Count), 1.0);
//! let wait = Figure::new(1.7).with_note("10.2 ms ÷ 6.0 ms");
//! report.judge("p99 wait ÷ the control's", Bound::at_most(2.0, Unit::Ratio), wait);
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a kit of benchmarks reads its watch"
)]

mod report;
pub use report::{Figure, Report, Unavailable};

mod finding;
pub use finding::{Bound, Finding, Unit, Verdict};

mod line;

mod median;
pub use median::{median, median_of_processes};

mod pairs;
pub use pairs::{nanoseconds_each, pairs};

mod process;
pub use process::{again, arguments, instructions, processes};

mod threads;
pub use threads::{Speedup, speedup};

/// The result of what may fail here; the error is a text for the person at the terminal.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
