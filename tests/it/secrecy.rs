//! Nothing secret is said: a whole tour of the crates in a process of its own, with every log record and
//! span of every crate, every metric, and every `Debug` and `Display` there is; then a search through all of
//! it.
//!
//! The process notes its secrets in a file as it meets them. What it said is searched by another
//! process, for each of them, whole or in pieces, and for anything that has the shape of a JWS.

mod credentials;

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten::{
    AccessToken, Advice, AltinnSettings, Authority, BoxFuture, Consent, Credentials, Decision,
    Environment, Error, FixedToken, KeyReference, LocalSigner, MaskinportenClient,
    MaskinportenSettings, OrganisationNumber, Origin, RejectedToken, Result, ScopeSet, Secret,
    Signer, SigningAlgorithm, SigningKey, SourceIdentity, SystemClock, SystemUser, TokenContext,
    TokenKind, TokenProvider, TokenRequest, TokioClock, Transport,
};
use maskinporten_sim::{Fault, Route, SimClient, SimServer};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, MaskinportenAuthLayer};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::child;
use crate::wire::{self, Wire};

const SUBSCRIPTION_KEY: &str = "canary-of-the-gateway-5f0c";
const PROXY_PASSWORD: &str = "canary-of-the-proxy-91d2";
const PERSON: &str = "01017012345";
const CONSENT: &str = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";

// ===== the search =====

/// The shortest piece of a long secret that is looked for. No identifier in use is as long: they are
/// UUIDs and names.
const PIECE: usize = 24;

/// The secrets that can be found in a text: whole, in a piece, or as the numbers of their bytes.
fn found<'a>(secrets: &'a [String], text: &str) -> Vec<&'a str> {
    let mut text = text.as_bytes().to_vec();
    text.extend(numbers_as_text(&text));
    let pieces: HashSet<&[u8]> = text.windows(PIECE).collect();
    let whole = String::from_utf8_lossy(&text);
    let leaks = |secret: &&'a String| {
        let mut chunks = secret.as_bytes().chunks_exact(PIECE);
        chunks.any(|piece| pieces.contains(piece)) || whole.contains(secret.as_str())
    };
    secrets.iter().filter(leaks).map(String::as_str).collect()
}

/// What a list of numbers says, where bytes were printed as one: `[101, 121, 74]`.
fn numbers_as_text(text: &[u8]) -> Vec<u8> {
    let of_list = |byte: &u8| byte.is_ascii_digit() || b", \n".contains(byte);
    text.split(|byte| !of_list(byte))
        .flat_map(|list| list.split(|byte| !byte.is_ascii_digit()))
        .filter_map(|number| std::str::from_utf8(number).ok()?.parse::<u8>().ok())
        .collect()
}

/// Everything in a text that begins as the parts of a JWS do: `{"` in base64url is `eyJ`.
fn jws_in(text: &str) -> Vec<&str> {
    let is_base64url = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.split(|c| !is_base64url(c))
        .filter(|word| word.find("eyJ").is_some_and(|at| word.len() - at >= PIECE))
        .collect()
}

// ===== the process that is listened to =====

/// The file that secrets are noted in, one a line.
#[derive(Clone)]
struct Secrets(Arc<Mutex<File>>);

const SECRETS: &str = "MASKINPORTEN_TESTS_SECRETS";

impl Secrets {
    fn of_process() -> Self {
        let path = std::env::var_os(SECRETS).unwrap();
        let file = OpenOptions::new().append(true).open(path).unwrap();
        Self(Arc::new(Mutex::new(file)))
    }

    fn note(&self, secret: &str) {
        writeln!(self.0.lock().unwrap(), "{secret}").unwrap();
    }

    fn note_token(&self, token: &AccessToken) {
        say(token);
        self.note(token.expose());
    }

    fn note_jwk(&self, jwk: &Value) {
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            self.note(jwk[member].as_str().unwrap());
        }
        self.note(&STANDARD.encode(jwk.to_string()));
        self.note(&URL_SAFE_NO_PAD.encode(jwk.to_string()));
    }

    fn note_pem(&self, pem: &str) {
        for line in pem.lines().filter(|line| !line.starts_with("---")) {
            self.note(line);
        }
    }
}

/// Says everything from here on, of every thread and every crate, on standard output.
fn listen() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .finish()
        .init();
}

fn say(value: &dyn Debug) {
    println!("{value:?}");
    println!("{value:#?}");
}

/// An error in all its words, with everything that caused it, also inside another one.
fn say_error(error: &Error) {
    say(error);
    println!(
        "{:?} {:?}",
        error.hint(),
        error.details().collect::<Vec<_>>()
    );
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        println!("{cause} {cause:?}");
        next = cause.source();
    }
    say(&std::io::Error::other(error.clone()));
}

/// Runs a test again as a process that listens to itself: the secrets it met, and all it said.
fn secrets_and_words(test: &str) -> (Vec<String>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = child::run(test, &[(SECRETS, file.path().to_str().unwrap())]);
    let secrets = std::fs::read_to_string(file.path()).unwrap();
    (secrets.lines().map(str::to_owned).collect(), said)
}

#[test]
fn nothing_secret_is_said_on_a_tour_of_everything() {
    if child::is_here() {
        listen();
        let metrics = PrometheusBuilder::new().install_recorder().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(tour(&Secrets::of_process()));
        return println!("{}", metrics.render());
    }
    let (secrets, said) =
        secrets_and_words("secrecy::nothing_secret_is_said_on_a_tour_of_everything");
    // The tour went everywhere, and was listened to.
    assert!(secrets.len() > 80, "{}", secrets.len());
    for word in [
        "TRACE hyper_util::",
        // In the span of a flight.
        "}: rustls::",
        "}: maskinporten::token: token fetched",
        "maskinporten.token{maskinporten.authority=",
        "altinn.exchange{maskinporten.authority=",
        "maskinporten_token_requests_total{authority=\"altinn\",outcome=\"ok\"",
        "maskinporten_key_expiry_timestamp_seconds{client=\"default\"}",
        "WARN maskinporten::token: an api did not accept the token",
        "BearerAuth",
        "MP-200",
        "the end of the tour",
    ] {
        assert!(said.contains(word), "{word:?} was not said");
    }
    let leaked = found(&secrets, &said);
    assert!(leaked.is_empty(), "{leaked:?} in what was said:\n{said}");
    let shaped = jws_in(&said);
    assert!(shaped.is_empty(), "{shaped:?} in what was said:\n{said}");
}

// What the search is worth: it finds each secret that is planted, wherever it is said.
#[test]
fn the_search_finds_every_secret_that_is_planted() {
    let long = |letter: &str| format!("canary-{}", letter.repeat(60));
    if child::is_here() {
        listen();
        let secrets = Secrets::of_process();
        let places = ["field", "span", "thread", "error", "cut", "bytes", "Short"];
        let [field, span, thread, error, cut, bytes, _] = places.map(long);
        for secret in [&field, &span, &thread, &error, &cut, &bytes] {
            secrets.note(secret);
        }
        secrets.note("hush-7");
        tracing::trace!(target: "hyper::deep::inside", value = %field);
        tracing::trace_span!(target: "rustls::deep::inside", "handshake", ?span).in_scope(|| {});
        std::thread::spawn(move || tracing::debug!("it was {thread}"))
            .join()
            .unwrap();
        eprintln!("{}", std::io::Error::other(error));
        println!("{}", &cut[10..60]);
        println!("{:?}", bytes.as_bytes());
        println!("password=hush-7");
        return;
    }
    let (secrets, said) =
        secrets_and_words("secrecy::the_search_finds_every_secret_that_is_planted");
    assert_eq!(secrets.len(), 7);
    assert_eq!(found(&secrets, &said), secrets);
    assert!(found(&[long("nowhere")], &said).is_empty());
    let jws = "a=eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln;";
    assert_eq!(jws_in(jws), ["eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"]);
    assert!(jws_in("eyJ, eyJ0eXAi and what [redacted] is").is_empty());
}

// ===== the tour =====

async fn tour(secrets: &Secrets) {
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(["a:read", "altinn:serviceowner"]);
    server.sim().require_subscription_key(SUBSCRIPTION_KEY);
    for secret in [SUBSCRIPTION_KEY, PROXY_PASSWORD, PERSON] {
        secrets.note(secret);
    }
    secrets.note_jwk(&registered.private_jwk());
    secrets.note_pem(&registered.private_pem());

    for settings in settings(&registered) {
        good_days(secrets, &server, settings).await;
    }
    bad_days(&server, &registered).await;
    layers(secrets, &server, &registered).await;
    recorded_assertions(secrets, &server, &registered).await;
    bad_networks(&server).await;
    let noting = secrets.clone();
    let hostile = tokio::task::spawn_blocking(move || {
        // No socket is in it, so its pauses need not be waited for.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(hostile_answers(&noting));
    });
    hostile.await.unwrap();
    bad_settings(&registered);
    credentials::tour(secrets, &server, &registered).await;
    everything_that_can_be_shown(secrets, &registered).await;
    println!("the end of the tour");
}

fn altinn(server: &SimServer) -> AltinnSettings {
    let altinn = AltinnSettings::platform(&server.sim().altinn_platform()).unwrap();
    altinn.with_subscription_key(SUBSCRIPTION_KEY)
}

/// The settings of one client, from every kind of place.
fn settings(registered: &SimClient) -> Vec<MaskinportenSettings> {
    let section = MaskinportenSettings::DEFAULT_SECTION;
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = registered.settings_json();
    std::fs::write(file.path(), json.to_string()).unwrap();
    let authority = json[section]["Authority"].as_str().unwrap();
    let new = || MaskinportenSettings::new(authority, registered.client_id());
    let variables = [
        ("MaskinportenSettings__Authority", authority.to_owned()),
        (
            "MaskinportenSettings__ClientId",
            registered.client_id().to_owned(),
        ),
        ("MaskinportenSettings__JwkBase64", registered.jwk_base64()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    vec![
        MaskinportenSettings::from_file(file.path(), section).unwrap(),
        new().with_jwk(registered.private_jwk().to_string()),
        new().with_jwk_base64(registered.jwk_base64()),
        new()
            .with_pem(registered.private_pem())
            .with_kid(registered.kid()),
        MaskinportenSettings::from_vars(variables, section).unwrap(),
    ]
}

/// Both tokens over real sockets, by the default transport.
async fn good_days(secrets: &Secrets, server: &SimServer, settings: MaskinportenSettings) {
    say(&settings);
    println!("{}", settings.describe());
    let builder = MaskinportenClient::builder()
        .settings(settings)
        .altinn(altinn(server));
    say(&builder);
    let client = builder.build().unwrap();
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    secrets.note_token(&client.altinn_token(["a:read"]).await.unwrap());
    say(&client.header_value(["a:read"]).await.unwrap());
    say(&client);
    say(&client.stats());
    client.publish_metrics();
}

/// Refusals and outages, likewise.
async fn bad_days(server: &SimServer, registered: &SimClient) {
    let client = MaskinportenClient::builder()
        .settings(crate::world::settings(registered))
        .altinn(altinn(server))
        .build()
        .unwrap();
    let request = || TokenRequest::scopes(["a:read"]).unwrap();
    say_error(&client.access_token(["not:mine"]).await.unwrap_err());
    let delegated = request().consumer_org("311169963").unwrap();
    say_error(&client.access_token(delegated).await.unwrap_err());
    let consent = Consent::from_person(CONSENT, PERSON).unwrap();
    let consented = request().consent(consent);
    say_error(&client.access_token(consented).await.unwrap_err());

    let sim = server.sim();
    sim.fault(Route::Exchange, Fault::status(StatusCode::UNAUTHORIZED));
    say_error(&client.altinn_token(["a:read"]).await.unwrap_err());
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
    let both = ["a:read", "altinn:serviceowner"];
    say_error(&client.access_token(both).await.unwrap_err());
    sim.clear_faults();
}

/// The layers over a client of hyper-util, with an API that accepts the token and one that does not.
async fn layers(secrets: &Secrets, server: &SimServer, registered: &SimClient) {
    let client = MaskinportenClient::builder()
        .settings(crate::world::settings(registered))
        .altinn(altinn(server))
        .build()
        .unwrap();
    let http_client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let url = server.sim().api_url();
    let origin = server.sim().altinn_platform();
    let layer = MaskinportenAuthLayer::new(&client, ["a:read"], &*origin).unwrap();
    say(&layer);
    let altinn = AltinnAuthLayer::new(&client, ["a:read"], &*origin).unwrap();
    say(&altinn);
    for mut service in [layer.layer(http_client.clone()), altinn.layer(http_client)] {
        let call = |url: &str| Request::get(url).body(Full::<Bytes>::default()).unwrap();
        for _ in 0..2 {
            let response = service.ready().await.unwrap().call(call(&url));
            say(&response);
            let response = response.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            say(&response.headers());
        }
        let mut headers = HeaderMap::new();
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        headers.insert("www-authenticate", challenge);
        let rejection = Fault::answer(StatusCode::UNAUTHORIZED, headers, "");
        server.sim().fault(Route::Api, rejection.times(1));
        let response = service
            .ready()
            .await
            .unwrap()
            .call(call(&url))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let elsewhere = service
            .ready()
            .await
            .unwrap()
            .call(call("https://evil.example/"));
        say(&elsewhere);
        let error = elsewhere.await.unwrap_err();
        say_error(Error::find_in(&*error).unwrap());
        say(&error);
        say(&service);
    }
    // The replacements of the rejected tokens arrive.
    tokio::time::sleep(Duration::from_millis(300)).await;
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    secrets.note_token(&client.altinn_token(["a:read"]).await.unwrap());
    replays_and_outages(secrets, server, registered).await;
}

/// A request that is sent again, four tokens that fail one after another, and what is told of both.
async fn replays_and_outages(secrets: &Secrets, server: &SimServer, registered: &SimClient) {
    let client = MaskinportenClient::builder()
        .settings(crate::world::settings(registered))
        .build()
        .unwrap();
    let origin = server.sim().altinn_platform();
    let layer = MaskinportenAuthLayer::new(&client, ["a:read"], &*origin).unwrap();
    let http_client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let service = layer.replay_on_unauthorized().layer(http_client);
    say(&service);
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    let rejection = Fault::status(StatusCode::UNAUTHORIZED);
    server.sim().fault(Route::Api, rejection.times(1));
    let request = Request::get(server.sim().api_url()).body(Full::<Bytes>::default());
    let response = service.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    let mut headers = HeaderMap::new();
    let authorizer = client.authorizer(["a:read"], &*origin).unwrap();
    let uri = server.sim().api_url().parse().unwrap();
    let receipt = authorizer.authorize(&uri, &mut headers).await.unwrap();
    say(&receipt);
    let rejected = receipt.rejected(None, &HeaderMap::new());
    say(&rejected);
    say(&rejected.and_then(RejectedToken::replacement));

    server.sim().clear_faults();
    let unavailable = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    server.sim().fault(Route::Token, unavailable);
    let others = (0..5).map(|number| {
        let request = TokenRequest::scopes(["a:read"]).unwrap();
        client.access_token(request.resource(format!("urn:{number}")).unwrap())
    });
    for outcome in futures_util::future::join_all(others).await {
        say_error(&outcome.unwrap_err());
    }
    server.sim().clear_faults();
    say(&client.health());
    say(&client);
    client.shutdown().await;
    say(&client.health());
}

/// A signer that notes every assertion it has signed.
#[derive(Clone)]
struct Noting {
    signer: LocalSigner,
    secrets: Secrets,
}

impl Debug for Noting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.signer.fmt(f)
    }
}

impl Signer for Noting {
    fn algorithm(&self) -> SigningAlgorithm {
        self.signer.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        self.signer.key_reference()
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            let text = String::from_utf8(input.clone()).unwrap();
            let signature = self.signer.sign(input).await?;
            let encoded = URL_SAFE_NO_PAD.encode(&signature);
            self.secrets.note(&format!("{text}.{encoded}"));
            Ok(signature)
        })
    }
}

/// Assertions that are known to the letter, sent over real sockets.
async fn recorded_assertions(secrets: &Secrets, server: &SimServer, registered: &SimClient) {
    let jwk = registered.private_jwk().to_string();
    let signer = Noting {
        signer: LocalSigner::new(SigningKey::from_jwk(&jwk, None).unwrap()),
        secrets: secrets.clone(),
    };
    let client = MaskinportenClient::builder()
        .signer(server.url(), registered.client_id(), signer)
        .build()
        .unwrap();
    say(&client);
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    say_error(&client.access_token(["not:mine"]).await.unwrap_err());
    say_error(&client.altinn_token(["a:read"]).await.unwrap_err());
}

/// Servers that say what they were sent, and tokens that cannot be used.
async fn hostile_answers(secrets: &Secrets) {
    let jwk = include_str!("../vectors/keys/rsa-2048.jwk.json");
    secrets.note_jwk(&serde_json::from_str(jwk).unwrap());
    let token = "canary-token-that-is-opaque-and-cannot-be-used-4711-0815";
    secrets.note(token);
    // Wrapped as PEM is, the last line with the one before it.
    let lines = |text: &str| -> String {
        let wrapped = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap());
        let text = wrapped.collect::<Vec<_>>().join("\\n");
        let (lines, last) = text.rsplit_once("\\n").unwrap();
        format!("{lines}{last}")
    };
    type Echo = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;
    let description = |before: &'static str, after: &'static str| -> Echo {
        Arc::new(move |sent| {
            let text = format!("{before}{sent}{after}");
            (
                400,
                format!(r#"{{"error":"invalid_grant","error_description":"{text}"}}"#),
            )
        })
    };
    let echoes: Vec<Echo> = vec![
        description("", ""),
        description(
            "Invalid assertion ",
            ". (trace_id: 0af7651916cd43dd8448eb211c80319c)",
        ),
        description("assertion='", "' MP-124"),
        description("Invalid assertion (trace_id: ", ")"),
        Arc::new(move |sent| {
            let text = lines(sent);
            (
                400,
                format!(r#"{{"error":"invalid_grant","error_description":"{text}"}}"#),
            )
        }),
        Arc::new(|sent| (400, format!(r#"{{"error":"{sent}"}}"#))),
        Arc::new(|sent| {
            (
                400,
                format!(r#"{{"error":"x","error_uri":"https://x/{sent}"}}"#),
            )
        }),
        Arc::new(|sent| (502, sent.to_owned())),
        Arc::new(|sent| (200, sent.to_owned())),
        Arc::new(|sent| (200, format!(r#"{{"access_token":["{sent}"]}}"#))),
        Arc::new(move |_| {
            (
                200,
                format!(r#"{{"access_token":"{token}","token_type":"DPoP"}}"#),
            )
        }),
        Arc::new(move |_| (200, format!(r#"{{"access_token":"{token}\r\nx: y"}}"#))),
        Arc::new(move |_| {
            (
                200,
                format!(r#"{{"access_token":"{token}","expires_in":"{token}"}}"#),
            )
        }),
        Arc::new(move |_| (200, format!(r#"{{"access_token":"{token}","scope":7}}"#))),
        Arc::new(move |_| (200, format!(r#"{{"access_token":"{token}"#))),
    ];
    for echo in echoes {
        let wire = Wire::default();
        let transport = wire.answering(move |request| {
            let (status, body) = match wire::Jws::in_form(request) {
                Some(assertion) => echo(&assertion.text),
                None => {
                    let bearer = request.headers()["authorization"].to_str().unwrap();
                    let json = format!(r#"{{"statusCode":401,"message":"{bearer}"}}"#);
                    (401, json)
                }
            };
            let mut answer = wire::answer(status, body);
            answer
                .headers_mut()
                .insert("x-echo", HeaderValue::from_static("1"));
            answer
        });
        let error = asked(secrets, jwk, &wire, transport, TokenKind::Maskinporten).await;
        say_error(&error);
    }
    // A gateway that repeats the bearer it was shown, and an exchange that repeats it as it is.
    for message in [true, false] {
        let wire = Wire::default();
        let transport = wire.answering(move |request| {
            let Some(bearer) = request.headers().get("authorization") else {
                return wire::token(token);
            };
            let bearer = bearer.to_str().unwrap();
            match message {
                true => wire::answer(401, format!(r#"{{"message":"refused: {bearer}"}}"#)),
                false => wire::answer(200, bearer.to_owned()),
            }
        });
        say_error(&asked(secrets, jwk, &wire, transport, TokenKind::Altinn).await);
    }
}

/// The error of one call, with every assertion that was sent for it noted.
async fn asked(
    secrets: &Secrets,
    jwk: &str,
    wire: &Wire,
    transport: Transport,
    kind: TokenKind,
) -> Error {
    let client = MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(jwk))
        .transport(transport)
        .build()
        .unwrap();
    let request = TokenRequest::scopes(["a:read"]).unwrap();
    let handle = client.token(&request, kind).unwrap();
    say(&handle);
    let error = handle.access_token().await.unwrap_err();
    for assertion in wire.assertions() {
        secrets.note(&assertion.text);
    }
    error
}

/// A proxy that is not there, a port that speaks no TLS, a service below that fails in its own words.
async fn bad_networks(server: &SimServer) {
    let jwk = include_str!("../vectors/keys/rsa-2048.jwk.json");
    let proxy: Uri = format!("http://us:{PROXY_PASSWORD}@127.0.0.1:1")
        .parse()
        .unwrap();
    let builder = Transport::builder().proxy(proxy);
    say(&builder);
    let through_proxy = builder.build().unwrap();
    say(&through_proxy);
    let port = server.addr().port();
    let failing = Transport::new(tower::service_fn(|_: Request<Full<Bytes>>| async {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("it broke"))
    }));
    let calls = [
        ("test".to_owned(), through_proxy),
        (
            format!("https://localhost:{port}/"),
            Transport::builder().build().unwrap(),
        ),
        ("test".to_owned(), failing),
    ]
    .map(async |(authority, transport)| {
        let client = MaskinportenClient::builder()
            .settings(MaskinportenSettings::new(authority, "our-client").with_jwk(jwk))
            .transport(transport)
            .build()
            .unwrap();
        say_error(&client.access_token(["a:read"]).await.unwrap_err());
    });
    join_all(calls).await;
}

/// A PKCS#12 of a test key.
const P12: &[u8] = include_bytes!("../vectors/keys/rsa-2048.p12");

/// Keys and files that are broken in ways a parser might want to quote.
fn bad_settings(registered: &SimClient) {
    let jwk = registered.private_jwk();
    let text = jwk.to_string();
    let with = |member: &str, value: String| {
        let mut broken = jwk.clone();
        broken[member] = value.into();
        broken.to_string()
    };
    let d = jwk["d"].as_str().unwrap();
    // Keys where something else belongs.
    let pem = registered.private_pem();
    let whole = || {
        let settings = MaskinportenSettings::new("test", "our-client");
        settings.with_jwk(&*text)
    };
    for key in [text.clone(), registered.jwk_base64(), pem, d.to_owned()] {
        let swapped = MaskinportenSettings::new("test", &*key).with_jwk("our-client");
        let client_id = MaskinportenSettings::new("test", &*key).with_jwk(&*text);
        let mut others = [whole(), whole(), whole(), whole()];
        others[0].authority.clone_from(&key);
        others[1].token_endpoint = Some(key.clone());
        others[2].metadata_url = Some(key.clone());
        others[3].scopes = Some(key.clone());
        let others = others.into_iter().chain([swapped, client_id]);
        for settings in others.chain([whole().with_kid(key)]) {
            say(&settings);
            println!("{}", settings.describe());
            let credentials = Credentials::from(settings);
            say(&credentials);
            println!("{}", credentials.describe());
            let builder = MaskinportenClient::builder().credentials(credentials);
            say(&builder);
            match builder.build() {
                Ok(client) => say(&client),
                Err(error) => say_error(&error),
            }
        }
    }
    let keys = [
        text[..text.len() - 40].to_owned(),
        format!("{text}}}"),
        with("d", format!("{d}!")),
        with("d", d[4..].to_owned()),
        with("kty", d.to_owned()),
        with("alg", d.to_owned()),
        with("kid", String::new()),
        registered.jwk_base64(),
        registered.jwk_base64()[3..].to_owned(),
        registered
            .private_pem()
            .replace("PRIVATE KEY", "SECRET KEY"),
        registered.private_pem()[..400].to_owned(),
        // What is named for what it is, as other tools write or spoil it.
        text.replace('"', "'"),
        format!("b'{}'", registered.jwk_base64()),
        text.replace('"', "&quot;"),
        text.replace('"', "\\\""),
        text.replace('{', "%7B").replace('"', "%22"),
        STANDARD.encode(registered.jwk_base64()),
        format!("<RSAKeyValue><D>{d}</D></RSAKeyValue>"),
        format!("file:/run/secrets/{d}"),
        format!("@Microsoft.KeyVault(SecretUri={d})"),
        format!(r#"{{"{d}": {{"{d}": {text}}}}}"#),
        format!(
            r#"{{"key_password": "{d}", "keystore": "{}"}}"#,
            STANDARD.encode(P12)
        ),
        format!(r#"{{"{d}": "{d}"}}"#),
        with("D", format!("{d}A")),
        with("x5c", d.to_owned()),
    ];
    for key in keys {
        let settings = || MaskinportenSettings::new("test", "our-client");
        for settings in [
            settings().with_jwk(&*key),
            settings().with_jwk_base64(&*key),
            settings().with_pem(&*key),
        ] {
            say(&settings);
            println!("{}", settings.describe());
            if let Err(error) = settings.signing_key() {
                say_error(&error);
            }
        }
        let json = format!(r#"{{"MaskinportenSettings":{{"Authority":"test","Jwk":{key}}}"#);
        for json in [json, key] {
            let section = MaskinportenSettings::DEFAULT_SECTION;
            say_error(&MaskinportenSettings::from_json(&json, section).unwrap_err());
        }
    }
}

/// `Debug` of what has not been shown on the way.
async fn everything_that_can_be_shown(secrets: &Secrets, registered: &SimClient) {
    let generated = SigningKey::generate(2048, Some("made-here")).unwrap();
    secrets.note_jwk(&serde_json::from_str(generated.private_jwk().expose()).unwrap());
    say(&generated);
    say(&generated.private_jwk());
    let jwk = registered.private_jwk().to_string();
    let key = SigningKey::from_jwk(&jwk, None).unwrap();
    say(&key);
    let signer = LocalSigner::new(key);
    say(&signer);
    say(&signer.key_reference());
    let secret = Secret::from(SUBSCRIPTION_KEY);
    say(&secret);

    let consent = Consent::from_person(CONSENT, PERSON).unwrap();
    say(&consent);
    let request = TokenRequest::scopes(["a:read"]).unwrap();
    say(&request.clone().consent(consent.clone()));
    say(&TokenContext::new().consent(consent));
    let raw = format!(r#"{{"type":"urn:x","person":"{PERSON}"}}"#);
    say(&request.clone().authorization_details(raw).unwrap());
    let mistyped = Consent::from_person(CONSENT, format!("{PERSON}0"));
    say_error(&mistyped.unwrap_err());
    say(&SystemUser::new("311169963").unwrap());
    say(&"991825827".parse::<OrganisationNumber>().unwrap());
    say(&ScopeSet::new(["a:read"]).unwrap().iter().next());
    say(&AltinnSettings::of(Environment::Test)
        .unwrap()
        .with_subscription_key(SUBSCRIPTION_KEY));
    say(&Authority::parse("test").unwrap());
    say(&"https://api.example.no".parse::<Origin>().unwrap());
    say(&Advice::all().count());
    say(&SourceIdentity::new("issuer", "client"));
    say(&(SystemClock, TokioClock::starting_at(UNIX_EPOCH)));

    let text = "canary-token-of-a-fixed-source-0123456789-0123456789";
    secrets.note(text);
    let source = FixedToken::new(text, Duration::from_secs(600)).unwrap();
    say(&source);
    let client = MaskinportenClient::builder()
        .source(source)
        .build()
        .unwrap();
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    say(&client);
    let authorizer = client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap();
    say(&authorizer);
    let uri = Uri::from_static("https://api.example.no/");
    let mut headers = HeaderMap::new();
    say(&authorizer.decide(&uri, None, &mut headers));
    say(&headers);
    client.invalidate_all();
    let decision = authorizer.decide_by_hand(&uri, None, &mut headers);
    say(&decision);
    let Decision::Pending(acquire) = decision else {
        panic!("the token was declared void");
    };
    let token = acquire.await.unwrap();
    say(&token);
    say(&token.set(&mut headers));
    let foreign = Uri::from_static("https://evil.example/");
    say(&authorizer.decide(&foreign, None, &mut headers));

    let mut service = MaskinportenAuthLayer::new(&client, ["a:read"], "https://api.example.no")
        .unwrap()
        .layer(tower::service_fn(|request: Request<String>| async move {
            println!("{request:?}");
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    let request = Request::get("https://api.example.no/")
        .body(String::new())
        .unwrap();
    service.ready().await.unwrap().call(request).await.unwrap();
}
