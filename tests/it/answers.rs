//! Whatever a server answers: a token, or a typed error that says what to do; never its body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use maskinporten::{
    AccessToken, AltinnSettings, Error, ErrorKind, MaskinportenClient, MaskinportenSettings,
    Result, TokioClock, Transport,
};
use maskinporten_sim::{Fault, Route, SimServer};
use tower::service_fn;

use crate::wire::{self, Wire};

const JWK: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");

/// A client of Maskinporten's test environment and its Altinn, behind a transport by hand.
fn client(transport: Transport) -> MaskinportenClient {
    MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
        .transport(transport)
        .clock(TokioClock::starting_at(std::time::UNIX_EPOCH))
        .build()
        .unwrap()
}

/// What a client makes of this answer to its grant, and how often it asked.
async fn asked(answer: Response<Full<Bytes>>) -> (Result<AccessToken>, usize) {
    let wire = Wire::default();
    let transport = wire.answering(move |_| answer.clone());
    let outcome = client(transport).access_token(["a:read"]).await;
    (outcome, wire.sent().len())
}

/// An error whoever reads it can act on, and which repeats nothing of the answer it came of.
#[track_caller]
fn check_error(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(!error.hint().unwrap_or_default().is_empty(), "{error:?}");
    assert!(!error.to_string().is_empty());
    let told = format!("{error} {error:?}");
    assert!(!told.contains("canary"), "{told}");
    assert!(told.len() < 2_000, "{told}");
}

// ===== answers that hold no token =====

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_token_answer_is_a_typed_error() {
    let long = "x".repeat(40_000);
    let rows = [
        (200, "<html>canary</html>".to_owned()),
        (200, String::new()),
        (200, "null".to_owned()),
        (200, "[\"canary\"]".to_owned()),
        (200, "{\"access_token\":\"canary".to_owned()),
        (200, "{\"access_token\":[\"canary\"]}".to_owned()),
        (200, "{\"access_token\":\"\",\"expires_in\":120}".to_owned()),
        (
            200,
            "{\"access_token\":\"can\\r\\nary\",\"expires_in\":120}".to_owned(),
        ),
        (
            200,
            "{\"access_token\":\"can\\u0000ary\",\"expires_in\":120}".to_owned(),
        ),
        (
            200,
            format!("{{\"access_token\":\"canary{long}\",\"expires_in\":120}}"),
        ),
        (
            200,
            "{\"access_token\":\"canary\",\"token_type\":\"DPoP\"}".to_owned(),
        ),
        (404, "<html>canary</html>".to_owned()),
        (400, "canary".to_owned()),
    ];
    for (status, body) in rows {
        let (outcome, requests) = asked(wire::answer(status, body)).await;
        let error = outcome.unwrap_err();
        check_error(&error, ErrorKind::Protocol);
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
        // A proxy's page may be gone the next moment, so it is asked again.
        assert!(error.is_transient());
        assert_eq!(requests, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_serve_now_is_asked_again_later() {
    for status in [408, 429, 500, 502, 503, 504] {
        for body in ["", "<html>canary</html>", r#"{"error":"invalid_grant"}"#] {
            let (outcome, requests) = asked(wire::answer(status, body)).await;
            let error = outcome.unwrap_err();
            check_error(&error, ErrorKind::Unavailable);
            assert!(error.is_transient() && error.retry_at().is_some());
            assert_eq!(requests, 3, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn compressed_bytes_that_nobody_asked_for_are_no_answer() {
    // `{}` as gzip writes it (RFC 1952).
    let mut body = vec![0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03];
    body.extend([0xab, 0xae, 0x05, 0, 0x43, 0xbf, 0xa6, 0xa3, 0x02, 0, 0, 0]);
    for status in [200, 400] {
        let mut answer = wire::answer(status, body.clone());
        let gzip = HeaderValue::from_static("gzip");
        answer.headers_mut().insert("content-encoding", gzip);
        let wire = Wire::default();
        let transport = wire.answering(move |_| answer.clone());
        let error = client(transport)
            .access_token(["a:read"])
            .await
            .unwrap_err();
        check_error(&error, ErrorKind::Protocol);
        assert!(!wire.sent()[0].headers().contains_key("accept-encoding"));
    }
}

/// A body of 64 MiB in frames of 16 KiB, which counts what is taken of it.
struct Endless {
    left: usize,
    taken: Arc<AtomicUsize>,
}

const FRAME: usize = 16 * 1024;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= FRAME;
        self.taken.fetch_add(FRAME, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; FRAME])))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_given_up_after_64_kib() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let transport = Transport::new(service_fn(move |_: Request<Bytes>| {
        let taken = Arc::clone(&count);
        let left = 64 * 1024 * 1024;
        async move { Ok::<_, Infallible>(Response::new(Endless { left, taken })) }
    }));
    let error = client(transport)
        .access_token(["a:read"])
        .await
        .unwrap_err();
    check_error(&error, ErrorKind::Protocol);
    // Three attempts, each of which looks one frame further than it keeps.
    assert!(taken.load(Ordering::Relaxed) <= 3 * (64 * 1024 + FRAME));
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let wire = Wire::default();
        let transport = wire.answering(move |_| {
            let mut answer = wire::answer(status, "");
            let elsewhere = HeaderValue::from_static("https://evil.example/token");
            answer.headers_mut().insert("location", elsewhere);
            answer
        });
        let error = client(transport)
            .access_token(["a:read"])
            .await
            .unwrap_err();
        check_error(&error, ErrorKind::Protocol);
        assert!(!error.is_transient());
        assert!(error.hint().unwrap().contains("redirect"));
        assert_eq!(wire.urls(), ["https://test.maskinporten.no/token"]);
    }
}

// Over sockets: the default transport itself follows nothing.
#[tokio::test]
async fn a_redirect_is_not_followed_by_the_default_transport() {
    let (asked, elsewhere) = (
        SimServer::start().await.unwrap(),
        SimServer::start().await.unwrap(),
    );
    let registered = asked.sim().new_client(["a:read"]);
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT] {
        let mut headers = HeaderMap::new();
        let location = elsewhere.sim().token_endpoint();
        headers.insert("location", HeaderValue::from_str(&location).unwrap());
        asked.sim().clear_faults();
        asked
            .sim()
            .fault(Route::Token, Fault::answer(status, headers, ""));
        let client =
            MaskinportenClient::from_settings(crate::world::settings(&registered)).unwrap();
        let error = client.access_token(["a:read"]).await.unwrap_err();
        check_error(&error, ErrorKind::Protocol);
        assert_eq!(error.status(), Some(status));
    }
    assert_eq!(asked.sim().journal().token_requests(), 2);
    assert!(elsewhere.sim().journal().entries().is_empty());
}

// ===== how long a token lives =====

#[tokio::test(start_paused = true)]
async fn a_life_is_read_in_every_form_servers_write_it() {
    let rows = [
        ("", 60),
        (r#","expires_in":null"#, 60),
        (r#","expires_in":120"#, 120),
        (r#","expires_in":"120""#, 120),
        (r#","expires_in":119.9"#, 119),
        (r#","expires_in":0"#, 0),
        (r#","expires_in":1000000000000000000"#, 86_400),
    ];
    for (expires_in, seconds) in rows {
        let body = format!(r#"{{"access_token":"opaque","token_type":"bearer"{expires_in}}}"#);
        let (outcome, requests) = asked(wire::answer(200, body)).await;
        let token = outcome.unwrap();
        assert_eq!(
            token.lifetime(),
            Duration::from_secs(seconds),
            "{expires_in}"
        );
        assert_eq!(requests, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_that_is_no_number_of_seconds_is_a_typed_error() {
    for expires_in in ["-1", "-1e9", "\"soon\"", "\"-5\"", "true", "[]"] {
        let body = format!(r#"{{"access_token":"canary","expires_in":{expires_in}}}"#);
        let (outcome, _) = asked(wire::answer(200, body)).await;
        let error = outcome.unwrap_err();
        check_error(&error, ErrorKind::Protocol);
        assert!(error.to_string().contains("expires_in"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_members_and_a_missing_scope_are_no_matter() {
    let body =
        r#"{"access_token":"opaque","token_type":"BEARER","expires_in":120,"new":{"x":[1]}}"#;
    let (outcome, _) = asked(wire::answer(200, body)).await;
    let token = outcome.unwrap();
    assert_eq!((token.expose(), token.scope()), ("opaque", None));
}

// ===== refusals =====

struct Row {
    status: u16,
    error: &'static str,
    code: Option<&'static str>,
    text: &'static str,
    kind: ErrorKind,
    requests: usize,
}

const fn row(
    error: &'static str,
    code: Option<&'static str>,
    text: &'static str,
    kind: ErrorKind,
) -> Row {
    let status = if matches!(kind, ErrorKind::OrganisationRejected) {
        403
    } else {
        400
    };
    Row {
        status,
        error,
        code,
        text,
        kind,
        requests: 1,
    }
}

const fn twice(row: Row) -> Row {
    Row { requests: 2, ..row }
}

const GRANT: &str = "invalid_grant";
const SCOPE: &str = "invalid_scope";
const REQUEST: &str = "invalid_request";
const DETAILS: &str = "invalid_authorization_details";
const CUSTOMER: &str = "invalid_altinn_customer_configuration";

use ErrorKind::{OrganisationRejected, Rejected, ScopeRejected};

/// Digdir's table of errors, and the texts without a code beside it. Two rows may be mended by a new
/// assertion: a used `jti`, and times that the server's `Date` corrects.
const REFUSALS: [Row; 23] = [
    row(
        REQUEST,
        Some("MP-011"),
        "Invalid parameter value: assertion",
        Rejected,
    ),
    twice(row(
        GRANT,
        Some("MP-012"),
        "Grant is used before (jti).",
        Rejected,
    )),
    row(
        GRANT,
        Some("MP-100"),
        "Invalid assertion. Client not found.",
        Rejected,
    ),
    row(
        GRANT,
        Some("MP-110"),
        "Invalid assertion. Invalid JWT claim aud.",
        Rejected,
    ),
    row(
        GRANT,
        Some("MP-120"),
        "Invalid x5c header: invalid certificate.",
        Rejected,
    ),
    row(
        GRANT,
        Some("MP-121"),
        "Client authentication failed. Expired key.",
        Rejected,
    ),
    row(
        GRANT,
        Some("MP-122"),
        "Wrong organization number in certificate.",
        Rejected,
    ),
    row(
        GRANT,
        Some("MP-123"),
        "Invalid x5c header: expected an array.",
        Rejected,
    ),
    row(
        GRANT,
        Some("MP-124"),
        "Client authentication failed. Invalid JWT signature.",
        Rejected,
    ),
    row(
        GRANT,
        None,
        "Client authentication failed. Unknown key identifier (kid).",
        Rejected,
    ),
    row(
        GRANT,
        None,
        "But no key identifier (kid) provided in JWT header.",
        Rejected,
    ),
    twice(row(GRANT, Some("MP-130"), "JWT is expired.", Rejected)),
    twice(row(
        GRANT,
        None,
        "Issue time (iat) is in the future.",
        Rejected,
    )),
    row(GRANT, None, "JWT has too long lifetime.", Rejected),
    row(
        SCOPE,
        Some("MP-200"),
        "Requested invalid scopes for client: x:y",
        ScopeRejected,
    ),
    row(
        SCOPE,
        Some("MP-201"),
        "Scopes not allowed for maskinporten: x:y",
        ScopeRejected,
    ),
    row(
        "forbidden",
        Some("MP-250"),
        "Consumer 0192:991825827 has not been granted access to the scope x:y",
        OrganisationRejected,
    ),
    row(
        "forbidden",
        Some("MP-251"),
        "Consumer 0192:991825827 has not delegated access to the scope x:y",
        OrganisationRejected,
    ),
    row(
        DETAILS,
        Some("MP-301"),
        "Unknown authorization details type",
        Rejected,
    ),
    row(
        DETAILS,
        Some("MP-302"),
        "Unknown fields in authorization details: x",
        Rejected,
    ),
    row(
        CUSTOMER,
        Some("MP-303"),
        "System user not found for 0192:991825827",
        OrganisationRejected,
    ),
    row(
        REQUEST,
        None,
        "Invalid combination consumer_org and client",
        OrganisationRejected,
    ),
    row(
        "invalid_target",
        None,
        "The URI must not have a fragment",
        Rejected,
    ),
];

/// The answer to a refused grant, dated well away from our clock.
fn refusal(row: &Row, with_uri: bool) -> Response<Full<Bytes>> {
    let Row { error, text, .. } = row;
    let uri = match row.code {
        Some(code) if with_uri => {
            format!(r#","error_uri":"https://test.maskinporten.no/errors/{code}""#)
        }
        _ => String::new(),
    };
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let body =
        format!(r#"{{"error":"{error}","error_description":"{text} (trace_id: {trace})"{uri}}}"#);
    let mut answer = wire::answer(row.status, body);
    let date = HeaderValue::from_static("Fri, 01 Jan 2027 10:00:00 GMT");
    answer.headers_mut().insert("date", date);
    answer
}

#[tokio::test(start_paused = true)]
async fn every_known_refusal_is_told_by_kind_code_and_advice() {
    let mut hints = Vec::new();
    for row in &REFUSALS {
        let (outcome, requests) = asked(refusal(row, true)).await;
        let error = outcome.unwrap_err();
        check_error(&error, row.kind);
        assert_eq!(error.code(), row.code);
        assert_eq!(error.oauth_error(), Some(row.error));
        assert_eq!(error.description(), Some(row.text));
        assert_eq!(error.trace_id(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(error.status().unwrap().as_u16(), row.status);
        assert!(!error.is_transient(), "{error}");
        assert_eq!(requests, row.requests, "{error}");

        // Without the address of the code, the words tell the same.
        let (outcome, requests) = asked(refusal(row, false)).await;
        let worded = outcome.unwrap_err();
        check_error(&worded, row.kind);
        assert_eq!(worded.code(), None);
        assert_eq!(worded.hint(), error.hint(), "{}", row.text);
        assert_eq!(requests, row.requests, "{error}");
        hints.push(error.hint().unwrap());
    }
    // Each row has advice of its own.
    let rows = hints.len();
    hints.sort_unstable();
    hints.dedup();
    assert_eq!(hints.len(), rows);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_read_in_the_forms_of_other_years() {
    #[track_caller]
    fn check(error: &Error, code: Option<&str>, trace: Option<&str>, text: Option<&str>) {
        check_error(error, ErrorKind::Rejected);
        assert_eq!(
            (error.code(), error.trace_id(), error.description()),
            (code, trace, text)
        );
    }
    let refused = async |body: &'static str| asked(wire::answer(400, body)).await.0.unwrap_err();

    let uuid = "6b1b36cb-3d25-4a2f-9d5c-77cd2b0a2f6e";
    let error = refused(
        r#"{"error":"invalid_grant","error_description":"Client not found. (correlation id: 6b1b36cb-3d25-4a2f-9d5c-77cd2b0a2f6e)"}"#,
    );
    check(&error.await, None, Some(uuid), Some("Client not found."));
    let error = refused(
        r#"{"error":"invalid_grant","error_description":null,"error_uri":"https://test.maskinporten.no/errors/MP-124"}"#,
    );
    check(&error.await, Some("MP-124"), None, None);
    let error =
        refused(r#"{"error":"invalid_grant","error_description":"MP-100: Client not found"}"#);
    check(
        &error.await,
        Some("MP-100"),
        None,
        Some("MP-100: Client not found"),
    );
    check(
        &refused(r#"{"error":"something_new"}"#).await,
        None,
        None,
        None,
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_was_about_is_told_beside_it() {
    let (outcome, _) = asked(refusal(&REFUSALS[3], true)).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.endpoint(), Some("https://test.maskinporten.no/token"));
    let details: Vec<_> = error.details().collect();
    for told in [
        ("audience", "https://test.maskinporten.no/"),
        ("client id", "our-client"),
        ("kid", "maskinporten-test-key"),
        ("scope", "a:read"),
    ] {
        assert!(details.contains(&told), "{told:?} in {details:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_description_is_cleaned_and_bounded() {
    let long = "word ".repeat(1_000);
    let body = format!(r#"{{"error":"invalid_grant","error_description":"a\u0000\r\nb {long}"}}"#);
    let (outcome, _) = asked(wire::answer(400, body)).await;
    let error = outcome.unwrap_err();
    let description = error.description().unwrap();
    assert!(description.starts_with("a b word"), "{description}");
    assert!(description.chars().count() <= 500);
    assert!(!description.contains(char::is_control));
}

// ===== the exchange =====

/// What a client makes of this answer to its exchange, and how often it exchanged.
async fn exchanged(answer: Response<Full<Bytes>>) -> (Result<AccessToken>, usize) {
    let wire = Wire::default();
    let transport = wire.answering(move |request| match request.uri().path() {
        "/token" => wire::token("opaque"),
        _ => answer.clone(),
    });
    let outcome = client(transport).altinn_token(["a:read"]).await;
    let grants = wire.assertions().len();
    (outcome, wire.sent().len() - grants)
}

#[tokio::test(start_paused = true)]
async fn an_exchanged_token_is_read_bare_or_quoted() {
    let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"nbf":1001,"exp":2800}"#);
    let token = format!("e30.{claims}.c2ln");
    for body in [
        token.clone(),
        format!("\"{token}\""),
        format!("\"{token}\"\n"),
        format!("\u{feff}{token}\r\n"),
    ] {
        let (outcome, exchanges) = exchanged(wire::answer(200, body)).await;
        let read = outcome.unwrap();
        assert_eq!(read.expose(), token);
        assert_eq!(read.lifetime(), Duration::from_secs(1_800));
        assert_eq!(exchanges, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_is_one_get_with_a_bearer_and_nothing_else() {
    let wire = Wire::default();
    let transport = wire.answering(move |request| match request.uri().path() {
        "/token" => wire::token("opaque"),
        _ => wire::answer(401, ""),
    });
    let platform = "https://platform.tt02.altinn.no";
    let altinn = AltinnSettings::platform(platform).unwrap();
    let client = MaskinportenClient::builder()
        .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
        .altinn(altinn.with_subscription_key("gateway-key"))
        .transport(transport)
        .build()
        .unwrap();
    client.altinn_token(["a:read"]).await.unwrap_err();
    let sent = wire.sent();
    let exchange = &sent[1];
    assert_eq!(exchange.method(), http::Method::GET);
    let path = "/authentication/api/v1/exchange/maskinporten";
    assert_eq!(exchange.uri().to_string(), format!("{platform}{path}"));
    assert!(exchange.body().is_empty());
    let headers = exchange.headers();
    assert_eq!(headers["authorization"], "Bearer opaque");
    assert_eq!(headers["ocp-apim-subscription-key"], "gateway-key");
    assert_eq!(headers["accept"], "text/plain");
    assert_eq!(headers.len(), 3, "{headers:?}");
}

#[tokio::test(start_paused = true)]
async fn every_refused_exchange_is_told_apart() {
    use ErrorKind::{Exchange, Protocol, Unavailable};
    let gateway =
        r#"{"statusCode":401,"message":"Access denied due to missing subscription key."}"#;
    let problem = r#"{"type":"about:blank","title":"Gone","status":410,"detail":"canary"}"#;
    let rows: [(u16, &str, ErrorKind, usize, &str); 12] = [
        (200, "", Protocol, 3, "no token"),
        (200, "\"\"", Protocol, 3, "no token"),
        (200, "<html>canary</html>", Protocol, 3, "no token"),
        (
            200,
            "canary.canary.canary",
            Protocol,
            3,
            "how long it lives",
        ),
        // Asked once more with a new token: Altinn says this of its own failures too.
        (401, "", Exchange, 2, "did not accept"),
        (401, gateway, Exchange, 1, "missing subscription key"),
        (410, problem, Exchange, 1, "enterprise"),
        (400, "canary", Exchange, 1, "status 400"),
        (404, "canary", Exchange, 1, "status 404"),
        (429, "", Unavailable, 3, "cannot serve now"),
        (503, "canary", Unavailable, 3, "cannot serve now"),
        (302, "", Protocol, 1, "redirect"),
    ];
    for (status, body, kind, exchanges, words) in rows {
        let (outcome, requests) = exchanged(wire::answer(status, body)).await;
        let error = outcome.unwrap_err();
        check_error(&error, kind);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.status().unwrap().as_u16(), status);
        assert_eq!(requests, exchanges, "{error}");
    }
}
