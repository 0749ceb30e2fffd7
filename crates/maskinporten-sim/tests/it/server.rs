//! The same world over a real socket, by the wall clock.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use maskinporten_sim::{Sim, SimServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Grant, form};

async fn exchange_bytes(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_grant_is_answered_over_a_socket() {
    let server = SimServer::start().await.unwrap();
    assert_eq!(
        server.url(),
        format!("http://127.0.0.1:{}/", server.addr().port())
    );
    assert_eq!(server.sim().issuer(), server.url());
    let sidecar = format!("{}api/v1/token", server.url());
    assert_eq!(server.sidecar_endpoint(), sidecar);
    assert_eq!(server.sim().sidecar_endpoint(), sidecar);
    let off = server
        .sim()
        .clock()
        .now()
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    assert!(off < Duration::from_secs(1));

    let grant = Grant::in_world(server.sim().clone());
    let form = form(&grant.assertion());
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: any\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = exchange_bytes(server.addr(), &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"access_token\""));
    assert_eq!(answer.matches("\r\ndate: ").count(), 1);
    assert_eq!(server.sim().journal().grants(), 1);
}

#[tokio::test]
async fn a_sidecar_is_asked_over_a_socket() {
    let server = SimServer::start().await.unwrap();
    server.sim().new_client(["a:b"]);
    let body = r#"{"identity_provider":"maskinporten","target":"a:b"}"#;
    let request = format!(
        "POST /api/v1/token HTTP/1.1\r\nhost: any\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..2 {
        let answer = exchange_bytes(server.addr(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\"access_token\""));
    }
    let journal = server.sim().journal();
    assert_eq!(
        (journal.sidecar_requests(), journal.token_requests()),
        (2, 1)
    );
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_its_port_and_its_connections() {
    let server = SimServer::start().await.unwrap();
    let addr = server.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    idle.write_all(b"GET /jwk HTTP/1.1\r\nhost: any\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    drop(server);
    let mut rest = Vec::new();
    // Closed, cleanly or not; a connection left open would keep this waiting.
    let _ = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_chosen_issuer_is_kept_on_a_port() {
    let sim = Sim::builder()
        .issuer("https://chosen.example/")
        .wall_clock()
        .build();
    let server = SimServer::bind(sim, SocketAddr::from(([0, 0, 0, 0], 0)))
        .await
        .unwrap();
    assert_eq!(server.sim().issuer(), "https://chosen.example/");
    assert!(server.url().starts_with("http://127.0.0.1:"));
    assert!(server.sidecar_endpoint().starts_with(&server.url()));
}
