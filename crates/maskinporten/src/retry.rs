//! Tries what may fail for a while: a few times, with pauses between.

use std::time::Duration;

use crate::clock::AnyClock;
use crate::error::{Error, Result};
use crate::random;

/// A flight's whole time, all its attempts and pauses included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// One round trip's time, connection and body included.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a transient failure is tried in all, each time with a new assertion.
const ATTEMPTS: u32 = 3;

/// The longest pause after the first attempt; doubled after each. The pause is drawn from the whole
/// range below (full jitter), so that replicas that failed together do not come back together.
const PAUSE: Duration = Duration::from_millis(250);

/// Makes at most [`ATTEMPTS`] attempts, as long as the failure is transient and nobody has already
/// tried it to the end. The last failure is left in `last_error` during the pauses, for whoever cuts
/// them short.
pub(crate) async fn attempts<T, F>(
    clock: &AnyClock,
    last_error: &mut Option<Error>,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = clock.now().after(DEADLINE);
    let mut longest = PAUSE;
    for _ in 1..ATTEMPTS {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        // An error that says when it will be tried again comes from somebody's memory.
        if !error.is_transient() || error.retry_at().is_some() {
            return Err(error);
        }
        let pause = longest.mul_f64(random::unit());
        let pause = pause.max(error.retry_after().unwrap_or_default());
        if clock.now().after(pause) >= deadline {
            return Err(error);
        }
        tracing::debug!(target: "maskinporten::token", %error, ?pause, "trying again");
        *last_error = Some(error);
        tokio::time::sleep(pause).await;
        longest = longest.saturating_mul(2);
    }
    attempt().await
}
