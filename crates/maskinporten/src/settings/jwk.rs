//! A JWK in a section of settings: an object, a text that holds one, or one value for each member.

use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};
use crate::key::members::{Member, Members};
use crate::key::trim;
use crate::secret::Secret;

use super::values::{Section, Value};

/// The members of an RSA key as RFC 7517 and RFC 7518 §6.3 spell them. Others have no use here where each
/// has a value to itself.
const MEMBERS: [&str; 12] = [
    "kty", "use", "alg", "kid", "n", "e", "d", "p", "q", "dp", "dq", "qi",
];

/// Members that a tool writes of a key that is not there: they say how it would be used, and nothing of it.
const OF_NO_KEY: [&str; 7] = [
    "alg",
    "use",
    "kid",
    "key_ops",
    "KeyId",
    "KeyOps",
    "CryptoProviderFactory",
];

/// What a section gives as `name`, whole (`Jwk`) or member by member (`Jwk:n`). One without any member of a key
/// that is given, such as `{}`, is not given itself.
///
/// # Errors
///
/// Where it is of the wrong type, and where it is given whole and in parts.
pub(super) fn in_section(section: &Section, name: &str) -> Result<Option<Secret>> {
    let found = section.one(name)?.filter(|_| is_given(section, name));
    let whole = match found {
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

/// Whether a section gives something under the name of a key, usable or not.
pub(super) fn is_given(section: &Section, name: &str) -> bool {
    match section.one(name) {
        Ok(Some(Value::Text(json) | Value::Structure { json, .. })) => !is_blank(json.expose()),
        Ok(Some(Value::Twice(_))) | Err(_) => true,
        Ok(None) => false,
    }
}

/// Whether a text is JSON that holds no key and nothing in a key's place: `null`, an empty array, an object of
/// members that are null, blank, empty, or written of a key that is not there.
fn is_blank(json: &str) -> bool {
    let json = trim(json);
    if json == "null" {
        return true;
    }
    if let Some(items) = json.strip_prefix('[') {
        return items.trim_start() == "]";
    }
    // Not deeper: a member that holds empty ones is not what a tool writes for a key that is not there.
    let is_nothing = |(name, member): (&str, Member<'_>)| {
        let mut of_no_key = OF_NO_KEY.iter();
        member.is_empty()
            || matches!(member, Member::Other("a number" | "a boolean"))
            || of_no_key.any(|known| known.eq_ignore_ascii_case(name))
    };
    Members::parse(json).is_ok_and(|members| members.iter().all(is_nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Newtonsoft writes of `new JsonWebKey()`.
    const NEWTONSOFT: &str = r#"{
        "AdditionalData": {}, "Alg": null, "Crv": null, "D": null, "DP": null, "DQ": null, "E": null, "K": null,
        "KeyId": null, "KeyOps": [], "Kid": null, "Kty": null, "N": null, "Oth": [], "P": null, "Q": "", "QI": null,
        "Use": "sig", "X": null, "X5c": [], "X5t": null, "X5tS256": null, "X5u": null, "Y": null, "KeySize": 0,
        "HasPrivateKey": false, "CryptoProviderFactory": {
            "CryptoProviderCache": {}, "CustomCryptoProvider": null, "CacheSignatureProviders": true,
            "SignatureProviderObjectPoolCacheSize": 16
        }
    }"#;

    #[test]
    fn an_object_without_a_member_that_is_given_is_blank() {
        for blank in [
            "{}",
            " {\n} ",
            "[ ]",
            r#"{"kty": null, "n": "", "e": " ", "x5c": [], "oth": [ ], "AdditionalData": {}}"#,
            r#"{"keys": []}"#,
            " null\n",
            r#"{"kty": "", "KeySize": 0}"#,
            NEWTONSOFT,
        ] {
            assert!(is_blank(blank), "{blank}");
        }
        for given in [
            "",
            "{",
            r#"{"kty": "RSA"}"#,
            r#"{"Kty": "RSA", "KeySize": 0}"#,
            r#"{"JwkBase64": "e30="}"#,
            r#"{"x5c": [""]}"#,
            r#"[{}]"#,
        ] {
            assert!(!is_blank(given), "{given}");
        }
    }
}
