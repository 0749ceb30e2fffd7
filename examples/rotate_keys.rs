//! A key is replaced while requests go on: no restart, and no request that fails.
//!
//! `cargo run --example rotate_keys` swaps a directory of secrets as Kubernetes does, and prints which key
//! signed what. Copy the four lines that begin with `SecretsDirectory`. Where the platform tells where its
//! secrets are, `MaskinportenClient::discover()` is those four lines.

mod demo;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use demo::{BoxError, check};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Route, Sim, SimClient, SimServer};
use tempfile::TempDir;
use tower::{ServiceBuilder, ServiceExt};
use tower_maskinporten::ServiceBuilderExt;
use tower_maskinporten::maskinporten::{Credentials, MaskinportenClient, SecretsDirectory};

const SCOPE: &str = "krr:read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = short_lives().await?;
    let sim = server.sim();
    let old = sim.new_client([SCOPE]);
    let volume = Volume::mount(&old)?;

    // Looked at every five seconds if nothing is said.
    let secrets = SecretsDirectory::new(volume.path()).with_interval(Duration::from_millis(200));
    let credentials = Credentials::load(secrets).await?;
    let client = MaskinportenClient::builder()
        .credentials(credentials)
        .build()?;

    let http = ServiceBuilder::new()
        .maskinporten_authorization(&client, [SCOPE], server.url())?
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());
    let (mut calls, mut failed) = (0, 0);
    let mut call = async || {
        let request = Request::get(sim.api_url()).body(Empty::new())?;
        calls += 1;
        match http.clone().oneshot(request).await {
            Ok(response) if response.status() == StatusCode::OK => {}
            refused => {
                failed += 1;
                println!("failed: {refused:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok::<_, BoxError>(())
    };

    call().await?;
    println!("1. The first token was signed for with {}", last_kid(sim));
    check("it is the old key", last_kid(sim) == old.kid())?;

    println!("2. Another key is registered, and then mounted");
    let new = old.rotate_key()?;
    volume.swap(&new)?;
    // It has to settle for a second; then the next grant is signed with it. Tokens stay as they are.
    for _ in 0..2_000 {
        call().await?;
        if last_kid(sim) == new.kid() {
            break;
        }
    }
    println!("   and a token was signed for with {}", last_kid(sim));
    check("it is the new key", last_kid(sim) == new.kid())?;

    println!("3. The old key is removed from the client");
    sim.remove_key(old.client_id(), old.kid());
    client.invalidate([SCOPE])?;
    call().await?;
    println!(
        "   {calls} calls, {failed} failed, {} tokens",
        sim.journal().grants()
    );
    check("nothing failed", failed == 0)?;
    let journal = sim.journal();
    check(
        "no grant was refused",
        journal.grants() == journal.token_requests(),
    )
}

// ===== what is only here to run it =====

/// Tokens that live for 4 s, so that the next one is not far off.
async fn short_lives() -> io::Result<SimServer> {
    let sim = Sim::builder()
        .wall_clock()
        .token_lifetime(Duration::from_secs(4))
        .build();
    SimServer::bind(sim, ([127, 0, 0, 1], 0).into()).await
}

/// The key that signed the last assertion.
fn last_kid(sim: &Sim) -> String {
    let journal = sim.journal();
    let last = journal.requests(Route::Token).last();
    let header = last.and_then(|entry| entry.assertion_header());
    let kid = header.and_then(|header| header["kid"].as_str());
    kid.unwrap_or("nothing").to_owned()
}

/// A directory as Kubernetes mounts a secret: files that are links through `..data`, which is swapped.
struct Volume(TempDir);

const FILE: &str = "maskinporten-settings.json";

impl Volume {
    fn mount(client: &SimClient) -> io::Result<Self> {
        let volume = Self(tempfile::tempdir()?);
        volume.swap(client)?;
        link(&Path::new("..data").join(FILE), &volume.path().join(FILE))?;
        Ok(volume)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the settings beside those that are there, and has `..data` lead to them in one step.
    fn swap(&self, client: &SimClient) -> io::Result<()> {
        let state = format!("..{}", client.kid());
        fs::create_dir(self.path().join(&state))?;
        let settings = client.settings_json().to_string();
        fs::write(self.path().join(&state).join(FILE), settings)?;
        let beside = self.path().join("..data_tmp");
        link(Path::new(&state), &beside)?;
        fs::rename(beside, self.path().join("..data"))
    }
}

#[cfg(unix)]
fn link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::other(
        "Kubernetes swaps symbolic links of a Unix",
    ))
}
