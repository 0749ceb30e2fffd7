//! [`Shards`]: a layer's hot path in shards, one for each stripe of threads, to avoid false sharing.
//!
//! On a cached token a request reads its thread's shard and the token's entry: it allocates nothing, waits for
//! no other thread, and writes to no cache line that a thread of another stripe reads. That holds for the layer's
//! own token and for one on behalf of an organisation.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, Weak};

use http::{HeaderMap, HeaderValue, Uri};
use parking_lot::Mutex;

use super::contexts::ContextTable;
use super::origins::{self, Interned};
use super::policy::{Contexts, Policy};
use super::{Acquire, SentToken};
use crate::cache::{CachePadded, EntryShard, Held, Lent, STRIPES};
use crate::clock::{AnyClock, CoarseReading};
use crate::error::Result;
use crate::header;
use crate::origin::{Origin, Target};
use crate::request::TokenContext;
use crate::stats::{Lookup, Tally};

/// The shards of one layer, each made when a thread of its stripe first needs it.
pub(super) struct Shards {
    pub(super) policy: Arc<Policy>,
    interned: OnceLock<Interned>,
    shards: [OnceLock<Arc<CachePadded<Shard>>>; STRIPES],
}

/// What the threads of a stripe share. Padded, so that neither the reference counts nor the locks of two shards
/// are on one cache line: each clone of a service counts up and down here.
pub(super) struct Shard {
    pub(super) stripe: usize,
    /// What most requests need of the policy, without the way there.
    plain: Option<Origin>,
    requires_context: bool,
    expects_contexts: bool,
    origins: NonZeroU32,
    clock: AnyClock,
    own: EntryShard,
    tally: Arc<Tally>,
    // Only ever tried, so no thread waits for it: a request that finds it taken looks the entry up in the map.
    contexts: Mutex<ContextTable>,
    pub(super) policy: Arc<Policy>,
    pub(super) shards: Weak<Shards>,
    /// Keeps the layer's origins interned.
    _interned: Interned,
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

// ===== impl Shards =====

impl Shards {
    pub(super) fn new(policy: Arc<Policy>) -> Arc<Self> {
        Arc::new(Self {
            policy,
            interned: OnceLock::new(),
            shards: Default::default(),
        })
    }

    /// The shard of a stripe of threads.
    #[inline]
    pub(super) fn shard(self: &Arc<Self>, stripe: usize) -> &Arc<CachePadded<Shard>> {
        self.shards[stripe].get_or_init(|| Arc::new(CachePadded(Shard::new(self, stripe))))
    }
}

// ===== impl Shard =====

impl Shard {
    #[cold]
    fn new(shards: &Arc<Shards>, stripe: usize) -> Self {
        let policy = &shards.policy;
        let intern = || origins::intern(&policy.origins);
        let interned = shards.interned.get_or_init(intern).clone();
        Self {
            stripe,
            plain: policy.plain().cloned(),
            requires_context: policy.contexts == Contexts::Required,
            expects_contexts: policy.contexts != Contexts::Unexpected,
            origins: interned.number,
            clock: policy.entry.clock().clone(),
            own: policy.entry.entry().shard(stripe),
            tally: Arc::clone(policy.entry.tally()),
            contexts: Mutex::new(ContextTable::new()),
            policy: Arc::clone(policy),
            shards: Arc::downgrade(shards),
            _interned: interned,
        }
    }

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

    /// Sets the layer's own token on a request to the [plain](Self::is_plain) origin, if it is cached and no
    /// sensitive header is in the way: the path of nearly every request.
    #[inline]
    pub(super) fn set_own(&self, headers: &mut HeaderMap) -> Option<SentToken> {
        if self.requires_context {
            return None;
        }
        // Read under no lock: a clock may be a user's.
        let reading = self.clock.coarse();
        // Dropped under no lock: its destructor may be a user's.
        let mut displaced = None;
        let (is_set, generation) = {
            let Some((fresh, generation)) = self.own.fresh(reading) else {
                return self.set(headers, self.lend_anew(&self.own)?);
            };
            (
                header::set(headers, fresh.value()?, &mut displaced),
                generation,
            )
        };
        if !is_set && !header::stays_displaced(headers, displaced) {
            return None;
        }
        self.count(Lookup::Hit);
        Some(self.sent(&self.own, generation))
    }

    /// Sets and counts a header, unless a sensitive one is in the way.
    pub(super) fn set(&self, headers: &mut HeaderMap, ready: Ready) -> Option<SentToken> {
        let mut displaced = None;
        let is_set = header::set(headers, &ready.value, &mut displaced);
        if !is_set && !header::stays_displaced(headers, displaced) {
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
        self.known(context)
    }

    /// The header of a context whose entry is in the table, and which is therefore allowed here.
    fn known(&self, context: &TokenContext) -> Option<Ready> {
        let reading = self.clock.coarse();
        let contexts = self.contexts.try_lock()?;
        let entry = contexts.find(context)?;
        if let Some(ready) = self.fresh(entry, reading) {
            return Some(ready);
        }
        let entry = entry.clone();
        // What follows may start a fetch.
        drop(contexts);
        if entry.is_retired() {
            return None;
        }
        self.lend_anew(&entry)
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
    pub(super) fn own(&self) -> Found {
        self.lend_or_wait(&self.own, &self.policy.entry)
    }

    /// The token that an allowed context asks for, or the wait for it.
    ///
    /// # Errors
    ///
    /// Why there is no such token.
    pub(super) fn in_context(&self, context: &TokenContext) -> Result<Found> {
        if let Some(ready) = self.known(context) {
            return Ok(Found::Ready(ready));
        }
        let held = self.policy.entry_in(context)?;
        let entry = held.entry().shard(self.stripe);
        if let Some(mut contexts) = self.contexts.try_lock() {
            contexts.put(context, entry.clone());
        }
        Ok(self.lend_or_wait(&entry, &held))
    }

    fn lend_or_wait(&self, entry: &EntryShard, held: &Held) -> Found {
        let reading = self.clock.coarse();
        let ready = self.fresh(entry, reading);
        match ready.or_else(|| self.lend_anew(entry)) {
            Some(ready) => Found::Ready(ready),
            None => Found::Pending(Acquire::new(held.clone(), self.origins)),
        }
    }
}
