//! The rate limiter of one authority: permits (a semaphore), a fair queue, and circuit breakers.
//!
//! - A fetch enters with its tenant. It starts at once where a permit is free, else it waits in the [`queue`],
//!   which costs no task; or it fails at once because a [`circuit`] is open.
//! - [`permits`] says how many fetches are under way at the same time.
//! - Each client has one limiter for its authority and one for its Altinn: Altinn's outage is not Maskinporten's.
//! - Nothing runs in the background. What is due is done when a fetch enters or ends, and when a caller who waits
//!   looks ([`Limiter::look`]): each of them knows until when it may sleep ([`Limiter::wakes_at`]).
//!
//! What a change leads to (fetches to start, to refuse, to drop) is decided under the lock and done after it, in
//! the order in which it was decided. A runtime that is gone drops what is started on it at once, which changes
//! the state again: the thread that is already at it goes on with that, so that no stack grows.

mod circuit;
mod pace;
mod permits;
mod queue;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering, thread_number};
use crate::clock::Moment;

pub(crate) use circuit::About;
use circuit::{Change, Circuits, Ending, Gate, Identity, Probe, Waits};
use pace::Pace;
use permits::{Lease, Permits, Purpose};
pub(crate) use queue::Key;
use queue::Queue;

/// The number of a tenant in one limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantId(usize);

/// What enters a limiter.
pub(crate) trait Job: Sized {
    type Tenant: Clone + Eq + Hash;
    type Error: Clone;
    type Nudge;

    /// Notes its place. Called under the limiter's lock: it stores a number and no more.
    fn queued(&self, key: Key);

    /// Whether a caller waits for it. Called under the lock too.
    fn has_callers(&self) -> bool;

    /// What wakes those who wait for it, when it is given to [`nudged`](Self::nudged). Called under the lock.
    fn nudge(&self) -> Self::Nudge;

    /// Those who wait for it have to ask again when it [wakes](Limiter::wakes_at). Called under no lock, as all
    /// below.
    fn nudged(nudge: Self::Nudge);

    /// It has its permit.
    fn start(self, permit: Permit<Self>);

    /// It may not fetch, and is not to try again until then.
    fn refuse(self, error: Self::Error, until: Moment);

    /// Its place was dropped: no caller has come back for it.
    fn lapse(self);
}

/// Who may fetch from one authority, and when.
pub(crate) struct Limiter<J: Job> {
    // Taken for decisions in constant or logarithmic time by functions that are not async, so never across an
    // await. The clock is read before it is taken; jobs and errors are dropped after it.
    state: Mutex<State<J>>,
    now: Box<dyn Fn() -> Moment + Send + Sync>,
    /// How long a permit is leased.
    lease: Duration,
    /// How often the authority's circuit was closed.
    recoveries: AtomicU64,
    /// When a fetch last succeeded, in nanoseconds.
    served_at: AtomicU64,
}

struct State<J: Job> {
    names: HashMap<J::Tenant, (TenantId, Arc<AtomicU64>)>,
    permits: Permits,
    pace: Pace,
    queue: Queue<Waiting<J>>,
    circuits: Circuits<J::Error>,
    /// Those who wait for a probe, by the number of their place.
    parked: BTreeMap<u64, Parked<J>>,
    /// When the first of them may be the probe, or before that.
    parked_until: Option<Moment>,
    /// Probes that are under way, by their lease.
    probing: HashMap<u64, J::Nudge>,
    /// What is decided and not yet done.
    decided: VecDeque<Deed<J>>,
    /// The threads that do it.
    doing: Vec<usize>,
    /// What the source of credentials was when it was last seen.
    revision: u64,
}

struct Waiting<J> {
    job: J,
    identity: Identity,
    is_proven: bool,
}

struct Parked<J> {
    waiting: Waiting<J>,
    key: Key,
    since: Moment,
    until: Moment,
    waits: Waits,
}

enum Deed<J: Job> {
    Start(Waiting<J>, u64, Option<Probe>),
    Refuse(J, J::Error, Moment),
    Lapse(J),
    Nudge(J::Nudge),
    Drop(J::Error),
}

/// An identity's place among those of its tenant, for as long as it is kept.
pub(crate) struct Member<J: Job> {
    limiter: Arc<Limiter<J>>,
    name: J::Tenant,
    id: TenantId,
    recoveries: Arc<AtomicU64>,
}

/// A fetch that wants a permit.
pub(crate) struct Entrance {
    /// Which of its tenant's identities it is for.
    pub(crate) identity: u64,
    /// The hard end of the token that it renews.
    pub(crate) hard_end: Option<Moment>,
    /// Whether the identity's last fetch succeeded.
    pub(crate) is_proven: bool,
    /// What the source of credentials is: another one starts with closed circuits.
    pub(crate) revision: u64,
    /// The number of the place that it had before.
    pub(crate) place: Option<u64>,
}

/// Leave to fetch, until it is dropped or given back.
pub(crate) struct Permit<J: Job> {
    limiter: Arc<Limiter<J>>,
    /// The lease's number. None once it was given back.
    number: AtomicU64,
    identity: Identity,
    probe: Option<Probe>,
}

/// No lease has this number.
const NONE: u64 = 0;

/// How a fetch ended.
#[derive(Debug)]
pub(crate) enum Outcome<E> {
    /// With a token, or with a refusal that shows that the credentials are good.
    Served,
    /// With a refusal that is about its request.
    Answered,
    /// About all who ask: the error is as others may see it.
    Failed(About, E),
    /// Without a word about the server.
    Unknown,
}

/// What the end of a fetch has changed.
pub(crate) struct Finished {
    /// Whether the authority's circuit has opened, and what for.
    pub(crate) opened: Option<About>,
    /// Until when this identity's tenant may not fetch.
    pub(crate) refused_until: Option<Moment>,
}

/// How a limiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) waiting: usize,
    /// How long the one has waited who has waited longest of those whose turn is next.
    pub(crate) longest_wait: Duration,
    pub(crate) permits: usize,
    pub(crate) in_use: usize,
    pub(crate) open_circuits: usize,
}

impl<J: Job> Limiter<J> {
    /// At most `permits` fetches at the same time, each for at most `lease`.
    pub(crate) fn new(
        permits: usize,
        lease: Duration,
        now: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                names: HashMap::new(),
                permits: Permits::new(permits),
                pace: Pace::default(),
                queue: Queue::new(),
                circuits: Circuits::new(),
                parked: BTreeMap::new(),
                parked_until: None,
                probing: HashMap::new(),
                decided: VecDeque::new(),
                doing: Vec::new(),
                revision: 0,
            }),
            now: Box::new(now),
            lease,
            recoveries: AtomicU64::new(0),
            served_at: AtomicU64::new(0),
        }
    }

    /// When a fetch last succeeded.
    pub(crate) fn served_at(&self) -> Option<Moment> {
        let at = self.served_at.load(Ordering::Relaxed);
        (at > 0).then(|| Moment::from_nanoseconds(at))
    }

    /// Adds an identity of a tenant.
    pub(crate) fn join(self: &Arc<Self>, name: J::Tenant) -> Member<J> {
        let mut state = self.state.lock();
        let state_ = &mut *state;
        let (id, recoveries) = state_
            .names
            .entry(name.clone())
            .or_insert_with(|| {
                let recoveries = Arc::new(AtomicU64::new(0));
                let id = state_.circuits.add(Arc::clone(&recoveries));
                (id, recoveries)
            })
            .clone();
        state_.circuits.join(id);
        drop(state);
        Member {
            limiter: Arc::clone(self),
            name,
            id,
            recoveries,
        }
    }

    /// Has a job wait for its permit, start at once, or be refused.
    pub(crate) fn enter(self: &Arc<Self>, member: &Member<J>, entrance: Entrance, job: J) {
        let now = (self.now)();
        let mut state = self.state.lock();
        if state.revision != entrance.revision {
            state.revision = entrance.revision;
            state.reset(now, self.lease);
            self.recoveries.fetch_add(1, Ordering::Relaxed);
        }
        // Those who wait for a probe come first.
        state.see_to(now, self.lease);
        let key = Key {
            tenant: member.id,
            hard_end: entrance.hard_end,
            number: match entrance.place {
                Some(number) => number,
                None => state.queue.number(),
            },
        };
        job.queued(key);
        let waiting = Waiting {
            job,
            identity: Identity {
                tenant: member.id,
                number: entrance.identity,
            },
            is_proven: entrance.is_proven,
        };
        state.admit(waiting, key, now, now, self.lease);
        state.see_to(now, self.lease);
        self.act(state);
    }

    /// Takes a job out of its place, if it is still there.
    pub(crate) fn leave(&self, key: Key) {
        let mut state = self.state.lock();
        let queued = state.queue.remove(key);
        let parked = state.parked.remove(&key.number);
        drop(state);
        drop((queued, parked));
    }

    /// Notes that the first caller has come to a place, or the last one has left it.
    pub(crate) fn callers_changed(self: &Arc<Self>, key: Key) {
        let now = (self.now)();
        let mut state = self.state.lock();
        // Read under the lock: of two changes at the same time the later one counts.
        if let Some(waiting) = state.queue.get(key) {
            let has_callers = waiting.job.has_callers();
            state.note_callers(key, has_callers, now);
        } else if let Some(parked) = state.parked.get(&key.number)
            && !parked.waiting.job.has_callers()
        {
            // While a circuit is open a place is worth nothing to a caller that comes back: it may be the probe then.
            let parked = state.parked.remove(&key.number);
            let lapsed = parked.map(|parked| Deed::Lapse(parked.waiting.job));
            state.decided.extend(lapsed);
        }
        self.act(state);
    }

    /// How many of the same tenant are before a place.
    pub(crate) fn ahead(&self, key: Key) -> Option<usize> {
        self.state.lock().queue.ahead(key)
    }

    /// Does what is due by now: for callers who wait, since nothing runs in the background.
    pub(crate) fn look(self: &Arc<Self>) {
        let now = (self.now)();
        let mut state = self.state.lock();
        state.see_to(now, self.lease);
        self.act(state);
    }

    /// When something is due for which no fetch has to enter or to end.
    pub(crate) fn wakes_at(&self) -> Option<Moment> {
        let now = (self.now)();
        let state = self.state.lock();
        // A start that is due waits for a permit, and a fetch that ends sees to it.
        let starts = state.pace.next_start().filter(|at| *at > now);
        let permits = [state.permits.next_lost(), starts].into_iter().flatten();
        let is_waited = state.queue.len() > 0;
        state
            .parked_until
            .into_iter()
            .chain(permits.filter(|_| is_waited))
            .min()
    }

    /// Forgets what has failed: those who ask next may succeed.
    pub(crate) fn reset(self: &Arc<Self>) {
        let now = (self.now)();
        let mut state = self.state.lock();
        state.reset(now, self.lease);
        self.recoveries.fetch_add(1, Ordering::Relaxed);
        state.see_to(now, self.lease);
        self.act(state);
    }

    pub(crate) fn standing(&self) -> Standing {
        let now = (self.now)();
        let state = self.state.lock();
        let parked = state.parked.values().next().map(|parked| parked.since);
        let since = state.queue.waiting_since().into_iter().chain(parked).min();
        Standing {
            waiting: state.queue.len() + state.parked.len(),
            longest_wait: since.map(|since| since.until(now)).unwrap_or_default(),
            permits: state.permits.allowed(),
            in_use: state.permits.held(),
            open_circuits: state.circuits.count_open(),
        }
    }

    fn finish(
        self: &Arc<Self>,
        number: u64,
        of: Identity,
        probe: Option<Probe>,
        outcome: Outcome<J::Error>,
    ) -> Finished {
        let now = (self.now)();
        let mut state = self.state.lock();
        // One that was lost has given its permit back.
        if let Some(lease) = state.permits.take_back(number) {
            state.release(lease);
        }
        if matches!(outcome, Outcome::Served) {
            state.permits.widen();
            state.queue.widen(of.tenant);
            state.pace.served();
            self.served_at
                .store(now.as_nanoseconds(), Ordering::Relaxed);
        }
        let has_failed = matches!(outcome, Outcome::Failed(..));
        let is_unknown = matches!(outcome, Outcome::Unknown);
        let mut dropped = Vec::new();
        let change = state.circuits.note(of, outcome.into(), now, &mut dropped);
        state.decided.extend(dropped.into_iter().map(Deed::Drop));
        let affected = match change {
            Change::Opened(about) => {
                // Refused credentials show that the server is there.
                let has_recovered = about == About::Credentials;
                self.recoveries
                    .fetch_add(u64::from(has_recovered), Ordering::Relaxed);
                state.queue.drain()
            }
            Change::OpenedOfTenant => state.queue.drain_tenant(of.tenant),
            Change::Closed => {
                self.recoveries.fetch_add(1, Ordering::Relaxed);
                // Other probes may have been sent to a server that is gone: they ask again.
                let probing = std::mem::take(&mut state.probing).into_values();
                state.decided.extend(probing.map(Deed::Nudge));
                state.take_parked(|_| true)
            }
            Change::ClosedOfTenant => {
                state.take_parked(|parked| parked.waiting.identity.tenant == of.tenant)
            }
            Change::Nothing => Vec::new(),
        };
        state.admit_again(affected, now, self.lease);
        if let Some(probe) = probe {
            state.circuits.probe_ended();
            if is_unknown {
                state.circuits.probe_lost(of.tenant, now);
            }
            if has_failed {
                state.probe_failed(of.tenant, probe);
            }
        }
        let refused_until = state.circuits.refusal(of.tenant).map(|(_, until)| until);
        state.see_to(now, self.lease);
        self.act(state);
        Finished {
            opened: match change {
                Change::Opened(about) => Some(about),
                _ => None,
            },
            refused_until,
        }
    }

    /// Does what was decided, under no lock.
    fn act<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State<J>>) {
        let me = thread_number();
        if state.decided.is_empty() || state.doing.contains(&me) {
            return;
        }
        state.doing.push(me);
        // Also where a job panics.
        let done = Doing {
            limiter: self,
            thread: me,
        };
        while let Some(deed) = state.decided.pop_front() {
            drop(state);
            self.carry_out(deed);
            state = self.state.lock();
        }
        drop(state);
        drop(done);
    }

    fn carry_out(self: &Arc<Self>, deed: Deed<J>) {
        match deed {
            Deed::Start(waiting, number, probe) => {
                let permit = Permit {
                    limiter: Arc::clone(self),
                    number: AtomicU64::new(number),
                    identity: waiting.identity,
                    probe,
                };
                waiting.job.start(permit);
            }
            Deed::Refuse(job, error, until) => job.refuse(error, until),
            Deed::Lapse(job) => job.lapse(),
            Deed::Nudge(nudge) => J::nudged(nudge),
            Deed::Drop(error) => drop(error),
        }
    }
}

/// A thread that does what was decided.
struct Doing<'a, J: Job> {
    limiter: &'a Limiter<J>,
    thread: usize,
}

impl<J: Job> Drop for Doing<'_, J> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.doing.retain(|thread| *thread != self.thread);
    }
}

// ===== impl State =====

impl<J: Job> State<J> {
    /// Decides all that is due.
    fn see_to(&mut self, now: Moment, lease: Duration) {
        while let Some(lost) = self.permits.take_lost(now) {
            self.release(lost);
        }
        for waiting in self.queue.drop_expired(now) {
            self.decided.push_back(Deed::Lapse(waiting.job));
        }
        self.probe(now, lease);
        while self.pace.may_start(now)
            && let Some(next) = self.queue.next(&self.permits)
        {
            self.pace.started(now);
            let number = self.permits.lease(next.tenant, next.purpose, now, lease);
            self.decided
                .push_back(Deed::Start(next.waiter, number, None));
        }
    }

    /// Sends one of those who wait for a probe, where one is due: first of all one whose last fetch succeeded.
    fn probe(&mut self, now: Moment, lease: Duration) {
        if self.parked_until.is_none_or(|until| now < until) {
            return;
        }
        let due = || self.parked.iter().filter(|(_, parked)| now >= parked.until);
        let proven = due().find(|(_, parked)| parked.waiting.is_proven);
        let next = proven.or_else(|| due().next()).map(|(number, _)| *number);
        if let Some(parked) = next.and_then(|number| self.parked.remove(&number)) {
            self.admit(parked.waiting, parked.key, parked.since, now, lease);
        }
        // A probe that goes now puts off those of all who wait.
        let next = self.circuits.next_probe();
        for parked in self.parked.values_mut() {
            parked.until = parked.until.max(next.unwrap_or(parked.until));
        }
        self.parked_until = self.parked.values().map(|parked| parked.until).min();
    }

    /// Has the circuits decide.
    fn admit(
        &mut self,
        waiting: Waiting<J>,
        key: Key,
        since: Moment,
        now: Moment,
        lease: Duration,
    ) {
        let tenant = waiting.identity.tenant;
        match self.circuits.gate(tenant, waiting.is_proven, now) {
            Gate::Pass => {
                let has_callers = waiting.job.has_callers();
                self.queue.push(key, waiting, since);
                if !has_callers && key.hard_end.is_none() {
                    self.note_callers(key, false, now);
                }
            }
            Gate::Probe(probe) => {
                let number = self.permits.lease(tenant, Purpose::Probe, now, lease);
                self.probing.insert(number, waiting.job.nudge());
                self.decided
                    .push_back(Deed::Start(waiting, number, Some(probe)));
            }
            Gate::Park(waits, until) => {
                self.decided.push_back(Deed::Nudge(waiting.job.nudge()));
                let parked = Parked {
                    waiting,
                    key,
                    since,
                    until,
                    waits,
                };
                self.parked.insert(key.number, parked);
                let before = self.parked_until.into_iter();
                self.parked_until = before.chain([until]).min();
            }
            Gate::Refuse(error, until) => {
                self.decided
                    .push_back(Deed::Refuse(waiting.job, error, until));
            }
        }
    }

    /// Has the circuits decide again about some who wait.
    fn admit_again(&mut self, all: Vec<Place<J>>, now: Moment, lease: Duration) {
        for (key, waiting, since) in all {
            self.admit(waiting, key, since, now, lease);
        }
    }

    fn note_callers(&mut self, key: Key, has_callers: bool, now: Moment) {
        for waiting in self.queue.note_callers(key, has_callers, now) {
            self.decided.push_back(Deed::Lapse(waiting.job));
        }
    }

    /// Takes out some of those who wait for a probe.
    fn take_parked(&mut self, is_taken: impl Fn(&Parked<J>) -> bool) -> Vec<Place<J>> {
        let (taken, left): (BTreeMap<_, _>, _) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|(_, parked)| is_taken(parked));
        self.parked = left;
        self.parked_until = self.parked.values().map(|parked| parked.until).min();
        let place = |parked: Parked<J>| (parked.key, parked.waiting, parked.since);
        taken.into_values().map(place).collect()
    }

    /// Tells those who wait for a probe like this that it failed.
    fn probe_failed(&mut self, of: TenantId, probe: Probe) {
        let told = match probe {
            Probe::Telling => {
                self.circuits.tell(of);
                self.take_parked(|_| true)
            }
            Probe::Other => self.take_parked(|parked| parked.waits == Waits::ForAny),
        };
        for (_, waiting, _) in told {
            let tenant = waiting.identity.tenant;
            self.circuits.tell(tenant);
            if let Some((error, until)) = self.circuits.refusal(tenant) {
                self.decided
                    .push_back(Deed::Refuse(waiting.job, error, until));
            }
        }
    }

    fn release(&mut self, lease: Lease) {
        if lease.purpose == Purpose::Probe {
            let nudge = self.probing.remove(&lease.number);
            self.decided.extend(nudge.map(Deed::Nudge));
        } else {
            self.queue.release(lease.tenant);
        }
    }

    fn reset(&mut self, now: Moment, lease: Duration) {
        let dropped = self.circuits.reset();
        self.decided.extend(dropped.into_iter().map(Deed::Drop));
        let parked = self.take_parked(|_| true);
        self.admit_again(parked, now, lease);
    }
}

/// A place with who waits in it, and since when.
type Place<J> = (Key, Waiting<J>, Moment);

impl<E> From<Outcome<E>> for Ending<E> {
    fn from(outcome: Outcome<E>) -> Self {
        match outcome {
            Outcome::Served => Self::Served,
            Outcome::Answered => Self::Answered,
            Outcome::Failed(about, error) => Self::Failed(about, error),
            Outcome::Unknown => Self::Unknown,
        }
    }
}

// ===== impl Member =====

impl<J: Job> Member<J> {
    pub(crate) fn limiter(&self) -> &Arc<Limiter<J>> {
        &self.limiter
    }

    /// How often the circuits were closed that this identity depends on: what was remembered of a failing server
    /// before is out of date.
    pub(crate) fn recoveries(&self) -> u64 {
        let of_all = self.limiter.recoveries.load(Ordering::Relaxed);
        of_all.wrapping_add(self.recoveries.load(Ordering::Relaxed))
    }
}

impl<J: Job> Drop for Member<J> {
    fn drop(&mut self) {
        let mut dropped = Vec::new();
        let mut state = self.limiter.state.lock();
        let is_last = state.circuits.leave(self.id, &mut dropped);
        let name = is_last.then(|| state.names.remove(&self.name));
        if is_last {
            state.queue.forget(self.id);
        }
        drop(state);
        drop((dropped, name));
    }
}

// ===== impl Permit =====

impl<J: Job> Permit<J> {
    /// Whether it is the probe of an open circuit: it makes one attempt.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether others of its tenant are refused now: another attempt would be one too many.
    pub(crate) fn is_refused(&self) -> bool {
        let state = self.limiter.state.lock();
        state.circuits.refusal(self.identity.tenant).is_some()
    }

    /// Notes that the server asked for fewer requests.
    pub(crate) fn throttle(&self) {
        let now = (self.limiter.now)();
        let number = self.number.load(Ordering::Relaxed);
        let mut state = self.limiter.state.lock();
        let is_only_tenant = state.circuits.has_one_tenant();
        state.pace.throttle(self.identity, is_only_tenant, now);
        // One tenant's limit is not the server's.
        if state.pace.are_several_throttled() || is_only_tenant {
            state.permits.throttle(number);
        } else {
            let state = &mut *state;
            state
                .queue
                .throttle(self.identity.tenant, number, &state.permits);
        }
    }

    /// Gives it to the next, without a word about the fetch.
    pub(crate) fn give_back(&self) {
        self.finish(Outcome::Unknown);
    }

    /// Notes how the fetch ended, and gives it to the next.
    pub(crate) fn finish(&self, outcome: Outcome<J::Error>) -> Option<Finished> {
        match self.number.swap(NONE, Ordering::AcqRel) {
            NONE => None,
            number => {
                let limiter = &self.limiter;
                Some(limiter.finish(number, self.identity, self.probe, outcome))
            }
        }
    }
}

impl<J: Job> Drop for Permit<J> {
    fn drop(&mut self) {
        self.give_back();
    }
}
