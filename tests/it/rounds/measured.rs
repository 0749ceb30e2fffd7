//! Organisations in rounds, through one client: how many calls find their token there.
//!
//! It needs a runtime whose time is paused, and nothing else of these tests: a program that prints the
//! figures can read this very file.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::{HeaderMap, Uri};
use maskinporten::{
    AccessToken, Authorizer, BoxFuture, MaskinportenClient, OrganisationNumber, Result,
    SourceIdentity, TokenContext, TokenRequest, TokenSource, TokioClock,
};
use tokio::time::sleep;

/// The life of a token.
pub(crate) const LIFE: Duration = Duration::from_secs(120);

/// The time of the token server for one.
pub(crate) const SERVER: Duration = Duration::from_millis(20);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) organisations: usize,
    /// None for the default.
    pub(crate) max_identities: Option<usize>,
    pub(crate) rounds: usize,
    /// How many calls are under way at once.
    pub(crate) at_once: usize,
    /// How long there are no calls between two rounds. Less than the time between the renewal of a token and
    /// its end, or no round would come in between.
    pub(crate) pause: Duration,
}

/// What came of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) calls: u64,
    /// Calls whose token was there, renewed meanwhile or not.
    pub(crate) hits: u64,
    /// Good tokens that were evicted.
    pub(crate) evicted: u64,
}

/// The rounds one after another, and the client as it is then.
pub(crate) async fn measured(of: Rounds) -> (Vec<Round>, MaskinportenClient) {
    let builder = MaskinportenClient::builder()
        .source(Server(SourceIdentity::new("server", "supplier")))
        .clock(TokioClock::starting_at(SystemTime::UNIX_EPOCH));
    let builder = match of.max_identities {
        Some(count) => builder.max_identities(count),
        None => builder,
    };
    let client = builder.build().unwrap();
    let authorizer = client
        .authorizer(["a:read"], "https://api.example.no")
        .unwrap();
    let contexts = contexts(of.organisations);
    let mut rounds = Vec::new();
    let mut before = Round::default();
    for _ in 0..of.rounds {
        for contexts in contexts.chunks(of.at_once) {
            join_all(contexts.iter().map(|context| call(&authorizer, context))).await;
        }
        let stats = client.stats().maskinporten;
        let now = Round {
            calls: stats.lookups.total(),
            hits: stats.cached(),
            evicted: stats.evicted,
        };
        rounds.push(Round {
            calls: now.calls - before.calls,
            hits: now.hits - before.hits,
            evicted: now.evicted - before.evicted,
        });
        before = now;
        sleep(of.pause).await;
    }
    (rounds, client)
}

/// One context for each of so many organisations.
pub(crate) fn contexts(count: usize) -> Vec<TokenContext> {
    (810_000_000..)
        .filter_map(|number: u32| number.to_string().parse::<OrganisationNumber>().ok())
        .map(|number| TokenContext::new().consumer_org(number).unwrap())
        .take(count)
        .collect()
}

async fn call(authorizer: &Authorizer, context: &TokenContext) {
    let uri = Uri::from_static("https://api.example.no/");
    let mut headers = HeaderMap::new();
    authorizer
        .authorize_with(context, &uri, &mut headers)
        .await
        .unwrap();
}

/// A token server without a network.
#[derive(Debug)]
struct Server(SourceIdentity);

impl TokenSource for Server {
    fn identity(&self) -> SourceIdentity {
        self.0.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async {
            sleep(SERVER).await;
            AccessToken::new("token", LIFE)
        })
    }
}
