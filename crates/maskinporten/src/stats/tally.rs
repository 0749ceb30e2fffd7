//! [`Tally`]: the counters of one authority's tokens.
//!
//! Hits are counted in stripes, each with cache lines to itself (no false sharing), and summed when they are read. The
//! first thread of a stripe has a counter that no other thread writes: it adds with a load and a store, where a locked
//! addition would cost as much as all else that is counted here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Lookups, Outcome, QueueStats, Reloads, Requests, TokenStats};
use crate::cache::{self, CachePadded, STRIPES};
use crate::clock::{AnyClock, Moment};
use crate::error::Error;
#[cfg(feature = "metrics")]
use crate::metrics;
use crate::quiet::Quiet;
use crate::request::TokenKind;

/// What came of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Hit,
    Stale,
    Joined,
    Miss,
    Failed,
}

impl Lookup {
    pub(crate) const ALL: [Self; 5] = [
        Self::Hit,
        Self::Stale,
        Self::Joined,
        Self::Miss,
        Self::Failed,
    ];
}

/// What one client counts.
#[derive(Debug)]
pub(crate) struct Tallies {
    maskinporten: Arc<Tally>,
    altinn: Arc<Tally>,
    pub(crate) reloads: Arc<Reloading>,
}

/// What is counted of one authority's tokens.
pub(crate) struct Tally {
    kind: TokenKind,
    /// Tokens that layers set on a request at once, by the first thread of each stripe and by all others.
    set_by_first: [CachePadded<SetAtOnce>; STRIPES],
    set_by_others: [CachePadded<SetAtOnce>; STRIPES],
    /// All other look-ups, by their place in [`Lookup::ALL`].
    lookups: [AtomicU64; Lookup::ALL.len()],
    // Taken for one addition or copy by functions that are not async; clocks are read before it, and a recorder
    // is called after it.
    requests: Mutex<Requests>,
    rejected: AtomicU64,
    replays: AtomicU64,
    evicted: AtomicU64,
    /// How often it is told that a caller had no token.
    complaints: Quiet,
    /// How often it is logged that the authority's circuit has opened.
    open_circuits: Quiet,
    /// The hits and stale ones that were published.
    // Taken to sum up by a function that is not async; a recorder is called after it.
    #[cfg(feature = "metrics")]
    published: Mutex<(u64, u64)>,
    /// What its client does when a flight has ended.
    on_landing: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What the threads of one stripe count.
#[derive(Default)]
struct SetAtOnce {
    hit: AtomicU64,
    stale: AtomicU64,
}

impl SetAtOnce {
    #[inline]
    fn of(&self, result: Lookup) -> &AtomicU64 {
        match result {
            Lookup::Stale => &self.stale,
            _ => &self.hit,
        }
    }
}

/// How readings of the credentials' place are counted.
#[derive(Debug, Default)]
pub(crate) struct Reloading {
    ok: AtomicU64,
    failed: AtomicU64,
}

// ===== impl Tallies =====

impl Tallies {
    pub(crate) fn of(&self, kind: TokenKind) -> &Arc<Tally> {
        match kind {
            TokenKind::Maskinporten => &self.maskinporten,
            TokenKind::Altinn => &self.altinn,
        }
    }
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            maskinporten: Tally::new(TokenKind::Maskinporten),
            altinn: Tally::new(TokenKind::Altinn),
            reloads: Arc::default(),
        }
    }
}

// ===== impl Tally =====

impl Tally {
    pub(crate) fn new(kind: TokenKind) -> Arc<Self> {
        Arc::new(Self {
            kind,
            set_by_first: Default::default(),
            set_by_others: Default::default(),
            lookups: Default::default(),
            requests: Mutex::default(),
            rejected: AtomicU64::new(0),
            replays: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            complaints: Quiet::default(),
            open_circuits: Quiet::default(),
            #[cfg(feature = "metrics")]
            published: Mutex::default(),
            on_landing: OnceLock::new(),
        })
    }

    pub(crate) fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Counts a token that was there, as stale where it is to be refreshed. `stripe` is the calling thread's.
    #[inline]
    pub(crate) fn set_at_once(&self, stripe: usize, result: Lookup) {
        if cache::is_first_of_its_stripe() {
            let counter = self.set_by_first[stripe].of(result);
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            let counter = self.set_by_others[stripe].of(result);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts any other look-up.
    pub(crate) fn looked_up(&self, result: Lookup) {
        self.lookups[result as usize].fetch_add(1, Ordering::Relaxed);
        // Tokens that were there are published with those that layers set at once.
        #[cfg(feature = "metrics")]
        if !matches!(result, Lookup::Hit | Lookup::Stale) {
            metrics::looked_up(self.kind, result, 1);
        }
    }

    /// Begins a request for a token. It is counted when what is given is dropped.
    pub(crate) fn request<'a>(&'a self, clock: &'a AnyClock) -> Asking<'a> {
        Asking {
            tally: self,
            clock,
            began: clock.now(),
            is_over: false,
        }
    }

    /// Counts an answer that did not accept its request's token.
    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::rejected(self.kind, 1);
    }

    /// Counts a newer token that was given in place of a rejected one.
    pub(crate) fn replayed(&self) {
        self.replays.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::replayed(self.kind, 1);
    }

    /// Counts a token that was evicted from the cache while it was good.
    pub(crate) fn evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::evicted(self.kind, 1);
    }

    /// Whether it may be logged now that the authority's circuit has opened: then how often it was not.
    pub(crate) fn may_report_open_circuit(&self, now: Moment) -> Option<u64> {
        self.open_circuits.may_tell(now)
    }

    /// Counts a fetch that has its turn, and how long it waited for that.
    pub(crate) fn waited(&self, time: Duration) {
        #[cfg(feature = "metrics")]
        metrics::waited(self.kind, time);
        #[cfg(not(feature = "metrics"))]
        let _ = time;
    }

    pub(crate) fn evicted_so_far(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Tells that a caller had no token, once in a while.
    pub(crate) fn complain(&self, error: &Error, now: Moment) {
        if let Some(suppressed) = self.complaints.may_tell(now) {
            tracing::error!(
                target: "maskinporten::token",
                authority = self.kind.authority(),
                %error,
                code = error.code(),
                hint = error.hint(),
                suppressed,
                "a caller was given an error instead of a token"
            );
        }
    }

    /// What was counted; what is held now is the cache's to tell.
    pub(crate) fn stats(&self) -> TokenStats {
        TokenStats {
            lookups: self.lookups(),
            requests: self.requests.lock().clone(),
            rejected: self.rejected.load(Ordering::Relaxed),
            replays: self.replays.load(Ordering::Relaxed),
            queue: QueueStats::default(),
            evicted: self.evicted_so_far(),
            entries: 0,
            soonest_end: None,
        }
    }

    fn lookups(&self) -> Lookups {
        let striped = |of: fn(&SetAtOnce) -> &AtomicU64| -> u64 {
            let counters = self.set_by_first.iter().chain(&self.set_by_others);
            counters
                .map(|counters| of(counters))
                .map(|counter| counter.load(Ordering::Relaxed))
                .sum()
        };
        let hit = striped(|counters| &counters.hit);
        let stale = striped(|counters| &counters.stale);
        let other = |result: Lookup| self.lookups[result as usize].load(Ordering::Relaxed);
        Lookups {
            hit: hit + other(Lookup::Hit),
            stale: stale + other(Lookup::Stale),
            joined: other(Lookup::Joined),
            miss: other(Lookup::Miss),
            failed: other(Lookup::Failed),
        }
    }
}

// ===== what is published =====

#[cfg(feature = "metrics")]
impl Tally {
    /// Publishes the tokens that were there since the last time.
    pub(crate) fn publish(&self) {
        let (hit, stale) = {
            let mut published = self.published.lock();
            let now = self.lookups();
            let grown = (now.hit - published.0, now.stale - published.1);
            *published = (now.hit, now.stale);
            grown
        };
        metrics::looked_up(self.kind, Lookup::Hit, hit);
        metrics::looked_up(self.kind, Lookup::Stale, stale);
    }
}

// ===== flights that end =====

impl Tally {
    /// Has a client note whenever a flight has ended. It may evict and publish: no lock is held then.
    pub(crate) fn on_landing(&self, note: impl Fn() + Send + Sync + 'static) {
        // Set once, by the client that was made with it.
        let _ = self.on_landing.set(Box::new(note));
    }

    /// Notes that a flight has ended.
    pub(crate) fn landed(&self) {
        match self.on_landing.get() {
            Some(note) => note(),
            #[cfg(feature = "metrics")]
            None => self.publish(),
            #[cfg(not(feature = "metrics"))]
            None => {}
        }
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tally").field(&self.kind).finish()
    }
}

// ===== impl Asking =====

/// A request for a token that is under way.
pub(crate) struct Asking<'a> {
    tally: &'a Tally,
    clock: &'a AnyClock,
    began: Moment,
    is_over: bool,
}

impl Asking<'_> {
    /// When it was begun.
    pub(crate) fn began(&self) -> Moment {
        self.began
    }

    /// Tells what came of it.
    pub(crate) fn ended<T>(mut self, outcome: Result<&T, &Error>) {
        self.is_over = true;
        self.note(match outcome {
            Ok(_) => Outcome::Ok,
            Err(error) => Outcome::Failed(error),
        });
    }

    fn note(&self, outcome: Outcome<'_>) {
        let took = self.began.until(self.clock.now());
        self.tally.requests.lock().note(outcome, took);
        #[cfg(feature = "metrics")]
        metrics::requested(self.tally.kind, outcome, took);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // Also where a deadline, an abort or a panic has cut it off.
        if !self.is_over {
            self.note(Outcome::Lost);
        }
    }
}

// ===== impl Reloading =====

impl Reloading {
    /// Counts a reading that found something new, usable or not.
    pub(crate) fn note(&self, is_ok: bool) {
        let count = match is_ok {
            true => &self.ok,
            false => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::reloaded(is_ok, 1);
    }

    pub(crate) fn stats(&self) -> Reloads {
        Reloads {
            ok: self.ok.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_more_threads_than_stripes_count_adds_up_and_only_grows() {
        const THREADS: u64 = 3 * STRIPES as u64;

        let tally = Tally::new(TokenKind::Altinn);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let tally = &tally;
                scope.spawn(move || {
                    (0..1_000)
                        .for_each(|_| tally.set_at_once(cache::of_this_thread(), Lookup::Hit));
                    tally.set_at_once(cache::of_this_thread(), Lookup::Stale);
                });
            }
            let mut last = 0;
            while last < THREADS * 1_000 {
                let seen = tally.lookups().hit;
                assert!(seen >= last);
                last = seen;
            }
        });
        let Lookups { hit, stale, .. } = tally.lookups();
        assert_eq!((hit, stale), (THREADS * 1_000, THREADS));
    }
}
