//! Settings from every place, and what is said of those that cannot be used.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::ErrorKind;
use crate::credentials::Credentials;

const JWK: &str = include_str!("../../../../tests/vectors/keys/rsa-2048.jwk.json");
const PEM: &str = include_str!("../../../../tests/vectors/keys/rsa-2048-pkcs8.pem");
const PUBLIC: &str = include_str!("../../../../tests/vectors/keys/rsa-2048-public.jwk.json");
const KID: &str = "maskinporten-test-key";
const SECTION: &str = MaskinportenSettings::DEFAULT_SECTION;

fn jwk() -> Value {
    serde_json::from_str(JWK).unwrap()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn bare() -> Value {
    json!({ "Authority": "https://maskinporten.dev/", "ClientId": "our-client", "Jwk": jwk() })
}

/// The bare settings with `name` replaced, or removed where the value is null.
fn bare_with(name: &str, value: Value) -> String {
    let mut settings = bare();
    settings[name] = value;
    settings.to_string()
}

fn vars(vars: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    vars.iter().map(owned).collect()
}

fn from_vars(found: &[(&str, &str)]) -> Result<MaskinportenSettings> {
    MaskinportenSettings::from_vars(vars(found), SECTION)
}

fn discovered(found: &[(&str, &str)]) -> Result<Credentials> {
    let platform = Platform::new(vars(found)).with_root("/no/such/root");
    platform.credentials()
}

/// A file in a directory of its own, removed when dropped.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let directory = format!("maskinporten-settings-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[track_caller]
fn tells_no_secret(told: &str) {
    let jwk = jwk();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        let member = jwk[name].as_str().unwrap();
        let leaked = |at: usize| told.contains(&member[at..at + 8]);
        assert!(!(0..member.len() - 8).any(leaked), "{name}: {told}");
    }
    assert!(!told.contains(&base64(JWK)[..40]), "{told}");
    assert!(!told.contains("hush"), "{told}");
}

#[track_caller]
fn accepted(settings: Result<MaskinportenSettings>) -> MaskinportenSettings {
    let settings = settings.unwrap();
    assert_eq!(settings.client_id, "our-client");
    let authority = settings.authority().unwrap();
    assert_eq!(authority.environment(), Some(Environment::Development));
    assert_eq!(settings.signing_key().unwrap().kid(), Some(KID));
    tells_no_secret(&format!("{settings:?} {}", settings.describe()));
    settings
}

#[track_caller]
fn refused<T: fmt::Debug>(outcome: Result<T>, texts: &[&str]) -> Error {
    let error = outcome.unwrap_err();
    for text in texts {
        assert!(error.to_string().contains(text), "{text:?} not in {error}");
    }
    assert!(error.hint().is_some(), "{error}");
    let mut told = format!("{error} {error:?}");
    if let Some(source) = std::error::Error::source(&error) {
        told.push_str(&format!("{source} {source:?}"));
    }
    tells_no_secret(&told);
    error
}

// ===== code =====

// Parity vector 9, with our difference: two keys are an error here.
#[test]
fn one_key_is_taken_in_whichever_form() {
    let new = || MaskinportenSettings::new("dev", "our-client");
    drop(accepted(Ok(new().with_jwk(JWK))));
    drop(accepted(Ok(new().with_jwk_base64(base64(JWK)))));
    drop(accepted(Ok(new().with_pem(PEM).with_kid(KID))));
    drop(accepted(Ok(new().with_jwk(JWK).with_jwk_base64(" "))));

    let key = |settings: MaskinportenSettings| settings.signing_key();
    let mut blank = jwk();
    blank["e"] = "".into();
    blank["kid"] = "".into();
    let blank = key(new().with_jwk(blank.to_string()));
    drop(refused(
        blank,
        &["`e` is missing", "`kid` is missing", "(code)"],
    ));
    let error = refused(key(new().with_jwk_base64("not base64!")), &["base64"]);
    assert_eq!(error.kind(), ErrorKind::Key);
    drop(refused(
        key(new().with_jwk_base64(base64("not JSON"))),
        &["no JSON"],
    ));
    drop(refused(key(new()), &["a key is missing"]));
    drop(refused(key(new().with_pem(PEM)), &["`kid` is missing"]));
    let two = key(new().with_jwk(JWK).with_jwk_base64(base64(JWK)));
    let error = refused(two, &["more than one key: Jwk and JwkBase64"]);
    assert_eq!(error.advice().unwrap().meaning(), advice::ONE_KEY.meaning());
}

// ===== JSON =====

#[test]
fn settings_are_read_bare_or_from_their_section() {
    let check = |json: String, section: &str| {
        drop(accepted(MaskinportenSettings::from_json(&json, section)));
    };
    check(bare().to_string(), SECTION);
    check(bare().to_string(), "");
    check(format!("\u{feff}\r\n{}", bare()), SECTION);
    check(
        json!({ "MaskinportenSettings": bare(), "Jwks": {} }).to_string(),
        SECTION,
    );
    check(
        json!({ "MASKINPORTENSETTINGS": bare() }).to_string(),
        SECTION,
    );
    let deep = json!({ "myapp": { "maskinportenSettings": bare() }, "ClientId": "other" });
    for section in [
        "myapp:MaskinportenSettings",
        "MyApp__MaskinportenSettings",
        "myapp--MaskinportenSettings",
    ] {
        check(deep.to_string(), section);
    }
}

#[test]
fn names_are_read_in_any_case_and_unknown_ones_left_alone() {
    let check = |settings: Value| {
        drop(accepted(MaskinportenSettings::from_json(
            &settings.to_string(),
            SECTION,
        )));
    };
    check(json!({ "authority": "dev", "CLIENTID": "our-client", "jwk": jwk(), "Other": [1] }));
    // Sets that are published too, and the one that holds the key itself.
    let public: Value = serde_json::from_str(PUBLIC).unwrap();
    for jwks in [
        json!([]),
        json!({ "keys": [public] }),
        json!({ "keys": [jwk()] }),
    ] {
        check(json!({ "Authority": "dev", "ClientId": "our-client", "Jwk": jwk(), "Jwks": jwks }));
    }
    check(json!({ "Authority": "dev", "ClientId": "our-client", "Jwks": [jwk()] }));
    check(json!({ "Authority": " dev ", "ClientId": "our-client\n", "JwkBase64": base64(JWK) }));
    check(json!({ "Authority": "dev", "ClientId": "our-client", "Jwk": JWK, "JwkBase64": null }));
    check(json!({ "Authority": "dev", "ClientId": "our-client", "Pem": PEM, "Kid": KID }));
    // As .NET's configuration binds it.
    let jwk = jwk();
    let renamed = jwk.as_object().unwrap().iter().map(|(name, value)| {
        let (first, rest) = name.split_at(1);
        (first.to_uppercase() + rest, value.clone())
    });
    let renamed: Value = renamed.collect::<serde_json::Map<_, _>>().into();
    check(json!({ "Authority": "dev", "ClientId": "our-client", "Jwk": renamed }));
}

#[test]
fn both_forms_of_the_authority_are_one() {
    for authority in [
        "https://maskinporten.dev/",
        "https://maskinporten.dev",
        "dev",
    ] {
        let json = json!({ SECTION: serde_json::from_str::<Value>(&bare_with("Authority", authority.into())).unwrap() });
        let file = TestFile::new(&format!("slash-{}.json", authority.len()), json.to_string());
        let settings = accepted(MaskinportenSettings::from_file(&file.0, SECTION));
        assert_eq!(
            settings.authority().unwrap().as_str(),
            "https://maskinporten.dev/"
        );
    }
}

#[test]
fn what_json_lacks_is_told_at_once() {
    let check = |json: &str, texts: &[&str]| {
        drop(refused(
            MaskinportenSettings::from_json(json, SECTION),
            texts,
        ));
    };
    check(
        r#"{"MaskinportenSettings": {}}"#,
        &[
            "section MaskinportenSettings",
            "`Authority` is missing",
            "`ClientId` is missing",
            "a key is missing",
        ],
    );
    check(
        r#"{"Authority": " ", "ClientId": ["7"]}"#,
        &[
            "`Authority` is missing",
            "`ClientId` is an array, not a string",
        ],
    );
    check(
        &bare_with("Jwk", json!([jwk()])),
        &["`Jwk` is an array, not an object"],
    );
    check(
        &bare_with("Kid", json!({})),
        &["`Kid` is an object, not a string"],
    );
    check(
        &bare_with("authority", "prod".into()),
        &["`Authority` stands there twice"],
    );
    check(&bare_with("jwk", jwk()), &["`Jwk` stands there twice"]);
    check(
        &bare_with("JwkBase64", base64(JWK).into()),
        &["more than one key"],
    );
    check(&bare().to_string()[..900], &["half a JSON"]);
    check(
        &bare().to_string().replace("\"d\":", "\"d\":x"),
        &["no JSON: line 1"],
    );
    check("", &["it is empty"]);
    check("[]", &["an array, not a JSON object"]);
    check("{}", &["no section MaskinportenSettings"]);
    check(r#"{"Other": {}}"#, &["no section MaskinportenSettings"]);
    check(
        r#"{"MaskinportenSettings": "hush"}"#,
        &["is a string, not an object"],
    );
    check(
        r#"{"MaskinportenSettings": {}, "maskinportensettings": {}}"#,
        &["twice"],
    );
    check(JWK, &["a bare key"]);
    for blank in [json!({}), json!({ "kty": "", "n": null, "x5c": [] })] {
        check(&bare_with("Jwk", blank.clone()), &["a key is missing"]);
        check(
            &bare_with("Jwk", blank.to_string().into()),
            &["a key is missing"],
        );
    }
    let key = MaskinportenSettings::from_json(&bare_with("Jwk", json!({ "e": "AQAB" })), SECTION);
    let error = refused(
        key.unwrap().signing_key(),
        &["`kty` is missing", "settings JSON"],
    );
    assert!(error.details().count() >= 3);
}

#[test]
fn a_file_is_named_in_every_message() {
    let check = |name: &str, content: &[u8], why: &str| {
        let file = TestFile::new(name, content);
        drop(refused(
            MaskinportenSettings::from_file(&file.0, SECTION),
            &[file.path(), why],
        ));
    };
    check(
        "half.json",
        &bare().to_string().as_bytes()[..900],
        "half a JSON",
    );
    check("empty.json", b"", "it is empty");
    check(
        "lacking.json",
        b"{\"MaskinportenSettings\": {\"ClientId\": \"c\"}}",
        "`Authority` is missing",
    );
    // UTF-16 that ends in the middle of a unit, and neither of the two.
    for binary in [&[0xff, 0xfe, 0x7b, 0x00, 0x7d][..], &[0xff, 0x7b]] {
        check("binary.json", binary, "text neither in UTF-8 nor in UTF-16");
    }
    check("large.json", &[b' '; 1024 * 1024 + 1], "larger than 1 MiB");
    let missing = std::env::temp_dir().join("maskinporten-no-such-file.json");
    let error = refused(
        MaskinportenSettings::from_file(&missing, SECTION),
        &["maskinporten-no-such-file.json cannot be read"],
    );
    assert!(std::error::Error::source(&error).is_some());
    drop(refused(
        MaskinportenSettings::from_file(std::env::temp_dir(), SECTION),
        &["cannot be read: it is a directory"],
    ));
}

// ===== the environment =====

const AUTHORITY: (&str, &str) = ("MaskinportenSettings__Authority", "dev");
const CLIENT_ID: (&str, &str) = ("MaskinportenSettings__ClientId", "our-client");

#[test]
fn a_section_is_read_from_variables_in_any_case() {
    let encoded = base64(JWK);
    let check = |key: &[(&str, &str)]| {
        let found = [&[AUTHORITY, CLIENT_ID], key].concat();
        drop(accepted(from_vars(&found)));
        let upper: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.to_uppercase(), *value))
            .collect();
        let upper: Vec<_> = upper
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        drop(accepted(from_vars(&upper)));
    };
    check(&[("MaskinportenSettings__JwkBase64", &encoded)]);
    check(&[("MaskinportenSettings__Jwk", JWK)]);
    check(&[
        ("MaskinportenSettings__Jwk", JWK),
        ("MaskinportenSettings__JwkBase64", " "),
    ]);
    let pem = PEM.replace('\n', "\\n");
    check(&[
        ("MaskinportenSettings__Pem", &pem),
        ("MaskinportenSettings__Kid", KID),
    ]);

    let jwk = jwk();
    let members: Vec<(String, &str)> = jwk
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (
                format!("MaskinportenSettings__Jwk__{name}"),
                value.as_str().unwrap(),
            )
        })
        .collect();
    let mut members: Vec<_> = members
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    members.push(("MaskinportenSettings__Jwk__x5c__0", "MII"));
    check(&members);
    members.push(("MaskinportenSettings__Jwk", JWK));
    members.extend([AUTHORITY, CLIENT_ID]);
    drop(refused(from_vars(&members), &["whole and in parts"]));
}

#[test]
fn another_section_has_its_own_variables() {
    let found = vars(&[
        ("myapp__MaskinportenSettings__Authority", "dev"),
        ("MYAPP__MaskinportenSettings__ClientId", "our-client"),
        ("myapp__MaskinportenSettings__Jwk", JWK),
        ("MaskinportenSettings__ClientId", "other"),
    ]);
    drop(accepted(MaskinportenSettings::from_vars(
        found,
        "myapp:MaskinportenSettings",
    )));
}

#[test]
fn a_key_file_is_read_with_its_neighbours() {
    let check = |name: &str, key: &str| {
        let file = TestFile::new(name, key);
        for authority in [
            "MASKINPORTEN_ISSUER",
            "MASKINPORTEN_AUDIENCE",
            "MASKINPORTEN_AUTHORITY",
        ] {
            let settings = accepted(from_vars(&[
                ("MASKINPORTEN_CLIENT_ID", "our-client"),
                ("MASKINPORTEN_KEY_FILE", file.path()),
                ("MASKINPORTEN_KID", KID),
                (authority, "https://maskinporten.dev/"),
            ]));
            assert!(settings.source().contains(file.path()));
        }
    };
    check("key.jwk", JWK);
    check("key.pem", PEM);
    check("key.b64", &base64(JWK));
}

#[test]
fn a_key_file_that_cannot_be_used_is_told() {
    let check = |content: &[u8], texts: &[&str]| {
        let file = TestFile::new(&format!("{}.key", content.len()), content);
        let found = [
            ("MASKINPORTEN_CLIENT_ID", "our-client"),
            ("MASKINPORTEN_KEY_FILE", file.path()),
            ("MASKINPORTEN_ISSUER", "dev"),
        ];
        let key = from_vars(&found).and_then(|settings| settings.signing_key());
        drop(refused(key, texts));
    };
    check(PEM.as_bytes(), &["`kid` is missing", ".key"]);
    check(
        &[0xfe, 0xed, 0xfe, 0xed, 0, 0],
        &["key file", ".key", "Java keystore"],
    );
    check(b"", &["key file", ".key is empty"]);
    check(&JWK.as_bytes()[..700], &["half a JSON", ".key"]);
}

#[test]
fn a_part_of_either_shape_is_told_by_what_it_lacks() {
    let check = |found: &[(&str, &str)], texts: &[&str]| {
        let error = refused(from_vars(found), texts);
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert_eq!(
            error.details().filter(|(name, _)| *name == "place").count(),
            2
        );
    };
    check(
        &[],
        &[
            "no settings were found",
            "MaskinportenSettings__",
            "MASKINPORTEN_",
            "nothing there",
        ],
    );
    check(
        &[AUTHORITY],
        &[
            "lacks MaskinportenSettings__ClientId, a key (MaskinportenSettings__Jwk, \
             MaskinportenSettings__JwkBase64 or MaskinportenSettings__Pem)",
        ],
    );
    check(
        &[CLIENT_ID, ("MaskinportenSettings__Jwk", JWK)],
        &["lacks MaskinportenSettings__Authority"],
    );
    check(
        &[("MASKINPORTEN_KID", "k")],
        &[
            "lacks MASKINPORTEN_CLIENT_ID, a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE), \
             MASKINPORTEN_ISSUER",
        ],
    );
    // The parts of both would make one whole, of two clients perhaps: they are never put together.
    check(
        &[
            AUTHORITY,
            ("MASKINPORTEN_CLIENT_ID", "c"),
            ("MaskinportenSettings__Jwk", JWK),
        ],
        &[
            "lacks MaskinportenSettings__ClientId",
            "lacks a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE)",
        ],
    );
}

#[test]
fn two_whole_shapes_must_name_one_client() {
    let file = TestFile::new("two.jwk", JWK);
    let both = |client_id| {
        from_vars(&[
            AUTHORITY,
            CLIENT_ID,
            ("MaskinportenSettings__Jwk", JWK),
            ("MASKINPORTEN_CLIENT_ID", client_id),
            ("MASKINPORTEN_KEY_FILE", file.path()),
            ("MASKINPORTEN_ISSUER", "dev"),
        ])
    };
    let settings = accepted(both("our-client"));
    assert!(settings.source().contains("MASKINPORTEN_…"));
    drop(refused(
        both("another"),
        &[
            "our-client",
            "another",
            "MaskinportenSettings__",
            "MASKINPORTEN_",
        ],
    ));
}

#[test]
fn names_of_one_thing_must_agree() {
    let file = TestFile::new("agree.jwk", JWK);
    let with = |issuer, audience| {
        from_vars(&[
            ("MASKINPORTEN_CLIENT_ID", "our-client"),
            ("MASKINPORTEN_KEY_FILE", file.path()),
            ("MASKINPORTEN_ISSUER", issuer),
            ("MASKINPORTEN_AUDIENCE", audience),
        ])
    };
    drop(accepted(with("dev", "https://maskinporten.dev")));
    drop(refused(
        with("dev", "test"),
        &["MASKINPORTEN_ISSUER and MASKINPORTEN_AUDIENCE"],
    ));
}

// ===== discovery =====

#[test]
fn a_named_file_wins_and_what_it_wins_over_is_told() {
    let file = TestFile::new("named.json", bare().to_string());
    let named = ("MASKINPORTEN_SETTINGS_FILE", file.path());
    let other = ("MaskinportenSettings__ClientId", "another");
    let settings = accepted(discovered(&[named]).and_then(Credentials::into_settings));
    assert!(settings.source().contains(file.path()));
    let check = |found: &[(&str, &str)], not_used: &str| {
        let described = discovered(found).unwrap().describe().to_string();
        assert!(described.contains(not_used), "{described}");
    };
    check(
        &[named, AUTHORITY, other, ("MaskinportenSettings__Jwk", JWK)],
        "(client id another)",
    );
    check(&[named, other], "lacks MaskinportenSettings__Authority");
    let twice = ("MASKINPORTENSETTINGS__CLIENTID", "third");
    check(&[named, other, twice], "are one name and differ");
}

#[test]
fn a_named_file_that_cannot_be_used_is_not_passed_over() {
    let whole = [AUTHORITY, CLIENT_ID, ("MaskinportenSettings__Jwk", JWK)];
    let named = ("MASKINPORTEN_SETTINGS_FILE", "/no/such/file.json");
    drop(refused(
        discovered(&[&[named], &whole[..]].concat()),
        &["/no/such/file.json"],
    ));
    drop(accepted(
        discovered(&whole).and_then(Credentials::into_settings),
    ));
    let texts = [
        "MASKINPORTEN_SETTINGS_FILE",
        "MaskinportenSettings__",
        "MASKINPORTEN_CLIENT_ID",
    ];
    drop(refused(discovered(&[]), &texts));
}

#[test]
fn settings_are_described_without_their_secrets() {
    let settings = MaskinportenSettings::new("test", "our-client").with_jwk(JWK);
    assert_eq!(
        settings.describe().to_string(),
        "authority https://test.maskinporten.no/ (test), client id our-client, \
         key Jwk [redacted] with kid maskinporten-test-key, from code"
    );
    let odd = MaskinportenSettings::new("https://user:hush@example.no", "c")
        .describe()
        .to_string();
    assert_eq!(odd, "authority [unusable], client id c, no key, from code");
}
