//! Tokens of a sidecar, kept and used as those of a signed grant are.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use maskinporten::{
    AltinnSettings, Credentials, Environment, ErrorKind, MaskinportenClient, Platform, Sidecar,
    SystemUser, TokenRequest, TokioClock, Transport,
};
use maskinporten_sim::{Body, Fault, Route, Sim};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_maskinporten::MaskinportenAuthLayer;

use crate::world::SCOPES;

fn client_of(sim: &Sim) -> MaskinportenClient {
    let sidecar = Sidecar::new(&sim.sidecar_endpoint()).unwrap();
    MaskinportenClient::builder()
        .credentials(Credentials::from(sidecar))
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}

fn world() -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    sim.new_client(SCOPES);
    let client = client_of(&sim);
    (sim, client)
}

/// What the sidecar was asked, in order.
fn asked(sim: &Sim) -> Vec<Value> {
    let journal = sim.journal();
    let asked = journal.requests(Route::Sidecar);
    asked.map(|entry| entry.asked().unwrap().clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_ask_the_sidecar_once() {
    let (sim, client) = world();
    let calls = (0..1_000).map(|_| client.altinn_token(SCOPES));
    let tokens = join_all(calls).await;
    assert!(tokens.iter().all(Result::is_ok));
    client.access_token(SCOPES).await.unwrap();
    let journal = sim.journal();
    assert_eq!((journal.sidecar_requests(), journal.exchanges()), (1, 1));
    let entry = journal.requests(Route::Sidecar).next().unwrap();
    assert_eq!(entry.method(), Method::POST);
    assert_eq!(entry.header("content-type"), Some("application/json"));
    let expected = json!({ "identity_provider": "maskinporten", "target": SCOPES[0] });
    assert_eq!(asked(&sim), [expected]);
}

#[tokio::test(start_paused = true)]
async fn what_a_request_asks_for_is_passed_on() {
    let (sim, client) = world();
    let request = TokenRequest::scopes(SCOPES).unwrap();
    let request = request
        .resource("https://api.example.no")
        .unwrap()
        .system_user(SystemUser::new("991825827").unwrap());
    // Whether the world lets them have it is not the matter.
    let _ = client.access_token(request).await;
    let asked = &asked(&sim)[0];
    assert_eq!(asked["resource"], "https://api.example.no");
    let details = asked["authorization_details"].as_array().unwrap();
    assert_eq!(details.len(), 1);
    assert!(asked.get("skip_cache").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_no_sidecar_gives_is_refused_before_anything_is_sent() {
    let (sim, client) = world();
    let scopes = || TokenRequest::scopes(SCOPES).unwrap();
    let behalf = scopes().consumer_org("991825827").unwrap();
    let two = scopes()
        .resource("https://a.example.no")
        .unwrap()
        .resource("https://b.example.no")
        .unwrap();
    for (request, told) in [
        (behalf.clone(), "on behalf of an organisation"),
        (two, "more than one resource"),
    ] {
        let error = client.access_token(request.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.hint().unwrap().contains("MASKINPORTEN_SOURCE=direct"));
        client.altinn_token(request).await.unwrap_err();
    }
    assert!(MaskinportenAuthLayer::new(&client, behalf, "https://api.example.no").is_err());
    assert_eq!(sim.journal().entries().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn its_memory_is_passed_over_after_a_rejected_token_and_only_then() {
    let (sim, client) = world();
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, sim.altinn_platform()).unwrap();
    // A body that can be sent twice.
    let api = sim.clone();
    let service = service_fn(move |request: Request<&'static str>| {
        api.clone().oneshot(request.map(Body::from))
    });
    let service = layer.replay_on_unauthorized().layer(service);
    let call = || {
        let request = Request::get(sim.api_url()).body("").unwrap();
        let answer = service.clone().oneshot(request);
        async { answer.await.unwrap().status() }
    };
    let skipped = || -> Vec<bool> {
        let asked = asked(&sim);
        let skipped = asked.iter().map(|asked| asked["skip_cache"] == json!(true));
        skipped.collect()
    };
    assert_eq!(call().await, StatusCode::OK);
    // Another client of this machine finds the token in the sidecar's memory.
    let neighbour = client_of(&sim);
    let token = neighbour.access_token(SCOPES).await.unwrap();
    assert_eq!(
        token.expose(),
        client.access_token(SCOPES).await.unwrap().expose()
    );
    assert_eq!(skipped(), [false, false]);

    sim.revoke_all();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(call().await, StatusCode::OK, "replayed with another token");
    assert_eq!(skipped(), [false, false, true]);

    // The next renewal asks as ever.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(call().await, StatusCode::OK);
    assert_eq!(skipped(), [false, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_had_anew_is_asked_for_anew_again() {
    let (sim, client) = world();
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, sim.altinn_platform()).unwrap();
    let service = layer.layer(sim.clone());
    let call = || {
        let request = Request::get(sim.api_url()).body(Body::empty()).unwrap();
        let answer = service.clone().oneshot(request);
        async { answer.await.unwrap().status() }
    };
    assert_eq!(call().await, StatusCode::OK);
    sim.revoke_all();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.fault(
        Route::Sidecar,
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(1),
    );
    assert_eq!(call().await, StatusCode::UNAUTHORIZED);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(call().await, StatusCode::OK);
    let skipped = asked(&sim)
        .iter()
        .filter(|asked| asked["skip_cache"] == json!(true))
        .count();
    assert_eq!(skipped, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_sidecars_own_and_says_who_mends_it() {
    let (_, client) = world();
    let error = client.access_token(["no:such"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ScopeRejected);
    assert_eq!(error.oauth_error(), Some("invalid_scope"));
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_sidecar_that_is_down_is_told_of_at_once() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}/api/v1/token");
    let platform = Platform::new([("NAIS_TOKEN_ENDPOINT".to_owned(), url.clone())]);
    let client = MaskinportenClient::of_platform(&platform).unwrap();
    let started = Instant::now();
    let error = client.access_token(SCOPES).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(2_500));
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.is_transient());
    assert_eq!(error.endpoint(), Some(&*url));
    assert!(error.hint().unwrap().contains("NAIS_TOKEN_ENDPOINT"));
}

#[test]
fn its_environment_follows_from_the_authority_beside_it() {
    let of = |vars: &[(&str, &str)]| {
        let vars = vars
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let platform = Platform::new(vars).with_root("/no/such/root");
        let credentials = platform.credentials().unwrap();
        (
            credentials.environment().unwrap(),
            credentials.describe().to_string(),
        )
    };
    let endpoint = ("NAIS_TOKEN_ENDPOINT", "http://localhost:3000/api/v1/token");
    assert_eq!(of(&[endpoint]).0, None);
    let issuer = ("MASKINPORTEN_ISSUER", "https://test.maskinporten.no/");
    let (environment, told) = of(&[endpoint, issuer]);
    assert_eq!(environment, Some(Environment::Test));
    assert!(
        told.starts_with("sidecar http://localhost:3000/api/v1/token (test)"),
        "{told}"
    );
    let well_known = (
        "MASKINPORTEN_WELL_KNOWN_URL",
        "https://maskinporten.no/.well-known/oauth-authorization-server",
    );
    assert_eq!(of(&[endpoint, well_known]).0, Some(Environment::Production));
}
