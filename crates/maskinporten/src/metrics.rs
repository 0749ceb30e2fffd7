//! What a client counts and holds, through the `metrics` facade: to whatever recorder the process has.
//!
//! - What happens beside the path of most requests is recorded as it happens. Tokens that were there,
//!   and what is held now, are published when asked for
//!   ([`publish_metrics`](crate::MaskinportenClient::publish_metrics)) and when a flight ends.
//! - Labels are bounded: no organisation, no scope, no client id, and no text that a server has sent.
//! - Counters of several clients in one process add up. Gauges bear their client's name.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::request::TokenKind;
use crate::stats::{Lookup, Outcome, Stats, TokenStats, known_code};

/// A metric of this crate: its name, what it is and which labels it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// As Prometheus spells it.
    pub name: &'static str,
    /// What kind it is.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// What kind a [`Metric`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// What is now.
    Gauge,
    /// How often, by how much.
    Histogram,
}

const REQUESTS: Metric = Metric {
    name: "maskinporten_token_requests_total",
    kind: MetricKind::Counter,
    labels: &["authority", "outcome", "error_type", "error_code"],
    help: "Requests for a token, by what came of them.",
};

const DURATION: Metric = Metric {
    name: "maskinporten_token_request_duration_seconds",
    kind: MetricKind::Histogram,
    labels: &["authority", "outcome"],
    help: "How long requests for a token took.",
};

const LOOKUPS: Metric = Metric {
    name: "maskinporten_token_lookups_total",
    kind: MetricKind::Counter,
    labels: &["authority", "result"],
    help: "How often somebody needed a token, by what came of it.",
};

const REJECTED: Metric = Metric {
    name: "maskinporten_rejected_tokens_total",
    kind: MetricKind::Counter,
    labels: &["authority"],
    help: "Answers of APIs that did not accept their request's token.",
};

const REPLAYS: Metric = Metric {
    name: "maskinporten_replays_total",
    kind: MetricKind::Counter,
    labels: &["authority"],
    help: "Newer tokens given to requests whose token was not accepted.",
};

const EVICTED: Metric = Metric {
    name: "maskinporten_evicted_tokens_total",
    kind: MetricKind::Counter,
    labels: &["authority"],
    help: "Tokens that were evicted from the cache while they were still good.",
};

const QUEUE_WAIT: Metric = Metric {
    name: "maskinporten_fetch_queue_wait_seconds",
    kind: MetricKind::Histogram,
    labels: &["authority"],
    help: "How long fetches waited for their turn.",
};

const QUEUE_LENGTH: Metric = Metric {
    name: "maskinporten_fetch_queue_length",
    kind: MetricKind::Gauge,
    labels: &["authority", "client"],
    help: "Identities that wait for their turn to be fetched.",
};

const PERMITS: Metric = Metric {
    name: "maskinporten_fetch_permits",
    kind: MetricKind::Gauge,
    labels: &["authority", "client"],
    help: "How many fetches may be under way; fewer after the server has asked for fewer requests.",
};

const OPEN_CIRCUITS: Metric = Metric {
    name: "maskinporten_open_circuits",
    kind: MetricKind::Gauge,
    labels: &["authority", "client"],
    help: "Circuits that are open: the authority's, and those of single tenants.",
};

const RELOADS: Metric = Metric {
    name: "maskinporten_config_reloads_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    help: "Readings of the credentials' place that found something new, or nothing usable.",
};

const ENTRIES: Metric = Metric {
    name: "maskinporten_token_cache_entries",
    kind: MetricKind::Gauge,
    labels: &["authority", "client"],
    help: "Places for different tokens that are kept.",
};

const TOKEN_END: Metric = Metric {
    name: "maskinporten_token_expiry_timestamp_seconds",
    kind: MetricKind::Gauge,
    labels: &["authority", "client"],
    help: "When the first of the tokens that are good ends; 0 where none is.",
};

const KEY_END: Metric = Metric {
    name: "maskinporten_key_expiry_timestamp_seconds",
    kind: MetricKind::Gauge,
    labels: &["client"],
    help: "When the last of the client's keys ends; 0 where that is not known.",
};

const SKEW: Metric = Metric {
    name: "maskinporten_clock_skew_seconds",
    kind: MetricKind::Gauge,
    labels: &["client"],
    help: "The token server's clock minus this machine's, as last seen in a refusal.",
};

const SETTINGS_ERROR: Metric = Metric {
    name: "maskinporten_settings_error",
    kind: MetricKind::Gauge,
    labels: &["client"],
    help: "1 while the credentials cannot be read again, else 0.",
};

impl Metric {
    /// Every metric there is.
    pub const ALL: [Self; 16] = [
        REQUESTS,
        DURATION,
        LOOKUPS,
        REJECTED,
        REPLAYS,
        EVICTED,
        QUEUE_WAIT,
        QUEUE_LENGTH,
        PERMITS,
        OPEN_CIRCUITS,
        RELOADS,
        ENTRIES,
        TOKEN_END,
        KEY_END,
        SKEW,
        SETTINGS_ERROR,
    ];
}

/// What stands for an error's kind or code where there is none.
const NONE: &str = "none";

// ===== as it happens =====

pub(crate) fn looked_up(kind: TokenKind, result: Lookup, count: u64) {
    counter!(LOOKUPS.name, "authority" => kind.authority(), "result" => result.name())
        .increment(count);
}

pub(crate) fn requested(kind: TokenKind, outcome: Outcome<'_>, took: Duration) {
    requests(kind, outcome, 1);
    histogram!(DURATION.name, "authority" => kind.authority(), "outcome" => outcome.name())
        .record(took);
}

fn requests(kind: TokenKind, outcome: Outcome<'_>, count: u64) {
    let (error_type, error_code) = match outcome {
        Outcome::Failed(error) => (error.kind().name(), known_code(error).unwrap_or(NONE)),
        Outcome::Ok | Outcome::Lost => (NONE, NONE),
    };
    counter!(
        REQUESTS.name,
        "authority" => kind.authority(),
        "outcome" => outcome.name(),
        "error_type" => error_type,
        "error_code" => error_code,
    )
    .increment(count);
}

pub(crate) fn rejected(kind: TokenKind, count: u64) {
    counter!(REJECTED.name, "authority" => kind.authority()).increment(count);
}

pub(crate) fn replayed(kind: TokenKind, count: u64) {
    counter!(REPLAYS.name, "authority" => kind.authority()).increment(count);
}

pub(crate) fn evicted(kind: TokenKind, count: u64) {
    counter!(EVICTED.name, "authority" => kind.authority()).increment(count);
}

pub(crate) fn waited(kind: TokenKind, time: Duration) {
    histogram!(QUEUE_WAIT.name, "authority" => kind.authority()).record(time);
}

pub(crate) fn reloaded(is_ok: bool, count: u64) {
    let outcome = match is_ok {
        true => "ok",
        false => "failed",
    };
    counter!(RELOADS.name, "outcome" => outcome).increment(count);
}

impl Lookup {
    fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Failed => "failed",
        }
    }
}

impl Outcome<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "failed",
            Self::Lost => "lost",
        }
    }
}

// ===== when it is published =====

/// Tells the recorder what the metrics are, and that what has not happened yet has happened 0 times.
pub(crate) fn describe() {
    for Metric {
        name, kind, help, ..
    } in Metric::ALL
    {
        match kind {
            MetricKind::Counter => describe_counter!(name, help),
            MetricKind::Gauge => describe_gauge!(name, help),
            MetricKind::Histogram => describe_histogram!(name, Unit::Seconds, help),
        }
    }
    for kind in [TokenKind::Maskinporten, TokenKind::Altinn] {
        requests(kind, Outcome::Ok, 0);
        requests(kind, Outcome::Lost, 0);
        rejected(kind, 0);
        replayed(kind, 0);
        evicted(kind, 0);
        for result in Lookup::ALL {
            looked_up(kind, result, 0);
        }
    }
    reloaded(true, 0);
    reloaded(false, 0);
}

/// Publishes what a client holds now.
pub(crate) fn hold(client: &Arc<str>, stats: &Stats) {
    let tokens = |kind: TokenKind, stats: &TokenStats| {
        gauge!(ENTRIES.name, "authority" => kind.authority(), "client" => Arc::clone(client))
            .set(stats.entries as f64);
        gauge!(TOKEN_END.name, "authority" => kind.authority(), "client" => Arc::clone(client))
            .set(timestamp(stats.soonest_end));
        let queue = &stats.queue;
        let gauges = [
            (QUEUE_LENGTH, queue.waiting),
            (PERMITS, queue.permits),
            (OPEN_CIRCUITS, queue.open_circuits),
        ];
        for (metric, value) in gauges {
            gauge!(metric.name, "authority" => kind.authority(), "client" => Arc::clone(client))
                .set(value as f64);
        }
    };
    tokens(TokenKind::Maskinporten, &stats.maskinporten);
    tokens(TokenKind::Altinn, &stats.altinn);
    gauge!(KEY_END.name, "client" => Arc::clone(client)).set(timestamp(stats.key_ends_at));
    gauge!(SKEW.name, "client" => Arc::clone(client)).set(stats.clock_skew as f64);
    gauge!(SETTINGS_ERROR.name, "client" => Arc::clone(client))
        .set(f64::from(u8::from(stats.has_settings_error)));
}

/// Seconds since the epoch; 0 for no time at all.
fn timestamp(time: Option<SystemTime>) -> f64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.unwrap_or_default().as_secs_f64()
}
