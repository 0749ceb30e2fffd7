//! Whatever an authority answers when it is asked for its metadata.
//!
//! The input is one answer: see `Answer`.

#![no_main]

use http::Method;
use libfuzzer_sys::{Corpus, fuzz_target};
use maskinporten::{ErrorKind, MaskinportenClient, MaskinportenSettings};
use maskinporten_fuzz::{Answer, Fixed, Server, in_virtual_time, told, was_kept};
use url::Url;

const AUTHORITY: &str = "https://authority.example.no/mp";

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(answer) = Answer::parse(input) else {
        return Corpus::Reject;
    };
    let server = Server::of_metadata(&answer);
    let outcome = in_virtual_time(async |clock| {
        let settings = MaskinportenSettings::new(AUTHORITY, "a-client").with_signer(Fixed);
        let client = MaskinportenClient::builder()
            .settings(settings)
            .transport(server.transport())
            .clock(clock)
            .build()
            .expect("the client is in order");
        client.access_token(["a:b"]).await
    });

    let (grants, readings): (Vec<_>, Vec<_>) = server
        .asked()
        .into_iter()
        .partition(|(method, _)| method == Method::POST);
    let metadata = "https://authority.example.no/mp/.well-known/oauth-authorization-server";
    assert!(
        (1..=3).contains(&readings.len()),
        "read {} times",
        readings.len()
    );
    assert!(readings.iter().all(|(_, address)| address == metadata));

    match outcome {
        Ok(token) => {
            assert_eq!(token.expose(), "given");
            if let Some(body) = answer.json() {
                assert_eq!(
                    body["issuer"], AUTHORITY,
                    "an assertion made out to somebody else"
                );
            }
            // By another reader of addresses than the one under test.
            let [(_, address)] = grants.as_slice() else {
                panic!("one grant was enough");
            };
            let grant = Url::parse(&address.to_string()).expect("an address to send a grant to");
            let authority = Url::parse(AUTHORITY).expect("a constant");
            assert_eq!(
                grant.origin(),
                authority.origin(),
                "a grant was sent to {address}"
            );
            assert_eq!(grant.username(), "");
        }
        Err(error) => {
            assert!(
                grants.is_empty(),
                "a grant was sent that cannot be answered"
            );
            assert!(matches!(
                error.kind(),
                ErrorKind::Protocol | ErrorKind::Unavailable
            ));
            assert_eq!(error.status(), Some(answer.status));
            assert!(error.hint().is_some());
            assert!(
                told(&error).len() < 16 * 1024,
                "an error for a log is short"
            );
            // What the document calls itself, and the address it names, are told.
            if !answer.holds_canary_in("issuer") && !answer.holds_canary_in("token_endpoint") {
                was_kept(&error);
            }
        }
    }
    Corpus::Keep
});
