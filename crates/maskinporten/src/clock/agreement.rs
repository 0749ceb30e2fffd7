//! A clock that runs on while the machine sleeps, made of two that may not.

/// How far the two may part before one is taken to have slept, or the other to have been set.
const TOLERANCE: i64 = 500_000_000;

/// Follows a steady clock, and the wall clock where that has moved on further.
///
/// A steady clock may stand still in suspend, and a wall clock may be set. What the wall clock gains
/// on the steady one is therefore time that the machine has slept, or that somebody has set: it is
/// added, for a token that is fetched once too often costs less than one that is used when it is over.
/// What it loses is not taken away.
#[derive(Debug)]
pub(super) struct Agreement {
    /// The wall clock's lead when the two last parted, in nanoseconds.
    apart: i64,
    /// What was added so far.
    ahead: u64,
}

impl Agreement {
    pub(super) fn new(steady: u64, wall: u64) -> Self {
        Self {
            apart: wall.wrapping_sub(steady) as i64,
            ahead: 0,
        }
    }

    pub(super) fn read(&mut self, steady: u64, wall: u64) -> u64 {
        let apart = wall.wrapping_sub(steady) as i64;
        let gained = apart.saturating_sub(self.apart);
        // Below that it is the resolution of the two, which must not add up.
        if gained > TOLERANCE {
            self.ahead = self.ahead.saturating_add(gained as u64);
        }
        if gained.saturating_abs() > TOLERANCE {
            self.apart = apart;
        }
        steady.saturating_add(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// What the wall clock shows when the steady one starts.
    const WALL: u64 = 1_800_000_000 * SECOND;

    #[track_caller]
    fn check(readings: &[(u64, u64)], expected: &[u64]) {
        let mut clock = Agreement::new(0, WALL);
        let read = |(steady, wall): &(u64, u64)| clock.read(steady * SECOND, WALL + wall * SECOND);
        let read: Vec<u64> = readings.iter().map(read).collect();
        let expected: Vec<u64> = expected.iter().map(|seconds| seconds * SECOND).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn it_follows_two_clocks_that_agree() {
        check(&[(1, 1), (60, 60), (7_200, 7_200)], &[1, 60, 7_200]);
    }

    #[test]
    fn time_that_was_slept_is_counted_once() {
        check(&[(10, 10), (10, 7_210), (20, 7_220)], &[10, 7_210, 7_220]);
    }

    #[test]
    fn a_wall_clock_that_is_set_back_takes_nothing_away() {
        check(
            &[(3_600, 0), (3_700, 100), (3_800, 200)],
            &[3_600, 3_700, 3_800],
        );
        // And forward again by an hour: better too old than too young.
        check(&[(3_600, 0), (3_700, 3_700)], &[3_600, 3_700 + 3_600]);
    }

    #[test]
    fn small_differences_do_not_add_up() {
        let mut clock = Agreement::new(0, WALL);
        for tick in 0..10_000_u64 {
            // One ticks every 16 ms, the other every 10.
            let (steady, wall) = (tick / 16 * 16_000_000, tick / 10 * 10_000_000);
            clock.read(steady, WALL + wall);
        }
        assert_eq!(clock.read(10 * SECOND, WALL + 10 * SECOND), 10 * SECOND);
    }
}
