//! Credentials that change while a client lives: keys, clients, and what cannot be read.
//!
//! Time is paused. The source is a script unless a test is about files.

mod files;
mod keys;
mod taken;
mod task;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use maskinporten::{
    AltinnSettings, BoxFuture, Credentials, Error, ErrorKind, Finding, HealthState, KeyReference,
    MaskinportenClient, MaskinportenSettings, Result, SecretsDirectory, SettingsFile,
    SettingsSource, Signer, SigningAlgorithm, TokioClock, Transport,
};
use maskinporten_sim::{Fault, Route, Sim, SimClient};
use tokio::runtime::Handle;
use tokio::time::{Instant, advance, sleep};

use crate::child;
use crate::world::{self, SCOPES};

/// How often the script is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// An interval, and the second in which what is new settles.
const SEEN: Duration = Duration::from_millis(7_500);

// ===== a source that says what a test tells it to =====

#[derive(Clone, Debug)]
struct Script {
    says: Arc<Mutex<Says>>,
    looks: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
enum Says {
    Settings(Box<MaskinportenSettings>),
    Incomplete,
    Nothing,
    Fails,
    Hangs,
    Slowly(Box<MaskinportenSettings>, Duration),
    /// Other settings each time.
    Flickers(Box<[MaskinportenSettings; 2]>),
}

impl Script {
    fn new(registered: &SimClient) -> Self {
        Self {
            says: Arc::new(Mutex::new(Says::of(registered))),
            looks: Arc::default(),
        }
    }

    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Says {
    fn of(registered: &SimClient) -> Self {
        Self::Settings(Box::new(world::settings(registered)))
    }
}

impl SettingsSource for Script {
    fn name(&self) -> &str {
        "the script"
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        Box::pin(async {
            let look = self.looks.fetch_add(1, Ordering::SeqCst);
            let says = self.says.lock().unwrap().clone();
            match says {
                Says::Settings(settings) => Ok((*settings).into()),
                Says::Incomplete => Ok(Finding::Incomplete(vec!["ClientId".to_owned()])),
                Says::Nothing => Ok(Finding::Nothing),
                Says::Fails => Err(Error::unavailable("the script is out")),
                Says::Hangs => std::future::pending().await,
                Says::Slowly(settings, time) => {
                    sleep(time).await;
                    Ok((*settings).into())
                }
                Says::Flickers(settings) => Ok(settings[look % 2].clone().into()),
            }
        })
    }

    fn interval(&self) -> Option<Duration> {
        Some(INTERVAL)
    }
}

/// Remembers what is logged: targets, and how many days are told of.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Told>>>);

struct Told {
    target: &'static str,
    days: Option<u64>,
}

impl Log {
    fn count(&self, target: &str) -> usize {
        let told = self.0.lock().unwrap();
        told.iter().filter(|told| told.target == target).count()
    }

    fn days(&self) -> Vec<u64> {
        let told = self.0.lock().unwrap();
        told.iter().filter_map(|told| told.days).collect()
    }
}

impl tracing::field::Visit for Told {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        if field.name() == "days" {
            self.days = Some(value);
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let target = event.metadata().target();
        let mut told = Told { target, days: None };
        event.record(&mut told);
        self.0.lock().unwrap().push(told);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

async fn client_of(sim: &Sim, source: impl SettingsSource) -> MaskinportenClient {
    let credentials = Credentials::load(source).await.unwrap();
    MaskinportenClient::builder()
        .credentials(credentials)
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}

/// A client of settings that nobody watches.
fn fixed(sim: &Sim, settings: MaskinportenSettings) -> MaskinportenClient {
    MaskinportenClient::builder()
        .settings(settings)
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}

/// One token, fetched anew.
async fn fetch(client: &MaskinportenClient) -> Result<()> {
    client.invalidate(SCOPES).unwrap();
    client.access_token(SCOPES).await.map(drop)
}

/// What the assertions were signed with, in order, and whether each was taken.
fn kids(sim: &Sim) -> Vec<(String, bool)> {
    let journal = sim.journal();
    let grants = journal.requests(Route::Token);
    grants
        .map(|entry| {
            let kid = entry.assertion_header().unwrap()["kid"].as_str().unwrap();
            (kid.to_owned(), entry.is_accepted())
        })
        .collect()
}

fn signed(client: &SimClient) -> (String, bool) {
    (client.kid().to_owned(), true)
}

fn refused(client: &SimClient) -> (String, bool) {
    (client.kid().to_owned(), false)
}
