//! What is wrong with the declarations of clients, collected so that it is told at once.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use maskinporten::Error;

/// Where something was declared, as a compiler writes it: `clients.toml:4`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: Arc<str>,
    line: usize,
}

impl Place {
    pub(super) fn in_file(file: &Arc<str>, line: usize) -> Self {
        let file = Arc::clone(file);
        Self { file, line }
    }

    pub(super) fn in_code(location: &Location<'_>) -> Self {
        Self {
            file: location.file().into(),
            line: location.line() as usize,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The list of what is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Place, String)>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, text: impl Into<String>) {
        self.0.push((place.clone(), text.into()));
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// An error that tells all of them in the order of their places, or nothing where there is none.
    pub(super) fn into_result(mut self) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        // Stable: what is wrong in one place stays in the order it was found.
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        let texts = self
            .0
            .iter()
            .map(|(place, text)| format!("{place}: {text}"));
        let texts = texts.collect::<Vec<_>>().join("; ");
        let message = format!("the named clients cannot be made: {texts}");
        Err(Error::named_clients(message))
    }
}
