//! The sidecar: scopes in, a token out, and a memory in between.

use std::time::{Duration, UNIX_EPOCH};

use http::{Request, StatusCode};
use maskinporten_sim::{Body, ClientRegistration, Fault, Route, Sim, SimClient};
use serde_json::{Value, json};

use crate::support::{Answer, claims, get, run, seconds, send};

async fn ask_as(sim: &Sim, content_type: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(sim.sidecar_endpoint()).header("content-type", content_type);
    send(sim, request.body(body.into()).unwrap()).await
}

async fn ask(sim: &Sim, request: Value) -> Answer {
    ask_as(sim, "application/json", request.to_string()).await
}

/// The plain request for a scope, with more members if there are any.
fn scope(target: &str, more: Value) -> Value {
    let mut request = json!({ "identity_provider": "maskinporten", "target": target });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

async fn token(sim: &Sim, request: Value) -> String {
    let answer = ask(sim, request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn world() -> (Sim, SimClient) {
    let sim = Sim::new();
    let start = sim.clock().now();
    let client = sim.new_client(["a:b", "a:c"]);
    sim.clock().set(start);
    (sim, client)
}

async fn call(sim: &Sim, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let answer = get(sim, &sim.api_url(), &[("authorization", bearer.as_str())]).await;
    answer.status.as_u16()
}

#[test]
fn scopes_are_answered_with_a_token_of_the_world() {
    let (sim, client) = world();
    let request = scope("a:b a:c", json!({ "resource": "https://api.example.no" }));
    let answer = run(ask(&sim, request.clone()));
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer = answer.json();
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(
        answer,
        json!({ "access_token": token, "expires_in": 120, "token_type": "Bearer" })
    );
    let issued = claims(token);
    assert_eq!(
        (&issued["client_id"], &issued["scope"], &issued["aud"]),
        (
            &json!(client.client_id()),
            &json!("a:b a:c"),
            &json!("https://api.example.no")
        )
    );
    assert_eq!(run(call(&sim, token)), 200);

    let journal = sim.journal();
    let [asked, granted, _] = journal.entries() else {
        panic!("three entries")
    };
    assert_eq!(
        (asked.route(), asked.asked()),
        (Some(Route::Sidecar), Some(&request))
    );
    assert_eq!(asked.issued(), Some(&issued));
    assert_eq!(granted.route(), Some(Route::Token));
    assert_eq!(granted.header("user-agent"), Some("sidecar"));
    assert_eq!(granted.assertion_claims().unwrap()["scope"], "a:b a:c");
    let page = journal.to_json();
    assert_eq!(page["entries"][0]["route"], "sidecar");
    assert_eq!(page["entries"][0]["asked"], request);
}

#[test]
fn a_form_asks_for_the_same_as_json() {
    let (sim, _) = world();
    let details = r#"[{"type":"urn:altinn:systemuser","systemuser_org":{"authority":"iso6523-actorid-upis","ID":"0192:314330897"}}]"#;
    let id = claims(&run(token(&sim, scope("a:b", json!({})))))["client_id"].clone();
    sim.system_user("314330897", None, id.as_str().unwrap());
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("identity_provider", "maskinporten")
        .append_pair("target", "a:b")
        .append_pair("resource", "https://api.example.no")
        .append_pair("authorization_details", details)
        .append_pair("skip_cache", "false")
        .finish();
    let by_form = run(ask_as(&sim, "application/x-www-form-urlencoded", form)).json();
    let entries: Value = serde_json::from_str(details).unwrap();
    for written in [entries, json!(details)] {
        let request = scope(
            "a:b",
            json!({ "resource": "https://api.example.no", "authorization_details": written }),
        );
        assert_eq!(json!(run(token(&sim, request))), by_form["access_token"]);
    }
    assert_eq!(sim.journal().token_requests(), 2);
    let issued = claims(by_form["access_token"].as_str().unwrap());
    assert_eq!(
        issued["authorization_details"][0]["type"],
        "urn:altinn:systemuser"
    );
    let asked = sim.journal();
    let asked = asked.requests(Route::Sidecar).nth(1).unwrap();
    assert_eq!(asked.asked().unwrap()["skip_cache"], false);
}

#[test]
fn a_member_the_sidecar_does_not_know_changes_nothing_and_is_shown() {
    let (sim, _) = world();
    let plain = run(token(&sim, scope("a:b", json!({}))));
    let more = json!({ "consumer_org": "974760673", "note": ["eyJhbGci.eyJzdWIi.c"] });
    assert_eq!(run(token(&sim, scope("a:b", more))), plain);
    let issued = claims(&plain);
    assert_eq!(issued["consumer"]["ID"], "0192:991825827");
    let journal = sim.journal();
    let asked = journal
        .requests(Route::Sidecar)
        .nth(1)
        .unwrap()
        .asked()
        .unwrap();
    assert_eq!(asked["consumer_org"], "974760673");
    assert_eq!(asked["note"], json!(["[redacted]"]));
}

// ===== memory =====

#[test]
fn a_token_is_remembered_for_half_its_life_or_until_two_minutes_before_its_end() {
    #[track_caller]
    fn check(life: u64, kept: u64) {
        let (first, again, last, journal) = run(async {
            let sim = Sim::builder()
                .token_lifetime(Duration::from_secs(life))
                .build();
            sim.new_client(["a:b"]);
            let plain = || scope("a:b", json!({}));
            let first = token(&sim, plain()).await;
            tokio::time::advance(Duration::from_millis(kept * 1000 - 1)).await;
            let again = ask(&sim, plain()).await.json();
            tokio::time::advance(Duration::from_millis(1)).await;
            let last = token(&sim, plain()).await;
            (first, again, last, sim.journal())
        });
        assert_eq!(again["access_token"], first);
        assert_eq!(again["expires_in"], life - kept);
        assert_ne!(last, first);
        let remembered: Vec<bool> = journal
            .requests(Route::Sidecar)
            .map(|entry| entry.is_from_memory())
            .collect();
        assert_eq!(remembered, [false, true, false]);
        assert_eq!(
            (journal.sidecar_requests(), journal.token_requests()),
            (3, 2)
        );
    }
    check(600, 480);
    check(122, 2);
    check(120, 60);
    check(30, 15);
}

#[test]
fn each_thing_asked_for_has_a_token_of_its_own() {
    let (sim, _) = world();
    let requests = [
        scope("a:b", json!({})),
        scope("a:b a:c", json!({})),
        // As it is written: the sidecar knows nothing of scopes.
        scope("a:c a:b", json!({})),
        scope("a:b", json!({ "resource": "https://api.example.no" })),
    ];
    for round in [false, true] {
        for request in &requests {
            run(token(&sim, request.clone()));
            let journal = sim.journal();
            let last = journal.requests(Route::Sidecar).last().unwrap();
            assert_eq!(last.is_from_memory(), round, "{request}");
        }
    }
    assert_eq!(sim.journal().token_requests(), requests.len());
}

#[test]
fn a_revoked_token_is_handed_out_until_skip_cache_is_asked_for() {
    let (sim, _) = world();
    let plain = scope("a:b", json!({}));
    let first = run(token(&sim, plain.clone()));
    assert_eq!(run(call(&sim, &first)), 200);
    sim.revoke_all();
    assert_eq!(run(token(&sim, plain.clone())), first);
    assert_eq!(run(call(&sim, &first)), 401);

    let second = run(token(&sim, scope("a:b", json!({ "skip_cache": true }))));
    assert_eq!(run(call(&sim, &second)), 200);
    assert_eq!(run(token(&sim, plain)), second, "the new one is remembered");

    let journal = sim.journal();
    let skipped: Vec<bool> = journal
        .requests(Route::Sidecar)
        .map(|entry| entry.asked().unwrap()["skip_cache"] == true)
        .collect();
    assert_eq!(skipped, [false, false, true, false]);
    assert_eq!(journal.token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_share_one_grant() {
    let (sim, _) = world();
    sim.fault(Route::Token, Fault::latency(Duration::from_secs(1)));
    let asking = (0..10).map(|n| {
        let sim = sim.clone();
        tokio::spawn(
            async move { token(&sim, scope("a:b", json!({ "skip_cache": n == 9 }))).await },
        )
    });
    let mut tokens = Vec::new();
    for asking in asking.collect::<Vec<_>>() {
        tokens.push(asking.await.unwrap());
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(sim.journal().sidecar_requests(), 10);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_leaves_the_grant_to_the_next() {
    let (sim, _) = world();
    sim.fault(Route::Token, Fault::hang().times(1));
    let first = ask(&sim, scope("a:b", json!({})));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), first)
            .await
            .is_err()
    );
    token(&sim, scope("a:b", json!({}))).await;
    let journal = sim.journal();
    let ends: Vec<_> = journal
        .entries()
        .iter()
        .map(|entry| entry.status())
        .collect();
    let ok = Some(StatusCode::OK);
    assert_eq!(ends, [None, None, ok, ok]);
}

// ===== who it acts as =====

#[test]
fn the_first_client_made_is_the_sidecars_until_another_is_named() {
    let (sim, first) = world();
    let other = sim.new_client(["a:b"]);
    let client_id =
        |sim: &Sim| claims(&run(token(sim, scope("a:b", json!({})))))["client_id"].clone();
    assert_eq!(client_id(&sim), first.client_id());
    sim.set_sidecar_client(&other);
    assert_eq!(client_id(&sim), other.client_id(), "it remembers nothing");

    let fresh = other.with_fresh_key();
    let granted = sim.journal().token_requests();
    assert_eq!(client_id(&sim), fresh.client_id());
    let journal = sim.journal();
    let last = journal.requests(Route::Token).nth(granted).unwrap();
    assert_eq!(last.assertion_header().unwrap()["kid"], fresh.kid());
}

#[test]
fn a_sidecar_with_a_key_that_was_removed_passes_the_refusal_on() {
    let (sim, old) = world();
    let new = old.rotate_key().unwrap();
    assert!(sim.remove_key(old.client_id(), old.kid()));
    let refused = run(ask(&sim, scope("a:b", json!({}))));
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["error"], "invalid_grant");
    assert!(refused.text().contains("Unknown key identifier (kid)"));
    sim.set_sidecar_client(&new);
    run(token(&sim, scope("a:b", json!({}))));
}

// ===== refusals =====

#[track_caller]
fn check_refused(answer: &Answer, status: u16, error: &str, phrase: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    let description = body["error_description"].as_str().unwrap();
    assert!(description.contains(phrase), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
}

#[test]
fn a_request_that_cannot_be_read_is_refused_as_invalid() {
    #[track_caller]
    fn check(content_type: &str, body: &str, phrase: &str) {
        let (sim, _) = world();
        let answer = run(ask_as(&sim, content_type, body.to_owned()));
        check_refused(&answer, 400, "invalid_request", phrase);
        let journal = sim.journal();
        assert_eq!(journal.token_requests(), 0);
        assert_eq!(journal.entries()[0].error(), Some("invalid_request"));
    }
    let json = |more: Value| scope("a:b", more).to_string();
    let form = "application/x-www-form-urlencoded";
    check("text/plain", &json(json!({})), "media type");
    check("application/json", "{", "not JSON");
    check("application/json", "[]", "not an object");
    check(
        "application/json",
        r#"{"target":"a:b"}"#,
        "identity_provider",
    );
    check(
        "application/json",
        r#"{"identity_provider":"maskinporten"}"#,
        "target",
    );
    check(
        "application/json",
        &json(json!({ "target": ["a:b"] })),
        "target",
    );
    check(
        "application/json",
        &json(json!({ "resource": ["x"] })),
        "resource",
    );
    check(
        "application/json",
        &json(json!({ "skip_cache": "true" })),
        "skip_cache",
    );
    for details in [json!({}), json!("{}"), json!([1]), json!("[")] {
        let body = json(json!({ "authorization_details": details }));
        check("application/json", &body, "authorization_details");
    }
    let provider = |name| json(json!({ "identity_provider": name }));
    check(
        "application/json",
        &provider("gateway"),
        "identity_provider is one of",
    );
    for known in ["entra_id", "azuread", "tokenx", "idporten"] {
        check("application/json", &provider(known), "not enabled");
    }
    check(
        form,
        "identity_provider=maskinporten&target=a:b&skip_cache=yes",
        "skip_cache",
    );
    check(
        form,
        "identity_provider=maskinporten&target=a:b&target=a:c",
        "twice",
    );
}

#[test]
fn a_world_without_a_client_has_a_sidecar_without_maskinporten() {
    let sim = Sim::new();
    let answer = run(ask(&sim, scope("a:b", json!({}))));
    check_refused(
        &answer,
        400,
        "invalid_request",
        "maskinporten is not enabled",
    );
    // One that is known by its public key alone has nothing a sidecar could sign with.
    sim.add_client(ClientRegistration::new("ours").scopes(["a:b"]));
    let answer = run(ask(&sim, scope("a:b", json!({}))));
    check_refused(
        &answer,
        400,
        "invalid_request",
        "maskinporten is not enabled",
    );
}

#[test]
fn only_post_is_answered() {
    let (sim, _) = world();
    let answer = run(get(&sim, &sim.sidecar_endpoint(), &[]));
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "POST");
}

#[test]
fn what_maskinporten_refuses_is_passed_on_and_not_remembered() {
    let (sim, client) = world();
    let foreign = scope("x:y", json!({}));
    let answer = run(ask(&sim, foreign.clone()));
    check_refused(&answer, 400, "invalid_scope", "x:y");
    check_refused(
        &run(ask(&sim, scope("", json!({})))),
        400,
        "invalid_scope",
        "empty scope",
    );
    sim.not_granted("a:b");
    let answer = run(ask(&sim, scope("a:b", json!({}))));
    check_refused(&answer, 403, "forbidden", "has not been granted");

    assert!(sim.add_scopes(client.client_id(), ["x:y"]));
    run(token(&sim, foreign));
    let codes: Vec<_> = sim
        .journal()
        .requests(Route::Token)
        .map(|entry| entry.code().map(str::to_owned))
        .collect();
    assert_eq!(codes[0].as_deref(), Some("MP-200"));
}

#[test]
fn an_answer_of_maskinporten_that_makes_no_sense_is_a_server_error() {
    #[track_caller]
    fn check(fault: Fault, phrase: &str) {
        let (sim, _) = world();
        sim.fault(Route::Token, fault.times(1));
        let answer = run(ask(&sim, scope("a:b", json!({}))));
        check_refused(&answer, 500, "server_error", phrase);
        run(token(&sim, scope("a:b", json!({}))));
    }
    let answer = |status, body: &'static str| Fault::answer(status, http::HeaderMap::new(), body);
    check(Fault::status(StatusCode::SERVICE_UNAVAILABLE), "not JSON");
    check(Fault::truncated(), "broke off");
    check(
        answer(StatusCode::BAD_GATEWAY, r#"{"error":"bad"}"#),
        "without saying why",
    );
    check(
        answer(StatusCode::OK, r#"{"token":"x"}"#),
        "without a token",
    );
}

#[test]
fn a_life_beyond_all_clocks_is_none() {
    let (sim, _) = world();
    let endless = format!(r#"{{"access_token":"x","expires_in":{}}}"#, u64::MAX);
    let endless = Fault::answer(StatusCode::OK, http::HeaderMap::new(), endless);
    sim.fault(Route::Token, endless.times(1));
    let answer = run(ask(&sim, scope("a:b", json!({})))).json();
    assert_eq!(
        (&answer["access_token"], &answer["expires_in"]),
        (&json!("x"), &json!(0))
    );
    assert_ne!(run(token(&sim, scope("a:b", json!({})))), "x");
}

#[tokio::test(start_paused = true)]
async fn faults_befall_the_sidecar_as_any_route() {
    let (sim, _) = world();
    let door = Route::Sidecar;
    sim.fault(
        door,
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(1),
    )
    .fault(door, Fault::skew(60).times(1))
    .fault(door, Fault::latency(Duration::from_secs(3)).times(1));
    let request = || scope("a:b", json!({}));
    let refused = ask(&sim, request()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let journal = sim.journal();
    assert_eq!(journal.entries()[0].asked(), Some(&request()));
    assert_eq!(journal.token_requests(), 0);

    let skewed = ask(&sim, request()).await;
    check_refused(&skewed, 400, "invalid_grant", "in the future");

    let before = seconds(&sim);
    token(&sim, request()).await;
    assert_eq!(seconds(&sim) - before, 3);
    assert!(sim.clock().now() > UNIX_EPOCH);
}
