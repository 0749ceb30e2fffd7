//! A cache entry: one token's state machine, its header's copies, and those who wait for it.
//!
//! - A request that finds the token fresh writes nothing that another one reads.
//! - One that finds it ageing starts the renewal and goes on with it.
//! - One that finds none waits for the fetch of it, or starts that.
//! - A failed fetch is remembered: until its `retry_at` every caller gets the one error at once.
//! - Who needs the entry to stay has a [`Held`]; an `Arc` alone keeps only its memory.

mod rejection;
pub(crate) mod state;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use parking_lot::Mutex;

use super::{stripe, sync, window};
use crate::advice;
use crate::advice::About;
use crate::cache::Identity;
use crate::cache::backoff::{self, Pause};
use crate::cache::by_id;
use crate::cache::eviction::State;
use crate::cache::fetch::{self, Caller, ELECTIONS, Errand, Fetch, Fetching, Landing, TooLong};
use crate::cache::headers::{Fresh, Headers, Place};
use crate::cache::holders::Holders;
use crate::cache::window::Window;
use crate::clock::{AnyClock, CoarseReading, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::request::TokenRequest;
use crate::retry::DEADLINE;
use crate::source::{AltinnExchange, TokenSource};
use crate::stats::{Lookup, Tally};
use crate::token::AccessToken;
use state::{Found, Holds, Life, Rejection, Revision, Setback, Standing, Takeoff};

/// A token spent on arrival is asked for again at most this often.
const SPENT_FOR: Duration = Duration::from_secs(1);

/// One token with its window.
pub(crate) type Snapshot = state::Snapshot<AccessToken>;

/// One token's place. Aligned so that neither its own count of owners nor a neighbour shares a line
/// with the generation, which every request reads.
#[repr(align(128))]
pub(crate) struct Entry {
    life: Life<AccessToken, Error, Fetch>,
    /// Its header, for threads that set it on requests.
    headers: Headers<HeaderValue>,
    clock: AnyClock,
    id: u64,
    me: Weak<Self>,
    holders: Holders,
    errand: Arc<Errand>,
    /// The hold on the entry that this one's token is made of, given up when this one is retired.
    // Taken for one read by functions that are not async.
    made_of: Mutex<Option<Held>>,
    /// Where what happens here is counted.
    tally: Arc<Tally>,
    /// Whether it was looked up since eviction last asked. Written only where it changes, so that a look-up
    /// writes nothing that another one reads.
    visited: AtomicBool,
    /// Whether anybody has asked for its own sake, and not only for what is made of it.
    wanted: AtomicBool,
}

/// An entry as the threads of one stripe use it. It keeps the entry's memory, and does not hold the entry.
///
/// The place of the copy and the number are those of the entry: a hit follows fewer pointers.
pub(crate) struct EntryShard {
    place: Arc<Place<HeaderValue>>,
    id: u64,
    entry: Arc<Entry>,
}

/// A header that was lent, and which token it is of.
pub(crate) struct Lent {
    pub(crate) value: HeaderValue,
    pub(crate) generation: u64,
    pub(crate) lookup: Lookup,
}

/// Where an entry's token comes from.
pub(crate) enum Origin {
    Source(Arc<dyn TokenSource>),
    /// The token of another entry, which it is made of.
    Exchange(AltinnExchange),
}

/// A cache entry that is held: it is not evicted until the last of these is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<Entry>);

/// What an evicted entry leaves, to be dropped under no lock.
pub(crate) struct Retired {
    life: state::Retired<AccessToken, Error, Fetch>,
    _made_of: Option<Held>,
}

impl Retired {
    /// Whether its token could still be used.
    pub(crate) fn was_good(&self) -> bool {
        self.life.was_good
    }
}

// ===== impl Held =====

impl Held {
    /// Makes an entry, held by who makes it.
    pub(crate) fn new(identity: Identity, origin: Origin, fetching: &Fetching) -> Self {
        let made_of = origin.parent().and_then(Self::try_new);
        Self(Arc::new_cyclic(|entry| {
            let id = by_id::enter(Weak::clone(entry));
            Entry {
                life: Life::new(),
                headers: Headers::new(),
                clock: fetching.clock.clone(),
                id,
                me: Weak::clone(entry),
                holders: Holders::one(),
                errand: Arc::new(Errand::new(id, identity, origin, fetching)),
                made_of: Mutex::new(made_of),
                tally: Arc::clone(&fetching.tally),
                visited: AtomicBool::new(false),
                wanted: AtomicBool::new(false),
            }
        }))
    }

    /// Holds an entry. Gives nothing where it was retired: another has to be looked up.
    pub(crate) fn try_new(entry: &Arc<Entry>) -> Option<Self> {
        entry.holders.hold().then(|| Self(Arc::clone(entry)))
    }

    /// The entry itself, to be kept without holding it.
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Deref for Held {
    type Target = Entry;

    #[inline]
    fn deref(&self) -> &Entry {
        &self.0
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        // It is held, so it is not retired.
        let is_held = self.0.holders.hold();
        debug_assert!(is_held, "a held entry was retired");
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.holders.release();
    }
}

// ===== who waits, holds =====

impl Held {
    /// The token, fetched where there is none. Dropping the future harms nobody else: it only waits.
    pub(crate) async fn acquire(self) -> Result<Arc<Snapshot>> {
        self.set_off().await
    }

    /// The same for a caller, and not for another token that is made of this one: that it was given none
    /// is told.
    pub(crate) async fn serve(self) -> Result<Arc<Snapshot>> {
        let acquired = self.clone().acquire().await;
        if let Err(error) = &acquired {
            self.tally.complain(error, self.clock.now());
        }
        acquired
    }

    /// The same for one who has had a token and then waited for something else: it was counted.
    pub(crate) async fn acquire_again(self) -> Result<Arc<Snapshot>> {
        let mut uncounted = Counted::none();
        let awaited = self.ask(&mut uncounted);
        self.wait(awaited, uncounted).await
    }

    /// Starts the fetch that one who needs a token now would wait for, at once, and gives the wait.
    pub(crate) fn set_off(self) -> impl Future<Output = Result<Arc<Snapshot>>> + Send {
        let mut counted = Counted::by(&self.tally);
        let awaited = self.ask(&mut counted);
        self.wait(awaited, counted)
    }

    async fn wait(self, mut awaited: Awaited, mut counted: Counted) -> Result<Arc<Snapshot>> {
        let (mut lost, mut void_since) = (0, None);
        loop {
            let waits_until = self.clock.now().after(self.errand.patience());
            let (caller, takeoff) = match awaited {
                Awaited::Good(snapshot) => return Ok(snapshot),
                Awaited::Failed(error) => return Err(error),
                Awaited::Fetch(caller, takeoff) => (caller, takeoff),
            };
            let landing = match caller.landing(waits_until).await {
                Ok(landing) => landing,
                Err(too_long) => {
                    counted.fail();
                    return Err(self.turn_did_not_come(&too_long));
                }
            };
            drop(caller);
            match landing {
                Landing::Token(snapshot) if snapshot.serves_who_waited(self.clock.now()) => {
                    return Ok(snapshot);
                }
                // No caller looked for as long as it lived.
                Landing::Token(_) => {}
                Landing::Failed(error) => {
                    counted.fail();
                    return Err(error);
                }
                Landing::Outlived | Landing::Gone if self.is_of_now(takeoff) => {
                    lost += 1;
                    if lost == ELECTIONS {
                        counted.fail();
                        return Err(self.give_up(takeoff, &landing));
                    }
                }
                // It was not lost: it was declared void. That may go on for as long as a fetch may take.
                Landing::Outlived | Landing::Gone => {
                    let now = self.clock.now();
                    let since = *void_since.get_or_insert(now);
                    if now >= since.after(DEADLINE) {
                        counted.fail();
                        return Err(self.void_again_and_again());
                    }
                }
            }
            awaited = self.ask(&mut counted);
        }
    }

    fn turn_did_not_come(&self, too_long: &TooLong) -> Error {
        let (place, waited) = (too_long.ahead + 1, self.errand.patience().as_secs());
        let message = format!(
            "the token's turn to be fetched did not come within {waited} s (`fetch_queue_timeout`): it is number \
             {place} of those for the same organisation"
        );
        Error::new(ErrorKind::Unavailable, message).with_advice(&advice::QUEUE)
    }

    fn void_again_and_again(&self) -> Error {
        let message = "the token was declared void each time before it was fetched";
        Error::new(ErrorKind::Unavailable, message)
            .with_advice(&advice::VOID)
            .with_retry_at(self.clock.wall())
    }

    /// A token newer than the one that was rejected; none where forcing one again is too early.
    ///
    /// Everybody else keeps the rejected one meanwhile: it may have been rejected for a reason that
    /// does not concern them.
    pub(crate) async fn replaced(self, rejected: u64) -> Option<Result<Arc<Snapshot>>> {
        let fetch = match self.reject(rejected) {
            Rejection::Newer(snapshot) => return Some(Ok(snapshot)),
            Rejection::Awaited(fetch) => fetch,
            Rejection::Kept => return None,
        };
        let waits_until = self.clock.now().after(self.errand.patience());
        match Caller::joining(fetch).landing(waits_until).await {
            // No caller may have looked for as long as it lived.
            Ok(Landing::Token(snapshot)) => {
                let serves = snapshot.serves_who_waited(self.clock.now());
                serves.then_some(Ok(snapshot))
            }
            Ok(Landing::Failed(error)) => Some(Err(error)),
            Ok(Landing::Outlived | Landing::Gone) => None,
            Err(too_long) => Some(Err(self.turn_did_not_come(&too_long))),
        }
    }
}

// ===== impl EntryShard =====

impl EntryShard {
    /// The entry's [number](Entry::id).
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.entry.is_retired()
    }

    /// The header, locked, and its generation, if there is a fresh copy: the path of most requests. No user's
    /// code is called while it is held.
    #[inline]
    pub(crate) fn fresh(&self, reading: CoarseReading) -> Option<(Fresh<'_, HeaderValue>, u64)> {
        let generation = self.entry.life.generation();
        let fresh = self.place.fresh(generation, reading)?;
        Some((fresh, generation))
    }

    /// The header of a token that may be used now, fresh or ageing. Starts no fetch where there is none: a
    /// request that waits does that.
    #[cold]
    pub(crate) fn lend_anew(&self) -> Option<Lent> {
        let entry = &*self.entry;
        // Read under no lock: a clock may be a user's.
        let readings = entry.clock.coarse_and_now();
        let looked = self.place.look(
            &entry.life,
            readings,
            |token| token.bearer().lend(),
            |token| token.bearer().value().clone(),
        )?;
        if looked.is_ageing {
            entry.refresh_if_due(readings.1);
        }
        Some(Lent {
            value: looked.value,
            generation: looked.generation,
            lookup: if looked.is_ageing {
                Lookup::Stale
            } else {
                Lookup::Hit
            },
        })
    }
}

impl Clone for EntryShard {
    fn clone(&self) -> Self {
        Self {
            place: Arc::clone(&self.place),
            id: self.id,
            entry: Arc::clone(&self.entry),
        }
    }
}

// ===== impl Entry =====

impl Entry {
    /// What a response carries instead of a reference: see [`by_id`].
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.life.generation()
    }

    #[inline]
    pub(crate) fn clock(&self) -> &AnyClock {
        &self.clock
    }

    #[inline]
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// The entry as the threads of a stripe use it.
    pub(crate) fn shard(self: &Arc<Self>, stripe: usize) -> EntryShard {
        EntryShard {
            place: self.headers.place(stripe),
            id: self.id,
            entry: Arc::clone(self),
        }
    }

    /// Starts the renewal of an ageing token, unless one runs or has just failed.
    pub(crate) fn refresh_if_due(&self, now: Moment) {
        let mut made = None;
        let prepare = |takeoff: Takeoff| self.prepare(takeoff, takeoff.hard_end(), 0, &mut made);
        self.life.refresh_if_due(now, || self.revision(), prepare);
        if let Some(fetch) = made {
            fetch.send();
            fetch.follow_caller();
        }
    }

    /// Remembers, once for all who have waited, that one fetch after another was lost.
    pub(crate) fn give_up(&self, takeoff: Takeoff, landing: &Landing) -> Error {
        let error = match landing {
            Landing::Outlived => Error::protocol("tokens take longer to arrive than they live")
                .with_advice(&advice::UNUSABLE_TOKEN),
            _ => {
                let message = "whatever fetched the token went away before it was done";
                Error::new(ErrorKind::Runtime, message)
                    .with_transient(true)
                    .with_advice(&advice::RUNTIME_GONE)
            }
        };
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let setback = self.setback(takeoff, error.clone(), None, now, wall);
        let remembered = self.life.give_up(takeoff, now, setback);
        // Where it is not remembered, the next caller may ask at once.
        remembered.unwrap_or_else(|| error.with_retry_at(wall))
    }

    /// Notes that an API did not accept the token of a generation, and starts its replacement.
    ///
    /// A late word about an older token changes nothing, and neither does one that comes too soon
    /// after the last.
    pub(crate) fn report_rejected(&self, rejected: u64) {
        self.tally.rejected();
        self.reject(rejected);
    }

    /// Declares what is known void: the next who asks starts anew.
    pub(crate) fn invalidate(&self) {
        self.life.invalidate();
        self.headers.clear(self.generation());
    }

    /// Fetches nothing any more. Gives the fetch that was under way, which ends.
    pub(crate) fn close(&self) -> Option<Fetch> {
        let fetch = self.life.close();
        self.headers.clear(self.generation());
        fetch
    }

    /// Evicts it: what is known is wiped, and it is never held again. Not where it is held, or where a
    /// flight is on its way to it.
    pub(crate) fn retire(&self, now: Moment) -> Option<Retired> {
        let life = self.life.retire(now, || self.holders.retire())?;
        self.headers.clear(self.generation());
        by_id::leave(self.id);
        Some(Retired {
            life,
            _made_of: self.made_of.lock().take(),
        })
    }

    /// What eviction may do with it.
    pub(super) fn state(&self, now: Moment) -> State {
        if self.holders.is_held() {
            return State::InUse;
        }
        match self.life.holds(now) {
            Holds::Flight => State::InUse,
            Holds::Outcome => State::Good,
            Holds::Nothing => State::Spent,
        }
    }

    /// Whether it was looked up, or its header set by a layer, since this was last asked.
    pub(crate) fn take_visited(&self) -> bool {
        let was_set = self.headers.take_used();
        self.visited.swap(false, Ordering::Relaxed) || was_set
    }

    pub(crate) fn request(&self) -> &TokenRequest {
        self.errand.request()
    }

    /// How many layers, handles, callers who wait and other entries need it to stay.
    pub(crate) fn holders(&self) -> u64 {
        self.holders.count()
    }

    /// The number of the entry whose token this one's is made of.
    pub(crate) fn parent_id(&self) -> Option<u64> {
        self.errand.origin().parent().map(|parent| parent.id)
    }

    /// Whether it was evicted.
    pub(crate) fn is_retired(&self) -> bool {
        self.holders.is_retired()
    }

    pub(crate) fn good_until(&self, now: Moment) -> Option<Moment> {
        self.life.current(now).map(|current| current.window.hard)
    }

    pub(crate) fn standing(&self, now: Moment) -> Standing<Error> {
        self.life.standing(now)
    }

    /// What its source, and the circuits that it depends on, are now.
    fn revision(&self) -> Revision {
        Revision {
            source: self.errand.revision(),
            recoveries: self.errand.recoveries(),
        }
    }

    pub(crate) fn errand(&self) -> &Errand {
        &self.errand
    }

    /// Whether a takeoff is still the present's: it was not declared void.
    pub(crate) fn is_of_now(&self, takeoff: Takeoff) -> bool {
        self.life.is_of_now(takeoff)
    }

    /// Notes that somebody asks for it for its own sake.
    pub(crate) fn want(&self) {
        if !self.is_wanted() {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Notes that it was looked up: what is used stays longer.
    #[inline]
    pub(crate) fn visit(&self) {
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
    }

    fn ask(&self, counted: &mut Counted) -> Awaited {
        let (found, started) = self.find_or_fetch(counted, None, 1);
        match found {
            Found::Good(snapshot) => Awaited::Good(snapshot),
            Found::Failed(error) => Awaited::Failed(error),
            Found::Closed => Awaited::Failed(closed()),
            Found::Awaited(fetch, takeoff) => {
                fetch.follow_caller();
                let caller = if started {
                    Caller::first(fetch)
                } else {
                    Caller::joining(fetch)
                };
                Awaited::Fetch(caller, takeoff)
            }
        }
    }

    /// What there is for a fetch whose token is made of this one's. `hard_end` is that of the token that it renews.
    pub(crate) fn ask_for_child(
        &self,
        counted: &mut Counted,
        hard_end: Option<Moment>,
    ) -> Found<AccessToken, Error, Fetch> {
        self.find_or_fetch(counted, hard_end, 0).0
    }

    /// Looks, and starts what is to be fetched. True where that is what was found.
    fn find_or_fetch(
        &self,
        counted: &mut Counted,
        hard_end: Option<Moment>,
        callers: usize,
    ) -> (Found<AccessToken, Error, Fetch>, bool) {
        let now = self.clock.now();
        let mut made = None;
        let prepare = |takeoff: Takeoff| {
            // No caller waits for the renewal of a token that is good.
            let callers = if takeoff.renews() { 0 } else { callers };
            self.prepare(takeoff, takeoff.hard_end().or(hard_end), callers, &mut made)
        };
        let found = self.life.ask(now, self.revision(), prepare);
        if let Some(fetch) = &made {
            fetch.send();
        }
        counted.note(&found, made.is_some(), now);
        if let (Found::Good(_), Some(renewal)) = (&found, &made) {
            renewal.follow_caller();
        }
        (found, made.is_some())
    }

    fn reject(&self, rejected: u64) -> Rejection<AccessToken, Fetch> {
        let now = self.clock.now();
        let mut made = None;
        let prepare = |takeoff: Takeoff| self.prepare(takeoff, takeoff.hard_end(), 0, &mut made);
        let rejection = self.life.reject(rejected, now, self.revision(), prepare);
        // Before a fetch that starts now is sent, so that it reads it. One that is under way reads it when its token
        // has come. Was it too late for that, the next one does. Only fetches take it back.
        if matches!(rejection, Rejection::Awaited(_)) {
            self.errand.reject();
        }
        // Once for however many met it.
        if let Some(fetch) = made {
            fetch.send();
            fetch.follow_caller();
            tracing::warn!(
                target: "maskinporten::token",
                generation = rejected,
                "an api did not accept the token; a new one is being fetched"
            );
        }
        rejection
    }

    /// Makes a fetch under the life's lock, and leaves it in `made` to be sent when that lock is free.
    fn prepare(
        &self,
        takeoff: Takeoff,
        hard_end: Option<Moment>,
        callers: usize,
        made: &mut Option<Fetch>,
    ) -> Result<Fetch> {
        let (entry, errand) = (Weak::clone(&self.me), Arc::clone(&self.errand));
        let fetch = Fetch::prepare(entry, errand, takeoff, hard_end, callers)?;
        Ok(made.insert(fetch).clone())
    }
}

/// What one who needs a token has found.
enum Awaited {
    Good(Arc<Snapshot>),
    Failed(Error),
    Fetch(Caller, Takeoff),
}

/// The error of who asks after a shutdown.
pub(crate) fn closed() -> Error {
    let message = "the client that fetches tokens was shut down";
    Error::new(ErrorKind::Closed, message).with_advice(&advice::CLOSED)
}

// ===== what a fetch does to its entry =====

impl Entry {
    /// Publishes a fetched token. `asked` is when its request left.
    ///
    /// Gives `None` where the flight was declared void, and no token where this one's life was over
    /// before it was here, as when the machine slept: it is sure to be expired, and is thrown away.
    pub(crate) fn publish(
        &self,
        takeoff: Takeoff,
        token: AccessToken,
        asked: Moment,
    ) -> Option<Option<Arc<Snapshot>>> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let (life, under_way) = (token.lifetime(), asked.until(now));
        // What has no life to speak of by its own word is for those who wait, once: its end is not
        // the journey's doing.
        if under_way >= life.max(SPENT_FOR) && !life.is_zero() {
            return self.life.end_flight(takeoff).then_some(None);
        }
        let window = Window::of(asked, life, random::unit());
        let token = match wall.checked_sub(under_way) {
            Some(asked_at) => token.asked_for_at(asked_at),
            None => token,
        };
        let spent = (now >= window.hard).then(|| {
            let message = "the token server hands out tokens that are spent on arrival";
            let error = Error::protocol(message).with_advice(&advice::UNUSABLE_TOKEN);
            let pause = Pause {
                time: SPENT_FOR,
                counts: false,
            };
            Setback {
                // The server is there.
                ends_with_recovery: false,
                ..self.setback_of(takeoff, error, pause, now, wall)
            }
        });
        let published = self.life.publish(takeoff, token, window, now, spent);
        self.headers.clear(self.generation());
        published.map(Some)
    }

    /// Remembers why there is no token, and until when none is asked for again: `refused_until` by a circuit that is
    /// open.
    pub(crate) fn fail(
        &self,
        takeoff: Takeoff,
        error: Error,
        refused_until: Option<Moment>,
    ) -> Option<Error> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let setback = self.setback(takeoff, error, refused_until, now, wall);
        self.life.fail(takeoff, now, setback)
    }

    /// Ends a fetch that is for no caller any more: nothing is remembered of it.
    pub(crate) fn forget(&self, takeoff: Takeoff) {
        self.life.end_flight(takeoff);
    }

    /// A failure as a life remembers it: for the longer, the more fetches before this one have failed in a row.
    fn setback(
        &self,
        takeoff: Takeoff,
        error: Error,
        refused_until: Option<Moment>,
        now: Moment,
        wall: SystemTime,
    ) -> Setback<Error> {
        let (in_a_row, chance) = (takeoff.failures_in_a_row(), random::unit());
        let mut pause = backoff::pause(&error, in_a_row, None, wall, chance);
        if let Some(until) = refused_until {
            pause.time = now.until(until);
        }
        self.setback_of(takeoff, error, pause, now, wall)
    }

    fn setback_of(
        &self,
        takeoff: Takeoff,
        error: Error,
        pause: Pause,
        now: Moment,
        wall: SystemTime,
    ) -> Setback<Error> {
        let until = takeoff.remembered_until(now, pause.time);
        Setback {
            ends_with_recovery: error.about() != About::Request,
            recoveries: self.errand.recoveries(),
            error: fetch::retry_at(error, now, wall, until),
            until,
            counts: pause.counts,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        by_id::leave(self.id);
        // Nobody is left who could use what it brings.
        self.life.close();
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Entry");
        out.field("identity", self.errand.identity());
        out.field("generation", &self.generation());
        out.finish_non_exhaustive()
    }
}

// ===== what a caller's look-up comes to =====

/// One look-up, counted when it is dropped: by what came of it, or, where its caller gave up, by what it
/// waited for.
pub(crate) struct Counted {
    tally: Option<Arc<Tally>>,
    result: Option<Lookup>,
}

impl Counted {
    pub(crate) fn by(tally: &Arc<Tally>) -> Self {
        Self {
            tally: Some(Arc::clone(tally)),
            result: None,
        }
    }

    fn none() -> Self {
        Self {
            tally: None,
            result: None,
        }
    }

    /// Nothing came of it.
    pub(crate) fn fail(&mut self) {
        self.result = Some(Lookup::Failed);
    }

    /// Takes what was found, the first time or again after a fetch was lost.
    fn note(&mut self, found: &Found<AccessToken, Error, Fetch>, started: bool, now: Moment) {
        self.result = Some(match (found, self.result) {
            (Found::Failed(_) | Found::Closed, _) => Lookup::Failed,
            (Found::Awaited(..), _) if started => Lookup::Miss,
            // What it waited for is there, whoever has fetched it.
            (_, Some(waited)) => waited,
            (Found::Awaited(..), None) => Lookup::Joined,
            (Found::Good(snapshot), None) if now >= snapshot.window.soft => Lookup::Stale,
            (Found::Good(_), None) => Lookup::Hit,
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let (Some(tally), Some(result)) = (&self.tally, self.result) {
            tally.looked_up(result);
        }
    }
}

// ===== impl Origin =====

impl Origin {
    /// The entry whose token this one's is made of.
    pub(crate) fn parent(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Source(_) => None,
            Self::Exchange(exchange) => Some(exchange.parent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use crate::cache::entry::state::NO_TOKEN;
    use crate::provider::TokenHandle;
    use crate::signer::BoxFuture;
    use crate::source::{FixedToken, SourceIdentity};

    use super::*;

    /// A source that keeps its tokens, and whose revision is read slowly where it is told so.
    #[derive(Clone, Debug)]
    struct Keeping(Arc<Kept>);

    #[derive(Debug)]
    struct Kept {
        is_slow: AtomicBool,
        begins: Barrier,
        ends: Barrier,
        asked_anew: AtomicUsize,
    }

    impl TokenSource for Keeping {
        fn identity(&self) -> SourceIdentity {
            SourceIdentity::new("keeping", "")
        }

        fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
            Box::pin(async { AccessToken::new("token", Duration::from_secs(60)) })
        }

        fn fetch_anew<'a>(
            &'a self,
            request: &'a TokenRequest,
        ) -> BoxFuture<'a, Result<AccessToken>> {
            self.0.asked_anew.fetch_add(1, Ordering::SeqCst);
            self.fetch(request)
        }

        fn keeps_tokens(&self) -> bool {
            true
        }

        fn revision(&self) -> u64 {
            if self.0.is_slow.swap(false, Ordering::SeqCst) {
                self.0.begins.wait();
                self.0.ends.wait();
            }
            0
        }
    }

    #[tokio::test]
    async fn a_late_word_about_an_older_token_hides_no_rejection_of_the_last_from_its_source() {
        let kept = Arc::new(Kept {
            is_slow: AtomicBool::new(false),
            begins: Barrier::new(2),
            ends: Barrier::new(2),
            asked_anew: AtomicUsize::new(0),
        });
        let handle = TokenHandle::from_source(Keeping(Arc::clone(&kept))).unwrap();
        let (entry, _) = handle.into_parts();
        let last = entry.clone().acquire().await.unwrap().generation;

        kept.is_slow.store(true, Ordering::SeqCst);
        let late = std::thread::spawn({
            let entry = entry.clone();
            move || entry.report_rejected(NO_TOKEN)
        });
        kept.begins.wait();
        // Its flight is sent here, and flies when this task waits.
        entry.report_rejected(last);
        kept.ends.wait();
        late.join().unwrap();

        while entry.generation() == last {
            tokio::task::yield_now().await;
        }
        assert_eq!(kept.asked_anew.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_fetch_that_is_cancelled_before_it_is_sent_brings_nothing() {
        let source = FixedToken::new("token", Duration::from_secs(60)).unwrap();
        let (entry, _) = TokenHandle::from_source(source).unwrap().into_parts();
        let send = |cancels: bool| {
            let (now, mut made) = (entry.clock.now(), None);
            let prepare = |takeoff| entry.prepare(takeoff, None, 1, &mut made);
            let found = entry.life.ask(now, entry.revision(), prepare);
            assert!(matches!(found, Found::Awaited(..)));
            if cancels {
                entry.invalidate();
            }
            let fetch = made.unwrap();
            fetch.send();
            let waits_until = now.after(Duration::from_secs(60));
            async move { Caller::first(fetch).landing(waits_until).await.ok() }
        };
        assert!(matches!(send(true).await, Some(Landing::Gone)));
        assert!(matches!(send(false).await, Some(Landing::Token(_))));
    }
}
