//! The main job, end to end, with no account and no network: settings to an authorised request.
//!
//! `cargo run --example quickstart` starts a Maskinporten, an Altinn and a protected API on this
//! machine, gives itself a client there, and calls the API through both layers. It ends with 0, or
//! with another code if anything is not as it says.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Protection, SimServer};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_maskinporten::ServiceBuilderExt;
use tower_maskinporten::maskinporten::{
    AltinnSettings, Error, ErrorKind, MaskinportenClient, MaskinportenSettings,
};

type BoxError = Box<dyn StdError + Send + Sync>;

const SCOPE: &str = "altinn:serviceowner";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    println!("1. A Maskinporten, an Altinn and an API of our own");
    let server = SimServer::start().await?;
    let sim = server.sim();
    let registered = sim.new_client([SCOPE]);
    sim.protect("/api/raw", Protection::maskinporten().scope(SCOPE));
    sim.protect("/api/altinn", Protection::altinn().scope(SCOPE));
    println!(
        "   on {}, with client {}",
        server.url(),
        registered.client_id()
    );

    println!("2. Settings as Altinn Studio mounts them, and a client of them");
    let file = registered.settings_json().to_string();
    let settings = MaskinportenSettings::from_json(&file, MaskinportenSettings::DEFAULT_SECTION)?;
    println!("   {}", settings.describe());
    let client = MaskinportenClient::builder()
        .settings(settings)
        .altinn(AltinnSettings::platform(&sim.altinn_platform())?)
        .build()?;

    println!("3. One HTTP client for each layer, over hyper-util");
    let http = || Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let origin = server.url();
    let mut raw = ServiceBuilder::new()
        .maskinporten_authorization(&client, [SCOPE], &origin)?
        // Only to show what leaves: a service sees the header, and its `Debug` hides the token.
        .map_request(show_header)
        .service(http());
    let mut altinn = ServiceBuilder::new()
        .altinn_authorization(&client, [SCOPE], &origin)?
        .map_request(show_header)
        .service(http());
    call(&mut raw, &format!("{origin}api/raw")).await?;
    call(&mut altinn, &format!("{origin}api/altinn")).await?;
    let (token_requests, exchanges) = asked(&server);
    check(
        "one token request and one exchange",
        (token_requests, exchanges) == (1, 1),
    )?;

    println!("4. A second call of each: from cache");
    call(&mut raw, &format!("{origin}api/raw")).await?;
    call(&mut altinn, &format!("{origin}api/altinn")).await?;
    check("nobody was asked again", asked(&server) == (1, 1))?;
    let maskinporten = client.access_token([SCOPE]).await?.lifetime();
    let exchanged = client.altinn_token([SCOPE]).await?.lifetime();
    println!("   Maskinporten's token lives {maskinporten:?}, Altinn's {exchanged:?}");
    check("each lives its own life", maskinporten < exchanged)?;

    println!("5. A request to somebody else: refused before a token is looked up");
    let error = call(&mut raw, "https://evil.example/api").await;
    explain(error, ErrorKind::Origin)?;

    println!("6. A scope that is not on the client: refused by Maskinporten, and explained");
    let error = client.access_token(["krr:read"]).await.map_err(Into::into);
    explain(error, ErrorKind::ScopeRejected)?;

    println!("All of it went as it should.");
    Ok(())
}

/// Calls the API and expects it to accept the token.
async fn call<S, B>(http: &mut S, url: &str) -> Result<(), BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: BodyExt<Error: Into<BoxError>, Data: Send>,
{
    let request = Request::get(url).body(Empty::new())?;
    let response = http.ready().await?.call(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(Into::into)?;
    println!("   {status}, {} bytes from {url}", body.to_bytes().len());
    check("the API accepts the token", status == StatusCode::OK)
}

fn show_header(request: Request<Empty<Bytes>>) -> Request<Empty<Bytes>> {
    let shown = request.headers().get(header::AUTHORIZATION);
    println!("   authorization: {shown:?}");
    request
}

/// Token requests and exchanges that the server has seen.
fn asked(server: &SimServer) -> (usize, usize) {
    let journal = server.sim().journal();
    (journal.token_requests(), journal.exchanges())
}

/// Prints why there was no token, and what to do, and expects it to be for this reason.
fn explain<T>(outcome: Result<T, BoxError>, expected: ErrorKind) -> Result<(), BoxError> {
    let Err(error) = outcome else {
        return check("it is refused", false);
    };
    let Some(error) = Error::find_in(&*error) else {
        return Err(error);
    };
    println!("   {error}");
    println!("   hint: {}", error.hint().unwrap_or("none"));
    check("for the reason it should be", error.kind() == expected)?;
    check("with a hint", error.hint().is_some())
}

fn check(what: &str, holds: bool) -> Result<(), BoxError> {
    match holds {
        true => Ok(()),
        false => Err(format!("expected that {what}").into()),
    }
}
