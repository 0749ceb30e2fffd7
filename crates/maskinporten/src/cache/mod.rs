//! (identity, request) → entry: every token that is held, each under all that tells it apart.
//!
//! - The key is the whole identity: issuer, client, kind, and everything the request would send. Two
//!   requests that differ in anything never share a token. The signing key is not part of it, so that
//!   a rotated key leaves tokens as they are.
//! - A layer finds its entry once, when it is built. Who asks by hand looks it up each time, in a map
//!   whose shards are locked apart.
//! - The map is bounded. Beyond its capacity spent tokens go first, then those that were looked up
//!   least recently; never one that a layer or a caller holds, or that is being fetched.

mod attempts;
mod backoff;
mod breaker;
mod by_id;
mod entry;
mod flight;
mod headers;
mod holders;
mod life;
mod stripe;
mod sync;
mod trail;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::clock::{AnyClock, Moment};
use crate::request::{TokenKind, TokenRequest};
use crate::source::SourceIdentity;

pub(crate) use attempts::{ATTEMPT_TIMEOUT, DEADLINE, attempts};
pub(crate) use breaker::Breaker;
pub(crate) use by_id::find;
pub(crate) use entry::{Entry, Held, Lent, Origin, Snapshot};
pub(crate) use life::{NO_TOKEN, Standing};
pub(crate) use stripe::{CachePadded, STRIPES, of_this_thread};
pub(crate) use trail::record_key;

/// All that tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) source: SourceIdentity,
    pub(crate) request: TokenRequest,
    /// The address of the exchange, its query included, for an Altinn token.
    pub(crate) exchange: Option<Arc<str>>,
}

/// How many tokens of each kind are kept where nobody says otherwise.
pub(crate) const CAPACITY: usize = 1024;

/// How many shards each kind has: so many look-ups do not meet.
const SHARDS: usize = 16;

/// Share of the capacity that is freed at once, so that a full map is not searched for each newcomer.
const FREED_SHARE: usize = 16;

/// A full map of which too few may go is searched again at most this often.
const SEARCHED_IN_VAIN_EVERY: Duration = Duration::from_secs(1);

/// A full map is reported at most this often.
const REPORTED_EVERY: Duration = Duration::from_secs(60);

/// The entries of one client, whose source and exchange are the same for all: what tells two of them
/// apart is kind and request.
pub(crate) struct Cache {
    maskinporten: Map,
    altinn: Map,
    clock: AnyClock,
    closed: AtomicBool,
}

/// The entries of one kind.
struct Map {
    // No lock is held across an await: nothing here is async.
    shards: [RwLock<HashMap<TokenRequest, Arc<Entry>>>; SHARDS],
    hasher: RandomState,
    count: AtomicUsize,
    capacity: usize,
    freeing: Mutex<Freeing>,
}

#[derive(Default)]
struct Freeing {
    reported_at: Option<Moment>,
    freed_since: usize,
    vain_until: Option<Moment>,
}

impl Cache {
    /// A cache that keeps up to `capacity` tokens of each kind, beside those that are in use.
    pub(crate) fn new(capacity: usize, clock: AnyClock) -> Self {
        Self {
            maskinporten: Map::new(capacity),
            altinn: Map::new(capacity),
            clock,
            closed: AtomicBool::new(false),
        }
    }

    /// The entry of a request; made where there is none yet.
    pub(crate) fn entry(
        &self,
        kind: TokenKind,
        request: &TokenRequest,
        make: impl FnOnce() -> Held,
    ) -> Held {
        let now = self.clock.now();
        let entries = self.of(kind);
        let entry = entries.find(request).unwrap_or_else(|| {
            // Made before the lock is taken: one entry's parent is another of this cache.
            let entry = entries.insert(request, make(), &self.closed);
            entries.free(now);
            entry
        });
        entry.touch(now);
        entry
    }

    /// The entry of a request, where there is one.
    pub(crate) fn find(&self, kind: TokenKind, request: &TokenRequest) -> Option<Held> {
        self.of(kind).find(request)
    }

    /// Every entry there is, Maskinporten's first.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all = self.maskinporten.all();
        all.extend(self.altinn.all());
        all
    }

    /// Every entry that is held: by a layer, a handle, or another entry whose token is made of this one's.
    pub(crate) fn held(&self) -> Vec<Held> {
        let all = self.all();
        let held = all.iter().filter(|entry| entry.is_held());
        held.filter_map(Held::try_new).collect()
    }

    /// Declares everything void.
    pub(crate) fn invalidate(&self) {
        // The parents first, and only then is it looked which entries are made of them: what was made of
        // an old one until now is void too.
        for entries in [&self.maskinporten, &self.altinn] {
            entries.all().iter().for_each(|entry| entry.invalidate());
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Fetches nothing any more, and waits until whatever was being fetched has ended.
    pub(crate) async fn close(&self) {
        // Seen under the lock by whoever makes a entry after this.
        self.closed.store(true, Ordering::SeqCst);
        let flights: Vec<_> = self
            .all()
            .iter()
            .filter_map(|entry| entry.close())
            .collect();
        flight::all_gone(flights).await;
    }

    /// How many entries of a kind are kept, and when the first of their tokens that are good ends.
    pub(crate) fn holds(&self, kind: TokenKind, now: Moment) -> (usize, Option<Moment>) {
        let (mut count, mut soonest) = (0, None);
        // One shard after the other, and nothing is taken out: a entry that is held for a moment looks as if
        // somebody used it.
        for shard in &self.of(kind).shards {
            let shard = shard.read();
            let ends = shard.values().filter_map(|entry| entry.good_until(now));
            soonest = ends.chain(soonest).min();
            count += shard.len();
        }
        (count, soonest)
    }

    fn of(&self, kind: TokenKind) -> &Map {
        match kind {
            TokenKind::Maskinporten => &self.maskinporten,
            TokenKind::Altinn => &self.altinn,
        }
    }
}

impl Map {
    fn new(capacity: usize) -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            capacity,
            freeing: Mutex::default(),
        }
    }

    fn shard(&self, request: &TokenRequest) -> &RwLock<HashMap<TokenRequest, Arc<Entry>>> {
        let hash = self.hasher.hash_one(request);
        &self.shards[hash as usize % SHARDS]
    }

    fn find(&self, request: &TokenRequest) -> Option<Held> {
        let shard = self.shard(request).read();
        shard.get(request).and_then(Held::try_new)
    }

    fn insert(&self, request: &TokenRequest, made: Held, closed: &AtomicBool) -> Held {
        let mut shard = self.shard(request).write();
        if let Some(entry) = shard.get(request).and_then(Held::try_new) {
            return entry;
        }
        if closed.load(Ordering::SeqCst) {
            made.close();
        }
        let retired = shard.insert(request.clone(), Arc::clone(made.entry()));
        // What was retired is dropped outside the lock.
        drop(shard);
        if retired.is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        made
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Makes room where there are more entries than there shall be.
    fn free(&self, now: Moment) {
        let excess = || {
            let count = self.count.load(Ordering::Relaxed);
            count
                .checked_sub(self.capacity)
                .filter(|excess| *excess > 0)
        };
        if excess().is_none() {
            return;
        }
        // One makes room for all who come meanwhile.
        let Some(mut freeing) = self.freeing.try_lock() else {
            return;
        };
        let Some(excess) = excess() else { return };
        if freeing.vain_until.is_some_and(|moment| now < moment) {
            return;
        }
        let mut idle = self.idle(now);
        let wanted = (excess + self.capacity / FREED_SHARE).min(idle.len());
        let mut freed = 0;
        if wanted > 0 {
            idle.select_nth_unstable_by_key(wanted - 1, |idle| (idle.is_good, idle.used_at));
            let removed = idle[..wanted].iter().filter(|idle| self.remove(idle, now));
            freed = removed.count();
        }
        freeing.freed_since += freed;
        // Where nearly all are in use, each newcomer would search them all again.
        let in_vain = freed < excess;
        freeing.vain_until = in_vain.then(|| now.after(SEARCHED_IN_VAIN_EVERY));
        let early = |at: &Moment| now < at.after(REPORTED_EVERY);
        if !freeing.reported_at.as_ref().is_some_and(early) {
            let dropped = mem::take(&mut freeing.freed_since);
            freeing.reported_at = Some(now);
            // Under no lock: a subscriber is somebody else's code.
            drop(freeing);
            tracing::warn!(
                target: "maskinporten::token",
                capacity = self.capacity,
                dropped,
                "more different tokens are asked for than are kept: raise `max_identities`, or expect \
                 some to be fetched again"
            );
        }
    }

    /// What may go.
    fn idle(&self, now: Moment) -> Vec<Idle> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| {
                let shard = shard.read();
                let is_idle = |entry: &Entry| !entry.is_held() && !entry.is_fetching(now);
                let idle = shard.iter().filter(|(_, entry)| is_idle(entry));
                let idle = idle.map(|(request, entry)| Idle {
                    request: request.clone(),
                    entry: Arc::clone(entry),
                    is_good: entry.current(now).is_some(),
                    used_at: entry.used_at(),
                });
                idle.collect::<Vec<_>>()
            })
            .collect()
    }

    /// Retires and removes an entry, unless it is in use by now.
    fn remove(&self, idle: &Idle, now: Moment) -> bool {
        if !idle.entry.retire(now) {
            return false;
        }
        let mut shard = self.shard(&idle.request).write();
        let known = shard.get(&idle.request);
        let is_there = known.is_some_and(|entry| Arc::ptr_eq(entry, &idle.entry));
        let removed = is_there.then(|| shard.remove(&idle.request)).flatten();
        drop(shard);
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }
}

/// An entry that may go.
struct Idle {
    request: TokenRequest,
    entry: Arc<Entry>,
    is_good: bool,
    used_at: u64,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |entries: &Map| entries.count.load(Ordering::Relaxed);
        f.debug_struct("Cache")
            .field("maskinporten", &count(&self.maskinporten))
            .field("altinn", &count(&self.altinn))
            .finish_non_exhaustive()
    }
}
