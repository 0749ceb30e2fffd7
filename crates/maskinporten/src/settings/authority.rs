//! The authority: who issues the tokens, and where it publishes itself.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use http::Uri;

use crate::advice::{self, Advice};
use crate::environment::Environment;
use crate::error::{Error, Result};

/// Where metadata is published below the authority. RFC 8414 §3 would put the authority's path
/// behind it; Maskinporten, and OpenID Connect Discovery before it, put the path first.
const METADATA_PATH: &str = ".well-known/oauth-authorization-server";

const WELL_KNOWN: &str = "/.well-known";

/// The token endpoint of Digdir's environments, below the issuer.
const TOKEN_PATH: &str = "token";

/// Hosts of the environments closed in June 2024, with the names they had.
const RETIRED_HOSTS: [&str; 2] = ["ver1.maskinporten.no", "ver2.maskinporten.no"];

/// Longest part of a refused authority that is repeated in the message.
const SHOWN: usize = 80;

/// Longest text without a scheme that is repeated as a host's: a key is longer.
const LONGEST_HOST: usize = 40;

/// Longest text that is repeated as the name of an environment.
const LONGEST_NAME: usize = 20;

/// An issuer of tokens, checked when it is made.
///
/// - `prod`, `test` and `dev` stand for Digdir's environments; a URL that names one of them gets the
///   trailing slash its issuer has, because the audience must equal the issuer to the last character.
/// - Any other URL is taken verbatim, path and slash as they are, and asked for its metadata.
/// - It is https; plain http only to a server on this machine.
/// - A URL of the token endpoint or of the metadata is refused with what to write instead.
/// - Settings may give the address of the metadata alone
///   ([`metadata_url`](crate::MaskinportenSettings::metadata_url)). The issuer is then read there, and
///   must fit that address.
///
/// ```
/// use maskinporten::{Authority, Environment};
///
/// let authority = Authority::parse("https://test.maskinporten.no")?;
/// assert_eq!(authority.as_str(), "https://test.maskinporten.no/");
/// assert_eq!(authority.environment(), Some(Environment::Test));
/// assert_eq!(authority, Authority::parse("test")?);
/// # Ok::<(), maskinporten::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The issuer, or else the address of the metadata.
    name: String,
    names_issuer: bool,
    environment: Option<Environment>,
    token_endpoint: Option<Uri>,
    metadata_url: Uri,
}

impl Authority {
    /// Reads a URL or the short name of an environment; white space around it is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings), with what to write instead where that
    /// is known.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(refuse("the authority is blank"));
        }
        if is_uuid(text) {
            let message = "the authority is a client id (a UUID), where the issuer belongs";
            return Err(Error::settings(message).with_advice(&advice::SWAPPED));
        }
        if is_name(text) {
            return Self::of(text.parse()?);
        }
        let uri = checked_url(text, "authority", &advice::AUTHORITY)?;
        let host = open_host(&uri)?;
        if let Some(base) = without_endpoint(uri.path()) {
            return Err(Self::names_an_endpoint(text, &uri, base));
        }
        if uri.scheme_str() == Some("https")
            && uri.path() == "/"
            && matches!(uri.port_u16(), None | Some(443))
            && let Some(known) = Environment::of_authority(&format!("https://{host}/"))
        {
            return Self::of(known);
        }
        Self::custom(text)
    }

    /// The authority that publishes its metadata at this address, and names its issuer there. Where the
    /// address is that of a known environment, the issuer is known without asking.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where no issuer can fit the address.
    pub(super) fn of_metadata(url: &str) -> Result<Self> {
        let url = url.trim();
        let metadata_url = checked_metadata_url(url)?;
        let host = open_host(&metadata_url)?;
        if let Some(known) = Environment::of_maskinporten_host(&host)
            && fits(known.authority(), &metadata_url)
        {
            let known = Self::of(known)?;
            return Ok(Self {
                metadata_url,
                ..known
            });
        }
        if issuer_path(metadata_url.path()).is_none() {
            return Err(metadata_address(url, without_issuer(metadata_url.path())));
        }
        Ok(Self {
            name: url.to_owned(),
            names_issuer: false,
            environment: None,
            token_endpoint: None,
            metadata_url,
        })
    }

    /// The same authority, asked for its metadata at this address. One of another origin is ignored where
    /// the metadata is not asked: where the token endpoint is pinned, and for Digdir's environments.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) where an address that is asked has another origin,
    /// and where issuer and address are of two of Digdir's environments.
    pub(super) fn with_metadata_url(self, url: &str, is_pinned: bool) -> Result<Self> {
        let url = url.trim();
        let metadata_url = checked_metadata_url(url)?;
        if !same_origin(&self.metadata_url, &metadata_url) {
            let theirs = Environment::of_maskinporten_host(&open_host(&metadata_url)?);
            let is_crossed = self.environment.is_some() && theirs.is_some();
            if !is_crossed && (is_pinned || self.token_endpoint.is_some()) {
                return Ok(self);
            }
            let why = format!("its origin is not that of the issuer {}", self.name);
            return Err(metadata_address(url, &why));
        }
        Ok(Self {
            metadata_url,
            ..self
        })
    }

    fn of(environment: Environment) -> Result<Self> {
        let issuer = environment.authority();
        let mut authority = Self::custom(issuer)?;
        authority.environment = Some(environment);
        authority.token_endpoint = Some(below(issuer, TOKEN_PATH)?);
        Ok(authority)
    }

    fn custom(issuer: &str) -> Result<Self> {
        Ok(Self {
            name: issuer.to_owned(),
            names_issuer: true,
            environment: None,
            token_endpoint: None,
            metadata_url: below(issuer, METADATA_PATH)?,
        })
    }

    fn names_an_endpoint(text: &str, uri: &Uri, base: &str) -> Error {
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("the authority names an endpoint");
        };
        let instead = format!("{scheme}://{host}{base}/");
        let shown = shown(text);
        refuse(format!(
            "the authority is {shown}, an endpoint and not the issuer: write {instead}"
        ))
    }

    /// The authority as text: its issuer, or the address of its metadata where settings give nothing else.
    /// It is part of every cache key and does not change when the metadata is read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The issuer, which is also the audience of every assertion, to the last character; `None` while it
    /// is still to be read from the metadata.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.names_issuer.then_some(&*self.name)
    }

    /// Whether metadata that calls itself this is the authority's: the issuer itself, to the last
    /// character, or one that fits the address where the issuer was not known.
    pub(crate) fn is_issuer(&self, issuer: &str) -> bool {
        match self.issuer() {
            Some(known) => issuer == known,
            None => fits(issuer, &self.metadata_url),
        }
    }

    /// Which of Digdir's environments it is; none for any other authority.
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        self.environment
    }

    /// The token endpoint, where it is known without asking: that of Digdir's environments.
    #[must_use]
    pub fn token_endpoint(&self) -> Option<&Uri> {
        self.token_endpoint.as_ref()
    }

    pub(super) fn is_on_this_machine(&self) -> bool {
        is_loopback(&self.metadata_url)
    }

    /// Where the authority publishes its metadata (RFC 8414): the address that settings give, else one
    /// below the issuer, whose path is kept.
    #[must_use]
    pub fn metadata_url(&self) -> &Uri {
        &self.metadata_url
    }
}

impl FromStr for Authority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)
    }
}

// ===== addresses an operator writes =====

/// An absolute URL of scheme, host, port and path, over https or to this machine. `what` names the
/// setting in messages.
pub(super) fn checked_url(text: &str, what: &str, advice: &'static Advice) -> Result<Uri> {
    url(text).map_err(|why| {
        let message = format!("the {what} {} cannot be used: {why}", shown(text));
        Error::settings(message).with_advice(advice)
    })
}

/// The same, with the reason alone where it is none: for settings that may hold a secret in its place.
pub(super) fn url(text: &str) -> Result<Uri, &'static str> {
    if !text.contains("://") {
        return Err("it is no URL, which opens with https://");
    }
    // Looked for in the text: `Uri` drops a fragment without a word.
    if text.contains(['?', '#']) {
        return Err("it has a query or a fragment");
    }
    let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
    let Some(authority) = uri.authority() else {
        return Err("it has no host");
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    if authority.as_str().contains('@') {
        return Err("it has a user name before its host");
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(&uri) => Ok(uri),
        Some("http") => Err("plain http is for a server on this machine only"),
        _ => Err("it opens with something else than https://"),
    }
}

pub(super) fn is_loopback(uri: &Uri) -> bool {
    let Some(host) = uri.host() else {
        return false;
    };
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether a text has the form of a UUID, as client ids have.
pub(super) fn is_uuid(text: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

    let is_group = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('-').map(str::len).eq(GROUPS) && text.split('-').all(is_group)
}

/// The address as a message may repeat it: without user name and query, where secrets can stand. A text that
/// is neither an address nor a host nor a [name](is_name) may be a key.
fn shown(text: &str) -> String {
    let is_address = text.contains("://") || is_host(text) || is_name(text);
    if !is_address || text.contains(['{', '\n']) || text.contains("-----") {
        return "(no address, not shown)".to_owned();
    }
    let text = text.split(['?', '#']).next().unwrap_or_default();
    if text.contains('@') {
        return "(with a user name, not shown)".to_owned();
    }
    format!("{:?}", text.chars().take(SHOWN).collect::<String>())
}

/// The address as `Debug` may repeat it: nothing of one that cannot be used.
pub(super) fn debug(text: &str) -> &str {
    let is_name = text.trim().parse::<Environment>().is_ok();
    if is_name || text.trim().is_empty() || url(text.trim()).is_ok() {
        text
    } else {
        "[unusable]"
    }
}

/// Whether a text may be the name of an environment, such as `production`, `tt02` or `ver1`: letters, and
/// digits behind them only where it is too short for a secret.
pub(super) fn is_name(text: &str) -> bool {
    const SHORTEST_SECRET: usize = 6;

    let letters = text.trim_end_matches(|found: char| found.is_ascii_digit());
    let is_word = !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_word && text.len() <= LONGEST_NAME && (letters == text || text.len() < SHORTEST_SECRET)
}

/// Whether a text without a scheme opens with the name of a host: labels with dots between them, of which the
/// last is of letters.
fn is_host(text: &str) -> bool {
    let host = text.split(['/', ':']).next().unwrap_or_default();
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_last = |label: &str| label.bytes().all(|byte| byte.is_ascii_alphabetic());
    text.len() <= LONGEST_HOST
        && host.split('.').all(is_label)
        && host.rsplit_once('.').is_some_and(|(_, last)| is_last(last))
}

/// What stands before a path's token endpoint or metadata, where it names one.
fn without_endpoint(path: &str) -> Option<&str> {
    if let Some((base, _)) = path.split_once(WELL_KNOWN) {
        return Some(base.trim_end_matches('/'));
    }
    let base = path.trim_end_matches('/').strip_suffix("/token")?;
    Some(base.trim_end_matches('/'))
}

/// The host of an address, in lower case, unless it is of an environment that was closed.
fn open_host(uri: &Uri) -> Result<String> {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    if RETIRED_HOSTS.contains(&host.as_str()) {
        let message = format!("the authority {host} was closed in June 2024");
        return Err(Error::settings(message).with_advice(&advice::RETIRED_ENVIRONMENT));
    }
    Ok(host)
}

// ===== metadata and its issuer =====

/// Whether an address is the well-known one of an issuer (RFC 8414 §3, OpenID Connect Discovery §4): of the
/// same origin, with `/.well-known/` and a document's name behind the issuer's path or before it. Slashes
/// at the end of either do not count.
fn fits(issuer: &str, address: &Uri) -> bool {
    let Ok(issuer) = checked_url(issuer, "issuer", &advice::METADATA_ISSUER) else {
        return false;
    };
    let path = issuer.path().trim_end_matches('/');
    same_origin(&issuer, address) && issuer_path(address.path()) == Some(path)
}

/// The path of the issuer whose metadata is at a path, without slashes at its end.
fn issuer_path(path: &str) -> Option<&str> {
    let (before, after) = path.trim_end_matches('/').split_once("/.well-known/")?;
    let document = after.split('/').next().filter(|name| !name.is_empty())?;
    let behind = &after[document.len()..];
    match (before, behind) {
        (before, "") => Some(before),
        ("", behind) if !behind.contains(WELL_KNOWN) => Some(behind),
        _ => None,
    }
}

/// Why no issuer follows from the path of an address.
fn without_issuer(path: &str) -> &'static str {
    let after = path.split_once("/.well-known/").map(|(_, after)| after);
    match after {
        Some(after) if after.contains(WELL_KNOWN) => {
            "no issuer follows from it, since it has /.well-known twice"
        }
        Some(after) if !after.is_empty() && !after.starts_with('/') => {
            "no issuer follows from it, since one path stands before /.well-known/ and another behind the \
             document's name"
        }
        _ => "no issuer follows from it, since it names no document below /.well-known/",
    }
}

/// Scheme, host and port (RFC 6454 §5). An address with a user name is of no origin: what is asked there
/// may be given a credential that nobody chose. Neither is one whose port is no port.
pub(crate) fn same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        // Nothing stands before the host then; `Uri` itself takes a number too large for no port.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" | ":" => match scheme.as_str() {
                "https" => 443,
                "http" => 80,
                _ => return None,
            },
            port => port.strip_prefix(':')?.parse::<u16>().ok()?,
        };
        Some((scheme, authority.host().to_ascii_lowercase(), port))
    };
    origin(one).is_some_and(|found| origin(other) == Some(found))
}

fn checked_metadata_url(url: &str) -> Result<Uri> {
    checked_url(url, "address of the metadata", &advice::METADATA_ADDRESS)
}

fn metadata_address(url: &str, why: &str) -> Error {
    let message = format!(
        "the address of the metadata {} cannot be used: {why}",
        shown(url)
    );
    Error::settings(message).with_advice(&advice::METADATA_ADDRESS)
}

fn below(issuer: &str, path: &str) -> Result<Uri> {
    let slash = if issuer.ends_with('/') { "" } else { "/" };
    let url = format!("{issuer}{slash}{path}");
    url.parse()
        .map_err(|_| refuse(format!("the authority {} is no URL", shown(issuer))))
}

fn refuse(message: impl Into<Cow<'static, str>>) -> Error {
    Error::settings(message).with_advice(&advice::AUTHORITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, issuer: &str, token: Option<&str>, metadata: &str) {
        let authority = Authority::parse(text).unwrap();
        assert_eq!(authority.as_str(), issuer);
        let endpoint = authority.token_endpoint().map(ToString::to_string);
        assert_eq!(endpoint.as_deref(), token);
        assert_eq!(authority.metadata_url().to_string(), metadata);
        assert_eq!(authority.environment().is_some(), token.is_some());
    }

    // The .NET reference's table of both slash forms. Here we differ on purpose: the token endpoint
    // of an authority that is not known comes from its metadata and is not guessed, and neither is
    // its audience; the path of the authority is kept for its metadata with and without a slash.
    #[test]
    fn addresses_follow_from_the_authority() {
        for text in [
            "https://maskinporten.dev/",
            "https://maskinporten.dev",
            "dev",
        ] {
            check(
                text,
                "https://maskinporten.dev/",
                Some("https://maskinporten.dev/token"),
                "https://maskinporten.dev/.well-known/oauth-authorization-server",
            );
        }
        let metadata = "https://proxy/mp/.well-known/oauth-authorization-server";
        check("https://proxy/mp", "https://proxy/mp", None, metadata);
        check("https://proxy/mp/", "https://proxy/mp/", None, metadata);
    }

    #[test]
    fn a_known_authority_is_known_however_it_is_written() {
        let check = |text: &str, expected| {
            let authority = Authority::parse(text).unwrap();
            assert_eq!(authority.environment(), expected, "{text}");
        };
        check("prod", Some(Environment::Production));
        check(" Test\n", Some(Environment::Test));
        check("https://maskinporten.no", Some(Environment::Production));
        check("HTTPS://Test.Maskinporten.no:443/", Some(Environment::Test));
        check("https://test.maskinporten.no:8443/", None);
        check("https://test.maskinporten.no/mp", None);
        check("https://test.maskinporten.no.example.no/", None);
        check("https://example.no", None);
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for text in [
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:1",
            "localhost:8080",
            "LocalHost",
        ] {
            assert!(
                Authority::parse(&format!("http://{text}/")).is_ok(),
                "{text}"
            );
        }
        for text in [
            "test.maskinporten.no",
            "128.0.0.1",
            "localhost.example.no",
            "[::2]",
            "0.0.0.0",
        ] {
            let error = Authority::parse(&format!("http://{text}/")).unwrap_err();
            assert!(error.to_string().contains("plain http"), "{error}");
            assert!(error.hint().unwrap().contains("https://maskinporten.no/"));
        }
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = Authority::parse(text).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Settings);
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().is_some());
        assert!(!format!("{error:?}").contains("hush"));
    }

    #[test]
    fn an_endpoint_is_answered_with_the_issuer_to_write() {
        let test = "write https://test.maskinporten.no/";
        refused("https://test.maskinporten.no/token", test);
        refused("https://test.maskinporten.no/token/", test);
        refused(
            "https://test.maskinporten.no/.well-known/oauth-authorization-server",
            test,
        );
        refused(
            "https://proxy/mp/.well-known/openid-configuration",
            "write https://proxy/mp/",
        );
        refused(
            "http://localhost:8080/token",
            "write http://localhost:8080/",
        );
    }

    #[test]
    fn an_issuer_fits_the_address_of_its_metadata() {
        let check = |issuer: &str, address: &str, expected| {
            let address = address.parse().unwrap();
            assert_eq!(fits(issuer, &address), expected, "{issuer} at {address}");
        };
        check("https://x.no", "https://x.no/.well-known/a", true);
        check("https://x.no/", "https://X.no:443/.well-known/a/", true);
        check("https://x.no/mp", "https://x.no/mp/.well-known/a", true);
        check("https://x.no/mp/", "https://x.no/.well-known/a/mp", true);
        check("https://x.no/mp/", "https://x.no/.well-known/a", false);
        check("https://x.no/", "https://x.no/.well-known/a/mp", false);
        check("https://x.no/a", "https://x.no/.well-known//a", false);
        check("https://x.no/", "https://x.no/.well-knowna", false);
        check("https://x.no:1/", "https://x.no/.well-known/a", false);
        check(
            "http://localhost/",
            "https://localhost/.well-known/a",
            false,
        );
    }

    mod property {
        use proptest::prelude::*;

        use super::fits;

        fn path() -> impl Strategy<Value = String> {
            "(/[a-z0-9._~%-]{1,8}){0,3}"
                .prop_filter("no issuer", |path| !path.contains(".well-known"))
        }

        /// An address of the metadata of the issuer with this path, in either form.
        fn address(path: &str, document: &str, is_infix: bool, slashes: usize) -> http::Uri {
            let path = if is_infix {
                format!("/.well-known/{document}{path}")
            } else {
                format!("{path}/.well-known/{document}")
            };
            let end = "/".repeat(slashes);
            format!("https://idp.example.no{path}{end}")
                .parse()
                .unwrap()
        }

        proptest! {
            #[test]
            fn an_address_fits_its_own_issuer_and_no_other(
                own in path(),
                other in path(),
                host in "[a-z]{1,8}",
                document in "[a-z-]{1,20}",
                is_infix in any::<bool>(),
                ends in (0usize..3, 0usize..3),
            ) {
                let address = address(&own, &document, is_infix, ends.0);
                let end = "/".repeat(ends.1);
                let fits = |issuer: String| fits(&issuer, &address);
                let right = format!("https://idp.example.no{own}{end}");
                let other_path = format!("https://idp.example.no{other}{end}");
                prop_assert_eq!(fits(other_path), other == own);
                let wrong = [
                    format!("https://{host}.example.org{own}{end}"),
                    format!("https://idp.example.no:8443{own}{end}"),
                    format!("http://idp.example.no{own}{end}"),
                    format!("{right}?{host}"),
                    format!("{right}#{host}"),
                ];
                prop_assert!(wrong.into_iter().all(|wrong| !fits(wrong)));
                prop_assert!(fits(right));
            }
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        refused("", "blank");
        refused("ver2", "closed in June 2024");
        refused("https://ver2.maskinporten.no/", "closed in June 2024");
        refused("https://VER1.maskinporten.no/token", "closed in June 2024");
        refused("tt02", "no environment");
        // What may be a key or a password is not shown, and a name or a host is.
        refused("hush0123456789abcdef", "not shown");
        refused("0123456789abcdef", "not shown");
        refused("hush-hush", "not shown");
        refused("hush.0123", "not shown");
        refused("hu$h.hush", "not shown");
        refused("staging", "\"staging\"");
        refused("idp.example.no:8443/mp", "\"idp.example.no:8443/mp\"");
        let encoded = "hush".repeat(400);
        refused(&encoded, "not shown");
        refused(&format!("{{\"d\":\"{encoded}\"}}"), "not shown");
        refused("9b0d4c4e-6e33-4f44-9ef1-3ad0ff1a3b2c", "a client id");
        refused("maskinporten.no", "opens with https://");
        refused("ftp://maskinporten.no/", "something else than https://");
        refused("https://user:hush@maskinporten.no/", "user name");
        refused("https://maskinporten.no/?key=hush", "query");
        refused("https://maskinporten.no/#hush", "fragment");
        refused("https://maskin porten.no/", "no URL");
        refused("https://", "cannot be used");
        refused("https:///path", "cannot be used");
    }
}
