//! Threads that act for many organisations through one layer, over a map too small for all of them, while tokens
//! are declared void: every request has the token of its own identity.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, Uri};
use maskinporten::{
    AccessToken, BoxFuture, Decision, MaskinportenClient, Result, SourceIdentity, TokenContext,
    TokenRequest, TokenSource,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maskinporten::{BearerAuth, BoxError, MaskinportenAuthLayer};

use crate::world::{A, API};

const IDENTITIES: usize = 200;
const THREADS: usize = 6;
const ROUNDS: usize = 4;

/// Gives a token whose text is the scope that was asked for.
#[derive(Debug)]
struct Named;

impl TokenSource for Named {
    fn identity(&self) -> SourceIdentity {
        SourceIdentity::new("https://issuer.example.no/", "client")
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        let text = request.scope_set().as_str().replace(':', ".");
        Box::pin(ready(AccessToken::new(&text, Duration::from_secs(3600))))
    }
}

fn scope(number: usize) -> String {
    format!("of:{number}")
}

fn layer(max_identities: usize) -> (MaskinportenClient, MaskinportenAuthLayer) {
    let client = MaskinportenClient::builder()
        .source(Named)
        .max_identities(max_identities)
        .build()
        .unwrap();
    let layer = MaskinportenAuthLayer::new(&client, ["own"], API).unwrap();
    let layer = layer.allow_scopes((0..IDENTITIES).map(scope)).unwrap();
    (client, layer.optional_context())
}

/// Sends requests in every way a service is used, each with the context of another identity.
async fn send<S>(mut kept: S, contexts: &[TokenContext], first: usize)
where
    S: Service<Request<()>, Response = Response<String>, Error = BoxError> + Clone,
{
    for at in 0..IDENTITIES * ROUNDS {
        let number = (first + at * 7) % IDENTITIES;
        let mut request = Request::get(A).body(()).unwrap();
        request.extensions_mut().insert(contexts[number].clone());
        let response = if at % 2 == 0 {
            kept.ready().await.unwrap().call(request).await
        } else {
            kept.clone().oneshot(request).await
        };
        assert_eq!(response.unwrap().into_body(), format!("Bearer of.{number}"));
    }
}

#[test]
fn every_request_of_every_thread_has_the_token_of_its_own_context() {
    for max_identities in [IDENTITIES / 10, IDENTITIES * 2] {
        let (client, layer) = layer(max_identities);
        let inner = service_fn(|request: Request<()>| {
            let header = request.headers()[AUTHORIZATION].to_str().unwrap();
            ready(Ok::<_, Infallible>(Response::new(header.to_owned())))
        });
        let service = layer.layer(inner);
        let contexts = (0..IDENTITIES).map(|number| TokenContext::new().scopes([scope(number)]));
        let contexts = contexts.collect::<Result<Vec<_>>>().unwrap();
        thread::scope(|threads| {
            for first in 0..THREADS {
                let (service, contexts) = (service.clone(), &contexts);
                threads.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    runtime.block_on(send(service, contexts, first * 31));
                });
            }
            threads.spawn(|| {
                for number in (0..IDENTITIES).chain(0..IDENTITIES) {
                    client.invalidate([scope(number)]).unwrap();
                    thread::yield_now();
                }
                client.invalidate_all();
            });
        });

        let stats = client.stats().maskinporten;
        let sent = (THREADS * IDENTITIES * ROUNDS) as u64;
        assert_eq!(stats.lookups.total(), sent, "{stats:?}");
        assert_eq!(stats.lookups.failed, 0, "{stats:?}");
        // The layer's own token is held, and was never asked for.
        let kept = stats.entries;
        assert!(kept <= max_identities + THREADS + 1, "{kept} are kept");
    }
}

/// Bytes that each of these identities takes without its token's, when so many threads have used it.
fn bytes_each(identities: usize, users: usize) -> f64 {
    let uri = Uri::from_static(A);
    let contexts =
        (0..identities).map(|number| TokenContext::new().resource(format!("urn:{number}")));
    let contexts = contexts.collect::<Result<Vec<_>>>().unwrap();
    let mut kept = None;
    let mut bytes = 0;
    let fetched = allocation_counter::measure(|| {
        let (client, layer) = layer(identities + 1);
        let authorizer = layer.authorizer().clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for context in &contexts {
                authorizer
                    .authorize_with(context, &uri, &mut HeaderMap::new())
                    .await
                    .unwrap();
            }
        });
        drop(runtime);
        kept = Some((client, layer));
    });
    bytes += fetched.bytes_current;
    let (_client, layer) = kept.unwrap();
    // The thread that has fetched them is the first.
    for _ in 1..users {
        let (layer, contexts, uri) = (&layer, &contexts, &uri);
        let used = thread::scope(|threads| {
            let user = threads.spawn(move || {
                allocation_counter::measure(|| {
                    for context in contexts {
                        let mut headers = HeaderMap::new();
                        let decision = layer.authorizer().decide(uri, Some(context), &mut headers);
                        assert!(matches!(decision, Decision::Ready(_)));
                    }
                })
            });
            user.join().unwrap()
        });
        bytes += used.bytes_current;
    }
    bytes as f64 / identities as f64
}

#[test]
fn an_identity_takes_less_than_two_and_a_half_kilobytes_and_a_third_of_that_for_each_more_thread() {
    let one = bytes_each(2_000, 1);
    assert!(one < 2_500.0, "{one} bytes by one thread");
    for users in [4, 16] {
        let bytes = bytes_each(2_000, users);
        let each = (bytes - one) / (users - 1) as f64;
        assert!(
            each < 2_500.0 / 3.0,
            "{each} bytes for each of {users} threads"
        );
        println!("{one} {each}");
    }
}

#[test]
fn clones_that_were_handed_to_other_threads_share_what_is_known_of_contexts_when_the_layer_is_gone()
{
    const CLONES: usize = 50;

    let (_client, layer) = layer(IDENTITIES * 2);
    let contexts = (0..IDENTITIES).map(|number| TokenContext::new().scopes([scope(number)]));
    let contexts = contexts.collect::<Result<Vec<_>>>().unwrap();
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    let service = layer.layer(inner);
    drop(layer);
    // As a server's loop that accepts connections: a clone for each, which the connection's task keeps.
    let clones: Vec<_> = (0..CLONES).map(|_| service.clone()).collect();
    let used = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut clones = clones.into_iter();
        let mut kept = Vec::with_capacity(CLONES);
        let mut serve = |mut clone: BearerAuth<_>| {
            for context in &contexts {
                let mut request = Request::get(A).body(()).unwrap();
                request.extensions_mut().insert(context.clone());
                runtime.block_on(clone.call(request)).unwrap();
            }
            kept.push(clone);
        };
        // The first has the tokens fetched.
        serve(clones.next().unwrap());
        let measured = allocation_counter::measure(|| clones.for_each(&mut serve));
        measured.bytes_current / (CLONES as i64 - 1)
    });
    let each = used.join().unwrap();
    assert!(each < 4_096, "{each} bytes by each clone");
}

#[test]
fn threads_that_share_a_stripe_allocate_nothing_on_cached_tokens_and_lose_no_count() {
    const MANY: usize = 64;
    const CALLS: usize = 20_000;

    let (client, layer) = layer(IDENTITIES * 2);
    let contexts = (0..8).map(|number| TokenContext::new().scopes([scope(number)]));
    let contexts = contexts.collect::<Result<Vec<_>>>().unwrap();
    let uri = Uri::from_static(A);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for context in &contexts {
        let mut headers = HeaderMap::new();
        let sent = layer
            .authorizer()
            .authorize_with(context, &uri, &mut headers);
        runtime.block_on(sent).unwrap();
    }
    let warm = Barrier::new(MANY);
    let call = |at: usize, headers: &mut HeaderMap| {
        headers.clear();
        let context = &contexts[at % contexts.len()];
        let decision = layer.authorizer().decide(&uri, Some(context), headers);
        assert!(matches!(decision, Decision::Ready(_)));
    };
    let allocations: u64 = thread::scope(|threads| {
        let users = (0..MANY).map(|_| {
            threads.spawn(|| {
                let mut headers = HeaderMap::new();
                (0..contexts.len()).for_each(|at| call(at, &mut headers));
                warm.wait();
                let measured = allocation_counter::measure(|| {
                    (0..CALLS).for_each(|at| call(at, &mut headers));
                });
                measured.count_total
            })
        });
        let users: Vec<_> = users.collect();
        users.into_iter().map(|user| user.join().unwrap()).sum()
    });

    let made = (contexts.len() + MANY * (contexts.len() + CALLS)) as u64;
    assert_eq!(client.stats().maskinporten.lookups.total(), made);
    assert_eq!(allocations, 0, "in {} calls", MANY * CALLS);
}
