//! [`ContextTable`]: a bounded set-associative table from a request's context to its entry in the cache.
//!
//! - Each stripe of a layer's threads has one, so that a request with a context on a cached token takes no lock
//!   that another stripe takes, allocates nothing, and writes to no cache line that another stripe reads.
//! - A row is found by the context's prepared hash, and used only if the contexts are equal in full.
//! - A row keeps an entry's memory without holding it in the map. An entry that was evicted is marked retired and
//!   lends nothing; its row is overwritten, or [swept out](ContextTable::sweep) when more have been evicted. No
//!   token is in here, only the way to one.
//! - The table grows with use to 32 768 rows (16 bytes each, and about 200 for each row in use); beyond that a
//!   newcomer replaces a row of its set. A context without a row costs a look-up in the map, nothing else.

use std::mem;

use crate::cache::EntryShard;
use crate::request::TokenContext;

/// How many rows a set has: their hashes are one cache line.
const WAYS: usize = 8;

/// How many sets there are at first and at most.
const SETS: usize = 8;
const SETS_AT_MOST: usize = 4_096;

/// The table grows for a newcomer whose sets are full only if one row in so many is in use: else it is chance.
const GROWS_FROM: usize = 2;

pub(super) struct ContextTable {
    sets: Box<[Set]>,
    used: usize,
    /// Which row of a full set is replaced next.
    next: usize,
}

/// The rows of one set. Hashes and pointers are two cache lines that processors fetch together.
#[derive(Default)]
#[repr(align(128))]
struct Set {
    /// The hash of each row that is in use; no hash is 0.
    hashes: [u64; WAYS],
    rows: [Option<Box<Row>>; WAYS],
}

/// Two cache lines that processors fetch together.
#[repr(align(128))]
pub(super) struct Row {
    context: TokenContext,
    entry: EntryShard,
}

impl ContextTable {
    /// Without rows: nothing is allocated before the first context.
    pub(super) fn new() -> Self {
        Self::with_sets(0)
    }

    fn with_sets(sets: usize) -> Self {
        let mut rows = Vec::new();
        rows.resize_with(sets, Set::default);
        Self {
            sets: rows.into_boxed_slice(),
            used: 0,
            next: 0,
        }
    }

    /// The entry of a context that was put here.
    #[inline]
    pub(super) fn find(&self, context: &TokenContext) -> Option<&EntryShard> {
        let hash = hash_of(context);
        let [first, second] = self.places_of(hash)?;
        let found = self.sets[first].find(hash, context);
        found.or_else(|| self.sets[second].find(hash, context))
    }

    /// Notes the entry of a context.
    pub(super) fn put(&mut self, context: &TokenContext, entry: EntryShard) {
        let hash = hash_of(context);
        let mut row = Box::new(Row {
            context: context.clone(),
            entry,
        });
        loop {
            row = match self.place(hash, row) {
                Ok(()) => return,
                Err(row) => row,
            };
            let sets = self.sets.len();
            let may_grow = sets < SETS_AT_MOST && self.used * GROWS_FROM >= self.rows();
            if sets == 0 || may_grow {
                self.rebuild(if sets == 0 { SETS } else { sets * 2 });
            } else if !self.move_another(hash) {
                self.displace(hash, row);
                return;
            }
        }
    }

    /// Takes out the entries that were evicted, to be dropped under no lock.
    pub(super) fn sweep(&mut self) -> Vec<Row> {
        let mut swept = Vec::new();
        for place in self.sets.iter_mut().flat_map(|set| &mut set.rows) {
            let row = place.take_if(|row| row.entry.is_retired());
            swept.extend(row.map(|row| *row));
        }
        self.used -= swept.len();
        swept
    }

    fn rows(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Places a row without displacing one that is of use: in its own place, in an empty one, or in that of an
    /// entry that was retired. Gives it back if both of its sets are full.
    fn place(&mut self, hash: u64, row: Box<Row>) -> Result<(), Box<Row>> {
        let Some(sets) = self.places_of(hash) else {
            return Err(row);
        };
        let is_same = |found: &Row| found.context == row.context;
        let is_retired = |found: &Row| found.entry.is_retired();
        let place_in = |set: &Set, is_its: &dyn Fn(&Row) -> bool| {
            let mut rows = set.rows.iter();
            rows.position(|found| found.as_deref().is_some_and(is_its))
        };
        let its_own = sets.map(|set| place_in(&self.sets[set], &is_same));
        let empty = sets.map(|set| self.sets[set].rows.iter().position(Option::is_none));
        let retired = sets.map(|set| place_in(&self.sets[set], &is_retired));
        let found = [its_own, empty, retired].into_iter().find_map(|places| {
            let places = sets.into_iter().zip(places);
            places
                .into_iter()
                .find_map(|(set, place)| Some((set, place?)))
        });
        match found {
            Some((set, at)) => {
                self.set_row(set, at, hash, row);
                Ok(())
            }
            None => Err(row),
        }
    }

    /// Moves a row of a full set to its other set, as a cuckoo hash table does. False if those are full too.
    fn move_another(&mut self, hash: u64) -> bool {
        let Some([full, _]) = self.places_of(hash) else {
            return false;
        };
        for at in 0..WAYS {
            let moved = self.sets[full].hashes[at];
            let Some([one, other]) = self.places_of(moved) else {
                return false;
            };
            let other = if one == full { other } else { one };
            let empty = self.sets[other].rows.iter().position(Option::is_none);
            if let Some(empty) = empty.filter(|_| other != full) {
                let row = self.sets[full].rows[at].take();
                self.sets[other].rows[empty] = row;
                self.sets[other].hashes[empty] = moved;
                return true;
            }
        }
        false
    }

    /// Places a row in the place of another one.
    fn displace(&mut self, hash: u64, row: Box<Row>) {
        if let Some([set, _]) = self.places_of(hash) {
            self.next = (self.next + 1) % WAYS;
            self.set_row(set, self.next, hash, row);
        }
    }

    fn set_row(&mut self, set: usize, at: usize, hash: u64, row: Box<Row>) {
        let set = &mut self.sets[set];
        set.hashes[at] = hash;
        if set.rows[at].replace(row).is_none() {
            self.used += 1;
        }
    }

    /// Moves the rows of entries that are in the map still to a table of so many sets. A row that finds both of
    /// its sets full is dropped.
    fn rebuild(&mut self, sets: usize) {
        let old = mem::replace(self, Self::with_sets(sets));
        for set in old.sets {
            for (hash, row) in set.hashes.into_iter().zip(set.rows) {
                if let Some(row) = row.filter(|row| !row.entry.is_retired()) {
                    let _full = self.place(hash, row);
                }
            }
        }
    }

    /// The two sets that a row may be in.
    #[inline]
    fn places_of(&self, hash: u64) -> Option<[usize; 2]> {
        // A power of two, or none.
        let mask = self.sets.len().checked_sub(1)?;
        Some([hash as usize & mask, (hash >> 32) as usize & mask])
    }
}

impl Set {
    #[inline]
    fn find(&self, hash: u64, context: &TokenContext) -> Option<&EntryShard> {
        for (at, found) in self.hashes.iter().enumerate() {
            if *found == hash
                && let Some(row) = &self.rows[at]
                && row.context == *context
            {
                return Some(&row.entry);
            }
        }
        None
    }
}

#[inline]
fn hash_of(context: &TokenContext) -> u64 {
    // The low bits choose the set; the highest marks a row that is in use.
    context.prepared_hash() | 1 << 63
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::cache::Held;
    use crate::provider::TokenHandle;
    use crate::source::FixedToken;

    fn entry() -> Held {
        let source = FixedToken::new("token", Duration::from_secs(60)).unwrap();
        TokenHandle::from_source(source).unwrap().into_parts().0
    }

    /// One of many contexts; every few have a hash in common.
    fn context(number: u16, hashes: u64) -> TokenContext {
        let context = TokenContext::new().resource(format!("urn:{number}"));
        context.unwrap().with_hash(u64::from(number) % hashes)
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Put(u16),
        Find(u16),
        Retire(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let number = 0..200_u16;
        let step = prop_oneof![
            3 => number.clone().prop_map(Step::Put),
            3 => number.clone().prop_map(Step::Find),
            1 => number.prop_map(Step::Retire),
        ];
        proptest::collection::vec(step, 1..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_context_finds_the_entry_that_was_put_for_it_last_or_none(
            steps in steps(),
            hashes in prop_oneof![Just(1_u64), Just(7), Just(u64::MAX)],
        ) {
            let mut table = ContextTable::new();
            let mut model: HashMap<u16, Option<Held>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Put(number) => {
                        let entry = entry();
                        table.put(&context(number, hashes), entry.entry().shard(0));
                        let found = table.find(&context(number, hashes));
                        prop_assert!(found.is_some_and(|found| found.id() == entry.id()));
                        model.insert(number, Some(entry));
                    }
                    Step::Find(number) => {
                        let found = table.find(&context(number, hashes));
                        if let Some(found) = found.filter(|found| !found.is_retired()) {
                            let put = model.get(&number).and_then(Option::as_ref);
                            prop_assert!(put.is_some_and(|put| put.id() == found.id()));
                        }
                    }
                    Step::Retire(number) => {
                        if let Some(held) = model.insert(number, None).flatten() {
                            let entry = Arc::clone(held.entry());
                            drop(held);
                            prop_assert!(entry.retire(entry.clock().now()).is_some());
                        }
                    }
                }
                let used = table.sets.iter().flat_map(|set| &set.rows).flatten().count();
                prop_assert_eq!(used, table.used);
                prop_assert!(table.sets.len() <= SETS_AT_MOST);
            }
        }
    }

    #[test]
    fn every_one_of_thousands_of_contexts_keeps_its_row() {
        let entry = entry();
        // Also numbers that nearly fill half of a table, before it may grow.
        for count in [64, 500, 1_000, 4_000, 5_000, 8_000, crate::cache::CAPACITY] {
            let context = |number| TokenContext::new().resource(format!("urn:{number}"));
            let contexts = (0..count).map(context).collect::<Result<Vec<_>, _>>();
            let contexts = contexts.unwrap();
            let mut table = ContextTable::new();
            let mut missing = 0;
            for _ in 0..5 {
                missing = 0;
                for context in &contexts {
                    if table.find(context).is_none() {
                        table.put(context, entry.entry().shard(0));
                        missing += 1;
                    }
                }
            }
            assert_eq!(missing, 0, "in the fifth round, of {count}");
            assert!(table.rows() <= 8 * count.max(WAYS * SETS), "{count}");
        }
    }

    #[test]
    fn a_row_is_two_cache_lines() {
        assert_eq!(size_of::<Row>(), 128);
    }

    #[test]
    fn rows_of_retired_entries_are_swept_out_before_the_table_grows() {
        let mut table = ContextTable::new();
        for number in 0..10_000 {
            let held = entry();
            table.put(&context(number, u64::MAX), held.entry().shard(0));
            let entry = Arc::clone(held.entry());
            drop(held);
            assert!(entry.retire(entry.clock().now()).is_some());
        }
        assert!(table.rows() <= 128, "{}", table.rows());
    }
}
