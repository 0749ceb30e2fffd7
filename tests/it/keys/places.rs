//! The places that a key is read from.
//!
//! | place | what it may hold |
//! | --- | --- |
//! | `SigningKey::read` | bytes of any shape |
//! | the file of `MASKINPORTEN_KEY_FILE` | bytes of any shape |
//! | `MASKINPORTEN_CLIENT_JWK`, a variable or a file of a directory of secrets | text of any shape, or base64 of bytes |
//! | `Jwk` of a section: a variable, a file of a directory, or in a settings file | a JWK or a JWK set; in JSON an object or a string |
//! | `JwkBase64` of a section, in each of these | base64 of a JWK |
//! | `Pem` of a section, in each of these | a PEM, or base64 of DER |
//! | `EncodedJwk` of the .NET package | base64 of a JWK |
//! | `EncodedX509` of the .NET package | base64 of a PKCS#12 without a password |
//! | `CertificatePkcs12Path` of the .NET package | the path of a PKCS#12 |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maskinporten::{
    KeyOptions, LegacySettings, LocalSigner, MaskinportenClient, Result, SigningKey, TokioClock,
    Transport,
};
use maskinporten_sim::Sim;
use serde_json::{Value, json};

use super::rows::{Holds, Outcome, Row};
use crate::sources::{self, Given, NAIS, SECTION};

/// The one that the .NET package can name, so that every place has the same.
pub(super) const ISSUER: &str = "https://test.maskinporten.no/";

pub(super) const CLIENT: &str = "our-client";

/// A place, and the key in it.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) held: Held,
    /// What becomes of the key here, where that is not what the row says.
    pub(super) outcome: Option<Outcome>,
}

pub(super) enum Held {
    Bytes(Vec<u8>, KeyOptions),
    Platform(Given),
    /// Settings of the .NET package, and what its paths lead to.
    Legacy(Value, Given),
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(_, options) => options.fmt(f),
            Self::Platform(given) => given.platform().fmt(f),
            Self::Legacy(json, given) => {
                let legacy = LegacySettings::from_json(&json.to_string(), SECTION);
                (legacy, given.platform()).fmt(f)
            }
        }
    }
}

impl Place {
    /// A client whose key is the one held here.
    pub(super) fn client(&self, sim: &Sim) -> Result<MaskinportenClient> {
        let builder = match &self.held {
            Held::Platform(given) => return sources::client(sim, given.platform().credentials()?),
            Held::Bytes(bytes, options) => {
                let signer = LocalSigner::new(SigningKey::read(bytes, options)?);
                MaskinportenClient::builder().signer(ISSUER, CLIENT, signer)
            }
            Held::Legacy(json, _) => {
                let legacy = LegacySettings::from_json(&json.to_string(), SECTION)?;
                MaskinportenClient::builder().legacy_settings(&legacy)?
            }
        };
        builder
            .transport(Transport::new(sim.clone()))
            .clock(TokioClock::starting_at(sim.clock().now()))
            .build()
    }
}

/// Every place that a row's key may stand in.
pub(super) fn of(row: &Row) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |name: &str, held: Held, outcome: Option<Outcome>| {
        let name = name.to_owned();
        places.push(Place {
            name,
            held,
            outcome,
        });
    };

    add("bytes", Held::Bytes(row.bytes.clone(), options(row)), None);
    let file = digdirator(row).named_file("MASKINPORTEN_KEY_FILE", "the-key", &row.bytes);
    add("a key file", Held::Platform(file), None);
    for (what, text) in texts(row) {
        let name = "MASKINPORTEN_CLIENT_JWK";
        let variable = digdirator(row).var(name, &text);
        add(&format!("{name}, {what}"), Held::Platform(variable), None);
        let file = in_directory(row, text.as_bytes());
        add(
            &format!("a file {name}, {what}"),
            Held::Platform(file),
            None,
        );
    }
    // What no variable can hold.
    if row.holds == Holds::Pem && row.text().is_none() {
        let file = in_directory(row, &row.bytes);
        add("a file MASKINPORTEN_CLIENT_JWK", Held::Platform(file), None);
    }
    for (member, value, outcome) in members(row) {
        for (name, given) in in_a_section(row, member, &value) {
            let name = format!("{member}, {name}");
            add(&name, Held::Platform(given), outcome.clone());
        }
    }
    for (name, held, outcome) in of_dotnet(row) {
        add(name, held, outcome);
    }
    places
}

fn options(row: &Row) -> KeyOptions {
    let mut options = KeyOptions::new();
    if let Some(kid) = &row.kid {
        options = options.with_kid(kid);
    }
    if let Some(password) = &row.password {
        options = options.with_password(password.as_str());
    }
    if let Some(certificate) = certificate(row) {
        options = options.with_certificates(certificate);
    }
    options
}

/// The row's certificate as text: as base64 where it is none.
fn certificate(row: &Row) -> Option<String> {
    let bytes = row.certificate.clone()?;
    let encoded = STANDARD.encode(&bytes);
    Some(String::from_utf8(bytes).unwrap_or(encoded))
}

/// The texts that stand for the file: itself, and base64 of it.
fn texts(row: &Row) -> Vec<(&'static str, String)> {
    let plain = row.text().filter(|_| !is_binary(row));
    let plain = plain.map(|text| ("as it stands", text.to_owned()));
    // A text that is base64 already would only be encoded twice.
    let encoded = (row.holds != Holds::Base64).then(|| ("in base64", STANDARD.encode(&row.bytes)));
    plain.into_iter().chain(encoded).collect()
}

fn is_binary(row: &Row) -> bool {
    matches!(row.holds, Holds::Der | Holds::Pkcs12 | Holds::Binary)
}

// ===== names of digdirator =====

/// All that digdirator names but the key.
fn named(row: &Row) -> Vec<(&'static str, String)> {
    let kid = row.kid.clone().map(|kid| ("MASKINPORTEN_KID", kid));
    let password = row.password.clone();
    let password = password.map(|password| ("MASKINPORTEN_KEY_PASSWORD", password));
    let client = [
        ("MASKINPORTEN_CLIENT_ID", CLIENT.to_owned()),
        ("MASKINPORTEN_ISSUER", ISSUER.to_owned()),
    ];
    client.into_iter().chain(kid).chain(password).collect()
}

fn digdirator(row: &Row) -> Given {
    let names = named(row).into_iter();
    let given = names.fold(Given::nothing(), |given, (name, text)| {
        given.var(name, text)
    });
    match &row.certificate {
        Some(pem) => given.named_file("MASKINPORTEN_CERTIFICATE_FILE", "certificate", pem),
        None => given,
    }
}

/// The same as files of the directory that nais mounts, and the key with them.
fn in_directory(row: &Row, key: &[u8]) -> Given {
    let mut given = Given::nothing();
    for (name, text) in named(row) {
        // As an editor leaves it.
        given = given.file(&format!("{NAIS}/{name}"), format!("{text}\n"));
    }
    if let Some(pem) = &row.certificate {
        let path = given.path("certificate");
        given = given.file("certificate", pem);
        given = given.file(&format!("{NAIS}/MASKINPORTEN_CERTIFICATE_FILE"), path);
    }
    given.file(&format!("{NAIS}/MASKINPORTEN_CLIENT_JWK"), key)
}

// ===== sections of settings =====

/// The members of a section that are for such a key, and what becomes of it where that is not what the row
/// says.
fn members(row: &Row) -> Vec<(&'static str, String, Option<Outcome>)> {
    let encoded = STANDARD.encode(&row.bytes);
    let text = || row.text().unwrap().to_owned();
    match row.holds {
        Holds::Jwk => vec![("Jwk", text(), None), ("JwkBase64", encoded, None)],
        Holds::Set => vec![
            ("Jwk", text(), None),
            ("JwkBase64", encoded, Some(says("JWK set"))),
        ],
        Holds::Base64 => vec![("Jwk", text(), None), ("JwkBase64", text(), None)],
        Holds::Text => vec![
            ("Jwk", text(), None),
            ("JwkBase64", encoded, None),
            ("Pem", text(), None),
        ],
        Holds::Pem => {
            let plain = row.text().map(|text| ("Pem", text.to_owned(), None));
            let encoded = [
                ("Pem", encoded.clone(), None),
                ("JwkBase64", encoded, Some(says("PEM"))),
            ];
            plain.into_iter().chain(encoded).collect()
        }
        Holds::Der => vec![
            ("Pem", encoded.clone(), None),
            ("JwkBase64", encoded, Some(says("DER"))),
        ],
        Holds::Pkcs12 | Holds::Binary => vec![("Pem", encoded, None)],
    }
}

fn says(word: &str) -> Outcome {
    Outcome::Refused(vec![word.to_owned()])
}

/// Places that hold a section with one member for the key.
fn in_a_section(row: &Row, key: &str, value: &str) -> Vec<(&'static str, Given)> {
    let mut members = vec![
        ("Authority", ISSUER.to_owned()),
        ("ClientId", CLIENT.to_owned()),
        (key, value.to_owned()),
    ];
    members.extend(row.kid.clone().map(|kid| ("Kid", kid)));
    let password = row.password.clone();
    members.extend(password.map(|password| ("KeyPassword", password)));
    members.extend(certificate(row).map(|pem| ("Certificate", pem)));

    let mut variables = Given::nothing();
    let mut vault = Given::nothing();
    let mut section = json!({});
    for (name, text) in &members {
        variables = variables.var(format!("{SECTION}__{name}"), text);
        vault = vault.file(&format!("vault/{SECTION}--{name}"), text);
        section[name] = text.as_str().into();
    }
    let directory = vault.path("vault");
    let vault = vault.var("MASKINPORTEN_SECRETS_DIR", directory);
    let file = |section: Value| {
        let json = json!({ SECTION: section }).to_string();
        Given::nothing().named_file("MASKINPORTEN_SETTINGS_FILE", "settings.json", json)
    };
    let mut places = vec![
        ("a variable", variables),
        ("a file of a vault", vault),
        ("a string in a settings file", file(section.clone())),
    ];
    if key == "Jwk"
        && let Ok(Value::Object(jwk)) = serde_json::from_str(value)
    {
        section[key] = jwk.into();
        places.push(("an object in a settings file", file(section)));
    }
    places
}

// ===== settings of the .NET package =====

fn of_dotnet(row: &Row) -> Vec<(&'static str, Held, Option<Outcome>)> {
    let legacy = |given: Given, members: &[(&str, &str)]| {
        let mut section = json!({ "Environment": "test", "ClientId": CLIENT, "Scope": "krr:read" });
        if let Some(kid) = &row.kid {
            section["Kid"] = kid.as_str().into();
        }
        for (name, value) in members {
            section[name] = (*value).into();
        }
        Held::Legacy(json!({ SECTION: section }), given)
    };
    let encoded = STANDARD.encode(&row.bytes);
    let jwk = |text: &str, outcome| {
        let held = legacy(Given::nothing(), &[("EncodedJwk", text)]);
        vec![("EncodedJwk", held, outcome)]
    };
    match row.holds {
        Holds::Jwk | Holds::Text => jwk(&encoded, None),
        Holds::Base64 => jwk(row.text().unwrap(), None),
        Holds::Set => jwk(&encoded, Some(says("JWK set"))),
        Holds::Pem => jwk(&encoded, Some(says("PEM"))),
        Holds::Der => jwk(&encoded, Some(says("DER"))),
        Holds::Binary => Vec::new(),
        Holds::Pkcs12 => {
            let given = Given::nothing().file("key.p12", &row.bytes);
            let path = given.path("key.p12");
            let password = row.password.as_deref().unwrap_or_default();
            let members = [
                ("CertificatePkcs12Path", &*path),
                ("CertificatePkcs12Password", password),
            ];
            let mut places = vec![("CertificatePkcs12Path", legacy(given, &members), None)];
            if row.password.is_none() {
                let held = legacy(Given::nothing(), &[("EncodedX509", &encoded)]);
                places.push(("EncodedX509", held, None));
            }
            places
        }
    }
}
