//! Cells: where tokens that were there are counted, each by one view.
//!
//! - A cell is written by whoever holds its [`Counter`], with a load and a store: one locked addition
//!   would cost more than all else that is done for a cached token.
//! - It has cache lines of its own, so nothing is written that another thread reads until the cells are
//!   summed up.
//! - A counter that is dropped gives its cell back with what it has counted. So the sum is exact and only
//!   grows, and there are never more cells than there were counters at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::tally::{Lookup, Tally};

#[derive(Default)]
#[repr(align(128))]
struct Cell {
    hit: AtomicU64,
    stale: AtomicU64,
}

/// A cell of one's own.
pub(crate) struct Counter {
    cell: Arc<Cell>,
    tally: Arc<Tally>,
}

/// All cells there are, and those that nobody holds.
#[derive(Default)]
pub(super) struct Cells {
    // Taken for a push or a pop, and while the cells are summed up; by functions that are not async.
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    all: Vec<Arc<Cell>>,
    free: Vec<Arc<Cell>>,
}

impl Counter {
    pub(crate) fn of(tally: &Arc<Tally>) -> Self {
        Self {
            cell: tally.cells().take(),
            tally: Arc::clone(tally),
        }
    }

    /// Counts a token that was there, as stale where it is to be renewed.
    #[inline]
    pub(crate) fn count(&mut self, result: Lookup) {
        match result {
            Lookup::Stale => one_more(&self.cell.stale),
            _ => one_more(&self.cell.hit),
        }
    }
}

/// Adds without a lock's prefix: `&mut Counter` shows that nobody else writes, and the lock of the cells
/// orders those who write one after the other.
#[inline]
fn one_more(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.tally.cells().give_back(Arc::clone(&self.cell));
    }
}

impl Cells {
    /// Hits and stale ones.
    pub(super) fn sum(&self) -> (u64, u64) {
        let book = self.book.lock();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let cells = book.all.iter();
        cells.fold((0, 0), |(hit, stale), cell| {
            (hit + read(&cell.hit), stale + read(&cell.stale))
        })
    }

    fn take(&self) -> Arc<Cell> {
        let mut book = self.book.lock();
        if let Some(cell) = book.free.pop() {
            return cell;
        }
        let cell = Arc::<Cell>::default();
        book.all.push(Arc::clone(&cell));
        cell
    }

    fn give_back(&self, cell: Arc<Cell>) {
        self.book.lock().free.push(cell);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.book.lock().all.len()
    }
}
