//! [`ReplayAuth`]: a rejected token is replaced, and the request sent once more.
//!
//! Not `tower::retry::Retry` with [`RejectedTokenPolicy`](crate::RejectedTokenPolicy): a policy says
//! "again" before the wait for the newer token, and the answer is dropped there and then. Where no
//! token comes of the wait, that answer is what the caller should have.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use maskinporten::{Authorizer, Replacement};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::BoxError;
use crate::future::ResponseFuture;
use crate::outbound::sealed::Answer;
use crate::outbound::{InboundResponse, ReplayableRequest};
use crate::service::BearerAuth;

/// Makes a [`ReplayAuth`]. Made by
/// [`replay_on_unauthorized`](crate::MaskinportenAuthLayer::replay_on_unauthorized).
#[derive(Clone, Debug)]
#[must_use]
pub struct ReplayAuthLayer {
    authorizer: Authorizer,
}

impl ReplayAuthLayer {
    pub(crate) fn new(authorizer: Authorizer) -> Self {
        Self { authorizer }
    }

    /// What it sets headers by.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
}

impl<S> Layer<S> for ReplayAuthLayer {
    type Service = ReplayAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ReplayAuth {
            bearer: BearerAuth::new(inner, &self.authorizer),
        }
    }
}

/// A [`BearerAuth`] that sends a request once more where its token was not accepted.
///
/// - It waits for a newer token, which one flight fetches for all, and sends the request with that
///   one. A late word about a token that has been replaced meanwhile is answered by a replay at once.
/// - A request with a [`TokenContext`](maskinporten::TokenContext) is sent again with a newer token of
///   the same identity. Where there are more identities than the client keeps, one may be dropped
///   before the answer is there: then it is passed on as it is.
/// - It does so once for a request. A token that was itself fetched for the sake of a rejected one
///   less than 30 s ago is not replaced, and the request not sent again: whoever tries again outside
///   multiplies nothing.
/// - Where no newer token can be had, the answer is passed on as it is. From the moment there is one,
///   that answer is gone, and what comes out is the replay's.
/// - Only an answer to a token of this layer's own counts. Where another layer below has replaced it,
///   this one stays out of it.
/// - Dropping the future at any moment harms nobody else.
///
/// Each request is cloned before it is sent, and the inner service with it, so a body that is a stream
/// does not compile:
///
/// ```compile_fail
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// # use std::{convert::Infallible, time::Duration};
/// # use tower_maskinporten::MaskinportenAuthLayer;
/// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
///
/// struct Streamed;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_maskinporten::BoxError> {
/// # let client = MaskinportenClient::builder()
/// #     .source(FixedToken::new("token", Duration::from_secs(120))?)
/// #     .build()?;
/// let http_client = service_fn(|_: Request<Streamed>| async {
///     Ok::<_, Infallible>(Response::new(()))
/// });
/// let layer = MaskinportenAuthLayer::new(&client, ["krr:read"], "https://api.example.no")?;
/// let replaying = layer.replay_on_unauthorized().layer(http_client);
/// replaying.oneshot(Request::post("https://api.example.no").body(Streamed)?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReplayAuth<S> {
    bearer: BearerAuth<S>,
}

impl<S> ReplayAuth<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.bearer.get_ref()
    }

    /// The inner service, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        self.bearer.get_mut()
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.bearer.into_inner()
    }
}

impl<S, Q> Service<Q> for ReplayAuth<S>
where
    Q: ReplayableRequest,
    S: Service<Q> + Clone,
    S::Response: InboundResponse,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ReplayFuture<S, Q>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.bearer.poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        // The clone is made ready when it is needed, and nothing is reserved until then.
        let replay = request.duplicate();
        let replay = replay.map(|request| (request, self.bearer.get_ref().clone()));
        ReplayFuture::new(self.bearer.call(request), replay)
    }
}

impl<'a, S, Q> Service<Q> for &'a ReplayAuth<S>
where
    Q: ReplayableRequest,
    &'a S: Service<Q>,
    <&'a S as Service<Q>>::Response: InboundResponse,
    <&'a S as Service<Q>>::Error: Into<BoxError>,
{
    type Response = <&'a S as Service<Q>>::Response;
    type Error = BoxError;
    type Future = ReplayFuture<&'a S, Q>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        (&self.bearer).poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let replay = request.duplicate();
        let replay = replay.map(|request| (request, self.bearer.get_ref()));
        ReplayFuture::new((&self.bearer).call(request), replay)
    }
}

pin_project! {
    /// The response of a [`ReplayAuth`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ReplayFuture<S, Q>
    where
        S: Service<Q>,
    {
        #[pin]
        sent: ResponseFuture<S, Q>,
        // None where it cannot be sent again, or has been.
        replay: Option<(Q, S)>,
        again: bool,
        rejected: Option<Box<Rejected<S::Response>>>,
    }
}

/// An answer that did not accept the token, while there may be another token.
struct Rejected<R> {
    replacement: Replacement,
    response: R,
}

impl<S, Q> ReplayFuture<S, Q>
where
    S: Service<Q>,
{
    fn new(sent: ResponseFuture<S, Q>, replay: Option<(Q, S)>) -> Self {
        Self {
            sent,
            replay,
            again: false,
            rejected: None,
        }
    }
}

impl<S, Q> Future for ReplayFuture<S, Q>
where
    Q: ReplayableRequest,
    S: Service<Q> + Clone,
    S::Response: InboundResponse,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(rejected) = this.rejected {
                let token = ready!(Pin::new(&mut rejected.replacement).poll(cx));
                let response = this.rejected.take().map(|rejected| rejected.response);
                match (token, this.replay.take(), response) {
                    (Some(token), Some((request, inner)), _) => {
                        *this.again = true;
                        let replayed = ResponseFuture::acquire(token.into(), request, inner);
                        this.sent.set(replayed);
                    }
                    (_, _, Some(response)) => return Poll::Ready(Ok(response)),
                    (_, _, None) => unreachable!("there was one a moment ago"),
                }
            }
            let mut response = ready!(this.sent.as_mut().poll(cx))?;
            let sent = this.sent.sent();
            let Some(rejected) = response.rejected(sent) else {
                return Poll::Ready(Ok(response));
            };
            if *this.again {
                *rejected = rejected.replayed();
            }
            // One that cannot be sent again is left to whoever can, outside.
            let replacement = this.replay.as_ref().and_then(|_| rejected.replacement());
            match replacement {
                Some(replacement) => {
                    // What the inner service's future holds until it is dropped, as a permit, is not
                    // for those who wait for something else.
                    this.sent.set(ResponseFuture::done());
                    *this.rejected = Some(Box::new(Rejected {
                        replacement,
                        response,
                    }));
                }
                None => return Poll::Ready(Ok(response)),
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for ReplayAuth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplayAuth").field(&self.bearer).finish()
    }
}

impl<S, Q> fmt::Debug for ReplayFuture<S, Q>
where
    S: Service<Q>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ReplayFuture");
        out.field("sent", &self.sent);
        out.field("waits_for_a_newer_token", &self.rejected.is_some());
        out.finish_non_exhaustive()
    }
}
