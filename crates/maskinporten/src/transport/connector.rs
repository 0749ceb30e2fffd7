//! [`HttpsConnector`]: a URI to a connection: which way, and whom to trust at its end.

use std::fmt;
use std::future::ready;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{failure, is_loopback, oneshot, refuse_insecure};
use crate::advice;
use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::signer::BoxFuture;

type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
type Tcp = HttpConnector<Resolver>;
type Tls<C> = hyper_rustls::HttpsConnector<C>;
/// The inner layer is TLS with the proxy, the outer one with the server; either may be absent.
type Stream = MaybeHttpsStream<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// The way out that the default transport takes, for an HTTP client of one's own.
///
/// Made by [`TransportBuilder::connector`](super::TransportBuilder::connector). It speaks HTTP/1.1.
///
/// - It is https only. A server on this machine is reached over plain http as well, and never through
///   a proxy; anything else in the clear is refused before a name is looked up.
/// - To all else it goes directly, or through a proxy by CONNECT.
/// - Certificates are checked against what the platform trusts, and what was added to it. They are
///   read when the first https connection is made, and once for all clones.
/// - `localhost` is this machine, whatever a name server says.
/// - Dropping the future of a connection gives it up.
///
/// # Errors
///
/// An [`Error`] where the address is refused, the time is up, no certificate authority is known, or
/// the proxy failed; [`Error::find_in`] finds it. Else what hyper-util or rustls say.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use maskinporten::Transport;
///
/// let connector = Transport::builder().proxy_from_env().connector()?;
/// let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone)]
pub struct HttpsConnector {
    tcp: Tcp,
    proxies: Option<Arc<Matcher>>,
    trust: Arc<Trust>,
    timeout: Duration,
}

impl HttpsConnector {
    pub(super) fn new(proxies: Option<Matcher>, trust: Trust, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out among the addresses of a name, so that the first one cannot use it all up.
        tcp.set_connect_timeout(Some(timeout));
        Self {
            tcp,
            proxies: proxies.map(Arc::new),
            trust: Arc::new(trust),
            timeout,
        }
    }

    /// The proxy for this server. This machine is never reached through one.
    fn proxy(&self, server: &Uri) -> Option<Intercept> {
        let proxies = self.proxies.as_ref()?;
        match server.host() {
            Some(host) if !is_loopback(host) => proxies.intercept(server),
            _ => None,
        }
    }

    async fn connect(self, server: Uri, proxy: Option<Intercept>) -> Result<Stream, BoxError> {
        if server.scheme_str() == Some("http") {
            // Only this machine gets here; `refuse_insecure` has seen to it.
            let stream = oneshot(self.tcp, server).await?;
            return Ok(MaybeHttpsStream::Http(MaybeHttpsStream::Http(stream)));
        }
        let tls = self.trust.config()?;
        let Some(proxy) = proxy else {
            let stream = oneshot(Tls::from((self.tcp, tls)), server).await?;
            return Ok(MaybeHttpsStream::Http(stream));
        };
        let to_proxy = Tls::from((self.tcp, Arc::clone(&tls)));
        let tunnel = Proxied::new(&proxy, to_proxy);
        oneshot(Tls::from((tunnel, tls)), server).await
    }
}

impl Service<Uri> for HttpsConnector {
    type Response = HttpsConnection;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        if let Err(error) = refuse_insecure(&server) {
            return Box::pin(ready(Err(error.into())));
        }
        let this = self.clone();
        Box::pin(async move {
            let timeout = this.timeout;
            let proxy = this.proxy(&server);
            let silence = failure::silence(server.host().unwrap_or_default(), timeout);
            let silence = match proxy.as_ref().and_then(|proxy| proxy.uri().host()) {
                Some(proxy) => silence.with_detail("proxy", proxy),
                None => silence,
            };
            let connected = tokio::time::timeout(timeout, this.connect(server, proxy)).await;
            connected
                .unwrap_or_else(|_elapsed| Err(silence.into()))
                .map(HttpsConnection)
        })
    }
}

impl fmt::Debug for HttpsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // hyper-util shows a proxy without its credentials.
        f.debug_struct("HttpsConnector")
            .field("proxies", &self.proxies)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What an [`HttpsConnector`] has connected.
pub struct HttpsConnection(Stream);

impl Connection for HttpsConnection {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for HttpsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for HttpsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for HttpsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsConnection").finish_non_exhaustive()
    }
}

// ===== through a proxy =====

/// A tunnel whose failures name the proxy: to look for them at the server would be in vain.
#[derive(Clone)]
struct Proxied {
    tunnel: Tunnel<Tls<Tcp>>,
    host: String,
}

/// hyper-util keeps the name of this type to itself.
type TunnelError = <Tunnel<Tls<Tcp>> as Service<Uri>>::Error;

impl Proxied {
    fn new(proxy: &Intercept, connector: Tls<Tcp>) -> Self {
        let tunnel = Tunnel::new(proxy.uri().clone(), connector);
        Self {
            tunnel: match proxy.basic_auth() {
                Some(credentials) => tunnel.with_auth(credentials.clone()),
                None => tunnel,
            },
            host: proxy.uri().host().unwrap_or_default().to_owned(),
        }
    }
}

impl Service<Uri> for Proxied {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Error;
    type Future = Connecting<Self::Response, Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let ready = self.tunnel.poll_ready(cx);
        ready.map_err(|cause| explain(&self.host, cause))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let tunnel = self.tunnel.call(server);
        let host = self.host.clone();
        Box::pin(async move { tunnel.await.map_err(|cause| explain(&host, cause)) })
    }
}

fn explain(proxy: &str, cause: TunnelError) -> Error {
    let (message, transient) = match cause {
        TunnelError::ConnectFailed(cause) => {
            let error = failure::explain(proxy, cause);
            // Nobody listening and a bad certificate are told apart; both are the proxy's.
            return error.with_detail("proxy", proxy);
        }
        TunnelError::ProxyAuthRequired => ("wants other credentials (407)", false),
        TunnelError::Io(_) | TunnelError::TunnelUnexpectedEof => ("hung up", true),
        _ => ("refused the way to the server", true),
    };
    Error::new(
        ErrorKind::Unreachable,
        format!("the proxy {proxy} {message}"),
    )
    .with_advice(&advice::PROXY)
    .with_transient(transient)
    .with_detail("proxy", proxy)
    .with_source(cause)
}

// ===== whom to trust =====

/// The TLS configuration, made when it is first needed.
pub(super) struct Trust {
    roots: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    pub(super) fn new(roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            roots,
            config: OnceLock::new(),
        }
    }

    /// A failure is not kept: a store that is put in place later is found by the next request.
    fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = self.read().map_err(|cause| {
            Error::new(
                ErrorKind::Unreachable,
                "no certificate authority is known here",
            )
            .with_advice(&advice::NO_CA_STORE)
            .with_transient(false)
            .with_source(cause)
        })?;
        // Two first requests may both have read the store; either result will do.
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    fn read(&self) -> Result<ClientConfig, rustls::Error> {
        // Given by hand: the process-wide provider belongs to the application, and asking for it
        // panics where nobody has set one.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // `new…` answers an empty store with an error, where the builders in hyper-rustls panic.
        let verifier = Verifier::new_with_extra_roots(self.roots.clone(), Arc::clone(&provider))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            // rustls calls every verifier of one's own dangerous; this one is the platform's.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(config.with_no_client_auth())
    }
}

// ===== names =====

/// Names to addresses by the operating system, all but one.
///
/// `localhost` may be asked over plain http, so nobody else is to say where it is (RFC 6761 §6.3).
#[derive(Clone)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Connecting<Self::Response, io::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_loopback(name.as_str()) {
            let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let here: Vec<_> = here.map(|address| SocketAddr::new(address, 0)).into();
            return Box::pin(ready(Ok(here.into_iter())));
        }
        let addresses = self.0.call(name);
        Box::pin(async move { Ok(addresses.await?.collect::<Vec<_>>().into_iter()) })
    }
}
