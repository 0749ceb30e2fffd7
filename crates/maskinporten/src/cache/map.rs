//! The map of one kind of tokens: sharded, bounded, with scan-resistant eviction.
//!
//! - A look-up reads one shard and writes nothing that a look-up of another identity reads. Once a second, where
//!   there are entries in addition to the capacity, one evicts those that are no longer in use.
//! - Keys are compared whole. Two requests that only hash alike never share an entry.
//! - An eviction retires the entry first, then removes it. A look-up in between makes a new one.
//!
//! Locks, none of them held across an await: that of the policy comes before an entry's own. A shard's is
//! held together with no other but the counts of an entry. Under none of them an entry is dropped, a line
//! logged, or foreign code called.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::entry::{Entry, Held, Retired};
use super::eviction::{Entries, Eviction, State};
use super::sweep::Sweeper;
use crate::clock::Moment;
use crate::request::TokenRequest;

#[cfg(test)]
mod tests;

/// How many shards there are: so many look-ups do not meet.
const SHARDS: usize = 16;

/// Evictions of good tokens are logged at most this often.
const REPORTED_EVERY: Duration = Duration::from_secs(60);

/// Look-ups let the map shrink at most this often, so that they seldom write what others read.
const SHRUNK_EVERY: Duration = Duration::from_secs(1);

/// The entries of one kind. `S` hashes their requests.
pub(super) struct Map<S = RandomState> {
    shards: [RwLock<Shard<S>>; SHARDS],
    hasher: S,
    capacity: usize,
    // Taken for insertions and evictions only. Each takes constant time under it.
    policy: Mutex<Eviction<Arc<Entry>>>,
    /// Whether there are entries in addition to the capacity, which were in use when they were to be evicted.
    has_parked: AtomicBool,
    /// When a look-up last let it shrink, in nanoseconds.
    shrunk_at: AtomicU64,
    reports: Mutex<Reports>,
    pub(super) sweeper: Sweeper,
}

type Shard<S> = HashMap<TokenRequest, Arc<Entry>, S>;

/// What is to be said of good tokens that were evicted.
#[derive(Default)]
struct Reports {
    reported_at: Option<Moment>,
    unreported: u64,
}

impl<S: BuildHasher + Clone> Map<S> {
    /// Keeps up to `capacity` entries, and those in use in addition.
    pub(super) fn new(capacity: usize, hasher: S) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::with_hasher(hasher.clone()))),
            hasher,
            capacity,
            policy: Mutex::new(Eviction::new(capacity)),
            has_parked: AtomicBool::new(false),
            shrunk_at: AtomicU64::new(0),
            reports: Mutex::default(),
            sweeper: Sweeper::new(capacity),
        }
    }

    pub(super) fn find(&self, request: &TokenRequest) -> Option<Held> {
        self.find_hashed(self.hasher.hash_one(request), request)
    }

    /// The entry of a request; made where there is none, and closed then where nothing is to be fetched any
    /// more.
    pub(super) fn find_or_insert(
        &self,
        request: &TokenRequest,
        make: impl FnOnce() -> Held,
        closed: &AtomicBool,
        now: Moment,
    ) -> Held {
        let hash = self.hasher.hash_one(request);
        if let Some(found) = self.find_hashed(hash, request) {
            self.shrink_once_a_second(now);
            return found;
        }
        // Made before a lock is taken: the parent of one entry is another one.
        let made = make();
        let mut shard = self.shard(hash).write();
        if let Some(found) = shard.get(request).and_then(Held::try_new) {
            drop(shard);
            return found;
        }
        // Seen under the lock, so that a shutdown closes it or it closes itself.
        if closed.load(Ordering::SeqCst) {
            made.close();
        }
        let retired = shard.insert(request.clone(), Arc::clone(made.entry()));
        drop(shard);
        drop(retired);
        let entry = Arc::clone(made.entry());
        self.evict_by(now, |policy, evicting| policy.insert(entry, hash, evicting));
        made
    }

    /// Evicts some of the entries that were in use when it was their turn, and are not any more.
    pub(super) fn shrink(&self, now: Moment) {
        if self.has_parked.load(Ordering::Relaxed) {
            self.evict_by(now, Eviction::resume);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all = Vec::new();
        self.each_shard(|shard| all.extend(shard.values().cloned()));
        all
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Looks at one shard after the other.
    pub(super) fn each_shard(&self, mut look: impl FnMut(&Shard<S>)) {
        self.shards.iter().for_each(|shard| look(&shard.read()));
    }

    fn find_hashed(&self, hash: u64, request: &TokenRequest) -> Option<Held> {
        let shard = self.shard(hash).read();
        let found = shard.get(request).and_then(Held::try_new)?;
        drop(shard);
        found.visit();
        Some(found)
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard<S>> {
        // Not by the lowest bits, by which the map in the shard finds its buckets.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn shrink_once_a_second(&self, now: Moment) {
        if !self.has_parked.load(Ordering::Relaxed) {
            return;
        }
        let last = self.shrunk_at.load(Ordering::Relaxed);
        if now < Moment::from_nanoseconds(last).after(SHRUNK_EVERY) {
            return;
        }
        let at = now.as_nanoseconds();
        let swapped =
            self.shrunk_at
                .compare_exchange(last, at, Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_ok() {
            self.shrink(now);
        }
    }

    /// Has the policy decide, and removes what it evicts.
    fn evict_by(&self, now: Moment, decide: impl FnOnce(&mut Eviction<Arc<Entry>>, &mut Evicting)) {
        let mut evicting = Evicting {
            now,
            evicted: Vec::new(),
        };
        let mut policy = self.policy.lock();
        decide(&mut policy, &mut evicting);
        self.has_parked
            .store(policy.has_parked(), Ordering::Relaxed);
        drop(policy);
        let mut good = 0;
        let evicted = evicting.evicted.len();
        for (entry, retired) in evicting.evicted {
            self.remove(&entry);
            if retired.was_good() {
                entry.tally().evicted();
                good += 1;
            }
        }
        if evicted > 0 {
            self.sweeper.evicted(evicted);
        }
        if good > 0 {
            self.report(good, now);
        }
    }

    /// Removes a retired entry, unless another has taken its place.
    fn remove(&self, retired: &Arc<Entry>) {
        let request = retired.request();
        let mut shard = self.shard(self.hasher.hash_one(request)).write();
        let is_there = shard
            .get(request)
            .is_some_and(|entry| Arc::ptr_eq(entry, retired));
        let removed = is_there.then(|| shard.remove_entry(request));
        drop(shard);
        drop(removed);
    }

    fn report(&self, good: u64, now: Moment) {
        let mut reports = self.reports.lock();
        reports.unreported += good;
        let is_early = |at: Moment| now < at.after(REPORTED_EVERY);
        if reports.reported_at.is_some_and(is_early) {
            return;
        }
        reports.reported_at = Some(now);
        let evicted = mem::take(&mut reports.unreported);
        drop(reports);
        tracing::warn!(
            target: "maskinporten::token",
            capacity = self.capacity,
            evicted,
            "tokens that were still good were evicted, and are fetched again: more identities are in use \
             than are kept; raise `max_identities`"
        );
    }
}

/// What the policy asks of entries, at one moment.
struct Evicting {
    now: Moment,
    /// Dropped when no lock is held.
    evicted: Vec<(Arc<Entry>, Retired)>,
}

impl Entries<Arc<Entry>> for Evicting {
    fn state(&self, entry: &Arc<Entry>) -> State {
        entry.state(self.now)
    }

    fn take_visited(&self, entry: &Arc<Entry>) -> bool {
        entry.take_visited()
    }

    fn evict(&mut self, entry: &Arc<Entry>) -> bool {
        let retired = entry.retire(self.now);
        let is_retired = retired.is_some();
        self.evicted
            .extend(retired.map(|retired| (Arc::clone(entry), retired)));
        is_retired
    }
}
