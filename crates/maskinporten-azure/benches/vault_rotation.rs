//! Requests while the secrets of a vault change under them: a key is rotated, the vault is out, a secret
//! is half written, disabled and mended.
//!
//! - Real time, and a vault on this machine that speaks the REST protocol over TLS; it is looked at five
//!   times a second.
//! - A token lives for two seconds, so that grants are made in every phase.
//! - What is counted: requests that failed, what each phase was signed with, and refused grants.
//!
//! `cargo xtask promises P9` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark spawns its requests")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/azure.rs"]
mod azure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use maskinporten::{Credentials, MaskinportenClient, Transport};
use maskinporten_azure::KeyVaultSettings;
use maskinporten_sim::{Body, Route, Sim, SimClient};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_maskinporten::MaskinportenAuthLayer;

use azure::{Azure, Fault};

const SCOPES: [&str; 1] = ["krr:read"];

/// How often the vault is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// How long each phase lasts: longer than a token, a look, and the second in which a change settles.
const PHASE: Duration = Duration::from_secs(4);

/// The least that shall be sent in all phases together.
const REQUESTS: u64 = 10_000;

const CALLERS: usize = 8;

const KEY: &str = "MaskinportenSettings--JwkBase64";

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
    let azure = Azure::start().await;
    let sim = Sim::builder()
        .wall_clock()
        .token_lifetime(Duration::from_secs(2))
        .build();
    let old = sim.new_client(SCOPES);
    azure.set("MaskinportenSettings--Authority", &sim.issuer());
    azure.set("MaskinportenSettings--ClientId", old.client_id());
    azure.set(KEY, &old.jwk_base64());
    let source = KeyVaultSettings::new(&azure.vault()).with_interval(INTERVAL);
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
    // A new version of the secret.
    let new = old.rotate_key().unwrap();
    if !overlap {
        assert!(sim.remove_key(old.client_id(), old.kid()));
    }
    azure.set(KEY, &new.jwk_base64());
    sleep(PHASE).await;
    // Half of a third key: it was never whole, so it must never sign.
    let third = new.rotate_key().unwrap();
    let half = third.jwk_base64();
    azure.set(KEY, &half[..half.len() / 2]);
    sleep(PHASE).await;
    azure.edit(KEY, |secret| secret.disabled = true);
    azure.fault("/secrets", Fault::Status(503, "Trouble"), 20);
    sleep(PHASE).await;
    let broken = client.health().settings_error.is_some();
    assert!(sim.remove_key(new.client_id(), third.kid()));
    let fourth = new.rotate_key().unwrap();
    azure.edit(KEY, |secret| secret.disabled = false);
    azure.set(KEY, &fourth.jwk_base64());
    sleep(PHASE * 2).await;
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
