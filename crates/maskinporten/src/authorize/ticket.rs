//! [`Ticket`]: a header for one request; and the two waits that bring one.

use std::fmt;
use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue};

use super::{Receipt, guard};
use crate::cache::{Held, Snapshot};
use crate::error::Result;
use crate::header;
use crate::signer::BoxFuture;

/// A header for one request.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    value: HeaderValue,
    receipt: Receipt,
    entry: Held,
}

impl Ticket {
    /// Sets the header, in place of any that is there.
    pub fn set(self, headers: &mut HeaderMap) -> Receipt {
        header::set_over(headers, &self.value);
        self.receipt
    }

    /// Looks again, after a wait for something else: the token may have ended meanwhile.
    ///
    /// There is a ticket at once where a token is at hand, which may be a newer one.
    pub fn look_again(self) -> Acquire {
        let Self { receipt, entry, .. } = self;
        Acquire::waiting(receipt.guard, entry.clone(), entry.acquire_again())
    }
}

/// A wait for a token. Dropping it harms nobody else.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire(BoxFuture<'static, Result<Ticket>>);

impl Acquire {
    pub(super) fn new(entry: Held, guard: u64) -> Self {
        Self::waiting(guard, entry.clone(), entry.serve())
    }

    fn waiting(
        guard: u64,
        entry: Held,
        wait: impl Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(async move {
            let snapshot = wait.await?;
            Ok(Ticket {
                value: snapshot.token.bearer().clone(),
                receipt: Receipt {
                    guard,
                    generation: snapshot.generation,
                },
                entry,
            })
        }))
    }
}

/// A wait that is over.
impl From<Ticket> for Acquire {
    fn from(ticket: Ticket) -> Self {
        Self(Box::pin(future::ready(Ok(ticket))))
    }
}

impl Future for Acquire {
    type Output = Result<Ticket>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// A wait for a token newer than a rejected one; there is none if it could not be fetched. Made by
/// [`RejectedToken::renewal`](crate::RejectedToken::renewal).
///
/// Dropping it harms nobody else.
#[must_use = "futures do nothing unless polled"]
pub struct Renewal(Stage);

enum Stage {
    Awaited(BoxFuture<'static, Option<Ticket>>),
    Done(Option<Ticket>),
}

impl Renewal {
    /// None where none is fetched for this one.
    pub(super) fn of(rejected: Receipt) -> Option<Self> {
        let (entry, _) = guard::find(rejected.guard)?;
        let mut wait: BoxFuture<'static, Option<Ticket>> = Box::pin(async move {
            let renewed = entry.clone().renewed(rejected.generation).await?;
            let snapshot = renewed.ok()?;
            entry.tally().replayed();
            Some(Ticket {
                value: snapshot.token.bearer().clone(),
                receipt: Receipt {
                    generation: snapshot.generation,
                    ..rejected
                },
                entry,
            })
        });
        // Whether there is anything to wait for is known at the first look, and whoever asks has to
        // know it before it gives a response away. Who waits looks again, with a waker.
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ticket) => ticket.map(|ticket| Self(Stage::Done(Some(ticket)))),
            Poll::Pending => Some(Self(Stage::Awaited(wait))),
        }
    }
}

impl Future for Renewal {
    type Output = Option<Ticket>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stage::Awaited(wait) => wait.as_mut().poll(cx),
            Stage::Done(ticket) => Poll::Ready(ticket.take()),
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").finish_non_exhaustive()
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").finish_non_exhaustive()
    }
}
