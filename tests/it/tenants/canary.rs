//! No text about one organisation reaches another: whatever a server or a token source says of it.
//!
//! One organisation's requests fail, in turn, in every way that has a place for text, and a planted text stands in
//! each of these places. Then two other organisations and the service itself ask. The text is searched in their
//! errors, in what is logged and traced while they ask, in health, in stats and in metrics. What is logged of the
//! first organisation's own failures may have it, in the spans of its own requests and fetches.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use maskinporten::{
    AccessToken, BoxFuture, Error, MaskinportenClient, Result, SourceIdentity, TokenContext,
    TokenRequest, TokenSource, TokioClock, Transport,
};
use maskinporten_sim::{Body, Sim};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_maskinporten::{AltinnAuthLayer, BoxError, MaskinportenAuthLayer};
use tracing::Instrument as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::world::{self, A as URL, API, Recorder, SCOPES, get};

/// What must not travel. A word by itself, so that no cleaning takes it for a credential.
const CANARY: &str = "canary-4711";

/// Whom the failures are about, and whom they are not.
const SICK: &str = "311169963";
const OTHERS: [&str; 2] = ["974760673", "889640782"];

/// The client's own organisation.
const SUPPLIER: &str = "991825827";

/// How many different tokens are asked for on behalf of the first organisation.
const IDENTITIES: usize = 5;

// ===== what is heard =====

/// Log lines with the spans that they stand in, and the spans themselves.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<u8>>>);

impl io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Ear {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Ear {
    /// Hears this thread, on which all tasks of a test run.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// What was heard since it was last taken.
    fn take(&self) -> String {
        let heard = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(heard).unwrap()
    }
}

/// Everything that can be read of an error.
fn all_of(error: &BoxError) -> String {
    let ours = Error::find_in(&**error).unwrap();
    let mut text = format!(
        "{ours:#?} {:?} {:?} {:?} {:?} {:?} {:?}",
        ours.hint(),
        ours.oauth_error(),
        ours.code(),
        ours.description(),
        ours.trace_id(),
        ours.endpoint()
    );
    for detail in ours.details() {
        write!(text, " {detail:?}").unwrap();
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(cause) = next {
        write!(text, " {cause} {cause:?}").unwrap();
        next = cause.source();
    }
    text
}

// ===== who asks =====

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Grant,
    Exchange,
}

/// A request through a layer, as a user sends it.
async fn sent(
    client: &MaskinportenClient,
    stage: Stage,
    context: TokenContext,
) -> Result<(), BoxError> {
    let mut request = get(URL);
    request.extensions_mut().insert(context);
    let api = Recorder::new();
    match stage {
        Stage::Grant => {
            let layer = MaskinportenAuthLayer::new(client, SCOPES, API).unwrap();
            let layer = layer.optional_context();
            layer.layer(api).oneshot(request).await?;
        }
        Stage::Exchange => {
            let layer = AltinnAuthLayer::new(client, SCOPES, API).unwrap();
            let layer = layer.optional_context();
            layer.layer(api).oneshot(request).await?;
        }
    }
    Ok(())
}

fn on_behalf_of(organisation: &str) -> TokenContext {
    TokenContext::new().consumer_org(organisation).unwrap()
}

/// Lets the first organisation fail, and then all others ask; no text of the first may be found with them.
async fn check(what: &str, stage: Stage, client: &MaskinportenClient, ear: &Ear) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _metrics = metrics::set_default_local_recorder(&recorder);
    drop(ear.take());
    for number in 0..IDENTITIES {
        let context = on_behalf_of(SICK).resource(format!("urn:sick:{number}"));
        // As in a service that traces its requests: what is logged for a caller stands in the caller's span.
        let request = tracing::info_span!("request", organisation = SICK);
        let outcome = sent(client, stage, context.unwrap())
            .instrument(request)
            .await;
        assert!(outcome.is_err(), "{what}");
    }
    let heard = ear.take();
    for line in heard.lines().filter(|line| line.contains(CANARY)) {
        assert!(
            line.contains(SICK),
            "{what}: in no span of that organisation: {line}"
        );
    }

    // Some meet an open circuit, some the probe after its pause. Each time they ask for a token they do not have.
    for pause in [0, 6, 60] {
        sleep(Duration::from_secs(pause)).await;
        drop(ear.take());
        let others = OTHERS.map(on_behalf_of).into_iter();
        for context in others.chain([TokenContext::new()]) {
            let context = context.resource(format!("urn:after:{pause}")).unwrap();
            if let Err(error) = sent(client, stage, context.clone()).await {
                let told = all_of(&error);
                assert!(!told.contains(CANARY), "{what}: {context:?} got {told}");
            }
        }
        for (place, told) in [
            ("logs and spans of others", ear.take()),
            ("health", format!("{:#?}", client.health())),
            ("stats", format!("{:#?}", client.stats())),
        ] {
            assert!(!told.contains(CANARY), "{what}: in {place}: {told}");
        }
        if let Some(error) = client.health().last_error {
            let told = all_of(&error.into());
            assert!(!told.contains(CANARY), "{what}: in health: {told}");
        }
        client.publish_metrics();
        let page = recorder.handle().render();
        assert!(!page.contains(CANARY), "{what}: in metrics: {page}");
    }
}

// ===== what a server says =====

/// An answer with the planted text in its headers too.
fn answer(status: u16, body: impl Into<Bytes>) -> (StatusCode, HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let names = [
        WWW_AUTHENTICATE,
        LOCATION,
        HeaderName::from_static("x-reason"),
    ];
    for name in names {
        headers.insert(name, HeaderValue::from_static(CANARY));
    }
    (StatusCode::from_u16(status).unwrap(), headers, body.into())
}

type Answer = (StatusCode, HeaderMap, Bytes);

/// A world whose servers give the first organisation this answer, and all others a token.
fn world_with(stage: Stage, answer: Answer) -> MaskinportenClient {
    let sim = Sim::new();
    let registered = sim.new_client(SCOPES);
    for organisation in OTHERS.into_iter().chain([SICK]) {
        sim.delegate(organisation, SUPPLIER, SCOPES[0]);
    }
    let servers = sim.clone();
    let servers = service_fn(move |request: Request<Bytes>| {
        let (servers, answer) = (servers.clone(), answer.clone());
        async move {
            if asked_by(&request) == Some(stage) {
                let (status, headers, body) = answer;
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                return Ok(response);
            }
            servers.oneshot(request.map(Body::from)).await
        }
    });
    let builder = world::builder(&sim, &registered);
    builder.transport(Transport::new(servers)).build().unwrap()
}

/// The stage at which a request is made for the first organisation; `None` for the requests of all others.
fn asked_by(request: &Request<Bytes>) -> Option<Stage> {
    let is_of_sick = |jws: &str| {
        let claims = jws.split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        String::from_utf8(claims).ok()?.contains(SICK).then_some(())
    };
    if let Some(bearer) = request.headers().get(AUTHORIZATION) {
        return is_of_sick(bearer.to_str().ok()?).map(|()| Stage::Exchange);
    }
    let form = std::str::from_utf8(request.body()).ok()?;
    let (_, assertion) = form.split_once("assertion=")?;
    is_of_sick(assertion).map(|()| Stage::Grant)
}

fn refusal(error: &str, code: &str) -> String {
    json!({
        "error": error,
        "error_description": format!("{CANARY} of {SICK}, {code} (trace_id: {CANARY})"),
        "error_uri": format!("https://sim.maskinporten.test/errors/{code}?{CANARY}"),
    })
    .to_string()
}

/// Everything that a token server refuses, known and unknown, with its status.
fn refusals() -> Vec<(String, Answer)> {
    let errors = [
        "invalid_request",
        "invalid_grant",
        "invalid_scope",
        "invalid_client",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
        "forbidden",
        "invalid_altinn_customer_configuration",
        "temporarily_unavailable",
        "server_error",
        CANARY,
    ];
    let known: Vec<_> = maskinporten::Advice::all()
        .filter_map(maskinporten::Advice::code)
        .collect();
    let mut rows = Vec::new();
    for error in errors {
        rows.push((error.to_owned(), answer(400, refusal(error, ""))));
        rows.push((
            format!("{error} MP-999"),
            answer(403, refusal(error, "MP-999")),
        ));
    }
    for code in known {
        rows.push((code.to_owned(), answer(400, refusal("invalid_grant", code))));
    }
    rows
}

/// What else either server can answer.
fn other_answers() -> Vec<(String, Answer)> {
    let problem = json!({
        "type": CANARY, "title": CANARY, "status": 400, "detail": CANARY, "traceId": CANARY,
        "errors": { "test": [CANARY] }, "message": CANARY,
    });
    let statuses = [200, 302, 400, 401, 403, 404, 408, 410, 429, 500, 503];
    let mut rows: Vec<_> = statuses
        .into_iter()
        .map(|status| {
            (
                format!("{status} problem"),
                answer(status, problem.to_string()),
            )
        })
        .collect();
    rows.push(("a page".to_owned(), answer(200, format!("<html>{CANARY}"))));
    let (status, mut headers, body) = answer(503, CANARY);
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    rows.push(("a throttle".to_owned(), (status, headers, body)));
    rows
}

/// What becomes of each row, all found before any is told.
async fn check_all(stage: Stage, rows: Vec<(String, Answer)>) {
    let ear = Ear::default();
    let _listening = ear.listen();
    for (what, answer) in rows {
        let client = world_with(stage, answer);
        check(&format!("{stage:?} {what}"), stage, &client, &ear).await;
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_refusal_of_the_token_server_is_told_to_another_organisation() {
    check_all(Stage::Grant, refusals()).await;
}

#[tokio::test(start_paused = true)]
async fn no_other_answer_of_the_token_server_is_told_to_another_organisation() {
    let mut rows = other_answers();
    let unusable = [
        json!({ "access_token": format!("{CANARY} \u{e6}"), "token_type": "Bearer", "expires_in": 120 }),
        json!({ "access_token": "opaque", "token_type": CANARY, "expires_in": 120 }),
        json!({ "access_token": "opaque", "token_type": "Bearer", "expires_in": CANARY }),
    ];
    rows.extend(unusable.map(|body| ("unusable".to_owned(), answer(200, body.to_string()))));
    check_all(Stage::Grant, rows).await;
}

#[tokio::test(start_paused = true)]
async fn no_answer_of_altinn_is_told_to_another_organisation() {
    let mut rows = other_answers();
    for text in ["subscription key", "organisation"] {
        let body = json!({ "statusCode": 401, "message": format!("no {text}: {CANARY}") });
        rows.push((format!("no {text}"), answer(401, body.to_string())));
    }
    check_all(Stage::Exchange, rows).await;
}

// ===== what a token source of the user's own says =====

type Fails = fn() -> Error;

/// Fails for the first organisation, and has a token for all others.
#[derive(Debug)]
struct Source {
    fails: Fails,
}

impl TokenSource for Source {
    fn identity(&self) -> SourceIdentity {
        SourceIdentity::new("own", "")
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest) -> BoxFuture<'a, Result<AccessToken>> {
        let is_of_sick = format!("{request:?}").contains(SICK);
        Box::pin(async move {
            if is_of_sick {
                Err((self.fails)().caused_by(CANARY))
            } else {
                AccessToken::new("own", Duration::from_secs(60))
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn no_error_of_a_token_source_is_told_to_another_organisation() {
    let ear = Ear::default();
    let _listening = ear.listen();
    let rows: [(&str, Fails); 6] = [
        ("unavailable", || Error::unavailable(CANARY)),
        ("rejected", || Error::rejected(CANARY)),
        ("settings", || Error::settings(CANARY)),
        ("key", || Error::key(CANARY)),
        ("request", || Error::request(CANARY)),
        ("runtime", || Error::runtime(CANARY)),
    ];
    for (what, fails) in rows {
        let client = MaskinportenClient::builder()
            .source(Source { fails })
            .clock(TokioClock::starting_at(UNIX_EPOCH))
            .build()
            .unwrap();
        check(&format!("source {what}"), Stage::Grant, &client, &ear).await;
        client.shutdown().await;
    }
}

// What the search is worth: the first organisation's own error has the text, and its own log line.
#[tokio::test(start_paused = true)]
async fn the_planted_text_reaches_the_organisation_that_it_is_about() {
    let ear = Ear::default();
    let _listening = ear.listen();
    let client = world_with(Stage::Grant, answer(400, refusal("invalid_target", "")));
    let error = sent(&client, Stage::Grant, on_behalf_of(SICK))
        .await
        .unwrap_err();
    assert!(all_of(&error).contains(CANARY), "{error:?}");

    let fails = || Error::unavailable(CANARY);
    let source = MaskinportenClient::builder().source(Source { fails });
    let client = source
        .clock(TokioClock::starting_at(UNIX_EPOCH))
        .build()
        .unwrap();
    let error = sent(&client, Stage::Grant, on_behalf_of(SICK))
        .await
        .unwrap_err();
    assert!(all_of(&error).contains(CANARY), "{error:?}");
    let heard = ear.take();
    let line = heard
        .lines()
        .find(|line| line.contains("WARN") && line.contains(CANARY));
    assert!(line.is_some_and(|line| line.contains(SICK)), "{heard}");
}
