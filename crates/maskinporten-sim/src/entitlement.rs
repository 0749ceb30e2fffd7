//! May this client have what it asks for: scopes, another organisation, a system user, an audience?
//!
//! Checked in this order: `consumer_org`, scopes, grants or delegations, `resource`,
//! `authorization_details`.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use x509_cert::der::DateTime;

use crate::assertion::Authenticated;
use crate::refusal::Refusal;
use crate::registry::{ClientRegistration, DEFAULT_OWNER, Registry};

/// The authority of every Norwegian organisation number in a token.
pub(crate) const ORGANISATION_AUTHORITY: &str = "iso6523-actorid-upis";

/// The type of authorization details that ask for a system user.
const SYSTEM_USER: &str = "urn:altinn:systemuser";

/// Where delegations come from: Altinn's test environment, since nothing here is production.
const DELEGATION_SOURCE: &str = "https://tt02.altinn.no/";

/// The longest `externalRef`, in characters.
const MAX_EXTERNAL_REF: usize = 255;

/// What the token will say beside who issued it and when.
#[derive(Debug)]
pub(crate) struct Entitlement {
    pub(crate) scope: String,
    /// The shortest life its scopes allow, if any of them says.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) claims: Map<String, Value>,
}

pub(crate) fn entitle(
    registry: &Registry,
    grant: &Authenticated,
    now: SystemTime,
) -> Result<Entitlement, Refusal> {
    let client = &*grant.client;
    let consumer = consumer(&grant.claims, client)?;
    let scopes = scopes(&grant.claims, client)?;
    for scope in &scopes {
        match consumer {
            None if registry.ungranted.contains(*scope) => {
                return Err(Refusal::forbidden(format!(
                    "Consumer 0192:{} has not been granted access to the scope {scope}",
                    client.owner
                ))
                .code("MP-250"));
            }
            Some(consumer)
                if !registry
                    .delegations
                    .contains(&key(consumer, &client.owner, scope)) =>
            {
                return Err(Refusal::forbidden(format!(
                    "Consumer 0192:{consumer} has not delegated access to the scope {scope} to supplier 0192:{}",
                    client.owner
                ))
                .code("MP-251"));
            }
            _ => {}
        }
    }

    let mut claims = Map::new();
    claims.insert("client_amr".into(), json!(grant.method));
    claims.insert(
        "consumer".into(),
        organisation(consumer.unwrap_or(&client.owner)),
    );
    if consumer.is_some() {
        claims.insert("supplier".into(), organisation(&client.owner));
        claims.insert("delegation_source".into(), json!(DELEGATION_SOURCE));
    }
    if let Some(audience) = audience(&grant.claims)? {
        claims.insert("aud".into(), audience);
    }
    if let Some(pid) = grant.claims.get("pid") {
        if !pid.as_str().is_some_and(|pid| is_digits(pid, 11)) {
            return Err(Refusal::request("Invalid parameter value: pid").code("MP-011"));
        }
        claims.insert("pid".into(), pid.clone());
    }
    if let Some(details) = grant.claims.get("authorization_details") {
        let entry = authorization_details(registry, details, client, consumer, now)?;
        claims.insert("authorization_details".into(), json!([entry]));
    }

    let lifetime = scopes
        .iter()
        .filter_map(|scope| registry.scope_lifetimes.get(*scope))
        .min()
        .copied();
    Ok(Entitlement {
        scope: scopes.join(" "),
        lifetime,
        claims,
    })
}

fn organisation(number: &str) -> Value {
    json!({ "authority": ORGANISATION_AUTHORITY, "ID": format!("0192:{number}") })
}

fn key(consumer: &str, supplier: &str, scope: &str) -> (String, String, String) {
    (consumer.to_owned(), supplier.to_owned(), scope.to_owned())
}

pub(crate) fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The organisation the client acts for, if it is another than its own.
fn consumer<'a>(
    claims: &'a Map<String, Value>,
    client: &ClientRegistration,
) -> Result<Option<&'a str>, Refusal> {
    let Some(consumer) = claims.get("consumer_org") else {
        return Ok(None);
    };
    if claims.contains_key("iss_onbehalfof") {
        return Err(Refusal::request(
            "Invalid combination consumer_org and iss_onbehalfof",
        ));
    }
    match consumer.as_str().filter(|number| is_digits(number, 9)) {
        None => Err(Refusal::request(
            "Invalid parameter value: consumer_org is an organisation number of nine digits",
        )
        .code("MP-011")),
        Some(number) if number == client.owner => Err(Refusal::request(
            "Invalid combination consumer_org and client: the number is the client's own",
        )),
        other => Ok(other),
    }
}

/// The scopes asked for, in that order, without doubles.
fn scopes<'a>(
    claims: &'a Map<String, Value>,
    client: &ClientRegistration,
) -> Result<Vec<&'a str>, Refusal> {
    let text = claims
        .get("scope")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut scopes = Vec::new();
    for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        return Err(Refusal::scope("Missing or empty scope"));
    }
    if client.integration_type != "maskinporten" {
        return Err(Refusal::scope(format!(
            "Scopes not allowed for maskinporten: integration type of the client is {}",
            client.integration_type
        ))
        .code("MP-201"));
    }
    let foreign: Vec<&str> = scopes
        .iter()
        .copied()
        .filter(|scope| !client.scopes.contains(*scope))
        .collect();
    if !foreign.is_empty() {
        return Err(Refusal::scope(format!(
            "Requested invalid scopes for client: {}",
            foreign.join(" ")
        ))
        .code("MP-200"));
    }
    Ok(scopes)
}

/// `aud` of the token: as many values as `resource` named.
fn audience(claims: &Map<String, Value>) -> Result<Option<Value>, Refusal> {
    let resources = match claims.get("resource") {
        None => return Ok(None),
        Some(Value::Array(several)) => several.iter().map(Value::as_str).collect(),
        Some(one) => one.as_str().map(|one| vec![one]),
    };
    let Some(resources) = resources else {
        return Err(Refusal::new(
            "invalid_target",
            "Invalid resource: expected a URI, or an array of them",
        ));
    };
    if resources.iter().any(|resource| resource.contains('#')) {
        return Err(Refusal::new(
            "invalid_target",
            "Invalid resource: the URI must not have a fragment",
        ));
    }
    Ok(match resources.as_slice() {
        [] => None,
        [one] => Some(json!(one)),
        several => Some(json!(several)),
    })
}

// ===== authorization details (RFC 9396) =====

fn details(description: impl Into<String>) -> Refusal {
    Refusal::new("invalid_authorization_details", description)
}

fn authorization_details(
    registry: &Registry,
    details_claim: &Value,
    client: &ClientRegistration,
    consumer: Option<&str>,
    now: SystemTime,
) -> Result<Value, Refusal> {
    let entry = match details_claim.as_array().map(Vec::as_slice) {
        Some([Value::Object(entry)]) => entry,
        _ => {
            return Err(details(
                "Invalid authorization_details: expected an array with exactly one entry",
            ));
        }
    };
    match entry.get("type").and_then(Value::as_str) {
        Some(SYSTEM_USER) => system_user(registry, entry, client),
        Some("urn:altinn:consent") => {
            consent(registry, entry, consumer.unwrap_or(&client.owner), now)
        }
        _ => Err(details("Unknown authorization details type").code("MP-301")),
    }
}

fn only(entry: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match entry.keys().find(|field| !known.contains(&field.as_str())) {
        Some(field) => {
            Err(details(format!("Unknown fields in authorization details: {field}")).code("MP-302"))
        }
        None => Ok(()),
    }
}

fn unknown_value(field: &str) -> Refusal {
    details(format!(
        "Unknown fields in authorization details: invalid or missing {field}"
    ))
    .code("MP-302")
}

fn system_user(
    registry: &Registry,
    entry: &Map<String, Value>,
    client: &ClientRegistration,
) -> Result<Value, Refusal> {
    only(entry, &["type", "systemuser_org", "externalRef"])?;
    let org = entry
        .get("systemuser_org")
        .and_then(Value::as_object)
        .ok_or_else(|| unknown_value("systemuser_org"))?;
    only(org, &["authority", "ID"])?;
    if org.get("authority").and_then(Value::as_str) != Some(ORGANISATION_AUTHORITY) {
        return Err(unknown_value("systemuser_org.authority"));
    }
    let id = org
        .get("ID")
        .and_then(Value::as_str)
        .ok_or_else(|| unknown_value("systemuser_org.ID"))?;
    let reference = match entry.get("externalRef") {
        None => None,
        Some(reference) => Some(
            reference
                .as_str()
                .filter(|text| is_external_ref(text))
                .ok_or_else(|| unknown_value("externalRef"))?,
        ),
    };

    let users: Vec<_> = registry
        .system_users
        .iter()
        .filter(|user| {
            Some(user.organisation.as_str()) == id.strip_prefix("0192:")
                && user.client_id == client.client_id
        })
        .collect();
    // Without a reference there has to be exactly one system user, made without one.
    let user = match reference {
        Some(_) => users
            .iter()
            .find(|user| user.external_ref.as_deref() == reference),
        None => match users.as_slice() {
            [user] if user.external_ref.is_none() => Some(user),
            _ => None,
        },
    };
    let user = user.ok_or_else(|| {
        Refusal::new(
            "invalid_altinn_customer_configuration",
            format!("System user not found for {id}: not approved, client not on the system, or externalRef missing or wrong"),
        )
        .code("MP-303")
    })?;
    Ok(json!({
        "type": SYSTEM_USER,
        "systemuser_org": organisation(&user.organisation),
        "systemuser_id": [user.id],
        "system_id": format!("{}_simulated_system", client.owner),
    }))
}

/// True for an entry of `authorization_details` that asks for a system user.
pub(crate) fn is_system_user(entry: &Value) -> bool {
    entry.get("type").and_then(Value::as_str) == Some(SYSTEM_USER)
}

/// Letters, digits, æ, ø, å, `_` and `-`, at most 255 of them.
fn is_external_ref(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "æøåÆØÅ_-".contains(c);
    (1..=MAX_EXTERNAL_REF).contains(&text.chars().count()) && text.chars().all(known)
}

fn consent(
    registry: &Registry,
    entry: &Map<String, Value>,
    receiver: &str,
    now: SystemTime,
) -> Result<Value, Refusal> {
    only(entry, &["type", "id", "from"])?;
    let id = entry
        .get("id")
        .and_then(Value::as_str)
        .ok_or_else(|| unknown_value("id"))?;
    let from = entry
        .get("from")
        .and_then(Value::as_str)
        .filter(|from| is_giver(from))
        .ok_or_else(|| unknown_value("from"))?;
    if registry.consents.get(id).map(String::as_str) != Some(from) {
        return Err(Refusal::new(
            "invalid_altinn_customer_configuration",
            format!("Consent {id} is not given by the one named in from"),
        ));
    }
    Ok(json!({
        "type": "urn:altinn:consent",
        "id": id,
        "from": from,
        "to": format!("urn:altinn:organization:identifier-no:{receiver}"),
        "consented": date(now),
        "validTo": date(now + CONSENT_LIFE),
        "consentRights": [{
            "action": ["consent"],
            "resource": [{ "type": "urn:altinn:resource", "value": format!("sim_{DEFAULT_OWNER}") }],
        }],
    }))
}

/// A simulated consent is always good for another day.
const CONSENT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A time as RFC 3339 writes it; `null` after the year 9999.
fn date(at: SystemTime) -> Option<String> {
    DateTime::from_system_time(at)
        .ok()
        .map(|date| date.to_string())
}

fn is_giver(from: &str) -> bool {
    from.strip_prefix("urn:altinn:person:identifier-no:")
        .is_some_and(|pid| is_digits(pid, 11))
        || from
            .strip_prefix("urn:altinn:organization:identifier-no:")
            .is_some_and(|number| is_digits(number, 9))
}
