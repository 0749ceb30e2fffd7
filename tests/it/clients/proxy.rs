//! A reqwest client with a proxy of its own, by code or from the environment: what the proxy is shown.
//!
//! - https goes through a tunnel (`CONNECT`): the proxy is shown a host and a port, and no token.
//! - Plain http goes to the proxy whole, token and all. A token is sent over plain http to this machine only
//!   (a sidecar, a test), so it is such requests that a proxy elsewhere may get to see: `NO_PROXY` with
//!   `localhost,127.0.0.1,::1`, or `no_proxy()` on the client, keeps them here. The layer cannot: it hands a
//!   request on with its address, and how the client gets there is the client's.
//! - Our own way to the token server asks nobody on this machine through a proxy.

use std::sync::{Arc, Mutex};

use maskinporten::TokenKind;
use reqwest::{Certificate, Client, ClientBuilder, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use super::Call;
use super::place::Place;
use super::reqwest::request;
use super::servers::{AUTHORITY, Protocol};
use crate::child;

/// A proxy that keeps all that passes it. It tunnels, and answers by itself what it could forward.
struct Forward {
    url: String,
    heard: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Forward {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let mut tasks = JoinSet::new();
        let notes = Arc::clone(&heard);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&notes)));
            }
        });
        Self {
            url,
            heard,
            _tasks: tasks,
        }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

async fn converse(mut client: TcpStream, heard: Arc<Mutex<Vec<u8>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    heard.lock().unwrap().extend(&head);
    let head = String::from_utf8(head).unwrap();
    let Some(tunnel) = head.strip_prefix("CONNECT ") else {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = client.write_all(answer).await;
        return;
    };
    let to = tunnel.split(' ').next().unwrap();
    let mut server = TcpStream::connect(to).await.unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let upwards = async {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            heard.lock().unwrap().extend(&buffer[..length]);
            if to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    // Over when either side is.
    tokio::select! {
        () = upwards => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

fn builder() -> ClientBuilder {
    let root = Certificate::from_pem(AUTHORITY.pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([root])
}

/// Calls an API of this scheme with a token; which API, and which token.
async fn call(client: Client, tls: bool) -> (String, String) {
    let place = Place::new(TokenKind::Maskinporten, Protocol::Http1, tls).await;
    let url = place.home.origin() + "/";
    let service = place.guarded().maskinporten().layer(client);
    let response = service
        .oneshot(request(&Call {
            url,
            streamed: false,
        }))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let token = place
        .client
        .access_token(crate::world::SCOPES)
        .await
        .unwrap();
    assert_eq!(place.issued(), 1);
    (place.home.origin(), token.expose().to_owned())
}

/// What is shown by each scheme: a tunnel's address, a whole request.
#[track_caller]
fn check_heard(heard: &str, https: &(String, String), http: &(String, String)) {
    let host = https.0.strip_prefix("https://").unwrap();
    assert!(
        heard.contains(&format!("CONNECT {host} HTTP/1.1\r\n")),
        "{heard}"
    );
    assert!(!heard.contains(&https.1), "{heard}");
    assert!(
        heard.contains(&format!("POST {}/ HTTP/1.1\r\n", http.0)),
        "{heard}"
    );
    assert!(
        heard.contains(&format!("authorization: Bearer {}\r\n", http.1)),
        "{heard}"
    );
    assert_eq!(heard.matches("authorization:").count(), 1, "{heard}");
    // The token server is here, and was asked without a detour.
    assert!(
        !heard.contains("/token") && !heard.contains("assertion"),
        "{heard}"
    );
}

#[tokio::test]
async fn a_proxy_is_shown_a_host_by_https_and_the_whole_request_by_plain_http() {
    let proxy = Forward::start().await;
    let client = builder()
        .proxy(Proxy::all(&proxy.url).unwrap())
        .build()
        .unwrap();

    let https = call(client.clone(), true).await;
    let http = call(client, false).await;

    check_heard(&proxy.heard(), &https, &http);
}

/// Runs a test again as a process with a proxy in its environment: what it called with, and what the proxy
/// heard.
async fn in_environment(
    test: &'static str,
    no_proxy: Option<&'static str>,
) -> (Vec<String>, String) {
    let proxy = Forward::start().await;
    let url = proxy.url.clone();
    let run = move || {
        let mut variables = vec![("HTTP_PROXY", &*url), ("HTTPS_PROXY", &*url)];
        variables.extend(no_proxy.map(|hosts| ("NO_PROXY", hosts)));
        child::run(test, &variables)
    };
    let said = tokio::task::spawn_blocking(run).await.unwrap();
    let noted = said.lines().filter_map(|line| line.strip_prefix("noted: "));
    (noted.map(str::to_owned).collect(), proxy.heard())
}

/// What the process does.
async fn call_by_both_schemes() {
    for tls in [true, false] {
        let (origin, token) = call(builder().build().unwrap(), tls).await;
        println!("noted: {origin}\nnoted: {token}");
    }
}

#[tokio::test]
async fn a_proxy_from_the_environment_is_shown_as_much() {
    if child::is_here() {
        return call_by_both_schemes().await;
    }
    let test = "clients::proxy::a_proxy_from_the_environment_is_shown_as_much";
    let (noted, heard) = in_environment(test, None).await;
    let [https, token, http, another] = <[String; 4]>::try_from(noted).unwrap();
    check_heard(&heard, &(https, token), &(http, another));
}

#[tokio::test]
async fn no_proxy_for_this_machine_keeps_its_requests_here() {
    if child::is_here() {
        return call_by_both_schemes().await;
    }
    let test = "clients::proxy::no_proxy_for_this_machine_keeps_its_requests_here";
    let (noted, heard) = in_environment(test, Some("localhost,127.0.0.1,::1")).await;
    assert_eq!(noted.len(), 4);
    assert_eq!(heard, "");
}
