//! Scan-resistant cache eviction: S3-FIFO with three changes. A pure data structure: no clock, no lock, no
//! cache entry in it.
//!
//! It follows "FIFO Queues are All You Need for Cache Eviction" (Yang, Zhang, Qiu, Yue, Rashmi; SOSP 2023):
//! newcomers pass a small queue, what is used there is promoted to the main queue, and a ghost queue
//! remembers the hashes of those that left unused. The main queue is a ring with a hand (CLOCK).
//!
//! A supplier goes through all its customers, again and again. Where there are more of them than are kept,
//! the usual policies keep nothing of such a cycle, or little:
//!
//! - LRU and SIEVE evict each entry before it is asked for again: 0 hits.
//! - S3-FIFO as published: 0 hits from twice the capacity on, since no entry is used while it is in the small
//!   queue and the main queue stays empty. In a shorter cycle newcomers are found among the ghosts, and push
//!   out of the main queue what is asked for next: at 1.5 times the capacity, 33 to 66 % from round to round.
//!
//! The changes:
//!
//! 1. An entry that leaves the small queue unused is evicted only where the main queue is full. So a cold
//!    start, and a cycle that is too long, fill the main queue and then keep it.
//! 2. An entry whose token is spent counts as room. Tokens end by themselves, so that an old working set
//!    cannot hold the main queue.
//! 3. A promotion into a full main queue examines one entry. Was that used, it stays, and the promoted one
//!    stays in the small queue. There are fewer ghosts than main entries, so a cycle examines no main entry
//!    twice before it is used again, and keeps its hits; a new working set replaces what is no longer used.
//!    One eviction in [`UNPROVEN_EACH`] examines a main entry too, so that what was never used at all cannot
//!    hold the main queue either.
//!
//! An entry in use is never evicted. It is parked, in addition to the capacity, and looked at again later: at
//! insertions, and whenever [`Eviction::resume`] is called.
//!
//! Both take constant time: see the limits at [`Limits`].

use std::collections::{HashMap, VecDeque};

#[cfg(test)]
mod tests;

/// The small queue's share of the capacity: one tenth, at least one entry.
const SMALL_SHARE: usize = 10;

/// One unused entry in so many is given the chance of a promotion. A cycle examines an entry of the main queue
/// before it is used again only where it is longer than this many times the capacity.
const UNPROVEN_EACH: u32 = 16;

/// What eviction has to know of entries, asked under the lock of the policy: answers must be cheap, and come
/// from no foreign code.
pub(super) trait Entries<K> {
    fn state(&self, key: &K) -> State;

    /// Whether it was used since this was last asked.
    fn take_visited(&self, key: &K) -> bool;

    /// Evicts it. False where it came into use meanwhile.
    fn evict(&mut self, key: &K) -> bool;
}

/// What eviction may do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Held, or being fetched: it stays.
    InUse,
    /// Nothing is lost when it goes.
    Spent,
    /// There is a token that may be used, or a failure that is remembered.
    Good,
}

/// Which entries are kept.
pub(super) struct Eviction<K> {
    small: VecDeque<Node<K>>,
    small_share: usize,
    main: Main<K>,
    /// Entries that were in use when it was their turn to leave.
    parked: VecDeque<Node<K>>,
    ghosts: Ghosts,
    /// How many unused entries have met a full main queue.
    unproven: u32,
}

struct Node<K> {
    key: K,
    hash: u64,
}

/// What one insertion, or one [`Eviction::resume`], may still do.
struct Limits {
    /// How many entries in use it passes over.
    passed_over: u32,
    /// How many parked entries it decides about. An insertion parks one or two, so the map shrinks back.
    resumed: u32,
    /// In how many main entries it looks for a spent one.
    searched: u32,
    /// How many entries stay in the small queue because the main queue refuses them.
    refused: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            passed_over: 8,
            resumed: 64,
            searched: 8,
            refused: 8,
        }
    }
}

impl<K> Eviction<K> {
    /// Keeps up to `capacity` entries, and those in use in addition.
    pub(super) fn new(capacity: usize) -> Self {
        let small_share = (capacity / SMALL_SHARE).max(1).min(capacity);
        let main_share = capacity - small_share;
        Self {
            small: VecDeque::new(),
            small_share,
            main: Main {
                ring: Vec::new(),
                share: main_share,
                hand: 0,
                search: 0,
            },
            parked: VecDeque::new(),
            ghosts: Ghosts::new(main_share.saturating_sub(2 * small_share)),
            unproven: 0,
        }
    }

    /// Takes an entry in, and evicts others where there are too many.
    pub(super) fn insert(&mut self, key: K, hash: u64, entries: &mut impl Entries<K>) {
        let mut limits = Limits::default();
        let node = Node { key, hash };
        // One that has come back is promoted at once, where the main queue takes it.
        let mut refused = Err(node);
        if self.ghosts.take(hash) {
            refused = refused
                .or_else(|node| self.main.admit(node, entries, &mut limits))
                .or_else(|node| self.main.replace_unused(node, entries));
        }
        self.small.extend(refused.err());
        self.shrink(entries, &mut limits);
    }

    /// Takes up entries that were in use when it was their turn to leave, and evicts where there are too many.
    pub(super) fn resume(&mut self, entries: &mut impl Entries<K>) {
        self.shrink(entries, &mut Limits::default());
    }

    /// Whether there are entries in addition to the capacity.
    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    fn shrink(&mut self, entries: &mut impl Entries<K>, limits: &mut Limits) {
        self.resume_parked(entries, limits);
        // Each turn evicts, promotes or parks one, but for a few that are refused.
        while self.small.len() > self.small_share {
            let Some(node) = self.small.pop_front() else {
                return;
            };
            match entries.state(&node.key) {
                State::InUse => self.parked.push_back(node),
                state => self.settle(node, state, entries, limits),
            }
        }
    }

    /// Takes up parked entries that are no longer in use.
    fn resume_parked(&mut self, entries: &mut impl Entries<K>, limits: &mut Limits) {
        for _ in 0..self.parked.len() {
            if limits.passed_over == 0 || limits.resumed == 0 {
                return;
            }
            let Some(node) = self.parked.pop_front() else {
                return;
            };
            match entries.state(&node.key) {
                State::InUse => {
                    limits.passed_over -= 1;
                    self.parked.push_back(node);
                }
                state => {
                    limits.resumed -= 1;
                    self.settle(node, state, entries, limits);
                }
            }
        }
    }

    /// Decides about an entry that has left the small queue and is not in use.
    fn settle(
        &mut self,
        node: Node<K>,
        state: State,
        entries: &mut impl Entries<K>,
        limits: &mut Limits,
    ) {
        if state == State::Spent {
            // It leaves no ghost: what comes back after its token's life is a newcomer.
            self.evict(node, entries);
            return;
        }
        let was_used = entries.take_visited(&node.key);
        let Err(mut node) = self.main.admit(node, entries, limits) else {
            return;
        };
        if !was_used {
            self.unproven = self.unproven.wrapping_add(1);
        }
        if was_used || self.unproven.is_multiple_of(UNPROVEN_EACH) {
            node = match self.main.replace_unused(node, entries) {
                Ok(()) => return,
                Err(node) => node,
            };
        }
        if was_used && limits.refused > 0 {
            limits.refused -= 1;
            self.small.push_back(node);
            return;
        }
        let hash = node.hash;
        if self.evict(node, entries) {
            self.ghosts.add(hash);
        }
    }

    /// Evicts an entry. False where it has come into use: it is parked then.
    fn evict(&mut self, node: Node<K>, entries: &mut impl Entries<K>) -> bool {
        let is_evicted = entries.evict(&node.key);
        if !is_evicted {
            self.parked.push_back(node);
        }
        is_evicted
    }
}

// ===== impl Main =====

/// The main queue: a ring, whose entries keep their places.
struct Main<K> {
    ring: Vec<Node<K>>,
    share: usize,
    /// Which entry is examined next.
    hand: usize,
    /// In which entry a spent token is looked for next.
    search: usize,
}

impl<K> Main<K> {
    /// Takes an entry in where there is room, or a spent entry.
    fn admit(
        &mut self,
        node: Node<K>,
        entries: &mut impl Entries<K>,
        limits: &mut Limits,
    ) -> Result<(), Node<K>> {
        if self.ring.len() < self.share {
            self.ring.push(node);
            return Ok(());
        }
        while limits.searched > 0 && !self.ring.is_empty() {
            limits.searched -= 1;
            let found = &mut self.ring[self.search];
            self.search = (self.search + 1) % self.share;
            if entries.state(&found.key) == State::Spent && entries.evict(&found.key) {
                *found = node;
                return Ok(());
            }
        }
        Err(node)
    }

    /// Examines one entry, and takes the new one in its place where it was not used.
    fn replace_unused(
        &mut self,
        node: Node<K>,
        entries: &mut impl Entries<K>,
    ) -> Result<(), Node<K>> {
        let Some(found) = self.ring.get_mut(self.hand) else {
            return Err(node);
        };
        self.hand = (self.hand + 1) % self.share;
        let was_used = entries.take_visited(&found.key);
        if was_used || entries.state(&found.key) == State::InUse || !entries.evict(&found.key) {
            return Err(node);
        }
        *found = node;
        Ok(())
    }
}

// ===== impl Ghosts =====

/// The hashes of entries that were evicted last: a FIFO queue with an index.
struct Ghosts {
    queue: VecDeque<u64>,
    share: usize,
    /// The number of the queue's first.
    first: u64,
    /// The number of each hash that has not come back.
    numbers: HashMap<u64, u64>,
}

impl Ghosts {
    fn new(share: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            share,
            first: 0,
            numbers: HashMap::new(),
        }
    }

    fn add(&mut self, hash: u64) {
        if self.share == 0 {
            return;
        }
        if self.queue.len() == self.share {
            self.forget_first();
        }
        let number = self.first + self.queue.len() as u64;
        self.queue.push_back(hash);
        self.numbers.insert(hash, number);
    }

    /// Whether a hash is among them; it is not any more then.
    fn take(&mut self, hash: u64) -> bool {
        self.numbers.remove(&hash).is_some()
    }

    fn forget_first(&mut self) {
        let Some(hash) = self.queue.pop_front() else {
            return;
        };
        // It may have come back, and have left again since.
        if self.numbers.get(&hash) == Some(&self.first) {
            self.numbers.remove(&hash);
        }
        self.first += 1;
    }
}
