//! What bounds a request of the SDK: where it may go, how long it takes and how often it is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    ClientOptions, Context, FixedRetryOptions, Request, RetryOptions, StatusCode, Transport, Url,
};
use azure_core::time::{Duration as SdkDuration, OffsetDateTime, parse_rfc7231};
use maskinporten::{Clock as _, Error, Result, SystemClock};
use tokio::runtime::Handle;

use crate::transport::Fault;

/// The bounds of one kind of request. The SDK's own default would try nine times in a minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// One attempt, from the connection to the whole answer.
    pub(crate) attempt: Duration,
    /// How often a failure that may pass is tried again.
    pub(crate) retries: u32,
    /// The pause before that.
    pub(crate) pause: Duration,
    /// The longest `Retry-After` that is waited for. A server that asks for more time is believed, and
    /// the request fails at once.
    pub(crate) patience: Duration,
}

impl Bounds {
    /// For reading: with the deadline of a look in view, twice again.
    pub(crate) const READING: Self = Self {
        attempt: Duration::from_secs(3),
        retries: 2,
        pause: Duration::from_millis(300),
        patience: Duration::from_secs(2),
    };

    /// For signing: callers wait for it, and the flight that asks for a signature tries again itself.
    pub(crate) const SIGNING: Self = Self {
        attempt: Duration::from_millis(1300),
        retries: 1,
        pause: Duration::from_millis(100),
        patience: Duration::ZERO,
    };

    /// Options for a client of the SDK whose requests go to `host` only, if one is given.
    pub(crate) fn client_options(self, transport: Transport, host: Option<&Url>) -> ClientOptions {
        let guard = Guard {
            host: host.cloned(),
            bounds: self,
        };
        ClientOptions {
            // After authorisation and next to the network: nothing gets past it.
            per_try_policies: vec![Arc::new(guard)],
            retry: RetryOptions::fixed(FixedRetryOptions {
                delay: sdk(self.pause),
                max_retries: self.retries,
                ..FixedRetryOptions::default()
            }),
            transport: Some(transport),
            ..ClientOptions::default()
        }
    }
}

/// The SDK sends a bearer token wherever a page's `nextLink` points, waits as long as `Retry-After`
/// says, and for an answer for ever. This does none of it.
struct Guard {
    host: Option<Url>,
    bounds: Bounds,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.bounds).finish()
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait's macro takes the signature in these words only"
)]
#[async_trait]
impl Policy for Guard {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let host = request.url().host_str().unwrap_or_default().to_owned();
        if let Some(vault) = &self.host
            && vault.origin() != request.url().origin()
        {
            let message = format!("the vault pointed to {host} for more, which is not asked");
            return Err(Fault::lasting(message).into_sdk());
        }
        let Some((first, rest)) = next.split_first() else {
            return Err(Fault::lasting("the SDK has no transport").into_sdk());
        };
        let limit = self.bounds.attempt;
        let response = match tokio::time::timeout(limit, first.send(ctx, request, rest)).await {
            Ok(response) => response?,
            Err(_elapsed) => {
                let message = format!("{host} did not answer within {limit:?}");
                return Err(Fault::passing(message).into_sdk());
            }
        };
        if matches!(
            response.status(),
            StatusCode::TooManyRequests | StatusCode::ServiceUnavailable
        ) && let Some(wait) = retry_after(response.headers())
            && wait > self.bounds.patience
        {
            let status = u16::from(response.status());
            let message =
                format!("{host} is busy ({status}) and asks to be left alone for {wait:?}");
            return Err(Fault::passing(message).into_final());
        }
        Ok(response)
    }
}

/// The server's wish (RFC 9110 §10.2.3, and Azure's finer headers), where it can be read.
fn retry_after(headers: &Headers) -> Option<Duration> {
    for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
        if let Some(wait) = headers.get_optional_str(&HeaderName::from_static(name)) {
            return wait.parse().ok().map(Duration::from_millis);
        }
    }
    let wait = headers.get_optional_str(&HeaderName::from_static("retry-after"))?;
    if let Ok(seconds) = wait.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse_rfc7231(wait).ok()?;
    let now = OffsetDateTime::from(SystemClock.wall());
    Duration::try_from(until - now).ok()
}

/// Ends `work` when its time is up. It is dropped then, and its connection closed.
pub(crate) async fn within<T>(
    limit: Duration,
    late: impl FnOnce() -> String,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    // The timer would panic.
    if Handle::try_current().is_err() {
        return Err(Error::rejected(
            "there is no Tokio runtime to ask a key vault on",
        ));
    }
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_elapsed) => Err(Error::unavailable(late())),
    }
}

fn sdk(duration: Duration) -> SdkDuration {
    SdkDuration::try_from(duration).unwrap_or(SdkDuration::ZERO)
}
