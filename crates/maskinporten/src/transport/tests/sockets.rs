//! The default transport against servers that behave badly, over plain http on this machine.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{self, Handle};
use tokio::sync::{Barrier, mpsc, oneshot};
use tokio::task::JoinSet;

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

// ===== kept connections =====

/// Answers, keeps the connection open, and counts connections.
pub(in crate::transport) async fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = serve(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            while !request(&mut stream).await.is_empty() {
                give(&mut stream).await;
            }
        }
    });
    (server.await, count)
}

/// Answers one request; the connection may be kept.
async fn give(stream: &mut TcpStream) {
    let answer = format!("{OK}content-length: 2\r\n\r\n{{}}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// With a body, so that the servers here see where it ends.
fn get(uri: &str) -> Request<Bytes> {
    let mut request = post(uri);
    *request.method_mut() = Method::GET;
    request
}

async fn ask_over(transport: &Transport, server: SocketAddr) -> Result<Response<Bytes>> {
    let request = post(&format!("http://{server}/token"));
    transport.round_trip(request, PATIENCE).await
}

#[tokio::test]
async fn requests_one_after_another_share_a_connection() {
    let (server, count) = counting().await;
    let transport = transport();
    for _ in 0..50 {
        ask_over(&transport, server).await.unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_connections_as_requests_at_once() {
    const AT_ONCE: usize = 32;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let all = Arc::new(Barrier::new(AT_ONCE));
    let server = serve(move |mut stream| {
        let all = (counted.fetch_add(1, Ordering::Relaxed) < AT_ONCE).then(|| Arc::clone(&all));
        async move {
            request(&mut stream).await;
            if let Some(all) = all {
                all.wait().await;
            }
            give(&mut stream).await;
            while !request(&mut stream).await.is_empty() {
                give(&mut stream).await;
            }
        }
    })
    .await;

    let transport = transport();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let transport = transport.clone();
        tasks.spawn(async move {
            for _ in 0..16 {
                ask_over(&transport, server).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), AT_ONCE);
}

/// Answers the first request of each connection, and then does `then`. Counts connections.
async fn answering_once<F, Fut>(then: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = serve(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let then = then.clone();
        async move {
            if !request(&mut stream).await.is_empty() {
                give(&mut stream).await;
                then(stream).await;
            }
        }
    });
    (server.await, count)
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_few_seconds_or_with_its_transport() {
    for kept in [true, false] {
        let (left, mut leaves) = mpsc::unbounded_channel();
        let (server, _) = answering_once(move |mut stream| {
            let left = left.clone();
            async move {
                let end = stream.read(&mut [0]).await;
                left.send(end.unwrap()).unwrap();
            }
        })
        .await;
        let transport = transport();
        ask_over(&transport, server).await.unwrap();
        let transport = kept.then_some(transport);
        assert_eq!(leaves.recv().await, Some(0));
        drop(transport);
    }
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    let (seen, mut sees) = mpsc::unbounded_channel();
    let (server, count) = answering_once(move |mut stream| {
        let seen = seen.clone();
        async move {
            stream.shutdown().await.unwrap();
            // Until the client has seen it and has closed its side.
            seen.send(stream.read(&mut [0]).await.unwrap()).unwrap();
        }
    })
    .await;
    let transport = transport();
    for _ in 0..3 {
        ask_over(&transport, server).await.unwrap();
        assert_eq!(sees.recv().await, Some(0));
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_assertion_whose_kept_connection_is_closed_unanswered_is_not_sent_again() {
    let (seen, mut sees) = mpsc::unbounded_channel();
    let (server, count) = answering_once(move |mut stream| {
        let seen = seen.clone();
        async move { seen.send(request(&mut stream).await).unwrap() }
    })
    .await;
    let transport = transport();
    ask_over(&transport, server).await.unwrap();

    let error = refused(ask_over(&transport, server).await);
    check(&error, ErrorKind::Unreachable, true, &advice::NETWORK);
    assert!(is_hung_up(&error), "{error:?}");
    assert!(sees.recv().await.unwrap().starts_with("POST /token "));
    assert_eq!(count.load(Ordering::Relaxed), 1);

    // On a new connection.
    ask_over(&transport, server).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert!(sees.is_empty());
}

#[tokio::test]
async fn a_get_whose_kept_connection_is_closed_unanswered_is_sent_on_a_new_one() {
    let (server, count) = answering_once(|mut stream| async move {
        request(&mut stream).await;
    })
    .await;
    let transport = transport();
    for _ in 0..2 {
        let request = get(&format!("http://{server}/"));
        transport.round_trip(request, PATIENCE).await.unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_idle_connections_at_once_gets_no_assertion_twice() {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&arrived);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = serve(move |mut stream| {
        let noted = Arc::clone(&noted);
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let first = request(&mut stream).await;
            noted.lock().unwrap().push(first);
            give(&mut stream).await;
            // Of every other connection both sides are closed at once: what still arrives is reset.
            if number.is_multiple_of(2) {
                stream.shutdown().await.unwrap();
                let mut late = String::new();
                let _ = stream.read_to_string(&mut late).await;
                noted.lock().unwrap().push(late);
            }
        }
    })
    .await;

    let transport = transport();
    let mut answered = 0;
    for number in 0..300 {
        let uri = format!("http://{server}/{number}");
        transport.round_trip(get(&uri), PATIENCE).await.unwrap();
        match transport.round_trip(post(&uri), PATIENCE).await {
            Ok(_) => answered += 1,
            Err(error) => assert!(is_hung_up(&error), "{error:?}"),
        }
    }
    assert_eq!(connections.load(Ordering::Relaxed), 300 + answered);

    let arrived = arrived.lock().unwrap();
    let mut assertions: Vec<_> = arrived
        .iter()
        .filter(|text| text.starts_with("POST"))
        .collect();
    assertions.sort_unstable();
    let count = assertions.len();
    assertions.dedup();
    assert_eq!(assertions.len(), count, "an assertion arrived twice");
    assert!((answered..=300).contains(&count), "{count}");
}

#[tokio::test]
async fn a_kept_connection_that_falls_silent_takes_the_others_along() {
    let together = Arc::new(Barrier::new(2));
    let (left, mut leaves) = mpsc::unbounded_channel();
    let server = serve(move |mut stream| {
        let (together, left) = (Arc::clone(&together), left.clone());
        async move {
            request(&mut stream).await;
            together.wait().await;
            give(&mut stream).await;
            // Requests are read and not answered.
            while !request(&mut stream).await.is_empty() {}
            left.send(()).unwrap();
        }
    })
    .await;
    let transport = transport();
    let both = tokio::join!(ask_over(&transport, server), ask_over(&transport, server));
    both.0.and(both.1).unwrap();

    let asked = transport.round_trip(post(&format!("http://{server}/token")), IMPATIENCE);
    let error = refused(asked.await);
    check(&error, ErrorKind::Unreachable, true, &advice::SILENCE);
    // Both are closed, the one that fell silent and the idle one.
    leaves.recv().await.unwrap();
    leaves.recv().await.unwrap();
    let both = tokio::join!(ask_over(&transport, server), ask_over(&transport, server));
    both.0.and(both.1).unwrap();
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
    let (server, count) = world.block_on(counting());
    let transport = transport();
    let ask = || ask_over(&transport, server);
    let count = || count.load(Ordering::Relaxed);

    let first = small_runtime();
    first.block_on(ask()).unwrap();
    // `first` is there, but is not driven.
    small_runtime().block_on(ask()).unwrap();
    assert_eq!(count(), 2);
    // It is driven again, and finds its connection.
    first.block_on(ask()).unwrap();
    assert_eq!(count(), 2);
    drop(first);
    small_runtime().block_on(ask()).unwrap();
    assert_eq!(count(), 3);
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
