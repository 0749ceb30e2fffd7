//! [`TimeLimit`]: a time for a request and for the wait until the service underneath takes it, which
//! tower's `Timeout` leaves out.

use std::task::{Context, Poll};
use std::time::Duration;

use maskinporten::BoxFuture;
use tower::timeout::error::Elapsed;
use tower::util::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

use crate::BoxError;

#[derive(Clone, Debug)]
pub(super) struct TimeLimitLayer(Duration);

impl TimeLimitLayer {
    pub(super) fn new(limit: Duration) -> Self {
        Self(limit)
    }
}

impl<S> Layer<S> for TimeLimitLayer {
    type Service = TimeLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let limit = self.0;
        TimeLimit { inner, limit }
    }
}

/// Ready at any time: a clone of what is underneath is made ready within the call, and its time is
/// limited with it.
#[derive(Clone, Debug)]
pub(super) struct TimeLimit<S> {
    inner: S,
    limit: Duration,
}

impl<S, R> Service<R> for TimeLimit<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (inner, limit) = (self.inner.clone(), self.limit);
        Box::pin(async move {
            let answered = within(limit, inner.oneshot(request)).await?;
            answered.map_err(Into::into)
        })
    }
}

/// What comes of it, if it comes in time.
pub(super) async fn within<F: Future>(limit: Duration, sending: F) -> Result<F::Output, Elapsed> {
    let in_time = tokio::time::timeout(limit, sending).await;
    in_time.map_err(|_| Elapsed::new())
}
