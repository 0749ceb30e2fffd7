//! One layer on one service: which token is set, when it is renewed, and what it costs.

use std::fmt::Debug;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use maskinporten::{
    Error, ErrorKind, ExistingHeader, FixedToken, MaskinportenClient, Result, SystemUser,
    TokenContext, TokenHandle, TokenKind, TokenProvider, TokenRequest,
};
use maskinporten_sim::{Body, Entry, Fault, Protection, Route, Sim, SimServer};
use tower::buffer::Buffer;
use tower::timeout::Timeout;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_maskinporten::{
    AltinnAuthLayer, BearerAuth, BoxError, MaskinportenAuthLayer, RejectedTokenFuture,
    RejectedTokenPolicy, ReplayAuth, ReplayAuthLayer, ReplayFuture, ResponseFuture,
    ServiceBuilderExt,
};
use tower_test::mock;

use crate::context::organisations;
use crate::world::{
    self, API, ByReference, Recorder, SCOPES, get, kind_of, layer, world, world_of,
};

// ===== whose token =====

// Parity vector 11: the right authority once, the other never.
#[tokio::test(start_paused = true)]
async fn maskinportens_layer_sets_maskinportens_token_and_exchanges_nothing() {
    let (sim, client) = world();
    sim.protect("/api/echo", Protection::maskinporten().scope("krr:read"));

    let response = layer(&client)
        .layer(sim.clone())
        .oneshot(get(sim.api_url()))
        .await
        .unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(sim.journal().exchanges(), 0);
}

// Parity vector 11.
#[tokio::test(start_paused = true)]
async fn altinns_layer_sets_altinns_token_exchanged_once() {
    let (sim, client) = world();
    sim.protect("/api/echo", Protection::altinn());
    let layer = AltinnAuthLayer::new(&client, SCOPES, sim.altinn_platform()).unwrap();
    let mut service = layer.layer(sim.clone());

    for _ in 0..3 {
        let response = service
            .ready()
            .await
            .unwrap()
            .call(get(sim.api_url()))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }

    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(sim.journal().exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_verbs_of_service_builder_are_the_two_layers() {
    let (sim, client) = world();
    sim.protect("/api/plain", Protection::maskinporten());
    sim.protect("/api/altinn", Protection::altinn());
    let origin = sim.altinn_platform();
    let plain = ServiceBuilder::new()
        .maskinporten_authorization(&client, SCOPES, &origin)
        .unwrap()
        .service(sim.clone());
    let altinn = ServiceBuilder::new()
        .altinn_authorization(&client, SCOPES, &origin)
        .unwrap()
        .service(sim.clone());

    for (service, path) in [(plain, "/api/plain"), (altinn, "/api/altinn")] {
        let response = service
            .oneshot(get(format!("{origin}{path}")))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn any_provider_stands_behind_a_layer() {
    #[derive(Debug)]
    struct Fake;

    impl TokenProvider for Fake {
        fn token(&self, request: &TokenRequest, kind: TokenKind) -> Result<TokenHandle> {
            let text = format!(
                "{kind:?}-{}",
                request.scope_set().as_str().replace(':', "-")
            );
            TokenHandle::from_source(FixedToken::new(&text, Duration::from_secs(60))?)
        }
    }

    let dynamic: Arc<dyn TokenProvider> = Arc::new(Fake);
    let plain = MaskinportenAuthLayer::new(&Fake, SCOPES, API).unwrap();
    let altinn = AltinnAuthLayer::new(&*dynamic, SCOPES, API).unwrap();
    let recorder = Recorder::new();

    plain
        .layer(recorder.clone())
        .oneshot(get(API))
        .await
        .unwrap();
    altinn
        .layer(recorder.clone())
        .oneshot(get(API))
        .await
        .unwrap();

    assert_eq!(
        recorder.authorizations(),
        [["Bearer Maskinporten-krr-read"], ["Bearer Altinn-krr-read"]]
    );
}

#[tokio::test]
async fn the_value_is_a_bearer_marked_sensitive() {
    let client = world::fixed("secret");
    let recorder = Recorder::new();

    layer(&client)
        .layer(recorder.clone())
        .oneshot(get(API))
        .await
        .unwrap();

    let [value] = &recorder.authorizations()[0][..] else {
        panic!("there is one value");
    };
    assert_eq!(value, "Bearer secret");
    assert!(value.is_sensitive());
}

#[test]
fn nothing_printed_shows_the_token() {
    let client = world::fixed("secret");
    let layer = layer(&client);
    let service = layer.layer(Recorder::new());
    let future = service.clone().call(get(API));

    let printed = format!("{client:?} {layer:?} {service:?} {future:?}");

    assert!(printed.contains(API), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn the_wrapped_service_is_reached_changed_and_given_back() {
    let client = world::fixed("token");
    let layered = layer(&client).layer(Vec::<u8>::new());

    fn typed(service: BearerAuth<Vec<u8>>) -> BearerAuth<Vec<u8>> {
        service
    }

    let mut service = typed(layered);
    service.get_mut().push(7);
    assert_eq!(service.get_ref(), &[7]);
    assert_eq!(service.into_inner(), [7]);
}

// ===== a header that is there already =====

#[tokio::test]
async fn to_set_a_header_now_or_never_changes_no_header_where_it_sets_none() {
    let client = world::fixed("ours");
    client.access_token(SCOPES).await.unwrap();
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let mut request = Request::get(API).body(()).unwrap();
    for (value, is_sensitive) in [("Basic secret", true), ("Basic other", false)] {
        let mut value = HeaderValue::from_static(value);
        value.set_sensitive(is_sensitive);
        request.headers_mut().append(AUTHORIZATION, value);
    }
    let before = request.headers().clone();

    assert!(authorizer.authorize_now(&mut request).is_none());
    assert_eq!(request.headers(), &before);
}

async fn authorizations_with(
    existing: Option<ExistingHeader>,
    present: &[&'static str],
) -> Result<Vec<HeaderValue>, BoxError> {
    let client = world::fixed("ours");
    let mut layer = layer(&client);
    if let Some(existing) = existing {
        layer = layer.existing_header(existing);
    }
    let recorder = Recorder::new();
    let mut request = get(API);
    for value in present {
        let value = HeaderValue::from_static(value);
        request.headers_mut().append(AUTHORIZATION, value);
    }
    layer.layer(recorder.clone()).oneshot(request).await?;
    Ok(recorder.authorizations().remove(0))
}

#[tokio::test]
async fn an_existing_authorization_is_replaced_and_one_value_leaves() {
    for existing in [None, Some(ExistingHeader::Replace)] {
        for present in [&[][..], &["Basic a"], &["Basic a", "Bearer b"]] {
            let values = authorizations_with(existing, present).await.unwrap();
            assert_eq!(values, ["Bearer ours"], "{existing:?} {present:?}");
        }
    }
}

#[tokio::test]
async fn an_existing_authorization_is_kept_where_that_was_chosen() {
    let keep = Some(ExistingHeader::Keep);
    let check = async |present: &[&'static str], expected: &[&str]| {
        assert_eq!(authorizations_with(keep, present).await.unwrap(), expected);
    };
    check(&[], &["Bearer ours"]).await;
    check(&["Basic a"], &["Basic a"]).await;
}

#[tokio::test(start_paused = true)]
async fn no_token_is_looked_up_for_a_header_that_is_kept() {
    let (sim, client) = world();
    let recorder = Recorder::new();
    let mut request = get(API);
    let basic = HeaderValue::from_static("Basic a");
    request.headers_mut().insert(AUTHORIZATION, basic);

    let layer = layer(&client).existing_header(ExistingHeader::Keep);
    layer
        .layer(recorder.clone())
        .oneshot(request)
        .await
        .unwrap();

    assert_eq!(sim.journal().token_requests(), 0);
}

#[tokio::test]
async fn an_existing_authorization_is_refused_where_that_was_chosen() {
    let reject = Some(ExistingHeader::Reject);
    assert_eq!(
        authorizations_with(reject, &[]).await.unwrap(),
        ["Bearer ours"]
    );
    for present in [&["Basic a"][..], &["Basic a", "Bearer b"]] {
        let error = authorizations_with(reject, present).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::Origin), "{present:?}");
        let hint = Error::find_in(&*error).unwrap().hint().unwrap();
        assert!(hint.contains("replace"), "{hint}");
    }
}

// ===== ways of use =====

/// Calls three times, cold and cached, and sees three requests accepted for one grant.
async fn authorises_thrice<F>(sim: &Sim, mut call: impl FnMut() -> F)
where
    F: Future<Output = StatusCode>,
{
    for _ in 0..3 {
        assert_eq!(call().await, StatusCode::OK);
    }
    assert_eq!(sim.journal().grants(), 1);
    assert_eq!(sim.journal().api_calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_kept_authorises_cold_and_cached() {
    let (sim, client) = world();
    let mut service = layer(&client).layer(sim.clone());
    authorises_thrice(&sim, || {
        let answer = service.call(get(sim.api_url()));
        async { answer.await.unwrap().status() }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_cloned_for_every_call_authorises_cold_and_cached() {
    let (sim, client) = world();
    let service = layer(&client).layer(sim.clone());
    authorises_thrice(&sim, || async {
        let answer = service.clone().oneshot(get(sim.api_url())).await;
        answer.unwrap().status()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_outlives_layer_and_first_service() {
    let (sim, client) = world();
    let service = layer(&client).layer(sim.clone()).clone();
    drop(client);
    authorises_thrice(&sim, || async {
        let answer = service.clone().oneshot(get(sim.api_url())).await;
        answer.unwrap().status()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_called_by_reference_authorises_cold_and_cached() {
    let (sim, client) = world();
    let service = layer(&client).layer(ByReference(sim.clone()));
    authorises_thrice(&sim, || async {
        (&service)
            .oneshot(get(sim.api_url()))
            .await
            .unwrap()
            .status()
    })
    .await;
}

#[tokio::test]
async fn hypers_client_authorises_over_sockets_in_every_way_of_use() {
    let server = SimServer::start().await.unwrap();
    let sim = server.sim();
    let registered = sim.new_client(SCOPES);
    let client = MaskinportenClient::from_settings(world::settings(&registered)).unwrap();
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, sim.altinn_platform()).unwrap();
    let http: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let mut kept = layer.layer(http);
    let service = kept.clone();

    for _ in 0..2 {
        let uri = sim.api_url();
        let by_reference = (&service).oneshot(get(&uri)).await.unwrap();
        let cloned = service.clone().oneshot(get(&uri)).await.unwrap();
        let kept = kept.ready().await.unwrap().call(get(&uri)).await.unwrap();
        for response in [by_reference, cloned, kept] {
            assert_eq!(response.status(), StatusCode::OK);
        }
    }

    assert_eq!(sim.journal().grants(), 1);
    assert_eq!(sim.journal().api_calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_second_call_comes_from_the_cache_at_once() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let mut service = layer(&client).layer(sim.clone());
    service.call(get(sim.api_url())).await.unwrap();
    sim.fault(Route::Token, Fault::hang());

    let answer = service.call(get(sim.api_url())).now_or_never();

    assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(sim.journal().grants(), 1);
}

// ===== as time goes by =====

/// Ten minutes of a call each second, with tokens of thirty seconds.
async fn ten_minutes<F>(mut call: impl FnMut(&Sim, &MaskinportenClient) -> F)
where
    F: Future<Output = StatusCode>,
{
    let (sim, client) = world_of(
        Sim::builder()
            .token_lifetime(Duration::from_secs(30))
            .build(),
    );
    for second in 0..600 {
        // The API judges by its own clock: an expired token would be answered 401.
        assert_eq!(call(&sim, &client).await, StatusCode::OK, "second {second}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    let journal = sim.journal();
    let mut newest: Option<(SystemTime, String)> = None;
    for entry in journal.entries() {
        match (entry.route(), &newest) {
            (Some(Route::Token), _) => newest = Some((entry.time(), jti_issued(entry))),
            // The call that starts the renewal goes on with the token it has.
            (Some(Route::Api), Some((granted, token))) if entry.time() > *granted => {
                let shown = entry.authorization().unwrap();
                assert_eq!(shown["claims"]["jti"], token.as_str());
            }
            _ => {}
        }
    }
    // Renewed at 70 to 80 % of thirty seconds, and not more often.
    assert!(
        (24..=30).contains(&journal.grants()),
        "{} grants",
        journal.grants()
    );
}

fn jti_issued(entry: &Entry) -> String {
    let jti = entry.issued().unwrap()["jti"].as_str();
    jti.unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_kept_service_carries_the_new_token_from_the_call_after_its_renewal() {
    let mut kept = None;
    ten_minutes(|sim, client| {
        let kept = kept.get_or_insert_with(|| layer(client).layer(sim.clone()));
        let answer = kept.call(get(sim.api_url()));
        async { answer.await.unwrap().status() }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clones_carry_the_new_token_from_the_call_after_its_renewal() {
    let mut kept = None;
    ten_minutes(|sim, client| {
        let kept = kept.get_or_insert_with(|| layer(client).layer(sim.clone()));
        let answer = kept.clone().oneshot(get(sim.api_url()));
        async { answer.await.unwrap().status() }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_service_carries_the_new_token_from_the_call_after_its_renewal() {
    let mut kept = None;
    ten_minutes(|sim, client| {
        let layered = || Arc::new(layer(client).layer(ByReference(sim.clone())));
        let shared = Arc::clone(kept.get_or_insert_with(layered));
        let request = get(sim.api_url());
        async move { (&*shared).oneshot(request).await.unwrap().status() }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_slept_past_its_tokens_end_waits_for_a_new_one() {
    let (sim, client) = world();
    let mut service = layer(&client).layer(sim.clone());
    for _ in 0..3 {
        let response = service.call(get(sim.api_url())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        tokio::time::sleep(Duration::from_secs(115)).await;
    }
    assert_eq!(sim.journal().grants(), 3);
}

// ===== when there is no token =====

#[tokio::test(start_paused = true)]
async fn without_a_token_the_call_fails_and_the_request_is_not_sent() {
    let sim = Sim::new();
    let registered = sim.new_client(["other:scope"]);
    let client = world::client(&sim, &registered);
    let recorder = Recorder::new();
    let layer = layer(&client);

    let kept = layer.layer(recorder.clone()).oneshot(get(API)).await;
    let shared = layer.layer(ByReference(recorder.clone()));
    let shared = (&shared).oneshot(get(API)).await;

    for answer in [kept, shared] {
        let error = answer.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::ScopeRejected));
    }
    assert!(recorder.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_failed_call_is_found_through_what_is_wrapped_around_it() {
    let sim = Sim::new();
    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    let (_, client) = world_of(sim);
    let service = layer(&client).layer(Recorder::new());
    let wrapped = Buffer::new(Timeout::new(service, Duration::from_secs(60)), 1);

    let error = wrapped.oneshot(get(API)).await.unwrap_err();

    let found = Error::find_in(&*error).unwrap();
    assert_eq!(found.kind(), ErrorKind::Unavailable);
    assert_eq!(found.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert!(found.is_transient());
    assert!(found.retry_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_error_that_made_the_inner_service_unready_is_found_behind_a_buffer() {
    let client = world::fixed("token");
    let (inner, mut handle) = mock::pair::<Request<()>, Response<()>>();
    handle.send_error(TokenRequest::scopes([""; 0]).unwrap_err());
    let wrapped = Buffer::new(layer(&client).layer(inner), 1);

    let error = wrapped
        .oneshot(Request::get(API).body(()).unwrap())
        .await
        .unwrap_err();

    assert_eq!(kind_of(&error), Some(ErrorKind::Request), "{error:?}");
}

#[tokio::test]
async fn what_the_inner_service_failed_with_comes_out_as_it_is() {
    let client = world::fixed("token");
    let failing = service_fn(async |_: Request<Body>| {
        Err::<Response<Body>, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    });

    let error = layer(&client)
        .layer(failing)
        .oneshot(get(API))
        .await
        .unwrap_err();

    let error = error.downcast::<std::io::Error>().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

// ===== what it costs =====

/// Gives the request back, so that its header map is used again and never grows.
#[derive(Clone, Copy, Debug)]
struct Echo;

type Echoed = std::future::Ready<Result<Response<Request<()>>, std::convert::Infallible>>;

impl Service<Request<()>> for Echo {
    type Response = Response<Request<()>>;
    type Error = std::convert::Infallible;
    type Future = Echoed;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Echoed {
        std::future::ready(Ok(Response::new(request)))
    }
}

fn allocations<F>(call: impl FnMut(Request<()>) -> F) -> u64
where
    F: Future<Output = Result<Response<Request<()>>, BoxError>>,
{
    allocations_of(1_000, call)
}

/// Heap allocations of some hits, after three that warm up.
fn allocations_of<F>(hits: usize, mut call: impl FnMut(Request<()>) -> F) -> u64
where
    F: Future<Output = Result<Response<Request<()>>, BoxError>>,
{
    let mut request = Some(Request::get(API).body(()).unwrap());
    let mut hit = || {
        let response = call(request.take().unwrap()).now_or_never().unwrap();
        let answered = request.insert(response.unwrap().into_body());
        // A request that comes with a token of ours has been through another layer.
        answered.headers_mut().remove(AUTHORIZATION).unwrap();
    };
    for _ in 0..3 {
        hit();
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..hits {
            hit();
        }
    });
    counted.count_total
}

#[tokio::test]
async fn a_hit_allocates_nothing_in_any_way_of_use() {
    let client = world::fixed("token");
    client.access_token(SCOPES).await.unwrap();
    let mut kept = layer(&client).layer(Echo);
    let cloned = kept.clone();
    let shared = layer(&client).layer(ByReference(Echo));

    assert_eq!(allocations(|request| kept.call(request)), 0, "kept");
    assert_eq!(
        allocations(|request| cloned.clone().call(request)),
        0,
        "cloned"
    );
    assert_eq!(
        allocations(|request| {
            let mut shared = &shared;
            shared.call(request)
        }),
        0,
        "shared"
    );
}

#[tokio::test]
async fn a_hit_on_behalf_of_an_organisation_allocates_nothing_in_any_way_of_use() {
    let client = world::fixed("token");
    let layer = layer(&client).optional_context();
    let contexts = organisations(64).into_iter().flat_map(|organisation| {
        let user = SystemUser::new(organisation.as_str()).unwrap();
        let named = TokenContext::new().consumer_org(organisation).unwrap();
        [named, TokenContext::new().system_user(user)]
    });
    let contexts: Vec<_> = contexts.collect();
    for context in &contexts {
        let (uri, mut headers) = (Uri::from_static(API), HeaderMap::new());
        let sent = layer
            .authorizer()
            .authorize_with(context, &uri, &mut headers);
        sent.await.unwrap();
    }
    let mut kept = layer.layer(Echo);
    let cloned = kept.clone();
    let shared = layer.layer(ByReference(Echo));

    for context in contexts {
        let in_context = |mut request: Request<()>| {
            request.extensions_mut().insert(context.clone());
            request
        };
        // The caller's own: a box for each context that is inserted.
        let own = 10;
        let count = allocations_of(own, |request| kept.call(in_context(request)));
        assert_eq!(count, own as u64, "kept {context:?}");
        let count = allocations_of(own, |request| cloned.clone().call(in_context(request)));
        assert_eq!(count, own as u64, "cloned {context:?}");
        let count = allocations_of(own, |request| {
            let mut shared = &shared;
            shared.call(in_context(request))
        });
        assert_eq!(count, own as u64, "shared {context:?}");
    }
}

#[tokio::test]
async fn threads_that_share_a_clone_stay_out_of_each_others_way_when_layer_and_first_service_are_gone()
 {
    let client = world::fixed("token");
    client.access_token(SCOPES).await.unwrap();
    // What is left in an axum router: clones of the state that it was given.
    let shared = layer(&client).layer(ByReference(Echo)).clone();
    let pair = || {
        let together = Barrier::new(2);
        let calls = || {
            together.wait();
            allocations_of(20_000, |request| {
                let mut shared = &shared;
                shared.call(request)
            })
        };
        thread::scope(|scope| {
            let other = scope.spawn(calls);
            calls() + other.join().unwrap()
        })
    };
    // A thread in sixteen shares its stripe with another one: two of one stripe now and then meet at its lock.
    assert!((0..5).any(|_| pair() == 0));
}

#[tokio::test]
async fn clones_that_are_made_on_one_thread_and_called_on_others_allocate_nothing_when_the_layer_is_gone()
 {
    let client = world::fixed("token");
    client.access_token(SCOPES).await.unwrap();
    // As `ServiceBuilder` does: the layer is dropped when the service is made.
    let service = layer(&client).layer(Echo);
    // As a loop that spawns a task for each call: cloned here, called there.
    let counts = (0..3).map(|_| {
        let mut clones: Vec<_> = (0..20).map(|_| service.clone()).collect();
        let calls = move || {
            allocations_of(10, |request| {
                let mut clone = clones.pop().unwrap();
                clone.call(request)
            })
        };
        thread::spawn(calls).join().unwrap()
    });

    assert_eq!(counts.collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn the_future_is_hardly_larger_than_the_inner_services() {
    fn sizes<S: Service<Request<B>>, B>() -> (usize, usize) {
        let ours = size_of::<ResponseFuture<S, Request<B>>>();
        (ours, size_of::<S::Future>())
    }
    // A receipt of two numbers, and which of the states it is in.
    for (ours, inner) in [
        sizes::<Echo, ()>(),
        sizes::<Recorder, Body>(),
        sizes::<Sim, Body>(),
        sizes::<Client<HttpConnector, Body>, Body>(),
    ] {
        assert!(ours <= inner + 24, "{ours} beside {inner}");
    }
}

#[test]
fn layers_services_and_futures_go_wherever_they_are_needed() {
    fn anywhere<T: Clone + Debug + Send + Sync + 'static>() {}
    fn sent<T: Send + Debug + 'static>() {}

    anywhere::<MaskinportenAuthLayer>();
    anywhere::<AltinnAuthLayer>();
    anywhere::<BearerAuth<Sim>>();
    anywhere::<BearerAuth<Client<HttpConnector, Body>>>();
    anywhere::<ReplayAuthLayer>();
    anywhere::<ReplayAuth<Sim>>();
    anywhere::<RejectedTokenPolicy>();
    sent::<ResponseFuture<Sim, Request<Body>>>();
    sent::<ResponseFuture<Client<HttpConnector, Body>, Request<Body>>>();
    sent::<ResponseFuture<&'static ByReference<Sim>, Request<Body>>>();
    sent::<ReplayFuture<Sim, Request<Body>>>();
    sent::<ReplayFuture<&'static ByReference<Sim>, Request<Body>>>();
    sent::<RejectedTokenFuture>();
}

#[test]
fn a_layer_for_no_scopes_is_refused_when_it_is_built() {
    let client = world::fixed("token");
    let error = MaskinportenAuthLayer::new(&client, [""; 0], API).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
}

#[test]
fn altinns_layer_without_an_altinn_is_refused_when_it_is_built() {
    let client = world::fixed("token");
    let error = AltinnAuthLayer::new(&client, SCOPES, API).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.hint().is_some());
}
