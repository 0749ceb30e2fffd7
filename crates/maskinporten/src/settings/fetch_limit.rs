//! The limits of the fetch queue as settings give them: no credentials, so they count in either shape of names.

use std::fmt;

use crate::error::{Error, Result};
use crate::fetch_limits::{GivenLimits, permits_in, wait_in};
use crate::secret::Secret;

use super::values::{Named, Section};
use super::{draft, names};

/// The limits that one place gives, as they stand there. They are checked when a client is made of them.
#[derive(Clone, Default)]
pub(crate) struct FoundLimits {
    permits: Option<Named>,
    wait: Option<Named>,
}

impl FoundLimits {
    /// Those that stand under names of the shape `MASKINPORTEN_…`.
    pub(super) fn in_variables<'a>(value: &dyn Fn(&str) -> Option<&'a Secret>) -> Self {
        let found = |name: &str| Named::of(Named::in_variables(value, &[name]));
        Self {
            permits: found(names::MAX_CONCURRENT_FETCHES),
            wait: found(names::FETCH_QUEUE_TIMEOUT),
        }
    }

    /// Those that stand in a section.
    pub(super) fn in_section(section: &Section) -> Self {
        let found = |name: &str| Named::of(section.all(name));
        Self {
            permits: found(draft::MAX_CONCURRENT_FETCHES),
            wait: found(draft::FETCH_QUEUE_TIMEOUT),
        }
    }

    /// These and others of the same place, which must say the same.
    pub(super) fn joined(self, others: Self) -> Self {
        Self {
            permits: Named::join(self.permits, others.permits),
            wait: Named::join(self.wait, others.wait),
        }
    }

    /// Those that do not stand in `others` as they are.
    pub(super) fn not_in(self, others: &Self) -> Self {
        Self {
            permits: self
                .permits
                .filter(|own| Some(own) != others.permits.as_ref()),
            wait: self.wait.filter(|own| Some(own) != others.wait.as_ref()),
        }
    }

    pub(super) fn has_permits(&self) -> bool {
        self.permits.is_some()
    }

    pub(super) fn has_wait(&self) -> bool {
        self.wait.is_some()
    }

    /// The limits, checked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) for one that is not a whole number in its range, or that
    /// two names give two values of; by name, and without its text.
    pub(crate) fn checked(&self) -> Result<GivenLimits> {
        let permits = self.permits.as_ref().map(|found| read(found, permits_in));
        let wait = self.wait.as_ref().map(|found| read(found, wait_in));
        Ok(GivenLimits {
            permits: permits.transpose()?,
            wait: wait.transpose()?,
        })
    }

    /// Each by its name, with its value where that can be used, for a description.
    pub(crate) fn described(&self) -> impl Iterator<Item = String> + '_ {
        let described = |found: &Named, is_good: bool| match &found.value {
            Ok(text) if is_good => format!("{} {}", found.name, text.trim()),
            _ => format!("{} [unusable]", found.name),
        };
        let permits = self
            .permits
            .iter()
            .map(move |found| described(found, read(found, permits_in).is_ok()));
        let wait = self
            .wait
            .iter()
            .map(move |found| described(found, read(found, wait_in).is_ok()));
        permits.chain(wait)
    }
}

fn read<T>(found: &Named, parse: fn(&str, &str) -> Result<T>) -> Result<T> {
    match &found.value {
        Ok(text) => parse(&found.name, text),
        Err(problem) => {
            Err(Error::settings(problem.clone()).with_advice(&crate::advice::FETCH_LIMITS))
        }
    }
}

impl fmt::Debug for FoundLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is not what it should be may be a key that was put there.
        f.debug_list().entries(self.described()).finish()
    }
}
