//! A view of a life, as `authorizer/seat.rs` reads it: generation first and without the lock.

use crate::cache::life::NO_TOKEN;
use crate::cache::window::Window;
use crate::clock::Moment;
use crate::flight::Life;

/// The token as it was last seen. Generation, window and token are always of one snapshot.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) generation: u64,
    pub(crate) window: Window,
    pub(crate) token: u64,
    fresh: Moment,
}

impl View {
    pub(crate) fn new() -> Self {
        Self {
            generation: NO_TOKEN,
            window: Window {
                soft: Moment::PAST,
                hard: Moment::PAST,
                end: Moment::PAST,
            },
            token: 0,
            fresh: Moment::PAST,
        }
    }

    /// Whether there is a token that may be used now. `refresh` is called for one that ages.
    pub(crate) fn is_good(&mut self, life: &Life, now: Moment, refresh: impl FnOnce()) -> bool {
        let fresh = life.generation() == self.generation && now < self.fresh;
        fresh || self.look(life, now, refresh)
    }

    fn look(&mut self, life: &Life, now: Moment, refresh: impl FnOnce()) -> bool {
        if life.generation() != self.generation {
            let Some(snapshot) = life.current(now) else {
                return false;
            };
            *self = Self {
                generation: snapshot.generation,
                window: snapshot.window,
                token: snapshot.token,
                fresh: Moment::PAST,
            };
        }
        if now >= self.window.hard {
            return false;
        }
        if now >= self.window.soft {
            refresh();
        } else {
            self.fresh = self.window.soft;
        }
        true
    }
}
