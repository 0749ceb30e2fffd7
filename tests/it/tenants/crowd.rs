//! Crowds: very many identities at once, most of whose callers have given up or are impatient. In virtual time, with
//! a token source that signs nothing.
//!
//! It needs a runtime whose time is paused, and nothing else of these tests: a program that prints the figures can
//! read this very file.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, Uri};
use maskinporten::{
    AccessToken, Authorizer, BoxFuture, MaskinportenClient, OrganisationNumber, Result,
    SourceIdentity, TokenContext, TokenRequest, TokenSource, TokioClock,
};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// The life of a token.
const LIFE: Duration = Duration::from_secs(120);

/// A token server without a network.
#[derive(Debug)]
struct Server {
    identity: SourceIdentity,
    takes: Duration,
}

impl TokenSource for Server {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async {
            sleep(self.takes).await;
            AccessToken::new("token", LIFE)
        })
    }
}

/// What it costs to ask for the tokens of so many organisations at the same moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtOnce {
    pub(crate) served: usize,
    /// The time until the last was served, and the least that the server's time and the permits allow.
    pub(crate) took: Duration,
    pub(crate) ideal: Duration,
}

/// `permits` is none for the default.
pub(crate) async fn at_once(
    organisations: usize,
    permits: Option<usize>,
    takes: Duration,
) -> AtOnce {
    let client = client(takes, permits);
    let authorizer = authorizer(&client);
    let contexts = contexts(organisations);
    let began = Instant::now();
    let calls = contexts.iter().map(|context| call(&authorizer, context));
    let outcomes = join_all(calls).await;
    AtOnce {
        served: outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        took: began.elapsed(),
        ideal: ideal(organisations, permits, takes),
    }
}

/// Callers with less patience than the server needs: each asks again until it is served. Two for each organisation.
pub(crate) async fn impatient(organisations: usize, patience: Duration, takes: Duration) -> AtOnce {
    let client = client(takes, None);
    let authorizer = authorizer(&client);
    let contexts = contexts(organisations);
    let began = Instant::now();
    let calls = contexts.iter().chain(&contexts).map(|context| {
        let authorizer = &authorizer;
        async move {
            loop {
                if let Ok(outcome) = timeout(patience, call(authorizer, context)).await {
                    return outcome;
                }
            }
        }
    });
    let outcomes = join_all(calls).await;
    AtOnce {
        served: outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        took: began.elapsed(),
        ideal: ideal(organisations, None, takes),
    }
}

/// What a flood of one tenant's contexts does to those who stay, and to others.
#[derive(Debug)]
pub(crate) struct Flood {
    /// Of the callers that did not give up, how many were served.
    pub(crate) served: usize,
    /// How long another tenant waited for its first token.
    pub(crate) first_token: Duration,
    /// How often a warm token was asked for meanwhile, and how often it was not there.
    pub(crate) warm: usize,
    pub(crate) warm_failures: usize,
    /// The most identities that waited for their turn.
    pub(crate) most_waiting: usize,
    /// The most tasks that lived.
    pub(crate) most_tasks: usize,
    /// The client, with all that it keeps.
    pub(crate) client: MaskinportenClient,
}

/// When the callers of a crowd give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// Each when it has asked, before the next one asks.
    OneByOne,
    /// All when the last has asked.
    AtOnce,
}

/// So many contexts of one tenant at once, all of whose callers give up but for `stay`.
pub(crate) async fn flood(count: usize, stay: usize, give_up: GiveUp, takes: Duration) -> Flood {
    let client = client(takes, None);
    let authorizer = authorizer(&client);
    let [troubled, warm, other] = &contexts(3)[..] else {
        unreachable!("three were asked for")
    };
    call(&authorizer, warm).await.unwrap();
    let (mut staying, mut leaving) = (Vec::with_capacity(stay), Vec::new());
    let (mut most_waiting, mut most_tasks) = (0, 0);
    let metrics = tokio::runtime::Handle::current().metrics();
    for number in 0..count {
        let context = troubled.clone();
        let context = context.resource(format!("urn:crowd:{number}")).unwrap();
        let authorizer = authorizer.clone();
        let mut asked = Box::pin(async move { call(&authorizer, &context).await });
        assert!(asked.as_mut().now_or_never().is_none(), "it was there");
        if number % (count / stay) == 0 {
            staying.push(asked);
        } else if give_up == GiveUp::AtOnce {
            leaving.push(asked);
        }
        if number % 100 == 0 {
            most_waiting = most_waiting.max(client.health().waiting);
            most_tasks = most_tasks.max(metrics.num_alive_tasks());
        }
    }
    drop(leaving);
    let warm = async {
        let (mut asked, mut failures) = (0, 0);
        for _ in 0..1_500 {
            asked += 1;
            failures += usize::from(call(&authorizer, warm).await.is_err());
            sleep(Duration::from_millis(100)).await;
        }
        (asked, failures)
    };
    let first = async {
        let began = Instant::now();
        call(&authorizer, other).await.unwrap();
        began.elapsed()
    };
    let stayed = join_all(staying);
    let (stayed, first_token, (warm, warm_failures)) = tokio::join!(stayed, first, warm);
    yield_now().await;
    Flood {
        served: stayed.iter().filter(|outcome| outcome.is_ok()).count(),
        first_token,
        warm,
        warm_failures,
        most_waiting,
        most_tasks,
        client,
    }
}

/// How long so many fetches take at least.
fn ideal(count: usize, permits: Option<usize>, takes: Duration) -> Duration {
    let rounds = count.div_ceil(permits.unwrap_or(32));
    takes * u32::try_from(rounds).unwrap()
}

fn client(takes: Duration, permits: Option<usize>) -> MaskinportenClient {
    let server = Server {
        identity: SourceIdentity::new("server", "supplier"),
        takes,
    };
    let builder = MaskinportenClient::builder()
        .source(server)
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH));
    let builder = match permits {
        Some(permits) => builder.max_concurrent_fetches(permits),
        None => builder,
    };
    builder.build().unwrap()
}

fn authorizer(client: &MaskinportenClient) -> Authorizer {
    client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap()
        .optional_context()
}

/// One context for each of so many organisations.
fn contexts(count: usize) -> Vec<TokenContext> {
    (810_000_000..)
        .filter_map(|number: u32| number.to_string().parse::<OrganisationNumber>().ok())
        .map(|number| TokenContext::new().consumer_org(number).unwrap())
        .take(count)
        .collect()
}

async fn call(authorizer: &Authorizer, context: &TokenContext) -> Result<()> {
    let uri = Uri::from_static("https://api.example.no/");
    let mut headers = HeaderMap::new();
    let authorized = authorizer.authorize_with(context, &uri, &mut headers);
    authorized.await.map(drop)
}
