//! [`SentToken`]: which token a request left with, and what its response says about that token.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Response, StatusCode, Version};

use super::acquire::Replacement;
use super::origins::{self, NO_ORIGINS, Origins};
use crate::cache::{self, Entry, Held, NO_TOKEN};
use crate::header;
use crate::origin::Target;

/// Which token a request left with: three numbers, cheap to carry until its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentToken {
    /// The number of the entry in the cache.
    pub(super) entry: u64,
    pub(super) generation: u64,
    /// The number of the layer's origins.
    pub(super) origins: NonZeroU32,
}

impl SentToken {
    /// For a request that left without a token of ours.
    pub const NONE: Self = Self {
        entry: 0,
        generation: NO_TOKEN,
        origins: NO_ORIGINS,
    };

    /// Reads what a response says about the token.
    ///
    /// The token is rejected by a 401 whose challenge says so (RFC 6750 §3.1) or that has none, and
    /// by a gRPC answer of nothing but its headers with the status `UNAUTHENTICATED`. If it is still
    /// the current one its replacement is fetched, at most once in 30 s; all requests keep it until
    /// then. A [`RejectedToken`] is left in the response's extensions.
    ///
    /// Anything else changes nothing, and neither does
    ///
    /// - an answer from an origin that is not listed, if the client shows where it came from
    ///   ([`Authorizer::final_uri`](crate::Authorizer::final_uri));
    /// - an answer that another authorizer below has read: it is about that one's token.
    #[inline]
    pub fn on_response<B>(self, response: &mut Response<B>) {
        // gRPC needs HTTP/2: for all other responses this is two comparisons.
        if response.status() == StatusCode::UNAUTHORIZED || response.version() >= Version::HTTP_2 {
            let challenge = Challenge::from_response(response.status(), response.headers());
            if challenge != Challenge::None {
                self.observe(challenge, None, response.extensions_mut());
            }
        }
    }

    /// As [`on_response`](Self::on_response), for a client with its own response types: the challenge, the
    /// address that the response came from in the end if the client knows it, and the response's extensions.
    #[cold]
    pub fn observe(
        self,
        challenge: Challenge,
        came_from: Option<Target<'_>>,
        extensions: &mut Extensions,
    ) {
        let silent = self == Self::NONE || challenge == Challenge::None;
        if silent || extensions.insert(Read).is_some() || challenge != Challenge::InvalidToken {
            return;
        }
        if let Some((entry, origins)) = self.find()
            && origins.trust(extensions)
            && came_from.is_none_or(|target| origins.admit(target))
        {
            extensions.insert(self.reject(&entry));
        }
    }

    /// As [`observe`](Self::observe), for a client that shows neither extensions nor a type of response: it
    /// answered 401, with these headers, and from this address if the client knows it.
    #[cold]
    pub fn rejected(
        self,
        came_from: Option<Target<'_>>,
        response_headers: &HeaderMap,
    ) -> Option<RejectedToken> {
        if !header::rejects_the_token(response_headers) {
            return None;
        }
        let (entry, origins) = self.find()?;
        let listed = came_from.is_none_or(|target| origins.admit(target));
        listed.then(|| self.reject(&entry))
    }

    /// The token's entry and the layer's origins, while both are known.
    pub(super) fn find(self) -> Option<(Held, Arc<Origins>)> {
        Some((cache::find(self.entry)?, origins::find(self.origins)?))
    }

    fn reject(self, entry: &Entry) -> RejectedToken {
        entry.report_rejected(self.generation);
        RejectedToken {
            sent: self,
            replayed: false,
        }
    }
}

/// What a response says about the token that its request had (RFC 6750 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Nothing: it is no refusal.
    None,
    /// A refusal about something else than the token: it is not enough, or another scheme is wanted.
    Other,
    /// The token was not accepted.
    InvalidToken,
}

impl Challenge {
    /// Reads a response: see [`SentToken::on_response`] for what rejects a token.
    #[inline(never)]
    #[must_use]
    pub fn from_response(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED if header::rejects_the_token(headers) => Self::InvalidToken,
            StatusCode::UNAUTHORIZED => Self::Other,
            StatusCode::OK if header::is_unauthenticated_grpc(headers) => Self::InvalidToken,
            _ => Self::None,
        }
    }
}

/// Left in the extensions of a response by the first authorizer that reads it: those above have had
/// their header replaced, and what the response says is not about their tokens.
#[derive(Clone)]
struct Read;

/// Left in the extensions of a response that did not accept the token its request had.
///
/// It gives a layer that may send the request again the wait for a newer token. Numbers: there is no secret in
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedToken {
    sent: SentToken,
    replayed: bool,
}

impl RejectedToken {
    /// Which token it was.
    #[must_use]
    pub fn sent(self) -> SentToken {
        self.sent
    }

    /// The wait for a newer token, over at once if there is one.
    ///
    /// None if the request is not to be sent again: it [was](Self::replayed) already, or the rejected token
    /// was itself fetched because of a rejection less than 30 s ago, so that a second one is not about the
    /// token.
    #[must_use]
    pub fn replacement(self) -> Option<Replacement> {
        if self.replayed {
            return None;
        }
        Replacement::of(self.sent)
    }

    /// The same for the response to a request that has been sent again: it is not sent a third time.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self {
            replayed: true,
            ..self
        }
    }
}
