//! What goes wrong on purpose, made in Rust or over HTTP, and tokens that are revoked.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use maskinporten_sim::{Body, Fault, Route, Sim, SimServer, Verdict};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::support::{Answer, Grant, claims, get, run, seconds, send};

/// The answer to a request for the metadata, its body unread.
async fn metadata(sim: &Sim) -> Response<Body> {
    let url = format!("{}.well-known/oauth-authorization-server", sim.issuer());
    let request = Request::get(url).body(Body::empty()).unwrap();
    sim.clone().oneshot(request).await.unwrap()
}

async fn bytes_of(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Reads the metadata over a socket until the server closes it.
async fn metadata_over_a_socket(server: &SimServer) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let request =
        b"GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

// ===== bodies =====

#[tokio::test(start_paused = true)]
async fn a_truncated_answer_announces_all_of_it_and_fails_half_way() {
    let sim = Sim::new();
    let whole = bytes_of(metadata(&sim).await).await;
    sim.fault(Route::Metadata, Fault::truncated().times(1));
    let response = metadata(&sim).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["content-length"],
        whole.len().to_string()
    );
    let mut body = response.into_body();
    let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(half, whole[..whole.len() / 2]);
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());

    assert_eq!(bytes_of(metadata(&sim).await).await, whole);
    assert!(sim.journal().entries()[1].is_accepted());
}

#[tokio::test(start_paused = true)]
async fn a_truncated_answer_without_a_body_owes_one_byte() {
    let sim = Sim::new();
    sim.fault(Route::Exchange, Fault::truncated());
    let request = Request::get(sim.exchange_endpoint()).body(Body::empty());
    let response = sim.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["content-length"], "1");
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_truncated_answer_drops_the_connection_in_its_body() {
    let server = SimServer::start().await.unwrap();
    let (_, whole) = metadata_over_a_socket(&server).await;
    server.sim().fault(Route::Metadata, Fault::truncated());
    let (head, half) = metadata_over_a_socket(&server).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}\r\n", whole.len())),
        "{head}"
    );
    assert_eq!(half, whole[..whole.len() / 2]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_pauses_between_its_pieces() {
    let sim = Sim::new();
    let whole = bytes_of(metadata(&sim).await).await;
    let pause = Duration::from_millis(200);
    for (piece, pieces) in [(100, whole.len().div_ceil(100)), (0, whole.len())] {
        sim.clear_faults()
            .fault(Route::Metadata, Fault::slow_body(piece, pause));
        let begun = tokio::time::Instant::now();
        let response = metadata(&sim).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(bytes_of(response).await, whole);
        assert_eq!(begun.elapsed(), pause * (pieces as u32 - 1));
    }
}

#[tokio::test]
async fn a_slow_body_arrives_whole_over_a_socket() {
    let server = SimServer::start().await.unwrap();
    let (_, whole) = metadata_over_a_socket(&server).await;
    server.sim().fault(
        Route::Metadata,
        Fault::slow_body(whole.len() / 3, Duration::from_millis(1)),
    );
    assert_eq!(metadata_over_a_socket(&server).await.1, whole);
}

#[tokio::test(start_paused = true)]
async fn a_huge_body_is_as_long_as_told_and_tells_it_or_not() {
    const LENGTH: u64 = 3 * 1024 * 1024 + 1;
    let sim = Sim::new();
    for (fault, announced) in [
        (Fault::huge(LENGTH), Some(LENGTH)),
        (Fault::huge_unannounced(LENGTH), None),
    ] {
        sim.clear_faults().fault(Route::Metadata, fault);
        let response = metadata(&sim).await;
        let header = response.headers().get("content-length");
        let header = header.map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(header, announced);
        assert_eq!(response.body().size_hint().exact(), announced);
        let body = bytes_of(response).await;
        assert_eq!(body.len() as u64, LENGTH);
        assert!(body.iter().all(|byte| *byte == b' '));
    }
    assert_eq!(sim.journal().entries()[0].verdict(), &Verdict::Fault);
}

#[tokio::test]
async fn a_body_without_end_leaves_its_reader_a_timeout() {
    let sim = Sim::new();
    sim.fault(Route::Metadata, Fault::huge(u64::MAX));
    let mut body = metadata(&sim).await.into_body();
    let endless = async { while body.frame().await.is_some() {} };
    // By the wall clock: paused time moves only while nobody is busy.
    let stopped = tokio::time::timeout(Duration::from_millis(5), endless).await;
    assert!(stopped.is_err());
}

#[tokio::test]
async fn a_huge_body_is_chunked_over_a_socket_unless_announced() {
    let server = SimServer::start().await.unwrap();
    let sim = server.sim();
    sim.fault(Route::Metadata, Fault::huge(2_000_000).times(1));
    sim.fault(Route::Metadata, Fault::huge_unannounced(2_000_000));
    let (head, body) = metadata_over_a_socket(&server).await;
    assert!(head.contains("content-length: 2000000\r\n"), "{head}");
    assert_eq!(body.len(), 2_000_000);
    let (head, body) = metadata_over_a_socket(&server).await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert!(body.len() > 2_000_000 && body.ends_with(b"\r\n0\r\n\r\n"));
}

#[test]
fn the_true_answer_may_come_under_another_content_type() {
    let grant = Grant::new();
    let fault = |media_type: &str| {
        grant
            .sim
            .clear_faults()
            .fault(Route::Metadata, Fault::content_type(media_type));
        run(metadata(&grant.sim))
    };
    assert_eq!(fault("text/html").headers()["content-type"], "text/html");
    assert!(!fault("a\nb").headers().contains_key("content-type"));

    grant
        .sim
        .fault(Route::Token, Fault::content_type("text/html"));
    let answer = run(grant.send());
    assert_eq!(answer.header("content-type"), "text/html");
    assert!(answer.json()["access_token"].is_string());
}

// ===== instead of an answer =====

#[test]
fn a_refusal_is_written_as_the_token_endpoint_writes_it() {
    #[track_caller]
    fn check(error: &str, code: Option<&str>, status: StatusCode, uri: Value) {
        let grant = Grant::new();
        grant
            .sim
            .fault(Route::Token, Fault::refusal(error, "what was wrong", code));
        let answer = run(grant.send());
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=utf-8"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        let body = answer.json();
        assert_eq!((&body["error"], &body["error_uri"]), (&json!(error), &uri));
        let description = body["error_description"].as_str().unwrap();
        assert!(
            description.starts_with("what was wrong (trace_id: "),
            "{description}"
        );
        assert_eq!(grant.sim.journal().entries()[0].verdict(), &Verdict::Fault);
    }
    check("invalid_target", None, StatusCode::BAD_REQUEST, Value::Null);
    check(
        "forbidden",
        Some("MP-251"),
        StatusCode::FORBIDDEN,
        json!("https://sim.maskinporten.test/errors/MP-251"),
    );
}

#[test]
fn a_problem_is_written_as_rfc_9457_has_it() {
    let sim = Sim::new();
    let answer = |detail: &str| {
        let problem = Fault::problem(StatusCode::UNAUTHORIZED, "Unauthorized", detail);
        sim.clear_faults().fault(Route::Exchange, problem);
        let answer = run(get(&sim, &sim.exchange_endpoint(), &[]));
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let content_type = "application/problem+json; charset=utf-8";
        assert_eq!(answer.header("content-type"), content_type);
        let mut body = answer.json();
        let trace_id = body["traceId"].take();
        assert_eq!(trace_id.as_str().unwrap().len(), 55, "{trace_id}");
        body
    };
    let mut expected = json!({ "title": "Unauthorized", "status": 401, "traceId": null });
    assert_eq!(answer(""), expected);
    expected["detail"] = json!("expired");
    assert_eq!(answer("expired"), expected);
}

#[tokio::test]
async fn a_lost_connection_is_an_error_in_process_and_the_end_of_it_on_a_port() {
    let server = SimServer::start().await.unwrap();
    let sim = server.sim();
    sim.fault(Route::Jwks, Fault::disconnect());

    let request = Request::get("/jwk").body(Body::empty()).unwrap();
    let failed = sim.clone().oneshot(request).await.err();
    assert_eq!(
        failed.map(|error| error.to_string()).as_deref(),
        Some("the connection was closed before there was an answer")
    );

    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream
        .write_all(b"GET /jwk HTTP/1.1\r\nhost: any\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    assert_eq!(stream.read_to_end(&mut answer).await.unwrap(), 0);

    let journal = sim.journal();
    assert_eq!(journal.entries().len(), 2);
    for entry in journal.entries() {
        assert_eq!((entry.verdict(), entry.status()), (&Verdict::Fault, None));
    }
}

// ===== conditions =====

/// The statuses of requests to the API with and without a token, of which a fault decides some.
fn judged(grant: &Grant, path: &str) -> [u16; 2] {
    let url = format!("{}{path}", grant.sim.altinn_platform());
    let bearer = format!("Bearer {}", run(grant.token()));
    let with = run(get(&grant.sim, &url, &[("authorization", &bearer)]));
    let without = run(get(&grant.sim, &url, &[]));
    [with.status.as_u16(), without.status.as_u16()]
}

#[test]
fn a_request_that_cannot_be_read_meets_only_faults_that_ask_for_no_identity() {
    #[track_caller]
    fn check(fault: impl FnOnce(Fault, &Grant) -> Fault, expected: [u16; 2]) {
        let grant = Grant::new();
        let gone = Fault::status(StatusCode::GONE);
        grant.sim.fault(Route::Api, fault(gone, &grant));
        assert_eq!(judged(&grant, "/api/persons/1"), expected);
    }
    check(|fault, _| fault.for_itself(), [410, 401]);
    check(|fault, _| fault.for_scope("a:b"), [410, 401]);
    check(
        |fault, grant| fault.for_client(grant.client.client_id()),
        [410, 401],
    );
    check(|fault, _| fault.for_client("another"), [200, 401]);
    check(
        |fault, _| fault.for_scope("a:b").for_scope("a:c"),
        [200, 401],
    );
    check(
        |fault, _| fault.for_consumer("991825827").unwrap(),
        [200, 401],
    );
    check(|fault, _| fault, [410, 410]);
}

#[test]
fn a_path_is_met_whole_or_by_all_below_it() {
    #[track_caller]
    fn check(fault: impl FnOnce(Fault) -> Fault, path: &str, meets: bool) {
        let grant = Grant::in_world(Sim::builder().issuer("https://sim.example/world/").build());
        let gone = Fault::status(StatusCode::GONE);
        grant.sim.fault(Route::Api, fault(gone));
        let expected = if meets { [410, 410] } else { [200, 401] };
        assert_eq!(judged(&grant, path), expected, "{path}");
    }
    check(
        |fault| fault.at_path("/api/persons"),
        "/world/api/persons",
        true,
    );
    check(
        |fault| fault.at_path("/api/persons"),
        "/api/persons?x=1",
        true,
    );
    check(
        |fault| fault.at_path("/api/persons"),
        "/api/persons/1",
        false,
    );
    for prefix in ["/api/persons", "/api/persons/"] {
        check(|fault| fault.under_path(prefix), "/api/persons", true);
        check(
            |fault| fault.under_path(prefix),
            "/world/api/persons/1",
            true,
        );
        check(|fault| fault.under_path(prefix), "/api/personsearch", false);
    }
}

// ===== skew =====

#[test]
fn a_skewed_server_judges_and_dates_by_its_own_clock() {
    #[track_caller]
    fn check(skew: i64, error: Option<&str>, date: &str) {
        run(async {
            let mut grant = Grant::new();
            grant.sim.fault(Route::Token, Fault::skew(skew).times(1));
            let answer = grant.send().await;
            assert_eq!(answer.header("date"), date);
            let journal = grant.sim.journal();
            let entry = &journal.entries()[0];
            assert_eq!(entry.is_accepted(), error.is_none());
            assert_eq!(entry.time(), grant.sim.clock().now());
            if error.is_none() {
                let token = claims(answer.json()["access_token"].as_str().unwrap());
                let iat = i64::try_from(seconds(&grant.sim)).unwrap() + skew;
                assert_eq!(token["iat"], json!(iat));
            } else {
                assert_eq!(entry.error(), error);
                // A refused grant is a used one.
                grant.claims["jti"] = json!("two");
                assert_eq!(grant.send().await.status, StatusCode::OK);
            }
        });
    }
    check(5, None, "Thu, 01 Jan 2026 10:00:05 GMT");
    check(-5, None, "Thu, 01 Jan 2026 09:59:55 GMT");
    check(3600, Some("invalid_grant"), "Thu, 01 Jan 2026 11:00:00 GMT");
    check(
        -3600,
        Some("invalid_grant"),
        "Thu, 01 Jan 2026 09:00:00 GMT",
    );
    check(
        i64::MAX,
        Some("invalid_grant"),
        "Fri, 31 Dec 9999 23:59:59 GMT",
    );
    check(
        i64::MIN,
        Some("invalid_grant"),
        "Thu, 01 Jan 1970 00:00:00 GMT",
    );
}

#[tokio::test(start_paused = true)]
async fn a_skewed_api_finds_a_good_token_expired() {
    let grant = Grant::new();
    let token = grant.token().await;
    grant.sim.fault(Route::Api, Fault::skew(120).times(1));
    assert_eq!(call(&grant, &token).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(call(&grant, &token).await.status, StatusCode::OK);
}

// ===== revocation =====

async fn call(grant: &Grant, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let url = grant.sim.api_url();
    get(&grant.sim, &url, &[("authorization", &bearer)]).await
}

async fn exchanged(grant: &Grant, token: &str) -> String {
    let bearer = format!("Bearer {token}");
    let url = grant.sim.exchange_endpoint();
    let answer = get(&grant.sim, &url, &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.text().to_owned()
}

async fn check_revoked(grant: &Grant, token: &str) {
    let answer = call(grant, token).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.header("www-authenticate"),
        r#"Bearer error="invalid_token""#
    );
    let journal = grant.sim.journal();
    let Verdict::Refused {
        error, description, ..
    } = journal.entries().last().unwrap().verdict()
    else {
        panic!("a refusal")
    };
    assert_eq!(
        (error.as_str(), description.as_str()),
        ("invalid_token", "the token is revoked")
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_from_before_an_instant_are_revoked_at_the_api_alone() {
    let mut grant = Grant::new();
    let old = grant.token().await;
    let start = UNIX_EPOCH + Duration::from_secs(seconds(&grant.sim));
    grant.sim.revoke_tokens_before(start);
    assert_eq!(call(&grant, &old).await.status, StatusCode::OK);

    grant.sim.clock().advance(Duration::from_secs(2));
    grant
        .sim
        .revoke_tokens_before(start + Duration::from_secs(1));
    grant.sim.revoke_tokens_before(start);
    check_revoked(&grant, &old).await;
    let altinn = exchanged(&grant, &old).await;
    assert_eq!(call(&grant, &altinn).await.status, StatusCode::OK);
    grant.claims["jti"] = json!("two");
    grant.claims["iat"] = json!(seconds(&grant.sim));
    assert_eq!(
        call(&grant, &grant.token().await).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn revoking_all_spares_what_is_given_out_later_in_the_same_second() {
    let mut grant = Grant::new();
    let old = grant.token().await;
    let old_altinn = exchanged(&grant, &old).await;
    grant.sim.revoke_all();
    check_revoked(&grant, &old).await;
    check_revoked(&grant, &old_altinn).await;

    grant.claims["jti"] = json!("two");
    let new = grant.token().await;
    assert_eq!(claims(&new)["iat"], claims(&old)["iat"]);
    let new_altinn = exchanged(&grant, &old).await;
    for token in [&new, &new_altinn] {
        assert_eq!(call(&grant, token).await.status, StatusCode::OK);
    }
    grant.sim.revoke_all();
    check_revoked(&grant, &new).await;
    check_revoked(&grant, &new_altinn).await;
}

// ===== over HTTP =====

async fn ask(sim: &Sim, method: &str, body: impl Into<String>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}_sim/faults", sim.issuer()))
        .body(Body::from(body.into()));
    send(sim, request.unwrap()).await
}

#[test]
fn faults_are_made_listed_and_cleared_over_http() {
    let sim = Sim::new();
    let rules = json!([
        { "route": "token", "kind": "latency", "ms": 80, "times": 2 },
        { "route": "exchange", "kind": "status", "status": 502 },
        { "route": "api", "kind": "hang" },
        { "route": "jwks", "kind": "truncated" },
        { "route": "metadata", "kind": "slow_body", "bytes": 1, "ms": 200 },
        { "route": "token", "kind": "huge", "length": 10, "announced": false },
        { "route": "token", "kind": "content_type", "content_type": "text/html" },
        { "route": "token", "kind": "skew", "seconds": -30 },
        { "route": "token", "kind": "disconnect" },
        { "route": "exchange", "kind": "problem", "status": 401, "title": "Unauthorized" },
        { "route": "exchange", "kind": "problem", "status": 500, "title": "a", "detail": "b" },
        { "route": "token", "kind": "refusal", "error": "invalid_target", "description": "text" },
        { "route": "token", "kind": "refusal", "error": "forbidden", "description": "", "code": "MP-251" },
        { "route": "token", "kind": "hang", "itself": true, "client": "id", "path": "/token" },
        { "route": "token", "kind": "hang", "consumer": "311169963", "resource": "https://a" },
        { "route": "token", "kind": "hang", "scope": ["a:b", "a:c"], "times": 3 },
        { "route": "api", "kind": "hang", "system_user": "311169963", "under": "/api/" },
    ]);
    let made = run(ask(&sim, "POST", rules.to_string()));
    assert_eq!((made.status, made.json()), (StatusCode::OK, rules.clone()));
    assert_eq!(run(ask(&sim, "GET", "")).json(), rules);
    assert_eq!(
        run(get(&sim, &sim.exchange_endpoint(), &[])).status,
        StatusCode::BAD_GATEWAY
    );

    let cleared = run(ask(&sim, "DELETE", ""));
    assert_eq!(cleared.status, StatusCode::NO_CONTENT);
    assert_eq!(run(ask(&sim, "GET", "")).json(), json!([]));
    assert_eq!(
        run(ask(&sim, "PUT", "")).status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(sim.journal().entries().len(), 1, "none of it is journalled");
}

#[test]
fn an_answer_is_made_with_headers_and_body_over_http() {
    let sim = Sim::new();
    let rule = json!({
        "route": "token", "kind": "status", "status": 429,
        "headers": { "retry-after": "7" }, "body": "later", "times": 1
    });
    let made = run(ask(&sim, "POST", rule.to_string()));
    assert_eq!(made.json(), json!([rule]));

    let answer = run(get(&sim, &sim.token_endpoint(), &[]));
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "7");
    assert_eq!(answer.text(), "later");
}

#[test]
fn tokens_are_revoked_and_keys_rolled_over_http() {
    /// What the API answers to a token that was made before and to one that is made after.
    #[track_caller]
    fn check(event: Value, wait: Duration) {
        let grant = Grant::new();
        let sim = grant.sim.clone();
        let called = |token: &str| {
            let bearer = format!("Bearer {token}");
            run(get(&sim, &sim.api_url(), &[("authorization", &bearer)])).status
        };
        let before = run(grant.token());
        assert_eq!(called(&before), StatusCode::OK);

        let done = run(ask(&sim, "POST", event.to_string()));
        assert_eq!((done.status, done.json()), (StatusCode::OK, json!([])));
        assert_eq!(called(&before), StatusCode::UNAUTHORIZED, "{event}");

        sim.clock().advance(wait);
        let after = Grant::in_world(sim.clone());
        assert_eq!(called(&run(after.token())), StatusCode::OK, "{event}");
    }
    let now = seconds(&Sim::new());
    check(json!({ "kind": "revoke" }), Duration::ZERO);
    let soon = json!({ "kind": "revoke", "before": now + 10 });
    check(soon, Duration::from_secs(20));
    check(json!([{ "kind": "roll_keys" }]), Duration::ZERO);
}

#[test]
fn a_rule_that_is_used_up_is_no_longer_listed() {
    let sim = Sim::new();
    let rule = json!({ "route": "exchange", "kind": "status", "status": 503, "times": 2 });
    run(ask(&sim, "POST", rule.to_string()));
    run(get(&sim, &sim.exchange_endpoint(), &[]));
    assert_eq!(run(ask(&sim, "GET", "")).json()[0]["times"], 1);
    run(get(&sim, &sim.exchange_endpoint(), &[]));
    assert_eq!(run(ask(&sim, "GET", "")).json(), json!([]));
}

#[test]
fn a_fault_that_cannot_be_read_is_answered_with_what_is_known() {
    #[track_caller]
    fn check(body: Value, expected: &str) {
        let sim = Sim::new();
        let good = json!({ "route": "token", "kind": "hang" });
        for body in [body.to_string(), json!([good, body]).to_string()] {
            let answer = run(ask(&sim, "POST", body));
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(answer.text().contains(expected), "{}", answer.text());
        }
        assert_eq!(run(ask(&sim, "GET", "")).json(), json!([]), "all or none");
    }
    let kinds = r#""kind" is one of latency (ms), status (status, headers, body), problem (status, title, detail), refusal (error, description, code), hang, disconnect, truncated, slow_body (bytes, ms), huge (length, announced), content_type (content_type), skew (seconds), revoke (before), roll_keys"#;
    check(json!("hang"), kinds);
    check(json!({ "route": "token" }), kinds);
    check(json!({ "route": "token", "kind": "flood" }), kinds);
    check(
        json!({ "route": "door", "kind": "hang" }),
        r#""route" is one of metadata, jwks, token, exchange, sidecar, api"#,
    );
    check(
        json!({ "route": "api", "kind": "latency", "ms": -1 }),
        r#""ms" is a whole number"#,
    );
    check(
        json!({ "route": "api", "kind": "status", "status": 100 }),
        r#""status" is a whole number from 200"#,
    );
    check(
        json!({ "route": "api", "kind": "hang", "time": 1 }),
        r#"unknown member "time"; "hang" takes route, kind, times, client, consumer, system_user, itself, scope, resource, path, under"#,
    );
    for member in ["consumer", "system_user"] {
        check(
            json!({ "route": "token", "kind": "hang", member: "123" }),
            &format!(r#""{member}" is not an organisation number of nine digits"#),
        );
    }
    for texts in [json!(1), json!([]), json!(["a:b", 1])] {
        check(
            json!({ "route": "token", "kind": "hang", "scope": texts }),
            r#""scope" is a text, or an array of at least one"#,
        );
    }
    check(
        json!({ "route": "token", "kind": "hang", "itself": "yes" }),
        r#""itself" is true or false"#,
    );
    check(
        json!({ "route": "token", "kind": "refusal", "error": "invalid_target" }),
        r#""description" is a text"#,
    );
    check(
        json!({ "route": "api", "kind": "status", "status": 500, "headers": { "a b": "c" } }),
        r#""headers" is an object of texts"#,
    );
    check(
        json!({ "kind": "revoke", "before": "yesterday" }),
        r#""before" is a whole number of seconds"#,
    );
    check(
        json!({ "kind": "roll_keys", "times": 2 }),
        r#"unknown member "times"; "roll_keys" takes kind"#,
    );
    check(
        json!({ "route": "api", "kind": "hang", "times": "often" }),
        r#""times" is"#,
    );

    let sim = Sim::new();
    let answer = run(ask(&sim, "POST", "{"));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().starts_with("not JSON: "), "{}", answer.text());
    assert!(answer.text().ends_with(kinds), "{}", answer.text());
}
