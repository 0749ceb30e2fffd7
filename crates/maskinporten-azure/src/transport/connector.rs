//! A URI to a connection: which way, and whom to trust at its end.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Fault, explain, oneshot};

type BoxError = Box<dyn StdError + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
type Tcp = HttpConnector<Resolver>;
/// The inner layer is TLS with the proxy, the outer one with the server; either may be absent.
type Connection = MaybeHttpsStream<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Connects to what is near directly, to all else directly or through a proxy.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: Tcp,
    proxies: Option<Arc<Matcher>>,
    trust: Arc<Trust>,
    timeout: Duration,
}

impl Connector {
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

    async fn connect(self, server: Uri) -> Result<Connection, Fault> {
        let host = server.host().unwrap_or_default().to_owned();
        let near = is_near(&host);
        if server.scheme_str() != Some("https") {
            if !near {
                return Err(Fault::lasting(format!(
                    "{host} is not asked: it is not https"
                )));
            }
            let stream = oneshot(self.tcp, server)
                .await
                .map_err(|cause| explain(&host, &cause))?;
            return Ok(MaybeHttpsStream::Http(MaybeHttpsStream::Http(stream)));
        }

        let tls = self.trust.config()?;
        let proxies = self.proxies.as_ref().filter(|_| !near);
        let Some(proxy) = proxies.and_then(|proxies| proxies.intercept(&server)) else {
            let connected = oneshot(HttpsConnector::from((self.tcp, tls)), server).await;
            let stream = connected.map_err(|cause| explain(&host, &*cause))?;
            return Ok(MaybeHttpsStream::Http(stream));
        };
        let tunnel = tunnel(&proxy, HttpsConnector::from((self.tcp, Arc::clone(&tls))));
        let connected = oneshot(HttpsConnector::from((tunnel, tls)), server).await;
        connected.map_err(|cause| {
            // The tunnel's failure is the proxy's; what follows it is the server's.
            let proxy = proxy.uri().host().unwrap_or_default();
            super::causes(&*cause)
                .find_map(|cause| refused(proxy, cause.downcast_ref()?))
                .unwrap_or_else(|| explain(&host, &*cause))
        })
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Connecting<Connection, BoxError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let timeout = this.timeout;
            let host = server.host().unwrap_or_default().to_owned();
            match tokio::time::timeout(timeout, this.connect(server)).await {
                Ok(connected) => Ok(connected?),
                Err(_elapsed) => {
                    let silence =
                        format!("no connection with {host} came about within {timeout:?}");
                    Err(Fault::passing(silence).into())
                }
            }
        })
    }
}

/// This machine, or a link-local address: an Azure host answers for its identity at one (169.254.169.254
/// on a virtual machine, others on App Service), over plain http and to nobody outside.
fn is_near(host: &str) -> bool {
    if is_this_machine(host) {
        return true;
    }
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback(),
        Err(_) => false,
    }
}

fn is_this_machine(name: &str) -> bool {
    name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

// ===== through a proxy =====

fn tunnel(proxy: &Intercept, connector: HttpsConnector<Tcp>) -> Tunnel<HttpsConnector<Tcp>> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

/// hyper-util keeps the name of this type to itself.
type TunnelError = <Tunnel<HttpsConnector<Tcp>> as Service<Uri>>::Error;

fn refused(proxy: &str, cause: &TunnelError) -> Option<Fault> {
    let (message, passing) = match cause {
        TunnelError::ConnectFailed(cause) => return Some(explain(proxy, &**cause)),
        TunnelError::ProxyAuthRequired => ("wants other credentials (407)", false),
        TunnelError::Io(_) | TunnelError::TunnelUnexpectedEof => ("hung up", true),
        _ => ("refused the way to the server", true),
    };
    let message = format!("the proxy {proxy} {message}");
    Some(match passing {
        true => Fault::passing(message),
        false => Fault::lasting(message),
    })
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
    fn config(&self) -> Result<Arc<ClientConfig>, Fault> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = self.read().map_err(|_| {
            Fault::lasting(
                "no certificate authority is known here: install ca-certificates or set SSL_CERT_FILE",
            )
        })?;
        // Two first requests may both have read the store; either result will do.
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    fn read(&self) -> Result<ClientConfig, rustls::Error> {
        // Given by hand: the process-wide provider belongs to the application, and asking for it
        // panics where nobody has set one.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
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

/// Names to addresses by the operating system, all but `localhost`: plain http is spoken with it, so
/// nobody else is to say where it is (RFC 6761 §6.3).
#[derive(Clone)]
pub(super) struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Fault;
    type Future = Connecting<Self::Response, Fault>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let ready = self.0.poll_ready(cx);
        ready.map_err(|_| Fault::passing("no name can be looked up"))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_this_machine(name.as_str()) {
            let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let here: Vec<_> = here.map(|address| SocketAddr::new(address, 0)).into();
            return Box::pin(std::future::ready(Ok(here.into_iter())));
        }
        let host = name.to_string();
        let addresses = self.0.call(name);
        Box::pin(async move {
            // The system tells a name that is not there from a server that does not answer in words only.
            let addresses = addresses.await.map_err(|_| {
                Fault::passing(format!("{host} is not in DNS, or DNS does not answer"))
            })?;
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_for_a_machine_is_near_and_nothing_that_looks_like_it() {
        for near in [
            "169.254.169.254",
            "169.254.130.2",
            "127.0.0.1",
            "[::1]",
            "localhost",
            "LOCALHOST.",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in [
            "169.255.169.254",
            "10.0.0.1",
            "169.254.169.254.example.no",
            "localhost.example.no",
            "[fe80::1]",
            "",
        ] {
            assert!(!is_near(far), "{far}");
        }
    }
}
