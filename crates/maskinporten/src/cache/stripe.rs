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
    number() % STRIPES
}

/// Whether no other thread is ever given this one's number: it is one of the first. What only those of a stripe
/// write, one thread writes.
#[inline]
pub(crate) fn is_first_of_its_stripe() -> bool {
    number() < STRIPES
}

/// Which thread asks: no two have one number, not even one after the other.
#[inline]
pub(super) fn number() -> usize {
    const NONE: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    let number = NUMBER.get();
    if number != NONE {
        return number;
    }
    let dealt = deal();
    NUMBER.set(dealt);
    dealt
}

#[cold]
fn deal() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
