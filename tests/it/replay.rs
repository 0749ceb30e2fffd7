//! A request whose token was rejected is sent once more with a newer one, and never twice.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use maskinporten::ExistingHeader;
use maskinporten_sim::{Body, Fault, Route, Sim};
use proptest::prelude::*;
use tower::limit::ConcurrencyLimit;
use tower::retry::{Policy, Retry};
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{BoxError, RejectedTokenPolicy, ReplayAuth};
use tower_test::mock;

use crate::world::{A, API, B, ByReference, Recorder, SCOPES, kind_of, layer, world, world_of};

type Answer = Response<&'static str>;

/// A request whose body can be cloned.
fn get(uri: &str) -> Request<&'static str> {
    Request::get(uri).body("").unwrap()
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Body::from("refused"));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let id = HeaderValue::from_static("7");
    response.headers_mut().insert("x-request-id", id);
    response
}

/// Refuses the first token it is shown, and takes every other.
fn refusing_the_first() -> Recorder {
    let first: Arc<Mutex<Option<HeaderValue>>> = Arc::default();
    Recorder::answering(move |parts| {
        let shown = &parts.headers[AUTHORIZATION];
        let mut first = first.lock().unwrap();
        if first.get_or_insert_with(|| shown.clone()) == shown {
            return refused();
        }
        Response::new(Body::empty())
    })
}

// ===== one request =====

#[tokio::test(start_paused = true)]
async fn a_request_whose_token_was_rejected_is_sent_again_with_a_newer_one() {
    let (sim, client) = world();
    let api = refusing_the_first();
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());
    let request = Request::put(A)
        .header("x-own", "7")
        .header(AUTHORIZATION, "Basic a")
        .header(AUTHORIZATION, "Basic b")
        .body("body")
        .unwrap();

    let response = service.oneshot(request).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    let [first, second] = &api.seen()[..] else {
        panic!("it was sent twice");
    };
    assert_eq!((&first.method, &first.uri), (&second.method, &second.uri));
    assert_eq!(second.headers["x-own"], "7");
    let carried = api.authorizations();
    assert_eq!((carried[0].len(), carried[1].len()), (1, 1));
    assert_ne!(carried[0], carried[1]);
    assert!(carried[1][0].is_sensitive());
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_called_by_reference_replays_too() {
    let (sim, client) = world();
    let api = refusing_the_first();
    let layer = layer(&client).replay_on_unauthorized();
    let service = layer.layer(ByReference(api.clone()));

    let response = (&service).oneshot(get(A)).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((api.seen().len(), sim.journal().grants()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn grpcs_unauthenticated_is_answered_by_a_replay() {
    let (sim, client) = world();
    let calls = Mutex::new(0);
    let api = Recorder::answering(move |_| {
        let mut response = Response::new(Body::empty());
        *response.version_mut() = Version::HTTP_2;
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        let status = if *calls == 1 { "16" } else { "0" };
        let status = HeaderValue::from_static(status);
        response.headers_mut().insert("grpc-status", status);
        response
    });
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());

    let response = service.oneshot(get(A)).await.unwrap();

    assert_eq!(response.headers()["grpc-status"], "0");
    assert_eq!((api.seen().len(), sim.journal().grants()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_about_the_token_is_not_sent_again() {
    let with = |status: StatusCode, challenge: &'static str| {
        let mut response = refused();
        *response.status_mut() = status;
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response.into_parts().0
    };
    let invalid = "Bearer error=\"invalid_token\"";
    for answer in [
        with(StatusCode::FORBIDDEN, invalid),
        with(StatusCode::OK, invalid),
        with(StatusCode::INTERNAL_SERVER_ERROR, invalid),
        with(
            StatusCode::UNAUTHORIZED,
            "Bearer error=\"insufficient_scope\"",
        ),
        with(StatusCode::UNAUTHORIZED, "Basic realm=\"api\""),
    ] {
        let (sim, client) = world();
        let status = answer.status;
        let api = Recorder::answering(move |_| Response::from_parts(answer.clone(), Body::empty()));
        let service = layer(&client).replay_on_unauthorized().layer(api.clone());

        let response = service.oneshot(get(A)).await.unwrap();

        assert_eq!(response.status(), status);
        assert_eq!(
            (api.seen().len(), sim.journal().grants()),
            (1, 1),
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_request_with_our_token_is_sent_again() {
    let (sim, client) = world();
    let api = Recorder::answering(|_| refused());
    let layer = layer(&client)
        .existing_header(ExistingHeader::Keep)
        .pass_foreign()
        .replay_on_unauthorized();
    let mut own = get(A);
    let basic = HeaderValue::from_static("Basic a");
    own.headers_mut().insert(AUTHORIZATION, basic);

    for request in [own, get(B)] {
        let response = layer.layer(api.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }

    assert_eq!((api.seen().len(), sim.journal().grants()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_here_fails_as_it_does_without_a_replay() {
    let (_sim, client) = world();
    let api = Recorder::new();
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());

    let error = service.oneshot(get(B)).await.unwrap_err();

    assert_eq!(kind_of(&error), Some(maskinporten::ErrorKind::Origin));
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_replay_needs_no_more_room_than_the_request_it_repeats() {
    let (sim, client) = world();
    let limited = ConcurrencyLimit::new(refusing_the_first(), 1);
    let service = layer(&client).replay_on_unauthorized().layer(limited);

    let calls = (0..30).map(|_| service.clone().oneshot(get(A)));
    let answers = tokio::time::timeout(Duration::from_secs(5), join_all(calls));

    for answer in answers.await.expect("nobody waits for another") {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_printed_shows_a_token() {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let service = layer(&client)
        .replay_on_unauthorized()
        .layer(refusing_the_first());
    let mut call = Box::pin(service.clone().call(get(A)));

    let mut printed = format!("{service:?} {call:?}");
    assert!((&mut call).now_or_never().is_none());
    printed += &format!("{call:?}");
    let response = call.await.unwrap();
    printed += &format!("{response:?}");

    assert!(printed.contains(API), "{printed}");
    assert!(!printed.contains("eyJ"), "{printed}");
}

// ===== where there is no newer token =====

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_returned_where_no_newer_token_can_be_had() {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_REQUEST));
    let api = Recorder::answering(|_| refused());
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());

    let response = service.oneshot(get(A)).await.unwrap();

    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let (expected, _) = refused().into_parts();
    assert_eq!(response.headers(), &expected.headers);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "refused");
    assert_eq!(api.seen().len(), 1);
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_for_ever_sees_one_replay_and_its_401_is_handed_on() {
    let (sim, client) = world();
    let api = Recorder::answering(|_| refused());
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());

    let response = service.clone().oneshot(get(A)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), sim.journal().grants()), (2, 2));

    // The token is the fruit of a rejection: it is not replaced, and the request not sent again.
    for sent in 3..10 {
        service.clone().oneshot(get(A)).await.unwrap();
        assert_eq!((api.seen().len(), sim.journal().grants()), (sent, 2));
    }
}

/// Tries again after a 401, as somebody may who knows nothing of tokens.
#[derive(Clone)]
struct Stubborn(usize);

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for Stubborn {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Ready<()>> {
        let refused = matches!(result, Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED);
        self.0 = self.0.checked_sub(usize::from(refused))?;
        refused.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn five_attempts_outside_make_one_mint_and_one_replay() {
    let (sim, client) = world();
    let api = Recorder::answering(|_| refused());
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());
    let response = Retry::new(Stubborn(4), service).oneshot(get(A)).await;
    assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), sim.journal().grants()), (6, 2));

    let (sim, client) = world();
    let api = Recorder::answering(|_| refused());
    let service = layer(&client).layer(api.clone());
    let service = Retry::new(RejectedTokenPolicy::new(), service);
    let response = Retry::new(Stubborn(4), service).oneshot(get(A)).await;
    assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), sim.journal().grants()), (6, 2));
}

// ===== many at once =====

/// A warm replaying service over a mock that answers when told to.
struct Storm {
    sim: Sim,
    service: ReplayAuth<mock::Mock<Request<&'static str>, Answer>>,
    api: mock::Handle<Request<&'static str>, Answer>,
}

type Caller = tokio::task::JoinHandle<Result<Answer, BoxError>>;

impl Storm {
    async fn new() -> Self {
        let (sim, client) = world();
        client.access_token(SCOPES).await.unwrap();
        let (inner, api) = mock::pair();
        let service = layer(&client).replay_on_unauthorized().layer(inner);
        Self { sim, service, api }
    }

    fn call(&self) -> Caller {
        tokio::spawn(self.service.clone().oneshot(get(A)))
    }

    async fn arrived(&mut self) -> (HeaderValue, mock::SendResponse<Answer>) {
        let arrives = tokio::time::timeout(Duration::from_secs(60), self.api.next_request());
        let (request, answer) = arrives.await.expect("a request arrives").unwrap();
        let values: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().collect();
        let [value] = values[..] else {
            panic!("one value is sent: {values:?}");
        };
        (value.clone(), answer)
    }

    fn grants(&self) -> usize {
        self.sim.journal().grants()
    }
}

fn unauthorized() -> Answer {
    let mut answer = Response::new("refused");
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    answer
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_with_a_newer_token_that_has_ended_too() {
    let mut storm = Storm::new().await;
    let late = storm.call();
    let (_, late_answer) = storm.arrived().await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let in_time = storm.call();
    let (_, answer) = storm.arrived().await;
    answer.send_response(Response::new("done"));
    in_time.await.unwrap().unwrap();
    assert_eq!(storm.grants(), 2);

    // Its successor's hard end.
    tokio::time::sleep(Duration::from_secs(114)).await;
    late_answer.send_response(unauthorized());

    let answered = tokio::time::timeout(Duration::from_secs(1), late).await;
    let response = answered.expect("it is not sent again").unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(storm.grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_in_flight_on_a_revoked_token_are_all_replayed_on_one_new_one() {
    let mut storm = Storm::new().await;
    let callers: Vec<_> = (0..1_000).map(|_| storm.call()).collect();
    let mut under_way = Vec::new();
    for _ in &callers {
        under_way.push(storm.arrived().await);
    }
    let revoked = under_way[0].0.clone();

    // Ten of them are answered only when all is over.
    let late = under_way.split_off(990);
    for (carried, answer) in under_way {
        assert_eq!(carried, revoked);
        answer.send_response(unauthorized());
    }
    let mut newer = None;
    for _ in 0..990 {
        let (carried, answer) = storm.arrived().await;
        assert_ne!(carried, revoked);
        assert_eq!(newer.get_or_insert_with(|| carried.clone()), &carried);
        answer.send_response(Response::new("done"));
    }
    assert_eq!(storm.grants(), 2);

    // By then a rejection of the current token would count.
    tokio::time::sleep(Duration::from_secs(40)).await;
    for (_, answer) in late {
        answer.send_response(unauthorized());
    }
    for _ in 0..10 {
        let (carried, answer) = storm.arrived().await;
        assert_eq!(Some(carried), newer);
        answer.send_response(Response::new("done"));
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().body(), &"done");
    }
    assert_eq!(storm.grants(), 2);
    assert!(storm.api.next_request().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_during_its_replay_harms_nobody() {
    let mut storm = Storm::new().await;
    storm
        .sim
        .fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let (stays, goes) = (storm.call(), storm.call());
    for _ in 0..2 {
        storm.arrived().await.1.send_response(unauthorized());
    }
    tokio::time::sleep(Duration::from_millis(40)).await;

    goes.abort();
    storm.arrived().await.1.send_response(Response::new("done"));

    assert_eq!(stays.await.unwrap().unwrap().body(), &"done");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(storm.api.next_request().now_or_never().is_none());
    assert_eq!(storm.grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_callers_patience_counts_the_wait_for_its_replay() {
    let (sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let api = refusing_the_first();
    let service = layer(&client).replay_on_unauthorized().layer(api.clone());
    let service = Timeout::new(service, Duration::from_millis(50));
    let started = tokio::time::Instant::now();

    let error = service.clone().oneshot(get(A)).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error:?}");
    assert_eq!(started.elapsed().as_millis(), 50);
    // What the first has begun is there for the second.
    let response = service.oneshot(get(A)).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(started.elapsed().as_millis() / 10, 8);
    assert_eq!((api.seen().len(), sim.journal().grants()), (3, 2));
}

// ===== two of them =====

// ===== a policy of one's own =====

#[tokio::test(start_paused = true)]
async fn a_policy_outside_a_layer_sends_again_once_with_a_newer_token() {
    let (sim, client) = world();
    let api = refusing_the_first();
    let service = Retry::new(
        RejectedTokenPolicy::new(),
        layer(&client).layer(api.clone()),
    );

    let response = service.clone().oneshot(get(A)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    service.oneshot(get(A)).await.unwrap();

    let carried = api.authorizations();
    assert_eq!(carried.len(), 3);
    assert_ne!(carried[0], carried[1]);
    assert_eq!(carried[1], carried[2]);
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_policy_lets_everything_else_pass() {
    let (sim, client) = world();
    let failing = tower::service_fn(|_: Request<&'static str>| async {
        Err::<Answer, BoxError>("down".into())
    });
    let policy = RejectedTokenPolicy::new();
    let error = Retry::new(policy.clone(), layer(&client).layer(failing))
        .oneshot(get(A))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "down");

    // A 401 that no layer of ours has read.
    let api = Recorder::answering(|_| refused());
    Retry::new(policy, api.clone())
        .oneshot(get(A))
        .await
        .unwrap();
    assert_eq!((api.seen().len(), sim.journal().grants()), (1, 1));
}

// ===== whatever the api answers =====

#[derive(Clone, Copy, Debug)]
enum Scripted {
    Ok,
    Unauthorized,
    Forbidden,
    Insufficient,
    Error,
}

/// Answers by a script, remembers what it was sent, and panics where it is called unready.
#[derive(Debug)]
struct Script {
    play: Arc<Mutex<Play>>,
    ready: bool,
}

#[derive(Debug, Default)]
struct Play {
    answers: VecDeque<Scripted>,
    sent: Vec<Sent>,
}

/// The number of a request, its `Authorization` values, and its answer.
type Sent = (String, Vec<HeaderValue>, Scripted);

impl Clone for Script {
    fn clone(&self) -> Self {
        Self {
            play: Arc::clone(&self.play),
            ready: false,
        }
    }
}

impl Service<Request<&'static str>> for Script {
    type Response = Answer;
    type Error = BoxError;
    type Future = Ready<Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<&'static str>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without having been ready"
        );
        let headers: &HeaderMap = request.headers();
        let number = headers["x-number"].to_str().unwrap().to_owned();
        let values = headers.get_all(AUTHORIZATION).iter().cloned().collect();
        let mut play = self.play.lock().unwrap();
        let answer = play.answers.pop_front().unwrap_or(Scripted::Ok);
        play.sent.push((number, values, answer));
        let mut response = Response::new("");
        *response.status_mut() = match answer {
            Scripted::Ok => StatusCode::OK,
            Scripted::Unauthorized => StatusCode::UNAUTHORIZED,
            Scripted::Forbidden => StatusCode::FORBIDDEN,
            Scripted::Insufficient => {
                let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                StatusCode::UNAUTHORIZED
            }
            Scripted::Error => return ready(Err("down".into())),
        };
        ready(Ok(response))
    }
}

fn answers() -> impl Strategy<Value = Vec<Scripted>> {
    let answer = prop_oneof![
        2 => Just(Scripted::Ok),
        4 => Just(Scripted::Unauthorized),
        1 => Just(Scripted::Forbidden),
        1 => Just(Scripted::Insufficient),
        1 => Just(Scripted::Error),
    ];
    proptest::collection::vec(answer, 0..40)
}

/// Rounds of requests sent at once, and the seconds of rest after each.
fn rounds() -> impl Strategy<Value = Vec<(usize, u64)>> {
    proptest::collection::vec((1..5_usize, 0..45_u64), 1..8)
}

/// Plays it all, and gives what was sent and when tokens were made.
fn played(answers: Vec<Scripted>, rounds: Vec<(usize, u64)>) -> (Vec<Sent>, Vec<SystemTime>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        // No token ends by itself: each but the first is made for a rejection.
        let (sim, client) = world_of(
            Sim::builder()
                .token_lifetime(Duration::from_secs(36_000))
                .build(),
        );
        sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
        let play = Arc::new(Mutex::new(Play {
            answers: answers.into(),
            sent: Vec::new(),
        }));
        let script = Script {
            play: Arc::clone(&play),
            ready: false,
        };
        let service = layer(&client).replay_on_unauthorized().layer(script);
        let mut number = 0;
        for (together, rest) in rounds {
            let calls = (0..together).map(|_| {
                number += 1;
                let mut request = get(API);
                let value = HeaderValue::from(number);
                request.headers_mut().insert("x-number", value);
                service.clone().oneshot(request)
            });
            join_all(calls).await;
            tokio::time::sleep(Duration::from_secs(rest)).await;
        }
        let sent = std::mem::take(&mut play.lock().unwrap().sent);
        let journal = sim.journal();
        let grants = journal
            .requests(Route::Token)
            .filter(|entry| entry.is_accepted());
        (sent, grants.map(|entry| entry.time()).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_api_answers_a_request_is_replayed_once_at_most(
        answers in answers(),
        rounds in rounds(),
    ) {
        let (sent, grants) = played(answers, rounds);

        for (at, (number, values, _)) in sent.iter().enumerate() {
            prop_assert_eq!(values.len(), 1);
            let before: Vec<_> = sent[..at].iter().filter(|(of, ..)| of == number).collect();
            prop_assert!(before.len() <= 1, "request {} was sent three times", number);
            for (_, earlier, answer) in before {
                prop_assert_ne!(earlier, values, "the replay carries a newer token");
                prop_assert!(matches!(answer, Scripted::Unauthorized));
            }
        }
        for pair in grants[1.min(grants.len())..].windows(2) {
            let apart = pair[1].duration_since(pair[0]).unwrap();
            prop_assert!(apart >= Duration::from_secs(29), "two mints {:?} apart", apart);
        }
    }
}
