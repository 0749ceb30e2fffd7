//! A hyper client under the layers it usually has: in which order they stand, and why.
//!
//! `cargo run --example hyper_client` calls an API that fails once, then one that has moved, then one that
//! has moved to somebody else. Copy the stack that `main` begins with, and `Unavailable`.

mod demo;

use std::time::Duration;

use bytes::Bytes;
use demo::{BoxError, check};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Fault, Route};
use tower::retry::Policy;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::trace::TraceLayer;
use tower_maskinporten::ServiceBuilderExt;
use tower_maskinporten::maskinporten::{Error, ErrorKind};

const SCOPE: &str = "krr:read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = demo::world([SCOPE]).await?;
    let origin = server.url();

    let mut http = ServiceBuilder::new()
        // One span for what a caller asked for, attempts and hops included. It sees no token: that is
        // set further in.
        .layer(TraceLayer::new_for_http())
        // The caller's patience. The wait for a token is part of it.
        .timeout(Duration::from_secs(10))
        // Each attempt asks for the token again, and has the newer one if there is one by now.
        .retry(Unavailable { attempts: 2 })
        // Each hop passes the guard: to a listed origin with a token, to any other not at all.
        .layer(FollowRedirectLayer::new())
        .maskinporten_authorization(&client, [SCOPE], &origin)?
        // Follows no redirects itself. What lies beneath the token sees it: no logs here.
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());

    println!("1. An API that is away for a moment");
    let sim = server.sim();
    sim.fault(
        Route::Api,
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(1),
    );
    let status = get(&mut http, &format!("{origin}api/person")).await?;
    let (calls, tokens) = (sim.journal().api_calls(), sim.journal().token_requests());
    println!("   {status}, with {calls} calls and {tokens} token");
    check(
        "it was called twice, with one token",
        (calls, tokens) == (2, 1),
    )?;

    println!("2. An address that has moved, at the same origin");
    sim.clear_journal();
    sim.fault(Route::Api, moved_to("/api/elsewhere")?);
    let status = get(&mut http, &format!("{origin}api/person")).await?;
    let journal = sim.journal();
    let hops: Vec<_> = journal.requests(Route::Api).collect();
    println!("   {status} from {}", hops[hops.len() - 1].path());
    let authorised = hops.iter().all(|hop| hop.authorization().is_some());
    check("both hops have the token", hops.len() == 2 && authorised)?;

    println!("3. One that has moved to somebody else");
    sim.fault(Route::Api, moved_to("https://somebody.example/api")?);
    match get(&mut http, &format!("{origin}api/person")).await {
        Ok(_) => check("the second hop is refused", false),
        Err(error) => {
            let ours = Error::find_in(&*error);
            println!("   refused: {error}");
            check(
                "nothing was sent there",
                ours.is_some_and(|error| error.kind() == ErrorKind::Origin),
            )
        }
    }
}

/// Sends a request again, a moment later, where the API answers 503.
#[derive(Clone)]
struct Unavailable {
    attempts: u32,
}

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for Unavailable {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Self::Future> {
        let response = result.as_ref().ok()?;
        self.attempts = self.attempts.checked_sub(1)?;
        let is_away = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        is_away.then(|| tokio::time::sleep(Duration::from_millis(100)))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

// ===== what is only here to run it =====

async fn get<S, B>(http: &mut S, url: &str) -> Result<StatusCode, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
{
    let request = Request::get(url).body(Full::default())?;
    Ok(http.ready().await?.call(request).await?.status())
}

fn moved_to(address: &str) -> Result<Fault, BoxError> {
    let location = HeaderValue::from_str(address)?;
    let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
    let moved = Fault::answer(StatusCode::TEMPORARY_REDIRECT, headers, "");
    Ok(moved.times(1))
}
