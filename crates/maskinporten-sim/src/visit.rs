//! A request on its way: arrival, fault, the one who answers, the journal.

use std::error::Error;
use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use tower_service::Service;

use crate::bearer::{self, Credentials};
use crate::clock::{YEAR_10000, skewed, unix_seconds};
use crate::condition::{self, Condition, Facts, Unreadable};
use crate::fault::Action;
use crate::journal::{Record, Verdict};
use crate::route::{exchange_provider, is_observer};
use crate::{Answer, Body, Route, Sim, World, altinn, control, issuer, resource, sidecar};

impl Service<Request<Body>> for Sim {
    type Response = Response<Body>;
    type Error = Disconnected;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        let (parts, body) = request.into_parts();
        // Arrival is now, not when the future is first polled: the journal keeps this order.
        let path = self.world.local_path(parts.uri.path()).to_owned();
        let visit = Visit::arrive(self.world.clone(), &parts, &path);
        ResponseFuture {
            inner: Box::pin(pass(visit, parts, path, body)),
        }
    }
}

/// The answer of a [`Sim`] under way. Dropping it is giving up.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    inner: Pin<Box<dyn Future<Output = Result<Response<Body>, Disconnected>> + Send + Sync>>,
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Disconnected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The connection was lost before there was an answer: [`Fault::disconnect`](crate::Fault::disconnect).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was closed before there was an answer")
    }
}

impl Error for Disconnected {}

async fn pass(
    mut visit: Visit,
    parts: Parts,
    path: String,
    body: Body,
) -> Result<Response<Body>, Disconnected> {
    let Some(route) = visit.record.route else {
        let world = visit.world.clone();
        let answer = unrouted(&world, &parts, &path, body).await;
        return Ok(visit.depart(answer, world.clock.now()));
    };
    let body = match route {
        Route::Token => issuer::read_form(body, &mut visit.record).await,
        Route::Sidecar => sidecar::read(body, &parts.headers, &mut visit.record).await,
        _ => None,
    };
    let facts = Facts::new(&path, identity(route, &visit, &parts));
    let fault = visit.world.faults().strike(route, &facts);
    match &fault {
        Some(Action::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Action::Hang) => future::pending().await,
        _ => {}
    }
    // What is judged and how it is dated go by one reading of the clock.
    let mut now = visit.world.clock.now();
    let instead = match &fault {
        Some(Action::Disconnect) => return Err(visit.disconnect()),
        Some(Action::Answer(status, headers, body)) => {
            Some(Answer::fault(*status, headers.clone(), body.clone()))
        }
        Some(Action::Problem(problem)) => Some(Answer::problem(
            problem,
            &visit.world.registry().seed.traceparent(),
        )),
        Some(Action::Refusal(refusal)) => {
            Some(issuer::refuse(&visit.world, refusal.clone()).of_a_fault())
        }
        Some(Action::Huge { length, announced }) => Some(Answer::filler(*length, *announced)),
        Some(Action::Skew(seconds)) => {
            now = skewed(now, *seconds);
            None
        }
        _ => None,
    };
    if let Some(answer) = instead {
        return Ok(visit.depart(answer, now));
    }
    let (world, record) = (&visit.world, &mut visit.record);
    let answer = match route {
        Route::Metadata => issuer::metadata(world, &parts),
        Route::Jwks => issuer::jwks(world, &parts),
        Route::Token => issuer::token(world, &parts, body, now, record),
        Route::Exchange => altinn::exchange(
            world,
            &parts,
            exchange_provider(&path).unwrap_or_default(),
            now,
            record,
        ),
        Route::Sidecar => sidecar::token(world, &parts, body, now, record).await,
        Route::Api => resource::call(world, &parts, &path, now),
    };
    let answer = match fault {
        Some(Action::Truncate) => answer.truncated().await,
        Some(Action::Trickle { piece, pause }) => answer.trickling(piece, pause).await,
        Some(Action::ContentType(media_type)) => answer.mistyped(&media_type),
        _ => answer,
    };
    Ok(visit.depart(answer, now))
}

/// Whose the request is, as far as it can be read.
fn identity(route: Route, visit: &Visit, parts: &Parts) -> Result<Vec<Condition>, Unreadable> {
    let record = &visit.record;
    match route {
        Route::Token => {
            let (_, claims) = record.assertion.as_ref().ok_or(Unreadable)?;
            condition::of_assertion(claims)
        }
        Route::Exchange | Route::Api => match bearer::credentials(&parts.headers) {
            Credentials::Bearer(_) => {
                let authorization = record.authorization.as_ref().ok_or(Unreadable)?;
                condition::of_token(&authorization["claims"])
            }
            Credentials::Missing | Credentials::Ambiguous => Err(Unreadable),
        },
        Route::Sidecar => sidecar::identity(&visit.world, record),
        Route::Metadata | Route::Jwks => Err(Unreadable),
    }
}

async fn unrouted(world: &World, parts: &Parts, path: &str, body: Body) -> Answer {
    if path == "/_sim/faults" {
        return control::faults(world, &parts.method, body).await;
    }
    if path == "/_sim/journal" && parts.method == Method::GET {
        let journal = world.book().snapshot();
        return Answer::accepted(StatusCode::OK).json(&journal.to_json());
    }
    Answer::not_found()
}

/// One request between its arrival and its entry in the journal.
struct Visit {
    world: Arc<World>,
    arrival: u64,
    record: Record,
    observed: bool,
}

impl Visit {
    fn arrive(world: Arc<World>, parts: &Parts, path: &str) -> Self {
        let record = Record::of(parts, Route::of(path), world.clock.now());
        let arrival = world.book().arrive();
        Self {
            world,
            arrival,
            record,
            observed: !is_observer(path),
        }
    }

    /// Leaves without an answer.
    fn disconnect(mut self) -> Disconnected {
        self.record.verdict = Verdict::Fault;
        Disconnected
    }

    /// Notes the verdict and dates the answer; leaving is what enters it in the journal.
    fn depart(mut self, answer: Answer, now: SystemTime) -> Response<Body> {
        let Answer {
            mut response,
            verdict,
        } = answer;
        self.record.verdict = verdict;
        self.record.status = Some(response.status());
        // A fault may send a date of its own, to stand for a server whose clock is wrong.
        if !response.headers().contains_key(header::DATE) && unix_seconds(now) < YEAR_10000 {
            let date = httpdate::fmt_http_date(now);
            if let Ok(date) = header::HeaderValue::from_str(&date) {
                response.headers_mut().insert(header::DATE, date);
            }
        }
        response
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.observed {
            self.world.book().enter(self.arrival, self.record.clone());
        }
    }
}
