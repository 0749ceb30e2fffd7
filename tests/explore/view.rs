//! A service's view of a life: what `authorizer/seat.rs` does around the engine's own look.

use crate::cache::sighting::{Look, Sighting};
use crate::clock::Moment;
use crate::flight::Life;

/// The token as it was last seen, and until when that is good enough.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) seen: Sighting<u64>,
    fresh: Moment,
}

impl View {
    pub(crate) fn new() -> Self {
        Self {
            seen: Sighting::of_nothing(0),
            fresh: Moment::PAST,
        }
    }

    /// Whether there is a token that may be used now. `refresh` is called for one that ages.
    pub(crate) fn is_good(&mut self, life: &Life, now: Moment, refresh: impl FnOnce()) -> bool {
        let seen = life.generation() == self.seen.generation;
        (seen && now < self.fresh) || self.look(life, now, refresh)
    }

    fn look(&mut self, life: &Life, now: Moment, refresh: impl FnOnce()) -> bool {
        self.fresh = match self.seen.look(life, now, |token| *token) {
            Look::Nothing => return false,
            Look::Ageing => {
                refresh();
                Moment::PAST
            }
            Look::Fresh => self.seen.window.soft,
        };
        true
    }
}
