//! Which of several places is used: the highest rung that has credentials, whole.

use std::fs;

use maskinporten::{
    AppSettings, BoxFuture, Credentials, Error, ErrorKind, Finding, MaskinportenSettings, Platform,
    Result, SecretsDirectory, SettingsFile, SettingsSource, SettingsSources, SettingsVariables,
};
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::*;
use crate::child;

/// A place: its rung, how it is filled with a client, and how it is told of.
struct Place {
    rung: u8,
    /// What `MASKINPORTEN_SOURCE` calls it.
    kind: &'static str,
    put: fn(Given, &str) -> Given,
    told: &'static str,
}

const SIDECAR: &str = "http://localhost:3000/api/v1/token";

/// In the order in which they are looked into.
const PLACES: [Place; 9] = [
    Place {
        rung: 0,
        kind: "file",
        put: |given, client| {
            given.named_file("MASKINPORTEN_SETTINGS_FILE", "one.json", file_of(client))
        },
        told: "one.json",
    },
    Place {
        rung: 0,
        kind: "file",
        put: |given, client| {
            given.named_file("MaskinportenSettingsFilepath", "two.json", file_of(client))
        },
        told: "two.json",
    },
    Place {
        rung: 1,
        kind: "sidecar",
        put: |given, _| given.var("NAIS_TOKEN_ENDPOINT", SIDECAR),
        told: SIDECAR,
    },
    Place {
        rung: 2,
        kind: "dir",
        put: |given, client| {
            let path = given.path("secrets");
            directory_of(given, "secrets", client).var("MASKINPORTEN_SECRETS_DIR", path)
        },
        told: "/secrets",
    },
    Place {
        rung: 3,
        kind: "dir",
        put: |given, client| directory_of(given, NAIS, client),
        told: NAIS,
    },
    Place {
        rung: 3,
        kind: "dir",
        put: |given, client| directory_of(given, SKIP, client),
        told: SKIP,
    },
    Place {
        rung: 3,
        kind: "dir",
        put: |given, client| given.file(ALTINN, file_of(client)),
        told: ALTINN,
    },
    Place {
        rung: 4,
        kind: "env",
        put: |given, client| {
            let put = |given: Given, (name, text): (&str, String)| given.var(name, text);
            digdirator(client).into_iter().fold(given, put)
        },
        told: "the variables MASKINPORTEN_…",
    },
    Place {
        rung: 4,
        kind: "env",
        put: |given, client| {
            given
                .var("MaskinportenSettings__Authority", "test")
                .var("MaskinportenSettings__ClientId", client)
                .var("MaskinportenSettings__JwkBase64", in_base64(JWK))
        },
        told: "the variables MaskinportenSettings__…",
    },
];

fn file_of(client: &str) -> String {
    json!({ SECTION: { "Authority": "test", "ClientId": client, "Jwk": jwk() } }).to_string()
}

fn digdirator(client: &str) -> [(&'static str, String); 3] {
    [
        ("MASKINPORTEN_CLIENT_ID", client.to_owned()),
        ("MASKINPORTEN_CLIENT_JWK", JWK.to_owned()),
        ("MASKINPORTEN_ISSUER", "test".to_owned()),
    ]
}

fn directory_of(given: Given, directory: &str, client: &str) -> Given {
    let put = |given: Given, (name, text)| given.file(&format!("{directory}/{name}"), text);
    digdirator(client).into_iter().fold(given, put)
}

fn told(platform: &Platform) -> String {
    let credentials = platform.credentials().unwrap();
    let told = credentials.describe().to_string();
    tells_no_secret(&told);
    told
}

// ===== one place over another =====

#[test]
fn a_place_on_a_higher_rung_wins_and_the_other_is_told_of() {
    for (at, higher) in PLACES.iter().enumerate() {
        for lower in &PLACES[at + 1..] {
            let given = (higher.put)(Given::nothing(), "upper-client");
            let given = (lower.put)(given, "lower-client");
            let pair = format!("{} before {}", higher.told, lower.told);
            if higher.rung == lower.rung {
                let words = [higher.told, lower.told, "upper-client", "lower-client"];
                let error = refused(&given.platform(), ErrorKind::Settings, &words);
                assert!(error.to_string().contains("two clients"), "{pair}: {error}");
                continue;
            }
            let told = told(&given.platform());
            let (used, not_used) = told.split_once("; not used: ").unwrap();
            assert!(used.contains(higher.told), "{pair}: {told}");
            assert!(not_used.contains(lower.told), "{pair}: {told}");
            assert!(!used.contains("lower-client"), "{pair}: {told}");
            if higher.kind != "sidecar" {
                assert!(used.contains("client id upper-client"), "{pair}: {told}");
            }
            if lower.kind != "sidecar" {
                let client = "(client id lower-client)";
                assert!(not_used.contains(client), "{pair}: {told}");
            }
        }
    }
}

#[test]
fn two_places_of_one_rung_and_one_client_are_no_trouble() {
    for (at, first) in PLACES.iter().enumerate() {
        for other in &PLACES[at + 1..] {
            if first.rung != other.rung {
                continue;
            }
            let given = (first.put)(Given::nothing(), "one-client");
            let given = (other.put)(given, "one-client");
            let told = told(&given.platform());
            let (used, not_used) = told.split_once("; not used: ").unwrap();
            assert!(used.contains(first.told), "{told}");
            assert!(not_used.contains(other.told), "{told}");
        }
    }
}

/// Every place that was found and not used is a record in the log, and the one that was used is named in it.
#[test]
fn what_is_not_used_is_in_the_log() {
    const TEST: &str = "sources::discovery::what_is_not_used_is_in_the_log";
    if child::is_here() {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(std::io::stdout)
            .finish()
            .init();
        let given = (PLACES[0].put)(Given::nothing(), "upper-client");
        let given = (PLACES[4].put)(given, "middle-client");
        (PLACES[8].put)(given, "lower-client")
            .platform()
            .credentials()
            .unwrap();
        return;
    }
    let said = child::run(TEST, &[]);
    let records: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("credentials found and not used"))
        .collect();
    let [middle, lower] = records[..] else {
        panic!("two records were to be made: {said}");
    };
    for (record, client) in [(middle, "middle-client"), (lower, "lower-client")] {
        assert!(record.contains(client), "{record}");
        assert!(record.contains("one.json"), "{record}");
        assert!(record.contains("maskinporten::settings"), "{record}");
    }
    tells_no_secret(&said);
}

#[test]
fn two_shapes_in_one_directory_are_of_one_client() {
    let directory = |client: &str| {
        let given = directory_of(Given::nothing(), "secrets", "one-client");
        let given = given.file("secrets/maskinporten-settings.json", file_of(client));
        let path = given.path("secrets");
        given.var("MASKINPORTEN_SECRETS_DIR", path)
    };
    let found = told(&directory("one-client").platform());
    assert!(found.contains("client id one-client"), "{found}");
    let passed_over = "not used: maskinporten-settings.json in secrets directory";
    assert!(found.contains(passed_over), "{found}");
    let half = directory("one-client").file(
        "secrets/maskinporten-settings.json",
        r#"{"ClientId":"half"}"#,
    );
    let found = told(&half.platform());
    assert!(found.contains("lacks `Authority`"), "{found}");
    let words = ["two clients", "one-client", "other-client", "/secrets"];
    let two = directory("other-client");
    refused(&two.platform(), ErrorKind::Settings, &words);
}

// ===== what is incomplete, and what is not there =====

#[test]
fn a_place_that_lacks_something_is_told_by_what_it_lacks() {
    type Put = fn(Given) -> Given;
    let incomplete: [(Put, &str); 6] = [
        (
            |given| {
                let path = given.path("half");
                let given = given.file("half/MASKINPORTEN_CLIENT_ID", "half");
                given.var("MASKINPORTEN_SECRETS_DIR", path)
            },
            "(MASKINPORTEN_SECRETS_DIR): lacks a key (MASKINPORTEN_CLIENT_JWK",
        ),
        (
            |given| given.file(&format!("{NAIS}/MASKINPORTEN_CLIENT_ID"), "half"),
            "nais.io/maskinporten: lacks a key (MASKINPORTEN_CLIENT_JWK",
        ),
        (
            |given| given.file(&format!("{SKIP}/MASKINPORTEN_ISSUER"), "test"),
            "skip/maskinporten: lacks MASKINPORTEN_CLIENT_ID, a key (MASKINPORTEN_CLIENT_JWK",
        ),
        (
            |given| given.file(ALTINN, r#"{"MaskinportenSettings":{"ClientId":"half"}}"#),
            "app-secrets: lacks `Authority`, a key (`Jwk`",
        ),
        (
            |given| given.var("MASKINPORTEN_KID", "half"),
            "(MASKINPORTEN_CLIENT_ID …): lacks MASKINPORTEN_CLIENT_ID, a key",
        ),
        (
            |given| given.var("MaskinportenSettings__ClientId", "half"),
            "ClientId …): lacks MaskinportenSettings__Authority, a key (MaskinportenSettings__Jwk",
        ),
    ];
    for (put, lacks) in incomplete {
        let alone = put(Given::nothing());
        let error = refused(&alone.platform(), ErrorKind::Settings, &[lacks]).to_string();
        // It is nearer to what was meant than what is not there at all.
        assert!(error.find("lacks") < error.find("not set"), "{error}");
        for place in PLACES.iter().filter(|place| place.rung < 2) {
            let given = (place.put)(put(Given::nothing()), "whole-client");
            let told = told(&given.platform());
            let (used, not_used) = told.split_once("; not used: ").unwrap();
            assert!(used.contains(place.told), "{told}");
            assert!(not_used.contains(lacks), "{lacks:?} in {told}");
        }
    }
}

#[test]
fn a_named_place_that_is_not_whole_is_never_passed_over() {
    #[track_caller]
    fn check(given: Given, words: &[&str]) {
        let given = (PLACES[7].put)(given, "whole-client");
        refused(&given.platform(), ErrorKind::Settings, words);
    }
    let half = r#"{"MaskinportenSettings":{"ClientId":"half"}}"#;
    for name in ["MASKINPORTEN_SETTINGS_FILE", "MaskinportenSettingsFilepath"] {
        let nothing = Given::nothing;
        let words = ["half.json", "`Authority` is missing", "a key is missing"];
        check(nothing().named_file(name, "half.json", half), &words);
        let words = ["other.json", "no section MaskinportenSettings"];
        check(nothing().named_file(name, "other.json", "{}"), &words);
        let words = ["no.json", "it is no JSON"];
        check(nothing().named_file(name, "no.json", "no json"), &words);
        check(nothing().var(name, "/no/such/file"), &["/no/such/file"]);
    }
    let words = ["/no/such/directory", "cannot be read"];
    check(
        Given::nothing().var("MASKINPORTEN_SECRETS_DIR", "/no/such/directory"),
        &words,
    );
    let words = ["sidecar", "NAIS_TOKEN_ENDPOINT"];
    check(
        Given::nothing().var("NAIS_TOKEN_ENDPOINT", "sidecar"),
        &words,
    );
}

#[test]
fn nothing_anywhere_is_answered_with_every_place() {
    let names = [
        "MASKINPORTEN_SETTINGS_FILE): not set",
        "MaskinportenSettingsFilepath): not set",
        "NAIS_TOKEN_ENDPOINT): not set",
        "MASKINPORTEN_SECRETS_DIR): not set",
        "/var/run/secrets/nais.io/maskinporten: nothing there",
        "/var/run/secrets/skip/maskinporten: nothing there",
        "/mnt/app-secrets: nothing there",
        "MASKINPORTEN_CLIENT_ID …): nothing there",
        "MaskinportenSettings__ClientId …): nothing there",
    ];
    let error = refused(&Given::nothing().platform(), ErrorKind::Settings, &names);
    let places = error.details().filter(|(name, _)| *name == "place");
    assert_eq!(places.count(), names.len());
}

#[test]
fn what_is_blank_is_not_set() {
    let mut given = Given::nothing();
    for name in [
        "MASKINPORTEN_SOURCE",
        "MASKINPORTEN_SETTINGS_FILE",
        "MaskinportenSettingsFilepath",
        "NAIS_TOKEN_ENDPOINT",
        "MASKINPORTEN_SECRETS_DIR",
        "RUNTIME_APP_SECRETS_DIR",
        "AppSettings__RuntimeSecretsDirectory",
        "MASKINPORTEN_CLIENT_ID",
        "MASKINPORTEN_KEY_FILE",
        "MASKINPORTEN_KEYSTORE_PATH",
        "MaskinportenSettings__Jwk",
        "MaskinportenSettings__Kid",
        "MaskinportenSettings__EncodedX509",
    ] {
        given = given.var(name, " \n");
    }
    for name in ["MASKINPORTEN_CLIENT_ID", "MASKINPORTEN_KEYSTORE_PATH"] {
        given = given.file(&format!("{NAIS}/{name}"), "\n");
    }
    let blank = r#"{"MaskinportenSettings":{"ClientId":" ","Jwk":"","JwkBase64":null}}"#;
    let given = (PLACES[8].put)(given.file(ALTINN, blank), "whole-client");
    let told = told(&given.platform());
    assert!(told.contains("client id whole-client"), "{told}");
    // A section that stands there is somebody's, be it of blanks; nothing else is told of.
    let not_used: Vec<&str> = told.split("; not used: ").skip(1).collect();
    assert_eq!(not_used.len(), 1, "{told}");
    assert!(
        not_used[0].contains("app-secrets: lacks `Authority`"),
        "{told}"
    );
}

#[test]
fn nothing_is_put_together_of_two_places() {
    // Each of the two has what the other lacks.
    let given = Given::nothing()
        .file(&format!("{NAIS}/MASKINPORTEN_CLIENT_ID"), "a-client")
        .file(&format!("{NAIS}/MASKINPORTEN_ISSUER"), "test")
        .var("MASKINPORTEN_CLIENT_JWK", JWK)
        .var("MaskinportenSettings__ClientId", "b-client")
        .var("MaskinportenSettings__Authority", "test")
        .file(ALTINN, json!({ SECTION: { "Jwk": jwk() } }).to_string());
    let words = [
        "nais.io/maskinporten: lacks a key",
        "app-secrets: lacks `Authority`, `ClientId`",
        "lacks MASKINPORTEN_CLIENT_ID, MASKINPORTEN_ISSUER",
        "lacks a key (MaskinportenSettings__Jwk",
    ];
    refused(&given.platform(), ErrorKind::Settings, &words);
}

// ===== a place that is asked for by name =====

#[test]
fn the_source_that_is_named_is_the_one_that_is_used() {
    let everywhere = || {
        let fill = |given, place: &Place| (place.put)(given, "one-client");
        PLACES.iter().fold(Given::nothing(), fill)
    };
    for (source, used, others) in [
        ("direct", "one.json", PLACES.len() - 2),
        ("Sidecar", SIDECAR, 0),
        (" file ", "one.json", 1),
        ("dir", "/secrets", 3),
        ("ENV", "the variables MASKINPORTEN_…", 1),
    ] {
        let told = told(&everywhere().var("MASKINPORTEN_SOURCE", source).platform());
        let mut told_of = told.split("; not used: ");
        assert!(told_of.next().unwrap().contains(used), "{source}: {told}");
        assert_eq!(told_of.count(), others, "{source}: {told}");
    }
    // These are settings of a real authority.
    let simulated = everywhere().var("MASKINPORTEN_SOURCE", "sim");
    let words = ["MASKINPORTEN_SOURCE is sim", "no simulator", "one.json"];
    refused(&simulated.platform(), ErrorKind::Settings, &words);
    let wrong = everywhere().var("MASKINPORTEN_SOURCE", "keyvault");
    let words = [
        "MASKINPORTEN_SOURCE is \"keyvault\"",
        "direct, sidecar, file, dir, env or sim",
    ];
    refused(&wrong.platform(), ErrorKind::Settings, &words);
}

#[test]
fn a_simulator_is_one_on_this_machine() {
    let sim = |given: Given| given.var("MASKINPORTEN_SOURCE", "sim").platform();
    let settings = |authority: &str| {
        Given::nothing()
            .var("MaskinportenSettings__Authority", authority)
            .var("MaskinportenSettings__ClientId", "one-client")
            .var("MaskinportenSettings__JwkBase64", in_base64(JWK))
    };
    for authority in [
        "http://127.0.0.1:8080/",
        "http://localhost:1/",
        "https://[::1]/",
    ] {
        assert!(told(&sim(settings(authority))).contains(authority));
    }
    for authority in ["prod", "test", "https://sim.example.no/"] {
        refused(
            &sim(settings(authority)),
            ErrorKind::Settings,
            &["no simulator"],
        );
    }
    let sidecar = |url: &str| Given::nothing().var("NAIS_TOKEN_ENDPOINT", url);
    assert!(told(&sim(sidecar(SIDECAR))).contains(SIDECAR));
    let elsewhere = sidecar("https://sidecar.example.no/token");
    refused(&sim(elsewhere), ErrorKind::Settings, &["no simulator"]);
}

#[test]
fn a_source_that_is_named_and_lacks_something_says_what() {
    let whole_elsewhere = |source: &str, but: &str| {
        let places = PLACES.iter().filter(|place| place.kind != but);
        let fill = |given, place: &Place| (place.put)(given, "one-client");
        let given = places.fold(Given::nothing(), fill);
        given.var("MASKINPORTEN_SOURCE", source)
    };
    let (settings, empty) = (ErrorKind::Settings, whole_elsewhere);
    let words = [
        "MASKINPORTEN_SETTINGS_FILE): not set",
        "MaskinportenSettingsFilepath): not set",
    ];
    refused(&empty("file", "file").platform(), settings, &words);
    let words = ["NAIS_TOKEN_ENDPOINT): not set"];
    refused(&empty("sidecar", "sidecar").platform(), settings, &words);
    let half = empty("dir", "dir").file(&format!("{SKIP}/MASKINPORTEN_CLIENT_JWK"), JWK);
    let words = ["skip/maskinporten: lacks MASKINPORTEN_CLIENT_ID, MASKINPORTEN_ISSUER"];
    let error = refused(&half.platform(), settings, &words);
    assert!(
        !error.to_string().contains("NAIS_TOKEN_ENDPOINT"),
        "{error}"
    );
    let half = empty("env", "env").var("MASKINPORTEN_CLIENT_ID", "half");
    let words = [
        "lacks a key (MASKINPORTEN_CLIENT_JWK",
        "MASKINPORTEN_ISSUER",
    ];
    refused(&half.platform(), settings, &words);
}

// ===== sections =====

#[test]
fn a_section_of_ones_own_is_found_wherever_there_are_sections() {
    const OWN: &str = "myapp:MaskinportenSettings";
    let object = |client: &str| json!({ "Authority": "test", "ClientId": client, "Jwk": jwk() });
    // The default section of another client stands beside it everywhere.
    let file = json!({ "MyApp": { SECTION: object("own-client") }, SECTION: object("other") });
    let file = file.to_string();
    let values = |separator: &str| {
        let value = |name: &str, text: &str| {
            let name = ["myapp", SECTION, name].join(separator);
            (name, text.to_owned())
        };
        [
            value("Authority", "test"),
            value("ClientId", "own-client"),
            value("JwkBase64", &in_base64(JWK)),
        ]
    };
    let mut vault = Given::nothing().file("vault/MaskinportenSettings--ClientId", "other");
    for (name, text) in values("--") {
        vault = vault.file(&format!("vault/{name}"), text);
    }
    let path = vault.path("vault");
    let mut variables = (PLACES[8].put)(Given::nothing(), "other");
    for (name, text) in values("__") {
        variables = variables.var(name.to_uppercase(), text);
    }
    for (given, place) in [
        (
            Given::nothing().named_file("MASKINPORTEN_SETTINGS_FILE", "one.json", &file),
            "one.json, section myapp:MaskinportenSettings",
        ),
        (Given::nothing().file(ALTINN, &file), ALTINN),
        (vault.var("MASKINPORTEN_SECRETS_DIR", path), "/vault"),
        (variables, "the variables myapp__MaskinportenSettings__…"),
    ] {
        for section in [
            OWN,
            "MYAPP__maskinportensettings",
            "myapp--MaskinportenSettings",
        ] {
            let platform = given.platform().with_section(section);
            let told = told(&platform).to_lowercase();
            assert!(told.contains("client id own-client"), "{told}");
            if section == OWN {
                assert!(told.contains(&place.to_lowercase()), "{place} in {told}");
            }
        }
    }
    // A section that is not there is not made up for by another.
    let platform = (PLACES[8].put)(Given::nothing(), "other").platform();
    let words = ["myapp__MaskinportenSettings__ClientId"];
    refused(&platform.with_section(OWN), ErrorKind::Settings, &words);
}

// ===== lists of sources =====

fn load(sources: impl Into<SettingsSources>) -> Result<Credentials> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(Credentials::load(sources))
}

#[test]
fn an_appsettings_file_is_read_as_dotnet_writes_it() {
    let given = Given::nothing().file(
        "appsettings.json",
        format!(
            "\u{feff}{{ // a comment\n \"Logging\": {{ \"Level\": [1, 2,], }},\n \
             /* \"no\": \"comma\" */ \"MaskinportenSettings\": {{ \"Authority\": \"test\", \
             \"clientId\": \"common//client\", \"Jwk\": {JWK}, }}, }}\r\n"
        ),
    );
    let directory = given.root.path();
    let told = |source: AppSettings| {
        let credentials = load(source).unwrap();
        let told = credentials.describe().to_string();
        tells_no_secret(&told);
        told
    };
    let found = told(AppSettings::new(directory));
    assert!(found.contains("client id common//client"), "{found}");
    assert!(found.contains("appsettings.json"), "{found}");

    // That of the environment comes first, whole; a part of one there is not mixed with the other.
    let of_test = |source: &AppSettings| source.clone().with_environment("Test");
    let source = AppSettings::new(directory);
    assert!(told(of_test(&source)).contains("appsettings.json"));
    let given = given.file("appsettings.Test.json", file_of("test-client"));
    let found = told(of_test(&source));
    assert!(found.contains("client id test-client"), "{found}");
    assert!(found.contains("appsettings.Test.json"), "{found}");
    assert!(!told(source.clone()).contains("test-client"));

    let half = r#"{"MaskinportenSettings": {"ClientId": "test-client"}}"#;
    let given = given.file("appsettings.Test.json", half);
    let found = told(of_test(&source));
    assert!(found.contains("client id common//client"), "{found}");
    let given = given.file("appsettings.json", r#"{"Logging": {}}"#);
    let error = load(of_test(&source)).unwrap_err();
    let words = ["`Authority` in appsettings.Test.json", "a key"];
    check_error(&error, ErrorKind::Settings, &words);
    drop(given);
}

/// A place that cannot be asked.
#[derive(Debug)]
struct Down;

impl SettingsSource for Down {
    fn name(&self) -> &str {
        "the vault"
    }

    fn look(&self) -> BoxFuture<'_, Result<Finding>> {
        let error = Error::unavailable("the vault does not answer");
        Box::pin(std::future::ready(Err(error)))
    }
}

#[test]
fn of_a_list_the_last_that_is_whole_is_used() {
    let given = Given::nothing()
        .file("one.json", file_of("first-client"))
        .file("two.json", file_of("second-client"))
        .file(
            "half.json",
            r#"{"MaskinportenSettings":{"ClientId":"half"}}"#,
        );
    let given = directory_of(given, "secrets", "third-client");
    let file = |name: &str| SettingsFile::new(given.root.path().join(name));
    let variables = SettingsVariables::new(Vec::new(), SECTION);
    let check = |sources: SettingsSources, used: &str, not_used: &[&str]| {
        let credentials = load(sources).unwrap();
        let told = credentials.describe().to_string();
        let mut parts = told.split("; not used: ");
        let first = parts.next().unwrap();
        assert!(first.contains(&format!("client id {used}")), "{told}");
        let rest: Vec<&str> = parts.collect();
        assert_eq!(rest.len(), not_used.len(), "{told}");
        for (rest, words) in rest.iter().zip(not_used) {
            assert!(rest.contains(words), "{words:?} in {told}");
        }
        tells_no_secret(&told);
    };
    let all = || SettingsSources::new();
    check(all().with(file("one.json")), "first-client", &[]);
    check(
        all().with(file("one.json")).with(file("two.json")),
        "second-client",
        &["one.json, section MaskinportenSettings (client id first-client)"],
    );
    check(
        all()
            .with(file("two.json"))
            .with(SecretsDirectory::new(given.path("secrets")))
            .with(file("half.json"))
            .with(file("none.json"))
            .with(variables.clone()),
        "third-client",
        &["half.json: lacks `Authority`, a key", "two.json"],
    );
    // What cannot be asked and comes before what is used is told of.
    check(
        all().with(Down).with(file("one.json")),
        "first-client",
        &["the vault: the vault does not answer"],
    );
    // What comes after it may hold another client.
    let error = load(all().with(file("one.json")).with(Down)).unwrap_err();
    assert!(
        error.to_string().contains("the vault does not answer"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    fs::write(given.root.path().join("one.json"), "no json").unwrap();
    let error = load(all().with(file("two.json")).with(file("one.json"))).unwrap_err();
    check_error(&error, ErrorKind::Settings, &["one.json", "it is no JSON"]);

    let nothing = all().with(file("none.json")).with(file("half.json"));
    let error = load(nothing.with(variables)).unwrap_err();
    let words = [
        "half.json: lacks `Authority`",
        "none.json: nothing there",
        "the variables MASKINPORTEN_… and MaskinportenSettings__…: nothing there",
    ];
    check_error(&error, ErrorKind::Settings, &words);
}

// ===== a volume of Kubernetes =====

#[test]
fn a_volume_is_read_in_the_state_that_its_link_leads_to() {
    let given = Given::nothing();
    let directory = given.root.path().join(SKIP);
    let state = |client: &str| -> Vec<(String, String)> {
        let owned = |(name, text): (&str, String)| (name.to_owned(), text);
        digdirator(client).into_iter().map(owned).collect()
    };
    mount(&directory, "..2027_06_01", &state("old-client"));
    assert!(told(&given.platform()).contains("client id old-client"));
    mount(&directory, "..2027_06_02", &state("new-client"));
    let found = told(&given.platform());
    assert!(found.contains("client id new-client"), "{found}");
    assert!(found.contains(SKIP), "{found}");
    assert!(!found.contains("..2027"), "{found}");

    // A file that is in the directory and not in the volume is of another state.
    fs::write(directory.join("MASKINPORTEN_KID"), "stray").unwrap();
    assert!(!told(&given.platform()).contains("stray"));

    let altinn = Given::nothing();
    let directory = altinn.root.path().join("mnt/app-secrets");
    let name = "maskinporten-settings.json".to_owned();
    mount(&directory, "..one", &[(name, file_of("altinn-client"))]);
    let found = told(&altinn.platform());
    assert!(found.contains("client id altinn-client"), "{found}");
    assert!(found.contains(ALTINN), "{found}");
}

#[test]
fn settings_in_code_read_nothing_else() {
    let settings = MaskinportenSettings::new("test", "code-client").with_jwk(JWK);
    let credentials = Credentials::from(settings);
    let told = credentials.describe().to_string();
    assert!(told.ends_with("from code"), "{told}");
}
