//! A few copies instead of one, so that threads do not count up and down in the same place.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many copies there are at most. Threads beyond this share one in turn.
pub(crate) const STRIPES: usize = 16;

/// The calling thread's stripe: threads are dealt out in turn, when they first ask.
#[inline]
pub(crate) fn of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.with(|stripe| *stripe)
}

/// One value for each stripe, made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Striped<T>(OnceLock<Box<[OnceLock<T>; STRIPES]>>);

impl<T> Striped<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let stripes = self.0.get_or_init(Box::default);
        stripes[of_this_thread()].get_or_init(make)
    }
}
