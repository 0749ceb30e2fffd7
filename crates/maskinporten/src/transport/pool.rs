//! A connection pool: HTTP/1.1 connections kept for the next request on the same Tokio runtime.
//!
//! A connection is driven by a task of the runtime that opened it. Where that runtime is not driven any
//! more, the connection looks open and answers nothing. So a request uses only connections of the
//! runtime it runs on.
//!
//! hyper-util's client is not used because
//!
//! 1. it opens a connection whenever a request is quicker than the return of the last connection to the
//!    pool, which costs a TLS handshake each time;
//! 2. it does not say whether a request failed on a kept connection, where a repetition needs no pause;
//! 3. it counts idle time on a clock that stops while the machine sleeps.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;
use tower_service::Service;

use super::connector::{HttpsConnection, HttpsConnector};
use super::{BODY_LIMIT, oneshot};
use crate::clock::{Clock, SystemClock};
use crate::error::{BoxError, Error};
use crate::signer::BoxFuture;

/// Idle time after which a connection is not used any more: 4 s.
///
/// Servers close idle connections after 5 s (Apache, Node.js) to 75 s (nginx). A request that leaves
/// while the server closes its connection is lost, so this side closes first. Time counts while the
/// machine sleeps.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How often each connection's task looks for idle ones to close: 1 s, so an idle connection is closed
/// 5 s after its last answer at the latest.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The most idle connections, all servers and runtimes together: 64, the oldest is dropped first.
///
/// A server is asked by at most 32 fetches at a time, and there are two: Maskinporten's and Altinn's.
const IDLE_LIMIT: usize = 64;

/// The longest wait until the task of a kept connection has seen the end of the last answer: 50 ms.
///
/// It needs microseconds. Where the task does not run, a new connection is opened.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(50);

/// Sends requests over kept connections, and over new ones where none is idle. Clones share them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: HttpsConnector,
    // Held for a look at a few idle connections, and never across an await. Connections are dropped after
    // it: that wakes tasks.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    route: Route,
    sender: Sender,
    since: Duration,
}

type Sender = SendRequest<Full<Bytes>>;

/// What two requests must have in common to share a connection.
#[derive(Clone, PartialEq, Eq)]
struct Route {
    runtime: Id,
    scheme: Scheme,
    authority: Authority,
}

impl Pool {
    pub(super) fn new(connector: HttpsConnector) -> Self {
        Self(Arc::new(Shared {
            connector,
            idle: Mutex::default(),
        }))
    }
}

impl Service<Request<Full<Bytes>>> for Pool {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let pool = Arc::clone(&self.0);
        Box::pin(async move { pool.send(request).await })
    }
}

impl Shared {
    async fn send(
        self: Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, BoxError> {
        let runtime = Handle::try_current()
            .map_err(|cause| Error::runtime("there is no runtime to send on").caused_by(cause))?;
        let server = mem::take(request.uri_mut());
        let route = Route::new(&runtime, &server)?;
        address(&mut request, &server)?;

        while let Some(mut sender) = self.kept(&route).await {
            let again = request.method().is_idempotent().then(|| request.clone());
            let doubt = Doubt::new(&self, &route);
            let sent = sender.try_send_request(request).await;
            let mut failed = match sent {
                Ok(response) => {
                    doubt.dispel();
                    return Ok(self.answer(response, sender, route));
                }
                Err(failed) => failed,
            };
            // hyper gives a message back only where the connection's task had not begun to write it
            // (`Dispatch::recv_msg`, `Envelope::drop`): no server has seen this one.
            if let Some(unsent) = failed.take_message() {
                doubt.dispel();
                request = unsent;
                continue;
            }
            let error = failed.into_error();
            if !is_hung_up(&error) {
                return Err(error.into());
            }
            // The server may have read the request, so only one that may arrive twice is repeated
            // here (RFC 9110 §9.2.2). An assertion may not.
            let Some(again) = again else {
                return Err(HungUp(error).into());
            };
            drop(doubt);
            request = again;
        }

        let mut sender = self.connect(server, &runtime).await?;
        let sent = sender.try_send_request(request).await;
        match sent {
            Ok(response) => Ok(self.answer(response, sender, route)),
            Err(failed) => Err(failed.into_error().into()),
        }
    }

    /// A new connection. A task of this runtime drives it until it ends or its [`Sender`] is dropped.
    async fn connect(self: &Arc<Self>, server: Uri, runtime: &Handle) -> Result<Sender, BoxError> {
        let stream = oneshot(self.connector.clone(), server).await?;
        let (sender, connection) = Builder::new()
            // Bounds the head of an answer, as `BODY_LIMIT` does its body.
            .max_buf_size(BODY_LIMIT)
            .handshake(stream)
            .await?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a connection is driven by the runtime that opened it"
        )]
        runtime.spawn(drive(connection, Arc::downgrade(self)));
        Ok(sender)
    }

    fn answer(
        self: Arc<Self>,
        response: Response<Incoming>,
        sender: Sender,
        route: Route,
    ) -> Response<Answer> {
        response.map(|body| Answer {
            body,
            lease: Some(Lease {
                pool: self,
                sender,
                route,
            }),
        })
    }

    /// A kept connection that is open as far as this side knows: the one that was used last.
    async fn kept(&self, route: &Route) -> Option<Sender> {
        while let Some(mut sender) = self.take(route) {
            match timeout(SETTLE_TIMEOUT, sender.ready()).await {
                Ok(Ok(())) => return Some(sender),
                Ok(Err(_closed)) => {}
                Err(_elapsed) => return None,
            }
        }
        None
    }

    fn take(&self, route: &Route) -> Option<Sender> {
        self.sweep();
        let mut idle = self.idle.lock();
        let last = idle.iter().rposition(|idle| idle.route == *route)?;
        Some(idle.remove(last).sender)
    }

    /// Drops what is closed or idle for too long.
    fn sweep(&self) {
        let now = SystemClock.monotonic();
        self.drop_where(|idle| {
            idle.sender.is_closed() || now.saturating_sub(idle.since) >= IDLE_TIMEOUT
        });
    }

    fn drop_where(&self, condition: impl Fn(&Idle) -> bool) {
        let dropped: Vec<_> = self
            .idle
            .lock()
            .extract_if(.., |idle| condition(idle))
            .collect();
        drop(dropped);
    }
}

/// Drives one connection, and closes connections of the pool that have been idle for too long.
async fn drive(connection: Connection<HttpsConnection, Full<Bytes>>, pool: Weak<Shared>) {
    let mut connection = pin!(connection);
    // How the connection ended is known to the request that it served.
    while timeout(SWEEP_INTERVAL, connection.as_mut()).await.is_err() {
        if let Some(pool) = pool.upgrade() {
            pool.sweep();
        }
    }
}

impl Route {
    fn new(runtime: &Handle, server: &Uri) -> Result<Self, BoxError> {
        match (server.scheme(), server.authority()) {
            (Some(scheme), Some(authority)) => Ok(Self {
                runtime: runtime.id(),
                scheme: scheme.clone(),
                authority: authority.clone(),
            }),
            _ => Err("the address has no scheme or no host".into()),
        }
    }
}

/// Addresses the request as HTTP/1.1 writes it: the path in its first line, the host in a header
/// (RFC 9112 §3.2.1).
fn address(request: &mut Request<Full<Bytes>>, server: &Uri) -> Result<(), BoxError> {
    let path = server.path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if !request.headers().contains_key(HOST) {
        let host = server.host().unwrap_or_default();
        let usual = if server.scheme() == Some(&Scheme::HTTPS) {
            443
        } else {
            80
        };
        let host = match server.port_u16() {
            Some(port) if port != usual => HeaderValue::try_from(format!("{host}:{port}"))?,
            _ => HeaderValue::try_from(host)?,
        };
        request.headers_mut().insert(HOST, host);
    }
    Ok(())
}

// ===== an answer, after which its connection is kept =====

/// An answer's body. At its end the connection is kept; dropped before, it closes the connection.
pub(super) struct Answer {
    body: Incoming,
    lease: Option<Lease>,
}

struct Lease {
    pool: Arc<Shared>,
    sender: Sender,
    route: Route,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none()
            && let Some(lease) = self.lease.take()
        {
            lease.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Lease {
    /// Keeps the connection before the caller has its answer, so that the next request finds it.
    fn end(self) {
        let kept = Idle {
            route: self.route,
            sender: self.sender,
            since: SystemClock.monotonic(),
        };
        let mut idle = self.pool.idle.lock();
        let oldest = (idle.len() >= IDLE_LIMIT).then(|| idle.remove(0));
        idle.push(kept);
        drop(idle);
        drop(oldest);
    }
}

// ===== connections that do not answer =====

/// Closes the idle connections of a route when it is dropped before an answer came on a kept one: what
/// ended one of them has probably ended all, and the next attempt needs one that is open.
struct Doubt<'a> {
    pool: &'a Shared,
    route: &'a Route,
}

impl<'a> Doubt<'a> {
    fn new(pool: &'a Shared, route: &'a Route) -> Self {
        Self { pool, route }
    }

    fn dispel(self) {
        mem::forget(self);
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.pool.drop_where(|idle| idle.route == *self.route);
    }
}

/// Whether the connection ended, rather than what came on it was wrong.
fn is_hung_up(error: &hyper::Error) -> bool {
    let io = || error.source().is_some_and(|cause| cause.is::<io::Error>());
    error.is_incomplete_message() || io()
}

/// The server closed a kept connection without an answer, and may have read the request.
#[derive(Debug)]
pub(super) struct HungUp(hyper::Error);

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server closed a kept connection without an answer")
    }
}

impl StdError for HungUp {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime;

    use super::*;
    use crate::transport::Transport;
    use crate::transport::tests::sockets::counting;

    #[test]
    fn a_runtime_per_request_leaves_a_bounded_number_of_idle_connections() {
        let world = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (server, _) = world.block_on(counting());
        let pool = Pool::new(Transport::builder().connector().unwrap());
        let transport = Transport::new(pool.clone());
        let ask = || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let uri = format!("http://{server}/token");
            let request = Request::post(uri).body(Bytes::from("header.claims.signature"));
            let asked = transport.round_trip(request.unwrap(), Duration::from_secs(30));
            runtime.block_on(asked).unwrap();
            runtime
        };

        // Runtimes that are there and not driven.
        let still: Vec<_> = (0..IDLE_LIMIT + 9).map(|_| ask()).collect();
        let kept = pool.0.idle.lock().len();
        assert!((1..=IDLE_LIMIT).contains(&kept), "{kept}");
        drop(still);
        // Their connections have ended with them, and are dropped by the next request.
        let _last = ask();
        assert_eq!(pool.0.idle.lock().len(), 1);
    }

    #[test]
    fn the_host_is_written_with_a_port_that_is_not_the_usual_one() {
        #[track_caller]
        fn check(server: &str, host: &str, path: &str) {
            let mut request = Request::new(Full::default());
            address(&mut request, &server.parse().unwrap()).unwrap();
            assert_eq!(request.headers()[HOST], host);
            assert_eq!(request.uri(), path);
        }
        check("https://a.example.no", "a.example.no", "/");
        check("https://a.example.no:443/t?x=y", "a.example.no", "/t?x=y");
        check("https://a.example.no:80/", "a.example.no:80", "/");
        check("http://localhost:80/", "localhost", "/");
        check("http://per:hunter2@[::1]:8080/t", "[::1]:8080", "/t");
    }
}
