//! [`WarmUp`]: the tokens of many contexts, fetched ahead, with bounded concurrency and progress.

use std::borrow::Borrow;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::vec;

use http::Uri;

use super::Authorizer;
use super::policy::{Given, Policy};
use crate::advice;
use crate::cache::Held;
use crate::error::{Error, Result};
use crate::origin::Target;
use crate::request::TokenContext;
use crate::signer::BoxFuture;

/// How many tokens are waited for at once by default.
const CONCURRENCY: usize = 8;

/// How many tokens are waited for at once at most. Each wake-up polls all of them.
const CONCURRENCY_AT_MOST: usize = 256;

/// A warm-up: fetches the tokens that requests with some contexts will need. Made by
/// [`Authorizer::warm_up_for`].
///
/// - Nothing is fetched until [`next`](Self::next) or [`finish`](Self::finish) is awaited: it spawns no task.
/// - A failure of one context stops no other.
/// - Dropping it starts no further fetch and harms no caller. A fetch that is under way goes on, and its
///   token is kept.
/// - Each fetch has a deadline; the whole has none.
#[must_use = "nothing is fetched until it is awaited"]
pub struct WarmUp {
    authorizer: Authorizer,
    waiting: vec::IntoIter<TokenContext>,
    under_way: Vec<Fetch>,
    at_once: usize,
    total: usize,
    warm: usize,
    failures: Vec<(TokenContext, Error)>,
}

struct Fetch {
    context: TokenContext,
    outcome: BoxFuture<'static, Result<()>>,
}

/// One context whose token is there now, or cannot be had.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WarmedUp {
    /// What was asked for.
    pub context: TokenContext,
    /// Why its token is not there, where it is not.
    pub outcome: Result<()>,
}

/// What came of a [`WarmUp`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WarmUpSummary {
    /// How many contexts have their token now, those that had it before among them.
    pub warm: usize,
    /// Each context that has none, and why, in the order in which they failed.
    pub failures: Vec<(TokenContext, Error)>,
}

impl Authorizer {
    /// Fetches the tokens that requests with these contexts will need, so that their first requests do not
    /// wait. A layer's is reached by its `authorizer()`.
    ///
    /// - A token that is still good counts, and is not fetched again.
    /// - A [`TokenContext::skip`] needs no token: it is left out, and is in no number.
    /// - A context with which each request would be refused is a failure, and nothing is fetched for it: one
    ///   that asks for scopes beyond the allowed ones, is bound to an origin that is not listed, or has
    ///   no name of an organisation, system user or consent under [`require_context`](Self::require_context).
    /// - Without [`optional_context`](Self::optional_context) and `require_context` the tokens are fetched all the
    ///   same, for callers of [`authorize_with`](Self::authorize_with). A layer still refuses a request that has a
    ///   context in its extensions.
    /// - Of more contexts than [`max_identities`] not all tokens are kept: most of the later ones are evicted, not the
    ///   first ones.
    ///
    /// [`max_identities`]: crate::MaskinportenClientBuilder::max_identities
    ///
    /// ```
    /// use maskinporten::{FixedToken, MaskinportenClient, TokenContext};
    /// # use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), maskinporten::Error> {
    /// # let client = MaskinportenClient::builder()
    /// #     .source(FixedToken::new("fake", Duration::from_secs(600))?)
    /// #     .build()?;
    /// let authorizer = client.authorizer(["krr:read"], "https://api.example.no")?;
    /// let customers = ["991825827", "311169963"];
    /// let contexts = customers.map(|number| TokenContext::new().consumer_org(number));
    /// let contexts = contexts.into_iter().collect::<Result<Vec<_>, _>>()?;
    ///
    /// let mut warm_up = authorizer.warm_up_for(contexts).concurrency(16);
    /// while warm_up.next().await.is_some() {
    ///     println!("{} of {}", warm_up.done(), warm_up.total());
    /// }
    /// let summary = warm_up.finish().await;
    /// assert_eq!((summary.warm, summary.failures.len()), (2, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn warm_up_for<I>(&self, contexts: I) -> WarmUp
    where
        I: IntoIterator,
        I::Item: Borrow<TokenContext>,
    {
        let contexts = contexts.into_iter().map(|context| context.borrow().clone());
        let contexts: Vec<_> = contexts.filter(|context| !context.is_skip()).collect();
        WarmUp {
            authorizer: self.clone(),
            total: contexts.len(),
            waiting: contexts.into_iter(),
            under_way: Vec::new(),
            at_once: CONCURRENCY,
            warm: 0,
            failures: Vec::new(),
        }
    }
}

impl WarmUp {
    /// Waits for so many tokens at once: at least one, and at most 256. The default is 8.
    ///
    /// The client fetches as many at once as [`max_concurrent_fetches`] says: beyond that, tokens only wait in its
    /// queue, where tokens that requests wait for take turns with them.
    ///
    /// [`max_concurrent_fetches`]: crate::MaskinportenClientBuilder::max_concurrent_fetches
    pub fn concurrency(mut self, at_once: usize) -> Self {
        self.at_once = at_once.clamp(1, CONCURRENCY_AT_MOST);
        self
    }

    /// How many contexts there are, a [`TokenContext::skip`] not counted.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many of them are done, with a token or a failure.
    #[must_use]
    pub fn done(&self) -> usize {
        self.warm + self.failures.len()
    }

    /// Waits for the next context to be done, in the order in which they are; none when all are.
    ///
    /// Dropping the future loses nothing: the next call goes on.
    pub async fn next(&mut self) -> Option<WarmedUp> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Waits until all are done. The summary has those too that [`next`](Self::next) has told.
    pub async fn finish(mut self) -> WarmUpSummary {
        while self.next().await.is_some() {}
        WarmUpSummary {
            warm: self.warm,
            failures: self.failures,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WarmedUp>> {
        while self.under_way.len() < self.at_once {
            let Some(context) = self.waiting.next() else {
                break;
            };
            match self.authorizer.policy().entry_ahead(&context) {
                Err(error) => return Poll::Ready(Some(self.note(context, Err(error)))),
                Ok(entry) => self.under_way.push(Fetch {
                    context,
                    outcome: Box::pin(async move { entry.acquire().await.map(drop) }),
                }),
            }
        }
        for at in 0..self.under_way.len() {
            let polled = self.under_way[at].outcome.as_mut().poll(cx);
            if let Poll::Ready(outcome) = polled {
                let Fetch { context, .. } = self.under_way.swap_remove(at);
                return Poll::Ready(Some(self.note(context, outcome)));
            }
        }
        if self.under_way.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    fn note(&mut self, context: TokenContext, outcome: Result<()>) -> WarmedUp {
        match &outcome {
            Ok(()) => self.warm += 1,
            Err(error) => self.failures.push((context.clone(), error.clone())),
        }
        WarmedUp { context, outcome }
    }
}

impl Policy {
    /// The entry that requests with a context will need, unless each of them would be refused.
    fn entry_ahead(&self, context: &TokenContext) -> Result<Held> {
        self.check_context(Some(context), Given::ByHand)?;
        if let Some(bound) = context.origin() {
            let uri: Option<Uri> = bound.to_string().parse().ok();
            if !uri.is_some_and(|uri| self.origins.admit(Target::from(&uri))) {
                let message =
                    format!("the token context is for {bound}, where the token is not released");
                return Err(Error::origin(message).with_advice(&advice::CONTEXT_ELSEWHERE));
            }
        }
        self.entry_in(context)
    }
}

impl fmt::Debug for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmUp")
            .field("total", &self.total)
            .field("done", &self.done())
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}
