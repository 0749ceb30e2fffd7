//! What the watch of a source must not do: go over to another place or client, keep silent, hide a refusal.

use std::fs;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, StatusCode};
use maskinporten::{
    AltinnSettings, AppSettings, BoxFuture, Credentials, ErrorKind, Finding, KeyReference,
    MaskinportenClient, MaskinportenSettings, Result, SettingsSource, Sidecar, Signer,
    SigningAlgorithm, TokioClock, Transport,
};
use maskinporten_sim::{Body, Fault, Route, Sim, SimClient};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_maskinporten::MaskinportenAuthLayer;

use crate::world::{self, SCOPES};

const SEEN: Duration = Duration::from_millis(7_500);

#[derive(Clone, Debug)]
struct Script {
    says: Arc<Mutex<Option<MaskinportenSettings>>>,
    looks: Arc<AtomicUsize>,
    hangs: Arc<AtomicBool>,
    interval: Duration,
}

impl Script {
    fn new(settings: MaskinportenSettings, interval: Duration) -> Self {
        Self {
            says: Arc::new(Mutex::new(Some(settings))),
            looks: Arc::default(),
            hangs: Arc::default(),
            interval,
        }
    }

    fn says(&self, settings: Option<MaskinportenSettings>) {
        *self.says.lock().unwrap() = settings;
    }
}

impl SettingsSource for Script {
    fn name(&self) -> &str {
        "the script"
    }

    /// Panics where it was told nothing.
    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        Box::pin(async {
            self.looks.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                pending::<()>().await;
            }
            let says = self.says.lock().map(|says| says.clone()).unwrap();
            Ok(says.expect("planted").into())
        })
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }
}

async fn client_of(sim: &Sim, source: impl SettingsSource) -> MaskinportenClient {
    let credentials = Credentials::load(source).await.unwrap();
    MaskinportenClient::builder()
        .credentials(credentials)
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}

async fn fetch(client: &MaskinportenClient) -> Result<()> {
    client.invalidate(SCOPES).unwrap();
    client.access_token(SCOPES).await.map(drop)
}

/// `iss`, `kid` and whether it was taken, of each grant.
fn grants(sim: &Sim) -> Vec<(String, String, bool)> {
    let journal = sim.journal();
    let grants = journal.requests(Route::Token);
    grants
        .map(|entry| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (
                text(&entry.assertion_claims().unwrap()["iss"]),
                text(&entry.assertion_header().unwrap()["kid"]),
                entry.is_accepted(),
            )
        })
        .collect()
}

fn file_of(registered: &SimClient) -> String {
    registered.settings_json().to_string()
}

// ===== a client never goes over to another place while it lives =====

#[tokio::test(start_paused = true)]
async fn a_vanished_appsettings_of_the_environment_keeps_the_last_good() {
    let sim = Sim::new();
    let (own, common) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("appsettings.Staging.json");
    fs::write(&path, file_of(&own)).unwrap();
    fs::write(directory.path().join("appsettings.json"), file_of(&common)).unwrap();
    let source = AppSettings::new(directory.path()).with_environment("Staging");
    let client = client_of(&sim, source).await;
    fetch(&client).await.unwrap();

    fs::remove_file(&path).unwrap();
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    let clients: Vec<_> = grants(&sim).into_iter().map(|(iss, ..)| iss).collect();
    assert_eq!(clients, [own.client_id(), own.client_id()]);
    assert!(client.health().settings_error.is_some());
}

// ===== shadowed sources are named =====

#[tokio::test]
async fn an_appsettings_that_is_passed_over_is_told_of() {
    let sim = Sim::new();
    let (own, common) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("appsettings.Staging.json");
    fs::write(directory.path().join("appsettings.json"), file_of(&common)).unwrap();
    let described = || async {
        let source = AppSettings::new(directory.path()).with_environment("Staging");
        let credentials = Credentials::load(source).await.unwrap();
        credentials.describe().to_string()
    };
    fs::write(
        &path,
        r#"{"MaskinportenSettings": {"ClientId": "half-a-client"}}"#,
    )
    .unwrap();
    let half = described().await;
    fs::write(&path, file_of(&own)).unwrap();
    let whole = described().await;
    assert!(
        half.contains("not used") && whole.contains("not used"),
        "\nhalf:  {half}\nwhole: {whole}"
    );
}

// ===== the source is looked at every interval =====

/// As a program without a runtime of its own, that makes one for each call.
#[test]
fn a_source_is_looked_at_by_a_program_of_short_runtimes() {
    let interval = Duration::from_millis(100);
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    };
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(world::settings(&registered), interval);
    let client = runtime().block_on(client_of(&sim, script.clone()));
    for _ in 0..20 {
        runtime().block_on(async {
            fetch(&client).await.unwrap();
            sleep(interval * 6 / 10).await;
        });
    }
    let looks = script.looks.load(Ordering::SeqCst);
    assert!(looks > 1, "{looks} look in twelve intervals");
}

// ===== `skip_cache` after a rejected token =====

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_replaced_though_its_renewal_is_under_way() {
    let sim = Sim::builder()
        .token_lifetime(Duration::from_secs(1_800))
        .build();
    sim.new_client(SCOPES);
    let sidecar = Sidecar::new(&sim.sidecar_endpoint()).unwrap();
    let client = MaskinportenClient::builder()
        .credentials(Credentials::from(sidecar))
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, sim.altinn_platform()).unwrap();
    let api = sim.clone();
    let service = service_fn(move |request: Request<&'static str>| {
        api.clone().oneshot(request.map(Body::from))
    });
    let service = layer.replay_on_unauthorized().layer(service);
    let call = || {
        let request = Request::get(sim.api_url()).body("").unwrap();
        let answer = service.clone().oneshot(request);
        async { answer.await.unwrap().status() }
    };
    assert_eq!(call().await, StatusCode::OK);
    // It ages, and the sidecar still has it in its memory.
    sleep(Duration::from_secs(1_450)).await;
    sim.revoke_all();
    sim.fault(Route::Sidecar, Fault::latency(Duration::from_millis(200)));
    // This one has the ageing token renewed, and learns that it is no longer accepted.
    let first = call().await;
    let asked: Vec<_> = {
        let journal = sim.journal();
        let asked = journal.requests(Route::Sidecar);
        asked.map(|entry| entry.asked().unwrap().clone()).collect()
    };
    assert_eq!(first, StatusCode::OK, "{asked:#?}");
}

// ===== credentials are never mixed =====

/// As a person who writes the two with a command for each, which takes seconds.
#[tokio::test(start_paused = true)]
async fn a_client_id_that_came_before_its_key_is_not_used_with_the_old_one() {
    let sim = Sim::new();
    let (old, new) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let script = Script::new(world::settings(&old), Duration::from_secs(5));
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    sleep(Duration::from_secs(4)).await;
    let mut mixed = world::settings(&old);
    mixed.client_id = new.client_id().to_owned();
    script.says(Some(mixed));
    // Looked at twice meanwhile, a second apart.
    sleep(Duration::from_secs(3)).await;
    let asked = client.access_token(SCOPES).await;
    script.says(Some(world::settings(&new)));
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    let grants = grants(&sim);
    let mixed =
        |(iss, kid, _): &&(String, String, bool)| iss == new.client_id() && kid == old.kid();
    assert_eq!(grants.iter().find(mixed), None);
    asked.unwrap();
}

// ===== what cannot be used is told of =====

#[derive(Debug)]
struct Hangs;

impl Signer for Hangs {
    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::Rs256
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Kid("hangs")
    }

    fn sign(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_signer_that_hangs_is_told_of() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(world::settings(&registered), Duration::from_secs(5));
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    let mut hangs = world::settings(&registered).with_signer(Hangs);
    hangs.jwk = None;
    script.says(Some(hangs));
    for _ in 0..60 {
        sleep(Duration::from_secs(10)).await;
        fetch(&client).await.unwrap();
    }
    let looks = script.looks.load(Ordering::SeqCst);
    assert!(
        client.health().settings_error.is_some(),
        "{looks} looks in ten minutes, and nothing is told"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_told_of() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(world::settings(&registered), Duration::from_secs(5));
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    script.says(None);
    for _ in 0..10 {
        sleep(Duration::from_secs(10)).await;
        fetch(&client).await.unwrap();
    }
    assert!(client.health().settings_error.is_some());
}

// ===== a refusal stays a refusal =====

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_told_of_and_not_the_flights_deadline() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let new = old.rotate_key().unwrap();
    let mut settings = world::settings(&new);
    settings.previous_jwk = Some(old.private_jwk().to_string().into());
    let script = Script::new(settings, Duration::from_secs(5));
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    for gone in [&old, &new] {
        assert!(sim.remove_key(gone.client_id(), gone.kid()));
    }
    // A server that is slow and within the time of an attempt, and a source that does not answer.
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(2_600)));
    script.hangs.store(true, Ordering::SeqCst);
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Rejected,
        "{error}: {:?}",
        error.hint()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_costs_one_look_and_no_longer() {
    for panics in [false, true] {
        let sim = Sim::new();
        let registered = sim.new_client(SCOPES);
        let script = Script::new(world::settings(&registered), Duration::from_secs(60));
        let client = client_of(&sim, script.clone()).await;
        fetch(&client).await.unwrap();
        assert!(sim.remove_key(registered.client_id(), registered.kid()));
        if panics {
            script.says(None);
        }
        let looks = script.looks.load(Ordering::SeqCst);

        let refused_at = Instant::now();
        let error = fetch(&client).await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert_eq!(script.looks.load(Ordering::SeqCst), looks + 1);
        let took = refused_at.elapsed();
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}
