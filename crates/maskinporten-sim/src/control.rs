//! Faults over HTTP, for tests that reach a world only through its port.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};

use crate::fault::Action;
use crate::{Answer, Body, Fault, Route, World};

/// The longest list of faults that is read.
const MAX_BODY: usize = 256 * 1024;

/// `/_sim/faults`: what a `GET` lists, a `POST` takes, but for `answer`.
pub(crate) async fn faults(world: &World, method: &Method, body: Body) -> Answer {
    match *method {
        Method::GET => list(world),
        Method::POST => {
            let text = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => return unreadable("the body is cut short or too long"),
            };
            match read(&text) {
                Ok(rules) => {
                    let mut faults = world.faults();
                    for (route, fault) in rules {
                        faults.push(route, fault);
                    }
                    drop(faults);
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
    let rules = world.faults().in_force().map(write).collect();
    Answer::accepted(StatusCode::OK).json(&Value::Array(rules))
}

fn unreadable(reason: &str) -> Answer {
    Answer::refused(StatusCode::BAD_REQUEST, "invalid_fault", reason).text(reason)
}

/// The kinds, each with the members it asks for; those in the last place may be left out.
const KINDS: [(&str, &[&str], &[&str]); 8] = [
    ("latency", &["ms"], &[]),
    ("status", &["status"], &[]),
    ("hang", &[], &[]),
    ("truncated", &[], &[]),
    ("slow_body", &["bytes", "ms"], &[]),
    ("huge", &["length"], &["announced"]),
    ("content_type", &["content_type"], &[]),
    ("skew", &["seconds"], &[]),
];

/// Members that every kind has.
const COMMON: [&str; 3] = ["route", "kind", "times"];

/// Reads all rules or none.
fn read(text: &[u8]) -> Result<Vec<(Route, Fault)>, String> {
    let value = serde_json::from_slice(text)
        .map_err(|error| format!("not JSON: {error}. {}", known_kinds()))?;
    match value {
        Value::Array(rules) => rules.iter().map(read_one).collect(),
        rule => Ok(vec![read_one(&rule)?]),
    }
}

fn read_one(rule: &Value) -> Result<(Route, Fault), String> {
    let Some(rule) = rule.as_object() else {
        return Err(format!(
            "a fault is an object, or an array of them. {}",
            known_kinds()
        ));
    };
    let name = rule.get("route").and_then(Value::as_str);
    let route = Route::ALL
        .into_iter()
        .find(|route| Some(route.name()) == name)
        .ok_or_else(|| {
            let known = Route::ALL.map(Route::name).join(", ");
            format!("\"route\" is one of {known}")
        })?;
    let kind = rule.get("kind").and_then(Value::as_str).unwrap_or_default();
    let (_, asked, optional) = KINDS
        .into_iter()
        .find(|(known, ..)| *known == kind)
        .ok_or_else(known_kinds)?;
    let is_known = |member: &str| {
        COMMON.contains(&member) || asked.contains(&member) || optional.contains(&member)
    };
    if let Some(unknown) = rule.keys().find(|member| !is_known(member)) {
        let known = [&COMMON[..], asked, optional].concat().join(", ");
        return Err(format!(
            "unknown member {unknown:?}; \"{kind}\" takes {known}"
        ));
    }
    let fault = match kind {
        "latency" => Fault::latency(Duration::from_millis(whole(rule, "ms")?)),
        "status" => Fault::status(status(rule)?),
        "hang" => Fault::hang(),
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
        "content_type" => Fault::content_type(member(rule, "content_type", "a text", |value| {
            value.as_str().map(str::to_owned)
        })?),
        "skew" => Fault::skew(member(rule, "seconds", "a whole number", Value::as_i64)?),
        _ => return Err(known_kinds()),
    };
    match rule.get("times") {
        None | Some(Value::Null) => Ok((route, fault)),
        Some(_) => Ok((route, fault.times(whole(rule, "times")?))),
    }
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

fn write((route, fault): &(Route, Fault)) -> Value {
    let mut rule = match &fault.action {
        Action::Delay(delay) => json!({ "kind": "latency", "ms": milliseconds(*delay) }),
        Action::Answer(status, headers, body) if headers.is_empty() && body.is_empty() => {
            json!({ "kind": "status", "status": status.as_u16() })
        }
        // Made in Rust, and never read back: a copy without headers and body would be another fault.
        Action::Answer(status, ..) => json!({ "kind": "answer", "status": status.as_u16() }),
        Action::Hang => json!({ "kind": "hang" }),
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
    rule
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
