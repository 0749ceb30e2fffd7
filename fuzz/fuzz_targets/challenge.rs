//! Whatever an API answers to a request that had a token.
//!
//! The input is one answer: see `Answer`. What it says of the token is read a second time, by the
//! grammar of RFC 9110 §11.6.1 to the letter; where it follows the grammar both must agree.

#![no_main]

use std::time::Duration;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Method, Request, StatusCode};
use libfuzzer_sys::{Corpus, fuzz_target};
use maskinporten::{Authorizer, FixedToken, MaskinportenClient, RejectedToken};
use maskinporten_fuzz::challenge::{self, Challenge};
use maskinporten_fuzz::{Answer, in_virtual_time};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(answer) = Answer::parse(input) else {
        return Corpus::Reject;
    };
    let (rejected, reported) = in_virtual_time(async |clock| {
        let source = FixedToken::new("a-token", Duration::from_secs(600)).expect("it is a token");
        let client = MaskinportenClient::builder()
            .source(source)
            .clock(clock)
            .build()
            .expect("the client is in order");
        let authorizer = client
            .authorizer(["a:b"], "https://api.example.no")
            .expect("an origin");
        client.warm_up().await.expect("the source gives a token");

        let mut response = answer.response();
        let sent = sent(&authorizer);
        sent.on_response(&mut response);
        let rejected = response.extensions().get::<RejectedToken>().copied();
        let reported = sent.rejected(None, &answer.headers);
        (rejected, reported)
    });

    // HTTP/1.1 has no gRPC: nothing but 401 speaks of the token.
    let is_401 = answer.status == StatusCode::UNAUTHORIZED;
    assert_eq!(rejected.is_some(), is_401 && reported.is_some());
    if let Some(expected) = expected(&answer.headers) {
        let challenges: Vec<_> = answer.headers.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(reported.is_some(), expected, "{challenges:?}");
    }
    Corpus::Keep
});

fn sent(authorizer: &Authorizer) -> maskinporten::SentToken {
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = "https://api.example.no/".parse().expect("an address");
    let sent = authorizer.authorize_now(&mut request);
    sent.expect("the token is there")
}

/// Whether these headers reject the token (RFC 6750 §3); none where they do not follow the grammar.
fn expected(headers: &HeaderMap) -> Option<bool> {
    let mut challenges = Vec::new();
    let mut values = headers.get_all(WWW_AUTHENTICATE).iter().peekable();
    if values.peek().is_none() {
        return Some(true);
    }
    for value in values {
        challenges.extend(challenge::read(value.to_str().ok()?)?);
    }
    let rejects = |challenge: &Challenge| {
        challenge.scheme.eq_ignore_ascii_case("bearer")
            && challenge
                .parameter("error")
                .is_none_or(|error| error.eq_ignore_ascii_case("invalid_token"))
    };
    Some(challenges.iter().any(rejects))
}
