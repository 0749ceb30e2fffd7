//! What an authority publishes about itself: asked for once, believed narrowly, kept long.
//!
//! Parity vector 7 of the .NET reference, by our rules: it guesses an audience where the metadata
//! cannot be read, and we share the error instead.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use maskinporten::{ErrorKind, MaskinportenClient, MaskinportenSettings, Result, TokioClock};
use maskinporten_sim::{Fault, Route, Sim, SimClient};
use serde_json::{Value, json};
use tokio::time::{advance, timeout};

use crate::wire::{self, Wire};
use crate::world;

const JWK: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");

const HOUR: Duration = Duration::from_secs(60 * 60);

/// As many scopes as callers, so that each has a token, and so a flight, of its own.
fn scopes() -> Vec<String> {
    (0..20).map(|number| format!("scope:{number}")).collect()
}

fn sim() -> (Sim, SimClient) {
    let sim = Sim::new();
    let registered = sim.new_client(scopes());
    (sim, registered)
}

async fn all(client: &MaskinportenClient) -> Vec<Result<maskinporten::AccessToken>> {
    join_all(
        scopes()
            .into_iter()
            .map(|scope| client.access_token([scope])),
    )
    .await
}

fn asked(sim: &Sim) -> usize {
    sim.journal().requests(Route::Metadata).count()
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_reading() {
    let (sim, registered) = sim();
    sim.fault(Route::Metadata, Fault::latency(Duration::from_millis(300)));
    let client = world::client(&sim, &registered);

    assert!(all(&client).await.iter().all(Result::is_ok));
    assert_eq!((asked(&sim), sim.journal().grants()), (1, 20));
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_read_again_after_twelve_hours_and_on_demand_only() {
    let (sim, registered) = sim();
    let client = world::client(&sim, &registered);
    let token = || client.access_token(["scope:0"]);

    token().await.unwrap();
    for _ in 0..11 {
        advance(HOUR).await;
        token().await.unwrap();
    }
    assert_eq!((asked(&sim), sim.journal().grants()), (1, 12));

    advance(2 * HOUR).await;
    assert_eq!(asked(&sim), 1);
    token().await.unwrap();
    assert_eq!(asked(&sim), 2);
    advance(HOUR).await;
    token().await.unwrap();
    assert_eq!(asked(&sim), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_rereading_keeps_the_last_known_good() {
    let (sim, registered) = sim();
    let client = world::client(&sim, &registered);
    client.access_token(["scope:0"]).await.unwrap();

    advance(13 * HOUR).await;
    let broken = Fault::status(StatusCode::INTERNAL_SERVER_ERROR);
    sim.fault(Route::Metadata, broken);
    assert!(all(&client).await.iter().all(Result::is_ok));
    let first_round = asked(&sim) - 1;
    assert_eq!(first_round, 1);

    // Ten minutes later somebody tries again, once, and still nobody notices.
    for (after, again) in [(200, 0), (401, 1)] {
        let before = asked(&sim);
        advance(Duration::from_secs(after)).await;
        assert!(all(&client).await.iter().all(Result::is_ok));
        assert_eq!(asked(&sim), before + again);
    }

    // What is good is kept for twelve hours again.
    sim.clear_faults();
    advance(HOUR).await;
    assert!(all(&client).await.iter().all(Result::is_ok));
    let asked_before = asked(&sim);
    advance(HOUR).await;
    assert!(all(&client).await.iter().all(Result::is_ok));
    assert_eq!(asked(&sim), asked_before);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_known_a_failure_is_shared_for_half_a_minute() {
    let (sim, registered) = sim();
    sim.fault(
        Route::Metadata,
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
    );
    let client = world::client(&sim, &registered);

    let began = sim.clock().now();
    let errors = all(&client).await;
    let failed = sim.clock().now();
    assert!(failed.duration_since(began).unwrap() < Duration::from_secs(10));
    assert_eq!(asked(&sim), 3);
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_transient());
        let again = error.retry_at().unwrap().duration_since(failed).unwrap();
        assert_eq!(again, Duration::from_secs(30), "{error:?}");
    }

    advance(Duration::from_secs(29)).await;
    assert!(all(&client).await.iter().all(Result::is_err));
    assert_eq!(asked(&sim), 3);

    // A second failure opens a second window.
    advance(Duration::from_secs(2)).await;
    assert!(all(&client).await.iter().all(Result::is_err));
    assert_eq!(asked(&sim), 6);

    sim.clear_faults();
    advance(Duration::from_secs(31)).await;
    assert!(all(&client).await.iter().all(Result::is_ok));
    assert_eq!((asked(&sim), sim.journal().grants()), (7, 20));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_marks_no_failure() {
    let (sim, registered) = sim();
    sim.fault(Route::Metadata, Fault::latency(Duration::from_secs(2)));
    let client = world::client(&sim, &registered);

    let impatient = timeout(Duration::from_millis(100), client.access_token(["scope:0"]));
    assert!(impatient.await.is_err());
    client.access_token(["scope:1"]).await.unwrap();
    client.access_token(["scope:0"]).await.unwrap();
    assert_eq!(asked(&sim), 1);
}

// ===== what is believed =====

const AUTHORITY: &str = "https://authority.example.no/";

fn client(transport: maskinporten::Transport, authority: &str) -> MaskinportenClient {
    let jwk = include_str!("../vectors/keys/rsa-2048.jwk.json");
    MaskinportenClient::builder()
        .settings(MaskinportenSettings::new(authority, "our-client").with_jwk(jwk))
        .transport(transport)
        .clock(TokioClock::starting_at(std::time::UNIX_EPOCH))
        .build()
        .unwrap()
}

/// A client whose authority publishes `document`, and what it sent for its first token.
async fn first_token(document: Value) -> (Result<maskinporten::AccessToken>, Wire) {
    let wire = Wire::default();
    let transport = wire.answering(move |request| match request.method().as_str() {
        "GET" => wire::answer(200, document.to_string()),
        _ => wire::token("opaque"),
    });
    let outcome = client(transport, AUTHORITY).access_token(["a:read"]).await;
    (outcome, wire)
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_not_the_authority_is_refused_and_sent_nothing() {
    for issuer in [
        json!(null),
        json!(""),
        json!("  "),
        json!("https://authority.example.no"),
        json!("https://authority.example.no/other/"),
        json!("https://evil.example/"),
    ] {
        let endpoint = format!("{AUTHORITY}token");
        let document = json!({ "issuer": issuer, "token_endpoint": endpoint });
        let (outcome, wire) = first_token(document).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{issuer}");
        assert!(error.hint().unwrap().contains("last slash"), "{error}");
        assert!(wire.assertions().is_empty(), "{issuer}");
        // Asking again would not help, so nobody is asked again.
        assert_eq!(wire.sent().len(), 1, "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_of_another_origin_is_refused_and_sent_nothing() {
    for endpoint in [
        "https://evil.example/token",
        "http://authority.example.no/token",
        "https://authority.example.no:8443/token",
        "https://authority.example.no@evil.example/token",
        "https://authority.example.no.evil.example/token",
    ] {
        let document = json!({ "issuer": AUTHORITY, "token_endpoint": endpoint });
        let (outcome, wire) = first_token(document).await;
        assert_eq!(
            outcome.unwrap_err().kind(),
            ErrorKind::Protocol,
            "{endpoint}"
        );
        assert!(wire.assertions().is_empty(), "{endpoint}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_endpoint_is_the_one_that_is_published() {
    let endpoint = "https://authority.example.no/oauth/v2/token";
    let document = json!({ "issuer": AUTHORITY, "token_endpoint": endpoint });
    let (outcome, wire) = first_token(document).await;
    outcome.unwrap();
    assert_eq!(wire.urls().last().unwrap(), endpoint);
    assert_eq!(wire.assertions()[0].claims["aud"], AUTHORITY);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_document_is_a_typed_error_and_no_guess() {
    for (status, body) in [
        (200, "<html>".to_owned()),
        (200, String::new()),
        (200, "[]".to_owned()),
        (200, "{}".to_owned()),
        (200, " ".repeat(1024 * 1024)),
        (404, String::new()),
        (302, String::new()),
        (503, String::new()),
    ] {
        let wire = Wire::default();
        let transport = wire.answering(move |_| wire::answer(status, body.clone()));
        let error = client(transport, AUTHORITY)
            .access_token(["a:read"])
            .await
            .unwrap_err();
        let kind = if status == 503 {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Protocol
        };
        assert_eq!(error.kind(), kind, "{status} {error}");
        assert!(error.hint().is_some(), "{status} {error}");
        assert!(wire.assertions().is_empty(), "{status}");
    }
}

// ===== who is asked =====

#[tokio::test(start_paused = true)]
async fn known_environments_are_not_asked() {
    for (authority, endpoint) in [
        ("prod", "https://maskinporten.no/token"),
        ("test", "https://test.maskinporten.no/token"),
        ("dev", "https://maskinporten.dev/token"),
    ] {
        let wire = Wire::default();
        let transport = wire.answering(|_| wire::token("opaque"));
        client(transport, authority)
            .access_token(["a:read"])
            .await
            .unwrap();
        assert_eq!(wire.urls(), [endpoint]);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_of_two_authorities_share_nothing() {
    let (one, other) = (
        Sim::new(),
        Sim::builder().issuer("https://other.example.no/").build(),
    );
    let tokens = join_all([&one, &other].map(|sim| async {
        let registered = sim.new_client(["a:read"]);
        let client = world::client(sim, &registered);
        client.access_token(["a:read"]).await.unwrap()
    }))
    .await;
    assert_ne!(tokens[0].expose(), tokens[1].expose());
    for sim in [&one, &other] {
        assert_eq!((asked(sim), sim.journal().grants()), (1, 1));
        let journal = sim.journal();
        let grant = journal.requests(Route::Token).next().unwrap();
        assert_eq!(grant.assertion_claims().unwrap()["aud"], sim.issuer());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pinned_token_endpoint_is_used_and_nobody_is_asked_for_metadata() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:b"]);
    let wire = Wire::default();
    let builder = || world::builder(&sim, &registered).transport(wire.to(&sim));

    // Of another origin than its issuer, which no metadata could say.
    let elsewhere = "https://tokens.example.no/token";
    let client = builder().token_endpoint(elsewhere).build().unwrap();
    client.access_token(["a:b"]).await.unwrap();

    assert_eq!(wire.urls(), [elsewhere]);
    let entries = sim.journal();
    let claims = entries.entries()[0].assertion_claims().unwrap();
    assert_eq!(claims["aud"], json!(sim.issuer()));

    for no_address in ["", "/token", "tokens.example.no/token"] {
        let error = builder().token_endpoint(no_address).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{no_address}");
    }
    let insecure = builder().token_endpoint("http://tokens.example.no/token");
    let error = insecure.build().unwrap().access_token(["a:b"]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Settings);
}

#[test]
fn a_pinned_token_endpoint_is_of_the_authoritys_own_environment() {
    #[track_caller]
    fn check(authority: &str, endpoint: &str, told: Option<&str>) {
        let pinned_by_code = MaskinportenClient::builder()
            .settings(MaskinportenSettings::new(authority, "our-client").with_jwk(JWK))
            .token_endpoint(endpoint)
            .build();
        let mut settings = MaskinportenSettings::new(authority, "our-client").with_jwk(JWK);
        settings.token_endpoint = Some(endpoint.to_owned());
        for outcome in [pinned_by_code, MaskinportenClient::from_settings(settings)] {
            let Some(told) = told else {
                outcome.unwrap();
                continue;
            };
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(told), "{error}");
        }
    }
    let (test, prod) = (
        "https://test.maskinporten.no/token",
        "https://maskinporten.no/token",
    );
    check("test", test, None);
    check("prod", prod, None);
    check("test", "https://tokens.example.no/token", None);
    check(
        "https://idp.example.no",
        "https://tokens.example.no/token",
        None,
    );
    check("test", prod, Some("of test and the token endpoint of prod"));
    check("prod", test, Some("of prod and the token endpoint of test"));
    check("https://idp.example.no", prod, Some("none of Digdir's"));
}
