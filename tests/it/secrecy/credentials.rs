//! The part of the tour where credentials come from places, change, and cannot be read.

use std::fs;
use std::time::Duration;

use maskinporten::{
    AppSettings, Credentials, Environment, Finding, KeyOptions, LegacySettings, MaskinportenClient,
    MaskinportenSettings, Platform, SecretsDirectory, SettingsFile, SettingsSource,
    SettingsSources, SettingsVariables, Sidecar, SigningKey,
};
use maskinporten_sim::{SimClient, SimServer};
use serde_json::json;

use super::{Secrets, altinn, say, say_error};

/// Opens the encrypted key among the vectors.
const PASSWORD: &str = "canary-of-the-key-file-77c1";

/// How often files are looked at here.
const INTERVAL: Duration = Duration::from_millis(100);

/// Longer than an interval and the second in which what is new settles.
const SEEN: Duration = Duration::from_millis(1_500);

pub(super) async fn tour(secrets: &Secrets, server: &SimServer, registered: &SimClient) {
    secrets.note(PASSWORD);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.json");
    fs::write(&path, registered.settings_json().to_string()).unwrap();

    from_platforms(&path, registered);
    as_other_tools_write(secrets, registered);
    let file = SettingsFile::new(&path).with_interval(INTERVAL);
    say(&file);
    let sources = SettingsSources::new()
        .with(AppSettings::new(directory.path()))
        .with(SecretsDirectory::new(directory.path()))
        .with(file);
    say(&sources);
    let credentials = Credentials::load(sources).await.unwrap();
    say(&credentials);
    let client = MaskinportenClient::builder()
        .credentials(credentials)
        .altinn(altinn(server))
        .build()
        .unwrap();
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());

    // Another key, half of one, and nothing.
    let next = registered.rotate_key().unwrap();
    secrets.note_jwk(&next.private_jwk());
    let text = next.settings_json().to_string();
    for content in [
        &text[..],
        &text[..text.len() / 2],
        "{\"MaskinportenSettings\": 1}",
    ] {
        fs::write(&path, content).unwrap();
        tokio::time::sleep(SEEN).await;
        client.invalidate_all();
        secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
        say(&client.health());
        if let Some(error) = client.health().settings_error {
            say_error(&error);
        }
    }
    say(&client);

    let sidecar = Sidecar::new(&server.sidecar_endpoint()).unwrap();
    say(&sidecar);
    let client = MaskinportenClient::builder()
        .credentials(Credentials::from(sidecar))
        .altinn(altinn(server))
        .build()
        .unwrap();
    secrets.note_token(&client.access_token(["a:read"]).await.unwrap());
    secrets.note_token(&client.altinn_token(["a:read"]).await.unwrap());
    say_error(&client.access_token(["not:mine"]).await.unwrap_err());
    say(&client);
}

/// What is found in variables and files, with a key that has a password.
fn from_platforms(path: &std::path::Path, registered: &SimClient) {
    let settings = &registered.settings_json()["MaskinportenSettings"];
    let authority = settings["Authority"].as_str().unwrap();
    let encrypted = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/vectors/keys/rsa-2048-encrypted-pkcs8.pem"
    );
    let keystore = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/keys/rsa-2048.p12");
    let named = |more: &[(&str, &str)]| {
        let base = [
            ("MASKINPORTEN_CLIENT_ID", registered.client_id()),
            ("MASKINPORTEN_ISSUER", authority),
            ("MASKINPORTEN_KID", registered.kid()),
        ];
        let vars = base.iter().chain(more);
        let vars = vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        vars.collect::<Vec<_>>()
    };
    let jwk = registered.private_jwk().to_string();
    let pem = registered.private_pem();
    for vars in [
        named(&[("MASKINPORTEN_CLIENT_JWK", &jwk)]),
        named(&[
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
            ("MASKINPORTEN_KEY_FILE", encrypted),
        ]),
        named(&[
            ("MASKINPORTEN_KEY_FILE", encrypted),
            ("MASKINPORTEN_KEY_PASSWORD", PASSWORD),
        ]),
        named(&[("MASKINPORTEN_KEY_FILE", encrypted)]),
        named(&[
            ("MASKINPORTEN_KEY_FILE", keystore),
            ("MASKINPORTEN_KEY_PASSWORD", PASSWORD),
        ]),
        named(&[("MASKINPORTEN_SETTINGS_FILE", path.to_str().unwrap())]),
        named(&[
            ("MASKINPORTEN_SOURCE", "file"),
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
        ]),
        // Keys under names that are not read, and under names that are another's.
        named(&[
            ("MASKINPORTEN_PRIVATE_KEY", &jwk),
            ("MASKINPORTEN_PEM", &pem),
        ]),
        named(&[
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
            ("MASKINPORTEN_PASSPHRASE", PASSWORD),
            ("MASKINPORTEN_SCOPE", &jwk),
            ("MASKINPORTEN_CONSUMER_ORG", &jwk),
            ("MASKINPORTEN_RESOURCE", &pem),
        ]),
        named(&[
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
            ("MASKINPORTEN_WELL_KNOWN_URL", &jwk),
        ]),
        // Keys where a client id or a kid belongs.
        vec![
            ("MASKINPORTEN_CLIENT_ID".to_owned(), jwk.clone()),
            (
                "MASKINPORTEN_CLIENT_JWK".to_owned(),
                "our-client".to_owned(),
            ),
            ("MASKINPORTEN_ISSUER".to_owned(), authority.to_owned()),
        ],
        named(&[
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
            ("MASKINPORTEN_KID", &pem),
        ]),
        vec![
            ("MASKINPORTEN_CLIENT_ID".to_owned(), "our-client".to_owned()),
            ("MASKINPORTEN_CLIENT_JWK".to_owned(), jwk.clone()),
            ("MASKINPORTEN_ISSUER".to_owned(), authority.to_owned()),
            ("MASKINPORTEN_KID".to_owned(), registered.jwk_base64()),
        ],
        named(&[
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
            ("MaskinportenSettings__Authority", authority),
            ("MaskinportenSettings__ClientId", &registered.jwk_base64()),
            ("MaskinportenSettings__Jwk", &jwk),
        ]),
        named(&[
            ("MASKINPORTEN_SOURCE", &jwk),
            ("MASKINPORTEN_CLIENT_JWK", &jwk),
        ]),
        named(&[
            ("MaskinportenSettings__PrivateKey", &jwk),
            ("MaskinportenSettings__EncodedJwk", &registered.jwk_base64()),
            ("MaskinportenSettings__ConsumerOrgNo", &jwk),
        ]),
    ] {
        say(&SettingsVariables::new(
            vars.clone(),
            "MaskinportenSettings",
        ));
        let platform = Platform::new(vars).with_root("/no/such/root");
        say(&platform);
        match platform.credentials() {
            Ok(mut credentials) => {
                say(&credentials);
                println!("{}", credentials.describe());
                let defaults = [credentials.take_consumer_org(), credentials.take_resource()];
                for default in defaults.into_iter().flatten() {
                    say_error(&default.value().unwrap_err());
                }
                if let Err(error) = credentials.settings().unwrap().signing_keys() {
                    say_error(&error);
                }
            }
            Err(error) => say_error(&error),
        }
    }
    let values = [
        ("MaskinportenSettings--ClientId", "our-client"),
        ("MaskinportenSettings--Jwk", &jwk),
        ("MaskinportenSettings--JwkBase64", &registered.jwk_base64()),
    ];
    for count in [2, 3] {
        let values = values[..count].iter();
        let values = values.map(|(name, value)| ((*name).to_owned(), (*value).into()));
        match Finding::of_values(values, "MaskinportenSettings", "a vault") {
            Ok(finding) => say(&finding),
            Err(error) => say_error(&error),
        }
    }
    let options = KeyOptions::new()
        .with_kid("a-kid")
        .with_password(PASSWORD)
        .with_certificates(registered.private_pem());
    say(&options);
    for bytes in [
        jwk.as_bytes(),
        &jwk.as_bytes()[..300],
        &fs::read(encrypted).unwrap(),
    ] {
        for options in [options.clone(), KeyOptions::new().with_password(PASSWORD)] {
            if let Err(error) = SigningKey::read_set(bytes, &options) {
                say_error(&error);
            }
        }
    }
    let file = SettingsFile::new(path);
    println!("{}", file.name());
}

/// A password and a key for a gateway, where they are not expected.
const MISPLACED: &str = "canary-in-the-wrong-place-3ab9";

/// Settings as other tools write them, and what is wrong with them: secrets under names that are given
/// twice, of the wrong type or not read here.
fn as_other_tools_write(secrets: &Secrets, registered: &SimClient) {
    secrets.note(MISPLACED);
    let key = registered.jwk_base64();
    let section = "MaskinportenSettings";
    let texts = [
        json!({ "MaskinportenSettings:Jwk": registered.private_jwk(), "MaskinportenSettings:Jwk:n": MISPLACED }),
        json!({ section: { "JwkBase64": key }, "MaskinportenSettings:JwkBase64": MISPLACED }),
        json!({ section: { "JwkBase64": key, "jwkBase64": MISPLACED } }),
        json!({ section: { "JwkBase64": [key], "ClientId": { MISPLACED: MISPLACED } } }),
        json!({ section: [key], "Values": { "MaskinportenSettings__Jwk": MISPLACED } }),
        json!({ "Values": { "MASKINPORTEN_CLIENT_JWK": key, "MASKINPORTEN_KEY_PASSWORD": MISPLACED } }),
        json!({ "Values": { "MASKINPORTEN_CLIENT_ID": "our-client", "MASKINPORTEN_ISSUER": "test",
                            "MASKINPORTEN_KEY_FILE": key } }),
        json!({ section: { "ClientId": "our-client", "Environment": "test", "EncodedJwk": key } }),
        json!({ section: { "ClientId": "our-client", "Environment": MISPLACED, "EncodedJwk": [key] } }),
        json!({ section: { "ClientId": "our-client", "Environment": "test", "EncodedJwk": key,
                           "EncodedX509": key } }),
        json!({ section: { "ClientId": "our-client", "Environment": "test",
                           "CertificatePkcs12Path": registered.private_pem(),
                           "CertificatePkcs12Password": MISPLACED } }),
        json!({ section: { "ClientId": "our-client", "Environment": "test",
                           "CertificatePkcs12Path": "/no/such/key.p12",
                           "CertificatePkcs12Password": MISPLACED } }),
        json!({ section: { "ClientId": "our-client", "EncodedJwk": key, "TokenEndpoint": key,
                           "AssertionAudience": key, "TokenExchangeEndpoint": MISPLACED,
                           "TokenExchangeEnvironment": MISPLACED, "Scope": [MISPLACED] } }),
        json!({ section: { "ClientId": "our-client", "Environment": "test", "EncodedJwk": key,
                           "EnterpriseUserName": MISPLACED, "EnterpriseUserPassword": MISPLACED } }),
        json!({ section: { "Authority": "test", "ClientId": key, "JwkBase64": MISPLACED } }),
        json!({ section: { "Authority": "test", "ClientId": "our-client", "JwkBase64": key, "Kid": key } }),
        json!({ "PlatformSettings": { "SubscriptionKey": { "key": MISPLACED } } }),
        json!({ "PlatformSettings": { "SubscriptionKey": MISPLACED } }),
        json!({ "PlatformSettings": { "SubscriptionKey": MISPLACED, "subscriptionKey": key } }),
        json!({ "PlatformSettings": MISPLACED }),
        json!({ "PlatformSettings": { "ApiAuthenticationEndpoint": MISPLACED } }),
        json!({ section: { "Authority": MISPLACED, "ClientId": "our-client", "JwkBase64": key } }),
        json!({ section: { "Authority": "test", "ClientId": "our-client", "JwkBase64": key,
                           "TokenEndpoint": MISPLACED } }),
    ];
    for text in texts {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("maskinporten-settings.json");
        fs::write(&path, text.to_string()).unwrap();
        match LegacySettings::from_file(&path, section) {
            Ok(found) => {
                say(&found);
                say(&found.settings());
            }
            Err(error) => say_error(&error),
        }
        say(&LegacySettings::is_in_file(&path, section));
        if let Err(error) = MaskinportenSettings::from_file(&path, section) {
            say_error(&error);
        }
        let variable = ("MASKINPORTEN_SECRETS_DIR", directory.path());
        let variable = (
            variable.0.to_owned(),
            variable.1.to_str().unwrap().to_owned(),
        );
        let platform = Platform::new([variable]).with_root("/no/such/root");
        match platform.credentials() {
            Ok(found) => println!("{}", found.describe()),
            Err(error) => say_error(&error),
        }
        for environment in [None, Some(Environment::Test)] {
            match platform.altinn(environment) {
                Ok(found) => say(&found),
                Err(error) => say_error(&error),
            }
        }
    }
}
