//! A token as a header (RFC 6750 §2.1), built once; and a challenge as it is read (§3).
//!
//! - The value is marked sensitive: HTTP/2 never indexes it, and its `Debug` shows nothing.
//! - Its bytes are wiped when the last clone of the value is dropped.
//! - A [`copy`] shares nothing with its original. One value cloned by two threads runs at a quarter
//!   of one thread's speed: its reference count is the contended line, whatever guards it. Each
//!   copy's count therefore has cache lines of its own.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

/// The scheme, and the space before the token.
const SCHEME: &str = "Bearer ";

/// `Bearer` and the token; none where the token holds what no header value may hold.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    // RFC 6750 §2.1 knows only these; a line break or a space would end up in the request.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(allowed) {
        return None;
    }
    value_of([SCHEME, token].concat().into_bytes())
}

/// The token inside a value made by [`bearer`].
pub(crate) fn token_of(bearer: &HeaderValue) -> &str {
    bearer
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix(SCHEME))
        .unwrap_or_default()
}

/// The same value in memory of its own.
pub(crate) fn copy(value: &HeaderValue) -> HeaderValue {
    // The bytes were checked when the original was made, so the fallback is never taken.
    value_of(value.as_bytes().to_vec()).unwrap_or_else(|| value.clone())
}

fn value_of(bytes: Vec<u8>) -> Option<HeaderValue> {
    let wiped = Wiped(Zeroizing::new(bytes.into_boxed_slice()));
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(wiped)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Bytes that are wiped when dropped. `Bytes` keeps its count beside its owner, so the alignment
/// keeps two counts from sharing a line, nor the pair of lines that processors fetch together.
#[repr(align(128))]
struct Wiped(Zeroizing<Box<[u8]>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Sets the header, in place of any that is there: one value leaves, never two. Not in place of a
/// sensitive one, of which it says that it is in the way.
///
/// The only place that inserts by a reference to the name, so that the map's code for it is made
/// once, for this name, and needs no call.
#[inline(never)]
pub(crate) fn set(headers: &mut HeaderMap, bearer: &HeaderValue) -> bool {
    match headers.insert(&AUTHORIZATION, bearer.clone()) {
        Some(displaced) => is_done(headers, displaced),
        None => true,
    }
}

/// Puts back what may be a token of ours.
#[cold]
fn is_done(headers: &mut HeaderMap, displaced: HeaderValue) -> bool {
    let in_the_way = displaced.is_sensitive();
    if in_the_way {
        headers.insert(AUTHORIZATION, displaced);
    }
    !in_the_way
}

/// Whether a value may be one of those made here, and not a caller's password.
pub(crate) fn is_own(value: &HeaderValue) -> bool {
    value.is_sensitive() && value.as_bytes().starts_with(SCHEME.as_bytes())
}

/// Sets the header, whatever is there.
pub(crate) fn set_over(headers: &mut HeaderMap, bearer: &HeaderValue) {
    headers.insert(AUTHORIZATION, bearer.clone());
}

/// Whether a 401 with these headers says that the token itself was not accepted.
///
/// It does where there is no challenge at all, or where a Bearer challenge carries no error or
/// `invalid_token`. It does not where the token was understood but is not enough
/// (`insufficient_scope`), or where only other schemes are offered.
pub(crate) fn rejects_the_token(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().peekable();
    if challenges.peek().is_none() {
        return true;
    }
    challenges.any(|challenges| {
        // A description in another alphabet than ASCII makes the rest no less readable.
        let challenges = String::from_utf8_lossy(challenges.as_bytes());
        holds_rejection(&challenges)
    })
}

/// Whether a response with these headers is gRPC's `UNAUTHENTICATED`, told before any body.
pub(crate) fn is_unauthenticated_grpc(headers: &HeaderMap) -> bool {
    // A status that comes after a body is in the trailers, and the answer has then been given.
    headers
        .get("grpc-status")
        .is_some_and(|status| status.as_bytes() == b"16")
}

/// Whether one of these challenges (RFC 9110 §11.6.1) is for a Bearer and rejects its token.
///
/// A comma divides challenges, and the parameters of one challenge too: a word that no `=` follows is
/// where the next begins. Servers forget commas between parameters, so a space divides them as well.
fn holds_rejection(challenges: &str) -> bool {
    let mut rest = challenges;
    let mut is_bearer = false;
    let mut rejects = false;
    let mut opens = true;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return rejects;
        }
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        rest = match (word, value) {
            (_, Some(text)) => {
                let (value, after) = value_of_parameter(text);
                // Without a value, what stands here is a token68 with its padding (RFC 9110 §11.2).
                let has_value = text.starts_with('"') || !value.trim_matches('=').is_empty();
                if is_bearer && has_value && word.eq_ignore_ascii_case("error") {
                    rejects = value.eq_ignore_ascii_case("invalid_token");
                }
                after
            }
            ("", None) if after.starts_with(',') => {
                opens = true;
                rest = &after[1..];
                continue;
            }
            // A quoted string that is no value of anything.
            ("", None) => value_of_parameter(after).1,
            (scheme, None) => {
                if opens {
                    if rejects {
                        return true;
                    }
                    is_bearer = scheme.eq_ignore_ascii_case("bearer");
                    rejects = is_bearer;
                }
                after
            }
        };
        opens = false;
    }
}

/// The value that `text` opens with, a token or a quoted string (RFC 9110 §5.6.4), and what follows.
fn value_of_parameter(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].into(), &text[end..]);
    };
    let mut value = String::new();
    let mut inside = quoted.chars();
    while let Some(found) = inside.next() {
        match found {
            '"' => break,
            '\\' => value.extend(inside.next()),
            found => value.push(found),
        }
    }
    (value.into(), inside.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_sensitive_and_holds_its_token() {
        let value = bearer("a.b-c_d~e+f/g=").unwrap();
        assert!(value.is_sensitive());
        assert_eq!(value.as_bytes(), b"Bearer a.b-c_d~e+f/g=");
        assert_eq!(token_of(&value), "a.b-c_d~e+f/g=");
        assert!(!format!("{value:?}").contains("a.b"));
    }

    #[test]
    fn what_no_header_may_hold_is_no_token() {
        for token in ["", "a b", "a\r\nb", "a\nX-Evil: 1", "æ", "a\u{0}", "\"a\""] {
            assert!(bearer(token).is_none(), "{token:?}");
        }
    }

    #[test]
    fn a_copy_is_equal_sensitive_and_elsewhere() {
        let value = bearer("token").unwrap();
        let copied = copy(&value);
        assert_eq!(copied, value);
        assert!(copied.is_sensitive());
        assert_ne!(copied.as_bytes().as_ptr(), value.as_bytes().as_ptr());
    }

    #[test]
    fn a_challenge_is_read_as_rfc_6750_writes_it() {
        let check = |challenges: &[&'static str], rejected: bool| {
            let mut headers = HeaderMap::new();
            for challenge in challenges {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            assert_eq!(rejects_the_token(&headers), rejected, "{challenges:?}");
        };
        check(&[], true);
        check(&["Bearer"], true);
        check(&["Bearer realm=\"api\""], true);
        check(
            &["bearer error=\"invalid_token\", error_description=\"expired\""],
            true,
        );
        check(&["Bearer error=invalid_token"], true);
        check(&["Basic realm=\"x\", Bearer realm=\"y\""], true);
        check(
            &["Basic realm=\"x\"", "Bearer error=\"invalid_token\""],
            true,
        );
        check(
            &["Bearer error=\"insufficient_scope\", scope=\"a:b\""],
            false,
        );
        check(&["Bearer realm=\"x\", error=\"invalid_request\""], false);
        check(&["Basic realm=\"x\""], false);
        check(&["Negotiate"], false);
        check(&["Basic realm=\"bearer of news\""], false);
        check(
            &["Bearer error=\"invalid_token\" error_description=\"no comma\""],
            true,
        );
        check(&["Bearer error = \"insufficient_scope\""], false);
        check(&["Negotiate abc==, Bearer"], true);
    }

    // Found by fuzzing.
    #[test]
    fn what_another_challenge_says_is_not_about_the_token() {
        let check = |challenge: &'static str, rejected: bool| {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            assert_eq!(rejects_the_token(&headers), rejected, "{challenge}");
        };
        check(
            "Bearer realm=\"x\", DPoP error=\"invalid_dpop_proof\", algs=\"ES256\"",
            true,
        );
        check(
            "Bearer error=\"insufficient_scope\", Basic error=\"invalid_token\"",
            false,
        );
        check(
            "Bearer error=\"insufficient_scope\", Bearer error=\"invalid_token\"",
            true,
        );
        check("Bearer realm=\"a, error=x\"", true);
        check("Bearer error=", true);
        check("Bearer error==, error=\"insufficient_scope\"", false);
        check("Bearer error=\"\"", false);
        check("Bearer realm=\"a\\\", error=x\"", true);
        check("Digest realm=\"x, bearer error=invalid_token\"", false);
    }
}
