//! Circuit breakers: one for each tenant, and one for the authority that all tenants ask.
//!
//! - A tenant's circuit opens when fetches of two of its identities have failed about the server, and none of it
//!   was answered in between. It lets one probe through every 30 s, and one a second of identities whose last fetch
//!   succeeded. A tenant with one identity needs none: what is remembered of that identity is its circuit.
//! - The authority's opens when two tenants, or two identities of the only one there is, have failed about the server
//!   and none was answered since. It lets at most one probe a second through. The first answer closes it, and every
//!   tenant's with it.
//! - It opens for the credentials too: when two tenants, or two identities of the only tenant, were given a refusal
//!   of the credentials and no fetch has succeeded in between. Those who were given it probe after pauses of 1 s
//!   growing to 60 s.
//! - While it is open, an identity whose last fetch succeeded, or whose tenant has met no failure, waits for a probe
//!   and may be it. All others fail at once with an error that names no tenant.
//!
//! Nothing here knows a clock, a lock or a token. `E` is an error as those may see it who did not cause it.

use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::super::sync::{AtomicU64, Ordering};
use super::TenantId;
use crate::clock::Moment;

#[cfg(test)]
#[cfg(not(explored))]
mod tests;

/// The pause between two probes of an authority.
pub(super) const PROBED_EVERY: Duration = Duration::from_secs(1);

/// The pause before the first one: who has met no failure finds out soon whether others' was their own.
const FIRST_PROBE_AFTER: Duration = Duration::from_millis(250);

/// How long after a probe has gone those who come wait for what it brings.
const AWAITED_FOR: Duration = Duration::from_millis(500);

/// The pause between two probes of one tenant, while the authority serves others.
pub(super) const TENANT_PROBED_EVERY: Duration = Duration::from_secs(30);

/// The longest pause between two probes of refused credentials: a person has to act.
const CREDENTIALS_PROBED_EVERY: Duration = Duration::from_secs(60);

/// All circuits of one authority.
pub(super) struct Circuits<E> {
    tenants: Slab<Tenant<E>>,
    authority: Option<Open<E>>,
    /// Counts answers, so that what was noted before the last one is told apart.
    answers: u64,
    /// How many tenants have had an open circuit, and a failure, since the last answer.
    failing: usize,
    /// Who was last given a refusal of the credentials, if no fetch has succeeded since.
    refused: Option<Identity>,
    /// How often the authority's circuit was opened.
    openings: u64,
}

/// One identity of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) tenant: TenantId,
    pub(super) number: u64,
}

struct Tenant<E> {
    /// How many identities it has in the cache.
    identities: usize,
    failed: Failed,
    /// The number of answers when it was last counted as failing.
    counted_at: Option<u64>,
    open: Option<Open<E>>,
    /// The opening of the authority's circuit whose failed probe it knows.
    told_of: u64,
    /// How often its circuit was closed.
    recoveries: Arc<AtomicU64>,
}

/// Which identities of a tenant have failed since its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    None,
    One(u64),
    Several,
}

struct Open<E> {
    about: About,
    error: E,
    /// When one may probe that has met no failure, and when any other may.
    first_at: Moment,
    next_at: Moment,
    probes: u32,
    /// When the probe went that is under way.
    probed_at: Option<Moment>,
}

/// What a circuit is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Server,
    Credentials,
}

/// What may become of a fetch now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate<E> {
    /// It may wait for a permit.
    Pass,
    /// It is the probe.
    Probe(Probe),
    /// It waits for a probe: for any, or only for one that went for it. The next one may go then.
    Park(Waits, Moment),
    /// It fails, with an error that is remembered until then.
    Refuse(E, Moment),
}

/// For which probe one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// For the one that is under way, also one of those who have failed.
    ForAny,
    /// For one of those who have met no failure.
    ForTelling,
}

/// Whose probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Of one that has met no failure: if it fails, those who wait for a probe are told.
    Telling,
    /// Of one that has: its failure says nothing about others.
    Other,
}

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Ending<E> {
    /// With a token, or with a refusal that shows that the credentials are good.
    Served,
    /// With a refusal that is about this request.
    Answered,
    /// The error is as others may see it.
    Failed(About, E),
    /// Without a word about the server: cancelled, throttled, or stopped by what is not the server's.
    Unknown,
}

/// What changed when a fetch ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The authority's circuit has opened: all who wait are told.
    Opened(About),
    /// A tenant's circuit has opened: those of it who wait are told.
    OpenedOfTenant,
    /// The authority's circuit has closed: all who wait for a probe may go.
    Closed,
    /// A tenant's circuit has closed.
    ClosedOfTenant,
}

impl<E: Clone> Circuits<E> {
    pub(super) fn new() -> Self {
        Self {
            tenants: Slab::new(),
            authority: None,
            answers: 0,
            failing: 0,
            refused: None,
            openings: 0,
        }
    }

    /// Adds a tenant without identities. `recoveries` counts how often its circuit was closed.
    pub(super) fn add(&mut self, recoveries: Arc<AtomicU64>) -> TenantId {
        TenantId(self.tenants.insert(Tenant {
            identities: 0,
            failed: Failed::None,
            counted_at: None,
            open: None,
            told_of: 0,
            recoveries,
        }))
    }

    /// One more identity of a tenant.
    pub(super) fn join(&mut self, id: TenantId) {
        if let Some(tenant) = self.tenants.get_mut(id.0) {
            tenant.identities += 1;
        }
    }

    /// One less. True where it was the last: the tenant is forgotten, with what it has met. Were that still counted,
    /// a tenant that is forgotten and comes back would be two.
    pub(super) fn leave(&mut self, id: TenantId, dropped: &mut Vec<E>) -> bool {
        let Some(tenant) = self.tenants.get_mut(id.0) else {
            return false;
        };
        tenant.identities -= 1;
        if tenant.identities > 0 {
            return false;
        }
        let tenant = self.tenants.remove(id.0);
        dropped.extend(tenant.open.map(|open| open.error));
        let was_counted = tenant.counted_at == Some(self.answers);
        self.failing = self.failing.saturating_sub(usize::from(was_counted));
        self.refused = self.refused.filter(|refused| refused.tenant != id);
        true
    }

    /// Whether there is no other tenant than one.
    pub(super) fn has_one_tenant(&self) -> bool {
        self.tenants.len() == 1
    }

    /// How many circuits are open: the authority's, and those of tenants.
    pub(super) fn count_open(&self) -> usize {
        let is_open = |(_, tenant): &(usize, &Tenant<E>)| tenant.open.is_some();
        self.tenants.iter().filter(is_open).count() + usize::from(self.authority.is_some())
    }

    /// When a probe of the authority may go next, for those who wait for it.
    pub(super) fn next_probe(&self) -> Option<Moment> {
        self.authority.as_ref().map(|open| open.first_at)
    }

    /// Whether an identity may fetch now. `is_proven`: its last fetch succeeded.
    pub(super) fn gate(&mut self, of: TenantId, is_proven: bool, now: Moment) -> Gate<E> {
        let Some(tenant) = self.tenants.get_mut(of.0) else {
            return Gate::Pass;
        };
        if let Some(open) = &mut self.authority {
            let is_unscathed = tenant.failed == Failed::None && tenant.told_of != self.openings;
            let is_first = is_proven || is_unscathed;
            // What one meets whose tenant has failed before says nothing about others.
            let (probe, waits) = if is_unscathed {
                (Probe::Telling, Waits::ForTelling)
            } else {
                (Probe::Other, Waits::ForAny)
            };
            let due = if is_first {
                open.first_at
            } else {
                open.next_at
            };
            let is_awaited = |at: Moment| now < at.after(AWAITED_FOR);
            return if now >= due {
                open.probed(now);
                Gate::Probe(probe)
            } else if is_first || open.probed_at.is_some_and(is_awaited) {
                Gate::Park(waits, due)
            } else {
                Gate::Refuse(open.error.clone(), open.next_at)
            };
        }
        if let Some(open) = &mut tenant.open {
            // Its own warm identities need not wait for those that fail.
            let due = if is_proven {
                open.first_at
            } else {
                open.next_at
            };
            return if now >= due {
                open.probed_by_tenant(is_proven, now);
                Gate::Probe(Probe::Other)
            } else if is_proven {
                Gate::Park(Waits::ForTelling, due)
            } else {
                Gate::Refuse(open.error.clone(), open.next_at)
            };
        }
        Gate::Pass
    }

    /// Notes that a probe has ended: there is nothing to wait for until the next one goes.
    pub(super) fn probe_ended(&mut self) {
        if let Some(open) = &mut self.authority {
            open.probed_at = None;
        }
    }

    /// Notes that a tenant's probe was broken off before it was answered: another may go at once.
    pub(super) fn probe_lost(&mut self, of: TenantId, now: Moment) {
        if let Some(open) = self
            .tenants
            .get_mut(of.0)
            .and_then(|tenant| tenant.open.as_mut())
        {
            open.first_at = now;
            open.next_at = now;
        }
    }

    /// Notes that a tenant that waited for a probe was told that it failed: it waits for no other.
    pub(super) fn tell(&mut self, of: TenantId) {
        let openings = self.openings;
        if let Some(tenant) = self.tenants.get_mut(of.0) {
            tenant.told_of = openings;
        }
    }

    /// The error that those are given who may not fetch, and until when.
    pub(super) fn refusal(&self, of: TenantId) -> Option<(E, Moment)> {
        let open = self.authority.as_ref();
        let open = open.or_else(|| self.tenants.get(of.0)?.open.as_ref())?;
        Some((open.error.clone(), open.next_at))
    }

    /// Forgets what has failed: credentials or servers are others now, or may be.
    pub(super) fn reset(&mut self) -> Vec<E> {
        self.refused = None;
        self.close()
    }

    /// Notes how a fetch ended.
    ///
    /// Errors that are held no longer are added to `dropped`, to be dropped under no lock.
    pub(super) fn note(
        &mut self,
        of: Identity,
        ending: Ending<E>,
        now: Moment,
        dropped: &mut Vec<E>,
    ) -> Change {
        match ending {
            Ending::Unknown => Change::Nothing,
            Ending::Served => {
                self.refused = None;
                self.answered(of, true, dropped)
            }
            Ending::Answered => self.answered(of, false, dropped),
            Ending::Failed(About::Server, error) => self.failed(of, error, now, dropped),
            Ending::Failed(About::Credentials, error) => {
                // The server is there.
                let change = self.answered(of, false, dropped);
                match self.credentials_refused(of, error, now, dropped) {
                    Change::Nothing => change,
                    opened => opened,
                }
            }
        }
    }

    fn answered(&mut self, of: Identity, is_served: bool, dropped: &mut Vec<E>) -> Change {
        self.answers += 1;
        self.failing = 0;
        let is_over = |open: &Open<E>| is_served || open.about == About::Server;
        if self.authority.as_ref().is_some_and(is_over) {
            dropped.extend(self.close());
            return Change::Closed;
        }
        let Some(tenant) = self.tenants.get_mut(of.tenant.0) else {
            return Change::Nothing;
        };
        tenant.failed = Failed::None;
        match tenant.open.take() {
            Some(open) => {
                dropped.push(open.error);
                tenant.recoveries.fetch_add(1, Ordering::Relaxed);
                Change::ClosedOfTenant
            }
            None => Change::Nothing,
        }
    }

    fn failed(&mut self, of: Identity, error: E, now: Moment, dropped: &mut Vec<E>) -> Change {
        let only_tenant = self.has_one_tenant();
        let Some(tenant) = self.tenants.get_mut(of.tenant.0) else {
            dropped.push(error);
            return Change::Nothing;
        };
        tenant.failed = match tenant.failed {
            Failed::None => Failed::One(of.number),
            Failed::One(number) if number == of.number => tenant.failed,
            Failed::One(_) | Failed::Several => Failed::Several,
        };
        let several = tenant.failed == Failed::Several;
        let opens = several && tenant.open.is_none();
        if opens {
            tenant.open = Some(Open::of_tenant(error.clone(), now));
        }
        if tenant.counted_at != Some(self.answers) {
            tenant.counted_at = Some(self.answers);
            self.failing += 1;
        }
        // A client with one identity has no other to protect.
        let is_down = self.failing > 1 || (only_tenant && several);
        if self.authority.is_none() && is_down {
            self.open(Open::of_server(error, now));
            return Change::Opened(About::Server);
        }
        dropped.push(error);
        match opens && self.authority.is_none() {
            true => Change::OpenedOfTenant,
            false => Change::Nothing,
        }
    }

    fn credentials_refused(
        &mut self,
        of: Identity,
        error: E,
        now: Moment,
        dropped: &mut Vec<E>,
    ) -> Change {
        let only_tenant = self.has_one_tenant();
        let before = self.refused.replace(of);
        let is_another = |before: Identity| match only_tenant {
            true => before.number != of.number,
            false => before.tenant != of.tenant,
        };
        if let Some(open) = self.authority.as_mut() {
            if let Some(tenant) = self.tenants.get_mut(of.tenant.0) {
                tenant.told_of = self.openings;
            }
            // The next pause is longer.
            open.next_at = open.next_at.max(now.after(open.pause()));
            dropped.push(std::mem::replace(&mut open.error, error));
            return Change::Nothing;
        }
        if !before.is_some_and(is_another) {
            dropped.push(error);
            return Change::Nothing;
        }
        self.open(Open::of_credentials(error, now));
        for identity in before.into_iter().chain([of]) {
            self.tell(identity.tenant);
        }
        Change::Opened(About::Credentials)
    }

    fn open(&mut self, open: Open<E>) {
        self.openings += 1;
        self.authority = Some(open);
    }

    /// Closes every circuit.
    fn close(&mut self) -> Vec<E> {
        self.failing = 0;
        self.answers += 1;
        let of_tenants = self.tenants.iter_mut().filter_map(|(_, tenant)| {
            tenant.failed = Failed::None;
            tenant.open.take()
        });
        let mut closed: Vec<E> = of_tenants.map(|open| open.error).collect();
        closed.extend(self.authority.take().map(|open| open.error));
        closed
    }
}

impl<E> Open<E> {
    fn of_server(error: E, now: Moment) -> Self {
        Self {
            about: About::Server,
            error,
            first_at: now.after(FIRST_PROBE_AFTER),
            next_at: now.after(PROBED_EVERY),
            probes: 0,
            probed_at: None,
        }
    }

    fn of_credentials(error: E, now: Moment) -> Self {
        Self {
            about: About::Credentials,
            ..Self::of_server(error, now)
        }
    }

    fn of_tenant(error: E, now: Moment) -> Self {
        Self {
            next_at: now.after(TENANT_PROBED_EVERY),
            ..Self::of_server(error, now)
        }
    }

    /// Notes that a probe goes now.
    fn probed(&mut self, now: Moment) {
        self.probes = self.probes.saturating_add(1);
        self.probed_at = Some(now);
        self.first_at = now.after(PROBED_EVERY);
        self.next_at = now.after(self.pause());
    }

    /// Notes that a probe of this tenant goes now.
    fn probed_by_tenant(&mut self, is_proven: bool, now: Moment) {
        self.first_at = now.after(PROBED_EVERY);
        if !is_proven {
            self.next_at = now.after(TENANT_PROBED_EVERY);
        }
    }

    fn pause(&self) -> Duration {
        match self.about {
            About::Server => PROBED_EVERY,
            About::Credentials => PROBED_EVERY
                .saturating_mul(1 << self.probes.min(6))
                .min(CREDENTIALS_PROBED_EVERY),
        }
    }
}
