//! The layer among others, outside and inside of it, and the readiness that services owe each other.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use maskinporten::{Error, ErrorKind, MaskinportenClient, Transport};
use maskinporten_sim::{Body, Fault, Route, Sim};
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::load_shed::error::Overloaded;
use tower::retry::{Policy, Retry};
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_maskinporten::ServiceBuilderExt;
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, BoxError, MaskinportenAuthLayer};
use tower_test::{assert_request_eq, mock};

use crate::world::{self, A, API, B, ByReference, Recorder, SCOPES, get, kind_of, layer, world};

// ===== retries =====

/// Tries again after a 503, at most twice.
#[derive(Clone, Debug)]
struct Twice(usize);

impl<E> Policy<Request<Body>, Response<Body>, E> for Twice {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<Body>, E>,
    ) -> Option<Ready<()>> {
        let unavailable = matches!(result, Ok(response) if response.status().is_server_error());
        self.0 = self.0.checked_sub(usize::from(unavailable))?;
        unavailable.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut clone = get(request.uri().to_string());
        *clone.headers_mut() = request.headers().clone();
        Some(clone)
    }
}

fn failing_twice() -> impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static {
    let calls = AtomicUsize::new(0);
    move |_| {
        let mut response = Response::new(Body::empty());
        if calls.fetch_add(1, Ordering::Relaxed) < 2 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_outside_gets_the_token_again_and_one_inside_uses_it_again() {
    for outside in [true, false] {
        let (sim, client) = world();
        let recorder = Recorder::answering(failing_twice());

        let response = if outside {
            let service = layer(&client).layer(recorder.clone());
            Retry::new(Twice(2), service).oneshot(get(A)).await
        } else {
            let service = Retry::new(Twice(2), recorder.clone());
            layer(&client).layer(service).oneshot(get(A)).await
        };

        assert_eq!(response.unwrap().status(), StatusCode::OK);
        let values = recorder.authorizations();
        assert_eq!(values.len(), 3);
        assert!(
            values.iter().all(|hop| hop.len() == 1 && *hop == values[0]),
            "outside: {outside}"
        );
        assert_eq!(sim.journal().grants(), 1);
    }
}

// ===== timeouts =====

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_is_up_leaves_the_token_to_the_next() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let service = Timeout::new(
        layer(&client).layer(Recorder::new()),
        Duration::from_millis(50),
    );
    let started = tokio::time::Instant::now();

    let error = service.clone().oneshot(get(A)).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error:?}");
    assert_eq!(started.elapsed().as_millis(), 50);
    service.oneshot(get(A)).await.unwrap();

    // The second waited for what the first had begun.
    assert!(
        started.elapsed() < Duration::from_millis(90),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_counts_the_request_and_not_the_token() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let inner = Timeout::new(Recorder::new(), Duration::from_millis(50));

    layer(&client).layer(inner).oneshot(get(A)).await.unwrap();
}

// ===== limits =====

/// Thirty callers at once, on a cold and then on a warm slot; all get an answer for one grant.
async fn thirty_at_once<S>(service: S, sim: &Sim)
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
    S::Error: Debug,
{
    for _ in 0..2 {
        let calls = (0..30).map(|_| service.clone().oneshot(get(sim.api_url())));
        for answer in join_all(calls).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(sim.journal().grants(), 1);
    assert_eq!(sim.journal().api_calls(), 60);
}

#[tokio::test(start_paused = true)]
async fn callers_get_through_a_buffer_of_one_on_either_side() {
    let (sim, client) = world();
    thirty_at_once(Buffer::new(layer(&client).layer(sim.clone()), 1), &sim).await;
    let (sim, client) = world();
    thirty_at_once(layer(&client).layer(Buffer::new(sim.clone(), 1)), &sim).await;
}

#[tokio::test(start_paused = true)]
async fn callers_get_through_a_limit_of_one_on_either_side() {
    let (sim, client) = world();
    thirty_at_once(
        ConcurrencyLimit::new(layer(&client).layer(sim.clone()), 1),
        &sim,
    )
    .await;
    let (sim, client) = world();
    thirty_at_once(
        layer(&client).layer(ConcurrencyLimit::new(sim.clone(), 1)),
        &sim,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_get_through_every_limit_at_once() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let service = ServiceBuilder::new()
        .buffer(1)
        .concurrency_limit(2)
        .timeout(Duration::from_secs(60))
        .layer(layer(&client))
        .timeout(Duration::from_secs(60))
        .buffer(1)
        .concurrency_limit(1)
        .service(sim.clone());
    thirty_at_once(service, &sim).await;
}

#[tokio::test(start_paused = true)]
async fn load_is_shed_for_requests_under_way_and_not_for_those_that_wait_for_a_token() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    sim.fault(Route::Api, Fault::latency(Duration::from_millis(80)));
    let limited = ConcurrencyLimit::new(sim.clone(), 1);
    let service = LoadShed::new(layer(&client).layer(limited));
    let three_at_once = || join_all((0..3).map(|_| service.clone().oneshot(get(sim.api_url()))));

    for answer in three_at_once().await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    // Now there is a token, and the first goes its way with the one permit.
    let answers = three_at_once().await;

    assert_eq!(answers[0].as_ref().unwrap().status(), StatusCode::OK);
    for shed in &answers[1..] {
        assert!(shed.as_ref().unwrap_err().is::<Overloaded>());
    }
}

#[tokio::test(start_paused = true)]
async fn load_shed_inside_lets_a_refused_token_free_its_place() {
    let (sim, client) = world();
    let unregistered = MaskinportenAuthLayer::new(&client, ["other:scope"], API).unwrap();
    let limited = ConcurrencyLimit::new(Recorder::new(), 1);
    let failing = unregistered.layer(limited.clone());
    let working = layer(&client).layer(limited);

    for _ in 0..3 {
        let error = failing.clone().oneshot(get(A)).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::ScopeRejected));
        working.clone().oneshot(get(A)).now_or_never();
    }
    assert!(working.oneshot(get(A)).await.is_ok());
    assert_eq!(sim.journal().grants(), 1);
}

/// Whether the limit would let a request through now.
fn has_room<S: Service<Request<Body>>>(mut limited: ConcurrencyLimit<S>) -> bool {
    limited.ready().now_or_never().is_some()
}

#[tokio::test(start_paused = true)]
async fn thirty_cold_callers_hold_no_permit_while_they_wait() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let limited = ConcurrencyLimit::new(Recorder::new(), 1);
    let service = layer(&client).layer(limited.clone());

    let mut waiting = join_all((0..30).map(|_| service.clone().oneshot(get(A))));
    assert!((&mut waiting).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(40)).await;

    // Somebody else, who shares the limit and needs no token.
    assert!(has_room(limited.clone()));
    limited.oneshot(get(B)).await.unwrap();
    assert_eq!(sim.journal().grants(), 0);
    assert!(waiting.await.iter().all(Result::is_ok));
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kept_service_under_a_limit_of_one_waits_for_a_token_and_not_for_itself() {
    let (sim, client) = world();
    let limited = ConcurrencyLimit::new(Probe::new(), 1);
    let mut service = layer(&client).layer(limited.clone());

    for _ in 0..2 {
        let answer = async { service.ready().await.unwrap().call(get(A)).await };
        let answer = tokio::time::timeout(Duration::from_secs(60), answer);
        answer.await.expect("there is nothing to wait for").unwrap();
    }
    assert_eq!(sim.journal().grants(), 1);
    assert!(has_room(limited));
}

#[tokio::test(start_paused = true)]
async fn tokens_may_be_fetched_through_the_limit_that_the_requests_share() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let limited = ConcurrencyLimit::new(sim.clone(), 1);
    let client = world::builder(&sim, &registered)
        .transport(Transport::new(limited.clone()))
        .build()
        .unwrap();
    let service = layer(&client).layer(limited);

    let calls = (0..30).map(|_| service.clone().oneshot(get(sim.api_url())));
    let answers = tokio::time::timeout(Duration::from_secs(5), join_all(calls));

    for answer in answers.await.expect("neither waits for the other") {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_its_permit_to_others() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::hang().times(1));
    let limited = ConcurrencyLimit::new(Recorder::new(), 1);
    let service = layer(&client).layer(limited.clone());

    Timeout::new(service, Duration::from_millis(50))
        .oneshot(get(A))
        .await
        .unwrap_err();

    assert!(has_room(limited));
}

/// A service that is ready while its door is open, for owners and by reference.
#[derive(Clone)]
struct Door {
    sim: Sim,
    state: Arc<Mutex<(bool, Vec<Waker>)>>,
}

impl Door {
    fn closed(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            state: Arc::default(),
        }
    }

    fn open(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }
}

impl Service<Request<Body>> for &Door {
    type Response = Response<Body>;
    type Error = <Sim as Service<Request<Body>>>::Error;
    type Future = <Sim as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let mut state = self.state.lock().unwrap();
        if state.0 {
            return Poll::Ready(Ok(()));
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(
            self.state.lock().unwrap().0,
            "called without having been ready"
        );
        self.sim.clone().call(request)
    }
}

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = <Sim as Service<Request<Body>>>::Error;
    type Future = <Sim as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        (&*self).poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        (&*self).call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_while_the_service_is_not_ready_is_fetched_anew() {
    // A token lives for two minutes, and its last twentieth is not used.
    for (opens_after, grants) in [(60, 1), (110, 2), (115, 2), (200, 2)] {
        for by_reference in [false, true] {
            let (sim, client) = world();
            let door = Door::closed(&sim);
            let service = layer(&client).layer(door.clone());
            let mut kept = service.clone();
            let opening = async {
                tokio::time::sleep(Duration::from_secs(opens_after)).await;
                door.open();
            };

            let response = match by_reference {
                // Not `oneshot`: that would wait for the door before there is a token.
                true => tokio::join!((&service).call(get(sim.api_url())), opening).0,
                false => tokio::join!(kept.call(get(sim.api_url())), opening).0,
            };

            // The simulator refuses a token that has ended.
            assert_eq!(response.unwrap().status(), StatusCode::OK);
            tokio::time::sleep(Duration::from_secs(1)).await;
            // At 110 s the token is still good, and its renewal is due.
            assert_eq!(
                sim.journal().grants(),
                grants,
                "{opens_after} {by_reference}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_token_once_more_gives_up_what_was_reserved_for_it() {
    let (sim, client) = world();
    let limited = ConcurrencyLimit::new(sim.clone(), 1);
    let mut busy = limited.clone();
    busy.ready().await.unwrap();
    let mut service = layer(&client).layer(limited.clone());
    let call = tokio::spawn(service.call(get(sim.api_url())));
    tokio::time::sleep(Duration::from_secs(130)).await;
    sim.fault(Route::Token, Fault::latency(Duration::from_secs(1)));

    // The token of a moment ago has ended: it is the permit's turn, and there is no token.
    drop(busy);
    tokio::time::sleep(Duration::from_millis(500)).await;

    assert!(!call.is_finished());
    assert!(has_room(limited));
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(sim.journal().grants(), 2);
}

// ===== readiness =====

/// Panics when it is called without having been polled ready; its clones were not.
#[derive(Debug)]
struct Probe {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Probe {
    fn new() -> Self {
        Self {
            ready: false,
            calls: Arc::default(),
        }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self {
            ready: false,
            calls: Arc::clone(&self.calls),
        }
    }
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(self.ready, "called without having been ready");
        self.ready = false;
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Body::empty())))
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_instance_that_was_ready_is_called_cold_cached_and_bare() {
    let (_sim, client) = world();
    let probe = Probe::new();
    let calls = Arc::clone(&probe.calls);
    let mut service = layer(&client).pass_foreign().layer(probe);
    for uri in [A, A, A, B, A] {
        service.ready().await.unwrap().call(get(uri)).await.unwrap();
    }
    for uri in [A, B, A] {
        service.clone().oneshot(get(uri)).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 8);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_leaves_no_instance_ready() {
    let (_sim, client) = world();
    let mut service = layer(&client).layer(Probe::new());

    let waiting = service.ready().await.unwrap().call(get(A));

    assert!(!service.get_ref().ready);
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hit_uses_the_ready_instance_and_clones_none() {
    /// Fails a test that clones it.
    #[derive(Debug)]
    struct Unclonable(Probe);

    impl Clone for Unclonable {
        fn clone(&self) -> Self {
            panic!("cloned")
        }
    }

    impl Service<Request<Body>> for Unclonable {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            self.0.call(request)
        }
    }

    let (_sim, client) = world();
    client.access_token(SCOPES).await.unwrap();
    let mut service = layer(&client).layer(Unclonable(Probe::new()));
    for _ in 0..3 {
        service.ready().await.unwrap().call(get(A)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_leaves_the_inner_service_ready_and_uncalled() {
    let (sim, client) = world();
    let mut service = layer(&client).layer(Probe::new());

    let refused = service.ready().await.unwrap().call(get(B)).await;

    assert_eq!(kind_of(&refused.unwrap_err()), Some(ErrorKind::Origin));
    assert!(service.get_ref().ready);
    assert_eq!(service.get_ref().calls.load(Ordering::Relaxed), 0);
    // It still has its readiness: this call needs no other.
    service.call(get(A)).await.unwrap();
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_may_be_made_ready_for_the_next_call_while_one_waits() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let mut service = layer(&client).layer(Probe::new());

    let first = service.ready().await.unwrap().call(get(A));
    let second = service.ready().await.unwrap().call(get(A));
    let (first, second) = tokio::join!(first, second);

    assert!(first.is_ok() && second.is_ok());
    assert_eq!(sim.journal().grants(), 1);
}

#[tokio::test]
async fn readiness_is_the_inner_services_own() {
    let client = world::fixed("token");
    let (mut service, mut api) = mock::spawn_layer::<Request<()>, Response<()>, _>(layer(&client));

    api.allow(0);
    assert!(service.poll_ready().is_pending());
    api.allow(1);
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
    api.send_error("down");
    let Poll::Ready(Err(error)) = service.poll_ready() else {
        panic!("the inner service has failed");
    };
    assert_eq!(error.to_string(), "down");
}

#[tokio::test(start_paused = true)]
async fn a_request_arrives_as_it_was_sent_with_the_token_on_a_miss_and_on_a_hit() {
    let (sim, client) = world();
    let (inner, mut api) = mock::pair::<Arrived, Response<()>>();
    let inner = inner.map_request(Arrived::from);
    let mut service = layer(&client).layer(inner);

    for round in ["miss", "hit", "hit"] {
        let request = Request::put(A).header("x-own", round).body("body").unwrap();
        let answer = tokio::spawn(service.ready().await.unwrap().call(request));
        let expected = Arrived {
            target: format!("PUT {A}"),
            own: round.to_owned(),
            bearers: 1,
            body: "body",
        };
        assert_request_eq!(api, expected).send_response(Response::new(()));
        answer.await.unwrap().unwrap();
    }
    assert_eq!(sim.journal().grants(), 1);
}

/// A request, taken apart for comparison.
#[derive(Debug, PartialEq)]
struct Arrived {
    target: String,
    own: String,
    bearers: usize,
    body: &'static str,
}

impl From<Request<&'static str>> for Arrived {
    fn from(request: Request<&'static str>) -> Self {
        let values = request.headers().get_all(AUTHORIZATION).iter();
        Self {
            target: format!("{} {}", request.method(), request.uri()),
            own: request.headers()["x-own"].to_str().unwrap().to_owned(),
            bearers: values
                .filter(|value| value.as_bytes().starts_with(b"Bearer eyJ"))
                .count(),
            body: request.body(),
        }
    }
}

#[tokio::test]
async fn what_was_prepared_but_not_polled_sends_nothing() {
    let (sim, client) = world();
    let recorder = Recorder::new();
    let mut service = layer(&client).layer(recorder.clone());

    drop(service.call(get(A)));
    tokio::task::yield_now().await;

    assert!(recorder.seen().is_empty());
    assert_eq!(sim.journal().token_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_that_is_dropped_never_reaches_the_inner_service() {
    let (sim, client) = world();
    let recorder = Recorder::new();
    let mut service = layer(&client).layer(recorder.clone());
    {
        let waiting = pin!(service.call(get(A)));
        assert!(
            waiting
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert!(recorder.seen().is_empty());
    assert_eq!(sim.journal().grants(), 1);
}

// ===== two of them =====

#[tokio::test(start_paused = true)]
async fn a_token_that_was_set_by_hand_is_refused_with_a_hint_that_says_how_to_keep_it() {
    let (_, client) = world();
    let mut request = get(A);
    let value = client.header_value(world::SCOPES).await.unwrap();
    request.headers_mut().insert(AUTHORIZATION, value);

    let answer = layer(&client).layer(Recorder::new()).oneshot(request).await;

    let error = answer.unwrap_err();
    let hint = Error::find_in(&*error).unwrap().hint().unwrap();
    assert!(hint.contains("client.header_value()"), "{hint}");
    assert!(hint.contains("ExistingHeader::Keep"), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn of_two_layers_for_one_api_the_inner_refuses_and_nothing_is_sent() {
    let (sim, client) = world();
    let other = world::fixed("inner");
    let recorder = Recorder::new();
    let twice = |inner: &MaskinportenClient| {
        let inner = layer(inner).optional_context();
        layer(&client).layer(inner.layer(ByReference(recorder.clone())))
    };
    // The same one twice, and two of two clients; cold, and from the cache in every way of use.
    for mut service in [twice(&client), twice(&other)] {
        for _ in 0..3 {
            let clone = service.clone();
            for answer in [
                (&mut service).oneshot(get(A)).await,
                clone.oneshot(get(A)).await,
            ] {
                let error = answer.unwrap_err();
                let error = Error::find_in(&*error).unwrap();
                assert_eq!(error.kind(), ErrorKind::Request, "{error}");
                let said = "the request already has a token of this library's";
                assert!(error.to_string().contains(said), "{error}");
                assert!(error.hint().unwrap().contains("one auth layer is enough"));
            }
        }
    }
    assert!(recorder.seen().is_empty());
    assert_eq!(sim.journal().grants(), 1);

    // A sensitive header that is nobody's token is the caller's own, and replaced as any other.
    let service = layer(&client).layer(recorder.clone());
    let mut request = get(A);
    let mut own = HeaderValue::from_static("Bearer own");
    own.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, own);
    service.oneshot(request).await.unwrap();
    assert_eq!(recorder.authorizations().len(), 1);
    assert_ne!(recorder.authorizations()[0], ["Bearer own"]);
}

#[tokio::test(start_paused = true)]
async fn two_layers_for_two_apis_share_a_client_and_confuse_nothing() {
    let (sim, client) = world();
    let plain = MaskinportenAuthLayer::new(&client, SCOPES, API).unwrap();
    let altinn = AltinnAuthLayer::new(&client, SCOPES, B.trim_end_matches('/')).unwrap();
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(plain.pass_foreign())
        .layer(altinn.pass_foreign())
        .service(recorder.clone());

    for uri in [A, B, A, B] {
        service.clone().oneshot(get(uri)).await.unwrap();
    }

    let values = recorder.authorizations();
    assert_ne!(values[0], values[1]);
    assert_eq!(values[..2], values[2..]);
    assert_eq!((sim.journal().grants(), sim.journal().exchanges()), (1, 1));
}

// ===== where services are kept =====

/// What an axum handler is given.
#[derive(Clone)]
struct AppState {
    registry: BearerAuth<ByReference<Sim>>,
    erased: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
}

#[tokio::test(start_paused = true)]
async fn a_layered_service_is_kept_in_shared_state_and_erased_in_a_box() {
    fn state<T: Clone + Send + Sync + 'static>(state: T) -> T {
        state
    }

    let (sim, client) = world();
    let service = ServiceBuilder::new()
        .maskinporten_authorization(&client, SCOPES, sim.altinn_platform())
        .unwrap()
        .service(ByReference(sim.clone()));
    let state = state(AppState {
        registry: service.clone(),
        erased: BoxCloneSyncService::new(service),
    });

    let handlers = (0..10).map(|_| {
        let (state, uri) = (state.clone(), sim.api_url());
        tokio::spawn(async move {
            let by_reference = (&state.registry).oneshot(get(&uri)).await.unwrap();
            let erased = state.erased.oneshot(get(&uri)).await.unwrap();
            [by_reference.status(), erased.status()]
        })
    });
    for statuses in join_all(handlers).await {
        assert_eq!(statuses.unwrap(), [StatusCode::OK; 2]);
    }
    assert_eq!(sim.journal().grants(), 1);
}
