//! Many organisations over one client: none ever has the token of another.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use maskinporten::TokenRequest;
use maskinporten_sim::{Body, Fault, Route, Sim};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{BearerAuth, BoxError, ReplayAuth};

use super::{OWNER, consumer, get, get_in, layer, on_behalf_of, refusing_the_first_of, world_with};
use crate::world::{A, ByReference, Recorder, SCOPES, builder};

/// Numbers with a right control digit (modulus 11).
pub(crate) fn organisations(count: usize) -> Vec<String> {
    let of = |number: u32| {
        let digits = number.to_string();
        let weighted = digits.bytes().zip([3, 2, 7, 6, 5, 4, 3, 2]);
        let sum: u32 = weighted.map(|(d, w)| u32::from(d - b'0') * w).sum();
        match (11 - sum % 11) % 11 {
            10 => None,
            control => Some(format!("{number}{control}")),
        }
    };
    (81_000_000..).filter_map(of).take(count).collect()
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Kept,
    Cloned,
    Shared,
}

#[derive(Clone, Debug)]
struct Step {
    /// One more than there are organisations: the layer's own.
    organisation: usize,
    way: Way,
    /// How long until the next request, in milliseconds: tokens live for two minutes.
    pause: u64,
}

#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    refused: HashSet<usize>,
    replays: bool,
    max_identities: usize,
}

const ORGANISATIONS: usize = 64;

fn script() -> impl Strategy<Value = Script> {
    let ways = prop_oneof![Just(Way::Kept), Just(Way::Cloned), Just(Way::Shared)];
    let pauses = prop_oneof![6 => Just(0), 3 => 1u64..200, 1 => 1_000u64..20_000];
    let steps = (0..=ORGANISATIONS, ways, pauses).prop_map(|(organisation, way, pause)| Step {
        organisation,
        way,
        pause,
    });
    let steps = prop::collection::vec(steps, 100..200);
    let refused = prop::collection::hash_set(0..=ORGANISATIONS, 0..30);
    let sizes = prop_oneof![Just(1024), 1usize..ORGANISATIONS];
    (steps, refused, any::<bool>(), sizes).prop_map(|(steps, refused, replays, max_identities)| {
        Script {
            steps,
            refused,
            replays,
            max_identities,
        }
    })
}

type Call<'a> = BoxFuture<'a, (usize, std::result::Result<Response<Body>, BoxError>)>;

/// Plays a script. Gives what has arrived, for whom it was sent and whose token it had, how each request was
/// answered, and how many tokens are kept in the end.
async fn played(script: &Script) -> (Vec<(String, String)>, Vec<(usize, StatusCode)>, usize) {
    let mut numbers = organisations(ORGANISATIONS);
    let sim = Sim::new();
    for number in &numbers {
        sim.delegate(number, OWNER, SCOPES[0]);
    }
    numbers.push(OWNER.to_owned());
    let registered = sim.new_client(SCOPES);
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let client = builder(&sim, &registered)
        .max_identities(script.max_identities)
        .build()
        .unwrap();
    let refused = script.refused.iter().map(|at| numbers[*at].clone());
    let api = refusing_the_first_of(refused.collect());
    let answers = match script.replays {
        true => {
            let layer = layer(&client).replay_on_unauthorized();
            let service = layer.layer(ByReference(api.clone()));
            sent::<ReplayAuth<ByReference<Recorder>>>(script, &numbers, service.clone(), &service)
                .await
        }
        false => {
            let service = layer(&client).layer(ByReference(api.clone()));
            sent::<BearerAuth<ByReference<Recorder>>>(script, &numbers, service.clone(), &service)
                .await
        }
    };
    let sent_for = api.seen().into_iter().map(|parts| {
        let sent_for = parts.headers["x-sent-for"].to_str().unwrap().to_owned();
        (sent_for, consumer(&parts.headers[AUTHORIZATION]))
    });
    // One more newcomer, when nothing is in use any more: what is kept then is what is meant to be kept.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let newcomer = TokenRequest::scopes(SCOPES)
        .unwrap()
        .resource("urn:newcomer");
    client.access_token(newcomer.unwrap()).await.unwrap();
    let kept = client.stats().maskinporten.entries;
    (sent_for.collect(), answers, kept)
}

async fn sent<'a, S>(
    script: &Script,
    numbers: &[String],
    mut kept: S,
    shared: &'a S,
) -> Vec<(usize, StatusCode)>
where
    S: Service<Request<&'static str>, Response = Response<Body>, Error = BoxError> + Clone,
    S: Send + Sync,
    S::Future: Send + 'static,
    &'a S: Service<Request<&'static str>, Response = Response<Body>, Error = BoxError>,
    <&'a S as Service<Request<&'static str>>>::Future: Send + 'a,
{
    let mut in_flight: FuturesUnordered<Call<'a>> = FuturesUnordered::new();
    let mut answers = Vec::new();
    let mut note = |(at, answer): (usize, std::result::Result<Response<Body>, BoxError>)| {
        answers.push((at, answer.unwrap().status()));
    };
    for step in &script.steps {
        let at = step.organisation;
        let mut request = get(A);
        let number = HeaderValue::from_str(&numbers[at]).unwrap();
        request.headers_mut().insert("x-sent-for", number);
        if at < ORGANISATIONS {
            let context = on_behalf_of(&numbers[at]);
            request.extensions_mut().insert(context);
        }
        in_flight.push(match step.way {
            Way::Kept => {
                let call = kept.ready().await.unwrap().call(request);
                call.map(move |answer| (at, answer)).boxed()
            }
            Way::Cloned => {
                let call = kept.clone().call(request);
                call.map(move |answer| (at, answer)).boxed()
            }
            Way::Shared => {
                let mut shared = shared;
                let call = Service::call(&mut shared, request);
                call.map(move |answer| (at, answer)).boxed()
            }
        });
        let mut pause = pin!(tokio::time::sleep(Duration::from_millis(step.pause)));
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(answered) = in_flight.next() => note(answered),
            }
        }
    }
    while let Some(answered) = in_flight.next().await {
        note(answered);
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_request_ever_has_the_token_of_another_organisation(script in script()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();

        let (sent, answers, kept) = runtime.block_on(played(&script));

        for (sent_for, had) in &sent {
            prop_assert_eq!(sent_for, had);
        }
        prop_assert!(kept <= script.max_identities + 1, "{} are kept", kept);
        prop_assert_eq!(answers.len(), script.steps.len());
        prop_assert!(sent.len() >= answers.len());
        // A token that has had to leave the map takes its renewal along; else each is replayed.
        let all_kept = script.max_identities > ORGANISATIONS;
        for (at, status) in answers {
            if status != StatusCode::OK {
                prop_assert_eq!(status, StatusCode::UNAUTHORIZED);
                prop_assert!(script.refused.contains(&at));
                prop_assert!(!(script.replays && all_kept));
            }
        }
    }
}

// ===== on threads of their own =====

#[test]
fn threads_that_share_a_service_never_share_an_organisation() {
    let customers = organisations(16);
    let (sim, client) = world_with(&customers);
    // Time stands still here: what is shared is looked at, and every token is fetched before.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let api = Recorder::new();
    let service = layer(&client).layer(ByReference(api.clone()));
    runtime.block_on(join_all(customers.iter().map(|customer| {
        let request = get_in(&on_behalf_of(customer));
        service.clone().oneshot(request)
    })));
    let service = Arc::new(service);
    let before = api.seen().len();

    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (service, customers) = (Arc::clone(&service), &customers);
            scope.spawn(move || {
                let cx = &mut Context::from_waker(Waker::noop());
                for round in 0..200 {
                    let customer = &customers[(round * 7 + thread) % customers.len()];
                    let mut request = get_in(&on_behalf_of(customer));
                    let number = HeaderValue::from_str(customer).unwrap();
                    request.headers_mut().insert("x-sent-for", number);
                    let mut shared = &*service;
                    let call = pin!(Service::call(&mut shared, request));
                    assert!(matches!(call.poll(cx), Poll::Ready(Ok(_))));
                }
            });
        }
    });

    let seen = api.seen();
    assert_eq!(seen.len() - before, 800);
    for parts in &seen[before..] {
        assert_eq!(
            parts.headers["x-sent-for"],
            consumer(&parts.headers[AUTHORIZATION])[..]
        );
    }
    assert_eq!(sim.journal().grants(), 16);
}
