//! TLS handshakes of many fetches: one client, first tokens for many organisations at once, real sockets.
//!
//! It needs a runtime with sockets and real time, and nothing else of these tests: a program that prints the
//! figures can read this very file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maskinporten::{
    MaskinportenClient, MaskinportenSettings, OrganisationNumber, TokenRequest, Transport,
};
use maskinporten_sim::Sim;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetches {
    /// Each is a fetch.
    pub(crate) organisations: usize,
    /// The time of the token server for one token.
    pub(crate) server: Duration,
}

/// What the token server counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) handshakes: u64,
    pub(crate) token_requests: u64,
    /// The most token requests at one moment.
    pub(crate) at_once: u64,
}

/// Asks for one token for each organisation, all at once. Fails where one of them is not served.
pub(crate) async fn counted(of: Fetches) -> maskinporten::Result<Counted> {
    let server = Server::start(of.server).await;
    let registered = Sim::new().new_client(["a:read"]);
    let section = MaskinportenSettings::DEFAULT_SECTION;
    let settings =
        MaskinportenSettings::from_json(&registered.settings_json().to_string(), section)?;
    let client = MaskinportenClient::builder()
        .settings(settings)
        .token_endpoint(format!("https://localhost:{}/token", server.address.port()))
        .transport(
            Transport::builder()
                .add_root_certificates(&server.certificate)
                .build()?,
        )
        .build()?;

    let tokens = organisations().take(of.organisations).map(|organisation| {
        let request = TokenRequest::scopes(["a:read"])
            .unwrap()
            .consumer_org(organisation)
            .unwrap();
        client.access_token(request)
    });
    for token in join_all(tokens).await {
        token?;
    }
    Ok(server.seen.counted())
}

fn organisations() -> impl Iterator<Item = OrganisationNumber> {
    (810_000_000..).filter_map(|number: u32| number.to_string().parse().ok())
}

// ===== a token server =====

/// Answers every request on every connection with a token, over TLS, with a certificate signed by itself.
struct Server {
    address: SocketAddr,
    certificate: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    handshakes: AtomicU64,
    token_requests: AtomicU64,
    now: AtomicU64,
    at_once: AtomicU64,
}

impl Seen {
    fn counted(&self) -> Counted {
        Counted {
            handshakes: self.handshakes.load(Ordering::Relaxed),
            token_requests: self.token_requests.load(Ordering::Relaxed),
            at_once: self.at_once.load(Ordering::Relaxed),
        }
    }
}

impl Server {
    async fn start(takes: Duration) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        let acceptor = acceptor(certificate.into(), &key);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(serve(stream, acceptor, takes, seen));
            }
        });
        Self {
            address,
            certificate: pem,
            seen,
        }
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, takes: Duration, seen: Arc<Seen>) {
    const TOKEN: &str = r#"{"access_token":"opaque","token_type":"Bearer","expires_in":120}"#;

    let mut stream = acceptor.accept(stream).await.unwrap();
    seen.handshakes.fetch_add(1, Ordering::Relaxed);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{TOKEN}",
        TOKEN.len()
    );
    let mut text = Vec::new();
    // A connection that ends has no further request.
    while let Ok(1..) = stream.read_buf(&mut text).await {
        if !is_whole(&text) {
            continue;
        }
        text.clear();
        seen.token_requests.fetch_add(1, Ordering::Relaxed);
        let now = seen.now.fetch_add(1, Ordering::Relaxed) + 1;
        seen.at_once.fetch_max(now, Ordering::Relaxed);
        sleep(takes).await;
        seen.now.fetch_sub(1, Ordering::Relaxed);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Whether one request has arrived, head and body.
fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() == length.unwrap_or_default()
}
