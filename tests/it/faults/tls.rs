//! Servers whose certificate or protocol is not good enough: F15.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use maskinporten::{ErrorKind, Transport};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn certify(&self, params: CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A client that trusts this authority, for a server on this machine.
    fn client(&self, server: &Server) -> MaskinportenClient {
        let transport = Transport::builder().add_root_certificates(self.0.pem());
        let endpoint = format!("https://localhost:{}/token", server.address.port());
        let client = client_of(&endpoint).transport(transport.build().unwrap());
        client.build().unwrap()
    }
}

fn certificate_for(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

fn valid_in(from: i32, to: i32) -> CertificateParams {
    let mut params = certificate_for("localhost");
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}

// ===== servers =====

/// A server on this machine, and what arrived on each of its connections: inside TLS where that
/// came about, else as it was on the wire.
struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    async fn start<F>(converse: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let notes = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (notes, converse) = (Arc::clone(&notes), converse(stream));
                tokio::spawn(async move {
                    let place = {
                        let mut notes = notes.lock().unwrap();
                        notes.push(Vec::new());
                        notes.len() - 1
                    };
                    let bytes = converse.await;
                    notes.lock().unwrap()[place] = bytes;
                });
            }
        });
        Self { address, received }
    }

    /// Speaks TLS with this certificate, and answers with a token.
    async fn certified((certificate, key): (Certificate, KeyPair)) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate)], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                match acceptor.accept(stream).await {
                    Ok(mut stream) => {
                        let mut received = vec![0; 64 << 10];
                        let length = stream.read(&mut received).await.unwrap_or_default();
                        received.truncate(length);
                        let body = r#"{"access_token":"opaque","expires_in":120}"#;
                        let head = "HTTP/1.1 200 OK\r\nconnection: close";
                        let answer =
                            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                        received
                    }
                    Err(_) => Vec::new(),
                }
            }
        })
        .await
    }

    /// Says this to whatever comes first, and hangs up.
    async fn saying(words: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            let mut received = vec![0; 64 << 10];
            let length = stream.read(&mut received).await.unwrap_or_default();
            received.truncate(length);
            let _ = stream.write_all(words).await;
            let _ = stream.shutdown().await;
            // Until the client has had its say.
            let _ = stream.read_to_end(&mut received).await;
            received
        })
        .await
    }

    fn connections(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Nothing of a request arrived: no head, no form, no part of an assertion.
    #[track_caller]
    fn assert_nothing_was_told(&self) {
        for received in &*self.received.lock().unwrap() {
            let text = String::from_utf8_lossy(received);
            for told in ["POST", "/token", "grant_type", "assertion", "eyJ"] {
                assert!(!text.contains(told), "{told} in {text}");
            }
        }
    }
}

/// It fails closed, says why, and is tried again once at most.
async fn check(authority: &Authority, server: Server, words: &str, hint: &str) {
    let client = authority.client(&server);
    let error = client.access_token(SCOPES).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().unwrap().contains(hint), "{error:?}");
    assert!(error.retry_at().is_some(), "{error:?}");
    server.assert_nothing_was_told();
    let connections = server.connections();
    assert!(
        (1..=2).contains(&connections),
        "{error}: {connections} times"
    );
}

// ===== certificates =====

#[tokio::test]
async fn a_good_certificate_brings_a_token() {
    let authority = Authority::new();
    let server = Server::certified(authority.certify(certificate_for("localhost"))).await;
    let client = authority.client(&server);
    client.access_token(SCOPES).await.unwrap();
    let received = server.received.lock().unwrap();
    let told = String::from_utf8_lossy(&received[0]);
    assert!(told.starts_with("POST /token") && told.contains("assertion=eyJ"));
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_told_and_shown_no_assertion() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let check = async |certified, words| {
        let server = Server::certified(certified).await;
        check(&authority, server, words, "the network inspects TLS").await;
    };
    let good = || certificate_for("localhost");
    check(authority.certify(valid_in(2000, 2001)), "has expired").await;
    check(authority.certify(valid_in(2999, 3000)), "is not valid yet").await;
    let other = certificate_for("tokens.example.no");
    check(authority.certify(other), "is for another name").await;
    let key = KeyPair::generate().unwrap();
    let itself = good().self_signed(&key).unwrap();
    check((itself, key), "an authority that is not known here").await;
    // A namesake of the authority that is trusted, as an attacker would call it.
    let namesake = "is not signed by the authority it names";
    check(stranger.certify(good()), namesake).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_told() {
    let authority = Authority::new();
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "somebody else");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let stranger = Authority(CertifiedIssuer::self_signed(params, key).unwrap());
    let server = Server::certified(stranger.certify(certificate_for("localhost"))).await;
    let words = "an authority that is not known here";
    check(&authority, server, words, "the network inspects TLS").await;
}

// ===== protocols =====

/// TLS 1.0's ServerHello: AES-128-CBC with SHA, no extensions (RFC 2246 §7.4.1.3).
const SERVER_HELLO_OF_TLS_1_0: &[u8] = b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01\
    0123456789abcdef0123456789abcdef\x00\x00\x2f\x00";

/// The alert `protocol_version`: fatal, 70 (RFC 5246 §7.2).
const ALERT_PROTOCOL_VERSION: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";

const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_server_of_tls_1_0_is_told_and_shown_no_assertion() {
    let server = Server::saying(SERVER_HELLO_OF_TLS_1_0).await;
    check(&Authority::new(), server, "no TLS connection", "TLS 1.2").await;
}

#[tokio::test]
async fn a_server_that_knows_no_tls_of_ours_is_told_and_shown_no_assertion() {
    let server = Server::saying(ALERT_PROTOCOL_VERSION).await;
    check(&Authority::new(), server, "no TLS connection", "TLS 1.2").await;
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_and_shown_no_assertion() {
    let server = Server::saying(NO_TLS).await;
    check(&Authority::new(), server, "no TLS connection", "wrong port").await;
}
