//! The servers and the API, the way there, and what goes wrong on it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use maskinporten::{
    BoxFuture, KeyReference, Result, Signer, SigningAlgorithm, SigningKey, Transport,
};
use maskinporten_sim::{Body, ClientRegistration, Sim, SimClient};
use tower::{ServiceExt, service_fn};
use tower_maskinporten::BoxError;

use super::callers::Caller;
use super::judge::identity_in;
use super::plan::{CONSUMERS, Identity, SCOPES};
use super::{FORCED_EVERY, HOUR, World};
use crate::wire::Jws;

impl World {
    pub(super) fn transport(&self) -> Transport {
        let world = self.clone();
        Transport::new(service_fn(move |request: Request<Bytes>| {
            let world = world.clone();
            async move { world.travel(request).await }
        }))
    }

    async fn travel(self, request: Request<Bytes>) -> Result<Response<Body>, BoxError> {
        self.count(&request);
        {
            let mut trouble = self.trouble.lock().unwrap();
            if trouble.panics > 0 {
                trouble.panics -= 1;
                drop(trouble);
                std::panic::resume_unwind(Box::new("planted"));
            }
            if trouble.cut_off {
                return Err("no route to host".into());
            }
        }
        let answer = self.sim().oneshot(request.map(Body::from)).await;
        self.read_journal();
        Ok(answer?)
    }

    /// Enters a request for a token in the account of the identity that it is for.
    fn count(&self, request: &Request<Bytes>) {
        let (identity, is_exchange) = if let Some(assertion) = Jws::in_form(request) {
            let claims = assertion.claims;
            let text = |claim: &str| claims[claim].as_str().map(str::to_owned);
            let scope = text("scope").unwrap();
            let identity = Identity {
                altinn: scope.starts_with("soak:parent"),
                client: text("iss").unwrap(),
                scope,
                consumer: text("consumer_org"),
                audience: text("resource"),
            };
            (identity, false)
        } else if let Some(bearer) = request.headers().get(AUTHORIZATION) {
            let token = bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap();
            let identity = identity_in(&Jws::parse(token).claims);
            (
                Identity {
                    altinn: true,
                    ..identity
                },
                true,
            )
        } else {
            return;
        };
        let Some(who) = self.identities.iter().position(|known| *known == identity) else {
            return self.wrong(format_args!("a request for {identity:?}"));
        };
        let account = &mut self.seen().accounts[who];
        match is_exchange {
            true => account.exchanged += 1,
            false => account.sent += 1,
        }
    }

    /// Every eighth token is judged, and all of them after a day when they were revoked.
    pub(super) async fn api(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let Caller(who, number) = *request.extensions().get::<Caller>().unwrap();
        self.arrives(who, request.headers());
        let now = self.now();
        if number % 8 != 0 && now > self.trouble.lock().unwrap().revoked_until {
            return Ok(Response::new(Body::empty()));
        }
        let response = self.sim().oneshot(request).await?;
        self.sim().clear_journal();
        if response.status() == StatusCode::UNAUTHORIZED {
            let mut seen = self.seen();
            seen.rejected += 1;
            let account = &mut seen.accounts[who];
            if now >= account.forced_until {
                account.forced += 1;
                account.forced_until = now + FORCED_EVERY;
            }
        }
        Ok(response)
    }

    /// New servers, which know the clients and remember nothing.
    pub(super) fn redeploy(&self, seed: u64) {
        self.read_journal();
        let sim = servers(seed, self.sim().clock().now());
        register(&sim, &self.clients);
        *self.sim.lock().unwrap() = sim;
    }
}

pub(super) fn servers(seed: u64, start: SystemTime) -> Sim {
    let sim = Sim::builder().seed(seed).start_at(start);
    sim.token_lifetime(2 * HOUR).build()
}

pub(super) fn register(sim: &Sim, clients: &[SimClient]) {
    for client in clients {
        let registration = ClientRegistration::new(client.client_id());
        let registration = registration.scopes(SCOPES.map(|(scope, _)| scope));
        sim.add_client(registration.key(client.public_jwk()).unwrap());
    }
    for (scope, life) in SCOPES {
        sim.scope_lifetime(scope, Duration::from_secs(life));
        for consumer in CONSUMERS {
            sim.delegate(consumer, "991825827", scope);
        }
    }
}

/// Signs where it is asked, so that all that is allocated is counted on one thread.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) key: SigningKey,
}

impl Signer for Here {
    fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        self.key.key_reference()
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(std::future::ready(self.key.sign(&input)))
    }
}
