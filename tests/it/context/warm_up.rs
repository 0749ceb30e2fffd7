//! The tokens of many contexts, fetched ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Uri};
use maskinporten::{
    AccessToken, Authorizer, BoxFuture, ErrorKind, FixedToken, MaskinportenClient, Result,
    SourceIdentity, TokenContext, TokenHandle, TokenKind, TokenProvider, TokenRequest, TokenSource,
};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_maskinporten::AltinnAuthLayer;

use super::organisations::organisations;
use super::{ANOTHER, CUSTOMER, get_in, layer, on_behalf_of, world, world_with};
use crate::world::{A, API, B, Recorder, SCOPES, client};

/// Counts who is with it.
#[derive(Clone, Debug, Default)]
struct Slow {
    with_it: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl TokenSource for Slow {
    fn identity(&self) -> SourceIdentity {
        SourceIdentity::new("slow", "")
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let with_it = self.with_it.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(with_it, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            self.with_it.fetch_sub(1, Ordering::SeqCst);
            AccessToken::new("token", Duration::from_secs(600))
        })
    }
}

fn slow() -> (Slow, Authorizer) {
    let source = Slow::default();
    let client = MaskinportenClient::builder()
        .source(source.clone())
        .build()
        .unwrap();
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    (source, authorizer)
}

fn contexts(count: usize) -> Vec<TokenContext> {
    let numbers = organisations(count);
    numbers.iter().map(|number| on_behalf_of(number)).collect()
}

#[tokio::test(start_paused = true)]
async fn after_it_no_first_request_of_an_organisation_waits() {
    let customers = organisations(20);
    let (sim, client) = world_with(&customers);
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    sim.fault(Route::Exchange, Fault::latency(Duration::from_millis(80)));
    let contexts: Vec<_> = customers
        .iter()
        .map(|number| on_behalf_of(number))
        .collect();
    let raw = layer(&client);
    let altinn = AltinnAuthLayer::new(&client, SCOPES, API)
        .unwrap()
        .optional_context();

    for authorizer in [raw.authorizer(), altinn.authorizer()] {
        let summary = authorizer.warm_up_for(&contexts).finish().await;
        assert_eq!((summary.warm, summary.failures.len()), (20, 0));
    }
    assert_eq!(
        (sim.journal().grants(), sim.journal().exchanges()),
        (20, 20)
    );

    let began = Instant::now();
    for context in &contexts {
        let service = raw.layer(Recorder::new());
        service.oneshot(get_in(context)).await.unwrap();
        let service = altinn.layer(Recorder::new());
        service.oneshot(get_in(context)).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The second time nothing is fetched.
    raw.authorizer().warm_up_for(&contexts).finish().await;
    assert_eq!(
        (sim.journal().grants(), sim.journal().exchanges()),
        (20, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_so_many_at_once_and_tells_how_far_it_is() {
    for at_once in [0, 1, 3] {
        let (source, authorizer) = slow();
        let mut warm_up = authorizer.warm_up_for(contexts(9)).concurrency(at_once);
        assert_eq!((warm_up.done(), warm_up.total()), (0, 9));

        for done in 1..=9 {
            let warmed = warm_up.next().await.unwrap();
            assert!(warmed.outcome.is_ok());
            assert_eq!((warm_up.done(), warm_up.total()), (done, 9));
        }
        assert!(warm_up.next().await.is_none());
        assert_eq!(source.most.load(Ordering::SeqCst), at_once.max(1));
        assert_eq!(warm_up.finish().await.warm, 9);
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_no_more_than_256_at_once() {
    let (_, authorizer) = slow();
    let mut warm_up = authorizer
        .warm_up_for(contexts(300))
        .concurrency(usize::MAX);
    let early = timeout(Duration::from_millis(1), warm_up.next()).await;
    assert!(early.is_err());
    assert!(format!("{warm_up:?}").contains("under_way: 256"));
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_one_organisation_stops_no_other_and_is_told_with_its_context() {
    let mut customers = organisations(12);
    let stranger = on_behalf_of(&customers.pop().unwrap());
    let (sim, client) = world_with(&customers);
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    let mut contexts: Vec<_> = customers
        .iter()
        .map(|number| on_behalf_of(number))
        .collect();
    contexts.insert(3, stranger.clone());

    let summary = authorizer.warm_up_for(contexts).finish().await;

    assert_eq!(summary.warm, 11);
    let [(context, error)] = &summary.failures[..] else {
        panic!("{:?}", summary.failures)
    };
    assert_eq!(context, &stranger);
    assert_eq!(error.kind(), ErrorKind::OrganisationRejected);
    assert_eq!(sim.journal().grants(), 11);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_starts_no_further_fetch_and_harms_nobody() {
    let (source, authorizer) = slow();
    let contexts = contexts(10);

    // Nothing is begun before it is awaited.
    drop(authorizer.warm_up_for(&contexts));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(source.asked.load(Ordering::SeqCst), 0);

    let mut warm_up = authorizer.warm_up_for(&contexts).concurrency(2);
    assert!(warm_up.next().await.unwrap().outcome.is_ok());
    let waiting = tokio::spawn({
        let (authorizer, context) = (authorizer.clone(), contexts[2].clone());
        async move {
            let uri = Uri::from_static(A);
            let mut headers = HeaderMap::new();
            authorizer
                .authorize_with(&context, &uri, &mut headers)
                .await
        }
    });
    sleep(Duration::from_millis(500)).await;
    drop(warm_up);

    assert!(waiting.await.unwrap().is_ok());
    sleep(Duration::from_secs(5)).await;
    // The first two, and the one that another caller has asked for.
    assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    let began = Instant::now();
    let summary = authorizer.warm_up_for(&contexts[..3]).finish().await;
    assert_eq!((summary.warm, began.elapsed()), (3, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_would_be_refused_is_a_failure_and_what_needs_no_token_is_left_out() {
    let (sim, client) = world();
    let layer = layer(&client).require_context();
    let beyond = on_behalf_of(CUSTOMER).scopes(["b:write"]).unwrap();
    let unnamed = TokenContext::new();
    let elsewhere = on_behalf_of(CUSTOMER).for_origin(B).unwrap();
    let here = on_behalf_of(ANOTHER).for_origin(API).unwrap();
    let contexts = [&beyond, &unnamed, &TokenContext::skip(), &elsewhere, &here];

    let warm_up = layer.authorizer().warm_up_for(contexts);
    assert_eq!(warm_up.total(), 4);
    let summary = warm_up.finish().await;

    assert_eq!((summary.warm, sim.journal().token_requests()), (1, 1));
    let failures: Vec<_> = summary
        .failures
        .iter()
        .map(|(context, error)| (context, error.kind(), error.hint().is_some()))
        .collect();
    let expected = [
        (&beyond, ErrorKind::Request, true),
        (&unnamed, ErrorKind::Request, true),
        (&elsewhere, ErrorKind::Origin, true),
    ];
    assert_eq!(failures, expected);
}

#[tokio::test(start_paused = true)]
async fn where_a_provider_keeps_one_token_only_each_context_is_a_failure() {
    #[derive(Debug)]
    struct OnlyOne;

    impl TokenProvider for OnlyOne {
        fn token(&self, _: &TokenRequest, _: TokenKind) -> Result<TokenHandle> {
            TokenHandle::from_source(FixedToken::new("one", Duration::from_secs(60))?)
        }
    }

    let authorizer = Authorizer::new(&OnlyOne, TokenKind::Maskinporten, SCOPES, API).unwrap();
    let summary = authorizer.warm_up_for(contexts(3)).finish().await;
    assert_eq!((summary.warm, summary.failures.len()), (0, 3));
    assert_eq!(summary.failures[0].1.kind(), ErrorKind::Request);
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_each_is_a_failure() {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    let client = client(&sim, &registered);
    let authorizer = client.authorizer(SCOPES, API).unwrap();
    client.shutdown().await;
    let summary = authorizer.warm_up_for(contexts(3)).finish().await;
    assert_eq!(summary.failures.len(), 3);
    assert_eq!(summary.failures[0].1.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_warm_up_of_a_client_leaves_the_tokens_of_contexts_alone_behind_altinns_layer_too() {
    let customers = organisations(5);
    let (sim, client) = world_with(&customers);
    let altinn = AltinnAuthLayer::new(&client, SCOPES, API)
        .unwrap()
        .optional_context();
    let contexts: Vec<_> = customers
        .iter()
        .map(|number| on_behalf_of(number))
        .collect();
    // Requests through Maskinporten's layer have asked for the same tokens.
    let raw = layer(&client);
    for authorizer in [raw.authorizer(), altinn.authorizer()] {
        authorizer.warm_up_for(&contexts).finish().await;
    }
    let before = sim.journal().grants();
    assert_eq!(before, 5);

    sleep(Duration::from_secs(7_200)).await;
    client.warm_up().await.unwrap();

    // The layer's own, and no organisation's.
    assert_eq!(sim.journal().grants() - before, 1);
}
