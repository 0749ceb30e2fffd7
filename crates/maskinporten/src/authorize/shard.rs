//! [`Shards`]: a layer's hot path in shards, one for each stripe of threads, to avoid false sharing.
//!
//! On a cached token a request reads its thread's shard and the token's entry: it allocates nothing, waits for
//! no other thread, and writes to no cache line that a thread of another stripe reads. That holds for the layer's
//! own token and for one on behalf of an organisation.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, Weak};

use http::{HeaderMap, HeaderValue, Uri};

use super::contexts::ContextTable;
use super::origins::{self, Interned};
use super::policy::{Contexts, Policy};
use super::{Acquire, SentToken};
use crate::cache::{CachePadded, ContextTables, EntryShard, Held, Lent, STRIPES, TryLock};
use crate::clock::{AnyClock, CoarseReading};
use crate::error::Result;
use crate::header;
use crate::origin::{Origin, Target};
use crate::request::TokenContext;
use crate::stats::{Lookup, Tally};

/// The shards of one layer, each made when a thread of its stripe first needs it.
pub(super) struct Shards {
    pub(super) policy: Policy,
    interned: OnceLock<Interned>,
    shards: [OnceLock<Arc<CachePadded<Shard>>>; STRIPES],
}

/// What service values hold of a layer: a reference count for the threads of one stripe, which clone and drop
/// them without writing to a cache line that a thread of another stripe writes.
pub(super) struct Handle {
    pub(super) stripe: usize,
    pub(super) shard: Arc<CachePadded<Shard>>,
    pub(super) shards: Arc<Shards>,
}

/// What the threads of a stripe share. Padded, so that the locks of two shards are not on one cache line.
pub(super) struct Shard {
    stripe: usize,
    /// What most requests need of the policy, without the way there.
    plain: Option<Origin>,
    requires_context: bool,
    expects_contexts: bool,
    origins: NonZeroU32,
    clock: AnyClock,
    own: EntryShard,
    tally: Arc<Tally>,
    // Only ever tried, so no thread waits for it: a request that finds it taken looks the entry up in the map.
    contexts: TryLock<ContextTable>,
}

/// A header for a request, and which token it is. The request is counted once the header is set.
pub(super) struct Ready {
    pub(super) value: HeaderValue,
    pub(super) sent: SentToken,
    pub(super) lookup: Lookup,
}

/// A header that is there, or the wait for one.
pub(super) enum Found {
    Ready(Ready),
    Pending(Acquire),
}

/// What is known of a context in the table of a shard.
enum Known {
    Ready(Ready),
    /// Its entry has no token at hand, or there is no row.
    Nothing,
    /// Another thread of the stripe is looking at the table just now.
    Busy,
}

// ===== impl Shards =====

impl Shards {
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            policy,
            interned: OnceLock::new(),
            shards: Default::default(),
        })
    }

    /// The shard of a stripe of threads.
    #[inline]
    pub(super) fn shard(self: &Arc<Self>, stripe: usize) -> &Arc<CachePadded<Shard>> {
        self.shards[stripe].get_or_init(|| Arc::new(CachePadded(self.make_shard(stripe))))
    }

    pub(super) fn handle(self: &Arc<Self>, stripe: usize) -> Arc<CachePadded<Handle>> {
        Arc::new(CachePadded(Handle {
            stripe,
            shard: Arc::clone(self.shard(stripe)),
            shards: Arc::clone(self),
        }))
    }

    #[cold]
    fn make_shard(self: &Arc<Self>, stripe: usize) -> Shard {
        let policy = &self.policy;
        let interned = self.interned.get_or_init(|| {
            let tables: Weak<dyn ContextTables> = Arc::<Self>::downgrade(self);
            policy.note_tables(tables);
            origins::intern(&policy.origins)
        });
        Shard {
            stripe,
            plain: policy.plain().cloned(),
            requires_context: policy.contexts == Contexts::Required,
            expects_contexts: policy.contexts != Contexts::Unexpected,
            origins: interned.number,
            clock: policy.entry.clock().clone(),
            own: policy.entry.entry().shard(stripe),
            tally: Arc::clone(policy.entry.tally()),
            contexts: TryLock::new(ContextTable::new()),
        }
    }
}

impl ContextTables for Shards {
    fn sweep(&self, stripe: usize) -> bool {
        let Some(shard) = self.shards[stripe].get() else {
            return false;
        };
        // A table that is in use just now is swept the next time.
        let swept = shard
            .contexts
            .try_lock()
            .map(|mut contexts| contexts.sweep());
        // Dropped under no lock: entries may be the last of theirs.
        drop(swept);
        true
    }
}

// ===== impl Shard =====

impl Shard {
    /// Whether a request to this address is to the origin that most requests go to.
    #[inline]
    pub(super) fn is_plain(&self, uri: &Uri) -> bool {
        self.plain.as_ref().is_some_and(|origin| origin.is(uri))
    }

    /// The same for the address of another client.
    #[inline]
    pub(super) fn is_plain_for(&self, target: Target<'_>) -> bool {
        let plain = self.plain.as_ref();
        plain.is_some_and(|origin| origin.admits(target))
    }

    /// Sets the layer's own token on a request to the [plain](Self::is_plain) origin, if it is cached and the
    /// request has no such header yet: the path of nearly every request.
    #[inline]
    pub(super) fn set_own(&self, headers: &mut HeaderMap) -> Option<SentToken> {
        if self.requires_context {
            return None;
        }
        // Read under no lock: a clock may be a user's.
        let reading = self.clock.coarse();
        let Some((fresh, generation)) = self.own.fresh(reading) else {
            return self.set(headers, self.lend_anew(&self.own)?);
        };
        let value = fresh.value()?.clone();
        drop(fresh);
        if !header::set_if_absent(headers, value) {
            return None;
        }
        self.count(Lookup::Hit);
        Some(self.sent(&self.own, generation))
    }

    /// Sets and counts a header, if the request has none yet.
    #[inline]
    pub(super) fn set(&self, headers: &mut HeaderMap, ready: Ready) -> Option<SentToken> {
        if !header::set_if_absent(headers, ready.value) {
            return None;
        }
        self.count(ready.lookup);
        Some(ready.sent)
    }

    /// Counts a header that was set.
    #[inline]
    pub(super) fn count(&self, lookup: Lookup) {
        self.tally.set_at_once(self.stripe, lookup);
    }

    /// The header of a context's token for a request to the plain origin, if it is cached and nothing else is to
    /// be asked.
    // Not inlined: the table would stand in the path of requests that have no context.
    #[inline(never)]
    pub(super) fn in_context_now(&self, context: &TokenContext) -> Option<Ready> {
        let is_bound_elsewhere = |bound| Some(bound) != self.plain.as_ref();
        let asks_more = !self.expects_contexts
            || context.is_skip()
            || (self.requires_context && !context.names_somebody())
            || context.origin().is_some_and(is_bound_elsewhere);
        if asks_more {
            return None;
        }
        match self.known(context) {
            Known::Ready(ready) => Some(ready),
            Known::Nothing | Known::Busy => None,
        }
    }

    /// The header of a context whose entry is in the table, and which is therefore allowed here.
    fn known(&self, context: &TokenContext) -> Known {
        // Read under no lock: a clock may be a user's.
        let reading = self.clock.coarse();
        let Some(contexts) = self.contexts.try_lock() else {
            return Known::Busy;
        };
        let Some(entry) = contexts.find(context) else {
            return Known::Nothing;
        };
        if let Some(ready) = self.fresh(entry, reading) {
            return Known::Ready(ready);
        }
        let entry = entry.clone();
        // What follows may start a fetch.
        drop(contexts);
        if entry.is_retired() {
            return Known::Nothing;
        }
        self.lend_anew(&entry).map_or(Known::Nothing, Known::Ready)
    }

    #[inline]
    fn fresh(&self, entry: &EntryShard, reading: CoarseReading) -> Option<Ready> {
        let (fresh, generation) = entry.fresh(reading)?;
        Some(Ready {
            value: fresh.value()?.clone(),
            sent: self.sent(entry, generation),
            lookup: Lookup::Hit,
        })
    }

    #[cold]
    fn lend_anew(&self, entry: &EntryShard) -> Option<Ready> {
        let lent = entry.lend_anew()?;
        let Lent {
            value,
            generation,
            lookup,
        } = lent;
        Some(Ready {
            value,
            sent: self.sent(entry, generation),
            lookup,
        })
    }

    #[inline]
    fn sent(&self, entry: &EntryShard, generation: u64) -> SentToken {
        SentToken {
            entry: entry.id(),
            origins: self.origins,
            generation,
        }
    }

    /// The layer's own token, or the wait for it.
    pub(super) fn own(&self, policy: &Policy) -> Found {
        self.lend_or_wait(&self.own, &policy.entry)
    }

    /// The token that an allowed context asks for, or the wait for it.
    ///
    /// # Errors
    ///
    /// Why there is no such token.
    pub(super) fn in_context(&self, context: &TokenContext, policy: &Policy) -> Result<Found> {
        let known = self.known(context);
        if let Known::Ready(ready) = known {
            return Ok(Found::Ready(ready));
        }
        let held = policy.entry_in(context)?;
        let entry = held.entry().shard(self.stripe);
        if matches!(known, Known::Nothing)
            && let Some(mut contexts) = self.contexts.try_lock()
        {
            contexts.put(context, entry.clone());
        }
        Ok(self.lend_or_wait(&entry, &held))
    }

    fn lend_or_wait(&self, entry: &EntryShard, held: &Held) -> Found {
        let ready = self.fresh(entry, self.clock.coarse());
        match ready.or_else(|| self.lend_anew(entry)) {
            Some(ready) => Found::Ready(ready),
            None => Found::Pending(Acquire::new(held.clone(), self.origins)),
        }
    }
}
