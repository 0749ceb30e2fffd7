//! [`RetryPolicy`]: when a named client sends a request again.
//!
//! - After 429, 502, 503 and 504, where the server asks for no more than 30 s of patience
//!   (`Retry-After`, RFC 9110 §10.2.3) in words that can be read; after a connection that failed, an
//!   attempt whose time was up, and a token that could not be had for a reason that passes.
//! - Never after what is the same a moment later: a refusal of the token server, an address that is not
//!   listed, a certificate that is not good, any other status.
//! - Only methods that are idempotent (RFC 9110 §9.2.2), unless all are asked for.
//! - Only as far as the client's budget goes: one further attempt a second, and a fifth of what has been
//!   answered well of late. In an outage its requests are then not multiplied by its retries.

use std::error::Error as StdError;
use std::io;
use std::iter::successors;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AGE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use maskinporten::Error;
use tower::retry::Policy;
use tower::retry::backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::retry::budget::{Budget, TpsBudget};
use tower::timeout::error::Elapsed;
use tower::util::rng::HasherRng;

use crate::BoxError;

/// The longest a server's `Retry-After` is waited for. Who asks for more has the caller come back.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How far what was answered well counts for further attempts: finagle's figure, as the two below.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_SHARE: f32 = 0.2;
/// Further attempts a second of a client that is seldom asked.
const BUDGET_RESERVE: u32 = 1;

/// Pauses are doubled from the first to the last, and nineteen twentieths of each are chance, so that
/// those who failed together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(5);
const CHANCE: f64 = 19.0;

/// What is left of a request's attempts; cloned for each request, with one budget for all.
#[derive(Clone, Debug)]
pub(super) struct RetryPolicy {
    left: u32,
    all_methods: bool,
    budget: Arc<TpsBudget>,
    backoff: Option<ExponentialBackoff>,
}

impl RetryPolicy {
    /// A policy for so many further attempts.
    pub(super) fn new(retries: u32, all_methods: bool) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, BUDGET_RESERVE, BUDGET_SHARE);
        Self {
            left: retries,
            all_methods,
            budget: Arc::new(budget),
            backoff: None,
        }
    }

    /// Whether a request of this method may be sent again at all.
    pub(super) fn repeats(&self, method: &Method) -> bool {
        self.left > 0 && (self.all_methods || method.is_idempotent())
    }

    /// What an answer asks for: so much patience and another attempt, or nothing.
    pub(super) fn patience(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let is_passing = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !is_passing {
            self.budget.deposit();
            return None;
        }
        match headers.get(RETRY_AFTER) {
            Some(wish) => read(wish, headers),
            None => Some(Duration::ZERO),
        }
    }

    /// The pause before the next attempt, where there is to be one.
    pub(super) fn pause(&mut self, patience: Duration) -> Option<Pause> {
        if self.left == 0 || patience > LONGEST_WAIT || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        // Made here and not with the policy: a clone draws the numbers of its original, and all
        // requests would pause alike.
        if self.backoff.is_none() {
            let chance = HasherRng::new();
            let maker = ExponentialBackoffMaker::new(FIRST_PAUSE, LAST_PAUSE, CHANCE, chance);
            self.backoff = maker.ok().map(|mut maker| maker.make_backoff());
        }
        let mut pause = Box::pin(self.backoff.as_mut()?.next_backoff());
        let end = pause.deadline() + patience;
        pause.as_mut().reset(end);
        Some(pause)
    }
}

/// A server's wish: seconds, or a date that is compared with the server's own, so that no clock of ours
/// is asked. One that cannot be read is no leave to come back.
fn read(wish: &HeaderValue, headers: &HeaderMap) -> Option<Duration> {
    let wish = wish.to_str().ok()?.trim();
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A cache that answered in the server's place (`Age`) did so at another time.
    if headers.contains_key(AGE) {
        return None;
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    Some(date(wish)?.duration_since(now).unwrap_or_default())
}

/// The wait of a [`RetryPolicy`].
pub(super) type Pause = Pin<Box<<ExponentialBackoff as Backoff>::Future>>;

impl<B: Clone, R> Policy<Request<B>, Response<R>, BoxError> for RetryPolicy {
    type Future = Pause;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<R>, BoxError>,
    ) -> Option<Self::Future> {
        let patience = match result {
            Ok(response) => self.patience(response.status(), response.headers())?,
            Err(error) if is_passing(&**error) => Duration::ZERO,
            Err(_) => return None,
        };
        self.pause(patience)
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        self.repeats(request.method()).then(|| request.clone())
    }
}

/// Whether the same request may succeed a moment later.
pub(super) fn is_passing(error: &(dyn StdError + 'static)) -> bool {
    if let Some(ours) = Error::find_in(error) {
        return ours.is_transient();
    }
    let mut passing = false;
    for cause in causes(error) {
        let io = cause.downcast_ref::<io::Error>();
        // What TLS objects to, a certificate among it, and what is not what it should be at all.
        if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) {
            return false;
        }
        passing |= io.is_some()
            || cause.is::<Elapsed>()
            || cause.is::<hyper_util::client::legacy::Error>();
    }
    passing
}

/// An error and all that it wraps. An [`io::Error`] names its content's source as its own and so hides
/// the content, which is where the TLS error sits.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let inner = |&error: &&'a (dyn StdError + 'static)| match error.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|content| content as _),
        None => error.source(),
    };
    successors(Some(error), inner)
}
