//! Answers that are no token answers: each is a typed error, soon, and nothing of it is said.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use maskinporten_sim::{Fault, Route};
use serde_json::{Value, json};

use crate::support::{Run, SCOPE, World};

fn json_body() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// What comes of this body in place of a token answer.
fn answered(world: &World, status: StatusCode, body: impl Into<Vec<u8>>) -> Run {
    world.sim().clear_faults();
    let fault = Fault::answer(status, json_body(), body.into());
    world.sim().fault(Route::Token, fault);
    world.token(&["-s", SCOPE])
}

fn token(expires_in: Value) -> String {
    json!({"access_token": "opaque-token", "token_type": "Bearer", "expires_in": expires_in})
        .to_string()
}

#[test]
fn an_answer_that_is_none_is_5() {
    let world = World::new();
    let check = |body: Vec<u8>, said: &str| {
        let run = answered(&world, StatusCode::OK, body);
        run.fails(5, &[said, "what to do: ", "who: ", "waiting: "]);
        run.says_not("hush");
        run.says_not("opaque-token");
    };
    check(
        b"<html><body>hush: please log in</body></html>".to_vec(),
        "no token answer",
    );
    check(b"".to_vec(), "no token answer");
    check(br#"{"access_token": "hush"#.to_vec(), "no token answer");
    check(
        br#"{"access_token": ""}"#.to_vec(),
        "cannot stand in a header",
    );
    check(
        br#"{"access_token": "hush\nhush"}"#.to_vec(),
        "cannot stand in a header",
    );
    check(vec![b' '; 64 << 20], "larger than 64 KiB");
    check(token(json!("soon")).into(), "expires_in");
    check(token(json!(-1)).into(), "expires_in");
}

#[test]
fn a_life_is_read_however_long_it_is_told_to_be() {
    let world = World::new();
    let check = |body: String, said: &str| {
        let run = answered(&world, StatusCode::OK, body);
        assert_eq!(run.token(), "opaque-token");
        assert!(run.stderr.contains(said), "{}", run.stderr);
        run
    };
    let absent = json!({"access_token": "opaque-token"}).to_string();
    check(absent, "lives 60 s").says_not("warning");
    check(token(json!("119")), "lives 119 s").says_not("warning");
    check(token(json!(1_000_000_000_000_000_000_u64)), "lives 86400 s").says_not("warning");
    check(token(json!(0)), "warning: the token was spent on arrival");
    assert_eq!(world.sim().journal().token_requests(), 4);
}

#[test]
fn a_server_that_cannot_serve_is_5() {
    let world = World::new();
    let run = answered(&world, StatusCode::SERVICE_UNAVAILABLE, "<html>hush</html>");
    run.fails(5, &["status: 503", "waiting: may help"]);
    run.says_not("hush");
}

#[test]
fn a_redirect_is_not_followed() {
    let world = World::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = format!("http://{}/token", elsewhere.local_addr().unwrap());
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT] {
        let location = HeaderMap::from_iter([(LOCATION, target.parse().unwrap())]);
        world.sim().clear_faults();
        world
            .sim()
            .fault(Route::Token, Fault::answer(status, location, ""));
        world
            .token(&["-s", SCOPE])
            .fails(5, &["redirect", "waiting: does not help"]);
    }
    assert!(elsewhere.accept().is_err(), "somebody was there");
}

#[test]
fn metadata_of_another_issuer_is_5() {
    let world = World::new();
    let issuer = world.sim().issuer();
    let check = |body: String| {
        world.sim().clear_faults();
        world.sim().fault(
            Route::Metadata,
            Fault::answer(StatusCode::OK, json_body(), body),
        );
        world.token(&["-s", SCOPE]).fails(
            5,
            &["/.well-known/oauth-authorization-server", "what to do: "],
        );
    };
    check("<html></html>".to_owned());
    let without_slash = issuer.trim_end_matches('/');
    check(json!({"issuer": without_slash, "token_endpoint": format!("{issuer}token")}).to_string());
    check(
        json!({"issuer": issuer, "token_endpoint": "https://elsewhere.invalid/token"}).to_string(),
    );
    assert_eq!(world.sim().journal().token_requests(), 0);
}

#[test]
fn a_port_that_nobody_listens_on_is_5() {
    let world = World::new();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let run = world.ask_with("Authority", json!(format!("http://{closed}/")));
    run.fails(
        5,
        &[
            "was not reached",
            "because: ",
            "refused",
            "waiting: may help",
        ],
    );
}

#[test]
fn a_server_that_speaks_no_http_is_5() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream
                .unwrap()
                .write_all(b"220 \x1b[31mhush\x1b[0m ESMTP\r\n");
        }
    });
    let run = world.ask_with("Authority", json!(format!("http://{address}/")));
    run.fails(5, &["what to do: "]);
    run.says_not("hush");
}

#[test]
fn a_server_that_never_answers_is_given_up_in_about_ten_seconds() {
    let world = World::new();
    world.sim().fault(Route::Token, Fault::hang());
    let started = Instant::now();
    let run = world.token(&["-s", SCOPE]);
    run.fails(5, &["did not answer", "waiting: may help"]);
    // Ten for the flight; the rest is for a machine that is busy with other tests.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}
