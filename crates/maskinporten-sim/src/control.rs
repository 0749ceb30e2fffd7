//! Faults over HTTP, for tests that reach a world only through its port.
//!
//! Most are rules, which hold for requests to come and are listed; some happen there and then: tokens
//! are revoked, keys are rolled.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};

use crate::condition::Condition;
use crate::fault::Action;
use crate::keys::IssuerKeys;
use crate::{Answer, Body, Fault, Route, World};

/// The longest list of faults that is read.
const MAX_BODY: usize = 256 * 1024;

/// `/_sim/faults`: what a `GET` lists, a `POST` takes, but for `answer`; and what happens at once.
pub(crate) async fn faults(world: &World, method: &Method, body: Body) -> Answer {
    match *method {
        Method::GET => list(world),
        Method::POST => {
            let text = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => return unreadable("the body is cut short or too long"),
            };
            match read(&text) {
                Ok(entries) => {
                    entries
                        .into_iter()
                        .for_each(|entry| entry.take_effect(world));
                    list(world)
                }
                Err(reason) => unreadable(&reason),
            }
        }
        Method::DELETE => {
            world.faults().clear();
            Answer::accepted(StatusCode::NO_CONTENT)
        }
        _ => Answer::method_not_allowed("GET, POST, DELETE"),
    }
}

fn list(world: &World) -> Answer {
    let rules = world.faults().in_force().into_iter().map(write).collect();
    Answer::accepted(StatusCode::OK).json(&Value::Array(rules))
}

fn unreadable(reason: &str) -> Answer {
    Answer::refused(StatusCode::BAD_REQUEST, "invalid_fault", reason).text(reason)
}

/// What is asked for: a rule for requests to come, or something that happens now.
enum Entry {
    Rule(Route, Fault),
    Revoke(Option<SystemTime>),
    RollKeys,
}

impl Entry {
    fn take_effect(self, world: &World) {
        match self {
            Self::Rule(route, fault) => world.faults().push(route, fault),
            Self::Revoke(Some(before)) => world.registry().revocation.before(before),
            Self::Revoke(None) => world.registry().revocation.all(),
            Self::RollKeys => world.replace_keys(IssuerKeys::new(true)),
        }
    }
}

/// The kinds, each with the members it asks for; those in the last place may be left out.
const KINDS: [(&str, &[&str], &[&str]); 13] = [
    ("latency", &["ms"], &[]),
    ("status", &["status"], &["headers", "body"]),
    ("problem", &["status", "title"], &["detail"]),
    ("refusal", &["error", "description"], &["code"]),
    ("hang", &[], &[]),
    ("disconnect", &[], &[]),
    ("truncated", &[], &[]),
    ("slow_body", &["bytes", "ms"], &[]),
    ("huge", &["length"], &["announced"]),
    ("content_type", &["content_type"], &[]),
    ("skew", &["seconds"], &[]),
    ("revoke", &[], &["before"]),
    ("roll_keys", &[], &[]),
];

/// The kinds that happen now.
const EVENTS: [&str; 2] = ["revoke", "roll_keys"];

/// Members that every rule can have: the last eight are its conditions.
const COMMON: [&str; 11] = [
    "route",
    "kind",
    "times",
    "client",
    "consumer",
    "system_user",
    "itself",
    "scope",
    "resource",
    "path",
    "under",
];

/// Reads all entries or none.
fn read(text: &[u8]) -> Result<Vec<Entry>, String> {
    let value = serde_json::from_slice(text)
        .map_err(|error| format!("not JSON: {error}. {}", known_kinds()))?;
    match value {
        Value::Array(rules) => rules.iter().map(read_one).collect(),
        rule => Ok(vec![read_one(&rule)?]),
    }
}

fn read_one(entry: &Value) -> Result<Entry, String> {
    let Some(entry) = entry.as_object() else {
        return Err(format!(
            "a fault is an object, or an array of them. {}",
            known_kinds()
        ));
    };
    let kind = entry.get("kind").and_then(Value::as_str);
    let kind = kind.unwrap_or_default();
    let (_, asked, optional) = KINDS
        .into_iter()
        .find(|(known, ..)| *known == kind)
        .ok_or_else(known_kinds)?;
    let common = match EVENTS.contains(&kind) {
        true => &["kind"][..],
        false => &COMMON,
    };
    let known = [common, asked, optional].concat();
    if let Some(unknown) = entry
        .keys()
        .find(|member| !known.contains(&member.as_str()))
    {
        let known = known.join(", ");
        return Err(format!(
            "unknown member {unknown:?}; \"{kind}\" takes {known}"
        ));
    }
    match kind {
        "revoke" => read_revocation(entry),
        "roll_keys" => Ok(Entry::RollKeys),
        _ => read_rule(kind, entry),
    }
}

fn read_revocation(entry: &Map<String, Value>) -> Result<Entry, String> {
    let since_epoch = |value: &Value| match value {
        Value::Null => Some(None),
        value => value.as_u64().map(Some),
    };
    let expected = "a whole number of seconds since 1970";
    let seconds = member(entry, "before", expected, since_epoch)?;
    let instant = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    match seconds.map(instant) {
        None => Ok(Entry::Revoke(None)),
        Some(Some(before)) => Ok(Entry::Revoke(Some(before))),
        Some(None) => Err(format!("\"before\" is {expected}")),
    }
}

fn read_rule(kind: &str, rule: &Map<String, Value>) -> Result<Entry, String> {
    let name = rule.get("route").and_then(Value::as_str);
    let route = Route::ALL
        .into_iter()
        .find(|route| Some(route.name()) == name)
        .ok_or_else(|| {
            let known = Route::ALL.map(Route::name).join(", ");
            format!("\"route\" is one of {known}")
        })?;
    let fault = match kind {
        "latency" => Fault::latency(Duration::from_millis(whole(rule, "ms")?)),
        "status" => {
            let body = optional_text(rule, "body")?.unwrap_or_default();
            Fault::answer(status(rule)?, headers(rule)?, body.to_owned())
        }
        "problem" => {
            let detail = optional_text(rule, "detail")?.unwrap_or_default();
            Fault::problem(status(rule)?, text(rule, "title")?, detail)
        }
        "refusal" => Fault::refusal(
            text(rule, "error")?,
            text(rule, "description")?,
            optional_text(rule, "code")?,
        ),
        "hang" => Fault::hang(),
        "disconnect" => Fault::disconnect(),
        "truncated" => Fault::truncated(),
        "slow_body" => {
            let bytes = usize::try_from(whole(rule, "bytes")?).unwrap_or(usize::MAX);
            Fault::slow_body(bytes, Duration::from_millis(whole(rule, "ms")?))
        }
        "huge" => {
            let length = whole(rule, "length")?;
            let announced = member(rule, "announced", "true or false", |value| match value {
                Value::Null => Some(true),
                value => value.as_bool(),
            })?;
            if announced {
                Fault::huge(length)
            } else {
                Fault::huge_unannounced(length)
            }
        }
        "content_type" => Fault::content_type(text(rule, "content_type")?),
        "skew" => Fault::skew(member(rule, "seconds", "a whole number", Value::as_i64)?),
        _ => return Err(known_kinds()),
    };
    let fault = read_conditions(fault, rule)?;
    match rule.get("times") {
        None | Some(Value::Null) => Ok(Entry::Rule(route, fault)),
        Some(_) => Ok(Entry::Rule(route, fault.times(whole(rule, "times")?))),
    }
}

fn read_conditions(mut fault: Fault, rule: &Map<String, Value>) -> Result<Fault, String> {
    for client in texts(rule, "client")? {
        fault = fault.for_client(client);
    }
    for number in texts(rule, "consumer")? {
        fault = fault
            .for_consumer(number)
            .map_err(|error| format!("\"consumer\" is {error}"))?;
    }
    for number in texts(rule, "system_user")? {
        fault = fault
            .for_system_user(number)
            .map_err(|error| format!("\"system_user\" is {error}"))?;
    }
    let itself = member(rule, "itself", "true or false", |value| match value {
        Value::Null => Some(false),
        value => value.as_bool(),
    })?;
    if itself {
        fault = fault.for_itself();
    }
    for scope in texts(rule, "scope")? {
        fault = fault.for_scope(scope);
    }
    for resource in texts(rule, "resource")? {
        fault = fault.for_resource(resource);
    }
    for path in texts(rule, "path")? {
        fault = fault.at_path(path);
    }
    for path in texts(rule, "under")? {
        fault = fault.under_path(path);
    }
    Ok(fault)
}

fn known_kinds() -> String {
    let kinds = KINDS.map(
        |(kind, asked, optional)| match [asked, optional].concat().join(", ") {
            none if none.is_empty() => kind.to_owned(),
            members => format!("{kind} ({members})"),
        },
    );
    format!("\"kind\" is one of {}", kinds.join(", "))
}

fn member<T>(
    rule: &Map<String, Value>,
    name: &str,
    expected: &str,
    parse: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, String> {
    parse(rule.get(name).unwrap_or(&Value::Null)).ok_or_else(|| format!("\"{name}\" is {expected}"))
}

fn text<'a>(rule: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    rule.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("\"{name}\" is a text"))
}

fn optional_text<'a>(rule: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match rule.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(rule, name).map(Some),
    }
}

/// The texts of a condition, all of which have to hold.
fn texts<'a>(rule: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>, String> {
    let texts: Option<Vec<_>> = match rule.get(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(several)) if !several.is_empty() => {
            several.iter().map(Value::as_str).collect()
        }
        Some(one) => one.as_str().map(|one| vec![one]),
    };
    texts.ok_or_else(|| format!("\"{name}\" is a text, or an array of at least one"))
}

fn whole(rule: &Map<String, Value>, name: &str) -> Result<u64, String> {
    member(rule, name, "a whole number, at least 0", Value::as_u64)
}

/// Below 200 lie the statuses after which another answer follows.
fn status(rule: &Map<String, Value>) -> Result<StatusCode, String> {
    member(rule, "status", "a whole number from 200 to 999", |value| {
        let status = u16::try_from(value.as_u64()?).ok()?;
        StatusCode::from_u16(status)
            .ok()
            .filter(|status| status.as_u16() >= 200)
    })
}

/// The headers of an answer, each with one text.
fn headers(rule: &Map<String, Value>) -> Result<HeaderMap, String> {
    let read = |value: &Value| match value {
        Value::Null => Some(HeaderMap::new()),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let name = name.parse::<HeaderName>().ok()?;
                let value = HeaderValue::from_str(value.as_str()?).ok()?;
                Some((name, value))
            })
            .collect(),
        _ => None,
    };
    let expected = "an object of texts that can stand in headers";
    member(rule, "headers", expected, read)
}

/// An answer as it can be read again; none where it holds what JSON cannot.
fn write_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let mut rule = json!({ "kind": "status", "status": status.as_u16() });
    if !headers.is_empty() {
        // A name that is there twice would be read as one.
        let single = headers.keys_len() == headers.len();
        let members = headers.iter().map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.to_string(), Value::from(value)))
        });
        let members: Option<Map<String, Value>> = members.collect();
        rule["headers"] = Value::Object(members.filter(|_| single)?);
    }
    if !body.is_empty() {
        rule["body"] = Value::from(std::str::from_utf8(body).ok()?);
    }
    Some(rule)
}

fn write((route, fault): (Route, &Fault)) -> Value {
    let mut rule = match &fault.action {
        Action::Delay(delay) => json!({ "kind": "latency", "ms": milliseconds(*delay) }),
        // What JSON cannot hold was made in Rust, and is told without being read back: a copy without
        // headers and body would be another fault.
        Action::Answer(status, headers, body) => write_answer(*status, headers, body)
            .unwrap_or_else(|| json!({ "kind": "answer", "status": status.as_u16() })),
        Action::Problem(problem) => {
            let mut rule = json!({
                "kind": "problem",
                "status": problem.status.as_u16(),
                "title": problem.title,
            });
            if !problem.detail.is_empty() {
                rule["detail"] = json!(problem.detail);
            }
            rule
        }
        Action::Refusal(refusal) => {
            let mut rule = json!({
                "kind": "refusal",
                "error": refusal.error,
                "description": refusal.description,
            });
            if let Some(code) = &refusal.code {
                rule["code"] = json!(code);
            }
            rule
        }
        Action::Hang => json!({ "kind": "hang" }),
        Action::Disconnect => json!({ "kind": "disconnect" }),
        Action::Truncate => json!({ "kind": "truncated" }),
        Action::Trickle { piece, pause } => {
            json!({ "kind": "slow_body", "bytes": piece, "ms": milliseconds(*pause) })
        }
        Action::Huge { length, announced } => {
            json!({ "kind": "huge", "length": length, "announced": announced })
        }
        Action::ContentType(media_type) => {
            json!({ "kind": "content_type", "content_type": media_type })
        }
        Action::Skew(seconds) => json!({ "kind": "skew", "seconds": seconds }),
    };
    rule["route"] = json!(route.name());
    if let Some(times) = fault.times {
        rule["times"] = json!(times);
    }
    for condition in &fault.conditions {
        write_condition(&mut rule, condition);
    }
    rule
}

/// One condition of a name is a text, several are an array.
fn write_condition(rule: &mut Value, condition: &Condition) {
    let (name, text) = match condition {
        Condition::Client(id) => ("client", id),
        Condition::Consumer(number) => ("consumer", number),
        Condition::SystemUser(number) => ("system_user", number),
        Condition::Scope(scope) => ("scope", scope),
        Condition::Resource(resource) => ("resource", resource),
        Condition::Path(path) => ("path", path),
        Condition::Under(path) => ("under", path),
        Condition::Itself => {
            rule["itself"] = json!(true);
            return;
        }
        Condition::Any => return,
    };
    match &mut rule[name] {
        Value::Array(several) => several.push(json!(text)),
        empty @ Value::Null => *empty = json!(text),
        one => *one = json!([one.take(), text]),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
