//! A token server that shares nothing with the simulator: RFC 8414 and RFC 7523, read once more.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use serde_json::{Value, json};

use crate::support::{Run, base64url, command, keygen};

/// Serves one client's key, and remembers the claims of the assertions that it accepted.
struct Server {
    issuer: String,
    accepted: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn start(jwk: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}/", listener.local_addr().unwrap());
        let accepted = Arc::default();
        let server = Self {
            issuer: issuer.clone(),
            accepted: Arc::clone(&accepted),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &issuer, &jwk, &accepted);
            }
        });
        server
    }
}

fn serve(mut stream: TcpStream, issuer: &str, jwk: &Value, accepted: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let header = |name: &str| {
        let prefix = format!("{name}:");
        lines
            .iter()
            .find_map(|line| Some(line.strip_prefix(&prefix)?.trim()))
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();

    let (status, answer) = match lines[0].as_str() {
        "get /.well-known/oauth-authorization-server http/1.1" => (
            200,
            json!({"issuer": issuer, "token_endpoint": format!("{issuer}oauth/token")}),
        ),
        "post /oauth/token http/1.1" => {
            assert_eq!(
                header("content-type"),
                Some("application/x-www-form-urlencoded")
            );
            match claims(&body, jwk) {
                Some(claims) if claims["aud"] == issuer => {
                    accepted.lock().unwrap().push(claims);
                    (
                        200,
                        json!({"access_token": "foreign-token", "token_type": "bearer", "expires_in": 30}),
                    )
                }
                _ => (400, json!({"error": "invalid_grant"})),
            }
        }
        _ => (404, json!({})),
    };
    let body = answer.to_string();
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n");
    write!(
        head,
        "content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
}

/// The claims of an assertion that the key has signed.
fn claims(form: &[u8], jwk: &Value) -> Option<Value> {
    let form: HashMap<_, _> = form_urlencoded::parse(form).into_owned().collect();
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    let (input, signature) = form["assertion"].rsplit_once('.')?;
    let (header, payload) = input.split_once('.')?;
    let header: Value = serde_json::from_slice(&base64url(header)).ok()?;
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&json!("RS256"), &jwk["kid"])
    );
    let number = |name: &str| base64url(jwk[name].as_str().unwrap());
    let key = PublicKeyComponents {
        n: number("n"),
        e: number("e"),
    };
    key.verify(
        &RSA_PKCS1_2048_8192_SHA256,
        input.as_bytes(),
        &base64url(signature),
    )
    .ok()?;
    serde_json::from_slice(&base64url(payload)).ok()
}

#[test]
fn a_server_that_is_not_ours_gives_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let made = keygen(dir.path(), "key.jwk", &[]);
    let server = Server::start(serde_json::from_str(&made.stdout).unwrap());
    let ask = |authority: &str| {
        let mut command = command(dir.path());
        command.args(["token", "-s", "a:read b:write", "--resource", "urn:api"]);
        command.env("MASKINPORTEN_AUTHORITY", authority);
        command.env("MASKINPORTEN_CLIENT_ID", "some-client");
        Run::of(command.env("MASKINPORTEN_KEY_FILE", "key.jwk"))
    };
    let run = ask(&server.issuer);
    assert_eq!(run.token(), "foreign-token");
    assert!(run.stderr.contains("lives 30 s"), "{}", run.stderr);

    let accepted = server.accepted.lock().unwrap().clone();
    let [claims] = accepted.as_slice() else {
        panic!("{accepted:?}");
    };
    assert_eq!(claims["aud"], server.issuer);
    assert_eq!(claims["iss"], "some-client");
    assert_eq!(claims["scope"], "a:read b:write");
    assert_eq!(claims["resource"], "urn:api");
    assert!(!claims["jti"].as_str().unwrap().is_empty());
    let time = |name: &str| claims[name].as_u64().unwrap();
    assert!(time("exp") - time("iat") <= 120);
}

#[test]
fn a_key_of_somebody_else_is_refused_there() {
    let dir = tempfile::tempdir().unwrap();
    let registered = keygen(dir.path(), "registered.jwk", &["--kid", "k"]);
    keygen(dir.path(), "key.jwk", &["--kid", "k"]);
    let server = Server::start(serde_json::from_str(&registered.stdout).unwrap());
    let mut command = command(dir.path());
    command.args(["token", "-s", "a:read"]);
    command.env("MASKINPORTEN_AUTHORITY", &server.issuer);
    command.env("MASKINPORTEN_CLIENT_ID", "some-client");
    command.env("MASKINPORTEN_KEY_FILE", "key.jwk");
    let run = Run::of(&mut command);
    run.fails(6, &["OAuth error: invalid_grant", "/oauth/token", "kid: k"]);
    assert!(server.accepted.lock().unwrap().is_empty());
}
