//! [`Health`]: how a client's tokens stand, for whoever watches over a service.

use std::time::{Duration, SystemTime};

use crate::cache::Standing;
use crate::clock::{AnyClock, Moment};
use crate::error::Error;

/// How long a failure is news: twice the longest that one is remembered.
const NEWS_FOR: Duration = Duration::from_secs(120);

/// How a client's tokens stand. Made by
/// [`MaskinportenClient::health`](crate::MaskinportenClient::health).
///
/// [`is_serving`](Self::is_serving) is for a readiness endpoint, once the service has started
/// ([`warm_up`]), and nothing here for a liveness one: a restart mends nothing.
///
/// - A Maskinporten token that is only asked for to be exchanged is not counted by itself.
/// - A failure is news for two minutes: a token that was refused and that nobody has asked for since
///   says nothing about today.
/// - After [`invalidate_all`] nothing is known of earlier failures.
///
/// [`warm_up`]: crate::MaskinportenClient::warm_up
/// [`invalidate_all`]: crate::MaskinportenClient::invalidate_all
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// In one word.
    pub state: HealthState,
    /// Since when it is not ready, by this machine's wall clock.
    pub since: Option<SystemTime>,
    /// The last failure, if it is not ready.
    ///
    /// Of a token on behalf of an organisation or a system user it has nothing that the server said of that
    /// organisation, since health is read by all: kind, status, hint, and OAuth error and code if they are in the
    /// table ([`Advice`](crate::Advice)). The caller who was refused gets the whole error.
    pub last_error: Option<Error>,
    /// How many tokens may be used now.
    pub good: usize,
    /// How many tokens were not to be had when they were last asked for, those that are still good
    /// among them.
    pub failing: usize,
    /// When the first of the good ones ends, by this machine's wall clock.
    pub soonest_end: Option<SystemTime>,
    /// How many tokens were evicted from the cache while they were still good, since the client was built.
    /// Where it grows, more identities are in use than
    /// [`max_identities`](crate::MaskinportenClientBuilder::max_identities) keeps. It changes no state.
    pub evicted: u64,
    /// How many identities wait for their turn to be fetched, from Maskinporten and from Altinn together. Those whose
    /// callers have given up keep their places for 30 s.
    pub waiting: usize,
    /// How long the identity has waited that has waited longest of those whose turn is next.
    pub longest_wait: Duration,
    /// How many circuits are open: of authorities that fail for all, and of single tenants.
    pub open_circuits: usize,
    /// The token server's clock minus this machine's, in seconds, as it was when an assertion was last
    /// refused for its time; zero where none was.
    pub clock_skew: i64,
    /// Why the settings cannot be read again, where they cannot: tokens are still asked for with those that
    /// were read last.
    pub settings_error: Option<Error>,
    /// When the last of the client's keys ends, by what the keys say themselves.
    pub key_ends_at: Option<SystemTime>,
}

/// A client's health in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// Nothing has failed since it last succeeded. Also where nothing was asked for yet.
    Ready,
    /// Some tokens cannot be had or renewed; others are good.
    Degraded,
    /// Tokens are asked for, and none is good.
    Failing,
    /// The client was shut down.
    Closed,
}

impl Health {
    /// Whether requests are served, some of them at least: ready or degraded. One customer's refused
    /// scope, or an outage that nobody notices yet, is no reason to take a service out of rotation.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.state, HealthState::Ready | HealthState::Degraded)
    }

    /// `standings` has one for each token, and whether it is on behalf of an organisation.
    pub(crate) fn of(
        standings: impl Iterator<Item = (Standing<Error>, bool)>,
        is_closed: bool,
        clock_skew: i64,
        clock: &AnyClock,
    ) -> Self {
        let (now, wall) = (clock.now(), clock.wall());
        let (mut good, mut failing) = (0, 0);
        let mut soonest: Option<Moment> = None;
        let mut since: Option<Moment> = None;
        let mut last: Option<(Moment, Error, bool)> = None;
        for (standing, is_on_behalf) in standings {
            if let Some(end) = standing.good_until {
                good += 1;
                soonest = Some(soonest.map_or(end, |soonest| soonest.min(end)));
            }
            let news = standing.failing;
            if let Some(news) = news.filter(|news| now < news.at.after(NEWS_FOR)) {
                failing += 1;
                since = Some(since.map_or(news.since, |since| since.min(news.since)));
                if last.as_ref().is_none_or(|(at, ..)| *at <= news.at) {
                    last = Some((news.at, news.error, is_on_behalf));
                }
            }
        }
        Self {
            state: match (failing, good) {
                _ if is_closed => HealthState::Closed,
                (0, _) => HealthState::Ready,
                (_, 0) => HealthState::Failing,
                _ => HealthState::Degraded,
            },
            since: since.and_then(|since| wall.checked_sub(since.until(now))),
            last_error: last.map(|(_, error, is_on_behalf)| {
                if is_on_behalf {
                    error.of_organisation()
                } else {
                    error
                }
            }),
            good,
            failing,
            soonest_end: soonest.and_then(|end| wall.checked_add(now.until(end))),
            evicted: 0,
            waiting: 0,
            longest_wait: Duration::ZERO,
            open_circuits: 0,
            clock_skew,
            settings_error: None,
            key_ends_at: None,
        }
    }
}
