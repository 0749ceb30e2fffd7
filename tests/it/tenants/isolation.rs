//! One tenant in trouble, and what others notice of it: against the simulator, in virtual time.
//!
//! It needs a runtime whose time is paused, and nothing else of these tests: a program that prints the figures can
//! read this very file.

use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode};
use maskinporten::{
    AccessToken, AltinnSettings, Error, MaskinportenClient, MaskinportenSettings, Result,
    TokenRequest, TokioClock, Transport,
};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::time::{Instant, interval, sleep, sleep_until};

/// How long the servers need for an answer.
pub(crate) const SERVER: Duration = Duration::from_millis(50);

/// The life of Maskinporten's tokens here.
pub(crate) const LIFE: Duration = Duration::from_secs(20);

const SCOPE: &str = "altinn:serviceowner";
const OWNER: &str = "991825827";

/// The tenant in trouble, one that is warm, and one that comes with a first token every second.
const TROUBLED: &str = "311169963";
const TROUBLED_RESOURCE: &str = "urn:troubled:";
const WARM: &str = "310000000";
const COLD: &str = "405003309";

/// What stands in each answer about the troubled tenant that has a text.
const MARK: &str = "canary-of-the-troubled";

/// Which server gives the troubled tenant what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Maskinporten,
    Exchange,
}

impl At {
    fn route(self) -> Route {
        match self {
            Self::Maskinporten => Route::Token,
            Self::Exchange => Route::Exchange,
        }
    }

    async fn ask(self, client: &MaskinportenClient, request: TokenRequest) -> Result<AccessToken> {
        match self {
            Self::Maskinporten => client.access_token(request).await,
            Self::Exchange => client.altinn_token(request).await,
        }
    }
}

/// What others have noticed.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// How often the troubled tenant asked, and how often it had no token.
    pub(crate) asked: usize,
    pub(crate) failed: usize,
    /// How often the others asked.
    pub(crate) others: usize,
    pub(crate) failures: Vec<Error>,
    /// The longest that a first token took.
    pub(crate) longest: Duration,
}

/// What the callers of the troubled tenant and of others are shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) to_troubled: Vec<Error>,
    pub(crate) to_others: Vec<Error>,
}

impl Shown {
    /// How many of the errors of the troubled tenant have the text that is looked for in others'.
    pub(crate) fn marked(&self) -> usize {
        let of_troubled = self.to_troubled.iter();
        of_troubled
            .filter(|error| printed(error).contains(MARK))
            .count()
    }
}

/// How many of these errors say something about the troubled tenant.
pub(crate) fn about_troubled(errors: &[Error]) -> usize {
    let is_about_troubled = |error: &&Error| {
        let text = printed(error);
        [MARK, TROUBLED, TROUBLED_RESOURCE]
            .iter()
            .any(|name| text.contains(name))
    };
    errors.iter().filter(is_about_troubled).count()
}

/// All that an error says: itself, its chain, and both as a developer prints them.
fn printed(error: &Error) -> String {
    let mut text = format!("{error:#}\n{error:?}\n{error:#?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!("\n{error}\n{error:?}"));
        cause = error.source();
    }
    text
}

/// Everything that a token endpoint is known to refuse with, two codes that are not known, and all other trouble.
pub(crate) fn troubles_of_maskinporten() -> Vec<Fault> {
    const REFUSALS: [(&str, &str, Option<&str>); 31] = [
        ("invalid_request", "Invalid parameter value", Some("MP-011")),
        ("invalid_grant", "Grant is used before", Some("MP-012")),
        ("invalid_grant", "Invalid JWT claim aud", Some("MP-110")),
        ("invalid_grant", "Invalid certificate", Some("MP-120")),
        ("invalid_grant", "Expired key", Some("MP-121")),
        ("invalid_grant", "Organization number", Some("MP-122")),
        ("invalid_grant", "x5c", Some("MP-123")),
        ("invalid_grant", "Invalid JWT signature", Some("MP-124")),
        ("invalid_grant", "Unknown key identifier", None),
        ("invalid_grant", "No key identifier", None),
        ("invalid_grant", "JWT is expired", Some("MP-130")),
        ("invalid_grant", "Issue time is in the future", None),
        ("invalid_grant", "Too long lifetime", None),
        ("invalid_scope", "Invalid scopes for client", Some("MP-200")),
        (
            "invalid_scope",
            "Not allowed for Maskinporten",
            Some("MP-201"),
        ),
        (
            "forbidden",
            "Consumer has not been granted access to the scope",
            Some("MP-250"),
        ),
        (
            "forbidden",
            "Consumer has not delegated access",
            Some("MP-251"),
        ),
        (
            "invalid_authorization_details",
            "Unknown authorization details type",
            Some("MP-301"),
        ),
        (
            "invalid_authorization_details",
            "Unknown fields",
            Some("MP-302"),
        ),
        (
            "invalid_altinn_customer_configuration",
            "No system user",
            Some("MP-303"),
        ),
        ("invalid_request", "Combination consumer_org", None),
        ("invalid_target", "Resource has a fragment", None),
        ("invalid_grant", "Client not found", Some("MP-100")),
        ("invalid_scope", "", None),
        ("forbidden", "", None),
        ("invalid_grant", "", None),
        ("invalid_client", "", None),
        ("unauthorized_client", "", None),
        ("invalid_target", "", None),
        ("invalid_request", "", None),
        ("unsupported_grant_type", "", None),
    ];
    const UNKNOWN: [(&str, &str, Option<&str>); 2] = [
        ("invalid_grant", "Something quite new", Some("MP-987")),
        ("brand_new_error", "Never seen before", None),
    ];
    REFUSALS
        .iter()
        .chain(&UNKNOWN)
        .map(|(error, description, code)| {
            Fault::refusal(*error, format!("{description} {MARK}"), *code)
        })
        .chain(troubles_of_any_server())
        .collect()
}

/// What Altinn's exchange is known to answer, and all other trouble.
pub(crate) fn troubles_of_the_exchange() -> Vec<Fault> {
    let json = || {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(http::header::CONTENT_TYPE, json);
        headers
    };
    let gateway = format!(
        r#"{{"statusCode":401,"message":"Access denied due to missing subscription key. {MARK}"}}"#
    );
    let other = || format!(r#"{{"message":"the organisation is not known here {MARK}"}}"#);
    let answers = [
        Fault::status(StatusCode::UNAUTHORIZED),
        Fault::problem(StatusCode::UNAUTHORIZED, "Unauthorized", ""),
        Fault::answer(StatusCode::UNAUTHORIZED, json(), gateway),
        Fault::answer(StatusCode::UNAUTHORIZED, json(), other()),
        Fault::problem(StatusCode::BAD_REQUEST, "Bad Request", MARK),
        Fault::status(StatusCode::FORBIDDEN),
        Fault::answer(StatusCode::FORBIDDEN, json(), other()),
        Fault::problem(StatusCode::GONE, "Gone", MARK),
        Fault::status(StatusCode::NOT_FOUND),
        Fault::status(StatusCode::IM_A_TEAPOT),
    ];
    answers
        .into_iter()
        .chain(troubles_of_any_server())
        .collect()
}

fn troubles_of_any_server() -> Vec<Fault> {
    let wish = |status| {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("5"));
        Fault::answer(status, headers, "")
    };
    vec![
        Fault::status(StatusCode::TOO_MANY_REQUESTS),
        wish(StatusCode::TOO_MANY_REQUESTS),
        wish(StatusCode::SERVICE_UNAVAILABLE),
        Fault::status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::status(StatusCode::REQUEST_TIMEOUT),
        Fault::hang(),
        Fault::disconnect(),
        Fault::truncated(),
        Fault::answer(StatusCode::OK, HeaderMap::new(), format!("<html>{MARK}")),
    ]
}

/// Five different identities of one tenant a second, which get `troubles` in turn, for so long; next to a tenant
/// that is warm, one with a first token every second, and the service itself.
pub(crate) async fn isolation(at: At, troubles: &[Fault], time: Duration) -> Noticed {
    let (sim, client) = world([TROUBLED, WARM, COLD]);
    let count = time.as_secs() as usize * 5;
    trouble_of(&sim, at, troubles, count);
    for route in [Route::Token, Route::Exchange] {
        sim.fault(route, Fault::latency(SERVER));
    }
    let client = &client;
    let ask = |request: TokenRequest| at.ask(client, request);
    let warm = [request_of(WARM), own_request()];
    for request in &warm {
        ask(request.clone()).await.unwrap();
    }

    let began = Instant::now();
    let ends_at = began + time;
    let at_second = |seconds: f64| sleep_until(began + Duration::from_secs_f64(seconds));
    let troubled = join_all((0..count).map(|number| async move {
        at_second(number as f64 / 5.0).await;
        ask(troubled_request(number)).await
    }));
    let warm = async {
        let mut outcomes = Vec::new();
        let mut ticks = interval(Duration::from_millis(100));
        while Instant::now() < ends_at {
            ticks.tick().await;
            for request in &warm {
                outcomes.push(ask(request.clone()).await.map(drop));
            }
        }
        outcomes
    };
    // Of one tenant, and of the service itself.
    let first = (0..time.as_secs()).flat_map(|number| {
        [request_of(COLD), own_request()].map(|request| async move {
            at_second(number as f64).await;
            let request = request.resource(format!("urn:first:{number}")).unwrap();
            timed(ask(request)).await
        })
    });
    let (troubled, warm, cold) = tokio::join!(troubled, warm, join_all(first));
    let others = warm.len() + cold.len();
    let longest = cold.iter().map(|(_, took)| *took).max().unwrap_or_default();
    let of_cold = cold.into_iter().filter_map(|(outcome, _)| outcome.err());
    let failures = warm.into_iter().filter_map(Result::err).chain(of_cold);
    Noticed {
        asked: count,
        failed: troubled.iter().filter(|outcome| outcome.is_err()).count(),
        others,
        failures: failures.collect(),
        longest,
    }
}

/// One tenant is in trouble next to others that are served; then the server is down for all, and others fail too.
pub(crate) async fn shown(at: At, trouble: Fault) -> Shown {
    const ROUNDS: usize = 10;

    let (sim, client) = world([TROUBLED, COLD]);
    trouble_of(&sim, at, &[trouble], ROUNDS);
    let mut shown = Shown::default();
    for number in 0..ROUNDS {
        if number == ROUNDS / 2 {
            sim.fault(at.route(), Fault::status(StatusCode::SERVICE_UNAVAILABLE));
        }
        let first = |request: TokenRequest| {
            let resource = format!("urn:first:{number}");
            at.ask(&client, request.resource(resource).unwrap())
        };
        let (troubled, cold, own) = tokio::join!(
            at.ask(&client, troubled_request(number)),
            first(request_of(COLD)),
            first(own_request()),
        );
        shown.to_troubled.extend(troubled.err());
        let of_others = [cold, own].into_iter().filter_map(Result::err);
        shown.to_others.extend(of_others);
        sleep(Duration::from_secs(1)).await;
    }
    shown
}

/// The troubled tenant is answered `troubles` in turn for so many of its requests.
fn trouble_of(sim: &Sim, at: At, troubles: &[Fault], count: usize) {
    for number in 0..count {
        let trouble = troubles[number % troubles.len()].clone();
        let trouble = trouble.for_resource(resource(number));
        sim.fault(at.route(), trouble.for_consumer(TROUBLED).unwrap());
    }
}

/// What a real outage costs a server, and the tenants after it.
#[derive(Debug)]
pub(crate) struct Outage {
    /// Requests to the server in the first second of the outage, and in each second after it.
    pub(crate) first: usize,
    pub(crate) busiest: usize,
    /// How many tenants were served, and how long after the end the last of them was.
    pub(crate) served: usize,
    pub(crate) recovered_after: Duration,
}

/// So many tenants, each of which asks for its token every half second, before a server that is down for a minute.
pub(crate) async fn outage(tenants: usize, trouble: Fault) -> Outage {
    let numbers = organisations(tenants);
    let (sim, client) = world(numbers.iter().map(String::as_str));
    sim.fault(Route::Token, trouble);
    let began = Instant::now();
    let ends_at = began + Duration::from_secs(60);
    let callers = numbers.iter().enumerate().map(|(number, organisation)| {
        let client = &client;
        async move {
            // Not all at the same moment.
            sleep_until(began + Duration::from_millis(number as u64)).await;
            loop {
                let asked = Instant::now();
                if client.access_token(request_of(organisation)).await.is_ok() {
                    return Instant::now();
                }
                sleep_until(asked + Duration::from_millis(500)).await;
            }
        }
    });
    let end = async {
        let mut counts = Vec::new();
        let mut before = 0;
        for second in 1..=60 {
            sleep_until(began + Duration::from_secs(second)).await;
            let now = sim.journal().token_requests();
            counts.push(now - before);
            before = now;
        }
        sim.clear_faults();
        sim.fault(Route::Token, Fault::latency(SERVER));
        counts
    };
    let (served, counts) = tokio::join!(join_all(callers), end);
    let last = served.iter().max().copied().unwrap_or(ends_at);
    // A request that is never answered is in the journal when it is given up.
    let settled = counts.iter().skip(14);
    Outage {
        first: counts.iter().take(14).sum(),
        busiest: settled.copied().max().unwrap_or_default(),
        served: served.len(),
        recovered_after: last.saturating_duration_since(ends_at),
    }
}

/// What a server with a limit of requests a second makes of many tenants at once.
#[derive(Debug)]
pub(crate) struct RateLimited {
    pub(crate) served: usize,
    pub(crate) took: Duration,
    /// How often it answered 429.
    pub(crate) refused: usize,
}

/// So many tenants at once, before a server that serves `limit` requests in each second and refuses all others.
pub(crate) async fn rate_limited(tenants: usize, limit: usize) -> RateLimited {
    let numbers = organisations(tenants);
    let (sim, client) = world(numbers.iter().map(String::as_str));
    let began = Instant::now();
    let limits = async {
        loop {
            sim.clear_faults();
            let passes = Fault::latency(SERVER).times(limit as u64);
            sim.fault(Route::Token, passes);
            sim.fault(Route::Token, Fault::status(StatusCode::TOO_MANY_REQUESTS));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let calls = numbers
        .iter()
        .map(|organisation| client.access_token(request_of(organisation)));
    let outcomes = tokio::select! {
        outcomes = join_all(calls) => outcomes,
        () = limits => unreachable!("it goes on for ever"),
    };
    let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    RateLimited {
        served,
        took: began.elapsed(),
        refused: sim.journal().token_requests() - served,
    }
}

async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let outcome = future.await;
    (outcome, began.elapsed())
}

/// Servers for which organisations have delegated a scope.
fn world<'a>(organisations: impl IntoIterator<Item = &'a str>) -> (Sim, MaskinportenClient) {
    let sim = Sim::new();
    sim.scope_lifetime(SCOPE, LIFE);
    let registered = sim.new_client([SCOPE]);
    for organisation in organisations {
        sim.delegate(organisation, OWNER, SCOPE);
    }
    let settings = registered.settings_json().to_string();
    let settings =
        MaskinportenSettings::from_json(&settings, MaskinportenSettings::DEFAULT_SECTION).unwrap();
    let client = MaskinportenClient::builder()
        .settings(settings)
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    (sim, client)
}

fn own_request() -> TokenRequest {
    TokenRequest::scopes([SCOPE]).unwrap()
}

fn request_of(organisation: &str) -> TokenRequest {
    own_request().consumer_org(organisation).unwrap()
}

/// One of many identities of the tenant in trouble.
fn troubled_request(number: usize) -> TokenRequest {
    let request = request_of(TROUBLED);
    request.resource(resource(number)).unwrap()
}

fn resource(number: usize) -> String {
    format!("{TROUBLED_RESOURCE}{number}")
}

/// So many valid organisation numbers.
pub(crate) fn organisations(count: usize) -> Vec<String> {
    (810_000_000..)
        .map(|number: u32| number.to_string())
        .filter(|number| number.parse::<maskinporten::OrganisationNumber>().is_ok())
        .take(count)
        .collect()
}
