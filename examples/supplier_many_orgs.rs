//! A supplier that acts for many organisations, over one HTTP client.
//!
//! `cargo run --example supplier_many_orgs` makes calls for 64 organisations, interleaved, and looks at each
//! answer: whose token was it? Copy the stack, and `call`.

mod demo;

use bytes::Bytes;
use demo::{BoxError, check};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Request;
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_maskinporten::maskinporten::{Error, TokenContext};
use tower_maskinporten::{BearerAuth, MaskinportenAuthLayer};

const SCOPE: &str = "altinn:instances.read";

type HttpClient = BearerAuth<Client<HttpConnector, Empty<Bytes>>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = demo::world([SCOPE]).await?;
    let organisations = organisations(64);
    for organisation in &organisations {
        server.sim().delegate(organisation, SUPPLIER, SCOPE);
    }

    let origin = server.url();
    // A request that does not say whose it is has no token, rather than the supplier's own.
    let layer = MaskinportenAuthLayer::new(&client, [SCOPE], &origin)?.require_context();
    let http: HttpClient = layer.layer(Client::builder(TokioExecutor::new()).build_http());

    // Ten rounds of all of them, so that no organisation's calls stand together.
    let url = server.sim().api_url();
    let rounds = organisations.iter().cycle().take(10 * organisations.len());
    let calls = rounds.map(|organisation| call(http.clone(), &url, organisation));
    let own = stream::iter(calls).buffer_unordered(100);
    let own: Vec<bool> = own.try_collect().await?;

    let (calls, grants) = (own.len(), server.sim().journal().grants());
    let foreign = own.iter().filter(|own| !**own).count();
    println!("{calls} calls for {} organisations", organisations.len());
    println!("{foreign} with a token of somebody else, {grants} tokens in all");
    check("each had its own organisation's token", foreign == 0)?;
    check("each organisation's token was asked for once", grants == 64)?;

    match http.oneshot(Request::get(&url).body(Empty::new())?).await {
        Ok(_) => check("a call for nobody is refused", false),
        Err(error) => {
            println!("a call for nobody: {error}");
            check("that is our error", Error::find_in(&*error).is_some())
        }
    }
}

/// One call on behalf of an organisation, and whether its token was that organisation's.
async fn call(http: HttpClient, url: &str, organisation: &str) -> Result<bool, BoxError> {
    // It travels with the request: nothing is set on the client that another call could see.
    let on_behalf_of = TokenContext::new().consumer_org(organisation)?;
    let request = Request::get(url)
        .extension(on_behalf_of)
        .body(Empty::new())?;
    let response = http.oneshot(request).await?;
    let answer: Value = demo::json(response).await?;
    Ok(answer["claims"]["consumer"]["ID"] == format!("0192:{organisation}"))
}

// ===== what is only here to run it =====

/// Who owns the client: the organisation that the scope is delegated to.
const SUPPLIER: &str = "991825827";

/// Made-up organisation numbers whose control digit is right (modulus 11).
fn organisations(count: usize) -> Vec<String> {
    let of = |number: u32| {
        let digits = number.to_string();
        let weighted = digits.bytes().zip([3, 2, 7, 6, 5, 4, 3, 2]);
        let sum: u32 = weighted.map(|(d, w)| u32::from(d - b'0') * w).sum();
        match (11 - sum % 11) % 11 {
            10 => None,
            control => Some(format!("{number}{control}")),
        }
    };
    (81_000_000..).filter_map(of).take(count).collect()
}
