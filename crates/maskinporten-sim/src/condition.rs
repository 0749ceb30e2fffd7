//! Whose a request is and where it goes: what a fault can ask of it.
//!
//! | | token endpoint | exchange, API | sidecar |
//! | --- | --- | --- | --- |
//! | read from | the assertion | the bearer | the body |
//! | client | `iss` | `client_id` | the client it acts as |
//! | consumer | `consumer_org` | `consumer`, if `supplier` is there | never: it does not read `consumer_org` |
//! | system user | `authorization_details` | `authorization_details` | `authorization_details` |
//! | scope | `scope` | `scope` | `target` |
//! | resource | `resource` | `aud` | `resource` |
//!
//! Signatures and times are not checked here. A request of which one of these members has the wrong
//! type, and a request without a readable assertion, bearer or body, has a path and no identity.

use std::fmt;

use serde_json::Value;

use crate::entitlement::{is_digits, is_system_user};
use crate::registry::bare;
use crate::route::lies_under;

/// One condition of a fault, or one fact about a request.
///
/// The order of the variants is that of the index: of the conditions of a fault, the first by this
/// order is the one that it is found by. It should be the one that the fewest requests meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Condition {
    /// An organisation number without prefix.
    Consumer(String),
    /// An organisation number without prefix.
    SystemUser(String),
    /// A whole path, below that of the issuer.
    Path(String),
    Resource(String),
    Scope(String),
    Client(String),
    /// Neither consumer nor system user.
    Itself,
    /// A fact about every request. A fault that asks for no other fact is found by it.
    Any,
    /// A path that is this one or lies under it: compared with a fact, and never one.
    Under(String),
}

/// What is known about one request.
#[derive(Debug)]
pub(crate) struct Facts {
    known: Vec<Condition>,
    path: String,
}

impl Facts {
    /// A request to `path`, below that of the issuer, with the identity that could be read.
    pub(crate) fn new(path: &str, identity: Result<Vec<Condition>, Unreadable>) -> Self {
        let mut known = identity.unwrap_or_default();
        known.extend([Condition::Path(path.to_owned()), Condition::Any]);
        Self {
            known,
            path: path.to_owned(),
        }
    }

    pub(crate) fn known(&self) -> &[Condition] {
        &self.known
    }

    pub(crate) fn meet(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| match condition {
            Condition::Under(prefix) => lies_under(&self.path, prefix),
            fact => self.known.contains(fact),
        })
    }
}

/// The number in both notations, `0192:` or bare, as nine digits.
pub(crate) fn organisation(number: &str) -> Result<String, InvalidOrganisation> {
    let number = bare(number);
    if is_digits(number, 9) {
        Ok(number.to_owned())
    } else {
        Err(InvalidOrganisation(()))
    }
}

// ===== identities =====

/// A request without an identity: it is missing, or a part of it has the wrong type.
#[derive(Debug)]
pub(crate) struct Unreadable;

/// The identity in an assertion, given its claims.
pub(crate) fn of_assertion(claims: &Value) -> Result<Vec<Condition>, Unreadable> {
    Ok(identity(
        text(claims, "iss")?,
        text(claims, "consumer_org")?,
        system_user(claims.get("authorization_details"))?,
        text(claims, "scope")?,
        texts(claims.get("resource"))?,
    ))
}

/// The identity in an access token of either issuer, given its claims.
pub(crate) fn of_token(claims: &Value) -> Result<Vec<Condition>, Unreadable> {
    if !claims.is_object() {
        return Err(Unreadable);
    }
    // Every token has a consumer. In the client's own token it is the client's owner, and there is
    // no supplier.
    let consumer = match claims.get("supplier") {
        Some(_) => Some(consumer_id(claims).ok_or(Unreadable)?),
        None => None,
    };
    Ok(identity(
        text(claims, "client_id")?,
        consumer,
        system_user(claims.get("authorization_details"))?,
        text(claims, "scope")?,
        texts(claims.get("aud"))?,
    ))
}

/// The identity in what a sidecar is asked for, and who the sidecar is.
pub(crate) fn of_sidecar(
    client: Option<&str>,
    target: &str,
    resource: Option<&str>,
    details: Option<&Value>,
) -> Result<Vec<Condition>, Unreadable> {
    let user = system_user(details)?;
    let resources = resource.into_iter().collect();
    Ok(identity(client, None, user, Some(target), resources))
}

fn identity(
    client: Option<&str>,
    consumer: Option<&str>,
    system_user: Option<&str>,
    scope: Option<&str>,
    resources: Vec<&str>,
) -> Vec<Condition> {
    let number = |organisation: &str| bare(organisation).to_owned();
    let mut facts = Vec::new();
    facts.extend(client.map(|id| Condition::Client(id.to_owned())));
    facts.extend(consumer.map(|consumer| Condition::Consumer(number(consumer))));
    facts.extend(system_user.map(|user| Condition::SystemUser(number(user))));
    if consumer.is_none() && system_user.is_none() {
        facts.push(Condition::Itself);
    }
    let scopes = scope.into_iter().flat_map(|scope| scope.split(' '));
    let scopes = scopes.filter(|scope| !scope.is_empty());
    facts.extend(scopes.map(|scope| Condition::Scope(scope.to_owned())));
    let resources = resources.into_iter().map(str::to_owned);
    facts.extend(resources.map(Condition::Resource));
    facts
}

fn consumer_id(claims: &Value) -> Option<&str> {
    claims.pointer("/consumer/ID")?.as_str()
}

/// The organisation of the system user that is asked for, if one is.
fn system_user(details: Option<&Value>) -> Result<Option<&str>, Unreadable> {
    let Some(details) = details else {
        return Ok(None);
    };
    let mut entries = details.as_array().ok_or(Unreadable)?.iter();
    match entries.find(|entry| is_system_user(entry)) {
        Some(entry) => {
            let id = entry.pointer("/systemuser_org/ID").and_then(Value::as_str);
            id.map(Some).ok_or(Unreadable)
        }
        None => Ok(None),
    }
}

fn text<'a>(claims: &'a Value, name: &str) -> Result<Option<&'a str>, Unreadable> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Unreadable),
    }
}

/// One text, or an array of them.
fn texts(value: Option<&Value>) -> Result<Vec<&str>, Unreadable> {
    let texts: Option<Vec<_>> = match value {
        None => Some(Vec::new()),
        Some(Value::Array(several)) => several.iter().map(Value::as_str).collect(),
        Some(one) => one.as_str().map(|one| vec![one]),
    };
    texts.ok_or(Unreadable)
}

// ===== InvalidOrganisation =====

/// A text that is not an organisation number of nine digits, with or without `0192:`.
#[derive(Clone, Debug)]
pub struct InvalidOrganisation(());

impl fmt::Display for InvalidOrganisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an organisation number of nine digits, with or without `0192:`")
    }
}

impl std::error::Error for InvalidOrganisation {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use Condition::{Client, Consumer, Itself, Resource, Scope, SystemUser};

    type Fact = (fn(String) -> Condition, &'static str);

    #[track_caller]
    fn check(identity: Result<Vec<Condition>, Unreadable>, expected: &[Fact]) {
        let expected = expected.iter().map(|(fact, text)| fact((*text).to_owned()));
        let mut expected: Vec<_> = expected.collect();
        if !expected
            .iter()
            .any(|fact| matches!(fact, Consumer(_) | SystemUser(_)))
        {
            expected.push(Itself);
        }
        let mut identity = identity.unwrap();
        identity.sort();
        expected.sort();
        assert_eq!(identity, expected);
    }

    fn details(id: &str) -> Value {
        let organisation = json!({ "authority": "iso6523-actorid-upis", "ID": id });
        json!([{ "type": "urn:altinn:systemuser", "systemuser_org": organisation }])
    }

    #[test]
    fn an_assertion_says_whom_it_is_for_in_either_notation() {
        let assertion = json!({ "iss": "id", "scope": "a:b  a:c", "resource": "https://a" });
        let own: &[Fact] = &[
            (Client, "id"),
            (Scope, "a:b"),
            (Scope, "a:c"),
            (Resource, "https://a"),
        ];
        check(of_assertion(&assertion), own);

        for number in ["311169963", "0192:311169963"] {
            let assertion = json!({ "iss": "id", "consumer_org": number });
            check(
                of_assertion(&assertion),
                &[(Client, "id"), (Consumer, "311169963")],
            );
        }
        let assertion = json!({ "authorization_details": details("0192:311169963") });
        check(of_assertion(&assertion), &[(SystemUser, "311169963")]);
        let consent = json!([{ "type": "urn:altinn:consent" }]);
        check(
            of_assertion(&json!({ "authorization_details": consent })),
            &[],
        );
    }

    #[test]
    fn a_token_is_on_behalf_of_its_consumer_only_if_it_has_a_supplier() {
        let organisation = |number: &str| json!({ "ID": format!("0192:{number}") });
        let mut token = json!({
            "client_id": "id", "scope": "a:b", "aud": ["https://a", "https://b"],
            "consumer": organisation("311169963"),
        });
        let mut expected: Vec<Fact> = vec![
            (Client, "id"),
            (Scope, "a:b"),
            (Resource, "https://a"),
            (Resource, "https://b"),
        ];
        check(of_token(&token), &expected);
        token["supplier"] = organisation("991825827");
        expected.push((Consumer, "311169963"));
        check(of_token(&token), &expected);
    }

    #[test]
    fn what_cannot_be_read_has_no_identity() {
        for claims in [
            json!({ "consumer_org": 311_169_963 }),
            json!({ "scope": ["a:b"] }),
            json!({ "resource": [1] }),
            json!({ "authorization_details": "urn:altinn:systemuser" }),
            json!({ "authorization_details": [{ "type": "urn:altinn:systemuser" }] }),
        ] {
            assert!(of_assertion(&claims).is_err(), "{claims}");
        }
        assert!(of_token(&json!({ "supplier": {} })).is_err());
        assert!(of_token(&Value::Null).is_err());
    }
}
