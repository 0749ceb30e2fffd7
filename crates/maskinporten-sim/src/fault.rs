//! What goes wrong on purpose: rules in order, the first that fits decides.
//!
//! * A rule belongs to one [`Route`] and holds for ever, or for a number of requests.
//! * It may have conditions: whose the request is, what it asks for, its path. All of them have to hold.
//!   A rule that does not fit is passed over and not counted; one that is used up is removed.
//! * Latency passes the request on when it is over; an answer, a huge one too, a hang and a lost
//!   connection end it.
//! * The others let the request be judged, and spoil the true answer or the clock it is judged by.
//! * A request meets at most one rule.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::Route;
use crate::condition::{self, Condition, Facts, InvalidOrganisation};
use crate::refusal::Refusal;

/// Something that happens to a request instead of, or before, what should.
///
/// ```
/// # use std::time::Duration;
/// # use maskinporten_sim::{Fault, Route, Sim};
/// let sim = Sim::new();
/// sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
/// sim.fault(Route::Exchange, Fault::status(http::StatusCode::BAD_GATEWAY).times(2));
///
/// // One customer has not delegated; the others have.
/// let refusal = Fault::refusal("forbidden", "has not delegated access", Some("MP-251"));
/// sim.fault(Route::Token, refusal.for_consumer("311169963")?);
/// sim.fault(Route::Api, Fault::hang().for_itself().under_path("/api/persons"));
/// # Ok::<_, maskinporten_sim::InvalidOrganisation>(())
/// ```
///
/// # Whose a request is
///
/// At the token endpoint the assertion says it, at the exchange and at the API the bearer, at the
/// sidecar the body. Signatures and times are not checked for this. A request that cannot be read in
/// this way, and every request for metadata and keys, meets only faults without a `for_…` condition.
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is given to `Sim::fault`"]
pub struct Fault {
    pub(crate) action: Action,
    pub(crate) times: Option<u64>,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Delay(Duration),
    Answer(StatusCode, HeaderMap, Bytes),
    Problem(Problem),
    Refusal(Refusal),
    Hang,
    Disconnect,
    Truncate,
    Trickle { piece: usize, pause: Duration },
    Huge { length: u64, announced: bool },
    ContentType(String),
    Skew(i64),
}

/// An answer as RFC 9457 describes it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    /// Left out if it is empty.
    pub(crate) detail: String,
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

    /// The request gets this as `application/problem+json` (RFC 9457), with a `traceId`, and is not
    /// judged. An empty `detail` is left out. The exchange's 401 has the title "Unauthorized" and no detail.
    pub fn problem(
        status: StatusCode,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(Action::Problem(Problem {
            status,
            title: title.into(),
            detail: detail.into(),
        }))
    }

    /// The request is refused as the token endpoint refuses, and is not judged: `error`, the
    /// `error_description` with a trace id at its end, and an `error_uri` if there is a code such as
    /// `MP-251`. The status is 403 for `forbidden` and 400 for all else.
    pub fn refusal(
        error: impl Into<String>,
        description: impl Into<String>,
        code: Option<&str>,
    ) -> Self {
        let refusal = Refusal::new(error.into(), description);
        Self::new(Action::Refusal(match code {
            Some(code) => refusal.code(code.to_owned()),
            None => refusal,
        }))
    }

    /// The connection is lost before there is an answer: on a port it is closed, in process the call
    /// fails with [`Disconnected`](crate::Disconnected).
    pub fn disconnect() -> Self {
        Self::new(Action::Disconnect)
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
            conditions: Vec::new(),
        }
    }

    pub(crate) fn on(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }
}

// ===== conditions =====

/// Conditions: all that are called, also one of them several times, have to hold.
impl Fault {
    /// Only requests of this client; at the sidecar, if it acts as this client.
    pub fn for_client(self, client_id: impl Into<String>) -> Self {
        self.on(Condition::Client(client_id.into()))
    }

    /// Only requests for, or with, a token on behalf of this organisation: its number, with or without
    /// `0192:`, is the `consumer_org` that was asked for.
    ///
    /// The client's own token does not count, also if the client belongs to this organisation:
    /// [`for_itself`](Self::for_itself) is for that. The sidecar does not read `consumer_org`, so no
    /// request to it fits.
    ///
    /// # Errors
    ///
    /// The text is not such a number.
    pub fn for_consumer(self, organisation: impl AsRef<str>) -> Result<Self, InvalidOrganisation> {
        let number = condition::organisation(organisation.as_ref())?;
        Ok(self.on(Condition::Consumer(number)))
    }

    /// Only requests for, or with, a token of a system user of this organisation: its number, with or
    /// without `0192:`. All its system users count, those with an `externalRef` too.
    ///
    /// # Errors
    ///
    /// The text is not such a number.
    pub fn for_system_user(
        self,
        organisation: impl AsRef<str>,
    ) -> Result<Self, InvalidOrganisation> {
        let number = condition::organisation(organisation.as_ref())?;
        Ok(self.on(Condition::SystemUser(number)))
    }

    /// Only requests for, or with, the client's own token: neither on behalf of an organisation nor of a
    /// system user. A token with a consent is the client's own unless it is also on behalf of an
    /// organisation.
    pub fn for_itself(self) -> Self {
        self.on(Condition::Itself)
    }

    /// Only requests for, or with, a token that has this scope, alone or with others.
    pub fn for_scope(self, scope: impl Into<String>) -> Self {
        self.on(Condition::Scope(scope.into()))
    }

    /// Only requests for, or with, a token that is restricted to this resource, alone or with others. An
    /// Altinn token shows no resource.
    pub fn for_resource(self, resource: impl Into<String>) -> Self {
        self.on(Condition::Resource(resource.into()))
    }

    /// Only requests to this path, which begins with a slash, is below that of the issuer and has no
    /// query: `/api/persons`.
    pub fn at_path(self, path: impl Into<String>) -> Self {
        self.on(Condition::Path(path.into()))
    }

    /// As [`at_path`](Self::at_path), and all paths below it: `/api/persons` covers `/api/persons/1` and
    /// not `/api/personsearch`. A slash at its end makes no difference.
    pub fn under_path(self, path: impl Into<String>) -> Self {
        self.on(Condition::Under(path.into()))
    }
}

// ===== impl Faults =====

/// The rules of one world, in the order they were made.
///
/// A request is compared with the rules that are found by one of its facts, so that thousands of rules
/// for as many organisations cost it no more than one.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    made: u64,
    queues: HashMap<Route, HashMap<Condition, Queue>>,
}

/// Rules by their number: the order they were made in.
type Queue = BTreeMap<u64, Fault>;

impl Faults {
    pub(crate) fn push(&mut self, route: Route, fault: Fault) {
        if fault.times == Some(0) {
            return;
        }
        self.made += 1;
        let queues = self.queues.entry(route).or_default();
        let queue = queues.entry(found_by(&fault.conditions)).or_default();
        queue.insert(self.made, fault);
    }

    pub(crate) fn clear(&mut self) {
        self.queues.clear();
    }

    /// The rules that still hold for some request, in the order they were made.
    pub(crate) fn in_force(&self) -> Vec<(Route, &Fault)> {
        let mut rules = BTreeMap::new();
        for (route, queues) in &self.queues {
            let queues = queues.values().flatten();
            rules.extend(queues.map(|(number, fault)| (number, (*route, fault))));
        }
        rules.into_values().collect()
    }

    /// What befalls the next request to `route`; counts it.
    pub(crate) fn strike(&mut self, route: Route, facts: &Facts) -> Option<Action> {
        let queues = self.queues.get_mut(&route)?;
        let first_of = |fact| {
            let mut queue = queues.get(fact)?.iter();
            let (number, _) = queue.find(|(_, fault)| facts.meet(&fault.conditions))?;
            Some((*number, fact))
        };
        let (number, key) = facts.known().iter().filter_map(first_of).min()?;
        let queue = queues.get_mut(key)?;
        let fault = queue.get_mut(&number)?;
        let action = fault.action.clone();
        if let Some(left) = &mut fault.times {
            *left -= 1;
            if *left == 0 {
                queue.remove(&number);
                if queue.is_empty() {
                    queues.remove(key);
                }
            }
        }
        Some(action)
    }
}

/// The fact that a request must have to be compared with a rule of these conditions.
fn found_by(conditions: &[Condition]) -> Condition {
    let facts = conditions
        .iter()
        .filter(|condition| !matches!(condition, Condition::Under(_)));
    facts.min().cloned().unwrap_or(Condition::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::condition::Unreadable;

    /// A request for metadata, which has no identity.
    fn anyone() -> Facts {
        Facts::new("/jwk", Err(Unreadable))
    }

    fn on_behalf_of(number: &str) -> Facts {
        Facts::new("/token", Ok(vec![Condition::Consumer(number.to_owned())]))
    }

    fn latency(seconds: u64) -> Fault {
        Fault::latency(Duration::from_secs(seconds))
    }

    /// Which of the faults made by [`latency`] strikes.
    fn struck(faults: &mut Faults, facts: &Facts) -> Option<u64> {
        match faults.strike(Route::Token, facts) {
            Some(Action::Delay(delay)) => Some(delay.as_secs()),
            _ => None,
        }
    }

    #[test]
    fn the_first_rule_with_requests_left_decides() {
        let mut faults = Faults::default();
        faults.push(Route::Token, Fault::hang().times(0));
        faults.push(Route::Token, latency(1).times(1));
        faults.push(Route::Token, Fault::hang());

        let mut strike = |route| faults.strike(route, &anyone());
        assert!(strike(Route::Api).is_none());
        assert!(matches!(strike(Route::Token), Some(Action::Delay(_))));
        assert!(matches!(strike(Route::Token), Some(Action::Hang)));
        assert!(matches!(strike(Route::Token), Some(Action::Hang)));
        faults.clear();
        assert!(faults.strike(Route::Token, &anyone()).is_none());
    }

    #[test]
    fn the_first_that_fits_decides_wherever_it_is_found() {
        let mut faults = Faults::default();
        let of = |fault: Fault, number| fault.for_consumer(number).unwrap();
        faults.push(Route::Token, of(latency(1), "311169963").times(1));
        faults.push(Route::Token, latency(2).times(2));
        faults.push(Route::Token, of(latency(3), "0192:405003309"));
        faults.push(Route::Token, latency(4).under_path("/token"));

        assert_eq!(struck(&mut faults, &anyone()), Some(2));
        assert_eq!(struck(&mut faults, &on_behalf_of("311169963")), Some(1));
        assert_eq!(struck(&mut faults, &on_behalf_of("405003309")), Some(2));
        assert_eq!(struck(&mut faults, &on_behalf_of("405003309")), Some(3));
        assert_eq!(struck(&mut faults, &on_behalf_of("311169963")), Some(4));
        assert_eq!(struck(&mut faults, &anyone()), None);
    }

    #[test]
    fn a_rule_that_does_not_fit_is_not_counted_and_one_that_is_used_up_is_removed() {
        let mut faults = Faults::default();
        let rule = latency(1).for_consumer("311169963").unwrap().times(1);
        faults.push(Route::Token, rule);
        assert_eq!(struck(&mut faults, &anyone()), None);
        assert_eq!(struck(&mut faults, &on_behalf_of("405003309")), None);
        assert_eq!(faults.in_force().len(), 1);
        assert_eq!(struck(&mut faults, &on_behalf_of("311169963")), Some(1));
        assert_eq!(faults.in_force().len(), 0);
        assert!(faults.queues.values().all(HashMap::is_empty));
    }

    #[test]
    fn a_rule_is_compared_only_with_requests_that_share_a_fact_with_it() {
        let mut faults = Faults::default();
        for number in 100_000_000..100_005_000 {
            let number = number.to_string();
            let rule = latency(1).for_consumer(&number).unwrap();
            let rule = rule.for_client("client").under_path("/");
            faults.push(Route::Token, rule);
            let system_user = latency(2).for_system_user(number).unwrap();
            faults.push(Route::Token, system_user.for_scope("a:b"));
        }
        faults.push(Route::Token, latency(3));

        let queues = &faults.queues[&Route::Token];
        assert_eq!(queues.len(), 10_001);
        assert!(queues.values().all(|queue| queue.len() == 1));
        assert_eq!(faults.in_force().len(), 10_001);
        assert_eq!(struck(&mut faults, &on_behalf_of("100004999")), Some(3));
    }

    #[test]
    fn an_organisation_is_nine_digits_in_either_notation() {
        for number in ["", "31116996", "3111699630", "31116996x", "9908:311169963"] {
            assert!(Fault::hang().for_consumer(number).is_err(), "{number}");
            assert!(Fault::hang().for_system_user(number).is_err(), "{number}");
        }
        let error = Fault::hang().for_consumer("number").unwrap_err();
        assert!(error.to_string().contains("nine digits"), "{error}");
    }
}
