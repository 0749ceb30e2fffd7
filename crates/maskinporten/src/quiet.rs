//! [`Quiet`]: what may go wrong a thousand times a second is told at once, and then twice a minute.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Moment;

/// The same thing is told at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// When something was last told, and how often it has not been since.
#[derive(Default)]
pub(crate) struct Quiet {
    // Taken for two reads and two writes by a function that is not async; nothing is logged or printed under
    // it.
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    told_at: Option<Moment>,
    suppressed: u64,
}

impl Quiet {
    pub(crate) const fn new() -> Self {
        Self {
            book: Mutex::new(Book {
                told_at: None,
                suppressed: 0,
            }),
        }
    }

    /// Whether it may be told now: then how often it was not since the last time.
    pub(crate) fn may_tell(&self, now: Moment) -> Option<u64> {
        let mut book = self.book.lock();
        if book.told_at.is_some_and(|at| now < at.after(TOLD_EVERY)) {
            book.suppressed += 1;
            return None;
        }
        book.told_at = Some(now);
        Some(std::mem::take(&mut book.suppressed))
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiet").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_next_with_how_many_were_not() {
        let quiet = Quiet::default();
        let at = |seconds| quiet.may_tell(Moment::PAST.after(Duration::from_secs(seconds)));
        assert_eq!(at(5), Some(0));
        assert_eq!(at(5), None);
        assert_eq!(at(34), None);
        assert_eq!(at(35), Some(2));
        assert_eq!(at(64), None);
        assert_eq!(at(3_600), Some(1));
    }
}
