//! [`ResponseFuture`]: prepare, then respond.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
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
    // Two states and no more, so that dropping it is one comparison on a cached token. `Respond`
    // holds nothing with a destructor of ours; all else is behind the pointer of `Prepare`.
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Respond { #[pin] future: S::Future, receipt: Receipt },
        Prepare { slow: Option<Box<Prepare<S, B>>> },
    }
}

/// What precedes the inner call, where it cannot be made at once.
#[expect(clippy::large_enum_variant, reason = "it is never outside its box")]
enum Prepare<S, B> {
    Acquire(Waiting<S, B>),
    Refuse(Error),
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
        Self::prepare(Prepare::Acquire(Waiting {
            acquire,
            request,
            inner,
        }))
    }

    #[inline]
    pub(crate) fn respond(future: S::Future, receipt: Receipt) -> Self {
        Self {
            state: State::Respond { future, receipt },
        }
    }

    pub(crate) fn refuse(error: Error) -> Self {
        Self::prepare(Prepare::Refuse(error))
    }

    fn prepare(slow: Prepare<S, B>) -> Self {
        Self {
            state: State::Prepare {
                slow: Some(Box::new(slow)),
            },
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
                    return respond(future, *receipt, cx);
                }
                StateProjection::Prepare { slow } => match ready!(prepared(slow, cx)) {
                    Ok(respond) => state.set(respond),
                    Err(error) => return Poll::Ready(Err(error.into())),
                },
            }
        }
    }
}

/// Polls the inner service's future, and reports what it says about the token.
///
/// The response is looked at where it lies: to take it apart and put it together again would copy it
/// once more.
#[inline]
fn respond<F, R, E>(
    future: Pin<&mut F>,
    receipt: Receipt,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<R>, BoxError>>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    let mut polled = future.poll(cx);
    if let Poll::Ready(Ok(response)) = &mut polled {
        receipt.answered(response);
    }
    polled.map_err(Into::into)
}

/// Waits for the token, and calls the inner service with it.
///
/// What was prepared is let go of as soon as its end is known, request and ready service with it.
#[cold]
#[expect(
    clippy::expect_used,
    reason = "a future may panic when it is polled after it was done"
)]
fn prepared<S, B>(
    slow: &mut Option<Box<Prepare<S, B>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<State<S, B>, Error>>
where
    S: Service<Request<B>>,
{
    let ticket = match slow.as_deref_mut().expect(DONE) {
        Prepare::Acquire(waiting) => ready!(Pin::new(&mut waiting.acquire).poll(cx)),
        Prepare::Refuse(error) => Err(error.clone()),
    };
    let done = slow.take().map(|prepared| *prepared);
    Poll::Ready(ticket.map(|ticket| match done.expect(DONE) {
        Prepare::Acquire(waiting) => {
            let (mut request, mut inner) = (waiting.request, waiting.inner);
            let receipt = ticket.set(request.headers_mut());
            let future = inner.call(request);
            State::Respond { future, receipt }
        }
        Prepare::Refuse(_) => unreachable!("a refusal brings no ticket"),
    }))
}

/// A future may panic when it is polled after it was done ([`Future::poll`]), and never before.
const DONE: &str = "polled after it was done";

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Prepare { .. } => "Prepare",
            State::Respond { .. } => "Respond",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
