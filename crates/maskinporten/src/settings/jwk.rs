//! A JWK in a section of settings: an object, a text that holds one, or one value for each member.

use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};
use crate::key::members::Members;
use crate::key::trim;
use crate::secret::Secret;

use super::values::{Section, Value};

/// The members of an RSA key as RFC 7517 and RFC 7518 §6.3 spell them. Others have no use here where each
/// has a value to itself.
const MEMBERS: [&str; 12] = [
    "kty", "use", "alg", "kid", "n", "e", "d", "p", "q", "dp", "dq", "qi",
];

/// What a section gives as `name`, whole (`Jwk`) or member by member (`Jwk:n`). One without any member that
/// is given, such as `{}`, is not given itself.
///
/// # Errors
///
/// Where it is of the wrong type, and where it is given whole and in parts.
pub(super) fn in_section(section: &Section, name: &str) -> Result<Option<Secret>> {
    let whole = match section.one(name)? {
        Some(Value::Text(text)) => Some(text),
        Some(Value::Structure {
            kind: "an object",
            json,
        }) => Some(json),
        Some(Value::Structure { kind, .. }) => {
            let name = section.spelled(name);
            return Err(section.wrong(format!("{name} is {kind}, not an object")));
        }
        Some(Value::Twice(_)) | None => None,
    };
    let whole = whole.filter(|json| !is_blank(json.expose()));
    let parts = in_parts(section, name)?;
    if whole.is_some() && parts.is_some() {
        let (whole, part) = (section.spelled(name), section.spelled(&format!("{name}:n")));
        let message = format!("the key is given whole and in parts: {whole} and {part} …");
        return Err(Error::settings(message).with_advice(&advice::ONE_KEY));
    }
    Ok(whole.cloned().or(parts))
}

/// What a section gives as a set of keys: an object, an array, or a text that holds one.
///
/// # Errors
///
/// Where the section has the name twice.
pub(super) fn set_in_section(section: &Section, name: &str) -> Result<Option<Secret>> {
    let set = match section.one(name)? {
        Some(Value::Text(json) | Value::Structure { json, .. }) => Some(json),
        Some(Value::Twice(_)) | None => None,
    };
    Ok(set.filter(|json| !is_blank(json.expose())).cloned())
}

/// The key as one value for each member: `…__Jwk__kty`, `…__Jwk__n` and so on.
fn in_parts(section: &Section, key: &str) -> Result<Option<Secret>> {
    // A member is at most the modulus in base64, 1.4 kB for the largest key: no half-made copy is left
    // behind when the text grows.
    let mut json = String::with_capacity(16 * 1024);
    for name in MEMBERS {
        let Some(text) = section.text(&format!("{key}:{name}"))? else {
            continue;
        };
        json.push_str(if json.is_empty() { "{\"" } else { ",\"" });
        json.push_str(name);
        json.push_str("\":");
        // Text always serialises; were it not so, the key's reader would tell what is missing.
        let text = serde_json::to_string(text.expose().trim()).unwrap_or_default();
        json.push_str(&Zeroizing::new(text));
    }
    if json.is_empty() {
        return Ok(None);
    }
    json.push('}');
    Ok(Some(Secret::from(json)))
}

/// Whether a text is a JSON object or array that holds nothing: empty, or of null, blank and empty members.
fn is_blank(json: &str) -> bool {
    let json = trim(json);
    if let Some(items) = json.strip_prefix('[') {
        return items.trim_start() == "]";
    }
    // Not deeper: a member that holds empty ones is not what a tool writes for a key that is not there.
    Members::parse(json).is_ok_and(|members| members.iter().all(|(_, member)| member.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_a_member_that_is_given_is_blank() {
        for blank in [
            "{}",
            " {\n} ",
            "[ ]",
            r#"{"kty": null, "n": "", "e": " ", "x5c": [], "oth": [ ], "AdditionalData": {}}"#,
            r#"{"keys": []}"#,
        ] {
            assert!(is_blank(blank), "{blank}");
        }
        for given in [
            "",
            "{",
            r#"{"kty": "RSA"}"#,
            r#"{"kty": "", "KeySize": 0}"#,
            r#"{"x5c": [""]}"#,
            r#"[{}]"#,
        ] {
            assert!(!is_blank(given), "{given}");
        }
    }
}
