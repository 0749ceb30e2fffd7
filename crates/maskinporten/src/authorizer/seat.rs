//! Seats: where the threads of a stripe read the token, and count their clones, out of each other's way.

use std::sync::{Arc, OnceLock, Weak};

use http::{HeaderMap, HeaderValue, Uri};
use parking_lot::Mutex;

use super::{Acquire, Attempt, Gate, Passage, Receipt, guard};
use crate::cache::{self, Look, STRIPES, Sighting, Slot};
use crate::clock::Horizon;
use crate::header;
use crate::origin::{Origin, Target};

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
    pub(super) slot: Arc<Slot>,
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
                slot: Arc::clone(&self.gate.slot),
                guard: guard::enter(self.gate.slot.id(), &self.gate.guard),
                view: Mutex::default(),
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
                Some(mut view) => view.set_over(&self.slot, self.guard, headers),
                None => View::default().set_over(&self.slot, self.guard, headers),
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
            Some(mut view) => view.set(&self.slot, self.guard, headers),
            None => self.set_past_the_view(headers),
        }
    }

    /// Sets the header without a view: another thread of this stripe is looking at it just now.
    #[cold]
    fn set_past_the_view(&self, headers: &mut HeaderMap) -> Option<Receipt> {
        View::default().set(&self.slot, self.guard, headers)
    }

    pub(super) fn acquire(&self) -> Acquire {
        Acquire::new(Arc::clone(&self.slot), self.guard)
    }
}

impl View {
    /// Sets the header, where the token may be used now and no sensitive one is in the way.
    #[inline]
    pub(super) fn set(
        &mut self,
        slot: &Arc<Slot>,
        guard: u64,
        headers: &mut HeaderMap,
    ) -> Option<Receipt> {
        let set = self.is_good(slot) && header::set(headers, &self.seen.value);
        set.then(|| self.receipt(guard))
    }

    /// Sets the header, whatever is there, where the token may be used now.
    pub(super) fn set_over(
        &mut self,
        slot: &Arc<Slot>,
        guard: u64,
        headers: &mut HeaderMap,
    ) -> Option<Receipt> {
        let good = self.is_good(slot);
        good.then(|| header::set_over(headers, &self.seen.value))?;
        Some(self.receipt(guard))
    }

    #[inline]
    fn is_good(&mut self, slot: &Arc<Slot>) -> bool {
        // A slot's generation is 0 until there is a token, and a view's moments are past until then.
        let same = slot.generation() == self.seen.generation;
        let fresh = same && self.fresh.is_ahead(slot.clock());
        fresh || self.look(slot)
    }

    #[inline]
    fn receipt(&self, guard: u64) -> Receipt {
        Receipt {
            guard,
            generation: self.seen.generation,
        }
    }

    /// Looks at the slot and at the clock anew, and says whether there is a token that may be used.
    #[cold]
    fn look(&mut self, slot: &Arc<Slot>) -> bool {
        // The glance first: whatever passes between the two makes the horizon nearer, never farther.
        let (glance, now) = slot.clock().glance_and_now();
        self.fresh = match slot.look(&mut self.seen, now) {
            // Without a token to go on with, whoever waits starts the flight, and nobody who only looks.
            Look::Nothing => return false,
            Look::Ageing => {
                slot.refresh_if_due(now);
                Horizon::PAST
            }
            // Also where the clocks have moved apart: they are trusted again from here on.
            Look::Fresh => Horizon::at(self.seen.window.soft, now, glance),
        };
        true
    }
}

impl Default for View {
    fn default() -> Self {
        Self {
            seen: Sighting::of_nothing(HeaderValue::from_static("")),
            fresh: Horizon::PAST,
        }
    }
}
