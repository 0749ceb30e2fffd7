//! [`RejectedTokenPolicy`]: when a request is worth sending again, for a [`Retry`](tower::retry::Retry)
//! of one's own.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use maskinporten::{RejectedToken, Replacement};
use tower::retry::Policy;

/// Sends a request again, once, where the answer did not accept the token that a layer below had set.
///
/// - It waits for a newer token first, which the layer then sets. The rules are those of
///   [`ReplayAuth`](crate::ReplayAuth), and there is one difference: a policy cannot give an answer
///   back. Where no newer token comes of the wait, the request is sent with the one there is, or fails
///   for want of one.
/// - The request is cloned, so its body must be.
/// - Other policies stand beside it, each in a layer of its own.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower::retry::RetryLayer;
/// use tower_maskinporten::{RejectedTokenPolicy, ServiceBuilderExt};
/// # use std::time::Duration;
/// # use tower_maskinporten::maskinporten::{FixedToken, MaskinportenClient};
/// # fn example(http_client: ()) -> Result<(), tower_maskinporten::maskinporten::Error> {
/// # let client = MaskinportenClient::builder()
/// #     .source(FixedToken::new("token", Duration::from_secs(120))?)
/// #     .build()?;
///
/// let http_client = ServiceBuilder::new()
///     .layer(RetryLayer::new(RejectedTokenPolicy::new()))
///     .maskinporten_authorization(&client, ["krr:read"], "https://api.example.no")?
///     .service(http_client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RejectedTokenPolicy {
    retried: bool,
}

impl RejectedTokenPolicy {
    /// A policy for requests that have not been sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for RejectedTokenPolicy {
    type Future = RejectedTokenFuture;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Self::Future> {
        let response = result.as_mut().ok()?;
        let rejected = response.extensions_mut().get_mut::<RejectedToken>()?;
        if mem::replace(&mut self.retried, true) {
            *rejected = rejected.replayed();
        }
        rejected.replacement().map(RejectedTokenFuture)
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        (!self.retried).then(|| request.clone())
    }
}

/// The wait of a [`RejectedTokenPolicy`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct RejectedTokenFuture(Replacement);

impl Future for RejectedTokenFuture {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}
