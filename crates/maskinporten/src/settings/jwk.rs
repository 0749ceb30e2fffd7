//! A JWK given otherwise than as one JSON text with its own names.
//!
//! .NET reads configuration in any case and one variable for each member, so keys are found written
//! as `Jwk__N` or `"Kty"`. The key's own reader knows one spelling, that of RFC 7518.

use zeroize::Zeroizing;

use crate::key::members::{Member, Members};
use crate::secret::Secret;

/// The members of an RSA key as RFC 7517 and RFC 7518 §6.3 spell them.
const NAMES: [&str; 12] = [
    "kty", "use", "alg", "kid", "n", "e", "d", "p", "q", "dp", "dq", "qi",
];

/// The member that a name stands for, in whatever case it is written.
pub(super) fn own_name(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|own| own.eq_ignore_ascii_case(name))
}

/// One JWK of its members' texts.
pub(super) fn assembled<'a>(members: impl Iterator<Item = (&'static str, &'a str)>) -> Secret {
    // A member is at most the modulus in base64: 1.4 kB for the largest key.
    let mut json = String::with_capacity(16 * 1024);
    for (name, text) in members {
        json.push_str(if json.is_empty() { "{\"" } else { ",\"" });
        json.push_str(name);
        json.push_str("\":");
        // Text always serialises; were it not so, the key's reader would tell what is missing.
        let text = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
        json.push_str(&text);
    }
    json.push_str(if json.is_empty() { "{}" } else { "}" });
    Secret::from(json)
}

/// A JWK object as it stands; or, where a name is written in another case, one of the members above.
pub(super) fn with_its_own_names(json: &str) -> Secret {
    let Ok(members) = Members::parse(json) else {
        return Secret::from(json);
    };
    let foreign = |(name, _): (&str, Member<'_>)| own_name(name).is_some_and(|own| own != name);
    if !members.iter().any(foreign) {
        return Secret::from(json);
    }
    let texts: Vec<(&'static str, Zeroizing<String>)> = NAMES
        .into_iter()
        .filter_map(|own| Some((own, text(&members, own)?)))
        .collect();
    assembled(texts.iter().map(|(name, text)| (*name, text.as_str())))
}

/// A member's text, in its own case before any other.
fn text(members: &Members<'_>, own: &str) -> Option<Zeroizing<String>> {
    let mut written = members
        .iter()
        .filter(|(name, _)| own.eq_ignore_ascii_case(name));
    let member = members
        .get(own)
        .or_else(|| written.next().map(|(_, member)| member))?;
    match member {
        Member::Text(text) => Some(text),
        _ => None,
    }
}
