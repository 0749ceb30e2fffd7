//! Requests while the credentials change under them: a mounted volume is swapped, broken and mended, and
//! a key is exchanged for another without any overlap.
//!
//! - Real time, and real files: a directory whose `..data` link is swapped as Kubernetes does it, read by
//!   the very source that a platform's mount is read by, ten times a second.
//! - A token lives for two seconds, so that grants are made in every phase.
//! - What is counted: requests that failed, what each phase was signed with, and refused grants.
//!
//! `cargo xtask promises P9` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark spawns its requests")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use maskinporten::{Credentials, MaskinportenClient, SecretsDirectory, Transport};
use maskinporten_sim::{Body, Route, Sim, SimClient};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_maskinporten::MaskinportenAuthLayer;

const SCOPES: [&str; 1] = ["krr:read"];

/// How often the volume is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long each phase lasts: longer than a token, a look, and the second in which a change settles.
const PHASE: Duration = Duration::from_secs(4);

/// The least that shall be sent in all phases together.
const REQUESTS: u64 = 10_000;

const CALLERS: usize = 8;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let overlap = run(true).await;
    let without_overlap = run(false).await;
    println!(
        "{}",
        json!({ "overlap": overlap, "without_overlap": without_overlap })
    );
}

async fn run(overlap: bool) -> Value {
    let sim = Sim::builder()
        .wall_clock()
        .token_lifetime(Duration::from_secs(2))
        .build();
    let old = sim.new_client(SCOPES);
    let volume = Volume::new(&files(&sim, &old));
    let source = SecretsDirectory::new(&volume.0).with_interval(INTERVAL);
    let client = MaskinportenClient::builder()
        .credentials(Credentials::load(source).await.unwrap())
        .transport(Transport::new(sim.clone()))
        .build()
        .unwrap();
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, sim.altinn_platform()).unwrap();
    let service = layer.layer(sim.clone());

    let done = Arc::new(AtomicBool::new(false));
    let (sent, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (service, url) = (service.clone(), sim.api_url());
            let (done, sent, failed) = (done.clone(), sent.clone(), failed.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let request = Request::get(&url).body(Body::empty()).unwrap();
                    let answer = service.clone().oneshot(request).await;
                    let is_ok = answer.is_ok_and(|answer| answer.status() == StatusCode::OK);
                    failed.fetch_add(u64::from(!is_ok), Ordering::SeqCst);
                    sent.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();

    sleep(PHASE).await;
    // A new key, swapped in whole.
    let new = old.rotate_key().unwrap();
    if !overlap {
        assert!(sim.remove_key(old.client_id(), old.kid()));
    }
    volume.swap(&files(&sim, &new));
    sleep(PHASE).await;
    // Half of a third one: it was never whole, so it must never sign.
    let third = new.rotate_key().unwrap();
    let mut half = files(&sim, &third);
    let cut = half[1].1.len() / 2;
    half[1].1.truncate(cut);
    volume.swap(&half);
    sleep(PHASE).await;
    volume.swap(&[]);
    sleep(PHASE).await;
    let broken = client.health().settings_error.is_some();
    let fourth = {
        assert!(sim.remove_key(new.client_id(), third.kid()));
        new.rotate_key().unwrap()
    };
    volume.swap(&files(&sim, &fourth));
    sleep(PHASE).await;
    while sent.load(Ordering::SeqCst) < REQUESTS {
        sleep(INTERVAL).await;
    }
    done.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }

    let journal = sim.journal();
    let grants = |registered: &SimClient| {
        let signed = journal.requests(Route::Token).filter(|entry| {
            entry
                .assertion_header()
                .is_some_and(|header| header["kid"] == registered.kid())
        });
        signed.count()
    };
    let refused = journal
        .requests(Route::Token)
        .filter(|entry| !entry.is_accepted());
    json!({
        "requests": sent.load(Ordering::SeqCst),
        "failed": failed.load(Ordering::SeqCst),
        "refused_grants": refused.count(),
        "signed_by_old": grants(&old),
        "signed_by_new": grants(&new),
        "signed_by_broken": grants(&third),
        "signed_by_mended": grants(&fourth),
        "trouble_was_told": usize::from(broken),
        "trouble_is_over": usize::from(client.health().settings_error.is_none()),
    })
}

fn files(sim: &Sim, registered: &SimClient) -> Vec<(&'static str, String)> {
    vec![
        ("MASKINPORTEN_CLIENT_ID", registered.client_id().to_owned()),
        (
            "MASKINPORTEN_CLIENT_JWK",
            registered.private_jwk().to_string(),
        ),
        ("MASKINPORTEN_ISSUER", sim.issuer()),
    ]
}

/// A mounted volume, removed when dropped.
struct Volume(PathBuf, AtomicUsize);

impl Volume {
    fn new(files: &[(&str, String)]) -> Self {
        let name = format!("maskinporten-rotation-{}", std::process::id());
        let volume = Self(std::env::temp_dir().join(name), AtomicUsize::new(0));
        let _ = fs::remove_dir_all(&volume.0);
        fs::create_dir_all(&volume.0).unwrap();
        volume.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.0.join(name)).unwrap();
        }
        volume
    }

    fn swap(&self, files: &[(&str, String)]) {
        let state = format!("..state_{}", self.1.fetch_add(1, Ordering::SeqCst));
        fs::create_dir(self.0.join(&state)).unwrap();
        for (name, text) in files {
            fs::write(self.0.join(&state).join(name), text).unwrap();
        }
        let link = self.0.join("..data_tmp");
        symlink(&state, &link).unwrap();
        fs::rename(link, self.0.join("..data")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
