//! The layers over [`reqwest::Client`] 0.13 as a Service, and for its requests by hand.
//!
//! reqwest shows the extensions of its requests to nobody, so that a request has no
//! [`TokenContext`](maskinporten::TokenContext) here, not even one that was in an [`http::Request`] before that
//! became reqwest's: with `require_context()` it is refused. As middleware of `reqwest-middleware` it has one.

use std::{fmt, mem};

use http::{Extensions, HeaderMap};
use maskinporten::{Authorizer, Challenge, Decision, Error, SentToken, Target, TokenContext};
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
    ) -> impl Future<Output = Result<SentToken, Error>> + Send;

    /// As [`Authorizer::authorize_with`], for one of reqwest's requests.
    ///
    /// # Errors
    ///
    /// As [`Authorizer::authorize_with`].
    fn authorize_request_with(
        &self,
        context: &TokenContext,
        request: &mut Request,
    ) -> impl Future<Output = Result<SentToken, Error>> + Send;

    /// Reads what a response says about the token, as [`SentToken::on_response`] does; and where it came from,
    /// as [`Authorizer::check_final_origin`] does.
    fn on_response(&self, sent: SentToken, response: &mut Response);
}

mod sealed_authorizer {
    pub trait Sealed {}
}

impl sealed_authorizer::Sealed for Authorizer {}

impl ReqwestAuthorizer for Authorizer {
    async fn authorize_request(&self, request: &mut Request) -> Result<SentToken, Error> {
        let decision = ask(request, |target, headers| {
            self.decide_by_hand(target, None, headers)
        });
        decision.finish(request.headers_mut()).await
    }

    async fn authorize_request_with(
        &self,
        context: &TokenContext,
        request: &mut Request,
    ) -> Result<SentToken, Error> {
        let decision = ask(request, |target, headers| {
            self.decide_by_hand(target, Some(context), headers)
        });
        decision.finish(request.headers_mut()).await
    }

    fn on_response(&self, sent: SentToken, response: &mut Response) {
        if let Some(target) = came_from(response.url()) {
            self.check_final_origin(sent, target);
        }
        sealed::Answer::observe(response, sent);
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
    ask: impl FnOnce(Target<'_>, &mut HeaderMap) -> Decision,
) -> Decision {
    let mut headers = mem::take(request.headers_mut());
    let decision = ask(target(request.url()), &mut headers);
    *request.headers_mut() = headers;
    decision
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
    fn authorize_now(&mut self, _: &Authorizer) -> Option<SentToken> {
        // One call decides: what this one would spare is nothing compared with reqwest's own work.
        None
    }

    fn decide(&mut self, authorizer: &Authorizer) -> Decision {
        ask(self, |target, headers| {
            authorizer.decide(target, None, headers)
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
    fn observe(&mut self, sent: SentToken) {
        let challenge = Challenge::from_response(self.status(), self.headers());
        if challenge != Challenge::None {
            let url = self.url().clone();
            sent.observe(challenge, came_from(&url), Response::extensions_mut(self));
        }
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        Response::extensions_mut(self)
    }
}
