//! [`FetchLimits`]: how many tokens are fetched at the same time, and how long callers wait for their turn.

use std::time::Duration;

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
