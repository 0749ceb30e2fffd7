//! How the number of identities that a client keeps bears on looking one of them up, and what one
//! takes in memory.
//!
//! - A look-up is `MaskinportenClient`'s answer to the question that a layer or a request's own context
//!   asks: where is the token for this request kept? Nothing is fetched by it.
//! - Two clients are measured in turn, one with few identities and one with many: each pair of batches
//!   gives a ratio, and the median of the ratios is printed. A batch looks up `FEW` of the identities
//!   again and again (`hot`), as a service does that is busy with a few of its customers, or goes
//!   through all of them in no order (`all`), where the machine's own caches count as well.
//! - Memory is that of live blocks as the allocator was asked for them, when each identity has its
//!   token and has been used through a layer by one thread: the layer's table of contexts and the thread's copies
//!   of the headers count. The token's own bytes do not.
//!
//! `cargo xtask promises P7` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{HeaderMap, Uri};
use maskinporten::{
    AccessToken, Authorizer, BoxFuture, Decision, MaskinportenClient, Result, SourceIdentity,
    TokenContext, TokenKind, TokenProvider, TokenRequest, TokenSource,
};
use serde_json::json;

const FEW: usize = 10;
const MANY: usize = 100_000;
const PAIRS: usize = 60;
const BATCH: usize = 2_000;

/// As long as a token of Maskinporten's with a handful of claims.
const TOKEN_LENGTH: usize = 1_000;

#[derive(Debug)]
struct Given(SourceIdentity, String);

impl TokenSource for Given {
    fn identity(&self) -> SourceIdentity {
        self.0.clone()
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        Box::pin(async { AccessToken::new(&self.1, Duration::from_secs(3600)) })
    }
}

const SCOPES: [&str; 2] = ["altinn:serviceowner", "altinn:instances.read"];

fn resource(number: usize) -> String {
    format!("https://customer-{number}.example.no")
}

fn request(number: usize) -> TokenRequest {
    let request = TokenRequest::scopes(SCOPES).unwrap();
    request.resource(resource(number)).unwrap()
}

/// A layer's path, used once for each identity.
fn used(client: &MaskinportenClient, identities: usize) -> Authorizer {
    let authorizer = client.authorizer(SCOPES, "https://api.example.no").unwrap();
    let authorizer = authorizer.optional_context();
    let uri = Uri::from_static("https://api.example.no/");
    for number in 0..identities {
        let context = TokenContext::new().resource(resource(number)).unwrap();
        let decision = authorizer.decide(&uri, Some(&context), &mut HeaderMap::new());
        assert!(matches!(decision, Decision::Ready(_)));
    }
    authorizer
}

/// A client that keeps so many identities, each with its token.
fn client(identities: &[TokenRequest], max_identities: usize) -> MaskinportenClient {
    let source = Given(
        SourceIdentity::new("https://issuer.example.no/", "client"),
        "t".repeat(TOKEN_LENGTH),
    );
    let client = MaskinportenClient::builder()
        .source(source)
        .max_identities(max_identities)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for request in identities {
            client.access_token(request).await.unwrap();
        }
    });
    client
}

/// Nanoseconds for one look-up.
fn batch(
    client: &MaskinportenClient,
    requests: &[TokenRequest],
    step: usize,
    at: &mut usize,
) -> f64 {
    let began = Instant::now();
    for _ in 0..BATCH {
        *at = (*at + step) % requests.len();
        black_box(
            client
                .token(&requests[*at], TokenKind::Maskinporten)
                .unwrap(),
        );
    }
    began.elapsed().as_secs_f64() * 1e9 / BATCH as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let few: Vec<_> = (0..FEW).map(request).collect();
    let many: Vec<_> = (0..MANY).map(request).collect();

    let small = client(&few, MANY);
    let mut large = None;
    let memory = allocation_counter::measure(|| {
        // And one for the layer's own token.
        let client = client(&many, MANY + 1);
        large = Some((used(&client, MANY), client));
    });
    let (_layer, large) = large.unwrap();
    let each = memory.bytes_current as f64 / MANY as f64 - TOKEN_LENGTH as f64;

    let (mut at_small, mut at_hot, mut at_all) = (0, 0, 0);
    let (mut hot, mut all) = (Vec::new(), Vec::new());
    let mut samples = Vec::new();
    for _ in 0..PAIRS {
        let base = batch(&small, &few, 1, &mut at_small);
        let of_few = batch(&large, &many[..FEW], 1, &mut at_hot);
        let base_again = batch(&small, &few, 1, &mut at_small);
        // A step that has no divisor in common with the number: every one, in no order.
        let of_all = batch(&large, &many, 7_919, &mut at_all);
        hot.push(of_few / base);
        all.push(of_all / base_again);
        samples.push(json!([base, of_few, base_again, of_all]));
    }

    let bounded = client(&many, 1_000);
    println!(
        "{}",
        json!({
            "few": FEW,
            "many": MANY,
            "pairs": PAIRS,
            "hot": median(hot),
            "all": median(all),
            "bytes_each": each,
            "cap": 1_000,
            "kept_at_most": bounded.health().good,
            "samples_ns": samples,
        })
    );
}
