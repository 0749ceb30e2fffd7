//! [`BaseUrl`]: where a client's paths start.

use std::fmt;

use http::uri::PathAndQuery;
use http::{Uri, uri};
use maskinporten::{Error, Origin};

/// An origin and the path that all paths of a client start with. The path may be of a variable, and so
/// is shown by nothing.
#[derive(Clone)]
pub(super) struct BaseUrl {
    /// As it was written, with a slash at its end.
    uri: Uri,
    origin: Origin,
}

impl BaseUrl {
    /// Reads a base URL. What is wrong is told without its text, all but the origin.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(why.to_owned());
        // `Uri` reads a fragment and forgets it.
        if text.contains('#') {
            return refuse("a base URL has no fragment");
        }
        let Ok(uri) = text.trim().parse::<Uri>() else {
            return refuse("is no URL");
        };
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return refuse("is no URL: it starts with https:// and a host");
        };
        let origin = format!("{scheme}://{authority}").parse::<Origin>();
        let origin = origin.map_err(|error| error.to_string())?;
        // An origin may be named by wss as well, which no HTTP client asks.
        if !matches!(uri.scheme_str(), Some("https" | "http")) {
            return refuse("a base URL is of https, or of http on this machine");
        }
        if uri.query().is_some() {
            return refuse("a base URL has no query");
        }
        if let Some(why) = objection(uri.path()) {
            return Err(format!("a base URL {why}"));
        }
        let path = format!("{}/", uri.path().trim_end_matches('/'));
        let uri = with_path(&uri, &path).ok_or("is no URL")?;
        Ok(Self { uri, origin })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The address of a path below this one; a whole address stays as it is.
    pub(super) fn join(&self, uri: &Uri) -> Result<Uri, Error> {
        // Whether a token may go there is not decided here: every address meets the guard.
        if uri.scheme().is_some() || uri.authority().is_some() {
            return Ok(uri.clone());
        }
        self.below(uri.path_and_query().map_or("", PathAndQuery::as_str))
    }

    /// The same for a text, whose path may leave its first slash out.
    pub(super) fn join_text(&self, text: &str) -> Result<Uri, Error> {
        if !is_absolute(text) {
            return self.below(text);
        }
        let uri = text.parse::<Uri>();
        uri.map_err(|cause| Error::request("an address is no URL").caused_by(cause))
    }

    fn below(&self, text: &str) -> Result<Uri, Error> {
        let refuse = |why: &str| {
            let message = format!("a path below {} {why}", self.origin);
            Err(Error::request(message))
        };
        let rest = text.strip_prefix('/').unwrap_or(text);
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        // A server that resolves the target as a reference reads `//host` as another host
        // (RFC 3986 §4.2).
        if path.starts_with(['/', '\\']) {
            return refuse("starts with one slash");
        }
        if let Some(why) = objection(path) {
            return refuse(why);
        }
        if rest == "*" {
            return refuse("is a path");
        }
        let path = format!("{}{rest}", self.uri.path());
        match with_path(&self.uri, &path) {
            Some(uri) => Ok(uri),
            None => refuse("holds only what a URL may hold; all else is percent-encoded"),
        }
    }
}

/// Whether it starts with a scheme (RFC 3986 §3.1) and a host: a query may well hold an address.
fn is_absolute(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    let may_follow = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(may_follow)
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.origin, f)
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri::Parts::default();
    parts.scheme = uri.scheme().cloned();
    parts.authority = uri.authority().cloned();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// How often a path may be percent-encoded: each proxy on the way may decode it once, and there are
/// seldom two of them.
const MOST_ENCODINGS: usize = 4;

/// Why a path is not sent: a segment leads upwards for a server that reads it leniently, with a
/// backslash for a slash, with parameters behind it, or decoded once more than it should be.
fn objection(path: &str) -> Option<&'static str> {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..=MOST_ENCODINGS {
        let decoded = decoded(&path);
        if decoded != path {
            path = decoded;
            continue;
        }
        // A lenient reader takes the overlong `%c0%ae` for a dot (RFC 3629 §10).
        let Ok(path) = String::from_utf8(path) else {
            return Some("is UTF-8 where it is percent-encoded");
        };
        let mut segments = path.split(['/', '\\']);
        let climbs = segments.any(|segment| segment.split(';').next() == Some(".."));
        return climbs.then_some("does not climb by `..`");
    }
    Some("is percent-encoded four times over at most")
}

/// What is left when it is percent-decoded once (RFC 3986 §2.1); what is no such encoding stays.
fn decoded(mut text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let byte = match rest {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let byte = byte.and_then(|(high, low)| u8::try_from(16 * high + low).ok());
        text = if byte.is_some() { &rest[2..] } else { rest };
        decoded.push(byte.unwrap_or(*first));
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, path: &str, expected: Option<&str>) {
        let base = BaseUrl::parse(base).unwrap();
        let joined = base.join_text(path).ok().map(|uri| uri.to_string());
        assert_eq!(joined.as_deref(), expected, "{path}");
        // A request's own address cannot leave the first slash out.
        if let Ok(uri) = path.parse::<Uri>()
            && (path.starts_with('/') || uri.scheme().is_some() || path == "*")
        {
            let joined = base.join(&uri).ok().map(|uri| uri.to_string());
            assert_eq!(
                joined.as_deref(),
                expected,
                "{path} as it stands in a request"
            );
        }
    }

    #[test]
    fn a_path_is_joined_below_the_prefix() {
        let host = "https://api.example.no";
        for base in [host, "https://api.example.no/"] {
            check(base, "/person/1", Some("https://api.example.no/person/1"));
            check(base, "person/1", Some("https://api.example.no/person/1"));
            check(base, "", Some("https://api.example.no/"));
            check(base, "/", Some("https://api.example.no/"));
        }
        for base in ["https://api.example.no/v1", "https://api.example.no/v1//"] {
            check(
                base,
                "/person?a=/../b",
                Some("https://api.example.no/v1/person?a=/../b"),
            );
            check(base, "?a=b", Some("https://api.example.no/v1/?a=b"));
            check(base, "a:b/c", Some("https://api.example.no/v1/a:b/c"));
            check(
                base,
                "..a/b../...",
                Some("https://api.example.no/v1/..a/b../..."),
            );
        }
        check("http://127.0.0.1:9/x", "/y", Some("http://127.0.0.1:9/x/y"));
    }

    #[test]
    fn no_path_climbs_out_of_the_prefix() {
        for path in [
            "..",
            "/..",
            "/../admin",
            "a/../../admin",
            "/a/..",
            "%2e%2e/admin",
            "/.%2E/admin",
            "/a%2f..%2Fadmin",
            "/a%5c..%5cadmin",
            "/..;x=1/admin",
            "/..%3bx/admin",
            "/%252e%252e/admin",
            // Once decoded `%2e%2e/`, twice decoded `../`.
            "%25%32%65%25%32%65/admin",
            "%252%65%252%65/admin",
            "/%2525252e%2525252e/admin",
            "/..%255cadmin",
        ] {
            check("https://api.example.no/v1/", path, None);
        }
        let base = BaseUrl::parse("https://api.example.no/v1/").unwrap();
        assert!(base.join_text("a\\..\\admin").is_err());
    }

    #[test]
    fn a_path_that_is_not_what_it_seems_is_not_sent() {
        let base = BaseUrl::parse("https://api.example.no/").unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let said = base.join_text(path).err().map(|error| error.to_string());
            let said = said.as_deref();
            let said =
                said.and_then(|said| said.strip_prefix("a path below https://api.example.no "));
            assert_eq!(said, expected, "{path}");
        };
        let overlong = Some("is UTF-8 where it is percent-encoded");
        check("%c0%ae%c0%ae/admin", overlong);
        check("%25c0%25ae/admin", overlong);
        check("%e6", overlong);
        let five_times = Some("is percent-encoded four times over at most");
        check("%25252541", None);
        check("%2525252541", five_times);
        check("%25252525252e%25252525252e/admin", five_times);
        for path in [
            "%C3%A6/100%25",
            "a%2Fb",
            "50%",
            "%zz%4",
            "%",
            "?%c0%ae",
            "%20..",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn no_path_names_a_host_of_its_own() {
        for path in [
            "//elsewhere.example/",
            "///elsewhere.example",
            "/\\elsewhere.example",
            "*",
        ] {
            check("https://api.example.no/", path, None);
            check("https://api.example.no/v1", path, None);
        }
        check(
            "https://api.example.no/v1",
            "elsewhere.example/a@b",
            Some("https://api.example.no/v1/elsewhere.example/a@b"),
        );
    }

    #[test]
    fn a_whole_address_is_left_to_the_guard() {
        for address in ["https://elsewhere.example/", "https://api.example.no/v2"] {
            check("https://api.example.no/v1", address, Some(address));
        }
    }

    #[test]
    fn a_path_may_have_an_address_in_its_query() {
        let elsewhere = "https://elsewhere.example/";
        for path in [
            "/search?return=https://elsewhere.example/",
            "search?return=https://elsewhere.example/",
            "?https://elsewhere.example/",
            "proxy/https://elsewhere.example/",
        ] {
            let below = format!("https://api.example.no/{}", path.trim_start_matches('/'));
            check("https://api.example.no/", path, Some(&below));
        }
        check("https://api.example.no/", elsewhere, Some(elsewhere));
    }

    #[test]
    fn a_base_url_is_an_origin_and_a_path() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let base = BaseUrl::parse(text).map(|base| base.uri.to_string());
            let base = base.as_deref().map_err(String::as_str);
            assert_eq!(base, expected, "{text}");
        };
        check(
            " https://API.example.no:443/v1 ",
            Ok("https://API.example.no:443/v1/"),
        );
        check("http://localhost:8080", Ok("http://localhost:8080/"));
        check(
            "https://api.example.no?key=x",
            Err("a base URL has no query"),
        );
        check(
            "https://api.example.no#x",
            Err("a base URL has no fragment"),
        );
        check(
            "https://api.example.no/a/..",
            Err("a base URL does not climb by `..`"),
        );
        check(
            "api.example.no",
            Err("is no URL: it starts with https:// and a host"),
        );
        check("/v1", Err("is no URL: it starts with https:// and a host"));
        check("", Err("is no URL"));
        check("https://a b", Err("is no URL"));
        let plain = r#""http://api.example.no" is plain http, and not on this machine"#;
        check("http://api.example.no/v1?secret", Err(plain));
        let user = r#""https://…@api.example.no" is no origin: it names a user"#;
        check("https://user:secret@api.example.no/v1", Err(user));
        let other = r#""ftp://api.example.no" is no origin: its scheme is not https"#;
        check("ftp://api.example.no", Err(other));
        let websocket = "a base URL is of https, or of http on this machine";
        check("wss://api.example.no/feed", Err(websocket));
        check("ws://localhost:8080", Err(websocket));
        check("HTTPS://api.example.no", Ok("https://api.example.no/"));
    }
}
