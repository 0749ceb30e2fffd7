//! Threads that act for many organisations through one layer, over a map too small for all of them, while tokens
//! are declared void: every request has the token of its own identity.

use std::convert::Infallible;
use std::future::ready;
use std::thread;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Request, Response};
use maskinporten::{
    AccessToken, BoxFuture, MaskinportenClient, Result, SourceIdentity, TokenContext, TokenRequest,
    TokenSource,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maskinporten::{BoxError, MaskinportenAuthLayer};

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
