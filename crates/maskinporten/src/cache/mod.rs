//! The token cache: (kind, request) → entry, for one client.
//!
//! - The key is the whole identity: issuer, client, kind, and everything that the request sends. Two
//!   requests that differ in anything never share a token. The signing key is not part of it, so that a
//!   rotated key leaves tokens as they are.
//! - A layer finds its entry once, when it is built. Who asks by hand looks it up each time.
//! - The map of each kind is bounded, and its eviction resists scans ([`eviction`]). What a layer or a
//!   caller holds, or is being fetched, is never evicted.

mod backoff;
mod by_id;
mod entry;
mod eviction;
mod fetch;
mod headers;
mod holders;
mod limiter;
mod map;
mod stripe;
mod sweep;
mod sync;
mod trail;
mod window;

use std::collections::HashSet;
use std::fmt;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::clock::{AnyClock, Moment};
use crate::request::{TokenKind, TokenRequest};
use crate::source::SourceIdentity;

use map::Map;

pub(crate) use by_id::find;
use entry::state;
pub(crate) use entry::state::{NO_TOKEN, Standing};
pub(crate) use entry::{Entry, EntryShard, Held, Lent, Origin, Snapshot, closed};
pub(crate) use fetch::Fetching;
pub(crate) use stripe::{CachePadded, STRIPES, is_first_of_its_stripe, of_this_thread};
pub(crate) use sweep::ContextTables;
pub(crate) use sync::TryLock;
pub(crate) use trail::record_key;

/// All that tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) source: SourceIdentity,
    pub(crate) request: TokenRequest,
    /// The address of the exchange, its query included, for an Altinn token.
    pub(crate) exchange: Option<Arc<str>>,
}

/// How many tokens of each kind are kept by default: those of a supplier with thousands of customers.
///
/// One takes about 2 kB without the token's own bytes, and half a kilobyte for each further thread that uses it: in a
/// service of four threads both kinds take 70 MB and the tokens when they are full.
pub(crate) const CAPACITY: usize = 10_000;

/// The entries of one client. Source and exchange are the same for all, so kind and request identify one.
pub(crate) struct Cache {
    maskinporten: Map,
    altinn: Map,
    clock: AnyClock,
    closed: AtomicBool,
}

impl Cache {
    /// A cache that keeps up to `capacity` entries of each kind, and those in use in addition.
    pub(crate) fn new(capacity: usize, clock: AnyClock) -> Self {
        let map = || Map::new(capacity, RandomState::new());
        Self {
            maskinporten: map(),
            altinn: map(),
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
        // Read before a lock is taken: a clock is foreign code.
        let now = self.clock.now();
        self.of(kind)
            .find_or_insert(request, make, &self.closed, now)
    }

    /// The entry of a request, where there is one.
    pub(crate) fn find(&self, kind: TokenKind, request: &TokenRequest) -> Option<Held> {
        self.of(kind).find(request)
    }

    /// Has a layer's tables of this kind's entries swept of those that are evicted.
    pub(crate) fn note_tables(&self, kind: TokenKind, tables: Weak<dyn ContextTables>) {
        self.of(kind).sweeper.note(tables);
    }

    /// Brings it back towards its capacity, by a bounded step.
    pub(crate) fn shrink(&self) {
        let now = self.clock.now();
        // An Altinn entry that is evicted lets go of the Maskinporten entry that it is made of.
        self.altinn.shrink(now);
        self.maskinporten.shrink(now);
    }

    /// Every entry there is, Maskinporten's first.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all = self.maskinporten.all();
        all.extend(self.altinn.all());
        all
    }

    /// Every entry that is held for its own sake: by a layer, a handle or a caller who waits, and not only by the
    /// entry whose token is made of this one's.
    pub(crate) fn held(&self) -> Vec<Held> {
        let altinn = self.altinn.all();
        let parents: HashSet<u64> = altinn
            .iter()
            .filter_map(|entry| entry.parent_id())
            .collect();
        let mut entries = self.maskinporten.all();
        // At most one entry is made of each: both have the same request.
        entries.retain(|entry| entry.holders() > u64::from(parents.contains(&entry.id())));
        entries.extend(altinn.into_iter().filter(|entry| entry.holders() > 0));
        entries.iter().filter_map(Held::try_new).collect()
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

    /// Fetches nothing any more, and waits until what was being fetched has ended.
    pub(crate) async fn close(&self) {
        // Seen under a shard's lock by who makes an entry after this.
        self.closed.store(true, Ordering::SeqCst);
        let flights: Vec<_> = self
            .all()
            .iter()
            .filter_map(|entry| entry.close())
            .collect();
        fetch::all_gone(flights).await;
    }

    /// How many entries of a kind are kept, and when the first of their tokens that are good ends.
    pub(crate) fn holds(&self, kind: TokenKind, now: Moment) -> (usize, Option<Moment>) {
        let (mut count, mut soonest) = (0, None);
        self.of(kind).each_shard(|shard| {
            let ends = shard.values().filter_map(|entry| entry.good_until(now));
            soonest = ends.chain(soonest).min();
            count += shard.len();
        });
        (count, soonest)
    }

    fn of(&self, kind: TokenKind) -> &Map {
        match kind {
            TokenKind::Maskinporten => &self.maskinporten,
            TokenKind::Altinn => &self.altinn,
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("maskinporten", &self.maskinporten.len())
            .field("altinn", &self.altinn.len())
            .finish_non_exhaustive()
    }
}
