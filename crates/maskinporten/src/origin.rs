//! Who may see a token: origins (RFC 6454 §4), compared exactly.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

use crate::advice::{self, Advice};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::transport::is_loopback;

/// One origin that may see a token.
///
/// - An origin is a scheme, a host and a port; nothing else of an address counts, and the `Host`
///   header is never consulted.
/// - Plain http is for a server on this machine only.
/// - Hosts are compared without regard to case; a trailing dot, a user name or another spelling of
///   the same address makes another origin, or none. What is not surely listed is not listed.
///
/// ```
/// use maskinporten::Origin;
///
/// let origin: Origin = "https://API.example.no".parse()?;
/// assert_eq!(origin.to_string(), "https://api.example.no");
/// assert!("http://api.example.no".parse::<Origin>().is_err());
/// assert!("http://127.0.0.1:8080".parse::<Origin>().is_ok());
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    host: Box<str>,
    port: u16,
    /// Host and port as nearly every request spells them: compared first.
    authority: Box<str>,
}

impl Origin {
    /// Whether an address is of this origin, spelled as nearly every request spells it.
    #[inline]
    pub(crate) fn is(&self, uri: &Uri) -> bool {
        // Compared as text of known length: two comparisons, and no call.
        let same_scheme = match uri.scheme_str() {
            Some("https") => self.https,
            Some("http") => !self.https,
            _ => false,
        };
        let same_authority = |authority: &Authority| authority.as_str() == &*self.authority;
        same_scheme && uri.authority().is_some_and(same_authority)
    }

    /// Whether a request that goes there goes to this origin: the same host in any letters, its scheme's
    /// own port written out or not.
    #[must_use]
    pub fn admits<'a>(&self, target: impl Into<Target<'a>>) -> bool {
        let Target { scheme, host, port } = target.into();
        let same_scheme = match scheme {
            "https" => self.https,
            "http" => !self.https,
            _ => false,
        };
        same_scheme && port == Some(self.port) && host.eq_ignore_ascii_case(&self.host)
    }

    /// The environment it is of, for the hosts that are known: Altinn's and Maskinporten's own.
    pub(crate) fn environment(&self) -> Option<Environment> {
        if !self.https {
            return None;
        }
        let altinn = Environment::of_altinn_host(&self.host);
        altinn.or_else(|| Environment::of_maskinporten_host(&self.host))
    }

    /// The origin that a request goes to.
    pub(crate) fn of(target: Target<'_>) -> Result<Self> {
        let refuse = |why: &str, advice: &'static Advice| {
            let message = format!("{:?} {why}", target.to_string());
            Err(Error::origin(message).with_advice(advice))
        };
        if !target.has_host() {
            return refuse("is no origin: it has no host", &advice::ORIGIN);
        }
        let https = match target.scheme {
            "https" => true,
            "http" if is_loopback(target.host) => false,
            "http" => {
                return refuse(
                    "is plain http, and not on this machine",
                    &advice::PLAIN_HTTP,
                );
            }
            _ => return refuse("is no origin: its scheme is not https", &advice::ORIGIN),
        };
        let Some(port) = target.port else {
            return refuse("is no origin: its port is no number", &advice::ORIGIN);
        };
        let host = target.host.to_ascii_lowercase().into_boxed_str();
        let usual = port == if https { 443 } else { 80 };
        let authority = if usual {
            host.clone()
        } else {
            format!("{host}:{port}").into_boxed_str()
        };
        Ok(Self {
            https,
            host,
            port,
            authority,
        })
    }
}

/// Where a request goes: scheme, host and port, in whatever type its client keeps them.
///
/// An [`http::Uri`] is one. A client with addresses of another type says what it will connect to. A
/// websocket's handshake is a request to the http server of its host and port (RFC 6455 §4.1), so `ws` is
/// `http` here and `wss` is `https`:
///
/// ```
/// use maskinporten::{Origin, Target};
///
/// let origin: Origin = "https://api.example.no".parse()?;
/// assert!(origin.admits(Target::new("https", "api.example.no", None)));
/// assert!(!origin.admits(Target::new("https", "api.example.no", Some(8443))));
/// assert!(origin.admits(Target::new("wss", "api.example.no", None)));
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    scheme: &'a str,
    /// Empty where there is none.
    host: &'a str,
    /// None where it cannot be told.
    port: Option<u16>,
}

impl<'a> Target<'a> {
    /// A target. The scheme in small letters, the host without a user's name and an IPv6 address in its
    /// brackets; without a port, the scheme's own.
    #[must_use]
    pub fn new(scheme: &'a str, host: &'a str, port: Option<u16>) -> Self {
        let scheme = scheme_of(scheme);
        Self {
            scheme,
            host,
            port: port.or(usual_port(scheme)),
        }
    }

    pub(crate) fn has_host(&self) -> bool {
        !self.host.is_empty()
    }
}

impl<'a> From<&'a Uri> for Target<'a> {
    fn from(uri: &'a Uri) -> Self {
        let scheme = scheme_of(uri.scheme_str().unwrap_or_default());
        Self {
            scheme,
            host: uri.host().unwrap_or_default(),
            port: port_of(uri, scheme),
        }
    }
}

/// As a message may show it: there is no user's name, path or query in it.
impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host: String = self.host.chars().take(120).collect();
        match self.scheme {
            "" => write!(f, "{host}")?,
            scheme => write!(f, "{scheme}://{host}")?,
        }
        match self.port {
            port if port == usual_port(self.scheme) => Ok(()),
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The scheme of the server that is asked: a websocket's is the one that its handshake goes to.
fn scheme_of(scheme: &str) -> &str {
    match scheme {
        "ws" => "http",
        "wss" => "https",
        other => other,
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// An address as a message may show it: without a user's name and password, without its query, which
/// may hold a secret too, and cut.
fn shown(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let shown = match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => address.to_owned(),
    };
    shown.chars().take(120).collect()
}

/// The port, the scheme's own where none is written; none where it cannot be told.
fn port_of(uri: &Uri, scheme: &str) -> Option<u16> {
    let authority = uri.authority()?;
    // `port_u16` gives nothing for a port it cannot read either, which is not the usual port.
    let after_user = authority.as_str().rsplit('@').next()?;
    match after_user.strip_prefix(authority.host())? {
        "" => usual_port(scheme),
        port => {
            let digits = port.strip_prefix(':')?;
            // A number may be parsed with a sign, and no port is written with one.
            let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            all_digits.then(|| digits.parse().ok())?
        }
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let refuse = |why: &str| {
            let message = format!("{:?} {why}", shown(trimmed));
            Err(Error::origin(message).with_advice(&advice::ORIGIN))
        };
        let Ok(uri) = trimmed.parse::<Uri>() else {
            return refuse("is no origin");
        };
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !bare {
            return refuse(
                "is more than an origin: path and query do not restrict where a token goes",
            );
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return refuse("is no origin: it names a user");
        }
        Self::of(Target::from(&uri))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What can stand where origins are asked for: one or several addresses.
pub trait IntoOrigins {
    /// Checks and converts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) where one of them is no origin, or may never
    /// see a token, or where there is none at all.
    fn into_origins(self) -> Result<Vec<Origin>>;
}

fn parsed<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Vec<Origin>> {
    let origins = texts
        .into_iter()
        .map(|text| text.as_ref().parse())
        .collect::<Result<Vec<Origin>>>()?;
    if origins.is_empty() {
        return Err(Error::origin("no origin was given").with_advice(&advice::ORIGIN));
    }
    Ok(origins)
}

impl IntoOrigins for &str {
    fn into_origins(self) -> Result<Vec<Origin>> {
        parsed([self])
    }
}

impl IntoOrigins for &String {
    fn into_origins(self) -> Result<Vec<Origin>> {
        parsed([self])
    }
}

impl IntoOrigins for String {
    fn into_origins(self) -> Result<Vec<Origin>> {
        parsed([self])
    }
}

impl IntoOrigins for Origin {
    fn into_origins(self) -> Result<Vec<Origin>> {
        Ok(vec![self])
    }
}

impl<S: AsRef<str>, const N: usize> IntoOrigins for [S; N] {
    fn into_origins(self) -> Result<Vec<Origin>> {
        parsed(self)
    }
}

impl<S: AsRef<str>> IntoOrigins for &[S] {
    fn into_origins(self) -> Result<Vec<Origin>> {
        parsed(self)
    }
}

impl<S: AsRef<str>> IntoOrigins for Vec<S> {
    fn into_origins(self) -> Result<Vec<Origin>> {
        parsed(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            let origin = text.parse::<Origin>().ok().map(|origin| origin.to_string());
            assert_eq!(origin.as_deref(), expected, "{text}");
        };
        check("https://api.example.no", Some("https://api.example.no"));
        check(
            " https://API.Example.no:443/ ",
            Some("https://api.example.no"),
        );
        check(
            "https://api.example.no:8443",
            Some("https://api.example.no:8443"),
        );
        check("http://localhost:8080", Some("http://localhost:8080"));
        check("http://127.0.0.1", Some("http://127.0.0.1"));
        check("http://[::1]:9", Some("http://[::1]:9"));
        check("http://api.example.no", None);
        check("http://127.0.0.1.example.no", None);
        check("https://api.example.no/path", None);
        check("https://api.example.no?q", None);
        check("https://user@api.example.no", None);
        check("https://api.example.no:", None);
        check("https://api.example.no:99999", None);
        check("https://api.example.no:+443", None);
        check("ftp://api.example.no", None);
        check("api.example.no", None);
        check("//api.example.no", None);
        check("https://", None);
        check("", None);
    }

    #[test]
    fn only_the_same_origin_is_admitted() {
        let origin: Origin = "https://api.example.no".parse().unwrap();
        let check = |uri: &str, admitted: bool| {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(origin.admits(&uri), admitted, "{uri}");
        };
        check("https://api.example.no/a/b?c=d", true);
        check("https://api.example.no:443/", true);
        check("https://API.EXAMPLE.NO/", true);
        check("https://user:password@api.example.no/", true);
        check("http://api.example.no/", false);
        check("https://api.example.no:8443/", false);
        check("https://api.example.no:+443/", false);
        check("https://api.example.no./", false);
        check("https://api.example.no.evil.example/", false);
        check("https://evil.example/api.example.no", false);
        check("https://api.example.no@evil.example/", false);
        check("https://xapi.example.no/", false);
        check("https://example.no/", false);
        check("api.example.no:443", false);
        check("/path", false);
        check("*", false);
    }

    #[test]
    fn a_websocket_is_of_the_origin_that_its_handshake_goes_to() {
        let check = |origin: &str, uri: &str, admitted: bool| {
            let origin: Origin = origin.parse().unwrap();
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(origin.admits(&uri), admitted, "{origin} {uri}");
        };
        check("https://api.example.no", "wss://api.example.no/feed", true);
        check("https://api.example.no", "wss://api.example.no:443/", true);
        check("wss://api.example.no", "https://api.example.no/", true);
        check(
            "https://api.example.no:8443",
            "wss://api.example.no:8443/",
            true,
        );
        check("http://localhost:8080", "ws://localhost:8080/", true);
        check("http://localhost", "ws://localhost/", true);
        check("https://api.example.no", "ws://api.example.no/", false);
        check("https://api.example.no", "ws://api.example.no:443/", false);
        check("https://api.example.no", "wss://api.example.no:80/", false);
        check("https://api.example.no", "wss://elsewhere.example/", false);
        check("http://localhost", "wss://localhost/", false);
        assert!("ws://api.example.no".parse::<Origin>().is_err());
        assert!(Origin::of(Target::new("ws", "api.example.no", None)).is_err());
    }

    #[test]
    fn what_is_refused_is_shown_without_its_secrets() {
        for address in [
            "https://user:canary@api.example.no",
            "http://user:canary@api.example.no/?canary",
            "ftp://api.example.no/?key=canary#canary",
            "user:canary@api.example.no",
            "https://user:canary@api.example.no:x/",
        ] {
            let error = address.parse::<Origin>().unwrap_err();
            assert!(error.to_string().contains("api.example.no"), "{error}");
            assert!(!error.to_string().contains("canary"), "{error}");
            let uri = address.parse::<Uri>();
            if let Ok(Err(error)) = uri.map(|uri| Origin::of((&uri).into())) {
                assert!(!error.to_string().contains("canary"), "{error}");
            }
        }
    }

    #[test]
    fn no_origin_at_all_is_refused() {
        assert!(Vec::<String>::new().into_origins().is_err());
        assert!([""; 0].into_origins().is_err());
    }
}
