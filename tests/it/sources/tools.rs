//! Settings as other tools write them: what a JSON text may look like, in each place that one is read from.
//! A cell names the test that takes it to a signed grant, or to its refusal:
//!
//! | | a file that is named | Altinn's file | `appsettings.json` | files of a vault, variables | settings of the .NET package |
//! | --- | --- | --- | --- | --- | --- |
//! | flat names, nested ones, both | F | F | F | (table) | F |
//! | `Values` of `local.settings.json` | F, V | F, V | F, V | – | F |
//! | a number in place of text | N | N | N | – | `dotnet` |
//! | UTF-16 | U | U | U | U | U |
//! | a key without members | K | K | K | K | – |
//! | one name twice | T | T | T | (table) | T |
//!
//! - F: [`names_are_flat_or_nested_or_both`]
//! - K: [`a_key_without_members_is_not_given`]
//! - N: [`a_number_is_its_text`]
//! - T: [`a_name_that_is_given_twice_with_two_values_is_refused`]
//! - U: [`text_in_utf16_is_read`]
//! - V: [`variables_in_a_local_settings_file_are_read`]
//!
//! The files of `vectors/settings` are read in [`each_tool_is_read_as_it_writes`]; where Altinn's platform is
//! told in them, in [`platform`](super::platform).

use maskinporten::{AppSettings, LegacyKey, LegacySettings, MaskinportenSettings, SettingsFile};
use serde_json::{Map, json};

use super::*;

const USER_SECRETS: &str = include_str!("../../vectors/settings/user-secrets.json");
const LOCAL_SETTINGS: &str = include_str!("../../vectors/settings/local.settings.json");
const NUMBER: &str = include_str!("../../vectors/settings/number.json");
const JWK_EMPTY: &str = include_str!("../../vectors/settings/jwk-empty.json");
const PACKAGE: &str = include_str!("../../vectors/settings/package-appsettings.json");

const ISSUER: &str = "https://sim.maskinporten.test/";

// ===== places =====

/// What each place makes of a settings file.
async fn in_each_place(text: impl AsRef<[u8]>) -> Vec<(&'static str, Result<Credentials>)> {
    let text = text.as_ref();
    let in_directory = |variable: &str| {
        let given = Given::nothing().file("here/maskinporten-settings.json", text);
        let path = given.path("here");
        given.var(variable, path)
    };
    let named = |variable: &str| Given::nothing().named_file(variable, "settings.json", text);
    let places = [
        ("a file that is named", named("MASKINPORTEN_SETTINGS_FILE")),
        ("a file of .NET", named("MaskinportenSettingsFilepath")),
        ("Altinn's mount", Given::nothing().file(ALTINN, text)),
        (
            "Altinn's directory",
            in_directory("RUNTIME_APP_SECRETS_DIR"),
        ),
        ("a directory", in_directory("MASKINPORTEN_SECRETS_DIR")),
    ];
    let mut found: Vec<_> = places
        .iter()
        .map(|(place, given)| (*place, given.platform().credentials()))
        .collect();
    let files = Given::nothing()
        .file("appsettings.json", text)
        .file("settings.json", text);
    let platform = Platform::new([]).with_settings_file(files.path("settings.json"));
    found.push(("a file that code names", platform.credentials()));
    let apps = AppSettings::new(files.root.path());
    found.push(("appsettings.json", Credentials::load(apps).await));
    let file = SettingsFile::new(files.path("settings.json"));
    found.push(("a source of files", Credentials::load(file).await));
    found
}

/// In each place the text comes to a grant of the client that the simulator takes.
#[track_caller]
fn sign(what: &str, text: impl AsRef<[u8]>) -> impl Future<Output = ()> {
    let (what, text) = (what.to_owned(), text.as_ref().to_owned());
    async move {
        for (place, found) in in_each_place(&text).await {
            let credentials = found.unwrap_or_else(|error| panic!("{what} in {place}: {error}"));
            tells_no_secret(&credentials.describe());
            let sim = sim();
            let client = client(&sim, credentials)
                .unwrap_or_else(|error| panic!("{what} in {place}: {error}"));
            client.access_token(SCOPES).await.unwrap();
            let journal = sim.journal();
            let grant = journal.requests(Route::Token).last().unwrap();
            assert!(grant.is_accepted(), "{what} in {place}: {grant:?}");
            assert_eq!(grant.assertion_claims().unwrap()["iss"], CLIENT);
        }
    }
}

/// In each place the text is refused with these words, or found to lack something.
async fn refuse(text: &str, words: &[&str]) {
    for (place, found) in in_each_place(text).await {
        let error = match found {
            Ok(found) => panic!("{place}: {}", found.describe()),
            Err(error) => error,
        };
        check_error(&error, ErrorKind::Settings, words);
    }
}

// ===== forms =====

/// The members of a section: their names may have levels, separated by a colon.
type Members = Vec<(&'static str, Value)>;

fn members(key: Members) -> Members {
    let mut members = vec![("Authority", json!(ISSUER)), ("ClientId", json!(CLIENT))];
    members.extend(key);
    members
}

fn jwk_member_by_member() -> Members {
    let names = [
        "Jwk:kty", "Jwk:use", "Jwk:alg", "Jwk:kid", "Jwk:n", "Jwk:e", "Jwk:d", "Jwk:p", "Jwk:q",
        "Jwk:dp", "Jwk:dq", "Jwk:qi",
    ];
    let mut members: Members = names
        .iter()
        .filter_map(|name| Some((*name, jwk().get(&name[4..])?.clone())))
        .collect();
    // As a serialiser leaves what is not there.
    members.extend([
        ("Jwk:x5c", json!([])),
        ("Jwk:key_ops", json!([])),
        ("Jwk:crv", json!(null)),
    ]);
    members
}

/// The same members in every form that tools write them in.
fn forms(section: &str, members: &Members) -> Vec<(&'static str, String)> {
    let flat = |separator: &str, from: usize| -> Map<String, Value> {
        let members = members.iter().skip(from);
        let flat = |(name, value): &(&str, Value)| {
            let name = format!("{section}:{name}").replace(':', separator);
            (name, value.clone())
        };
        members.map(flat).collect()
    };
    let nested = |to: usize| {
        let mut nested = json!({});
        for (name, value) in &members[..to] {
            let path = format!("/{section}/{name}").replace(':', "/");
            let mut at = &mut nested;
            for level in path.split('/').skip(1) {
                at = &mut at[level];
            }
            *at = value.clone();
        }
        nested
    };
    let all = members.len();
    let mut mixed = nested(1);
    mixed.as_object_mut().unwrap().extend(flat(":", 1));
    let mut inner = nested(1);
    inner["Values"] = flat("__", 1).into();
    let mut below = json!({});
    for (name, value) in members {
        below[section][*name] = value.clone();
    }
    let upper = serde_json::to_string(&flat(":", 0)).unwrap();
    let upper = upper.replace(section, &section.to_uppercase());
    vec![
        ("nested", nested(all).to_string()),
        ("flat by colons", Value::from(flat(":", 0)).to_string()),
        (
            "flat by underscores",
            Value::from(flat("__", 0)).to_string(),
        ),
        ("flat by dashes", Value::from(flat("--", 0)).to_string()),
        ("flat in capitals", upper),
        ("flat below its section", below.to_string()),
        ("nested and flat", mixed.to_string()),
        (
            "Values",
            json!({ "IsEncrypted": false, "Values": flat("__", 0) }).to_string(),
        ),
        (
            "Values by colons",
            json!({ "values": flat(":", 0) }).to_string(),
        ),
        ("nested and Values", inner.to_string()),
    ]
}

#[tokio::test(start_paused = true)]
async fn names_are_flat_or_nested_or_both() {
    for key in [
        vec![("JwkBase64", json!(in_base64(JWK)))],
        vec![("Jwk", jwk())],
        vec![("Jwk", json!(JWK))],
        vec![("Pem", json!(PKCS8)), ("Kid", json!(OTHER_KID))],
        vec![("Jwks", json!({ "keys": [jwk()] }))],
    ] {
        for (form, text) in forms(SECTION, &members(key)) {
            sign(form, text).await;
        }
    }
    for (form, text) in forms(SECTION, &members(jwk_member_by_member())) {
        // There it is an object, which the key's own reader takes as it is.
        if form != "nested" {
            sign(form, text).await;
        }
    }
}

#[test]
fn settings_of_the_package_are_flat_or_nested_or_both() {
    let members = vec![
        ("Environment", json!("test")),
        ("ClientId", json!(CLIENT)),
        ("EncodedJwk", json!(in_base64(JWK))),
        ("ConsumerOrgNo", json!(991825827)),
        ("ExhangeToAltinnToken", json!(true)),
    ];
    for (form, text) in forms("Maskinporten-Config-Path", &members) {
        let found = LegacySettings::from_json(&text, "Maskinporten-Config-Path");
        let found = found.unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(found.client_id, CLIENT, "{form}");
        assert_eq!(found.consumer_org_no.as_deref(), Some("991825827"));
        assert!(found.exchange_to_altinn_token);
        let key = found.settings().signing_key().unwrap();
        assert_eq!(key.kid(), Some(KID), "{form}");
    }
}

#[tokio::test(start_paused = true)]
async fn variables_in_a_local_settings_file_are_read() {
    let names = json!({
        "MASKINPORTEN_CLIENT_ID": CLIENT,
        "MASKINPORTEN_CLIENT_JWK": JWK,
        "MASKINPORTEN_ISSUER": ISSUER,
        "MASKINPORTEN_SCOPES": "krr:read",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "SOME_NUMBER": 1,
    });
    let text = json!({ "IsEncrypted": false, "Values": names });
    sign("names of nais", text.to_string()).await;

    let mut half = text.clone();
    half["Values"]["MASKINPORTEN_CLIENT_JWK"] = "".into();
    refuse(&half.to_string(), &["a key", "MASKINPORTEN_CLIENT_JWK"]).await;
    // The two shapes are not put together, and are of one client.
    half["Values"]["MaskinportenSettings__Jwk"] = JWK.into();
    let words = ["MASKINPORTEN_CLIENT_JWK", "`Authority`", "`ClientId`"];
    refuse(&half.to_string(), &words).await;
    let mut two = text.clone();
    two["Values"]["MaskinportenSettings__Authority"] = ISSUER.into();
    two["Values"]["MaskinportenSettings__ClientId"] = "other-client".into();
    two["Values"]["MaskinportenSettings__Jwk"] = JWK.into();
    refuse(&two.to_string(), &["two clients", CLIENT, "other-client"]).await;
    // Outside `Values` they are no variables.
    refuse(&names.to_string(), &["settings"]).await;
}

// ===== text =====

#[tokio::test]
async fn a_number_is_its_text() {
    let members = vec![
        ("Authority", json!("test")),
        ("ClientId", json!(12345)),
        ("JwkBase64", json!(in_base64(JWK))),
        ("Kid", json!(7.50)),
        ("Scopes", json!(true)),
    ];
    for (form, text) in forms(SECTION, &members) {
        for (place, found) in in_each_place(&text).await {
            let found = found.unwrap_or_else(|error| panic!("{form} in {place}: {error}"));
            let settings = found.settings().unwrap();
            assert_eq!(settings.client_id, "12345", "{form} in {place}");
            assert_eq!(settings.kid.as_deref(), Some("7.5"));
            assert_eq!(settings.scopes.as_deref(), Some("true"));
        }
    }
    for (value, kind) in [(json!({}), "an object"), (json!(["a"]), "an array")] {
        for name in ["Authority", "ClientId", "JwkBase64", "Kid", "Scopes"] {
            let mut members = members.clone();
            members.retain(|(found, _)| *found != name);
            members.push((name, value.clone()));
            for (form, text) in forms(SECTION, &members) {
                let error = MaskinportenSettings::from_json(&text, SECTION).unwrap_err();
                let told = format!("`{name}` is {kind}, not a string");
                check_error(&error, ErrorKind::Settings, &[&told]);
                let lacks = error.to_string().contains("missing");
                assert!(!lacks, "{form}: {error}");
            }
        }
    }
}

/// UTF-16 with its byte order mark, as PowerShell and Notepad write it.
fn in_utf16(text: &str) -> [Vec<u8>; 2] {
    let marked = || std::iter::once('\u{feff}').chain(text.chars());
    let units = || {
        marked().flat_map(|found| {
            let mut units = [0; 2];
            found.encode_utf16(&mut units).to_vec()
        })
    };
    [
        units().flat_map(u16::to_le_bytes).collect(),
        units().flat_map(u16::to_be_bytes).collect(),
    ]
}

#[tokio::test(start_paused = true)]
async fn text_in_utf16_is_read() {
    let members = members(vec![("JwkBase64", json!(in_base64(JWK)))]);
    let (_, nested) = forms(SECTION, &members).remove(0);
    for text in in_utf16(&nested) {
        sign("UTF-16", &text).await;
        let error = {
            let half = Given::nothing().file("half.json", &text[..text.len() - 1]);
            MaskinportenSettings::from_file(half.path("half.json"), SECTION).unwrap_err()
        };
        let words = ["half.json", "neither in UTF-8 nor in UTF-16"];
        check_error(&error, ErrorKind::Settings, &words);
    }

    // One file for each name, of either shape.
    let names = [
        ("MASKINPORTEN_CLIENT_ID", CLIENT),
        ("MASKINPORTEN_CLIENT_JWK", JWK),
        ("MASKINPORTEN_ISSUER", ISSUER),
    ];
    let section = [
        ("MaskinportenSettings--ClientId", CLIENT),
        ("MaskinportenSettings--Jwk", JWK),
        ("MaskinportenSettings--Authority", ISSUER),
    ];
    for files in [names, section] {
        for order in 0..2 {
            let put = |given: Given, (name, text): &(&str, &str)| {
                given.file(
                    &format!("{NAIS}/{name}"),
                    &in_utf16(&format!("{text}\r\n"))[order],
                )
            };
            let given = files.iter().fold(Given::nothing(), put);
            let sim = sim();
            let (_, claims) = accepted(&sim, given.platform()).await;
            assert_eq!(claims["iss"], CLIENT);
        }
    }

    for text in in_utf16(PACKAGE) {
        let given = Given::nothing().file("appsettings.json", &text);
        let path = given.path("appsettings.json");
        let found = LegacySettings::from_file(&path, SECTION).unwrap();
        assert_eq!(found.scope.as_deref(), Some("altinn:serviceowner"));
        assert!(LegacySettings::is_in_file(&path, SECTION).unwrap());
    }
}

// ===== keys and doubles =====

#[tokio::test(start_paused = true)]
async fn a_key_without_members_is_not_given() {
    // What Newtonsoft writes of `new JsonWebKey()`, less members as those before.
    let newtonsoft = json!({
        "AdditionalData": {}, "Alg": null, "D": null, "E": null, "KeyId": null, "KeyOps": [], "Kty": null,
        "N": "", "Oth": null, "Use": null, "X5c": [], "KeySize": 0, "HasPrivateKey": false,
        "CryptoProviderFactory": {
            "CryptoProviderCache": {}, "CustomCryptoProvider": null, "CacheSignatureProviders": true,
        },
    });
    let blanks = [
        json!({}),
        json!({ "kty": null, "n": "", "d": " ", "x5c": [], "oth": [], "AdditionalData": {} }),
        json!("{}"),
        json!("{\"kty\": \"\"}"),
        json!(" "),
        json!(null),
        json!("null"),
        newtonsoft.clone(),
        json!(newtonsoft.to_string()),
    ];
    for blank in &blanks {
        let key = |name| {
            members(vec![
                ("JwkBase64", json!(in_base64(JWK))),
                (name, blank.clone()),
            ])
        };
        for (form, text) in forms(SECTION, &key("Jwk")) {
            for (place, found) in in_each_place(&text).await {
                let found = found.unwrap_or_else(|error| panic!("{form} in {place}: {error}"));
                let is_given = found.settings().unwrap().jwk.is_some();
                assert!(!is_given, "{blank} as {form} in {place}");
            }
        }
        for name in ["Jwk", "PreviousJwk", "Jwks"] {
            let (form, text) = forms(SECTION, &key(name)).remove(0);
            sign(&format!("{name} {blank} {form}"), text).await;
        }
        let alone = members(vec![("Jwk", blank.clone())]);
        let (_, text) = forms(SECTION, &alone).remove(0);
        refuse(&text, &["a key"]).await;
        let given = Given::nothing()
            .var("MaskinportenSettings__Authority", ISSUER)
            .var("MaskinportenSettings__ClientId", CLIENT)
            .var("MaskinportenSettings__JwkBase64", in_base64(JWK))
            .var("MaskinportenSettings__Jwk", "{}");
        let sim = sim();
        accepted(&sim, given.platform()).await;
    }
    // What holds something is a key, and a second one.
    let two = members(vec![
        ("JwkBase64", json!(in_base64(JWK))),
        ("Jwk", json!({ "kty": "RSA" })),
    ]);
    for (_, text) in forms(SECTION, &two) {
        refuse(&text, &["more than one key: Jwk and JwkBase64"]).await;
    }
    let whole_and_parts = json!({
        SECTION: { "Authority": ISSUER, "ClientId": CLIENT, "Jwk": jwk() },
        "MaskinportenSettings:Jwk:n": "AQAB",
    });
    let words = ["whole and in parts", "`Jwk` and `Jwk:n`"];
    refuse(&whole_and_parts.to_string(), &words).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_given_twice_with_two_values_is_refused() {
    let nested = |more: Value| {
        let mut text = json!({
            SECTION: { "Authority": ISSUER, "ClientId": CLIENT, "JwkBase64": in_base64(JWK) },
        });
        let more = more.as_object().unwrap().clone();
        text.as_object_mut().unwrap().extend(more);
        text.to_string()
    };
    for (more, other) in [
        (
            json!({ "MaskinportenSettings:ClientId": "other-client" }),
            "MaskinportenSettings:ClientId",
        ),
        (
            json!({ "MASKINPORTENSETTINGS__CLIENTID": "other-client" }),
            "MASKINPORTENSETTINGS__CLIENTID",
        ),
        (
            json!({ "Values": { "MaskinportenSettings__ClientId": "other-client" } }),
            "Values.MaskinportenSettings__ClientId",
        ),
    ] {
        let told = format!("`{other}` are one name and differ");
        let alone = [&*told, "`MaskinportenSettings.ClientId` and"];
        let swapped = [&*format!("`{other}` and `MaskinportenSettings.ClientId`")];
        let text = nested(more);
        for (place, found) in in_each_place(&text).await {
            let error = found.map(|found| found.describe().to_string()).unwrap_err();
            // In whichever order the file has them.
            let said = error.to_string();
            let words = if said.contains(swapped[0]) {
                &swapped[..]
            } else {
                &alone[..]
            };
            check_error(&error, ErrorKind::Settings, words);
            assert!(!said.contains("other-client"), "{place}: {said}");
        }
    }
    // Given twice with one value is given once.
    sign(
        "twice",
        nested(json!({ "MaskinportenSettings:ClientId": CLIENT })),
    )
    .await;

    let text = r#"{"Maskin:ClientId": "a", "Maskin": {"ClientId": "hush", "Environment": "test"}}"#;
    let error = LegacySettings::from_json(text, "Maskin").unwrap_err();
    let words = ["`Maskin:ClientId` and `Maskin.ClientId` are one name and differ"];
    check_error(&error, ErrorKind::Settings, &words);
    assert!(!error.to_string().contains("hush"), "{error}");
}

// ===== the files themselves =====

/// The text with a test key where it has words or nothing, and the simulator's client and authority.
fn filled_in(text: &str) -> String {
    let key = in_base64(JWK);
    text.replace("PUT `base64 -w0 key.jwk` HERE", &key)
        .replace("(base64 of a test key)", &key)
        .replace(r#""JwkBase64": """#, &format!(r#""JwkBase64": "{key}""#))
        .replace("00000000-0000-4000-8000-000000000000", CLIENT)
        .replace("https://test.maskinporten.no/", ISSUER)
}

#[tokio::test(start_paused = true)]
async fn each_tool_is_read_as_it_writes() {
    sign("user-secrets.json", filled_in(USER_SECRETS)).await;
    sign("local.settings.json", filled_in(LOCAL_SETTINGS)).await;
    for (text, client, kid) in [
        (filled_in(NUMBER), "12345", KID),
        (
            JWK_EMPTY.to_owned(),
            "e220a839-7b1d-4daf-ae78-9e6aa1b965f4",
            "sim-06c45d188009454f",
        ),
    ] {
        for (place, found) in in_each_place(&text).await {
            let found = found.unwrap_or_else(|error| panic!("{place}: {error}"));
            let settings = found.settings().unwrap();
            assert_eq!(settings.client_id, client, "{place}");
            let key = settings.signing_key().unwrap();
            assert_eq!(key.kid(), Some(kid), "{place}");
        }
    }
}

// ===== settings of the package where ours are read =====

#[tokio::test]
async fn settings_of_the_package_are_told_as_such() {
    let given = Given::nothing().file("appsettings.json", PACKAGE);
    let path = given.path("appsettings.json");
    let error = MaskinportenSettings::from_file(&path, SECTION).unwrap_err();
    let words = [
        "appsettings.json, section MaskinportenSettings",
        "settings of the .NET package Altinn.ApiClients.Maskinporten",
        "`Authority` is missing",
        "LegacySettings::from_file",
        "--settings",
    ];
    check_error(&error, ErrorKind::Settings, &words);
    let named = Given::nothing().named_file("MASKINPORTEN_SETTINGS_FILE", "a.json", PACKAGE);
    refused(&named.platform(), ErrorKind::Settings, &words[1..]);

    let found = LegacySettings::from_file(&path, SECTION).unwrap();
    assert!(matches!(found.key, LegacyKey::Jwk(_)));
    assert_eq!(
        found.settings().signing_key().unwrap().kid(),
        Some("sim-06c45d188009454f")
    );

    let bare: Value = serde_json::from_str(PACKAGE).unwrap();
    let check = |text: String, section: &str, expected: bool| {
        let given = given_file(&text);
        let found = LegacySettings::is_in_file(given.path("it.json"), section);
        assert_eq!(found.unwrap(), expected, "{text:.60}");
    };
    check(bare[SECTION].to_string(), SECTION, true);
    check(
        json!({ "App": bare }).to_string(),
        "App:MaskinportenSettings",
        true,
    );
    check(PACKAGE.to_owned(), "Other", false);
    check(
        json!({ SECTION: { "Environment": "test" } }).to_string(),
        SECTION,
        true,
    );
    check(
        json!({ SECTION: { "EncodedX509": "MII" } }).to_string(),
        SECTION,
        true,
    );
    check(
        json!({ "Maskinporten:AssertionAudience": ISSUER }).to_string(),
        "Maskinporten",
        true,
    );
    check(
        json!({ SECTION: { "EncodedJwk": " " } }).to_string(),
        SECTION,
        false,
    );
    let ours = members(vec![("Jwk", jwk()), ("Environment", json!("test"))]);
    for (_, text) in forms(SECTION, &ours) {
        check(text, SECTION, false);
    }
    check(
        json!({ SECTION: { "Environment": "test", "Jwk": jwk() } }).to_string(),
        SECTION,
        false,
    );
    // A key of ours that is not given leaves them the package's.
    for blank in [
        json!({}),
        json!(null),
        json!(""),
        json!("null"),
        json!({ "Kty": null, "KeySize": 0 }),
    ] {
        for name in ["Jwk", "Jwks"] {
            let mut text = bare.clone();
            text[SECTION][name] = blank.clone();
            check(text.to_string(), SECTION, true);
            let found = LegacySettings::from_json(&text.to_string(), SECTION);
            assert!(matches!(found.unwrap().key, LegacyKey::Jwk(_)));
        }
    }
    let no_json = given_file("no json");
    assert!(LegacySettings::is_in_file(no_json.path("it.json"), SECTION).is_err());
    assert!(LegacySettings::is_in_file("/no/such/file", SECTION).is_err());
}

fn given_file(text: &str) -> Given {
    Given::nothing().file("it.json", text)
}
