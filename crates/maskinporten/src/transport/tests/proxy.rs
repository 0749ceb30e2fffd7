//! Through a proxy, past it, and what is said when it does not let one through.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use rcgen::CertificateParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::sockets::{closed_port, serve};
use super::tls::{Authority, alone_with, serve_tls, serve_tls_before, serve_tls_kept};
use super::*;

/// What the client said to the proxy, byte by byte.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A proxy that takes every tunnel to `server`, whatever the name, and remembers what goes in.
async fn tunnelling(server: SocketAddr) -> (SocketAddr, Record) {
    let record = Record::default();
    let recorded = record.clone();
    let proxy = serve(move |mut client| {
        let record = recorded.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            record.0.lock().unwrap().extend_from_slice(&head);
            client.write_all(b"HTTP/1.1 200 Go\r\n\r\n").await.unwrap();

            let (mut tap, mut far) = tokio::io::duplex(1 << 16);
            let mut server = TcpStream::connect(server).await.unwrap();
            let listen = async {
                let (mut from_client, mut to_client) = client.split();
                let (mut from_far, mut to_far) = tokio::io::split(&mut tap);
                let out = async {
                    let mut piece = vec![0; 1 << 14];
                    while let Ok(count @ 1..) = from_client.read(&mut piece).await {
                        record.0.lock().unwrap().extend_from_slice(&piece[..count]);
                        to_far.write_all(&piece[..count]).await.unwrap();
                    }
                    let _ = to_far.shutdown().await;
                };
                let back = tokio::io::copy(&mut from_far, &mut to_client);
                let _ = tokio::join!(out, back);
            };
            let _ = tokio::join!(listen, copy_bidirectional(&mut far, &mut server));
        }
    });
    (proxy.await, record)
}

/// A proxy that answers every CONNECT so.
async fn answering(answer: &'static str) -> SocketAddr {
    serve(move |mut client| async move {
        let _ = client.read(&mut [0; 4096]).await;
        let _ = client.write_all(answer.as_bytes()).await;
    })
    .await
}

/// An authority, and a server that shows its certificate for `token.example.no` and this machine.
async fn server() -> (Authority, SocketAddr) {
    let authority = Authority::new();
    let names = ["token.example.no", "127.0.0.1"].map(str::to_owned);
    let certified = authority.certify(CertificateParams::new(names).unwrap());
    let server = serve_tls(certified).await;
    (authority, server)
}

fn through(proxy: &str, authority: &Authority) -> Transport {
    Transport::builder()
        .proxy(proxy.parse().unwrap())
        .add_root_certificates(authority.pem())
        .build()
        .unwrap()
}

const TOKEN: &str = "https://token.example.no/token";

#[tokio::test]
async fn a_proxy_sees_a_name_and_tls_and_no_assertion() {
    let (authority, server) = server().await;
    let (proxy, record) = tunnelling(server).await;
    let transport = through(&format!("http://{proxy}"), &authority);
    let answer = transport.round_trip(post(TOKEN), PATIENCE).await.unwrap();
    assert_eq!(answer.body(), "{}");

    let seen = record.text();
    let (head, rest) = seen.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("CONNECT token.example.no:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(!head.contains("roxy-"), "{head}");
    assert_eq!(
        rest.as_bytes()[..2],
        [0x16, 0x03],
        "a TLS handshake follows"
    );
    assert!(!seen.contains(ASSERTION) && !seen.contains("/token"));
}

#[tokio::test]
async fn requests_one_after_another_share_a_tunnel() {
    let authority = Authority::new();
    let names = CertificateParams::new(["token.example.no".to_owned()]).unwrap();
    let (server, handshakes) = serve_tls_kept(authority.certify(names)).await;
    let (proxy, record) = tunnelling(server).await;
    let transport = through(&format!("http://{proxy}"), &authority);
    for _ in 0..20 {
        transport.round_trip(post(TOKEN), PATIENCE).await.unwrap();
    }
    assert_eq!(record.text().matches("CONNECT ").count(), 1);
    assert_eq!(handshakes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_proxy_that_is_itself_reached_over_tls_is_used() {
    // The tunnel's own TLS is ended by hand, so that the proxy can be read like the one above.
    let (authority, server) = server().await;
    let (plain, record) = tunnelling(server).await;
    let certified = authority.certify(CertificateParams::new(["localhost".to_owned()]).unwrap());
    let proxy = serve_tls_before(certified, plain).await;
    let transport = through(&format!("https://localhost:{}", proxy.port()), &authority);
    transport.round_trip(post(TOKEN), PATIENCE).await.unwrap();
    assert!(record.text().starts_with("CONNECT token.example.no:443"));
}

#[tokio::test]
async fn credentials_in_the_address_are_for_the_proxy_alone() {
    let (authority, server) = server().await;
    let (proxy, record) = tunnelling(server).await;
    let builder = Transport::builder()
        .proxy(format!("http://per:hunter%32@{proxy}").parse().unwrap())
        .add_root_certificates(authority.pem());
    let shown = format!("{builder:?}");
    assert!(
        shown.contains("127.0.0.1") && !shown.contains("hunter"),
        "{shown}"
    );

    let transport = builder.build().unwrap();
    transport.round_trip(post(TOKEN), PATIENCE).await.unwrap();
    let expected = "\r\nProxy-Authorization: Basic cGVyOmh1bnRlcjI=\r\n"; // per:hunter2
    assert!(record.text().contains(expected), "{}", record.text());
}

#[tokio::test]
async fn a_proxy_that_does_not_let_one_through_is_named() {
    let authority = Authority::new();
    for (answer, phrase, transient) in [
        (
            "HTTP/1.1 407 Who\r\n\r\n",
            "wants other credentials (407)",
            false,
        ),
        (
            "HTTP/1.1 403 No\r\n\r\n",
            "refused the way to the server",
            true,
        ),
        ("", "hung up", true),
    ] {
        let proxy = answering(answer).await;
        let transport = through(&format!("http://per:hunter2@{proxy}"), &authority);
        let error = refused(transport.round_trip(post(TOKEN), PATIENCE).await);
        check(&error, ErrorKind::Unreachable, transient, &advice::PROXY);
        assert_eq!(error.to_string(), format!("the proxy 127.0.0.1 {phrase}"));
        assert_eq!(error.endpoint(), Some(TOKEN));
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let (_port, proxy) = closed_port();
    let transport = through(&format!("http://per:hunter2@{proxy}"), &Authority::new());
    let error = refused(transport.round_trip(post(TOKEN), PATIENCE).await);
    check(&error, ErrorKind::Unreachable, true, &advice::NETWORK);
    assert_eq!(error.to_string(), "127.0.0.1 was not reached");
    assert!(
        error
            .details()
            .any(|detail| detail == ("proxy", "127.0.0.1"))
    );
}

#[tokio::test]
async fn a_proxy_that_hangs_is_named() {
    let proxy = serve(|client| async move {
        pending::<()>().await;
        drop(client);
    });
    let transport = Transport::builder()
        .proxy(format!("http://{}", proxy.await).parse().unwrap())
        .add_root_certificates(Authority::new().pem())
        .connect_timeout(IMPATIENCE)
        .build()
        .unwrap();
    let error = refused(transport.round_trip(post(TOKEN), PATIENCE).await);
    check(&error, ErrorKind::Unreachable, true, &advice::SILENCE);
    assert!(
        error
            .details()
            .any(|detail| detail == ("proxy", "127.0.0.1"))
    );
}

#[tokio::test]
async fn a_certificate_behind_the_proxy_is_the_servers_matter() {
    let (_, server) = server().await;
    let (proxy, _) = tunnelling(server).await;
    let transport = through(&format!("http://{proxy}"), &Authority::new());
    let error = refused(transport.round_trip(post(TOKEN), PATIENCE).await);
    check(&error, ErrorKind::Unreachable, false, &advice::CERTIFICATE);
    assert!(error.to_string().contains("token.example.no"), "{error}");
    assert!(error.details().all(|(name, _)| name != "proxy"));
}

#[tokio::test]
async fn this_machine_is_reached_past_the_proxy() {
    let (authority, server) = server().await;
    let (_port, proxy) = closed_port();
    let transport = through(&format!("http://{proxy}"), &authority);
    let answer = transport.round_trip(post(&format!("https://{server}")), PATIENCE);
    assert_eq!(answer.await.unwrap().body(), "{}");
}

#[test]
fn a_proxys_address_is_read_when_the_transport_is_built() {
    for proxy in ["socks5://per:hunter2@proxy:1080", "ftp://proxy", "/proxy"] {
        let built = Transport::builder().proxy(proxy.parse().unwrap()).build();
        let error = built.unwrap_err();
        check(&error, ErrorKind::Settings, false, &advice::PROXY_ADDRESS);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    for proxy in ["http://proxy:3128", "https://proxy", "proxy:3128"] {
        let built = Transport::builder().proxy(proxy.parse().unwrap()).build();
        built.unwrap();
    }
}

#[test]
fn the_environments_proxy_is_used_when_asked_for_and_its_exceptions_are_kept() {
    let alone = alone_with(
        "transport::tests::proxy::the_environments_proxy_is_used_when_asked_for_and_its_exceptions_are_kept",
        &[
            // Port 9 is for discarding; nobody listens.
            ("HTTPS_PROXY", "http://per:hunter2@127.0.0.1:9"),
            ("NO_PROXY", "past.invalid,.example.org"),
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
        let (authority, server) = server().await;
        let builder = || Transport::builder().add_root_certificates(authority.pem());
        let asked = builder().proxy_from_env().build().unwrap();
        let unasked = builder().build().unwrap();

        let here = format!("https://{server}");
        for (transport, uri, proxied) in [
            (&asked, "https://token.invalid", true),
            (&asked, "https://past.invalid", false),
            (&unasked, "https://token.invalid", false),
        ] {
            let error = refused(transport.round_trip(post(uri), PATIENCE).await);
            let named = error
                .details()
                .any(|detail| detail == ("proxy", "127.0.0.1"));
            assert_eq!(named, proxied, "{uri}: {error:?}");
        }
        asked.round_trip(post(&here), PATIENCE).await.unwrap();
    });
}
