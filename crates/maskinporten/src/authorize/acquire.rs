//! [`Acquire`] and [`Replacement`]: the two waits for a token, and the [`HeaderToken`] that they bring.

use std::fmt;
use std::future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue};

use super::SentToken;
use crate::cache::{Held, Snapshot};
use crate::error::Result;
use crate::header;
use crate::signer::BoxFuture;

/// A token as a header for one request.
#[derive(Debug)]
#[must_use]
pub struct HeaderToken {
    value: HeaderValue,
    sent: SentToken,
    entry: Held,
}

impl HeaderToken {
    fn of(snapshot: &Snapshot, sent: SentToken, entry: Held) -> Self {
        Self {
            value: snapshot.token.bearer().value().clone(),
            sent: SentToken {
                generation: snapshot.generation,
                ..sent
            },
            entry,
        }
    }

    /// Sets the header, in place of any that is there.
    pub fn set(self, headers: &mut HeaderMap) -> SentToken {
        header::set_over(headers, self.value);
        self.sent
    }
}

/// A wait for a token. What it brings is good for one request, however short the token's life.
///
/// Dropping it affects no other request: the fetch goes on, and its token is kept.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    wait: BoxFuture<'static, Result<HeaderToken>>,
    entry: Held,
    /// The generation is that of the token that comes.
    sent: SentToken,
}

impl Acquire {
    pub(super) fn new(entry: Held, origins: NonZeroU32) -> Self {
        let sent = SentToken {
            entry: entry.id(),
            origins,
            ..SentToken::NONE
        };
        Self {
            wait: header_of(entry.clone().serve(), sent, entry.clone()),
            entry,
            sent,
        }
    }

    /// Looks for the token again, after a wait for something else: the one that came may have ended meanwhile.
    ///
    /// It is ready at once if there is a token, which may be a newer one.
    pub fn look_again(&mut self) {
        let wait = self.entry.clone().acquire_again();
        self.wait = header_of(wait, self.sent, self.entry.clone());
    }
}

/// A wait that is over.
impl From<HeaderToken> for Acquire {
    fn from(token: HeaderToken) -> Self {
        Self {
            entry: token.entry.clone(),
            sent: token.sent,
            wait: Box::pin(future::ready(Ok(token))),
        }
    }
}

fn header_of(
    wait: impl Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    sent: SentToken,
    entry: Held,
) -> BoxFuture<'static, Result<HeaderToken>> {
    Box::pin(async move {
        let snapshot = wait.await?;
        Ok(HeaderToken::of(&snapshot, sent, entry))
    })
}

impl Future for Acquire {
    type Output = Result<HeaderToken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.wait.as_mut().poll(cx)
    }
}

/// A wait for a token newer than a rejected one. Made by
/// [`RejectedToken::replacement`](crate::RejectedToken::replacement).
///
/// It brings the newer token, or nothing if none could be fetched. Dropping it affects no other request.
#[must_use = "futures do nothing unless polled"]
pub struct Replacement(Stage);

enum Stage {
    Wait(BoxFuture<'static, Option<HeaderToken>>),
    Done(Option<HeaderToken>),
}

impl Replacement {
    /// None if no newer token is fetched for this one.
    pub(super) fn of(rejected: SentToken) -> Option<Self> {
        let (entry, _) = rejected.find()?;
        let mut wait: BoxFuture<'static, Option<HeaderToken>> = Box::pin(async move {
            let replaced = entry.clone().replaced(rejected.generation).await?;
            let snapshot = replaced.ok()?;
            entry.tally().replayed();
            Some(HeaderToken::of(&snapshot, rejected, entry))
        });
        // Whether there is anything to wait for is known at the first poll, and a caller has to know it
        // before it gives a response away. The wait itself polls again, with a waker.
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(token) => token.map(|token| Self(Stage::Done(Some(token)))),
            Poll::Pending => Some(Self(Stage::Wait(wait))),
        }
    }
}

impl Future for Replacement {
    type Output = Option<HeaderToken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stage::Wait(wait) => wait.as_mut().poll(cx),
            Stage::Done(token) => Poll::Ready(token.take()),
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Acquire");
        out.field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement").finish_non_exhaustive()
    }
}
