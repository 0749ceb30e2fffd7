//! Who may see a token: where a request may go, and what becomes of one that goes elsewhere.

use std::sync::LazyLock;

use futures_util::FutureExt;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Request};
use maskinporten::{Error, ErrorKind, ExistingHeader, MaskinportenClient, Origin};
use maskinporten_sim::Body;
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};
use tower_maskinporten::{BoxError, MaskinportenAuthLayer};
use url::Url;

use crate::world::{self, Recorder, SCOPES, get, world};

/// What became of one request, beside a client whose token was never asked for before.
#[derive(Debug)]
struct Outcome {
    error: Option<BoxError>,
    /// The `Authorization` values it was sent with, if it was.
    sent: Option<Vec<HeaderValue>>,
    headers: Option<HeaderMap>,
    token_requests: usize,
}

impl Outcome {
    fn is_authorised(&self) -> bool {
        let bearer = |value: &HeaderValue| value.as_bytes().starts_with(b"Bearer eyJ");
        matches!(self.sent.as_deref(), Some([value]) if bearer(value))
    }

    /// Failed, not sent, and no token was asked for.
    fn is_refused(&self) -> bool {
        let found = self
            .error
            .as_deref()
            .and_then(|error| Error::find_in(error));
        found.is_some_and(|error| error.kind() == ErrorKind::Origin)
            && self.sent.is_none()
            && self.token_requests == 0
    }

    fn is_bare(&self) -> bool {
        self.error.is_none() && self.sent.as_deref() == Some(&[]) && self.token_requests == 0
    }

    fn hint(&self) -> &'static str {
        let error = self
            .error
            .as_deref()
            .and_then(|error| Error::find_in(error));
        error.and_then(Error::hint).unwrap()
    }
}

type Configure = fn(MaskinportenAuthLayer) -> MaskinportenAuthLayer;

async fn outcome(listed: &[&str], configure: Configure, request: Request<Body>) -> Outcome {
    let (sim, client) = world();
    let layer = configure(MaskinportenAuthLayer::new(&client, SCOPES, listed).unwrap());
    let recorder = Recorder::new();
    let answer = layer.layer(recorder.clone()).oneshot(request).await;
    Outcome {
        error: answer.err(),
        sent: recorder.authorizations().pop(),
        headers: recorder.seen().pop().map(|parts| parts.headers),
        token_requests: sim.journal().token_requests(),
    }
}

/// Whether a request to `uri` gets the token where `listed` is listed; else it is refused.
async fn check(listed: &[&str], uri: &str, admitted: bool) {
    let outcome = outcome(listed, |layer| layer, get(uri)).await;
    let as_expected = if admitted {
        outcome.is_authorised()
    } else {
        outcome.is_refused()
    };
    assert!(as_expected, "{listed:?} {uri}: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_elsewhere_is_refused_before_a_token_is_looked_up() {
    let check = async |uri| check(&["https://api.example.no"], uri, false).await;
    check("https://evil.example/").await;
    check("https://example.no/").await;
    check("https://xapi.example.no/").await;
    check("https://a.api.example.no/").await;
    check("https://api.example.no.evil.example/").await;
    check("https://evil.example/https://api.example.no").await;
    check("https://evil.example/?https://api.example.no").await;
    check("https://evil.example#https://api.example.no").await;
}

#[tokio::test(start_paused = true)]
async fn another_port_or_scheme_is_another_origin() {
    let check = async |uri| check(&["https://api.example.no"], uri, false).await;
    check("https://api.example.no:80/").await;
    check("https://api.example.no:8443/").await;
    check("https://api.example.no:4430/").await;
    check("http://api.example.no/").await;
    check("http://api.example.no:443/").await;
    check("ftp://api.example.no/").await;
    check("ws://api.example.no/").await;
    check("ws://api.example.no:443/").await;
    check("wss://api.example.no:80/").await;
    check("WSS://api.example.no/").await;
    check("wsss://api.example.no/").await;
    check("https+unix://api.example.no/").await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_no_number_is_refused() {
    let check = async |uri| check(&["https://api.example.no"], uri, false).await;
    check("https://api.example.no:/").await;
    check("https://api.example.no:+443/").await;
    check("https://api.example.no:65979/").await;
    check("https://api.example.no:0x1bb/").await;
}

#[tokio::test(start_paused = true)]
async fn a_user_name_that_looks_like_the_host_is_not_the_host() {
    let check = async |uri| check(&["https://api.example.no"], uri, false).await;
    check("https://api.example.no@evil.example/").await;
    check("https://api.example.no:443@evil.example/").await;
    check("https://evil.example:443@evil.example:443/").await;
    check("https://api.example.no%40evil.example@evil.example/").await;
    check("https://api.example.no@@evil.example/").await;
    check("https://a@api.example.no@evil.example/").await;
}

#[tokio::test(start_paused = true)]
async fn a_trailing_dot_is_another_host() {
    check(
        &["https://api.example.no"],
        "https://api.example.no./",
        false,
    )
    .await;
    check(
        &["https://api.example.no."],
        "https://api.example.no/",
        false,
    )
    .await;
    check(
        &["https://api.example.no."],
        "https://api.example.no./",
        true,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn letters_of_either_case_and_the_usual_port_are_the_same_origin() {
    let check = async |listed, uri| check(&[listed], uri, true).await;
    check("https://api.example.no", "https://api.example.no").await;
    check(
        "https://api.example.no",
        "https://API.Example.NO/person?fnr=1",
    )
    .await;
    check("https://api.example.no", "HTTPS://api.example.no/").await;
    check("https://api.example.no", "https://api.example.no:443/").await;
    check("https://api.example.no", "https://API.example.no:443/").await;
    check("https://API.example.no:443/", "https://api.example.no/").await;
    check(
        "https://api.example.no:8443",
        "https://API.example.no:8443/",
    )
    .await;
    check("http://localhost:8080", "http://LOCALHOST:8080/").await;
    check("http://127.0.0.1", "http://127.0.0.1:80/").await;
}

#[tokio::test(start_paused = true)]
async fn an_address_of_numbers_is_the_same_only_where_it_is_written_the_same() {
    let six = "https://[2001:db8::1]";
    check(&[six], "https://[2001:db8::1]/", true).await;
    check(&[six], "https://[2001:DB8::1]:443/", true).await;
    check(&[six], "https://[2001:db8::1]:8443/", false).await;
    check(&[six], "https://[2001:db8::2]/", false).await;
    check(&[six], "https://[2001:db8:0:0:0:0:0:1]/", false).await;
    check(
        &["https://[2001:db8::1]:8443"],
        "https://[2001:db8::1]:8443/",
        true,
    )
    .await;
    let four = "https://192.0.2.1";
    check(&[four], "https://192.0.2.1/", true).await;
    check(&[four], "https://[::ffff:192.0.2.1]/", false).await;
    check(&[four], "https://3221225985/", false).await;
    check(&[four], "https://0300.0.2.1/", false).await;
    check(&[four], "https://192.0.2.10/", false).await;
    check(&["https://[::ffff:192.0.2.1]"], "https://192.0.2.1/", false).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_of_other_letters_is_listed_and_asked_in_its_ascii_form() {
    let listed = "https://xn--brreg-vua.example";
    check(&[listed], "https://xn--brreg-vua.example/", true).await;
    check(&[listed], "https://XN--BRREG-VUA.example/", true).await;
    check(&[listed], "https://brreg.example/", false).await;
    assert!("https://brønnøysund.example".parse::<Origin>().is_err());
    // Nor can such a request be made.
    assert!("https://brønnøysund.example/".parse::<http::Uri>().is_err());
}

#[tokio::test(start_paused = true)]
async fn each_of_several_origins_gets_the_token_and_no_mixture_of_them() {
    let listed = [
        "https://api.example.no",
        "https://other.example:8443",
        "http://localhost:80",
    ];
    check(&listed, "https://api.example.no/", true).await;
    check(&listed, "https://other.example:8443/", true).await;
    check(&listed, "http://localhost/", true).await;
    check(&listed, "https://api.example.no:8443/", false).await;
    check(&listed, "https://other.example/", false).await;
    check(&listed, "https://localhost/", false).await;
    check(&listed, "http://api.example.no/", false).await;
}

#[test]
fn a_layer_is_not_built_without_an_origin_that_may_see_a_token() {
    let client = world::fixed("token");
    let check = |origins: &[&str], hint: &str| {
        let error = MaskinportenAuthLayer::new(&client, SCOPES, origins).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Origin, "{origins:?}");
        assert!(
            error.hint().unwrap().contains(hint),
            "{origins:?}: {error:?}"
        );
    };
    check(&[], "https://");
    check(&[""], "https://");
    check(&["api.example.no"], "https://");
    check(&["https://api.example.no/person"], "https://");
    check(&["https://api.example.no", "*"], "https://");
    check(&["https://*.example.no:"], "https://");
    check(&["https://user@api.example.no"], "https://");
    check(&["http://api.example.no"], "https");
    check(&["http://192.0.2.1"], "https");
    check(&["http://0.0.0.0:8080"], "https");
    check(&["http://127.1"], "https");
    check(&["http://[::ffff:127.0.0.1]"], "https");
    check(&["http://127.0.0.1.example.no"], "https");
    check(&["http://localhost.example.no"], "https");
}

// ===== addresses without a host =====

#[tokio::test(start_paused = true)]
async fn a_request_without_a_host_is_refused_with_a_hint() {
    for uri in ["/package.Service/Method", "*"] {
        let outcome = outcome(&["https://api.example.no"], |layer| layer, get(uri)).await;
        assert!(outcome.is_refused(), "{uri}: {outcome:?}");
        assert!(outcome.hint().contains("with_origin"), "{}", outcome.hint());
        assert!(
            outcome.hint().contains("assume_origin"),
            "{}",
            outcome.hint()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_scheme_is_refused() {
    // The target of CONNECT.
    check(&["https://api.example.no"], "api.example.no:443", false).await;
    check(&["https://api.example.no"], "api.example.no", false).await;
}

#[tokio::test(start_paused = true)]
async fn an_assumed_origin_stands_for_no_host_and_for_itself() {
    let assume: Configure = |layer| layer.assume_origin("https://grpc.example.no").unwrap();
    let authorised = async |uri| {
        let outcome = outcome(&["https://api.example.no"], assume, get(uri)).await;
        assert!(
            outcome.is_authorised() || outcome.is_refused(),
            "{uri}: {outcome:?}"
        );
        outcome.is_authorised()
    };
    assert!(authorised("/package.Service/Method").await);
    assert!(authorised("https://grpc.example.no/").await);
    assert!(authorised("https://api.example.no/").await);
    assert!(!authorised("https://evil.example/").await);
    assert!(!authorised("grpc.example.no:443").await);
}

#[test]
fn an_assumed_origin_must_be_one_that_may_see_a_token() {
    let client = world::fixed("token");
    let layer = MaskinportenAuthLayer::new(&client, SCOPES, "https://api.example.no").unwrap();
    for origin in ["http://api.example.no", "api.example.no", ""] {
        let error = layer.clone().assume_origin(origin).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Origin, "{origin}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_header_is_never_consulted() {
    let with_host = async |uri: &str, host: &'static str| {
        let mut request = get(uri);
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static(host));
        outcome(&["https://api.example.no"], |layer| layer, request).await
    };
    assert!(with_host("/person", "api.example.no").await.is_refused());
    assert!(
        with_host("https://evil.example/", "api.example.no")
            .await
            .is_refused()
    );
    assert!(
        with_host("https://api.example.no/", "evil.example")
            .await
            .is_authorised()
    );
}

// ===== chosen otherwise =====

#[tokio::test(start_paused = true)]
async fn a_foreign_request_passes_bare_where_that_was_chosen() {
    let pass: Configure = |layer| layer.pass_foreign();
    for uri in [
        "https://evil.example/",
        "http://api.example.no/",
        "https://api.example.no@evil.example/",
        "ftp://api.example.no/",
    ] {
        let outcome = outcome(&["https://api.example.no"], pass, get(uri)).await;
        assert!(outcome.is_bare(), "{uri}: {outcome:?}");
    }
    let listed = outcome(
        &["https://api.example.no"],
        pass,
        get("https://api.example.no"),
    )
    .await;
    assert!(listed.is_authorised(), "{listed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_request_that_passes_is_left_as_it_is() {
    let configured: [Configure; 2] = [
        |layer| layer.pass_foreign(),
        |layer| layer.pass_foreign().existing_header(ExistingHeader::Reject),
    ];
    for configure in configured {
        let mut request = get("https://elsewhere.example/");
        let headers = request.headers_mut();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic a"));
        headers.append("x-own", HeaderValue::from_static("b"));
        let before = headers.clone();

        let outcome = outcome(&["https://api.example.no"], configure, request).await;

        assert_eq!(outcome.headers, Some(before));
        assert_eq!(outcome.token_requests, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_host_does_not_pass_as_foreign() {
    let pass: Configure = |layer| layer.pass_foreign();
    let outcome = outcome(&["https://api.example.no"], pass, get("/person")).await;
    assert!(outcome.is_refused(), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn any_https_origin_is_every_https_origin_and_no_plain_http_beyond_this_machine() {
    let any: Configure = |layer| layer.any_https_origin();
    let check = async |uri, admitted| {
        let outcome = outcome(&["https://api.example.no"], any, get(uri)).await;
        let as_expected = if admitted {
            outcome.is_authorised()
        } else {
            outcome.is_refused()
        };
        assert!(as_expected, "{uri}: {outcome:?}");
    };
    check("https://api.example.no/", true).await;
    check("https://other.example:8443/", true).await;
    check("https://[2001:db8::1]/", true).await;
    check("http://other.example/", false).await;
    check("http://api.example.no/", false).await;
    check("http://192.0.2.1/", false).await;
    check("http://[::ffff:127.0.0.1]/", false).await;
    check("ftp://api.example.no/", false).await;
    check("/person", false).await;
}

// ===== judged by another reader =====

const LISTED: [&str; 4] = [
    "https://api.example.no",
    "https://other.example:8443",
    "https://[2001:db8::1]",
    "http://127.0.0.1:8080",
];

/// Scheme, host and port as the `url` crate reads them. A websocket's handshake is a request by http
/// (RFC 6455 §4.1).
fn read(uri: &str) -> Option<(String, String, u16)> {
    let url = Url::parse(uri).ok()?;
    let host = url.host_str()?.to_owned();
    let scheme = match url.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => other,
    };
    Some((scheme.to_owned(), host, url.port_or_known_default()?))
}

/// A client whose token is there, so that nothing waits for it.
static WARM: LazyLock<MaskinportenClient> = LazyLock::new(|| {
    let client = world::fixed("token");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime
        .unwrap()
        .block_on(client.access_token(SCOPES))
        .unwrap();
    client
});

/// Whether a request to this address left with the token; none where there is no such request.
fn leaves_with_token(uri: &str) -> Option<bool> {
    let request = Request::get(uri).body(Body::empty()).ok()?;
    let layer = MaskinportenAuthLayer::new(&*WARM, SCOPES, LISTED).unwrap();
    let recorder = Recorder::new();
    let _ = layer
        .layer(recorder.clone())
        .call(request)
        .now_or_never()
        .unwrap();
    Some(
        recorder
            .authorizations()
            .pop()
            .is_some_and(|values| !values.is_empty()),
    )
}

/// Addresses near the listed ones, in every way an address can be near.
fn addresses() -> impl Strategy<Value = String> {
    let scheme = one_of("https|https|https|http|HTTPS|ftp|httpss|ws|wss|WSS");
    let slashes = one_of("://|://|://|://|:|:/|:///|//");
    let user = one_of("||||user@|user:pass@|api.example.no@|api.example.no:443@|@|%40@");
    let host = prop_oneof![
        4 => one_of("api.example.no|API.example.NO|other.example|[2001:db8::1]|127.0.0.1"),
        2 => one_of("api.example.no.|[2001:DB8::1]|[2001:db8:0::1]|xn--api.example.no|"),
        2 => one_of("127.1|2130706433|0x7f.0.0.1|[::ffff:127.0.0.1]|localhost"),
        2 => one_of("evil.example|api.example.no.evil.example|api.example.no%2eevil.example"),
        1 => "[a-z0-9.:@\\[\\]+%_-]{0,24}",
        1 => "api[!-~]example\\.no[!-~]{0,3}",
    ];
    let port = prop_oneof![
        1 => one_of("||:443|:8443|:8080|:80"),
        1 => one_of(":0443|:+443|:|:-1|:65979|:443:443|:443@evil.example|:\u{0664}\u{0664}\u{0663}"),
    ];
    let rest =
        one_of("|/|/a?b=c|?x|#@evil.example|/@evil.example|//evil.example|\\@evil.example|\t| ");
    (scheme, slashes, user, host, port, rest).prop_map(
        |(scheme, slashes, user, host, port, rest)| {
            scheme + &slashes + &user + &host + &port + &rest
        },
    )
}

/// One of the texts between the bars.
fn one_of(texts: &'static str) -> impl Strategy<Value = String> {
    prop::sample::select(texts.split('|').collect::<Vec<_>>()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_token_leaves_only_for_an_origin_that_another_reader_finds_listed(
        uri in addresses(),
    ) {
        if leaves_with_token(&uri) == Some(true) {
            let mut listed = LISTED.iter().map(|origin| read(origin));
            let reading = read(&uri);
            prop_assert!(reading.is_some() && listed.any(|origin| origin == reading), "{uri}: {reading:?}");
        }
    }

    #[test]
    fn what_is_listed_and_plainly_written_gets_its_token(
        origin in prop::sample::select(&LISTED[..]),
        path in "(/[a-z0-9._~-]{0,8}){0,3}(\\?[a-z0-9=&]{0,8})?",
    ) {
        let uri = format!("{origin}{path}");
        prop_assert_eq!(leaves_with_token(&uri), Some(true), "{}", uri);
    }
}
