//! A 401 from the API: passed on as it came, and taken for a rejected token only where it is one.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use maskinporten::{ExistingHeader, Result};
use maskinporten_sim::{Body, Fault, Route, Sim};
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, BoxError};
use tower_test::mock;

use crate::world::{API, Recorder, SCOPES, get, layer, world};

/// A 401 with this challenge, or with none.
fn unauthorized(challenge: Option<&'static str>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    if let Some(challenge) = challenge {
        let value = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// A warm kept service over a mock that answers when told to.
struct Answered {
    sim: Sim,
    service: BearerAuth<mock::Mock<Request<()>, Response<()>>>,
    api: mock::Handle<Request<()>, Response<()>>,
}

/// A call under way: its request has arrived, its answer has not.
struct UnderWay {
    answer: mock::SendResponse<Response<()>>,
    caller: tokio::task::JoinHandle<Result<Response<()>, BoxError>>,
    carried: HeaderValue,
}

impl Answered {
    async fn new() -> Self {
        let (sim, client) = world();
        client.access_token(SCOPES).await.unwrap();
        let (inner, api) = mock::pair();
        let service = layer(&client).layer(inner);
        Self { sim, service, api }
    }

    async fn call(&mut self) -> UnderWay {
        let service = self.service.clone();
        let caller = tokio::spawn(service.oneshot(Request::get(API).body(()).unwrap()));
        let (request, answer) = self.api.next_request().await.unwrap();
        let carried = request.headers()[AUTHORIZATION].clone();
        UnderWay {
            answer,
            caller,
            carried,
        }
    }

    /// One call that is answered like this; lets whatever it started finish.
    async fn answered(&mut self, response: Response<()>) -> Response<()> {
        let call = self.call().await;
        call.answered(response).await
    }

    fn grants(&self) -> usize {
        self.sim.journal().grants()
    }
}

impl UnderWay {
    async fn answered(self, response: Response<()>) -> Response<()> {
        self.answer.send_response(response);
        let response = self.caller.await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        response
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_is_passed_on_unchanged_and_brings_one_new_token() {
    for challenge in [None, Some("Bearer"), Some("Bearer error=\"invalid_token\"")] {
        let mut world = Answered::new().await;
        let first = world.call().await;
        let carried = first.carried.clone();
        let mut refusal = unauthorized(challenge);
        refusal
            .headers_mut()
            .insert("x-request-id", HeaderValue::from_static("7"));
        let expected: HeaderMap = refusal.headers().clone();

        let response = first.answered(refusal).await;

        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers(), &expected);
        assert_eq!(world.grants(), 2, "{challenge:?}");
        assert_ne!(world.call().await.carried, carried);
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_keeps_the_token_while_a_rejected_one_is_replaced() {
    let mut world = Answered::new().await;
    let first = world.call().await;
    let carried = first.carried.clone();
    world
        .sim
        .fault(Route::Token, Fault::latency(Duration::from_secs(2)));
    first.answered(unauthorized(None)).await;

    // One of the two seconds has passed.
    assert_eq!(world.call().await.carried, carried);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_ne!(world.call().await.carried, carried);
    assert_eq!(world.grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_not_about_the_token_changes_nothing() {
    let forbidden = {
        let mut response = unauthorized(Some("Bearer error=\"invalid_token\""));
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    };
    let insufficient = unauthorized(Some("Bearer error=\"insufficient_scope\", scope=\"a:b\""));
    let basic = unauthorized(Some("Basic realm=\"api\""));
    let mut world = Answered::new().await;
    for response in [forbidden, insufficient, basic] {
        let text = format!("{response:?}");
        world.answered(response).await;
        assert_eq!(world.grants(), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_401_about_an_older_token_changes_nothing() {
    let mut world = Answered::new().await;
    let late = world.call().await;
    world.answered(unauthorized(None)).await;
    assert_eq!(world.grants(), 2);
    // Long enough for a rejection of the current token to count again.
    tokio::time::sleep(Duration::from_secs(31)).await;

    late.answered(unauthorized(None)).await;

    assert_eq!(world.grants(), 2);
    world.answered(unauthorized(None)).await;
    assert_eq!(world.grants(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_that_is_refused_too_is_left_alone_for_longer() {
    let mut world = Answered::new().await;
    world.answered(unauthorized(None)).await;
    // Each call takes a second: an API that refuses whatever it is shown, all of the time.
    for _ in 0..58 {
        world.answered(unauthorized(None)).await;
    }
    assert_eq!(world.grants(), 2);
    for _ in 0..3 {
        world.answered(unauthorized(None)).await;
    }
    assert_eq!(world.grants(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_in_flight_on_a_revoked_token_bring_one_new_token() {
    let mut world = Answered::new().await;
    let mut calls = Vec::new();
    for _ in 0..1_000 {
        calls.push(world.call().await);
    }

    let answers = join_all(
        calls
            .into_iter()
            .map(|call| call.answered(unauthorized(None))),
    )
    .await;

    assert!(
        answers
            .iter()
            .all(|answer| answer.status() == StatusCode::UNAUTHORIZED)
    );
    assert_eq!(world.grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_401_for_a_header_of_the_callers_own_changes_nothing() {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    let refusing = Recorder::answering(|_| unauthorized(None).map(|()| Body::empty()));
    let keep = layer(&client).existing_header(ExistingHeader::Keep);
    let mut own = get(API);
    own.headers_mut()
        .insert(AUTHORIZATION, HeaderValue::from_static("Basic a"));
    let foreign = get("https://elsewhere.example");

    keep.layer(refusing.clone()).oneshot(own).await.unwrap();
    let pass = layer(&client).pass_foreign();
    pass.layer(refusing.clone()).oneshot(foreign).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(refusing.seen().len(), 2);
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_altinn_token_is_exchanged_anew() {
    let (sim, client) = world();
    let origin = sim.altinn_platform();
    let layer = AltinnAuthLayer::new(&client, SCOPES, &origin).unwrap();
    let mut service = layer.layer(sim.clone());
    service.call(get(sim.api_url())).await.unwrap();
    sim.fault(Route::Api, Fault::status(StatusCode::UNAUTHORIZED).times(1));

    let refused = service.call(get(sim.api_url())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let accepted = service.call(get(sim.api_url())).await.unwrap();

    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(accepted.status(), StatusCode::OK);
    assert_eq!(sim.journal().exchanges(), 2);
}
