//! [`ResponseFuture`]: prepare, then respond.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use maskinporten::{Acquire, Error, HeaderToken, SentToken};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;
use crate::outbound::{InboundResponse, OutboundRequest};

pin_project! {
    /// The response of a [`BearerAuth`](crate::BearerAuth).
    ///
    /// It is hardly larger than the inner service's own: whatever is needed to wait for a token is
    /// behind one pointer, and only there when a token has to be waited for.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Q>
    where
        S: Service<Q>,
    {
        #[pin]
        state: State<S, Q>,
    }
}

pin_project! {
    // Two states and no more, so that dropping it is one comparison on a cached token. `Respond`
    // holds nothing with a destructor of ours; all else is behind the pointer of `Prepare`.
    #[project = StateProjection]
    enum State<S, Q>
    where
        S: Service<Q>,
    {
        Respond { #[pin] future: S::Future, sent: SentToken },
        Prepare { slow: Option<Box<Prepare<S, Q>>> },
    }
}

/// What precedes the inner call, where it cannot be made at once.
enum Prepare<S, Q> {
    Wait(Waiting<S, Q>),
    Refuse(Error),
}

/// A request that waits for a token, and then for the service.
struct Waiting<S, Q> {
    acquire: Acquire,
    request: Q,
    inner: S,
    /// Whether there is a token and the service is waited for. Never the other way round: what a
    /// service reserves is not for those who wait for something else.
    reserving: bool,
}

impl<S, Q> ResponseFuture<S, Q>
where
    S: Service<Q>,
{
    pub(crate) fn acquire(acquire: Acquire, request: Q, inner: S) -> Self {
        Self::prepare(Prepare::Wait(Waiting {
            acquire,
            request,
            inner,
            reserving: false,
        }))
    }

    #[inline]
    pub(crate) fn respond(future: S::Future, sent: SentToken) -> Self {
        Self {
            state: State::Respond { future, sent },
        }
    }

    pub(crate) fn refuse(error: Error) -> Self {
        Self::prepare(Prepare::Refuse(error))
    }

    /// What has nothing left to do: it holds nothing of the inner service.
    pub(crate) fn done() -> Self {
        Self {
            state: State::Prepare { slow: None },
        }
    }

    /// Which token the request has left with, once it has.
    pub(crate) fn sent(&self) -> SentToken {
        match self.state {
            State::Respond { sent, .. } => sent,
            State::Prepare { .. } => SentToken::NONE,
        }
    }

    fn prepare(slow: Prepare<S, Q>) -> Self {
        Self {
            state: State::Prepare {
                slow: Some(Box::new(slow)),
            },
        }
    }
}

impl<S, Q> Future for ResponseFuture<S, Q>
where
    Q: OutboundRequest,
    S: Service<Q> + Clone,
    S::Response: InboundResponse,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Respond { future, sent } => {
                    return respond(future, *sent, cx);
                }
                StateProjection::Prepare { slow } => match ready!(prepared(slow, cx)) {
                    Ok(respond) => state.set(respond),
                    Err(error) => return Poll::Ready(Err(error)),
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
    sent: SentToken,
    cx: &mut Context<'_>,
) -> Poll<Result<R, BoxError>>
where
    F: Future<Output = Result<R, E>>,
    R: InboundResponse,
    E: Into<BoxError>,
{
    let mut polled = future.poll(cx);
    if let Poll::Ready(Ok(response)) = &mut polled {
        response.observe(sent);
    }
    polled.map_err(Into::into)
}

/// Waits for the token and for the inner service, and calls it.
///
/// What was prepared is let go of as soon as its end is known, request and service with it.
#[cold]
#[expect(
    clippy::expect_used,
    reason = "a future may panic when it is polled after it was done"
)]
fn prepared<S, Q>(
    slow: &mut Option<Box<Prepare<S, Q>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<State<S, Q>, BoxError>>
where
    Q: OutboundRequest,
    S: Service<Q> + Clone,
    S::Error: Into<BoxError>,
{
    let token = match slow.as_deref_mut().expect(DONE) {
        Prepare::Wait(waiting) => ready!(waiting.poll(cx)),
        Prepare::Refuse(error) => Err(error.clone().into()),
    };
    let done = slow.take().map(|prepared| *prepared);
    Poll::Ready(token.map(|token| match done.expect(DONE) {
        Prepare::Wait(waiting) => {
            let (mut request, mut inner) = (waiting.request, waiting.inner);
            let sent = token.set(request.headers_mut());
            let future = inner.call(request);
            State::Respond { future, sent }
        }
        Prepare::Refuse(_) => unreachable!("a refusal brings no token"),
    }))
}

impl<S, Q> Waiting<S, Q>
where
    S: Service<Q> + Clone,
    S::Error: Into<BoxError>,
{
    /// A token, once there is one and the service is ready.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<HeaderToken, BoxError>> {
        if self.reserving {
            ready!(self.inner.poll_ready(cx)).map_err(Into::into)?;
            // Time has passed since there was a token. Nearly always there is one at once.
            let looked = Pin::new(&mut self.acquire).poll(cx);
            if looked.is_pending() {
                self.inner = self.inner.clone();
                self.reserving = false;
            }
            return looked.map_err(Into::into);
        }
        let token = ready!(Pin::new(&mut self.acquire).poll(cx))?;
        if self.inner.poll_ready(cx).map_err(Into::into)?.is_ready() {
            return Poll::Ready(Ok(token));
        }
        self.acquire.look_again();
        self.reserving = true;
        Poll::Pending
    }
}

/// A future may panic when it is polled after it was done ([`Future::poll`]), and never before.
const DONE: &str = "polled after it was done";

impl<S, Q> fmt::Debug for ResponseFuture<S, Q>
where
    S: Service<Q>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Prepare { .. } => "Prepare",
            State::Respond { .. } => "Respond",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
