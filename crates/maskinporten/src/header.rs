//! A token as a header (RFC 6750 §2.1), built once; and a challenge as it is read (§3).
//!
//! - The value is marked sensitive: HTTP/2 never indexes it, and its `Debug` shows nothing.
//! - Its bytes are wiped when the last value that shows them is dropped.
//! - One value cloned by two threads runs at a quarter of one thread's speed: its reference count is the
//!   contended cache line, however it is guarded. [`Bearer::lend`] therefore makes another value over the same
//!   bytes, which are only read, with a reference count that has cache lines to itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, Entry, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// The scheme, and the space before the token.
const SCHEME: &str = "Bearer ";

/// `Bearer` and a token, as header values that share its bytes.
#[derive(Clone)]
pub(crate) struct Bearer {
    text: Arc<Text>,
    value: HeaderValue,
}

/// The bytes of a header value: wiped when dropped, and known to [`is_own`] until then.
struct Text {
    bytes: Zeroizing<Box<[u8]>>,
    hash: u64,
}

impl Text {
    fn new(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes.into_boxed_slice());
        let hash = HASHER.hash_one(&**bytes);
        *OWN.lock().get_or_insert_default().entry(hash).or_default() += 1;
        Self { bytes, hash }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Some(own) = OWN.lock().as_mut()
            && let Some(values) = own.get_mut(&self.hash)
        {
            *values -= 1;
            if *values == 0 {
                own.remove(&self.hash);
            }
        }
    }
}

/// The hashes of all texts that live, each with how many have it.
///
/// Asked where a request already has a sensitive header, so that an own one is recognised in constant time,
/// however many tokens are kept. A keyed hash of 64 bits: another header has the same one once in 10^19.
// Taken for one look-up or change, by functions that are not async and call no other code.
static OWN: Mutex<Option<HashMap<u64, usize>>> = Mutex::new(None);

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Bearer {
    /// None where the token holds a character that no header value may hold.
    pub(crate) fn new(token: &str) -> Option<Self> {
        // RFC 6750 §2.1 knows only these; a line break or a space would end up in the request.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if token.is_empty() || !token.bytes().all(allowed) {
            return None;
        }
        let text = Arc::new(Text::new([SCHEME, token].concat().into_bytes()));
        let value = value_over(&text)?;
        Some(Self { text, value })
    }

    /// The token alone.
    pub(crate) fn token(&self) -> &str {
        let token = self.text.bytes.get(SCHEME.len()..).unwrap_or_default();
        // Checked to be ASCII when it was made.
        str::from_utf8(token).unwrap_or_default()
    }

    /// The value that all callers by hand share.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Another value over the same bytes, for the threads of one stripe.
    pub(crate) fn lend(&self) -> HeaderValue {
        // The bytes were checked when the first was made, so the fallback is never taken.
        value_over(&self.text).unwrap_or_else(|| self.value.clone())
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer [redacted]")
    }
}

fn value_over(text: &Arc<Text>) -> Option<HeaderValue> {
    let lent = Lent(Arc::clone(text));
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(lent)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The owner of one value's bytes. `Bytes` keeps its reference count in the same allocation, ahead of the owner:
/// the alignment makes that two cache lines, the count alone in the first.
#[repr(align(64))]
struct Lent(Arc<Text>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// Sets the header if there is none. If there is one, all of its values stay, and this one is dropped.
///
/// The only place that appends by a reference to the name, so that the map's code for it is made once, for this
/// name, and needs no call. To append takes half the instructions of asking for the map's entry first.
#[inline(never)]
pub(crate) fn set_if_absent(headers: &mut HeaderMap, bearer: HeaderValue) -> bool {
    let was_there = headers.append(&AUTHORIZATION, bearer);
    if was_there {
        take_last_back(headers);
    }
    !was_there
}

#[cold]
fn take_last_back(headers: &mut HeaderMap) {
    let Entry::Occupied(entry) = headers.entry(AUTHORIZATION) else {
        return;
    };
    let mut values: Vec<HeaderValue> = entry.remove_entry_mult().1.collect();
    values.pop();
    for value in values {
        headers.append(AUTHORIZATION, value);
    }
}

/// Whether a value is one of those made here, of a token that is still kept, and not a caller's own secret.
pub(crate) fn is_own(value: &HeaderValue) -> bool {
    let may_be = value.is_sensitive() && value.as_bytes().starts_with(SCHEME.as_bytes());
    may_be && {
        let hash = HASHER.hash_one(value.as_bytes());
        OWN.lock()
            .as_ref()
            .is_some_and(|own| own.contains_key(&hash))
    }
}

/// Sets the header, in place of any that is there.
pub(crate) fn set_over(headers: &mut HeaderMap, bearer: HeaderValue) {
    headers.insert(AUTHORIZATION, bearer);
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
        let bearer = Bearer::new("a.b-c_d~e+f/g=").unwrap();
        assert!(bearer.value().is_sensitive());
        assert_eq!(bearer.value().as_bytes(), b"Bearer a.b-c_d~e+f/g=");
        assert_eq!(bearer.token(), "a.b-c_d~e+f/g=");
        assert!(!format!("{bearer:?} {:?}", bearer.value()).contains("a.b"));
    }

    #[test]
    fn what_no_header_may_hold_is_no_token() {
        for token in ["", "a b", "a\r\nb", "a\nX-Evil: 1", "æ", "a\u{0}", "\"a\""] {
            assert!(Bearer::new(token).is_none(), "{token:?}");
        }
    }

    #[test]
    fn a_lent_value_is_equal_and_sensitive_over_the_same_bytes() {
        let bearer = Bearer::new("token").unwrap();
        let lent = bearer.lend();
        assert_eq!(&lent, bearer.value());
        assert!(lent.is_sensitive());
        assert_eq!(lent.as_bytes().as_ptr(), bearer.value().as_bytes().as_ptr());
    }

    #[test]
    fn a_value_is_own_for_as_long_as_its_token_is_kept() {
        let first = Bearer::new("is-own").unwrap();
        let mut theirs = HeaderValue::from_static("Bearer is-own");
        assert!(!is_own(&theirs), "it is not marked sensitive");
        theirs.set_sensitive(true);
        assert!(is_own(&theirs));

        let second = Bearer::new("is-own").unwrap();
        drop(first);
        assert!(is_own(&theirs));
        let lent = second.lend();
        drop(second);
        assert!(is_own(&theirs), "a request carries it");
        drop(lent);
        assert!(!is_own(&theirs));
    }

    #[test]
    fn a_header_is_set_where_there_is_none_and_else_all_values_stay() {
        let bearer = Bearer::new("token").unwrap();
        for there in 0..4 {
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from_static("*/*"));
            let values = ["Basic a", "Bearer b", "Bearer c"].map(HeaderValue::from_static);
            for value in &values[..there] {
                headers.append(AUTHORIZATION, value.clone());
            }

            let is_set = set_if_absent(&mut headers, bearer.lend());

            assert_eq!(is_set, there == 0);
            let left: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
            if is_set {
                assert_eq!(left, [bearer.value().clone()]);
            } else {
                assert_eq!(left, &values[..there]);
            }
            assert_eq!(headers.len(), 1 + there.max(1));
        }
    }

    #[test]
    fn two_reference_counts_are_never_on_one_cache_line() {
        // `Bytes` allocates its count ahead of the owner, at the owner's alignment.
        assert_eq!(std::mem::align_of::<Lent>(), 64);
        assert_eq!(std::mem::size_of::<Lent>(), 64);
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
