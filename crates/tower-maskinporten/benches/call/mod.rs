//! One whole call through a service under measurement, in the three ways a service is used.

use std::cell::Cell;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};
use tower_maskinporten::{BearerAuth, BoxError};

pub(crate) const ORIGIN: &str = "https://api.example.no";

/// How a service is used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// One value, kept and called.
    Kept,
    /// A clone for every call; the baseline is cloned too.
    Cloned,
    /// One value, called by reference. The baseline cannot be: it is kept, its cheapest way.
    Shared,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Kept, Self::Cloned, Self::Shared];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Cloned => "cloned",
            Self::Shared => "shared",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut ways = Self::ALL.into_iter();
        ways.find(|way| way.name() == name)
            .expect("kept, cloned or shared")
    }
}

// ===== the subjects =====

/// A service under measurement.
pub(crate) trait Subject: Clone {
    /// Where it cannot be used in a way, the way that stands for it.
    fn way(way: Way) -> Way {
        way
    }

    fn kept(&mut self, request: Request<()>) -> Request<()>;

    fn cloned(&self, request: Request<()>) -> Request<()> {
        self.clone().kept(request)
    }

    fn shared(&self, request: Request<()>) -> Request<()>;
}

impl Subject for BearerAuth<Echo> {
    fn kept(&mut self, request: Request<()>) -> Request<()> {
        called(self, request)
    }

    fn shared(&self, request: Request<()>) -> Request<()> {
        let mut by_reference = self;
        called(&mut by_reference, request)
    }
}

impl Subject for AddAuthorization<Echo> {
    fn way(way: Way) -> Way {
        match way {
            Way::Shared => Way::Kept,
            other => other,
        }
    }

    fn kept(&mut self, request: Request<()>) -> Request<()> {
        called(self, request)
    }

    fn shared(&self, _: Request<()>) -> Request<()> {
        unreachable!("kept stands for shared")
    }
}

/// The baseline: tower-http's static header, as long as a token of Maskinporten's with a handful of
/// claims.
pub(crate) fn fixed() -> AddAuthorization<Echo> {
    AddAuthorizationLayer::bearer(&token()).layer(Echo)
}

pub(crate) fn token() -> String {
    "t".repeat(1_000)
}

thread_local! {
    /// Where the echo leaves a request, so that one serves for all calls of its thread.
    static RETURNED: Cell<Option<Request<()>>> = const { Cell::new(None) };
}

/// Takes a request and answers with nothing, in the shape of a real client: its future is small and
/// makes the response when it is polled, its response is as large as hyper's, and its error is boxed
/// (one that cannot occur would be optimised out of the baseline alone).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo;

pub(crate) struct Answer(u16);

type EchoResponse = Response<[usize; 5]>;

impl Future for Answer {
    type Output = Result<EchoResponse, BoxError>;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = Response::new([0; 5]);
        *response.status_mut() = StatusCode::from_u16(self.0)?;
        Poll::Ready(Ok(response))
    }
}

impl Service<Request<()>> for Echo {
    type Response = EchoResponse;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request<()>) -> Answer {
        RETURNED.set(Some(request));
        Answer(200)
    }
}

impl Service<Request<()>> for &Echo {
    type Response = EchoResponse;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Answer {
        let mut echo = **self;
        echo.call(request)
    }
}

// ===== the calls =====

/// One whole call, as a user writes it: ready, called, awaited.
fn called<S>(service: &mut S, request: Request<()>) -> Request<()>
where
    S: Service<Request<()>, Response = EchoResponse, Error = BoxError>,
{
    let call = pin!(async { service.ready().await?.call(request).await });
    let mut context = Context::from_waker(Waker::noop());
    match call.poll(&mut context) {
        Poll::Ready(answer) => drop(black_box(answer.expect("the call succeeds"))),
        Poll::Pending => unreachable!("the token is there and the echo is ready"),
    }
    let mut request = RETURNED.take().expect("the echo left the request");
    // As a request arrives: without the header, and with room for it.
    let set = request.headers_mut().remove(AUTHORIZATION);
    assert!(set.is_some(), "the header was set");
    request
}

/// So many calls; `prepare` does to each request what its caller does.
#[inline(never)]
pub(crate) fn run<S: Subject>(
    service: &mut S,
    way: Way,
    calls: usize,
    mut request: Request<()>,
    mut prepare: impl FnMut(&mut Request<()>),
) -> Request<()> {
    match S::way(way) {
        Way::Kept => {
            for _ in 0..calls {
                prepare(&mut request);
                request = black_box(service.kept(black_box(request)));
            }
            request
        }
        other => run_by_reference(service, other, calls, request, prepare),
    }
}

/// The same of a service that threads may share: cloned or called by reference.
#[inline(never)]
pub(crate) fn run_by_reference<S: Subject>(
    service: &S,
    way: Way,
    calls: usize,
    mut request: Request<()>,
    mut prepare: impl FnMut(&mut Request<()>),
) -> Request<()> {
    let is_cloned = matches!(way, Way::Cloned);
    for _ in 0..calls {
        prepare(&mut request);
        request = black_box(if is_cloned {
            service.cloned(black_box(request))
        } else {
            service.shared(black_box(request))
        });
    }
    request
}

/// A request as services send it, with six usual headers: an empty map would hide what a look-up costs.
pub(crate) fn request() -> Request<()> {
    let mut request = Request::post(format!("{ORIGIN}/path?query"))
        .body(())
        .expect("a request");
    let headers = request.headers_mut();
    for (name, value) in [
        (ACCEPT, "application/json"),
        (ACCEPT_ENCODING, "gzip, br"),
        (USER_AGENT, "example-service/1.0"),
        (CONTENT_TYPE, "application/json"),
        (
            HeaderName::from_static("traceparent"),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        (
            HeaderName::from_static("x-request-id"),
            "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    request
}
