//! What breaks the fetch queue and the circuits: rare orders of events, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{join_all, pending};
use http::{HeaderMap, HeaderValue, StatusCode};
use maskinporten::{
    AccessToken, BoxFuture, Clock, Error, ErrorKind, MaskinportenClient, Result, SourceIdentity,
    TokenRequest, TokenSource, TokioClock,
};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::runtime;
use tokio::task::yield_now;
use tokio::time::{Instant, interval, sleep, timeout};

use super::isolation::organisations;
use crate::world;

const SCOPE: &str = "altinn:serviceowner";
const OWNER: &str = "991825827";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

// ===== a token server whose answers are named by the scope =====

/// Gives tokens at once; hangs or cannot serve where the scope asks for that.
#[derive(Debug)]
struct Named {
    identity: SourceIdentity,
    /// How often it was asked for a token that it gives only once.
    later: AtomicUsize,
}

const GOOD: &str = "srv:good";
const DOWN: &str = "srv:down";
const HANG: &str = "srv:hang";
const PANICS: &str = "srv:panics";
/// Good the first time, and down after that.
const LATER: &str = "srv:later";

impl TokenSource for Named {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async {
            match request.scope_set().to_string().as_str() {
                DOWN => Err(Error::unavailable("the planted server is down")),
                LATER if self.later.fetch_add(1, Ordering::SeqCst) > 0 => {
                    Err(Error::unavailable("the planted server is down"))
                }
                HANG => pending().await,
                PANICS => panic!("planted"),
                _ => AccessToken::new("token", seconds(20)),
            }
        })
    }
}

fn named() -> MaskinportenClient {
    MaskinportenClient::builder()
        .source(Named {
            identity: SourceIdentity::new("named", "supplier"),
            later: AtomicUsize::new(0),
        })
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH))
        .build()
        .unwrap()
}

fn of(scope: &str, organisation: &str) -> TokenRequest {
    let request = TokenRequest::scopes([scope]).unwrap();
    request.consumer_org(organisation).unwrap()
}

fn numbered(request: &TokenRequest, number: usize) -> TokenRequest {
    let request = request.clone();
    request.resource(format!("urn:hostile:{number}")).unwrap()
}

// ===== the simulator, with organisations =====

fn world_of(organisations: &[String], limit: Option<usize>) -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    let registered = sim.new_client([SCOPE]);
    for organisation in organisations {
        sim.delegate(organisation, OWNER, SCOPE);
    }
    let builder = world::builder(&sim, &registered);
    let builder = match limit {
        Some(permits) => builder.max_concurrent_fetches(permits),
        None => builder,
    };
    let client = builder.build().unwrap();
    (sim, client)
}

fn throttled(retry_after: u64) -> Fault {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::RETRY_AFTER, HeaderValue::from(retry_after));
    Fault::answer(StatusCode::TOO_MANY_REQUESTS, headers, "")
}

// ===== panics =====

/// A source and a clock that panic at one of their readings.
#[derive(Clone, Debug)]
struct Panicking {
    revision: Arc<Bomb>,
    clock: Arc<Bomb>,
    time: TokioClock,
}

#[derive(Debug)]
struct Bomb {
    readings: AtomicUsize,
    at: usize,
}

impl Bomb {
    const NEVER: usize = usize::MAX;

    fn at(at: usize) -> Arc<Self> {
        let readings = AtomicUsize::new(0);
        Arc::new(Self { readings, at })
    }

    fn read(&self) {
        let reading = self.readings.fetch_add(1, Ordering::SeqCst);
        assert_ne!(reading, self.at, "planted");
    }
}

impl TokenSource for Panicking {
    fn identity(&self) -> SourceIdentity {
        SourceIdentity::new("panicking", "")
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async { AccessToken::new("token", seconds(60)) })
    }

    fn revision(&self) -> u64 {
        self.revision.read();
        0
    }
}

impl Clock for Panicking {
    fn monotonic(&self) -> Duration {
        self.clock.read();
        self.time.monotonic()
    }

    fn wall(&self) -> SystemTime {
        self.time.wall()
    }
}

/// Which readings cost more than the call in which they panic.
async fn fatal(readings: usize, panicking: impl Fn(usize) -> Panicking) -> Vec<usize> {
    let mut fatal = Vec::new();
    for reading in 0..readings {
        let panicking = panicking(reading);
        let client = MaskinportenClient::builder()
            .source(panicking.clone())
            .clock(panicking)
            .build();
        // One that panics while the client is built is not what this is about.
        let Ok(client) = client else { continue };
        let ask = || {
            let client = client.clone();
            async move { client.access_token(["a:read"]).await }
        };
        // The call in which it panics may fail, and the one after it too. A token that was there before is no longer.
        for _ in 0..8 {
            let asked = tokio::spawn(timeout(seconds(60), ask())).await;
            let declared = client.clone();
            let declared = tokio::spawn(async move { declared.invalidate_all() }).await;
            if asked.is_err() || declared.is_err() {
                break;
            }
        }
        let _may_fail = tokio::spawn(timeout(seconds(60), ask())).await;
        let last = tokio::spawn(timeout(seconds(60), ask())).await;
        if !matches!(last, Ok(Ok(Ok(_)))) {
            fatal.push(reading);
        }
        // What is still under way reads the clock when it is dropped.
        let _may_panic = tokio::spawn(async move { drop(client) }).await;
    }
    fatal
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_revision_panics_once_does_not_end_its_identity() {
    let time = TokioClock::starting_at(SystemTime::UNIX_EPOCH);
    let fatal = fatal(4, |reading| Panicking {
        revision: Bomb::at(reading),
        clock: Bomb::at(Bomb::NEVER),
        time,
    });
    assert_eq!(fatal.await, Vec::<usize>::new());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_panics_once_does_not_end_an_identity() {
    let time = TokioClock::starting_at(SystemTime::UNIX_EPOCH);
    // The first ones are read while the client is built.
    let fatal = fatal(30, |reading| Panicking {
        revision: Bomb::at(Bomb::NEVER),
        clock: Bomb::at(reading + 10),
        time,
    });
    assert_eq!(fatal.await, Vec::<usize>::new());
}

// ===== a throttled fetch that waits again =====

#[tokio::test(start_paused = true)]
async fn a_throttled_fetch_that_comes_back_to_an_open_circuit_is_the_next_probe() {
    let numbers = organisations(4);
    let (sim, client) = world_of(&numbers, None);
    let [throttled_one, down @ ..] = &numbers[..] else {
        unreachable!("four were asked for")
    };
    let fault = throttled(3).times(1).for_consumer(throttled_one);
    sim.fault(Route::Token, fault.unwrap());
    for number in down {
        let fault = Fault::disconnect().for_consumer(number).unwrap();
        sim.fault(Route::Token, fault);
    }
    let asked = tokio::spawn({
        let (client, request) = (client.clone(), of(SCOPE, throttled_one));
        async move { timeout(seconds(30), client.access_token(request)).await }
    });
    yield_now().await;
    let failed = join_all(down[..2].iter().map(|n| client.access_token(of(SCOPE, n)))).await;
    assert!(failed.iter().all(Result::is_err));
    assert!(client.health().open_circuits > 0);
    // A probe just before the pause is over: the next one may go a second later.
    sleep(milliseconds(1_900)).await;
    assert!(client.access_token(of(SCOPE, &down[2])).await.is_err());

    let token = asked.await.unwrap();
    assert!(matches!(token, Ok(Ok(_))), "{token:?}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_fetch_that_comes_back_waits_for_no_permit_of_a_runtime_that_is_not_driven() {
    let numbers = organisations(2);
    let (sim, client) = world_of(&numbers, Some(1));
    let fault = throttled(3).times(1).for_consumer(&numbers[0]).unwrap();
    sim.fault(Route::Token, fault);
    let asked = tokio::spawn({
        let (client, request) = (client.clone(), of(SCOPE, &numbers[0]));
        async move { timeout(seconds(60), client.access_token(request)).await }
    });
    sleep(seconds(1)).await;
    // Its only permit goes to a fetch whose runtime nobody drives.
    let undriven = runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    {
        let _entered = undriven.enter();
        let polled = client.access_token(of(SCOPE, &numbers[1])).now_or_never();
        assert!(polled.is_none());
    }

    let token = asked.await.unwrap();
    undriven.shutdown_background();
    assert!(matches!(token, Ok(Ok(_))), "{token:?}");
}

// ===== one tenant's trouble =====

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_answered_429_does_not_take_the_permits_of_all_others() {
    let numbers = organisations(1 + 30 * 15);
    let (sim, client) = world_of(&numbers, None);
    let fault = Fault::status(StatusCode::TOO_MANY_REQUESTS);
    sim.fault(Route::Token, fault.for_consumer(&numbers[0]).unwrap());
    sim.fault(Route::Token, Fault::latency(milliseconds(300)));
    // Thirty of its identities a second, and as many first tokens of others: a third of what the permits allow.
    let mut ticks = interval(seconds(1) / 30);
    let mut asked = Vec::new();
    for (number, organisation) in numbers[1..].iter().enumerate() {
        ticks.tick().await;
        let busy = numbered(&of(SCOPE, &numbers[0]), number);
        let troubled = client.clone();
        tokio::spawn(async move { troubled.access_token(busy).await });
        let (client, request) = (client.clone(), of(SCOPE, organisation));
        asked.push(tokio::spawn(async move {
            let began = Instant::now();
            let outcome = client.access_token(request).await;
            (outcome.is_ok(), began.elapsed())
        }));
    }
    let outcomes: Vec<_> = join_all(asked)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(outcomes.iter().all(|(is_ok, _)| *is_ok));
    let longest = outcomes.iter().map(|(_, took)| *took).max().unwrap();
    assert!(longest <= milliseconds(1_300), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_noticed_where_each_tenant_has_an_idle_token_besides() {
    let numbers = organisations(50);
    let (sim, client) = world_of(&numbers, None);
    let idle = numbers
        .iter()
        .map(|n| client.access_token(numbered(&of(SCOPE, n), 0)));
    assert!(join_all(idle).await.iter().all(Result::is_ok));
    sim.fault(Route::Token, Fault::disconnect());
    let callers: Vec<_> = numbers
        .iter()
        .map(|number| {
            let (client, request) = (client.clone(), of(SCOPE, number));
            tokio::spawn(async move {
                loop {
                    let _ = client.access_token(request.clone()).await;
                    sleep(milliseconds(500)).await;
                }
            })
        })
        .collect();
    sleep(seconds(15)).await;
    let before = sim.journal().token_requests();
    sleep(seconds(30)).await;
    let requests = sim.journal().token_requests() - before;
    for caller in callers {
        caller.abort();
    }
    assert!(requests <= 30, "{requests} requests in 30 s of an outage");
}

#[tokio::test(start_paused = true)]
async fn a_warm_token_is_renewed_while_others_of_its_own_tenant_fail() {
    let client = named();
    let warm = TokenRequest::scopes([GOOD]).unwrap();
    client.access_token(warm.clone()).await.unwrap();
    let down = TokenRequest::scopes([DOWN]).unwrap();
    let (mut asked, mut failed) = (0, 0);
    for number in 0..600_usize {
        for bad in 0..2 {
            let (client, bad) = (client.clone(), numbered(&down, bad));
            tokio::spawn(async move { client.access_token(bad).await });
        }
        asked += 1;
        failed += usize::from(client.access_token(warm.clone()).await.is_err());
        // Others have a circuit of their own.
        if number % 20 == 0 {
            let other = of(GOOD, &organisations(1)[0]);
            client.access_token(other).await.unwrap();
        }
        sleep(milliseconds(100)).await;
    }
    assert_eq!(failed, 0, "of {asked}");
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_of_a_failing_tenant_meets_is_not_given_to_a_tenant_that_has_met_no_failure() {
    let client = named();
    let numbers = organisations(3);
    let [failing, other, healthy] = &numbers[..] else {
        unreachable!("three were asked for")
    };
    // The failing tenant has had a token: that identity may probe first.
    let proven = of(LATER, failing);
    client.access_token(proven.clone()).await.unwrap();
    sleep(seconds(20)).await;
    let down = of(DOWN, failing);
    let failures = join_all([
        client.access_token(numbered(&down, 0)),
        client.access_token(numbered(&down, 1)),
        client.access_token(of(DOWN, other)),
    ]);
    assert!(failures.await.iter().all(Result::is_err));
    assert!(client.health().open_circuits > 0);

    let (probe, first) = tokio::join!(
        client.access_token(proven),
        client.access_token(of(GOOD, healthy))
    );
    drop(probe);
    assert!(first.is_ok(), "{first:?}");
}

// ===== those who wait for a probe =====

/// A client whose authority's circuit is open, with a probe under way that is not answered.
async fn outage_with_a_hanging_probe(numbers: &[String]) -> MaskinportenClient {
    let client = named();
    let down = numbers[..2]
        .iter()
        .map(|n| client.access_token(of(DOWN, n)));
    assert!(join_all(down).await.iter().all(Result::is_err));
    assert!(client.health().open_circuits > 0);
    let (probing, probe) = (client.clone(), of(HANG, &numbers[2]));
    tokio::spawn(async move { probing.access_token(probe).await });
    sleep(milliseconds(300)).await;
    client
}

#[tokio::test(start_paused = true)]
async fn places_of_callers_who_gave_up_are_bounded_while_a_circuit_is_open_too() {
    let numbers = organisations(4);
    let client = outage_with_a_hanging_probe(&numbers).await;
    let request = of(GOOD, &numbers[3]);
    for number in 0..2_000 {
        let asked = client
            .access_token(numbered(&request, number))
            .now_or_never();
        assert!(asked.is_none(), "it did not wait");
    }
    // A hundred of a tenant at most, and the probe.
    let waiting = client.health().waiting;
    assert!(waiting <= 101, "{waiting} places are kept");
}

#[tokio::test(start_paused = true)]
async fn places_of_callers_who_gave_up_are_not_kept_beyond_half_a_minute_while_a_circuit_is_open() {
    let numbers = organisations(4);
    let client = outage_with_a_hanging_probe(&numbers).await;
    let request = of(GOOD, &numbers[3]);
    sleep(milliseconds(100)).await;
    for number in 0..20 {
        let asked = client
            .access_token(numbered(&request, number))
            .now_or_never();
        assert!(asked.is_none(), "it did not wait");
    }
    // The probe fails after 10 s. Nothing is asked for but tokens that are there.
    sleep(seconds(120)).await;
    let _ = client.access_token(of(GOOD, &numbers[0])).await;
    let _ = client.access_token(of(GOOD, &numbers[0])).await;
    assert_eq!(client.health().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tenants_probe_that_is_broken_off_does_not_cost_it_another_half_minute() {
    let client = named();
    let numbers = organisations(2);
    // Another tenant is served meanwhile, so that only this one's circuit opens.
    client.access_token(of(GOOD, &numbers[1])).await.unwrap();
    let down = of(DOWN, &numbers[0]);
    for number in 0..2 {
        assert!(client.access_token(numbered(&down, number)).await.is_err());
    }
    assert_eq!(client.health().open_circuits, 1);
    sleep(seconds(31)).await;
    // No word about the server: its task ends by a panic, again and again.
    let probe = client.access_token(of(PANICS, &numbers[0])).await;
    assert_eq!(probe.unwrap_err().kind(), ErrorKind::Runtime);

    let token = client.access_token(of(GOOD, &numbers[0])).await;
    assert!(token.is_ok(), "{token:?}");
}

// ===== runtimes and invalidation =====

#[tokio::test(start_paused = true)]
async fn an_exchange_whose_runtime_ends_while_its_parent_waits_is_made_on_the_runtime_of_another_caller()
 {
    let numbers = organisations(2);
    let (sim, client) = world_of(&numbers, Some(1));
    let slow = Fault::latency(seconds(2)).for_consumer(&numbers[0]);
    sim.fault(Route::Token, slow.unwrap());
    let ahead = tokio::spawn({
        let (client, request) = (client.clone(), of(SCOPE, &numbers[0]));
        async move { client.access_token(request).await }
    });
    sleep(milliseconds(100)).await;
    let ends = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut first = Box::pin(client.altinn_token(of(SCOPE, &numbers[1])));
    {
        let _entered = ends.enter();
        assert!(first.as_mut().now_or_never().is_none());
    }
    let second = tokio::spawn({
        let (client, request) = (client.clone(), of(SCOPE, &numbers[1]));
        async move { client.altinn_token(request).await }
    });
    sleep(milliseconds(100)).await;
    drop(first);
    ends.shutdown_background();

    ahead.await.unwrap().unwrap();
    let token = second.await.unwrap();
    assert!(token.is_ok(), "{token:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_under_endless_invalidation_ends_within_the_time_of_its_fetch() {
    let numbers = organisations(1);
    for is_altinn in [false, true] {
        let (sim, client) = world_of(&numbers, None);
        sim.fault(Route::Token, Fault::latency(milliseconds(80)));
        sim.fault(Route::Exchange, Fault::latency(milliseconds(80)));
        let request = of(SCOPE, &numbers[0]);
        let invalidates = {
            let (client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                loop {
                    sleep(milliseconds(50)).await;
                    client.invalidate(request.clone()).unwrap();
                }
            })
        };
        let began = Instant::now();
        let outcome = match is_altinn {
            true => timeout(seconds(60), client.altinn_token(request)).await,
            false => timeout(seconds(60), client.access_token(request)).await,
        };
        invalidates.abort();
        let error = outcome.unwrap().unwrap_err();
        assert!(
            began.elapsed() <= seconds(11),
            "{:?} {error:?}",
            began.elapsed()
        );
        assert!(error.hint().is_some(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_all_who_wait_for_a_turn_or_a_probe() {
    let numbers = organisations(4);
    let client = outage_with_a_hanging_probe(&numbers).await;
    let request = of(GOOD, &numbers[3]);
    let waiting: Vec<_> = (0..200)
        .map(|number| {
            let (client, request) = (client.clone(), numbered(&request, number));
            tokio::spawn(async move { client.access_token(request).await })
        })
        .collect();
    sleep(milliseconds(100)).await;
    client.shutdown().await;
    let outcomes = timeout(seconds(1), join_all(waiting)).await.unwrap();
    let closed = |outcome: &Result<AccessToken>| {
        let error = outcome.as_ref().unwrap_err();
        error.kind() == ErrorKind::Closed
    };
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| closed(&outcome.unwrap()))
    );
    assert_eq!(client.health().waiting, 0);
}
