//! What an authority publishes about itself: asked for once, believed narrowly, kept long.
//!
//! Parity vector 7 of the .NET reference, by our rules: it guesses an audience where the metadata
//! cannot be read, and we share the error instead.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use maskinporten::{
    ErrorKind, MaskinportenClient, MaskinportenSettings, Platform, Result, TokioClock,
};
use maskinporten_sim::{Fault, Route, Sim, SimClient, SimServer};
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

// ===== the address that is given =====

/// A client of the variables that nais sets, with these for the authority.
fn platform_of_nais(variables: &[(&str, &str)]) -> Platform {
    let client = [
        ("MASKINPORTEN_CLIENT_ID", "our-client"),
        ("MASKINPORTEN_CLIENT_JWK", JWK),
    ];
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let variables = client.iter().chain(variables).map(owned);
    Platform::new(variables).with_root("/no/such/root")
}

fn described_on_nais(variables: &[(&str, &str)]) -> String {
    let credentials = platform_of_nais(variables).credentials().unwrap();
    credentials.describe().to_string()
}

fn on_nais(
    transport: maskinporten::Transport,
    variables: &[(&str, &str)],
) -> Result<MaskinportenClient> {
    MaskinportenClient::builder()
        .credentials(platform_of_nais(variables).credentials()?)
        .transport(transport)
        .clock(TokioClock::starting_at(std::time::UNIX_EPOCH))
        .build()
}

/// Publishes an issuer at exactly one address, and tokens below that issuer's host.
fn publishing(wire: &Wire, address: &str, issuer: &str) -> maskinporten::Transport {
    let address: http::Uri = address.parse().unwrap();
    let endpoint = format!("https://{}/oauth/token", address.host().unwrap());
    let document = json!({ "issuer": issuer, "token_endpoint": endpoint }).to_string();
    wire.answering(move |request| match request.method().as_str() {
        "POST" => wire::token("opaque"),
        _ if *request.uri() == address => wire::answer(200, document.clone()),
        _ => wire::answer(404, ""),
    })
}

#[tokio::test]
async fn the_simulator_is_asked_at_the_address_that_is_given() {
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(["a:b"]);
    let document = format!(
        "{}.well-known/oauth-authorization-server",
        server.sim().issuer()
    );
    for address in [document.clone(), format!("{document}/")] {
        let variables = [
            ("MASKINPORTEN_CLIENT_ID", registered.client_id().to_owned()),
            (
                "MASKINPORTEN_CLIENT_JWK",
                registered.private_jwk().to_string(),
            ),
            ("MASKINPORTEN_WELL_KNOWN_URL", address.clone()),
        ];
        let variables = variables.map(|(name, text)| (name.to_owned(), text));
        let platform = Platform::new(variables).with_root("/no/such/root");
        let client = MaskinportenClient::of_platform(&platform).unwrap();
        client.access_token(["a:b"]).await.unwrap();
        let journal = server.sim().journal();
        let grant = journal.requests(Route::Token).last().unwrap();
        let claims = grant.assertion_claims().unwrap();
        assert_eq!(claims["aud"], server.sim().issuer(), "{address}");
    }
    assert_eq!(asked(server.sim()), 2);
}

#[tokio::test(start_paused = true)]
async fn the_issuer_is_the_one_in_the_metadata_where_it_fits_the_address() {
    #[track_caller]
    fn check(address: &'static str, issuer: &'static str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let wire = Wire::default();
            let transport = publishing(&wire, address, issuer);
            let client = on_nais(transport, &[("MASKINPORTEN_WELL_KNOWN_URL", address)]).unwrap();
            for _ in 0..2 {
                let token = client.access_token(["a:b"]).await;
                token.unwrap_or_else(|error| panic!("{caller}: {error}"));
            }
            // One reading, one grant, and the second token is the first one.
            let endpoint = "https://idp.example.no/oauth/token";
            assert_eq!(wire.urls(), [address, endpoint], "{caller}");
            assert_eq!(wire.assertions()[0].claims["aud"], issuer, "{caller}");
        }
    }
    check(
        "https://idp.example.no/.well-known/openid-configuration",
        "https://idp.example.no",
    )
    .await;
    check(
        "https://idp.example.no/.well-known/oauth-authorization-server/",
        "https://idp.example.no/",
    )
    .await;
    check(
        "https://idp.example.no/mp/.well-known/openid-configuration",
        "https://idp.example.no/mp/",
    )
    .await;
    // RFC 8414 §3.1: the document's name stands before the path of the issuer.
    check(
        "https://idp.example.no/.well-known/oauth-authorization-server/realms/mp",
        "https://idp.example.no/realms/mp",
    )
    .await;
    check(
        "https://idp.example.no/.well-known/other-document/mp/",
        "https://idp.example.no/mp",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_fit_the_address_is_refused_and_sent_nothing() {
    let root = "https://idp.example.no/.well-known/openid-configuration";
    let below = "https://idp.example.no/mp/.well-known/openid-configuration";
    let infix = "https://idp.example.no/.well-known/oauth-authorization-server/mp";
    for (address, issuer) in [
        (root, "https://evil.example/"),
        (root, "https://maskinporten.no/"),
        (root, "http://idp.example.no/"),
        (root, "https://idp.example.no:8443/"),
        (root, "https://idp.example.no@evil.example/"),
        (root, "https://idp.example.no/mp"),
        (root, "https://idp.example.no/?a=b"),
        (root, "https://idp.example.no/#a"),
        (root, "idp.example.no"),
        (root, " https://idp.example.no/"),
        (root, ""),
        (root, root),
        (below, "https://idp.example.no/"),
        (below, "https://idp.example.no/mp2"),
        (below, "https://idp.example.no/MP"),
        (infix, "https://idp.example.no/"),
        (infix, "https://idp.example.no/m"),
        (infix, "https://idp.example.no/.well-known/mp"),
    ] {
        let wire = Wire::default();
        let transport = publishing(&wire, address, issuer);
        let client = on_nais(transport, &[("MASKINPORTEN_WELL_KNOWN_URL", address)]).unwrap();
        let error = client.access_token(["a:b"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{issuer}");
        assert!(error.to_string().contains(address), "{error}");
        assert!(error.to_string().contains(issuer.trim()), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("MASKINPORTEN_WELL_KNOWN_URL"), "{hint}");
        // An issuer is never adopted from a document of another origin.
        let is_here = issuer.trim().parse::<http::Uri>().is_ok_and(|found| {
            found.scheme_str() == Some("https") && found.authority().unwrap() == "idp.example.no"
        });
        let adopts = hint.contains("set MASKINPORTEN_ISSUER");
        assert!(is_here || !adopts, "{issuer}: {hint}");
        // Asking again would not help, so nobody is asked again.
        assert_eq!(wire.urls(), [address], "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_given_too_is_the_one_in_the_metadata() {
    let address = "https://idp.example.no/configuration/mp.json";
    let given = |issuer: &'static str| {
        [
            ("MASKINPORTEN_ISSUER", issuer),
            ("MASKINPORTEN_WELL_KNOWN_URL", address),
        ]
    };
    let issuer = "https://idp.example.no/mp";
    let wire = Wire::default();
    let client = on_nais(publishing(&wire, address, issuer), &given(issuer)).unwrap();
    client.access_token(["a:b"]).await.unwrap();
    assert_eq!(wire.urls()[0], address);
    assert_eq!(wire.assertions()[0].claims["aud"], issuer);

    let wire = Wire::default();
    let transport = publishing(&wire, address, "https://idp.example.no/mp/");
    let client = on_nais(transport, &given(issuer)).unwrap();
    let error = client.access_token(["a:b"]).await.unwrap_err();
    assert!(error.to_string().contains("last slash only"), "{error}");
    assert!(wire.assertions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn issuer_and_address_have_one_origin() {
    let document = "/.well-known/oauth-authorization-server";
    for (issuer, host) in [
        ("test", "https://maskinporten.no"),
        ("https://maskinporten.no/", "https://test.maskinporten.no"),
        ("https://idp.example.no/", "https://idp.example.no:8443"),
        ("https://idp.example.no/", "https://evil.example"),
    ] {
        let wire = Wire::default();
        let address = format!("{host}{document}");
        let given = [
            ("MASKINPORTEN_ISSUER", issuer),
            ("MASKINPORTEN_WELL_KNOWN_URL", &*address),
        ];
        let error = on_nais(publishing(&wire, &address, issuer), &given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
        for word in ["MASKINPORTEN_WELL_KNOWN_URL", "origin", &*address] {
            assert!(error.to_string().contains(word), "{word} in {error}");
        }
        assert!(wire.sent().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_not_asked_is_ignored_with_a_warning() {
    let elsewhere = "https://elsewhere.example.no/.well-known/oauth-authorization-server";
    let here = "http://127.0.0.1:7911/.well-known/oauth-authorization-server";
    for (issuer, endpoint, address, grants_go_to) in [
        (
            "http://localhost:7911/",
            Some("http://127.0.0.1:7911/token"),
            here,
            "http://127.0.0.1:7911/token",
        ),
        (
            "https://idp.example.no/",
            Some("https://tokens.example.no/token"),
            elsewhere,
            "https://tokens.example.no/token",
        ),
        (
            "test",
            None,
            elsewhere,
            "https://test.maskinporten.no/token",
        ),
    ] {
        let mut given = vec![
            ("MASKINPORTEN_ISSUER", issuer),
            ("MASKINPORTEN_WELL_KNOWN_URL", address),
        ];
        given.extend(endpoint.map(|endpoint| ("MASKINPORTEN_TOKEN_ENDPOINT", endpoint)));
        let told = described_on_nais(&given);
        let note =
            "found and not used: MASKINPORTEN_WELL_KNOWN_URL (of another origin than the issuer)";
        assert!(told.contains(note), "{told}");
        let wire = Wire::default();
        let transport = wire.answering(|_| wire::token("opaque"));
        let client = on_nais(transport, &given).unwrap();
        client.access_token(["a:b"]).await.unwrap();
        assert_eq!(wire.urls(), [grants_go_to]);
    }
    let same = "https://idp.example.no/.well-known/openid-configuration";
    let told = described_on_nais(&[
        ("MASKINPORTEN_ISSUER", "https://idp.example.no/"),
        ("MASKINPORTEN_WELL_KNOWN_URL", same),
        (
            "MASKINPORTEN_TOKEN_ENDPOINT",
            "https://tokens.example.no/token",
        ),
    ]);
    assert!(!told.contains("not used"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_known_environment_is_not_asked_wherever_its_metadata_is() {
    for host in ["https://test.maskinporten.no", "https://maskinporten.no"] {
        let issuer = format!("{host}/");
        let endpoint = format!("{host}/token");
        for document in [
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/",
            "/.well-known/openid-configuration",
        ] {
            let address = format!("{host}{document}");
            let alone = [("MASKINPORTEN_WELL_KNOWN_URL", &*address)];
            let all = [
                ("MASKINPORTEN_WELL_KNOWN_URL", &*address),
                ("MASKINPORTEN_ISSUER", &*issuer),
                ("MASKINPORTEN_TOKEN_ENDPOINT", &*endpoint),
            ];
            for given in [&alone[..], &all[..]] {
                let wire = Wire::default();
                let transport = wire.answering(|_| wire::token("opaque"));
                let client = on_nais(transport, given).unwrap();
                client.access_token(["a:b"]).await.unwrap();
                assert_eq!(wire.urls(), [&*endpoint], "{address}");
                assert_eq!(wire.assertions()[0].claims["aud"], *issuer);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_pinned_token_endpoint_the_metadata_is_read_for_its_issuer() {
    let address = "https://idp.example.no/.well-known/openid-configuration";
    let elsewhere = "https://tokens.example.no/token";
    let wire = Wire::default();
    let given = [
        ("MASKINPORTEN_WELL_KNOWN_URL", address),
        ("MASKINPORTEN_TOKEN_ENDPOINT", elsewhere),
    ];
    let transport = publishing(&wire, address, "https://idp.example.no");
    let client = on_nais(transport, &given).unwrap();
    client.access_token(["a:b"]).await.unwrap();
    assert_eq!(wire.urls(), [address, elsewhere]);
    assert_eq!(wire.assertions()[0].claims["aud"], "https://idp.example.no");
}

#[test]
fn an_address_that_tells_of_no_issuer_is_refused_by_name() {
    for (address, why) in [
        ("https://idp.example.no/", "no document below /.well-known/"),
        (
            "https://idp.example.no/.well-known/",
            "no document below /.well-known/",
        ),
        (
            "https://idp.example.no/a/.well-known/b/c",
            "one path stands before /.well-known/ and another behind the document's name",
        ),
        (
            "https://idp.example.no/.well-known/a/.well-known/b",
            "has /.well-known twice",
        ),
        ("https://idp.example.no/.well-known/x?hush=1", "a query"),
        (
            "https://user:hush@idp.example.no/.well-known/x",
            "user name",
        ),
        ("http://idp.example.no/.well-known/x", "plain http"),
        ("idp.example.no/.well-known/x", "no URL"),
        ("test", "no URL"),
        (
            "https://ver2.maskinporten.no/.well-known/oauth-authorization-server",
            "closed in June 2024",
        ),
    ] {
        let transport = Wire::default().answering(|_| wire::answer(404, ""));
        let given = [("MASKINPORTEN_WELL_KNOWN_URL", address)];
        let error = on_nais(transport, &given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
        for word in ["MASKINPORTEN_WELL_KNOWN_URL", why] {
            assert!(error.to_string().contains(word), "{word} in {error}");
        }
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
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
