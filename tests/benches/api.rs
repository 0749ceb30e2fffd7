//! An API behind a layer that looks at the token of every request, by the time of the simulator.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use maskinporten_sim::{Sim, SimClock};
use serde_json::Value;
use tower::{Service, ServiceExt};
use tower_maskinporten::{BearerAuth, BoxError};

/// Where the API is, as far as a layer is concerned.
pub(crate) const ORIGIN: &str = "https://api.example.no";

/// Answers 200 to everything; clones are the same API.
#[derive(Clone)]
pub(crate) struct Api {
    clock: SimClock,
    seen: Arc<Mutex<Seen>>,
}

/// What has been seen of tokens.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Requests with a token whose `exp` had come, or with none.
    pub(crate) expired: usize,
    /// The token that came last: the one in hand.
    last: Option<Claims>,
}

/// The claims that tell the life of a token, in seconds since 1970.
#[derive(Clone, Copy)]
struct Claims {
    iat: f64,
    exp: f64,
}

impl Claims {
    /// Until when the token is used: the end of its life less 5 %, at least 1 s and at most 30 s.
    fn usable_until(&self) -> f64 {
        self.iat + usable(self.exp - self.iat)
    }
}

/// How much of a life in seconds is used.
pub(crate) fn usable(life: f64) -> f64 {
    life - (life * 0.05).clamp(1.0, 30.0)
}

impl Api {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self {
            clock: sim.clock(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap()
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> f64 {
        let since = self.clock.now().duration_since(UNIX_EPOCH);
        since.unwrap().as_secs_f64()
    }

    fn see(&self, request: &Request<()>) {
        let bearer = request.headers().get(AUTHORIZATION);
        let claims = bearer.and_then(|value| claims(value.to_str().ok()?));
        let is_good = claims.is_some_and(|claims| self.now() < claims.exp);
        let mut seen = self.seen.lock().unwrap();
        seen.expired += usize::from(!is_good);
        seen.last = claims.or(seen.last);
    }
}

fn claims(bearer: &str) -> Option<Claims> {
    let payload = bearer.strip_prefix("Bearer ")?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(Claims {
        iat: claims["iat"].as_f64()?,
        exp: claims["exp"].as_f64()?,
    })
}

impl Service<Request<()>> for Api {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.see(&request);
        ready(Ok(Response::new(())))
    }
}

// ===== one request =====

/// How a request went.
pub(crate) struct Call {
    pub(crate) outcome: Result<(), BoxError>,
    /// What it waited: nothing where its very first poll brought the answer.
    pub(crate) waited: Option<Duration>,
    /// What the API had seen when the request came, and when it was over.
    before: Seen,
    after: Seen,
    pub(crate) came: f64,
}

impl Call {
    pub(crate) async fn through(service: BearerAuth<Api>) -> Self {
        let api = service.get_ref().clone();
        let (before, came) = (api.seen(), api.now());
        let request = Request::get(ORIGIN).body(()).unwrap();
        let mut call = Box::pin(service.oneshot(request));
        let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        let (outcome, waited) = match first {
            Poll::Ready(outcome) => (outcome, None),
            Poll::Pending => {
                let outcome = call.await;
                let waited = Duration::from_secs_f64(api.now() - came);
                (outcome, Some(waited))
            }
        };
        Self {
            outcome: outcome.map(drop),
            waited,
            before,
            after: api.seen(),
            came,
        }
    }

    /// Whether the token in hand could still be used for `spare` seconds when the request came.
    pub(crate) fn had_good_token(&self, spare: f64) -> bool {
        let last = self.before.last;
        last.is_some_and(|claims| self.came + spare < claims.usable_until())
    }

    /// What it waited although there was a good token, in milliseconds; 0 where it did not. A wait that
    /// took no time is one all the same, and counts as one millisecond.
    ///
    /// `slowest` is the longest time in seconds from when a token is asked for to when it is given out.
    pub(crate) fn needless_wait_ms(&self, slowest: f64) -> f64 {
        let needless = self.had_good_token(slowest) || self.got_what_was_there(slowest);
        let waited = self.waited.filter(|_| needless);
        waited.map_or(0.0, |waited| (waited.as_secs_f64() * 1e3).max(1.0))
    }

    /// Whether the token that it got was there before it came.
    fn got_what_was_there(&self, slowest: f64) -> bool {
        let got = self.after.last.filter(|_| self.outcome.is_ok());
        // `iat` has whole seconds.
        got.is_some_and(|claims| claims.iat + 1.0 + slowest < self.came)
    }
}
