//! When a token is renewed: ahead of its end by a share of its life, whatever that is, and while
//! nobody waits.

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::*;

/// One request each five-hundredth of a life, through five lives, with a server that takes a while.
async fn check(life: Duration) {
    let app = App::with_tokens_of(life);
    app.sim
        .fault(Route::Token, Fault::latency(milliseconds(500)));
    let (step, began) = (life / 500, Instant::now());
    let started = app.sim.clock().now();
    app.call().await.unwrap();
    while began.elapsed() < 5 * life {
        sleep(step).await;
        let call = app.call().now_or_never();
        let call = call.unwrap_or_else(|| panic!("{life:?}: waited at {:?}", began.elapsed()));
        call.unwrap();
    }
    app.assert_no_expired_token_was_sent();

    // A life is counted from when its token was asked for, and so is the next one's.
    let times = app.token_request_times(started);
    for pair in times.windows(2) {
        let share = (pair[1] - pair[0]).as_secs_f64() / life.as_secs_f64();
        assert!((0.70..=0.805).contains(&share), "{life:?}: {share}");
    }
    let renewals = times.len() - 1;
    assert!((6..=7).contains(&renewals), "{life:?}: {renewals}");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_any_life_is_kept_and_renewed_ahead_of_its_end_while_nobody_waits() {
    for life in [30, 120, 599, 30 * 60, 2 * 60 * 60] {
        check(seconds(life)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_started_together_drift_apart() {
    let mut renewed = Vec::new();
    for _ in 0..20 {
        let app = App::new();
        let started = app.sim.clock().now();
        while app.token_requests() < 2 {
            app.token().await.unwrap();
            sleep(milliseconds(100)).await;
        }
        renewed.push(app.token_request_times(started)[1]);
    }
    let (first, last) = (renewed.iter().min(), renewed.iter().max());
    let spread = *last.unwrap() - *first.unwrap();
    // Twenty draws from twelve seconds: that they fall within three is one in a hundred million.
    assert!(spread > seconds(3), "{renewed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_uses_is_not_renewed() {
    let app = App::new();
    app.call().await.unwrap();
    sleep(seconds(60 * 60)).await;
    assert_eq!(app.token_requests(), 1);
    app.call().await.unwrap();
    assert_eq!(app.token_requests(), 2);
}
