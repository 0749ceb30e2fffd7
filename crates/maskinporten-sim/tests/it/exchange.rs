//! What the exchange takes, what it gives, and how little it says when it refuses.

use std::time::Duration;

use http::{Request, StatusCode};
use maskinporten_sim::{Body, Sim};
use serde_json::{Value, json};

use crate::support::{Answer, Grant, claims, get, run, seconds, send};

fn exchange(grant: &Grant, token: &str, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers: Vec<_> = headers
        .iter()
        .copied()
        .chain([("authorization", bearer.as_str())])
        .collect();
    run(get(&grant.sim, &grant.sim.exchange_endpoint(), &headers))
}

#[track_caller]
fn check_refused(sim: &Sim, answer: &Answer, reason: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.text(), "");
    let journal = format!("{:?}", sim.journal().entries().last().unwrap().verdict());
    assert!(journal.contains(reason), "{journal}");
}

#[test]
fn a_token_is_exchanged_for_one_of_thirty_minutes() {
    let mut grant = Grant::new();
    grant.claims["resource"] = json!("https://a.no");
    let token = run(grant.token());
    let before = claims(&token);
    grant.sim.clock().advance(Duration::from_secs(60));

    let answer = exchange(&grant, &token, &[]);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let after = claims(answer.text());
    let now = seconds(&grant.sim);
    let sid = after["sid"].clone();
    assert_eq!(
        after,
        json!({
            "iss": "https://sim.maskinporten.test/authentication/api/v1/openid/",
            "client_id": before["client_id"], "scope": "a:b", "token_type": "Bearer",
            "consumer": before["consumer"], "jti": before["jti"], "sid": sid,
            "urn:altinn:orgNumber": "991825827",
            "urn:altinn:authenticatemethod": "maskinporten", "urn:altinn:authlevel": 3,
            "iat": now, "nbf": now, "exp": now + 1800,
        })
    );
    assert_eq!(
        grant.sim.journal().entries().last().unwrap().issued(),
        Some(&after)
    );
}

#[test]
fn a_service_owner_is_named_and_digdir_becomes_ttd_when_testing() {
    let org = |scope: &str, query: &str, owner: Option<&str>| {
        let mut grant = Grant::new();
        if let Some(name) = owner {
            grant.sim.service_owner("991825827", name);
        }
        grant.claims["scope"] = json!(scope);
        let bearer = format!("Bearer {}", run(grant.token()));
        let url = format!("{}{query}", grant.sim.exchange_endpoint());
        let answer = run(get(&grant.sim, &url, &[("authorization", &bearer)]));
        claims(answer.text())
            .get("urn:altinn:org")
            .cloned()
            .unwrap_or(Value::Null)
    };
    assert_eq!(org("a:b", "?test=true", None), Value::Null);
    assert_eq!(org("altinn:serviceowner", "", None), "digdir");
    assert_eq!(org("altinn:serviceowner", "?test=true", None), "ttd");
    assert_eq!(org("altinn:serviceowner", "?test=false", None), "digdir");
    assert_eq!(org("altinn:serviceowner", "?test=true", Some("skd")), "skd");
}

#[test]
fn json_comes_in_quotes_when_it_is_what_the_caller_prefers() {
    let grant = Grant::new();
    let token = run(grant.token());
    let quoted = |accept: &str| {
        let answer = exchange(&grant, &token, &[("accept", accept)]);
        assert_eq!(answer.status, StatusCode::OK);
        let quoted = answer.text().starts_with('"') && answer.text().ends_with('"');
        let media_type = if quoted {
            "application/json"
        } else {
            "text/plain"
        };
        assert_eq!(
            answer.header("content-type"),
            format!("{media_type}; charset=utf-8")
        );
        quoted
    };
    assert!(quoted("application/json"));
    assert!(quoted("text/html, Application/JSON"));
    assert!(quoted("text/plain;q=0.5, application/json;q=0.9"));
    assert!(!quoted("text/plain"));
    assert!(!quoted("*/*"));
    assert!(!quoted("application/json, text/plain, */*"));
    assert!(!quoted("text/plain, application/json"));
    assert!(!quoted("text/html"));
    assert!(!quoted("application/json;q=0"));
}

#[test]
fn nearly_everything_is_refused_with_an_empty_401() {
    let grant = Grant::new();
    let endpoint = grant.sim.exchange_endpoint();
    let sim = &grant.sim;
    check_refused(sim, &run(get(sim, &endpoint, &[])), "no bearer");
    check_refused(
        sim,
        &run(get(sim, &endpoint, &[("authorization", "Basic YTpi")])),
        "no bearer",
    );
    check_refused(sim, &exchange(&grant, "opaque", &[]), "not a JWT");
    check_refused(
        sim,
        &exchange(&grant, &grant.assertion(), &[]),
        "not signed by Maskinporten",
    );

    let token = run(grant.token());
    let altinn = exchange(&grant, &token, &[]).text().to_owned();
    check_refused(
        sim,
        &exchange(&grant, &altinn, &[]),
        "not signed by Maskinporten",
    );
    check_refused(
        sim,
        &run(get(
            sim,
            &endpoint.replace("maskinporten", "id-porten"),
            &[("authorization", &format!("Bearer {token}"))],
        )),
        "",
    );

    // Another world with the same issuer is another Maskinporten all the same.
    let other = run(Grant::new().token());
    check_refused(
        sim,
        &exchange(&grant, &other, &[]),
        "not signed by Maskinporten",
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_taken_for_ten_seconds_more() {
    let grant = Grant::new();
    let bearer = format!("Bearer {}", grant.token().await);
    let endpoint = grant.sim.exchange_endpoint();
    let exchange = async || get(&grant.sim, &endpoint, &[("authorization", &bearer)]).await;
    tokio::time::advance(Duration::from_secs(130)).await;
    assert_eq!(exchange().await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_millis(1)).await;
    check_refused(&grant.sim, &exchange().await, "expired");
}

#[test]
fn an_unknown_provider_is_refused_in_words() {
    let grant = Grant::new();
    let bearer = format!("bEARER {}", run(grant.token()));
    let url = |provider: &str| {
        grant
            .sim
            .exchange_endpoint()
            .replace("exchange/maskinporten", provider)
    };
    let answer = run(get(
        &grant.sim,
        &url("exchange/other"),
        &[("authorization", &bearer)],
    ));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(answer.text().contains("provider"));
    // Neither the provider nor the scheme is told apart by case.
    assert_eq!(
        run(get(
            &grant.sim,
            &url("exchange/MaskinPorten"),
            &[("authorization", &bearer)]
        ))
        .status,
        StatusCode::OK
    );
}

#[test]
fn an_enterprise_user_is_gone() {
    let grant = Grant::new();
    let token = run(grant.token());
    let answer = exchange(
        &grant,
        &token,
        &[("x-altinn-enterpriseuser-authentication", "dTpw")],
    );
    assert_eq!(answer.status, StatusCode::GONE);
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json; charset=utf-8"
    );
    assert_eq!(answer.json()["status"], 410);
    let shown = grant.sim.journal().to_json().to_string();
    assert!(!shown.contains("dTpw"));
}

#[test]
fn a_subscription_key_is_asked_for_by_the_gateway() {
    let grant = Grant::new();
    let token = run(grant.token());
    grant.sim.require_subscription_key("s3cret");
    for (headers, word) in [
        (&[][..], "missing subscription key"),
        (
            &[("ocp-apim-subscription-key", "wrong")][..],
            "invalid subscription key",
        ),
    ] {
        let answer = exchange(&grant, &token, headers);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["statusCode"], 401);
        assert!(answer.json()["message"].as_str().unwrap().contains(word));
    }
    assert_eq!(
        exchange(&grant, &token, &[("ocp-apim-subscription-key", "s3cret")]).status,
        StatusCode::OK
    );
    assert!(!grant.sim.journal().to_json().to_string().contains("s3cret"));
}

#[test]
fn only_get_is_answered() {
    let sim = Sim::new();
    let request = Request::post(sim.exchange_endpoint())
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        run(send(&sim, request)).status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}
