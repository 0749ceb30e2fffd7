//! `stats()`: exact after whatever has happened.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use maskinporten::{
    AccessToken, BoxFuture, Credentials, ErrorKind, Finding, MaskinportenClient,
    MaskinportenSettings, Result, SettingsSource, SourceIdentity, TokenContext, TokenHandle,
    TokenRequest, TokenSource, TokioClock, Transport,
};
use maskinporten_sim::{Body, Fault, Route, Sim, SimClient};
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt};

use super::{counts, seconds, settle, stats};
use crate::world::{A, ByReference, Recorder, SCOPES, fixed, get, layer, world, world_of};

fn world_with_tokens_of(life: u64) -> (Sim, MaskinportenClient) {
    world_of(Sim::builder().token_lifetime(seconds(life)).build())
}

// ===== look-ups =====

#[tokio::test(start_paused = true)]
async fn of_a_cold_crowd_one_has_missed_and_all_others_have_joined() {
    let (sim, client) = world();

    let tokens = join_all((0..1_000).map(|_| client.access_token(SCOPES))).await;
    assert!(tokens.iter().all(Result::is_ok));

    assert_eq!(counts(stats(&client).lookups), [0, 0, 999, 1, 0]);
    assert_eq!(stats(&client).requests.ok, 1);
    assert_eq!(sim.journal().token_requests(), 1);
    for _ in 0..5 {
        client.header_value(SCOPES).await.unwrap();
    }
    assert_eq!(counts(stats(&client).lookups), [5, 0, 999, 1, 0]);
    assert_eq!(client.stats().altinn.lookups.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_looks_its_maskinporten_token_up_once() {
    let sim = Sim::new();
    let registered = sim.new_client(["altinn:serviceowner"]);
    let client = crate::world::client(&sim, &registered);

    let tokens = (0..10).map(|_| client.altinn_token(["altinn:serviceowner"]));
    assert!(join_all(tokens).await.iter().all(Result::is_ok));

    let stats = client.stats();
    assert_eq!(counts(stats.altinn.lookups), [0, 0, 9, 1, 0]);
    assert_eq!(counts(stats.maskinporten.lookups), [0, 0, 0, 1, 0]);
    assert_eq!(
        (stats.altinn.requests.ok, stats.maskinporten.requests.ok),
        (1, 1)
    );
    assert_eq!((stats.altinn.entries, stats.maskinporten.entries), (1, 1));
    assert!(stats.altinn.soonest_end > stats.maskinporten.soonest_end);
}

#[test]
fn what_eight_threads_are_given_is_counted_to_the_last_one_in_each_way_of_use() {
    const CALLS: u64 = 2_000;
    let client = fixed("token");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let layer = layer(&client).optional_context();
    let shared = layer.layer(ByReference(Recorder::new()));
    runtime.block_on(client.warm_up()).unwrap();
    assert_eq!(counts(stats(&client).lookups), [0, 0, 0, 1, 0]);

    let context = TokenContext::new().consumer_org("991825827").unwrap();
    let of_another = || {
        let mut request = get(A);
        request.extensions_mut().insert(context.clone());
        request
    };
    runtime
        .block_on(layer.layer(Recorder::new()).oneshot(of_another()))
        .unwrap();
    assert_eq!(counts(stats(&client).lookups), [0, 0, 0, 2, 0]);

    thread::scope(|scope| {
        for _ in 0..8 {
            let (layer, shared, of_another) = (&layer, &shared, &of_another);
            scope.spawn(move || {
                let mut kept = layer.layer(Recorder::new());
                let cloned = layer.layer(Recorder::new());
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for _ in 0..CALLS {
                        kept.call(get(A)).await.unwrap();
                        cloned.clone().call(get(A)).await.unwrap();
                        (&mut &*shared).call(get(A)).await.unwrap();
                        kept.call(of_another()).await.unwrap();
                    }
                });
            });
        }
    });
    let expected = 8 * 4 * CALLS;
    assert_eq!(counts(stats(&client).lookups), [expected, 0, 0, 2, 0]);
    drop((layer, shared));
    assert_eq!(counts(stats(&client).lookups), [expected, 0, 0, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_token_is_stale_until_its_successor_is_there() {
    let (_sim, client) = world_with_tokens_of(120);
    let mut service = layer(&client).layer(Recorder::new());
    // Once from the cache itself, which makes the stripe's copy, and then by that copy.
    for _ in 0..3 {
        service.call(get(A)).await.unwrap();
    }
    assert_eq!(counts(stats(&client).lookups), [2, 0, 0, 1, 0]);

    // Past the soft point, wherever between 70 and 80 % it was drawn; the flight has had no turn yet.
    advance(seconds(97)).await;
    service.call(get(A)).await.unwrap();
    service.call(get(A)).await.unwrap();
    let _ = client.access_token(SCOPES).await.unwrap();
    assert_eq!(counts(stats(&client).lookups), [2, 3, 0, 1, 0]);

    settle().await;
    service.call(get(A)).await.unwrap();
    assert_eq!(counts(stats(&client).lookups), [3, 3, 0, 1, 0]);
    assert_eq!(stats(&client).requests.ok, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_for_those_who_waited_and_for_those_who_hear_of_it_later() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));

    let errors = join_all((0..10).map(|_| client.access_token(SCOPES))).await;
    assert!(errors.iter().all(Result::is_err));
    assert!(client.access_token(SCOPES).await.is_err());

    let stats = stats(&client);
    assert_eq!(counts(stats.lookups), [0, 0, 0, 0, 11]);
    // Three attempts of one flight.
    let [row] = &stats.requests.failed[..] else {
        panic!("{:?}", stats.requests)
    };
    assert_eq!(
        (row.kind, row.code, row.count),
        (ErrorKind::Unavailable, None, 3)
    );
    assert_eq!(stats.requests.durations.count(), 3);
    assert_eq!((stats.error(), stats.new(), stats.cached()), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_its_code() {
    let (_sim, client) = world();
    let refused = client.access_token(["not:mine"]).await.unwrap_err();
    let stats = stats(&client);
    let [row] = &stats.requests.failed[..] else {
        panic!("{:?}", stats.requests)
    };
    assert_eq!((row.kind, row.count), (refused.kind(), 1));
    assert_eq!(row.code, refused.code());
    assert!(row.code.is_some_and(|code| code.starts_with("MP-")));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_is_counted_by_what_it_waited_for() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));

    let patience = Duration::from_millis(50);
    let impatient = (0..10).map(|_| timeout(patience, client.access_token(SCOPES)));
    assert!(join_all(impatient).await.iter().all(Result::is_err));
    assert_eq!(counts(stats(&client).lookups), [0, 0, 9, 1, 0]);
    advance(patience).await;
    settle().await;
    client.access_token(SCOPES).await.unwrap();
    assert_eq!(counts(stats(&client).lookups), [1, 0, 9, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_place_of_its_own_is_counted_nowhere_else() {
    let (_sim, client) = world();
    let source = maskinporten::FixedToken::new("token", seconds(60)).unwrap();
    let handle = TokenHandle::from_source(source).unwrap();
    handle.access_token().await.unwrap();
    assert_eq!(stats(&client).lookups.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn to_warm_up_is_one_look_up_of_each_token() {
    let (_sim, client) = world();
    let _layer = layer(&client);
    client.warm_up().await.unwrap();
    assert_eq!(counts(stats(&client).lookups), [0, 0, 0, 1, 0]);
    client.warm_up().await.unwrap();
    assert_eq!(counts(stats(&client).lookups), [1, 0, 0, 1, 0]);
}

// ===== requests =====

#[tokio::test(start_paused = true)]
async fn a_request_counts_for_the_time_that_it_took() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    client.access_token(SCOPES).await.unwrap();

    let durations = stats(&client).requests.durations;
    assert_eq!(durations.sum, Duration::from_millis(80));
    let place = maskinporten::Durations::BOUNDS
        .iter()
        .position(|bound| *bound == 0.1);
    assert_eq!(durations.counts[place.unwrap()], 1);
    assert_eq!(durations.count(), 1);
}

/// Never answers.
#[derive(Debug)]
struct Silent;

impl TokenSource for Silent {
    fn identity(&self) -> SourceIdentity {
        SourceIdentity::new("silence", "")
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_is_lost_and_not_forgotten() {
    let client = MaskinportenClient::builder()
        .source(Silent)
        .build()
        .unwrap();
    let error = client.access_token(SCOPES).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let stats = stats(&client);
    assert_eq!((stats.requests.lost, stats.error()), (1, 1));
    assert_eq!(counts(stats.lookups), [0, 0, 0, 0, 1]);
}

// ===== rejected tokens =====

/// Refuses as many requests as it is told to.
fn refusing() -> (Recorder, Arc<AtomicUsize>) {
    let refuses = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&refuses);
    let api = Recorder::answering(move |_| {
        let mut response = Response::new(Body::empty());
        let one_less = |count: usize| count.checked_sub(1);
        if told.fetch_update(Relaxed, Relaxed, one_less).is_ok() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    });
    (api, refuses)
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_and_its_replay_are_counted() {
    let (_sim, client) = world();
    let (api, refuses) = refusing();
    let service = layer(&client).replay_on_unauthorized().layer(api);
    let request = || Request::get(A).body("").unwrap();
    refuses.store(1, Relaxed);
    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = stats(&client);
    assert_eq!((seen.rejected, seen.replays), (1, 1));
    // One request of a caller's is one look-up, however often it is sent.
    assert_eq!(counts(seen.lookups), [0, 0, 0, 1, 0]);

    // The fruit of a rejection is not replaced at once.
    refuses.store(1, Relaxed);
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let seen = stats(&client);
    assert_eq!((seen.rejected, seen.replays), (2, 1));
    assert_eq!(seen.requests.ok, 2);
}

// ===== credentials =====

/// Credentials that a test changes.
#[derive(Clone, Debug)]
struct Script(Arc<Mutex<Option<MaskinportenSettings>>>);

impl SettingsSource for Script {
    fn name(&self) -> &str {
        "the script"
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        let says = self.0.lock().unwrap().clone();
        let found = says.map_or(Finding::Nothing, Finding::from);
        Box::pin(ready(Ok(found)))
    }

    fn interval(&self) -> Option<Duration> {
        Some(seconds(5))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_and_what_cannot_be_is_counted_and_what_is_as_it_was_is_not() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let settings = |registered: &SimClient| Some(crate::world::settings(registered));
    let script = Script(Arc::new(Mutex::new(settings(&registered))));
    let client = MaskinportenClient::builder()
        .credentials(Credentials::load(script.clone()).await.unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    let reloads = || {
        let stats = client.stats();
        let counted = (stats.reloads.ok, stats.reloads.failed);
        (counted, stats.has_settings_error)
    };
    client.access_token(SCOPES).await.unwrap();
    sleep(seconds(12)).await;
    assert_eq!(reloads(), ((0, 0), false));

    *script.0.lock().unwrap() = settings(&registered.rotate_key().unwrap());
    sleep(seconds(7)).await;
    assert_eq!(reloads(), ((1, 0), false));

    *script.0.lock().unwrap() = None;
    sleep(seconds(11)).await;
    let ((taken, failed), is_troubled) = reloads();
    assert_eq!((taken, is_troubled), (1, true));
    // At least one look in 11 s of five and one, and no more than the seconds allow.
    assert!((1..=3).contains(&failed), "{failed}");
}
