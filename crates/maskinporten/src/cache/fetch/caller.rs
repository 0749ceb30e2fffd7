//! Those who wait for a fetch: one task may have thousands of them, and each looks after it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::time::timeout;

use super::{Fetch, GRACE, LOOK_AFTER, Landing, runtime};
use crate::cache::entry::state::InFlight as _;
use crate::clock::Moment;

/// Why a caller does not wait for a fetch any longer.
pub(crate) struct TooLong {
    /// How many fetches of the same tenant are before it.
    pub(crate) ahead: usize,
}

/// One who waits for a fetch: counted until the fetch has its permit, so that a place without callers is known.
pub(crate) struct Caller {
    fetch: Fetch,
    is_counted: bool,
}

impl Caller {
    /// Of the caller who was counted when the fetch was made.
    pub(crate) fn first(fetch: Fetch) -> Self {
        Self {
            fetch,
            is_counted: true,
        }
    }

    pub(crate) fn joining(fetch: Fetch) -> Self {
        let is_counted = !fetch.0.is_running.load(Ordering::SeqCst);
        if is_counted && fetch.0.callers.fetch_add(1, Ordering::SeqCst) == 0 {
            fetch.callers_changed();
        }
        Self { fetch, is_counted }
    }

    /// How the fetch ended, or [`Landing::Gone`] where its runtime is not driven.
    pub(crate) async fn landing(&self, waits_until: Moment) -> Result<Landing, TooLong> {
        // One that was started elsewhere may be joined where there is no timer to wait by.
        if let Err(error) = runtime() {
            return Ok(Landing::Failed(error));
        }
        let (fetch, course) = (&self.fetch, &*self.fetch.0);
        let clock = fetch.clock();
        loop {
            if course.is_running.load(Ordering::SeqCst) {
                return Ok(course.flight.wait(clock).await.unwrap_or(Landing::Gone));
            }
            let mut nudged = pin!(course.nudged.notified());
            // From here on it is woken, so that nothing changes between the look and the wait.
            nudged.as_mut().enable();
            if let Some(landing) = course.flight.outcome() {
                return Ok(landing);
            }
            let now = clock.now();
            if now >= waits_until {
                return Err(TooLong {
                    ahead: fetch.ahead(),
                });
            }
            // It may get its permit meanwhile, and be lost: then thousands need not be woken for its lease.
            let looks_at = waits_until.min(now.after(LOOK_AFTER));
            let wakes_at = fetch.wakes_at().map_or(looks_at, |at| at.min(looks_at));
            let mut ended = pin!(course.flight.ended());
            let woken = poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(landing) => Poll::Ready(Some(landing)),
                Poll::Pending => nudged.as_mut().poll(cx).map(|()| None),
            });
            match timeout(now.until(wakes_at), woken).await {
                Ok(Some(landing)) => return Ok(landing),
                Ok(None) => {}
                // Also where its patience is over: a caller that was not polled for long may be the first to look.
                Err(_elapsed) => fetch.look(clock.now()),
            }
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let course = &self.fetch.0;
        if self.is_counted && course.callers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.fetch.callers_changed();
        }
    }
}

impl Fetch {
    /// When those who wait have to look after it, unless it lands before.
    fn wakes_at(&self) -> Option<Moment> {
        let place = *self.0.place.lock();
        if place.is_some() {
            return self.limiter().wakes_at();
        }
        let followed = self.followed()?;
        match followed.0.flight.lease().is_unlimited() {
            true => followed.wakes_at(),
            false => Some(followed.0.flight.lease().ends()),
        }
    }

    /// Does for it what is due.
    fn look(&self, now: Moment) {
        let place = *self.0.place.lock();
        if place.is_some() {
            return self.limiter().look();
        }
        if let Some(followed) = self.followed() {
            match followed.is_alive(now) {
                true => followed.look(now),
                // Its runtime is not driven any more.
                false => self.parent_landed(&followed.0.flight.outcome().unwrap_or(Landing::Gone)),
            }
        }
    }

    fn followed(&self) -> Option<Self> {
        let follows = self.0.follows.lock();
        follows.as_ref().map(|followed| followed.fetch.clone())
    }

    /// How many fetches of the same tenant are before it.
    fn ahead(&self) -> usize {
        let place = *self.0.place.lock();
        if let Some(place) = place {
            return self.limiter().ahead(place).unwrap_or_default();
        }
        self.followed().map_or(0, |followed| followed.ahead())
    }
}

/// Waits until all have ended, with an outcome or without; a second at most, for one whose runtime is not driven
/// never does.
pub(crate) async fn all_gone(fetches: Vec<Fetch>) {
    if fetches.is_empty() {
        return;
    }
    let gone = async {
        for fetch in fetches {
            fetch.0.flight.ended().await;
        }
    };
    let _ = timeout(GRACE, gone).await;
}
