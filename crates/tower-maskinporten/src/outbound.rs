//! What a request and its answer must show to be authorised: [`http`]'s own, and reqwest's.
//!
//! Both traits are sealed. A client with requests of another type asks
//! [`Authorizer`](maskinporten::Authorizer) by hand.

use std::mem;

use http::{Extensions, HeaderMap, Request, Response};
use maskinporten::{Authorizer, Decision, RejectedToken, SentToken};

/// A request that [`BearerAuth`](crate::BearerAuth) can authorise: [`http::Request`] of any body; with
/// the feature `reqwest` also `reqwest::Request`, which shows no extensions and so has no
/// [`TokenContext`](maskinporten::TokenContext).
pub trait OutboundRequest: sealed::Authorise {}

/// One that can be sent once more: its body is [`Clone`]. A `reqwest::Request` whose body is a stream
/// compiles and is sent once only.
pub trait ReplayableRequest: OutboundRequest + sealed::Duplicate {}

/// What tells whether a token was accepted: [`http::Response`] of any body; with the feature `reqwest`
/// also `reqwest::Response`.
pub trait InboundResponse: sealed::Answer {}

pub(crate) mod sealed {
    use super::*;

    pub trait Authorise {
        /// The path of nearly every request: none if there is more to ask.
        fn authorize_now(&mut self, authorizer: &Authorizer) -> Option<SentToken>;

        fn decide(&mut self, authorizer: &Authorizer) -> Decision;

        fn headers_mut(&mut self) -> &mut HeaderMap;
    }

    pub trait Duplicate: Sized {
        /// The same request once more, where its body lets it.
        fn duplicate(&self) -> Option<Self>;
    }

    pub trait Answer {
        /// Reports what it says about the token that its request had.
        fn observe(&mut self, sent: SentToken);

        fn extensions_mut(&mut self) -> &mut Extensions;

        /// What was found when it was observed, if it rejects this token.
        fn rejected(&mut self, sent: SentToken) -> Option<&mut RejectedToken> {
            let rejected = self.extensions_mut().get_mut::<RejectedToken>();
            rejected.filter(|rejected| rejected.sent() == sent)
        }
    }
}

// ===== http =====

impl<B> OutboundRequest for Request<B> {}

impl<B: Clone> ReplayableRequest for Request<B> {}

impl<B> InboundResponse for Response<B> {}

impl<B> sealed::Authorise for Request<B> {
    #[inline]
    fn authorize_now(&mut self, authorizer: &Authorizer) -> Option<SentToken> {
        authorizer.authorize_now(self)
    }

    fn decide(&mut self, authorizer: &Authorizer) -> Decision {
        // Taken out for the moment: they, the address and the context are borrowed from one value.
        let mut headers = mem::take(Request::headers_mut(self));
        let context = self.extensions().get();
        let decision = authorizer.decide(self.uri(), context, &mut headers);
        *Request::headers_mut(self) = headers;
        decision
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        Request::headers_mut(self)
    }
}

impl<B: Clone> sealed::Duplicate for Request<B> {
    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<B> sealed::Answer for Response<B> {
    #[inline]
    fn observe(&mut self, sent: SentToken) {
        sent.on_response(self);
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        Response::extensions_mut(self)
    }
}
