//! Spans and events, heard by a subscriber that counts, in processes of their own.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use maskinporten::{MaskinportenClient, TokenRequest};
use maskinporten_sim::{Fault, Route, Sim};
use tokio::time::{advance, sleep};
use tower::{Layer, Service};
use tracing::field::{Field, Visit};
use tracing::instrument::Instrument as _;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Subscriber;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{seconds, settle};
use crate::child;
use crate::world::{self, A, Recorder, SCOPES, get, layer};

/// Hears everything of this crate.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    spans: Vec<Span>,
    events: Vec<(Level, BTreeMap<String, String>)>,
}

#[derive(Clone, Debug)]
struct Span {
    id: Id,
    name: &'static str,
    has_parent: bool,
    fields: BTreeMap<String, String>,
    follows: Vec<Id>,
    is_closed: bool,
}

impl Ear {
    fn of_process() -> Self {
        let ear = Self::default();
        tracing_subscriber::registry().with(ear.clone()).init();
        ear
    }

    fn flights(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The texts at a level, with how many were suppressed before each.
    fn told(&self, level: Level) -> Vec<(String, Option<String>)> {
        let heard = self.0.lock().unwrap();
        let events = heard.events.iter().filter(|(of, _)| *of == level);
        events
            .map(|(_, fields)| (fields["message"].clone(), fields.get("suppressed").cloned()))
            .collect()
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut Span)) {
        let mut heard = self.0.lock().unwrap();
        // The number of a span that is closed may be another's.
        let mut spans = heard.spans.iter_mut().rev();
        if let Some(span) = spans.find(|span| span.id == *id) {
            change(span);
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("maskinporten::")
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Ear {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if !is_ours(attributes.metadata()) {
            return;
        }
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        self.0.lock().unwrap().spans.push(Span {
            id: id.clone(),
            name: attributes.metadata().name(),
            has_parent: attributes.parent().is_some() || attributes.is_contextual(),
            fields,
            follows: Vec::new(),
            is_closed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.change(id, |span| values.record(&mut Fields(&mut span.fields)));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        self.change(id, |span| span.follows.push(follows.clone()));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.change(&id, |span| span.is_closed = true);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if is_ours(event.metadata()) {
            let mut fields = BTreeMap::new();
            event.record(&mut Fields(&mut fields));
            let told = (*event.metadata().level(), fields);
            self.0.lock().unwrap().events.push(told);
        }
    }
}

/// Runs the rest of a test in a process of its own.
macro_rules! in_a_process_of_its_own {
    ($name:ident) => {
        if !child::is_here() {
            let name = concat!("observability::traces::", stringify!($name));
            child::run(name, &[]);
            return;
        }
    };
}

fn sim_and_client() -> (Sim, MaskinportenClient) {
    let sim = Sim::builder().token_lifetime(seconds(120)).build();
    let registered = sim.new_client(["krr:read", "altinn:serviceowner"]);
    let client = world::client(&sim, &registered);
    (sim, client)
}

// ===== spans =====

#[tokio::test(start_paused = true)]
async fn a_hit_makes_no_span_and_no_event_and_a_flight_makes_one_span() {
    in_a_process_of_its_own!(a_hit_makes_no_span_and_no_event_and_a_flight_makes_one_span);
    let ear = Ear::of_process();
    let (_sim, client) = sim_and_client();
    let layer = layer(&client);
    let mut kept = layer.layer(Recorder::new());
    let authorizer = client.authorizer(SCOPES, "https://api.example.no").unwrap();
    kept.call(get(A)).await.unwrap();
    assert_eq!(ear.flights().len(), 1);
    settle().await;

    let before = ear.0.lock().unwrap().events.len();
    for _ in 0..100 {
        kept.call(get(A)).await.unwrap();
        kept.clone().call(get(A)).await.unwrap();
        client.access_token(SCOPES).await.unwrap();
        let mut headers = http::HeaderMap::new();
        let uri = http::Uri::from_static(A);
        let _ = authorizer.authorize(&uri, &mut headers).await.unwrap();
    }
    assert_eq!(ear.flights().len(), 1);
    assert_eq!(ear.0.lock().unwrap().events.len(), before);

    // A renewal is a flight.
    advance(seconds(97)).await;
    kept.call(get(A)).await.unwrap();
    settle().await;
    let flights = ear.flights();
    assert_eq!(flights.len(), 2);
    assert_eq!(flights[0].fields["maskinporten.cache"], "miss");
    assert_eq!(flights[1].fields["maskinporten.cache"], "stale");
    assert!(flights.iter().all(|flight| flight.is_closed));
}

#[tokio::test(start_paused = true)]
async fn a_flight_follows_from_those_who_wait_and_is_nobodys_child() {
    in_a_process_of_its_own!(a_flight_follows_from_those_who_wait_and_is_nobodys_child);
    let ear = Ear::of_process();
    let (sim, client) = sim_and_client();
    sim.fault(Route::Token, Fault::latency(Duration::from_millis(50)));

    let requests: Vec<_> = (0..40)
        .map(|_| tracing::info_span!(target: "a_server", parent: None, "request"))
        .collect();
    let calls = requests.iter().map(|request| {
        let client = &client;
        async move {
            client.access_token(SCOPES).await.unwrap();
            // The caller's span is as it was.
            assert_eq!(tracing::Span::current().id(), request.id());
        }
        .instrument(request.clone())
    });
    join_all(calls).await;

    let [flight] = &ear.flights()[..] else {
        panic!("{:?}", ear.flights())
    };
    assert_eq!(flight.name, "maskinporten.token");
    assert!(!flight.has_parent);
    assert!(flight.is_closed);
    let first: Vec<_> = requests[..16]
        .iter()
        .filter_map(tracing::Span::id)
        .collect();
    assert_eq!(flight.follows, first);
}

#[tokio::test(start_paused = true)]
async fn the_spans_of_an_exchange_tell_whose_token_and_how_it_went() {
    in_a_process_of_its_own!(the_spans_of_an_exchange_tell_whose_token_and_how_it_went);
    let ear = Ear::of_process();
    let (_sim, client) = sim_and_client();
    client.altinn_token(["altinn:serviceowner"]).await.unwrap();
    let of_another = TokenRequest::scopes(["not:mine"]).unwrap();
    let of_another = of_another.consumer_org("991825827").unwrap();
    let refused = client.access_token(of_another).await.unwrap_err();

    let [token, exchange, failed] = &ear.flights()[..] else {
        panic!("{:?}", ear.flights())
    };
    assert_eq!(exchange.name, "altinn.exchange");
    assert_eq!(token.name, "maskinporten.token");
    // Both are for the one request: it waits for the exchange, and that for the token.
    assert_eq!(token.follows, exchange.follows);
    let field = |span: &Span, name: &str| span.fields.get(name).cloned();
    for span in [exchange, token] {
        assert_eq!(
            field(span, "maskinporten.scopes").unwrap(),
            "altinn:serviceowner"
        );
        assert_eq!(field(span, "maskinporten.source").unwrap(), "direct");
        assert_eq!(field(span, "maskinporten.consumer_org"), None);
        assert_eq!(field(span, "error.type"), None);
    }
    assert_eq!(field(exchange, "maskinporten.authority").unwrap(), "altinn");
    assert_eq!(
        field(token, "maskinporten.authority").unwrap(),
        "maskinporten"
    );
    assert_eq!(
        field(token, "maskinporten.token.expires_in_s").unwrap(),
        "120"
    );
    assert!(field(token, "maskinporten.kid").is_some());
    assert!(field(token, "maskinporten.client_id").is_some());
    assert_eq!(
        field(failed, "maskinporten.consumer_org").unwrap(),
        "991825827"
    );
    assert_eq!(
        field(failed, "error.type").unwrap(),
        "organisation_rejected"
    );
    assert_eq!(
        field(failed, "maskinporten.error_code").as_deref(),
        refused.code()
    );
    assert_eq!(
        field(failed, "maskinporten.trace_id").as_deref(),
        refused.trace_id()
    );
}

// ===== events =====

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_all_day_is_told_of_twice_a_minute() {
    in_a_process_of_its_own!(a_token_that_is_refused_all_day_is_told_of_twice_a_minute);
    let ear = Ear::of_process();
    let (_sim, client) = sim_and_client();
    let began = tokio::time::Instant::now();
    while began.elapsed() < seconds(300) {
        let _ = client.access_token(["not:mine"]).await.unwrap_err();
        sleep(Duration::from_millis(100)).await;
    }

    let warnings = ear.told(Level::WARN);
    assert_eq!(
        warnings[0],
        ("no token was fetched".to_owned(), Some("0".to_owned()))
    );
    assert!(warnings.len() <= 10, "{warnings:?}");
    let errors = ear.told(Level::ERROR);
    assert_eq!(errors.len(), 10, "{errors:?}");
    assert_eq!(errors[0].1.as_deref(), Some("0"));
    // Nothing is left out that is not counted: 300 s of ten a second.
    assert_eq!(errors[1].1.as_deref(), Some("299"));
    let heard = ear.0.lock().unwrap();
    let (_, warning) = heard
        .events
        .iter()
        .find(|(level, _)| *level == Level::WARN)
        .unwrap();
    assert!(warning["hint"].len() > 20, "{warning:?}");
    assert!(
        warning.contains_key("trace_id") && warning.contains_key("code"),
        "{warning:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_many_tokens_fills_no_log() {
    in_a_process_of_its_own!(an_outage_of_many_tokens_fills_no_log);
    let ear = Ear::of_process();
    let (sim, client) = sim_and_client();
    sim.fault(Route::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    let began = tokio::time::Instant::now();
    let mut asked = 0;
    while began.elapsed() < seconds(120) {
        let calls = (0..50).map(|number| {
            let request = TokenRequest::scopes(SCOPES).unwrap();
            client.access_token(request.resource(format!("urn:{number}")).unwrap())
        });
        asked += join_all(calls)
            .await
            .iter()
            .filter(|token| token.is_err())
            .count();
        sleep(Duration::from_millis(500)).await;
    }
    assert!(asked > 1_000, "{asked}");
    let warnings = ear.told(Level::WARN);
    let of_the_breaker = warnings
        .iter()
        .filter(|(text, _)| text.starts_with("the circuit is open"));
    let count = of_the_breaker.count();
    assert!((1..=4).contains(&count), "{warnings:?}");
    // A probe each few seconds at most is told besides, and nobody else's failure.
    assert!(warnings.len() <= 4 + 50, "{}", warnings.len());
    assert!(ear.told(Level::ERROR).len() <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_ahead_of_the_end_is_no_news_for_an_operator() {
    in_a_process_of_its_own!(a_renewal_ahead_of_the_end_is_no_news_for_an_operator);
    let ear = Ear::of_process();
    let (_sim, client) = sim_and_client();
    client.access_token(SCOPES).await.unwrap();
    advance(seconds(97)).await;
    client.access_token(SCOPES).await.unwrap();
    settle().await;
    let debug = ear.told(Level::DEBUG);
    let ahead = debug
        .iter()
        .filter(|(text, _)| text.contains("ahead of its end"));
    assert_eq!(ahead.count(), 1, "{debug:?}");
    for level in [Level::INFO, Level::WARN, Level::ERROR] {
        assert!(ear.told(level).is_empty());
    }
}
