//! [`ResponseFuture`]: acquire, then respond.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use maskinporten::{Acquire, Error, Receipt};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;

pin_project! {
    /// The response of a [`BearerAuth`](crate::BearerAuth).
    ///
    /// It is hardly larger than the inner service's own: whatever is needed to wait for a token is
    /// behind one pointer, and only there when a token has to be waited for.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    // `Respond` holds nothing with a destructor of ours: on a cached token it is all there is.
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Acquire { waiting: Option<Box<Waiting<S, B>>> },
        Respond { #[pin] future: S::Future, receipt: Receipt },
        Refuse { error: Option<Error> },
    }
}

/// A request, and the ready service that it goes to once there is a token.
struct Waiting<S, B> {
    acquire: Acquire,
    request: Request<B>,
    inner: S,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn acquire(acquire: Acquire, request: Request<B>, inner: S) -> Self {
        let waiting = Box::new(Waiting {
            acquire,
            request,
            inner,
        });
        Self {
            state: State::Acquire {
                waiting: Some(waiting),
            },
        }
    }

    #[inline]
    pub(crate) fn respond(future: S::Future, receipt: Receipt) -> Self {
        Self {
            state: State::Respond { future, receipt },
        }
    }

    pub(crate) fn refuse(error: Error) -> Self {
        Self {
            state: State::Refuse { error: Some(error) },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Respond { future, receipt } => {
                    return match ready!(future.poll(cx)) {
                        Ok(response) => {
                            if response.status() == StatusCode::UNAUTHORIZED {
                                receipt.unauthorized(response.headers());
                            }
                            Poll::Ready(Ok(response))
                        }
                        Err(error) => Poll::Ready(Err(error.into())),
                    };
                }
                StateProjection::Acquire { waiting } => {
                    let acquire = waiting.as_mut().map(|waiting| &mut waiting.acquire);
                    let ticket = ready!(Pin::new(acquire.expect(DONE)).poll(cx));
                    let Waiting {
                        mut request,
                        mut inner,
                        ..
                    } = *waiting.take().expect(DONE);
                    let ticket = match ticket {
                        Ok(ticket) => ticket,
                        Err(error) => return Poll::Ready(Err(error.into())),
                    };
                    let receipt = ticket.set(request.headers_mut());
                    let future = inner.call(request);
                    state.set(State::Respond { future, receipt });
                }
                StateProjection::Refuse { error } => {
                    return Poll::Ready(Err(error.take().expect(DONE).into()));
                }
            }
        }
    }
}

/// A future may panic when it is polled after it was done ([`Future::poll`]), and never before.
const DONE: &str = "polled after it was done";

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Acquire { .. } => "Acquire",
            State::Respond { .. } => "Respond",
            State::Refuse { .. } => "Refuse",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
