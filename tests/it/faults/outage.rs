//! A token server that is down, slow or busy: F1 to F4, F7 to F9, F17.

use std::collections::HashSet;
use std::future::ready;
use std::io;

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use http_body_util::Full;
use maskinporten::ErrorKind;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::service_fn;

use super::*;
use crate::wire::Wire;
use crate::world::{Recorder, get, layer};

// ===== down =====

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_from_the_start_is_one_typed_error_within_ten_seconds() {
    let faults = [
        Some(unavailable()),
        Some(Fault::status(StatusCode::NOT_FOUND)),
        Some(Fault::hang()),
        Some(Fault::truncated()),
        Some(Fault::huge(64 << 20)),
        None,
    ];
    for fault in faults {
        let told = format!("{fault:?}");
        let (sim, wire) = (Sim::new(), Wire::default());
        let transport = match fault {
            Some(fault) => {
                sim.fault(Route::Token, fault);
                wire.to(&sim)
            }
            None => wire.over(service_fn(|_| {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                ready(Err::<Response<Full<Bytes>>, _>(refused))
            })),
        };
        let endpoint = sim.token_endpoint();
        let parts = |builder: MaskinportenClientBuilder| {
            builder.transport(transport).token_endpoint(endpoint)
        };
        let app = App::of_parts(sim, parts);

        let began = Instant::now();
        let errors = join_all((0..100).map(|_| app.call())).await;

        assert!(began.elapsed() <= FLIGHT, "{told}: {:?}", began.elapsed());
        let first = errors[0].as_ref().unwrap_err().retry_at();
        for error in errors.into_iter().map(Result::unwrap_err) {
            assert!(error.is_transient(), "{told}: {error:?}");
            assert_it_advises(&error);
            assert_eq!(error.retry_at(), first, "{told}");
            assert!(app.wait(&error) > Duration::ZERO, "{told}");
        }
        assert_eq!(wire.sent().len(), 3, "{told}");
        // Nobody called the API anonymously instead.
        assert_eq!(app.sim.journal().api_calls(), 0, "{told}");
    }
}

/// Calls through an outage that begins with the token and outlives it, two times over.
async fn check_outage(life: Duration, fault: Fault) {
    let app = App::with_tokens_of(life);
    let told = format!("{life:?} {fault:?}");
    let (started, began) = (app.sim.clock().now(), Instant::now());
    app.call().await.unwrap();
    app.sim.fault(Route::Token, fault);

    let mut tries_at = started;
    while began.elapsed() < 3 * life {
        sleep(life / 400).await;
        let spent = began.elapsed() >= hard_end(life);
        let (asked, between_probes) = (app.token_requests(), app.sim.clock().now() < tries_at);
        let called = Instant::now();
        let outcome = match app.call().now_or_never() {
            Some(outcome) => outcome,
            None => {
                // Only who finds the token spent, and nothing remembered, waits for the next probe.
                assert!(spent && !between_probes, "{told} {:?}", began.elapsed());
                app.call().await
            }
        };
        match outcome {
            Ok(()) => assert!(!spent, "{told}: used after {:?}", began.elapsed()),
            Err(error) => {
                assert!(spent, "{told}: {error} after {:?}", began.elapsed());
                if between_probes {
                    assert_eq!(app.token_requests(), asked, "{told}");
                }
                tries_at = error.retry_at().unwrap();
            }
        }
        // A renewal that was under way when the token ended is waited for, and then one flight more.
        assert!(called.elapsed() <= 2 * FLIGHT, "{told}");
    }
    app.assert_no_expired_token_was_sent();

    // It backs off to half a minute, whoever calls meanwhile; three attempts make a probe.
    let times = app.token_request_times(started);
    let least = life.mul_f64(0.70);
    assert!(
        times[1] >= least && times[1] <= life.mul_f64(0.81),
        "{told}"
    );
    let gaps = times[1..].windows(2).map(|pair| pair[1] - pair[0]);
    let longest = ATTEMPT + PAUSES + seconds(30) + life / 400;
    assert!(gaps.max().unwrap() <= longest, "{told}");
    let probes = 8 + ((3 * life - least).as_secs() / 30) as usize;
    assert!(times.len() <= 1 + 3 * probes, "{told}: {}", times.len());

    // It is found again within half a minute of coming back.
    app.sim.clear_faults();
    sleep(seconds(31)).await;
    app.call().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_fails_no_request_before_the_tokens_hard_end_and_every_one_at_once_after_it() {
    for life in [30, 120, 599, 1_800] {
        check_outage(seconds(life), unavailable()).await;
        check_outage(seconds(life), Fault::hang()).await;
    }
}

// ===== slow =====

#[tokio::test(start_paused = true)]
async fn callers_of_a_slow_server_share_its_answer_and_keep_their_own_deadlines() {
    let app = App::new();
    let latency = milliseconds(2_500);
    app.sim.fault(Route::Token, Fault::latency(latency));
    let calls = (0..50).map(|number| {
        let patience = milliseconds(100 * number + 50);
        let call = timeout(patience, app.call());
        async move {
            let called = Instant::now();
            (patience, call.await, called.elapsed())
        }
    });
    for (patience, outcome, took) in join_all(calls).await {
        assert_eq!(outcome.is_ok(), patience > latency, "{patience:?}");
        assert_eq!(took.as_millis(), patience.min(latency).as_millis());
        if let Ok(outcome) = outcome {
            outcome.unwrap();
        }
    }
    assert_eq!(app.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_slower_than_an_attempt_is_given_up_by_all_callers_at_once() {
    let app = App::new();
    app.sim.fault(Route::Token, Fault::latency(seconds(5)));
    let began = Instant::now();
    let calls = join_all((0..100).map(|_| app.call())).await;
    let took = began.elapsed();
    assert!(
        (3 * ATTEMPT..=3 * ATTEMPT + PAUSES).contains(&took),
        "{took:?}"
    );
    for error in calls.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
    assert_eq!(app.token_requests(), 3);
}

// ===== what is tried again, and when =====

#[tokio::test(start_paused = true)]
async fn a_failing_answer_is_tried_twice_more_after_pauses_of_random_length() {
    let mut pauses = Vec::new();
    for status in [500, 502, 503].repeat(15) {
        let app = App::new();
        app.sim.fault(Route::Token, answer(status, &[]));
        let started = app.sim.clock().now();

        let error = app.token().await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.status().unwrap().as_u16(), status);
        let times = app.token_request_times(started);
        let [first, second, third] = times[..] else {
            panic!("three attempts: {times:?}");
        };
        assert_eq!(first, Duration::ZERO);
        // A timer may fire a millisecond late.
        assert!(second <= milliseconds(251), "{times:?}");
        assert!(third - second <= milliseconds(501), "{times:?}");
        assert!(FIRST_MEMORY.contains(&app.wait(&error)));
        pauses.extend([second.as_millis() * 2, (third - second).as_millis()]);
    }
    // Full jitter: drawn from the whole range, so that replicas do not come back together.
    let distinct: HashSet<_> = pauses.iter().collect();
    assert!(distinct.len() > 30, "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause < 125), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause > 375), "{pauses:?}");
}

/// What a server's wish comes to: when it is asked, and for how long it is then left alone.
enum Wish {
    Honoured(&'static [u64], u64),
    /// As if it had said nothing.
    Ignored,
}

async fn check_retry_after(headers: &[(&'static str, &str)], expected: Wish) {
    for status in [429, 503] {
        let app = App::new();
        app.sim.fault(Route::Token, answer(status, headers));
        let started = app.sim.clock().now();
        let error = app.token().await.unwrap_err();
        let times = app.token_request_times(started);
        let wait = app.wait(&error);
        match expected {
            Wish::Honoured(at, then) => {
                let at: Vec<_> = at.iter().map(|at| seconds(*at)).collect();
                assert_eq!((times, wait), (at, seconds(then)), "{status} {headers:?}");
            }
            Wish::Ignored => {
                assert_eq!(times.len(), 3, "{status} {headers:?}");
                assert!(times[2] <= PAUSES, "{status} {headers:?}: {times:?}");
                assert!(
                    FIRST_MEMORY.contains(&wait),
                    "{status} {headers:?}: {wait:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_up_to_a_minute_and_garbage_is_no_wish() {
    use Wish::{Honoured, Ignored};
    let after = |value| ("retry-after", value);
    // The server's clock is a year ahead of ours: only the distance between its two dates counts.
    let date = ("date", "Fri, 01 Jan 2027 10:00:00 GMT");

    check_retry_after(&[after("2")], Honoured(&[0, 2, 4], 2)).await;
    // A third attempt would come after the flight's end.
    check_retry_after(&[after("7")], Honoured(&[0, 7], 7)).await;
    check_retry_after(&[after("30")], Honoured(&[0], 30)).await;
    check_retry_after(&[after("86400")], Honoured(&[0], 60)).await;
    check_retry_after(&[after("18446744073709551615")], Honoured(&[0], 60)).await;
    let seven = after("Fri, 01 Jan 2027 10:00:07 GMT");
    check_retry_after(&[seven, date], Honoured(&[0, 7], 7)).await;
    let tomorrow = after("Sat, 02 Jan 2027 10:00:00 GMT");
    check_retry_after(&[tomorrow, date], Honoured(&[0], 60)).await;

    check_retry_after(&[after("0")], Ignored).await;
    check_retry_after(&[after("-5")], Ignored).await;
    check_retry_after(&[after("1.5")], Ignored).await;
    check_retry_after(&[after("soon")], Ignored).await;
    check_retry_after(&[after("")], Ignored).await;
    check_retry_after(&[after("Fri, 01 Jan 2027 25:61:07 GMT"), date], Ignored).await;
    check_retry_after(&[seven, ("date", "soon")], Ignored).await;
    let past = after("Fri, 01 Jan 2027 09:00:00 GMT");
    check_retry_after(&[past, date], Ignored).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_as_long_as_it_wishes_while_the_token_serves() {
    let app = App::with_tokens_of(seconds(1_800));
    let started = app.sim.clock().now();
    app.call().await.unwrap();
    let busy = answer(429, &[("retry-after", "86400")]);
    app.sim.fault(Route::Token, busy);
    for _ in 1..1_770 {
        sleep(seconds(1)).await;
        app.call().now_or_never().expect("nobody waits").unwrap();
    }
    let times = app.token_request_times(started);
    assert!(times.len() > 4, "{times:?}");
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= seconds(60), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_new_assertion_dated_when_it_is_made() {
    let app = App::new();
    let busy = answer(503, &[("retry-after", "2")]);
    app.sim.fault(Route::Token, busy.times(2));
    app.token().await.unwrap();

    let whole = |claim| -> Vec<u64> {
        let values = claims(&app.sim, claim);
        values.iter().map(|value| value.as_u64().unwrap()).collect()
    };
    let issued = whole("iat");
    assert_eq!(issued, [issued[0], issued[0] + 2, issued[0] + 4]);
    let ends = whole("exp");
    assert_eq!(ends, [issued[0] + 120, issued[0] + 122, issued[0] + 124]);
    let ids = claims(&app.sim, "jti");
    let distinct: HashSet<_> = ids.iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(distinct.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_reason_to_fail_a_request_while_the_token_lives() {
    let app = App::new();
    app.call().await.unwrap();
    let body = r#"{"error":"invalid_client","error_description":"Client disabled."}"#;
    let refusal = Fault::answer(StatusCode::UNAUTHORIZED, HeaderMap::new(), body);
    app.sim.fault(Route::Token, refusal);
    for _ in 1..114 {
        sleep(seconds(1)).await;
        app.call().now_or_never().expect("nobody waits").unwrap();
    }
    // Asked once a window, each twice as long as the last: at 84 to 96 s, then after 1, 2, 4, 8 s.
    assert!((5..=6).contains(&app.token_requests()));
    sleep(seconds(1)).await;
    let error = app.call().await.unwrap_err();
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    assert!(!error.is_transient());
    app.assert_no_expired_token_was_sent();
}

#[tokio::test(start_paused = true)]
async fn an_error_from_memory_is_ready_at_the_first_poll_for_layer_and_client_alike() {
    let app = App::new();
    app.sim.fault(Route::Token, unavailable());
    app.token().await.unwrap_err();
    let asked = app.token_requests();
    let (recorder, layer) = (Recorder::new(), layer(&app.client));
    for _ in 0..100 {
        let called = app.token().now_or_never().expect("at once");
        called.unwrap_err();
        let service = layer.layer(recorder.clone());
        let called = service.oneshot(get(world::API)).now_or_never();
        called.expect("at once").unwrap_err();
        advance(milliseconds(4)).await;
    }
    assert_eq!(app.token_requests(), asked);
    assert!(recorder.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_two_attempts_missed_the_third_still_brings() {
    let faults = [
        unavailable(),
        Fault::hang(),
        Fault::truncated(),
        Fault::huge(1 << 20),
        Fault::latency(seconds(4)),
        Fault::slow_body(1, seconds(1)),
    ];
    for fault in faults {
        let (app, told) = (App::new(), format!("{fault:?}"));
        app.sim.fault(Route::Token, fault.times(2));
        let calls = (0..10).map(|_| app.call());
        try_join_all(calls).await.unwrap();
        assert_eq!(app.token_requests(), 3, "{told}");
    }
}
