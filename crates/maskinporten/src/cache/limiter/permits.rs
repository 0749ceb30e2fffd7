//! Permits: a semaphore whose size follows the server (additive increase, multiplicative decrease), with leases.
//!
//! - A server that answers 429, or 503 with a `Retry-After`, halves the number of permits; each success adds
//!   one, up to the number that was configured.
//! - A permit is leased: a fetch whose runtime is not driven any more loses it with its deadline.
//! - Probes of an open circuit are counted apart: they must not wait behind fetches that hang.

use std::time::Duration;

use super::TenantId;
use crate::clock::Moment;

#[cfg(test)]
#[cfg(not(explored))]
mod tests;

/// As few as a server that is too busy leaves: one for newcomers, one for renewals.
const FEWEST: usize = 2;

/// Who may ask a server now, and how many.
#[derive(Debug)]
pub(super) struct Permits {
    most: usize,
    allowed: usize,
    /// How often the number was halved. Fetches that began before the last time say nothing new about it.
    halvings: u64,
    leases: Vec<Lease>,
    last_number: u64,
}

/// One permit that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) number: u64,
    pub(super) tenant: TenantId,
    pub(super) purpose: Purpose,
    /// How often their number had been halved when it was given out.
    halvings: u64,
    lost_at: Moment,
}

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Newcomer,
    Renewal,
    /// Of an open circuit.
    Probe,
}

impl Permits {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            most,
            allowed: most,
            halvings: 0,
            leases: Vec::new(),
            last_number: 0,
        }
    }

    /// How many may be out now.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    /// The number of the one that was given out last.
    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// How many are out, probes aside.
    pub(super) fn held(&self) -> usize {
        let is_counted = |lease: &&Lease| lease.purpose != Purpose::Probe;
        self.leases.iter().filter(is_counted).count()
    }

    pub(super) fn held_by_newcomers(&self) -> usize {
        let is_newcomer = |lease: &&Lease| lease.purpose == Purpose::Newcomer;
        self.leases.iter().filter(is_newcomer).count()
    }

    /// Gives one out for `time`.
    pub(super) fn lease(
        &mut self,
        tenant: TenantId,
        purpose: Purpose,
        now: Moment,
        time: Duration,
    ) -> u64 {
        self.last_number += 1;
        self.leases.push(Lease {
            number: self.last_number,
            tenant,
            purpose,
            halvings: self.halvings,
            lost_at: now.after(time),
        });
        self.last_number
    }

    /// Takes one back. `None` where it was lost or taken back before.
    pub(super) fn take_back(&mut self, number: u64) -> Option<Lease> {
        let at = self
            .leases
            .iter()
            .position(|lease| lease.number == number)?;
        Some(self.leases.swap_remove(at))
    }

    /// Takes one back whose time is over.
    pub(super) fn take_lost(&mut self, now: Moment) -> Option<Lease> {
        let at = self.leases.iter().position(|lease| now >= lease.lost_at)?;
        Some(self.leases.swap_remove(at))
    }

    /// When the first one is lost.
    pub(super) fn next_lost(&self) -> Option<Moment> {
        self.leases.iter().map(|lease| lease.lost_at).min()
    }

    /// Halves their number: the server asked for less. Once for all that were out at that time.
    pub(super) fn throttle(&mut self, number: u64) {
        let lease = self.leases.iter().find(|lease| lease.number == number);
        if lease.is_some_and(|lease| lease.halvings == self.halvings) {
            self.allowed = (self.allowed / 2).max(FEWEST.min(self.most));
            self.halvings += 1;
        }
    }

    /// Adds one: the server has given a token.
    pub(super) fn widen(&mut self) {
        self.allowed = (self.allowed + 1).min(self.most);
    }
}
