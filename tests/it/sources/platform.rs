//! Where Altinn's platform is told: variables, the settings file, and the JSON files of Altinn's directory,
//! put together value by value.

use maskinporten::{AltinnSettings, Environment, LegacySettings};
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::*;
use crate::child;

const AT22: [(&str, &str); 3] = [
    (
        "maskinporten-settings.json",
        include_str!("../../vectors/settings/at22/maskinporten-settings.json"),
    ),
    (
        "runtime-common-secrets.json",
        include_str!("../../vectors/settings/at22/runtime-common-secrets.json"),
    ),
    (
        "runtime-overrides.json",
        include_str!("../../vectors/settings/at22/runtime-overrides.json"),
    ),
];

const API: &str = "/authentication/api/v1/";

/// Altinn's directory, with a settings file of the client.
fn directory() -> Given {
    let settings = json!({ SECTION: { "Authority": "test", "ClientId": CLIENT, "Jwk": jwk() } });
    Given::nothing().file(ALTINN, settings.to_string())
}

fn with_file(given: Given, name: &str, host: &str) -> Given {
    given.file(&format!("mnt/app-secrets/{name}"), platform_of(host))
}

fn platform_of(host: &str) -> String {
    let endpoint = format!("https://{host}{API}");
    json!({ "PlatformSettings": { "ApiAuthenticationEndpoint": endpoint } }).to_string()
}

fn altinn(given: &Given) -> AltinnSettings {
    let found = given.platform().altinn(Some(Environment::Test));
    found.unwrap().unwrap()
}

#[track_caller]
fn check(given: &Given, host: &str, source: &str) {
    let found = altinn(given);
    assert_eq!(found.exchange_url().host(), Some(host));
    assert!(found.source().contains(source), "{}", found.source());
}

#[test]
fn an_override_in_altinns_directory_names_the_platform() {
    let mounts = [
        ("mnt/app-secrets", None),
        ("here", Some("RUNTIME_APP_SECRETS_DIR")),
        ("here", Some("AppSettings__RuntimeSecretsDirectory")),
        ("here", Some("MASKINPORTEN_SECRETS_DIR")),
    ];
    for (at, variable) in mounts {
        let put =
            |given: Given, (name, text): &(&str, &str)| given.file(&format!("{at}/{name}"), text);
        let mut given = AT22.iter().fold(Given::nothing(), put);
        if let Some(variable) = variable {
            let path = given.path(at);
            given = given.var(variable, path);
        }
        check(
            &given,
            "platform.at22.altinn.cloud",
            "runtime-overrides.json",
        );
        let found = altinn(&given);
        assert_eq!(found.subscription_key.as_ref().unwrap().expose(), "k");
        let credentials = given.platform().credentials().unwrap();
        let fallback = credentials.environment().unwrap();
        assert_eq!(fallback, Some(Environment::Test));

        let nowhere = given.var("MASKINPORTEN_SOURCE", "env");
        check(&nowhere, "platform.tt02.altinn.no", "environment test");
    }
}

#[test]
fn later_files_come_on_top_and_variables_last() {
    let own = |host: &str| {
        let mut text: Value = serde_json::from_str(&platform_of(host)).unwrap();
        text[SECTION] = json!({ "Authority": "test", "ClientId": CLIENT, "Jwk": jwk() });
        text.to_string()
    };
    let given = Given::nothing();
    check(&given, "platform.tt02.altinn.no", "the environment test");
    let given = given.named_file("MASKINPORTEN_SETTINGS_FILE", "one.json", own("one.no"));
    check(&given, "one.no", "one.json, section PlatformSettings");
    let given = given.file(ALTINN, own("mounted.no"));
    check(&given, "mounted.no", "maskinporten-settings.json");
    let given = with_file(given, "a.json", "a.no");
    check(&given, "a.no", "a.json");
    let given = with_file(given, "z.JSON", "z.no");
    check(&given, "z.no", "z.JSON");
    let given = with_file(given, "My-Override-b.json", "b.no");
    check(&given, "b.no", "My-Override-b.json");
    let given = with_file(given, "overrides-a.json", "overrides.no");
    check(&given, "overrides.no", "overrides-a.json");
    // No JSON file, and files that name no platform.
    let given = with_file(given, "override.txt", "text.no")
        .file("mnt/app-secrets/override-0.json", r#"{"Logging": {}}"#)
        .file(
            "mnt/app-secrets/override-1.json",
            r#"[{"PlatformSettings": 1}]"#,
        );
    check(&given, "overrides.no", "overrides-a.json");
    let endpoint = format!("https://api.no{API}");
    let given = given.var("PLATFORMSETTINGS__APIAUTHENTICATIONENDPOINT", endpoint);
    check(&given, "api.no", "the variables PlatformSettings__…");
    let given = given.var("ALTINN_PLATFORM_URL", "https://platform.no");
    check(&given, "platform.no", "ALTINN_PLATFORM_URL");
    // A file that code names stands in place of all others.
    let path = given.path("one.json");
    let named = Given {
        vars: Vec::new(),
        ..given
    };
    let found = named.platform().with_settings_file(path).altinn(None);
    assert_eq!(
        found.unwrap().unwrap().exchange_url().host(),
        Some("one.no")
    );
}

#[test]
fn address_and_subscription_key_may_come_from_two_places() {
    let key = |name: &str| json!({ "PlatformSettings:SubscriptionKey": name }).to_string();
    let given = directory().file("mnt/app-secrets/common.json", key("of-the-file\n"));
    let expected = |given: &Given, key: &str| {
        let found = altinn(given);
        assert_eq!(found.subscription_key.as_ref().unwrap().expose(), key);
        assert!(!format!("{found:?}").contains(key));
    };
    expected(&given, "of-the-file");
    check(&given, "platform.tt02.altinn.no", "the environment test");
    let given = given.var("PlatformSettings__SubscriptionKey", "of-the-variable");
    expected(&given, "of-the-variable");

    // A key of a file that no address is known for is not an error: nothing was asked of Altinn.
    let lone = directory().file("mnt/app-secrets/common.json", key("alone"));
    assert!(lone.platform().altinn(None).unwrap().is_none());
    let error = given.platform().altinn(None).unwrap_err();
    let words = ["PlatformSettings__SubscriptionKey", "ALTINN_PLATFORM_URL"];
    check_error(&error, ErrorKind::Settings, &words);
}

/// `PlatformSettings` with an address, a key or both.
fn with_key(host: Option<&str>, key: Option<&str>) -> String {
    let endpoint = host.map(|host| format!("https://{host}{API}"));
    let section = json!({ "ApiAuthenticationEndpoint": endpoint, "SubscriptionKey": key });
    json!({ "PlatformSettings": section }).to_string()
}

#[test]
fn a_subscription_key_goes_to_the_origin_it_stands_with_and_to_no_other() {
    #[track_caller]
    fn check(given: &Given, host: &str, expected: Option<(&str, &str)>) {
        let found = altinn(given);
        assert_eq!(found.exchange_url().host(), Some(host));
        let key = found.subscription_key.as_ref().map(|key| key.expose());
        assert_eq!(key, expected.map(|(key, _)| key));
        let source = found.subscription_key_source();
        assert_eq!(source.is_some(), expected.is_some());
        let (_, place) = expected.unwrap_or_default();
        assert!(source.unwrap_or_default().contains(place), "{source:?}");
    }
    let section = with_key;
    let put = |given: Given, name: &str, host: Option<&str>, key: Option<&str>| {
        given.file(&format!("mnt/app-secrets/{name}"), section(host, key))
    };
    let file = |host, key| put(directory(), "a.json", host, key);
    let url = |given: Given, url: &str| given.var("ALTINN_PLATFORM_URL", url);
    let tt02 = "platform.tt02.altinn.no";

    // With its own address it goes there, and nowhere else.
    let own = || file(Some("a.no"), Some("of-a"));
    check(&own(), "a.no", Some(("of-a", "a.json")));
    check(&url(own(), "https://b.no"), "b.no", None);
    check(&url(own(), "https://a.no:444"), "a.no", None);
    check(
        &url(own(), "https://A.no:443/"),
        "A.no",
        Some(("of-a", "a.json")),
    );
    let api = format!("https://b.no{API}");
    let by_section = own().var("PlatformSettings__ApiAuthenticationEndpoint", api.clone());
    check(&by_section, "b.no", None);
    check(
        &put(own(), "override.json", Some("b.no"), None),
        "b.no",
        None,
    );
    let both = put(own(), "override.json", Some("b.no"), Some("of-b"));
    check(&both, "b.no", Some(("of-b", "override.json")));
    // An address that is not used and cannot be read is another one.
    let odd = with_key(Some(""), Some("of-odd"));
    let odd = directory().file("mnt/app-secrets/a.json", odd);
    check(&url(odd, "https://b.no"), "b.no", None);

    // Without one it goes where the others say.
    let lone = || file(None, Some("lone"));
    check(&lone(), tt02, Some(("lone", "a.json")));
    check(
        &url(lone(), "https://b.no"),
        "b.no",
        Some(("lone", "a.json")),
    );
    let above = put(lone(), "override.json", Some("b.no"), None);
    check(&above, "b.no", Some(("lone", "a.json")));
    // What is not sent leaves the next its turn.
    let next = put(lone(), "override.json", Some("b.no"), Some("of-b"));
    check(&url(next, "https://c.no"), "c.no", Some(("lone", "a.json")));

    // The variables are one place, in which a section has its own address.
    let variable = |given: Given| given.var("PlatformSettings__SubscriptionKey", "of-the-variable");
    let place = Some(("of-the-variable", "the variables PlatformSettings__…"));
    check(&variable(own()), "a.no", place);
    check(&url(variable(own()), "https://b.no"), "b.no", place);
    let in_section =
        variable(Given::nothing()).var("PlatformSettings__ApiAuthenticationEndpoint", api);
    check(&in_section, "b.no", place);
    check(&url(in_section, "https://c.no"), "c.no", None);

    // The settings file that a variable or code names is a place as the others are.
    let named = |host| {
        let text = section(host, Some("named"));
        Given::nothing().named_file("MASKINPORTEN_SETTINGS_FILE", "one.json", text)
    };
    check(&named(Some("a.no")), "a.no", Some(("named", "one.json")));
    check(&url(named(Some("a.no")), "https://b.no"), "b.no", None);
    check(
        &url(named(None), "https://b.no"),
        "b.no",
        Some(("named", "one.json")),
    );
}

#[test]
fn a_subscription_key_that_is_not_sent_is_warned_of_with_both_places() {
    const TEST: &str =
        "sources::platform::a_subscription_key_that_is_not_sent_is_warned_of_with_both_places";
    if child::is_here() {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(std::io::stdout)
            .finish()
            .init();
        let text = with_key(Some("a.no"), Some("hush"));
        let given = directory().file("mnt/app-secrets/a.json", text);
        altinn(&given);
        println!("from here on it is not sent");
        altinn(&given.var("ALTINN_PLATFORM_URL", "https://b.no"));
        return;
    }
    let said = child::run(TEST, &[]);
    let (sent, not_sent) = said.split_once("from here on it is not sent").unwrap();
    assert!(!sent.contains("WARN"), "{sent}");
    let warnings: Vec<_> = not_sent
        .lines()
        .filter(|line| line.contains("WARN"))
        .collect();
    let [warning] = warnings[..] else {
        panic!("{not_sent}");
    };
    for word in [
        "SubscriptionKey is not sent",
        "a.json",
        "ALTINN_PLATFORM_URL",
    ] {
        assert!(warning.contains(word), "{word:?} in {warning}");
    }
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn settings_of_the_package_exchange_at_their_own_address_below_the_variables() {
    let package = |more: Value| {
        let mut section = json!({
            "ClientId": CLIENT, "EncodedJwk": in_base64(JWK), "Environment": "test",
        });
        let more = more.as_object().unwrap().clone();
        section.as_object_mut().unwrap().extend(more);
        let mut found = LegacySettings::from_json(&section.to_string(), SECTION).unwrap();
        found.exchange_to_altinn_token = true;
        found
    };
    let of = |given: &Given, legacy: &LegacySettings| given.platform().altinn_of(legacy);
    let host = |found: &AltinnSettings| found.exchange_url().host().unwrap().to_owned();
    let at22 = package(json!({ "TokenExchangeEnvironment": "at22", "UseAltinnTestOrg": true }));
    let dev = package(json!({ "Environment": "dev" }));

    // A file of the platform does not come on top of what they say, nor in the place of what is wrong there.
    let text = with_key(Some("a.no"), None);
    let given = directory().file("mnt/app-secrets/a.json", text);
    let found = of(&given, &at22).unwrap().unwrap();
    assert_eq!(host(&found), "platform.at22.altinn.cloud");
    assert!(found.test_org);
    let own = "`TokenExchangeEnvironment` of legacy settings JSON";
    assert_eq!(found.source(), own);
    let error = of(&given, &dev).unwrap_err();
    check_error(&error, ErrorKind::Settings, &["TokenExchangeEnvironment"]);

    let given = given.var("ALTINN_PLATFORM_URL", "https://platform.tt02.altinn.no");
    for legacy in [&at22, &dev] {
        let found = of(&given, legacy).unwrap().unwrap();
        assert_eq!(host(&found), "platform.tt02.altinn.no");
        assert_eq!(found.test_org, legacy.use_altinn_test_org);
    }
    let mut none = at22.clone();
    none.exchange_to_altinn_token = false;
    assert!(of(&given, &none).unwrap().is_none());
}

#[test]
fn a_platform_that_cannot_be_read_is_told_by_its_file() {
    let refused = |name: &str, text: &str, words: &[&str]| {
        let given = directory().file(&format!("mnt/app-secrets/{name}"), text);
        let error = given.platform().altinn(None).unwrap_err();
        check_error(&error, ErrorKind::Settings, &[&[name], words].concat());
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    };
    // What to do is said of PlatformSettings, and not of the client's settings.
    let platform = r#"{"PlatformSettings": {"ApiAuthenticationEndpoint": "#;
    let unreadable = |name: &str, text: &str, word: &str| {
        let out = "move JSON files of other kinds out of the directory";
        refused(name, text, &[word, platform, out]);
    };
    unreadable("half.json", r#"{"PlatformSettings": {"#, "half a JSON");
    unreadable("empty.json", "", "it is empty");
    unreadable("odd.json", "hush", "no JSON");
    unreadable("large.json", &"hush".repeat(300_000), "larger than 1 MiB");
    let text = r#"{"PlatformSettings": "hush"}"#;
    unreadable("text.json", text, "PlatformSettings is a string");
    let text = r#"{"PlatformSettings": {"SubscriptionKey": ["hush"]}}"#;
    unreadable("list.json", text, "`SubscriptionKey` is an array");
    let text = r#"{"PlatformSettings": {"ApiAuthenticationEndpoint": "http://altinn.no/"}}"#;
    refused("clear.json", text, &["plain http", "ALTINN_PLATFORM_URL"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_discovered_exchanges_where_its_platform_says() {
    let sim = Sim::builder()
        .issuer("https://test.maskinporten.no/")
        .build();
    let registered = sim.new_client(SCOPES);
    let settings = registered.settings_json().to_string();
    let given = with_file(
        Given::nothing().file(ALTINN, settings),
        "overrides.json",
        "platform.at22.altinn.cloud",
    );
    let platform = given.platform();
    let credentials = platform.credentials().unwrap();
    let altinn = platform.altinn(credentials.environment().unwrap()).unwrap();
    let client = MaskinportenClient::builder()
        .credentials(credentials)
        .altinn(altinn.unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap();
    // The simulator is no at22; that it was asked there is what is to be seen.
    drop(client.altinn_token(SCOPES).await);
    let client = MaskinportenClient::of_platform(&platform).unwrap();
    assert!(format!("{client:?}").contains("platform.at22.altinn.cloud"));

    // Production's tokens are not sent to at22.
    let crossed = json!({
        SECTION: { "Authority": "prod", "ClientId": CLIENT, "Jwk": jwk() },
    });
    let crossed = with_file(
        Given::nothing().file(ALTINN, crossed.to_string()),
        "overrides.json",
        "platform.at22.altinn.cloud",
    );
    let error = MaskinportenClient::of_platform(&crossed.platform()).unwrap_err();
    let words = ["platform.at22.altinn.cloud takes tokens of test"];
    check_error(&error, ErrorKind::Settings, &words);
}

// ===== a directory without settings =====

#[test]
fn a_directory_without_settings_names_the_json_files_it_holds() {
    let put = |given: Given, name: &str| {
        given.file(&format!("mnt/app-secrets/{name}"), r#"{"hush": "hush"}"#)
    };
    let told = |given: &Given| {
        let words = ["no settings were found", "/mnt/app-secrets: nothing there"];
        let error = refused(&given.platform(), ErrorKind::Settings, &words);
        assert!(!error.to_string().contains("hush"), "{error}");
        error.to_string()
    };
    let empty = Given::nothing().file("mnt/app-secrets/README", "");
    assert!(told(&empty).contains("/mnt/app-secrets: nothing there;"));

    let few = ["settings.json", "maskinporten.json"];
    let few = few.into_iter().fold(Given::nothing(), put);
    let said = told(&few);
    let names =
        "(it holds maskinporten.json, settings.json, and maskinporten-settings.json is missing)";
    assert!(said.contains(names), "{said}");

    let many = (0..9).map(|number| format!("{number}.json"));
    let many = many.fold(Given::nothing(), |given, name| put(given, &name));
    let said = told(&many);
    let names = "(it holds 0.json, 1.json, 2.json, 3.json, 4.json and 4 more, and maskinporten-settings.json \
                 is missing)";
    assert!(said.contains(names), "{said}");

    let other = put(Given::nothing(), "maskinporten-settings.json");
    let said = told(&other);
    let section = "(maskinporten-settings.json has no section MaskinportenSettings)";
    assert!(said.contains(section), "{said}");
}
