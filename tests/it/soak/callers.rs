//! Callers all through the day.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Request, Response, Uri};
use maskinporten::{Authorizer, BoxFuture, MaskinportenClient, Result};
use maskinporten_sim::Body;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, BoxError, MaskinportenAuthLayer};

use super::World;
use super::chance::Chance;
use super::plan::PLANS;

/// Whose call a request is, and which of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) usize, pub(super) usize);

/// The ways one identity's token can be asked for.
pub(super) struct Doors {
    who: usize,
    client: MaskinportenClient,
    authorizer: Authorizer,
    service: BearerAuth<Api>,
}

/// The API as an inner service.
#[derive(Clone)]
struct Api(World);

impl Service<Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.clone().api(request))
    }
}

impl Doors {
    pub(super) fn new(who: usize, world: &World, client: &MaskinportenClient) -> Self {
        let plan = &PLANS[who];
        let origin = "https://sim.maskinporten.test";
        let (request, api) = (plan.request(), Api(world.clone()));
        let (authorizer, service) = if plan.altinn {
            let layer = AltinnAuthLayer::new(client, request.clone(), origin).unwrap();
            let authorizer = client.altinn_authorizer(request, origin).unwrap();
            (authorizer, layer.layer(api))
        } else {
            let layer = MaskinportenAuthLayer::new(client, request.clone(), origin).unwrap();
            let authorizer = client.authorizer(request, origin).unwrap();
            (authorizer, layer.layer(api))
        };
        Self {
            who,
            client: client.clone(),
            authorizer,
            service,
        }
    }

    /// One call through one of the doors, not yet begun.
    fn call(
        &mut self,
        number: usize,
        door: u64,
    ) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let uri = Uri::from_static("https://sim.maskinporten.test/api/echo");
        let mut request = Request::get(uri.clone()).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Caller(self.who, number));
        let mut api = self.service.get_ref().clone();
        match door {
            // A service that is kept, and one that is cloned for the call.
            0 => {
                let (authorized, client) = (self.service.clone(), &mut self.service);
                let mut kept = std::mem::replace(client, authorized);
                Box::pin(async move { kept.call(request).await })
            }
            1 | 2 => Box::pin(self.service.clone().oneshot(request)),
            3 => {
                let authorizer = self.authorizer.clone();
                Box::pin(async move {
                    authorizer.authorize(&uri, request.headers_mut()).await?;
                    api.call(request).await
                })
            }
            // By hand.
            _ => {
                let (client, plan) = (self.client.clone(), PLANS[self.who]);
                Box::pin(async move {
                    let token = match plan.altinn {
                        true => client.altinn_token(plan.request()).await?,
                        false => client.access_token(plan.request()).await?,
                    };
                    let bearer = format!("Bearer {}", token.expose()).parse().unwrap();
                    request.headers_mut().insert(AUTHORIZATION, bearer);
                    api.call(request).await
                })
            }
        }
    }
}

/// One identity's day: hours of nothing, minutes of work, and sometimes a crowd.
pub(super) async fn day(mut doors: Doors, world: World, mut chance: Chance) {
    let mut number = 0;
    while Instant::now() < world.end {
        sleep(chance.seconds(1, 1_500)).await;
        let session = Instant::now() + chance.seconds(5, 400);
        let longest_gap = chance.one_of(&[2, 6, 20]);
        if chance.below(16) == 0 {
            for _ in 0..200 {
                number += 1;
                send(&mut doors, &world, &mut chance, number);
            }
        }
        while Instant::now() < session.min(world.end) {
            number += 1;
            send(&mut doors, &world, &mut chance, number);
            sleep(Duration::from_millis(
                chance.between(100, longest_gap * 1000),
            ))
            .await;
        }
    }
}

fn send(doors: &mut Doors, world: &World, chance: &mut Chance, number: usize) {
    let call = doors.call(number, chance.below(5));
    // Some give up before any server can have answered.
    let patience = match chance.below(3) {
        0 => Duration::from_millis(chance.between(1, 50)),
        _ => Duration::from_secs(60),
    };
    tokio::spawn(world.clone().call(doors.who, patience, call));
}
