//! What is new is taken, whole and settled; what cannot be used is left.

use super::*;

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
            "rotation::taken::a_trouble_is_told_once_in_ten_minutes_and_another_after_half_a_minute",
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
