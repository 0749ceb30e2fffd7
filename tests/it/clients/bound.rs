//! Two origins that are both listed, and a client below the layer that follows redirects between them.

use std::sync::{Arc, Mutex};

use http::StatusCode;
use maskinporten::{MaskinportenClient, RejectedToken, TokenContext};
use maskinporten_sim::SimServer;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower_maskinporten::{MaskinportenAuthLayer, ReqwestAuthorizer, same_origin_redirects};

use crate::world::{A, API, SCOPES, fixed, settings};

/// A server on a port of its own, which is an origin of its own.
struct Site {
    origin: String,
    seen: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Site {
    /// Answers each path as `answer` says: a status, and where it redirects to.
    async fn start(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let bears = head.to_ascii_lowercase().contains("\r\nauthorization:");
                let (status, location) = answer(&path);
                log.lock().unwrap().push((path, bears));
                let location = match location.is_empty() {
                    true => String::new(),
                    false => format!("location: {location}\r\n"),
                };
                let answer = format!(
                    "HTTP/1.1 {status} x\r\n{location}content-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { origin, seen }
    }

    /// What was asked, and whether with a token.
    fn seen(&self) -> Vec<(String, bool)> {
        self.seen.lock().unwrap().clone()
    }
}

fn following(layer: MaskinportenAuthLayer) -> ClientWithMiddleware {
    let plain = reqwest::Client::builder()
        .no_proxy()
        .redirect(same_origin_redirects())
        .build()
        .unwrap();
    ClientBuilder::new(plain).with(layer).build()
}

#[tokio::test]
async fn a_bound_context_is_carried_to_no_other_origin_by_our_own_redirect_policy() {
    let other = Site::start(|path| match path {
        "/one" => (302, "/two".to_owned()),
        _ => (200, String::new()),
    })
    .await;
    let next = format!("{}/one", other.origin);
    let first = Site::start(move |path| match path {
        "/a" => (302, "/b".to_owned()),
        _ => (302, next.clone()),
    })
    .await;
    let origins = [&first.origin, &other.origin];
    let layer = MaskinportenAuthLayer::new(&fixed("token"), SCOPES, origins).unwrap();
    let client = following(layer.optional_context());

    let bound = TokenContext::new().for_origin(&first.origin).unwrap();
    let request = client.get(format!("{}/a", first.origin));
    let answer = request.with_extension(bound).send().await.unwrap();

    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(first.seen(), [("/a".into(), true), ("/b".into(), true)]);
    assert_eq!(other.seen(), []);
}

#[tokio::test]
async fn the_401_of_a_hop_to_another_origin_is_not_met_and_says_nothing() {
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(SCOPES);
    let client = MaskinportenClient::builder()
        .settings(settings(&registered))
        .build()
        .unwrap();
    let other = Site::start(|_| (401, String::new())).await;
    let next = format!("{}/", other.origin);
    let first = Site::start(move |_| (302, next.clone())).await;
    let origins = [&first.origin, &other.origin];
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, origins).unwrap();

    let response = following(layer).get(&first.origin).send().await.unwrap();

    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(other.seen(), []);
    assert_eq!(response.extensions().get::<RejectedToken>(), None);
    assert_eq!(server.sim().journal().token_requests(), 1);
}

#[tokio::test]
async fn a_request_that_is_authorised_by_hand_once_more_has_its_header_replaced() {
    let client = fixed("token");
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let context = TokenContext::new();

    let mut request = reqwest::Request::new(reqwest::Method::GET, A.parse().unwrap());
    for _ in 0..2 {
        // As a hook does that is called again for a second attempt.
        authorizer.authorize_request(&mut request).await.unwrap();
        let with = authorizer.authorize_request_with(&context, &mut request);
        with.await.unwrap();
    }
    assert_eq!(request.headers().get_all("authorization").iter().count(), 1);
}

/// What the docs say of a request that was http's first: nobody sees its extensions.
#[tokio::test]
async fn a_context_of_a_request_that_became_reqwests_is_refused_where_one_is_required() {
    use tower::{Layer, ServiceExt};

    let layer = MaskinportenAuthLayer::new(&fixed("token"), SCOPES, API).unwrap();
    let service = layer.require_context().layer(reqwest::Client::new());
    let request = http::Request::get(A)
        .extension(TokenContext::skip())
        .body("");
    let request = reqwest::Request::try_from(request.unwrap()).unwrap();

    let error = service.oneshot(request).await.unwrap_err();
    assert!(error.to_string().contains("no token context"), "{error}");
}
