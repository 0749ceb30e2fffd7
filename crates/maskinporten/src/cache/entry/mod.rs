//! A cache entry: one token's state machine, and the errand that its flights are sent on.
//!
//! - A request that finds the token fresh writes nothing that another one reads.
//! - One that finds it ageing starts the renewal and goes on with it.
//! - One that finds none waits for the flight that fetches it, or starts that flight.
//! - A failed flight is remembered: until its `retry_at` every caller gets the one error at once.
//! - Who needs the entry to stay has a [`Held`]; an `Arc` alone keeps only its memory.

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
use crate::cache::Identity;
use crate::cache::backoff::{self, Pause};
use crate::cache::by_id;
use crate::cache::eviction::State;
use crate::cache::fetch::{Flight, Landing, Launch};
use crate::cache::headers::{Fresh, Headers, Place};
use crate::cache::holders::Holders;
use crate::cache::limiter::Breaker;
use crate::cache::window::Window;
use crate::clock::{AnyClock, CoarseReading, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::quiet::Quiet;
use crate::random;
use crate::request::TokenRequest;
use crate::source::{AltinnExchange, SourceIdentity, TokenSource};
use crate::stats::{Lookup, Tally};
use crate::token::AccessToken;
use state::{Found, Holds, Life, Rejection, Setback, Standing, Takeoff};

/// How often a flight that goes down without an outcome is started anew for one caller.
const ELECTIONS: usize = 3;

/// A token spent on arrival is asked for again at most this often.
const SPENT_FOR: Duration = Duration::from_secs(1);

/// Why a flight brought neither a token nor an error.
#[derive(Clone, Copy)]
enum Lost {
    /// Its task ended without a word: a panic, an abort, a runtime that is gone or stands still.
    Gone,
    /// The token's life was over when it arrived.
    Outlived,
}

/// One token with its window.
pub(crate) type Snapshot = state::Snapshot<AccessToken>;

/// One token's place. Aligned so that neither its own count of owners nor a neighbour shares a line
/// with the generation, which every request reads.
#[repr(align(128))]
pub(crate) struct Entry {
    life: Life<AccessToken, Error, Flight>,
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

/// What a flight is sent for. It is all that a flight holds: no flight keeps its entry.
pub(crate) struct Errand {
    token: u64,
    identity: Identity,
    origin: Origin,
    breaker: Arc<Breaker>,
    clock: AnyClock,
    tally: Arc<Tally>,
    /// How often it is told that it brought nothing.
    failures: Quiet,
    /// Whether an API has not accepted the last token, and no other was asked for since.
    rejected: AtomicBool,
}

/// Where a entry's token comes from.
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
    life: state::Retired<AccessToken, Error, Flight>,
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
    pub(crate) fn new(
        identity: Identity,
        origin: Origin,
        breaker: Arc<Breaker>,
        clock: AnyClock,
        tally: Arc<Tally>,
    ) -> Self {
        let made_of = origin.parent().and_then(Self::try_new);
        Self(Arc::new_cyclic(|entry| {
            let id = by_id::enter(Weak::clone(entry));
            Entry {
                life: Life::new(),
                headers: Headers::new(),
                clock: clock.clone(),
                id,
                me: Weak::clone(entry),
                holders: Holders::one(),
                errand: Arc::new(Errand {
                    token: id,
                    identity,
                    origin,
                    breaker,
                    clock,
                    tally: Arc::clone(&tally),
                    failures: Quiet::default(),
                    rejected: AtomicBool::new(false),
                }),
                made_of: Mutex::new(made_of),
                tally,
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
        let found = self.ask(&mut uncounted);
        self.wait(found, uncounted).await
    }

    /// Starts whatever flight somebody who needs a token now would wait for, at once, and gives the wait.
    pub(crate) fn set_off(self) -> impl Future<Output = Result<Arc<Snapshot>>> + Send {
        let mut counted = Counted::by(&self.tally);
        let found = self.ask(&mut counted);
        self.wait(found, counted)
    }

    async fn wait(
        self,
        mut found: Found<AccessToken, Error, Flight>,
        mut counted: Counted,
    ) -> Result<Arc<Snapshot>> {
        let mut lost = 0;
        loop {
            let (flight, takeoff) = match found {
                Found::Good(snapshot) => return Ok(snapshot),
                Found::Failed(error) => return Err(error),
                Found::Closed => return Err(closed()),
                Found::Awaited(flight, takeoff) => (flight, takeoff),
            };
            let why = match flight.landing(&self.clock).await {
                Landing::Token(snapshot) => {
                    if snapshot.serves_who_waited(self.clock.now()) {
                        return Ok(snapshot);
                    }
                    // No caller looked for as long as it lived.
                    found = self.ask(&mut counted);
                    continue;
                }
                Landing::Failed(error) => {
                    counted.result = Some(Lookup::Failed);
                    return Err(error);
                }
                Landing::Outlived => Lost::Outlived,
                Landing::Gone => Lost::Gone,
            };
            // One that was declared void was not lost: its end was meant.
            lost += usize::from(self.life.is_of_now(takeoff));
            if lost == ELECTIONS {
                counted.result = Some(Lookup::Failed);
                return Err(self.give_up(takeoff, why));
            }
            found = self.ask(&mut counted);
        }
    }

    /// A token newer than the one that was rejected; none where forcing one again is too early.
    ///
    /// Everybody else keeps the rejected one meanwhile: it may have been rejected for a reason that
    /// does not concern them.
    pub(crate) async fn replaced(self, rejected: u64) -> Option<Result<Arc<Snapshot>>> {
        match self.reject(rejected) {
            Rejection::Newer(snapshot) => Some(Ok(snapshot)),
            Rejection::Awaited(flight) => match flight.landing(&self.clock).await {
                // No caller may have looked for as long as it lived.
                Landing::Token(snapshot) => {
                    let serves = snapshot.serves_who_waited(self.clock.now());
                    serves.then_some(Ok(snapshot))
                }
                Landing::Failed(error) => Some(Err(error)),
                Landing::Outlived | Landing::Gone => None,
            },
            Rejection::Kept => None,
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
        let revision = || self.revision();
        let mut launch = None;
        let prepare = |takeoff| self.prepare(takeoff, now, &mut launch);
        self.life.refresh_if_due(now, revision, prepare);
        if let Some(launch) = launch {
            launch.send().follow_caller();
        }
    }

    /// Remembers, once for all who have waited, that one flight after another was lost.
    fn give_up(&self, takeoff: Takeoff, why: Lost) -> Error {
        let error = match why {
            Lost::Gone => {
                let message = "whatever fetched the token went away before it was done";
                Error::new(ErrorKind::Runtime, message)
                    .with_transient(true)
                    .with_advice(&advice::RUNTIME_GONE)
            }
            Lost::Outlived => Error::protocol("tokens take longer to arrive than they live")
                .with_advice(&advice::UNUSABLE_TOKEN),
        };
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let setback = setback(takeoff, error.clone(), now, wall);
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

    /// Fetches nothing any more. Gives the flight that was in the air, which ends.
    pub(crate) fn close(&self) -> Option<Flight> {
        let flight = self.life.close();
        self.headers.clear(self.generation());
        flight
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
        self.errand.origin.parent().map(|parent| parent.id)
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

    /// What its source is now.
    pub(crate) fn revision(&self) -> u64 {
        self.errand.revision()
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

    fn ask(&self, counted: &mut Counted) -> Found<AccessToken, Error, Flight> {
        let now = self.clock.now();
        let mut launch = None;
        let prepare = |takeoff| self.prepare(takeoff, now, &mut launch);
        let found = self.life.ask(now, self.revision(), prepare);
        let started = launch.map(Launch::send);
        counted.note(&found, started.is_some(), now);
        match (&found, &started) {
            (Found::Awaited(flight, _), _) | (Found::Good(_), Some(flight)) => {
                flight.follow_caller();
            }
            _ => {}
        }
        found
    }

    fn reject(&self, rejected: u64) -> Rejection<AccessToken, Flight> {
        let now = self.clock.now();
        let mut launch = None;
        let prepare = |takeoff| self.prepare(takeoff, now, &mut launch);
        let rejection = self.life.reject(rejected, now, self.revision(), prepare);
        // Before a flight that starts now is sent, so that it reads it. One that is in the air reads it when its
        // token has come. Was it too late for that, the next one does. Only flights take it back.
        if matches!(rejection, Rejection::Awaited(_)) {
            self.errand.rejected.store(true, Ordering::Relaxed);
        }
        // Once for however many met it.
        if let Some(launch) = launch {
            launch.send().follow_caller();
            tracing::warn!(
                target: "maskinporten::token",
                generation = rejected,
                "an api did not accept the token; a new one is being fetched"
            );
        }
        rejection
    }

    /// Makes a flight under the life's lock, and leaves it in `launch` to be sent when that lock is free.
    fn prepare(
        &self,
        takeoff: Takeoff,
        now: Moment,
        launch: &mut Option<Launch>,
    ) -> Result<Flight> {
        let entry = Weak::clone(&self.me);
        let prepared = Launch::prepare(entry, Arc::clone(&self.errand), takeoff, now)?;
        Ok(launch.insert(prepared).flight())
    }
}

/// The error of who asks after a shutdown.
pub(crate) fn closed() -> Error {
    let message = "the client that fetches tokens was shut down";
    Error::new(ErrorKind::Closed, message).with_advice(&advice::CLOSED)
}

// ===== what a flight does to its entry =====

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
            setback_of(takeoff, error, pause, now, wall)
        });
        let published = self.life.publish(takeoff, token, window, now, spent);
        self.headers.clear(self.generation());
        published.map(Some)
    }

    /// Remembers why there is no token, and until when nobody is asked again.
    pub(crate) fn fail(&self, takeoff: Takeoff, error: Error) -> Option<Error> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let setback = setback(takeoff, error, now, wall);
        self.life.fail(takeoff, now, setback)
    }
}

/// A failure as a life remembers it: for the longer, the more flights before this one have failed in a row.
fn setback(takeoff: Takeoff, error: Error, now: Moment, wall: SystemTime) -> Setback<Error> {
    let (in_a_row, chance) = (takeoff.failures_in_a_row(), random::unit());
    let pause = backoff::pause(&error, in_a_row, None, wall, chance);
    setback_of(takeoff, error, pause, now, wall)
}

fn setback_of(
    takeoff: Takeoff,
    error: Error,
    pause: Pause,
    now: Moment,
    wall: SystemTime,
) -> Setback<Error> {
    let until = takeoff.remembered_until(now, pause.time);
    let error = match wall.checked_add(now.until(until)) {
        Some(at) => error.with_retry_at(at),
        None => error,
    };
    Setback {
        error,
        until,
        counts: pause.counts,
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
        out.field("identity", &self.errand.identity);
        out.field("generation", &self.generation());
        out.finish_non_exhaustive()
    }
}

// ===== what a caller's look-up comes to =====

/// One look-up, counted when it is dropped: by what came of it, or, where its caller gave up, by what it
/// waited for.
struct Counted {
    tally: Option<Arc<Tally>>,
    result: Option<Lookup>,
}

impl Counted {
    fn by(tally: &Arc<Tally>) -> Self {
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

    /// Takes what was found, the first time or once more after a flight was lost.
    fn note(&mut self, found: &Found<AccessToken, Error, Flight>, started: bool, now: Moment) {
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
    fn parent(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Source(_) => None,
            Self::Exchange(exchange) => Some(exchange.parent()),
        }
    }
}

// ===== impl Errand =====

impl Errand {
    /// The number of the entry it is for.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn revision(&self) -> u64 {
        match &self.origin {
            Origin::Source(source) => source.revision(),
            Origin::Exchange(exchange) => exchange.parent().revision(),
        }
    }

    /// The token that this one is made of, where it is made of another.
    pub(crate) async fn parent_token(&self) -> Result<Option<Arc<Snapshot>>> {
        match &self.origin {
            Origin::Source(_) => Ok(None),
            Origin::Exchange(exchange) => exchange.parent_token().await.map(Some),
        }
    }

    /// Asks for the token, of the parent's where it is made of that.
    pub(crate) async fn fetch(&self, parent: Option<&Arc<Snapshot>>) -> Result<AccessToken> {
        match &self.origin {
            Origin::Source(source) => {
                let request = &self.identity.request;
                let rejected = || self.rejected.load(Ordering::Relaxed);
                if !rejected() {
                    let token = source.fetch(request).await?;
                    // Not taken back here: it may be set at this moment, by one that this flight is too late for.
                    if !rejected() {
                        return Ok(token);
                    }
                    // One that was rejected meanwhile may be the very token that a source has kept.
                    if !source.keeps_tokens() {
                        self.rejected.store(false, Ordering::Relaxed);
                        return Ok(token);
                    }
                }
                let token = source.fetch_anew(request).await?;
                // Whatever is asked for after this one may come from a source's memory again.
                self.rejected.store(false, Ordering::Relaxed);
                Ok(token)
            }
            Origin::Exchange(exchange) => exchange.fetch(parent).await,
        }
    }

    pub(crate) fn request(&self) -> &TokenRequest {
        &self.identity.request
    }

    /// Whose tokens are fetched now: after another client's credentials were taken, no longer those that
    /// the entry was made for.
    pub(crate) fn source_identity(&self) -> SourceIdentity {
        match &self.origin {
            Origin::Source(source) => source.identity(),
            Origin::Exchange(exchange) => exchange.parent().errand.source_identity(),
        }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether whatever is asked keeps tokens of its own, as a sidecar does.
    pub(crate) fn is_from_sidecar(&self) -> bool {
        match &self.origin {
            Origin::Source(source) => source.keeps_tokens(),
            Origin::Exchange(exchange) => exchange.parent().errand.is_from_sidecar(),
        }
    }

    /// Tells that a flight brought nothing, once in a while.
    pub(crate) fn tell_of(&self, error: &Error) {
        let authority = self.tally.kind().authority();
        // What comes from somebody's memory was told by whoever met it.
        if error.retry_at().is_some() {
            tracing::debug!(
                target: "maskinporten::token",
                authority,
                %error,
                "the token was not asked for: another failure is remembered"
            );
        } else if let Some(suppressed) = self.failures.may_tell(self.clock.now()) {
            tracing::warn!(
                target: "maskinporten::token",
                authority,
                scopes = %self.identity.request.scope_set(),
                %error,
                code = error.code(),
                trace_id = error.trace_id(),
                hint = error.hint(),
                suppressed,
                "no token was fetched"
            );
        }
    }

    pub(crate) fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    pub(crate) fn clock(&self) -> &AnyClock {
        &self.clock
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use crate::cache::entry::state::NO_TOKEN;
    use crate::provider::TokenHandle;
    use crate::signer::BoxFuture;
    use crate::source::FixedToken;

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
    async fn a_flight_that_is_cancelled_before_it_is_sent_brings_nothing() {
        let source = FixedToken::new("token", Duration::from_secs(60)).unwrap();
        let (entry, _) = TokenHandle::from_source(source).unwrap().into_parts();
        let send = |cancels: bool| {
            let (now, mut launch) = (entry.clock.now(), None);
            let prepare = |takeoff| entry.prepare(takeoff, now, &mut launch);
            let found = entry.life.ask(now, entry.revision(), prepare);
            assert!(matches!(found, Found::Awaited(..)));
            if cancels {
                entry.invalidate();
            }
            launch.unwrap().send().landing(&entry.clock)
        };
        assert!(matches!(send(true).await, Landing::Gone));
        assert!(matches!(send(false).await, Landing::Token(_)));
    }
}
