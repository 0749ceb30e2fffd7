//! The fair queue: who waits for a permit, and whose turn is next.
//!
//! 1. Tenants take turns. Within a tenant the first to come is the first to go.
//! 2. No tenant holds more than half of the permits, even when all others are idle; and fewer after a server has asked
//!    it, and no other, for fewer requests.
//! 3. One permit is kept for renewals. A renewal goes before a newcomer if its token's hard end is nearer than
//!    the end of the newcomer's patience; of two renewals, the one whose end is nearer goes first.
//! 4. Of four turns in a row newcomers that wait get at least one.
//! 5. A place whose callers have all left is kept for a time, and only so many of a tenant and of all: beyond
//!    that the oldest is dropped.
//!
//! A place costs a map entry and no task. Nothing here knows a clock, a lock or a token.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::TenantId;
use super::permits::{Permits, Purpose};
use crate::clock::Moment;

#[cfg(test)]
#[cfg(not(explored))]
mod tests;

/// How long a place is kept after its last caller has left. A caller with less patience than the server needs
/// finds it when it asks again.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(30);

/// How many places without a caller one tenant has at most.
pub(super) const ABANDONED_OF_TENANT: usize = 100;

/// How many places without a caller there are at most.
pub(super) const ABANDONED: usize = 10_000;

/// The patience that a newcomer is taken to have where it is compared with a renewal.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many turns in a row renewals get while newcomers wait.
const RENEWALS_IN_A_ROW: u32 = 3;

/// The places of one authority.
pub(super) struct Queue<P> {
    /// Those tenants only that wait or hold permits.
    tenants: HashMap<TenantId, Tenant<P>>,
    /// Tenants with newcomers who may be next.
    turns: VecDeque<TenantId>,
    /// The most urgent renewal of each tenant that may be next.
    renewals: BTreeSet<(Moment, u64, TenantId)>,
    /// Tenants that hold half of the permits and were passed over: they are filed again when they hold fewer, or when
    /// half of the permits is more.
    passed_over: BTreeSet<TenantId>,
    /// The most permits of a tenant when they were.
    most_of_tenant: usize,
    /// Tenants that were asked for fewer requests.
    shares: HashMap<TenantId, Share>,
    /// Places without a caller, by when it left.
    abandoned: BTreeMap<u64, (Key, Moment)>,
    renewals_in_a_row: u32,
    last_number: u64,
    last_left: u64,
    len: usize,
}

struct Tenant<P> {
    newcomers: BTreeMap<u64, Place<P>>,
    renewals: BTreeMap<(Moment, u64), Place<P>>,
    /// Places without a caller, by when it left.
    abandoned: BTreeSet<u64>,
    permits: usize,
    has_turn: bool,
    /// As it is in the queue's `renewals`.
    most_urgent: Option<(Moment, u64)>,
}

struct Place<P> {
    waiter: P,
    since: Moment,
    /// Its number among those without a caller.
    abandoned: Option<u64>,
}

/// How many permits a tenant may hold that was asked for fewer requests.
#[derive(Clone, Copy, Debug)]
struct Share {
    most: usize,
    /// The last permit when it was halved: what those before say is no news.
    halved_at: u64,
}

/// Which place: kept by who waits in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(super) tenant: TenantId,
    /// The hard end of the token that is renewed.
    pub(super) hard_end: Option<Moment>,
    pub(super) number: u64,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Next<P> {
    pub(super) waiter: P,
    pub(super) tenant: TenantId,
    pub(super) purpose: Purpose,
}

impl Key {
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

impl<P> Queue<P> {
    pub(super) fn new() -> Self {
        Self {
            tenants: HashMap::new(),
            turns: VecDeque::new(),
            renewals: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            most_of_tenant: 0,
            shares: HashMap::new(),
            abandoned: BTreeMap::new(),
            renewals_in_a_row: 0,
            last_number: 0,
            last_left: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A number for a place: later ones are greater.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a place of the number that its key has.
    pub(super) fn push(&mut self, key: Key, waiter: P, since: Moment) {
        let place = Place {
            waiter,
            since,
            abandoned: None,
        };
        let tenant = self.tenants.entry(key.tenant).or_default();
        match key.hard_end {
            Some(end) => tenant.renewals.insert((end, key.number), place),
            None => tenant.newcomers.insert(key.number, place),
        };
        self.len += 1;
        self.file(key.tenant);
    }

    /// Takes a place out.
    pub(super) fn remove(&mut self, key: Key) -> Option<P> {
        let tenant = self.tenants.get_mut(&key.tenant)?;
        let place = tenant.take(key)?;
        if let Some(left) = place.abandoned {
            tenant.abandoned.remove(&left);
            self.abandoned.remove(&left);
        }
        self.len -= 1;
        self.file(key.tenant);
        Some(place.waiter)
    }

    /// How many places of the same tenant are before this one.
    pub(super) fn ahead(&self, key: Key) -> Option<usize> {
        let tenant = self.tenants.get(&key.tenant)?;
        let is_there = tenant.place(key).is_some();
        is_there.then(|| match key.hard_end {
            Some(end) => tenant.renewals.range(..(end, key.number)).count(),
            None => tenant.newcomers.range(..key.number).count() + tenant.renewals.len(),
        })
    }

    /// Notes whether a place has a caller. Gives the places that are dropped for it.
    pub(super) fn note_callers(&mut self, key: Key, has_callers: bool, now: Moment) -> Vec<P> {
        let Some(tenant) = self.tenants.get_mut(&key.tenant) else {
            return Vec::new();
        };
        let Some(place) = tenant.place_mut(key) else {
            return Vec::new();
        };
        match (has_callers, place.abandoned) {
            (true, Some(left)) => {
                place.abandoned = None;
                tenant.abandoned.remove(&left);
                self.abandoned.remove(&left);
                Vec::new()
            }
            (false, None) => {
                self.last_left += 1;
                place.abandoned = Some(self.last_left);
                tenant.abandoned.insert(self.last_left);
                self.abandoned.insert(self.last_left, (key, now));
                self.drop_surplus(key.tenant)
            }
            _ => Vec::new(),
        }
    }

    /// Drops places that are no longer kept.
    pub(super) fn drop_expired(&mut self, now: Moment) -> Vec<P> {
        let mut dropped = Vec::new();
        while let Some((_, (key, left_at))) = self.abandoned.first_key_value() {
            if now < left_at.after(KEPT_FOR) {
                break;
            }
            let key = *key;
            dropped.extend(self.remove(key));
        }
        dropped
    }

    fn drop_surplus(&mut self, id: TenantId) -> Vec<P> {
        let of_tenant = self.tenants.get(&id).and_then(|tenant| {
            let is_surplus = tenant.abandoned.len() > ABANDONED_OF_TENANT;
            tenant.abandoned.first().filter(|_| is_surplus)
        });
        let oldest = match of_tenant {
            Some(left) => self.abandoned.get(left),
            None if self.abandoned.len() > ABANDONED => self.abandoned.values().next(),
            None => None,
        };
        let Some((key, _)) = oldest.copied() else {
            return Vec::new();
        };
        self.remove(key).into_iter().collect()
    }

    /// Who waits in a place.
    pub(super) fn get(&self, key: Key) -> Option<&P> {
        let place = self.tenants.get(&key.tenant)?.place(key)?;
        Some(&place.waiter)
    }

    /// Takes out all places of a tenant.
    pub(super) fn drain_tenant(&mut self, id: TenantId) -> Vec<(Key, P, Moment)> {
        let Some(tenant) = self.tenants.get_mut(&id) else {
            return Vec::new();
        };
        let key = |hard_end, number| Key {
            tenant: id,
            hard_end,
            number,
        };
        let newcomers = std::mem::take(&mut tenant.newcomers).into_iter();
        let newcomers = newcomers.map(|(number, place)| (key(None, number), place));
        let renewals = std::mem::take(&mut tenant.renewals).into_iter();
        let renewals = renewals.map(|((end, number), place)| (key(Some(end), number), place));
        let places = newcomers.chain(renewals);
        let drained: Vec<_> = places
            .map(|(key, place)| (key, place.waiter, place.since))
            .collect();
        for left in std::mem::take(&mut tenant.abandoned) {
            self.abandoned.remove(&left);
        }
        self.len -= drained.len();
        self.file(id);
        drained
    }

    /// Takes out all places.
    pub(super) fn drain(&mut self) -> Vec<(Key, P, Moment)> {
        let ids: Vec<TenantId> = self.tenants.keys().copied().collect();
        ids.into_iter()
            .flat_map(|id| self.drain_tenant(id))
            .collect()
    }

    /// Since when the one waits who has waited longest of those who are next.
    pub(super) fn waiting_since(&self) -> Option<Moment> {
        let first = |tenant: &Tenant<P>| {
            let newcomer = tenant.newcomers.values().next();
            let renewal = tenant.renewals.values().next();
            let since = |place: &Place<P>| place.since;
            newcomer
                .map(since)
                .into_iter()
                .chain(renewal.map(since))
                .min()
        };
        self.tenants.values().filter_map(first).min()
    }

    /// Whose turn it is, if there is a permit for it. The permit counts as taken.
    pub(super) fn next(&mut self, permits: &Permits) -> Option<Next<P>> {
        let allowed = permits.allowed();
        if permits.held() >= allowed {
            return None;
        }
        let most_of_tenant = (allowed / 2).max(1);
        if most_of_tenant > self.most_of_tenant {
            for id in std::mem::take(&mut self.passed_over) {
                self.file(id);
            }
        }
        self.most_of_tenant = most_of_tenant;
        let renewal = self.first_renewal(most_of_tenant);
        // One permit is kept for renewals. Where there is only one, it is anybody's.
        let for_newcomers = (allowed - 1).max(1);
        let newcomer = (permits.held_by_newcomers() < for_newcomers)
            .then(|| self.first_newcomer(most_of_tenant))
            .flatten();
        match (renewal, newcomer) {
            (Some((end, number, id)), Some((since, _))) => {
                let is_nearer = end <= since.after(PATIENCE);
                if is_nearer && self.renewals_in_a_row < RENEWALS_IN_A_ROW {
                    self.renewals_in_a_row += 1;
                    self.take_renewal(end, number, id)
                } else {
                    self.take_newcomer()
                }
            }
            (Some((end, number, id)), None) => self.take_renewal(end, number, id),
            (None, Some(_)) => self.take_newcomer(),
            (None, None) => None,
        }
    }

    /// A permit of a tenant is free again.
    pub(super) fn release(&mut self, id: TenantId) {
        if let Some(tenant) = self.tenants.get_mut(&id) {
            tenant.permits -= 1;
            self.passed_over.remove(&id);
            self.file(id);
        }
    }

    /// Halves what a tenant may hold: the server has asked it for fewer requests, when it had this permit.
    pub(super) fn throttle(&mut self, id: TenantId, number: u64, permits: &Permits) {
        let half = (permits.allowed() / 2).max(1);
        let share = self.shares.entry(id).or_insert(Share {
            most: half,
            halved_at: 0,
        });
        if number > share.halved_at {
            share.most = (share.most.min(half) / 2).max(1);
            share.halved_at = permits.last_number();
        }
    }

    /// A tenant was served: it may hold one more.
    pub(super) fn widen(&mut self, id: TenantId) {
        if let Some(share) = self.shares.get_mut(&id) {
            share.most += 1;
            if share.most >= self.most_of_tenant {
                self.shares.remove(&id);
            }
        }
    }

    /// A tenant is no more.
    pub(super) fn forget(&mut self, id: TenantId) {
        self.shares.remove(&id);
    }

    fn first_renewal(&mut self, most_of_tenant: usize) -> Option<(Moment, u64, TenantId)> {
        while let Some(&(end, number, id)) = self.renewals.first() {
            let tenant = self.tenants.get_mut(&id)?;
            if tenant.permits < most_of(&self.shares, id, most_of_tenant) {
                return Some((end, number, id));
            }
            self.renewals.pop_first();
            tenant.most_urgent = None;
            self.passed_over.insert(id);
        }
        None
    }

    /// Since when the newcomer has waited whose turn it would be.
    fn first_newcomer(&mut self, most_of_tenant: usize) -> Option<(Moment, TenantId)> {
        while let Some(&id) = self.turns.front() {
            let tenant = self.tenants.get_mut(&id);
            if let Some(tenant) = tenant {
                let first = tenant.newcomers.values().next();
                let most = most_of(&self.shares, id, most_of_tenant);
                if let Some(first) = first.filter(|_| tenant.permits < most) {
                    return Some((first.since, id));
                }
                tenant.has_turn = false;
                if !tenant.newcomers.is_empty() {
                    self.passed_over.insert(id);
                } else if tenant.is_idle() {
                    self.tenants.remove(&id);
                }
            }
            self.turns.pop_front();
        }
        None
    }

    fn take_renewal(&mut self, end: Moment, number: u64, id: TenantId) -> Option<Next<P>> {
        let key = Key {
            tenant: id,
            hard_end: Some(end),
            number,
        };
        self.take(key, Purpose::Renewal)
    }

    fn take_newcomer(&mut self) -> Option<Next<P>> {
        let id = self.turns.pop_front()?;
        let tenant = self.tenants.get_mut(&id)?;
        // Filed again at the end of the line, if it has more.
        tenant.has_turn = false;
        let number = *tenant.newcomers.keys().next()?;
        let key = Key {
            tenant: id,
            hard_end: None,
            number,
        };
        self.renewals_in_a_row = 0;
        self.take(key, Purpose::Newcomer)
    }

    fn take(&mut self, key: Key, purpose: Purpose) -> Option<Next<P>> {
        // Counted first, so that the tenant is not forgotten in between.
        self.tenants.get_mut(&key.tenant)?.permits += 1;
        let waiter = self.remove(key)?;
        Some(Next {
            waiter,
            tenant: key.tenant,
            purpose,
        })
    }

    /// Puts a tenant where its places can be found, or forgets it.
    fn file(&mut self, id: TenantId) {
        let Some(tenant) = self.tenants.get_mut(&id) else {
            return;
        };
        let most_urgent = tenant.renewals.keys().next().copied();
        if most_urgent != tenant.most_urgent {
            if let Some((end, number)) = tenant.most_urgent {
                self.renewals.remove(&(end, number, id));
            }
            if let Some((end, number)) = most_urgent {
                self.renewals.insert((end, number, id));
            }
            tenant.most_urgent = most_urgent;
        }
        if !tenant.newcomers.is_empty() && !tenant.has_turn {
            tenant.has_turn = true;
            self.turns.push_back(id);
        }
        if tenant.is_idle() {
            self.tenants.remove(&id);
        }
    }
}

fn most_of(shares: &HashMap<TenantId, Share>, id: TenantId, most_of_tenant: usize) -> usize {
    let share = shares.get(&id).map(|share| share.most);
    share.unwrap_or(usize::MAX).min(most_of_tenant)
}

impl<P> Tenant<P> {
    fn is_idle(&self) -> bool {
        // One that has a turn stays until it comes: it gets no second one meanwhile.
        let waits = !self.newcomers.is_empty() || !self.renewals.is_empty() || self.has_turn;
        !waits && self.permits == 0
    }

    fn place(&self, key: Key) -> Option<&Place<P>> {
        match key.hard_end {
            Some(end) => self.renewals.get(&(end, key.number)),
            None => self.newcomers.get(&key.number),
        }
    }

    fn place_mut(&mut self, key: Key) -> Option<&mut Place<P>> {
        match key.hard_end {
            Some(end) => self.renewals.get_mut(&(end, key.number)),
            None => self.newcomers.get_mut(&key.number),
        }
    }

    fn take(&mut self, key: Key) -> Option<Place<P>> {
        match key.hard_end {
            Some(end) => self.renewals.remove(&(end, key.number)),
            None => self.newcomers.remove(&key.number),
        }
    }
}

impl<P> Default for Tenant<P> {
    fn default() -> Self {
        Self {
            newcomers: BTreeMap::new(),
            renewals: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            permits: 0,
            has_turn: false,
            most_urgent: None,
        }
    }
}
