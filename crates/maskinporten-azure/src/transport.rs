//! The SDK's way to the network: hyper over rustls, with what the platform trusts.
//!
//! The SDK is built without an HTTP client of its own; this is the one it is given. The engine's
//! transport is not it: that refuses plain http to all but this machine, and the identity service of
//! an Azure host is asked over plain http at a link-local address.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::iter::successors;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::Uri;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use maskinporten::{Error, Result};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

mod connector;
use connector::{Connector, Trust};

/// Time for a connection, TLS included, when nothing else is said: 2 s, as for the token server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of an answer's body: 512 KiB.
///
/// A secret is at most 25 kB (Key Vault's own limit). A page lists at most 25 of them, each with up to
/// fifteen tags, whose names and values are 512 characters at most: 384 kB that hardly anybody has.
const BODY_LIMIT: usize = 512 * 1024;

/// What carries requests to the vault and to the identity service. Cheap to clone.
///
/// - It is https only. Two exceptions are asked over plain http, directly and by no proxy: this machine,
///   and a link-local address (169.254.0.0/16), where an Azure host's identity service is.
/// - Certificates are checked against what the platform trusts; the process-wide provider of rustls
///   is neither asked nor set.
/// - A redirect is an answer like any other. A body ends at 512 KiB.
/// - A connection serves one request and is closed, so that none outlives the runtime it was opened on.
///
/// ```
/// use maskinporten_azure::VaultTransport;
///
/// # fn main() -> maskinporten::Result<()> {
/// let transport = VaultTransport::builder().proxy_from_env().build()?;
/// # let _ = transport;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VaultTransport {
    client: Client<Connector, Full<Bytes>>,
}

impl VaultTransport {
    /// To be told about a proxy, further root certificates and times.
    #[must_use]
    pub fn builder() -> VaultTransportBuilder {
        VaultTransportBuilder {
            proxy: None,
            roots: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            fault: None,
        }
    }

    async fn carry(&self, request: &Request) -> Result<AsyncRawResponse, Fault> {
        let request = outgoing(request)?;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let response = self.client.request(request).await;
        let (head, body) = response
            .map_err(|cause| explain(&host, &cause))?
            .into_parts();
        let body = read(&host, body).await?;

        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            // What is not text is nothing that the SDK could read.
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let status = head.status.as_u16().into();
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

impl fmt::Debug for VaultTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultTransport").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for VaultTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.carry(request).await.map_err(Fault::into_sdk)
    }
}

impl From<VaultTransport> for Transport {
    fn from(transport: VaultTransport) -> Self {
        Self::new(Arc::new(transport))
    }
}

fn outgoing(request: &Request) -> Result<http::Request<Full<Bytes>>, Fault> {
    let unreadable = || Fault::lasting("a request of the SDK cannot be read");

    let uri: Uri = request.url().as_str().parse().map_err(|_| unreadable())?;
    let azure_core::http::Body::Bytes(body) = request.body() else {
        return Err(Fault::lasting("a streamed request is not sent"));
    };
    let mut outgoing = http::Request::builder()
        .method(request.method().as_str())
        .uri(uri);
    for (name, value) in request.headers().iter() {
        let mut value = http::HeaderValue::from_str(value.as_str()).map_err(|_| unreadable())?;
        // Tokens travel in one of these, and none of the others is worth showing.
        value.set_sensitive(true);
        outgoing = outgoing.header(name.as_str(), value);
    }
    outgoing
        .body(Full::new(body.clone()))
        .map_err(|_| unreadable())
}

/// The whole body, or a fault as soon as it is seen to be larger than [`BODY_LIMIT`].
async fn read(host: &str, body: Incoming) -> Result<Bytes, Fault> {
    let too_large = || Fault::lasting(format!("an answer of {host} is larger than 512 KiB"));

    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|cause| explain(host, &cause))?.into_data() else {
            continue; // Trailers.
        };
        if data.remaining() > BODY_LIMIT - whole.len() {
            return Err(too_large());
        }
        whole.put(data);
    }
    Ok(whole.freeze())
}

// ===== what can be chosen =====

/// Builds a [`VaultTransport`]. Without further words there is no proxy, and nothing is read from the
/// environment.
pub struct VaultTransportBuilder {
    proxy: Option<Matcher>,
    roots: Vec<CertificateDer<'static>>,
    connect_timeout: Duration,
    fault: Option<Error>,
}

impl VaultTransportBuilder {
    /// Goes through this proxy with CONNECT, so that it sees a host name and TLS, and nothing of what
    /// is said. This machine and link-local addresses are reached directly.
    ///
    /// The scheme is `http` or `https`. A user name and password in the address are sent to the proxy,
    /// and appear in no error.
    #[must_use]
    pub fn proxy(mut self, proxy: Uri) -> Self {
        self.proxy = Some(Matcher::builder().https(proxy.to_string()).build());
        self
    }

    /// Goes through the proxy that `HTTPS_PROXY` or `ALL_PROXY` names, unless `NO_PROXY` excepts the
    /// host. Read now and never again.
    #[must_use]
    pub fn proxy_from_env(mut self) -> Self {
        self.proxy = Some(Matcher::from_env());
        self
    }

    /// Trusts these authorities as well as the platform's: that of a network which inspects TLS, or of
    /// a test. PEM, one certificate or many.
    #[must_use]
    pub fn add_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        match roots(pem.as_ref()) {
            Ok(roots) => self.roots.extend(roots),
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Time for a connection: name, TCP, proxy and TLS together. 2 s unless said otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Builds the transport. Nothing is connected and no certificate store is read.
    ///
    /// # Errors
    ///
    /// The proxy's address is neither `http` nor `https`, or a PEM holds no certificate or a broken one.
    pub fn build(self) -> Result<VaultTransport> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let somewhere = Uri::from_static("https://server.invalid");
        let proxy = self
            .proxy
            .as_ref()
            .and_then(|proxies| proxies.intercept(&somewhere));
        let usable =
            proxy.is_none_or(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https")));
        if !usable {
            return Err(Error::settings(
                "the proxy's address is neither http nor https",
            ));
        }
        let connector = Connector::new(self.proxy, Trust::new(self.roots), self.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            // A pooled connection lives on the runtime it was opened on, and falls silent with it.
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(64 * 1024)
            .build(connector);
        Ok(VaultTransport { client })
    }
}

impl fmt::Debug for VaultTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // hyper-util shows a proxy without its credentials.
        f.debug_struct("VaultTransportBuilder")
            .field("proxy", &self.proxy)
            .field("roots", &self.roots.len())
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let broken = |message| Error::settings(message);

    let roots = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| broken("the root certificates are no readable PEM").caused_by(cause))?;
    if roots.is_empty() {
        return Err(broken("the root certificates hold no certificate"));
    }
    // The verifier would say the same, but only at the first request.
    let mut store = RootCertStore::empty();
    for root in &roots {
        store
            .add(root.clone())
            .map_err(|cause| broken("a root certificate cannot be read").caused_by(cause))?;
    }
    Ok(roots)
}

// ===== what kept a request from its answer =====

/// Why there is no answer, in one phrase without a secret, and whether asking again may help.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    message: String,
    passing: bool,
}

impl Fault {
    /// What may be over a moment later.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            passing: true,
        }
    }

    /// What somebody must mend.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            passing: false,
        }
    }

    /// The SDK tries again what is `Io`, and gives up on what is `Other`.
    pub(crate) fn into_sdk(self) -> azure_core::Error {
        let kind = match self.passing {
            true => ErrorKind::Io,
            false => ErrorKind::Other,
        };
        azure_core::Error::new(kind, self)
    }

    /// As [`into_sdk`](Self::into_sdk), and not tried again though it may pass.
    pub(crate) fn into_final(self) -> azure_core::Error {
        azure_core::Error::new(ErrorKind::Other, self)
    }

    /// The fault that an error of the SDK was caused by, whatever was wrapped around it.
    pub(crate) fn find_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        causes(error).find_map(<dyn StdError>::downcast_ref)
    }

    pub(crate) fn into_error(self) -> Error {
        match self.passing {
            true => Error::unavailable(self.message),
            false => Error::rejected(self.message),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Fault {}

/// Names a failure of the connection to `host`, or of the conversation on it.
fn explain(host: &str, cause: &(dyn StdError + 'static)) -> Fault {
    if let Some(known) = Fault::find_in(cause) {
        return known.clone();
    }
    let named = causes(cause).find_map(|cause| {
        if let Some(cause) = cause.downcast_ref::<rustls::Error>() {
            return Some(handshake(host, cause));
        }
        let cause = cause.downcast_ref::<hyper::Error>()?;
        cause
            .is_parse()
            .then(|| Fault::passing(format!("{host} did not answer in HTTP")))
    });
    named.unwrap_or_else(|| Fault::passing(format!("{host} was not reached, or hung up")))
}

/// A certificate that is refused once is refused again.
fn handshake(host: &str, cause: &rustls::Error) -> Fault {
    use rustls::CertificateError as Certificate;

    let problem = match cause {
        rustls::Error::InvalidCertificate(problem) => match problem {
            Certificate::Expired | Certificate::ExpiredContext { .. } => "has expired",
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => "is not valid yet",
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "is for another name"
            }
            Certificate::UnknownIssuer => "comes from an authority that is not known here",
            Certificate::Revoked => "was revoked",
            _ => "cannot be used",
        },
        rustls::Error::NoCertificatesPresented => "was not shown",
        _ => return Fault::lasting(format!("no TLS connection with {host} came about")),
    };
    Fault::lasting(format!("the certificate of {host} {problem}"))
}

/// An error and all that it wraps. An [`io::Error`] names its content's source as its own and so
/// hides the content, which is where the TLS error sits.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let inner = |&error: &&'a (dyn StdError + 'static)| match error.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|content| content as _),
        None => error.source(),
    };
    successors(Some(error), inner)
}

/// Calls the very instance that became ready.
async fn oneshot<S: tower_service::Service<R>, R>(
    mut service: S,
    request: R,
) -> Result<S::Response, S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}
