//! The layer as middleware of `reqwest-middleware`, which keeps `.send()`.
//!
//! `cargo run --example reqwest_middleware` calls an API, acts for a customer, and has its token revoked. Copy the
//! first lines of `main`.

mod demo;

use demo::{BoxError, check};
use maskinporten_sim::SimServer;
use reqwest_middleware::ClientBuilder;
use serde_json::Value;
use tower_maskinporten::maskinporten::TokenContext;
use tower_maskinporten::{MaskinportenAuthLayer, same_origin_redirects};

const SCOPE: &str = "altinn:instances.read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = demo::world([SCOPE]).await?;
    let url = server.sim().api_url();

    let layer = MaskinportenAuthLayer::new(&client, [SCOPE], server.url())?.optional_context();
    let requests = reqwest::Client::builder()
        .redirect(same_origin_redirects())
        // Nothing here is beyond this machine.
        .no_proxy()
        .build()?;
    let http = ClientBuilder::new(requests)
        // Tracing and retries come first: the first is outermost, so that each attempt asks for the token.
        .with(layer.replay_on_unauthorized())
        .build();

    println!("1. A call");
    let shown: Value = http.get(&url).send().await?.json().await?;
    let own = &shown["claims"]["consumer"]["ID"];
    println!("   with the token of {own}");
    check("it is our own", own == "0192:991825827")?;

    println!("2. The same on behalf of a customer");
    server.sim().delegate(CUSTOMER, "991825827", SCOPE);
    let on_behalf_of = TokenContext::new().consumer_org(CUSTOMER)?;
    let request = http.get(&url).with_extension(on_behalf_of);
    let shown: Value = request.send().await?.json().await?;
    let consumer = &shown["claims"]["consumer"]["ID"];
    println!("   with the token of {consumer}");
    check("it is the customer's", consumer == "0192:311169963")?;

    println!("3. A token that is revoked");
    server.sim().revoke_all();
    let before = calls_and_tokens(&server);
    let status = http
        .post(&url)
        .body("a new instance")
        .send()
        .await?
        .status();
    let after = calls_and_tokens(&server);
    println!("   {status}, sent twice, with a new token");
    check("the API accepts it", status.is_success())?;
    check(
        "it was sent once more",
        after == (before.0 + 2, before.1 + 1),
    )
}

// ===== what is only here to run it =====

const CUSTOMER: &str = "311169963";

fn calls_and_tokens(server: &SimServer) -> (usize, usize) {
    let journal = server.sim().journal();
    (journal.api_calls(), journal.grants())
}
