//! Answers that hold a token, or something like one: F10 to F12, F14.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use maskinporten::{ErrorKind, TokioClock};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{Instant, advance, sleep};
use tower::service_fn;

use super::*;
use crate::wire::{self, Wire};
use crate::world::{Recorder, get, layer};

/// A client of a token server that always answers this, each time so long after it was asked. Its
/// wall clock starts in 1970, so that claims are small numbers.
fn client(wire: &Wire, body: impl Into<Bytes>, latency: Duration) -> MaskinportenClient {
    let answer = wire::answer(200, body);
    let transport = wire.over(service_fn(move |_: Request<Bytes>| {
        let answer = answer.clone();
        async move {
            sleep(latency).await;
            Ok::<_, Infallible>(answer)
        }
    }));
    client_of("https://tokens.example.no/token")
        .transport(transport)
        .clock(TokioClock::starting_at(UNIX_EPOCH))
        .build()
        .unwrap()
}

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn body(token: &str, expires_in: &str) -> String {
    format!(r#"{{"access_token":"{token}","token_type":"Bearer"{expires_in}}}"#)
}

// ===== no token =====

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_an_answer_that_holds_no_token() {
    let bodies = [
        "<html>canary</html>",
        r#"{"access_token":"canary"#,
        r#"{"access_token":7,"token_type":"Bearer","expires_in":120}"#,
        r#"{"access_token":{"canary":1},"expires_in":120}"#,
        r#"{"access_token":"canary","expires_in":{"canary":1}}"#,
        r#"{"token_type":"Bearer","expires_in":120}"#,
        r#"{"access_token":"canary","token_type":"DPoP","expires_in":120}"#,
        r#"{"access_token":"canary","token_type":["Bearer"],"expires_in":120}"#,
    ];
    for body in bodies {
        let app = App::new();
        let answer = Fault::answer(StatusCode::OK, HeaderMap::new(), body);
        app.sim.fault(Route::Token, answer);

        let error = app.call().await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Protocol, "{body}");
        assert_it_advises(&error);
        assert!(!format!("{error} {error:?}").contains("canary"), "{body}");
        assert_eq!(app.sim.journal().api_calls(), 0, "{body}");

        // Mended, it serves from the first answer on.
        app.sim.clear_faults();
        let asked = app.token_requests();
        advance(app.wait(&error)).await;
        app.call().await.unwrap();
        assert_eq!(app.token_requests(), asked + 1, "{body}");
    }
}

// ===== how long it is used =====

/// That a token is used until this moment of its life, and no longer.
async fn check_hard_end(expires_in: &str, token: &str, end: Duration) {
    let answer = body(token, expires_in);
    let used_after = async |time: Duration| {
        let client = client(&Wire::default(), answer.clone(), Duration::ZERO);
        client.access_token(SCOPES).await.unwrap();
        advance(time).await;
        client.access_token(SCOPES).now_or_never().is_some()
    };
    let told = format!("{answer} {end:?}");
    assert!(used_after(end - milliseconds(1)).await, "{told}");
    assert!(!used_after(end).await, "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_life_in_any_form_ends_when_it_says_and_none_lasts_more_than_a_day() {
    let after = Duration::from_secs_f64;
    let opaque = "opaque";
    check_hard_end(r#","expires_in":120"#, opaque, after(114.0)).await;
    check_hard_end(r#","expires_in":"120""#, opaque, after(114.0)).await;
    check_hard_end(r#","expires_in":119.9"#, opaque, after(113.05)).await;
    check_hard_end(r#","expires_in":1e18"#, opaque, after(86_370.0)).await;
    check_hard_end(r#","expires_in":1e300"#, opaque, after(86_370.0)).await;
    // Told by nobody: a minute. Told by the token alone, or by both: the shorter.
    check_hard_end("", opaque, after(57.0)).await;
    check_hard_end("", &jwt(r#"{"iat":1000,"exp":1600}"#), after(570.0)).await;
    check_hard_end("", &jwt(r#"{"exp":90}"#), after(85.5)).await;
    let hundred = jwt(r#"{"iat":1000,"exp":1100}"#);
    check_hard_end(r#","expires_in":120"#, &hundred, after(95.0)).await;
    check_hard_end(r#","expires_in":60"#, &hundred, after(57.0)).await;
    let forever = jwt(r#"{"iat":0,"exp":1e18}"#);
    check_hard_end("", &forever, after(86_370.0)).await;
}

/// A token that is spent when it arrives: asked for at most once a second, used at most once.
async fn check_spent_on_arrival(expires_in: &str, token: &str, latency: Duration) {
    let wire = Wire::default();
    let answer = body(token, expires_in);
    let client = client(&wire, answer.clone(), latency);
    let (began, mut used) = (Instant::now(), 0);
    while began.elapsed() < seconds(10) {
        match client.access_token(SCOPES).await {
            Ok(_) => used += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Protocol, "{answer}");
                assert!(error.retry_at().is_some(), "{answer}");
                assert_it_advises(&error);
            }
        }
        sleep(milliseconds(10)).await;
    }
    let asked = wire.sent().len();
    let most = 1 + began.elapsed().as_secs() as usize;
    assert!(
        (1..=most).contains(&asked),
        "{answer}: {asked} fetches in {most} s"
    );
    assert!(used <= asked, "{answer}: used {used} times of {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_spent_on_arrival_is_used_once_at_most_and_never_fetched_in_a_loop() {
    let none = Duration::ZERO;
    check_spent_on_arrival(r#","expires_in":0"#, "opaque", none).await;
    check_spent_on_arrival(r#","expires_in":0.9"#, "opaque", none).await;
    // Shorter than its own margin.
    check_spent_on_arrival(r#","expires_in":1"#, "opaque", none).await;
    // Its life is over by its own claims, whatever the answer says.
    let dead = jwt(r#"{"iat":1000,"exp":1000}"#);
    check_spent_on_arrival(r#","expires_in":120"#, &dead, none).await;
    let unborn = jwt(r#"{"iat":1000,"exp":900}"#);
    check_spent_on_arrival(r#","expires_in":120"#, &unborn, none).await;
    check_spent_on_arrival("", &jwt(r#"{"exp":0}"#), none).await;
    // It grew old on its way: life is counted from when it was asked for.
    check_spent_on_arrival(r#","expires_in":2"#, "opaque", milliseconds(2_500)).await;
}

#[tokio::test(start_paused = true)]
async fn the_shortest_token_that_can_be_kept_is_fetched_once_a_second() {
    let wire = Wire::default();
    let client = client(&wire, body("opaque", r#","expires_in":2"#), Duration::ZERO);
    let began = Instant::now();
    while began.elapsed() < seconds(10) {
        client.access_token(SCOPES).await.unwrap();
        sleep(milliseconds(10)).await;
    }
    let asked = wire.sent().len();
    assert!((9..=11).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_life_that_makes_no_sense_is_an_error_and_no_loop() {
    for life in ["-1", "-1e300", "\"\"", "\"NaN\"", "true", "{}"] {
        let wire = Wire::default();
        let answer = body("canary", &format!(r#","expires_in":{life}"#));
        let client = client(&wire, answer, Duration::ZERO);
        for _ in 0..100 {
            let error = client.access_token(SCOPES).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{life}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{life}");
            advance(milliseconds(4)).await;
        }
        // One flight: 400 ms are within the half second that it is remembered.
        assert_eq!(wire.sent().len(), 3, "{life}");
    }
}

// ===== what no header may hold =====

#[track_caller]
fn check_unusable(outcome: Result<()>, seen: &Recorder, token: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{token:?}");
    assert_it_advises(&error);
    assert!(
        !format!("{error} {error:?}").contains("canary"),
        "{error:?}"
    );
    assert!(seen.seen().is_empty(), "{token:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_header_may_hold_is_refused_when_it_is_read() {
    let long = "c".repeat(40_000);
    let spoilt = [
        "\r\n", "\r\nx: y", "\n", "\0", "\u{7f}", "ø", "🔑", " ", &long,
    ];
    for spoil in spoilt {
        let tokens = [
            format!("canary{spoil}canary"),
            // Exchanged for one: read from plain text, by another reader.
            format!("{}canary{spoil}canary", jwt(r#"{"iat":1000,"exp":2800}"#)),
        ];
        for (token, exchanged) in tokens.iter().zip([false, true]) {
            let plain = json!({ "access_token": token, "expires_in": 120 }).to_string();
            let text = token.clone();
            let transport = Wire::default().answering(move |request| match request.uri().path() {
                "/token" if exchanged => wire::token("opaque"),
                "/token" => wire::answer(200, plain.clone()),
                _ => wire::answer(200, text.clone()),
            });
            let client = MaskinportenClient::builder()
                .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
                .transport(transport)
                .build()
                .unwrap();
            let seen = Recorder::new();
            let outcome = if exchanged {
                let layer =
                    tower_maskinporten::AltinnAuthLayer::new(&client, SCOPES, world::API).unwrap();
                let call = layer.layer(seen.clone()).oneshot(get(world::API));
                accepted(call.await)
            } else {
                let call = layer(&client).layer(seen.clone()).oneshot(get(world::API));
                accepted(call.await)
            };
            check_unusable(outcome, &seen, token);
        }
    }
}

/// A value of any JSON type, as nobody should send it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,8}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An answer with members of any type, right ones among them, or no JSON at all.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![Just(Value::from("opaque")), any_json()];
    let kind = prop_oneof![Just(Value::from("Bearer")), any_json()];
    let life = prop_oneof![(0..200_u64).prop_map(Value::from), any_json()];
    let whole = (token, kind, life, proptest::option::of(any_json())).prop_map(
        |(token, kind, life, scope)| {
            let mut body = json!({"access_token": token, "token_type": kind, "expires_in": life});
            if let Some(scope) = scope {
                body["scope"] = scope;
            }
            body.to_string().into_bytes()
        },
    );
    let whole = whole.boxed();
    let half = (whole.clone(), 0.0..1.0).prop_map(|(mut body, share)| {
        body.truncate((body.len() as f64 * share) as usize);
        body
    });
    prop_oneof![whole, half, proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn whatever_is_answered_is_a_token_that_lives_or_a_typed_error(body in any_body()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let wire = Wire::default();
        let outcome = runtime.block_on(async {
            client(&wire, body.clone(), Duration::ZERO).access_token(SCOPES).await
        });
        match outcome {
            Ok(token) => {
                prop_assert!(token.lifetime() <= seconds(24 * 60 * 60));
                prop_assert!(!token.expose().is_empty());
            }
            Err(error) => {
                prop_assert!(error.retry_at().is_some(), "{error:?}");
                prop_assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Rejected), "{error:?}");
            }
        }
        prop_assert!((1..=3).contains(&wire.sent().len()));
    }

    #[test]
    fn a_token_is_whole_and_visible_ascii_or_none(text in "\\PC{0,40}|[ -~\r\n\t]{0,40}|[A-Za-z0-9._~+/=-]{1,40}") {
        let visible = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
        match AccessToken::new(&text, seconds(120)) {
            Ok(token) => prop_assert!(visible && token.expose() == text),
            Err(error) => prop_assert!(!visible && error.kind() == ErrorKind::Protocol),
        }
    }
}
