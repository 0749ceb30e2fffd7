//! The layer over reqwest's client.
//!
//! `cargo run --example reqwest_client`. Copy the first lines of `main`. Who would rather keep `.send()` has the
//! same layer as middleware, in `reqwest_middleware.rs`.

mod demo;

use demo::{BoxError, check};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maskinporten_sim::{Fault, Route};
use serde::Deserialize;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{MaskinportenAuthLayer, same_origin_redirects};

const SCOPE: &str = "krr:read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = demo::world([SCOPE]).await?;

    let layer = MaskinportenAuthLayer::new(&client, [SCOPE], server.url())?;
    let requests = reqwest::Client::builder()
        // Follows what stays at a listed origin, and nothing else. reqwest's own policy would do otherwise.
        .redirect(same_origin_redirects())
        // Nothing here is beyond this machine.
        .no_proxy()
        .build()?;
    let mut http = layer.layer(requests.clone());

    println!("1. A request that reqwest builds, and an answer that reqwest reads");
    let request = requests.get(server.sim().api_url()).build()?;
    let response = http.ready().await?.call(request).await?;
    let shown: Shown = response.json().await?;
    println!(
        "   the API saw a token with the scope {}",
        shown.claims.scope
    );
    check(
        "it is the one that was asked for",
        shown.claims.scope == SCOPE,
    )?;

    println!("2. An address that has moved to somebody else");
    let location = HeaderValue::from_static("https://somebody.example/api");
    let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
    let moved = Fault::answer(StatusCode::TEMPORARY_REDIRECT, headers, "");
    server.sim().fault(Route::Api, moved.times(1));
    let request = requests.get(server.sim().api_url()).build()?;
    let status = http.ready().await?.call(request).await?.status();
    println!("   {status}: the hop is not taken");
    check(
        "the caller sees it",
        status == StatusCode::TEMPORARY_REDIRECT,
    )
}

/// What the API of the simulator answers: the claims of the token it was shown.
#[derive(Deserialize)]
struct Shown {
    claims: Claims,
}

#[derive(Deserialize)]
struct Claims {
    scope: String,
}
