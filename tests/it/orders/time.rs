//! Time that passes, and flights that are lost in it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::servers::Whose;
use super::{ATTEMPT, FLIGHT, GRACE, Mark, Orders};

impl Orders {
    /// Time passes, and then everything that can run has run.
    pub(super) async fn pass(&mut self, time: Duration) -> bool {
        sleep(time).await;
        for _ in 0..8 {
            yield_now().await;
        }
        self.has_recovered = !self.on_the_way.is_empty();
        for (whose, token) in std::mem::take(&mut self.on_the_way) {
            let lost = self.is_lost(whose);
            let known = &mut self.known[whose as usize];
            known.landings += 1;
            if let Some(number) = token {
                let token = &self.tokens[number];
                let is_kept = token.answered < token.surely_good_until() && !lost;
                known.newest = is_kept.then_some(number);
                known.tokens += 1;
                known.not_before = Duration::ZERO;
                known.ends_with_recovery = false;
            }
            // Any answer may have closed the circuit.
            for known in &mut self.known {
                if std::mem::take(&mut known.ends_with_recovery) {
                    known.not_before = Duration::ZERO;
                }
            }
        }
        self.look();
        self.find_flights();
        for caller in &self.callers {
            let known = &self.known[caller.whose as usize];
            let has_landed = caller.waits && caller.landings < known.landings;
            assert!(
                !has_landed || caller.woken.0.load(Ordering::Relaxed) || self.is_lost(caller.whose),
                "the flight has landed and somebody was not woken"
            );
        }
        true
    }

    pub(super) fn until(&self, mark: Mark, by: i64) -> Option<Duration> {
        let newest = |whose: Whose| self.known[whose as usize].newest;
        let at = match mark {
            Mark::Soft(whose) => self.tokens[newest(whose)?].soft(),
            Mark::Hard(whose) => self.tokens[newest(whose)?].hard(),
            Mark::RetryAt(whose) => self.known[whose as usize].not_before,
            Mark::AttemptTimeout => self.first_open()? + ATTEMPT,
            Mark::Deadline => self.first_open()? + FLIGHT,
        };
        let by_ms = Duration::from_millis(by.unsigned_abs());
        let at = if by < 0 {
            at.checked_sub(by_ms)?
        } else {
            at + by_ms
        };
        at.checked_sub(self.now())
    }

    fn first_open(&self) -> Option<Duration> {
        let asked = self.desk.asked();
        let mut open = asked.iter().filter(|asked| asked.is_open());
        open.next().map(|asked| asked.at)
    }

    /// A machine that sleeps, or a process that stands still, leaves flights behind that everybody
    /// takes for lost. What is known of the order of flights ends there, where there may be one.
    pub(super) fn lose_flights(&mut self, flying: [bool; 3]) {
        let now = self.now();
        for (whose, flying) in Whose::ALL.into_iter().zip(flying) {
            if flying {
                let known = &mut self.known[whose as usize];
                known.lost = Some(Instant::now());
                known.newest = None;
                known.not_before = Duration::ZERO;
                for caller in &mut self.callers {
                    caller.doubtful |= caller.whose == whose;
                }
            }
        }
        // Their answers may have come and not been read.
        for (_, token) in &self.on_the_way {
            if let Some(number) = token {
                self.tokens[*number].answered = now;
            }
        }
    }

    pub(super) fn may_be_flying(&self, whose: Whose) -> bool {
        let now = self.now();
        let known = &self.known[whose as usize];
        let asked = self.desk.asked();
        let may_last = |since: Duration| now <= since + FLIGHT + GRACE;
        // A flight for Altinn's token may send one for the reader's at its own end.
        self.is_lost(whose)
            || may_last(self.stirred + FLIGHT)
            || asked.iter().any(|asked| may_last(asked.at))
            || known.rejected.is_some_and(may_last)
    }

    pub(super) fn is_lost(&self, whose: Whose) -> bool {
        self.known[whose as usize].lost.is_some()
    }

    /// A lost flight ends all the same, within its deadline by tokio's clock, and so does one that
    /// took off meanwhile.
    fn find_flights(&mut self) {
        for known in &mut self.known {
            let is_over = |since: &Instant| since.elapsed() >= 2 * (FLIGHT + GRACE);
            known.lost = known.lost.filter(|since| !is_over(since));
        }
    }
}
