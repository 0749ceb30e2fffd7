//! [`TokenSource`]: where a token comes from: a signed grant, the exchange, a sidecar, or a fixed text.

mod altinn;
mod sidecar;
mod signed;
mod skew;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::request::TokenRequest;
use crate::signer::BoxFuture;
use crate::token::AccessToken;

pub(crate) use altinn::AltinnExchange;
pub(crate) use sidecar::SidecarTokens;
pub(crate) use signed::{Endpoint, SignedGrant};
pub(crate) use skew::Skew;

/// Where a token comes from.
///
/// - A source is asked by the cache, in a task of its own, once for however many wait.
/// - It asks anew each time: what is kept, when it is renewed and what a failure means to callers
///   is decided above it.
/// - Its [`SourceIdentity`] is part of every cache key: two sources that could give different tokens
///   for one request must have different identities.
///
/// ```
/// use std::time::Duration;
/// use maskinporten::{AccessToken, BoxFuture, Result, SourceIdentity, TokenRequest, TokenSource};
///
/// /// A file that some other program keeps fresh.
/// #[derive(Debug)]
/// struct TokenFile(SourceIdentity);
///
/// impl TokenSource for TokenFile {
///     fn identity(&self) -> SourceIdentity {
///         self.0.clone()
///     }
///
///     fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
///         Box::pin(async { AccessToken::new("read-from-a-file", Duration::from_secs(60)) })
///     }
/// }
///
/// let source = TokenFile(SourceIdentity::new("file:/run/token", ""));
/// ```
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Whose tokens these are now.
    fn identity(&self) -> SourceIdentity;

    /// Asks for a token, anew each time.
    ///
    /// It is not called from a caller's future: no caller's timeout ends it, the flight's own
    /// deadline of 10 s does. A transient error is tried again, twice.
    ///
    /// # Errors
    ///
    /// Whatever keeps the source from a token.
    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>>;

    /// Asks for a token other than the last, which an API did not accept. A source that keeps tokens of
    /// its own passes them over; the default asks as ever.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch).
    fn fetch_anew<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        self.fetch(request)
    }

    /// Whether it keeps tokens of its own, so that [`fetch`](Self::fetch) may give one that it gave before.
    /// The default is that it does not.
    fn keeps_tokens(&self) -> bool {
        false
    }

    /// Another number whenever what it would answer may have changed: another key, other settings.
    ///
    /// What was remembered of a failure is forgotten then; tokens stay as they are. The default never
    /// changes.
    fn revision(&self) -> u64 {
        0
    }

    /// Refuses, before anything is sent, what this source can never give.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request), naming what is not supported and what to do
    /// instead.
    fn supports(&self, request: &TokenRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }
}

/// Issuer and client: the part of a cache key that a source contributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceIdentity {
    issuer: Arc<str>,
    client_id: Arc<str>,
}

impl SourceIdentity {
    /// The issuer's address (a sidecar's or file's stands in its place), and the client's id.
    #[must_use]
    pub fn new(issuer: impl Into<Arc<str>>, client_id: impl Into<Arc<str>>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
        }
    }

    /// Who issues the tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// To whom they are issued.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }
}

/// One text for every request: for tests, and for tokens that somebody else has made.
///
/// ```
/// use std::time::Duration;
/// use maskinporten::{FixedToken, MaskinportenClient};
///
/// let source = FixedToken::new("made-elsewhere", Duration::from_secs(3600))?;
/// let client = MaskinportenClient::builder().source(source).build()?;
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Debug)]
pub struct FixedToken {
    identity: SourceIdentity,
    token: AccessToken,
}

impl FixedToken {
    /// A source that gives this text whatever is asked, each time as if it lived that long from then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) where the text cannot stand in a header.
    pub fn new(text: &str, lifetime: Duration) -> Result<Self> {
        Ok(Self {
            identity: SourceIdentity::new("fixed", ""),
            token: AccessToken::new(text, lifetime)?,
        })
    }
}

impl TokenSource for FixedToken {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(std::future::ready(Ok(self.token.clone())))
    }
}
