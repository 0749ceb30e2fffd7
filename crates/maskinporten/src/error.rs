//! One [`Error`] for everything that can keep a request from its token.

mod others;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::advice::{self, About, Advice};

/// What can stand behind an [`Error`] as its cause.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The outcome of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happened. Each kind says who can mend it, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No usable settings, or settings that contradict each other. The operator mends the file or
    /// the environment that the message names.
    Settings,

    /// The key cannot sign for Maskinporten, or signing failed. The operator mends or replaces it;
    /// `maskinporten keygen` makes a good one.
    Key,

    /// What was asked for cannot be asked: scopes, an organisation number, a resource. The caller's
    /// code mends it.
    Request,

    /// The request goes to an origin the token was not released for. Nothing was sent and no token
    /// was looked up. The caller's code adds the origin, or the address is wrong.
    Origin,

    /// Nobody answered in time, or no connection came about. Asking again may help.
    Unreachable,

    /// The server answered that it cannot serve now (429, 5xx). Asking again later may help.
    Unavailable,

    /// An answer that is no token answer: a proxy's page, half a JSON, an unusable token. Look at
    /// what stands between here and the token server.
    Protocol,

    /// The token server refused the client, its key or its assertion. Check client id, key, `kid`
    /// and environment in the portal.
    Rejected,

    /// The token server refused a scope: it is not on the client or not of this kind. Add it to the
    /// client in the portal.
    ScopeRejected,

    /// The token server refused the organisation: the scope's owner has not granted access, the
    /// consumer has not delegated it, or its system user is not approved.
    OrganisationRejected,

    /// Altinn did not exchange the token. The message tells which of the causes it was.
    Exchange,

    /// No async runtime to fetch on, or the one that fetched went away, again and again.
    Runtime,

    /// The client was shut down. Nothing is fetched any more; the caller's code asks too late.
    Closed,
}

impl ErrorKind {
    /// As spans and metrics spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Key => "key",
            Self::Request => "request",
            Self::Origin => "origin",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol",
            Self::Rejected => "rejected",
            Self::ScopeRejected => "scope_rejected",
            Self::OrganisationRejected => "organisation_rejected",
            Self::Exchange => "exchange",
            Self::Runtime => "runtime",
            Self::Closed => "closed",
        }
    }
}

/// Why there is no token: one error for everything that can keep a request from it.
///
/// - It is one word wide and `Clone`: one failed fetch has many owners.
/// - [`Self::kind`] says what happened, and so who can mend it; [`Self::hint`] says how.
/// - [`Self::is_transient`] and [`Self::retry_at`] say whether asking again may help, and when.
/// - No secret reaches it: of a server's answer it holds the status, the OAuth error, a cleaned and
///   bounded description, the error code and the trace id, and never the body.
///
/// ```
/// use maskinporten::{ErrorKind, TokenRequest};
///
/// let error = TokenRequest::scopes(["a:read,a:write"]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Request);
/// assert!(!error.is_transient());
/// assert!(error.hint().unwrap().contains("space"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    advice: Option<&'static Advice>,
    transient: bool,
    refusal: Option<Refusal>,
    status: Option<StatusCode>,
    endpoint: Option<String>,
    retry_after: Option<Duration>,
    retry_at: Option<SystemTime>,
    details: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What a server said when it refused, cleaned: see [`Error::oauth_error`] and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) trace_id: Option<String>,
}

impl Error {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// When the next attempt will be made, for an error that is remembered and shared: until then
    /// every caller gets this same error at once and the server is left alone.
    #[must_use]
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.0.retry_at
    }

    /// The OAuth 2.0 error of the answer, such as `invalid_grant` (RFC 6749 §5.2).
    #[must_use]
    pub fn oauth_error(&self) -> Option<&str> {
        self.0.refusal.as_ref()?.error.as_deref()
    }

    /// The server's own description: printable characters only, cut at 500, without its trace id.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.0.refusal.as_ref()?.description.as_deref()
    }

    /// Maskinporten's code, such as `MP-250`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.refusal.as_ref()?.code.as_deref()
    }

    /// The trace id of the refused request: what support asks for.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.refusal.as_ref()?.trace_id.as_deref()
    }

    /// The HTTP status of the answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Where the request went: scheme, host and path.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// What to do, and who must do it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.0.advice.map(Advice::hint)
    }

    /// The row of the table of known refusals and traps that this error falls under.
    #[must_use]
    pub fn advice(&self) -> Option<&'static Advice> {
        self.0.advice
    }

    /// Whom the failure is about, and so what it may cost others: the server, the client's credentials, or the
    /// one request that met it.
    ///
    /// A refusal that is not in the table of known refusals is about its request, and so is what a
    /// [`TokenSource`](crate::TokenSource) refuses with [`Error::rejected`].
    #[must_use]
    pub fn about(&self) -> About {
        About::of(self.0.kind, self.0.advice, self.0.refusal.as_ref())
    }

    /// Facts for whoever looks into it, by name: the audience and client id that were sent, the
    /// member of a key that is wrong. Never a secret.
    pub fn details(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .details
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// Finds the error of this crate in another one, or in what it was caused by.
    ///
    /// Layers answer with a boxed error; whatever a client wraps around it, this looks through.
    ///
    /// ```
    /// use maskinporten::{Error, TokenRequest};
    ///
    /// let boxed: Box<dyn std::error::Error + Send + Sync> =
    ///     TokenRequest::scopes([""; 0]).unwrap_err().into();
    /// assert!(Error::find_in(&*boxed).is_some());
    /// ```
    #[must_use]
    pub fn find_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // An `io::Error` gives the source of what it holds, and not what it holds.
            let held = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            next = match held {
                Some(held) => Some(held),
                None => error.source(),
            };
        }
        None
    }
}

// ===== what a source, a signer or a place of settings of one's own fails with =====

impl Error {
    /// Whatever a [`TokenSource`](crate::TokenSource) or a [`Signer`](crate::Signer) asks cannot serve
    /// now: it is tried again, and remembered for half a minute at most.
    ///
    /// The message is one lower-case phrase without a secret.
    #[must_use]
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Whatever a [`TokenSource`](crate::TokenSource) or a [`Signer`](crate::Signer) asks has refused:
    /// it is not tried again at once, and remembered for a minute at most.
    ///
    /// The message is one lower-case phrase without a secret.
    #[must_use]
    pub fn rejected(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Rejected, message)
    }

    /// What an operator has written cannot be used. The message says what, where it stands and what to do.
    ///
    /// The message is one lower-case phrase without a secret.
    #[must_use]
    pub fn settings(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Settings, message)
    }

    /// A key cannot sign for Maskinporten. The message says why, and what to do.
    ///
    /// The message is one lower-case phrase without a secret.
    #[must_use]
    pub fn key(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Key, message)
    }

    /// What a caller asks for cannot be asked: its code mends it.
    ///
    /// The message is one lower-case phrase without a secret.
    #[must_use]
    pub fn request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Request, message)
    }

    /// Named clients are declared wrongly, or one is asked for that is not declared.
    ///
    /// The message tells all that is wrong and where it stands, in lower case and without a secret.
    #[must_use]
    pub fn named_clients(message: impl Into<Cow<'static, str>>) -> Self {
        Self::settings(message).with_advice(&advice::NAMED_CLIENTS)
    }

    /// There is no Tokio runtime where one is needed: to send a request on, or to wait.
    ///
    /// The message is one lower-case phrase without a secret.
    #[must_use]
    pub fn runtime(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Runtime, message).with_advice(&advice::NO_RUNTIME)
    }

    /// The same with what caused it, for [`source`](StdError::source).
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.with_source(cause)
    }
}

// ===== what the rooms build an error from =====

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let transient = matches!(
            kind,
            ErrorKind::Unreachable | ErrorKind::Unavailable | ErrorKind::Protocol
        );
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            advice: None,
            transient,
            refusal: None,
            status: None,
            endpoint: None,
            retry_after: None,
            retry_at: None,
            details: Vec::new(),
            source: None,
        }))
    }

    pub(crate) fn origin(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Origin, message)
    }

    pub(crate) fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    pub(crate) fn with_advice(self, advice: &'static Advice) -> Self {
        self.edit(|inner| inner.advice = Some(advice))
    }

    pub(crate) fn with_transient(self, transient: bool) -> Self {
        self.edit(|inner| inner.transient = transient)
    }

    pub(crate) fn with_refusal(self, refusal: Refusal) -> Self {
        self.edit(|inner| inner.refusal = Some(refusal))
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        self.edit(|inner| inner.status = Some(status))
    }

    pub(crate) fn with_endpoint(self, uri: &http::Uri) -> Self {
        // The query stays out: nothing here puts a secret there, but a proxy's rewrite might.
        let endpoint = match (uri.scheme_str(), uri.host()) {
            (Some(scheme), Some(host)) => match uri.port_u16() {
                Some(port) => format!("{scheme}://{host}:{port}{}", uri.path()),
                None => format!("{scheme}://{host}{}", uri.path()),
            },
            _ => uri.path().to_owned(),
        };
        self.edit(|inner| inner.endpoint = Some(endpoint))
    }

    pub(crate) fn with_detail(self, name: &'static str, value: impl Into<String>) -> Self {
        self.edit(|inner| inner.details.push((name, value.into())))
    }

    pub(crate) fn with_retry_after(self, delay: Option<Duration>) -> Self {
        self.edit(|inner| inner.retry_after = delay)
    }

    /// Marks the error as remembered: its own flight has retried what could be retried.
    pub(crate) fn with_retry_at(self, at: SystemTime) -> Self {
        self.edit(|inner| inner.retry_at = Some(at))
    }

    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        let source = Arc::from(source.into());
        self.edit(|inner| inner.source = Some(source))
    }

    /// The server's own wish (`Retry-After`, RFC 9110 §10.2.3), not yet capped.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the server asks for fewer requests: status 429, or 503 with a `Retry-After`.
    pub(crate) fn is_throttled(&self) -> bool {
        match self.0.status {
            Some(StatusCode::TOO_MANY_REQUESTS) => true,
            Some(StatusCode::SERVICE_UNAVAILABLE) => self.0.retry_after.is_some(),
            _ => false,
        }
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut out = f.debug_struct("Error");
        out.field("kind", &inner.kind);
        out.field("message", &inner.message);
        out.field("transient", &inner.transient);
        if let Some(status) = inner.status {
            out.field("status", &status.as_u16());
        }
        if let Some(endpoint) = &inner.endpoint {
            out.field("endpoint", endpoint);
        }
        if let Some(refusal) = &inner.refusal {
            out.field("refusal", refusal);
        }
        if !inner.details.is_empty() {
            out.field("details", &inner.details);
        }
        if let Some(source) = &inner.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(BoxError);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_server_that_asks_for_fewer_requests_is_told_from_one_that_fails() {
        let busy = |status, after: Option<u64>| {
            Error::new(ErrorKind::Unavailable, "busy")
                .with_status(StatusCode::from_u16(status).unwrap())
                .with_retry_after(after.map(Duration::from_secs))
                .is_throttled()
        };
        assert!(busy(429, None) && busy(429, Some(1)) && busy(503, Some(1)));
        assert!(!busy(503, None) && !busy(500, Some(1)) && !busy(408, None));
    }

    #[test]
    fn it_is_found_through_whatever_wraps_it() {
        let ours = || Error::request("asked wrongly");
        let found = |error: &(dyn StdError + 'static)| {
            Error::find_in(error).map(ToString::to_string) == Some("asked wrongly".to_owned())
        };
        assert!(found(&ours()));
        assert!(found(&Wrapped(ours().into())));
        assert!(found(&io::Error::other(ours())));
        assert!(found(&Wrapped(
            io::Error::other(Wrapped(ours().into())).into()
        )));
        assert!(!found(&io::Error::other("somebody else's")));
    }
}
