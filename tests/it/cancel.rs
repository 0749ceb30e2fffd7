//! A caller that gives up, at whatever moment: nobody else's affair.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, Request, Response, Uri};
use maskinporten::{Decision, MaskinportenClient, TokenRequest};
use maskinporten_sim::{Body, Disconnected, Fault, Route, Sim};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, MaskinportenAuthLayer};

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

// ===== every poll there is =====

/// What the callers of one identity find when they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// No token yet.
    Cold,
    /// One that is past its soft point.
    Ageing,
    /// One that an API does not accept any more, as its 401 is about to tell.
    Rejected,
}

/// The ways to ask for a token, by hand, with headers of one's own, and through either layer.
#[derive(Clone, Copy, Debug)]
enum Door {
    AccessToken,
    AltinnToken,
    Authorize,
    Layer,
    AltinnLayer,
}

impl Door {
    const ALL: [Self; 5] = [
        Self::AccessToken,
        Self::AltinnToken,
        Self::Authorize,
        Self::Layer,
        Self::AltinnLayer,
    ];

    fn is_altinn(self) -> bool {
        matches!(self, Self::AltinnToken | Self::AltinnLayer)
    }

    fn is_layer(self) -> bool {
        matches!(self, Self::Layer | Self::AltinnLayer)
    }

    /// One call, and the token it went with.
    fn call(self, sim: &Sim, client: &MaskinportenClient) -> Pin<Box<dyn Future<Output = String>>> {
        let (sim, client) = (sim.clone(), client.clone());
        let origin = sim.altinn_platform();
        match self {
            Self::AccessToken => Box::pin(async move {
                let token = client.access_token(["a:read"]).await.unwrap();
                token.expose().to_owned()
            }),
            Self::AltinnToken => Box::pin(async move {
                let token = client.altinn_token(["a:read"]).await.unwrap();
                token.expose().to_owned()
            }),
            Self::Authorize => Box::pin(async move {
                let authorizer = client.authorizer(["a:read"], &origin).unwrap();
                let mut headers = HeaderMap::new();
                let uri: Uri = sim.api_url().parse().unwrap();
                authorizer.authorize(&uri, &mut headers).await.unwrap();
                bearer_in(&headers)
            }),
            Self::Layer => {
                let layer = MaskinportenAuthLayer::new(&client, ["a:read"], &origin);
                Box::pin(sent_through(layer.unwrap(), sim))
            }
            Self::AltinnLayer => {
                let layer = AltinnAuthLayer::new(&client, ["a:read"], &origin);
                Box::pin(sent_through(layer.unwrap(), sim))
            }
        }
    }
}

fn bearer_in(headers: &HeaderMap) -> String {
    let value = headers["authorization"].to_str().unwrap();
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

async fn sent_through<L>(layer: L, sim: Sim) -> String
where
    L: Layer<Recording, Service = BearerAuth<Recording>>,
{
    let recording = Recording(sim.clone(), Arc::default());
    let sent = Arc::clone(&recording.1);
    let answered = layer.layer(recording).oneshot(world::get(sim.api_url()));
    answered.await.unwrap();
    let sent = sent.lock().unwrap().take();
    sent.unwrap()
}

/// On to the simulator's API, with the token written down.
#[derive(Clone)]
struct Recording(Sim, Arc<Mutex<Option<String>>>);

impl Service<Request<Body>> for Recording {
    type Response = Response<Body>;
    type Error = Disconnected;
    type Future = maskinporten_sim::ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        *self.1.lock().unwrap() = Some(bearer_in(request.headers()));
        self.0.call(request)
    }
}

/// A slow world as a caller finds it, in which every token fetched from now on is counted.
async fn found(found: Found, door: Door) -> (Sim, MaskinportenClient) {
    let (sim, client) = slow();
    sim.fault(Route::Api, Fault::latency(Duration::from_millis(80)));
    if found != Found::Cold {
        door.call(&sim, &client).await;
        let life = if door.is_altinn() { 1_800 } else { 120 };
        // Past the latest soft point, or well before the earliest.
        let share = if found == Found::Ageing { 81 } else { 30 };
        sleep(Duration::from_secs(life * share / 100)).await;
    }
    if found == Found::Rejected {
        sim.revoke_all();
    }
    sim.clear_journal();
    (sim, client)
}

/// Three callers, each dropped after so many of its polls; checks what is left of them.
async fn check_drops(of: Found, door: Door, polls: [usize; 3]) -> bool {
    let (sim, client) = found(of, door).await;
    let calls = polls.map(|polls| drop_after(polls, door.call(&sim, &client)));
    let done = join_all(calls).await;
    // What they have begun goes on without them.
    sleep(Duration::from_secs(1)).await;
    let at = format!("{of:?} {door:?} dropped at {polls:?}");
    let has_begun = polls.iter().any(|polls| *polls > 0);
    let journal = sim.journal();
    let fetched = match door.is_altinn() {
        true => journal.exchanges(),
        false => journal.grants(),
    };
    // A 401 is heard of by those who stayed for the answer, and only through a layer.
    let hears = door.is_layer()
        && journal
            .requests(Route::Api)
            .any(|call| call.status().is_some());
    let expected = match of {
        Found::Cold | Found::Ageing => has_begun,
        Found::Rejected => hears,
    };
    assert_eq!(fetched, usize::from(expected), "{at}");
    assert_eq!(journal.token_requests(), journal.grants(), "{at}");
    assert!(journal.grants() <= 1, "{at}");

    // Whoever comes now is served by what they began, and begins only what they did not.
    for _ in 0..2 {
        door.call(&sim, &client).await;
        sleep(Duration::from_secs(1)).await;
    }
    let is_heard = of != Found::Rejected || door.is_layer();
    let journal = sim.journal();
    let fetched = match door.is_altinn() {
        true => journal.exchanges(),
        false => journal.grants(),
    };
    assert_eq!(fetched, usize::from(is_heard), "{at}, and then asked for");
    done.into_iter().all(|done| done)
}

#[tokio::test(start_paused = true)]
async fn any_of_three_callers_dropped_at_any_poll_finish_what_they_began_and_no_more() {
    for door in Door::ALL {
        for of in [Found::Cold, Found::Ageing, Found::Rejected] {
            let mut polls = 0;
            loop {
                // Alone, and in company: whoever is not dropped stays to the end.
                check_drops(of, door, [polls, 0, 0]).await;
                let mut done = true;
                for dropped in 1..8 {
                    let polls = [0, 1, 2].map(|caller| match dropped >> caller & 1 {
                        1 => polls,
                        _ => usize::MAX,
                    });
                    done &= check_drops(of, door, polls).await;
                }
                if done {
                    break;
                }
                polls += 1;
            }
            // Round trips of 80 ms, looked at every 20: metadata, grant, exchange, and the API's own.
            let (shortest, longest) = match of {
                Found::Cold => (8, 21),
                _ if door.is_layer() => (4, 6),
                _ => (1, 1),
            };
            assert!(
                (shortest..=longest).contains(&polls),
                "{door:?} {of:?}: {polls}"
            );
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
    let uri = Uri::from_static("https://api.example.no/x");
    let decide = |headers: &mut HeaderMap| authorizer.decide(&uri, None, headers);
    let look = async || {
        let decision = decide(&mut HeaderMap::new());
        assert!(matches!(decision, Decision::Pending(_)));
        let mut request = Request::get(&uri).body(()).unwrap();
        assert!(authorizer.authorize_now(&mut request).is_none());
        drop(decision);
        sleep(Duration::from_secs(1)).await;
    };
    look().await;
    assert!(sim.journal().entries().is_empty());

    // Neither does one that finds a spent one.
    let decision = decide(&mut HeaderMap::new());
    let _ = decision.finish(&mut HeaderMap::new()).await.unwrap();
    let decision = decide(&mut HeaderMap::new());
    assert!(matches!(decision, Decision::Ready(_)));
    sleep(Duration::from_secs(120)).await;
    look().await;
    assert_eq!(sim.journal().token_requests(), 1);
}
