//! Certificates that are good, and all the ways in which they are not.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion, version};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::sockets::{request, serve};
use super::*;

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::builder()
            .add_root_certificates(self.pem())
            .build()
            .unwrap()
    }

    pub(super) fn certify(&self, params: CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

fn for_name(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// Answers `{}` over TLS.
pub(super) async fn serve_tls(certified: (Certificate, KeyPair)) -> SocketAddr {
    serve_tls_in(certified, &[&version::TLS13, &version::TLS12]).await
}

/// Ends TLS and passes on what was inside.
pub(super) async fn serve_tls_before(
    certified: (Certificate, KeyPair),
    next: SocketAddr,
) -> SocketAddr {
    let acceptor = acceptor(certified, &[&version::TLS13]);
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut next = TcpStream::connect(next).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut next).await;
        }
    })
    .await
}

fn acceptor(
    (certificate, key): (Certificate, KeyPair),
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve_tls_in(
    certified: (Certificate, KeyPair),
    versions: &[&'static SupportedProtocolVersion],
) -> SocketAddr {
    let acceptor = acceptor(certified, versions);
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return; // The certificate was not liked.
            };
            answer(&mut stream).await;
        }
    })
    .await
}

/// Answers each request of a connection, and counts handshakes.
pub(super) async fn serve_tls_kept(
    certified: (Certificate, KeyPair),
) -> (SocketAddr, Arc<AtomicUsize>) {
    let acceptor = acceptor(certified, &[&version::TLS13]);
    let handshakes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&handshakes);
    let server = serve(move |stream| {
        let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            while !request(&mut stream).await.is_empty() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    (server.await, handshakes)
}

async fn answer(stream: &mut TlsStream<TcpStream>) {
    request(stream).await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(answer).await.unwrap();
    let _ = stream.shutdown().await;
}

async fn ask(transport: &Transport, host: &str, server: SocketAddr) -> Result<Response<Bytes>> {
    let request = post(&format!("https://{host}:{}/token", server.port()));
    transport.round_trip(request, PATIENCE).await
}

#[track_caller]
fn check_certificate(error: &Error, problem: &str) {
    check(error, ErrorKind::Unreachable, false, &advice::CERTIFICATE);
    assert!(error.to_string().ends_with(problem), "{error}");
    let detail = error.details().find(|(name, _)| *name == "certificate");
    assert_eq!(detail, Some(("certificate", problem)));
}

#[tokio::test]
async fn a_certificate_of_an_added_authority_is_accepted() {
    let authority = Authority::new();
    let server = serve_tls(authority.certify(for_name("localhost"))).await;
    let answer = ask(&authority.transport(), "localhost", server).await;
    assert_eq!(answer.unwrap().body(), "{}");
}

#[tokio::test]
async fn tls_1_2_is_spoken() {
    let authority = Authority::new();
    let certified = authority.certify(for_name("127.0.0.1"));
    let server = serve_tls_in(certified, &[&version::TLS12]).await;
    let answer = ask(&authority.transport(), "127.0.0.1", server).await;
    assert_eq!(answer.unwrap().body(), "{}");
}

#[tokio::test]
async fn a_new_connection_resumes_the_tls_session_of_the_last() {
    let authority = Authority::new();
    let certified = authority.certify(for_name("localhost"));
    let acceptor = acceptor(certified, &[&version::TLS13]);
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let server = serve(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            seen.lock()
                .unwrap()
                .push(stream.get_ref().1.handshake_kind());
            answer(&mut stream).await;
        }
    })
    .await;
    let transport = authority.transport();
    for _ in 0..2 {
        ask(&transport, "localhost", server).await.unwrap();
    }
    let expected = [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)];
    assert_eq!(*kinds.lock().unwrap(), expected);
}

#[tokio::test]
async fn requests_one_after_another_share_a_tls_handshake() {
    let authority = Authority::new();
    let (server, handshakes) = serve_tls_kept(authority.certify(for_name("localhost"))).await;
    let transport = authority.transport();
    for _ in 0..50 {
        ask(&transport, "localhost", server).await.unwrap();
    }
    assert_eq!(handshakes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_certificate_signed_by_itself_is_accepted_only_as_an_added_root() {
    let key = KeyPair::generate().unwrap();
    let certificate = for_name("localhost").self_signed(&key).unwrap();
    let pem = certificate.pem();
    let server = serve_tls((certificate, key)).await;

    let stranger = Authority::new().transport();
    let error = refused(ask(&stranger, "localhost", server).await);
    check_certificate(&error, "comes from an authority that is not known here");

    let transport = Transport::builder().add_root_certificates(pem);
    let answer = ask(&transport.build().unwrap(), "localhost", server).await;
    assert_eq!(answer.unwrap().body(), "{}");
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_was_made_anew_is_refused() {
    let server = serve_tls(Authority::new().certify(for_name("localhost"))).await;
    let namesake = Authority::new().transport();
    let error = refused(ask(&namesake, "localhost", server).await);
    check_certificate(&error, "is not signed by the authority it names");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let server = serve_tls(authority.certify(for_name("example.no"))).await;
    let error = refused(ask(&authority.transport(), "localhost", server).await);
    check_certificate(&error, "is for another name");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new();
    for (from, to, problem) in [
        (2000, 2001, "has expired"),
        (2999, 3000, "is not valid yet"),
    ] {
        let mut params = for_name("localhost");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let server = serve_tls(authority.certify(params)).await;
        let error = refused(ask(&authority.transport(), "localhost", server).await);
        check_certificate(&error, problem);
    }
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls_is_no_certificate_problem() {
    let server = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let transport = Authority::new().transport();
    let error = refused(ask(&transport, "localhost", server.await).await);
    check(&error, ErrorKind::Unreachable, false, &advice::HANDSHAKE);
}

#[test]
fn root_certificates_are_read_when_the_transport_is_built() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    for pem in ["", "not a PEM", broken, torn] {
        let built = Transport::builder().add_root_certificates(pem).build();
        let error = built.unwrap_err();
        check(
            &error,
            ErrorKind::Settings,
            false,
            &advice::ROOT_CERTIFICATES,
        );
    }
    let two = format!(
        "{}\n# text\n{}",
        Authority::new().pem(),
        Authority::new().pem()
    );
    Transport::builder()
        .add_root_certificates(two)
        .build()
        .unwrap();
}

// ===== in a process of its own =====

/// Runs the test named so again, in a process with these variables; true inside that process.
///
/// Variables belong to the whole process, and other tests run in this one.
pub(super) fn alone_with(test: &str, variables: &[(&str, &str)]) -> bool {
    const ALONE: &str = "MASKINPORTEN_TEST_ALONE";
    #[expect(
        clippy::disallowed_methods,
        reason = "not a setting: which process this is"
    )]
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .envs(variables.iter().copied())
        .env(ALONE, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(
        output.contains("1 passed"),
        "no test is named {test}: {output}"
    );
    false
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn without_authorities_only_https_fails_and_says_so() {
    let alone = alone_with(
        "transport::tests::tls::without_authorities_only_https_fails_and_says_so",
        &[
            ("SSL_CERT_FILE", "/nonexistent/bundle.pem"),
            ("SSL_CERT_DIR", "/nonexistent"),
        ],
    );
    if !alone {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Building it is no error, and a server on this machine needs no authority.
        let transport = Transport::builder().build().unwrap();
        let server = serve(|mut stream| async move {
            request(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        });
        let uri = format!("http://{}", server.await);
        transport.round_trip(post(&uri), PATIENCE).await.unwrap();

        let asked = transport.round_trip(post("https://a.example.no/token"), PATIENCE);
        let error = refused(asked.await);
        check(&error, ErrorKind::Unreachable, false, &advice::NO_CA_STORE);
        assert!(error.hint().unwrap().contains("SSL_CERT_FILE"));
        assert_eq!(error.endpoint(), Some("https://a.example.no/token"));

        // An added one is enough.
        let authority = Authority::new();
        let server = serve_tls(authority.certify(for_name("localhost"))).await;
        ask(&authority.transport(), "localhost", server)
            .await
            .unwrap();
    });
}
