//! [`FetchLimits`]: how many tokens are fetched at the same time, and how long callers wait for their turn.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Error, Result};

/// What bounds the fetches from one authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchLimits {
    /// How many fetches are under way at the same time.
    pub(crate) permits: usize,
    /// How long a caller waits for its turn.
    pub(crate) wait: Duration,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            permits: 32,
            wait: Duration::from_secs(300),
        }
    }
}

/// As many fetches at the same time as can be asked for.
const PERMITS: RangeInclusive<usize> = 1..=1024;

/// As long as a caller can be told to wait.
const WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

impl FetchLimits {
    /// The defaults where nothing else is chosen.
    pub(crate) fn new(permits: Option<usize>, wait: Option<Duration>) -> Result<Self> {
        let default = Self::default();
        let limits = Self {
            permits: permits.unwrap_or(default.permits),
            wait: wait.unwrap_or(default.wait),
        };
        if !PERMITS.contains(&limits.permits) {
            let (least, most) = (PERMITS.start(), PERMITS.end());
            let message = format!(
                "max_concurrent_fetches is {}: it is from {least} to {most}",
                limits.permits
            );
            return Err(Error::settings(message));
        }
        if !WAIT.contains(&limits.wait) {
            let message = format!(
                "fetch_queue_timeout is {:?}: it is from a second to an hour",
                limits.wait
            );
            return Err(Error::settings(message));
        }
        Ok(limits)
    }
}
