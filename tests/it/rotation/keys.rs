//! Two keys in overlap, none in overlap, and keys that end.

use super::*;

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
            "rotation::keys::a_keys_end_is_told_at_thirty_seven_and_one_day",
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
