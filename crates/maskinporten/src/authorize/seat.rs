//! Seats: where the threads of a stripe read the token, and count their clones, out of each other's way.

use std::sync::{Arc, OnceLock, Weak};

use http::{HeaderMap, HeaderValue, Uri};
use parking_lot::Mutex;

use super::{Acquire, Attempt, Gate, Passage, Receipt, guard};
use crate::cache::{self, Entry, Held, Look, STRIPES, Sighting};
use crate::clock::Horizon;
use crate::header;
use crate::origin::{Origin, Target};
use crate::stats::{Counter, Lookup};

/// What a stripe of threads holds: the way to the gate, and a view of the token.
///
/// Aligned, so that neither the counts nor the locks of two seats share a line: each clone of a
/// service counts up and down here. Measured: a read through an `ArcSwap` of one shared snapshot with
/// a copy for each stripe takes three times the instructions of a lock that only one thread uses.
#[repr(align(128))]
pub(super) struct Seat {
    pub(super) stripe: usize,
    // What most requests need of the gate, without the way there.
    plain: Option<Origin>,
    pub(super) entry: Held,
    /// The number of the gate's guard: see [`guard`].
    pub(super) guard: u64,
    // Only ever tried: nobody waits for it, and it is held while one header is set. The locks of
    // `parking_lot` know no poisoning: a view holds one whole token whatever panicked beside it.
    view: Mutex<View>,
    pub(super) gate: Arc<Gate>,
    pub(super) table: Weak<Table>,
}

/// The seats of one layer, made when a thread of their stripe first needs one.
pub(super) struct Table {
    pub(super) gate: Arc<Gate>,
    seats: [OnceLock<Arc<Seat>>; STRIPES],
}

/// The token as it was last seen, and until when that is good enough.
pub(super) struct View {
    seen: Sighting<HeaderValue>,
    /// The soft moment, for a glance at the clock.
    fresh: Horizon,
    /// Where the tokens that it gives are counted, by nobody else.
    counter: Counter,
}

impl Table {
    pub(super) fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            gate,
            seats: Default::default(),
        })
    }

    /// The seat of a stripe of threads.
    #[inline]
    pub(super) fn seat(self: &Arc<Self>, stripe: usize) -> &Arc<Seat> {
        self.seats[stripe].get_or_init(|| {
            Arc::new(Seat {
                stripe,
                plain: self.gate.plain(),
                entry: self.gate.entry.clone(),
                guard: guard::enter(self.gate.entry.id(), &self.gate.guard),
                view: Mutex::new(View::new(&self.gate.entry)),
                gate: Arc::clone(&self.gate),
                table: Arc::downgrade(self),
            })
        })
    }

    pub(super) fn try_set(self: &Arc<Self>, headers: &mut HeaderMap) -> Attempt {
        self.seat(cache::of_this_thread()).try_set(headers)
    }

    /// Sets the header of the layer's own token, or waits for it.
    pub(super) fn set(self: &Arc<Self>, headers: &mut HeaderMap) -> Passage {
        self.seat(cache::of_this_thread()).settle(headers)
    }
}

impl Seat {
    #[inline]
    pub(super) fn is_plain(&self, uri: &Uri) -> bool {
        self.plain.as_ref().is_some_and(|origin| origin.is(uri))
    }

    /// Whether a request that goes there, without a context, has the token set without another question.
    #[inline]
    pub(super) fn is_plain_for(&self, target: Target<'_>) -> bool {
        self.plain
            .as_ref()
            .is_some_and(|origin| origin.admits(target))
    }

    /// Sets the header, whatever is there, if a token is at hand.
    pub(super) fn try_set(&self, headers: &mut HeaderMap) -> Attempt {
        let decided = self.gate.decide_existing(headers);
        decided.unwrap_or_else(|| {
            let set = match self.view.try_lock() {
                Some(mut view) => view.set_over(&self.entry, self.guard, headers),
                None => set_over_in_passing(&self.entry, self.guard, headers),
            };
            set.map_or(Attempt::Wait, Attempt::Set)
        })
    }

    /// The same, or a wait for the token.
    pub(super) fn settle(&self, headers: &mut HeaderMap) -> Passage {
        match self.try_set(headers) {
            Attempt::Set(receipt) => Passage::Go(receipt),
            Attempt::Wait => Passage::Wait(self.acquire()),
            Attempt::Refused(error) => Passage::Refused(error),
        }
    }

    /// Sets the header by this seat's view, where the token may be used now and no other is in the way.
    #[inline]
    pub(super) fn set(&self, headers: &mut HeaderMap) -> Option<Receipt> {
        match self.view.try_lock() {
            Some(mut view) => view.set(&self.entry, self.guard, headers),
            // Another thread of this stripe is looking at it just now.
            None => set_past_a_view(&self.entry, self.guard, headers, header::set),
        }
    }

    /// A view for one who does not share it.
    #[cold]
    pub(super) fn own_view(&self) -> Box<View> {
        Box::new(View::new(&self.entry))
    }

    pub(super) fn acquire(&self) -> Acquire {
        Acquire::new(self.entry.clone(), self.guard)
    }
}

/// Sets the header without a view, whatever is there, where the token may be used now.
pub(super) fn set_over_in_passing(
    entry: &Entry,
    guard: u64,
    headers: &mut HeaderMap,
) -> Option<Receipt> {
    set_past_a_view(entry, guard, headers, over)
}

/// Sets a header whatever is there, and so always.
fn over(headers: &mut HeaderMap, bearer: &HeaderValue) -> bool {
    header::set_over(headers, bearer);
    true
}

#[cold]
fn set_past_a_view(
    entry: &Entry,
    guard: u64,
    headers: &mut HeaderMap,
    set: fn(&mut HeaderMap, &HeaderValue) -> bool,
) -> Option<Receipt> {
    let mut seen = Sighting::of_nothing(HeaderValue::from_static(""));
    let now = entry.clock().now();
    let result = match entry.look(&mut seen, now) {
        Look::Nothing => return None,
        Look::Ageing => {
            entry.refresh_if_due(now);
            Lookup::Stale
        }
        Look::Fresh => Lookup::Hit,
    };
    if !set(headers, &seen.value) {
        return None;
    }
    entry.tally().looked_up(result);
    Some(Receipt {
        guard,
        generation: seen.generation,
    })
}

impl View {
    /// Of no token yet.
    pub(super) fn new(entry: &Entry) -> Self {
        Self {
            seen: Sighting::of_nothing(HeaderValue::from_static("")),
            fresh: Horizon::PAST,
            counter: Counter::of(entry.tally()),
        }
    }

    /// Sets the header, where the token may be used now and no sensitive one is in the way.
    #[inline]
    pub(super) fn set(
        &mut self,
        entry: &Entry,
        guard: u64,
        headers: &mut HeaderMap,
    ) -> Option<Receipt> {
        if !self.is_fresh(entry) {
            return self.set_anew(entry, guard, headers, header::set);
        }
        let set = header::set(headers, &self.seen.value);
        set.then(|| self.receipt(guard, Lookup::Hit))
    }

    /// Sets the header, whatever is there, where the token may be used now.
    pub(super) fn set_over(
        &mut self,
        entry: &Entry,
        guard: u64,
        headers: &mut HeaderMap,
    ) -> Option<Receipt> {
        if !self.is_fresh(entry) {
            return self.set_anew(entry, guard, headers, over);
        }
        header::set_over(headers, &self.seen.value);
        Some(self.receipt(guard, Lookup::Hit))
    }

    /// Sets the header of the token as it is now: the one that was seen is another, or no longer fresh.
    #[cold]
    fn set_anew(
        &mut self,
        entry: &Entry,
        guard: u64,
        headers: &mut HeaderMap,
        set: fn(&mut HeaderMap, &HeaderValue) -> bool,
    ) -> Option<Receipt> {
        let result = self.look(entry)?;
        set(headers, &self.seen.value).then(|| self.receipt(guard, result))
    }

    /// Whether the token that was seen last may be used, without another question.
    #[inline]
    fn is_fresh(&self, entry: &Entry) -> bool {
        // A entry's generation is 0 until there is a token, and a view's moments are past until then.
        let same = entry.generation() == self.seen.generation;
        same && self.fresh.is_ahead(entry.clock())
    }

    /// Counts a header that is set.
    #[inline]
    fn receipt(&mut self, guard: u64, result: Lookup) -> Receipt {
        self.counter.count(result);
        Receipt {
            guard,
            generation: self.seen.generation,
        }
    }

    /// Looks at the entry and at the clock anew: whether there is a token that may be used, fresh or ageing.
    fn look(&mut self, entry: &Entry) -> Option<Lookup> {
        // The glance first: whatever passes between the two makes the horizon nearer, never farther.
        let (glance, now) = entry.clock().glance_and_now();
        let (fresh, result) = match entry.look(&mut self.seen, now) {
            // Without a token to go on with, whoever waits starts the flight, and nobody who only looks.
            Look::Nothing => return None,
            Look::Ageing => {
                entry.refresh_if_due(now);
                (Horizon::PAST, Lookup::Stale)
            }
            // Also where the clocks have moved apart: they are trusted again from here on.
            Look::Fresh => {
                let fresh = Horizon::at(self.seen.window.soft, now, glance);
                (fresh, Lookup::Hit)
            }
        };
        self.fresh = fresh;
        Some(result)
    }
}
