//! A day in half a minute: thousands of callers, a dozen identities, and all the weather there is.
//!
//! - Time is virtual; what happens, to whom and for how long is drawn from `SOAK_SEED`, and `SOAK_DAYS`
//!   says for how many days. Both are printed when something did not hold. The spread of the engine's
//!   own waits is drawn anew each time.
//! - What must hold is looked at where it can be seen: at the API that a request arrives at, at the
//!   caller that gets an answer, and at the servers that are asked.
//! - The servers are replaced every hour: what the simulator remembers of a day is not ours to judge.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use maskinporten::{
    AltinnSettings, Authorizer, BoxFuture, Clock, Error, KeyReference, MaskinportenClient, Result,
    Signer, SigningAlgorithm, SigningKey, TokenRequest, Transport,
};
use maskinporten_sim::{Body, ClientRegistration, Fault, Route, Sim, SimClient};
use serde_json::Value;
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maskinporten::{AltinnAuthLayer, BearerAuth, BoxError, MaskinportenAuthLayer};

use crate::clocks::Clocks;
use crate::wire::Jws;

const SEED: u64 = 20_260_101;
const HOUR: Duration = Duration::from_secs(3600);

/// How long after a storm its last traces may be felt: a failure is remembered for up to 60 s and a
/// fifth, and so may be the failure of the first token that an exchange needs; a client whose flights
/// failed may pause up to as long as a server asked for, and the flight after that takes its 10 s.
const AFTERMATH: Duration = Duration::from_secs(180);

/// How often a token that an API rejects is replaced at most.
const FORCED_EVERY: Duration = Duration::from_secs(30);

// ===== chance =====

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from * 1000, to * 1000))
    }

    fn one_of<T: Copy>(&mut self, several: &[T]) -> T {
        several[usize::try_from(self.below(several.len() as u64)).unwrap()]
    }
}

// ===== who asks for what =====

/// All that tells one token from another, as servers see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    altinn: bool,
    client: String,
    scope: String,
    consumer: Option<String>,
    audience: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    altinn: bool,
    client: usize,
    scope: &'static str,
    consumer: Option<&'static str>,
    audience: Option<&'static str>,
}

const fn plan(altinn: bool, scope: &'static str) -> Plan {
    Plan {
        altinn,
        client: 0,
        scope,
        consumer: None,
        audience: None,
    }
}

/// The lives of tokens by scope, in seconds. The last three are parents of Altinn's.
const SCOPES: [(&str, u64); 8] = [
    ("soak:half", 30),
    ("soak:two", 120),
    ("soak:ten", 599),
    ("soak:thirty", 1800),
    ("soak:hours", 7200),
    ("soak:parent.half", 30),
    ("soak:parent.two", 120),
    ("soak:parent.thirty", 1800),
];

const CONSUMERS: [&str; 2] = ["311169963", "405003309"];
const AUDIENCE: &str = "https://api.example.no";

const PLANS: [Plan; 13] = [
    plan(false, "soak:half"),
    plan(false, "soak:two"),
    plan(false, "soak:ten"),
    plan(false, "soak:thirty"),
    plan(false, "soak:hours"),
    // The same scope for another client, for two organisations, and for one API.
    Plan {
        client: 1,
        ..plan(false, "soak:two")
    },
    Plan {
        consumer: Some(CONSUMERS[0]),
        ..plan(false, "soak:two")
    },
    Plan {
        consumer: Some(CONSUMERS[1]),
        ..plan(false, "soak:two")
    },
    Plan {
        audience: Some(AUDIENCE),
        ..plan(false, "soak:two")
    },
    plan(true, "soak:parent.half"),
    plan(true, "soak:parent.two"),
    plan(true, "soak:parent.thirty"),
    Plan {
        consumer: Some(CONSUMERS[0]),
        client: 1,
        ..plan(true, "soak:parent.two")
    },
];

impl Plan {
    fn identity(&self, clients: &[SimClient]) -> Identity {
        Identity {
            altinn: self.altinn,
            client: clients[self.client].client_id().to_owned(),
            scope: self.scope.to_owned(),
            consumer: self.consumer.map(str::to_owned),
            audience: self.audience.map(str::to_owned),
        }
    }

    fn request(&self) -> TokenRequest {
        let mut request = TokenRequest::scopes([self.scope]).unwrap();
        if let Some(consumer) = self.consumer {
            request = request.consumer_org(consumer).unwrap();
        }
        if let Some(audience) = self.audience {
            request = request.resource(audience).unwrap();
        }
        request
    }

    fn life(&self) -> Duration {
        let found = SCOPES.iter().find(|(scope, _)| *scope == self.scope);
        Duration::from_secs(if self.altinn { 1800 } else { found.unwrap().1 })
    }
}

// ===== what was seen =====

/// A token as its issuer knows it.
struct Issued {
    identity: Identity,
    /// Its end by the world's clock, however wrong the issuer's own was.
    end: SystemTime,
    /// Until when it is certainly used by whoever has it, and certainly not renewed, on their clock.
    good_until: Duration,
    fresh_until: Duration,
}

/// What an identity's callers and servers have seen, and from that how often a token may be asked for.
#[derive(Default)]
struct Account {
    calls: usize,
    /// A token that was seen at the API is in hand until then, and needs no renewal until then.
    good_until: Duration,
    fresh_until: Duration,
    sent: usize,
    exchanged: usize,
    /// As many as there can be: renewals, replacements of rejected tokens, and calls in storms.
    renewals: usize,
    renewed_until: Duration,
    forced: usize,
    forced_until: Duration,
    storms: usize,
    /// In the storm of this number, since a token was last seen.
    in_storm: (usize, usize),
}

struct Storm {
    from: Duration,
    to: Option<Duration>,
    name: String,
}

#[derive(Default)]
struct Seen {
    issued: HashMap<String, Issued>,
    /// Tokens that were read before, so that each is read once.
    read: HashMap<String, String>,
    accounts: Vec<Account>,
    storms: Vec<Storm>,
    gave_up: usize,
    failed: usize,
    rejected: usize,
    wrong: Vec<String>,
}

#[derive(Clone)]
struct World {
    clocks: Clocks,
    sim: Arc<Mutex<Sim>>,
    clients: Arc<Vec<SimClient>>,
    identities: Arc<Vec<Identity>>,
    seen: Arc<Mutex<Seen>>,
    trouble: Arc<Mutex<Trouble>>,
    end: Instant,
}

/// What goes wrong before a request reaches a server.
#[derive(Default)]
struct Trouble {
    cut_off: bool,
    panics: u64,
    revoked_until: Duration,
}

impl World {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn sim(&self) -> Sim {
        self.sim.lock().unwrap().clone()
    }

    fn now(&self) -> Duration {
        self.clocks.monotonic()
    }

    fn wrong(&self, what: impl fmt::Display) {
        let (now, wrong) = (self.now(), &mut self.seen().wrong);
        if wrong.len() < 20 {
            wrong.push(format!("{now:?}: {what}"));
        }
    }

    /// Reads what the servers have written down, and clears it.
    fn read_journal(&self) {
        let sim = self.sim();
        let journal = sim.journal();
        sim.clear_journal();
        let mut seen = self.seen();
        for entry in journal.entries() {
            if entry.code() == Some("MP-012") {
                seen.wrong.push("a jti was used twice".to_owned());
            }
            let Some(claims) = entry.issued() else {
                continue;
            };
            let identity = identity_in(claims);
            let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            let life = Duration::from_secs(life);
            let since = sim
                .clock()
                .now()
                .duration_since(entry.time())
                .unwrap_or_default();
            // An Altinn token's life is counted from before its parent was waited for.
            let waited = Duration::from_secs(if identity.altinn { 10 } else { 0 });
            let margin = life
                .mul_f64(0.05)
                .clamp(Duration::from_secs(1), Duration::from_secs(30));
            let left = |time: Duration| self.now() + time.saturating_sub(since + waited);
            let whole = entry.time().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let issued = Issued {
                identity,
                end: UNIX_EPOCH + Duration::from_secs(whole) + life,
                good_until: left(life - margin),
                fresh_until: left(life.mul_f64(0.7)),
            };
            seen.issued.insert(id_of(claims), issued);
        }
    }

    // ----- the API -----

    /// A request has arrived: it carries one token, which is this caller's, and has not ended.
    fn arrives(&self, who: usize, headers: &HeaderMap) {
        let values: Vec<&HeaderValue> = headers.get_all(AUTHORIZATION).iter().collect();
        let [value] = values[..] else {
            return self.wrong(format_args!("{} authorization headers", values.len()));
        };
        let Some(token) = value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "))
        else {
            return self.wrong("an authorization without a bearer token");
        };
        let now = self.sim().clock().now();
        let mut seen = self.seen();
        let seen = &mut *seen;
        let read = || id_of(&Jws::parse(token).claims);
        let id = seen.read.entry(token.to_owned()).or_insert_with(read);
        let problem = match seen.issued.get(id) {
            None => "a token that nobody issued".to_owned(),
            Some(issued) if issued.identity != self.identities[who] => {
                format!("{:?} for {:?}", issued.identity, self.identities[who])
            }
            Some(issued) if now >= issued.end => {
                let late = now.duration_since(issued.end).unwrap();
                format!("a token of {:?} that ended {late:?} ago", issued.identity)
            }
            Some(issued) => {
                let account = &mut seen.accounts[who];
                if account.good_until < issued.good_until {
                    account.good_until = issued.good_until;
                    account.fresh_until = issued.fresh_until;
                    account.in_storm.1 = 0;
                }
                return;
            }
        };
        seen.wrong.push(format!("{:?}: {problem}", self.now()));
    }

    /// Every eighth token is judged, and all of them after a day when they were revoked.
    async fn api(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
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

    // ----- callers -----

    /// A call begins. Whether its caller has a good token, and whether all was well for long enough.
    fn begins(&self, who: usize) -> (bool, bool) {
        let now = self.now();
        let mut seen = self.seen();
        let seen = &mut *seen;
        let account = &mut seen.accounts[who];
        account.calls += 1;
        let is_due = now >= account.fresh_until;
        if is_due && now >= account.renewed_until {
            account.renewals += 1;
            account.renewed_until = now + PLANS[who].life().mul_f64(0.7);
        }
        let mut is_fair = true;
        if let Some(storm) = seen.storms.last()
            && storm.to.is_none_or(|to| now <= to + AFTERMATH)
        {
            let number = seen.storms.len();
            is_fair = false;
            // Failures are remembered for half a second, doubled up to half a minute, less a fifth: nine
            // flights, and from then on one every 24 s, until there is a token. A flight needs a call.
            let lasted = now.saturating_sub(storm.from).as_secs();
            let flights = 9 + usize::try_from(lasted / 24).unwrap();
            if account.in_storm.0 != number {
                account.in_storm = (number, 0);
            }
            if is_due && account.in_storm.1 < flights {
                account.in_storm.1 += 1;
                account.storms += 1;
            }
        }
        (now < account.good_until, is_fair)
    }

    async fn call(
        self,
        who: usize,
        patience: Duration,
        call: impl Future<Output = Result<Response<Body>, BoxError>>,
    ) {
        let (has_good, is_fair) = self.begins(who);
        let began = Instant::now();
        let answer = timeout(patience, call).await;
        let took = began.elapsed();
        if has_good && !took.is_zero() {
            self.wrong(format_args!(
                "{:?} waited {took:?} with a good token",
                PLANS[who]
            ));
        }
        match answer {
            Ok(Ok(_)) => {}
            Err(_) => self.seen().gave_up += 1,
            Ok(Err(error)) => {
                self.seen().failed += 1;
                let ours = Error::find_in(&*error);
                let error = ours.map_or_else(|| error.to_string(), |error| format!("{error:?}"));
                if has_good {
                    self.wrong(format_args!(
                        "{:?} failed with a good token: {error}",
                        PLANS[who]
                    ));
                }
                // A storm may have come up while this one waited.
                if is_fair && self.is_fair(took) {
                    self.wrong(format_args!(
                        "{:?} failed in fair weather: {error}",
                        PLANS[who]
                    ));
                }
            }
        }
    }

    fn is_fair(&self, since: Duration) -> bool {
        let since = self.now().saturating_sub(since);
        let seen = self.seen();
        seen.storms
            .iter()
            .all(|storm| storm.to.is_some_and(|to| to < since))
    }
}

/// The identity a token stands for.
fn identity_in(claims: &Value) -> Identity {
    let text = |claim: &str| claims[claim].as_str().map(str::to_owned);
    let consumer = claims["consumer"]["ID"].as_str().unwrap();
    let consumer = consumer.strip_prefix("0192:").unwrap();
    Identity {
        altinn: claims["sid"].is_string(),
        client: text("client_id").unwrap(),
        scope: text("scope").unwrap(),
        consumer: CONSUMERS.contains(&consumer).then(|| consumer.to_owned()),
        audience: text("aud"),
    }
}

/// What tells a token from all others: an Altinn token keeps the `jti` of the first one.
fn id_of(claims: &Value) -> String {
    let id = claims["sid"].as_str().or(claims["jti"].as_str());
    id.unwrap().to_owned()
}

/// Whose call a request is, and which of them.
#[derive(Clone, Copy, Debug)]
struct Caller(usize, usize);

// ===== the way to the servers =====

impl World {
    fn transport(&self) -> Transport {
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

    /// New servers, which know the clients and remember nothing.
    fn redeploy(&self, seed: u64) {
        self.read_journal();
        let sim = servers(seed, self.sim().clock().now());
        register(&sim, &self.clients);
        *self.sim.lock().unwrap() = sim;
    }
}

fn servers(seed: u64, start: SystemTime) -> Sim {
    let sim = Sim::builder().seed(seed).start_at(start);
    sim.token_lifetime(2 * HOUR).build()
}

fn register(sim: &Sim, clients: &[SimClient]) {
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
struct Here {
    key: SigningKey,
}

impl Signer for Here {
    fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Kid(self.key.kid())
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(std::future::ready(self.key.sign(&input)))
    }
}

// ===== callers all through the day =====

/// The ways one identity's token can be asked for.
struct Doors {
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
    fn new(who: usize, world: &World, client: &MaskinportenClient) -> Self {
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
async fn day(mut doors: Doors, world: World, mut chance: Chance) {
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

// ===== the weather =====

fn refusal() -> Fault {
    let body = r#"{"error":"invalid_client","error_description":"Client not found."}"#;
    Fault::answer(StatusCode::BAD_REQUEST, HeaderMap::new(), body)
}

fn later(status: u16, seconds: u64) -> Fault {
    let name = HeaderName::from_static("retry-after");
    let headers = HeaderMap::from_iter([(name, HeaderValue::from(seconds))]);
    Fault::answer(StatusCode::from_u16(status).unwrap(), headers, "")
}

impl World {
    /// From storm to storm, one at a time.
    async fn weather(self, mut chance: Chance) {
        sleep(Duration::from_secs(180)).await;
        // Once a day it lasts for hours.
        let long = self.end - 14 * HOUR;
        let mut had_long = false;
        while Instant::now() < self.end {
            let mut length = match chance.below(10) {
                0..5 => chance.seconds(1, 30),
                5..8 => chance.seconds(30, 300),
                _ => chance.seconds(300, 1_200),
            };
            if !had_long && Instant::now() > long {
                had_long = true;
                length = HOUR + chance.seconds(1, 3600);
            }
            self.storm(&mut chance, length).await;
            sleep(chance.seconds(20, 1_200)).await;
        }
    }

    async fn storm(&self, chance: &mut Chance, length: Duration) {
        let sim = self.sim();
        let kind = chance.below(20);
        let (name, fault) = match kind {
            0 => ("503", Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
            1 => ("500", Fault::status(StatusCode::INTERNAL_SERVER_ERROR)),
            2 => ("429 with a time", later(429, chance.between(1, 120))),
            3 => ("503 with a time", later(503, chance.between(1, 120))),
            4 => ("silence", Fault::hang()),
            5 => ("answers cut short", Fault::truncated()),
            6 => ("a body without end", Fault::huge_unannounced(1 << 30)),
            7 => (
                "a body in drops",
                Fault::slow_body(16, chance.seconds(0, 2)),
            ),
            8 => ("another content type", Fault::content_type("text/html")),
            9 => ("latency", Fault::latency(chance.seconds(0, 4))),
            10 => ("a server ahead", Fault::skew(300)),
            11 => ("a server behind", Fault::skew(-300)),
            12 => ("refusals", refusal()),
            _ => return self.disaster(kind, chance, length).await,
        };
        let routes = chance.one_of(&[
            &[Route::Token][..],
            &[Route::Exchange],
            &[Route::Token, Route::Exchange],
            &[Route::Metadata, Route::Token, Route::Exchange],
        ]);
        for route in routes {
            sim.fault(*route, fault.clone());
        }
        self.begin(format!("{name} at {routes:?}"));
        sleep(length).await;
        self.sim().clear_faults();
        self.pass();
    }

    /// What is not a matter of one server's answers.
    async fn disaster(&self, kind: u64, chance: &mut Chance, length: Duration) {
        match kind {
            13 => {
                self.begin("the network is down");
                self.trouble.lock().unwrap().cut_off = true;
                sleep(length).await;
                self.trouble.lock().unwrap().cut_off = false;
            }
            14 => {
                self.begin("the exchange says 401");
                self.sim()
                    .fault(Route::Exchange, Fault::status(StatusCode::UNAUTHORIZED));
                sleep(length).await;
                self.sim().clear_faults();
            }
            15 => {
                let scope = chance.one_of(&SCOPES).0;
                self.begin(format!("{scope} is not granted"));
                self.sim().not_granted(scope);
                sleep(length).await;
                self.sim().granted(scope);
            }
            16 => {
                self.begin("panics");
                self.trouble.lock().unwrap().panics = chance.between(1, 5);
                sleep(length).await;
                self.trouble.lock().unwrap().panics = 0;
            }
            17 => {
                self.begin("all tokens are revoked");
                self.sim().revoke_all();
                self.trouble.lock().unwrap().revoked_until = self.now() + AFTERMATH;
            }
            18 => {
                let by = chance.one_of(&[-86_400, -3_600, 3_600, 86_400]);
                self.begin(format!("the wall clock is {by} s off"));
                self.clocks.set_wall(by);
                sleep(length).await;
                self.clocks.set_wall(-by);
            }
            _ => {
                self.begin("the machine sleeps");
                let time = length * 4;
                self.clocks.suspend(time);
                self.sim().clock().advance(time);
            }
        }
        self.pass();
    }

    fn begin(&self, name: impl Into<String>) {
        let (from, name) = (self.now(), name.into());
        let storm = Storm {
            from,
            to: None,
            name,
        };
        self.seen().storms.push(storm);
    }

    fn pass(&self) {
        let now = self.now();
        if let Some(storm) = self.seen().storms.last_mut() {
            storm.to = Some(now);
        }
    }
}

// ===== the test =====

fn number_from(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap())
}

impl World {
    fn new(chance: &mut Chance, length: Duration) -> Self {
        let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let sim = servers(chance.next(), start);
        let clients: Vec<SimClient> = (0..2).map(|_| sim.new_client(["soak:two"])).collect();
        register(&sim, &clients);
        let accounts = PLANS.iter().map(|_| Account::default()).collect();
        Self {
            clocks: Clocks::starting_at(start),
            identities: Arc::new(PLANS.iter().map(|plan| plan.identity(&clients)).collect()),
            sim: Arc::new(Mutex::new(sim)),
            clients: Arc::new(clients),
            seen: Arc::new(Mutex::new(Seen {
                accounts,
                ..Seen::default()
            })),
            trouble: Arc::default(),
            end: Instant::now() + length,
        }
    }

    /// Sends everybody to work.
    fn begins_the_day(&self, chance: &mut Chance) {
        let sim = self.sim();
        let clients: Vec<MaskinportenClient> = self
            .clients
            .iter()
            .map(|registered| {
                let jwk = registered.private_jwk().to_string();
                let key = SigningKey::from_jwk(&jwk, None).unwrap();
                MaskinportenClient::builder()
                    .signer(sim.issuer(), registered.client_id(), Here { key })
                    .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
                    .transport(self.transport())
                    .clock(self.clocks.clone())
                    .build()
                    .unwrap()
            })
            .collect();
        for (who, plan) in PLANS.iter().enumerate() {
            let doors = Doors::new(who, self, &clients[plan.client]);
            tokio::spawn(day(doors, self.clone(), Chance(chance.next())));
        }
        tokio::spawn(self.clone().weather(Chance(chance.next())));
    }

    /// What no longer matters is forgotten, so that what grows is not ours.
    fn tidy(&self) {
        let now = self.sim().clock().now();
        let mut seen = self.seen();
        seen.issued.retain(|_, issued| now < issued.end + HOUR);
        seen.issued.shrink_to_fit();
        seen.read = HashMap::new();
    }

    /// No more requests than there was reason for, of each identity and of all.
    fn settle_accounts(&self) {
        let seen = self.seen();
        let (mut sent, mut most) = (0, 0);
        for (plan, account) in PLANS.iter().zip(&seen.accounts) {
            // A flight that fails sends three requests; one that succeeds sends one, in a storm up to
            // three; either may send one more for a clock that is wrong.
            let bound = account.renewals + account.forced + 4 * account.storms;
            println!(
                "{:>20} {:>6} calls {:>5} sent {:>5} exchanged of {bound} ({} renewals, {} forced, {} in storms)",
                plan.scope,
                account.calls,
                account.sent,
                account.exchanged,
                account.renewals,
                account.forced,
                account.storms,
            );
            assert!(
                account.sent <= bound,
                "{plan:?}: {} sent, {bound} allowed",
                account.sent
            );
            assert!(
                account.exchanged <= bound,
                "{plan:?}: {} exchanged",
                account.exchanged
            );
            sent += account.sent + account.exchanged;
            most += bound * if plan.altinn { 2 } else { 1 };
        }
        println!("{sent} requests of {most}, {} storms", seen.storms.len());
        println!(
            "{} failed, {} gave up, {} rejected",
            seen.failed, seen.gave_up, seen.rejected
        );
    }
}

/// What to run again, and what it was like when something did not hold.
struct Forecast<'a>(u64, &'a World);

impl Drop for Forecast<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, world) = self;
            println!("SOAK_SEED={seed}");
            if let Ok(seen) = world.seen.try_lock() {
                for Storm { from, to, name } in &seen.storms {
                    println!("{from:?} to {to:?}: {name}");
                }
            }
        }
    }
}

#[test]
fn a_day_of_all_weathers_does_no_harm() {
    let seed = number_from("SOAK_SEED", SEED);
    let hours = 24 * number_from("SOAK_DAYS", 1);
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let mut live = 0;
    let mut after_hour = Vec::new();
    let mut chance = Chance(seed);
    let mut account = |step: &mut dyn FnMut()| {
        live += allocation_counter::measure(step).bytes_current;
        live
    };
    let mut world = None;
    account(&mut || {
        let begun = runtime.block_on(async { World::new(&mut chance, HOUR * hours as u32) });
        runtime.block_on(async { begun.begins_the_day(&mut chance) });
        world = Some(begun);
    });
    let world = world.unwrap();
    let forecast = Forecast(seed, &world);
    for hour in 1..=hours {
        let bytes = account(&mut || {
            let end = world.end - HOUR * (hours - hour) as u32;
            runtime.block_on(async {
                sleep_until(end).await;
                world.redeploy(chance.next());
                world.tidy();
            });
        });
        let wrong = std::mem::take(&mut world.seen().wrong);
        assert!(wrong.is_empty(), "in hour {hour}: {wrong:#?}");
        after_hour.push(bytes);
    }
    println!("live bytes after each hour: {after_hour:?}");
    // The least of some hours, so that whoever is at work at the full hour does not count.
    let early = after_hour[1..4].iter().min().unwrap();
    let late = after_hour[after_hour.len() - 3..].iter().min().unwrap();
    assert!(*late < early + early / 2, "memory grows: {after_hour:?}");
    runtime.block_on(async {
        // Whoever still sleeps wakes up and goes home; whatever is in the air lands.
        sleep(HOUR).await;
        let alive = Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive, 0, "tasks are left");
    });
    world.settle_accounts();
    drop(forecast);
}
