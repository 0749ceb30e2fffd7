//! [`Sighting`]: a token as somebody last saw it, who looks again only when its number has changed.

use super::life::{InFlight, Life, NO_TOKEN};
use super::window::Window;
use crate::clock::Moment;

/// A token as it was last seen. Generation, window and value are always of one token.
#[derive(Clone, Debug)]
pub(crate) struct Sighting<V> {
    pub(crate) generation: u64,
    pub(crate) window: Window,
    pub(crate) value: V,
}

/// What a look brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// No token that may be used.
    Nothing,
    /// One that may, and whose renewal is to be started.
    Ageing,
    /// One that may, until its soft moment without another question.
    Fresh,
}

impl<V> Sighting<V> {
    /// Of no token at all.
    pub(crate) fn of_nothing(value: V) -> Self {
        let past = Moment::PAST;
        Self {
            generation: NO_TOKEN,
            window: Window {
                soft: past,
                hard: past,
                end: past,
            },
            value,
        }
    }

    /// Looks at a life and at the clock. `copy` is called for a token that was not seen before.
    pub(crate) fn look<T, E: Clone, F: InFlight>(
        &mut self,
        life: &Life<T, E, F>,
        now: Moment,
        copy: impl FnOnce(&T) -> V,
    ) -> Look {
        // The number first, and without the lock; what belongs to it comes whole, from under the lock.
        if life.generation() != self.generation {
            let Some(snapshot) = life.current(now) else {
                return Look::Nothing;
            };
            *self = Self {
                generation: snapshot.generation,
                window: snapshot.window,
                value: copy(&snapshot.token),
            };
        }
        match self.window {
            window if now >= window.hard => Look::Nothing,
            window if now >= window.soft => Look::Ageing,
            _ => Look::Fresh,
        }
    }
}
