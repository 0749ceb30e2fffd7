//! A request that sets a header: what `EntryShard::fresh` and `EntryShard::lend_anew` do with the engine's own parts.

#![allow(dead_code, reason = "each binary explores what it can")]

use std::sync::Arc;

use crate::cache::headers::{Headers, Place};
use crate::clock::{CoarseReading, Moment};
use crate::flight::Life;

/// A header's value: the token's number, and a mark that lives as long as the copy does.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) token: u64,
    _mark: Arc<()>,
}

/// The copies of one token's header, and how many there are.
pub(crate) struct Copies {
    headers: Headers<Value>,
    /// Found once, as by an `EntryShard`.
    places: [Arc<Place<Value>>; 2],
    mark: Arc<()>,
}

impl Copies {
    pub(crate) fn new() -> Self {
        let headers = Headers::new();
        Self {
            places: [0, 1].map(|stripe| headers.place(stripe)),
            headers,
            mark: Arc::default(),
        }
    }

    /// Drops the copies of tokens that are no longer current, as an entry does after each change.
    pub(crate) fn clear(&self, life: &Life) {
        self.headers.clear(life.generation());
    }

    /// How many copies live, in a stripe's place or in a request.
    pub(crate) fn living(&self) -> usize {
        Arc::strong_count(&self.mark) - 1
    }
}

/// The requests of one thread, and the token that the last of them was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    stripe: usize,
    pub(crate) generation: u64,
    pub(crate) token: u64,
}

impl View {
    /// Of a thread of the first stripe, as every other thread here: they meet at one lock.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of_stripe(stripe: usize) -> Self {
        Self {
            stripe,
            ..Self::default()
        }
    }

    /// Whether there is a token that may be used now. `refresh` is called for one that ages.
    pub(crate) fn is_good(
        &mut self,
        life: &Life,
        copies: &Copies,
        now: Moment,
        refresh: impl FnOnce(),
    ) -> bool {
        let reading = CoarseReading::exact(now);
        let generation = life.generation();
        let place = &copies.places[self.stripe];
        if let Some(fresh) = place.fresh(generation, reading) {
            let value = fresh.value().cloned();
            (self.generation, self.token) = (generation, value.unwrap().token);
            return true;
        }
        let copy = |token: &u64| Value {
            token: *token,
            _mark: Arc::clone(&copies.mark),
        };
        let looked = place.look(life, (reading, now), copy, copy);
        let Some(looked) = looked else {
            return false;
        };
        (self.generation, self.token) = (looked.generation, looked.value.token);
        if looked.is_ageing {
            refresh();
        }
        true
    }
}
