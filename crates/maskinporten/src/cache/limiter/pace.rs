//! Pacing: how fast fetches start while a server asks all for fewer requests.
//!
//! Permits bound how many fetches are under way. Of a server that answers 429 at once they bound next to nothing. So
//! where two tenants, or two identities of the only one, were answered like this and none was served for a second,
//! one fetch a second starts, until one is served. One tenant alone slows no other down, and neither does a server
//! that serves some in each second.

use std::time::Duration;

use super::circuit::Identity;
use crate::clock::Moment;

/// The pause between two starts.
const STARTS_EVERY: Duration = Duration::from_secs(1);

/// When the next fetch may start.
#[derive(Debug, Default)]
pub(super) struct Pace {
    throttled: Option<Throttled>,
    /// Set while all are.
    next_start: Option<Moment>,
}

/// Who was asked for fewer requests since one was last served.
#[derive(Debug)]
struct Throttled {
    first: Identity,
    since: Moment,
    are_several: bool,
}

impl Pace {
    /// Notes that the server has asked for fewer requests.
    pub(super) fn throttle(&mut self, of: Identity, is_only_tenant: bool, now: Moment) {
        let throttled = self.throttled.get_or_insert(Throttled {
            first: of,
            since: now,
            are_several: false,
        });
        throttled.are_several |= if is_only_tenant {
            throttled.first.number != of.number
        } else {
            throttled.first.tenant != of.tenant
        };
        if throttled.are_several && now >= throttled.since.after(STARTS_EVERY) {
            self.next_start.get_or_insert(now.after(STARTS_EVERY));
        }
    }

    /// Whether more than one was asked for fewer requests since one was last served.
    pub(super) fn are_several_throttled(&self) -> bool {
        self.throttled
            .as_ref()
            .is_some_and(|throttled| throttled.are_several)
    }

    /// Notes that a fetch was served.
    pub(super) fn served(&mut self) {
        *self = Self::default();
    }

    pub(super) fn may_start(&self, now: Moment) -> bool {
        self.next_start.is_none_or(|at| now >= at)
    }

    /// Notes that a fetch starts.
    pub(super) fn started(&mut self, now: Moment) {
        if let Some(next) = &mut self.next_start {
            *next = now.after(STARTS_EVERY);
        }
    }

    /// When the next fetch may start, where it has to wait for that.
    pub(super) fn next_start(&self) -> Option<Moment> {
        self.next_start
    }
}

#[cfg(all(test, not(explored)))]
mod tests {
    use super::super::TenantId;
    use super::*;

    fn identity(tenant: usize, number: u64) -> Identity {
        Identity {
            tenant: TenantId(tenant),
            number,
        }
    }

    fn at(milliseconds: u64) -> Moment {
        Moment::PAST.after(Duration::from_millis(milliseconds))
    }

    #[test]
    fn one_tenant_alone_slows_no_other_down() {
        let mut pace = Pace::default();
        for number in 0..10 {
            pace.throttle(identity(0, number), false, at(1_000 * number));
        }
        assert!(pace.may_start(at(10_000)));
        pace.throttle(identity(1, 10), false, at(10_000));
        assert!(!pace.may_start(at(10_000)));
    }

    #[test]
    fn a_server_that_serves_some_in_each_second_slows_none_down() {
        let mut pace = Pace::default();
        for second in 0..10 {
            pace.served();
            for number in 0..10 {
                pace.throttle(identity(0, number), true, at(1_000 * second + 90 * number));
            }
            assert!(pace.may_start(at(1_000 * second + 900)));
        }
    }

    #[test]
    fn while_all_are_asked_for_fewer_requests_one_starts_a_second() {
        let mut pace = Pace::default();
        pace.throttle(identity(0, 0), true, at(0));
        pace.throttle(identity(0, 1), true, at(999));
        assert!(pace.may_start(at(999)));
        pace.throttle(identity(0, 0), true, at(1_000));
        assert!(!pace.may_start(at(1_999)));
        assert!(pace.may_start(at(2_000)));
        pace.started(at(2_500));
        assert_eq!(pace.next_start(), Some(at(3_500)));
        assert!(!pace.may_start(at(3_499)));
        pace.served();
        assert!(pace.may_start(at(2_500)));
    }
}
