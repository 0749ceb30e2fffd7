//! A few places instead of one, so that threads do not count up and down in the same one.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places there are. Threads beyond this share one in turn.
pub(crate) const STRIPES: usize = 16;

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
