//! When a client sends a request again, and how often. Time is paused: no socket is in play.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Ready;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AGE, DATE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use maskinporten::ErrorKind;
use maskinporten_sim::{Body, Fault, Route, Sim};
use tokio::time::Instant;
use tower::timeout::error::Elapsed;
use tower::{Service, ServiceExt, service_fn};
use tower_maskinporten::{ClientRegistry, HttpClient, NamedClient, NamedClientBuilder};

use super::*;
use crate::world::{self, API, Recorder, fixed, kind_of};

/// A named client over a service.
fn over<S>(
    service: S,
    client: &MaskinportenClient,
    declare: impl FnOnce(NamedClientBuilder) -> NamedClientBuilder,
) -> NamedClient<HttpClient>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<tower_maskinporten::BoxError>,
    S::Future: Send + 'static,
{
    let clients = ClientRegistry::builder(client)
        .client("api", |c| declare(c.maskinporten(SCOPES).base_url(API)));
    clients.build_over(service).unwrap().get("api").unwrap()
}

/// Answers with these statuses in turn, then with 200.
fn statuses(statuses: &'static [u16]) -> Recorder {
    let at = AtomicUsize::new(0);
    Recorder::answering(move |_: &Parts| {
        let status = statuses.get(at.fetch_add(1, Ordering::Relaxed));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(*status.unwrap_or(&200)).unwrap();
        response
    })
}

/// Never answers well.
fn down(retry_after: Option<&'static str>) -> Recorder {
    Recorder::answering(move |_: &Parts| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let patience = retry_after.map(HeaderValue::from_static);
        response
            .headers_mut()
            .extend(patience.map(|value| (RETRY_AFTER, value)));
        response
    })
}

async fn send(client: &NamedClient<HttpClient>, method: Method) -> StatusCode {
    let request = Request::builder().method(method).uri("/a").body("body");
    client.send(request.unwrap()).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn passing_refusals_are_asked_again_and_others_are_answers() {
    for (status, attempts) in [
        (429, 2),
        (502, 2),
        (503, 2),
        (504, 2),
        (200, 1),
        (302, 1),
        (401, 1),
        (403, 1),
        (404, 1),
        (408, 1),
        (500, 1),
        (501, 1),
    ] {
        let recorder = Recorder::answering(move |_: &Parts| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        let client = over(recorder.clone(), &fixed("token"), |c| c.retries(1));
        assert_eq!(send(&client, Method::GET).await, status);
        assert_eq!(recorder.seen().len(), attempts, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_repeated_unless_all_is() {
    let idempotent = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];
    for method in [
        "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "POST", "PATCH", "X-OWN",
    ] {
        let sent = async |declare: fn(NamedClientBuilder) -> NamedClientBuilder| {
            let recorder = down(None);
            let client = over(recorder.clone(), &fixed("token"), declare);
            assert_eq!(send(&client, method.parse().unwrap()).await, 503);
            recorder.seen().len()
        };
        let expected = if idempotent.contains(&method) { 3 } else { 1 };
        assert_eq!(sent(|c| c.retries(2)).await, expected, "{method}");
        assert_eq!(
            sent(|c| c.retries(2).retry_all_methods()).await,
            3,
            "{method}"
        );
        assert_eq!(sent(|c| c).await, 1, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_first_good_answer() {
    let recorder = statuses(&[503, 429]);
    let client = over(recorder.clone(), &fixed("token"), |c| c.retries(10));
    assert_eq!(send(&client, Method::GET).await, 200);
    assert_eq!(recorder.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_is_tried_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let service = service_fn(move |_: Request<Full<Bytes>>| {
        let attempt = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match attempt {
                0 | 1 => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                _ => Ok(Response::new(Body::empty())),
            }
        }
    });
    let client = over(service, &fixed("token"), |c| c.retries(2));
    assert_eq!(send(&client, Method::GET).await, 200);
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_nobody_knows_is_not_tried_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let service = service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err::<Response<Body>, _>("a bug") }
    });
    let client = over(service, &fixed("token"), |c| c.retries(2));
    assert!(client.get("a").await.is_err());
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_servers_wish_is_waited_for_up_to_half_a_minute() {
    for (patience, attempts, at_least) in [
        ("0", 2, 0),
        ("1", 2, 1),
        ("30", 2, 30),
        ("31", 1, 0),
        ("99999999999", 1, 0),
        // More than a number holds; and what is no wish at all.
        ("99999999999999999999", 1, 0),
        ("soon", 1, 0),
        ("-1", 1, 0),
        ("", 1, 0),
    ] {
        let recorder = down(Some(patience));
        let client = over(recorder.clone(), &fixed("token"), |c| c.retries(1));
        let began = Instant::now();
        assert_eq!(send(&client, Method::GET).await, 503);
        assert_eq!(recorder.seen().len(), attempts, "{patience}");
        let waited = began.elapsed();
        assert!(waited >= seconds(at_least), "{patience}: {waited:?}");
        assert!(waited < seconds(at_least + 1), "{patience}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_that_is_wished_for_is_read_by_the_servers_own_clock() {
    const WISH: &str = "Wed, 21 Oct 2099 07:28:00 GMT";
    for (date, age, attempts, at_least) in [
        (Some("Wed, 21 Oct 2099 07:27:55 GMT"), None, 2, 5),
        (Some("Wed, 21 Oct 2099 07:27:30 GMT"), None, 2, 30),
        (Some("Wed, 21 Oct 2099 07:27:29 GMT"), None, 1, 0),
        (Some("Wed, 21 Oct 2099 07:28:00 GMT"), None, 2, 0),
        (Some("Thu, 22 Oct 2099 07:28:00 GMT"), None, 2, 0),
        (Some("Wed, 21 Oct 2099 07:27:55 GMT"), Some("60"), 1, 0),
        (Some("today"), None, 1, 0),
        (None, None, 1, 0),
    ] {
        let recorder = Recorder::answering(move |_: &Parts| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            let said = [(RETRY_AFTER, Some(WISH)), (DATE, date), (AGE, age)];
            let said = said
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)));
            let said = said.map(|(name, value)| (name, HeaderValue::from_static(value)));
            response.headers_mut().extend(said);
            response
        });
        let client = over(recorder.clone(), &fixed("token"), |c| c.retries(1));
        let began = Instant::now();
        assert_eq!(send(&client, Method::GET).await, 503);
        assert_eq!(recorder.seen().len(), attempts, "{date:?}");
        let waited = began.elapsed();
        assert!(waited >= seconds(at_least), "{date:?}: {waited:?}");
        assert!(waited < seconds(at_least + 1), "{date:?}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_failed_together_do_not_come_back_together() {
    let client = over(down(None), &fixed("token"), |c| c.retries(1));
    let pauses = (0..8).map(|_| {
        let client = client.clone();
        async move {
            let began = Instant::now();
            send(&client, Method::GET).await;
            began.elapsed()
        }
    });
    let pauses: HashSet<Duration> = join_all(pauses).await.into_iter().collect();
    assert!(pauses.len() > 1, "{pauses:?}");
    assert!(
        pauses
            .iter()
            .all(|pause| *pause < Duration::from_millis(300))
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied_by_the_attempts() {
    let recorder = down(None);
    let client = over(recorder.clone(), &fixed("token"), |c| c.retries(10));

    let all = join_all((0..1000).map(|_| send(&client, Method::GET))).await;

    assert!(all.iter().all(|status| *status == 503));
    let further = recorder.seen().len() - 1000;
    assert!((1..=20).contains(&further), "{further} further attempts");
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_well_pays_for_further_attempts() {
    let calls = AtomicUsize::new(0);
    // Each tenth answer is a passing failure.
    let recorder = Recorder::answering(move |_: &Parts| {
        let mut response = Response::new(Body::empty());
        if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    });
    let client = over(recorder.clone(), &fixed("token"), |c| c.retries(2));
    for call in 0..1000 {
        assert_eq!(send(&client, Method::GET).await, 200, "call {call}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_asks_for_the_token_again() {
    let (_sim, client) = world::world_of(Sim::builder().token_lifetime(seconds(20)).build());
    let recorder = down(Some("25"));
    let api = over(recorder.clone(), &client, |c| c.retries(1));

    assert_eq!(send(&api, Method::GET).await, 503);

    let tokens = recorder.authorizations();
    assert_eq!(tokens.len(), 2);
    assert_eq!(tokens[0].len(), 1);
    assert_ne!(tokens[0], tokens[1], "the first one is spent by then");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_had_for_a_moment_is_asked_for_again() {
    let (sim, client) = world::world();
    // One flight's attempts.
    sim.fault(
        Route::Token,
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(3),
    );
    let recorder = Recorder::new();
    let api = over(recorder.clone(), &client, |c| c.retries(9));

    assert_eq!(send(&api, Method::GET).await, 200);

    assert_eq!(sim.journal().token_requests(), 4);
    assert_eq!(recorder.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_tried_again() {
    let sim = Sim::new();
    let registered = sim.new_client(["other:scope"]);
    sim.scope(SCOPES[0]);
    let client = world::client(&sim, &registered);
    let recorder = Recorder::new();
    let api = over(recorder.clone(), &client, |c| c.retries(10));

    let error = api.get("a").await.unwrap_err();
    assert_eq!(kind_of(&error), Some(ErrorKind::ScopeRejected));
    assert_eq!(sim.journal().token_requests(), 1);

    let began = Instant::now();
    let error = api.get("https://elsewhere.example/").await.unwrap_err();
    assert_eq!(kind_of(&error), Some(ErrorKind::Origin));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(recorder.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_whole_time_ends_all_attempts_and_an_attempts_time_ends_one() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let silent = service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let client = over(silent, &fixed("token"), |c| {
        c.timeout(seconds(10))
            .attempt_timeout(seconds(4))
            .retries(10)
    });

    let began = Instant::now();
    let error = client.get("a").await.unwrap_err();

    assert!(error.is::<Elapsed>(), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 10);
    // The pauses between them are less than a second together.
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

/// As a limit that is used up.
#[derive(Clone)]
struct NeverReady;

impl Service<Request<Full<Bytes>>> for NeverReady {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_time_covers_the_wait_for_the_service_underneath() {
    let client = over(NeverReady, &fixed("token"), |c| c.timeout(seconds(10)));

    let began = Instant::now();
    let error = client.get("a").await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 10);

    let began = Instant::now();
    let mut service = client.into_client();
    let request = Request::get(API).body(Full::default()).unwrap();
    let error = service.ready().await.unwrap().call(request).await;
    assert!(error.unwrap_err().is::<Elapsed>());
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_attempts_time_covers_the_wait_for_the_service_underneath() {
    let client = over(NeverReady, &fixed("token"), |c| {
        c.timeout(seconds(60))
            .attempt_timeout(seconds(4))
            .retries(1)
    });

    let began = Instant::now();
    let error = client.get("a").await.unwrap_err();

    assert!(error.is::<Elapsed>(), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 8, "two attempts");
}
