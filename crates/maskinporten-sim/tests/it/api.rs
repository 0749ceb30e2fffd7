//! How the protected API judges a token.

use std::time::Duration;

use http::{Request, StatusCode};
use maskinporten_sim::{Body, Protection};
use serde_json::json;

use crate::support::{Answer, Grant, claims, get, run, send};

fn call(grant: &Grant, path: &str, token: &str) -> Answer {
    let url = format!("{}{path}", grant.sim.altinn_platform());
    run(get(
        &grant.sim,
        &url,
        &[("authorization", &format!("Bearer {token}"))],
    ))
}

fn exchanged(grant: &Grant, token: &str) -> String {
    let bearer = format!("Bearer {token}");
    run(get(
        &grant.sim,
        &grant.sim.exchange_endpoint(),
        &[("authorization", &bearer)],
    ))
    .text()
    .to_owned()
}

#[track_caller]
fn check(answer: &Answer, status: u16, challenge: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("www-authenticate"), challenge);
}

const INVALID: &str = r#"Bearer error="invalid_token""#;

#[test]
fn either_token_is_taken_and_its_claims_are_shown() {
    let grant = Grant::new();
    let token = run(grant.token());
    for token in [exchanged(&grant, &token), token] {
        let answer = call(&grant, "/api/echo?x=1", &token);
        check(&answer, 200, "");
        assert_eq!(
            answer.json(),
            json!({ "method": "GET", "path": "/api/echo", "claims": claims(&token) })
        );
        check(&call(&grant, "/api/any/thing", &token), 200, "");
    }
}

#[test]
fn no_token_is_answered_with_a_bare_challenge() {
    let grant = Grant::new();
    let url = grant.sim.api_url();
    check(&run(get(&grant.sim, &url, &[])), 401, "Bearer");
    check(
        &run(get(&grant.sim, &url, &[("authorization", "Basic YTpi")])),
        401,
        "Bearer",
    );
    let both = [
        ("authorization", "Bearer a.b.c"),
        ("authorization", "Bearer d.e.f"),
    ];
    check(
        &run(get(&grant.sim, &url, &both)),
        400,
        r#"Bearer error="invalid_request""#,
    );
}

#[test]
fn a_token_of_no_issuer_here_is_invalid() {
    let grant = Grant::new();
    let token = run(grant.token());
    check(&call(&grant, "/api/echo", "opaque"), 401, INVALID);
    check(&call(&grant, "/api/echo", &grant.assertion()), 401, INVALID);
    check(
        &call(&grant, "/api/echo", &run(Grant::new().token())),
        401,
        INVALID,
    );
    let (signed, _) = token.rsplit_once('.').unwrap();
    check(
        &call(&grant, "/api/echo", &format!("{signed}.AAAA")),
        401,
        INVALID,
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_taken_until_the_second_it_expires() {
    let grant = Grant::new();
    let bearer = format!("Bearer {}", grant.token().await);
    let lenient = Protection::either().leeway(Duration::from_secs(5));
    grant.sim.protect("/api/lenient", lenient);
    let call = async |path: &str, after: Duration| {
        tokio::time::advance(after).await;
        let url = format!("{}{path}", grant.sim.altinn_platform());
        get(&grant.sim, &url, &[("authorization", &bearer)]).await
    };
    check(
        &call("/api/echo", Duration::from_millis(119_999)).await,
        200,
        "",
    );
    check(
        &call("/api/echo", Duration::from_millis(1)).await,
        401,
        INVALID,
    );
    check(
        &call("/api/lenient", Duration::from_millis(4_999)).await,
        200,
        "",
    );
    check(
        &call("/api/lenient", Duration::from_millis(1)).await,
        401,
        INVALID,
    );
}

#[test]
fn an_altinn_token_is_not_taken_before_its_first_second() {
    let grant = Grant::new();
    let token = exchanged(&grant, &run(grant.token()));
    let clock = grant.sim.clock();
    clock.set(clock.now() - Duration::from_secs(1));
    check(&call(&grant, "/api/echo", &token), 401, INVALID);
}

#[test]
fn a_path_may_ask_for_one_kind_of_token() {
    let grant = Grant::new();
    let token = run(grant.token());
    let altinn = exchanged(&grant, &token);
    grant
        .sim
        .protect("/api/m", Protection::maskinporten())
        .protect("/api/a", Protection::altinn());
    check(&call(&grant, "/api/m", &token), 200, "");
    check(&call(&grant, "/api/m", &altinn), 401, INVALID);
    check(&call(&grant, "/api/a", &token), 401, INVALID);
    check(&call(&grant, "/api/a/below", &altinn), 200, "");
    check(&call(&grant, "/api/abc", &token), 200, "");
}

#[test]
fn a_missing_scope_is_forbidden() {
    let grant = Grant::new();
    let token = run(grant.token());
    grant.sim.protect("/api", Protection::either().scope("a:c"));
    grant
        .sim
        .protect("/api/b", Protection::either().scope("a:b"));
    check(
        &call(&grant, "/api/echo", &token),
        403,
        r#"Bearer error="insufficient_scope", scope="a:c""#,
    );
    check(&call(&grant, "/api/b", &token), 200, "");
    let journal = grant.sim.journal();
    assert_eq!(journal.entries()[1].error(), Some("insufficient_scope"));
}

#[test]
fn a_token_restricted_to_another_audience_is_invalid() {
    let mut grant = Grant::new();
    let free = run(grant.token());
    grant.claims["jti"] = json!("two");
    grant.claims["resource"] = json!(["https://a.no", "https://b.no"]);
    let restricted = run(grant.token());
    grant
        .sim
        .protect("/api/b", Protection::either().audience("https://b.no"));
    grant
        .sim
        .protect("/api/c", Protection::either().audience("https://c.no"));
    check(&call(&grant, "/api/b", &restricted), 200, "");
    check(&call(&grant, "/api/c", &restricted), 401, INVALID);
    check(&call(&grant, "/api/c", &free), 200, "");
}

#[test]
fn tokens_signed_with_an_old_key_are_invalid_everywhere() {
    let mut grant = Grant::new();
    let token = run(grant.token());
    let altinn = exchanged(&grant, &token);
    grant.sim.roll_keys();
    check(&call(&grant, "/api/echo", &token), 401, INVALID);
    check(&call(&grant, "/api/echo", &altinn), 401, INVALID);
    assert_eq!(exchanged(&grant, &token), "");
    grant.claims["jti"] = json!("two");
    check(&call(&grant, "/api/echo", &run(grant.token())), 200, "");
}

#[test]
fn any_method_reaches_the_api_and_nothing_answers_where_nothing_is() {
    let grant = Grant::new();
    let token = run(grant.token());
    let request =
        Request::delete(grant.sim.api_url()).header("authorization", format!("Bearer {token}"));
    let answer = run(send(&grant.sim, request.body(Body::from("x")).unwrap()));
    assert_eq!(answer.json()["method"], "DELETE");
    for path in [
        "/",
        "/api",
        "/_sim/",
        "/_sim/elsewhere",
        "/jwk/",
        "/authentication/api/v1/exchange/",
    ] {
        assert_eq!(
            call(&grant, path, &token).status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}
