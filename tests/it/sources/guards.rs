//! What is refused or warned of, whatever place the credentials came from: test and production mixed, and
//! files of keys and certificates.

use std::collections::BTreeMap;

use maskinporten::{
    AltinnSettings, Authority, Environment, MaskinportenSettings, Sidecar, SigningKey,
};
use tower_maskinporten::{AltinnAuthLayer, MaskinportenAuthLayer};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::table::{by_each_name, named, of_client, section};
use super::*;
use crate::child;

const PRODUCTION: &str = "https://maskinporten.no/";
const TEST: &str = "https://test.maskinporten.no/";
const OWN: &str = "https://mp.example.no/";

fn made(settings: MaskinportenSettings) -> Result<MaskinportenClient> {
    client(&sim(), Credentials::from(settings))
}

fn settings(authority: &str) -> MaskinportenSettings {
    MaskinportenSettings::new(authority, CLIENT)
}

// ===== test and production =====

#[test]
fn a_key_of_one_environment_is_refused_with_the_authority_of_another() {
    #[track_caller]
    fn check(kid: &str, authority: &str, fits: bool) {
        let mut named = jwk();
        named["kid"] = kid.into();
        let inside = settings(authority).with_jwk(named.to_string());
        let beside = settings(authority).with_pem(PKCS8).with_kid(kid);
        let given = Given::nothing()
            .var("MASKINPORTEN_CLIENT_ID", CLIENT)
            .var("MASKINPORTEN_CLIENT_JWK", named.to_string())
            .var("MASKINPORTEN_ISSUER", authority);
        let found = given.platform().credentials().unwrap();
        for made in [made(inside), made(beside), client(&sim(), found)] {
            match made {
                Ok(_) => assert!(fits, "{kid} with {authority}"),
                Err(error) => {
                    assert!(!fits, "{error}");
                    let words = [kid, "prod", "test", "one environment"];
                    check_error(&error, ErrorKind::Settings, &words);
                }
            }
        }
    }
    check("our-app-TEST.AB12", PRODUCTION, false);
    check("our-app-TEST.AB12", "prod", false);
    check("our-app-PROD.AB12", TEST, false);
    check("our-app-TEST.AB12", TEST, true);
    check("our-app-PROD.AB12", PRODUCTION, true);
    // An authority that is not known says nothing, and neither does any other name.
    check("our-app-TEST.AB12", OWN, true);
    check("our-app-PROD.AB12", OWN, true);
    check("our-app-test.AB12", PRODUCTION, true);
    check("TEST", PRODUCTION, true);
    check("our-TEST-app", PRODUCTION, true);
}

#[test]
fn a_test_certificate_is_refused_in_production() {
    let certified = |authority| settings(authority).with_pem(PKCS8).with_certificate(CHAIN);
    let error = made(certified(PRODUCTION)).unwrap_err();
    let words = ["the certificate is of test", "prod"];
    check_error(&error, ErrorKind::Settings, &words);
    for authority in [TEST, OWN] {
        assert!(made(certified(authority)).is_ok(), "{authority}");
    }
    let given = Given::nothing()
        .named_file("MASKINPORTEN_KEY_FILE", "key.pem", PKCS8)
        .named_file("MASKINPORTEN_CERTIFICATE_FILE", "chain.pem", CHAIN)
        .var("MASKINPORTEN_CLIENT_ID", CLIENT)
        .var("MASKINPORTEN_ENV", "prod");
    refused(&given.platform(), ErrorKind::Settings, &words);
}

#[test]
fn a_second_key_is_guarded_as_the_first_is() {
    let mut test = jwk();
    test["kid"] = "our-app-TEST.AB12".into();
    let first = SigningKey::generate(2048, Some("our-app-PROD.AB12")).unwrap();
    let settings = settings(PRODUCTION)
        .with_jwk(first.private_jwk().expose())
        .with_previous_jwk(test.to_string());
    let error = made(settings).unwrap_err();
    let words = ["our-app-TEST.AB12 is of test", "prod"];
    check_error(&error, ErrorKind::Settings, &words);
}

#[test]
fn a_token_endpoint_of_another_environment_is_refused() {
    #[track_caller]
    fn check(authority: &str, endpoint: &str, fits: bool) {
        let mut pinned = settings(authority).with_jwk(JWK);
        pinned.token_endpoint = Some(endpoint.to_owned());
        let given = Given::nothing()
            .var("MASKINPORTEN_CLIENT_ID", CLIENT)
            .var("MASKINPORTEN_CLIENT_JWK", JWK)
            .var("MASKINPORTEN_ISSUER", authority)
            .var("MASKINPORTEN_TOKEN_ENDPOINT", endpoint);
        let found = given.platform().credentials().unwrap();
        let in_code = MaskinportenClient::builder()
            .settings(settings(authority).with_jwk(JWK))
            .token_endpoint(endpoint)
            .transport(Transport::new(sim()))
            .build();
        for made in [made(pinned), client(&sim(), found), in_code] {
            match made {
                Ok(_) => assert!(fits, "{endpoint} with {authority}"),
                Err(error) => {
                    assert!(!fits, "{error}");
                    let words = ["the token endpoint", "one environment"];
                    check_error(&error, ErrorKind::Settings, &words);
                }
            }
        }
    }
    check(TEST, "https://maskinporten.no/token", false);
    check(PRODUCTION, "https://test.maskinporten.no/token", false);
    check("dev", "https://MASKINPORTEN.no/token", false);
    // An assertion made out to somebody else is not shown to Digdir's servers.
    check(OWN, "https://maskinporten.no/token", false);
    check(TEST, "https://test.maskinporten.no/token", true);
    check(PRODUCTION, "https://maskinporten.no/token", true);
    // A proxy of one's own is taken as it is.
    check(PRODUCTION, "https://proxy.example.no/token", true);
    check(OWN, "https://proxy.example.no/token", true);
}

#[test]
fn altinn_of_another_environment_is_refused() {
    #[track_caller]
    fn check(authority: &str, altinn: &str, fits: bool) {
        let made = MaskinportenClient::builder()
            .settings(settings(authority).with_jwk(JWK))
            .altinn(AltinnSettings::platform(altinn).unwrap())
            .transport(Transport::new(sim()))
            .build();
        let sidecar = Sidecar::new("http://localhost:3000/api/v1/token").unwrap();
        let beside = Authority::parse(authority).unwrap().environment();
        let beside = beside.map(|environment| {
            MaskinportenClient::builder()
                .credentials(Credentials::from(sidecar.with_environment(environment)))
                .altinn(AltinnSettings::platform(altinn).unwrap())
                .transport(Transport::new(sim()))
                .build()
        });
        for made in [Some(made), beside].into_iter().flatten() {
            match made {
                Ok(_) => assert!(fits, "{altinn} with {authority}"),
                Err(error) => {
                    assert!(!fits, "{error}");
                    let words = ["takes tokens of", "prod", "test"];
                    check_error(&error, ErrorKind::Settings, &words);
                }
            }
        }
    }
    const ALTINN: &str = "https://platform.altinn.no";
    const TT02: &str = "https://platform.tt02.altinn.no";
    check(TEST, ALTINN, false);
    check(PRODUCTION, TT02, false);
    check(PRODUCTION, "https://platform.at22.altinn.cloud", false);
    check(TEST, TT02, true);
    check(PRODUCTION, ALTINN, true);
    for altinn in [ALTINN, TT02, "https://altinn.example.no"] {
        check(OWN, altinn, true);
    }
    check(TEST, "https://altinn.example.no", true);
}

#[test]
fn a_layer_for_an_origin_of_another_environment_is_refused_when_it_is_built() {
    #[track_caller]
    fn check(authority: &str, origin: &str, fits: bool) {
        let client = made(settings(authority).with_jwk(JWK)).unwrap();
        let altinn = MaskinportenClient::builder()
            .settings(settings(authority).with_jwk(JWK))
            .altinn(AltinnSettings::platform("https://altinn.example.no").unwrap())
            .transport(Transport::new(sim()))
            .build()
            .unwrap();
        let layer = MaskinportenAuthLayer::new(&client, SCOPES, [origin]).err();
        let altinn = AltinnAuthLayer::new(&altinn, SCOPES, [origin]).err();
        for error in [layer, altinn] {
            assert_eq!(
                error.is_none(),
                fits,
                "{origin} with {authority}: {error:?}"
            );
            if let Some(error) = error {
                let words = [origin, "the tokens are of", "one environment"];
                check_error(&error, ErrorKind::Origin, &words);
            }
        }
    }
    check(TEST, "https://platform.altinn.no", false);
    check(PRODUCTION, "https://platform.tt02.altinn.no", false);
    check(PRODUCTION, "https://platform.at23.altinn.cloud", false);
    check(TEST, "https://platform.tt02.altinn.no", true);
    check(PRODUCTION, "https://platform.altinn.no", true);
    check(TEST, "https://api.example.no", true);
    check(OWN, "https://platform.altinn.no", true);
    check(OWN, "https://platform.tt02.altinn.no", true);
}

#[test]
fn a_sidecar_is_of_the_environment_that_the_platform_tells() {
    let of = |name: &str, authority: &str| {
        let given = Given::nothing()
            .var("NAIS_TOKEN_ENDPOINT", "http://localhost:3000/api/v1/token")
            .var(name, authority);
        let credentials = given.platform().credentials().unwrap();
        credentials.environment().unwrap()
    };
    assert_eq!(of("MASKINPORTEN_ISSUER", TEST), Some(Environment::Test));
    let metadata = "https://maskinporten.no/.well-known/oauth-authorization-server";
    let production = Some(Environment::Production);
    assert_eq!(of("MASKINPORTEN_WELL_KNOWN_URL", metadata), production);
    assert_eq!(of("MASKINPORTEN_ISSUER", OWN), None);
}

// ===== files that others may read =====

/// What a process says that reads files of a mode each, twice.
#[test]
fn a_file_that_others_may_read_is_told_of_once() {
    const TEST: &str = "sources::guards::a_file_that_others_may_read_is_told_of_once";
    if !child::is_here() {
        let said = child::run(TEST, &[]);
        let mut told = BTreeMap::new();
        for line in said.lines().filter(|line| line.contains("may read")) {
            assert!(line.contains("WARN maskinporten::settings"), "{line}");
            assert!(line.contains("chmod 600"), "{line}");
            let (_, path) = line.split_once("path=").unwrap();
            let path = path.split(' ').next().unwrap();
            let (_, file) = path.rsplit_once("/it/").unwrap();
            *told.entry(file.to_owned()).or_insert(0) += 1;
        }
        let once = |file: &str| (file.to_owned(), 1);
        let expected = [
            "settings-0644.json",
            "settings-0640.json",
            "settings-0604.json",
            "key-0644.pem",
            "directory/MASKINPORTEN_CLIENT_ID",
            "directory/MASKINPORTEN_CLIENT_JWK",
            "directory/MASKINPORTEN_ISSUER",
        ];
        assert_eq!(told, expected.into_iter().map(once).collect(), "{said}");
        tells_no_secret(&said);
        return;
    }
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .finish()
        .init();
    let names = [
        ("MASKINPORTEN_CLIENT_ID".to_owned(), CLIENT.to_owned()),
        ("MASKINPORTEN_CLIENT_JWK".to_owned(), JWK.to_owned()),
        ("MASKINPORTEN_ISSUER".to_owned(), "test".to_owned()),
    ];
    let file = serde_json::json!({
        "Authority": "test", "ClientId": CLIENT, "Jwk": jwk(),
    });
    let read = |given: Given| {
        for _ in 0..2 {
            given.platform().credentials().unwrap();
        }
    };
    let loosened = |given: Given, at: &str, mode: u32| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(given.root.path().join(at), mode).unwrap();
        given
    };
    for mode in [0o644, 0o640, 0o604, 0o600, 0o400] {
        let at = format!("it/settings-{mode:04o}.json");
        let given = Given::nothing();
        let given = given.named_file("MASKINPORTEN_SETTINGS_FILE", &at, file.to_string());
        read(loosened(given, &at, mode));

        let at = format!("it/key-{mode:04o}.pem");
        let given = Given::nothing()
            .named_file("MASKINPORTEN_KEY_FILE", &at, PKCS8)
            // What is public may be read by everybody.
            .named_file("MASKINPORTEN_CERTIFICATE_FILE", "it/chain.pem", CHAIN)
            .var("MASKINPORTEN_CLIENT_ID", CLIENT)
            .var("MASKINPORTEN_ENV", "test");
        let given = loosened(given, "it/chain.pem", 0o644);
        if matches!(mode, 0o644 | 0o600) {
            read(loosened(given, &at, mode));
        }
    }
    let mut directory = Given::nothing();
    for (name, text) in &names {
        let at = format!("it/directory/{name}");
        directory = loosened(directory.file(&at, text), &at, 0o644);
    }
    let path = directory.path("it/directory");
    read(directory.var("MASKINPORTEN_SECRETS_DIR", path));

    // A volume is of one pod alone, and its files have the mode 0644 unless somebody asks for another.
    let volume = Given::nothing();
    mount(&volume.root.path().join(NAIS), "..2027_06_01", &names);
    read(volume);
    let volume = Given::nothing();
    let settings = [("it.json".to_owned(), file.to_string())];
    mount(&volume.root.path().join("it"), "..one", &settings);
    let path = volume.path("it/it.json");
    read(volume.var("MASKINPORTEN_SETTINGS_FILE", path));
}

// ===== a secret where a path belongs =====

#[test]
fn a_key_in_place_of_its_path_is_not_repeated() {
    let in_one_line = PKCS8.replace('\n', "\\n");
    let file = serde_json::json!({ SECTION: { "Jwk": jwk() } }).to_string();
    let texts = [PKCS8, &in_one_line, JWK, &in_base64(JWK), &file];
    let body = pem_lines(PKCS8);
    for variable in [
        "MASKINPORTEN_KEY_FILE",
        "MASKINPORTEN_CERTIFICATE_FILE",
        "MASKINPORTEN_SETTINGS_FILE",
        "MaskinportenSettingsFilepath",
        "MASKINPORTEN_SECRETS_DIR",
        "RUNTIME_APP_SECRETS_DIR",
        "AppSettings__RuntimeSecretsDirectory",
    ] {
        for text in texts.into_iter().chain([&*body]) {
            let mut given = Given::nothing()
                .var("MASKINPORTEN_CLIENT_ID", CLIENT)
                .var("MASKINPORTEN_ENV", "test")
                .var(variable, text);
            if variable == "MASKINPORTEN_CERTIFICATE_FILE" {
                given = given.named_file("MASKINPORTEN_KEY_FILE", "key.pem", PKCS8);
            }
            let words = [variable, "no path"];
            refused(&given.platform(), ErrorKind::Settings, &words);
        }
    }
}

/// What stands between the first and the last line of a PEM, in one line.
fn pem_lines(pem: &str) -> String {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    lines.collect()
}

// ===== files of keys and certificates =====

/// What a client is refused for whose key or certificate is in a file, the file's path and the hint.
#[track_caller]
fn refused_for_file(variable: &str, given: Given, at: &str, words: &[&str], hint: &str) {
    let path = given.path(at);
    let mut names = of_client(CERTIFIED, [(variable, &path)]);
    if variable == "MASKINPORTEN_CERTIFICATE_FILE" {
        names.extend(named([("MASKINPORTEN_CLIENT_JWK", JWK)]));
    }
    for (_, given) in by_each_name(&names) {
        let made = given.platform().credentials();
        let made = made.and_then(|credentials| client(&sim(), credentials));
        let error = made.unwrap_err();
        check_error(&error, error.kind(), words);
        assert!(error.to_string().contains(&path), "{path} in {error}");
        let told = error.hint().unwrap();
        assert!(told.contains(hint), "{hint} in {told} for {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_a_hint_that_fits() {
    let nothing = Given::nothing;
    for (variable, what) in [
        ("MASKINPORTEN_KEY_FILE", "key file"),
        ("MASKINPORTEN_CERTIFICATE_FILE", "certificate file"),
    ] {
        let check =
            |given, at, why, hint| refused_for_file(variable, given, at, &[what, why], hint);
        check(nothing(), "no-such-file", "cannot be read", "mounted");
        let directory = nothing().file("directory/key.pem", PKCS8);
        check(directory, "directory", "it is a directory", "names a file");
        for empty in ["", " \r\n", "\u{feff}"] {
            let given = nothing().file("empty", empty);
            check(given, "empty", "is empty", "or name the right file");
        }
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_with_its_file() {
    let given = Given::nothing().file("certificate.pem", "no certificate");
    let words = [
        "certificate file",
        "the certificates are neither PEM nor base64",
    ];
    let hint = "BEGIN CERTIFICATE";
    refused_for_file(
        "MASKINPORTEN_CERTIFICATE_FILE",
        given,
        "certificate.pem",
        &words,
        hint,
    );

    let given = Given::nothing()
        .file("certificate.pem", "no certificate")
        .file("key.pem", PKCS8);
    let (key, certificate) = (given.path("key.pem"), given.path("certificate.pem"));
    let names = of_client(
        CERTIFIED,
        [
            ("MASKINPORTEN_KEY_FILE", &key),
            ("MASKINPORTEN_CERTIFICATE_FILE", &certificate),
        ],
    );
    for (_, given) in by_each_name(&names) {
        let words = [&*format!(
            "with key file {key} and certificate file {certificate}"
        )];
        refused(&given.platform(), ErrorKind::Key, &words);
    }
}

#[tokio::test(start_paused = true)]
async fn a_binary_key_in_a_directory_of_secrets_is_read() {
    let pem: String = PKCS8
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = STANDARD.decode(pem).unwrap();
    let signs = |names: Vec<(String, Vec<u8>)>| async move {
        let given = names
            .into_iter()
            .fold(Given::nothing(), |given, (name, content)| {
                given.file(&format!("{NAIS}/{name}"), content)
            });
        accepted(&sim(), given.platform()).await;
    };
    let bytes = |names: Vec<(String, String)>, key: (&str, &[u8])| {
        let names = names
            .into_iter()
            .map(|(name, text)| (name, text.into_bytes()));
        let key = (key.0.to_owned(), key.1.to_vec());
        names.chain([key]).collect::<Vec<_>>()
    };
    let kid = ("MASKINPORTEN_KID", OTHER_KID);
    let names = of_client(CLIENT, [kid]);
    signs(bytes(names, ("MASKINPORTEN_CLIENT_JWK", &der))).await;
    let password = ("MASKINPORTEN_KEY_PASSWORD", PASSWORD);
    let names = of_client(CERTIFIED, [password]);
    signs(bytes(names, ("MASKINPORTEN_CLIENT_JWK", PKCS12))).await;

    let of_vault = |members: Vec<(String, String)>| {
        let members = members.into_iter();
        members
            .map(|(name, text)| (format!("{SECTION}--{name}"), text))
            .collect::<Vec<_>>()
    };
    let members = of_vault(section(CERTIFIED, [("KeyPassword", PASSWORD)]));
    signs(bytes(members, ("MaskinportenSettings--Pem", PKCS12))).await;

    // What is no key is text.
    let names = of_client(CLIENT, [("MASKINPORTEN_CLIENT_JWK", JWK)]);
    let names = bytes(names, ("MASKINPORTEN_KID", &der));
    let given = names
        .into_iter()
        .fold(Given::nothing(), |given, (name, content)| {
            given.file(&format!("{NAIS}/{name}"), content)
        });
    let words = [
        "MASKINPORTEN_KID",
        "neither in UTF-8 nor in UTF-16",
        "as UTF-8 text",
    ];
    refused(&given.platform(), ErrorKind::Settings, &words);
}
