//! One request for however many wait; and what a failure costs, whom, and for how long.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use maskinporten::{
    AccessToken, BoxFuture, Error, ErrorKind, FixedToken, MaskinportenClient, MaskinportenSettings,
    Result, SourceIdentity, TokenRequest, TokenSource, TokioClock,
};
use maskinporten_sim::{Fault, Journal, Route, Sim, SimClient};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};
use tower::{ServiceExt, service_fn};

use crate::wire::{self, Wire};
use crate::world;

const JWK: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");

fn world() -> (Sim, SimClient, MaskinportenClient) {
    world_with_tokens_of(120)
}

fn world_with_tokens_of(seconds: u64) -> (Sim, SimClient, MaskinportenClient) {
    let life = Duration::from_secs(seconds);
    let sim = Sim::builder().token_lifetime(life).build();
    let registered = sim.new_client(["a:read"]);
    let client = world::client(&sim, &registered);
    (sim, registered, client)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn jtis(journal: &Journal) -> HashSet<String> {
    let jti = |claims: &serde_json::Value| claims["jti"].as_str().unwrap().to_owned();
    journal
        .requests(Route::Token)
        .map(|request| jti(request.assertion_claims().unwrap()))
        .collect()
}

/// How long from now an error says to wait, in milliseconds.
fn wait(sim: &Sim, error: &Error) -> u128 {
    let at = error.retry_at().expect("a remembered error says when");
    at.duration_since(sim.clock().now()).unwrap().as_millis()
}

/// A pause is spread by up to a fifth, and never longer than the longest.
#[track_caller]
fn check_spread(remembered: u128, window: u128) {
    let longest = if window.is_multiple_of(30_000) {
        window
    } else {
        window * 6 / 5
    };
    assert!(
        (window - 1..=longest).contains(&remembered),
        "{remembered} {window}"
    );
}

fn unavailable() -> Fault {
    Fault::status(StatusCode::SERVICE_UNAVAILABLE)
}

/// A client of Maskinporten's test environment, behind a transport by hand.
fn client_over(transport: maskinporten::Transport) -> MaskinportenClient {
    MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
        .transport(transport)
        .clock(TokioClock::starting_at(std::time::UNIX_EPOCH))
        .build()
        .unwrap()
}

// ===== many callers =====

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_cold_slot_share_one_grant_and_one_exchange() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:b", "altinn:serviceowner"]);
    let client = world::client(&sim, &registered);

    let tokens = join_all((0..1_000).map(|_| client.altinn_token(["altinn:serviceowner"]))).await;

    assert!(tokens.iter().all(Result::is_ok), "{:?}", tokens[0]);
    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(sim.journal().exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_cold_entry_are_served_in_the_order_they_came() {
    let (_sim, _registered, client) = world();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut callers = JoinSet::new();
    for number in 0..1_000 {
        let (client, served) = (client.clone(), Arc::clone(&served));
        callers.spawn(async move {
            client.access_token(["a:read"]).await.unwrap();
            served.lock().unwrap().push(number);
        });
    }

    callers.join_all().await;

    assert!(served.lock().unwrap().is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_by_one_flight_in_each_window() {
    let (sim, _, client) = world();
    sim.fault(Route::Token, unavailable());

    let mut asked = 0;
    for window in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        let errors = join_all((0..100).map(|_| client.access_token(["a:read"]))).await;
        let errors: Vec<Error> = errors.into_iter().map(Result::unwrap_err).collect();
        for error in &errors {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.is_transient());
            assert_eq!(error.retry_at(), errors[0].retry_at());
        }
        let remembered = wait(&sim, &errors[0]);
        check_spread(remembered, window);
        // Three attempts at most, each with an assertion of its own.
        asked += 3;
        assert_eq!(sim.journal().token_requests(), asked);
        assert_eq!(jtis(&sim.journal()).len(), asked);

        advance(Duration::from_millis(remembered as u64 - 1)).await;
        let began = Instant::now();
        let error = client.access_token(["a:read"]).await.unwrap_err();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(error.retry_at(), errors[0].retry_at());
        assert_eq!(sim.journal().token_requests(), asked);
        advance(Duration::from_millis(2)).await;
    }

    sim.clear_faults();
    client.access_token(["a:read"]).await.unwrap();
    assert_eq!(sim.journal().token_requests(), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_a_flight_is_noticed_by_nobody() {
    for failures in [1, 2] {
        let (sim, _, client) = world();
        sim.fault(Route::Token, unavailable().times(failures));
        client.access_token(["a:read"]).await.unwrap();
        let journal = sim.journal();
        assert_eq!(journal.token_requests() as u64, failures + 1);
        assert_eq!(jtis(&journal).len() as u64, failures + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_within_ten_seconds() {
    let (sim, _, client) = world();
    sim.fault(Route::Token, Fault::hang());

    let began = Instant::now();
    let error = client.access_token(["a:read"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let took = began.elapsed();
    assert!((seconds(9)..=seconds(10)).contains(&took), "{took:?}");
    assert_eq!(sim.journal().token_requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_one_request_remembered_and_in_time_forgotten() {
    let (sim, registered, client) = world();
    let mut asked = 0;
    for window in [1, 2, 4, 8, 16, 32, 60, 60] {
        let mut remembered = 0;
        let errors = join_all((0..10).map(|_| client.access_token(["b:write"]))).await;
        for error in errors.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::ScopeRejected);
            assert_eq!(error.code(), Some("MP-200"));
            assert!(!error.is_transient());
            remembered = wait(&sim, &error);
            check_spread(remembered, window * 1_000);
        }
        asked += 1;
        assert_eq!(sim.journal().token_requests(), asked);
        advance(Duration::from_millis(remembered as u64 + 1)).await;
    }
    sim.add_scopes(registered.client_id(), ["b:write"]);
    client.access_token(["b:write"]).await.unwrap();
}

// ===== windows of a token's life: parity vector 5 of the .NET reference, by our shares =====

// The reference refuses a token of 29 s as spent, since its margin is 30 s.
#[tokio::test(start_paused = true)]
async fn a_token_of_half_a_minute_works_and_is_kept() {
    for life in [29, 30, 31] {
        let (sim, _, client) = world_with_tokens_of(life);
        for _ in 0..20 {
            client.access_token(["a:read"]).await.unwrap();
            advance(seconds(1)).await;
        }
        assert_eq!(sim.journal().token_requests(), 1, "{life} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_two_minutes_is_still_served_after_one() {
    let (sim, _, client) = world();
    let first = client.access_token(["a:read"]).await.unwrap();
    advance(seconds(60)).await;
    let second = client.access_token(["a:read"]).await.unwrap();
    assert_eq!(first.expose(), second.expose());
    assert_eq!(sim.journal().token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_token_is_renewed_while_nobody_waits() {
    let (sim, _, client) = world();
    let old = client.access_token(["a:read"]).await.unwrap();
    sim.fault(Route::Token, Fault::latency(seconds(2)));

    // Before the earliest soft point nothing happens, after the latest the renewal begins.
    advance(seconds(83)).await;
    client.access_token(["a:read"]).await.unwrap();
    sleep(seconds(3)).await;
    assert_eq!(sim.journal().token_requests(), 1);
    advance(seconds(11)).await;

    let began = Instant::now();
    for _ in 0..100 {
        let token = client.access_token(["a:read"]).await.unwrap();
        assert_eq!(token.expose(), old.expose());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    sleep(seconds(3)).await;
    let new = client.access_token(["a:read"]).await.unwrap();
    assert_ne!(new.expose(), old.expose());
    assert_eq!(sim.journal().token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_noticed_by_nobody_until_the_token_is_spent() {
    let (sim, _, client) = world();
    let token = client.access_token(["a:read"]).await.unwrap();
    sim.fault(Route::Token, unavailable());
    // Its last 5 % are never used: 6 of 120 s.
    for _ in 0..113 {
        // Slept, not advanced: the renewals behind it take their own time.
        sleep(seconds(1)).await;
        let served = client.access_token(["a:read"]).await.unwrap();
        assert_eq!(served.expose(), token.expose());
    }
    sleep(seconds(1)).await;
    let error = client.access_token(["a:read"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_spent_token_is_never_served_however_long_the_outage() {
    for life in [10, 30, 120, 3_600] {
        let (sim, _, client) = world_with_tokens_of(life);
        client.access_token(["a:read"]).await.unwrap();
        sim.fault(Route::Token, unavailable());
        let margin = (life as f64 * 0.05).clamp(1.0, 30.0);
        advance(Duration::from_secs_f64(life as f64 - margin)).await;
        for _ in 0..50 {
            assert!(client.access_token(["a:read"]).await.is_err(), "{life} s");
            advance(seconds(7)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_altinn_token_lives_its_own_half_hour() {
    let (sim, _, client) = world();
    let first = client.altinn_token(["a:read"]).await.unwrap();
    // The parent of two minutes is spent many times over, and is not fetched: nobody needs it.
    for _ in 0..20 {
        advance(seconds(60)).await;
        let token = client.altinn_token(["a:read"]).await.unwrap();
        assert_eq!(token.expose(), first.expose());
    }
    assert_eq!(
        (sim.journal().exchanges(), sim.journal().token_requests()),
        (1, 1)
    );

    // At 25 min it is still served; that call is past the soft point and starts the renewal.
    advance(seconds(5 * 60)).await;
    let token = client.altinn_token(["a:read"]).await.unwrap();
    assert_eq!(token.expose(), first.expose());
    sleep(seconds(1)).await;
    let token = client.altinn_token(["a:read"]).await.unwrap();
    assert_ne!(token.expose(), first.expose());
    assert_eq!(
        (sim.journal().exchanges(), sim.journal().token_requests()),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_spent_on_arrival_is_used_once_and_asked_for_once_a_second() {
    let wire = Wire::default();
    let transport = wire.answering(|_| {
        let body = r#"{"access_token":"spent","token_type":"Bearer","expires_in":0}"#;
        wire::answer(200, body)
    });
    let client = client_over(transport);
    for second in 1..=5 {
        let waiting = join_all((0..10).map(|_| client.access_token(["a:read"]))).await;
        assert!(waiting.iter().all(Result::is_ok), "{waiting:?}");
        for _ in 0..10 {
            let error = client.access_token(["a:read"]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert!(error.retry_at().is_some());
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(wire.sent().len(), second);
    }
}

// ===== what the server asks of us =====

fn retry_after(seconds: &str) -> Fault {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_str(seconds).unwrap());
    Fault::answer(StatusCode::SERVICE_UNAVAILABLE, headers, "")
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let (sim, _, client) = world();
    sim.fault(Route::Token, retry_after("7"));
    let began = sim.clock().now();
    let error = client.access_token(["a:read"]).await.unwrap_err();
    let journal = sim.journal();
    let times: Vec<u64> = journal
        .requests(Route::Token)
        .map(|request| request.time().duration_since(began).unwrap().as_secs())
        .collect();
    // A third attempt would come after the flight's deadline.
    assert_eq!(times, [0, 7]);
    assert_eq!(wait(&sim, &error), 7_000);
    advance(Duration::from_millis(6_999)).await;
    assert!(client.access_token(["a:read"]).await.is_err());
    assert_eq!(sim.journal().token_requests(), 2);

    sim.clear_faults();
    advance(Duration::from_millis(1)).await;
    client.access_token(["a:read"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_believed_for_a_minute_at_most() {
    let (sim, _, client) = world();
    sim.fault(Route::Token, retry_after("3600"));
    let error = client.access_token(["a:read"]).await.unwrap_err();
    assert_eq!(wait(&sim, &error), 60_000);
    assert_eq!(sim.journal().token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_jti_that_was_used_before_is_answered_with_another_one_once() {
    let used = || {
        let body = r#"{"error":"invalid_grant","error_description":"Grant is used before (jti). (trace_id: 0af7651916cd43dd8448eb211c80319c)","error_uri":"https://sim.maskinporten.test/errors/MP-012"}"#;
        Fault::answer(StatusCode::BAD_REQUEST, HeaderMap::new(), body)
    };
    let (sim, _, client) = world();
    sim.fault(Route::Token, used().times(1));
    client.access_token(["a:read"]).await.unwrap();
    assert_eq!(sim.journal().token_requests(), 2);
    assert_eq!(jtis(&sim.journal()).len(), 2);

    let (sim, _, client) = world();
    sim.fault(Route::Token, used());
    let error = client.access_token(["a:read"]).await.unwrap_err();
    assert_eq!(error.code(), Some("MP-012"));
    assert_eq!(sim.journal().token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_five_minutes_off_is_corrected_once_by_the_servers_date() {
    for ahead in [true, false] {
        let sim = Sim::new();
        let registered = sim.new_client(["a:read"]);
        let now = sim.clock().now();
        let wrong = if ahead {
            now + seconds(300)
        } else {
            now - seconds(300)
        };
        let client = world::builder(&sim, &registered)
            .clock(TokioClock::starting_at(wrong))
            .build()
            .unwrap();
        client.access_token(["a:read"]).await.unwrap();
        assert_eq!(
            (sim.journal().token_requests(), sim.journal().grants()),
            (2, 1)
        );
        // From now on it is right, for every token.
        for grants in 2..=5 {
            advance(seconds(120)).await;
            client.access_token(["a:read"]).await.unwrap();
            let journal = sim.journal();
            assert_eq!(
                (journal.token_requests(), journal.grants()),
                (grants + 1, grants)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_disagrees_with_its_own_date_is_asked_twice_and_no_more() {
    let wire = Wire::default();
    let transport = wire.answering(|_| {
        let body = r#"{"error":"invalid_grant","error_description":"JWT is expired."}"#;
        let mut response = wire::answer(400, body);
        let date = HeaderValue::from_static("Fri, 01 Jan 2027 10:00:00 GMT");
        response.headers_mut().insert("date", date);
        response
    });
    let error = client_over(transport)
        .access_token(["a:read"])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.hint().unwrap().contains("clock"));
    let assertions = wire.assertions();
    assert_eq!(assertions.len(), 2);
    assert_eq!(assertions[1].claims["iat"], 1_798_797_600);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_times_sake_tells_how_far_which_clock_is() {
    /// Here it is ten o'clock when the grant leaves.
    async fn check(way: Duration, date: &'static str, grants: usize, told: &str) {
        let wire = Wire::default();
        let transport = wire.over(service_fn(move |_: Request<Bytes>| async move {
            sleep(way).await;
            let body = r#"{"error":"invalid_grant","error_description":"JWT is expired."}"#;
            let mut response = wire::answer(400, body);
            let date = HeaderValue::from_static(date);
            response.headers_mut().insert("date", date);
            Ok::<_, Infallible>(response)
        }));
        let ten = SystemTime::UNIX_EPOCH + seconds(1_798_797_600);
        let client = MaskinportenClient::builder()
            .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
            .transport(transport)
            .clock(TokioClock::starting_at(ten))
            .build()
            .unwrap();
        let error = client.access_token(["a:read"]).await.unwrap_err();
        let mut details = error.details().filter(|(name, _)| *name == "clock");
        assert_eq!(details.next(), Some(("clock", told)));
        assert_eq!(wire.assertions().len(), grants, "{told}");
    }
    let at_once = Duration::ZERO;
    let ahead = "Fri, 01 Jan 2027 10:05:00 GMT";
    let behind = "Fri, 01 Jan 2027 09:55:00 GMT";
    let alike = "Fri, 01 Jan 2027 10:00:00 GMT";
    let on_the_way = "Fri, 01 Jan 2027 10:00:01 GMT";
    let told = |how: &str| format!("the server's clock is {how} this machine's");
    check(at_once, ahead, 2, &told("300 s ahead of")).await;
    check(at_once, behind, 2, &told("300 s behind")).await;
    // Who has the same time has nothing to correct.
    check(at_once, alike, 1, &told("0 s ahead of")).await;
    // The answer is dated in the middle of its way.
    check(seconds(2), on_the_way, 1, &told("0 s ahead of")).await;
}

// ===== the exchange =====

#[tokio::test(start_paused = true)]
async fn an_exchange_refused_once_is_made_again_with_a_new_token() {
    let (sim, _, client) = world();
    let unauthorized = || Fault::status(StatusCode::UNAUTHORIZED);
    sim.fault(Route::Exchange, unauthorized().times(1));
    client.altinn_token(["a:read"]).await.unwrap();
    assert_eq!((sim.journal().exchanges(), sim.journal().grants()), (2, 2));
    let shown: HashSet<String> = sim
        .journal()
        .requests(Route::Exchange)
        .map(|request| request.authorization().unwrap()["claims"]["jti"].to_string())
        .collect();
    assert_eq!(shown.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_refused_twice_names_both_causes() {
    let (sim, _, client) = world();
    sim.fault(Route::Exchange, Fault::status(StatusCode::UNAUTHORIZED));
    let error = client.altinn_token(["a:read"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exchange);
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(error.endpoint(), Some(sim.exchange_endpoint().as_str()));
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("another environment") && hint.contains("look-up failed"),
        "{hint}"
    );
    assert_eq!((sim.journal().exchanges(), sim.journal().grants()), (2, 2));

    // The next window's flight does not renew a token that was renewed a moment ago.
    advance(seconds(2)).await;
    client.altinn_token(["a:read"]).await.unwrap_err();
    assert_eq!((sim.journal().exchanges(), sim.journal().grants()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn an_exchange_has_its_whole_time_however_long_its_token_took() {
    let (sim, _, client) = world();
    for route in [Route::Token, Route::Exchange] {
        sim.fault(route, Fault::hang().times(2));
    }
    let began = Instant::now();
    client.altinn_token(["a:read"]).await.unwrap();
    // Twice two attempts of three seconds: longer than one flight may take.
    assert!(began.elapsed() >= seconds(12));
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_refused_is_the_altinn_callers_error() {
    let (sim, _, client) = world();
    let error = client.altinn_token(["b:write"]).await.unwrap_err();
    assert_eq!(error.code(), Some("MP-200"));
    assert_eq!(error.endpoint(), Some(sim.token_endpoint().as_str()));
    assert_eq!(
        (sim.journal().exchanges(), sim.journal().token_requests()),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_parent_whose_server_is_down_is_tried_by_one_flight_only() {
    let (sim, _, client) = world();
    sim.fault(Route::Token, unavailable());
    let (altinn, parent) = tokio::join!(
        client.altinn_token(["a:read"]),
        client.access_token(["a:read"]),
    );
    let (altinn, parent) = (altinn.unwrap_err(), parent.unwrap_err());
    assert_eq!(altinn.kind(), ErrorKind::Unavailable);
    assert_eq!(altinn.retry_at(), parent.retry_at());
    assert_eq!(
        (sim.journal().exchanges(), sim.journal().token_requests()),
        (0, 3)
    );
}

// ===== runtimes =====

#[test]
fn outside_a_runtime_there_is_a_typed_error_and_no_panic() {
    let source = FixedToken::new("fixed", seconds(600)).unwrap();
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .unwrap();
    let mut outside = pin!(client.access_token(["a:read"]));
    let Poll::Ready(Err(error)) = outside
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("it was to answer at once");
    };
    assert_eq!(error.kind(), ErrorKind::Runtime);
    assert!(error.hint().unwrap().contains("Tokio"));

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.access_token(["a:read"])).unwrap();
    // A token that is there needs no runtime.
    let mut outside = pin!(client.access_token(["a:read"]));
    let polled = outside
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
}

#[test]
fn a_runtime_that_goes_down_in_mid_flight_costs_callers_on_another_nothing() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (begun, has_begun) = mpsc::channel();
    // The first request is never answered, and ends with its runtime.
    let service = service_fn(move |_: Request<bytes::Bytes>| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        let begun = begun.clone();
        async move {
            if first {
                begun.send(()).unwrap();
                pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(wire::token("second"))
        }
    });
    let client = MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
        .transport(Wire::default().over(service.map_err(|never| match never {})))
        .build()
        .unwrap();

    let dying = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let first = client.clone();
    dying.spawn(async move { first.access_token(["a:read"]).await });
    has_begun.recv().unwrap();

    let living = Builder::new_current_thread().enable_all().build().unwrap();
    let token = living.block_on(async {
        let mut waiting = pin!(client.access_token(["a:read"]));
        let joined = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        assert!(joined.is_pending());
        dying.shutdown_background();
        waiting.await
    });
    assert_eq!(token.unwrap().expose(), "second");
}

/// A source that panics so many times before it gives a token.
#[derive(Debug)]
struct Panicking {
    identity: SourceIdentity,
    panics: AtomicUsize,
}

impl TokenSource for Panicking {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        let left = self.panics.load(Ordering::Relaxed);
        Box::pin(async move {
            if left > 0 {
                self.panics.store(left - 1, Ordering::Relaxed);
                panic!("planted");
            }
            AccessToken::new("calm", seconds(120))
        })
    }
}

#[test]
fn a_flight_on_a_runtime_that_stands_still_is_given_up_in_time_for_another() {
    // Each with a clock of its own, which moves on while its tasks wait.
    let runtime = || {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let (still, other) = (runtime(), runtime());
    let client = MaskinportenClient::builder()
        .source(Panicking {
            identity: SourceIdentity::new("calm", ""),
            panics: AtomicUsize::new(0),
        })
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();
    let mut waiting = Box::pin(client.access_token(["a:read"]));
    let started = still.block_on(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))));
    assert!(started.is_pending());

    // In a thread, since whoever waits for ever may do so without a pause.
    let (tell, told) = mpsc::channel();
    let caller = client.clone();
    std::thread::spawn(move || {
        other.block_on(async {
            let began = Instant::now();
            caller.access_token(["a:read"]).await.unwrap();
            tell.send(began.elapsed()).unwrap();
        });
    });

    // A flight's ten seconds, and one of grace.
    let took = told.recv_timeout(seconds(60)).unwrap();
    assert!(
        took > seconds(10) && took < seconds(12),
        "it took {took:?} to give it up"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_asked_again_and_then_a_typed_error() {
    let client = |panics: usize| {
        let source = Panicking {
            identity: SourceIdentity::new("panicking", ""),
            panics: AtomicUsize::new(panics),
        };
        MaskinportenClient::builder()
            .source(source)
            .clock(TokioClock::starting_at(std::time::UNIX_EPOCH))
            .build()
            .unwrap()
    };
    client(2).access_token(["a:read"]).await.unwrap();

    let often = client(3);
    let error = often.access_token(["a:read"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    assert!(error.hint().unwrap().contains("panicked"));
    assert!(!format!("{error} {error:?}").contains("planted"));
    advance(seconds(1)).await;
    often.access_token(["a:read"]).await.unwrap();
}
