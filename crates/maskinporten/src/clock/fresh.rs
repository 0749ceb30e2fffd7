//! [`FreshUntil`]: whether a moment is still ahead, by two coarse clock readings that cost half of an exact one.

use super::moment::{Moment, nanoseconds};

/// Two coarse readings, of a steady clock and of the wall clock.
///
/// The steady clock may stop in suspend, and the wall clock may be set. Either alone could make a token look
/// younger than it is; while both have moved on by the same time, neither has done so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoarseReading {
    pub(super) steady: u64,
    pub(super) wall: u64,
}

impl CoarseReading {
    /// An exact reading in the place of a coarse one, for clocks that have no other.
    pub(crate) fn exact(now: Moment) -> Self {
        Self {
            steady: now.as_nanoseconds(),
            wall: now.as_nanoseconds(),
        }
    }
}

/// A moment, and whether it is still ahead by a [`CoarseReading`].
///
/// The answer "no" needs an exact reading to confirm it: it is also given when the two clocks have moved
/// apart, after a suspend or because one of them was set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreshUntil {
    until: u64,
    apart: u64,
}

impl FreshUntil {
    /// How far the two clocks may move apart before they are not trusted: more than the ticks that
    /// coarse readings lag by, less than a token's margin of a second at its hard end.
    const TOLERANCE: u64 = 500_000_000;

    /// A moment, as readings after `reading` will see it; behind every reading if it is not ahead of `now`, also
    /// behind those that another thread took earlier.
    ///
    /// `reading` is taken before `now`: the time between the two makes the moment nearer, never farther.
    pub(crate) fn at(moment: Moment, now: Moment, reading: CoarseReading) -> Self {
        let CoarseReading { steady, wall } = reading;
        let until = match nanoseconds(now.until(moment)) {
            0 => 0,
            ahead => steady.saturating_add(ahead),
        };
        Self {
            until,
            apart: wall.wrapping_sub(steady),
        }
    }

    #[inline]
    pub(crate) fn is_ahead(&self, CoarseReading { steady, wall }: CoarseReading) -> bool {
        let moved = wall.wrapping_sub(steady).wrapping_sub(self.apart);
        steady < self.until && moved.wrapping_add(Self::TOLERANCE) <= 2 * Self::TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_ahead_until_it_is_passed_or_the_clocks_part() {
        let fresh = FreshUntil {
            until: 10_000_000_000,
            apart: 5_000_000_000,
        };
        let check = |steady: u64, wall: u64, ahead: bool| {
            let reading = CoarseReading { steady, wall };
            assert_eq!(fresh.is_ahead(reading), ahead, "{steady} {wall}");
        };
        let second = 1_000_000_000;
        check(9 * second, 14 * second, true);
        check(9 * second, 14 * second + 400_000_000, true);
        check(9 * second, 14 * second - 400_000_000, true);
        check(10 * second, 15 * second, false);
        // Suspended for an hour: one clock moved on.
        check(9 * second, 3614 * second, false);
        // Set back by ten seconds, or to before the epoch of the other.
        check(9 * second, 4 * second, false);
        check(9 * second, 0, false);
    }

    #[test]
    fn a_moment_that_is_passed_is_behind_earlier_readings_too() {
        let at = |second| Moment::PAST.after(std::time::Duration::from_secs(second));
        let exact = |second| CoarseReading::exact(at(second));
        for (now, is_ahead) in [(9, true), (10, false), (12, false)] {
            let fresh = FreshUntil::at(at(10), at(now), exact(now));
            assert_eq!(fresh.is_ahead(exact(9)), is_ahead, "{now}");
            assert!(!fresh.is_ahead(exact(11)), "{now}");
        }
    }
}
