//! [`FetchLimits`]: the permits of one authority's semaphore, and how long a caller waits in its queue.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::advice;
use crate::error::{Error, Result};

/// How many token requests of one authority are in flight at once, and how long a caller waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchLimits {
    pub(crate) permits: usize,
    pub(crate) wait: Duration,
}

impl FetchLimits {
    /// More than a thousand connections to one authority are a flood and no limit.
    pub(crate) const PERMITS: RangeInclusive<usize> = 1..=1024;

    /// The longest wait is that of a batch. A request that a person waits for has a shorter timeout in its caller.
    pub(crate) const WAIT: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(60 * 60);
}

impl Default for FetchLimits {
    /// 32 permits: with 300 ms a token that is a hundred tokens a second. A wait of 5 minutes: long enough for
    /// 5 000 organisations at 8 permits.
    fn default() -> Self {
        Self {
            permits: 32,
            wait: Duration::from_secs(5 * 60),
        }
    }
}

/// The limits that one place gives. What it does not give is left to the next place, and then to the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenLimits {
    pub(crate) permits: Option<usize>,
    pub(crate) wait: Option<Duration>,
}

impl GivenLimits {
    /// These, checked, as code gives them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) for a limit out of its range, by the name of its method.
    pub(crate) fn of_code(self) -> Result<Self> {
        if self
            .permits
            .is_some_and(|permits| !FetchLimits::PERMITS.contains(&permits))
        {
            return Err(out_of_range("max_concurrent_fetches", PERMITS_ALLOWED));
        }
        if self
            .wait
            .is_some_and(|wait| !FetchLimits::WAIT.contains(&wait))
        {
            return Err(out_of_range("fetch_queue_timeout", "from 1 s to 1 h"));
        }
        Ok(self)
    }

    /// These, and for what they do not give those of `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            permits: self.permits.or(other.permits),
            wait: self.wait.or(other.wait),
        }
    }

    /// These, and the default for what they do not give.
    pub(crate) fn or_default(self) -> FetchLimits {
        let default = FetchLimits::default();
        FetchLimits {
            permits: self.permits.unwrap_or(default.permits),
            wait: self.wait.unwrap_or(default.wait),
        }
    }
}

const PERMITS_ALLOWED: &str = "a whole number from 1 to 1024";

/// The permits in a text of settings; `name` is how its place calls them.
pub(crate) fn permits_in(name: &str, text: &str) -> Result<usize> {
    let permits = whole(text).and_then(|number| usize::try_from(number).ok());
    let permits = permits.filter(|permits| FetchLimits::PERMITS.contains(permits));
    permits.ok_or_else(|| out_of_range(name, PERMITS_ALLOWED))
}

/// The wait in a text of settings, in seconds; `name` is how its place calls it.
pub(crate) fn wait_in(name: &str, text: &str) -> Result<Duration> {
    let wait = whole(text).map(Duration::from_secs);
    let wait = wait.filter(|wait| FetchLimits::WAIT.contains(wait));
    wait.ok_or_else(|| out_of_range(name, "a whole number of seconds from 1 to 3600"))
}

fn whole(text: &str) -> Option<u64> {
    // `parse` takes a sign too.
    let text = text.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// What stands there is not shown: it may be a secret that was put under the wrong name.
fn out_of_range(name: &str, allowed: &str) -> Error {
    Error::settings(format!("{name} is not {allowed}")).with_advice(&advice::FETCH_LIMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_whole_number_in_its_range() {
        for (text, permits) in [("1", 1), (" 8\n", 8), ("0032", 32), ("1024", 1024)] {
            assert_eq!(permits_in("N", text).unwrap(), permits, "{text:?}");
        }
        for text in [
            "0",
            "-1",
            "+8",
            "1025",
            "8.0",
            "8e0",
            "eight",
            "",
            "99999999999999999999",
        ] {
            let error = permits_in("N", text).unwrap_err().to_string();
            assert_eq!(error, "N is not a whole number from 1 to 1024", "{text:?}");
        }
        for (text, seconds) in [("1", 1), ("60", 60), ("3600", 3600)] {
            assert_eq!(wait_in("N", text).unwrap(), Duration::from_secs(seconds));
        }
        for text in ["0", "-60", "3601", "60s", "00:01:00", "0.5"] {
            let error = wait_in("N", text).unwrap_err().to_string();
            assert!(error.ends_with("of seconds from 1 to 3600"), "{text:?}");
        }
    }

    #[test]
    fn each_limit_comes_from_the_first_place_that_gives_it() {
        let given = |permits, wait: Option<u64>| GivenLimits {
            permits,
            wait: wait.map(Duration::from_secs),
        };
        let limits = given(Some(8), None).or(given(Some(9), Some(60)));
        assert_eq!(limits, given(Some(8), Some(60)));
        let default = FetchLimits::default();
        assert_eq!((default.permits, default.wait.as_secs()), (32, 300));
        assert_eq!(GivenLimits::default().or_default(), default);
    }

    #[test]
    fn code_is_told_which_limit_is_out_of_range() {
        let refused = |limits: GivenLimits| limits.of_code().unwrap_err().to_string();
        let permits = |permits| GivenLimits {
            permits: Some(permits),
            wait: None,
        };
        let wait = |wait| GivenLimits {
            permits: None,
            wait: Some(wait),
        };
        for (limits, name) in [
            (permits(0), "max_concurrent_fetches"),
            (permits(1025), "max_concurrent_fetches"),
            (wait(Duration::from_millis(999)), "fetch_queue_timeout"),
            (wait(Duration::from_secs(3601)), "fetch_queue_timeout"),
        ] {
            assert!(refused(limits).starts_with(name), "{limits:?}");
        }
        assert!(permits(1024).of_code().is_ok());
    }
}
