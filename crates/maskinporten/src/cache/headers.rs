//! [`Headers`]: the header of one token in a few copies, one for each stripe of threads, to avoid false sharing.
//!
//! - A hit tries its stripe's lock, compares two numbers, and clones the stripe's copy. It waits for
//!   no other thread, and writes to no cache line that a thread of another stripe reads.
//! - A copy is made when a thread of its stripe first needs the token, and lives until the token is replaced,
//!   declared void or retired: [`clear`](Headers::clear) then drops every copy, so that the token's bytes are
//!   wiped with the last request that carries it.
//! - Nothing here knows a clock: a caller brings its readings.

use std::mem;
use std::sync::Arc;

use super::state::{InFlight, Life};
use super::sync::{Mutex, TryLock, TryLockGuard};
use super::window::Window;
use crate::clock::{CoarseReading, FreshUntil, Moment};

/// A token's header as a stripe last saw it. Generation, window and value are always of one token.
struct CachedHeader<V> {
    generation: u64,
    window: Window,
    /// Until when it is used without a look at the exact clock.
    fresh: FreshUntil,
    /// Whether it was used since eviction last asked.
    was_used: bool,
    value: V,
}

/// The copies of one entry. A place is allocated when a thread of its stripe first needs one.
pub(crate) struct Headers<V> {
    // Taken to find a place once for each stripe and layer, and to clear all; by functions that are not async
    // and call no user's code.
    places: Mutex<Vec<StripesPlace<V>>>,
}

struct StripesPlace<V> {
    stripe: usize,
    place: Arc<Place<V>>,
}

/// The place of one stripe's copy, on separate cache lines: no false sharing with another stripe's.
#[repr(align(64))]
pub(crate) struct Place<V> {
    // The lock is only tried by requests, held for a clone or a swap of one value, and waited for by `clear`
    // alone: no clock, no subscriber and no destructor of a user's runs under it. It knows no poisoning: a
    // place holds one whole token or none, also after a panic.
    cached: TryLock<Option<CachedHeader<V>>>,
}

/// A stripe's copy, which no other thread of the stripe looks at for as long as this lives.
pub(crate) struct Fresh<'a, V>(TryLockGuard<'a, Option<CachedHeader<V>>>);

impl<V> Fresh<'_, V> {
    #[inline]
    pub(crate) fn value(&self) -> Option<&V> {
        // It was there when the lock was taken.
        self.0.as_ref().map(|cached| &cached.value)
    }
}

/// What a look past the hot path brings: a value of a token that may be used now.
pub(crate) struct Looked<V> {
    pub(crate) value: V,
    pub(crate) generation: u64,
    /// Whether the token's refresh is to be started.
    pub(crate) is_ageing: bool,
}

/// What a stripe has of the current token.
enum Seen<V> {
    /// Its copy, with the window of its token.
    Copy(V, Window),
    /// Another token's copy, or none.
    Nothing,
    /// Another thread of the stripe is looking at it just now.
    Busy,
}

impl<V> Headers<V> {
    pub(crate) fn new() -> Self {
        Self {
            places: Mutex::new(Vec::new()),
        }
    }

    /// The place of a stripe's copy.
    pub(crate) fn place(&self, stripe: usize) -> Arc<Place<V>> {
        let mut places = self.places.lock();
        if let Some(found) = places.iter().find(|found| found.stripe == stripe) {
            return Arc::clone(&found.place);
        }
        let place = Arc::new(Place {
            cached: TryLock::new(None),
        });
        // One more, and not room for as many again: there are seldom more than a few.
        places.reserve_exact(1);
        places.push(StripesPlace {
            stripe,
            place: Arc::clone(&place),
        });
        place
    }

    /// Drops every copy of another generation than the current one. Called after that has changed.
    pub(crate) fn clear(&self, current: u64) {
        for StripesPlace { place, .. } in &*self.places.lock() {
            let mut cached = place.cached.lock();
            let displaced = cached.take_if(|cached| cached.generation != current);
            drop(cached);
            drop(displaced);
        }
    }

    /// Whether any copy was used since this was last asked.
    pub(crate) fn take_used(&self) -> bool {
        let places = self.places.lock();
        let take = |place: &Place<V>| match place.cached.try_lock() {
            Some(mut cached) => {
                let cached = cached.as_mut();
                cached.is_some_and(|cached| mem::take(&mut cached.was_used))
            }
            // It is being used.
            None => true,
        };
        // Each mark is taken, not only the first.
        let used = places.iter().filter(|found| take(&found.place));
        used.count() > 0
    }
}

impl<V: Clone> Place<V> {
    /// The copy, locked, if it is of this generation and fresh at this reading: the path of most requests. No
    /// user's code is called while it is held.
    #[inline]
    pub(crate) fn fresh(&self, generation: u64, reading: CoarseReading) -> Option<Fresh<'_, V>> {
        let mut fresh = Fresh(self.cached.try_lock()?);
        let cached = fresh.0.as_mut()?;
        if cached.generation != generation || !cached.fresh.is_ahead(reading) {
            return None;
        }
        cached.was_used = true;
        Some(fresh)
    }

    /// Looks at the token where there is no fresh copy, and keeps one for the next request of the stripe. None
    /// if there is no token that may be used now. `reading` is taken before `now`.
    ///
    /// `lend` makes a copy with a reference count for the stripe alone; `share` gives the one that all callers
    /// share, for the rare thread that finds its stripe's lock taken.
    pub(crate) fn look<T, E: Clone, F: InFlight>(
        &self,
        life: &Life<T, E, F>,
        (reading, now): (CoarseReading, Moment),
        lend: impl FnOnce(&T) -> V,
        share: impl FnOnce(&T) -> V,
    ) -> Option<Looked<V>> {
        let generation = life.generation();
        let (value, window, generation) = match self.seen(generation) {
            // Also where the clocks have moved apart: they are trusted again from here on.
            Seen::Copy(value, window) => {
                self.set_fresh(generation, FreshUntil::at(window.soft, now, reading));
                (value, window, generation)
            }
            Seen::Nothing => {
                let snapshot = life.current(now)?;
                let copy = CachedHeader {
                    generation: snapshot.generation,
                    window: snapshot.window,
                    fresh: FreshUntil::at(snapshot.window.soft, now, reading),
                    was_used: true,
                    value: lend(&snapshot.token),
                };
                let value = copy.value.clone();
                self.put(copy, || life.generation());
                (value, snapshot.window, snapshot.generation)
            }
            Seen::Busy => {
                let snapshot = life.current(now)?;
                let value = share(&snapshot.token);
                (value, snapshot.window, snapshot.generation)
            }
        };
        (now < window.hard).then_some(Looked {
            value,
            generation,
            is_ageing: now >= window.soft,
        })
    }

    /// The copy of this generation, fresh or not.
    fn seen(&self, generation: u64) -> Seen<V> {
        let Some(cached) = self.cached.try_lock() else {
            return Seen::Busy;
        };
        match &*cached {
            Some(cached) if cached.generation == generation => {
                Seen::Copy(cached.value.clone(), cached.window)
            }
            _ => Seen::Nothing,
        }
    }

    /// Notes until when the copy of this generation is fresh.
    fn set_fresh(&self, generation: u64, fresh: FreshUntil) {
        if let Some(mut cached) = self.cached.try_lock()
            && let Some(cached) = cached.as_mut()
            && cached.generation == generation
        {
            cached.fresh = fresh;
            cached.was_used = true;
        }
    }

    /// Keeps a copy, if its token is still the current one. `current` is asked under the stripe's lock: a copy of
    /// a token that is declared void meanwhile is either refused here or dropped by [`Headers::clear`].
    fn put(&self, copy: CachedHeader<V>, current: impl Fn() -> u64) {
        let Some(mut cached) = self.cached.try_lock() else {
            return;
        };
        let displaced = if copy.generation == current() {
            cached.replace(copy)
        } else {
            Some(copy)
        };
        // Dropped under no lock: it may be the last owner of the token's bytes.
        drop(cached);
        drop(displaced);
    }
}
