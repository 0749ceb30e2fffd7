//! One of several servers that does not serve: metadata, and the exchange. F37, F38, F41.

use futures_util::FutureExt;
use futures_util::future::join_all;
use maskinporten::ErrorKind;
use tokio::time::{Instant, sleep};

use super::*;

const HALF_A_DAY: Duration = Duration::from_secs(12 * 60 * 60);

/// As many scopes as identities, each with a flight of its own.
fn scopes() -> Vec<String> {
    (0..20).map(|number| format!("scope:{number}")).collect()
}

/// A client of a world whose metadata it knows.
fn client(sim: &Sim) -> MaskinportenClient {
    world::client(sim, &sim.new_client(scopes()))
}

async fn all(client: &MaskinportenClient) -> Vec<Result<AccessToken>> {
    let calls = scopes();
    let calls = calls.into_iter().map(|scope| client.access_token([scope]));
    join_all(calls).await
}

fn readings(sim: &Sim) -> usize {
    sim.journal().requests(Route::Metadata).count()
}

// ===== metadata =====

/// What was read half a day ago serves on, whatever becomes of reading it again.
async fn check_stale_metadata(fault: Fault, token_latency: Duration) {
    let sim = Sim::new();
    let client = client(&sim);
    client.access_token(["scope:0"]).await.unwrap();
    let told = format!("{fault:?} {token_latency:?}");
    sim.fault(Route::Metadata, fault);
    sim.fault(Route::Token, Fault::latency(token_latency));
    sleep(HALF_A_DAY + seconds(1)).await;

    let before = readings(&sim);
    for token in all(&client).await {
        token.unwrap_or_else(|error| panic!("{told}: {error:?}"));
    }
    assert!((1..=3).contains(&(readings(&sim) - before)), "{told}");

    // The path of tokens was held up once; for the half minute after it nobody asks again.
    sleep(seconds(15)).await;
    let began = Instant::now();
    let before = readings(&sim);
    client.access_token(["scope:1", "scope:2"]).await.unwrap();
    assert_eq!(
        began.elapsed().as_millis(),
        token_latency.as_millis(),
        "{told}"
    );
    assert_eq!(readings(&sim), before, "{told}");
}

#[tokio::test(start_paused = true)]
async fn metadata_that_cannot_be_read_again_stays_as_it_was_and_holds_tokens_up_once() {
    for latency in [Duration::ZERO, seconds(2)] {
        check_stale_metadata(unavailable(), latency).await;
        check_stale_metadata(Fault::status(StatusCode::NOT_FOUND), latency).await;
        check_stale_metadata(Fault::huge(1 << 20), latency).await;
        check_stale_metadata(Fault::truncated(), latency).await;
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_nobody_answers_for_fails_no_request_while_it_is_known() {
    for latency in [Duration::ZERO, seconds(2)] {
        check_stale_metadata(Fault::hang(), latency).await;
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_was_never_read_is_one_typed_error_within_ten_seconds() {
    for fault in [unavailable(), Fault::hang(), Fault::truncated()] {
        let sim = Sim::new();
        let client = client(&sim);
        let told = format!("{fault:?}");
        sim.fault(Route::Metadata, fault);

        let began = Instant::now();
        let outcomes = all(&client).await;
        assert!(began.elapsed() <= FLIGHT, "{told} {:?}", began.elapsed());
        for error in outcomes.into_iter().map(Result::unwrap_err) {
            assert!(error.is_transient(), "{told}: {error:?}");
            assert_it_advises(&error);
        }
        assert_eq!(readings(&sim), 3, "{told}");
        // Held up once: now everybody knows.
        for (number, scope) in scopes().into_iter().enumerate() {
            let call = client.access_token([scope]).now_or_never();
            call.unwrap_or_else(|| panic!("{told}: {number} waits"))
                .unwrap_err();
        }
        assert_eq!(readings(&sim), 3, "{told}");
        // No audience is guessed.
        assert_eq!(sim.journal().token_requests(), 0, "{told}");
    }
}

// ===== the exchange =====

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_down_is_altinns_callers_affair_alone() {
    let rows = [
        (unavailable(), ErrorKind::Unavailable),
        (Fault::hang(), ErrorKind::Unreachable),
        (Fault::truncated(), ErrorKind::Unreachable),
        (Fault::status(StatusCode::UNAUTHORIZED), ErrorKind::Exchange),
    ];
    for (fault, kind) in rows {
        let (app, told) = (App::new(), format!("{fault:?}"));
        app.sim.fault(Route::Exchange, fault);

        let began = Instant::now();
        let altinn = join_all((0..100).map(|_| app.client.altinn_token(SCOPES)));
        let plain = join_all((0..100).map(|_| async {
            app.call().await.unwrap();
            began.elapsed()
        }));
        let (altinn, plain) = tokio::join!(altinn, plain);

        // Maskinporten answers at once, and so do those who need nothing else.
        assert!(plain.iter().all(|took| took.is_zero()), "{told}");
        assert!(began.elapsed() <= FLIGHT, "{told} {:?}", began.elapsed());
        let exchange = app.sim.exchange_endpoint();
        for error in altinn.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.kind(), kind, "{told}: {error:?}");
            assert_eq!(error.endpoint(), Some(&*exchange), "{told}");
            assert_it_advises(&error);
        }
        assert!(app.sim.journal().exchanges() <= 3, "{told}");
        // A second one where Altinn blames the token, and it may be to blame.
        assert!(app.sim.journal().grants() <= 2, "{told}");

        // For an hour: plain callers never wait, Altinn's get an answer within the deadline.
        for _ in 0..360 {
            sleep(seconds(10)).await;
            app.call().await.unwrap();
            let began = Instant::now();
            app.client.altinn_token(SCOPES).await.unwrap_err();
            assert!(began.elapsed() <= FLIGHT, "{told}");
        }
        app.assert_no_expired_token_was_sent();
        // Backed off to half a minute or longer; its parent is renewed as others need it.
        let journal = app.sim.journal();
        assert!(journal.exchanges() <= 3 * 130, "{told}");

        app.sim.clear_faults();
        sleep(seconds(61)).await;
        app.client.altinn_token(SCOPES).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_altinn_token_outlives_an_outage_of_maskinporten_and_altinn_both() {
    let app = App::new();
    let first = app.client.altinn_token(SCOPES).await.unwrap();
    for route in [Route::Token, Route::Exchange] {
        app.sim.fault(route, unavailable());
    }
    let life = seconds(30 * 60);
    for _ in 1..hard_end(life).as_secs() {
        sleep(seconds(1)).await;
        let token = app.client.altinn_token(SCOPES).now_or_never();
        assert_eq!(token.unwrap().unwrap().expose(), first.expose());
    }
    sleep(seconds(1)).await;
    app.client.altinn_token(SCOPES).await.unwrap_err();
}
