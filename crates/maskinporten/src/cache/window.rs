//! When a token is renewed, and when it is no longer used: shares of its life, not fixed margins.
//!
//! A token may live for two minutes or two hours. A fixed margin of minutes would leave nothing of
//! the former to cache, and one of seconds would not cover a slow renewal of the latter.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::clock::Moment;

/// Share of a token's life after which the next request starts its renewal, drawn anew for each
/// token, so that replicas that started together drift apart.
pub(crate) const REFRESH_SHARE: RangeInclusive<f64> = 0.70..=0.80;

/// Share of a token's life that is never used: 5 %, at least 1 s and at most 30 s.
///
/// It covers what passes between our last look at the clock and the server's: the request's way, and
/// clocks that run apart.
pub(crate) const EXPIRY_MARGIN_SHARE: f64 = 0.05;
const EXPIRY_MARGIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);

/// The moments of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// From here on the next request starts a renewal, and goes on with this token.
    pub(crate) soft: Moment,
    /// From here on the token is not used.
    pub(crate) hard: Moment,
    /// Here its life is over. The same as when it was asked for, where it has none by its own word.
    pub(crate) end: Moment,
}

impl Window {
    /// `asked` is when the request left: a slow answer can shorten the life assumed here, never
    /// lengthen it. `chance` is from 0 up to 1.
    pub(crate) fn of(asked: Moment, lifetime: Duration, chance: f64) -> Self {
        let (lowest, highest) = (REFRESH_SHARE.start(), REFRESH_SHARE.end());
        let share = lowest + (highest - lowest) * chance.clamp(0.0, 1.0);
        let margin = lifetime
            .mul_f64(EXPIRY_MARGIN_SHARE)
            .clamp(*EXPIRY_MARGIN.start(), *EXPIRY_MARGIN.end());
        let hard = asked.after(lifetime.saturating_sub(margin));
        let soft = asked.after(lifetime.mul_f64(share)).min(hard);
        let end = asked.after(lifetime);
        Self { soft, hard, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: Moment, to: Moment) -> f64 {
        from.until(to).as_secs_f64()
    }

    #[test]
    fn windows_scale_with_life() {
        let asked = Moment::PAST.after(Duration::from_secs(1_000_000));
        let check = |lifetime: u64, soft: (f64, f64), hard: f64| {
            let lifetime = Duration::from_secs(lifetime);
            let early = Window::of(asked, lifetime, 0.0);
            let late = Window::of(asked, lifetime, 1.0);
            assert!((seconds(asked, early.soft) - soft.0).abs() < 1e-6);
            assert!((seconds(asked, late.soft) - soft.1).abs() < 1e-6);
            assert!((seconds(asked, early.hard) - hard).abs() < 1e-6);
            assert_eq!(early.hard, late.hard);
        };
        check(30, (21.0, 24.0), 28.5);
        check(120, (84.0, 96.0), 114.0);
        check(599, (419.3, 479.2), 569.05);
        check(1800, (1260.0, 1440.0), 1770.0);
        check(7200, (5040.0, 5760.0), 7170.0);
        // Shorter than its own margin: spent on arrival.
        check(1, (0.0, 0.0), 0.0);
        check(0, (0.0, 0.0), 0.0);
    }
}
