//! Bodies that arrive badly: cut off, in small pieces, or far too long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

// ===== Torn =====

/// Announces a length and fails before it is reached.
pub(crate) struct Torn {
    half: Bytes,
    missing: u64,
    stage: Stage,
}

enum Stage {
    Send,
    Flush,
    Break,
    Broken,
}

impl Torn {
    /// The first half of `whole`. Where there is nothing to halve, one byte is announced and not sent.
    pub(crate) fn new(mut whole: Bytes) -> Self {
        let announced = whole.len().max(1);
        whole.truncate(announced / 2);
        Self {
            missing: (announced - whole.len()) as u64,
            half: whole,
            stage: Stage::Send,
        }
    }

    /// The length that is announced and never reached.
    pub(crate) fn announced(&self) -> u64 {
        self.half.len() as u64 + self.missing
    }
}

impl http_body::Body for Torn {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Stage::Send = self.stage {
            self.stage = Stage::Flush;
            if !self.half.is_empty() {
                let half = std::mem::take(&mut self.half);
                return Poll::Ready(Some(Ok(Frame::data(half))));
            }
        }
        match self.stage {
            // hyper flushes when a body has nothing to give, and forgets what it holds when one fails:
            // without this turn the client would see no answer at all.
            Stage::Send | Stage::Flush => {
                self.stage = Stage::Break;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Stage::Break => {
                self.stage = Stage::Broken;
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off");
                Poll::Ready(Some(Err(error)))
            }
            Stage::Broken => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced())
    }
}

// ===== Trickle =====

/// A body in pieces, with a pause between one and the next.
pub(crate) struct Trickle {
    rest: Bytes,
    piece: usize,
    pause: Duration,
    /// Set once a piece has left and others remain.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Trickle {
    pub(crate) fn new(whole: Bytes, piece: usize, pause: Duration) -> Self {
        Self {
            rest: whole,
            piece: piece.max(1),
            pause,
            sleep: None,
        }
    }
}

impl http_body::Body for Trickle {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.piece.min(self.rest.remaining());
        let piece = self.rest.split_to(length);
        if !self.rest.is_empty() {
            self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

// ===== Filler =====

/// Spaces without a memory: the same piece again and again.
pub(crate) struct Filler {
    left: u64,
    announced: bool,
    /// Pieces given out since others had their turn.
    streak: u8,
}

/// A parser of JSON takes spaces for ever without finding fault.
static SPACES: [u8; 64 * 1024] = [b' '; 64 * 1024];

/// Pieces, together one MiB, after which a body lets others have a turn: a timeout around a caller that
/// reads it in process would never be asked otherwise.
const STREAK: u8 = 16;

impl Filler {
    pub(crate) fn new(length: u64, announced: bool) -> Self {
        Self {
            left: length,
            announced,
            streak: 0,
        }
    }
}

impl http_body::Body for Filler {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.streak == STREAK {
            self.streak = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.streak += 1;
        let length = usize::try_from(self.left).map_or(SPACES.len(), |left| left.min(SPACES.len()));
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&SPACES[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact(self.left)
        } else {
            SizeHint::default()
        }
    }
}
