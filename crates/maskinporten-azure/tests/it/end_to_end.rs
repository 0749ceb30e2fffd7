//! From a vault to an authorised request: the engine, a layer and a Maskinporten to judge them.

use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use maskinporten::{
    Credentials, MaskinportenClient, MaskinportenSettings, SettingsFile, SettingsSources,
};
use maskinporten_azure::{KeyVaultSettings, KeyVaultSigner};
use maskinporten_sim::{Body, Route, Sim, SimClient, SimServer};
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_maskinporten::MaskinportenAuthLayer;

use crate::azure::{Azure, Fault};

/// Many times what any of these takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn store(azure: &Azure, client: &SimClient) {
    let settings = &client.settings_json()["MaskinportenSettings"];
    let authority = settings["Authority"].as_str().unwrap();
    azure.set("myapp--MaskinportenSettings--Authority", authority);
    azure.set("myapp--MaskinportenSettings--ClientId", client.client_id());
    azure.set(
        "myapp--MaskinportenSettings--JwkBase64",
        &client.jwk_base64(),
    );
}

fn settings(azure: &Azure) -> KeyVaultSettings {
    KeyVaultSettings::new(&azure.vault()).with_section("myapp:MaskinportenSettings")
}

async fn client(sources: impl Into<SettingsSources>) -> MaskinportenClient {
    let credentials = Credentials::load(sources).await.unwrap();
    let builder = MaskinportenClient::builder().credentials(credentials);
    builder.build().unwrap()
}

/// One request through a layer to the API that wants the token.
async fn call(client: &MaskinportenClient, sim: &Sim) -> StatusCode {
    let origin = sim.altinn_platform();
    let layer = MaskinportenAuthLayer::new(client, ["a:read"], &*origin).unwrap();
    let service = layer.layer(sim.clone());
    let request = Request::get(sim.api_url()).body(Body::empty()).unwrap();
    let response = service.oneshot(request).await;
    response.map(|response| response.status()).unwrap()
}

/// The key that the last assertion named.
fn last_kid(sim: &Sim) -> String {
    let journal = sim.journal();
    let last = journal.requests(Route::Token).last().unwrap();
    let kid = &last.assertion_header().unwrap()["kid"];
    kid.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn secrets_of_a_vault_authorise_a_request() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    let registered = server.sim().new_client(["a:read"]);
    store(&azure, &registered);
    let client = client(settings(&azure)).await;
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
    assert_eq!(last_kid(server.sim()), registered.kid());
}

#[tokio::test]
async fn a_jwk_stored_member_by_member_authorises_a_request() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    let registered = server.sim().new_client(["a:read"]);
    store(&azure, &registered);
    azure
        .state()
        .secrets
        .remove("myapp--MaskinportenSettings--JwkBase64");
    let Value::Object(members) = registered.private_jwk() else {
        panic!("a JWK is an object")
    };
    for (name, value) in members {
        let name = format!("MyApp--MaskinportenSettings--Jwk--{name}");
        azure.set(&name, value.as_str().unwrap());
    }
    let client = client(settings(&azure)).await;
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
}

#[tokio::test]
async fn a_key_in_a_vault_authorises_a_request() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    azure.add_key("our-key");
    let signer = KeyVaultSigner::connect(&azure.vault(), "our-key")
        .await
        .unwrap();
    let registered = server.sim().new_client(["a:read"]);
    let jwk = serde_json::from_str(&signer.public_jwk()).unwrap();
    server.sim().add_key(registered.client_id(), jwk).unwrap();

    let settings = MaskinportenSettings::new(server.sim().issuer(), registered.client_id());
    let kid = signer.kid().to_owned();
    let client = MaskinportenClient::from_settings(settings.with_signer(signer)).unwrap();
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
    assert_eq!(last_kid(server.sim()), kid);
}

#[tokio::test]
async fn the_previous_version_signs_where_the_new_one_is_not_registered_yet() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    let version = azure.add_key("our-key");
    azure.add_key("our-key");
    let vault = azure.vault();
    let new = KeyVaultSigner::connect(&vault, "our-key").await.unwrap();
    let previous = KeyVaultSigner::builder(&vault, "our-key").version(version);
    let previous = previous.connect().await.unwrap();
    let registered = server.sim().new_client(["a:read"]);
    let jwk = serde_json::from_str(&previous.public_jwk()).unwrap();
    server.sim().add_key(registered.client_id(), jwk).unwrap();

    let settings = MaskinportenSettings::new(server.sim().issuer(), registered.client_id());
    let settings = settings.with_signer(new).with_signer(previous.clone());
    let client = MaskinportenClient::from_settings(settings).unwrap();
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
    assert_eq!(last_kid(server.sim()), previous.kid());
}

#[tokio::test]
async fn a_vault_that_fails_for_a_moment_costs_no_request() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    azure.add_key("our-key");
    let signer = KeyVaultSigner::connect(&azure.vault(), "our-key")
        .await
        .unwrap();
    let registered = server.sim().new_client(["a:read"]);
    let jwk = serde_json::from_str(&signer.public_jwk()).unwrap();
    server.sim().add_key(registered.client_id(), jwk).unwrap();
    let settings = MaskinportenSettings::new(server.sim().issuer(), registered.client_id());
    let client = MaskinportenClient::from_settings(settings.with_signer(signer)).unwrap();
    azure.fault("/sign", Fault::RetryAfter(429, "1"), 1);
    azure.fault("/sign", Fault::Status(500, "Trouble"), 2);
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
}

#[tokio::test]
async fn a_rotated_secret_is_signed_with_and_no_request_fails_meanwhile() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    let first = server.sim().new_client(["a:read"]);
    store(&azure, &first);
    let client = client(settings(&azure).with_interval(Duration::from_millis(200))).await;
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
    // A look that fails changes nothing.
    azure.fault("/secrets", Fault::Status(403, "ForbiddenByRbac"), 2);

    let second = first.rotate_key().unwrap();
    let name = "myapp--MaskinportenSettings--JwkBase64";
    azure.set(name, &second.jwk_base64());
    let start = Instant::now();
    while last_kid(server.sim()) != second.kid() {
        assert!(start.elapsed() < PATIENCE, "the new key is not used");
        client.invalidate_all();
        assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // From here on the old key may go.
    server.sim().remove_key(first.client_id(), first.kid());
    client.invalidate_all();
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
}

#[tokio::test]
async fn whatever_a_look_meets_the_client_goes_on_and_tells() {
    let looks = [
        (Fault::Status(503, "Trouble"), "cannot list its secrets now"),
        (Fault::RetryAfter(429, "60"), "60s"),
        (
            Fault::Status(403, "ForbiddenByRbac"),
            "Key Vault Secrets User",
        ),
        (Fault::Silence, "did not show its settings within"),
        (
            Fault::Latency(Duration::from_secs(2)),
            "did not show its settings within",
        ),
        (Fault::Truncated, "was not reached"),
    ];
    futures_util::future::join_all(looks.map(|(fault, told)| goes_on(fault, told))).await;
}

/// From the first look that meets `fault` until the first that does not.
async fn goes_on(fault: Fault, told: &str) {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    let registered = server.sim().new_client(["a:read"]);
    store(&azure, &registered);
    let settings = settings(&azure)
        .with_interval(Duration::from_millis(200))
        .with_deadline(Duration::from_secs(1));
    let client = client(settings).await;
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);

    azure.fault("/secrets", fault.clone(), u32::MAX);
    let trouble = || client.health().settings_error;
    let start = Instant::now();
    let told_of = || trouble().is_some_and(|error| error.to_string().contains(told));
    while !told_of() {
        let trouble = trouble();
        assert!(start.elapsed() < PATIENCE, "{fault:?}: {told}: {trouble:?}");
        client.invalidate_all();
        assert_eq!(
            call(&client, server.sim()).await,
            StatusCode::OK,
            "{fault:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    azure.state().faults.clear();
    while trouble().is_some() {
        assert!(start.elapsed() < PATIENCE * 2, "{fault:?} is over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.invalidate_all();
    assert_eq!(call(&client, server.sim()).await, StatusCode::OK);
}

#[tokio::test]
async fn a_vault_listed_last_comes_on_top_as_long_as_it_is_complete() {
    let (azure, server) = (Azure::start().await, SimServer::start().await.unwrap());
    let [mounted, stored] = [(); 2].map(|()| server.sim().new_client(["a:read"]));
    store(&azure, &stored);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), mounted.settings_json().to_string()).unwrap();
    let sources = || {
        SettingsSources::new()
            .with(SettingsFile::new(file.path()))
            .with(settings(&azure))
    };

    let credentials = Credentials::load(sources()).await.unwrap();
    assert_eq!(
        credentials.settings().unwrap().client_id,
        stored.client_id()
    );
    azure
        .state()
        .secrets
        .remove("myapp--MaskinportenSettings--ClientId");
    let credentials = Credentials::load(sources()).await.unwrap();
    assert_eq!(
        credentials.settings().unwrap().client_id,
        mounted.client_id()
    );
    let told = credentials.describe().to_string();
    let lacks = "key vault https://myvault.vault.azure.net, section myapp:MaskinportenSettings: lacks \
                 myapp--MaskinportenSettings--ClientId";
    assert!(told.contains(lacks), "{told}");
}

#[tokio::test]
async fn a_vault_that_does_not_answer_at_start_is_an_error_and_not_another_client() {
    let azure = Azure::start().await;
    azure.fault("/secrets", Fault::RetryAfter(503, "60"), u32::MAX);
    let error = Credentials::load(settings(&azure)).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("60s"), "{error}");
}
