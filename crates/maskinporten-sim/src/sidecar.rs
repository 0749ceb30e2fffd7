//! A token sidecar as the NAIS platform runs it beside a service: scopes in, a token out, and the
//! service never sees a key.
//!
//! * `POST` with JSON or a form: `identity_provider` and `target`, and if wanted `resource`,
//!   `authorization_details` and `skip_cache`. Members of other names are read over, `consumer_org`
//!   too; the journal shows all that was asked.
//! * A token is handed out again until two minutes before it expires; one that lives no longer than
//!   that, for half its life. `skip_cache` gets a new one.
//! * What it does not have, it gets at `/token` with an assertion of its own, which the journal shows
//!   as a request of its own. It asks once for all who wait, and does not try again.
//! * What Maskinporten refuses is passed on with its status, its error and its description.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};
use tower_service::Service;

use crate::clock::unix_seconds;
use crate::condition::{self, Condition, Unreadable};
use crate::issuer::GRANT_TYPE;
use crate::journal::{Record, Verdict};
use crate::jws::{self, Jws};
use crate::keys::RsaKey;
use crate::{Answer, Body, Sim, World};

/// Where it is asked, below the issuer.
pub(crate) const SIDECAR_PATH: &str = "api/v1/token";

/// The longest request that is read.
const MAX_BODY: usize = 256 * 1024;

/// How long before its end a token is no longer handed out.
const EXPIRY_MARGIN: Duration = Duration::from_secs(120);

/// `exp - iat` of its assertions: they are sent at once.
const ASSERTION_LIFE: u64 = 30;

/// Tells the sidecar's requests from those of clients in the journal.
const AGENT: HeaderValue = HeaderValue::from_static("sidecar");

/// The providers of the platform; a world has the first of them only.
const PROVIDERS: [&str; 5] = ["maskinporten", "entra_id", "azuread", "tokenx", "idporten"];

/// What is read of a request.
const MEMBERS: [&str; 5] = [
    "identity_provider",
    "target",
    "resource",
    "authorization_details",
    "skip_cache",
];

/// Who the sidecar is set up as, and what it remembers.
#[derive(Default)]
pub(crate) struct Sidecar {
    client: Option<Arc<Credentials>>,
    slots: HashMap<Asked, Arc<Slot>>,
}

/// What it signs with. Not a `SimClient`, which would keep its world alive from within.
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) kid: String,
    pub(crate) key: Arc<RsaKey>,
}

impl Sidecar {
    pub(crate) fn is_set_up(&self) -> bool {
        self.client.is_some()
    }

    pub(crate) fn has_key(&self, client_id: &str, kid: &str) -> bool {
        self.client
            .as_ref()
            .is_some_and(|client| client.client_id == client_id && client.kid == kid)
    }

    /// Starts anew: what it remembered is gone.
    pub(crate) fn set_up(&mut self, client: Credentials) {
        self.client = Some(Arc::new(client));
        self.slots.clear();
    }

    fn slot(&mut self, asked: &Asked) -> Arc<Slot> {
        self.slots.entry(asked.clone()).or_default().clone()
    }
}

// ===== what is asked =====

/// What tells one token from another, as it was written: the order of the scopes counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    target: String,
    resource: Option<String>,
    authorization_details: Option<Value>,
}

/// Reads the body; what it asks for is noted in the journal even if a fault answers the request.
pub(crate) async fn read(body: Body, headers: &HeaderMap, record: &mut Record) -> Option<Bytes> {
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .ok()?
        .to_bytes();
    if let Ok(members) = members(headers, &body) {
        record.note_asked(members);
    }
    Some(body)
}

/// The members of a JSON object, or the fields of a form as texts.
fn members(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, String> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err("the body is JSON but not an object".to_owned()),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        },
        "application/x-www-form-urlencoded" => {
            let mut members = Map::new();
            for (name, text) in form_urlencoded::parse(body) {
                // A form has only texts, so this one is read; in JSON a text is not good enough.
                let value = match text.parse() {
                    Ok(skip) if name == "skip_cache" => Value::Bool(skip),
                    _ => json!(text),
                };
                let earlier = members.insert(name.clone().into_owned(), value);
                if earlier.is_some() && MEMBERS.contains(&&*name) {
                    return Err(format!("the field {name} stands there twice"));
                }
            }
            Ok(members)
        }
        _ => Err(
            "the media type is neither application/json nor application/x-www-form-urlencoded"
                .to_owned(),
        ),
    }
}

/// What is asked for, and whether it has to be new.
fn understood(members: &Map<String, Value>) -> Result<(Asked, bool), String> {
    let provider = text(members, "identity_provider")?.ok_or("identity_provider is missing")?;
    if !PROVIDERS.contains(&provider) {
        return Err(format!(
            "identity_provider is one of {}",
            PROVIDERS.join(", ")
        ));
    }
    let target = text(members, "target")?.ok_or("target is missing")?;
    let resource = text(members, "resource")?;
    let authorization_details = details(members.get("authorization_details"))?;
    let skip_cache = match members.get("skip_cache") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(skip)) => *skip,
        Some(_) => return Err("skip_cache is true or false".to_owned()),
    };
    if provider != PROVIDERS[0] {
        return Err(not_enabled(provider));
    }
    let asked = Asked {
        target: target.to_owned(),
        resource: resource.map(str::to_owned),
        authorization_details,
    };
    Ok((asked, skip_cache))
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is a text")),
    }
}

/// An array of objects, or a text that holds one, which is how a form writes it. What stands in the
/// objects is for Maskinporten to judge.
fn details(value: Option<&Value>) -> Result<Option<Value>, String> {
    let details = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(other) => other.clone(),
    };
    match &details {
        Value::Array(entries) if entries.iter().all(Value::is_object) => Ok(Some(details)),
        _ => Err("authorization_details is an array of objects".to_owned()),
    }
}

fn not_enabled(provider: &str) -> String {
    format!("the identity provider {provider} is not enabled")
}

// ===== what is answered =====

/// Whose token the sidecar is asked for: what it would ask Maskinporten for.
pub(crate) fn identity(world: &World, record: &Record) -> Result<Vec<Condition>, Unreadable> {
    let members = record.asked.as_ref().and_then(Value::as_object);
    let (asked, _) = understood(members.ok_or(Unreadable)?).map_err(|_| Unreadable)?;
    let client = world.sidecar().client.clone();
    condition::of_sidecar(
        client.as_ref().map(|client| client.client_id.as_str()),
        &asked.target,
        asked.resource.as_deref(),
        asked.authorization_details.as_ref(),
    )
}

/// A token as Maskinporten answered it.
#[derive(Clone)]
struct Held {
    token: String,
    expires: SystemTime,
    kept_until: SystemTime,
}

/// One token's place.
#[derive(Default)]
struct Slot {
    held: Mutex<Option<Held>>,
    /// Whoever holds this asks Maskinporten; the others wait, and find what that one got. It is held
    /// across an await, so it is one of tokio's.
    turn: tokio::sync::Mutex<()>,
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, now: SystemTime) -> Option<Held> {
        self.held().clone().filter(|held| now < held.kept_until)
    }
}

/// Why there is no token.
struct Refused {
    status: StatusCode,
    error: String,
    description: String,
}

impl Refused {
    fn request(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: "invalid_request".to_owned(),
            description: description.into(),
        }
    }

    /// Maskinporten's answer made no sense.
    fn server(description: &str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "server_error".to_owned(),
            description: description.to_owned(),
        }
    }
}

/// `now` is what the sidecar's own clock says, which a fault may have put off; what it remembers goes
/// by the clock of the world, as it counts elapsed time only.
pub(crate) async fn token(
    world: &Arc<World>,
    parts: &Parts,
    body: Option<Bytes>,
    now: SystemTime,
    record: &mut Record,
) -> Answer {
    if parts.method != Method::POST {
        return Answer::method_not_allowed("POST");
    }
    match obtain(world, &parts.headers, body, now).await {
        Ok((held, from_memory)) => {
            record.issued = Jws::parse(&held.token).map(|token| Value::Object(token.claims));
            record.from_memory = from_memory;
            let left = held.expires.duration_since(world.clock.now());
            Answer::accepted(StatusCode::OK).json(&json!({
                "access_token": held.token,
                "expires_in": left.unwrap_or_default().as_secs(),
                "token_type": "Bearer",
            }))
        }
        Err(refused) => {
            let body = json!({ "error": refused.error, "error_description": refused.description });
            let verdict = Verdict::Refused {
                error: refused.error,
                code: None,
                description: refused.description,
            };
            Answer::new(refused.status, verdict).json(&body)
        }
    }
}

async fn obtain(
    world: &Arc<World>,
    headers: &HeaderMap,
    body: Option<Bytes>,
    now: SystemTime,
) -> Result<(Held, bool), Refused> {
    let body = body.ok_or_else(|| Refused::request("the body is cut short or too long"))?;
    let members = members(headers, &body).map_err(Refused::request)?;
    let (asked, skip_cache) = understood(&members).map_err(Refused::request)?;
    // The block ends the lock of the world, which no await may hold.
    let (client, slot) = {
        let mut sidecar = world.sidecar();
        let client = sidecar.client.clone();
        let client = client.ok_or_else(|| Refused::request(not_enabled(PROVIDERS[0])))?;
        (client, sidecar.slot(&asked))
    };
    if skip_cache {
        *slot.held() = None;
    }
    if let Some(held) = slot.current(world.clock.now()) {
        return Ok((held, true));
    }
    let _turn = slot.turn.lock().await;
    if let Some(held) = slot.current(world.clock.now()) {
        return Ok((held, true));
    }
    let held = granted(world, &client, &asked, now).await?;
    *slot.held() = Some(held.clone());
    Ok((held, false))
}

// ===== asking Maskinporten =====

/// Goes in by the same door as any client, so faults of `/token` and its journal hold here too.
async fn granted(
    world: &Arc<World>,
    client: &Credentials,
    asked: &Asked,
    now: SystemTime,
) -> Result<Held, Refused> {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", GRANT_TYPE)
        .append_pair("assertion", &assertion(world, client, asked, now))
        .finish();
    let mut request = Request::new(Body::from(form));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/token");
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    request.headers_mut().insert(USER_AGENT, AGENT);

    let mut maskinporten = Sim {
        world: world.clone(),
    };
    let response = maskinporten
        .call(request)
        .await
        .map_err(|_| Refused::server("Maskinporten closed the connection without an answer"))?;
    let (status, answer) = read_answer(response).await?;
    let member = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    if status.is_client_error() || status.is_server_error() {
        return match (member("error"), member("error_description")) {
            (Some(error), Some(description)) => Err(Refused {
                status,
                error,
                description,
            }),
            _ => Err(Refused::server("Maskinporten refused without saying why")),
        };
    }
    let life = answer.get("expires_in").and_then(Value::as_u64);
    let (Some(token), Some(life)) = (member("access_token"), life) else {
        return Err(Refused::server("Maskinporten answered without a token"));
    };
    let (now, life) = (world.clock.now(), Duration::from_secs(life));
    let kept = life
        .checked_sub(EXPIRY_MARGIN)
        .filter(|kept| !kept.is_zero())
        .unwrap_or(life / 2);
    Ok(Held {
        token,
        // A life beyond what a clock can show is none.
        expires: now.checked_add(life).unwrap_or(now),
        kept_until: now.checked_add(kept).unwrap_or(now),
    })
}

async fn read_answer(response: Response<Body>) -> Result<(StatusCode, Value), Refused> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|_| Refused::server("the answer of Maskinporten broke off"))?
        .to_bytes();
    let answer = serde_json::from_slice(&body)
        .map_err(|_| Refused::server("the answer of Maskinporten is not JSON"))?;
    Ok((parts.status, answer))
}

fn assertion(world: &World, client: &Credentials, asked: &Asked, now: SystemTime) -> String {
    let iat = unix_seconds(now);
    let mut claims = Map::new();
    claims.insert("aud".into(), json!(world.issuer()));
    claims.insert("iss".into(), json!(client.client_id));
    claims.insert("scope".into(), json!(asked.target));
    claims.insert("iat".into(), json!(iat));
    claims.insert("exp".into(), json!(iat + ASSERTION_LIFE));
    claims.insert("jti".into(), json!(world.registry().seed.uuid()));
    if let Some(resource) = &asked.resource {
        claims.insert("resource".into(), json!(resource));
    }
    if let Some(details) = &asked.authorization_details {
        claims.insert("authorization_details".into(), details.clone());
    }
    jws::sign(&claims, &client.kid, &client.key)
}
