//! The layers over [`reqwest::Client`] 0.13 as a Service, and for its requests by hand.
//!
//! reqwest shows the extensions of its requests to nobody, so that a request has no
//! [`TokenContext`](maskinporten::TokenContext) here, not even one that was in an [`http::Request`] before that
//! became reqwest's: with `require_context()` it is refused. As middleware of `reqwest-middleware` it has one.

use std::{fmt, mem};

use http::{Extensions, HeaderMap};
use maskinporten::{
    Authorizer, Error, LocalAuthorizer, Passage, Receipt, Target, TokenContext, Verdict,
};
use reqwest::redirect::Policy;
use reqwest::{Request, Response, Url};

use crate::outbound::{InboundResponse, OutboundRequest, ReplayableRequest, sealed};

/// How many redirects are followed, as many as by reqwest's own policy.
const HOPS: usize = 10;

/// What an [`Authorizer`] does for reqwest's types, where there is no layer: the hook of a generated
/// client, a request that is built by hand.
///
/// ```
/// use maskinporten::Authorizer;
/// use tower_maskinporten::{ReqwestAuthorizer, maskinporten};
///
/// /// What progenitor's `pre_hook_async` names: called with each request before it is sent.
/// async fn authorize(
///     authorizer: &Authorizer,
///     request: &mut reqwest::Request,
/// ) -> Result<(), maskinporten::Error> {
///     authorizer.authorize_request(request).await.map(drop)
/// }
/// ```
pub trait ReqwestAuthorizer: sealed_authorizer::Sealed {
    /// As [`Authorizer::authorize`], for one of reqwest's requests.
    ///
    /// # Errors
    ///
    /// As [`Authorizer::authorize`].
    fn authorize_request(
        &self,
        request: &mut Request,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// As [`Authorizer::authorize_with`], for one of reqwest's requests.
    ///
    /// # Errors
    ///
    /// As [`Authorizer::authorize_with`].
    fn authorize_request_with(
        &self,
        context: &TokenContext,
        request: &mut Request,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Reads what a response says about the token, as [`Receipt::answered`] does; and where it came from,
    /// as [`Authorizer::answered_from`] does.
    fn answered(&self, receipt: Receipt, response: &mut Response);
}

mod sealed_authorizer {
    pub trait Sealed {}
}

impl sealed_authorizer::Sealed for Authorizer {}

impl ReqwestAuthorizer for Authorizer {
    async fn authorize_request(&self, request: &mut Request) -> Result<Receipt, Error> {
        let passage = ask(request, |target, headers| {
            self.try_authorize(target, None, headers)
        });
        passage.finish(request.headers_mut()).await
    }

    async fn authorize_request_with(
        &self,
        context: &TokenContext,
        request: &mut Request,
    ) -> Result<Receipt, Error> {
        let passage = ask(request, |target, headers| {
            self.try_authorize(target, Some(context), headers)
        });
        passage.finish(request.headers_mut()).await
    }

    fn answered(&self, receipt: Receipt, response: &mut Response) {
        if let Some(target) = came_from(response.url()) {
            self.answered_from(receipt, target);
        }
        sealed::Answer::report(response, receipt);
    }
}

/// A redirect policy for a client that carries tokens: a hop within the origin of the one before is followed,
/// up to ten of them; any other is not, and its answer, a 3xx, is what the caller gets.
///
/// reqwest's default policy takes the `Authorization` header off on the way to another origin and, up to
/// 0.13.5 at least, sends it again with the next redirect *within* that origin. A client that carries tokens
/// has this policy, or [`Policy::none`].
///
/// ```
/// use tower_maskinporten::same_origin_redirects;
///
/// let http_client = reqwest::Client::builder()
///     .redirect(same_origin_redirects())
///     .build();
/// # let _ = http_client;
/// ```
#[must_use]
pub fn same_origin_redirects() -> Policy {
    Policy::custom(|attempt| {
        let origin = |url: &Url| url.origin();
        let stays = attempt.previous().last().map(origin) == Some(origin(attempt.url()));
        // The first address is among the previous ones.
        match attempt.previous().len() {
            _ if !stays => attempt.stop(),
            ..=HOPS => attempt.follow(),
            _ => attempt.error(TooManyRedirects),
        }
    })
}

/// Asks what becomes of a request. Its headers are taken out for the moment: they and its address are
/// borrowed from one value.
pub(crate) fn ask(
    request: &mut Request,
    ask: impl FnOnce(Target<'_>, &mut HeaderMap) -> Passage,
) -> Passage {
    let mut headers = mem::take(request.headers_mut());
    let passage = ask(target(request.url()), &mut headers);
    *request.headers_mut() = headers;
    passage
}

/// What [`same_origin_redirects`] ends a loop with.
#[derive(Debug)]
struct TooManyRedirects;

impl fmt::Display for TooManyRedirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {HOPS} redirects")
    }
}

impl std::error::Error for TooManyRedirects {}

/// Where reqwest will connect to.
pub(crate) fn target(url: &Url) -> Target<'_> {
    Target::new(url.scheme(), url.host_str().unwrap_or_default(), url.port())
}

/// Where an answer came from; none for one that was made of an [`http::Response`] and came from nowhere,
/// as a cache or a test makes them.
fn came_from(url: &Url) -> Option<Target<'_>> {
    let told = url.host_str() != Some("no.url.provided.local");
    told.then(|| target(url))
}

// ===== as a Service =====

impl OutboundRequest for Request {}

impl ReplayableRequest for Request {}

impl InboundResponse for Response {}

impl sealed::Authorise for Request {
    fn authorize_now(&mut self, authorizer: &mut LocalAuthorizer) -> Option<Receipt> {
        self.authorize_now_shared(authorizer)
    }

    fn authorize_now_shared(&mut self, _: &LocalAuthorizer) -> Option<Receipt> {
        // One call decides: what this one would spare is nothing beside reqwest's own work.
        None
    }

    fn authorize(&mut self, authorizer: &mut LocalAuthorizer) -> Passage {
        self.authorize_shared(authorizer)
    }

    fn authorize_shared(&mut self, authorizer: &LocalAuthorizer) -> Passage {
        ask(self, |target, headers| {
            authorizer.authorize_to(target, None, headers)
        })
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        Request::headers_mut(self)
    }
}

impl sealed::Duplicate for Request {
    fn duplicate(&self) -> Option<Self> {
        self.try_clone()
    }
}

impl sealed::Answer for Response {
    fn report(&mut self, receipt: Receipt) {
        let verdict = Verdict::of(self.status(), self.headers());
        if verdict != Verdict::Silent {
            let url = self.url().clone();
            receipt.heed(verdict, came_from(&url), Response::extensions_mut(self));
        }
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        Response::extensions_mut(self)
    }
}
