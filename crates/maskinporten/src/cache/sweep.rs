//! [`Sweeper`]: entries that were evicted leave the tables of layers too, a table at a time.
//!
//! A row keeps the memory of an evicted entry, and a thread that has nothing more to do never looks at its
//! table again. So evictions pay for it: by the time that a quarter of the capacity has been evicted, each table
//! of each layer has been swept once. An eviction sweeps two tables at most, and waits for no table's lock.

use std::sync::Weak;

use parking_lot::Mutex;

use super::stripe::STRIPES;

/// The share of the capacity whose evictions pay for one sweep of every table.
const SWEPT_EACH: usize = 4;

/// How many tables one eviction sweeps at most.
const AT_ONCE: usize = 2;

/// The tables of one layer, one for each stripe of threads.
pub(crate) trait ContextTables: Send + Sync {
    /// Takes the evicted entries out of a stripe's table. False if the stripe has none.
    fn sweep(&self, stripe: usize) -> bool;
}

/// Which table is swept next, and when.
pub(super) struct Sweeper {
    share: usize,
    // Taken for a few reads and writes; no table is swept under it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    layers: Vec<Weak<dyn ContextTables>>,
    /// Counted in tables, all layers in turn.
    next: usize,
    /// What evictions have paid, in tables times evictions.
    paid: usize,
}

impl Sweeper {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            share: (capacity / SWEPT_EACH).max(STRIPES),
            state: Mutex::default(),
        }
    }

    /// Has the tables of a layer swept from now on, for as long as it lives.
    pub(super) fn note(&self, tables: Weak<dyn ContextTables>) {
        let mut state = self.state.lock();
        // A weak reference keeps memory too.
        state.layers.retain(|layer| layer.strong_count() > 0);
        state.layers.push(tables);
    }

    /// Sweeps what so many evictions pay for. Called under no lock.
    pub(super) fn evicted(&self, count: usize) {
        let due = {
            let mut state = self.state.lock();
            let tables = state.layers.len() * STRIPES;
            state.paid = state.paid.saturating_add(count.saturating_mul(tables));
            let due = (state.paid / self.share).min(tables);
            state.paid -= (due * self.share).min(state.paid);
            due
        };
        // Stripes without a table cost next to nothing.
        let mut swept = 0;
        for _ in 0..due {
            let Some((layer, stripe)) = self.next() else {
                return;
            };
            let layer = layer.upgrade();
            swept += usize::from(layer.is_some_and(|layer| layer.sweep(stripe)));
            if swept == AT_ONCE {
                return;
            }
        }
    }

    fn next(&self) -> Option<(Weak<dyn ContextTables>, usize)> {
        let mut state = self.state.lock();
        let tables = state.layers.len() * STRIPES;
        let next = state.next.checked_rem(tables)?;
        state.next = next + 1;
        let layer = state.layers.get(next / STRIPES)?;
        Some((Weak::clone(layer), next % STRIPES))
    }
}
