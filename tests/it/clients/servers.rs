//! Servers on this machine that keep all they are shown, and the judge who looks through it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::BoxError;
use tower::util::BoxCloneSyncService;

pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of these bytes.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    let body = http_body_util::Full::new(bytes.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

// ===== what is shown =====

/// A request as a server was shown it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Scheme, host and port as its client names them: one socket may be asked for by several names.
    pub(super) origin: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    /// The token it carries.
    pub(super) fn token(&self) -> Option<String> {
        let value = self.headers.get(AUTHORIZATION)?.to_str().unwrap();
        value.strip_prefix("Bearer ").map(str::to_owned)
    }

    /// All of its text but the header that is to hold a token.
    fn beside_the_header(&self) -> String {
        let mut text = format!("{} {}", self.path, String::from_utf8_lossy(&self.body));
        for (name, value) in &self.headers {
            if name != AUTHORIZATION {
                text += &format!(" {name}: {}", String::from_utf8_lossy(value.as_bytes()));
            }
        }
        text
    }
}

/// What a gateway wants beside the token.
pub(super) const SUBSCRIPTION_KEY: &str = "canary-of-a-gateway";

/// All that all servers of a test were shown, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(Arc<Mutex<Vec<Seen>>>);

impl Book {
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn note(&self, seen: Seen) {
        self.0.lock().unwrap().push(seen);
    }

    /// What somebody was shown who was not to see it: tokens belong into one header at listed origins,
    /// assertions into a body at the token endpoint, a plain token into the exchange's header, a
    /// subscription key to listed origins, and this key nowhere.
    pub(super) fn leaks(&self, listed: &[String], token_server: &str, key: &str) -> Vec<String> {
        let is_jws = |text: &str| text.contains("eyJ");
        let leak = |seen: &Seen| {
            let in_header = seen.headers.get_all(AUTHORIZATION).iter().count();
            let beside = seen.beside_the_header();
            let is_listed = listed.contains(&seen.origin);
            let is_exchange = seen.origin == token_server && seen.path.contains("/exchange/");
            let is_grant = seen.origin == token_server && seen.path == "/token";
            let leaks = in_header > usize::from(is_listed || is_exchange)
                || (is_jws(&beside) && !is_grant)
                || (beside.contains(SUBSCRIPTION_KEY) && !is_listed)
                || beside.contains(key);
            leaks.then(|| format!("{}{}", seen.origin, seen.path))
        };
        self.seen().iter().filter_map(leak).collect()
    }
}

// ===== servers =====

/// What all servers here speak on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) type Answer =
    Arc<dyn Fn(Seen, Request<Bytes>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// A server on this machine; dropping it closes its port and connections.
#[derive(Debug)]
pub(super) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    /// Answers everything so, over TLS where that is asked for, and notes it first.
    pub(super) fn start(
        listener: TcpListener,
        protocol: Protocol,
        tls: bool,
        book: &Book,
        answer: Answer,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let scheme = if tls { "https" } else { "http" };
        let mut tasks = JoinSet::new();
        let book = book.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (book, answer) = (book.clone(), Arc::clone(&answer));
                connections.spawn(async move {
                    let stream: Box<dyn Io> = match tls {
                        false => Box::new(stream),
                        true => match AUTHORITY.acceptor(protocol).accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (book, answer) = (book.clone(), Arc::clone(&answer));
                        async move { Ok::<_, Infallible>(respond(scheme, book, answer, request).await) }
                    });
                    let stream = TokioIo::new(stream);
                    // A connection that breaks is its client's affair; what it said is in the book.
                    let _ = match protocol {
                        Protocol::Http1 => http1::Builder::new().serve_connection(stream, service).await,
                        Protocol::Http2 => {
                            let builder = http2::Builder::new(TokioExecutor::new());
                            builder.serve_connection(stream, service).await
                        }
                    };
                });
            }
        });
        Self {
            scheme,
            address,
            _tasks: tasks,
        }
    }

    pub(super) fn origin(&self) -> String {
        self.origin_as("127.0.0.1")
    }

    /// Its origin by another name of this machine.
    pub(super) fn origin_as(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }
}

async fn respond(
    scheme: &str,
    book: Book,
    answer: Answer,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let named = parts.uri.authority().map(ToString::to_string);
    let host = || parts.headers[HOST].to_str().unwrap().to_owned();
    let seen = |body: Bytes| Seen {
        origin: format!("{scheme}://{}", named.unwrap_or_else(host)),
        path: parts.uri.path().to_owned(),
        headers: parts.headers.clone(),
        body,
    };
    // A body that breaks off was shown as far as it came, and its sender is gone.
    let Ok(collected) = body.collect().await else {
        book.note(seen(Bytes::new()));
        return Response::new(full(""));
    };
    let body = collected.to_bytes();
    let seen = seen(body.clone());
    book.note(seen.clone());
    answer(seen, Request::from_parts(parts, body)).await
}

// ===== connections =====

/// One connection, TLS or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connection for Box<dyn Io> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

pub(super) type Dial = BoxCloneSyncService<http::Uri, TokioIo<Box<dyn Io>>, BoxError>;

/// Connects to any server here, and trusts the tests' authority.
pub(super) fn dial(protocol: Protocol) -> Dial {
    BoxCloneSyncService::new(tower::service_fn(move |uri: http::Uri| async move {
        let host = uri.host().unwrap().to_owned();
        let port = uri.port_u16().unwrap();
        let stream = TcpStream::connect((&*host, port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Io> = match uri.scheme_str() {
            Some("https") => {
                let connector = AUTHORITY.connector(protocol);
                Box::new(connector.connect(host.try_into()?, stream).await?)
            }
            _ => Box::new(stream),
        };
        Ok::<_, BoxError>(TokioIo::new(stream))
    }))
}

/// The tests' own certificate authority, and the one certificate it has issued.
pub(super) struct Authority {
    pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

pub(super) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Authority {
        pem: issuer.pem(),
        certificate: certificate.der().clone(),
        key: key.serialize_der(),
    }
});

impl Authority {
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = alpn(protocol);
        TlsAcceptor::from(Arc::new(config))
    }

    fn connector(&self, protocol: Protocol) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(self.pem.as_bytes());
        roots.add(der.unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn(protocol);
        TlsConnector::from(Arc::new(config))
    }
}

fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    }
}
