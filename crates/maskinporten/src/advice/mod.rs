//! What a refusal or a known trap means, who can mend it, and how: one table.
//!
//! `refusals.rs` holds what the token server answers. A row is found by its code, else by a phrase of
//! the description, because several refusals come without a code and older texts without either.
//! `traps.rs` holds what is seen before anything is sent. [`Error::hint`](crate::Error::hint) reads
//! from here, and so may any tool that explains a code to a person.

mod about;
mod refusals;
mod traps;

use crate::error::{ErrorKind, Refusal};

pub use about::About;
pub(crate) use about::known_oauth_error;

use refusals::REFUSALS;
use traps::TRAPS;
pub(crate) use traps::*;

/// One row of the table: what happened, and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Advice {
    code: Option<&'static str>,
    error: Option<&'static str>,
    phrases: &'static [&'static str],
    kind: ErrorKind,
    about: About,
    owner: Owner,
    retry: Retry,
    meaning: &'static str,
    hint: &'static str,
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// Whoever runs this service: its settings, its key, its clock, its client in the portal.
    You,
    /// The organisation that owns the scope or the API.
    ApiOwner,
    /// The organisation on whose behalf the token was asked for.
    Customer,
    /// Whoever runs the network between here and the server.
    Network,
}

/// Whether asking again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Not before something is changed.
    No,
    /// Once, with a new assertion.
    NewAssertion,
    /// Once, with a new assertion whose times follow the server's clock.
    CorrectedClock,
    /// With another registered key, or after the key has spread (up to 15 minutes).
    OtherKey,
    /// Later.
    Later,
}

impl Advice {
    /// Maskinporten's code, such as `MP-250`, where the row has one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// Whom it is about, and so what it may cost others.
    #[must_use]
    pub fn about(&self) -> About {
        self.about
    }

    /// Who can mend it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether asking again helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// What happened, in one phrase.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// What to do, and who must do it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }

    /// Every row, refusals first.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        REFUSALS.iter().chain(TRAPS.iter().copied())
    }

    /// The row for a code such as `MP-250`.
    #[must_use]
    pub fn for_code(code: &str) -> Option<&'static Self> {
        let same = |row: &&Self| {
            row.code
                .is_some_and(|known| known.eq_ignore_ascii_case(code))
        };
        REFUSALS.iter().find(same)
    }

    /// The row whose phrase occurs in a description, whatever the case.
    #[must_use]
    pub fn for_text(text: &str) -> Option<&'static Self> {
        Self::in_text(text, |_| true)
    }

    /// The first row of those that are `wanted` whose phrase occurs in a description.
    fn in_text(text: &str, wanted: impl Fn(&&Self) -> bool) -> Option<&'static Self> {
        let text = text.to_lowercase();
        REFUSALS.iter().filter(wanted).find(|row| {
            row.phrases
                .iter()
                .any(|phrase| text.contains(&phrase.to_lowercase()))
        })
    }

    /// The row for what a token server answered: by code, by phrase, then by OAuth error alone.
    pub(crate) fn for_refusal(refusal: &Refusal) -> Option<&'static Self> {
        let by_code = refusal.code.as_deref().and_then(Self::for_code);
        // A text often repeats words of another row: `forbidden` names an organisation number as MP-122 does.
        let of_this_error =
            |row: &&Self| row.error.is_some() && row.error == refusal.error.as_deref();
        let by_text = || {
            let text = refusal.description.as_deref()?;
            Self::in_text(text, of_this_error).or_else(|| Self::for_text(text))
        };
        let by_error = || {
            let error = refusal.error.as_deref()?;
            REFUSALS
                .iter()
                .find(|row| row.error == Some(error) && row.phrases.is_empty())
        };
        by_code.or_else(by_text).or_else(by_error)
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Whether a row is about the password of a key, which not all settings give by the same name.
pub(crate) fn is_of_password(row: &Advice) -> bool {
    [&KEY_PASSWORD_MISSING, &KEY_PASSWORD_WRONG]
        .iter()
        .any(|password| std::ptr::eq(row, *password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &str, code: Option<&str>, text: &str, meaning: &str) {
        let refusal = Refusal {
            error: Some(error.into()),
            description: Some(text.into()),
            code: code.map(Into::into),
            trace_id: None,
        };
        let found = Advice::for_refusal(&refusal).map(Advice::meaning);
        assert_eq!(found, Some(meaning), "{error} {code:?} {text}");
    }

    #[test]
    fn a_code_decides_before_the_text() {
        check(
            "invalid_grant",
            Some("MP-124"),
            "Client authentication failed.",
            "the signature does not match the registered key",
        );
    }

    #[test]
    fn without_a_code_the_phrase_decides() {
        let grant = |text, meaning| check("invalid_grant", None, text, meaning);
        grant(
            "Client authentication failed. No key identifier (kid) provided",
            "the client has registered keys, so a kid is required",
        );
        grant(
            "Client authentication failed: Unknown key identifier (kid)",
            "the kid is not registered on this client",
        );
        grant(
            "Invalid assertion. Client authentication failed. Invalid JWT signature.",
            "the signature does not match the registered key",
        );
        grant(
            "Client authentication failed",
            "the client is not known here",
        );
        grant(
            "JWT issue time is in the future",
            "the assertion was issued in the server's future",
        );
        check(
            "forbidden",
            None,
            "Consumer 991825827 has not delegated access to the scope",
            "the consumer has not delegated the scope",
        );
    }

    #[test]
    fn an_unknown_text_falls_back_to_its_oauth_error() {
        check(
            "invalid_scope",
            None,
            "something new",
            "the scope was refused",
        );
        check(
            "invalid_grant",
            Some("MP-999"),
            "something new",
            "the grant was refused",
        );
    }

    #[test]
    fn every_row_says_what_to_do() {
        for row in Advice::all() {
            assert!(!row.meaning().is_empty() && !row.hint().is_empty());
            assert!(!row.hint().ends_with('.'), "{}", row.hint());
            assert_eq!(row.hint().trim(), row.hint());
            assert!(!row.hint().contains("  "), "{}", row.hint());
        }
    }
}
