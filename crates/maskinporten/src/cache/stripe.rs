//! Stripes: as many places as threads usually run at once, so that two threads seldom write to one cache line.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many stripes there are. Threads beyond this share them in turn.
pub(crate) const STRIPES: usize = 16;

/// A value with cache lines to itself: no false sharing with its neighbours, nor with the line that processors
/// fetch together with its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> Deref for CachePadded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The calling thread's stripe: threads are dealt out in turn, when they first ask.
#[inline]
pub(crate) fn of_this_thread() -> usize {
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(STRIPES) };
    }
    let stripe = STRIPE.get();
    if stripe < STRIPES {
        return stripe;
    }
    let dealt = deal();
    STRIPE.set(dealt);
    dealt
}

#[cold]
fn deal() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
}
