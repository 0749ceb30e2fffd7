//! A client below that has left the listed origins: that is told, since it cannot be taken back.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock as _, SystemClock};
use crate::origin::Target;

/// Tells it, at most once in 30 s for the whole process: one redirect tends to be followed by more.
#[cold]
pub(super) fn report(target: Target<'_>) {
    /// How often it is said: one redirect tends to be followed by more.
    const REPORTED_EVERY: Duration = Duration::from_secs(30);
    static REPORTED_AT: Mutex<Option<Duration>> = Mutex::new(None);

    let now = SystemClock.monotonic();
    let mut reported_at = REPORTED_AT.lock();
    if reported_at.is_some_and(|at| now < at + REPORTED_EVERY) {
        return;
    }
    *reported_at = Some(now);
    // Under no lock: a subscriber is somebody else's code.
    drop(reported_at);
    tracing::warn!(
        target: "maskinporten::token",
        origin = %target,
        "the client below an auth layer followed a redirect to an origin that is not listed, and may have \
         taken the token along: give it a policy that follows nothing, or `same_origin_redirects()` of tower-maskinporten"
    );
}
