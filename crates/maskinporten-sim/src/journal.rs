//! What happened, in the order it arrived; tests ask this, never a counter of their own.
//!
//! * A request is entered when its verdict is reached. One that its caller gave up is entered then,
//!   as [`Verdict::Abandoned`].
//! * Tokens and assertions are shown decoded, without their signatures; secret headers as
//!   `[redacted]`. Requests to `/_sim/` are not entered.
//! * The newest 100 000 entries are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::Route;
use crate::clock::unix_milliseconds;
use crate::jws::Jws;

/// Entries kept; a day of virtual time with ten requests a second still fits in most tests.
const CAPACITY: usize = 100_000;

/// Headers shown as they are. All others are left out, so that no secret slips in by a new name.
const SHOWN: [&str; 9] = [
    "accept",
    "content-length",
    "content-type",
    "host",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
];

/// Headers whose presence is shown but not their value.
const HIDDEN: [&str; 3] = [
    "cookie",
    "ocp-apim-subscription-key",
    "x-altinn-enterpriseuser-authentication",
];

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It got what it asked for.
    Accepted,
    /// It was understood and refused.
    #[non_exhaustive]
    Refused {
        /// The OAuth error, or for routes without OAuth errors a word for what was wrong.
        error: String,
        /// Maskinporten's code, such as `MP-200`.
        code: Option<String>,
        /// What was wrong, in words; for the token endpoint as it was sent.
        description: String,
    },
    /// A fault answered it, or closed its connection; it was not judged.
    Fault,
    /// Its caller gave up before there was an answer.
    Abandoned,
}

// ===== impl Journal =====

/// The entries of one moment; it does not follow what happens later.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: Vec<Entry>,
}

impl Journal {
    /// All entries, in the order their requests arrived.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The requests to one route.
    pub fn requests(&self, route: Route) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.route() == Some(route))
    }

    /// How many requests the token endpoint got, whatever became of them.
    pub fn token_requests(&self) -> usize {
        self.requests(Route::Token).count()
    }

    /// How many of them were answered with a token.
    pub fn grants(&self) -> usize {
        self.requests(Route::Token)
            .filter(|entry| entry.is_accepted())
            .count()
    }

    /// How many requests the exchange endpoint got, whatever became of them.
    pub fn exchanges(&self) -> usize {
        self.requests(Route::Exchange).count()
    }

    /// How many requests the sidecar got, whatever became of them. What it asked the token endpoint
    /// counts among [`token_requests`](Self::token_requests), and has the user agent `sidecar`.
    pub fn sidecar_requests(&self) -> usize {
        self.requests(Route::Sidecar).count()
    }

    /// How many requests the protected API got, whatever became of them.
    pub fn api_calls(&self) -> usize {
        self.requests(Route::Api).count()
    }

    /// The journal as `/_sim/journal` gives it: an object with an array `entries`, each with its
    /// time in milliseconds since 1970.
    pub fn to_json(&self) -> Value {
        json!({ "entries": self.entries.iter().map(Entry::to_json).collect::<Vec<_>>() })
    }
}

// ===== impl Entry =====

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Entry {
    record: Arc<Record>,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) time: SystemTime,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) route: Option<Route>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) authorization: Option<Value>,
    pub(crate) assertion: Option<(Value, Value)>,
    pub(crate) asked: Option<Value>,
    pub(crate) issued: Option<Value>,
    pub(crate) from_memory: bool,
    pub(crate) verdict: Verdict,
    pub(crate) status: Option<StatusCode>,
}

impl Entry {
    /// When the request arrived, by the world's clock.
    pub fn time(&self) -> SystemTime {
        self.record.time
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.record.method
    }

    /// Path and query; anything in them that looks like a token is `[redacted]`.
    pub fn path(&self) -> &str {
        &self.record.path
    }

    /// Where it went; `None` for a path that nothing answers to.
    pub fn route(&self) -> Option<Route> {
        self.record.route
    }

    /// A header, by its name in lower case, if it is one that the journal shows.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.record
            .headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The `Authorization` header: an object with `scheme`, and `claims` where they could be read.
    pub fn authorization(&self) -> Option<&Value> {
        self.record.authorization.as_ref()
    }

    /// The JOSE header of the assertion, where one could be read.
    pub fn assertion_header(&self) -> Option<&Value> {
        self.record.assertion.as_ref().map(|(header, _)| header)
    }

    /// The claims of the assertion, where they could be read; not verified unless accepted.
    pub fn assertion_claims(&self) -> Option<&Value> {
        self.record.assertion.as_ref().map(|(_, claims)| claims)
    }

    /// What the sidecar was asked, where it could be read: an object with `target`, `skip_cache` and
    /// whatever else was sent, read or not. Anything that looks like a token is `[redacted]`.
    pub fn asked(&self) -> Option<&Value> {
        self.record.asked.as_ref()
    }

    /// True if the sidecar gave out a token it had, or one that was asked for by another request.
    pub fn is_from_memory(&self) -> bool {
        self.record.from_memory
    }

    /// The claims of the token that was given out.
    pub fn issued(&self) -> Option<&Value> {
        self.record.issued.as_ref()
    }

    /// How it ended.
    pub fn verdict(&self) -> &Verdict {
        &self.record.verdict
    }

    /// True if the request got what it asked for.
    pub fn is_accepted(&self) -> bool {
        self.record.verdict == Verdict::Accepted
    }

    /// The error of a refusal, such as `invalid_grant`.
    pub fn error(&self) -> Option<&str> {
        match &self.record.verdict {
            Verdict::Refused { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The code of a refusal, such as `MP-012`.
    pub fn code(&self) -> Option<&str> {
        match &self.record.verdict {
            Verdict::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// The status it was answered with; `None` if there was no answer.
    pub fn status(&self) -> Option<StatusCode> {
        self.record.status
    }

    fn to_json(&self) -> Value {
        let record = &*self.record;
        let (verdict, error, code, description) = match &record.verdict {
            Verdict::Accepted => ("accepted", None, None, None),
            Verdict::Refused {
                error,
                code,
                description,
            } => ("refused", Some(error), code.as_ref(), Some(description)),
            Verdict::Fault => ("fault", None, None, None),
            Verdict::Abandoned => ("abandoned", None, None, None),
        };
        let headers: Map<String, Value> = record
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "unix_ms": unix_milliseconds(record.time),
            "method": record.method.as_str(),
            "path": record.path,
            "route": record.route.map(Route::name),
            "headers": headers,
            "authorization": record.authorization,
            "assertion": record.assertion.as_ref().map(|(header, claims)| json!({ "header": header, "claims": claims })),
            "asked": record.asked,
            "issued": record.issued,
            "from_memory": record.from_memory,
            "verdict": verdict,
            "error": error,
            "code": code,
            "description": description,
            "status": record.status.map(|status| status.as_u16()),
        })
    }
}

impl Record {
    /// What is known of a request when it arrives.
    pub(crate) fn of(parts: &Parts, route: Option<Route>, time: SystemTime) -> Self {
        Self {
            time,
            method: parts.method.clone(),
            path: redacted(parts.uri.path_and_query().map_or("/", |path| path.as_str())),
            route,
            headers: shown(&parts.headers),
            authorization: authorization(&parts.headers),
            assertion: None,
            asked: None,
            issued: None,
            from_memory: false,
            verdict: Verdict::Abandoned,
            status: None,
        }
    }

    pub(crate) fn note_asked(&mut self, members: Map<String, Value>) {
        self.asked = Some(scrubbed(Value::Object(members)));
    }
}

/// The same value with every text in it, names of members too, as [`redacted`] leaves it.
fn scrubbed(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redacted(&text)),
        Value::Array(values) => values.into_iter().map(scrubbed).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (redacted(&name), scrubbed(value)))
            .collect(),
        other => other,
    }
}

fn shown(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let plain = SHOWN.into_iter().filter_map(|name| {
        let value = headers.get(name)?;
        Some((name, redacted(&String::from_utf8_lossy(value.as_bytes()))))
    });
    let hidden = HIDDEN
        .into_iter()
        .filter(|name| headers.contains_key(*name));
    plain
        .chain(hidden.map(|name| (name, "[redacted]".to_owned())))
        .collect()
}

fn authorization(headers: &HeaderMap) -> Option<Value> {
    let value = headers.get(http::header::AUTHORIZATION)?;
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    let (scheme, token) = parts.unwrap_or_default();
    // A secret without a scheme, or split by accident, is not shown as one.
    let is_scheme = (1..=MAX_SCHEME).contains(&scheme.len())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    Some(json!({
        "scheme": is_scheme.then_some(scheme),
        "claims": Jws::parse(token.trim()).map(|token| token.claims),
    }))
}

/// Room for the longest registered scheme, `SCRAM-SHA-256`, and a little more.
const MAX_SCHEME: usize = 16;

/// A JWT begins with the base64url of `{"`, which is `eyJ`, wherever it is put.
fn redacted(text: &str) -> String {
    text.split_inclusive(['/', '?', '&', '=', ' ', ','])
        .map(|piece| match piece.find("eyJ") {
            Some(start) => {
                let end = piece.trim_end_matches(['/', '?', '&', '=', ' ', ',']).len();
                format!("{}[redacted]{}", &piece[..start], &piece[end..])
            }
            None => piece.to_owned(),
        })
        .collect()
}

// ===== impl Book =====

/// The journal as it is written. Entries lie under the number of their arrival, so that requests
/// under way at the same time end up in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Book {
    arrivals: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Book {
    pub(crate) fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    pub(crate) fn enter(&mut self, arrival: u64, record: Record) {
        self.entries.insert(
            arrival,
            Entry {
                record: Arc::new(record),
            },
        );
        if self.entries.len() > CAPACITY {
            self.entries.pop_first();
        }
    }

    pub(crate) fn snapshot(&self) -> Journal {
        Journal {
            entries: self.entries.values().cloned().collect(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_is_redacted_wherever_it_stands() {
        assert_eq!(
            redacted("/token?assertion=eyJh.eyJi.c&x=1"),
            "/token?assertion=[redacted]&x=1"
        );
        assert_eq!(redacted("/api/eyJhbGci/next"), "/api/[redacted]/next");
        assert_eq!(redacted("/api/echo?test=true"), "/api/echo?test=true");
    }
}
