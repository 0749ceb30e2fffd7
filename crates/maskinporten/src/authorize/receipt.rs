//! [`Receipt`]: which token a request left with, and what its response says about that token.

use http::{Extensions, HeaderMap, Response, StatusCode, Version};

use super::guard;
use super::ticket::Renewal;
use crate::cache::{Entry, NO_TOKEN};
use crate::header;
use crate::origin::Target;

/// Which token a request left with: two numbers, cheap to carry until its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the guard, and of the entry with it.
    pub(super) guard: u64,
    pub(super) generation: u64,
}

impl Receipt {
    /// For a request that left without a token of ours.
    pub const NONE: Self = Self {
        guard: 0,
        generation: NO_TOKEN,
    };

    /// Reads what a response says about the token.
    ///
    /// The token is rejected by a 401 whose challenge says so (RFC 6750 §3.1) or that has none, and
    /// by a gRPC answer of nothing but its headers with the status `UNAUTHENTICATED`. If it is still
    /// the current one its replacement is fetched, at most once in 30 s; everybody keeps it until
    /// then. A [`RejectedToken`] is left in the response's extensions.
    ///
    /// Anything else changes nothing, and neither does
    ///
    /// - an answer from an origin that is not listed, where that is told
    ///   ([`Authorizer::final_uri`](crate::Authorizer::final_uri));
    /// - an answer that another authorizer below has read: the token it speaks of was that one's.
    #[inline]
    pub fn answered<B>(self, response: &mut Response<B>) {
        // gRPC needs HTTP/2: for all other responses this is two comparisons.
        if response.status() == StatusCode::UNAUTHORIZED || response.version() >= Version::HTTP_2 {
            let verdict = Verdict::of(response.status(), response.headers());
            if verdict != Verdict::Silent {
                self.heed(verdict, None, response.extensions_mut());
            }
        }
    }

    /// The same for a client whose responses are of a type of its own: its verdict, the address that it
    /// came from in the end where the client knows it, and extensions that go on with it.
    #[cold]
    pub fn heed(
        self,
        verdict: Verdict,
        came_from: Option<Target<'_>>,
        extensions: &mut Extensions,
    ) {
        let silent = self == Self::NONE || verdict == Verdict::Silent;
        if silent || extensions.insert(Read).is_some() || verdict != Verdict::Rejected {
            return;
        }
        if let Some((entry, guard)) = guard::find(self.guard)
            && guard.believes(extensions)
            && came_from.is_none_or(|target| guard.lists(target))
        {
            extensions.insert(self.reject(&entry));
        }
    }

    /// The same for a client without either: it answered 401, with these headers, and from this address
    /// where the client knows it.
    #[cold]
    pub fn unauthorized(
        self,
        came_from: Option<Target<'_>>,
        response_headers: &HeaderMap,
    ) -> Option<RejectedToken> {
        if !header::rejects_the_token(response_headers) {
            return None;
        }
        let (entry, guard) = guard::find(self.guard)?;
        let listed = came_from.is_none_or(|target| guard.lists(target));
        listed.then(|| self.reject(&entry))
    }

    fn reject(self, entry: &Entry) -> RejectedToken {
        entry.report_rejected(self.generation);
        RejectedToken {
            receipt: self,
            replayed: false,
        }
    }
}

/// What a response says about the token that its request had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Silent,
    /// It was not enough, or was not looked at.
    Kept,
    /// It was not accepted.
    Rejected,
}

impl Verdict {
    /// Reads a response: [`Receipt::answered`] tells what rejects a token.
    #[inline(never)]
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED if header::rejects_the_token(headers) => Self::Rejected,
            StatusCode::UNAUTHORIZED => Self::Kept,
            StatusCode::OK if header::is_unauthenticated_grpc(headers) => Self::Rejected,
            _ => Self::Silent,
        }
    }
}

/// Left in the extensions of a response by the first authorizer that reads it: those above have had
/// their header replaced, and what the response says is not about their tokens.
#[derive(Clone)]
struct Read;

/// Left in the extensions of a response that did not accept the token its request had.
///
/// It tells whoever may send the request again what to wait for. Numbers: there is no secret in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedToken {
    receipt: Receipt,
    replayed: bool,
}

impl RejectedToken {
    /// Which token it was.
    #[must_use]
    pub fn receipt(self) -> Receipt {
        self.receipt
    }

    /// The wait for a newer token, over at once where there is one.
    ///
    /// None where the request is not to be sent again: it [was](Self::replayed) already, or the
    /// rejected token is itself the fruit of a rejection less than 30 s ago, which is then about
    /// something else than the token.
    #[must_use]
    pub fn renewal(self) -> Option<Renewal> {
        if self.replayed {
            return None;
        }
        Renewal::of(self.receipt)
    }

    /// The same for the answer to a request that has been sent again: it never is once more.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self {
            replayed: true,
            ..self
        }
    }
}
