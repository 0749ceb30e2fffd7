//! A caller that gives up, at whatever moment: nobody else's affair.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, Uri};
use maskinporten::{Attempt, LocalAuthorizer, MaskinportenClient, TokenRequest};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::time::{sleep, timeout};

use crate::world;

/// A world that takes its time for everything.
fn slow() -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    for route in [Route::Metadata, Route::Token, Route::Exchange] {
        sim.fault(route, Fault::latency(Duration::from_millis(80)));
    }
    let client = world::client(&sim, &registered);
    (sim, client)
}

/// Polls a future so many times, with time passing in between, and drops it; true if it was done.
async fn drop_after(polls: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if polled.is_ready() {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

/// What one caller does until it gives up.
#[derive(Clone, Copy, Debug)]
enum Call {
    AccessToken,
    AltinnToken,
    HeaderValue,
    Authorize,
}

impl Call {
    async fn make(self, client: MaskinportenClient) {
        let uri = Uri::from_static("https://api.example.no/x");
        match self {
            Self::AccessToken => drop(client.access_token(["a:read"]).await.unwrap()),
            Self::AltinnToken => drop(client.altinn_token(["a:read"]).await.unwrap()),
            Self::HeaderValue => drop(client.header_value(["a:read"]).await.unwrap()),
            Self::Authorize => {
                let authorizer = client.altinn_authorizer(["a:read"], "https://api.example.no");
                let mut headers = HeaderMap::new();
                authorizer
                    .unwrap()
                    .authorize(&uri, &mut headers)
                    .await
                    .unwrap();
                assert!(headers.contains_key("authorization"));
            }
        }
    }

    fn exchanges(self) -> usize {
        usize::from(matches!(self, Self::AltinnToken | Self::Authorize))
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_at_any_poll_neither_cancels_nor_repeats_the_fetch() {
    for call in [
        Call::AccessToken,
        Call::AltinnToken,
        Call::HeaderValue,
        Call::Authorize,
    ] {
        for company in [false, true] {
            let mut polls = 0;
            loop {
                let (sim, client) = slow();
                let done = if company {
                    let (done, ()) = tokio::join!(
                        drop_after(polls, call.make(client.clone())),
                        call.make(client.clone()),
                    );
                    done
                } else {
                    let done = drop_after(polls, call.make(client.clone())).await;
                    sleep(Duration::from_secs(1)).await;
                    let journal = sim.journal();
                    let begun = usize::from(polls > 0);
                    assert_eq!(journal.grants(), begun, "{call:?} dropped at {polls}");
                    done
                };
                // Whoever comes later finds what was fetched.
                call.make(client).await;
                let journal = sim.journal();
                let at = format!("{call:?} dropped at {polls}, company: {company}");
                assert_eq!(journal.requests(Route::Metadata).count(), 1, "{at}");
                assert_eq!(journal.token_requests(), 1, "{at}");
                assert_eq!(journal.grants(), 1, "{at}");
                assert_eq!(journal.exchanges(), call.exchanges(), "{at}");
                if done {
                    break;
                }
                polls += 1;
            }
            // Two or three round trips of 80 ms, looked at every 20.
            assert!((8..=16).contains(&polls), "{call:?}: {polls}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_with_less_patience_than_the_server_are_served_all_the_same() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:read"]);
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(80)));
    let client = world::client(&sim, &registered);

    let mut served = 0;
    for _ in 0..1_000 {
        let call = timeout(Duration::from_millis(50), client.access_token(["a:read"]));
        served += usize::from(matches!(call.await, Ok(Ok(_))));
    }
    assert!(served >= 990, "{served}");
    assert_eq!(sim.journal().token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_callers_drop_harms_another() {
    let (sim, client) = slow();
    let request = TokenRequest::scopes(["a:read"]).unwrap();
    let calls = (0..300_u64).map(|number| {
        let (client, request) = (client.clone(), request.clone());
        async move {
            // They come and go all through the fetch; every third one stays.
            sleep(Duration::from_millis(number % 100)).await;
            let patience =
                Duration::from_millis(if number % 3 == 0 { 10_000 } else { number % 70 });
            let call = timeout(patience, client.altinn_token(request)).await;
            (number, call)
        }
    });
    for (number, call) in join_all(calls).await {
        match call {
            Ok(token) => drop(token.unwrap()),
            Err(_) => assert_ne!(number % 3, 0),
        }
    }
    assert_eq!(
        (sim.journal().token_requests(), sim.journal().exchanges()),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_authorisation_leaves_the_headers_as_they_were() {
    let (_sim, client) = slow();
    let authorizer = client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap();
    let uri = Uri::from_static("https://api.example.no/x");
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer own".parse().unwrap());
    let call = authorizer.authorize(&uri, &mut headers);
    assert!(timeout(Duration::from_millis(50), call).await.is_err());
    assert_eq!(headers["authorization"], "Bearer own");
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_for_a_token_and_does_not_wait_fetches_none() {
    let (sim, client) = slow();
    let authorizer = client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap();
    let mut local = authorizer.local();
    let look = async |local: &mut LocalAuthorizer| {
        let mut headers = HeaderMap::new();
        assert!(matches!(authorizer.try_set(&mut headers), Attempt::Wait));
        assert!(matches!(local.try_set(&mut headers), Attempt::Wait));
        drop(authorizer.acquire());
        sleep(Duration::from_secs(1)).await;
    };
    look(&mut local).await;
    assert!(sim.journal().entries().is_empty());

    // Neither does one that finds a spent one.
    let _ = authorizer.acquire().await.unwrap();
    let mut headers = HeaderMap::new();
    assert!(matches!(local.try_set(&mut headers), Attempt::Set(_)));
    sleep(Duration::from_secs(120)).await;
    look(&mut local).await;
    assert_eq!(sim.journal().token_requests(), 1);
}
