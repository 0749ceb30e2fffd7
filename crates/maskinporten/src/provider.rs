//! [`TokenProvider`]: the one question a layer may ask.

use std::fmt;
use std::sync::{Arc, Weak};

use http::HeaderValue;

use crate::advice;
use crate::cache::{self, ContextTables, Fetching, Held, Identity};
use crate::clock::AnyClock;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fetch_limits::FetchLimits;
use crate::origin::Origin;
use crate::request::{TokenContext, TokenKind, TokenRequest};
use crate::scope::ScopeSet;
use crate::source::TokenSource;
use crate::stats::Tally;
use crate::token::AccessToken;

/// Who knows where tokens are kept.
///
/// A layer asks once, when it is built: where is the token for this request kept? What it gets is a
/// [`TokenHandle`], and from then on a request reads the handle and asks nobody.
///
/// [`MaskinportenClient`](crate::MaskinportenClient) is the one everybody starts with. A fake is a
/// few lines over any [`TokenSource`]:
///
/// ```
/// use std::time::Duration;
/// use maskinporten::{FixedToken, Result, TokenHandle, TokenKind, TokenProvider, TokenRequest};
///
/// #[derive(Debug)]
/// struct Fake;
///
/// impl TokenProvider for Fake {
///     fn token(&self, _: &TokenRequest, _: TokenKind) -> Result<TokenHandle> {
///         let source = FixedToken::new("fake", Duration::from_secs(600))?;
///         TokenHandle::from_source(source)
///     }
/// }
/// ```
pub trait TokenProvider: fmt::Debug + Send + Sync + 'static {
    /// The place where the token for a request is kept. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// Where no such token can ever be had: the source does not support the request, or no Altinn is
    /// known to exchange at.
    fn token(&self, request: &TokenRequest, kind: TokenKind) -> Result<TokenHandle>;
}

/// The place where one token is kept, shared by everybody who needs that token.
#[derive(Clone)]
pub struct TokenHandle {
    entry: Held,
    /// None for a place of its own, beside which there are no others.
    made_for: Option<MadeFor>,
}

/// What a handle was made for, and who knows the places of other requests.
#[derive(Clone)]
pub(crate) struct MadeFor {
    keeper: Arc<dyn Keeper>,
    request: TokenRequest,
    kind: TokenKind,
}

/// Who keeps the tokens of many requests.
pub(crate) trait Keeper: Send + Sync {
    fn entry(&self, request: &TokenRequest, kind: TokenKind) -> Result<Held>;

    /// Which environment the tokens are of, where that is known.
    fn environment(&self) -> Option<Environment>;

    /// Has a layer's tables swept of entries that are evicted from now on.
    fn note_tables(&self, kind: TokenKind, tables: Weak<dyn ContextTables>);
}

impl TokenHandle {
    /// A place of its own for a source's token. It serves one request: where one has a
    /// [`TokenContext`](crate::TokenContext), it fails.
    ///
    /// # Errors
    ///
    /// None today; a source may refuse what it does not support.
    pub fn from_source(source: impl TokenSource) -> Result<Self> {
        let identity = Identity {
            source: source.identity(),
            request: ScopeSet::new(["fixed"])?.into(),
            exchange: None,
        };
        let entry = Held::new(
            identity,
            cache::Origin::Source(Arc::new(source)),
            &Fetching::new(
                FetchLimits::default(),
                AnyClock::default(),
                Tally::new(TokenKind::Maskinporten),
            ),
        );
        Ok(Self {
            entry,
            made_for: None,
        })
    }

    /// The token, fetched where there is none.
    ///
    /// Dropping the future harms nobody else: the fetch goes on, and what it brings is kept.
    ///
    /// # Errors
    ///
    /// What the fetch failed with, or what an earlier one failed with whose
    /// [`retry_at`](crate::Error::retry_at) has not come.
    pub async fn access_token(&self) -> Result<AccessToken> {
        let snapshot = self.entry.clone().serve().await?;
        Ok(snapshot.token.clone())
    }

    /// The token as a header value, marked sensitive. Unguarded: nothing here asks where it goes.
    ///
    /// # Errors
    ///
    /// As [`access_token`](Self::access_token).
    pub async fn header_value(&self) -> Result<HeaderValue> {
        let snapshot = self.entry.clone().serve().await?;
        Ok(snapshot.token.bearer().value().clone())
    }

    /// The place of a request among others.
    pub(crate) fn of(
        keeper: Arc<dyn Keeper>,
        request: &TokenRequest,
        kind: TokenKind,
    ) -> Result<Self> {
        let entry = keeper.entry(request, kind)?;
        let request = request.clone();
        Ok(Self {
            entry,
            made_for: Some(MadeFor {
                keeper,
                request,
                kind,
            }),
        })
    }

    pub(crate) fn into_parts(self) -> (Held, Option<MadeFor>) {
        (self.entry, self.made_for)
    }
}

impl MadeFor {
    /// Refuses an origin that is known to be of another environment than the tokens are.
    pub(crate) fn check_origin(&self, origin: &Origin) -> Result<()> {
        match (origin.environment(), self.keeper.environment()) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                let message = format!("{origin} is of {theirs}, and the tokens are of {ours}");
                Err(Error::origin(message).with_advice(&advice::CROSSED_CREDENTIALS))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn note_tables(&self, tables: Weak<dyn ContextTables>) {
        self.keeper.note_tables(self.kind, tables);
    }

    /// The first scope of a context that is neither the request's own nor allowed.
    pub(crate) fn scope_beyond<'a>(
        &self,
        context: &'a TokenContext,
        allowed: Option<&ScopeSet>,
    ) -> Option<&'a str> {
        context.beyond(&self.request, allowed)
    }

    /// The place of the request that comes of a context.
    pub(crate) fn entry_in(&self, context: &TokenContext) -> Result<Held> {
        self.keeper.entry(&context.over(&self.request), self.kind)
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenHandle").field(&self.entry).finish()
    }
}
