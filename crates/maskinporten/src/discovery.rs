//! Asks an authority for its metadata (RFC 8414 §3): once for everybody, and keeps the last good.
//!
//! - Known environments are never asked: what they publish is in `environment.rs`.
//! - What was read stays good; after twelve hours the next flight tries once to read it again, and a
//!   failure to do so changes nothing but the time of the next attempt, ten minutes on.
//! - Where nothing good was ever read, a failure is shared for half a minute. No audience is guessed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use tokio::sync::Mutex;

use crate::cache::{ATTEMPT_TIMEOUT, attempts};
use crate::clock::{AnyClock, Moment};
use crate::error::{Error, Result};
use crate::metadata::{self, Metadata};
use crate::transport::Transport;

/// How long what was read is not read again.
const REREAD_AFTER: Duration = Duration::from_secs(12 * 60 * 60);

/// How long after a failure nobody asks again.
const FAILURE_WINDOW: Duration = Duration::from_secs(30);

/// The same where there is something good to go on with: what an authority publishes changes once in
/// years, and a server that is silent holds up whoever asks.
const REREADING_FAILED_WINDOW: Duration = Duration::from_secs(10 * 60);

/// The metadata of one custom authority.
#[derive(Debug)]
pub(crate) struct Discovery {
    authority: String,
    url: Uri,
    transport: Transport,
    clock: AnyClock,
    // Held while the metadata is read, so that one reads and the others wait for what it finds.
    // Only flights take it, and each has its own deadline: one that is cut short lets go of it.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    good: Option<Arc<Metadata>>,
    failure: Option<Error>,
    /// When the authority may be asked again.
    ask_at: Option<Moment>,
}

impl Discovery {
    pub(crate) fn new(authority: String, url: Uri, transport: Transport, clock: AnyClock) -> Self {
        Self {
            authority,
            url,
            transport,
            clock,
            known: Mutex::default(),
        }
    }

    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>> {
        let mut known = self.known.lock().await;
        let waiting = known.ask_at.is_some_and(|at| self.clock.now() < at);
        if !waiting {
            self.ask(&mut known).await;
        }
        match (&known.good, &known.failure) {
            (Some(good), _) => Ok(Arc::clone(good)),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(Error::settings("the authority was never asked")),
        }
    }

    async fn ask(&self, known: &mut Known) {
        // A flight that could go on with what is known has its own request to make in its time.
        let read = match known.good {
            Some(_) => self.read().await,
            None => attempts(&self.clock, &mut None, || self.read()).await,
        };
        let (now, wall) = (self.clock.now(), self.clock.wall());
        match read {
            Ok(metadata) => {
                known.good = Some(Arc::new(metadata));
                known.failure = None;
                known.ask_at = Some(now.after(REREAD_AFTER));
            }
            Err(error) => {
                tracing::warn!(
                    target: "maskinporten::config",
                    %error,
                    kept = known.good.is_some(),
                    "the authority's metadata was not read"
                );
                let window = match known.good {
                    Some(_) => REREADING_FAILED_WINDOW,
                    None => FAILURE_WINDOW,
                };
                known.failure = Some(error.with_retry_at(wall + window));
                known.ask_at = Some(now.after(window));
            }
        }
    }

    async fn read(&self) -> Result<Metadata> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(
            http::header::ACCEPT,
            HeaderValue::from_static("application/json"),
        );
        let response = self.transport.round_trip(request, ATTEMPT_TIMEOUT).await?;
        metadata::from_response(&self.authority, &response)
            .map_err(|error| error.with_endpoint(&self.url))
    }
}
