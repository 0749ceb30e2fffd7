//! How to test a service of one's own: with a simulator in place of Maskinporten and of the API.
//!
//! `cargo test -p examples test_with_sim` runs the tests, `cargo run --example test_with_sim` the same as
//! functions. Copy `world` and a test, with `maskinporten-sim` among the `dev-dependencies`. Where the HTTP client
//! is a parameter, `Sim` itself can be it: then there is no socket, and time can be paused.

mod demo;

use bytes::Bytes;
use demo::BoxError;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Fault, Protection, Route, SimServer};
use tower::{ServiceBuilder, ServiceExt};
use tower_maskinporten::maskinporten::{Error, ErrorKind, MaskinportenClient};
use tower_maskinporten::{BearerAuth, ServiceBuilderExt};

// ===== the service that is tested: it knows nothing of tests =====

/// Asks a register whether a person may be written to.
#[derive(Clone)]
struct Contacts {
    http: BearerAuth<Client<HttpConnector, Empty<Bytes>>>,
    register: String,
}

impl Contacts {
    fn new(client: &MaskinportenClient, register: &str) -> Result<Self, Error> {
        let http = ServiceBuilder::new()
            .maskinporten_authorization(client, ["krr:read"], register)?
            .service(Client::builder(TokioExecutor::new()).build_http());
        let register = register.to_owned();
        Ok(Self { http, register })
    }

    async fn may_write_to(&self, person: &str) -> Result<bool, BoxError> {
        let url = format!("{}api/persons/{person}", self.register);
        let request = Request::get(url).body(Empty::new())?;
        match self.http.clone().oneshot(request).await?.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(format!("the register answered {status}").into()),
        }
    }
}

// ===== its tests =====

/// A Maskinporten and a register that wants its tokens, and the service as a client of both.
async fn world() -> Result<(SimServer, Contacts), BoxError> {
    let server = SimServer::start().await?;
    let register = Protection::maskinporten().scope("krr:read");
    server.sim().protect("/api/persons", register);
    let registered = server.sim().new_client(["krr:read"]);
    let client = MaskinportenClient::from_settings(demo::settings(&registered)?)?;
    let contacts = Contacts::new(&client, &server.url())?;
    Ok((server, contacts))
}

#[cfg_attr(test, tokio::test)]
async fn two_people_are_looked_up_with_one_token() -> Result<(), BoxError> {
    let (server, contacts) = world().await?;
    let nobody = Fault::status(StatusCode::NOT_FOUND);
    assert!(contacts.may_write_to("1").await?);
    server.sim().fault(Route::Api, nobody.times(1));
    assert!(!contacts.may_write_to("2").await?);
    assert_eq!(server.sim().journal().token_requests(), 1);
    Ok(())
}

#[cfg_attr(test, tokio::test)]
async fn a_maskinporten_that_fails_once_is_not_noticed() -> Result<(), BoxError> {
    let (server, contacts) = world().await?;
    let away = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    server.sim().fault(Route::Token, away.times(1));
    assert!(contacts.may_write_to("1").await?);
    Ok(())
}

#[cfg_attr(test, tokio::test)]
async fn a_refusal_says_why_and_the_register_is_not_asked() -> Result<(), BoxError> {
    let (server, contacts) = world().await?;
    server.sim().not_granted("krr:read");
    let refused = contacts.may_write_to("1").await.err();
    let why = refused.as_deref().and_then(|error| Error::find_in(error));
    assert_eq!(why.map(Error::kind), Some(ErrorKind::OrganisationRejected));
    assert_eq!(why.and_then(Error::code), Some("MP-250"));
    assert_eq!(server.sim().journal().api_calls(), 0);
    Ok(())
}

// ===== what is only here to run it without a test runner =====

#[cfg(not(test))]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    two_people_are_looked_up_with_one_token().await?;
    println!("ok: two people are looked up with one token");
    a_maskinporten_that_fails_once_is_not_noticed().await?;
    println!("ok: a Maskinporten that fails once is not noticed");
    a_refusal_says_why_and_the_register_is_not_asked().await?;
    println!("ok: a refusal says why, and the register is not asked");
    Ok(())
}
