//! What goes wrong on purpose: rules in order, the first that fits decides.
//!
//! * A rule belongs to one [`Route`] and holds for ever, or for a number of requests.
//! * Latency passes the request on when it is over; an answer, a huge one too, and a hang end it.
//! * The others let the request be judged, and spoil the true answer or the clock it is judged by.
//! * A request meets at most one rule.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::Route;

/// Something that happens to a request instead of, or before, what should.
///
/// ```
/// # use std::time::Duration;
/// # use maskinporten_sim::{Fault, Route, Sim};
/// let sim = Sim::new();
/// sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
/// sim.fault(Route::Exchange, Fault::status(http::StatusCode::BAD_GATEWAY).times(2));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is given to `Sim::fault`"]
pub struct Fault {
    pub(crate) action: Action,
    pub(crate) times: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Delay(Duration),
    Answer(StatusCode, HeaderMap, Bytes),
    Hang,
    Truncate,
    Trickle { piece: usize, pause: Duration },
    Huge { length: u64, announced: bool },
    ContentType(String),
    Skew(i64),
}

impl Fault {
    /// The request is looked at only after `delay`, measured by tokio's clock.
    pub fn latency(delay: Duration) -> Self {
        Self::new(Action::Delay(delay))
    }

    /// The request gets this answer, and nobody looks at it.
    pub fn answer(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        Self::new(Action::Answer(status, headers, body.into()))
    }

    /// The request gets an empty answer with this status.
    pub fn status(status: StatusCode) -> Self {
        Self::answer(status, HeaderMap::new(), Bytes::new())
    }

    /// The request is never answered. It enters the journal when the caller gives up.
    pub fn hang() -> Self {
        Self::new(Action::Hang)
    }

    /// The true answer, cut off: its whole length is announced, half of its body arrives, and then an
    /// error. On a port the connection is closed at that point.
    ///
    /// An answer without a body announces one byte that never comes. The journal has the true verdict.
    pub fn truncated() -> Self {
        Self::new(Action::Truncate)
    }

    /// The true answer, whose body arrives `bytes` at a time with `pause` between one piece and the
    /// next, measured by tokio's clock. 0 bytes are taken for 1.
    pub fn slow_body(bytes: usize, pause: Duration) -> Self {
        Self::new(Action::Trickle {
            piece: bytes,
            pause,
        })
    }

    /// The request gets a 200 with `length` bytes of white space that claim to be JSON; nobody looks at
    /// it. The length is announced. The bytes are made as they are read and held nowhere.
    pub fn huge(length: u64) -> Self {
        Self::new(Action::Huge {
            length,
            announced: true,
        })
    }

    /// As [`huge`](Self::huge), without `Content-Length`: on a port the body is chunked.
    pub fn huge_unannounced(length: u64) -> Self {
        Self::new(Action::Huge {
            length,
            announced: false,
        })
    }

    /// The true answer under another `Content-Type`; under none, if this cannot stand in a header.
    pub fn content_type(media_type: impl Into<String>) -> Self {
        Self::new(Action::ContentType(media_type.into()))
    }

    /// The true answer of a server whose clock is off by so many seconds, ahead if positive. Its `Date`,
    /// and what it dates in a token, are off as much; the journal keeps the time of the world.
    ///
    /// The clock stands still at 1970 and at the end of the year 9999, where HTTP's dates end.
    pub fn skew(seconds: i64) -> Self {
        Self::new(Action::Skew(seconds))
    }

    /// Holds for `n` requests only; without this, until [`clear_faults`](crate::Sim::clear_faults).
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    fn new(action: Action) -> Self {
        Self {
            action,
            times: None,
        }
    }
}

/// The rules of one world, in the order they were made.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<(Route, Fault)>,
}

impl Faults {
    pub(crate) fn push(&mut self, route: Route, fault: Fault) {
        self.rules.push((route, fault));
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules that still hold for some request.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &(Route, Fault)> {
        self.rules
            .iter()
            .filter(|(_, fault)| fault.times != Some(0))
    }

    /// What befalls the next request to `route`; counts it.
    pub(crate) fn strike(&mut self, route: Route) -> Option<Action> {
        self.rules.retain(|(_, fault)| fault.times != Some(0));
        let (_, fault) = self.rules.iter_mut().find(|(of, _)| *of == route)?;
        if let Some(left) = &mut fault.times {
            *left -= 1;
        }
        Some(fault.action.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_with_requests_left_decides() {
        let mut faults = Faults::default();
        faults.push(Route::Token, Fault::hang().times(0));
        faults.push(
            Route::Token,
            Fault::latency(Duration::from_secs(1)).times(1),
        );
        faults.push(Route::Token, Fault::hang());

        assert!(faults.strike(Route::Api).is_none());
        assert!(matches!(
            faults.strike(Route::Token),
            Some(Action::Delay(_))
        ));
        assert!(matches!(faults.strike(Route::Token), Some(Action::Hang)));
        assert!(matches!(faults.strike(Route::Token), Some(Action::Hang)));
        faults.clear();
        assert!(faults.strike(Route::Token).is_none());
    }
}
