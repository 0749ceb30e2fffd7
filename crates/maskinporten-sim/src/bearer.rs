//! How a bearer token is shown in a request (RFC 6750 §2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What the `Authorization` header holds.
pub(crate) enum Credentials<'a> {
    /// No header, or one of another scheme.
    Missing,
    /// One bearer token; not looked into yet.
    Bearer(&'a str),
    /// Several headers: nobody can tell which one is meant.
    Ambiguous,
}

pub(crate) fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Credentials::Missing;
    };
    if values.next().is_some() {
        return Credentials::Ambiguous;
    }
    match value.to_str().ok().and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Credentials::Bearer(token.trim())
        }
        _ => Credentials::Missing,
    }
}
