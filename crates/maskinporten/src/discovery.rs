//! Asks an authority for its metadata (RFC 8414 §3): once for everybody, and keeps the last good.
//!
//! - Known environments are never asked: what they publish is in `environment.rs`.
//! - What was read stays good; after twelve hours the next flight tries once to read it again, and a
//!   failure to do so changes nothing but the time of the next attempt, ten minutes on.
//! - Where nothing good was ever read, a failure is shared for half a minute. No audience is guessed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use parking_lot::Mutex;

use crate::clock::{AnyClock, Moment};
use crate::error::{Error, Result};
use crate::metadata::{self, Metadata};
use crate::retry::{ATTEMPT_TIMEOUT, attempts};
use crate::settings::Authority;
use crate::single_flight::{Lease, SingleFlight};
use crate::transport::Transport;

/// How long what was read is not read again.
const REREAD_AFTER: Duration = Duration::from_secs(12 * 60 * 60);

/// How long after a failure nobody asks again.
const FAILURE_WINDOW: Duration = Duration::from_secs(30);

/// The same where there is something good to go on with: what an authority publishes changes once in
/// years, and a server that is silent holds up whoever asks.
const REREADING_FAILED_WINDOW: Duration = Duration::from_secs(10 * 60);

/// How long after its start a reading counts as lost: its runtime is not driven.
const LOST_AFTER: Duration = Duration::from_secs(11);

/// The metadata of one custom authority.
pub(crate) struct Discovery {
    authority: Authority,
    /// The token endpoint that settings or code pin, which wins over the one that is published.
    token_endpoint: Option<Uri>,
    transport: Transport,
    clock: AnyClock,
    // Taken for a few reads and writes by functions that are not async, so never across an await. An error
    // that it holds no longer is dropped after it.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    good: Option<Arc<Metadata>>,
    failure: Option<Error>,
    /// When the authority may be asked again.
    ask_at: Option<Moment>,
    /// The last reading. It lands after what it brought is noted.
    reading: Option<Arc<SingleFlight<()>>>,
}

/// What there is for a flight that needs the metadata.
enum Look {
    Known(Result<Arc<Metadata>>),
    Read(Arc<SingleFlight<()>>),
    Wait(Arc<SingleFlight<()>>),
}

impl Discovery {
    pub(crate) fn new(
        authority: Authority,
        token_endpoint: Option<Uri>,
        transport: Transport,
        clock: AnyClock,
    ) -> Self {
        Self {
            authority,
            token_endpoint,
            transport,
            clock,
            known: Mutex::default(),
        }
    }

    /// What is known; else what a reading brings, which one makes and the others wait for.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>> {
        loop {
            match self.look() {
                Look::Known(outcome) => return outcome,
                Look::Read(reading) => self.ask(reading).await,
                Look::Wait(reading) => {
                    reading.wait(&self.clock).await;
                }
            }
        }
    }

    fn look(&self) -> Look {
        let now = self.clock.now();
        let mut known = self.known.lock();
        let reading = known.reading.as_ref();
        let reading = reading.filter(|reading| reading.is_alive(now));
        let is_due = known.ask_at.is_none_or(|at| now >= at);
        match (&known.good, &known.failure, reading) {
            // Nobody waits for a reading who has something good to go on with.
            (Some(good), _, Some(_)) => Look::Known(Ok(Arc::clone(good))),
            (Some(good), ..) if !is_due => Look::Known(Ok(Arc::clone(good))),
            (None, Some(failure), None) if !is_due => Look::Known(Err(failure.clone())),
            (None, _, Some(reading)) => Look::Wait(Arc::clone(reading)),
            _ => {
                let lease = Lease::until(now.after(LOST_AFTER));
                let reading = Arc::new(SingleFlight::new(lease));
                known.reading = Some(Arc::clone(&reading));
                Look::Read(reading)
            }
        }
    }

    async fn ask(&self, flight: Arc<SingleFlight<()>>) {
        let mut reading = Reading {
            discovery: self,
            flight,
            has_good: self.known.lock().good.is_some(),
            last_error: None,
            brought: None,
        };
        // A flight that could go on with what is known has its own request to make in its time.
        let read = match reading.has_good {
            true => self.read().await,
            false => attempts(&self.clock, &mut reading.last_error, || self.read()).await,
        };
        match read {
            Ok(metadata) => {
                reading.brought = Some(metadata);
                reading.last_error = None;
            }
            Err(error) => reading.last_error = Some(error),
        }
    }

    async fn read(&self) -> Result<Metadata> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.authority.metadata_url().clone();
        request.headers_mut().insert(
            http::header::ACCEPT,
            HeaderValue::from_static("application/json"),
        );
        let response = self.transport.round_trip(request, ATTEMPT_TIMEOUT).await?;
        metadata::from_response(&self.authority, self.token_endpoint.as_ref(), &response)
            .map_err(|error| error.with_endpoint(self.authority.metadata_url()))
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it is printed to, and what its error holds, is foreign code: its lock is not taken.
        f.debug_struct("Discovery")
            .field("authority", &self.authority)
            .field("token_endpoint", &self.token_endpoint)
            .finish_non_exhaustive()
    }
}

/// A reading, which notes what came of it and lands when it ends, also where it is cut short.
struct Reading<'a> {
    discovery: &'a Discovery,
    flight: Arc<SingleFlight<()>>,
    has_good: bool,
    last_error: Option<Error>,
    brought: Option<Metadata>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let Discovery { clock, known, .. } = self.discovery;
        let (now, wall) = (clock.now(), clock.wall());
        let mut before = None;
        let mut known = known.lock();
        if let Some(metadata) = self.brought.take() {
            known.good = Some(Arc::new(metadata));
            before = known.failure.take();
            known.ask_at = Some(now.after(REREAD_AFTER));
        } else if let Some(error) = &self.last_error {
            let window = match self.has_good {
                true => REREADING_FAILED_WINDOW,
                false => FAILURE_WINDOW,
            };
            before = known.failure.replace(match wall.checked_add(window) {
                Some(at) => error.clone().with_retry_at(at),
                None => error.clone(),
            });
            known.ask_at = Some(now.after(window));
        }
        drop(known);
        drop(before);
        self.flight.land(());
        if let Some(error) = self.last_error.take() {
            tracing::warn!(
                target: "maskinporten::config",
                %error,
                kept = self.has_good,
                "the authority's metadata was not read"
            );
        }
    }
}
