//! The default transport against servers that fall silent, talk without end, or hang up: F5, F6,
//! F13, F16.
//!
//! Sockets and time are real here. Counts are exact; times have bounds that a busy machine keeps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::future::join_all;
use maskinporten::ErrorKind;
use maskinporten_sim::SimServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::*;
use crate::wire::Jws;

/// What a machine that does other things as well may be late by.
const LATE: Duration = Duration::from_secs(5);

/// A token server by hand: what it does with a connection depends on its number, from 0.
struct Server {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
    assertions: Arc<Mutex<Vec<Jws>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// Accepts, reads, and says nothing until the client hangs up.
    Silence,
    /// Sends the head of an answer, one byte a second.
    Trickle,
    /// Hangs up after half an answer.
    HangUp,
    /// Resets the connection in the middle of an answer.
    Reset,
    /// Answers with a token, as if the connection were to stay open, and closes it.
    Token,
    /// Answers with a token, and closes the connection when the next request has arrived on it.
    TokenOnce,
}

const TOKEN: &[u8] = b"{\"access_token\":\"opaque\",\"token_type\":\"Bearer\",\"expires_in\":120}";

impl Server {
    async fn start(then: impl Fn(usize) -> Then + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            assertions: Arc::default(),
        };
        let connections = Arc::clone(&server.connections);
        let assertions = Arc::clone(&server.assertions);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(stream, then(number), Arc::clone(&assertions)));
            }
        });
        server
    }

    fn client(&self) -> MaskinportenClient {
        let endpoint = format!("http://{}/token", self.address);
        client_of(&endpoint).build().unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many assertions arrived, each of which was signed for one attempt only.
    #[track_caller]
    fn distinct_assertions(&self) -> usize {
        let assertions = self.assertions.lock().unwrap();
        let ids = assertions.iter().map(|jws| jws.claims["jti"].to_string());
        let distinct: std::collections::HashSet<_> = ids.collect();
        assert_eq!(distinct.len(), assertions.len());
        distinct.len()
    }
}

async fn converse(mut stream: TcpStream, then: Then, assertions: Arc<Mutex<Vec<Jws>>>) {
    if then == Then::Reset {
        // What is closed with a request unread is reset.
        stream.readable().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await;
        return;
    }
    let first = form(&mut stream).await;
    let jws = first
        .split_once("assertion=")
        .map(|(_, jws)| Jws::parse(jws));
    assertions.lock().unwrap().extend(jws);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", TOKEN.len());
    match then {
        Then::Silence => {
            let _ = stream.read(&mut [0]).await;
        }
        Then::Trickle => {
            for byte in head.as_bytes() {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                sleep(seconds(1)).await;
            }
        }
        Then::HangUp => {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&TOKEN[..TOKEN.len() / 2]).await.unwrap();
        }
        Then::Token => {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(TOKEN).await.unwrap();
        }
        Then::TokenOnce => {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(TOKEN).await.unwrap();
            let next = form(&mut stream).await;
            let jws = next
                .split_once("assertion=")
                .map(|(_, jws)| Jws::parse(jws));
            assertions.lock().unwrap().extend(jws);
        }
        Then::Reset => {}
    }
}

/// The body of one request.
async fn form(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                return body.to_owned();
            }
        }
        if stream.read_buf(&mut text).await.unwrap() == 0 {
            return whole;
        }
    }
}

/// Ten callers of a server that takes its time: all wait for the three attempts of one flight.
async fn check_given_up(client: &MaskinportenClient) -> Error {
    let began = Instant::now();
    let errors = join_all((0..10).map(|_| client.access_token(SCOPES))).await;
    let took = began.elapsed();
    assert!((3 * ATTEMPT..FLIGHT + LATE).contains(&took), "{took:?}");
    let mut errors = errors.into_iter().map(Result::unwrap_err);
    let first = errors.next().unwrap();
    assert_eq!(first.kind(), ErrorKind::Unreachable);
    assert!(first.is_transient());
    assert!(
        first.to_string().contains("did not answer within 3s"),
        "{first}"
    );
    assert_it_advises(&first);
    assert!(errors.all(|error| error.retry_at() == first.retry_at()));
    first
}

// ===== silence =====

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up_and_then_asked_anew() {
    let always = async {
        let server = Server::start(|number| match number {
            0..3 => Then::Silence,
            _ => Then::Token,
        });
        let server = server.await;
        let client = server.client();
        check_given_up(&client).await;
        assert_eq!(server.connections(), 3);
        // The flight is over: nothing of it stands in the way of the next.
        sleep(*FIRST_MEMORY.end() + milliseconds(50)).await;
        client.access_token(SCOPES).await.unwrap();
        assert_eq!(server.distinct_assertions(), 4);
    };
    let twice = async {
        let server = Server::start(|number| match number {
            0..2 => Then::Silence,
            _ => Then::Token,
        });
        let server = server.await;
        let began = Instant::now();
        server.client().access_token(SCOPES).await.unwrap();
        assert!(began.elapsed() >= 2 * ATTEMPT);
        assert_eq!(server.distinct_assertions(), 3);
    };
    let before_tls = async {
        let server = Server::start(|_| Then::Silence).await;
        let endpoint = format!("https://{}/token", server.address);
        let client = client_of(&endpoint).build().unwrap();
        let began = Instant::now();
        let error = client.access_token(SCOPES).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(
            error.to_string().contains("did not answer within 2s"),
            "{error}"
        );
        assert!(began.elapsed() < FLIGHT + LATE);
        assert_eq!(server.connections(), 3);
        assert_eq!(server.distinct_assertions(), 0);
    };
    tokio::join!(always, twice, before_tls);
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_given_up_like_none() {
    let body = async {
        let server = SimServer::start().await.unwrap();
        let sim = server.sim();
        let client = world::settings(&sim.new_client(SCOPES));
        let client = MaskinportenClient::from_settings(client).unwrap();
        sim.fault(Route::Token, Fault::slow_body(1, seconds(1)));
        check_given_up(&client).await;
        assert_eq!(sim.journal().token_requests(), 3);
    };
    let head = async {
        let server = Server::start(|_| Then::Trickle).await;
        check_given_up(&server.client()).await;
        assert_eq!(server.distinct_assertions(), 3);
    };
    tokio::join!(body, head);
}

// ===== too much =====

/// What the thread that asks takes at most for an answer, its server being on another one.
#[track_caller]
fn check_memory(elsewhere: &Runtime, fault: Fault) {
    let told = format!("{fault:?}").chars().take(80).collect::<String>();
    let server = elsewhere.block_on(SimServer::start()).unwrap();
    let sim = server.sim();
    let settings = world::settings(&sim.new_client(SCOPES));
    let client = MaskinportenClient::from_settings(settings).unwrap();
    sim.fault(Route::Token, fault);

    let here = Builder::new_current_thread().enable_all().build().unwrap();
    let mut outcome = None;
    let began = Instant::now();
    let taken = allocation_counter::measure(|| {
        outcome = Some(here.block_on(client.access_token(SCOPES)));
    });

    let error = outcome.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{told}");
    assert_it_advises(&error);
    assert!(began.elapsed() < FLIGHT + LATE, "{told}");
    assert!(
        taken.bytes_max < 1 << 20,
        "{told}: {} bytes",
        taken.bytes_max
    );
    assert_eq!(sim.journal().token_requests(), 3, "{told}");
}

#[test]
fn whatever_a_server_sends_takes_less_than_a_mebibyte() {
    let elsewhere = Builder::new_multi_thread();
    let elsewhere = { elsewhere }
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    check_memory(&elsewhere, Fault::huge(64 << 20));
    check_memory(&elsewhere, Fault::huge_unannounced(64 << 20));
    // Without end, by any measure.
    check_memory(&elsewhere, Fault::huge(1 << 62));
    check_memory(&elsewhere, Fault::huge_unannounced(1 << 62));
    // A bomb of sixty KiB, which nobody here takes apart.
    let mut bomb = vec![0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03];
    bomb.resize(60 << 10, 0);
    let mut headers = HeaderMap::new();
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    check_memory(&elsewhere, Fault::answer(StatusCode::OK, headers, bomb));
}

// ===== hanging up =====

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again_at_once_on_a_new_connection() {
    for broken in [Then::HangUp, Then::Reset] {
        let server = Server::start(move |number| match number {
            0 => broken,
            _ => Then::Token,
        });
        let server = server.await;
        let began = Instant::now();
        server.client().access_token(SCOPES).await.unwrap();
        // A pause of 250 ms at most, and no attempt's time had to run out.
        assert!(began.elapsed() < FLIGHT, "{broken:?}");
        assert_eq!(server.connections(), 2, "{broken:?}");
        server.distinct_assertions();

        // Where it goes on breaking, as with any server that is down.
        let server = Server::start(move |_| broken).await;
        let error = server.client().access_token(SCOPES).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{broken:?}");
        assert!(error.is_transient() && error.retry_at().is_some());
        assert_eq!(server.connections(), 3, "{broken:?}");
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let server = Server::start(|_| Then::Token).await;
    let client = server.client();
    for number in 0..100 {
        let scope = format!("scope:{number}");
        client.access_token([scope]).await.unwrap();
    }
    assert_eq!(server.connections(), 100);
    assert_eq!(server.distinct_assertions(), 100);
}

#[tokio::test]
async fn a_connection_closed_as_a_request_leaves_costs_an_assertion_and_no_request() {
    let server = Server::start(|_| Then::TokenOnce).await;
    let client = server.client();
    for number in 0..20 {
        let scope = format!("scope:{number}");
        client.access_token([scope]).await.unwrap();
    }
    assert_eq!(server.connections(), 20);
    // All but the first were asked for on a kept connection first.
    assert_eq!(server.distinct_assertions(), 39);
}
