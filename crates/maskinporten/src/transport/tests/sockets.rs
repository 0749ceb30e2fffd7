//! The default transport against servers that behave badly, over plain http on this machine.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// A server that gives each connection to `handle`.
pub(super) async fn serve<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Handle::current().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            Handle::current().spawn(handle(stream));
        }
    });
    address
}

/// Reads one request, head and body.
pub(super) async fn request<S: AsyncReadExt + Unpin>(stream: &mut S) -> String {
    let mut text = Vec::new();
    while !text.ends_with(ASSERTION.as_bytes()) && stream.read_buf(&mut text).await.unwrap() > 0 {}
    String::from_utf8(text).unwrap()
}

/// A port that refuses, and is nobody else's while it is held.
pub(super) fn closed_port() -> (TcpSocket, SocketAddr) {
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = port.local_addr().unwrap();
    (port, address)
}

fn transport() -> Transport {
    Transport::builder().build().unwrap()
}

async fn ask(server: SocketAddr, limit: Duration) -> Result<Response<Bytes>> {
    let request = post(&format!("http://{server}/token"));
    transport().round_trip(request, limit).await
}

/// Asks a server that reads the request and says this, then hangs up.
async fn ask_one_who_says(answer: &'static str) -> Result<Response<Bytes>> {
    let server = serve(move |mut stream| async move {
        request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    ask(server.await, PATIENCE).await
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    let answer = ask_one_who_says(
        "HTTP/1.1 400 Bad Request\r\nx-trace: 7\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n\
         3\r\n{\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\nx: y\r\n\r\n",
    );
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["x-trace"], "7");
    assert_eq!(answer.body(), r#"{"a":1}"#);
}

#[tokio::test]
async fn a_request_goes_out_as_it_was_made_and_asks_for_no_compression() {
    let (seen, sees) = oneshot::channel();
    let seen = Mutex::new(Some(seen));
    let server = serve(move |mut stream| {
        let seen = seen.lock().unwrap().take().unwrap();
        async move {
            seen.send(request(&mut stream).await).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.write_all(b"\r\n").await.unwrap();
        }
    })
    .await;
    ask(server, PATIENCE).await.unwrap();
    let text = sees.await.unwrap().to_lowercase();
    assert!(text.starts_with("post /token http/1.1\r\n"), "{text}");
    assert!(text.contains(&format!("host: {server}\r\n")), "{text}");
    assert!(!text.contains("accept-encoding"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = ask_one_who_says(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(answer.await.unwrap().status(), 307);
}

// ===== silence =====

#[tokio::test]
async fn a_server_that_hangs_is_left_when_the_time_is_up() {
    let (left, leaves) = oneshot::channel();
    let left = Mutex::new(Some(left));
    let server = serve(move |mut stream| {
        let left = left.lock().unwrap().take().unwrap();
        async move {
            request(&mut stream).await;
            // The end of the stream, or a reset: the connection was closed.
            let _ = stream.read(&mut [0]).await;
            left.send(()).unwrap();
        }
    });
    let error = refused(ask(server.await, IMPATIENCE).await);
    check(&error, ErrorKind::Unreachable, true, &advice::SILENCE);
    leaves.await.unwrap();
}

#[tokio::test]
async fn the_limit_covers_a_body_that_trickles() {
    let server = serve(|mut stream| async move {
        request(&mut stream).await;
        let head = format!("{OK}content-length: 1000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(IMPATIENCE / 10).await;
        }
    });
    let error = refused(ask(server.await, IMPATIENCE).await);
    check(&error, ErrorKind::Unreachable, true, &advice::SILENCE);
}

#[tokio::test]
async fn the_time_for_a_connection_ends_a_handshake_that_never_comes() {
    let server = serve(|stream| async move {
        pending::<()>().await;
        drop(stream);
    })
    .await;
    let transport = Transport::builder()
        .connect_timeout(IMPATIENCE)
        .add_root_certificates(tls::Authority::new().pem())
        .build()
        .unwrap();
    let asked = transport.round_trip(post(&format!("https://{server}")), PATIENCE);
    let error = refused(asked.await);
    check(&error, ErrorKind::Unreachable, true, &advice::SILENCE);
    assert!(error.to_string().ends_with("within 300ms"), "{error}");
}

// ===== too much =====

#[track_caller]
fn check_too_large(error: &Error) {
    check(error, ErrorKind::Protocol, true, &advice::NOT_AN_ANSWER);
    assert_eq!(error.to_string(), "the answer is larger than 64 KiB");
}

/// How much of 64 MiB the server got rid of before the connection was closed.
async fn flood(head: &'static str, piece: Vec<u8>) -> (Error, usize) {
    let (done, sent) = oneshot::channel();
    let done = Mutex::new(Some(done));
    let server = serve(move |mut stream| {
        let done = done.lock().unwrap().take().unwrap();
        let piece = piece.clone();
        async move {
            request(&mut stream).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut count = 0;
            while count < 64 << 20 && stream.write_all(&piece).await.is_ok() {
                count += piece.len();
            }
            done.send(count).unwrap();
        }
    });
    let error = refused(ask(server.await, PATIENCE).await);
    (error, sent.await.unwrap())
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_not_read() {
    let answer = ask_one_who_says("HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n");
    check_too_large(&refused(answer.await));
}

#[tokio::test]
async fn a_body_without_length_is_left_at_64_kib() {
    let (error, sent) = flood("HTTP/1.1 200 OK\r\n\r\n", vec![b' '; 16 << 10]).await;
    check_too_large(&error);
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn endless_chunks_are_left_at_64_kib() {
    let piece = b"1\r\n \r\n".repeat(1 << 10);
    let (error, sent) = flood(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        piece,
    )
    .await;
    check_too_large(&error);
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn endless_headers_are_no_answer() {
    let (error, sent) = flood("HTTP/1.1 200 OK\r\nx: ", vec![b'x'; 16 << 10]).await;
    check(&error, ErrorKind::Protocol, true, &advice::NOT_AN_ANSWER);
    assert!(sent < 64 << 20, "{sent}");
}

// ===== no answer =====

#[tokio::test]
async fn nobody_at_the_port_is_unreachable() {
    let (_port, server) = closed_port();
    let error = refused(ask(server, PATIENCE).await);
    check(&error, ErrorKind::Unreachable, true, &advice::NETWORK);
    assert_eq!(error.endpoint(), Some(&*format!("http://{server}/token")));
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    let request = post("https://nowhere.invalid/token");
    let transport = Transport::builder()
        .add_root_certificates(tls::Authority::new().pem())
        .build()
        .unwrap();
    let error = refused(transport.round_trip(request, PATIENCE).await);
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_answer_is_unreachable() {
    for half in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
    ] {
        let error = refused(ask_one_who_says(half).await);
        check(&error, ErrorKind::Unreachable, true, &advice::NETWORK);
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_unreachable() {
    let server = serve(|mut stream| async move {
        stream.readable().await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        // Closed with the request unread, which is answered with a reset.
    });
    let error = refused(ask(server.await, PATIENCE).await);
    check(&error, ErrorKind::Unreachable, true, &advice::NETWORK);
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    let error = refused(ask_one_who_says("SSH-2.0-OpenSSH_9.2p1\r\n\r\n").await);
    check(&error, ErrorKind::Protocol, true, &advice::NOT_AN_ANSWER);
}

// ===== one request, one connection =====

/// Answers, keeps the connection open, and counts connections.
async fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = serve(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            while !request(&mut stream).await.is_empty() {
                let answer = format!("{OK}content-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (server.await, count)
}

#[tokio::test]
async fn each_request_has_a_connection_of_its_own() {
    let (server, count) = counting().await;
    let transport = transport();
    for _ in 0..3 {
        let request = post(&format!("http://{server}/token"));
        transport.round_trip(request, PATIENCE).await.unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

fn small_runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_runtime_that_is_gone_or_idle_does_not_hold_the_next_request_up() {
    let world = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (server, _) = world.block_on(counting());
    let transport = transport();
    let ask = || {
        let request = post(&format!("http://{server}/token"));
        transport.round_trip(request, PATIENCE)
    };

    let first = small_runtime();
    first.block_on(ask()).unwrap();
    // `first` is there, but nobody drives it.
    small_runtime().block_on(ask()).unwrap();
    drop(first);
    small_runtime().block_on(ask()).unwrap();
}

// ===== the connector by itself =====

fn client() -> Client<HttpsConnector, Full<Bytes>> {
    let connector = Transport::builder().connector().unwrap();
    Client::builder(TokioExecutor::new()).build(connector)
}

#[tokio::test]
async fn a_client_over_the_connector_may_keep_its_connections() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = serve(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            while !request(&mut stream).await.is_empty() {
                let answer = format!("{OK}content-length: 2\r\n\r\nok");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let (server, client) = (server.await, client());

    for _ in 0..10 {
        let asked = client.request(post(&format!("http://{server}/")).map(Full::new));
        let body = asked.await.unwrap().into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "ok");
    }

    // One is enough, unless the next request was quicker than the pool.
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections < 10, "{connections}");
}

#[tokio::test]
async fn the_connector_itself_refuses_plain_http_to_anything_but_this_machine() {
    for server in ["http://api.example.no/", "http://127.0.0.1.example.no:80/"] {
        let asked = client().request(post(server).map(Full::new));
        let error = asked.await.expect_err("it is plain http");
        let error = Error::find_in(&error).expect("it is ours");
        check(error, ErrorKind::Settings, false, &advice::INSECURE_ADDRESS);
    }
}
