//! Clocks that are wrong, that jump, and that stand still while the machine sleeps: F18 to F20.

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use maskinporten::TokenRequest;
use tokio::time::sleep;

use super::*;
use crate::clocks::Clocks;

/// The machine was booted so long before.
const UPTIME: Duration = Duration::from_secs(1_000);

/// A service on a machine whose wall clock is off by so many seconds.
fn app(off: i64) -> (App, Clocks) {
    let sim = Sim::new();
    let clocks = Clocks::starting_at(sim.clock().now() - UPTIME);
    clocks.suspend(UPTIME);
    clocks.set_wall(off);
    let clock = clocks.clone();
    let app = App::of_parts(sim, |builder| builder.clock(clock));
    (app, clocks)
}

/// Suspends the machine: the world and both clocks go on, its timers do not.
fn suspend(app: &App, clocks: &Clocks, time: Duration) {
    clocks.suspend(time);
    app.sim.clock().advance(time);
}

/// Requests for as many tokens, which share a client and so its clock.
fn identities() -> Vec<TokenRequest> {
    let request = |number: u32| {
        let request = TokenRequest::scopes(SCOPES).unwrap();
        request.resource(format!("urn:{number}")).unwrap()
    };
    (0..5).map(request).collect()
}

// ===== wrong =====

/// A clock off by so much costs so many refused grants, once.
async fn check_skew(off: i64, refused: usize) {
    let (app, _) = app(off);
    let told = format!("off by {off} s");
    let used = |grants: usize| {
        let journal = app.sim.journal();
        assert_eq!(journal.grants(), grants, "{told}");
        assert_eq!(journal.token_requests(), grants + refused, "{told}");
    };
    app.call().await.unwrap();
    used(1);
    // From then on it is right, for every token of this client and for every life.
    for request in identities() {
        app.client.access_token(request).await.unwrap();
    }
    used(6);
    for grants in 7..10 {
        sleep(seconds(120)).await;
        app.call().await.unwrap();
        used(grants);
    }
    app.assert_no_expired_token_was_sent();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_wall_clock_costs_one_refused_grant_at_most() {
    // Within what the server puts up with, and behind as far as an assertion lives.
    check_skew(0, 0).await;
    check_skew(10, 0).await;
    check_skew(-30, 0).await;
    check_skew(30, 1).await;
    check_skew(300, 1).await;
    check_skew(-300, 1).await;
    check_skew(86_400, 1).await;
    check_skew(-86_400, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_server_clock_is_followed_and_followed_back() {
    for off in [30, -30, 300, -300] {
        let (app, _) = app(0);
        // Only the token server's: the API has the right time, and would not like these tokens.
        app.sim.fault(Route::Token, Fault::skew(off));
        app.token().await.unwrap();
        assert!(app.token_requests() <= 2, "{off}");
        sleep(seconds(120)).await;
        app.token().await.unwrap();
        assert!(app.token_requests() <= 3, "{off}");
        // Mended over there.
        app.sim.clear_faults();
        sleep(seconds(120)).await;
        app.token().await.unwrap();
        assert!(app.token_requests() <= 5, "{off}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_wall_clock_fails_none_of_several_tokens_asked_for_together() {
    for off in [300, -300] {
        let (app, _) = app(off);
        // They are all on their way before the first refusal tells the time.
        app.sim
            .fault(Route::Token, Fault::latency(milliseconds(100)));
        let calls = identities().into_iter();
        let calls = join_all(calls.map(|request| app.client.access_token(request))).await;
        let failed: Vec<_> = calls.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "off by {off} s: {failed:?}");
        assert_eq!(app.sim.journal().grants(), 5);
        assert!(app.token_requests() <= 10, "{}", app.token_requests());
    }
}

// ===== jumps =====

/// The wall clock is set wrong while tokens are in use, and right again later.
async fn check_jump(off: i64) {
    let (app, clocks) = app(0);
    let told = format!("off by {off} s");
    let mut everybody = identities();
    everybody.push(TokenRequest::scopes(SCOPES).unwrap());
    let use_for = async |time: u64| {
        for _ in 0..time {
            sleep(seconds(1)).await;
            for request in &everybody {
                let token = app.client.access_token(request).now_or_never();
                token.expect(&told).unwrap();
            }
            app.call().now_or_never().expect(&told).unwrap();
        }
    };
    let fetch = everybody.iter();
    try_join_all(fetch.map(|request| app.client.access_token(request)))
        .await
        .unwrap();
    let tokens = everybody.len();

    use_for(40).await;
    clocks.set_wall(off);
    // Before its soft point no token is asked for again, whatever the wall clock shows.
    use_for(40).await;
    assert_eq!(app.token_requests(), tokens, "{told}");
    // Each is renewed once on its way, and refused for the clock's sake at most once.
    use_for(40).await;
    let journal = app.sim.journal();
    assert_eq!(journal.grants(), 2 * tokens, "{told}");
    assert!(journal.token_requests() <= 3 * tokens, "{told}");
    app.sim.clear_journal();

    // No token is younger than 24 s by now, or older than 36.
    clocks.set_wall(-off);
    use_for(40).await;
    assert_eq!(app.token_requests(), 0, "{told}");
    use_for(40).await;
    let journal = app.sim.journal();
    assert_eq!(journal.grants(), tokens, "{told}");
    assert!(journal.token_requests() <= 2 * tokens, "{told}");
    app.assert_no_expired_token_was_sent();
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_sends_no_expired_token_and_starts_no_storm() {
    for off in [3_600, -3_600, 86_400, -86_400] {
        check_jump(off).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_while_a_failure_is_remembered_lengthens_nothing() {
    for off in [3_600, -3_600, 86_400, -86_400] {
        let (app, clocks) = app(0);
        app.sim.fault(Route::Token, unavailable());
        let error = app.call().await.unwrap_err();
        let remembered = app.wait(&error);
        clocks.set_wall(off);
        app.sim.clear_faults();
        sleep(remembered).await;
        app.call().await.unwrap();
        assert!(app.token_requests() <= 5, "{off}: one more for the clock");
    }
}

// ===== sleep =====

const NAP: Duration = Duration::from_secs(2 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn the_first_requests_after_a_suspend_share_one_flight_and_send_no_expired_token() {
    let (app, clocks) = app(0);
    app.call().await.unwrap();
    for naps in 1..=3 {
        suspend(&app, &clocks, NAP);
        let calls = (0..1_000).map(|_| app.call());
        try_join_all(calls).await.unwrap();
        assert_eq!(app.token_requests(), 1 + naps);
    }
    app.assert_no_expired_token_was_sent();
}

#[tokio::test(start_paused = true)]
async fn a_short_nap_costs_nothing() {
    let (app, clocks) = app(0);
    app.call().await.unwrap();
    suspend(&app, &clocks, seconds(80));
    app.call().now_or_never().expect("nobody waits").unwrap();
    sleep(seconds(1)).await;
    assert_eq!(app.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspend_while_a_request_is_on_its_way_sends_no_expired_token() {
    for latecomers in [100, 0] {
        let (app, clocks) = app(0);
        // The token is made at once and takes a second to arrive, in which the machine sleeps.
        let slow = Fault::slow_body(500, milliseconds(500));
        app.sim.fault(Route::Token, slow.times(1));
        let early = join_all((0..100).map(|_| app.call()));
        let late = async {
            sleep(milliseconds(200)).await;
            suspend(&app, &clocks, NAP);
            join_all((0..latecomers).map(|_| app.call())).await
        };
        let (early, late) = tokio::join!(early, late);
        for outcome in early.into_iter().chain(late) {
            outcome.unwrap();
        }
        app.assert_no_expired_token_was_sent();
        assert_eq!(app.token_requests(), 2, "{latecomers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspend_while_nobody_answers_costs_one_fetch_more() {
    let (app, clocks) = app(0);
    app.sim.fault(Route::Token, Fault::hang().times(1));
    let early = app.call();
    let late = async {
        sleep(milliseconds(200)).await;
        suspend(&app, &clocks, NAP);
        join_all((0..100).map(|_| app.call())).await
    };
    let (early, late) = tokio::join!(early, late);
    for outcome in late {
        outcome.unwrap();
    }
    // Whoever had asked the silent server before may have given it up.
    assert!(early.map_or_else(|error| error.is_transient(), |()| true));
    sleep(FLIGHT).await;
    app.call().await.unwrap();
    assert!(app.sim.journal().grants() <= 2);
    app.assert_no_expired_token_was_sent();
}
