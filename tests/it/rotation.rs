//! Credentials that change while a client lives: keys, clients, and what cannot be read.
//!
//! Time is paused. The source is a script unless a test is about files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use maskinporten::{
    AltinnSettings, BoxFuture, Credentials, Error, ErrorKind, Finding, HealthState, KeyReference,
    MaskinportenClient, MaskinportenSettings, Result, SecretsDirectory, SettingsFile,
    SettingsSource, Signer, SigningAlgorithm, TokioClock, Transport,
};
use maskinporten_sim::{Fault, Route, Sim, SimClient};
use tokio::runtime::Handle;
use tokio::time::{Instant, advance, sleep};

use crate::child;
use crate::world::{self, SCOPES};

/// How often the script is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// An interval, and the second in which what is new settles.
const SEEN: Duration = Duration::from_millis(7_500);

// ===== a source that says what a test tells it to =====

#[derive(Clone, Debug)]
struct Script {
    says: Arc<Mutex<Says>>,
    looks: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
enum Says {
    Settings(Box<MaskinportenSettings>),
    Incomplete,
    Nothing,
    Fails,
    Hangs,
    Slowly(Box<MaskinportenSettings>, Duration),
    /// Other settings each time.
    Flickers(Box<[MaskinportenSettings; 2]>),
}

impl Script {
    fn new(registered: &SimClient) -> Self {
        Self {
            says: Arc::new(Mutex::new(Says::of(registered))),
            looks: Arc::default(),
        }
    }

    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Says {
    fn of(registered: &SimClient) -> Self {
        Self::Settings(Box::new(world::settings(registered)))
    }
}

impl SettingsSource for Script {
    fn name(&self) -> &str {
        "the script"
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        Box::pin(async {
            let look = self.looks.fetch_add(1, Ordering::SeqCst);
            let says = self.says.lock().unwrap().clone();
            match says {
                Says::Settings(settings) => Ok((*settings).into()),
                Says::Incomplete => Ok(Finding::Incomplete(vec!["ClientId".to_owned()])),
                Says::Nothing => Ok(Finding::Nothing),
                Says::Fails => Err(Error::unavailable("the script is out")),
                Says::Hangs => std::future::pending().await,
                Says::Slowly(settings, time) => {
                    sleep(time).await;
                    Ok((*settings).into())
                }
                Says::Flickers(settings) => Ok(settings[look % 2].clone().into()),
            }
        })
    }

    fn interval(&self) -> Option<Duration> {
        Some(INTERVAL)
    }
}

/// Remembers what is logged: targets, and how many days are told of.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Told>>>);

struct Told {
    target: &'static str,
    days: Option<u64>,
}

impl Log {
    fn count(&self, target: &str) -> usize {
        let told = self.0.lock().unwrap();
        told.iter().filter(|told| told.target == target).count()
    }

    fn days(&self) -> Vec<u64> {
        let told = self.0.lock().unwrap();
        told.iter().filter_map(|told| told.days).collect()
    }
}

impl tracing::field::Visit for Told {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        if field.name() == "days" {
            self.days = Some(value);
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let target = event.metadata().target();
        let mut told = Told { target, days: None };
        event.record(&mut told);
        self.0.lock().unwrap().push(told);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
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

/// A client of settings that nobody watches.
fn fixed(sim: &Sim, settings: MaskinportenSettings) -> MaskinportenClient {
    MaskinportenClient::builder()
        .settings(settings)
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}

/// One token, fetched anew.
async fn fetch(client: &MaskinportenClient) -> Result<()> {
    client.invalidate(SCOPES).unwrap();
    client.access_token(SCOPES).await.map(drop)
}

/// What the assertions were signed with, in order, and whether each was taken.
fn kids(sim: &Sim) -> Vec<(String, bool)> {
    let journal = sim.journal();
    let grants = journal.requests(Route::Token);
    grants
        .map(|entry| {
            let kid = entry.assertion_header().unwrap()["kid"].as_str().unwrap();
            (kid.to_owned(), entry.is_accepted())
        })
        .collect()
}

fn signed(client: &SimClient) -> (String, bool) {
    (client.kid().to_owned(), true)
}

fn refused(client: &SimClient) -> (String, bool) {
    (client.kid().to_owned(), false)
}

// ===== what is new is taken =====

#[tokio::test(start_paused = true)]
async fn a_new_key_signs_from_the_next_look_on_and_tokens_stay() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    let token = client.access_token(SCOPES).await.unwrap();
    let altinn = client.altinn_token(SCOPES).await.unwrap();

    let new = old.rotate_key().unwrap();
    script.says(Says::of(&new));
    sleep(SEEN).await;
    let same = client.access_token(SCOPES).await.unwrap();
    assert_eq!(same.expose(), token.expose());
    let same = client.altinn_token(SCOPES).await.unwrap();
    assert_eq!(same.expose(), altinn.expose());
    assert_eq!(sim.journal().grants(), 1);

    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&old), signed(&new)]);
}

#[tokio::test(start_paused = true)]
async fn another_client_drops_every_token() {
    let sim = Sim::new();
    let (first, second) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let script = Script::new(&first);
    let client = client_of(&sim, script.clone()).await;
    let token = client.access_token(SCOPES).await.unwrap();
    let altinn = client.altinn_token(SCOPES).await.unwrap();

    script.says(Says::of(&second));
    sleep(SEEN).await;
    let other = client.access_token(SCOPES).await.unwrap();
    assert_ne!(other.expose(), token.expose());
    let other = client.altinn_token(SCOPES).await.unwrap();
    assert_ne!(other.expose(), altinn.expose());
    let journal = sim.journal();
    let mut clients = journal.requests(Route::Token).map(|entry| {
        let claims = entry.assertion_claims().unwrap();
        claims["iss"].as_str().unwrap().to_owned()
    });
    assert_eq!(clients.next().as_deref(), Some(first.client_id()));
    assert_eq!(clients.next().as_deref(), Some(second.client_id()));
    assert_eq!(clients.next(), None);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_on_its_way_for_another_client_is_nobodys() {
    let sim = Sim::new();
    let (first, second) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let script = Script::new(&first);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(["krr:read"]).await.unwrap();
    sim.fault(
        Route::Token,
        Fault::latency(Duration::from_millis(2_500)).times(2),
    );
    script.says(Says::of(&second));
    // It leaves as the first client's, just before the second is taken.
    sleep(Duration::from_millis(5_500)).await;
    client.invalidate(SCOPES).unwrap();
    let token = client.access_token(SCOPES).await.unwrap();
    let journal = sim.journal();
    let last = journal.requests(Route::Token).last().unwrap();
    assert_eq!(last.assertion_claims().unwrap()["iss"], second.client_id());
    // The one that was on its way was broken off.
    assert_eq!(journal.grants(), 2);
    let kept = client.access_token(SCOPES).await.unwrap();
    assert_eq!(kept.expose(), token.expose());
}

#[tokio::test(start_paused = true)]
async fn what_has_not_settled_is_not_taken() {
    let sim = Sim::new();
    let (one, other) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let script = Script::new(&one);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(SCOPES).await.unwrap();
    let third = sim.new_client(SCOPES);
    let both = [world::settings(&other), world::settings(&third)];
    script.says(Says::Flickers(Box::new(both)));
    sleep(SEEN * 3).await;
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&one), signed(&one)]);
    let error = client.health().settings_error.unwrap();
    assert!(error.to_string().contains("keeps changing"), "{error}");

    script.says(Says::of(&other));
    sleep(SEEN).await;
    assert!(client.health().settings_error.is_none());
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim).last(), Some(&signed(&other)));
}

#[tokio::test(start_paused = true)]
async fn what_changes_once_more_before_it_settles_is_taken_as_it_is_then() {
    let sim = Sim::new();
    let first = sim.new_client(SCOPES);
    let script = Script::new(&first);
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    let second = first.rotate_key().unwrap();
    let third = second.rotate_key().unwrap();
    script.says(Says::of(&second));
    // It was read once.
    sleep(INTERVAL + Duration::from_millis(500)).await;
    script.says(Says::of(&third));
    sleep(Duration::from_secs(2)).await;
    assert!(client.health().settings_error.is_none());
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&first), signed(&third)]);
}

#[tokio::test(start_paused = true)]
async fn another_environment_is_refused_while_the_client_lives() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(&registered);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(SCOPES).await.unwrap();
    let mut production = world::settings(&registered);
    production.authority = "prod".to_owned();
    script.says(Says::Settings(Box::new(production)));
    sleep(SEEN).await;
    let error = client.health().settings_error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("are now of prod"), "{error}");
    assert!(error.hint().unwrap().contains("restart"));
    fetch(&client).await.unwrap();
    assert_eq!(sim.journal().grants(), 2);
}

// ===== what cannot be used is left =====

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_the_source_the_last_good_credentials_stay() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(&registered);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(SCOPES).await.unwrap();
    let broken = || {
        let mut settings = world::settings(&registered);
        settings.jwk = Some("{\"kty\": \"RSA\"}".into());
        Says::Settings(Box::new(settings))
    };
    for (says, told) in [
        (Says::Incomplete, "the script lacks ClientId"),
        (Says::Nothing, "the script holds nothing any more"),
        (Says::Fails, "the script is out"),
        (Says::Hangs, "did not answer in time"),
        (broken(), "`n` is missing"),
    ] {
        script.says(says);
        sleep(SEEN * 10).await;
        fetch(&client).await.unwrap();
        let health = client.health();
        assert_eq!(health.state, HealthState::Ready);
        let error = health.settings_error.unwrap();
        assert!(error.to_string().contains(told), "{error}");
    }
    script.says(Says::of(&registered));
    // The reading that hangs has a deadline of its own.
    sleep(SEEN * 5).await;
    assert!(client.health().settings_error.is_none());
}

/// As a vault that lets the service read a key, and not yet sign with it.
#[derive(Debug)]
struct Forbidden;

impl Signer for Forbidden {
    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::Rs256
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Kid("forbidden")
    }

    fn sign(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        let error = Error::unavailable("this service may not sign");
        Box::pin(std::future::ready(Err(error)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_sign_does_not_replace_one_that_can() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(&registered);
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    let settings = MaskinportenSettings::new(sim.issuer(), registered.client_id());
    script.says(Says::Settings(Box::new(settings.with_signer(Forbidden))));
    sleep(SEEN).await;
    let error = client.health().settings_error.unwrap();
    assert!(error.to_string().contains("may not sign"), "{error}");
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&registered), signed(&registered)]);
}

#[test]
fn a_trouble_is_told_once_in_ten_minutes_and_another_after_half_a_minute() {
    if !child::is_here() {
        // What is logged belongs to a process.
        child::run(
            "rotation::a_trouble_is_told_once_in_ten_minutes_and_another_after_half_a_minute",
            &[],
        );
        return;
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(a_trouble_is_told());
}

async fn a_trouble_is_told() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let told = || log.count("maskinporten::settings");
    let sim = Sim::new();
    let script = Script::new(&sim.new_client(SCOPES));
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    assert_eq!(told(), 0);
    // It is told of at the next look.
    script.says(Says::Fails);
    sleep(SEEN).await;
    assert_eq!(told(), 1);
    sleep(Duration::from_secs(9 * 60)).await;
    assert_eq!(told(), 1);
    sleep(Duration::from_secs(70)).await;
    assert_eq!(told(), 2);

    // Another, at once after the last and then in its time.
    sleep(Duration::from_secs(60)).await;
    script.says(Says::Nothing);
    sleep(SEEN).await;
    assert_eq!(told(), 3);
    script.says(Says::Incomplete);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(told(), 3);
    let error = client.health().settings_error.unwrap();
    assert!(error.to_string().contains("lacks"), "{error}");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(told(), 3, "by now it is the same as it was");
}

#[tokio::test(start_paused = true)]
async fn at_the_start_there_is_nothing_to_fall_back_on() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let script = Script::new(&registered);
    for (says, kind, told) in [
        (
            Says::Incomplete,
            ErrorKind::Settings,
            "the script: lacks ClientId",
        ),
        (
            Says::Nothing,
            ErrorKind::Settings,
            "the script: nothing there",
        ),
        (Says::Fails, ErrorKind::Unavailable, "the script is out"),
    ] {
        script.says(says);
        let error = Credentials::load(script.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(told), "{error}");
    }
}

// ===== two keys =====

#[tokio::test(start_paused = true)]
async fn where_the_new_key_is_not_known_yet_the_old_one_signs_for_a_while() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let stranger = sim.new_client(SCOPES);
    // A key of the client that was not registered yet.
    let new = stranger.private_jwk().to_string();
    let previous = old.private_jwk().to_string();
    let settings = MaskinportenSettings::new(sim.issuer(), old.client_id())
        .with_jwk(new)
        .with_previous_jwk(previous);
    let client = fixed(&sim, settings);
    for _ in 0..3 {
        fetch(&client).await.unwrap();
    }
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    advance(minutes(14)).await;
    fetch(&client).await.unwrap();
    let mut signed_then = vec![refused(&stranger)];
    signed_then.extend(vec![signed(&old); 4]);
    assert_eq!(kids(&sim), signed_then);

    // By now it has spread.
    sim.clear_journal();
    sim.add_key(old.client_id(), stranger.public_jwk()).unwrap();
    advance(minutes(2)).await;
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&stranger)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_about_the_key_has_no_other_key_tried() {
    let sim = Sim::new();
    let new = sim.new_client(SCOPES);
    let old = new.rotate_key().unwrap();
    let settings = MaskinportenSettings::new(sim.issuer(), new.client_id())
        .with_jwk(new.private_jwk().to_string())
        .with_previous_jwk(old.private_jwk().to_string());
    let client = fixed(&sim, settings);
    let fault = Fault::status(http::StatusCode::SERVICE_UNAVAILABLE);
    sim.fault(Route::Token, fault.times(1));
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [refused(&new), signed(&new)]);

    // Nor is another scope the matter of a key.
    sim.clear_journal();
    client.access_token(["no:such"]).await.unwrap_err();
    assert_eq!(kids(&sim), [refused(&new)]);
}

#[tokio::test(start_paused = true)]
async fn where_every_key_is_refused_the_first_refusal_is_told_and_all_keys() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let (one, two) = (sim.new_client(SCOPES), sim.new_client(SCOPES));
    let settings = MaskinportenSettings::new(sim.issuer(), registered.client_id())
        .with_jwk(one.private_jwk().to_string())
        .with_previous_jwk(two.private_jwk().to_string());
    let client = fixed(&sim, settings);
    let error = client.access_token(SCOPES).await.unwrap_err();
    let detail = |wanted: &str| {
        let mut found = error.details().filter(|(name, _)| *name == wanted);
        found.next().map(|(_, value)| value.to_owned())
    };
    assert_eq!(detail("kid").as_deref(), Some(one.kid()));
    assert_eq!(detail("kid tried as well").as_deref(), Some(two.kid()));
    assert_eq!(sim.journal().token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_without_overlap_costs_one_refused_grant() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(SCOPES).await.unwrap();
    let new = old.rotate_key().unwrap();
    assert!(sim.remove_key(old.client_id(), old.kid()));
    script.says(Says::of(&new));
    // Before the next look.
    let looks = script.looks();
    let started = Instant::now();
    fetch(&client).await.unwrap();
    // Half a second for the watch to begin, and the second in which it settles.
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(kids(&sim), [signed(&old), refused(&old), signed(&new)]);
    assert_eq!(script.looks(), looks + 2, "seen, and settled");
}

/// A source of another's: slow, or not there at all just now.
#[tokio::test(start_paused = true)]
async fn a_refused_grant_waits_for_a_slow_source_and_not_for_one_that_hangs() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(SCOPES).await.unwrap();
    let new = old.rotate_key().unwrap();
    assert!(sim.remove_key(old.client_id(), old.kid()));
    script.says(Says::Hangs);
    let started = Instant::now();
    let error = fetch(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert!(started.elapsed() < Duration::from_secs(7));

    // What hung is given up, and what is slow is read twice within the flight.
    script.says(Says::Fails);
    sleep(Duration::from_secs(40)).await;
    sim.clear_journal();
    script.says(Says::Slowly(
        Box::new(world::settings(&new)),
        Duration::from_millis(1_500),
    ));
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [refused(&old), signed(&new)]);
}

/// A look that began before the refusal may have read the old key.
#[tokio::test(start_paused = true)]
async fn a_grant_that_is_refused_during_a_look_waits_for_the_next() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    client.access_token(SCOPES).await.unwrap();
    script.says(Says::Slowly(
        Box::new(world::settings(&old)),
        Duration::from_secs(1),
    ));
    // The look has read, and is on its way back.
    sleep(INTERVAL + Duration::from_millis(100)).await;
    let new = old.rotate_key().unwrap();
    assert!(sim.remove_key(old.client_id(), old.kid()));
    script.says(Says::of(&new));
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&old), refused(&old), signed(&new)]);
}

/// Each reading is just in time, and what is read changes twice before it settles.
#[tokio::test(start_paused = true)]
async fn the_longest_look_is_not_taken_for_one_that_stands_still() {
    let sim = Sim::new();
    let first = sim.new_client(SCOPES);
    let script = Script::new(&first);
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    let time = Duration::from_millis(29_900);
    let slowly = |registered| Says::Slowly(Box::new(world::settings(registered)), time);
    let second = first.rotate_key().unwrap();
    let third = second.rotate_key().unwrap();
    let fourth = third.rotate_key().unwrap();
    for registered in [&second, &third, &fourth] {
        script.says(slowly(registered));
        sleep(time + Duration::from_secs(1)).await;
    }
    // The last reading is under way, and somebody sees to it that there is a watch.
    sleep(Duration::from_millis(33_800)).await;
    fetch(&client).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    fetch(&client).await.unwrap();
    assert_eq!(
        kids(&sim),
        [signed(&first), signed(&first), signed(&fourth)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_no_other_key_mends_looks_at_the_source_once_each_time() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    assert!(sim.remove_key(old.client_id(), old.kid()));
    let looks = script.looks();
    client.access_token(SCOPES).await.unwrap_err();
    assert_eq!(script.looks(), looks + 1);
    for _ in 0..100 {
        client.access_token(SCOPES).await.unwrap_err();
    }
    assert_eq!(script.looks(), looks + 1);
    assert_eq!(sim.journal().token_requests(), 1);

    // The next look brings another key, and what was remembered is forgotten at once.
    let new = old.rotate_key().unwrap();
    script.says(Says::of(&new));
    sleep(SEEN).await;
    client.access_token(SCOPES).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_key_ends_what_is_remembered_of_the_old_one() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    assert!(sim.remove_key(old.client_id(), old.kid()));
    // Refused again and again, until it is remembered for longer than a look takes to come.
    let started = Instant::now();
    let error = loop {
        let error = client.access_token(SCOPES).await.unwrap_err();
        let now = sim.clock().now();
        let left = error.retry_at().unwrap().duration_since(now).unwrap();
        if left > SEEN * 2 {
            break error;
        }
        assert!(started.elapsed() < Duration::from_secs(600));
        sleep(left).await;
    };
    let new = old.rotate_key().unwrap();
    script.says(Says::of(&new));
    sleep(SEEN).await;
    assert!(sim.clock().now() < error.retry_at().unwrap());
    client.access_token(SCOPES).await.unwrap();
}

/// One after another is refused, until nobody asks for any of them.
#[tokio::test(start_paused = true)]
async fn another_key_ends_the_pause_that_the_old_one_brought_upon_all() {
    let scopes: Vec<String> = (0..5).map(|number| format!("scope:{number}")).collect();
    let sim = Sim::new();
    let old = sim.new_client(scopes.clone());
    let script = Script::new(&old);
    let client = client_of(&sim, script.clone()).await;
    assert!(sim.remove_key(old.client_id(), old.kid()));
    let ask = async || {
        let calls = scopes
            .iter()
            .map(|scope| client.access_token([scope.as_str()]));
        join_all(calls).await
    };
    let started = Instant::now();
    let until = loop {
        let errors = ask().await.into_iter().map(Result::unwrap_err);
        let until = errors.filter_map(|error| error.retry_at()).min().unwrap();
        let left = until.duration_since(sim.clock().now()).unwrap_or_default();
        if left > SEEN * 2 {
            break until;
        }
        assert!(started.elapsed() < Duration::from_secs(600));
        sleep(left.max(Duration::from_millis(100))).await;
    };
    let new = old.rotate_key().unwrap();
    script.says(Says::of(&new));
    sleep(SEEN).await;
    assert!(sim.clock().now() < until);
    let tokens = ask().await;
    assert!(tokens.iter().all(Result::is_ok), "{tokens:?}");
}

/// As Altinn's operator writes it: the newest key as `Jwk`, all of them as `Jwks`.
#[tokio::test(start_paused = true)]
async fn the_keys_of_a_set_stand_in_for_each_other() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let new = old.rotate_key().unwrap();
    assert!(sim.remove_key(new.client_id(), new.kid()));
    let json = new.settings_json_with_set(&[&old]).to_string();
    let settings = MaskinportenSettings::from_json(&json, "MaskinportenSettings").unwrap();
    let client = fixed(&sim, settings);
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [refused(&new), signed(&old)]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_ended_signs_after_one_that_has_not() {
    let sim = Sim::new();
    let day = Duration::from_secs(24 * 60 * 60);
    let ended = sim.new_client(SCOPES).with_key_end(sim.clock().now() + day);
    let other = ended.rotate_key().unwrap();
    let settings = MaskinportenSettings::new(sim.issuer(), ended.client_id())
        .with_jwk(ended.private_jwk().to_string())
        .with_previous_jwk(other.private_jwk().to_string());
    let client = fixed(&sim, settings);
    fetch(&client).await.unwrap();
    advance(day * 2).await;
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&ended), signed(&other)]);
}

#[test]
fn a_keys_end_is_told_at_thirty_seven_and_one_day() {
    if !child::is_here() {
        // What is logged belongs to a process.
        child::run(
            "rotation::a_keys_end_is_told_at_thirty_seven_and_one_day",
            &[],
        );
        return;
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(a_keys_end());
}

async fn a_keys_end() {
    let day = Duration::from_secs(24 * 60 * 60);
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let sim = Sim::new();
    let end = sim.clock().now() + day * 40;
    let registered = sim.new_client(SCOPES).with_key_end(end);
    let script = Script::new(&registered);
    let client = client_of(&sim, script).await;
    fetch(&client).await.unwrap();
    assert_eq!(client.health().key_ends_at, Some(end));
    for (days, told) in [
        (9, 0),
        (2, 1),
        (21, 1),
        (2, 2),
        (4, 2),
        (1, 3),
        (1, 4),
        (5, 4),
    ] {
        // The watch looks without being asked, and tells each stage once.
        advance(day * days).await;
        sleep(SEEN * 2).await;
        assert_eq!(
            log.count("maskinporten::key"),
            told,
            "after {days} days more"
        );
    }
    assert_eq!(log.days(), [28, 5, 0], "whole days, and none at the end");
}

// ===== the watch =====

#[tokio::test(start_paused = true)]
async fn one_task_watches_and_it_ends_with_the_client() {
    let sim = Sim::new();
    let script = Script::new(&sim.new_client(SCOPES));
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let client = client_of(&sim, script.clone()).await;
    assert_eq!(tasks(), before, "nothing runs before the first grant");
    for _ in 0..3 {
        fetch(&client).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(), before + 1);
    drop(client);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks(), before);
    let looks = script.looks();
    sleep(SEEN * 3).await;
    assert_eq!(script.looks(), looks);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_watch_though_a_reading_hangs() {
    let sim = Sim::new();
    let script = Script::new(&sim.new_client(SCOPES));
    let before = Handle::current().metrics().num_alive_tasks();
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    script.says(Says::Hangs);
    sleep(SEEN).await;
    let started = Instant::now();
    client.shutdown().await;
    assert!(started.elapsed() <= Duration::from_secs(1));
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[test]
fn a_client_is_watched_on_whatever_runtime_it_has() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let first = runtime();
    let client = first.block_on(async {
        let client = client_of(&sim, script.clone()).await;
        fetch(&client).await.unwrap();
        client
    });
    drop(first);
    let new = old.rotate_key().unwrap();
    script.says(Says::of(&new));
    runtime().block_on(async {
        fetch(&client).await.unwrap();
        sleep(SEEN).await;
        fetch(&client).await.unwrap();
    });
    assert_eq!(kids(&sim), [signed(&old), signed(&old), signed(&new)]);
}

/// As where a client was used by one `block_on` and is used by another, with the first runtime kept.
#[test]
fn a_runtime_that_stands_still_does_not_keep_the_watch_to_itself() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap()
    };
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let (still, driven) = (runtime(), runtime());
    let client = still.block_on(async {
        let client = client_of(&sim, script.clone()).await;
        fetch(&client).await.unwrap();
        client
    });
    let second = old.rotate_key().unwrap();
    assert!(sim.remove_key(old.client_id(), old.kid()));
    script.says(Says::of(&second));
    driven.block_on(async {
        fetch(&client).await.unwrap();
        let third = second.rotate_key().unwrap();
        script.says(Says::of(&third));
        sleep(SEEN).await;
        fetch(&client).await.unwrap();
        let expected = [signed(&old), refused(&old), signed(&second), signed(&third)];
        assert_eq!(kids(&sim), expected);
    });
    // In the middle of a look.
    script.says(Says::Hangs);
    driven.block_on(async { sleep(SEEN).await });
    let fourth = old.rotate_key().unwrap();
    script.says(Says::of(&fourth));
    let another = runtime();
    another.block_on(async {
        fetch(&client).await.unwrap();
        // It is found out by its time that nobody looks any more.
        sleep(Duration::from_secs(200)).await;
        fetch(&client).await.unwrap();
        sleep(SEEN).await;
        fetch(&client).await.unwrap();
    });
    assert_eq!(kids(&sim).last(), Some(&signed(&fourth)));
    drop(still);
}

// ===== files =====

fn write_whole(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_settings_file_is_read_again() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.json");
    write_whole(&path, &old.settings_json().to_string());
    let client = client_of(&sim, SettingsFile::new(&path)).await;
    fetch(&client).await.unwrap();

    let new = old.rotate_key().unwrap();
    let text = new.settings_json().to_string();
    // Half of it, as a file that is being written.
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    sleep(SEEN).await;
    let error = client.health().settings_error.unwrap();
    assert!(error.to_string().contains("half a JSON"), "{error}");
    fetch(&client).await.unwrap();

    fs::remove_file(&path).unwrap();
    sleep(SEEN).await;
    let error = client.health().settings_error.unwrap();
    assert!(
        error.to_string().contains("holds nothing any more"),
        "{error}"
    );
    fetch(&client).await.unwrap();

    write_whole(&path, &text);
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    assert!(client.health().settings_error.is_none());
    assert_eq!(
        kids(&sim),
        [signed(&old), signed(&old), signed(&old), signed(&new)]
    );
}

/// A volume as Kubernetes mounts one: files that are links through `..data`, which is swapped.
#[cfg(unix)]
pub(crate) struct Volume {
    directory: tempfile::TempDir,
    states: AtomicUsize,
}

#[cfg(unix)]
impl Volume {
    pub(crate) fn new(files: &[(&str, String)]) -> Self {
        let volume = Self {
            directory: tempfile::tempdir().unwrap(),
            states: AtomicUsize::new(0),
        };
        volume.swap(files);
        for (name, _) in files {
            let link = volume.path().join(name);
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
        volume
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a new state and has `..data` lead to it, in one step.
    pub(crate) fn swap(&self, files: &[(&str, String)]) {
        let number = self.states.fetch_add(1, Ordering::SeqCst);
        let state = format!("..state_{number}");
        fs::create_dir(self.path().join(&state)).unwrap();
        for (name, text) in files {
            fs::write(self.path().join(&state).join(name), text).unwrap();
        }
        let (link, data) = (self.path().join("..data_tmp"), self.path().join("..data"));
        std::os::unix::fs::symlink(&state, &link).unwrap();
        fs::rename(link, data).unwrap();
    }
}

/// What digdirator writes for a client.
#[cfg(unix)]
pub(crate) fn as_secrets(registered: &SimClient, issuer: &str) -> Vec<(&'static str, String)> {
    vec![
        ("MASKINPORTEN_CLIENT_ID", registered.client_id().to_owned()),
        (
            "MASKINPORTEN_CLIENT_JWK",
            registered.private_jwk().to_string(),
        ),
        ("MASKINPORTEN_ISSUER", issuer.to_owned()),
    ]
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_volume_that_is_swapped_is_read_again() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let volume = Volume::new(&as_secrets(&old, &sim.issuer()));
    let client = client_of(&sim, SecretsDirectory::new(volume.path())).await;
    fetch(&client).await.unwrap();
    let new = old.rotate_key().unwrap();
    volume.swap(&as_secrets(&new, &sim.issuer()));
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    let half = &as_secrets(&old, &sim.issuer())[..1];
    volume.swap(half);
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    assert!(client.health().settings_error.is_some());
    let used: BTreeSet<_> = kids(&sim).into_iter().collect();
    assert_eq!(used, BTreeSet::from([signed(&old), signed(&new)]));
    assert_eq!(kids(&sim).last(), Some(&signed(&new)));
}

/// The environment stays as it was; the file that it names does not.
#[tokio::test(start_paused = true)]
async fn a_key_file_that_the_environment_names_is_read_again() {
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), old.private_jwk().to_string()).unwrap();
    let variables = [
        ("MASKINPORTEN_CLIENT_ID", old.client_id().to_owned()),
        ("MASKINPORTEN_ISSUER", sim.issuer()),
        (
            "MASKINPORTEN_KEY_FILE",
            file.path().to_str().unwrap().to_owned(),
        ),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let platform = maskinporten::Platform::new(variables).with_root("/no/such/root");
    let client = MaskinportenClient::builder()
        .credentials(platform.credentials().unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    fetch(&client).await.unwrap();
    let new = old.rotate_key().unwrap();
    fs::write(file.path(), new.private_jwk().to_string()).unwrap();
    sleep(SEEN).await;
    fetch(&client).await.unwrap();
    assert_eq!(kids(&sim), [signed(&old), signed(&new)]);
}
