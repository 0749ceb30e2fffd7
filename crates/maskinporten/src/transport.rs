//! The door to the network: one request out, one bounded answer in.
//!
//! - Nothing else here knows that a network exists, and this knows nothing of tokens.
//! - What holds for every transport is done in `round_trip`, above whatever service is behind it; see
//!   [`Transport`] for the list.
//! - The default is hyper over rustls. Its connections are kept for a few seconds, for requests on the
//!   runtime that opened them (`pool.rs`).

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::advice;
use crate::error::{BoxError, Error, ErrorKind, Result};

#[cfg(feature = "client")]
mod builder;
#[cfg(feature = "client")]
pub use builder::TransportBuilder;
#[cfg(feature = "client")]
mod connector;
#[cfg(feature = "client")]
pub use connector::{HttpsConnection, HttpsConnector};
mod failure;
pub(crate) use failure::is_hung_up;
mod loopback;
pub(crate) use loopback::is_loopback;
#[cfg(feature = "client")]
mod pool;

/// The most that is read of an answer's body: 64 KiB.
///
/// A token with every claim Maskinporten knows is 2 to 3 kB, an issuer's metadata as much.
const BODY_LIMIT: usize = 64 * 1024;

/// What carries a token request to its server. Cheap to clone; clones share the service.
///
/// Whatever service is behind it:
///
/// - It is https only. A server on this machine (`localhost`, 127.0.0.0/8, `::1`) may be asked over
///   plain http, and needs no switch for it. Anything else is refused before a byte is sent.
/// - One limit covers everything: readiness, connection, answer and the whole of its body.
/// - A body ends at 64 KiB, announced or not. No compression is asked for and none is undone.
/// - A redirect is an answer like any other; it is not followed.
/// - No assertion is sent twice. Asking again takes a new assertion, and so is not decided here.
/// - The environment is read only when asked (`TransportBuilder::proxy_from_env`).
///
/// The default transport keeps its connections, and with them their TLS sessions:
///
/// - A connection that served a request to its end is kept for 4 s, and closed at most 1 s later. At
///   most 64 idle ones are kept, the oldest is closed first.
/// - A request uses only connections that were opened on its own Tokio runtime. A runtime that ends, or
///   is not driven any more, costs a request on another runtime nothing.
/// - A connection that the server has closed is replaced before the request is written. Where the
///   server closes it at the same moment, a `GET` is repeated on a new connection, and a token is
///   asked for with a new assertion.
/// - A request that is dropped, or whose time is up, closes its connection.
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn main() -> maskinporten::Result<()> {
/// use maskinporten::Transport;
///
/// // Out through a proxy by CONNECT: it sees a host name and TLS, and no assertion.
/// let transport = Transport::builder()
///     .proxy(http::Uri::from_static("http://proxy.example.no:3128"))
///     .build()?;
/// # let _ = transport;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Transport(Arc<dyn Carry>);

impl Transport {
    /// A transport over any Tower service that takes and answers `http` messages.
    ///
    /// Each request gets its own clone of `service`, which is polled ready and then called. One clone is
    /// made at a time. Requests that wait for theirs block no thread: they try again each time that their
    /// task is polled. Rules for the service:
    ///
    /// - Its `clone` is quick. A request that waits for its clone keeps its runtime busy.
    /// - It follows no redirects, repeats nothing, and shows request bodies neither in a log nor in
    ///   its errors, which become the source of ours: bodies hold assertions.
    /// - Its futures run on the Tokio runtime of whoever asks for a token. One that is dropped because
    ///   the time is up should close its connection.
    /// - Where it keeps connections, a request uses only those that were opened on its own runtime
    ///   (`tokio::runtime::Handle::id`): a connection of a runtime that is not driven any more looks open
    ///   and answers nothing. A client with a pool of its own is safe where the process has one runtime.
    /// - Where it keeps connections, it closes them when they have been idle for a few seconds. A request
    ///   that meets one that the server is closing fails, and is repeated after a pause.
    ///
    /// ```
    /// use std::{convert::Infallible, future::{Ready, ready}, task::{Context, Poll}};
    ///
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use maskinporten::Transport;
    ///
    /// /// Answers without a network.
    /// #[derive(Clone)]
    /// struct Canned;
    ///
    /// impl tower_service::Service<Request<Full<Bytes>>> for Canned {
    ///     type Response = Response<Full<Bytes>>;
    ///     type Error = Infallible;
    ///     type Future = Ready<Result<Self::Response, Infallible>>;
    ///
    ///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
    ///         Poll::Ready(Ok(()))
    ///     }
    ///
    ///     fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
    ///         ready(Ok(Response::new(Full::from("{}"))))
    ///     }
    /// }
    ///
    /// let transport = Transport::new(Canned);
    /// # let _ = transport;
    /// ```
    #[must_use]
    pub fn new<S, ReqBody, ResBody>(service: S) -> Self
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
        ReqBody: From<Bytes> + Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Data: Send,
        ResBody::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Arc::new(Carrier {
            service: Mutex::new(service),
            bodies: PhantomData,
        }))
    }

    /// The default transport, to be told about proxies, further root certificates and times.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn builder() -> TransportBuilder {
        TransportBuilder::new()
    }

    /// One round trip; `limit` covers connecting, the answer and its whole body.
    ///
    /// Runs on a Tokio runtime with its timer enabled. Dropping the future drops the service's: the
    /// default closes its connection then.
    pub(crate) async fn round_trip(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Response<Bytes>> {
        let uri = request.uri().clone();
        refuse_insecure(&uri)?;

        let host = uri.host().unwrap_or_default();
        let error = match tokio::time::timeout(limit, self.0.carry(request)).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(cause)) => failure::explain(host, cause),
            Err(_elapsed) => failure::silence(host, limit),
        };
        Err(error.with_endpoint(&uri))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// An assertion is worth a token to whoever reads it (RFC 7523 §3), so none leaves this machine in
/// the clear.
fn refuse_insecure(uri: &Uri) -> Result<()> {
    let message = match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => return Ok(()),
        (Some("http"), Some(host)) if is_loopback(host) => return Ok(()),
        // Host and port apart, because the authority may hold a password.
        (Some(scheme), Some(host)) => match uri.port_u16() {
            Some(port) => format!("{scheme}://{host}:{port} is not asked: it is not https"),
            None => format!("{scheme}://{host} is not asked: it is not https"),
        },
        _ => "an address without scheme and host cannot be asked".to_owned(),
    };
    Err(Error::settings(message).with_advice(&advice::INSECURE_ADDRESS))
}

// ===== the service, its types forgotten =====

type Carried<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send + 'a>>;

trait Carry: Send + Sync {
    fn carry(&self, request: Request<Bytes>) -> Carried<'_>;
}

struct Carrier<S, ReqBody, ResBody> {
    // Many Tower services are `Send` and not `Sync`, so clones are made one at a time. Locked by `try_lock` only,
    // for one clone, and never across an await: `clone` is foreign code, for which no thread is blocked.
    service: Mutex<S>,
    bodies: PhantomData<fn(ReqBody) -> ResBody>,
}

impl<S, ReqBody, ResBody> Carry for Carrier<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    ReqBody: From<Bytes> + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Data: Send,
    ResBody::Error: Into<BoxError>,
{
    fn carry(&self, request: Request<Bytes>) -> Carried<'_> {
        Box::pin(async move {
            let service = self.service().await;
            let response = oneshot(service, request.map(ReqBody::from)).await;
            let (head, body) = response.map_err(Into::into)?.into_parts();
            Ok(Response::from_parts(head, read(body).await?))
        })
    }
}

impl<S: Clone, ReqBody, ResBody> Carrier<S, ReqBody, ResBody> {
    /// A clone for one request.
    ///
    /// A fair lock would be handed over to the task that has waited longest. Where the runtime of that task is
    /// not driven any more, the lock would never be free again. So each task tries for itself.
    async fn service(&self) -> S {
        loop {
            let service = self.service.try_lock().map(|service| service.clone());
            if let Some(service) = service {
                return service;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Calls the very instance that became ready.
async fn oneshot<S: Service<R>, R>(mut service: S, request: R) -> Result<S::Response, S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// The whole body, or an error as soon as it is seen to be larger than [`BODY_LIMIT`].
///
/// `Limited` with `collect` would hold as little text but keep every frame on its own: a body sent
/// byte by byte would then cost many times its size.
async fn read<B>(body: B) -> Result<Bytes, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    // `Content-Length`, where there is one: what is announced as too large is not read at all.
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large().into());
    }
    let mut body = pin!(body);
    // Wiped when the answer is dropped: it is where a token is first seen. It never grows, which would
    // leave what it had outgrown unwiped.
    let announced = body.size_hint().upper();
    let room = announced.map_or(BODY_LIMIT, |length| (length as usize).min(BODY_LIMIT));
    let mut whole = Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Into::into)?.into_data() else {
            continue; // Trailers; no token server says anything in them.
        };
        if data.remaining() > BODY_LIMIT - whole.len() {
            return Err(too_large().into());
        }
        whole.put(data);
    }
    Ok(Bytes::from_owner(whole))
}

fn too_large() -> Error {
    Error::new(ErrorKind::Protocol, "the answer is larger than 64 KiB")
        .with_advice(&advice::NOT_AN_ANSWER)
}

#[cfg(test)]
mod tests;
