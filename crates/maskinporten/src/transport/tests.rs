//! What holds for every transport. Where sockets are real, time cannot be paused: limits are short
//! and no test asserts how long something took.

#![allow(
    clippy::disallowed_methods,
    reason = "a test's own server and clock are no business of the rooms"
)]

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::io;
#[cfg(feature = "client")]
use std::sync::Mutex;
use std::task::{Context, Poll};

use http::StatusCode;
use http_body_util::{Empty, Full};

use super::*;

#[cfg(feature = "client")]
mod proxy;
#[cfg(feature = "client")]
pub(super) mod sockets;
#[cfg(feature = "client")]
mod tls;

/// Long enough for any answer that comes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough to wait for an answer that does not come.
#[cfg(feature = "client")]
const IMPATIENCE: Duration = Duration::from_millis(300);

const ASSERTION: &str = "header.claims.signature";

fn post(uri: &str) -> Request<Bytes> {
    Request::post(uri)
        .body(Bytes::from(format!("assertion={ASSERTION}")))
        .unwrap()
}

/// The error, after making sure that nothing secret is in it.
#[track_caller]
fn refused(outcome: Result<Response<Bytes>>) -> Error {
    let error = outcome.expect_err("there should be no answer");
    let text = format!("{error:?} {error} {error:#?}");
    for secret in [ASSERTION, "hunter2", "aHVudGVyMg"] {
        assert!(!text.contains(secret), "{text}");
    }
    error
}

#[track_caller]
fn check(error: &Error, kind: ErrorKind, transient: bool, hint: &advice::Advice) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.is_transient(), transient, "{error:?}");
    assert_eq!(error.hint(), Some(hint.hint()), "{error:?}");
}

// ===== a service of the user's own =====

/// `Send` but not `Sync`, generic in neither body, and not ready when cloned.
#[derive(Default)]
struct Shy {
    asked: Cell<usize>,
}

impl Clone for Shy {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Full<Bytes>>> for Shy {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() < 3 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        assert_eq!(self.asked.get(), 3, "called before it was ready");
        ready(Ok(Response::new(Full::from("here"))))
    }
}

#[tokio::test]
async fn a_service_is_polled_until_ready_and_then_called() {
    let transport = Transport::new(Shy::default());
    for _ in 0..2 {
        let answer = transport.round_trip(post("https://a.example.no"), PATIENCE);
        assert_eq!(answer.await.unwrap().body(), "here");
    }
}

/// Answers every request with the same outcome, or never.
#[derive(Clone)]
struct Canned<F>(F);

impl<F, Fut, B, E> Service<Request<Full<Bytes>>> for Canned<F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Fut {
        (self.0)()
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_ends_a_service_that_never_answers() {
    let never = || -> Pending<Result<Response<Empty<Bytes>>, Infallible>> { pending() };
    let transport = Transport::new(Canned(never));
    let error = refused(
        transport
            .round_trip(post("https://a.example.no/token"), PATIENCE)
            .await,
    );
    check(&error, ErrorKind::Unreachable, true, &advice::SILENCE);
    assert_eq!(error.endpoint(), Some("https://a.example.no/token"));
    assert_eq!(error.to_string(), "a.example.no did not answer within 30s");
}

#[tokio::test]
async fn an_error_nobody_knows_is_a_network_that_failed() {
    let broken = || ready(Err::<Response<Empty<Bytes>>, _>(io::Error::other("cable")));
    let error = refused(
        Transport::new(Canned(broken))
            .round_trip(post("https://a.example.no"), PATIENCE)
            .await,
    );
    check(&error, ErrorKind::Unreachable, true, &advice::NETWORK);
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "cable");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let moved = || {
        let moved = Response::builder()
            .status(StatusCode::TEMPORARY_REDIRECT)
            .header("location", "https://elsewhere.example.no")
            .body(Empty::<Bytes>::new());
        ready(moved)
    };
    let transport = Transport::new(Canned(moved));
    let answer = transport.round_trip(post("https://a.example.no"), PATIENCE);
    assert_eq!(answer.await.unwrap().status(), 307);
}

#[tokio::test]
async fn a_body_may_be_64_kib_and_no_more() {
    for (size, fits) in [(0, true), (BODY_LIMIT, true), (BODY_LIMIT + 1, false)] {
        let body = move || {
            let body: Full<Bytes> = Bytes::from(vec![0; size]).into();
            ready(Ok::<_, Infallible>(Response::new(body)))
        };
        let transport = Transport::new(Canned(body));
        let answer = transport
            .round_trip(post("https://a.example.no"), PATIENCE)
            .await;
        if fits {
            assert_eq!(answer.unwrap().body().len(), size);
        } else {
            let error = refused(answer);
            check(&error, ErrorKind::Protocol, true, &advice::NOT_AN_ANSWER);
            assert_eq!(error.to_string(), "the answer is larger than 64 KiB");
        }
    }
}

// ===== https, or this machine =====

#[tokio::test]
async fn plain_http_is_for_this_machine_and_is_refused_before_the_service_is_asked() {
    let panics = || -> Ready<Result<Response<Empty<Bytes>>, Infallible>> { panic!("asked") };
    let transport = Transport::new(Canned(panics));
    for (uri, named) in [
        ("http://maskinporten.no/token", "http://maskinporten.no "),
        ("http://u:hunter2@example.no:81/t", "http://example.no:81 "),
        (
            "HTTP://127.0.0.1.example.no",
            "http://127.0.0.1.example.no ",
        ),
        ("http://localhost@example.no", "http://example.no "),
        ("ftp://localhost", "ftp://localhost "),
        ("/token", "an address without scheme"),
        ("maskinporten.no:443", "an address without scheme"),
    ] {
        let error = refused(transport.round_trip(post(uri), PATIENCE).await);
        check(
            &error,
            ErrorKind::Settings,
            false,
            &advice::INSECURE_ADDRESS,
        );
        assert!(error.to_string().starts_with(named), "{error}");
    }
}

#[tokio::test]
async fn https_and_this_machine_are_let_through() {
    let empty = || ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let transport = Transport::new(Canned(empty));
    for uri in [
        "https://maskinporten.no/token",
        "HTTPS://maskinporten.no",
        "http://LOCALHOST:8080",
        "http://localhost./",
        "http://127.9.9.9",
        "http://[::1]:80/",
    ] {
        transport.round_trip(post(uri), PATIENCE).await.unwrap();
    }
}

#[test]
fn a_round_trip_may_be_spawned() {
    fn spawnable(_: impl Send) {}
    let transport = Transport::new(Shy::default());
    spawnable(transport.round_trip(post("https://a.example.no"), PATIENCE));
}

#[test]
fn debug_shows_nothing_of_the_service() {
    let transport = Transport::new(Shy::default());
    assert_eq!(format!("{transport:?}"), "Transport { .. }");
}
