//! Settings of the .NET package Altinn.ApiClients.Maskinporten, used as they stand.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use maskinporten::{
    Environment, ErrorKind, LegacyKey, LegacySettings, MaskinportenClient, Scope, ScopeSet, Secret,
    SystemUser, TokenRequest, TokioClock,
};
use maskinporten_sim::{Body, Route, Sim, SimClient};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tower::{Layer, ServiceExt, service_fn};
use tower_maskinporten::LegacyAuthLayer;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::util::SubscriberInitExt;

use crate::child;
use crate::wire::Wire;
use crate::world::{A, API, B, Recorder, get, kind_of};

/// The section that Altinn's guide reads.
const SECTION: &str = "Maskinporten-Config-Path";

const SCOPE: &str = "altinn:serviceowner/instances.read";

/// A world that is test's, as the settings can name no other.
fn world() -> (Sim, SimClient) {
    let sim = Sim::builder()
        .issuer("https://test.maskinporten.no/")
        .build();
    let registered = sim.new_client([SCOPE, "altinn:serviceowner", "krr:read"]);
    (sim, registered)
}

/// The least there is to say, and what `more` says.
fn appsettings(registered: &SimClient, more: Value) -> Value {
    let mut settings = json!({
        "Environment": "test",
        "ClientId": registered.client_id(),
        "EncodedJwk": registered.jwk_base64(),
        "Scope": SCOPE,
    });
    let more = more.as_object().unwrap().clone();
    settings.as_object_mut().unwrap().extend(more);
    settings
}

fn legacy(registered: &SimClient, more: Value) -> LegacySettings {
    let json = json!({ SECTION: appsettings(registered, more) }).to_string();
    LegacySettings::from_json(&json, SECTION).unwrap()
}

/// A client of the settings, whose wire ends in the simulator.
fn client(sim: &Sim, legacy: &LegacySettings, wire: &Wire) -> MaskinportenClient {
    MaskinportenClient::builder()
        .legacy_settings(legacy)
        .unwrap()
        .transport(wire.to(sim))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}

// ===== the token they ask for =====

#[tokio::test(start_paused = true)]
async fn settings_of_the_package_authorise_a_request() {
    let (sim, registered) = world();
    sim.delegate("311169963", "991825827", "krr:read");
    // The same key, registered under a second name as well.
    let mut renamed = registered.public_jwk();
    renamed["kid"] = json!("second-name");
    sim.add_key(registered.client_id(), renamed).unwrap();
    let legacy = legacy(
        &registered,
        json!({
            "Scope": "krr:read",
            "Resource": "https://krr.example.no",
            "ConsumerOrgNo": "311169963",
            "Kid": "second-name",
            "EnableDebugLogging": false,
            "EnterpriseUserName": "",
        }),
    );
    let wire = Wire::default();
    let client = client(&sim, &legacy, &wire);
    let recorder = Recorder::new();
    let layer = LegacyAuthLayer::with_client(&client, &legacy, API).unwrap();

    layer.layer(recorder.clone()).oneshot(get(A)).await.unwrap();

    let journal = sim.journal();
    let grant = journal.requests(Route::Token).last().unwrap();
    assert!(grant.is_accepted(), "{grant:?}");
    assert_eq!(grant.assertion_header().unwrap()["kid"], "second-name");
    let claims = grant.assertion_claims().unwrap();
    assert_eq!(claims["iss"], registered.client_id());
    assert_eq!(claims["aud"], "https://test.maskinporten.no/");
    assert_eq!(claims["scope"], "krr:read");
    assert_eq!(claims["resource"], "https://krr.example.no");
    assert_eq!(claims["consumer_org"], "311169963");
    assert_eq!(wire.urls(), ["https://test.maskinporten.no/token"]);
    let token = client
        .header_value(legacy.token_request().unwrap())
        .await
        .unwrap();
    assert_eq!(recorder.authorizations(), [[token]]);
}

#[tokio::test(start_paused = true)]
async fn where_they_exchange_the_token_is_altinns() {
    let (sim, registered) = world();
    let legacy = legacy(
        &registered,
        json!({ "ExhangeToAltinnToken": "True", "UseAltinnTestOrg": true }),
    );
    let wire = Wire::default();
    let client = client(&sim, &legacy, &wire);
    let recorder = Recorder::new();
    let layer = LegacyAuthLayer::with_client(&client, &legacy, API).unwrap();

    layer.layer(recorder.clone()).oneshot(get(A)).await.unwrap();

    let journal = sim.journal();
    let exchange = journal.requests(Route::Exchange).last().unwrap();
    assert_eq!(exchange.issued().unwrap()["urn:altinn:org"], "ttd");
    let token = client.altinn_token([SCOPE]).await.unwrap();
    let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).unwrap();
    assert_eq!(recorder.authorizations(), [[bearer]]);
    assert_eq!(journal.exchanges(), 1);
}

#[test]
fn each_exchange_environment_is_a_host() {
    #[track_caller]
    fn check(environment: &str, exchange: Value, host: Option<&str>) {
        let (_, registered) = world();
        let mut more = json!({ "Environment": environment });
        let exchange = exchange.as_object().unwrap().clone();
        more.as_object_mut().unwrap().extend(exchange);
        let altinn = legacy(&registered, more).altinn().unwrap();
        let found = altinn.as_ref().map(|altinn| altinn.exchange_uri());
        let expected =
            host.map(|host| format!("https://{host}/authentication/api/v1/exchange/maskinporten"));
        assert_eq!(found.map(|uri| uri.to_string()), expected);
    }
    let on = |name: &str| json!({ "ExhangeToAltinnToken": true, "TokenExchangeEnvironment": name });
    check("prod", on("prod"), Some("platform.altinn.no"));
    check("prod", on(""), Some("platform.altinn.no"));
    check("test", on("tt02"), Some("platform.tt02.altinn.no"));
    check("test", on("test"), Some("platform.tt02.altinn.no"));
    check("test", on(" TT02 "), Some("platform.tt02.altinn.no"));
    for name in ["at21", "at22", "at23", "at24", "yt01"] {
        let host = format!("platform.{name}.altinn.cloud");
        check("test", on(name), Some(&host));
    }
    let corrected = json!({ "ExchangeToAltinnToken": "true" });
    check("test", corrected, Some("platform.tt02.altinn.no"));
    check("test", json!({ "TokenExchangeEnvironment": "at22" }), None);
    check("dev", json!({ "ExhangeToAltinnToken": "false" }), None);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_already_there_stays_unless_it_is_to_be_overwritten() {
    let (sim, registered) = world();
    for (overwrite, kept) in [(json!({}), true), (json!(true), false)] {
        let overwrite = match overwrite {
            Value::Bool(_) => json!({ "OverwriteAuthorizationHeader": overwrite }),
            nothing => nothing,
        };
        let legacy = legacy(&registered, overwrite);
        let client = client(&sim, &legacy, &Wire::default());
        let recorder = Recorder::new();
        let layer = LegacyAuthLayer::with_client(&client, &legacy, API).unwrap();
        let own = HeaderValue::from_static("Basic b3du");
        let mut request = get(A);
        request.headers_mut().insert(AUTHORIZATION, own.clone());

        layer
            .layer(recorder.clone())
            .oneshot(request)
            .await
            .unwrap();

        let sent = recorder.authorizations().remove(0);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0] == own, kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_sent_again_after_a_401_where_that_is_asked_for() {
    let (sim, registered) = world();
    let legacy = legacy(&registered, json!({}));
    let client = client(&sim, &legacy, &Wire::default());
    let api = format!("{}/echo", sim.api_url());
    let layer = LegacyAuthLayer::with_client(&client, &legacy, "https://test.maskinporten.no");
    let world = sim.clone();
    let http_client =
        service_fn(move |request: Request<String>| world.clone().oneshot(request.map(Body::from)));
    let service = layer.unwrap().replay_on_unauthorized().layer(http_client);
    let send = || {
        let request = Request::get(&api).body(String::new()).unwrap();
        service.clone().oneshot(request)
    };
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);

    sim.revoke_all();

    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(sim.journal().grants(), 2);
}

#[tokio::test]
async fn a_layer_of_settings_alone_sends_nothing_elsewhere() {
    let (_, registered) = world();
    let legacy = legacy(&registered, json!({}));
    let recorder = Recorder::new();
    let layer = LegacyAuthLayer::new(&legacy, API).unwrap();

    let error = layer.layer(recorder.clone()).oneshot(get(B)).await;

    assert_eq!(kind_of(&error.unwrap_err()), Some(ErrorKind::Origin));
    assert!(recorder.seen().is_empty());
    let error = LegacyAuthLayer::new(&legacy, "nowhere").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Origin);
}

// ===== addresses =====

const ENDPOINTS: &str = include_str!("../vectors/settings/package-endpoints.json");

/// The vector with a test key, and these members in place of its own.
fn endpoints(registered: &SimClient, more: Value) -> String {
    let mut settings: Value = serde_json::from_str(ENDPOINTS).unwrap();
    let section = settings["Maskinporten"].as_object_mut().unwrap();
    section["ClientId"] = registered.client_id().into();
    section["EncodedJwk"] = registered.jwk_base64().into();
    section.extend(more.as_object().unwrap().clone());
    settings.to_string()
}

#[tokio::test(start_paused = true)]
async fn settings_with_addresses_need_no_environment() {
    let sim = Sim::builder().issuer("http://127.0.0.1:5097/").build();
    let registered = sim.new_client(["krr:read", "altinn:serviceowner"]);
    sim.delegate("991825827", "991825827", "krr:read");
    let text = endpoints(&registered, json!({}));
    let legacy = LegacySettings::from_json(&text, "Maskinporten").unwrap();
    assert_eq!(legacy.environment, None);
    let altinn = legacy.altinn().unwrap().unwrap();
    let url = "http://127.0.0.1:5098/authentication/api/v1/exchange/maskinporten";
    assert_eq!(altinn.exchange_uri(), url);
    assert_eq!(legacy.consumer_org_no.as_deref(), Some("991825827"));

    let wire = Wire::default();
    let client = client(&sim, &legacy, &wire);
    client.access_token(["krr:read"]).await.unwrap();
    // The metadata is not asked for.
    assert_eq!(wire.urls(), ["http://127.0.0.1:5097/token"]);
    let journal = sim.journal();
    let grant = journal.requests(Route::Token).last().unwrap();
    assert_eq!(
        grant.assertion_claims().unwrap()["aud"],
        "http://127.0.0.1:5097/"
    );

    drop(client.altinn_token(["altinn:serviceowner"]).await);
    assert_eq!(wire.urls().last().unwrap(), url);
}

#[test]
fn each_address_takes_the_place_of_the_environments() {
    let (_, registered) = world();
    let read = |more: Value| {
        let text = endpoints(&registered, more);
        LegacySettings::from_json(&text, "Maskinporten").unwrap()
    };
    let test = |more: Value| {
        let mut all = json!({
            "Environment": "test", "TokenEndpoint": "", "AssertionAudience": null,
            "TokenExchangeEndpoint": " ",
        });
        let more = more.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        read(all)
    };
    // An empty value is not given.
    let none = test(json!({}));
    let settings = none.settings();
    assert_eq!(settings.authority, "https://test.maskinporten.no/");
    assert_eq!(settings.token_endpoint, None);
    let altinn = none.altinn().unwrap().unwrap();
    assert_eq!(
        altinn.exchange_url().host(),
        Some("platform.tt02.altinn.no")
    );

    let endpoint = "https://proxy.example.no/mp/token";
    let settings = test(json!({ "TokenEndpoint": endpoint })).settings();
    assert_eq!(settings.authority, "https://test.maskinporten.no/");
    assert_eq!(settings.token_endpoint.as_deref(), Some(endpoint));

    let issuer = "https://test.maskinporten.no";
    let settings = test(json!({ "AssertionAudience": issuer })).settings();
    assert_eq!(settings.authority, issuer);
    assert_eq!(
        settings.token_endpoint.as_deref(),
        Some("https://test.maskinporten.no/token")
    );

    let exchange = "https://gateway.example.no/altinn/exchange";
    let altinn = test(json!({ "TokenExchangeEndpoint": exchange, "UseAltinnTestOrg": true }));
    let altinn = altinn.altinn().unwrap().unwrap();
    assert_eq!(
        altinn.exchange_uri(),
        format!("{exchange}?test=true").as_str()
    );
    // It wins over the name of an Altinn.
    let both = json!({ "TokenExchangeEndpoint": exchange, "TokenExchangeEnvironment": "at22" });
    let altinn = test(both).altinn().unwrap().unwrap();
    assert_eq!(*altinn.exchange_url(), exchange);

    // Without an environment a name alone tells the Altinn, and so does a known issuer.
    let named = json!({ "TokenExchangeEndpoint": "", "TokenExchangeEnvironment": "at22" });
    let altinn = read(named).altinn().unwrap().unwrap();
    let host = altinn.exchange_url().host();
    assert_eq!(host, Some("platform.at22.altinn.cloud"));
    let known = json!({
        "TokenExchangeEndpoint": "", "TokenEndpoint": "https://maskinporten.no/token",
        "AssertionAudience": "https://maskinporten.no/",
    });
    let altinn = read(known).altinn().unwrap().unwrap();
    assert_eq!(altinn.exchange_url().host(), Some("platform.altinn.no"));
}

#[test]
fn an_address_that_cannot_be_used_is_refused() {
    let (_, registered) = world();
    #[track_caller]
    fn check(registered: &SimClient, more: Value, told: &[&str], hint: &str) {
        let text = endpoints(registered, more);
        let error = LegacySettings::from_json(&text, "Maskinporten").unwrap_err();
        let message = error.to_string();
        for told in told {
            assert!(message.contains(told), "{told}: {message}");
        }
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    let check = |more, told: &[&str], hint| check(&registered, more, told, hint);
    let names = "TokenEndpoint and AssertionAudience";
    for name in [
        "TokenEndpoint",
        "AssertionAudience",
        "TokenExchangeEndpoint",
    ] {
        let told = [&*format!("`{name}` cannot be used: "), "plain http"];
        check(json!({ name: "http://hush.example.no/" }), &told, names);
        let told = [&*format!("`{name}` cannot be used: "), "user name"];
        check(
            json!({ name: "https://user:hush@mp.example.no/" }),
            &told,
            names,
        );
        let told = [&*format!("`{name}` cannot be used: it is no URL")];
        check(json!({ name: "hush" }), &told, names);
        check(json!({ name: "/hush/token" }), &told, names);
        let told = [&*format!("`{name}` is an object, not a string")];
        check(json!({ name: { "hush": "hush" } }), &told, names);
    }
    // One of the two alone leaves the other to the environment.
    for name in ["TokenEndpoint", "AssertionAudience"] {
        check(json!({ name: "" }), &["`Environment` is missing"], names);
    }
    check(
        json!({ "AssertionAudience": "http://127.0.0.1:5097/hush/token" }),
        &["`AssertionAudience` is no issuer: it names an endpoint"],
        "https://test.maskinporten.no/",
    );
    check(
        json!({ "AssertionAudience": "https://ver2.maskinporten.no/" }),
        &["`AssertionAudience` is no issuer", "closed"],
        "use `test`",
    );
    check(
        json!({ "TokenExchangeEndpoint": "" }),
        &["`TokenExchangeEnvironment`: it is missing"],
        "TokenExchangeEndpoint",
    );
}

#[test]
fn addresses_of_two_environments_are_refused() {
    let (_, registered) = world();
    let production = "https://maskinporten.no/";
    let with = |more: Value| {
        let text = endpoints(&registered, more);
        LegacySettings::from_json(&text, "Maskinporten")
    };
    let check = |more: Value, told: &str| {
        let error = with(more).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.kind(), ErrorKind::Settings);
    };
    let tt02 = "https://platform.tt02.altinn.no/authentication/api/v1/exchange/maskinporten";
    check(
        json!({ "Environment": "test", "AssertionAudience": production }),
        "`AssertionAudience` is the issuer of prod, and `Environment` is test",
    );
    for more in [
        json!({ "Environment": "prod", "TokenExchangeEndpoint": tt02 }),
        json!({ "AssertionAudience": production, "TokenExchangeEndpoint": tt02 }),
    ] {
        let told = "`TokenExchangeEndpoint`: it takes no tokens of prod";
        check(more, told);
    }
    let named = json!({
        "AssertionAudience": production, "TokenExchangeEndpoint": "",
        "TokenExchangeEnvironment": "tt02",
    });
    check(
        named,
        "`TokenExchangeEnvironment`: platform.tt02.altinn.no takes tokens of test",
    );

    // A key of test is not used in production, and an assertion is not shown to another's server.
    let mut of_test = registered.private_jwk();
    of_test["kid"] = json!("our-app-TEST.AB12");
    let endpoint = json!({
        "AssertionAudience": production, "TokenEndpoint": "https://maskinporten.no/token",
        "EncodedJwk": STANDARD.encode(of_test.to_string()), "TokenExchangeEndpoint": "",
    });
    let crossed = json!({
        "AssertionAudience": production, "TokenEndpoint": "https://test.maskinporten.no/token",
        "TokenExchangeEndpoint": "",
    });
    let only_audience = json!({
        "Environment": "test", "TokenEndpoint": "",
        "AssertionAudience": "https://issuer.example.no/", "TokenExchangeEndpoint": "",
    });
    // Where neither address is known, the environment that is told counts.
    let proxied = json!({
        "Environment": "prod", "EncodedJwk": STANDARD.encode(of_test.to_string()),
    });
    for (more, told) in [
        (endpoint, "our-app-TEST.AB12 is of test"),
        (
            proxied,
            "our-app-TEST.AB12 is of test and the authority of prod",
        ),
        (crossed, "the token endpoint"),
        (only_audience, "the token endpoint"),
    ] {
        let legacy = with(more).unwrap();
        let error = MaskinportenClient::from_legacy_settings(&legacy).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

// ===== keys =====

/// What a build without the feature refuses, and one with it takes.
#[test]
fn a_pkcs12_is_the_key_or_refused_with_the_feature_that_reads_it() {
    let (_, registered) = world();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.p12");
    fs::write(&path, include_bytes!("../vectors/keys/rsa-2048.p12")).unwrap();
    let path = path.to_str().unwrap();
    let encoded = STANDARD.encode(include_bytes!("../vectors/keys/rsa-2048.p12"));
    for (more, password) in [
        (json!({ "EncodedX509": encoded }), ""),
        (json!({ "CertificatePkcs12Path": path }), ""),
        (
            json!({ "CertificatePkcs12Path": path, "CertificatePkcs12Password": "hush-7" }),
            "hush-7",
        ),
    ] {
        let mut more = more;
        more["EncodedJwk"] = "".into();
        let json = json!({ SECTION: appsettings(&registered, more) }).to_string();
        match LegacySettings::from_json(&json, SECTION) {
            Ok(found) => {
                let LegacyKey::Pkcs12 {
                    content,
                    password: found_password,
                } = &found.key
                else {
                    panic!("{found:?}");
                };
                assert_eq!(content.expose(), encoded);
                assert_eq!(found_password.expose(), password);
                let settings = found.settings();
                assert_eq!(settings.key.as_ref().unwrap().expose(), encoded);
                assert_eq!(settings.key_password.as_ref().unwrap().expose(), password);
                assert!(!format!("{found:?} {settings:?}").contains("hush"));
            }
            Err(error) => {
                let message = error.to_string();
                assert!(
                    message.contains("without the cargo feature `pkcs12`"),
                    "{message}"
                );
                let hint = error.hint().unwrap();
                assert!(hint.contains("feature `pkcs12`"), "{hint}");
                assert!(hint.contains("openssl pkcs12"), "{hint}");
                let said = format!("{error} {error:?}");
                assert!(
                    !said.contains("hush") && !said.contains(&encoded[..24]),
                    "{said}"
                );
            }
        }
    }
}

// ===== where they stand =====

#[test]
fn settings_are_read_from_json_files_and_flat_values_alike() {
    let (_, registered) = world();
    let check = |found: maskinporten::Result<LegacySettings>, place: &str| {
        let found = found.unwrap();
        assert_eq!(found.client_id, registered.client_id());
        assert_eq!(found.scope.as_deref(), Some(SCOPE));
        assert!(found.exchange_to_altinn_token);
        let settings = found.settings();
        assert!(settings.source().contains(place), "{}", settings.source());
        assert_eq!(
            settings.signing_key().unwrap().kid(),
            Some(registered.kid())
        );
        let debug = format!("{found:?} {settings:?}");
        assert!(!debug.contains(&registered.jwk_base64()[..24]), "{debug}");
    };
    let bare = appsettings(&registered, json!({ "ExhangeToAltinnToken": true }));
    check(
        LegacySettings::from_json(&bare.to_string(), SECTION),
        "JSON",
    );
    // As .NET's reader takes it: comments, commas at the end, names in any case.
    let commented = format!(
        "// ours\n{{\"app\": {{\"{}\": {},}}, /* else */ }}",
        SECTION.to_uppercase(),
        bare.to_string().replace("ClientId", "clientid")
    );
    let deep = format!("app:{SECTION}");
    check(LegacySettings::from_json(&commented, &deep), &deep);
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), json!({ SECTION: bare }).to_string()).unwrap();
    let path = file.path().display().to_string();
    check(LegacySettings::from_file(file.path(), SECTION), &path);

    for separator in [":", "__", "--"] {
        let mut values: Vec<_> = bare
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().map_or(value.to_string(), str::to_owned);
                (
                    format!("{SECTION}{separator}{name}").to_lowercase(),
                    Secret::from(value),
                )
            })
            .collect();
        values.push((format!("{SECTION}{separator}Kid"), Secret::from(" ")));
        values.push((format!("Other{separator}ClientId"), Secret::from("another")));
        check(
            LegacySettings::from_values(values, SECTION, "vault v"),
            "vault v",
        );
    }
}

#[test]
fn the_environment_of_the_process_is_read_by_section() {
    if child::is_here() {
        let legacy = LegacySettings::from_env("Maskin:Legacy").unwrap();
        assert_eq!(legacy.client_id, "our-client");
        assert_eq!(legacy.environment, Some(Environment::Production));
        assert!(legacy.overwrite_authorization_header);
        assert!(legacy.settings().source().contains("Maskin__Legacy"));
        return;
    }
    child::run(
        "dotnet::the_environment_of_the_process_is_read_by_section",
        &[
            ("MASKIN__LEGACY__CLIENTID", "our-client"),
            ("Maskin__Legacy__EncodedJwk", "e30="),
            ("Maskin__Legacy__Environment", "prod"),
            ("Maskin__Legacy__OverwriteAuthorizationHeader", "True"),
            ("Maskin__Other__ClientId", "another"),
        ],
    );
}

// ===== what is refused =====

#[track_caller]
fn refused(more: Value, told: &[&str], hint: &str) -> String {
    let (_, registered) = world();
    let json = json!({ SECTION: appsettings(&registered, more) }).to_string();
    let error = LegacySettings::from_json(&json, SECTION).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let message = error.to_string();
    for told in told {
        assert!(message.contains(told), "{told}: {message}");
    }
    assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
    assert!(
        !format!("{error:?} {message}").contains("hush"),
        "{error:?}"
    );
    message
}

#[test]
fn what_is_refused_is_told_with_what_takes_its_place() {
    let check = |more: Value, told: &str, hint: &str| drop(refused(more, &[told], hint));
    for retired in ["ver1", "VER2"] {
        let told = "`Environment` names ver1 or ver2, which were closed in June 2024: test takes";
        check(json!({ "Environment": retired }), told, "use `test`");
    }
    let known = "they name Environment";
    check(
        json!({ "Environment": "hush" }),
        "`Environment` is none of prod, test and dev",
        known,
    );
    check(
        json!({ "Environment": null }),
        "`Environment` is missing",
        known,
    );
    check(json!({ "ClientId": " " }), "`ClientId` is missing", known);
    check(
        json!({ "EncodedJwk": "" }),
        "`EncodedJwk` is missing",
        known,
    );
    check(
        json!({ "EncodedJwk": { "d": "hush" } }),
        "`EncodedJwk` is an object, not a string",
        known,
    );
    check(
        json!({ "Scope": "a:b,hush" }),
        "`Scope` is no list of scopes",
        known,
    );
    check(
        json!({ "Resource": "hush" }),
        "`Resource` is no absolute URI",
        known,
    );
    check(
        json!({ "ConsumerOrgNo": 991825828 }),
        "`ConsumerOrgNo` is no organisation number",
        known,
    );
    check(
        json!({ "UseAltinnTestOrg": "hush" }),
        "`UseAltinnTestOrg` is neither true nor false",
        known,
    );
    check(
        json!({ "ExhangeToAltinnToken": true, "ExchangeToAltinnToken": false }),
        "`ExchangeToAltinnToken` and `ExhangeToAltinnToken` differ",
        known,
    );
    // Without the feature that reads a PKCS#12, as such; with it there are two keys, or no such file.
    for name in [
        "EncodedX509",
        "CertificatePkcs12Path",
        "CertificateStoreThumbprint",
    ] {
        let told = format!("`{name}`");
        let message = refused(json!({ name: "hush" }), &[&told], "");
        assert!(!message.contains("is missing"), "{message}");
    }
    let thumbprint = json!({ "EncodedJwk": "", "CertificateStoreThumbprint": "hush" });
    let told = ["`CertificateStoreThumbprint` is ", "not read here"];
    let message = refused(
        thumbprint,
        &told,
        "Windows store with its private key as .pfx",
    );
    assert!(!message.contains("is missing"), "{message}");
}

#[test]
fn an_altinn_of_another_environment_is_refused() {
    let check = |environment: &str, altinn: &str, told: &str, hint: &str| {
        for exchange in [true, false] {
            let more = json!({
                "Environment": environment,
                "TokenExchangeEnvironment": altinn,
                "ExhangeToAltinnToken": exchange,
            });
            drop(refused(more, &["`TokenExchangeEnvironment`", told], hint));
        }
    };
    let crossed = "use test with TT02";
    check(
        "prod",
        "tt02",
        "platform.tt02.altinn.no takes tokens of test",
        crossed,
    );
    check(
        "prod",
        "at22",
        "platform.at22.altinn.cloud takes tokens of test",
        crossed,
    );
    check(
        "test",
        "prod",
        "platform.altinn.no takes tokens of prod",
        crossed,
    );
    check("dev", "tt02", "issues those of dev", crossed);
    check(
        "test",
        "hush",
        "is none of prod, tt02",
        "they name Environment",
    );
    let more = json!({ "Environment": "dev", "ExhangeToAltinnToken": true });
    drop(refused(
        more,
        &["no Altinn takes the tokens of dev"],
        crossed,
    ));
    // What code turns on is checked when it is used.
    let (_, registered) = world();
    let mut late = legacy(&registered, json!({ "Environment": "dev" }));
    late.exchange_to_altinn_token = true;
    assert!(late.altinn().is_err());
    assert!(LegacyAuthLayer::new(&late, API).is_err());
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let more = json!({
        "Environment": "ver2",
        "ClientId": "",
        "EncodedJwk": [],
        "UseAltinnTestOrg": 3,
        "ConsumerOrgNo": "hush",
        "TokenEndpoint": "hush",
    });
    let all = [
        SECTION,
        "`Environment` names",
        "`ClientId` is missing",
        "`EncodedJwk` is an array, not a string",
        "`UseAltinnTestOrg` is neither",
        "`ConsumerOrgNo` is no",
        "`TokenEndpoint` cannot be used: it is no URL",
    ];
    let message = refused(more, &all, "use `test`");
    assert_eq!(message.matches("EncodedJwk").count(), 1, "{message}");

    let value = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
    let values = [
        value("Mp--ClientId", "hush"),
        value("MP--CLIENTID", "hush-hush"),
        value("Mp--Environment", "hush"),
    ];
    let error = LegacySettings::from_values(values, "Mp", "vault v").unwrap_err();
    let message = error.to_string();
    for told in [
        "Mp--ClientId and MP--CLIENTID are one name and differ",
        "Mp--Environment is none of",
        "Mp--EncodedJwk is missing",
    ] {
        assert!(message.contains(told), "{message}");
    }
    assert!(
        !message.contains("ClientId is missing") && !message.contains("hush"),
        "{message}"
    );
}

#[test]
fn sections_that_look_like_settings_are_named_where_the_section_is_missing() {
    let package = json!({ "Environment": "test", "ClientId": "hush", "EncodedJwk": "hush" });
    let ours = json!({ "authority": "test", "clientId": "hush", "jwk": {} });
    let check = |file: Value, names: Option<&str>| {
        let file = file.to_string();
        let read = [
            maskinporten::MaskinportenSettings::from_json(&file, "Missing").unwrap_err(),
            LegacySettings::from_json(&file, "Missing").unwrap_err(),
        ];
        for error in read {
            let message = error.to_string();
            assert!(message.contains("it has no section Missing"), "{message}");
            let (named, hint) = match names {
                Some(names) => (message.ends_with(names), "`--section NAME`"),
                None => (message.ends_with("section Missing"), "ClientId"),
            };
            assert!(named, "{message}");
            assert!(error.hint().unwrap().contains(hint), "{error:?}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    };
    let one = json!({ "Logging": {}, "Maskinporten-Config-Path": package });
    check(one, Some(" in Maskinporten-Config-Path"));
    let two = json!({ "B.c": ours, "A_b": package });
    check(two, Some(" in A_b, B.c"));
    let flat = json!({ "Flat:ClientId": "hush", "Flat:EncodedJwk": "hush", "Logging:X": 1 });
    check(flat, Some(" in Flat"));
    let many: serde_json::Map<_, _> = { 0..9 }
        .map(|number| (format!("S{number}"), package.clone()))
        .collect();
    check(many.into(), Some(" in S0, S1, S2, S3, S4"));

    // Sections of other libraries, and what is no name.
    let openid =
        json!({ "Authority": "https://hush.no", "ClientId": "hush", "ClientSecret": "hush" });
    check(
        json!({ "OpenIdConnect": openid, "Empty": {}, "List": [package] }),
        None,
    );
    check(
        json!({ "AzureAd": { "ClientId": "hush" }, "hush hush": package }),
        None,
    );
    check(
        json!({ "hush".repeat(11): package, "hush\u{1b}": package }),
        None,
    );
}

#[test]
fn a_section_that_is_not_there_is_told() {
    let told = |error: maskinporten::Error| {
        assert!(error.hint().unwrap().contains("EncodedJwk"));
        error.to_string()
    };
    let json = r#"{"Logging": {}}"#;
    let message = told(LegacySettings::from_json(json, SECTION).unwrap_err());
    assert!(
        message.contains(&format!("no section {SECTION}")),
        "{message}"
    );
    let message = told(LegacySettings::from_json("{", SECTION).unwrap_err());
    assert!(message.contains("cannot be used"), "{message}");
    let message = told(LegacySettings::from_values([], SECTION, "vault v").unwrap_err());
    assert!(
        message.contains(SECTION) && message.contains("vault v"),
        "{message}"
    );
    let message = told(LegacySettings::from_env("NoSuchSection").unwrap_err());
    assert!(message.contains("NoSuchSection"), "{message}");
}

#[test]
fn settings_without_a_scope_make_no_layer_until_code_gives_one() {
    let (_, registered) = world();
    let mut legacy = legacy(&registered, json!({ "Scope": "" }));
    let error = LegacyAuthLayer::new(&legacy, API).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    let message = error.to_string();
    assert!(
        message.contains("no scope") && message.contains(SECTION),
        "{message}"
    );
    legacy.scope = Some(SCOPE.to_owned());
    drop(LegacyAuthLayer::new(&legacy, API).unwrap());
}

// ===== what is told =====

/// The warnings of this thread from now on, and what ends them.
fn warnings() -> (NamedTempFile, DefaultGuard) {
    let file = NamedTempFile::new().unwrap();
    let guard = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(Arc::new(file.reopen().unwrap()))
        .with_ansi(false)
        .set_default();
    (file, guard)
}

fn lines(file: &NamedTempFile) -> Vec<String> {
    let text = fs::read_to_string(file.path()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn an_altinn_token_without_the_service_owners_scope_is_warned_of_once() {
    if !child::is_here() {
        // What is logged belongs to a process: others would hear of it, or keep it from being heard.
        child::run(
            "dotnet::an_altinn_token_without_the_service_owners_scope_is_warned_of_once",
            &[],
        );
        return;
    }
    let (sim, registered) = world();
    let legacy = legacy(&registered, json!({}));
    let client = client(&sim, &legacy, &Wire::default());
    let (file, _guard) = warnings();

    client.access_token([SCOPE]).await.unwrap();
    client.altinn_token(["altinn:serviceowner"]).await.unwrap();
    client
        .altinn_token([SCOPE, "altinn:serviceowner"])
        .await
        .unwrap();
    let user = SystemUser::new("311169963").unwrap();
    let for_a_customer = TokenRequest::scopes([SCOPE]).unwrap().system_user(user);
    // Whether there is such a system user is another matter, and told as such.
    drop(client.altinn_token(for_a_customer).await);
    let of_scopes = || {
        let mut told = lines(&file);
        told.retain(|line| !line.contains("MP-303"));
        told
    };
    assert_eq!(of_scopes(), [""; 0]);

    for _ in 0..3 {
        client.altinn_token([SCOPE]).await.unwrap();
    }
    let told = of_scopes();
    assert_eq!(told.len(), 1, "{told:?}");
    for text in [
        "maskinporten::token",
        "403",
        "add exactly altinn:serviceowner",
        SCOPE,
    ] {
        assert!(told[0].contains(text), "{told:?}");
    }

    client.altinn_token(["krr:read"]).await.unwrap();
    assert_eq!(of_scopes().len(), 1, "a client says it once");
}

#[test]
fn a_log_of_assertions_is_not_written_and_that_is_told() {
    if !child::is_here() {
        // What is logged belongs to a process: others would hear of it, or keep it from being heard.
        child::run(
            "dotnet::a_log_of_assertions_is_not_written_and_that_is_told",
            &[],
        );
        return;
    }
    let (_, registered) = world();
    let (file, _guard) = warnings();
    drop(legacy(
        &registered,
        json!({ "EnableDebugLogging": "false" }),
    ));
    assert_eq!(lines(&file), [""; 0]);
    drop(legacy(&registered, json!({ "EnableDebugLogging": true })));
    let told = lines(&file);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("EnableDebugLogging changes nothing"),
        "{told:?}"
    );
}

#[test]
fn enterprise_users_are_ignored_with_a_warning() {
    if !child::is_here() {
        // What is logged belongs to a process: others would hear of it, or keep it from being heard.
        child::run("dotnet::enterprise_users_are_ignored_with_a_warning", &[]);
        return;
    }
    let (_, registered) = world();
    let (file, _guard) = warnings();
    let more = json!({ "EnterpriseUserName": "", "EnterpriseUserPassword": " " });
    drop(legacy(&registered, more));
    assert_eq!(lines(&file), [""; 0]);
    for (count, more) in [
        json!({ "EnterpriseUserName": "hush" }),
        json!({ "EnterpriseUserName": "hush", "EnterpriseUserPassword": "hush" }),
    ]
    .into_iter()
    .enumerate()
    {
        let found = legacy(&registered, more);
        assert!(!found.exchange_to_altinn_token);
        let told = lines(&file);
        assert_eq!(told.len(), count + 1, "{told:?}");
        for word in ["EnterpriseUserName", SECTION, "use a system user"] {
            assert!(told[count].contains(word), "{told:?}");
        }
        assert!(!told[count].contains("hush"), "{told:?}");
    }
}

#[test]
fn the_scopes_of_the_studio_are_scopes() {
    let all = ScopeSet::new(Scope::STUDIO_DEFAULTS).unwrap();
    let older = ScopeSet::new(Scope::STUDIO_DEFAULTS_V8).unwrap();
    assert_eq!(all.as_str(), format!("altinn:serviceowner {older}"),);
    assert_eq!(
        older.as_str(),
        "altinn:serviceowner/instances.read altinn:serviceowner/instances.write"
    );
}
