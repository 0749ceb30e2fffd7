//! Clock, seed, faults, journal: what surrounds the servers.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Request, StatusCode};
use maskinporten_sim::{Body, Fault, Route, Sim, Verdict};
use serde_json::json;
use tower::{Service, ServiceExt};

use crate::support::{Grant, claims, form, get, post, run};

// ===== clock =====

#[tokio::test(start_paused = true)]
async fn virtual_time_follows_the_paused_clock_of_tokio() {
    let start = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let sim = Sim::builder().start_at(start).build();
    assert_eq!(sim.clock().now(), start);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(sim.clock().now(), start + Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn a_clock_is_moved_by_hand_in_either_direction() {
    let sim = Sim::new();
    let clock = sim.clock();
    let start = clock.now();
    assert_eq!(start, UNIX_EPOCH + Duration::from_secs(1_767_261_600));
    clock.advance(Duration::from_secs(5));
    assert_eq!(sim.clock().now(), start + Duration::from_secs(5));
    clock.set(start - Duration::from_secs(60));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(clock.now(), start - Duration::from_secs(59));
    assert_eq!(
        get(&sim, &sim.issuer(), &[]).await.header("date"),
        "Thu, 01 Jan 2026 09:59:01 GMT"
    );
}

#[test]
fn a_world_can_be_made_outside_a_runtime() {
    let grant = Grant::new();
    assert_eq!(run(grant.send()).status, StatusCode::OK);
}

// ===== seed =====

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed: u64| {
        let grant = Grant::in_world(Sim::builder().seed(seed).build());
        let token = claims(&run(grant.token()));
        let refused = run(grant.send()).text().to_owned();
        (
            grant.client.client_id().to_owned(),
            grant.client.kid().to_owned(),
            token.to_string(),
            refused,
        )
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

// ===== issuer =====

#[test]
fn an_issuer_is_taken_as_it_is() {
    let sim = Sim::builder().issuer("https://sky.example").build();
    assert_eq!(sim.issuer(), "https://sky.example");
    assert_eq!(sim.token_endpoint(), "https://sky.example/token");
    assert_eq!(sim.altinn_platform(), "https://sky.example");

    let sim = Sim::builder()
        .issuer("https://host.example:8443/world/")
        .build();
    assert_eq!(sim.altinn_platform(), "https://host.example:8443");
    assert_eq!(
        sim.exchange_endpoint(),
        "https://host.example:8443/world/authentication/api/v1/exchange/maskinporten"
    );
    let grant = Grant::in_world(sim);
    let bearer = format!("Bearer {}", run(grant.token()));
    let exchanged = run(get(
        &grant.sim,
        &grant.sim.exchange_endpoint(),
        &[("authorization", &bearer)],
    ));
    assert_eq!(exchanged.status, StatusCode::OK);
    assert_eq!(
        run(get(
            &grant.sim,
            &grant.sim.api_url(),
            &[("authorization", &bearer)]
        ))
        .status,
        StatusCode::OK
    );
}

#[test]
fn a_client_shows_its_key_in_every_form() {
    let sim = Sim::new();
    let client = sim.new_client(["a:b"]);
    let jwk = client.private_jwk();
    for member in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        assert!(jwk[member].is_string(), "{member}");
    }
    assert_eq!(
        (&jwk["kid"], &jwk["use"], &jwk["alg"]),
        (&json!(client.kid()), &json!("sig"), &json!("RS256"))
    );
    assert_eq!(
        client.settings_json(),
        json!({ "MaskinportenSettings": { "Authority": sim.issuer(), "ClientId": client.client_id(), "Jwk": jwk } })
    );
    assert!(
        client
            .private_pem()
            .starts_with("-----BEGIN PRIVATE KEY-----\n")
    );
    assert!(!format!("{client:?}").contains(jwk["d"].as_str().unwrap()));

    let fresh = client.clone().with_fresh_key();
    assert_eq!(fresh.client_id(), client.client_id());
    assert_ne!(fresh.public_jwk()["n"], client.public_jwk()["n"]);
    assert_eq!(
        sim.new_client(["a:b"]).public_jwk()["n"],
        client.public_jwk()["n"]
    );
}

// ===== faults =====

#[tokio::test(start_paused = true)]
async fn latency_passes_the_request_on_when_it_is_over() {
    let grant = Grant::new();
    grant
        .sim
        .fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let begun = tokio::time::Instant::now();
    let answer = grant.send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(begun.elapsed(), Duration::from_millis(80));
    assert!(
        get(&grant.sim, &grant.sim.issuer(), &[])
            .await
            .status
            .is_client_error()
    );
    assert_eq!(begun.elapsed(), Duration::from_millis(80));
}

#[tokio::test(start_paused = true)]
async fn a_fault_answers_as_often_as_it_was_told() {
    let grant = Grant::new();
    let headers =
        HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
    grant.sim.fault(
        Route::Token,
        Fault::answer(StatusCode::TOO_MANY_REQUESTS, headers, "later").times(2),
    );
    for _ in 0..2 {
        let answer = grant.send().await;
        assert_eq!(
            (answer.status, answer.header("retry-after"), answer.text()),
            (StatusCode::TOO_MANY_REQUESTS, "7", "later")
        );
    }
    assert_eq!(grant.send().await.status, StatusCode::OK);

    let journal = grant.sim.journal();
    let entry = &journal.entries()[0];
    assert_eq!(entry.verdict(), &Verdict::Fault);
    assert_eq!(entry.assertion_claims().unwrap()["jti"], "one");
    assert_eq!((journal.token_requests(), journal.grants()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_entered_when_its_caller_gives_up() {
    let grant = Grant::new();
    grant.sim.fault(Route::Token, Fault::hang());
    assert!(
        tokio::time::timeout(Duration::from_secs(60), grant.send())
            .await
            .is_err()
    );
    let journal = grant.sim.journal();
    assert_eq!(journal.entries()[0].verdict(), &Verdict::Abandoned);
    assert_eq!(journal.entries()[0].status(), None);
    grant.sim.clear_faults();
    assert_eq!(grant.send().await.status, StatusCode::OK);
}

// ===== journal =====

#[test]
fn a_secret_in_place_of_a_scheme_is_not_shown() {
    let sim = Sim::new();
    let shown = |authorization: &str| {
        run(get(
            &sim,
            &sim.api_url(),
            &[("authorization", authorization)],
        ));
        let journal = sim.journal();
        journal.entries().last().unwrap().authorization().unwrap()["scheme"].clone()
    };
    assert_eq!(shown("Bearer opaque"), "Bearer");
    assert_eq!(shown("opaque"), json!(null));
    assert_eq!(shown("s3cret and more"), json!(null));
    assert_eq!(shown("aVeryLongSecretInLetters and more"), json!(null));
}

#[test]
fn a_world_and_its_answers_may_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Sim>();
    check::<Body>();
    check::<maskinporten_sim::ResponseFuture>();
    check::<maskinporten_sim::SimServer>();
}

#[tokio::test(start_paused = true)]
async fn entries_stand_in_the_order_of_arrival_once_their_verdict_is_reached() {
    let mut sim = Sim::new();
    sim.fault(
        Route::Token,
        Fault::latency(Duration::from_secs(1)).times(1),
    );
    let mut request = |n: u8| {
        let request = Request::post(format!("{}?n={n}", sim.token_endpoint()));
        sim.call(request.body(Body::empty()).unwrap())
    };
    let first = tokio::spawn(request(1));
    tokio::task::yield_now().await;
    let second = request(2).await;
    assert!(second.is_ok());
    assert_eq!(sim.journal().token_requests(), 1);
    assert!(first.await.is_ok());
    let journal = sim.journal();
    let paths: Vec<_> = journal
        .requests(Route::Token)
        .map(|entry| entry.path())
        .collect();
    assert_eq!(paths, ["/token?n=1", "/token?n=2"]);
}

#[test]
fn the_journal_tells_each_request_and_keeps_no_secret() {
    let grant = Grant::new();
    let assertion = grant.assertion();
    let token = run(grant.token());
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("user-agent", "test/1"),
        ("x-unknown", "hidden"),
    ];
    run(get(&grant.sim, &grant.sim.api_url(), &headers));
    run(get(
        &grant.sim,
        &format!("{}?token={token}", grant.sim.exchange_endpoint()),
        &headers,
    ));
    run(post(&grant.sim, &form(&assertion)));
    run(get(
        &grant.sim,
        "http://host/nowhere",
        &[("authorization", token.as_str())],
    ));

    let journal = grant.sim.journal();
    assert_eq!(
        (
            journal.token_requests(),
            journal.grants(),
            journal.exchanges(),
            journal.api_calls()
        ),
        (2, 1, 1, 1)
    );
    let [granted, called, _, refused, nowhere] = journal.entries() else {
        panic!("five entries")
    };
    assert_eq!(granted.assertion_header(), Some(&grant.header));
    assert_eq!(granted.assertion_claims(), Some(&grant.claims));
    assert_eq!(granted.status(), Some(StatusCode::OK));
    assert!(granted.is_accepted());
    assert_eq!(granted.issued(), Some(&claims(&token)));
    assert_eq!(
        called.authorization(),
        Some(&json!({ "scheme": "Bearer", "claims": claims(&token) }))
    );
    assert_eq!(
        (called.header("user-agent"), called.header("x-unknown")),
        (Some("test/1"), None)
    );
    assert_eq!(
        (refused.error(), refused.code()),
        (Some("invalid_grant"), Some("MP-012"))
    );
    assert_eq!(
        (nowhere.route(), nowhere.status()),
        (None, Some(StatusCode::NOT_FOUND))
    );

    let page = run(get(&grant.sim, "http://host/_sim/journal", &[]));
    assert_eq!(page.json(), journal.to_json());
    assert_eq!(
        grant.sim.journal().entries().len(),
        5,
        "looking leaves no trace"
    );
    let shown = page.text();
    for secret in assertion.split('.').chain(token.split('.')) {
        assert!(!shown.contains(secret));
    }
    assert_eq!(page.json()["entries"][3]["code"], "MP-012");
    assert_eq!(page.json()["entries"][0]["route"], "token");

    grant.sim.clear_journal();
    assert!(grant.sim.journal().entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_polled_arrived_all_the_same() {
    let mut sim = Sim::new();
    let request = Request::get(sim.api_url()).body(Body::empty()).unwrap();
    drop(sim.ready().await.unwrap().call(request));
    assert_eq!(sim.journal().api_calls(), 1);
}
