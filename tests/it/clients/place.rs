//! One cell's own world: a token server, an API and servers beside it, each behind a socket.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use maskinporten::{AltinnSettings, Clock, MaskinportenClient, SystemClock, TokenKind};
use maskinporten_sim::{Protection, Route, Sim};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic_health::server::health_reporter;
use tower::{Service, ServiceExt};
use tower_maskinporten::{AltinnAuthLayer, MaskinportenAuthLayer};

use super::servers::{Answer, Body, Book, Protocol, Seen, Server, full};
use crate::world::{SCOPES, settings};

/// Longer than anything here takes, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A token server, an API that may see tokens, and two servers that may not: one of the same scheme, one
/// of the other.
pub(super) struct Place {
    pub(super) kind: TokenKind,
    pub(super) protocol: Protocol,
    pub(super) client: MaskinportenClient,
    pub(super) book: Book,
    pub(super) plan: Plan,
    pub(super) clock: Ahead,
    /// Whether the token server answers.
    pub(super) gate: watch::Sender<bool>,
    pub(super) sim: Sim,
    pub(super) home: Server,
    pub(super) other: Server,
    pub(super) across: Server,
    token_server: Server,
    key: String,
}

impl Place {
    pub(super) async fn new(kind: TokenKind, protocol: Protocol, home_has_tls: bool) -> Self {
        let (book, plan) = (Book::default(), Plan::default());
        let listener = Server::listener().await;
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sim = Sim::builder().wall_clock().issuer(url).build();
        sim.protect(
            "/api/echo",
            match kind {
                TokenKind::Maskinporten => Protection::maskinporten(),
                _ => Protection::altinn(),
            },
        );
        let registered = sim.new_client(SCOPES);
        let (gate, opened) = watch::channel(true);
        let tokens = token_server(&sim, opened);
        let token_server = Server::start(listener, Protocol::Http1, false, &book, tokens);
        let api = async |tls| {
            let answer = api(&sim, &plan, protocol);
            Server::start(Server::listener().await, protocol, tls, &book, answer)
        };
        let clock = Ahead::default();
        let client = MaskinportenClient::builder()
            .settings(settings(&registered))
            .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
            .clock(clock.clone())
            .build()
            .unwrap();
        Self {
            home: api(home_has_tls).await,
            other: api(home_has_tls).await,
            across: api(!home_has_tls).await,
            key: registered.private_jwk()["d"].as_str().unwrap()[..24].to_owned(),
            kind,
            protocol,
            client,
            book,
            plan,
            clock,
            gate,
            sim,
            token_server,
        }
    }

    /// A guard for the API's own origin.
    pub(super) fn guarded(&self) -> Guarded {
        Guarded {
            client: self.client.clone(),
            kind: self.kind,
            origins: vec![self.home.origin()],
            replay: false,
            pass_foreign: false,
        }
    }

    /// What the servers beside the token server were shown: each origin, and the token if there was one.
    pub(super) fn trail(&self) -> Vec<(String, Option<String>)> {
        let tokens = self.token_server.origin();
        let mut seen = self.book.seen();
        seen.retain(|seen| seen.origin != tokens);
        let hop = |seen: &Seen| (seen.origin.clone(), seen.token());
        seen.iter().map(hop).collect()
    }

    /// How often the token server was asked for a token or an exchange, answered or not.
    pub(super) fn asked(&self) -> usize {
        let is_asked = |seen: &Seen| is_for_tokens(&seen.path);
        let tokens = self.token_server.origin();
        let seen = self.book.seen();
        let asked = seen.iter().filter(|seen| seen.origin == tokens);
        asked.filter(|seen| is_asked(seen)).count()
    }

    /// How many tokens of the place's kind were issued.
    pub(super) fn issued(&self) -> usize {
        let route = match self.kind {
            TokenKind::Maskinporten => Route::Token,
            _ => Route::Exchange,
        };
        let journal = self.sim.journal();
        journal.requests(route).filter(|e| e.is_accepted()).count()
    }

    /// Who was shown what they were not to see.
    pub(super) fn leaks(&self) -> Vec<String> {
        let listed = [self.home.origin()];
        let tokens = self.token_server.origin();
        self.book.leaks(&listed, &tokens, &self.key)
    }

    /// Sends whoever asks for the first of these on to the second, and so on; where to begin.
    pub(super) fn chain(&self, origins: &[String]) -> String {
        let path = |hop: usize| match self.protocol {
            Protocol::Http1 => format!("/hop/{hop}"),
            // A call by gRPC has one path.
            Protocol::Http2 => CHECK.to_owned(),
        };
        let hops = origins.iter().enumerate();
        let urls: Vec<_> = hops
            .map(|(hop, origin)| origin.clone() + &path(hop))
            .collect();
        let mut redirects = self.plan.redirects.lock().unwrap();
        redirects.extend(urls.windows(2).map(|two| (two[0].clone(), two[1].clone())));
        urls[0].clone()
    }
}

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// What a token says.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Looks until it is so.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, look).await.unwrap();
}

fn is_for_tokens(path: &str) -> bool {
    path == "/token" || path.contains("/exchange/")
}

// ===== what the servers answer =====

/// What the servers of a place are to do that they would not by themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// From address to address.
    redirects: Arc<Mutex<HashMap<String, String>>>,
    /// Tokens that the API no longer takes.
    refused: Arc<Mutex<HashSet<String>>>,
}

impl Plan {
    pub(super) fn refuse(&self, token: &str) {
        self.refused.lock().unwrap().insert(token.to_owned());
    }

    fn refuses(&self, token: &str) -> bool {
        self.refused.lock().unwrap().contains(token)
    }

    fn redirect(&self, seen: &Seen) -> Option<String> {
        let url = seen.origin.clone() + &seen.path;
        self.redirects.lock().unwrap().get(&url).cloned()
    }
}

fn token_server(sim: &Sim, opened: watch::Receiver<bool>) -> Answer {
    let sim = sim.clone();
    Arc::new(move |seen, request| {
        let (mut sim, mut opened) = (sim.clone(), opened.clone());
        async move {
            if is_for_tokens(&seen.path) {
                let _ = opened.wait_for(|open| *open).await;
            }
            let answer = sim.call(request.map(maskinporten_sim::Body::from)).await;
            answer.unwrap().map(BodyExt::boxed_unsync)
        }
        .boxed()
    })
}

/// An API: it takes what the simulator's takes, and whoever comes without a token is let in, so that what
/// was shown is what is judged.
fn api(sim: &Sim, plan: &Plan, protocol: Protocol) -> Answer {
    let (sim, plan) = (sim.clone(), plan.clone());
    let (_, health) = health_reporter();
    let grpc = tower::util::BoxCloneSyncService::new(health);
    Arc::new(move |seen, request| {
        let (sim, plan, grpc) = (sim.clone(), plan.clone(), grpc.clone());
        async move {
            if let Some(next) = plan.redirect(&seen) {
                return redirect(&next);
            }
            let accepted = match seen.token() {
                Some(token) if plan.refuses(&token) => false,
                Some(_) => is_good(sim, &seen).await,
                None => true,
            };
            match (protocol, accepted) {
                (Protocol::Http1, true) => Response::new(full("hello")),
                (Protocol::Http1, false) => {
                    let mut response = Response::new(full(""));
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                    let challenge = r#"Bearer error="invalid_token""#.parse().unwrap();
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                    response
                }
                (Protocol::Http2, true) => {
                    let answer = grpc.oneshot(request.map(Full::new)).await.unwrap();
                    answer.map(|body| body.map_err(Into::into).boxed_unsync())
                }
                (Protocol::Http2, false) => {
                    let status = tonic::Status::unauthenticated("the token is not accepted");
                    status.into_http::<Body>()
                }
            }
        }
        .boxed()
    })
}

async fn is_good(mut sim: Sim, seen: &Seen) -> bool {
    let mut judged = Request::get(sim.api_url())
        .body(maskinporten_sim::Body::empty())
        .unwrap();
    for value in seen.headers.get_all(AUTHORIZATION) {
        judged.headers_mut().append(AUTHORIZATION, value.clone());
    }
    sim.call(judged).await.unwrap().status() == StatusCode::OK
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, to.parse().unwrap());
    response
}

// ===== guards and clocks =====

/// A layer that is to be made, of either kind, replaying or not.
#[derive(Clone, Debug)]
pub(super) struct Guarded {
    pub(super) client: MaskinportenClient,
    pub(super) kind: TokenKind,
    pub(super) origins: Vec<String>,
    pub(super) replay: bool,
    pub(super) pass_foreign: bool,
}

impl Guarded {
    pub(super) fn maskinporten(&self) -> MaskinportenAuthLayer {
        let layer = MaskinportenAuthLayer::new(&self.client, SCOPES, &*self.origins).unwrap();
        if self.pass_foreign {
            layer.pass_foreign()
        } else {
            layer
        }
    }

    pub(super) fn altinn(&self) -> AltinnAuthLayer {
        let layer = AltinnAuthLayer::new(&self.client, SCOPES, &*self.origins).unwrap();
        if self.pass_foreign {
            layer.pass_foreign()
        } else {
            layer
        }
    }
}

/// Evaluates an expression with the layer that is asked for.
macro_rules! layered {
    ($guarded:expr, $layer:ident => $made:expr) => {
        match ($guarded.kind, $guarded.replay) {
            (maskinporten::TokenKind::Maskinporten, false) => {
                let $layer = $guarded.maskinporten();
                $made
            }
            (maskinporten::TokenKind::Maskinporten, true) => {
                let $layer = $guarded.maskinporten().replay_on_unauthorized();
                $made
            }
            (_, false) => {
                let $layer = $guarded.altinn();
                $made
            }
            (_, true) => {
                let $layer = $guarded.altinn().replay_on_unauthorized();
                $made
            }
        }
    };
}
pub(super) use layered;

/// The machine's clock, moved on by hand for whoever counts a token's life, and by nobody else.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    /// Moves on to where a token of this text is past its soft point and before its hard end.
    pub(super) fn age(&self, token: &str) {
        let claims = claims(token);
        let at = |claim: &str| claims[claim].as_f64().unwrap();
        let life = at("exp") - at("iat");
        self.0.fetch_add((life * 0.85) as u64, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall()
    }
}
