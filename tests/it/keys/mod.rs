//! Keys as other tools write them, each in every place that a key is read from: to a signed grant that the
//! simulator takes, or to the message that says what it is.
//!
//! The rows stand in `vectors/tools/manifest.json`, the files next to it: see the README there. The same rows
//! judge keys that are made now: `FOREIGN_KEYS` names a directory that `vectors/tools/make.sh` has filled, and
//! `cargo xtask foreign` sets it.

mod places;
mod rows;

use std::collections::BTreeSet;
use std::fs;
use std::panic::Location;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use maskinporten::{Error, ErrorKind, Result};
use maskinporten_sim::{ClientRegistration, Route, Sim};
use serde_json::{Value, json};

use crate::world::SCOPES;
use places::{CLIENT, ISSUER, Place};
use rows::{Outcome, Row};

#[tokio::test(start_paused = true)]
async fn what_dotnet_writes_is_read_or_named() {
    check("dotnet").await;
}

#[tokio::test(start_paused = true)]
async fn what_was_written_elsewhere_is_read_or_named() {
    check("elsewhere").await;
}

#[tokio::test(start_paused = true)]
async fn what_go_writes_is_read_or_named() {
    check("go").await;
}

#[tokio::test(start_paused = true)]
async fn what_keytool_writes_is_read_or_named() {
    check("keytool").await;
}

#[tokio::test(start_paused = true)]
async fn what_nimbus_writes_is_read_or_named() {
    check("nimbus").await;
}

#[tokio::test(start_paused = true)]
async fn what_node_writes_is_read_or_named() {
    check("node").await;
}

#[tokio::test(start_paused = true)]
async fn what_openssl_writes_is_read_or_named() {
    check("openssl").await;
}

#[tokio::test(start_paused = true)]
async fn what_python_writes_is_read_or_named() {
    check("python").await;
}

#[test]
fn every_file_of_a_tool_has_a_row() {
    let mut found = BTreeSet::new();
    for folder in fs::read_dir(rows::committed())
        .unwrap()
        .map(|entry| entry.unwrap())
    {
        let tool = folder.file_name().into_string().unwrap();
        if tool == "make" || !folder.path().is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            found.insert(format!("{tool}/{file}"));
        }
    }
    assert_eq!(found, rows::files());
}

/// Every row of a tool in every place, all that is wrong told at once.
async fn check(tool: &str) {
    let rows = rows::of(tool);
    assert!(!rows.is_empty(), "no row of {tool}");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for row in rows {
        let before = wrong.len();
        for place in places::of(&row) {
            checked += 1;
            if let Err(fault) = outcome(&row, &place).await {
                wrong.push(format!("{row} in {}: {fault}", place.name));
            }
        }
        let verdict = match (wrong.len() == before, &row.outcome) {
            (false, _) => "wrong",
            (true, Outcome::Refused(_)) => "refused, as it should be",
            (true, _) => "read",
        };
        println!("{tool:10} {row}: {verdict}");
    }
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "of {checked} places:\n{wrong}");
}

/// What becomes of a key in a place, held against what should.
async fn outcome(row: &Row, place: &Place) -> Result<(), String> {
    let expected = place.outcome.as_ref().unwrap_or(&row.outcome);
    let sim = sim(row, expected);
    let client = match (place.client(&sim), expected) {
        (Ok(client), Outcome::Kid(_) | Outcome::Chain(_)) => client,
        (Err(error), Outcome::Refused(words)) => return refusal(row, &error, words),
        (Err(error), _) => return Err(format!("refused: {}", said(&error))),
        (Ok(_), Outcome::Refused(words)) => return Err(format!("read, and not {words:?}")),
    };
    for shown in [format!("{client:?}"), format!("{:?}", place.held)] {
        tells_no_secret(row, &shown)?;
    }
    let token = client.access_token(SCOPES).await;
    token.map_err(|error| format!("no token: {}", said(&error)))?;
    let journal = sim.journal();
    let grants: Vec<_> = journal.requests(Route::Token).collect();
    let [grant] = grants.as_slice() else {
        return Err(format!(
            "another key was tried first: {} grants",
            grants.len()
        ));
    };
    let header = grant.assertion_header().unwrap();
    match expected {
        Outcome::Kid(kid) if header["kid"] == **kid && header.get("x5c").is_none() => Ok(()),
        Outcome::Chain(length) => chain(row, header, *length),
        _ => Err(format!("signed by {header}")),
    }
}

/// The chain has its length, and is headed by the key's own certificate.
fn chain(row: &Row, header: &Value, length: usize) -> Result<(), String> {
    let x5c = header["x5c"].as_array().map_or(&[][..], Vec::as_slice);
    if header.get("kid").is_some() || x5c.len() != length {
        return Err(format!("signed by {} certificates", x5c.len()));
    }
    let leaf = STANDARD.decode(x5c[0].as_str().unwrap()).unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(row.modulus()).unwrap();
    match leaf.windows(modulus.len()).any(|found| found == modulus) {
        true => Ok(()),
        false => Err("the first certificate is not the key's".to_owned()),
    }
}

fn refusal(row: &Row, error: &Error, words: &[String]) -> Result<(), String> {
    let said = said(error);
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(*word)).collect();
    if !missing.is_empty() {
        return Err(format!("{missing:?} not said in: {said}"));
    }
    if !matches!(error.kind(), ErrorKind::Key | ErrorKind::Settings) || error.hint().is_none() {
        return Err(format!("{:?} without advice: {said}", error.kind()));
    }
    tells_no_secret(row, &said)?;
    tells_no_secret(row, &format!("{error:?}"))
}

/// All that a person is shown of an error.
fn said(error: &Error) -> String {
    format!("{error} ({})", error.hint().unwrap_or("no hint"))
}

/// The shortest piece of a secret that is looked for.
const PIECE: usize = 24;

fn tells_no_secret(row: &Row, shown: &str) -> Result<(), String> {
    let is_shown = |secret: &String| {
        let mut pieces = secret.as_bytes().chunks_exact(PIECE);
        pieces.any(|piece| shown.contains(std::str::from_utf8(piece).unwrap()))
    };
    match row.secrets().iter().any(is_shown) {
        true => Err(format!("a secret in {shown:.400}")),
        false => Ok(()),
    }
}

/// A world that knows the client as the row expects it: by a registered key, or by its certificate.
#[track_caller]
fn sim(row: &Row, expected: &Outcome) -> Sim {
    let caller = Location::caller();
    let start = match rows::made_now() {
        // Their certificates are valid from now on.
        true => SystemTime::now(),
        // 2027-01-15, when all certificates of the vectors are in force.
        false => UNIX_EPOCH + Duration::from_secs(20_833 * 24 * 60 * 60),
    };
    let sim = Sim::builder().issuer(ISSUER).start_at(start).build();
    let mut client = ClientRegistration::new(CLIENT).scopes(SCOPES);
    if let Outcome::Kid(kid) = expected {
        let public = json!({ "kty": "RSA", "kid": kid, "n": row.modulus(), "e": "AQAB" });
        let registered = client.key(public);
        client = registered.unwrap_or_else(|error| panic!("{caller}: {row}: {error}"));
    }
    sim.add_client(client);
    sim
}
