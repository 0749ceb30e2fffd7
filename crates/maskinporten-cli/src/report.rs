//! What is said to people, on stderr: plain words, one fact on a line, no colours, never a secret.
//!
//! - An error opens with what happened; below stand the facts, then what to do, who must do it and
//!   whether waiting helps. It is written to be read at three in the morning.
//! - Text that came over the network is printable when it gets here, and is made so once more: a
//!   server must not steer a terminal.
//! - A stderr that cannot be written to changes nothing: the exit code still tells.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::{self, Write as _};

use maskinporten::{Advice, Error, ErrorKind, Owner, Retry};

use crate::exit::Exit;

/// Why the program did not do what it was asked for.
pub(crate) enum Failure {
    /// The engine got no token or made no key.
    Engine(Error),
    /// What was made could not be put where it should go, or nothing could be started.
    Local {
        exit: Exit,
        phrase: String,
        cause: io::Error,
        hint: &'static str,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    /// What was asked for did not arrive. A reader that went away is told of like a full disk.
    pub(crate) fn unprinted(phrase: impl Into<String>, cause: io::Error) -> Self {
        Self::Local {
            exit: Exit::Output,
            phrase: phrase.into(),
            cause,
            hint: "look at what reads the output of this command, or at the disk it goes to",
        }
    }
}

/// Prints what was asked for, whole, and makes sure that it left.
pub(crate) fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush())
}

/// Says something in passing.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", printable(&text.to_string()));
}

/// Says what went wrong, and how the program shall end.
pub(crate) fn tell(failure: &Failure) -> Exit {
    let (report, exit) = match failure {
        Failure::Engine(error) => (of_engine(error), Exit::of(error.kind())),
        Failure::Local {
            exit,
            phrase,
            cause,
            hint,
        } => {
            let mut report = Report::new(phrase);
            report.causes(Some(cause));
            report.fact("what to do", hint);
            (report, *exit)
        }
    };
    let _ = io::stderr().write_all(report.0.as_bytes());
    exit
}

fn of_engine(error: &Error) -> Report {
    let phrase = error.to_string();
    let mut report = Report::new(&phrase);
    if let Some(status) = error.status() {
        report.fact("status", status);
    }
    for (name, value) in [
        ("endpoint", error.endpoint()),
        ("code", error.code()),
        ("OAuth error", error.oauth_error()),
        ("the server said", error.description()),
        ("trace id", error.trace_id()),
    ] {
        if let Some(value) = value {
            report.fact(name, value);
        }
    }
    for (name, value) in error.details() {
        // Settings and keys tell all that is wrong, and where, in the phrase already.
        let told = matches!(name, "problem" | "place" | "source") && phrase.contains(value);
        if !told {
            report.fact(name, value);
        }
    }
    report.causes(error.source());
    if let Some(advice) = error.advice() {
        report.fact("what to do", advice.hint());
        if let Some(owner) = owner(advice) {
            report.fact("who", owner);
        }
    }
    if let Some(waiting) = waiting(error) {
        report.fact("waiting", waiting);
    }
    report
}

fn owner(advice: &Advice) -> Option<&'static str> {
    Some(match advice.owner() {
        Owner::You => "you: whoever sets up and runs this client",
        Owner::ApiOwner => "whoever runs the server, or owns the scope or the API",
        Owner::Customer => "your customer: the organisation the token was asked on behalf of",
        Owner::Network => "whoever runs the network between here and the server",
        _ => return None,
    })
}

/// Whether waiting helps; nothing where nobody else was asked.
fn waiting(error: &Error) -> Option<&'static str> {
    if matches!(
        error.kind(),
        ErrorKind::Request | ErrorKind::Origin | ErrorKind::Settings | ErrorKind::Key
    ) {
        return None;
    }
    let retry = error.advice().map_or(Retry::No, Advice::retry);
    Some(match retry {
        Retry::OtherKey => "helps only if the key was registered in the last 15 minutes",
        Retry::CorrectedClock => "does not help before the clock is right",
        Retry::NewAssertion => "not needed: ask again, a new assertion is made each time",
        Retry::Later => "may help: ask again in a few minutes",
        _ if error.is_transient() => "may help: ask again in a few minutes",
        _ => "does not help: something must be changed first",
    })
}

/// One phrase and its indented facts.
struct Report(String);

impl Report {
    fn new(phrase: &str) -> Self {
        Self(format!("error: {}\n", printable(phrase)))
    }

    fn fact(&mut self, name: &str, value: impl Display) {
        let value = printable(&value.to_string());
        self.0.push_str(&format!("  {name}: {value}\n"));
    }

    /// What lies behind it, each cause once: wrappers often repeat the words of what they wrap.
    fn causes(&mut self, first: Option<&(dyn StdError + 'static)>) {
        let mut last = String::new();
        let mut next = first;
        while let Some(cause) = next {
            let text = cause.to_string();
            if !last.contains(&text) {
                self.fact("because", &text);
            }
            last = text;
            next = cause.source();
        }
    }
}

fn printable(text: &str) -> String {
    let space = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(space).collect()
}
