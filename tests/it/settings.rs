//! From what an operator writes to the grant that is sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maskinporten::{
    AltinnSettings, Authority, Credentials, ErrorKind, MaskinportenClient, MaskinportenSettings,
};
use maskinporten_sim::{SimClient, SimServer};
use serde_json::{Value, json};

use crate::child;
use crate::wire::{self, Wire};

const JWK: &str = include_str!("../vectors/keys/rsa-2048.jwk.json");
const PEM: &str = include_str!("../vectors/keys/rsa-2048-pkcs8.pem");
const KID: &str = "maskinporten-test-key";
const SECTION: &str = MaskinportenSettings::DEFAULT_SECTION;

fn jwk() -> Value {
    serde_json::from_str(JWK).unwrap()
}

fn in_base64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

/// A settings file with these members beside the client id.
fn file(authority: &str, members: &Value) -> tempfile::NamedTempFile {
    let mut settings = json!({ "Authority": authority, "ClientId": "our-client" });
    for (name, value) in members.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = json!({ SECTION: settings }).to_string();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// What a client of these settings sends for its first token: the audience, the address and the kid.
async fn sent_with(settings: MaskinportenSettings) -> (String, String, String) {
    let wire = Wire::default();
    let client = MaskinportenClient::builder()
        .settings(settings)
        .transport(wire.answering(|_| wire::token("opaque")))
        .build()
        .unwrap();
    client.access_token(["a:read"]).await.unwrap();
    let [assertion] = &wire.assertions()[..] else {
        panic!("one grant was to be made: {:?}", wire.urls());
    };
    assert_eq!(assertion.claims["iss"], "our-client");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&assertion.claims["aud"]),
        wire.urls().remove(0),
        text(&assertion.header["kid"]),
    )
}

// ===== parity vector 9 of the .NET reference =====

#[tokio::test]
async fn a_file_with_a_good_key_gets_a_token_in_whichever_form_the_key_is() {
    for members in [
        json!({ "Jwk": jwk() }),
        json!({ "JwkBase64": in_base64(JWK) }),
        json!({ "Pem": PEM, "Kid": KID }),
    ] {
        let file = file("https://test.maskinporten.no/", &members);
        let settings = MaskinportenSettings::from_file(file.path(), SECTION).unwrap();
        let (audience, url, kid) = sent_with(settings).await;
        assert_eq!(audience, "https://test.maskinporten.no/");
        assert_eq!(url, "https://test.maskinporten.no/token");
        assert_eq!(kid, KID);
    }
}

#[test]
fn a_file_without_a_good_key_is_refused_before_anything_is_sent() {
    #[track_caller]
    fn check(members: &Value, kind: ErrorKind, words: &[&str]) {
        let file = file("https://test.maskinporten.no/", members);
        let outcome = MaskinportenSettings::from_file(file.path(), SECTION)
            .and_then(|settings| MaskinportenClient::builder().settings(settings).build());
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let path = file.path().to_str().unwrap();
        for word in words.iter().chain([&path]) {
            assert!(error.to_string().contains(word), "{word:?} in {error}");
        }
        assert!(error.hint().is_some(), "{error}");
    }
    let mut incomplete = jwk();
    incomplete["e"] = json!("");
    incomplete["kid"] = json!(" ");
    let key = ErrorKind::Key;
    check(&json!({ "Jwk": incomplete }), key, &["`e`", "`kid`"]);
    let encoded = in_base64(incomplete.to_string());
    check(&json!({ "JwkBase64": encoded }), key, &["`e`", "`kid`"]);
    check(&json!({ "JwkBase64": "%%%" }), key, &["base64"]);
    let no_json = in_base64("no json");
    check(&json!({ "JwkBase64": no_json }), key, &["no JWK"]);
    check(&json!({}), ErrorKind::Settings, &["a key is missing"]);
    // The .NET client takes `JwkBase64` here; a forgotten key would sign.
    let two = json!({ "Jwk": jwk(), "JwkBase64": in_base64(JWK) });
    check(&two, ErrorKind::Settings, &["more than one key"]);
}

#[tokio::test]
async fn both_slash_forms_of_a_known_authority_give_the_same_grant() {
    for (authority, issuer) in [
        ("https://maskinporten.dev", "https://maskinporten.dev/"),
        ("https://maskinporten.dev/", "https://maskinporten.dev/"),
        (
            "https://test.maskinporten.no",
            "https://test.maskinporten.no/",
        ),
        (
            "https://test.maskinporten.no/",
            "https://test.maskinporten.no/",
        ),
        ("https://maskinporten.no", "https://maskinporten.no/"),
        ("https://maskinporten.no/", "https://maskinporten.no/"),
    ] {
        for members in [
            json!({ "Jwk": jwk() }),
            json!({ "JwkBase64": in_base64(JWK) }),
        ] {
            let file = file(authority, &members);
            let settings = MaskinportenSettings::from_file(file.path(), SECTION).unwrap();
            let (audience, url, _) = sent_with(settings).await;
            assert_eq!(audience, issuer);
            assert_eq!(url, format!("{issuer}token"));
        }
    }
}

// ===== parity vector 4 of the .NET reference =====

// We differ from the reference in two things, on purpose. It falls back to the authority with a
// slash as audience; we guess none, so the token URL of an authority that is not known comes from
// its metadata. And it loses the path of an authority without a slash on the way to its metadata
// (`https://proxy/.well-known/…`); we keep it.
#[test]
fn addresses_follow_from_the_authority() {
    #[track_caller]
    fn check(text: &str, token: Option<&str>, metadata: &str) {
        let authority = Authority::parse(text).unwrap();
        let endpoint = authority.token_endpoint().map(ToString::to_string);
        assert_eq!(endpoint.as_deref(), token);
        assert_eq!(authority.metadata_url().to_string(), metadata);
    }
    for text in ["https://maskinporten.dev/", "https://maskinporten.dev"] {
        check(
            text,
            Some("https://maskinporten.dev/token"),
            "https://maskinporten.dev/.well-known/oauth-authorization-server",
        );
    }
    for text in ["https://proxy/mp", "https://proxy/mp/"] {
        check(
            text,
            None,
            "https://proxy/mp/.well-known/oauth-authorization-server",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_with_a_path_is_asked_below_it_and_taken_verbatim() {
    for authority in [
        "https://proxy.example.no/mp",
        "https://proxy.example.no/mp/",
    ] {
        let wire = Wire::default();
        let transport = wire.answering(move |request| match request.uri().path() {
            "/mp/.well-known/oauth-authorization-server" => {
                let endpoint = "https://proxy.example.no/mp/token";
                let document = json!({ "issuer": authority, "token_endpoint": endpoint });
                wire::answer(200, document.to_string())
            }
            "/mp/token" => wire::token("opaque"),
            _ => wire::answer(404, ""),
        });
        let client = MaskinportenClient::builder()
            .settings(MaskinportenSettings::new(authority, "our-client").with_jwk(JWK))
            .transport(transport)
            .build()
            .unwrap();
        client.access_token(["a:read"]).await.unwrap();
        assert_eq!(wire.assertions()[0].claims["aud"], authority);
    }
}

// ===== variables =====

#[tokio::test]
async fn a_key_file_may_hold_a_jwk_or_a_pem() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let variables = |names: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        names.iter().map(owned).collect()
    };
    let shape = [
        ("MASKINPORTEN_CLIENT_ID", "our-client"),
        ("MASKINPORTEN_ISSUER", "https://test.maskinporten.no/"),
        ("MASKINPORTEN_KEY_FILE", path),
    ];
    let with_kid = [&shape[..], &[("MASKINPORTEN_KID", "named-beside")]].concat();
    for (text, named, kid) in [
        (JWK, &shape[..], KID),
        (JWK, &with_kid[..], "named-beside"),
        (&in_base64(JWK), &shape[..], KID),
        (PEM, &with_kid[..], "named-beside"),
    ] {
        std::fs::write(path, text).unwrap();
        let settings = MaskinportenSettings::from_vars(variables(named), SECTION).unwrap();
        assert_eq!(sent_with(settings).await.2, kid);
    }

    std::fs::write(path, PEM).unwrap();
    let settings = MaskinportenSettings::from_vars(variables(&shape), SECTION).unwrap();
    let error = settings.signing_key().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Key);
    assert!(error.to_string().contains("`kid` is missing"), "{error}");
    assert!(error.hint().unwrap().contains("MASKINPORTEN_KID"));
}

/// What the child does: one token of each kind by whatever its environment says.
async fn tokens_by_discovery() {
    let client = MaskinportenClient::discover().unwrap();
    client.access_token(["a:read"]).await.unwrap();
    client.altinn_token(["a:read"]).await.unwrap();
}

async fn check_child(
    test: &'static str,
    variables: impl FnOnce(&SimClient) -> Vec<(String, String)>,
) {
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(["a:read"]);
    server.sim().require_subscription_key("gateway-key");
    let mut variables = variables(&registered);
    variables.extend([
        (
            "ALTINN_PLATFORM_URL".to_owned(),
            server.sim().altinn_platform(),
        ),
        (
            "PlatformSettings__SubscriptionKey".to_owned(),
            "gateway-key".to_owned(),
        ),
    ]);
    tokio::task::spawn_blocking(move || {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        child::run(test, &variables);
    })
    .await
    .unwrap();
    let journal = server.sim().journal();
    assert_eq!((journal.grants(), journal.exchanges()), (1, 1));
    let grant = journal
        .requests(maskinporten_sim::Route::Token)
        .next()
        .unwrap();
    assert_eq!(
        grant.assertion_claims().unwrap()["iss"],
        registered.client_id()
    );
}

#[tokio::test]
async fn the_environment_of_the_process_is_enough_for_both_tokens() {
    if child::is_here() {
        let settings = MaskinportenSettings::from_env().unwrap();
        assert!(settings.source().contains("MaskinportenSettings__"));
        return tokens_by_discovery().await;
    }
    check_child(
        "settings::the_environment_of_the_process_is_enough_for_both_tokens",
        |registered| {
            let settings = &registered.settings_json()[SECTION];
            let text = |name: &str| settings[name].as_str().unwrap().to_owned();
            vec![
                (
                    "MaskinportenSettings__Authority".to_owned(),
                    text("Authority"),
                ),
                (
                    "MASKINPORTENSETTINGS__CLIENTID".to_owned(),
                    text("ClientId"),
                ),
                (
                    "MaskinportenSettings__JwkBase64".to_owned(),
                    registered.jwk_base64(),
                ),
            ]
        },
    )
    .await;
}

#[tokio::test]
async fn the_settings_file_that_the_environment_names_is_read() {
    if child::is_here() {
        // The variables beside the file are not taken, and not mixed in.
        let credentials = Credentials::discover().unwrap();
        let settings = credentials.settings().unwrap();
        assert!(settings.source().contains("settings file"));
        assert!(
            credentials
                .describe()
                .to_string()
                .contains("another-client")
        );
        return tokens_by_discovery().await;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    check_child(
        "settings::the_settings_file_that_the_environment_names_is_read",
        |registered| {
            std::fs::write(&path, registered.settings_json().to_string()).unwrap();
            vec![
                ("MASKINPORTEN_SETTINGS_FILE".to_owned(), path),
                (
                    "MaskinportenSettings__Authority".to_owned(),
                    "prod".to_owned(),
                ),
                (
                    "MaskinportenSettings__ClientId".to_owned(),
                    "another-client".to_owned(),
                ),
                ("MaskinportenSettings__JwkBase64".to_owned(), in_base64(JWK)),
            ]
        },
    )
    .await;
}

#[test]
fn an_empty_environment_says_every_place_that_was_looked_at() {
    if !child::is_here() {
        child::run(
            "settings::an_empty_environment_says_every_place_that_was_looked_at",
            &[],
        );
        return;
    }
    let error = MaskinportenClient::discover().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    for place in [
        "MASKINPORTEN_SETTINGS_FILE",
        "MaskinportenSettings__",
        "MASKINPORTEN_CLIENT_ID",
    ] {
        assert!(error.to_string().contains(place), "{error}");
    }
    assert!(AltinnSettings::from_env(None).unwrap().is_none());
}
