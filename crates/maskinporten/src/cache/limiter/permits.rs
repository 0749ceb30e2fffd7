//! Permits: a semaphore whose size follows the server (additive increase, multiplicative decrease), with leases.
//!
//! - A server that answers 429, or 503 with a `Retry-After`, halves the number of permits; each success adds
//!   one, up to the number that was configured.
//! - A permit is leased: a fetch whose runtime is not driven any more loses it with its deadline.
//! - Probes of an open circuit are counted apart: they must not wait behind fetches that hang.

use std::time::Duration;

use super::TenantId;
use crate::clock::Moment;

/// As few as a server that is too busy leaves: one for newcomers, one for renewals.
const FEWEST: usize = 2;

/// Who may ask a server now, and how many.
#[derive(Debug)]
pub(super) struct Permits {
    most: usize,
    allowed: usize,
    /// When the number was last halved. Fetches that began before say nothing new about it.
    halved_at: Option<Moment>,
    leases: Vec<Lease>,
    last_number: u64,
}

/// One permit that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) number: u64,
    pub(super) tenant: TenantId,
    pub(super) purpose: Purpose,
    began: Moment,
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
            halved_at: None,
            leases: Vec::new(),
            last_number: 0,
        }
    }

    /// How many may be out now.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
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
            began: now,
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
    pub(super) fn throttle(&mut self, number: u64, now: Moment) {
        let lease = self.leases.iter().find(|lease| lease.number == number);
        let is_news = |lease: &Lease| self.halved_at.is_none_or(|at| lease.began >= at);
        if lease.is_some_and(is_news) {
            self.allowed = (self.allowed / 2).max(FEWEST.min(self.most));
            self.halved_at = Some(now);
        }
    }

    /// Adds one: the server has given a token.
    pub(super) fn widen(&mut self) {
        self.allowed = (self.allowed + 1).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::PAST.after(SECOND * u32::try_from(seconds).unwrap())
    }

    #[test]
    fn a_busy_server_halves_them_once_for_all_that_were_out_and_each_success_adds_one() {
        let mut permits = Permits::new(32);
        let out: Vec<u64> = (0..32)
            .map(|_| permits.lease(TenantId(0), Purpose::Newcomer, at(1), SECOND))
            .collect();
        for number in &out {
            permits.throttle(*number, at(2));
        }
        assert_eq!(permits.allowed(), 16);
        for second in 2..9 {
            let number = permits.lease(TenantId(0), Purpose::Newcomer, at(second), SECOND);
            permits.throttle(number, at(second));
        }
        assert_eq!(permits.allowed(), FEWEST);
        for _ in 0..100 {
            permits.widen();
        }
        assert_eq!(permits.allowed(), 32);
    }

    #[test]
    fn one_that_is_lost_is_taken_back_once() {
        let mut permits = Permits::new(1);
        let number = permits.lease(TenantId(3), Purpose::Renewal, at(1), SECOND);
        assert_eq!(permits.next_lost(), Some(at(2)));
        assert!(permits.take_lost(at(1)).is_none());
        assert_eq!(
            permits.take_lost(at(2)).map(|lease| lease.tenant),
            Some(TenantId(3))
        );
        assert!(permits.take_back(number).is_none());
        assert_eq!(permits.held(), 0);
    }

    #[test]
    fn probes_are_counted_apart() {
        let mut permits = Permits::new(4);
        permits.lease(TenantId(0), Purpose::Probe, at(1), SECOND);
        assert_eq!((permits.held(), permits.held_by_newcomers()), (0, 0));
    }
}
