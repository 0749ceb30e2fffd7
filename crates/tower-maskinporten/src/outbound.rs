//! What a request and its answer must show to be authorised: [`http`]'s own, and reqwest's.
//!
//! Both traits are sealed. A client with requests of another type asks
//! [`Authorizer`](maskinporten::Authorizer) by hand.

use http::{Extensions, HeaderMap, Request, Response};
use maskinporten::{LocalAuthorizer, Passage, Receipt, RejectedToken};

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
        /// The path of nearly every request: none where there is more to ask.
        fn authorize_now(&mut self, authorizer: &mut LocalAuthorizer) -> Option<Receipt>;

        /// The same, where the authorizer is shared between threads.
        fn authorize_now_shared(&mut self, authorizer: &LocalAuthorizer) -> Option<Receipt>;

        fn authorize(&mut self, authorizer: &mut LocalAuthorizer) -> Passage;

        fn authorize_shared(&mut self, authorizer: &LocalAuthorizer) -> Passage;

        fn headers_mut(&mut self) -> &mut HeaderMap;
    }

    pub trait Duplicate: Sized {
        /// The same request once more, where its body lets it.
        fn duplicate(&self) -> Option<Self>;
    }

    pub trait Answer {
        fn report(&mut self, receipt: Receipt);

        fn extensions_mut(&mut self) -> &mut Extensions;

        /// What was found when it was reported, if this receipt's token was rejected.
        fn rejected(&mut self, receipt: Receipt) -> Option<&mut RejectedToken> {
            let rejected = self.extensions_mut().get_mut::<RejectedToken>();
            rejected.filter(|rejected| rejected.receipt() == receipt)
        }
    }
}

// ===== http =====

impl<B> OutboundRequest for Request<B> {}

impl<B: Clone> ReplayableRequest for Request<B> {}

impl<B> InboundResponse for Response<B> {}

impl<B> sealed::Authorise for Request<B> {
    #[inline]
    fn authorize_now(&mut self, authorizer: &mut LocalAuthorizer) -> Option<Receipt> {
        authorizer.authorize_now(self)
    }

    #[inline]
    fn authorize_now_shared(&mut self, authorizer: &LocalAuthorizer) -> Option<Receipt> {
        authorizer.authorize_now_shared(self)
    }

    fn authorize(&mut self, authorizer: &mut LocalAuthorizer) -> Passage {
        authorizer.authorize(self)
    }

    fn authorize_shared(&mut self, authorizer: &LocalAuthorizer) -> Passage {
        authorizer.authorize_shared(self)
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
    fn report(&mut self, receipt: Receipt) {
        receipt.answered(self);
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        Response::extensions_mut(self)
    }
}
