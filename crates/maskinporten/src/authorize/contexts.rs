//! [`ContextTable`]: a bounded set-associative table from a request's context to its entry in the cache.
//!
//! - Each stripe of a layer's threads has one, so that a request with a context on a cached token takes no lock
//!   that another stripe takes, allocates nothing, and writes to no cache line that another stripe reads.
//! - A row is found by the context's prepared hash, and used only if the contexts are equal in full.
//! - A row holds an entry without holding it in the map: an entry that was evicted is marked retired, lends
//!   nothing, and its row is overwritten. No token is in here, only the way to one.
//! - The table grows with use to 32 768 rows (16 bytes each, and about 200 for each row in use); beyond that a
//!   newcomer replaces a row of its set. A context without a row costs a look-up in the map, nothing else.

use std::mem;
use std::sync::Arc;

use crate::cache::Entry;
use crate::request::TokenContext;

/// How many rows a hash may be in: their hashes are one cache line.
const WAYS: usize = 8;

/// How many sets there are at first and at most.
const SETS: usize = 8;
const SETS_AT_MOST: usize = 4_096;

/// The table grows for a newcomer to a full set only if at least 3 of 8 rows are in use: else it is chance.
const GROWS_FROM: usize = 3;

pub(super) struct ContextTable {
    /// The hash of each row; no hash is 0.
    hashes: Box<[u64]>,
    rows: Box<[Option<Box<Row>>]>,
    used: usize,
    /// Which row of a full set is replaced next.
    next: usize,
    /// How many rows were put in since retired entries were swept out.
    put: usize,
}

struct Row {
    context: TokenContext,
    entry: Arc<Entry>,
}

impl ContextTable {
    /// Without rows: nothing is allocated before the first context.
    pub(super) fn new() -> Self {
        Self::with_sets(0)
    }

    fn with_sets(sets: usize) -> Self {
        let mut rows = Vec::new();
        rows.resize_with(sets * WAYS, || None);
        Self {
            hashes: vec![0; sets * WAYS].into_boxed_slice(),
            rows: rows.into_boxed_slice(),
            used: 0,
            next: 0,
            put: 0,
        }
    }

    /// The entry of a context that was put here.
    #[inline]
    pub(super) fn find(&self, context: &TokenContext) -> Option<&Arc<Entry>> {
        let hash = hash_of(context);
        let first = self.first_of(hash)?;
        let set = self.hashes.get(first..first + WAYS)?;
        for (at, found) in set.iter().enumerate() {
            if *found == hash
                && let Some(row) = &self.rows[first + at]
                && row.context == *context
            {
                return Some(&row.entry);
            }
        }
        None
    }

    /// Notes the entry of a context.
    pub(super) fn put(&mut self, context: &TokenContext, entry: &Arc<Entry>) {
        if self.put >= self.hashes.len() {
            self.rebuild(self.hashes.len() / WAYS);
        }
        self.put += 1;
        let hash = hash_of(context);
        let row = Row {
            context: context.clone(),
            entry: Arc::clone(entry),
        };
        let at = loop {
            if let Some(at) = self.place_for(hash, context) {
                break at;
            }
            let sets = self.hashes.len() / WAYS;
            let grows = sets < SETS_AT_MOST && self.used * 8 >= self.hashes.len() * GROWS_FROM;
            if !grows {
                self.next = (self.next + 1) % WAYS;
                break self.first_of(hash).unwrap_or_default() + self.next;
            }
            self.rebuild(if sets == 0 { SETS } else { sets * 2 });
        };
        self.place(at, hash, Box::new(row));
    }

    /// Where a row may go without displacing one that is of use: its own place, an empty one, or that of an
    /// entry that was retired.
    fn place_for(&self, hash: u64, context: &TokenContext) -> Option<usize> {
        let first = self.first_of(hash)?;
        let set = first..first + WAYS;
        let is_same = |row: &Row| row.context == *context;
        let is_of =
            |at: usize, test: &dyn Fn(&Row) -> bool| self.rows[at].as_deref().is_some_and(test);
        let mut places = set.clone();
        let same = places.find(|at| self.hashes[*at] == hash && is_of(*at, &is_same));
        let free = |at: &usize| {
            self.rows[*at].is_none() || is_of(*at, &|row: &Row| row.entry.is_retired())
        };
        same.or_else(|| set.clone().find(free))
    }

    fn place(&mut self, at: usize, hash: u64, row: Box<Row>) {
        self.hashes[at] = hash;
        if self.rows[at].replace(row).is_none() {
            self.used += 1;
        }
    }

    /// Moves the rows of entries that are in the map still to a table of so many sets. A row that finds its
    /// set full is dropped.
    fn rebuild(&mut self, sets: usize) {
        let old = mem::replace(self, Self::with_sets(sets));
        for (hash, row) in old.hashes.into_iter().zip(old.rows) {
            let Some(row) = row.filter(|row| !row.entry.is_retired()) else {
                continue;
            };
            if let Some(at) = self.place_for(hash, &row.context) {
                self.place(at, hash, row);
            }
        }
    }

    #[inline]
    fn first_of(&self, hash: u64) -> Option<usize> {
        let sets = self.hashes.len() / WAYS;
        // A power of two, or none.
        let mask = sets.checked_sub(1)?;
        Some((hash as usize & mask) * WAYS)
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
                        table.put(&context(number, hashes), entry.entry());
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
                let used = table.rows.iter().flatten().count();
                prop_assert_eq!(used, table.used);
                prop_assert!(table.rows.len() <= SETS_AT_MOST * WAYS);
            }
        }
    }

    #[test]
    fn nearly_every_one_of_thousands_of_contexts_keeps_its_row() {
        let entry = entry();
        let contexts: Vec<_> = (0..5_000)
            .map(|number| {
                TokenContext::new()
                    .resource(format!("urn:{number}"))
                    .unwrap()
            })
            .collect();
        let mut table = ContextTable::new();
        for context in contexts.iter().chain(&contexts) {
            if table.find(context).is_none() {
                table.put(context, entry.entry());
            }
        }

        let found = contexts
            .iter()
            .filter(|context| table.find(context).is_some());
        assert!(found.count() >= 4_900);
        assert!(table.rows.len() <= 32_768);
    }

    #[test]
    fn rows_of_retired_entries_are_swept_out_before_the_table_grows() {
        let mut table = ContextTable::new();
        for number in 0..10_000 {
            let held = entry();
            table.put(&context(number, u64::MAX), held.entry());
            let entry = Arc::clone(held.entry());
            drop(held);
            assert!(entry.retire(entry.clock().now()).is_some());
        }
        assert!(table.rows.len() <= 128, "{}", table.rows.len());
    }
}
