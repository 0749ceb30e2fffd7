//! What a client makes of every hostile answer to its token request, over a real socket and the default
//! transport: with how much memory, after how long, and how often it asked.
//!
//! - Each answer has a server and a client of its own, and all are measured at the same time: the
//!   silent ones take as long as the client has patience.
//! - A client and its runtime have one thread, and memory is counted on that thread: the most that was
//!   alive at one time of what the call allocated. Signatures are made on another thread; no
//!   server can make them larger.
//! - A control reads a body without a limit in the same way. It shows that the memory would be seen.
//!
//! `cargo xtask promises P11` runs this and judges what it prints.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads its watch")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot start has nothing to say"
)]

mod hostile_server;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use maskinporten::{ErrorKind, MaskinportenClient, MaskinportenSettings};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use ErrorKind::{Protocol, Rejected, ScopeRejected, Unavailable, Unreachable};
use hostile_server::{Answer, Server, WITHOUT_END};

const JWK: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");

/// Who waits longer than this is taken to wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let elsewhere = Server::start(token("120"));
    let cases = cases(elsewhere.addr());
    let measured: Vec<_> = cases
        .into_iter()
        .map(|case| thread::spawn(move || case.measure()))
        .collect();
    let answers: Vec<Value> = measured
        .into_iter()
        .map(|case| case.join().unwrap())
        .collect();
    println!(
        "{}",
        json!({
            "answers": answers,
            "requests_elsewhere": elsewhere.requests(),
            "control_peak_bytes": thread::spawn(control).join().unwrap(),
        })
    );
}

struct Case {
    group: &'static str,
    name: String,
    answer: Answer,
    expected: Expected,
}

/// What a call is to end with: an error of this kind, or a token.
#[derive(Clone, Copy)]
enum Expected {
    Error(ErrorKind),
    Token,
}

impl Expected {
    fn name(self) -> String {
        match self {
            Self::Error(kind) => format!("{kind:?}"),
            Self::Token => "token".to_owned(),
        }
    }
}

impl Case {
    fn measure(self) -> Value {
        let server = Server::start(self.answer);
        let client = MaskinportenClient::builder()
            .settings(MaskinportenSettings::new("test", "our-client").with_jwk(JWK))
            .token_endpoint(format!("http://{}/token", server.addr()))
            .build()
            .unwrap();
        let runtime = runtime();
        let began = Instant::now();
        let mut outcome = None;
        let memory = allocation_counter::measure(|| {
            let token =
                async { tokio::time::timeout(PATIENCE, client.access_token(["a:read"])).await };
            outcome = Some(runtime.block_on(token));
        });
        let took = began.elapsed();
        let outcome = match outcome.unwrap() {
            Ok(Ok(_)) => Expected::Token.name(),
            Ok(Err(error)) => Expected::Error(error.kind()).name(),
            Err(_elapsed) => "nothing".to_owned(),
        };
        json!({
            "group": self.group,
            "answer": self.name,
            "expected": self.expected.name(),
            "outcome": outcome,
            "peak_bytes": memory.bytes_max,
            "took_ms": took.as_secs_f64() * 1e3,
            "requests": server.requests(),
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What the same body takes where nobody limits it.
fn control() -> u64 {
    let server = Server::start(huge());
    let url = format!("http://{}/", server.addr()).parse().unwrap();
    let runtime = runtime();
    let memory = allocation_counter::measure(|| {
        runtime.block_on(async {
            let client: Client<_, Empty<Bytes>> =
                Client::builder(TokioExecutor::new()).build_http();
            let body = client.get(url).await.unwrap().into_body();
            drop(body.collect().await.unwrap());
        });
    });
    memory.bytes_max
}

// ===== the answers =====

/// Each group is one way of going wrong.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, group: &'static str, name: &str, answer: Answer, expected: Expected) {
        self.0.push(Case {
            group,
            name: name.to_owned(),
            answer,
            expected,
        });
    }

    fn fails(&mut self, group: &'static str, name: &str, answer: Answer, kind: ErrorKind) {
        self.add(group, name, answer, Expected::Error(kind));
    }
}

fn cases(elsewhere: SocketAddr) -> Vec<Case> {
    let mut cases = Cases::default();
    cases.add("a good answer", "", token("120"), Expected::Token);
    connections(&mut cases);
    statuses(&mut cases, elsewhere);
    no_token_answers(&mut cases);
    lives(&mut cases);
    unfit_tokens(&mut cases);
    without_end(&mut cases);
    cases.0
}

fn connections(cases: &mut Cases) {
    let whole = bytes(200, "", &token_body("120"));
    let (head, body) = whole.split_at(whole.len() - token_body("120").len());
    let half = whole[..whole.len() - 20].to_vec();
    let slow = |first: &[u8], rest: &[u8]| Answer::Slow(first.to_vec(), rest.to_vec());

    cases.fails("no connection", "", Answer::Refused, Unreachable);
    cases.fails("silence", "", Answer::Silence, Unreachable);
    let group = "a byte a second";
    cases.fails(group, "of the head", slow(b"", &whole), Unreachable);
    cases.fails(group, "of the body", slow(head, body), Unreachable);
    let group = "an answer cut off";
    cases.fails(
        group,
        "before it began",
        Answer::Bytes(Vec::new()),
        Unreachable,
    );
    cases.fails(
        group,
        "in its head",
        Answer::Bytes(head[..30].to_vec()),
        Unreachable,
    );
    cases.fails(
        group,
        "in its body",
        Answer::Bytes(half.clone()),
        Unreachable,
    );
    cases.fails(group, "by a reset", Answer::Reset(half), Unreachable);
}

fn statuses(cases: &mut Cases, elsewhere: SocketAddr) {
    let page = "<html>a page of a proxy</html>";
    for status in [408, 429, 500, 502, 503, 504] {
        let name = status.to_string();
        cases.fails("a server error", &name, of(status, "", page), Unavailable);
    }
    for after in [
        "1",
        "86400",
        "-1",
        "99999999999999999999",
        "soon",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        for status in [429, 503] {
            let name = format!("{status}, {after}");
            // A date is measured by the server's own.
            let fields = format!("date: Thu, 01 Jan 2026 10:00:00 GMT\r\nretry-after: {after}\r\n");
            let answer = of(status, &fields, "");
            cases.fails("Retry-After", &name, answer, Unavailable);
        }
    }
    for (error, kind) in [
        ("invalid_grant", Rejected),
        ("invalid_client", Rejected),
        ("invalid_scope", ScopeRejected),
    ] {
        let answer = of(400, "", &format!(r#"{{"error":"{error}"}}"#));
        cases.fails("a refusal", error, answer, kind);
    }
    let long = format!(
        r#"{{"error":"invalid_grant","error_description":"{}"}}"#,
        "a".repeat(60_000)
    );
    cases.fails(
        "a refusal",
        "with 60 kB of words",
        of(400, "", &long),
        Rejected,
    );
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: http://{elsewhere}/token\r\n");
        let name = status.to_string();
        cases.fails("a redirect", &name, of(status, &location, ""), Protocol);
    }
}

fn no_token_answers(cases: &mut Cases) {
    let deep = "[".repeat(60_000);
    for (name, body) in [
        ("a page", "<html>a portal</html>"),
        ("nothing", ""),
        ("half of the JSON", r#"{"access_token":"opaq"#),
        ("null", "null"),
        ("an array", r#"["access_token"]"#),
        ("60 000 arrays in each other", deep.as_str()),
        ("a token that is an array", r#"{"access_token":["opaque"]}"#),
        ("a token that is a number", r#"{"access_token":1}"#),
        ("no token", r#"{"token_type":"Bearer","expires_in":120}"#),
        (
            "another type of token",
            r#"{"access_token":"opaque","token_type":"DPoP"}"#,
        ),
        (
            "a type that is a number",
            r#"{"access_token":"opaque","token_type":1}"#,
        ),
    ] {
        cases.fails("no token answer", name, of(200, "", body), Protocol);
    }
    let compressed = of(200, "content-encoding: gzip\r\n", "\x1f\u{8b}\x08");
    cases.fails("no token answer", "compressed", compressed, Protocol);
    let other = Answer::Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec());
    cases.fails("no token answer", "another protocol", other, Protocol);
}

fn lives(cases: &mut Cases) {
    let group = "expires_in";
    let missing = of(200, "", r#"{"access_token":"opaque"}"#);
    cases.add(group, "missing", missing, Expected::Token);
    for life in ["null", "\"120\"", "119.9", "1e18", "1000000000000000000"] {
        cases.add(group, life, token(life), Expected::Token);
    }
    for life in ["-1", "-1e9", "\"soon\"", "true", "[]", "{}"] {
        cases.fails(group, life, token(life), Protocol);
    }
    let group = "spent on arrival";
    for life in ["0", "0.5", "1"] {
        cases.add(group, life, token(life), Expected::Token);
    }
    // {"iat":1000,"exp":1000}: its whole life is over at once, whatever the answer says.
    let jwt = r#"{"access_token":"e30.eyJpYXQiOjEwMDAsImV4cCI6MTAwMH0.c2ln","expires_in":120}"#;
    cases.add(
        group,
        "by its own claims",
        of(200, "", jwt),
        Expected::Token,
    );
}

fn unfit_tokens(cases: &mut Cases) {
    let long = "a".repeat(40_000);
    for (name, text) in [
        ("CR and LF", r"opa\r\nque"),
        ("NUL", r"opa\u0000que"),
        ("beyond ASCII", "opaqu\u{e9}"),
        ("40 kB", long.as_str()),
        ("empty", ""),
    ] {
        let body = format!(r#"{{"access_token":"{text}","expires_in":120}}"#);
        cases.fails("an unfit token", name, of(200, "", &body), Protocol);
    }
}

/// A body as long as the control's.
fn huge() -> Answer {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
        PIECE * PIECES
    );
    Answer::Repeated(head.into_bytes(), vec![b' '; PIECE], PIECES)
}

const PIECE: usize = 64 * 1024;
const PIECES: usize = 1024;

fn without_end(cases: &mut Cases) {
    let endless = |head: &str, piece: &str| {
        let head = format!("HTTP/1.1 {head}");
        Answer::Repeated(head.into_bytes(), piece.as_bytes().to_vec(), WITHOUT_END)
    };
    let spaces = " ".repeat(PIECE);
    let chunk = format!("{PIECE:x}\r\n{spaces}\r\n");
    let chunked = "200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let group = "a body too large";
    cases.fails(group, "64 MiB, announced", huge(), Protocol);
    cases.fails(
        group,
        "no length",
        endless("200 OK\r\n\r\n", &spaces),
        Protocol,
    );
    cases.fails(group, "chunks", endless(chunked, &chunk), Protocol);
    cases.fails(
        group,
        "chunks of a byte",
        endless(chunked, "1\r\n \r\n"),
        Protocol,
    );
    let refused = endless("400 Bad Request\r\n\r\n", &spaces);
    cases.fails(group, "of a refusal", refused, Protocol);
    // Behind a status that was understood, a broken coding counts as a broken connection.
    let extension = endless(&format!("{chunked}1;"), "a");
    cases.fails(group, "an extension of a chunk", extension, Unreachable);
    let trailers = endless(&format!("{chunked}0\r\n"), "a: b\r\n");
    cases.fails(group, "trailers", trailers, Unreachable);
    let group = "a head too large";
    let filler = format!("x-filler: {}\r\n", "a".repeat(1_000));
    cases.fails(group, "fields", endless("200 OK\r\n", &filler), Protocol);
    cases.fails(
        group,
        "short fields",
        endless("200 OK\r\n", "a:b\r\n"),
        Protocol,
    );
    cases.fails(
        group,
        "one field",
        endless("200 OK\r\nx-filler: ", &filler[10..1_000]),
        Protocol,
    );
    cases.fails(group, "the status", endless("200 ", "a"), Protocol);
    let interim = endless("100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n");
    cases.fails(group, "interim answers", interim, Unreachable);
}

fn token(expires_in: &str) -> Answer {
    of(200, "", &token_body(expires_in))
}

fn token_body(expires_in: &str) -> String {
    format!(r#"{{"access_token":"opaque","token_type":"Bearer","expires_in":{expires_in}}}"#)
}

fn of(status: u16, fields: &str, body: &str) -> Answer {
    Answer::Bytes(bytes(status, fields, body))
}

fn bytes(status: u16, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} A\r\n{fields}content-length: {length}\r\n\r\n{body}").into_bytes()
}
