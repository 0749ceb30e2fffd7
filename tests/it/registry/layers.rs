//! The order of a client's layers, by what each of them does over real sockets. Time is real here:
//! counts are exact, and times have bounds that a busy machine keeps.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use maskinporten::{Error, ErrorKind, TokenContext};
use maskinporten_sim::{Entry, Fault, Route, Sim};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Service;
use tower::timeout::error::Elapsed;
use tower_maskinporten::{
    BoxError, ClientRegistry, HttpBody, HttpClient, NamedClient, NamedClientBuilder,
};

use super::*;

const KEY: &str = "Ocp-Apim-Subscription-Key";

/// The organisation that the simulator's clients belong to.
const OWNER: &str = "991825827";
const CUSTOMER: &str = "311169963";

/// A client of the protected API.
fn echo(
    server: &SimServer,
    client: &MaskinportenClient,
    declare: impl FnOnce(NamedClientBuilder) -> NamedClientBuilder,
) -> NamedClient<HttpClient> {
    let clients = ClientRegistry::builder(client).client("echo", |c| {
        declare(c.maskinporten(SCOPES).base_url(api(server)))
    });
    clients.build().unwrap().get("echo").unwrap()
}

fn calls(sim: &Sim) -> Vec<Entry> {
    let journal = sim.journal();
    journal.requests(Route::Api).cloned().collect()
}

fn key_of(entry: &Entry) -> Option<&str> {
    entry.header("ocp-apim-subscription-key")
}

/// Answers the next request to the API with this, once.
fn answer(sim: &Sim, status: u16, header: HeaderName, value: &str) {
    let headers = HeaderMap::from_iter([(header, HeaderValue::from_str(value).unwrap())]);
    let status = StatusCode::from_u16(status).unwrap();
    sim.fault(
        Route::Api,
        Fault::answer(status, headers, Bytes::new()).times(1),
    );
}

fn kind_of(error: &BoxError) -> Option<ErrorKind> {
    Error::find_in(&**error).map(Error::kind)
}

async fn claims(answer: Response<HttpBody>) -> Value {
    let body: Value = serde_json::from_slice(&answer.into_body().bytes().await.unwrap()).unwrap();
    body["claims"].clone()
}

// ===== times =====

#[tokio::test]
async fn the_whole_time_covers_the_wait_for_a_token() {
    let (server, client) = served().await;
    server.sim().fault(Route::Token, Fault::hang());
    let echo = echo(&server, &client, |c| c.timeout(Duration::from_millis(300)));

    let began = Instant::now();
    let error = echo.get("echo").await.unwrap_err();

    assert!(error.is::<Elapsed>(), "{error:?}");
    assert!(began.elapsed() < seconds(8), "the flight itself has longer");
    assert_eq!(calls(server.sim()).len(), 0);
}

#[tokio::test]
async fn the_time_of_an_attempt_begins_when_it_has_its_token() {
    let (server, client) = served().await;
    let slow = Duration::from_millis(2500);
    server
        .sim()
        .fault(Route::Token, Fault::latency(slow).times(1));
    let echo = echo(&server, &client, |c| c.attempt_timeout(seconds(2)));

    let began = Instant::now();
    assert_eq!(echo.get("echo").await.unwrap().status(), 200);
    assert!(began.elapsed() >= slow);
}

#[tokio::test]
async fn an_attempt_whose_time_is_up_is_followed_by_another_within_the_whole_time() {
    let (server, client) = served().await;
    server.sim().fault(Route::Api, Fault::hang().times(1));
    let echo = echo(&server, &client, |c| {
        c.attempt_timeout(seconds(1)).retries(5)
    });

    assert_eq!(echo.get("echo").await.unwrap().status(), 200);
    assert!(calls(server.sim()).iter().any(Entry::is_accepted));
}

#[test]
fn outside_a_runtime_there_is_a_typed_error_and_no_panic() {
    let clients = ClientRegistry::builder(&anybody()).client("a", |c| {
        c.maskinporten(SCOPES)
            .base_url("https://api.example.no")
            .attempt_timeout(seconds(1))
            .retries(2)
    });
    let client = clients.build().unwrap().get("a").unwrap();

    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = pin!(client.get("b")).poll(&mut cx) else {
        panic!("nothing can be sent here");
    };
    assert_eq!(kind_of(&error), Some(ErrorKind::Runtime));
    assert!(Error::find_in(&*error).unwrap().hint().is_some());

    // Where a request is made does not matter, only where it is sent.
    let request = Request::get("https://elsewhere.example/").body(Full::default());
    let sending = client.into_client().call(request.unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(sending).unwrap_err();
    assert_eq!(kind_of(&error), Some(ErrorKind::Origin));
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_not_tried_again() {
    let (url, reached) = self_signed().await;
    let clients = ClientRegistry::builder(&anybody())
        .client("a", |c| c.maskinporten(SCOPES).base_url(url).retries(2));
    let client = clients.build().unwrap().get("a").unwrap();

    client.get("b").await.unwrap_err();

    assert_eq!(reached.load(Ordering::Relaxed), 1);
}

// ===== who is shown what =====

#[tokio::test]
async fn token_and_key_go_to_the_base_url_together() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| c.secret_header(KEY, "canary"));

    let request = Request::post("/echo?a=b").header(KEY, "the caller's own");
    let answer = echo.send(request.body("hello").unwrap()).await.unwrap();

    assert_eq!(answer.status(), 200);
    let calls = calls(server.sim());
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].path(), "/api/echo?a=b");
    assert_eq!(calls[0].header("content-length"), Some("5"));
    assert_eq!(key_of(&calls[0]), Some("[redacted]"));
}

#[tokio::test]
async fn a_whole_address_meets_the_guard() {
    let (server, client) = served().await;
    let foreign = SimServer::start().await.unwrap();
    let echo = echo(&server, &client, |c| {
        c.secret_header(KEY, "canary").retries(2)
    });

    let own = format!("{}api/other", server.url());
    assert_eq!(echo.get(&own).await.unwrap().status(), 200);
    for address in [
        format!("{}api/echo", foreign.url()),
        format!("{}api/echo", server.url()).replace("127.0.0.1", "localhost"),
        "https://127.0.0.1:1/".to_owned(),
    ] {
        let error = echo.get(&address).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::Origin), "{address}");
        let request = Request::get(&address).body("").unwrap();
        let error = echo.send(request).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::Origin), "{address}");
    }

    assert_eq!(calls(server.sim()).len(), 1);
    assert!(foreign.sim().journal().entries().is_empty());
}

#[tokio::test]
async fn a_path_that_leaves_the_prefix_is_not_sent() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| c);

    for path in [
        "/../_sim/journal",
        "/%2e%2e/jwk",
        "//elsewhere.example/",
        "*",
    ] {
        let request = Request::get(path).body("").unwrap();
        let error = echo.send(request).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::Request), "{path}");
        let error = echo.get(path).await.unwrap_err();
        assert_eq!(kind_of(&error), Some(ErrorKind::Request), "{path}");
    }
    assert!(server.sim().journal().entries().is_empty());
}

// ===== redirects =====

#[tokio::test]
async fn neither_token_nor_key_follows_a_redirect_to_another_origin() {
    for status in [301, 302, 303, 307, 308] {
        let (server, client) = served().await;
        let foreign = SimServer::start().await.unwrap();
        let echo = echo(&server, &client, |c| {
            c.secret_header(KEY, "canary").redirects(3).retries(2)
        });
        answer(server.sim(), status, LOCATION, "/api/next");
        answer(
            server.sim(),
            status,
            LOCATION,
            &format!("{}api/echo", foreign.url()),
        );

        let error = echo.get("echo").await.unwrap_err();

        assert_eq!(kind_of(&error), Some(ErrorKind::Origin), "{status}");
        let calls = calls(server.sim());
        let paths: Vec<_> = calls.iter().map(Entry::path).collect();
        assert_eq!(paths, ["/api/echo", "/api/next"], "{status}");
        assert!(calls.iter().all(|call| key_of(call).is_some()), "{status}");
        assert!(foreign.sim().journal().entries().is_empty(), "{status}");
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_token_and_key() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| {
        c.secret_header(KEY, "canary").redirects(1)
    });
    answer(server.sim(), 302, LOCATION, "/api/next");

    assert_eq!(echo.get("echo").await.unwrap().status(), 200);

    let calls = calls(server.sim());
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| key_of(call).is_some()));
    assert!(calls[1].is_accepted());

    // No more than were declared.
    for next in ["/api/1", "/api/2"] {
        answer(server.sim(), 302, LOCATION, next);
    }
    assert_eq!(echo.get("echo").await.unwrap().status(), 302);
}

#[tokio::test]
async fn a_body_goes_along_where_the_method_does() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| c.redirects(1));
    for (status, method, length) in [
        (307, "POST", Some("5")),
        (308, "POST", Some("5")),
        (303, "GET", None),
    ] {
        server.sim().clear_journal();
        answer(server.sim(), status, LOCATION, "/api/next");
        let request = Request::post("/echo").body("hello").unwrap();
        assert_eq!(echo.send(request).await.unwrap().status(), 200, "{status}");
        let calls = calls(server.sim());
        assert_eq!(calls.len(), 2, "{status}");
        assert_eq!(calls[1].method(), method, "{status}");
        assert_eq!(calls[1].header("content-length"), length, "{status}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed_where_none_is_declared() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| c);
    answer(server.sim(), 302, LOCATION, "/api/next");

    let answer = echo.get("echo").await.unwrap();

    assert_eq!(answer.status(), 302);
    assert_eq!(calls(server.sim()).len(), 1);
}

// ===== identities =====

#[tokio::test]
async fn two_identities_in_one_process_have_their_own_tokens() {
    let (server, client) = served().await;
    let other = server.sim().new_client(SCOPES);
    let clients = ClientRegistry::builder(&client)
        .identity("tax", &client_of(&server, &other))
        .client("ours", |c| c.maskinporten(SCOPES).base_url(api(&server)))
        .client("theirs", |c| {
            c.maskinporten(SCOPES)
                .base_url(api(&server))
                .identity("tax")
        })
        .build()
        .unwrap();

    let who = async |name: &str| {
        let answer = clients.get(name).unwrap().get("echo").await.unwrap();
        claims(answer).await["client_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };

    assert_eq!(who("theirs").await, other.client_id());
    assert_ne!(who("ours").await, other.client_id());
    assert_eq!(who("theirs").await, other.client_id());
    assert_eq!(server.sim().journal().grants(), 2);
}

fn on_behalf_of(organisation: &str, path: &str) -> Request<&'static str> {
    let context = TokenContext::new().consumer_org(organisation).unwrap();
    let mut request = Request::get(path).body("").unwrap();
    request.extensions_mut().insert(context);
    request
}

#[tokio::test]
async fn a_client_per_organisation_sends_nothing_in_its_own_name() {
    let (server, client) = served().await;
    server.sim().delegate(CUSTOMER, OWNER, SCOPES[0]);
    let echo = echo(&server, &client, |c| {
        c.per_organisation().retries(2).redirects(2)
    });

    let error = echo.get("echo").await.unwrap_err();
    assert_eq!(kind_of(&error), Some(ErrorKind::Request));
    assert!(server.sim().journal().entries().is_empty());

    // The organisation is kept through an attempt that fails and a hop.
    answer(server.sim(), 503, LOCATION, "/api/nowhere");
    answer(server.sim(), 302, LOCATION, "/api/next");
    let answer = echo.send(on_behalf_of(CUSTOMER, "/echo")).await.unwrap();
    let consumer = claims(answer).await["consumer"]["ID"].clone();
    assert_eq!(consumer, format!("0192:{CUSTOMER}"));
    assert_eq!(calls(server.sim()).len(), 3);
}

#[tokio::test]
async fn a_context_that_nobody_expects_is_refused_and_an_optional_one_is_kept() {
    let (server, client) = served().await;
    server.sim().delegate(CUSTOMER, OWNER, SCOPES[0]);
    let unexpected = echo(&server, &client, |c| c);
    let optional = echo(&server, &client, NamedClientBuilder::optional_context);

    let error = unexpected.send(on_behalf_of(CUSTOMER, "/echo")).await;
    assert_eq!(kind_of(&error.unwrap_err()), Some(ErrorKind::Request));
    assert_eq!(calls(server.sim()).len(), 0);

    let answer = optional
        .send(on_behalf_of(CUSTOMER, "/echo"))
        .await
        .unwrap();
    let consumer = format!("0192:{CUSTOMER}");
    assert_eq!(claims(answer).await["consumer"]["ID"], consumer);
    let answer = optional.get("echo").await.unwrap();
    assert_ne!(claims(answer).await["consumer"]["ID"], consumer);
}

// ===== a token that is not accepted =====

#[tokio::test]
async fn a_token_that_is_not_accepted_is_replaced_where_that_is_declared() {
    let (server, client) = served().await;
    let plain = echo(&server, &client, |c| c);
    let replaying = echo(&server, &client, |c| {
        c.replay_on_unauthorized().secret_header(KEY, "canary")
    });
    let refuse = || {
        let challenge = r#"Bearer error="invalid_token""#;
        answer(server.sim(), 401, WWW_AUTHENTICATE, challenge);
    };

    refuse();
    let answer = replaying.get("echo").await.unwrap();
    assert_eq!(answer.status(), 200);
    let sent = calls(server.sim());
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|call| key_of(call).is_some()));
    assert_eq!(server.sim().journal().grants(), 2);

    refuse();
    assert_eq!(plain.get("echo").await.unwrap().status(), 401);
}

// ===== what clients share =====

#[tokio::test]
async fn all_clones_of_a_client_share_one_token() {
    let (server, client) = served().await;
    let echo = echo(&server, &client, |c| c);

    let all = (0..20).map(|_| {
        let echo = echo.clone();
        tokio::spawn(async move { echo.get("echo").await.unwrap().status() })
    });
    for status in join_all(all).await {
        assert_eq!(status.unwrap(), 200);
    }

    assert_eq!(server.sim().journal().grants(), 1);
    assert_eq!(calls(server.sim()).len(), 20);
}

#[tokio::test]
async fn the_clients_of_a_registry_share_their_connections() {
    let (_server, client) = served().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(answer_all(stream));
        }
    });
    let clients = ["a", "b"]
        .into_iter()
        .fold(ClientRegistry::builder(&client), |clients, name| {
            clients.client(name, |c| c.maskinporten(SCOPES).base_url(&address))
        });
    let clients = clients.build().unwrap();

    for name in ["a", "b"].repeat(5) {
        let answer = clients.get(name).unwrap().get("x").await.unwrap();
        assert_eq!(answer.into_body().bytes().await.unwrap(), "ok");
    }

    // One is enough, unless the next request was quicker than the pool.
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections < 10, "{connections}");
}

/// Answers the requests of a connection, which have no bodies.
async fn answer_all(mut stream: TcpStream) {
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.unwrap() > 0 {
        if read.ends_with(b"\r\n\r\n") {
            read.clear();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    }
}
