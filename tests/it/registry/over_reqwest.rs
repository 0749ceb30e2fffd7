//! The same over reqwest, with real sockets: each of its middleware by what it does.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::stream;
use http::header::{LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use maskinporten::{Error, ErrorKind, TokenContext};
use maskinporten_sim::{Entry, Fault, Route, Sim};
use reqwest::Body;
use reqwest_middleware::ClientWithMiddleware;
use serde_json::Value;
use tower::timeout::error::Elapsed;
use tower_maskinporten::{ClientRegistry, NamedClient, NamedClientBuilder};

use super::*;

const KEY: &str = "Ocp-Apim-Subscription-Key";
const OWNER: &str = "991825827";
const CUSTOMER: &str = "311169963";

fn echo(
    server: &SimServer,
    client: &MaskinportenClient,
    declare: impl FnOnce(NamedClientBuilder) -> NamedClientBuilder,
) -> NamedClient<ClientWithMiddleware> {
    let clients = ClientRegistry::builder(client).client("echo", |c| {
        declare(c.maskinporten(SCOPES).base_url(api(server)))
    });
    // Whatever the environment of the tests has for a proxy.
    let reqwest = reqwest::Client::builder().no_proxy();
    clients.build_reqwest(reqwest).unwrap().get("echo").unwrap()
}

fn calls(sim: &Sim) -> Vec<Entry> {
    let journal = sim.journal();
    journal.requests(Route::Api).cloned().collect()
}

fn answer(sim: &Sim, status: u16, header: HeaderName, value: &'static str) {
    let headers = HeaderMap::from_iter([(header, HeaderValue::from_static(value))]);
    let status = StatusCode::from_u16(status).unwrap();
    sim.fault(
        Route::Api,
        Fault::answer(status, headers, Bytes::new()).times(1),
    );
}

/// What a middleware failed with.
#[track_caller]
fn failed<E: std::error::Error + Send + Sync + 'static>(error: &reqwest_middleware::Error) -> &E {
    match error {
        reqwest_middleware::Error::Middleware(content) => content.downcast_ref().unwrap(),
        reqwest_middleware::Error::Reqwest(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn token_and_key_go_to_the_base_url_and_nowhere_else() {
    let (server, client) = served().await;
    let foreign = SimServer::start().await.unwrap();
    let echo = echo(&server, &client, |c| {
        c.secret_header(KEY, "canary").retries(3)
    });

    let sent = echo.post("/echo").unwrap().json(&[1, 2]).send().await;
    let body: Value = sent.unwrap().json().await.unwrap();
    assert_eq!(body["claims"]["scope"], "krr:read");
    assert_eq!(body["path"], "/api/echo");

    let error = echo.get(&foreign.url()).unwrap().send().await.unwrap_err();
    assert_eq!(failed::<Error>(&error).kind(), ErrorKind::Origin);
    assert!(echo.get("/../jwk").is_err());

    let calls = calls(server.sim());
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].header("ocp-apim-subscription-key"),
        Some("[redacted]")
    );
    assert!(foreign.sim().journal().entries().is_empty());
}

#[tokio::test]
async fn redirects_are_not_followed_and_not_declared() {
    let (server, client) = served().await;
    let followed = echo(&server, &client, |c| c);
    answer(server.sim(), 302, LOCATION, "/api/next");
    let answer = followed.get("echo").unwrap().send().await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(calls(server.sim()).len(), 1);

    let text = format!(
        "[clients.a]\nbase_url = {:?}\nkind = \"maskinporten\"\nscopes = [\"krr:read\"]\nredirects = 1",
        api(&server)
    );
    let clients = ClientRegistry::builder(&client)
        .toml("c.toml", text)
        .unwrap();
    let error = clients
        .build_reqwest(reqwest::Client::builder())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the named clients cannot be made: c.toml:5: client \"a\", redirects: are not followed over reqwest"
    );
}

#[tokio::test]
async fn passing_refusals_are_asked_again_where_the_request_may_be_repeated() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| c.retries(2));
    let sent = async |request: reqwest_middleware::RequestBuilder| {
        server.sim().clear_journal();
        server.sim().clear_faults();
        let fault = Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(2);
        server.sim().fault(Route::Api, fault);
        let status = request.send().await.unwrap().status();
        (status.as_u16(), calls(server.sim()).len())
    };

    assert_eq!(sent(echo.get("echo").unwrap()).await, (200, 3));
    assert_eq!(sent(echo.post("echo").unwrap().body("x")).await, (503, 1));
    let put = || echo.request(http::Method::PUT, "echo").unwrap();
    assert_eq!(sent(put().body("x")).await, (200, 3));
    // A stream is there once.
    let streamed = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>("x")]));
    assert_eq!(sent(put().body(streamed)).await, (503, 1));
}

#[tokio::test]
async fn a_connection_that_fails_is_tried_again_and_a_refusal_for_good_is_not() {
    let (server, client) = served().await;
    server.sim().fault(Route::Api, Fault::hang().times(1));
    let patient = echo(&server, &client, |c| {
        c.attempt_timeout(seconds(1)).retries(5)
    });
    assert_eq!(
        patient.get("echo").unwrap().send().await.unwrap().status(),
        200
    );

    // Nobody listens there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("http://{}", socket.local_addr().unwrap());
    let clients = ClientRegistry::builder(&client).client("nowhere", |c| {
        c.maskinporten(SCOPES).base_url(nowhere).retries(2)
    });
    let reqwest = reqwest::Client::builder().no_proxy();
    let nowhere = clients.build_reqwest(reqwest).unwrap().get("nowhere");
    let error = nowhere.unwrap().get("a").unwrap().send().await.unwrap_err();
    assert!(matches!(error, reqwest_middleware::Error::Reqwest(error) if error.is_connect()));

    let (other, refused) = served().await;
    other.sim().not_granted(SCOPES[0]);
    let refused = echo(&other, &refused, |c| c.retries(10));
    let error = refused.get("echo").unwrap().send().await.unwrap_err();
    assert_eq!(
        failed::<Error>(&error).kind(),
        ErrorKind::OrganisationRejected
    );
    assert_eq!(other.sim().journal().token_requests(), 1);
}

#[tokio::test]
async fn the_whole_time_covers_the_wait_for_a_token() {
    let (server, client) = served().await;
    server.sim().fault(Route::Token, Fault::hang());
    let echo = echo(&server, &client, |c| {
        c.timeout(Duration::from_millis(300)).retries(3)
    });

    let error = echo.get("echo").unwrap().send().await.unwrap_err();

    failed::<Elapsed>(&error);
    assert_eq!(calls(server.sim()).len(), 0);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_not_tried_again() {
    let (url, reached) = self_signed().await;
    let clients = ClientRegistry::builder(&anybody())
        .client("a", |c| c.maskinporten(SCOPES).base_url(url).retries(2));
    let reqwest = reqwest::Client::builder().no_proxy();
    let client = clients.build_reqwest(reqwest).unwrap().get("a").unwrap();

    let error = client.get("b").unwrap().send().await.unwrap_err();

    assert!(matches!(error, reqwest_middleware::Error::Reqwest(error) if error.is_connect()));
    assert_eq!(reached.load(Ordering::Relaxed), 1);
}

#[test]
fn outside_a_runtime_there_is_a_typed_error_and_no_panic() {
    let clients = ClientRegistry::builder(&anybody()).client("a", |c| {
        c.maskinporten(SCOPES).base_url("https://api.example.no")
    });
    let reqwest = reqwest::Client::builder().no_proxy();
    let client = clients.build_reqwest(reqwest).unwrap().get("a").unwrap();

    let mut cx = Context::from_waker(Waker::noop());
    let sending = pin!(client.get("b").unwrap().send());
    let Poll::Ready(Err(error)) = sending.poll(&mut cx) else {
        panic!("nothing can be sent here");
    };
    assert_eq!(failed::<Error>(&error).kind(), ErrorKind::Runtime);
    assert!(Error::find_in(&error).is_some());
}

#[tokio::test]
async fn the_time_of_an_attempt_begins_when_it_has_its_token() {
    let (server, client) = served().await;
    let slow = Duration::from_millis(2500);
    server
        .sim()
        .fault(Route::Token, Fault::latency(slow).times(1));
    let echo = echo(&server, &client, |c| c.attempt_timeout(seconds(2)));

    assert_eq!(
        echo.get("echo").unwrap().send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn a_client_per_organisation_sends_nothing_in_its_own_name() {
    let (server, client) = served().await;
    server.sim().delegate(CUSTOMER, OWNER, SCOPES[0]);
    let echo = echo(&server, &client, |c| c.per_organisation().retries(1));

    let error = echo.get("echo").unwrap().send().await.unwrap_err();
    assert_eq!(failed::<Error>(&error).kind(), ErrorKind::Request);

    // Kept through an attempt that fails.
    answer(server.sim(), 503, LOCATION, "/api/nowhere");
    let context = TokenContext::new().consumer_org(CUSTOMER).unwrap();
    let request = echo.get("echo").unwrap().with_extension(context);
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["claims"]["consumer"]["ID"], format!("0192:{CUSTOMER}"));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_replaced_where_that_is_declared() {
    let (server, client) = served().await;
    let replaying = echo(&server, &client, |c| {
        c.replay_on_unauthorized().secret_header(KEY, "canary")
    });
    let challenge = r#"Bearer error="invalid_token""#;
    answer(server.sim(), 401, WWW_AUTHENTICATE, challenge);

    let answer = replaying.get("echo").unwrap().send().await.unwrap();

    assert_eq!(answer.status(), 200);
    let calls = calls(server.sim());
    assert_eq!(calls.len(), 2);
    let shown = |call: &Entry| call.header("ocp-apim-subscription-key").is_some();
    assert!(calls.iter().all(shown));
    assert_eq!(server.sim().journal().grants(), 2);
}
