//! [`TimeLimit`]: a time for a request and for the wait until the service underneath takes it, which
//! tower's `Timeout` leaves out.

use std::task::{Context, Poll};
use std::time::Duration;

use maskinporten::{BoxFuture, Error};
use tokio::runtime::Handle;
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
            match within(limit, inner.oneshot(request)).await {
                Ok(answered) => answered.map_err(Into::into),
                Err(Ended::Time(elapsed)) => Err(elapsed.into()),
                Err(Ended::NoRuntime(error)) => Err(error.into()),
            }
        })
    }
}

/// What ended a request, other than itself.
pub(super) enum Ended {
    Time(Elapsed),
    NoRuntime(Error),
}

/// What comes of it, if it comes in time. Tokio's timer panics where there is no runtime; that is asked
/// before.
pub(super) async fn within<F: Future>(limit: Duration, sending: F) -> Result<F::Output, Ended> {
    if Handle::try_current().is_err() {
        let error = Error::runtime("there is no tokio runtime here to send a request on");
        return Err(Ended::NoRuntime(error));
    }
    let in_time = tokio::time::timeout(limit, sending).await;
    in_time.map_err(|_| Ended::Time(Elapsed::new()))
}
