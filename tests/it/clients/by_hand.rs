//! Clients that take no layer: a websocket, the hook of a generated client, a request that is made by hand.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use maskinporten::{Authorizer, Error, ErrorKind, TokenKind};
use reqwest::redirect::Policy;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{self, ErrorResponse};
use tokio_tungstenite::tungstenite::{self, http as tungstenite_http};
use tokio_tungstenite::{accept_hdr_async, client_async};
use tower_maskinporten::{ReqwestAuthorizer, same_origin_redirects};

use super::place::{PATIENCE, Place};
use super::servers::{AUTHORITY, Io, Protocol, dial};
use super::{Answer, Call, KINDS, hyper, reqwest as as_service};
use crate::world::SCOPES;

fn authorizer(place: &Place, origin: &str) -> Authorizer {
    Authorizer::new(&place.client, place.kind, SCOPES, origin).unwrap()
}

// ===== a websocket =====

/// A websocket's server, and the `Authorization` of each handshake. It refuses the first token it is shown.
struct Feed {
    url: String,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Feed {
    async fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{}/feed", listener.local_addr().unwrap());
        let shown = Arc::<Mutex<Vec<String>>>::default();
        let notes = Arc::clone(&shown);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream: Box<dyn Io> = match tls {
                    true => Box::new(
                        AUTHORITY
                            .acceptor(Protocol::Http1)
                            .accept(stream)
                            .await
                            .unwrap(),
                    ),
                    false => Box::new(stream),
                };
                let _ = accept_hdr_async(stream, judge(&notes)).await;
            }
        });
        Self { url, shown }
    }

    fn shown(&self) -> Vec<String> {
        self.shown.lock().unwrap().clone()
    }
}

#[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
fn judge(
    shown: &Arc<Mutex<Vec<String>>>,
) -> impl FnOnce(&server::Request, server::Response) -> Result<server::Response, ErrorResponse>
+ Unpin
+ use<> {
    let shown = Arc::clone(shown);
    move |request, response| {
        let value = request.headers()[AUTHORIZATION]
            .to_str()
            .unwrap()
            .to_owned();
        let mut shown = shown.lock().unwrap();
        shown.push(value);
        if shown[0] != shown[shown.len() - 1] {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::UNAUTHORIZED;
        Err(refusal)
    }
}

#[tokio::test]
async fn a_websocket_is_authorised_by_hand_and_its_401_brings_a_new_token() {
    for (kind, tls) in [(TokenKind::Maskinporten, true), (TokenKind::Altinn, false)] {
        let place = Place::new(kind, Protocol::Http1, false).await;
        let feed = Feed::start(tls).await;
        // What is listed is the origin of the server; by either name of its scheme.
        let origin = feed.url.replacen("ws", "http", 1).replace("/feed", "");
        let authorizer = authorizer(&place, &origin);
        let shake_hands = async || {
            let mut request = feed.url.as_str().into_client_request().unwrap();
            let uri = request.uri().clone();
            let sent = authorizer
                .authorize(&uri, request.headers_mut())
                .await
                .unwrap();
            let stream = dial_for(&origin).await;
            (sent, client_async(request, stream).await)
        };

        let (sent, refused) = shake_hands().await;
        let Err(tungstenite::Error::Http(mut response)) = refused else {
            panic!("it was to be refused");
        };
        sent.on_response(&mut response);
        let shaken = async {
            // Until the new token is there.
            loop {
                if let (_, Ok((_, response))) = shake_hands().await {
                    break response;
                }
            }
        };
        let taken = timeout(PATIENCE, shaken).await.unwrap();

        assert_eq!(
            taken.status(),
            tungstenite_http::StatusCode::SWITCHING_PROTOCOLS
        );
        assert!(
            feed.shown()
                .iter()
                .all(|value| value.starts_with("Bearer eyJ"))
        );
        assert_eq!(place.issued(), 2);
    }
}

async fn dial_for(origin: &str) -> Box<dyn Io> {
    let uri: Uri = format!("{origin}/").parse().unwrap();
    let stream = tower::ServiceExt::oneshot(dial(Protocol::Http1), uri)
        .await
        .unwrap();
    stream.into_inner()
}

#[tokio::test]
async fn a_websocket_elsewhere_or_without_tls_is_refused_and_has_no_token() {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    let authorizer = authorizer(&place, "wss://api.example.no");
    for elsewhere in [
        "ws://api.example.no/feed",
        "ws://api.example.no:443/feed",
        "wss://api.example.no:8443/feed",
        "wss://elsewhere.example/feed",
        "WSS://elsewhere.example/feed",
    ] {
        let mut headers = HeaderMap::new();
        let uri: Uri = elsewhere.parse().unwrap();
        let error = authorizer.authorize(&uri, &mut headers).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Origin, "{elsewhere}");
        assert!(headers.is_empty(), "{elsewhere}");
    }
    assert_eq!(place.asked(), 0);
}

// ===== the hook of a generated client =====

/// What progenitor hands to the function that `pre_hook_async` names.
struct Inner {
    authorizer: Authorizer,
}

async fn pre_hook(inner: &Inner, request: &mut reqwest::Request) -> Result<(), Error> {
    inner.authorizer.authorize_request(request).await.map(drop)
}

#[tokio::test]
async fn a_generated_clients_hook_authorises_its_requests() {
    for kind in KINDS {
        let place = Place::new(kind, Protocol::Http1, false).await;
        let authorizer = authorizer(&place, &place.home.origin());
        let client = as_service::client(same_origin_redirects());
        let inner = Inner { authorizer };
        let request = |origin: String| {
            as_service::request(&Call {
                url: origin + "/pets",
                streamed: false,
            })
        };

        for _ in 0..2 {
            let mut request = request(place.home.origin());
            pre_hook(&inner, &mut request).await.unwrap();
            assert_eq!(client.execute(request).await.unwrap().status(), 200);
        }
        let mut elsewhere = request(place.other.origin());
        let error = pre_hook(&inner, &mut elsewhere).await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Origin);
        assert!(elsewhere.headers().is_empty());
        assert_eq!(place.issued(), 1);
        assert_eq!(place.trail().len(), 2);
        assert_eq!(place.leaks(), [""; 0]);
    }
}

#[tokio::test]
async fn a_401_that_a_hook_hands_on_brings_a_new_token() {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, false).await;
    let authorizer = authorizer(&place, &place.home.origin());
    let client = as_service::client(Policy::none());
    let call = Call {
        url: place.home.origin() + "/",
        streamed: false,
    };
    let send = async || {
        let mut request = as_service::request(&call);
        let sent = authorizer.authorize_request(&mut request).await.unwrap();
        let mut response = client.execute(request).await.unwrap();
        authorizer.on_response(sent, &mut response);
        response.status().as_u16()
    };

    assert_eq!(send().await, 200);
    let old = place.trail()[0].1.clone().unwrap();
    place.plan.refuse(&old);
    assert_eq!(send().await, 401);
    let new = async { while send().await == 401 {} };
    timeout(PATIENCE, new).await.unwrap();

    assert_eq!(place.issued(), 2);
    assert_eq!(place.leaks(), [""; 0]);
}

// ===== a request that is made by hand =====

#[tokio::test]
async fn a_graphql_query_is_authorised_by_hand() {
    for kind in KINDS {
        let place = Place::new(kind, Protocol::Http1, true).await;
        let authorizer = authorizer(&place, &place.home.origin());
        let uri: Uri = (place.home.origin() + "/graphql").parse().unwrap();
        let query = r#"{"query":"{ person { name } }"}"#;
        let mut request = Request::post(&uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(query.as_bytes())))
            .unwrap();

        authorizer
            .authorize(&uri, request.headers_mut())
            .await
            .unwrap();
        let client =
            tower::util::MapErr::new(hyper::client::<Full<Bytes>>(), tower::BoxError::from);
        let answer = hyper::send(client, request).await;

        assert_eq!(answer, Answer::Status(200));
        let seen = place.book.seen();
        let arrived = seen.iter().find(|seen| seen.path == "/graphql").unwrap();
        assert_eq!(arrived.body, query);
        assert!(arrived.token().is_some());
        assert_eq!(place.leaks(), [""; 0]);
    }
}
