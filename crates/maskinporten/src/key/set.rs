//! A JWK set (RFC 7517 §5) → the keys in it that sign, the one to sign first at the front.
//!
//! - What is in a set and is not ours to sign with is left out: public halves, other families, keys
//!   for encryption. What has a private part and is broken is an error: a key that is half there is
//!   more likely a mistake than a choice.
//! - Entries are named by their number; what stands in them may be a secret in the wrong place.

use std::cmp::Reverse;
use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::advice;
use crate::error::{Error, Result};

use super::der::refuse;
use super::foreign;
use super::members::{Fault, Given, Member, Members};
use super::{Beside, KeyOptions, SigningKey};

/// Most entries that are read. Maskinporten keeps five of a client; each private one costs a signature.
const MAXIMUM_LENGTH: usize = 32;

/// The entries of a text that is a set: an object with `keys`, or a bare array. `None` for one key.
pub(super) fn entries(json: &str) -> Result<Option<Vec<&str>>> {
    let array = if json.starts_with('[') {
        json
    } else {
        let members = Members::parse(json).map_err(|fault| foreign::not_json(json, fault))?;
        let is_keys = |name: &str| name.eq_ignore_ascii_case("keys");
        if members.has("kty") || !members.iter().any(|(name, _)| is_keys(name)) {
            return Ok(None);
        }
        match members.given("keys") {
            Given::Absent => "[]",
            Given::One(Member::Array(array), _) => array,
            Given::One(..) => {
                return refuse("`keys` of the JWK set is no array", &advice::KEY_SET);
            }
            Given::Differing => {
                return refuse("`keys` stands in the JWK set twice", &advice::KEY_SET);
            }
        }
    };
    let entries: Vec<&RawValue> =
        serde_json::from_str(array).map_err(|error| foreign::not_json(array, Fault::new(error)))?;
    if entries.len() > MAXIMUM_LENGTH {
        let message = format!(
            "the JWK set has {} entries, and at most {MAXIMUM_LENGTH} are read",
            entries.len()
        );
        return refuse(message, &advice::KEY_SET);
    }
    Ok(Some(entries.into_iter().map(RawValue::get).collect()))
}

/// Whether any entry is, or was to be, a key to sign with.
pub(super) fn has_signing_key(entries: &[&str]) -> bool {
    entries.iter().any(|entry| {
        Members::parse(entry).is_ok_and(|members| reason_to_leave_out(&members).is_none())
    })
}

pub(super) fn read(entries: &[&str], options: &KeyOptions) -> Result<Vec<SigningKey>> {
    let mut left_out = Vec::new();
    let mut used = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let members = Members::parse(entry).map_err(|fault| {
            let message = format!("entry {number} of the JWK set is {fault}");
            Error::key(message).with_advice(&advice::KEY_SET)
        })?;
        match reason_to_leave_out(&members) {
            Some(reason) => left_out.push(format!("entry {number} {reason}")),
            None => used.push((number, *entry)),
        }
    }
    if used.is_empty() {
        let why = if left_out.is_empty() {
            "it is empty".to_owned()
        } else {
            left_out.join(", ")
        };
        let mut error = Error::key(format!("the JWK set holds no key to sign with: {why}"))
            .with_advice(&advice::KEY_SET);
        for reason in left_out {
            error = error.with_detail("problem", reason);
        }
        return Err(error);
    }
    // A kid beside a set chooses; beside the only key of one it also names it, as beside any key.
    let (chosen, alone) = (options.kid(), used.len() == 1);
    if !alone && options.certificates().is_some() {
        return refuse(
            "certificates are given, and the JWK set has several keys they could be for",
            &advice::CERTIFICATE_OF_KEY,
        );
    }
    let mut keys: Vec<SigningKey> = Vec::with_capacity(used.len());
    for (number, json) in used {
        let beside = match Beside::read(options)? {
            Beside::Kid(kid) if alone && !names_itself(json) => Beside::Kid(kid),
            Beside::Kid(_) => Beside::Nothing,
            other => other,
        };
        let key = SigningKey::from_json(json, beside).map_err(|error| in_entry(number, &error))?;
        if key.kid().is_some() && keys.iter().any(|other| other.kid() == key.kid()) {
            let message = format!("entry {number} of the JWK set has the `kid` of another");
            return refuse(message, &advice::KEY_SET);
        }
        keys.push(key);
    }
    if chosen.is_some() && !keys.iter().any(|key| key.kid() == chosen) {
        let message = "the JWK set has no key to sign with of the `kid` that is given beside it";
        return refuse(message, &advice::KEY_SET_KID);
    }
    // Altinn's tool appends the new key and writes no `exp`: of keys that end together the last signs first.
    keys.reverse();
    keys.sort_by_key(|key| {
        (
            key.kid() != chosen || chosen.is_none(),
            Reverse(ending(key)),
        )
    });
    Ok(keys)
}

/// Without an end first: it never ends.
fn ending(key: &SigningKey) -> (bool, Option<SystemTime>) {
    let end = key.expires_at();
    (end.is_none(), end)
}

fn names_itself(json: &str) -> bool {
    Members::parse(json).is_ok_and(|members| members.has("kid"))
}

fn reason_to_leave_out(entry: &Members<'_>) -> Option<&'static str> {
    let text = |name: &str| match entry.given(name) {
        Given::One(Member::Text(text), _) => Some(text),
        _ => None,
    };
    let is = |name: &str, values: &[&str]| {
        text(name).is_some_and(|text| values.contains(&text.as_str()))
    };
    let private = ["d", "p", "q", "dp", "dq", "qi"];
    if is("kty", &["EC", "OKP", "oct"]) {
        Some("is of another family than RSA")
    } else if !private.iter().any(|name| entry.has(name)) {
        Some("is the public half of a key")
    } else if is("use", &["enc"]) {
        Some("is for encryption (`use`)")
    } else if is(
        "alg",
        &[
            "RSA1_5",
            "RSA-OAEP",
            "RSA-OAEP-256",
            "RSA-OAEP-384",
            "RSA-OAEP-512",
        ],
    ) {
        Some("is for encryption (`alg`)")
    } else if is("alg", &["PS256", "PS384", "PS512"]) {
        Some("signs with RSASSA-PSS (`alg`), which Maskinporten does not take")
    } else {
        None
    }
}

fn in_entry(number: usize, error: &Error) -> Error {
    let mut told = Error::key(format!("entry {number} of the JWK set: {error}"));
    if let Some(advice) = error.advice() {
        told = told.with_advice(advice);
    }
    for (name, value) in error.details() {
        told = told.with_detail(name, value);
    }
    told
}
