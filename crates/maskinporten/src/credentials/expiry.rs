//! How near a key's end is, told before it comes: 30, 7 and 1 days before, and when it is there.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::signer::{KeyReference, Signer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The nearest first: the first that fits is the one to tell of.
const STAGES: [Duration; 4] = [
    Duration::ZERO,
    DAY,
    Duration::from_secs(7 * 24 * 60 * 60),
    Duration::from_secs(30 * 24 * 60 * 60),
];

/// What was told of which end, so that each stage of each is told once.
#[derive(Default)]
pub(super) struct Warnings(
    // Taken for one look-up by a function that is not async. Signers are asked before it, and it is logged
    // after it.
    Mutex<Vec<(String, SystemTime, Duration)>>,
);

impl Warnings {
    /// Tells of keys that end soon.
    pub(super) fn tell<'a>(&self, signers: impl Iterator<Item = &'a dyn Signer>, wall: SystemTime) {
        for signer in signers {
            let Some(end) = signer.expires_at() else {
                continue;
            };
            let Some(stage) = stage(end, wall) else {
                continue;
            };
            let key = match signer.key_reference() {
                KeyReference::Kid(kid) => kid.to_owned(),
                KeyReference::Chain(_) => "a certificate".to_owned(),
            };
            if !self.is_news(&key, end, stage) {
                continue;
            }
            let ends_at = httpdate::fmt_http_date(end);
            if stage.is_zero() {
                tracing::error!(
                    target: "maskinporten::key",
                    %key,
                    %ends_at,
                    "the key has ended: make a new one, register it and give it to this service"
                );
            } else {
                let days = end.duration_since(wall).unwrap_or_default().as_secs() / DAY.as_secs();
                tracing::warn!(
                    target: "maskinporten::key",
                    %key,
                    %ends_at,
                    days,
                    "the key ends soon: make a new one and register it beside this one"
                );
            }
        }
    }

    fn is_news(&self, key: &str, end: SystemTime, stage: Duration) -> bool {
        let mut told = self.0.lock();
        match told
            .iter_mut()
            .find(|(found, at, _)| found == key && *at == end)
        {
            Some((.., last)) if *last <= stage => false,
            Some((.., last)) => {
                *last = stage;
                true
            }
            None => {
                told.push((key.to_owned(), end, stage));
                true
            }
        }
    }
}

/// The stage that an end has reached.
fn stage(end: SystemTime, wall: SystemTime) -> Option<Duration> {
    let left = end.duration_since(wall).unwrap_or_default();
    STAGES.into_iter().find(|stage| left <= *stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_of_at_its_stages() {
        let wall = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let check = |left: Duration, days: Option<u32>| {
            assert_eq!(
                stage(wall + left, wall),
                days.map(|days| DAY * days),
                "{left:?}"
            );
        };
        let second = Duration::from_secs(1);
        check(DAY * 30 + second, None);
        check(DAY * 30, Some(30));
        check(DAY * 7 + second, Some(30));
        check(DAY * 7, Some(7));
        check(DAY + second, Some(7));
        check(DAY, Some(1));
        check(second, Some(1));
        check(Duration::ZERO, Some(0));
        assert_eq!(stage(wall - DAY, wall), Some(Duration::ZERO));
    }

    #[test]
    fn each_stage_of_each_end_is_news_once() {
        let warnings = Warnings::default();
        let end = SystemTime::UNIX_EPOCH + DAY;
        let news = |key: &str, end, days| warnings.is_news(key, end, DAY * days);
        assert!(news("a", end, 30));
        assert!(!news("a", end, 30));
        assert!(news("b", end, 30));
        assert!(news("a", end, 7));
        assert!(!news("a", end, 30));
        assert!(news("a", end, 0));
        assert!(!news("a", end, 0));
        assert!(news("a", end + DAY, 30));
    }
}
