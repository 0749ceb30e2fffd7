//! Warm-up, health, invalidation, and how a client ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, StatusCode, Uri};
use maskinporten::{
    AltinnSettings, ErrorKind, HealthState, MaskinportenClient, TokenRequest, TokioClock, Transport,
};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::runtime::Handle;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::BoxError;

use crate::world::{self, A, API, Recorder, Rotating, SCOPES, get, kind_of, layer};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Lets tasks that were told to end, end.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

// ===== warm-up =====

#[tokio::test(start_paused = true)]
async fn after_a_warm_up_no_first_request_waits() {
    let (sim, client) = world::world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let raw = client.authorizer(SCOPES, API).unwrap();
    let altinn = client.altinn_authorizer(SCOPES, API).unwrap();
    client.warm_up().await.unwrap();
    assert_eq!((sim.journal().grants(), sim.journal().exchanges()), (1, 1));

    let began = Instant::now();
    for authorizer in [raw, altinn] {
        let mut headers = HeaderMap::new();
        authorizer
            .authorize(&Uri::from_static(A), &mut headers)
            .await
            .unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    client.warm_up().await.unwrap();
    assert_eq!((sim.journal().grants(), sim.journal().exchanges()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_tells_the_first_failure_and_fetches_the_others() {
    let (sim, client) = world::world();
    let good = client.authorizer(SCOPES, API).unwrap();
    let _refused = client.authorizer(["b:write"], API).unwrap();

    let error = client.warm_up().await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::ScopeRejected);
    let mut headers = HeaderMap::new();
    let asked = sim.journal().token_requests();
    good.authorize(&Uri::from_static(A), &mut headers)
        .await
        .unwrap();
    assert_eq!(sim.journal().token_requests(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_fetches_all_at_once() {
    let (sim, client) = world::world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let _one = client.authorizer(SCOPES, API).unwrap();
    let other = TokenRequest::scopes(SCOPES).unwrap().resource(API).unwrap();
    let _other = client.authorizer(other, API).unwrap();

    let began = Instant::now();
    client.warm_up().await.unwrap();

    assert_eq!(began.elapsed(), Duration::from_millis(80));
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_fetch_a_warm_up_is_done() {
    let (_, client) = world::world();
    client.warm_up().await.unwrap();
}

// ===== health =====

#[tokio::test(start_paused = true)]
async fn health_is_ready_then_degraded_then_failing_then_ready() {
    let (sim, client) = world::world();
    assert!(client.health().state == HealthState::Ready);
    client.access_token(SCOPES).await.unwrap();
    let health = client.health();
    assert_eq!(
        (health.state, health.good, health.failing),
        (HealthState::Ready, 1, 0)
    );
    let end = health.soonest_end.unwrap();
    assert_eq!(end, sim.clock().now() + Duration::from_secs(114));

    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    advance(Duration::from_secs(97)).await;
    client.access_token(SCOPES).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let health = client.health();
    assert_eq!(
        (health.state, health.good, health.failing),
        (HealthState::Degraded, 1, 1)
    );
    let since = health.since.unwrap();
    assert!(since <= sim.clock().now() && since >= sim.clock().now() - Duration::from_secs(3));
    let error = health.last_error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_at().is_some());

    sleep(Duration::from_secs(20)).await;
    client.access_token(SCOPES).await.unwrap_err();
    let health = client.health();
    assert_eq!((health.state, health.good), (HealthState::Failing, 0));
    assert_eq!(health.since, Some(since));
    assert_eq!(health.soonest_end, None);

    sim.clear_faults();
    sleep(Duration::from_secs(31)).await;
    client.access_token(SCOPES).await.unwrap();
    let health = client.health();
    assert!(
        health.state == HealthState::Ready && health.since.is_none() && health.last_error.is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn health_has_no_text_about_one_organisation() {
    let (_, client) = world::world();
    let request = TokenRequest::scopes(SCOPES).unwrap();
    let request = request.consumer_org("311169963").unwrap();
    let error = client.access_token(request).await.unwrap_err();
    assert!(error.description().unwrap().contains("311169963"));

    let seen = client.health().last_error.unwrap();
    assert_eq!(seen.kind(), error.kind());
    assert_eq!(seen.code(), Some("MP-251"));
    assert_eq!(seen.hint(), error.hint());
    assert_eq!((seen.description(), seen.trace_id()), (None, None));
    assert!(seen.details().next().is_none());
    assert!(!format!("{seen:?}").contains("311169963"));

    // Later: of two failures of one moment either is the last.
    advance(Duration::from_secs(1)).await;
    client.access_token(["b:write"]).await.unwrap_err();
    let own = client.health().last_error.unwrap();
    assert!(own.description().is_some() && own.details().next().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_nobody_has_asked_about_again_is_no_news() {
    let (_, client) = world::world();
    client.access_token(["b:write"]).await.unwrap_err();
    client.access_token(SCOPES).await.unwrap();
    assert_eq!(client.health().state, HealthState::Degraded);
    advance(Duration::from_secs(121)).await;
    client.access_token(SCOPES).await.unwrap();
    assert!(client.health().state == HealthState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_corrected_clock_is_told_in_seconds() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let client = world::builder(&sim, &registered)
        .clock(TokioClock::starting_at(
            sim.clock().now() - Duration::from_secs(300),
        ))
        .build()
        .unwrap();
    assert_eq!(client.health().clock_skew, 0);
    client.access_token(SCOPES).await.unwrap();
    assert_eq!(client.health().clock_skew, 300);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_shut_down_is_not_ready() {
    let (_sim, client) = world::world();
    client.access_token(SCOPES).await.unwrap();
    client.shutdown().await;
    assert!(client.access_token(SCOPES).await.is_err());
    assert_eq!(client.health().state, HealthState::Closed);
    assert!(!client.health().is_serving());
}

// ===== invalidation =====

#[tokio::test(start_paused = true)]
async fn what_was_declared_void_is_fetched_anew() {
    let (sim, client) = world::world();
    client.altinn_token(SCOPES).await.unwrap();
    client.access_token(["a:other"]).await.unwrap_err();

    client.invalidate(SCOPES).unwrap();
    client.altinn_token(SCOPES).await.unwrap();
    assert_eq!((sim.journal().grants(), sim.journal().exchanges()), (2, 2));

    // Of others nothing was forgotten; of all, everything is.
    let asked = sim.journal().token_requests();
    client.access_token(["a:other"]).await.unwrap_err();
    assert_eq!(sim.journal().token_requests(), asked);
    client.invalidate_all();
    client.access_token(["a:other"]).await.unwrap_err();
    assert_eq!(sim.journal().token_requests(), asked + 1);
    assert_eq!(
        client.invalidate([""]).unwrap_err().kind(),
        ErrorKind::Request
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_its_like_was_declared_void_is_nobodys() {
    let (sim, client) = world::world();
    sim.fault(Route::Token, Fault::latency(Duration::from_secs(2)));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.access_token(SCOPES).await }
    });
    sleep(Duration::from_secs(1)).await;
    client.invalidate(SCOPES).unwrap();
    sleep(Duration::from_millis(500)).await;

    // Who waited gets what was asked for afterwards, and so does everybody.
    let token = waiting.await.unwrap().unwrap();
    let again = client.access_token(SCOPES).await.unwrap();
    assert_eq!(token.expose(), again.expose());
    assert_eq!(sim.journal().grants(), 1);
    let granted = sim.journal().requests(Route::Token).last().unwrap().time();
    assert!(granted >= sim.clock().now() - Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn who_meets_one_void_fetch_after_another_is_told_within_a_fetchs_time() {
    for altinn in [false, true] {
        let (sim, client) = world::world();
        let server = Duration::from_millis(80);
        sim.fault(Route::Token, Fault::latency(server));
        sim.fault(Route::Exchange, Fault::latency(server));
        let waits = async {
            if altinn {
                client.altinn_token(SCOPES).await
            } else {
                client.access_token(SCOPES).await
            }
        };
        let invalidates = async {
            loop {
                sleep(Duration::from_millis(50)).await;
                client.invalidate_all();
            }
        };
        let began = Instant::now();
        let error = tokio::select! {
            waited = waits => waited.unwrap_err(),
            () = invalidates => unreachable!("it goes on for ever"),
        };
        assert!(
            began.elapsed() <= Duration::from_secs(11),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.hint().unwrap().contains("`invalidate`"), "{error:?}");
        // It is not remembered: once nobody invalidates, there is a token.
        client.access_token(SCOPES).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_uses_no_token_that_was_declared_void() {
    let (sim, client) = world::world();
    let recorder = Recorder::new();
    let mut service = layer(&client).layer(recorder.clone());
    for _ in 0..3 {
        service.call(get(A)).await.unwrap();
    }
    client.invalidate(SCOPES).unwrap();
    service.call(get(A)).await.unwrap();
    let seen = recorder.authorizations();
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[2], seen[3]);
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_with_the_key_it_was_for() {
    let sim = Sim::new();
    let unknown = world::signer(&sim.new_client(SCOPES));
    let registered = sim.new_client(SCOPES);
    let known = world::signer(&registered);
    let source = Rotating::new(&sim, &registered, [unknown, known]);
    let (used, asked) = (source.used(), source.asked());
    let client = MaskinportenClient::builder()
        .source(source)
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    // Four tokens, so that the breaker is open too.
    let requests = || {
        ["", "/a", "/b", "/c"].map(|path| {
            let request = maskinporten::TokenRequest::scopes(SCOPES).unwrap();
            request
                .resource(format!("https://api.example{path}"))
                .unwrap()
        })
    };
    for request in requests() {
        client.altinn_token(request).await.unwrap_err();
    }
    let before = asked.load(Ordering::SeqCst);
    for request in requests() {
        client.altinn_token(request).await.unwrap_err();
    }
    assert_eq!(asked.load(Ordering::SeqCst), before);

    used.store(1, Ordering::SeqCst);
    for request in requests() {
        client.altinn_token(request).await.unwrap();
    }
}

// ===== the end =====

#[tokio::test(start_paused = true)]
async fn after_shutdown_no_task_lives_and_nothing_is_sent() {
    let (sim, client) = world::world();
    let before = tasks();
    let recorder = Recorder::new();
    let service = layer(&client).layer(recorder.clone());
    service.clone().oneshot(get(A)).await.unwrap();
    sim.fault(Route::Token, Fault::hang());
    sim.fault(Route::Exchange, Fault::hang());
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.access_token(["b:write"]).await })
        })
        .collect();
    let exchanging = tokio::spawn({
        let client = client.clone();
        async move { client.altinn_token(SCOPES).await }
    });
    sleep(Duration::from_secs(1)).await;

    let began = Instant::now();
    client.shutdown().await;
    assert_eq!(began.elapsed(), Duration::ZERO);

    for waiting in waiting {
        assert_eq!(
            waiting.await.unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
    let error = exchanging.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!error.is_transient());
    assert!(error.hint().unwrap().contains("shutdown"));
    assert_eq!(tasks(), before);

    // Neither by hand nor through a layer, neither a token that was there nor a new one.
    let asked = sim.journal().token_requests();
    for scopes in [["krr:read"], ["new:scope"]] {
        let error = client.access_token(scopes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    let error: BoxError = service.oneshot(get(A)).await.unwrap_err();
    assert_eq!(kind_of(&error), Some(ErrorKind::Closed));
    assert_eq!(recorder.seen().len(), 1);
    assert_eq!(sim.journal().token_requests(), asked);
    assert_eq!(
        client.warm_up().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_over_when_what_was_being_fetched_has_ended() {
    let (sim, client) = world::world();
    let before = tasks();
    sim.fault(Route::Token, Fault::hang());
    let given_up = timeout(Duration::from_secs(1), client.access_token(SCOPES)).await;
    assert!(given_up.is_err());
    assert_eq!(tasks(), before + 1);

    client.shutdown().await;

    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn when_the_last_handle_is_gone_so_is_the_flight() {
    let (sim, client) = world::world();
    let before = tasks();
    sim.fault(Route::Token, Fault::hang());
    let authorizer = client.altinn_authorizer(SCOPES, API).unwrap();
    let given_up = timeout(Duration::from_secs(1), client.altinn_token(SCOPES)).await;
    assert!(given_up.is_err());
    // The first stage's: the exchange waits for it without a task.
    assert_eq!(tasks(), before + 1);

    drop(client);
    settle().await;
    assert_eq!(tasks(), before + 1);
    drop(authorizer);
    settle().await;
    assert_eq!(tasks(), before);
    // Broken off, not answered and thrown away.
    assert_eq!(sim.journal().grants(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_nobody_waits_for_any_more_is_kept_by_its_client() {
    let (sim, client) = world::world();
    sim.fault(Route::Token, Fault::latency(Duration::from_secs(2)));
    let callers = (0..5).map(|_| timeout(Duration::from_secs(1), client.access_token(SCOPES)));
    assert!(join_all(callers).await.iter().all(Result::is_err));
    sleep(Duration::from_secs(2)).await;

    let began = Instant::now();
    client.access_token(SCOPES).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(sim.journal().grants(), 1);
}

#[test]
fn a_shutdown_does_not_wait_for_a_runtime_that_stands_still() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (still, other) = (runtime(), runtime());
    let source = maskinporten_sim::Sim::builder().wall_clock().build();
    let registered = source.new_client(SCOPES);
    let client = MaskinportenClient::builder()
        .settings(world::settings(&registered))
        .transport(Transport::new(source.clone()))
        .build()
        .unwrap();
    source.fault(Route::Token, Fault::hang());
    still.block_on(async {
        let _ = timeout(Duration::from_millis(50), client.access_token(SCOPES)).await;
    });
    let began = std::time::Instant::now();
    other.block_on(client.shutdown());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}
