//! Names that change whom a token is for and are never applied, names that are nearly ours, and names that
//! hold what belongs under another: each in every place it can stand in.

use maskinporten::{Finding, MaskinportenSettings, RequestDefault};
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::table::{by_each_name, in_each_place, named, of_client, section};
use super::*;
use crate::child;

const ORGANISATION: &str = "405003309";
const API: &str = "https://api.example.no";
const ISSUER: &str = "https://sim.maskinporten.test/";
const UUID: &str = "9b0d4c4e-6e33-4f44-9ef1-3ad0ff1a3b2c";

fn described(given: &Given) -> String {
    let told = given.platform().credentials().unwrap();
    let told = told.describe().to_string();
    tells_no_secret(&told);
    told
}

/// All that `MASKINPORTEN_…` needs for a token, and more.
fn whole_client<const N: usize>(more: [(&str, &str); N]) -> Vec<(&'static str, Given)> {
    let mut names = of_client(CLIENT, [("MASKINPORTEN_CLIENT_JWK", JWK)]);
    names.extend(named(more));
    by_each_name(&names)
}

/// All that a section needs for a token, and more.
fn whole_section<const N: usize>(more: [(&str, &str); N]) -> Vec<(&'static str, Given)> {
    let mut members = section(CLIENT, [("Jwk", JWK)]);
    members.extend(named(more));
    in_each_place(&members)
}

// ===== whom a token is for =====

/// The client's own token is what the library gives, and the name is told.
async fn is_found_and_not_used(place: &str, given: &Given, name: &str, value: &str) {
    let sim = sim();
    let (_, claims) = accepted(&sim, given.platform()).await;
    for claim in ["consumer_org", "resource"] {
        assert!(claims.get(claim).is_none(), "{name} in {place}: {claims}");
    }
    let told = described(given).to_lowercase();
    let (_, unused) = told.split_once("found and not used: ").unwrap();
    assert!(unused.contains(&name.to_lowercase()), "{place}: {told}");

    let mut credentials = given.platform().credentials().unwrap();
    let settings = credentials.settings().unwrap();
    let own = settings
        .consumer_org
        .as_ref()
        .or(settings.resource.as_ref());
    assert_eq!(own.unwrap().value().unwrap(), value, "{place}");
    let organisation = credentials.take_consumer_org();
    let taken: RequestDefault = organisation
        .or_else(|| credentials.take_resource())
        .unwrap();
    let found = taken.name().to_lowercase();
    assert!(found.ends_with(&name.to_lowercase()), "{place}: {found}");
    assert_eq!(taken.value().unwrap(), value, "{place}");
    // Who takes it uses it.
    let told = credentials.describe().to_string();
    assert!(!told.contains("not used"), "{place}: {told}");
}

#[tokio::test(start_paused = true)]
async fn what_changes_whom_a_token_is_for_is_found_and_not_used() {
    for (name, value) in [
        ("MASKINPORTEN_CONSUMER_ORG", ORGANISATION),
        ("MASKINPORTEN_CONSUMERORG", "0192:405003309"),
        ("MASKINPORTEN_RESOURCE", API),
    ] {
        for (place, given) in whole_client([(name, value)]) {
            is_found_and_not_used(place, &given, name, value).await;
        }
    }
    for (name, value) in [
        ("ConsumerOrgNo", ORGANISATION),
        ("ConsumerOrg", ORGANISATION),
        ("CONSUMERORGNO", ORGANISATION),
        ("Resource", API),
        ("resource", API),
    ] {
        for (place, given) in whole_section([(name, value)]) {
            is_found_and_not_used(place, &given, name, value).await;
        }
    }
    let vault = [
        ("MaskinportenSettings--Authority", ISSUER),
        ("MaskinportenSettings--ClientId", CLIENT),
        ("MaskinportenSettings--Jwk", JWK),
        ("MaskinportenSettings--ConsumerOrgNo", ORGANISATION),
    ];
    let vault = vault.map(|(name, text)| (name.to_owned(), text.into()));
    let Finding::Complete(found) = Finding::of_values(vault, SECTION, "a vault").unwrap() else {
        panic!("it is complete");
    };
    let organisation = found.consumer_org.as_ref().unwrap();
    assert_eq!(organisation.name(), "MaskinportenSettings--ConsumerOrgNo");
}

#[test]
fn a_default_that_cannot_be_used_is_told_by_its_name() {
    #[track_caller]
    fn check(given: &Given, name: &str, why: &str) {
        let mut credentials = given.platform().credentials().unwrap();
        let organisation = credentials.take_consumer_org();
        let found = organisation
            .or_else(|| credentials.take_resource())
            .unwrap();
        let error = found.value().unwrap_err();
        check_error(&error, ErrorKind::Settings, &[name, why]);
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    let no_number = "is no organisation number";
    for (_, given) in whole_client([("MASKINPORTEN_CONSUMER_ORG", "hush")]) {
        check(&given, "MASKINPORTEN_CONSUMER_ORG", no_number);
    }
    for (_, given) in whole_client([("MASKINPORTEN_RESOURCE", "hush")]) {
        check(&given, "MASKINPORTEN_RESOURCE", "is no absolute URI");
    }
    let two = [
        ("MASKINPORTEN_CONSUMER_ORG", ORGANISATION),
        ("MASKINPORTEN_CONSUMERORG", "991825827"),
    ];
    for (_, given) in whole_client(two) {
        check(&given, "MASKINPORTEN_CONSUMERORG", "differ");
    }
    // Two shapes of names in one place.
    for (one, other, value) in [
        (
            "MASKINPORTEN_CONSUMER_ORG",
            "MaskinportenSettings__ConsumerOrgNo",
            "991825827",
        ),
        (
            "MASKINPORTEN_RESOURCE",
            "MaskinportenSettings__Resource",
            "https://other.example.no",
        ),
    ] {
        let first = if one.ends_with("RESOURCE") {
            API
        } else {
            ORGANISATION
        };
        for (_, given) in whole_client([(one, first), (other, value)]) {
            check(&given, &format!("{one} and {other}"), "differ");
        }
        let variables = |members: Vec<(&'static str, Given)>| {
            members
                .into_iter()
                .filter(|(place, _)| *place == "variables")
        };
        for (_, given) in variables(whole_section([])) {
            let given = given.var(one, first).var(other, value);
            check(&given, &format!("{one} and {other}"), "differ");
        }
        // Two names that agree are no error.
        for (_, given) in variables(whole_section([])) {
            let given = given.var(one, first).var(other, first);
            let mut credentials = given.platform().credentials().unwrap();
            let organisation = credentials.take_consumer_org();
            let found = organisation.or_else(|| credentials.take_resource());
            assert_eq!(found.unwrap().value().unwrap(), first);
            let told = credentials.describe().to_string();
            assert!(!told.contains("not used"), "{told}");
        }
        let values = json!({
            "MASKINPORTEN_CLIENT_ID": CLIENT, "MASKINPORTEN_ISSUER": ISSUER,
            "MASKINPORTEN_CLIENT_JWK": JWK, one: first, other: value,
        });
        let given = Given::nothing().file(ALTINN, json!({ "Values": values }).to_string());
        check(&given, one, "differ");
        check(&given, other, "differ");
    }
    for (_, given) in whole_section([("ConsumerOrgNo", "991825828")]) {
        check(&given, "onsumerOrgNo", no_number);
    }
    let in_json = |name: &str, value: Value| {
        let mut settings = json!({ "Authority": ISSUER, "ClientId": CLIENT, "Jwk": jwk() });
        settings[name] = value;
        Given::nothing().file(ALTINN, json!({ SECTION: settings }).to_string())
    };
    let list = in_json("Resource", json!([API]));
    check(&list, "Resource", "is an array, not a string");
    let number = in_json("ConsumerOrgNo", json!(405_003_309));
    let mut credentials = number.platform().credentials().unwrap();
    let organisation = credentials.take_consumer_org().unwrap();
    assert_eq!(organisation.value().unwrap(), ORGANISATION);
}

#[test]
fn a_variable_counts_wherever_the_credentials_are_from() {
    let file = json!({ SECTION: { "Authority": "test", "ClientId": CLIENT, "Jwk": jwk() } });
    let beside = |given: Given| {
        [
            ("MASKINPORTEN_CONSUMER_ORG", ORGANISATION),
            ("MaskinportenSettings__Resource", API),
        ]
        .into_iter()
        .fold(given, |given, (name, text)| given.var(name, text))
    };
    let sidecar = "http://localhost:3000/api/v1/token";
    for given in [
        Given::nothing().file(ALTINN, file.to_string()),
        Given::nothing().var("NAIS_TOKEN_ENDPOINT", sidecar),
    ] {
        let given = beside(given);
        let told = described(&given);
        for name in [
            "MASKINPORTEN_CONSUMER_ORG",
            "MaskinportenSettings__Resource",
        ] {
            let unused = format!("found and not used: {name}");
            assert_eq!(told.matches(&unused).count(), 1, "{told}");
        }
        let mut credentials = given.platform().credentials().unwrap();
        let organisation = credentials.take_consumer_org().unwrap();
        assert_eq!(organisation.value().unwrap(), ORGANISATION);
        assert_eq!(credentials.take_resource().unwrap().value().unwrap(), API);
        let told = credentials.describe().to_string();
        assert!(!told.contains("not used"), "{told}");
    }

    // The place of the credentials comes first, and another value elsewhere stays told.
    let mut own = file;
    own[SECTION]["ConsumerOrgNo"] = "991825827".into();
    let given = beside(Given::nothing().file(ALTINN, own.to_string()));
    let mut credentials = given.platform().credentials().unwrap();
    assert_eq!(
        credentials.take_consumer_org().unwrap().name(),
        "MaskinportenSettings.ConsumerOrgNo"
    );
    let told = credentials.describe().to_string();
    assert!(
        told.contains("found and not used: MASKINPORTEN_CONSUMER_ORG"),
        "{told}"
    );

    let platform = given.platform();
    let organisation = platform.consumer_org().unwrap().unwrap();
    assert_eq!(organisation.name(), "MASKINPORTEN_CONSUMER_ORG");
    let resource = platform.resource().unwrap().unwrap();
    assert_eq!(resource.name(), "MaskinportenSettings__Resource");
}

// ===== names that are nearly ours =====

/// Wrong names and right ones, in the shape `MASKINPORTEN_…`.
const NEAR_VARIABLES: [(&str, &str); 15] = [
    ("MASKINPORTEN_CLIENTID", "MASKINPORTEN_CLIENT_ID"),
    ("maskinporten_client_id", "MASKINPORTEN_CLIENT_ID"),
    ("MASKINPORTEN_PRIVATE_KEY", "a key"),
    ("MASKINPORTEN_JWK", "a key"),
    ("MASKINPORTEN_ENCODED_JWK", "a key"),
    ("MASKINPORTEN_PEM", "a key"),
    ("MASKINPORTEN_PRIVATE_KEY_PATH", "a key"),
    ("MASKINPORTEN_ENVIRONMENT", "MASKINPORTEN_ISSUER"),
    ("MASKINPORTEN_ISS", "MASKINPORTEN_ISSUER"),
    ("MASKINPORTEN_WELL_KNOWN", "MASKINPORTEN_ISSUER"),
    ("MASKINPORTEN_KEY_ID", "MASKINPORTEN_KID"),
    ("MASKINPORTEN_CERTIFICATE", "MASKINPORTEN_CERTIFICATE_FILE"),
    ("MASKINPORTEN_TOKEN_URL", "MASKINPORTEN_TOKEN_ENDPOINT"),
    ("MASKINPORTEN_SCOPE", "MASKINPORTEN_SCOPES"),
    ("MASKINPORTEN_CONSUMER_ORG_NO", "MASKINPORTEN_CONSUMER_ORG"),
];

/// The same among the members of a section.
const NEAR_MEMBERS: [(&str, &str); 11] = [
    ("Client_Id", "ClientId"),
    ("PrivateKey", "a key"),
    ("ClientJwk", "a key"),
    ("encodedJwk", "a key"),
    ("PrivateKeyPath", "a key"),
    ("KeyFile", "a key"),
    ("Environment", "Authority"),
    ("ISSUER", "Authority"),
    ("WellKnownUrl", "Authority"),
    ("KeyId", "Kid"),
    ("Scope", "Scopes"),
];

/// Names of what changes whom a token is for, in other spellings than those that are read.
const NEAR_DEFAULTS: [(&str, &str); 9] = [
    ("MASKINPORTEN_consumer_org", "MASKINPORTEN_CONSUMER_ORG"),
    ("maskinporten_consumerorg", "MASKINPORTEN_CONSUMER_ORG"),
    ("MASKINPORTEN_CONSUMER", "MASKINPORTEN_CONSUMER_ORG"),
    ("MASKINPORTEN_ORGNO", "MASKINPORTEN_CONSUMER_ORG"),
    ("MASKINPORTEN_ON_BEHALF_OF", "MASKINPORTEN_CONSUMER_ORG"),
    ("MASKINPORTEN_CONSUMER_ORGNO", "MASKINPORTEN_CONSUMER_ORG"),
    ("maskinporten_resource", "MASKINPORTEN_RESOURCE"),
    ("MASKINPORTEN_Resource", "MASKINPORTEN_RESOURCE"),
    ("MASKINPORTEN_RESOURCES", "MASKINPORTEN_RESOURCE"),
];

#[test]
fn a_name_that_changes_whom_a_token_is_for_is_told_in_any_spelling() {
    #[track_caller]
    fn check(place: &str, given: &Given, wrong: &str) {
        let told = described(given);
        let note = told
            .split_once("found and not used: ")
            .map(|(_, note)| note);
        let note = note.unwrap_or_else(|| panic!("{wrong} in {place}: {told}"));
        // Members of JSON have quotes around them.
        let notes = note
            .replace('`', "")
            .matches(&format!("{wrong} (is "))
            .count();
        assert_eq!(notes, 1, "{place}: {told}");
        assert!(!told.contains("hush"), "{told}");
    }
    for (wrong, right) in NEAR_DEFAULTS {
        for (place, given) in whole_client([(wrong, HUSH)]) {
            check(place, &given, wrong);
            assert!(described(&given).contains(right));
        }
        // A variable counts wherever the credentials are from.
        let sidecar = "http://localhost:3000/api/v1/token";
        for given in [
            Given::nothing().var("NAIS_TOKEN_ENDPOINT", sidecar),
            whole_section([]).swap_remove(3).1,
            whole_section([]).pop().unwrap().1,
        ] {
            check("elsewhere", &given.var(wrong, HUSH), wrong);
        }
        // Where the right one is given too, the other is another program's.
        for (_, given) in whole_client([(wrong, HUSH), (right, ORGANISATION)]) {
            assert!(!described(&given).contains(" meant?)"), "{wrong}");
        }
    }
    for wrong in [
        "consumer_org",
        "consumer-org",
        "consumer_org_no",
        "on_behalf_of",
    ] {
        for (place, given) in whole_section([(wrong, HUSH)]) {
            check(place, &given, wrong);
        }
    }
}

/// What stands under a wrong name: it is never looked at, and never shown.
const HUSH: &str = "hush-this-may-be-a-key";

#[test]
fn where_something_is_missing_a_near_miss_is_told_with_it() {
    #[track_caller]
    fn check(place: &str, given: &Given, wrong: &str, right: &str) {
        let error = refused(&given.platform(), ErrorKind::Settings, &[right]).to_string();
        let note = " is set and not read; rename it if it is meant";
        let (before, _) = error
            .split_once(note)
            .unwrap_or_else(|| panic!("{place}: {error}"));
        // In a bare file names open with a small letter, and there are quotes around them.
        let before = before.trim_end_matches('`').to_lowercase();
        let is_told = before.ends_with(&wrong.to_lowercase());
        assert!(is_told, "{wrong} in {place}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
    for (wrong, right) in NEAR_VARIABLES {
        let alone = named([(wrong, HUSH)]);
        for (place, given) in by_each_name(&alone) {
            if matches!(right, "MASKINPORTEN_SCOPES" | "MASKINPORTEN_CONSUMER_ORG") {
                // It tells of no credentials that were to be there.
                let error = refused(&given.platform(), ErrorKind::Settings, &[]);
                assert!(!error.to_string().contains(wrong), "{error}");
            } else {
                check(place, &given, wrong, right);
            }
        }
        let own = match right {
            "MASKINPORTEN_CLIENT_ID" => ("MASKINPORTEN_ISSUER", "test"),
            _ => ("MASKINPORTEN_CLIENT_ID", CLIENT),
        };
        let half = named([own, (wrong, HUSH)]);
        for (place, given) in by_each_name(&half) {
            check(place, &given, wrong, right);
        }
    }
    for (wrong, right) in NEAR_MEMBERS {
        // What is there is a part of ours, and not of the .NET package's settings.
        let own = match right {
            "ClientId" | "a key" => ("Authority", "test"),
            _ => ("Jwk", JWK),
        };
        for (place, given) in in_each_place(&named([own, (wrong, HUSH)])) {
            check(place, &given, wrong, right);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_is_there_a_near_miss_is_described_and_a_needless_one_is_not() {
    let needed = [
        "MASKINPORTEN_KID",
        "MASKINPORTEN_CERTIFICATE_FILE",
        "MASKINPORTEN_TOKEN_ENDPOINT",
        "MASKINPORTEN_SCOPES",
        "MASKINPORTEN_CONSUMER_ORG",
    ];
    for (wrong, right) in NEAR_VARIABLES {
        for (place, given) in whole_client([(wrong, HUSH)]) {
            let told = described(&given);
            let note = format!("found and not used: {wrong} (is {right} meant?)");
            let is_told = told.contains(&note);
            let is_needed = needed.contains(&right);
            assert_eq!(is_told, is_needed, "{wrong} in {place}: {told}");
            assert_eq!(is_told, told.contains(wrong), "{told}");
            assert!(!told.contains("hush"), "{told}");
        }
    }
    for (wrong, right) in NEAR_MEMBERS {
        for (place, given) in whole_section([(wrong, HUSH)]) {
            let told = described(&given);
            let is_needed = !matches!(right, "ClientId" | "a key" | "Authority");
            assert_eq!(
                told.contains(" meant?)"),
                is_needed,
                "{wrong} in {place}: {told}"
            );
            assert!(!told.contains("hush"), "{told}");
        }
    }
    // Where the right one is given too, the other is somebody else's.
    let both = [("MASKINPORTEN_KEY_ID", HUSH), ("MASKINPORTEN_KID", KID)];
    for (place, given) in whole_client(both) {
        let told = described(&given);
        assert!(!told.contains("KEY_ID"), "{place}: {told}");
    }
    for (place, given) in whole_section([("KeyId", HUSH), ("Kid", KID)]) {
        let told = described(&given);
        assert!(!told.contains("KeyId"), "{place}: {told}");
    }
}

#[test]
fn a_key_without_its_identifier_is_told_the_near_miss() {
    let outside = Given::nothing().file("key.pem", PKCS8);
    let path = outside.path("key.pem");
    let names = of_client(
        CLIENT,
        [
            ("MASKINPORTEN_KEY_FILE", &path),
            ("MASKINPORTEN_KEY_ID", KID),
        ],
    );
    let words = [
        "`kid` is missing",
        "MASKINPORTEN_KEY_ID is set and not read: is MASKINPORTEN_KID meant?",
    ];
    for (_, given) in by_each_name(&names) {
        refused(&given.platform(), ErrorKind::Key, &words);
    }
    let members = section(CLIENT, [("Pem", PKCS8), ("KeyId", KID)]);
    let words = [
        "`kid` is missing",
        "eyId",
        "is set and not read",
        "Kid",
        "meant?",
    ];
    for (_, given) in in_each_place(&members) {
        refused(&given.platform(), ErrorKind::Key, &words);
    }
}

#[test]
fn a_name_like_that_of_the_password_is_told_where_the_key_needs_one() {
    for wrong in ["MASKINPORTEN_PASSPHRASE", "MASKINPORTEN_PASSWORD"] {
        let outside = Given::nothing().file("key.pem", ENCRYPTED);
        let path = outside.path("key.pem");
        let kid = ("MASKINPORTEN_KID", OTHER_KID);
        let names = of_client(
            CLIENT,
            [("MASKINPORTEN_KEY_FILE", &path), kid, (wrong, HUSH)],
        );
        let words = [
            "no password is given",
            wrong,
            "is MASKINPORTEN_KEY_PASSWORD meant?",
        ];
        for (_, given) in by_each_name(&names) {
            let error = refused(&given.platform(), ErrorKind::Key, &words);
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        for (place, given) in whole_client([(wrong, HUSH)]) {
            let told = described(&given);
            assert!(!told.contains(wrong), "{place}: {told}");
        }
        // A password alone does not show that credentials were to be there.
        for (_, given) in by_each_name(&named([(wrong, HUSH)])) {
            let error = refused(&given.platform(), ErrorKind::Settings, &[]);
            assert!(!error.to_string().contains(wrong), "{error}");
        }
    }
    let kid = ("Kid", OTHER_KID);
    let members = section(CLIENT, [("Pem", ENCRYPTED), kid, ("Password", HUSH)]);
    for (_, given) in in_each_place(&members) {
        refused(
            &given.platform(),
            ErrorKind::Key,
            &["assword", "Key", "meant?"],
        );
    }
    let members = section(CLIENT, [("Pem", PKCS8), ("CertificateFile", HUSH)]);
    for (_, given) in in_each_place(&members) {
        let words = ["`kid` is missing", "ertificateFile", "meant?"];
        refused(&given.platform(), ErrorKind::Key, &words);
    }
}

#[test]
fn members_that_people_have_for_things_of_their_own_are_no_near_misses() {
    for own in [
        "Password",
        "TokenUrl",
        "TokenUri",
        "CertificatePath",
        "CertificateFile",
        "Cert",
        "Resources",
        "OrgNo",
        "Consumer",
        "Client",
        "Url",
        "Key",
        "Env",
    ] {
        for (place, given) in whole_section([(own, HUSH)]) {
            let told = described(&given);
            assert!(!told.contains("not used"), "{own} in {place}: {told}");
            assert!(!told.contains("meant?"), "{own} in {place}: {told}");
        }
    }
}

#[test]
fn near_misses_alone_are_no_place_where_another_is_complete() {
    let file = in_json_of_client();
    for wrong in [
        "MASKINPORTEN_TOKEN_URL",
        "MASKINPORTEN_CERT",
        "MASKINPORTEN_PRIVATE_KEY",
    ] {
        let mounted = Given::nothing().file(ALTINN, &file);
        let section = whole_section([]).pop().unwrap().1;
        let values = json!({ "Values": { wrong: HUSH } });
        let mut beside: Value = serde_json::from_str(&file).unwrap();
        beside["Values"] = values["Values"].clone();
        let beside = Given::nothing().file(ALTINN, beside.to_string());
        let directory = Given::nothing()
            .file(ALTINN, &file)
            .file(&format!("{NAIS}/{wrong}"), HUSH);
        for given in [
            mounted.var(wrong, HUSH),
            section.var(wrong, HUSH),
            beside,
            directory,
        ] {
            let told = described(&given);
            assert!(!told.contains(wrong), "{told}");
            assert!(!told.contains("not used"), "{told}");
        }
    }
    let in_section = Given::nothing().file(ALTINN, &file);
    let told = described(&in_section.var("MaskinportenSettings__KeyId", HUSH));
    assert!(!told.contains("not used"), "{told}");
}

/// A settings file that is whole.
fn in_json_of_client() -> String {
    let settings = json!({ "Authority": ISSUER, "ClientId": CLIENT, "Jwk": jwk() });
    json!({ SECTION: settings }).to_string()
}

/// What a process logs of each name: one record for each client that is made.
#[test]
fn each_name_is_warned_of_once_and_by_name() {
    const TEST: &str = "sources::names::each_name_is_warned_of_once_and_by_name";
    if child::is_here() {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(std::io::stdout)
            .finish()
            .init();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        let sim = sim();
        let found = || {
            let names = of_client(
                CLIENT,
                [
                    ("MASKINPORTEN_CLIENT_JWK", JWK),
                    ("MASKINPORTEN_CONSUMER_ORG", ORGANISATION),
                    ("MASKINPORTEN_RESOURCE", API),
                    ("MASKINPORTEN_SCOPE", HUSH),
                    ("MASKINPORTEN_PRIVATE_KEY", HUSH),
                ],
            );
            let (_, given) = by_each_name(&names).swap_remove(0);
            given.platform().credentials().unwrap()
        };
        let made = client(&sim, found()).unwrap();
        for _ in 0..3 {
            runtime.block_on(made.access_token(SCOPES)).unwrap();
            made.invalidate_all();
        }
        println!("from here on they are taken");
        let mut taken = found();
        taken.take_consumer_org();
        taken.take_resource();
        client(&sim, taken).unwrap();
        return;
    }
    let said = child::run(TEST, &[]);
    let (first, taken) = said.split_once("from here on they are taken").unwrap();
    let warnings = |said: &str, name: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.contains("WARN"));
        lines
            .filter(|line| line.contains(name))
            .map(str::to_owned)
            .collect()
    };
    for (name, word) in [
        ("MASKINPORTEN_CONSUMER_ORG", "TokenRequest::consumer_org"),
        ("MASKINPORTEN_RESOURCE", "TokenRequest::resource"),
        ("\"MASKINPORTEN_SCOPE\"", "MASKINPORTEN_SCOPES"),
    ] {
        let [warning] = &warnings(first, name)[..] else {
            panic!("{name} was to be warned of once: {first}");
        };
        for word in [
            word,
            "maskinporten::settings",
            "the variables MASKINPORTEN_…",
        ] {
            assert!(warning.contains(word), "{word} in {warning}");
        }
    }
    assert!(warnings(taken, "CONSUMER_ORG").is_empty(), "{taken}");
    assert!(warnings(taken, "RESOURCE").is_empty(), "{taken}");
    // A key is given, so that another program's is nothing to warn of.
    assert!(warnings(&said, "PRIVATE_KEY").is_empty(), "{said}");
    assert!(!said.contains("hush"), "{said}");
    tells_no_secret(&said);
}

// ===== one thing under the name of another =====

#[test]
fn a_client_id_and_an_issuer_in_each_others_place_are_told_by_name() {
    #[track_caller]
    fn check(authority: &str, client_id: &str, words: &[&str]) {
        let variables = named([
            ("MASKINPORTEN_CLIENT_ID", client_id),
            ("MASKINPORTEN_ISSUER", authority),
            ("MASKINPORTEN_CLIENT_JWK", JWK),
        ]);
        let in_variables = words.iter().map(|word| match *word {
            "issuer" => "MASKINPORTEN_ISSUER",
            "client" => "MASKINPORTEN_CLIENT_ID",
            word => word,
        });
        let in_variables: Vec<&str> = in_variables.collect();
        for (_, given) in by_each_name(&variables) {
            refused(&given.platform(), ErrorKind::Settings, &in_variables);
        }
        let members = named([
            ("Authority", authority),
            ("ClientId", client_id),
            ("Jwk", JWK),
        ]);
        let in_members = words.iter().map(|word| match *word {
            "issuer" => "Authority",
            "client" => "ClientId",
            word => word,
        });
        let in_members: Vec<&str> = in_members.collect();
        for (_, given) in in_each_place(&members) {
            refused(&given.platform(), ErrorKind::Settings, &in_members);
        }
    }
    let holds_client = [
        "issuer",
        "holds a client id, where the issuer belongs",
        "portal",
    ];
    check(UUID, CLIENT, &holds_client);
    check(UUID, UUID, &holds_client);
    // As nais names its clients.
    let name = "prod-fss:team:app";
    check(name, name, &holds_client);
    let holds_issuer = ["client", "holds an issuer, where the client id belongs"];
    check("test", "https://test.maskinporten.no/", &holds_issuer);
    check(ISSUER, ISSUER, &holds_issuer);
    check("prod", "maskinporten.no", &holds_issuer);
    let swapped = [
        "issuer",
        "client",
        "holds a client id",
        "an issuer",
        "swapped",
    ];
    check(UUID, "https://test.maskinporten.no/", &swapped);

    let in_code = MaskinportenSettings::new(UUID, CLIENT).with_jwk(JWK);
    let error = client(&sim(), in_code.into()).unwrap_err();
    check_error(&error, ErrorKind::Settings, &["a client id (a UUID)"]);
}

/// Texts that are no client id and no kid: a key, whole, in base64 and in parts of a text.
fn no_identifiers() -> [(String, &'static str); 5] {
    [
        (JWK.to_owned(), "a key or settings stand there"),
        (PKCS8.to_owned(), "a key or settings stand there"),
        (in_base64(JWK), "a key or settings stand there"),
        (jwk()["n"].as_str().unwrap().to_owned(), "longer than 256"),
        ("hush\thush".to_owned(), "a tab"),
    ]
}

#[test]
fn what_cannot_be_a_client_id_or_a_kid_is_refused_by_name_and_not_shown() {
    #[track_caller]
    fn check(given: &Given, words: &[&str]) {
        let error = refused(&given.platform(), ErrorKind::Settings, words);
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        assert!(!format!("{error:?}").contains("BEGIN"), "{error:?}");
    }
    for (text, why) in no_identifiers() {
        let key = ("MASKINPORTEN_CLIENT_JWK", JWK);
        let names = of_client(&text, [key]);
        for (_, given) in by_each_name(&names) {
            check(&given, &["MASKINPORTEN_CLIENT_ID holds no client id", why]);
        }
        let names = of_client(CLIENT, [key, ("MASKINPORTEN_KID", &text)]);
        for (_, given) in by_each_name(&names) {
            check(&given, &["MASKINPORTEN_KID holds no kid", why]);
        }
        if text.starts_with('{') {
            continue; // An object in a section, where a text belongs: told as that.
        }
        let members = section(&text, [("Jwk", JWK)]);
        for (_, given) in in_each_place(&members) {
            check(&given, &["lientId", "holds no client id", why]);
        }
        let members = section(CLIENT, [("JwkBase64", &in_base64(JWK)), ("Kid", &text)]);
        for (_, given) in in_each_place(&members) {
            check(&given, &["id", "holds no kid", why]);
        }
    }
    let swapped = of_client(JWK, [("MASKINPORTEN_CLIENT_JWK", CLIENT)]);
    for (_, given) in by_each_name(&swapped) {
        let words = [
            "MASKINPORTEN_CLIENT_ID",
            "MASKINPORTEN_CLIENT_JWK holds a short text: are they swapped?",
        ];
        check(&given, &words);
    }
    for (_, given) in in_each_place(&section(&in_base64(JWK), [("JwkBase64", CLIENT)])) {
        let words = [
            "lientId",
            "wkBase64",
            "holds a short text: are they swapped?",
        ];
        check(&given, &words);
    }
    // Where the key's own place is empty.
    for (_, given) in by_each_name(&of_client(JWK, [])) {
        let words = ["a key", "MASKINPORTEN_CLIENT_ID holds no client id"];
        check(&given, &words);
    }
    for (_, given) in in_each_place(&section(&in_base64(JWK), [])) {
        check(&given, &["a key", "holds no client id"]);
    }
}

#[test]
fn settings_made_in_code_do_not_show_what_cannot_be_a_client_id_or_a_kid() {
    #[track_caller]
    fn check(settings: MaskinportenSettings, field: &str, why: &str) {
        for told in [
            settings.describe().to_string(),
            format!("{settings:?}"),
            format!("{:#?}", Credentials::from(settings.clone())),
            Credentials::from(settings.clone()).describe().to_string(),
        ] {
            tells_no_secret(&told);
            assert!(!told.contains("hush"), "{told}");
            assert!(told.contains("[unusable]"), "{told}");
        }
        let error = client(&sim(), settings.into()).unwrap_err();
        check_error(&error, ErrorKind::Settings, &[field, why]);
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    for (text, why) in no_identifiers() {
        let settings = MaskinportenSettings::new(ISSUER, &text).with_jwk(JWK);
        check(settings, "`client_id` holds no client id", why);
        let settings = MaskinportenSettings::new(ISSUER, CLIENT).with_jwk(JWK);
        check(settings.with_kid(&text), "`kid` holds no kid", why);
    }
    let swapped = MaskinportenSettings::new(ISSUER, JWK).with_jwk(CLIENT);
    check(swapped, "`client_id`", "are they swapped?");
    // In any other place that is shown.
    let mut misplaced = MaskinportenSettings::new(ISSUER, CLIENT).with_jwk(JWK);
    misplaced.authority = JWK.to_owned();
    misplaced.token_endpoint = Some(JWK.to_owned());
    misplaced.metadata_url = Some(JWK.to_owned());
    misplaced.scopes = Some(JWK.to_owned());
    tells_no_secret(&format!("{misplaced:?}"));
}

#[test]
fn an_authority_that_cannot_be_used_is_told_by_its_name() {
    for (name, value, why) in [
        ("MASKINPORTEN_ENV", "staging", "is no environment"),
        ("MASKINPORTEN_ENV", "ver2", "closed in June 2024"),
        (
            "MASKINPORTEN_AUDIENCE",
            "maskinporten.no",
            "opens with https://",
        ),
        (
            "MASKINPORTEN_ISSUER",
            "https://test.maskinporten.no/token",
            "an endpoint",
        ),
        (
            "MASKINPORTEN_WELL_KNOWN_URL",
            "https://x.example.no/",
            "/.well-known/",
        ),
    ] {
        let names = named([
            ("MASKINPORTEN_CLIENT_ID", CLIENT),
            ("MASKINPORTEN_CLIENT_JWK", JWK),
            (name, value),
        ]);
        for (_, given) in by_each_name(&names) {
            refused(&given.platform(), ErrorKind::Settings, &[name, why]);
        }
    }
    let members = named([("Authority", "staging"), ("ClientId", CLIENT), ("Jwk", JWK)]);
    for (_, given) in in_each_place(&members) {
        let words = ["Authority", "is no environment"];
        refused(&given.platform(), ErrorKind::Settings, &words);
    }
}
