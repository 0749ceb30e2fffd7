//! What can go wrong, and what happens then.

mod clocks;
mod herds;
mod outage;
mod sockets;
mod stages;
mod tls;
mod token;
mod windows;

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use maskinporten::{
    AccessToken, Error, MaskinportenClient, MaskinportenClientBuilder, MaskinportenSettings, Result,
};
use maskinporten_sim::{Fault, Route, Sim};
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_maskinporten::{BearerAuth, BoxError};

use crate::world::{self, SCOPES};

const JWK: &str = include_str!("../../vectors/keys/rsa-2048.jwk.json");

/// A flight's whole time, and one attempt's.
const FLIGHT: Duration = Duration::from_secs(10);
const ATTEMPT: Duration = Duration::from_secs(3);

/// The longest the pauses of one flight take together: up to 250 ms, then up to 500.
const PAUSES: Duration = Duration::from_millis(750);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A token's last 5 %, at least 1 s and at most 30 s, are never used.
fn hard_end(life: Duration) -> Duration {
    life - life.mul_f64(0.05).clamp(seconds(1), seconds(30))
}

fn unavailable() -> Fault {
    Fault::status(StatusCode::SERVICE_UNAVAILABLE)
}

/// A refusal or failure with these headers and no body.
fn answer(status: u16, headers: &[(&'static str, &str)]) -> Fault {
    let pair = |(name, value): &(&'static str, &str)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    };
    let headers: HeaderMap = headers.iter().map(pair).collect();
    Fault::answer(StatusCode::from_u16(status).unwrap(), headers, "")
}

/// A service that calls the simulator's API through a layer.
struct App {
    sim: Sim,
    client: MaskinportenClient,
    api: BearerAuth<Sim>,
}

impl App {
    fn new() -> Self {
        Self::in_world(Sim::new())
    }

    fn with_tokens_of(life: Duration) -> Self {
        Self::in_world(Sim::builder().token_lifetime(life).build())
    }

    fn in_world(sim: Sim) -> Self {
        Self::of_parts(sim, |builder| builder)
    }

    /// The same with parts of the test's own.
    fn of_parts(
        sim: Sim,
        parts: impl FnOnce(MaskinportenClientBuilder) -> MaskinportenClientBuilder,
    ) -> Self {
        let registered = sim.new_client(SCOPES);
        let client = parts(world::builder(&sim, &registered)).build().unwrap();
        let api = world::layer(&client).layer(sim.clone());
        Self { sim, client, api }
    }

    async fn token(&self) -> Result<AccessToken> {
        self.client.access_token(SCOPES).await
    }

    /// One request to the API; the error is the engine's own.
    fn call(&self) -> impl Future<Output = Result<()>> + use<> {
        let request = world::get(self.sim.api_url());
        let call = self.api.clone().oneshot(request);
        async { accepted(call.await) }
    }

    fn token_requests(&self) -> usize {
        self.sim.journal().token_requests()
    }

    /// When each token request arrived, counted from a moment.
    fn token_request_times(&self, from: SystemTime) -> Vec<Duration> {
        let since = |time: SystemTime| time.duration_since(from).unwrap();
        let journal = self.sim.journal();
        journal
            .requests(Route::Token)
            .map(|request| since(request.time()))
            .collect()
    }

    /// How long from now an error says to wait.
    fn wait(&self, error: &Error) -> Duration {
        let at = error.retry_at().expect("a remembered error says when");
        at.duration_since(self.sim.clock().now()).unwrap()
    }

    /// No request reached the API with a token whose time was up by the world's own clock.
    #[track_caller]
    fn assert_no_expired_token_was_sent(&self) {
        for request in self.sim.journal().requests(Route::Api) {
            let claims = &request.authorization().expect("never anonymous")["claims"];
            let ends = UNIX_EPOCH + seconds(claims["exp"].as_u64().unwrap());
            let late = request.time().duration_since(ends);
            assert!(late.is_err(), "sent {late:?} after its end");
        }
    }
}

#[track_caller]
fn accepted(outcome: Result<Response<maskinporten_sim::Body>, BoxError>) -> Result<()> {
    match outcome {
        Ok(response) => {
            assert_eq!(response.status(), StatusCode::OK, "what the API made of it");
            Ok(())
        }
        Err(error) => Err(Error::find_in(&*error).expect("an error of ours").clone()),
    }
}

/// A client whose token server is at this address, over the default transport.
fn client_of(token_endpoint: &str) -> MaskinportenClientBuilder {
    MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
        .token_endpoint(token_endpoint)
}

/// An error that whoever reads it can act on.
#[track_caller]
fn assert_it_advises(error: &Error) {
    assert!(!error.to_string().is_empty());
    assert!(
        error.hint().is_some_and(|hint| !hint.is_empty()),
        "{error:?}"
    );
}

/// One claim of every assertion that reached the token endpoint.
fn claims(sim: &Sim, claim: &str) -> Vec<Value> {
    let journal = sim.journal();
    journal
        .requests(Route::Token)
        .map(|request| request.assertion_claims().unwrap()[claim].clone())
        .collect()
}
