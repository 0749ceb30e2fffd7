//! Many identities of one client: how many are fetched at once, what one's trouble is to the others,
//! and how many are kept.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::StatusCode;
use maskinporten::{
    AccessToken, AltinnSettings, BoxFuture, Error, ErrorKind, HealthState, MaskinportenClient,
    MaskinportenSettings, Result, SourceIdentity, TokenRequest, TokenSource, TokioClock,
};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::time::{Instant, advance, sleep, timeout};
use tracing_subscriber::util::SubscriberInitExt;

use crate::wire::{self, Wire};
use crate::world;

const JWK: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");

/// One of many tokens: each resource has its own.
fn request(number: usize) -> TokenRequest {
    TokenRequest::scopes(["a:read"])
        .unwrap()
        .resource(format!("https://api-{number}.example.no"))
        .unwrap()
}

fn world() -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let client = world::client(&sim, &registered);
    (sim, client)
}

/// A source without a network: takes its time, and counts who is with it.
#[derive(Clone, Debug)]
struct Counter {
    identity: SourceIdentity,
    takes: Duration,
    life: Duration,
    with_it: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<TokenRequest>>>,
}

impl Counter {
    fn new(takes: Duration, life: Duration) -> Self {
        Self {
            identity: SourceIdentity::new("counter", ""),
            takes,
            life,
            with_it: Arc::default(),
            most: Arc::default(),
            asked: Arc::default(),
        }
    }

    fn client(&self, max_identities: usize) -> MaskinportenClient {
        MaskinportenClient::builder()
            .source(self.clone())
            .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
            .max_identities(max_identities)
            .build()
            .unwrap()
    }

    fn fetches(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn fetches_of(&self, number: usize) -> usize {
        let wanted = request(number);
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|request| **request == wanted).count()
    }
}

impl TokenSource for Counter {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async move {
            let with_it = self.with_it.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(with_it, Ordering::SeqCst);
            self.asked.lock().unwrap().push(request.clone());
            sleep(self.takes).await;
            self.with_it.fetch_sub(1, Ordering::SeqCst);
            AccessToken::new("token", self.life)
        })
    }
}

/// A token of half an hour, as an exchange gives it: `{"iat":0,"exp":1800}`.
const ALTINN_TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJpYXQiOjAsImV4cCI6MTgwMH0.";

const TWO_MINUTES: Duration = Duration::from_secs(120);

#[tokio::test(start_paused = true)]
async fn a_thousand_identities_of_one_tenant_are_fetched_by_half_of_the_permits() {
    let source = Counter::new(Duration::from_millis(80), TWO_MINUTES);
    let client = source.client(1024);
    let began = Instant::now();
    let tokens = join_all((0..1000).map(|n| client.access_token(request(n)))).await;

    assert!(tokens.iter().all(Result::is_ok));
    assert_eq!(source.fetches(), 1000);
    assert_eq!(source.most.load(Ordering::SeqCst), 16);
    assert_eq!(began.elapsed(), 63 * Duration::from_millis(80));
}

#[tokio::test(start_paused = true)]
async fn exchanges_and_grants_have_permits_of_their_own() {
    let source = Counter::new(Duration::from_millis(50), TWO_MINUTES);
    let (with_it, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (Arc::clone(&with_it), Arc::clone(&most));
    let wire = Wire::default();
    let altinn = tower::service_fn(move |_| {
        let (with_it, most) = (Arc::clone(&counted), Arc::clone(&highest));
        async move {
            most.fetch_max(with_it.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(50)).await;
            with_it.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, std::convert::Infallible>(wire::answer(200, ALTINN_TOKEN))
        }
    });
    let client = MaskinportenClient::builder()
        .source(source.clone())
        .altinn(AltinnSettings::platform("https://altinn.example").unwrap())
        .transport(wire.over(altinn))
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();

    let began = Instant::now();
    let tokens = join_all((0..100).map(|n| client.altinn_token(request(n)))).await;

    for token in tokens {
        token.unwrap();
    }
    assert_eq!((source.fetches(), wire.sent().len()), (100, 100));
    assert_eq!(source.most.load(Ordering::SeqCst), 16);
    assert_eq!(most.load(Ordering::SeqCst), 16);
    // Those who wait for their Maskinporten token hold no place at Altinn: the stages overlap, 7
    // turns of 50 ms each and one more.
    assert!(
        began.elapsed() <= Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_identity_holds_no_other_up() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::hang().times(1));
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.access_token(request(0)).await }
    });
    sleep(Duration::from_millis(1)).await;

    let began = Instant::now();
    let others = join_all((1..50).map(|n| client.access_token(request(n)))).await;

    assert!(others.iter().all(Result::is_ok));
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The second attempt of the slow one.
    assert!(slow.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_spent_on_arrival_is_exchanged_once() {
    let wire = Wire::default();
    let client = MaskinportenClient::builder()
        .source(Counter::new(Duration::ZERO, Duration::ZERO))
        .altinn(AltinnSettings::platform("https://altinn.example").unwrap())
        .transport(wire.answering(|_| wire::answer(200, ALTINN_TOKEN)))
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();
    client.access_token(request(0)).await.unwrap();
    advance(Duration::from_secs(5)).await;
    let token = client.altinn_token(request(0)).await;
    assert!(token.is_ok(), "{:?}", token.err());
}

#[tokio::test(start_paused = true)]
async fn while_every_altinn_token_fails_the_client_is_failing() {
    let wire = Wire::default();
    let client = MaskinportenClient::builder()
        .source(Counter::new(Duration::ZERO, TWO_MINUTES))
        .altinn(AltinnSettings::platform("https://altinn.example").unwrap())
        .transport(wire.answering(|_| wire::answer(503, "")))
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();
    assert!(client.altinn_token(request(0)).await.is_err());
    assert_eq!(client.health().state, HealthState::Failing);
}

// ===== the breaker =====

/// Asks for many tokens again and again, and gives what each round brought.
async fn ask_for(
    client: &MaskinportenClient,
    many: usize,
    every: Duration,
    rounds: usize,
) -> Vec<Error> {
    let mut errors = Vec::new();
    for _ in 0..rounds {
        let round = join_all((0..many).map(|n| client.access_token(request(n)))).await;
        errors.extend(round.into_iter().filter_map(Result::err));
        sleep(every).await;
    }
    errors
}

#[tokio::test(start_paused = true)]
async fn five_hundred_identities_of_a_server_that_is_down_send_a_few_probes() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));

    // The fetches that half of the permits allow, three attempts each at most, and the others are told. The last of
    // them may end when the first probes have gone.
    let errors = ask_for(&client, 500, Duration::from_millis(1), 1).await;
    assert_eq!(errors.len(), 500);
    let asked = sim.journal().token_requests();
    assert!((16..=52).contains(&asked), "{asked}");
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_at().is_some());
    }

    // A minute of it: one probe of one attempt a second.
    let began = Instant::now();
    let errors = ask_for(&client, 500, Duration::from_millis(200), 200).await;
    let seconds = began.elapsed().as_secs() as usize;
    assert_eq!(errors.len(), 500 * 200);
    let probes = sim.journal().token_requests() - asked;
    assert!(
        (seconds * 4 / 5..=seconds + 1).contains(&probes),
        "{probes} in {seconds} s"
    );
    assert_eq!(client.health().state, HealthState::Failing);
    assert_eq!(client.health().failing, 500);

    // Back again: a probe gets through, and everybody after it.
    sim.clear_faults();
    sleep(Duration::from_secs(6)).await;
    assert_eq!(ask_for(&client, 500, Duration::ZERO, 1).await.len(), 0);
    assert!(client.health().state == HealthState::Ready);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_identities_of_a_client_that_is_refused_send_a_few_probes() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    let client = world::client(&sim, &registered);
    let kid = registered.settings_json()["MaskinportenSettings"]["Jwk"]["kid"].clone();
    let kid = kid.as_str().map(str::to_owned).unwrap_or_else(|| {
        let settings = world::settings(&registered);
        settings.signing_key().unwrap().kid().unwrap().to_owned()
    });
    assert!(sim.remove_key(registered.client_id(), &kid));

    let errors = ask_for(&client, 500, Duration::from_millis(100), 600).await;

    assert_eq!(errors.len(), 500 * 600);
    assert!(
        errors
            .iter()
            .all(|error| error.kind() == ErrorKind::Rejected)
    );
    // Half of the permits at once, and then one after each pause: 1, 2, 4, 8, 16, 32 s in a minute.
    let asked = sim.journal().token_requests();
    assert!((17..=23).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn between_probes_everybody_is_refused_at_once() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
    ask_for(&client, 4, Duration::ZERO, 1).await;
    let asked = sim.journal().token_requests();

    let began = Instant::now();
    let errors = join_all((4..100).map(|n| client.access_token(request(n)))).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(errors.iter().all(Result::is_err));
    assert_eq!(sim.journal().token_requests(), asked);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_ends_the_pause_between_probes() {
    let invalidations: [fn(&MaskinportenClient); 2] = [
        |client| client.invalidate(request(0)).unwrap(),
        MaskinportenClient::invalidate_all,
    ];
    for invalidate in invalidations {
        let (sim, client) = world();
        sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
        ask_for(&client, 4, Duration::ZERO, 1).await;
        sim.clear_faults();
        client.access_token(request(4)).await.unwrap_err();
        invalidate(&client);
        // One that has no failure of its own to remember.
        client.access_token(request(5)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_probe_flies_waits_for_what_it_brings() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
    ask_for(&client, 4, Duration::from_secs(2), 1).await;
    sim.clear_faults();
    sim.fault(
        Route::Token,
        Fault::latency(Duration::from_secs(1)).times(1),
    );
    let asked = sim.journal().token_requests();

    let began = Instant::now();
    let tokens = join_all((4..100).map(|n| client.access_token(request(n)))).await;

    assert!(tokens.iter().all(Result::is_ok));
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(sim.journal().token_requests(), asked + 96);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_for_a_probe_and_nobody_notices() {
    let (sim, client) = world();
    client.access_token(request(0)).await.unwrap();
    sleep(Duration::from_secs(97)).await;
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
    join_all((1..5).map(|n| client.access_token(request(n)))).await;
    assert_eq!(client.health().failing, 4);

    // Its last fetch succeeded, so that it may be the probe, now or soon.
    for _ in 0..8 {
        client.access_token(request(0)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    sim.clear_faults();
    sleep(Duration::from_secs(2)).await;
    client.access_token(request(0)).await.unwrap();
    client.access_token(request(1)).await.unwrap();
    assert_eq!(client.health().good, 2);
}

#[tokio::test(start_paused = true)]
async fn who_took_off_before_the_server_was_given_up_does_not_put_off_the_probe() {
    let asked = Arc::new(AtomicUsize::new(0));
    let refusing = tower::service_fn(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            // Three fail and make room for three more; the fourth opens the breaker with those in
            // the air.
            let takes = if number < 3 { 100 } else { 200 };
            sleep(Duration::from_millis(takes)).await;
            Ok::<_, std::convert::Infallible>(match number {
                0..7 => wire::answer(401, r#"{"error":"invalid_client"}"#),
                _ => wire::token("good"),
            })
        }
    });
    let settings = MaskinportenSettings::new("test", "our-client").with_jwk(JWK);
    let client = MaskinportenClient::builder()
        .settings(settings)
        .transport(Wire::default().over(refusing))
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();
    let refused = join_all((0..7).map(|n| client.access_token(request(n)))).await;
    assert!(refused.iter().all(Result::is_err));

    // A first refusal is remembered for a second and a fifth of one at most.
    sleep(Duration::from_millis(1_300)).await;
    client.access_token(request(7)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_probe_that_succeeds_all_permits_are_used_again() {
    let (sim, client) = world();
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
    ask_for(&client, 4, Duration::from_secs(2), 1).await;
    sim.clear_faults();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(100)));

    let began = Instant::now();
    let tokens = join_all((4..13).map(|n| client.access_token(request(n)))).await;

    assert!(tokens.iter().all(Result::is_ok));
    // The probe, and eight at once.
    assert_eq!(began.elapsed(), Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn one_identitys_refusal_is_no_other_ones_trouble() {
    let (sim, client) = world();
    // Not granted, not the client's, not delegated: each about one request.
    for number in 0..20 {
        let refused = request(number).consumer_org("991825827").unwrap();
        let error = client.access_token(refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OrganisationRejected);
    }
    // And one token whose flights fail again and again, for whatever reason.
    sim.fault(
        Route::Token,
        Fault::status(StatusCode::BAD_GATEWAY).times(30),
    );
    for _ in 0..10 {
        client.access_token(request(100)).await.unwrap_err();
        sleep(Duration::from_secs(40)).await;
    }
    client.access_token(request(101)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_was_refused_for_is_not_told_to_others() {
    let (sim, client) = world();
    let body =
        |n: usize| format!(r#"{{"error":"invalid_client","error_description":"tenant-{n}"}}"#);
    for number in 0..4 {
        let answer = Fault::answer(StatusCode::UNAUTHORIZED, Default::default(), body(number));
        sim.fault(Route::Token, answer.times(1));
    }
    let own = join_all((0..4).map(|n| client.access_token(request(n)))).await;
    for error in own.into_iter().map(Result::unwrap_err) {
        assert!(error.description().unwrap().starts_with("tenant-"));
    }

    let other = client.access_token(request(4)).await.unwrap_err();
    assert_eq!(other.oauth_error(), Some("invalid_client"));
    assert_eq!(other.description(), None);
    assert!(!format!("{other:?}").contains("tenant-"), "{other:?}");
    assert_eq!(other.details().count(), 0);
    assert!(other.retry_at().is_some() && other.hint().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_is_over_when_a_token_ends_costs_nothing_whatever_others_met() {
    let (sim, client) = world();
    // Fifty tokens of two minutes: used until 114 s, renewed from 84 s on.
    assert!(
        ask_for(&client, 50, Duration::from_secs(90), 1)
            .await
            .is_empty()
    );
    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    // 90 to 113 s: renewals fail, the breaker opens, and nobody notices.
    assert!(
        ask_for(&client, 50, Duration::from_millis(230), 100)
            .await
            .is_empty()
    );
    assert_eq!(client.health().state, HealthState::Degraded);
    assert!(client.health().since.is_some());
    sim.clear_faults();

    // To 120 s and beyond the end of every token.
    let errors = ask_for(&client, 50, Duration::from_millis(70), 100).await;
    assert!(errors.is_empty(), "{:?}", errors[0]);
    assert!(client.health().state == HealthState::Ready);
}

#[tokio::test(start_paused = true)]
async fn who_meets_an_outage_with_its_tokens_end_is_told_of_the_outage() {
    let (sim, client) = world();
    let all = || join_all((0..50).map(|n| client.access_token(request(n))));
    assert!(all().await.iter().all(Result::is_ok));
    sleep(Duration::from_secs(90)).await;
    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    for _ in 0..23 {
        assert!(all().await.iter().all(Result::is_ok));
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    let outcomes = all().await;
    let took = began.elapsed();
    let misled = outcomes
        .iter()
        .filter_map(|o| o.as_ref().err())
        .filter(|e| e.to_string().contains("did not come within"))
        .count();
    assert!(
        misled == 0 && took < Duration::from_secs(20),
        "{misled} of 50 are told of a queue, after {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_whose_turn_does_not_come_is_told_so() {
    // So slow that not everybody's turn comes in half a minute.
    let source = Counter::new(Duration::from_secs(9), TWO_MINUTES);
    let client = MaskinportenClient::builder()
        .source(source.clone())
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .max_concurrent_fetches(8)
        .fetch_queue_timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let began = Instant::now();
    let outcomes = join_all((0..40).map(|n| client.access_token(request(n)))).await;

    let failed: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
    // Half of the permits at 0, 9, 18 and 27 s.
    assert_eq!(failed.len(), 40 - 16);
    assert_eq!(began.elapsed(), Duration::from_secs(36));
    for (ahead, error) in failed.iter().enumerate() {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(
            text.contains("within 30 s") && text.contains(&format!("number {} of", ahead + 1)),
            "{text}"
        );
        assert!(error.hint().unwrap().contains("fetch_queue_timeout"));
        assert_eq!(error.retry_at(), None);
    }
    // Their identities have kept their places, and are fetched for those who ask again.
    client.access_token(request(39)).await.unwrap();
    assert_eq!(source.fetches_of(39), 1);
}

// ===== how many are kept =====

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_once_goes_before_what_was_asked_for_again() {
    let source = Counter::new(Duration::ZERO, TWO_MINUTES);
    let client = source.client(3);
    for number in [0, 1, 2, 0, 1, 3] {
        client.access_token(request(number)).await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    // 2 went for 3.
    for number in [0, 1, 3] {
        client.access_token(request(number)).await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(source.fetches(), 4);
    client.access_token(request(2)).await.unwrap();
    assert_eq!(source.fetches_of(2), 2);
}

#[tokio::test(start_paused = true)]
async fn a_spent_token_goes_before_one_that_is_good() {
    let sim = Sim::new();
    sim.scope_lifetime("short:read", Duration::from_secs(30));
    let registered = sim.new_client(["short:read", "long:read", "third:read"]);
    let client = world::builder(&sim, &registered)
        .max_identities(2)
        .build()
        .unwrap();
    client.access_token(["long:read"]).await.unwrap();
    advance(Duration::from_secs(10)).await;
    // Spent below, though it was asked for last.
    client.access_token(["short:read"]).await.unwrap();
    advance(Duration::from_secs(40)).await;
    client.access_token(["third:read"]).await.unwrap();
    client.access_token(["long:read"]).await.unwrap();
    assert_eq!(sim.journal().grants(), 3, "the good one has stayed");
    client.access_token(["short:read"]).await.unwrap();
    assert_eq!(sim.journal().grants(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_in_flight_or_in_use_never_goes() {
    let source = Counter::new(Duration::from_secs(1), TWO_MINUTES);
    let client = source.client(2);
    let layered = client
        .authorizer(request(100), "https://api.example.no")
        .unwrap();
    client.warm_up().await.unwrap();
    // One that is in flight and that nobody waits for any more.
    let in_flight = timeout(Duration::from_millis(1), client.access_token(request(0))).await;
    assert!(in_flight.is_err());
    for number in 1..4 {
        let gone = timeout(
            Duration::from_millis(1),
            client.access_token(request(number)),
        )
        .await;
        assert!(gone.is_err());
    }
    sleep(Duration::from_secs(3)).await;
    for number in [0, 1, 2, 3, 100] {
        assert_eq!(source.fetches_of(number), 1, "{number}");
    }
    // What was on its way has come. Two of the four are kept, and the layer's.
    let evicted = client.stats().maskinporten.evicted;
    assert_eq!((client.health().good, evicted), (3, 2));

    for number in 10..20 {
        client.access_token(request(number)).await.unwrap();
    }
    let mut headers = http::HeaderMap::new();
    let uri = http::Uri::from_static("https://api.example.no/");
    layered.authorize(&uri, &mut headers).await.unwrap();
    assert_eq!(source.fetches_of(100), 1);
}

#[tokio::test(start_paused = true)]
async fn a_maskinporten_token_goes_after_the_altinn_token_that_was_made_of_it() {
    let sim = Sim::new();
    let registered = sim.new_client(["altinn:serviceowner"]);
    let client = world::builder(&sim, &registered)
        .max_identities(4)
        .build()
        .unwrap();
    for number in 0..40 {
        let request = TokenRequest::scopes(["altinn:serviceowner"]).unwrap();
        let request = request.resource(format!("urn:{number}")).unwrap();
        client.altinn_token(request).await.unwrap();
    }
    let stats = client.stats();
    assert_eq!(stats.altinn.entries, 4);
    // The capacity, those that are in use by the four, and those that were until just now.
    let kept = stats.maskinporten.entries;
    assert!((4..=10).contains(&kept), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn after_a_crowd_the_map_is_back_at_its_capacity() {
    let source = Counter::new(Duration::ZERO, TWO_MINUTES);
    let client = source.client(10);
    let all = (0..1_000).map(|number| client.access_token(request(number)));
    assert!(join_all(all).await.iter().all(Result::is_ok));

    // None is in use any more, and in the end no token is good.
    sleep(2 * TWO_MINUTES).await;
    client.access_token(request(1_000)).await.unwrap();

    assert!(
        client.stats().maskinporten.entries <= 11,
        "{:?}",
        client.stats()
    );
}

#[tokio::test(start_paused = true)]
async fn the_map_is_bounded_and_says_so_once_a_minute() {
    let text = Text::default();
    let written = text.clone();
    let _guard = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || written.clone())
        .with_ansi(false)
        .set_default();
    let source = Counter::new(Duration::ZERO, TWO_MINUTES);
    let client = source.client(64);
    for number in 0..1_000 {
        client.access_token(request(number)).await.unwrap();
        assert!(client.health().good <= 64);
    }
    let lines = text.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("max_identities"), "{lines:?}");
    assert!(lines[0].ends_with("capacity=64 evicted=1"), "{lines:?}");

    advance(Duration::from_secs(60)).await;
    client.access_token(request(1_000)).await.unwrap();
    let lines = text.lines();
    assert_eq!(lines.len(), 2);
    // All but the one that was said, and the one of now.
    assert!(lines[1].ends_with("evicted=936"), "{lines:?}");
    assert_eq!(client.stats().maskinporten.evicted, 937);
}

#[tokio::test(start_paused = true)]
async fn of_ten_thousand_none_goes() {
    let source = Counter::new(Duration::ZERO, TWO_MINUTES);
    let client = MaskinportenClient::builder()
        .source(source.clone())
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap();
    // One after another, so that nothing in flight keeps its place for that reason.
    for number in (0..10_000).chain(0..10_000) {
        client.access_token(request(number)).await.unwrap();
    }
    assert_eq!(source.fetches(), 10_000);
    assert_eq!(client.health().evicted, 0);
    client.access_token(request(10_000)).await.unwrap();
    assert_eq!((client.health().good, client.health().evicted), (10_000, 1));
}

#[tokio::test(start_paused = true)]
async fn no_two_identities_share_a_token_while_some_go_and_come_again() {
    /// Gives each request a token that names it.
    #[derive(Debug)]
    struct Named(SourceIdentity);
    impl TokenSource for Named {
        fn identity(&self) -> SourceIdentity {
            self.0.clone()
        }
        fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
            let named = format!("{request:?}");
            let name: String = named.chars().filter(char::is_ascii_alphanumeric).collect();
            Box::pin(async move {
                sleep(Duration::from_millis(3)).await;
                AccessToken::new(&name, TWO_MINUTES)
            })
        }
    }
    let client = MaskinportenClient::builder()
        .source(Named(SourceIdentity::new("named", "")))
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .max_identities(8)
        .build()
        .unwrap();
    let mut seen = HashSet::new();
    for round in 0..20 {
        let numbers = (0..40).map(|n| (n * 7 + round * 3) % 40);
        let tokens = numbers.map(|n| {
            let client = client.clone();
            async move { (n, client.access_token(request(n)).await.unwrap()) }
        });
        for (number, token) in join_all(tokens).await {
            assert!(
                token.expose().contains(&format!("api{number}example")),
                "{number}"
            );
            seen.insert(token.expose().to_owned());
        }
    }
    assert_eq!(seen.len(), 40);
}

/// What a subscriber has written.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl std::io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text")
    }
}
