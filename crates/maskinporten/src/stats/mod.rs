//! [`Stats`]: what a client has done so far, in plain numbers.
//!
//! - Every look-up is counted once, when it is over, by what came of it.
//! - Every request for a token is counted once, with how long it took and why it failed.
//! - A number only grows, those of what is held now excepted.
//!
//! ```
//! use std::time::Duration;
//! use maskinporten::{FixedToken, MaskinportenClient};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), maskinporten::Error> {
//! # let source = FixedToken::new("made-elsewhere", Duration::from_secs(3600))?;
//! let client = MaskinportenClient::builder().source(source).build()?;
//! client.access_token(["krr:read"]).await?;
//! client.access_token(["krr:read"]).await?;
//!
//! let stats = client.stats().maskinporten;
//! assert_eq!((stats.lookups.miss, stats.lookups.hit), (1, 1));
//! assert_eq!((stats.new(), stats.cached(), stats.error()), (1, 1, 0));
//! # Ok(())
//! # }
//! ```

mod tally;

use std::time::{Duration, SystemTime};

use crate::advice::Advice;
use crate::error::{Error, ErrorKind};

pub(crate) use tally::{Lookup, Reloading, Tallies, Tally};

/// What a client has done since it was built, and what it holds now. Made by
/// [`MaskinportenClient::stats`](crate::MaskinportenClient::stats).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Of Maskinporten's tokens, those that are only asked for to be exchanged among them.
    pub maskinporten: TokenStats,
    /// Of Altinn's tokens.
    pub altinn: TokenStats,
    /// Of the credentials' place.
    pub reloads: Reloads,
    /// Whether that place cannot be read from at present: tokens are still asked for with what was read
    /// last.
    pub has_settings_error: bool,
    /// When the last of the client's keys ends, by what the keys say themselves.
    pub key_ends_at: Option<SystemTime>,
    /// The token server's clock minus this machine's, in seconds, as it was when an assertion was last
    /// refused for its time; zero where none was.
    pub clock_skew: i64,
}

/// Numbers about the tokens of one authority.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokenStats {
    /// How often a token was looked up, by what came of it.
    pub lookups: Lookups,
    /// How often the server was asked for one, by what came of it.
    pub requests: Requests,
    /// How many answers of APIs did not accept their request's token: a 401, or gRPC's
    /// `UNAUTHENTICATED`, from a listed origin.
    pub rejected: u64,
    /// How often a newer token was given to a request whose token was not accepted, to be sent again.
    pub replays: u64,
    /// How many tokens were evicted from the cache while they were still good. Where it grows, more
    /// identities are in use than [`max_identities`] keeps.
    ///
    /// [`max_identities`]: crate::MaskinportenClientBuilder::max_identities
    pub evicted: u64,
    /// Fetches that are under way or wait for their turn.
    pub queue: QueueStats,
    /// How many places for different tokens are kept, with a token in them or without.
    pub entries: usize,
    /// When the first of the tokens that are good now ends, by this machine's wall clock.
    pub soonest_end: Option<SystemTime>,
}

/// The fetches from one authority, as they stand now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// How many identities wait for their turn, those among them whose callers have given up less than 30 s ago.
    pub waiting: usize,
    /// How long the identity has waited that has waited longest of those whose turn is next.
    pub longest_wait: Duration,
    /// How many fetches may be under way now: fewer than [`max_concurrent_fetches`] after the server has asked for
    /// fewer requests.
    ///
    /// [`max_concurrent_fetches`]: crate::MaskinportenClientBuilder::max_concurrent_fetches
    pub permits: usize,
    /// How many are under way.
    pub in_use: usize,
    /// How many circuits are open: that of the authority, and those of single tenants.
    pub open_circuits: usize,
}

/// Look-ups by what came of them. Each is counted once: their sum is how often somebody needed a token.
///
/// Whoever gives up waiting is counted by what it waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lookups {
    /// The token was there.
    pub hit: u64,
    /// The token was there, and old enough that it is being renewed, or is to be.
    pub stale: u64,
    /// It was waited for, and somebody else had it fetched.
    pub joined: u64,
    /// It was not there, and this look-up had it fetched.
    pub miss: u64,
    /// There was none to be had: a failure that is remembered, or that of the fetch that was waited for.
    pub failed: u64,
}

/// Requests for a token by what came of them.
///
/// One that is tried again counts again. Whatever a source does for one answer, such as a grant with
/// another key, is one request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Requests {
    /// They brought a token.
    pub ok: u64,
    /// They failed: one row for each kind of failure and code, in the order in which they first came.
    pub failed: Vec<Failures>,
    /// They had no outcome: cut off by the deadline of 10 s, an invalidation, a shutdown or a panic.
    pub lost: u64,
    /// How long they took, whatever came of them.
    pub durations: Durations,
}

/// Failed requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// What happened.
    pub kind: ErrorKind,
    /// The server's code, such as `MP-250`, where [`Advice`] knows it; `other` for any other code.
    pub code: Option<&'static str>,
    /// How often.
    pub count: u64,
}

/// Durations, by the bounds that OpenTelemetry recommends for HTTP clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durations {
    /// How many were at most as long as the bound of [`Durations::BOUNDS`] at their place, and longer
    /// than the one before; the last are longer than all.
    pub counts: [u64; Durations::BOUNDS.len() + 1],
    /// All together.
    pub sum: Duration,
}

/// Readings of the place where the credentials come from, by what came of them. One that found all as
/// it was is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloads {
    /// What was new was taken.
    pub ok: u64,
    /// Nothing usable was found, and what was in use stayed in use.
    pub failed: u64,
}

// ===== as the .NET client counts =====

impl TokenStats {
    /// What Altinn's .NET client counts as `cached`: a look-up that found a token. Here: hits and stale
    /// ones.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.lookups.hit + self.lookups.stale
    }

    /// What it counts as `new`: a token that was fetched. Here: requests that brought one. As there,
    /// whoever waits for a fetch of somebody else counts as nothing.
    #[must_use]
    #[expect(
        clippy::new_ret_no_self,
        reason = "it has the name of the counter that it equals"
    )]
    pub fn new(&self) -> u64 {
        self.requests.ok
    }

    /// What it counts as `error`: a request for a token that failed. Here also one whose answer was a
    /// refusal, which is not counted there, and one without an outcome.
    #[must_use]
    pub fn error(&self) -> u64 {
        let failed = self.requests.failed.iter().map(|failures| failures.count);
        failed.sum::<u64>() + self.requests.lost
    }
}

impl Lookups {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hit + self.stale + self.joined + self.miss + self.failed
    }
}

// ===== impl Requests =====

impl Requests {
    fn note(&mut self, outcome: Outcome<'_>, took: Duration) {
        self.durations.note(took);
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Lost => self.lost += 1,
            Outcome::Failed(error) => {
                let (kind, code) = (error.kind(), known_code(error));
                let same = |row: &&mut Failures| (row.kind, row.code) == (kind, code);
                match self.failed.iter_mut().find(same) {
                    Some(row) => row.count += 1,
                    None => {
                        let count = 1;
                        self.failed.push(Failures { kind, code, count });
                    }
                }
            }
        }
    }
}

/// What came of a request for a token.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'a> {
    Ok,
    Failed(&'a Error),
    Lost,
}

/// The code of a refusal as the table spells it: what a server sends cannot make a new name.
pub(crate) fn known_code(error: &Error) -> Option<&'static str> {
    let code = error.code()?;
    let known = Advice::for_code(code).and_then(Advice::code);
    Some(known.unwrap_or("other"))
}

// ===== impl Durations =====

impl Durations {
    /// In seconds: OpenTelemetry's semantic conventions for `http.client.request.duration`.
    pub const BOUNDS: [f64; 14] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = Self::BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[place.unwrap_or(Self::BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;

    fn refused(code: &str) -> Error {
        Error::rejected("no").with_refusal(Refusal {
            code: Some(code.to_owned()),
            ..Refusal::default()
        })
    }

    #[test]
    fn a_code_that_no_table_knows_makes_no_new_row() {
        let mut requests = Requests::default();
        for number in 0..1_000 {
            let error = refused(&format!("XX-{number}"));
            requests.note(Outcome::Failed(&error), Duration::ZERO);
        }
        requests.note(Outcome::Failed(&refused("mp-250")), Duration::ZERO);
        let row = |code, count| Failures {
            kind: ErrorKind::Rejected,
            code: Some(code),
            count,
        };
        assert_eq!(requests.failed, [row("other", 1_000), row("MP-250", 1)]);
    }

    #[test]
    fn a_duration_counts_for_the_first_bound_that_it_does_not_exceed() {
        let mut durations = Durations::default();
        for milliseconds in [0, 5, 6, 10_000, 10_001] {
            durations.note(Duration::from_millis(milliseconds));
        }
        assert_eq!(durations.counts[..2], [2, 1]);
        assert_eq!(durations.counts[13..], [1, 1]);
        assert_eq!(durations.count(), 5);
        assert_eq!(durations.sum, Duration::from_millis(20_012));
    }
}
