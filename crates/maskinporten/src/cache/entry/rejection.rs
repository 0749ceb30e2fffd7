//! Backoff for rejected tokens: how often a token that an API did not accept is replaced.
//!
//! - The first rejection starts a replacement. The next one does so 30 s after that at the earliest.
//! - A token that a replacement brought, and that is rejected within 30 s, was rejected for another reason
//!   than its age: the pause is doubled for each such token in a row, up to 600 s.
//! - No clock and no fetch is known here: a caller brings `now`, and reports what it started and what came.

use std::time::Duration;

use crate::clock::Moment;

/// A rejected token is replaced at most this often. One that is rejected within this time after it came was
/// fetched in vain.
const SHORTEST_PAUSE: Duration = Duration::from_secs(30);

/// An API that refuses for another reason costs one fetch in this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What was done about rejected tokens since the last invalidation.
#[derive(Debug, Default)]
pub(crate) struct RejectionBackoff {
    /// The last replacement that was started.
    last: Option<Replacement>,
    /// Whether the fetch that is under way is that replacement.
    is_pending: bool,
    /// The token of the last replacement that brought one.
    brought: Option<Brought>,
}

/// A replacement that may be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replacement {
    at: Moment,
    /// How many replacements in a row before it were in vain.
    in_vain: u32,
}

#[derive(Debug)]
struct Brought {
    generation: u64,
    at: Moment,
    /// Whether it was rejected within [`SHORTEST_PAUSE`]. A later rejection is then for the same reason.
    in_vain: bool,
}

impl RejectionBackoff {
    /// Notes that the token of this generation, the current one, was rejected. Gives nothing where it is too
    /// early to replace it.
    pub(crate) fn admits(&mut self, rejected: u64, now: Moment) -> Option<Replacement> {
        let brought = self.brought.as_mut();
        let was_in_vain = brought.is_some_and(|brought| brought.is_in_vain(rejected, now));
        let Some(last) = self.last else {
            return Some(Replacement {
                at: now,
                in_vain: 0,
            });
        };
        let in_vain = if was_in_vain {
            last.in_vain.saturating_add(1)
        } else {
            0
        };
        // 2⁵ · 30 s is more than the longest pause.
        let pause = SHORTEST_PAUSE.saturating_mul(1 << in_vain.min(5));
        let is_early = now < last.at.after(pause.min(LONGEST_PAUSE));
        (!is_early).then_some(Replacement { at: now, in_vain })
    }

    /// Notes that a replacement was started, or that the fetch under way serves as one.
    pub(crate) fn begin(&mut self, replacement: Replacement) {
        self.last = Some(replacement);
        self.is_pending = true;
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Notes that the fetch under way has ended. Gives whether it was a replacement.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::take(&mut self.is_pending)
    }

    /// Notes the token that a replacement brought.
    pub(crate) fn brought(&mut self, generation: u64, now: Moment) {
        self.brought = Some(Brought {
            generation,
            at: now,
            in_vain: false,
        });
    }
}

impl Brought {
    fn is_in_vain(&mut self, rejected: u64, now: Moment) -> bool {
        if self.generation != rejected {
            return false;
        }
        self.in_vain |= now < self.at.after(SHORTEST_PAUSE);
        self.in_vain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: u64) -> Moment {
        Moment::from_nanoseconds(second * 1_000_000_000)
    }

    /// The second from `from` on at which a rejection in each second starts a replacement.
    fn replaced_at(backoff: &mut RejectionBackoff, generation: u64, from: u64) -> u64 {
        let admitted = (from..from + 10_000).find_map(|second| {
            let replacement = backoff.admits(generation, at(second))?;
            Some((second, replacement))
        });
        let (second, replacement) = admitted.unwrap();
        backoff.begin(replacement);
        second
    }

    fn land(backoff: &mut RejectionBackoff, generation: u64, second: u64) {
        assert!(backoff.end());
        backoff.brought(generation, at(second));
    }

    #[test]
    fn an_api_that_refuses_for_another_reason_costs_a_fetch_in_60_s_and_later_in_600_s() {
        let mut backoff = RejectionBackoff::default();
        let mut last = replaced_at(&mut backoff, 1, 1_000);
        assert_eq!(last, 1_000);
        for (generation, pause) in (2..).zip([60, 120, 240, 480, 600, 600, 600]) {
            land(&mut backoff, generation, last + 1);
            let next = replaced_at(&mut backoff, generation, last + 1);
            assert_eq!(next - last, pause, "generation {generation}");
            last = next;
        }
    }

    #[test]
    fn a_token_that_was_accepted_for_30_s_was_not_fetched_in_vain() {
        let mut backoff = RejectionBackoff::default();
        replaced_at(&mut backoff, 1, 1_000);
        land(&mut backoff, 2, 1_001);
        // In vain.
        assert_eq!(replaced_at(&mut backoff, 2, 1_030), 1_060);
        land(&mut backoff, 3, 1_061);
        assert_eq!(replaced_at(&mut backoff, 3, 1_091), 1_091);
        land(&mut backoff, 4, 1_092);
        // The row of those in vain begins again.
        assert_eq!(replaced_at(&mut backoff, 4, 1_092), 1_151);
    }

    #[test]
    fn a_token_that_no_replacement_brought_is_replaced_after_30_s() {
        let mut backoff = RejectionBackoff::default();
        replaced_at(&mut backoff, 1, 1_000);
        land(&mut backoff, 2, 1_001);
        assert!(backoff.admits(2, at(1_002)).is_none());
        // A renewal brought the third.
        assert_eq!(replaced_at(&mut backoff, 3, 1_003), 1_030);
        land(&mut backoff, 4, 1_031);
        // One in vain, not two.
        assert_eq!(replaced_at(&mut backoff, 4, 1_031), 1_090);
    }

    #[test]
    fn a_replacement_that_is_pending_or_brought_nothing_is_followed_after_30_s() {
        let mut backoff = RejectionBackoff::default();
        replaced_at(&mut backoff, 1, 1_000);
        assert!(backoff.is_pending());
        assert!(backoff.admits(1, at(1_029)).is_none());
        assert!(backoff.end());
        assert!(!backoff.is_pending() && !backoff.end());
        assert!(backoff.admits(1, at(1_029)).is_none());
        assert_eq!(replaced_at(&mut backoff, 1, 1_029), 1_030);
    }
}
