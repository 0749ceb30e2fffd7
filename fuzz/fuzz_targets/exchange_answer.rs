//! Whatever Altinn, or what stands before it, answers to an exchange.
//!
//! The input is one answer: see `Answer`.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use maskinporten::{AltinnSettings, Error, ErrorKind, FixedToken, MaskinportenClient};
use maskinporten_fuzz::{Answer, CANARY, Server, assert_life, in_virtual_time, told, was_kept};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(answer) = Answer::parse(input) else {
        return Corpus::Reject;
    };
    let server = Server::of(&answer);
    let outcome = in_virtual_time(async |clock| {
        let parent = FixedToken::new("parent", Duration::from_secs(120)).expect("it is a token");
        let altinn = AltinnSettings::platform("https://platform.example.no").expect("an address");
        let client = MaskinportenClient::builder()
            .source(parent)
            .altinn(altinn.with_subscription_key("a-gateway-key"))
            .transport(server.transport())
            .clock(clock)
            .build()
            .expect("the client is in order");
        client.altinn_token(["a:b"]).await
    });

    let asked = server.asked();
    assert!(
        (1..=4).contains(&asked.len()),
        "asked {} times",
        asked.len()
    );
    let exchange = "https://platform.example.no/authentication/api/v1/exchange/maskinporten";
    assert!(asked.iter().all(|(_, address)| address == exchange));
    match outcome {
        Ok(token) => {
            assert!(answer.status.is_success());
            let body = str::from_utf8(&answer.body).expect("a token is text");
            let bare = body.trim_start_matches('\u{feff}').trim();
            let quoted = serde_json::from_str::<String>(bare).ok();
            assert_eq!(token.expose(), quoted.as_deref().unwrap_or(bare));
            assert_eq!(token.expose().split('.').count(), 3);
            assert_life(&token, None);
            assert!(!format!("{token:?}").contains(CANARY));
        }
        Err(error) => is_typed(&error, &answer),
    }
    Corpus::Keep
});

fn is_typed(error: &Error, answer: &Answer) {
    assert_eq!(error.status(), Some(answer.status));
    assert!(error.hint().is_some(), "what to do is not told: {error}");
    let told = told(error);
    assert!(told.len() < 16 * 1024, "an error for a log is short");
    assert!(!told.contains("a-gateway-key") && !told.contains("parent"));
    match error.kind() {
        ErrorKind::Unavailable => assert!(error.is_transient()),
        ErrorKind::Exchange | ErrorKind::Protocol => {}
        other => panic!("an answer is no reason for {other:?}"),
    }
    // The words of the gateway are told, cleaned.
    if error.kind() != ErrorKind::Exchange || !answer.holds_canary_in("message") {
        was_kept(error);
    }
}
