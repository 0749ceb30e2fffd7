//! [`BearerAuth`]: one room behind both layers.

use std::fmt;
use std::task::{Context, Poll};

use maskinporten::{Authorizer, Decision};
use tower_service::Service;

use crate::BoxError;
use crate::future::ResponseFuture;
use crate::outbound::{InboundResponse, OutboundRequest};

/// A service whose requests carry a token. Made by
/// [`MaskinportenAuthLayer`](crate::MaskinportenAuthLayer) and
/// [`AltinnAuthLayer`](crate::AltinnAuthLayer).
///
/// - A request to a listed origin gets the token; to any other it is refused, and nothing is sent.
/// - With a [`TokenContext`](maskinporten::TokenContext) in its extensions it gets the token of its own
///   identity instead, or none where it is to be skipped.
/// - Where the token is cached, the inner service is called at once and directly: not cloned, its
///   future not boxed.
/// - Where it is not, the request waits for it and holds nothing of the inner service: what the ready
///   instance had reserved is given back, and another one is made ready when the token is there.
/// - A response that does not accept the token is reported to whoever keeps it, and passed on as it
///   is: see [`SentToken::on_response`](maskinporten::SentToken::on_response) for
///   what counts.
///
/// Keep one and call it, clone one for every call, or, where the inner service can be called by
/// reference (as hyper-util's client can), share one and call `&BearerAuth`.
///
/// It is ready when the inner service is. A request that is refused leaves that one ready and
/// uncalled: what it has reserved stays reserved until the next call.
#[derive(Clone)]
pub struct BearerAuth<S> {
    inner: S,
    authorizer: Authorizer,
}

impl<S> BearerAuth<S> {
    pub(crate) fn new(inner: S, authorizer: &Authorizer) -> Self {
        Self {
            inner,
            authorizer: authorizer.clone(),
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Q> Service<Q> for BearerAuth<S>
where
    Q: OutboundRequest,
    S: Service<Q> + Clone,
    S::Response: InboundResponse,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Q>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Q) -> Self::Future {
        if let Some(sent) = request.authorize_now(&self.authorizer) {
            return ResponseFuture::respond(self.inner.call(request), sent);
        }
        match request.decide(&self.authorizer) {
            Decision::Ready(sent) => ResponseFuture::respond(self.inner.call(request), sent),
            Decision::Refused(error) => ResponseFuture::refuse(error),
            Decision::Pending(acquire) => {
                // Readiness belongs to the instance that was polled, and the token may be long in
                // coming: that one is dropped with what it has reserved. Kept in `self` it would be
                // waited for by this very request, under a limit of one.
                self.inner = self.inner.clone();
                let unready = self.inner.clone();
                ResponseFuture::acquire(acquire, request, unready)
            }
        }
    }
}

impl<'a, S, Q> Service<Q> for &'a BearerAuth<S>
where
    Q: OutboundRequest,
    &'a S: Service<Q>,
    <&'a S as Service<Q>>::Response: InboundResponse,
    <&'a S as Service<Q>>::Error: Into<BoxError>,
{
    type Response = <&'a S as Service<Q>>::Response;
    type Error = BoxError;
    type Future = ResponseFuture<&'a S, Q>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        (&self.inner).poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Q) -> Self::Future {
        let mut inner = &self.inner;
        if let Some(sent) = request.authorize_now(&self.authorizer) {
            return ResponseFuture::respond(inner.call(request), sent);
        }
        match request.decide(&self.authorizer) {
            Decision::Ready(sent) => ResponseFuture::respond(inner.call(request), sent),
            Decision::Refused(error) => ResponseFuture::refuse(error),
            Decision::Pending(acquire) => ResponseFuture::acquire(acquire, request, inner),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for BearerAuth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("BearerAuth");
        out.field("inner", &self.inner);
        out.field("authorizer", &self.authorizer);
        out.finish()
    }
}
