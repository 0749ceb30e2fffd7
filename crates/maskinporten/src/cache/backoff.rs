//! How long a failure is remembered: a refusal from 1 s to 60 s, an outage from 0.5 s to 30 s, doubled
//! with each one in a row.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use crate::error::Error;

/// How long a refusal is remembered: somebody has to act to end it.
const REFUSED_FOR: Span = Duration::from_secs(1)..=Duration::from_secs(60);

/// How long an outage is remembered: shorter, since nobody has to act to end it.
const UNREACHABLE_FOR: Span = Duration::from_millis(500)..=Duration::from_secs(30);

/// The most a server's `Retry-After` is honoured: longer is a mistake of somebody's.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What is added at most, drawn anew each time: those who failed together do not come back together.
const SPREAD: f64 = 0.2;

type Span = RangeInclusive<Duration>;

/// How long nobody asks again, and whether that makes the next pause longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) time: Duration,
    pub(crate) counts: bool,
}

/// The pause after a failure that follows `in_a_row` others. `longest_outage` bounds what an outage
/// grows to; `chance` is from 0 up to 1.
pub(crate) fn pause(
    error: &Error,
    in_a_row: u32,
    longest_outage: Option<Duration>,
    wall: SystemTime,
    chance: f64,
) -> Pause {
    // An error that says when comes from somebody's memory, who will not be asked before then.
    if let Some(at) = error.retry_at() {
        let known = at.duration_since(wall).unwrap_or_default();
        return Pause {
            time: known.min(LONGEST_RETRY_AFTER),
            counts: false,
        };
    }
    let span = match error.is_transient() {
        true => UNREACHABLE_FOR,
        false => REFUSED_FOR,
    };
    let longest = match longest_outage {
        Some(longest) if error.is_transient() => longest,
        _ => *span.end(),
    };
    let doubled = span.start().saturating_mul(1 << in_a_row.min(8));
    let spread = doubled.min(longest).mul_f64(1.0 + SPREAD * chance);
    let wished = error.retry_after().unwrap_or_default();
    Pause {
        time: spread.min(longest).max(wished.min(LONGEST_RETRY_AFTER)),
        counts: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[track_caller]
    fn check(error: &Error, in_a_row: u32, least: u64, most: u64) {
        let at = |chance| pause(error, in_a_row, None, NOW, chance).time.as_millis();
        assert_eq!((at(0.0), at(1.0)), (least.into(), most.into()));
    }

    #[test]
    fn a_refusal_is_remembered_from_one_second_to_a_minute() {
        let refusal = Error::new(ErrorKind::Rejected, "no");
        check(&refusal, 0, 1_000, 1_200);
        check(&refusal, 1, 2_000, 2_400);
        check(&refusal, 5, 32_000, 38_400);
        check(&refusal, 6, 60_000, 60_000);
        check(&refusal, u32::MAX, 60_000, 60_000);
    }

    #[test]
    fn an_outage_is_remembered_from_half_a_second_to_half_a_minute() {
        let outage = Error::new(ErrorKind::Unreachable, "silence");
        check(&outage, 0, 500, 600);
        check(&outage, 3, 4_000, 4_800);
        check(&outage, 6, 30_000, 30_000);
        check(&outage, u32::MAX, 30_000, 30_000);
    }

    #[test]
    fn an_outage_may_be_bounded_lower_and_a_refusal_is_not() {
        let longest = Some(Duration::from_secs(5));
        let after = |kind| pause(&Error::new(kind, "no"), 9, longest, NOW, 1.0).time;
        assert_eq!(after(ErrorKind::Unreachable), Duration::from_secs(5));
        assert_eq!(after(ErrorKind::Rejected), Duration::from_secs(60));
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_for_a_minute_at_most() {
        let asking = |seconds| {
            Error::new(ErrorKind::Unavailable, "busy")
                .with_retry_after(Some(Duration::from_secs(seconds)))
        };
        check(&asking(0), 0, 500, 600);
        check(&asking(7), 0, 7_000, 7_000);
        check(&asking(86_400), 0, 60_000, 60_000);
    }

    #[test]
    fn what_comes_from_a_memory_is_remembered_as_long_as_there() {
        let known = |seconds| {
            Error::new(ErrorKind::Unreachable, "silence")
                .with_retry_at(NOW + Duration::from_secs(seconds))
        };
        check(&known(7), 3, 7_000, 7_000);
        check(&known(86_400), 0, 60_000, 60_000);
        assert!(!pause(&known(7), 3, None, NOW, 0.5).counts);
    }
}
