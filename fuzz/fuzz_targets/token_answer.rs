//! Whatever a token endpoint answers to a grant.
//!
//! The input is one answer: see `Answer`.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use maskinporten::{AccessToken, Error, ErrorKind, MaskinportenClient, MaskinportenSettings};
use maskinporten_fuzz::{
    Answer, CANARY, Fixed, Server, assert_life, in_virtual_time, told, was_kept,
};
use serde_json::Value;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(answer) = Answer::parse(input) else {
        return Corpus::Reject;
    };
    let server = Server::of(&answer);
    let outcome = in_virtual_time(async |clock| {
        let settings = MaskinportenSettings::new("test", "a-client").with_signer(Fixed);
        let client = MaskinportenClient::builder()
            .settings(settings)
            .transport(server.transport())
            .clock(clock)
            .build()
            .expect("the client is in order");
        client.access_token(["a:b"]).await
    });

    let asked = server.asked();
    assert!(
        (1..=4).contains(&asked.len()),
        "asked {} times",
        asked.len()
    );
    let endpoint = "https://test.maskinporten.no/token";
    assert!(asked.iter().all(|(_, address)| address == endpoint));
    match outcome {
        Ok(token) => is_what_was_given(&token, &answer),
        Err(error) => is_typed(&error, &answer),
    }
    Corpus::Keep
});

fn is_what_was_given(token: &AccessToken, answer: &Answer) {
    assert!(answer.status.is_success());
    assert_life(token, None);
    let in_scope = token.scope().is_some_and(|scope| scope.contains(CANARY));
    assert!(in_scope || !format!("{token:?}").contains(CANARY));
    let Some(body) = answer.json() else {
        return;
    };
    assert!(
        body.is_object(),
        "a token answer is an object (RFC 6749 §5.1)"
    );
    assert!(
        body["error"].as_str().is_none(),
        "a refusal with a token is a refusal"
    );
    assert_eq!(Some(token.expose()), body["access_token"].as_str());
    assert_eq!(token.scope(), body["scope"].as_str());
    let told = match &body["expires_in"] {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    assert_life(token, told);
}

fn is_typed(error: &Error, answer: &Answer) {
    assert_eq!(error.status(), Some(answer.status));
    assert!(error.hint().is_some(), "what to do is not told: {error}");
    assert!(told(error).len() < 16 * 1024, "an error for a log is short");
    for text in [
        error.oauth_error(),
        error.description(),
        error.code(),
        error.trace_id(),
    ] {
        let text = text.unwrap_or_default();
        assert!(text.chars().count() <= 500 && !text.chars().any(char::is_control));
    }
    match error.kind() {
        ErrorKind::Unavailable => assert!(error.is_transient()),
        ErrorKind::Protocol => {}
        ErrorKind::Rejected | ErrorKind::ScopeRejected | ErrorKind::OrganisationRejected => {
            assert!(!error.is_transient());
            assert!(error.oauth_error().is_some());
        }
        other => panic!("an answer is no reason for {other:?}"),
    }
    if let Some(body) = answer.json() {
        assert!(error.oauth_error().is_none() || body["error"].is_string());
    }
    // These two are told, cleaned; nothing else of the body is.
    if !answer.holds_canary_in("error") && !answer.holds_canary_in("error_description") {
        was_kept(error);
    }
}
