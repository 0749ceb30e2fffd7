//! What can be chosen about the default transport.

use std::fmt;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Transport;
use super::connector::{HttpsConnector, Trust};
use super::pool::Pool;
use crate::advice;
use crate::error::{Error, Result};

/// Time for a connection, TLS included, when nothing else is said: 2 s.
///
/// A lost first packet is sent again after 1 s, a second one after 3 s (RFC 6298 §2). This waits for
/// the first repetition and leaves the rest of a request's limit to another attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Builds the default [`Transport`]: hyper over rustls, HTTP/1.1, TLS 1.2 or newer.
///
/// - Without further words there is no proxy, and nothing is read from the environment.
/// - Certificates are checked against what the platform trusts. Checking cannot be turned off.
/// - The trusted certificates are read when the first https request is made, and once.
pub struct TransportBuilder {
    proxy: Proxy,
    roots: Vec<CertificateDer<'static>>,
    connect_timeout: Duration,
    fault: Option<Error>,
}

enum Proxy {
    None,
    Given(Matcher),
    Environment(Matcher),
}

impl TransportBuilder {
    pub(super) fn new() -> Self {
        Self {
            proxy: Proxy::None,
            roots: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            fault: None,
        }
    }

    /// Goes through this proxy with CONNECT (RFC 9110 §9.3.6), so that the proxy sees a host name and
    /// TLS, and nothing of what is said. Servers on this machine are reached directly.
    ///
    /// The scheme is `http`, or `https` for a proxy that is itself spoken to over TLS. A user name and
    /// password in the address are sent to the proxy as basic credentials, and appear in no error.
    /// The last of `proxy` and [`proxy_from_env`](Self::proxy_from_env) counts.
    #[must_use]
    pub fn proxy(mut self, proxy: Uri) -> Self {
        self.proxy = Proxy::Given(Matcher::builder().https(proxy.to_string()).build());
        self
    }

    /// Goes through the proxy that the environment names, if it names one.
    ///
    /// Read are `HTTPS_PROXY`, else `ALL_PROXY`, and the exceptions in `NO_PROXY`, in capitals or small
    /// letters, now and never again. As with curl, an address that cannot be read is as good as none,
    /// and a process started by CGI (`REQUEST_METHOD` is set) has no proxy.
    /// Servers on this machine are reached directly, whatever the variables say.
    #[must_use]
    pub fn proxy_from_env(mut self) -> Self {
        // The one place outside `settings/` where the environment matters: hyper-util reads it, by
        // rules that have nothing of Maskinporten in them.
        self.proxy = Proxy::Environment(Matcher::from_env());
        self
    }

    /// Trusts these authorities as well as the platform's: that of a network which inspects TLS, or of
    /// a test. PEM, one certificate or many; what else stands in the file is passed over.
    ///
    /// They are enough on a machine that has no authorities of its own.
    #[must_use]
    pub fn add_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        match roots(pem.as_ref()) {
            Ok(roots) => self.roots.extend(roots),
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Time for a connection: name, TCP, proxy and TLS together. 2 s unless said otherwise.
    ///
    /// It counts within the limit of the whole request and never extends it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Builds the transport. Nothing is connected and no certificate store is read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) if the proxy's address is not `http` or
    /// `https`, or if a PEM holds no certificate or a broken one. That the machine has no
    /// certificate authorities is not an error before the first https request.
    pub fn build(self) -> Result<Transport> {
        let connector = self.connector()?;
        Ok(Transport::new(Pool::new(connector)))
    }

    /// Builds only what makes the connections, for an HTTP client that goes the same way. Nothing is
    /// connected and no certificate store is read.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn connector(self) -> Result<HttpsConnector> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let proxies = match self.proxy {
            Proxy::None => None,
            Proxy::Given(proxies) if is_http(&proxies) != Some(true) => return Err(bad_proxy()),
            Proxy::Environment(proxies) if is_http(&proxies) == Some(false) => {
                return Err(bad_proxy());
            }
            Proxy::Given(proxies) | Proxy::Environment(proxies) => Some(proxies),
        };
        let trust = Trust::new(self.roots);
        Ok(HttpsConnector::new(proxies, trust, self.connect_timeout))
    }
}

impl fmt::Debug for TransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // hyper-util shows a proxy without its credentials.
        let proxy: &dyn fmt::Debug = match &self.proxy {
            Proxy::None => &"none",
            Proxy::Given(proxies) | Proxy::Environment(proxies) => proxies,
        };
        f.debug_struct("TransportBuilder")
            .field("proxy", proxy)
            .field("roots", &self.roots.len())
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Whether the proxy is one that takes CONNECT; nothing where there is no proxy.
fn is_http(proxies: &Matcher) -> Option<bool> {
    let somewhere = Uri::from_static("https://server.invalid");
    let proxy = proxies.intercept(&somewhere)?;
    Some(matches!(proxy.uri().scheme_str(), Some("http" | "https")))
}

fn bad_proxy() -> Error {
    Error::settings("the proxy's address is neither http nor https")
        .with_advice(&advice::PROXY_ADDRESS)
}

fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let broken = |message| Error::settings(message).with_advice(&advice::ROOT_CERTIFICATES);

    let roots = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| broken("the root certificates are no readable PEM").with_source(cause))?;
    if roots.is_empty() {
        return Err(broken("the root certificates hold no certificate"));
    }
    // The verifier would say the same, but only at the first request.
    let mut store = RootCertStore::empty();
    for root in &roots {
        store
            .add(root.clone())
            .map_err(|cause| broken("a root certificate cannot be read").with_source(cause))?;
    }
    Ok(roots)
}
