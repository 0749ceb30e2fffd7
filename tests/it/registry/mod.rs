//! Named clients: what is declared, what is refused, and what each of their layers does.

mod declared;
mod layers;
mod over_reqwest;
mod refused;
mod retries;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maskinporten::{AltinnSettings, FixedToken, MaskinportenClient};
use maskinporten_sim::{SimClient, SimServer};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{SCOPES, settings};

/// A world on a port, and a client of it over the default transport. Time is real here.
async fn served() -> (SimServer, MaskinportenClient) {
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(SCOPES);
    let client = client_of(&server, &registered);
    (server, client)
}

fn client_of(server: &SimServer, registered: &SimClient) -> MaskinportenClient {
    let altinn = AltinnSettings::platform(&server.url()).unwrap();
    MaskinportenClient::builder()
        .settings(settings(registered))
        .altinn(altinn)
        .build()
        .unwrap()
}

/// A client of no server, which knows an Altinn.
fn anybody() -> MaskinportenClient {
    MaskinportenClient::builder()
        .source(FixedToken::new("token", seconds(3600)).unwrap())
        .altinn(AltinnSettings::platform("https://platform.tt02.altinn.no").unwrap())
        .build()
        .unwrap()
}

/// A server whose certificate nobody has signed but itself: where it is, and how often it was reached.
async fn self_signed() -> (String, Arc<AtomicUsize>) {
    let name = vec!["127.0.0.1".to_owned()];
    let signed = rcgen::generate_simple_self_signed(name).unwrap();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = acceptor.accept(stream).await;
        }
    });
    (url, reached)
}

/// Where the protected API of a world starts.
fn api(server: &SimServer) -> String {
    format!("{}api/", server.url())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
