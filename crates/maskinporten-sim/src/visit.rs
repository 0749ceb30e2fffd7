//! A request on its way: arrival, fault, the one who answers, the journal.

use std::convert::Infallible;
use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use tower_service::Service;

use crate::clock::{YEAR_10000, skewed, unix_seconds};
use crate::fault::Action;
use crate::journal::Record;
use crate::route::{exchange_provider, is_observer};
use crate::{Answer, Body, Route, Sim, World, altinn, control, issuer, resource, sidecar};

impl Service<Request<Body>> for Sim {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
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
    inner: Pin<Box<dyn Future<Output = Response<Body>> + Send + Sync>>,
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

async fn pass(mut visit: Visit, parts: Parts, path: String, body: Body) -> Response<Body> {
    let Some(route) = visit.record.route else {
        let world = visit.world.clone();
        let answer = unrouted(&world, &parts, &path, body).await;
        return visit.depart(answer, world.clock.now());
    };
    let body = match route {
        Route::Token => issuer::read_form(body, &mut visit.record).await,
        Route::Sidecar => sidecar::read(body, &parts.headers, &mut visit.record).await,
        _ => None,
    };
    let fault = visit.world.faults().strike(route);
    match &fault {
        Some(Action::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Action::Hang) => future::pending().await,
        _ => {}
    }
    // What is judged and how it is dated go by one reading of the clock.
    let mut now = visit.world.clock.now();
    match &fault {
        Some(Action::Answer(status, headers, body)) => {
            return visit.depart(Answer::fault(*status, headers.clone(), body.clone()), now);
        }
        Some(Action::Huge { length, announced }) => {
            return visit.depart(Answer::filler(*length, *announced), now);
        }
        Some(Action::Skew(seconds)) => now = skewed(now, *seconds),
        _ => {}
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
    visit.depart(answer, now)
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
