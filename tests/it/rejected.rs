//! A 401 from the API: passed on as it came, and taken for a rejected token only where it is one.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use maskinporten::{ExistingHeader, Result, SentToken};
use maskinporten_sim::{Body, Fault, Route, Sim};
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, BoxError};
use tower_test::mock;

use crate::world::{A, API, B, Recorder, SCOPES, get, layer, world};

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
    for challenge in [
        None,
        Some("Bearer"),
        Some("Bearer error=\"invalid_token\""),
        Some("Negotiate, Bearer realm=\"api\""),
    ] {
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
    let invalid_request = unauthorized(Some("Bearer error=\"invalid_request\""));
    let basic = unauthorized(Some("Basic realm=\"api\""));
    let mut world = Answered::new().await;
    for response in [forbidden, insufficient, invalid_request, basic] {
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
    // At no full second, so that no limit is met to the nanosecond.
    tokio::time::sleep(Duration::from_millis(500)).await;
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
async fn a_renewal_under_way_counts_as_the_replacement_of_a_rejected_token() {
    let mut world = Answered::new().await;
    world
        .sim
        .fault(Route::Token, Fault::latency(Duration::from_millis(500)));
    // The token is ageing, so that the call itself has started a renewal.
    tokio::time::sleep(Duration::from_secs(97)).await;
    world.answered(unauthorized(None)).await;
    assert_eq!(world.grants(), 2);

    // What it brought is as good as forced: rejected too, it is left alone.
    for _ in 0..20 {
        world.answered(unauthorized(None)).await;
    }
    assert_eq!(world.grants(), 2);
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

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_sent_again_is_sent_once_and_its_token_replaced() {
    /// As a stream: it cannot be cloned.
    struct Streamed;

    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    let api = Recorder::answering(|_| unauthorized(None).map(|()| Body::from("refused")));
    let service = layer(&client).layer(api.clone());
    let send = || {
        service
            .clone()
            .oneshot(Request::post(A).body(Streamed).unwrap())
    };

    let response = send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "refused");
    assert_eq!(api.seen().len(), 1);

    tokio::time::sleep(Duration::from_secs(1)).await;
    send().await.unwrap();
    let carried = api.authorizations();
    assert_ne!(carried[0], carried[1]);
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_gone_when_the_answer_comes_is_answered_for() {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    let (inner, mut api) = mock::pair::<Request<()>, Response<()>>();

    // Neither the layer nor a service of it outlives the call: `oneshot` drops its own.
    let call = layer(&client)
        .layer(inner)
        .oneshot(Request::get(A).body(()).unwrap());
    let caller = tokio::spawn(call);
    let (_, answer) = api.next_request().await.unwrap();
    answer.send_response(unauthorized(None));
    caller.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_two_layers_the_outer_is_told_where_the_inner_kept_its_token() {
    let ((outer_sim, outer), (inner_sim, inner)) = (world(), world());
    let api = Recorder::answering(|_| unauthorized(None).map(|()| Body::empty()));
    let keeping = layer(&inner).existing_header(ExistingHeader::Keep);
    let service = layer(&outer).layer(keeping.layer(api));

    service.oneshot(get(A)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(outer_sim.journal().grants(), 2);
    assert_eq!(inner_sim.journal().grants(), 0);
}

// ===== where the answer came from =====

/// Redirects from [`A`] to another address, where the answer is a 401.
fn redirecting_to(address: &'static str) -> Recorder {
    Recorder::answering(move |parts| {
        if parts.uri != A {
            return unauthorized(None).map(|()| Body::empty());
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let location = HeaderValue::from_static(address);
        response.headers_mut().insert(LOCATION, location);
        response
    })
}

/// How many tokens were fetched, the first included, once a service has had its 401.
async fn grants_after<S>(sim: &Sim, service: S) -> usize
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
{
    let response = service.oneshot(get(A)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.journal().grants()
}

const LISTED: &str = "https://api.example.no/elsewhere";

#[tokio::test(start_paused = true)]
async fn a_401_counts_only_if_the_redirects_below_ended_at_a_listed_origin() {
    for (address, grants) in [(B, 1), (LISTED, 2), ("https://api.example.no:8443/", 1)] {
        let (sim, client) = world();
        let follower = tower_http::follow_redirect::FollowRedirect::new(redirecting_to(address));
        let service = layer(&client).layer(follower);
        assert_eq!(grants_after(&sim, service).await, grants, "0.7 {address}");

        let (sim, client) = world();
        let follower = tower_http_06::follow_redirect::FollowRedirect::new(redirecting_to(address));
        let service = layer(&client).layer(follower);
        assert_eq!(grants_after(&sim, service).await, grants, "0.6 {address}");
    }
}

/// How a client of one's own tells the last address.
#[derive(Clone)]
struct EndedAt(&'static str);

fn told(extensions: &Extensions) -> Option<Uri> {
    let EndedAt(address) = extensions.get()?;
    address.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn any_client_may_tell_where_its_answer_came_from() {
    for (address, grants) in [(Some(B), 1), (Some(LISTED), 2), (None, 2)] {
        let (sim, client) = world();
        let api = Recorder::answering(move |_| {
            let mut response = unauthorized(None).map(|()| Body::empty());
            if let Some(address) = address {
                response.extensions_mut().insert(EndedAt(address));
            }
            response
        });
        let service = layer(&client).final_uri(told).layer(api.clone());
        assert_eq!(grants_after(&sim, service).await, grants, "{address:?}");

        // Whoever asks for any https origin has listed them all.
        let (sim, client) = world();
        let any = layer(&client).any_https_origin().final_uri(told).layer(api);
        assert_eq!(grants_after(&sim, any).await, 2, "{address:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_layer_tells_the_address_with_the_401() {
    let (sim, client) = world();
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let mut headers = HeaderMap::new();
    let uri = Uri::from_static(A);
    let sent = authorizer.authorize(&uri, &mut headers).await.unwrap();
    let foreign = Uri::from_static(B);
    let challenge = unauthorized(Some("Basic realm=\"api\""))
        .into_parts()
        .0
        .headers;

    assert!(
        sent.rejected(Some((&foreign).into()), &HeaderMap::new())
            .is_none()
    );
    assert!(sent.rejected(Some((&uri).into()), &challenge).is_none());
    assert!(
        SentToken::NONE
            .rejected(Some((&uri).into()), &HeaderMap::new())
            .is_none()
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sim.journal().grants(), 1);

    let rejected = sent.rejected(Some((&uri).into()), &HeaderMap::new());
    let newer = rejected.unwrap().replacement().unwrap().await.unwrap();
    let mut replay = headers.clone();
    let sent = newer.set(&mut replay);
    assert_ne!(replay[AUTHORIZATION], headers[AUTHORIZATION]);
    assert_eq!(sim.journal().grants(), 2);

    // Fetched for the sake of a rejected one, a moment ago.
    let rejected = sent.rejected(None, &HeaderMap::new()).unwrap();
    assert!(rejected.replacement().is_none());
    assert!(!format!("{rejected:?}").contains("eyJ"));
}

#[tokio::test(start_paused = true)]
async fn a_challenge_with_a_norwegian_letter_is_read() {
    let (sim, client) = world();
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let sent = authorizer
        .authorize(&Uri::from_static(A), &mut HeaderMap::new())
        .await
        .unwrap();
    let mut headers = HeaderMap::new();
    let challenge = "Bearer error=\"invalid_token\", error_description=\"Tokenet er utløpt\"";
    headers.insert(
        WWW_AUTHENTICATE,
        HeaderValue::from_bytes(challenge.as_bytes()).unwrap(),
    );
    assert!(sent.rejected(None, &headers).is_some());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sim.journal().grants(), 2);
}
