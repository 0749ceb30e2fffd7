//! Scopes: sorted, without doubles, joined by one space.

use std::fmt;
use std::sync::Arc;

use crate::advice;
use crate::error::{Error, Result};

/// One scope token (RFC 6749 §3.3), such as `altinn:serviceowner/instances.read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope<'a>(&'a str);

impl Scope<'static> {
    /// Says that the client is a service owner's system. Altinn looks for it in the tokens it exchanges.
    pub const SERVICE_OWNER: Self = Scope("altinn:serviceowner");

    /// Reads instances as their service owner.
    pub const INSTANCES_READ: Self = Scope("altinn:serviceowner/instances.read");

    /// Writes instances as their service owner.
    pub const INSTANCES_WRITE: Self = Scope("altinn:serviceowner/instances.write");

    /// What Altinn Studio gives an app by default, and every app of version 9 must have.
    ///
    /// ```
    /// use maskinporten::{Scope, TokenRequest};
    ///
    /// let request = TokenRequest::scopes(Scope::STUDIO_DEFAULTS)?;
    /// assert!(request.scope_set().iter().any(|scope| scope == Scope::SERVICE_OWNER));
    /// # Ok::<(), maskinporten::Error>(())
    /// ```
    pub const STUDIO_DEFAULTS: [Self; 3] = [
        Self::SERVICE_OWNER,
        Self::INSTANCES_READ,
        Self::INSTANCES_WRITE,
    ];

    /// The same as apps of version 8 ask for them: without [`SERVICE_OWNER`](Self::SERVICE_OWNER). A
    /// client that was made for such an app may not have more.
    pub const STUDIO_DEFAULTS_V8: [Self; 2] = [Self::INSTANCES_READ, Self::INSTANCES_WRITE];
}

impl<'a> Scope<'a> {
    /// Checks one scope.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is empty or holds a character that
    /// no scope may hold.
    pub fn new(text: &'a str) -> Result<Self> {
        // What is shown is escaped and cut: it is the caller's text, and may hold a line break.
        let shown = || text.chars().take(60).collect::<String>();
        if text.is_empty() {
            return Err(Error::request("a scope is empty").with_advice(&advice::NO_SCOPE));
        }
        if text.contains([',', ';']) {
            let message = format!("{:?} is not one scope", shown());
            return Err(Error::request(message).with_advice(&advice::SCOPE_SEPARATOR));
        }
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.bytes().all(allowed) {
            let message = format!("{:?} is no scope", shown());
            return Err(Error::request(message).with_advice(&advice::SCOPE_CHARACTER));
        }
        Ok(Self(text))
    }

    /// The scope as it is written.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl AsRef<str> for Scope<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// At least one scope: sorted, without doubles, cheap to clone.
///
/// - Each entry may itself hold several scopes separated by white space.
/// - Order and doubles do not matter: two lists of the same scopes are equal, and share one token.
/// - An empty list is refused, and so is what no scope may hold (RFC 6749 §3.3), a comma among it:
///   RFC 6749 allows one, Maskinporten's scopes have none, and a list pasted with commas would
///   otherwise come back as one unknown scope.
///
/// ```
/// use maskinporten::ScopeSet;
///
/// let one = ScopeSet::new(["b:write", "a:read  b:write"])?;
/// assert_eq!(one.as_str(), "a:read b:write");
/// assert_eq!(one, ScopeSet::new(["a:read", "b:write"])?);
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeSet(Arc<str>);

impl ScopeSet {
    /// Splits every entry on white space, sorts what is found and drops doubles.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where nothing is left, or where a scope
    /// holds a character that no scope may hold.
    pub fn new<I>(scopes: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let entries: Vec<I::Item> = scopes.into_iter().collect();
        let mut scopes = entries
            .iter()
            .flat_map(|entry| entry.as_ref().split_whitespace())
            .map(Scope::new)
            .collect::<Result<Vec<_>>>()?;
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(Error::request("no scope was given").with_advice(&advice::NO_SCOPE));
        }
        let texts: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        Ok(Self(texts.join(" ").into()))
    }

    /// The scopes as the assertion carries them: joined by one space.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a scope is one of them.
    pub(crate) fn contains(&self, scope: &str) -> bool {
        self.0.split(' ').any(|own| own == scope)
    }

    /// The scopes one by one, sorted.
    pub fn iter(&self) -> impl Iterator<Item = Scope<'_>> {
        self.0.split(' ').map(Scope)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scopes: &[&str], expected: &str) {
        let set = ScopeSet::new(scopes).unwrap();
        assert_eq!(set.as_str(), expected);
    }

    // The six rows of the .NET reference's `Scopes_AreNormalised`, rebuilt.
    #[test]
    fn scopes_are_split_sorted_and_without_doubles() {
        check(&["a", "b", "c"], "a b c");
        check(&["a b", "c"], "a b c");
        check(&["a b c"], "a b c");
        check(&["c", "b", "a"], "a b c");
        check(&["a", "b a", "c\tb"], "a b c");
        check(&["  ", "a  b ", "", " c"], "a b c");
    }

    #[test]
    fn sorting_is_by_bytes_as_in_the_reference() {
        check(&["b:x", "B:x", "a:y/z", "a:y"], "B:x a:y a:y/z b:x");
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        let check = |scopes: &[&str], why: &str| {
            let error = ScopeSet::new(scopes).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.hint().is_some());
        };
        check(&[], "no scope");
        check(&["", " \t"], "no scope");
        check(&["a:read,b:read"], "is not one scope");
        check(&["a:read;b:read"], "is not one scope");
        check(&["a\u{0}b"], "is no scope");
        check(&["«a:read»"], "is no scope");
        check(&["a\"b"], "is no scope");
        check(&["a\\b"], "is no scope");
    }
}
