//! What is wrong with a key, collected so that it is told at once.

use std::borrow::Cow;

use crate::advice::Advice;
use crate::error::Error;

/// The list of what is wrong. Whoever reads a key adds the most telling first: its advice is the one
/// the error carries.
#[derive(Debug, Default)]
pub(super) struct Problems {
    texts: Vec<Cow<'static, str>>,
    advice: Option<&'static Advice>,
}

impl Problems {
    pub(super) fn add(&mut self, text: impl Into<Cow<'static, str>>, advice: &'static Advice) {
        self.texts.push(text.into());
        self.advice.get_or_insert(advice);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(super) fn into_error(self) -> Error {
        let mut error = Error::key(format!("the key cannot be used: {}", self.texts.join("; ")));
        if let Some(advice) = self.advice {
            error = error.with_advice(advice);
        }
        for text in self.texts {
            error = error.with_detail("problem", text);
        }
        error
    }
}
