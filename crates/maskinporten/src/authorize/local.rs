//! [`LocalAuthorizer`]: what one service value holds.

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Request};

use super::seat::{Seat, Table, View};
use super::{Acquire, Admission, Attempt, Passage, Receipt};
use crate::cache;
use crate::origin::Target;
use crate::request::TokenContext;

/// What one service value holds: its own view of the token. Made by
/// [`Authorizer::local`](crate::Authorizer::local).
///
/// A clone costs one count up, on a line that belongs to the thread that clones.
pub struct LocalAuthorizer {
    seat: Arc<Seat>,
    /// Found at the first clone: to look for it is a shared write, which a service value that is
    /// cloned once for a call and then dropped never makes.
    table: OnceLock<Arc<Table>>,
    /// The first call reads its thread's seat, and the second takes a view of its own: a service that
    /// is cloned for every call would pay for one each time.
    view: Option<Box<View>>,
    used: bool,
}

impl LocalAuthorizer {
    pub(super) fn at(table: &Arc<Table>) -> Self {
        Self {
            seat: Arc::clone(table.seat(cache::of_this_thread())),
            table: OnceLock::from(Arc::clone(table)),
            view: None,
            used: false,
        }
    }

    /// Sets the header if the request goes to the first listed origin, has no [`TokenContext`] and needs
    /// none, and a good token is at hand: the path of nearly every request. For all others it gives
    /// nothing and changes nothing; [`authorize`](Self::authorize) tells what becomes of them.
    #[inline]
    pub fn authorize_now<B>(&mut self, request: &mut Request<B>) -> Option<Receipt> {
        let seat = &*self.seat;
        if !seat.is_plain(request.uri()) {
            return None;
        }
        if TokenContext::of(request.extensions()).is_some() {
            return None;
        }
        match &mut self.view {
            Some(view) => view.set(&seat.entry, seat.guard, request.headers_mut()),
            None => self.set_first(request.headers_mut()),
        }
    }

    /// As [`authorize_now`](Self::authorize_now), where the value is shared between threads: it
    /// reads a view that few of them share instead of one of its own.
    #[inline]
    pub fn authorize_now_shared<B>(&self, request: &mut Request<B>) -> Option<Receipt> {
        let seat = self.seat_here();
        if !seat.is_plain(request.uri()) {
            return None;
        }
        if TokenContext::of(request.extensions()).is_some() {
            return None;
        }
        seat.set(request.headers_mut())
    }

    /// Sets the header on any request, or tells what keeps it from one.
    pub fn authorize<B>(&mut self, request: &mut Request<B>) -> Passage {
        let decided = self.decide(request);
        decided.unwrap_or_else(|| match self.try_set(request.headers_mut()) {
            Attempt::Set(receipt) => Passage::Go(receipt),
            Attempt::Wait => Passage::Wait(self.acquire()),
            Attempt::Refused(error) => Passage::Refused(error),
        })
    }

    /// As [`authorize`](Self::authorize), where the value is shared between threads.
    pub fn authorize_shared<B>(&self, request: &mut Request<B>) -> Passage {
        let decided = self.decide(request);
        decided.unwrap_or_else(|| self.seat_here().settle(request.headers_mut()))
    }

    /// As [`authorize_now_shared`](Self::authorize_now_shared) and then
    /// [`authorize_shared`](Self::authorize_shared), for a client whose requests are of a type of its own.
    #[inline]
    pub fn authorize_to<'a>(
        &self,
        target: impl Into<Target<'a>>,
        context: Option<&TokenContext>,
        headers: &mut HeaderMap,
    ) -> Passage {
        let (seat, target) = (self.seat_here(), target.into());
        if context.is_none()
            && seat.is_plain_for(target)
            && let Some(receipt) = seat.set(headers)
        {
            return Passage::Go(receipt);
        }
        let decided = seat.gate.decide(target, context, headers);
        decided.unwrap_or_else(|| seat.settle(headers))
    }

    /// Whether a request that goes there may have the token.
    pub fn admit<'a>(&self, target: impl Into<Target<'a>>) -> Admission {
        self.seat.gate.admit(target.into())
    }

    /// Sets the header if a token is at hand. Unguarded: whether the request's address and context let
    /// it have this token is for [`authorize`](Self::authorize) to ask.
    pub fn try_set(&mut self, headers: &mut HeaderMap) -> Attempt {
        let decided = self.seat.gate.decide_existing(headers);
        decided.unwrap_or_else(|| {
            let seat = &self.seat;
            let view = self.view.get_or_insert_with(|| seat.own_view());
            let set = view.set_over(&seat.entry, seat.guard, headers);
            set.map_or(Attempt::Wait, Attempt::Set)
        })
    }

    /// As [`try_set`](Self::try_set), where the value is shared between threads.
    pub fn try_set_shared(&self, headers: &mut HeaderMap) -> Attempt {
        self.seat_here().try_set(headers)
    }

    /// Waits for a token. What it gives is good for one request, whatever the token's life. Unguarded,
    /// as [`try_set`](Self::try_set).
    pub fn acquire(&self) -> Acquire {
        self.seat.acquire()
    }

    /// What becomes of a request by its address and its context; none where it is to have the token
    /// that is looked at here.
    fn decide<B>(&self, request: &mut Request<B>) -> Option<Passage> {
        let context = TokenContext::of(request.extensions()).cloned();
        let target = request.uri().clone();
        let gate = &self.seat.gate;
        gate.decide(
            Target::from(&target),
            context.as_ref(),
            request.headers_mut(),
        )
    }

    fn set_first(&mut self, headers: &mut HeaderMap) -> Option<Receipt> {
        if !self.used {
            self.used = true;
            return self.seat.set(headers);
        }
        let seat = &self.seat;
        let view = self.view.get_or_insert_with(|| seat.own_view());
        view.set(&seat.entry, seat.guard, headers)
    }

    /// The calling thread's seat.
    #[inline]
    fn seat_here(&self) -> &Arc<Seat> {
        let stripe = cache::of_this_thread();
        if self.seat.stripe == stripe {
            return &self.seat;
        }
        let table = self.table.get().unwrap_or_else(|| self.find_table());
        table.seat(stripe)
    }

    #[cold]
    fn find_table(&self) -> &Arc<Table> {
        // Layer and first service may be gone, as where an axum router keeps clones of its state:
        // the clones of this value, and the threads that share it, then sit at a table of its own.
        let own = || Table::new(Arc::clone(&self.seat.gate));
        let found = || self.seat.table.upgrade().unwrap_or_else(own);
        self.table.get_or_init(found)
    }
}

impl Clone for LocalAuthorizer {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            seat: Arc::clone(self.seat_here()),
            table: OnceLock::new(),
            view: None,
            used: false,
        }
    }
}

impl fmt::Debug for LocalAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalAuthorizer")
            .field(&self.seat.gate)
            .finish()
    }
}
