//! What each place may hold. A cell tells the test that takes it to a signed grant, or to its refusal:
//!
//! | | digdirator: variables, or a file for each name | Altinn's settings file | files named as in a vault | `MaskinportenSettings__…` | regnmed's variables | Oslo's variables | sidecar |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | client id | D | S | S | S | D | D | – |
//! | JWK, plain | D | S | S | S, and member by member M | D (a file) | – | – |
//! | JWK in base64 | D | S | S | S | D (a file) | – | – |
//! | JWK set | D | S | S | S | D (a file) | – | – |
//! | PEM: PKCS#8, PKCS#1, encrypted | D (a file) | S | S | S | D | – | – |
//! | certificate with its key | D (files) | S | S | S | D | – | – |
//! | PKCS#12 | D | S | S | S | D | – | – |
//! | Java keystore | refused D | refused S | refused S | refused S | refused D | refused O | – |
//! | `kid` beside the key | D | S | S | S | D | D | – |
//! | authority | A | S | S | S | A (`_AUDIENCE`) | A (`_ENV`) | – |
//! | token endpoint | D | S | S | S | D | – | N |
//! | metadata | A | by the authority | by the authority | by the authority | – | – | – |
//! | scopes | D | S | S | S | D | – | N |
//! | resource, organisation, system user | R | R | R | R | R | R | N, refused for an organisation |
//!
//! - A: [`an_authority_goes_by_any_of_its_names`], [`the_address_of_the_metadata_tells_the_authority`]
//! - D: [`what_digdirator_names_signs`], [`what_digdirator_names_and_cannot_sign_is_refused`]
//! - M: [`a_key_is_read_member_by_member`], [`a_key_in_parts_and_whole_is_refused`]
//! - N: [`a_sidecar_is_asked_for_scopes_resource_and_system_user`]
//! - O: [`a_keystore_is_refused_with_what_to_do`]
//! - R: [`what_a_request_asks_for_is_signed_with_what_was_found`]
//! - S: [`what_stands_in_a_section_signs`], [`what_stands_in_a_section_and_cannot_sign_is_refused`]
//!
//! Names that are found and not used, and names that are nearly ours, are in [`super::names`]. The names of the
//! older .NET package are no shape of ours: [`names_of_another_package_are_no_key`]. Names
//! beside ours are left alone: [`what_is_not_ours_is_left_alone`]. The environment of a process is read in
//! one of its own: [`a_process_on_nais_signs_with_what_digdirator_gave_it`].

use maskinporten::{ErrorKind, MaskinportenClient, SystemUser, TokenRequest};
use maskinporten_sim::{Route, SimServer};
use serde_json::{Value, json};

use super::*;
use crate::child;

/// Names and what stands under them.
pub(super) type Named = Vec<(String, String)>;

pub(super) fn named<const N: usize>(named: [(&str, &str); N]) -> Named {
    let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
    named.into_iter().map(owned).collect()
}

/// What signs: the key's name, or else the certificate.
#[derive(Clone, Copy)]
enum By {
    Kid(&'static str),
    Certificate,
}

/// A Java keystore, as far as can be told by what it opens with.
const JAVA_KEYSTORE: &[u8] = &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1];

async fn signs(what: &str, given: &Given, client: &str, by: By) {
    let sim = sim();
    let (header, claims) = accepted(&sim, given.platform()).await;
    assert_eq!(claims["iss"], client, "{what}");
    assert_eq!(claims["aud"], sim.issuer(), "{what}");
    match by {
        By::Kid(kid) => {
            assert_eq!(header["kid"], kid, "{what}");
            assert!(header.get("x5c").is_none(), "{what}");
        }
        By::Certificate => {
            assert_eq!(header["x5c"].as_array().map(Vec::len), Some(3), "{what}");
            assert!(header.get("kid").is_none(), "{what}");
        }
    }
}

// ===== sections of settings =====

/// Places that hold a section, each with the members in the form it has for them.
pub(super) fn in_each_place(members: &Named) -> Vec<(&'static str, Given)> {
    let file = in_json(members, false);
    let at = "settings.json";
    let mut vault = Given::nothing();
    let mut variables = Given::nothing();
    for (name, text) in members {
        vault = vault.file(&format!("vault/{SECTION}--{name}"), text);
        variables = variables.var(format!("{SECTION}__{name}"), text);
    }
    let directory = vault.path("vault");
    let here = |variable: &str, below: &str| {
        let given = Given::nothing().file(&format!("here{below}"), &file);
        let path = given.path("here");
        given.var(variable, path)
    };
    let altinns = "/maskinporten-settings.json";
    vec![
        (
            "a file that is named",
            Given::nothing().named_file("MASKINPORTEN_SETTINGS_FILE", at, &file),
        ),
        (
            "a file that is named as Altinn names it",
            Given::nothing().named_file("MaskinportenSettingsFilepath", at, &file),
        ),
        (
            "a bare file in the case of a web page",
            Given::nothing().named_file("MASKINPORTEN_SETTINGS_FILE", at, in_json(members, true)),
        ),
        (
            "the file that Altinn mounts",
            Given::nothing().file(ALTINN, &file),
        ),
        (
            "Altinn's file in the directory that older apps name",
            here("RUNTIME_APP_SECRETS_DIR", altinns),
        ),
        (
            "Altinn's file in the directory that newer apps name",
            here("AppSettings__RuntimeSecretsDirectory", altinns),
        ),
        (
            "Altinn's file in a directory of secrets",
            here("MASKINPORTEN_SECRETS_DIR", altinns),
        ),
        (
            "files named as in a vault",
            vault.var("MASKINPORTEN_SECRETS_DIR", directory),
        ),
        ("variables", variables),
    ]
}

/// The members as JSON, keys as objects; bare and with a small letter first, or in their section.
fn in_json(members: &Named, bare: bool) -> String {
    let mut object = json!({});
    for (name, text) in members {
        let value = serde_json::from_str(text).ok().filter(Value::is_object);
        let mut name = name.clone();
        if bare {
            name[..1].make_ascii_lowercase();
        }
        object[name] = value.unwrap_or_else(|| text.as_str().into());
    }
    match bare {
        true => object.to_string(),
        false => json!({ SECTION: object }).to_string(),
    }
}

/// A section of the world's authority, a client and these members.
pub(super) fn section<const N: usize>(client: &str, members: [(&str, &str); N]) -> Named {
    let issuer = "https://sim.maskinporten.test/";
    let mut section = named([("Authority", issuer), ("ClientId", client)]);
    section.extend(named(members));
    section
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_a_section_signs() {
    let encoded = in_base64(JWK);
    let unpadded = encoded.trim_end_matches('=');
    let set = json!({ "keys": [jwk()] }).to_string();
    let escaped = PKCS8.replace('\n', "\\n");
    let keystore = in_base64(PKCS12);
    let endpoint = "https://sim.maskinporten.test/token";
    let own = By::Kid(KID);
    let beside = By::Kid(OTHER_KID);
    let kid = ("Kid", OTHER_KID);
    let password = ("KeyPassword", PASSWORD);
    let rows = [
        (section(CLIENT, [("Jwk", JWK)]), own),
        (section(CLIENT, [("JwkBase64", &encoded)]), own),
        (section(CLIENT, [("JwkBase64", unpadded)]), own),
        (section(CLIENT, [("Jwks", &set)]), own),
        (section(CLIENT, [("Jwk", JWK), ("Jwks", &set)]), own),
        (section(CLIENT, [("Pem", PKCS8), kid]), beside),
        (section(CLIENT, [("Pem", PKCS1), kid]), beside),
        (section(CLIENT, [("Pem", &escaped), kid]), beside),
        (section(CLIENT, [("Pem", ENCRYPTED), kid, password]), beside),
        (section(CLIENT, [("Jwk", JWK), kid]), beside),
        (section(CLIENT, [("JwkBase64", &encoded), kid]), beside),
        (
            section(CERTIFIED, [("Pem", PKCS8), ("Certificate", CHAIN)]),
            By::Certificate,
        ),
        (
            section(CERTIFIED, [("Jwk", JWK), ("Certificate", CHAIN)]),
            By::Certificate,
        ),
        (
            section(CERTIFIED, [("Pem", &keystore), password]),
            By::Certificate,
        ),
        (section(CLIENT, [("Pem", &keystore), password, kid]), beside),
        (
            section(CLIENT, [("Jwk", JWK), ("TokenEndpoint", endpoint)]),
            own,
        ),
        (
            section(CLIENT, [("Jwk", JWK), ("Scopes", "krr:read a:b")]),
            own,
        ),
    ];
    for (members, by) in rows {
        let client = members[1].1.clone();
        let names: Vec<_> = members.iter().map(|(name, _)| name).collect();
        for (place, given) in in_each_place(&members) {
            signs(&format!("{names:?} in {place}"), &given, &client, by).await;
            let credentials = given.platform().credentials().unwrap();
            let settings = credentials.settings().unwrap();
            let scopes = settings.scope_set().unwrap();
            let told = members.iter().any(|(name, _)| name == "Scopes");
            assert_eq!(scopes.is_some(), told, "{place}");
            let endpoint = members.iter().any(|(name, _)| name == "TokenEndpoint");
            assert_eq!(settings.token_endpoint.is_some(), endpoint, "{place}");
        }
    }
}

#[test]
fn what_stands_in_a_section_and_cannot_sign_is_refused() {
    #[track_caller]
    fn check(members: Named, kind: ErrorKind, words: &[&str]) {
        for (_, given) in in_each_place(&members) {
            refused(&given.platform(), kind, words);
        }
    }
    let (settings, key) = (ErrorKind::Settings, ErrorKind::Key);
    let pkcs12 = in_base64(PKCS12);
    let keystore = in_base64(JAVA_KEYSTORE);
    let encoded = in_base64(JWK);
    let kid = ("Kid", OTHER_KID);
    let of = |members| section(CLIENT, members);

    check(section(CLIENT, []), settings, &["a key", "Jwk"]);
    let only_key = named([("Jwk", JWK)]);
    check(only_key, settings, &["Authority", "ClientId"]);
    let two = section(CLIENT, [("Jwk", JWK), ("JwkBase64", &encoded)]);
    check(two, settings, &["more than one key", "Jwk and JwkBase64"]);
    let two = section(CLIENT, [("Jwk", JWK), ("Pem", PKCS8)]);
    check(two, settings, &["more than one key", "Jwk and Pem"]);

    for (name, what) in [
        ("EncodedX509", "a PKCS#12 in base64"),
        ("CertificatePkcs12Path", "a PKCS#12"),
        ("CertificateStoreThumbprint", "the Windows store"),
        ("Keystore", "a keystore"),
    ] {
        let words = [name, what, "not read here", "MASKINPORTEN_KEY_FILE"];
        check(of([(name, &pkcs12)]), settings, &words);
    }
    for name in ["Pem", "JwkBase64"] {
        let words = ["a Java keystore", "keytool -importkeystore"];
        check(of([(name, &keystore)]), key, &words);
    }
    let words = ["the PKCS#12 is encrypted and no password is given"];
    check(of([("Pem", &pkcs12)]), key, &words);
    let words = ["no JWK in base64", "PKCS#12"];
    check(of([("JwkBase64", &pkcs12)]), key, &words);

    check(of([("Pem", PKCS8)]), key, &["`kid` is missing"]);
    let sealed = section(CLIENT, [("Pem", ENCRYPTED), kid]);
    check(sealed, key, &["encrypted", "no password"]);
    let wrong = [("Pem", ENCRYPTED), kid, ("KeyPassword", "another")];
    check(section(CLIENT, wrong), key, &["password"]);
    let both = [("Pem", PKCS8), kid, ("Certificate", CHAIN)];
    check(section(CLIENT, both), key, &["`kid` and certificates"]);
    let other = include_str!("../../vectors/keys/other-certificate.pem");
    let other = section(CLIENT, [("Pem", PKCS8), ("Certificate", other)]);
    check(other, key, &["certificate"]);
    check(of([("Jwk", PUBLIC_JWK)]), key, &["`d`"]);
    let cut = &encoded[..encoded.len() / 2];
    check(of([("JwkBase64", cut)]), key, &[]);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_read_member_by_member() {
    for (member, separator) in [("Jwk", "__"), ("JWK", "__"), ("Jwk", "--")] {
        let mut given = Given::nothing();
        let mut members = section(CLIENT, []);
        for (name, value) in jwk().as_object().unwrap() {
            let name = format!("{member}{separator}{name}");
            members.push((name, value.as_str().unwrap().to_owned()));
        }
        for (name, text) in members {
            given = match separator {
                "__" => given.var(format!("{SECTION}__{name}"), text),
                _ => given.file(&format!("vault/{SECTION}--{name}"), text),
            };
        }
        let directory = given.path("vault");
        if separator == "--" {
            given = given.var("MASKINPORTEN_SECRETS_DIR", directory);
        }
        signs(separator, &given, CLIENT, By::Kid(KID)).await;
    }
}

#[test]
fn a_key_in_parts_and_whole_is_refused() {
    let mut given = Given::nothing();
    for (name, text) in section(CLIENT, [("Jwk", JWK), ("Jwk__kty", "RSA")]) {
        given = given.var(format!("{SECTION}__{name}"), text);
    }
    let words = ["whole and in parts", "MaskinportenSettings__Jwk__n"];
    refused(&given.platform(), ErrorKind::Settings, &words);

    let mut parts = Given::nothing();
    for (name, text) in section(CLIENT, [("Jwk__kty", "RSA"), ("Jwk__n", "AQAB")]) {
        parts = parts.var(format!("{SECTION}__{name}"), text);
    }
    refused(&parts.platform(), ErrorKind::Key, &["`d`", "`kid`"]);
}

#[test]
fn names_of_another_package_are_no_key() {
    let encoded = in_base64(JWK);
    let theirs = named([
        ("ClientId", CLIENT),
        ("Environment", "test"),
        ("EncodedJwk", &encoded),
        ("Scope", "krr:read"),
    ]);
    for (_, given) in in_each_place(&theirs) {
        let words = ["Authority", "a key", "JwkBase64"];
        refused(&given.platform(), ErrorKind::Settings, &words);
    }
}

// ===== names of digdirator, and those beside them =====

/// Places that hold digdirator's names.
pub(super) fn by_each_name(names: &Named) -> Vec<(&'static str, Given)> {
    let variables = names.iter().fold(Given::nothing(), |given, (name, text)| {
        given.var(name.as_str(), text.as_str())
    });
    let files = |directory: &str| {
        names.iter().fold(Given::nothing(), |given, (name, text)| {
            // As an editor leaves it.
            given.file(&format!("{directory}/{name}"), format!("{text}\n"))
        })
    };
    let named = files("secrets");
    let path = named.path("secrets");
    let volume = Given::nothing();
    mount(&volume.root.path().join(NAIS), "..2027_06_01", names);
    vec![
        ("variables", variables),
        ("the directory of nais", files(NAIS)),
        ("the volume of nais", volume),
        ("the directory of SKIP", files(SKIP)),
        (
            "a directory that is named",
            named.var("MASKINPORTEN_SECRETS_DIR", path),
        ),
    ]
}

pub(super) fn of_client<const N: usize>(client: &str, names: [(&str, &str); N]) -> Named {
    let issuer = "https://sim.maskinporten.test/";
    let mut all = self::named([
        ("MASKINPORTEN_CLIENT_ID", client),
        ("MASKINPORTEN_ISSUER", issuer),
    ]);
    all.extend(self::named(names));
    all
}

#[tokio::test(start_paused = true)]
async fn what_digdirator_names_signs() {
    let set = json!({ "keys": [jwk()] }).to_string();
    let encoded = in_base64(JWK);
    let kid = ("MASKINPORTEN_KID", OTHER_KID);
    let password = ("MASKINPORTEN_KEY_PASSWORD", PASSWORD);
    let endpoint = "https://sim.maskinporten.test/token";
    let own = By::Kid(KID);
    let beside = By::Kid(OTHER_KID);

    let key = |text| ("MASKINPORTEN_CLIENT_JWK", text);
    let rows = [
        (of_client(CLIENT, [key(JWK)]), own),
        (of_client(CLIENT, [key(&encoded)]), own),
        (of_client(CLIENT, [key(&set)]), own),
        (of_client(CLIENT, [key(JWK), kid]), beside),
        (
            of_client(
                CLIENT,
                [key(JWK), ("MASKINPORTEN_TOKEN_ENDPOINT", endpoint)],
            ),
            own,
        ),
        (
            of_client(CLIENT, [key(JWK), ("MASKINPORTEN_SCOPES", "krr:read a:b")]),
            own,
        ),
    ];
    for (names, by) in rows {
        for (place, given) in by_each_name(&names) {
            signs(
                &format!("{} names in {place}", names.len()),
                &given,
                CLIENT,
                by,
            )
            .await;
            let credentials = given.platform().credentials().unwrap();
            let settings = credentials.settings().unwrap();
            let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
            let scopes = settings.scope_set().unwrap();
            assert_eq!(scopes.is_some(), has("MASKINPORTEN_SCOPES"), "{place}");
            let endpoint = settings.token_endpoint.is_some();
            assert_eq!(endpoint, has("MASKINPORTEN_TOKEN_ENDPOINT"), "{place}");
        }
    }

    let der = pem_body(PKCS8);
    type Beside<'a> = Vec<(&'a str, &'a str)>;
    let rows: [(&[u8], Beside<'_>, By); 8] = [
        (JWK.as_bytes(), vec![], own),
        (encoded.as_bytes(), vec![], own),
        (set.as_bytes(), vec![], own),
        (JWK.as_bytes(), vec![kid], beside),
        (PKCS8.as_bytes(), vec![kid], beside),
        (PKCS1.as_bytes(), vec![kid], beside),
        (ENCRYPTED.as_bytes(), vec![kid, password], beside),
        (&der, vec![kid], beside),
    ];
    for (content, names, by) in rows {
        let outside = Given::nothing().file("key", content);
        let path = outside.path("key");
        let mut all = of_client(CLIENT, [("MASKINPORTEN_KEY_FILE", &path)]);
        all.extend(
            names
                .iter()
                .map(|(name, text)| ((*name).into(), (*text).into())),
        );
        for (place, given) in by_each_name(&all) {
            let size = content.len();
            signs(
                &format!("a key file of {size} in {place}"),
                &given,
                CLIENT,
                by,
            )
            .await;
        }
    }

    let outside = Given::nothing()
        .file("key.pem", PKCS8)
        .file("chain.pem", CHAIN);
    let certified = of_client(
        CERTIFIED,
        [
            ("MASKINPORTEN_KEY_FILE", &outside.path("key.pem")),
            ("MASKINPORTEN_CERTIFICATE_FILE", &outside.path("chain.pem")),
        ],
    );
    for (place, given) in by_each_name(&certified) {
        signs(place, &given, CERTIFIED, By::Certificate).await;
    }
}

/// What the first block of a PEM holds.
fn pem_body(pem: &str) -> Vec<u8> {
    let lines = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"));
    let body: String = lines
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    STANDARD.decode(body).unwrap()
}

#[test]
fn what_digdirator_names_and_cannot_sign_is_refused() {
    #[track_caller]
    fn check(names: &Named, kind: ErrorKind, words: &[&str]) {
        for (_, given) in by_each_name(names) {
            refused(&given.platform(), kind, words);
        }
    }
    #[track_caller]
    fn check_file(content: &[u8], beside: &[(&str, &str)], words: &[&str]) {
        let outside = Given::nothing().file("the-key", content);
        let path = outside.path("the-key");
        let mut names = of_client(CLIENT, [("MASKINPORTEN_KEY_FILE", &path)]);
        names.extend(
            beside
                .iter()
                .map(|(name, text)| ((*name).into(), (*text).into())),
        );
        for (_, given) in by_each_name(&names) {
            let error = refused(&given.platform(), ErrorKind::Key, words);
            assert!(error.to_string().contains("the-key"), "{error}");
        }
    }
    let settings = ErrorKind::Settings;
    let kid = ("MASKINPORTEN_KID", OTHER_KID);
    let jwk = ("MASKINPORTEN_CLIENT_JWK", JWK);

    let no_key = of_client(CLIENT, []);
    let words = ["lacks a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE)"];
    check(&no_key, settings, &words);
    let no_client = named([jwk]);
    let words = ["lacks MASKINPORTEN_CLIENT_ID, MASKINPORTEN_ISSUER"];
    check(&no_client, settings, &words);
    let two = of_client(CLIENT, [jwk, ("MASKINPORTEN_KEY_FILE", "/no/such/key")]);
    let words = ["MASKINPORTEN_CLIENT_JWK and MASKINPORTEN_KEY_FILE"];
    check(&two, settings, &words);
    let gone = of_client(CLIENT, [("MASKINPORTEN_KEY_FILE", "/no/such/key")]);
    check(&gone, settings, &["/no/such/key cannot be read"]);
    let pkcs12 = in_base64(PKCS12);
    let encoded = of_client(CLIENT, [("MASKINPORTEN_CLIENT_JWK", &pkcs12)]);
    let unopened = [
        "the PKCS#12 is encrypted and no password is given",
        "MASKINPORTEN_KEY_PASSWORD",
    ];
    check(&encoded, ErrorKind::Key, &unopened);

    check_file(PKCS12, &[kid], &unopened);
    check_file(pkcs12.as_bytes(), &[kid], &unopened);
    let wrong = [kid, ("MASKINPORTEN_KEY_PASSWORD", "another")];
    check_file(PKCS12, &wrong, &["the password does not open the key"]);
    let words = ["a Java keystore", "keytool -importkeystore"];
    check_file(JAVA_KEYSTORE, &[kid], &words);
    let words = ["`kid` is missing", "MASKINPORTEN_KID"];
    check_file(PKCS8.as_bytes(), &[], &words);
    let words = ["encrypted", "MASKINPORTEN_KEY_PASSWORD"];
    check_file(ENCRYPTED.as_bytes(), &[kid], &words);
    let wrong = [kid, ("MASKINPORTEN_KEY_PASSWORD", "another")];
    check_file(ENCRYPTED.as_bytes(), &wrong, &["password"]);
    let outside = Given::nothing().file("chain.pem", CHAIN);
    let path = outside.path("chain.pem");
    let both = [kid, ("MASKINPORTEN_CERTIFICATE_FILE", &*path)];
    check_file(PKCS8.as_bytes(), &both, &["`kid` and certificates"]);
}

#[tokio::test(start_paused = true)]
async fn an_authority_goes_by_any_of_its_names() {
    let sim = sim_of("https://test.maskinporten.no/");
    for name in ["ISSUER", "AUDIENCE", "AUTHORITY", "ENV"] {
        for authority in ["test", "https://test.maskinporten.no"] {
            let names = named([
                (&*format!("MASKINPORTEN_{name}"), authority),
                ("MASKINPORTEN_CLIENT_ID", CLIENT),
                ("MASKINPORTEN_CLIENT_JWK", JWK),
            ]);
            for (_, given) in by_each_name(&names) {
                let (_, claims) = accepted(&sim, given.platform()).await;
                assert_eq!(claims["aud"], "https://test.maskinporten.no/");
            }
        }
    }
    let names = [
        ("MASKINPORTEN_CLIENT_ID", CLIENT),
        ("MASKINPORTEN_CLIENT_JWK", JWK),
    ];
    let twice = [
        ("MASKINPORTEN_ISSUER", "test"),
        ("MASKINPORTEN_ENV", "prod"),
    ];
    let words = [
        "MASKINPORTEN_ISSUER and MASKINPORTEN_ENV",
        "two authorities",
    ];
    for (_, given) in by_each_name(&named([names[0], names[1], twice[0], twice[1]])) {
        refused(&given.platform(), ErrorKind::Settings, &words);
    }
    for closed in ["ver1", "ver2", "https://ver2.maskinporten.no/"] {
        let closed = named([names[0], names[1], ("MASKINPORTEN_ENV", closed)]);
        for (_, given) in by_each_name(&closed) {
            let words = ["closed in June 2024", "test"];
            refused(&given.platform(), ErrorKind::Settings, &words);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_of_the_metadata_tells_the_authority() {
    let sim = sim();
    let names = named([
        ("MASKINPORTEN_CLIENT_ID", CLIENT),
        ("MASKINPORTEN_CLIENT_JWK", JWK),
        (
            "MASKINPORTEN_WELL_KNOWN_URL",
            "https://sim.maskinporten.test/.well-known/oauth-authorization-server",
        ),
    ]);
    for (_, given) in by_each_name(&names) {
        let (_, claims) = accepted(&sim, given.platform()).await;
        assert_eq!(claims["aud"], sim.issuer());
    }
}

#[test]
fn a_keystore_is_refused_with_what_to_do() {
    let names = of_client(
        CLIENT,
        [
            ("MASKINPORTEN_KEYSTORE_PATH", "/no/such/keystore.p12"),
            ("MASKINPORTEN_KEYSTORE_PASSWORD", PASSWORD),
            ("MASKINPORTEN_KEY_ALIAS", "our-key"),
            ("MASKINPORTEN_KEY_PASSWORD", PASSWORD),
        ],
    );
    let words = [
        "MASKINPORTEN_KEYSTORE_PATH",
        "not read here",
        "keytool -importkeystore",
        "MASKINPORTEN_KEY_FILE",
        "MASKINPORTEN_KEY_PASSWORD",
    ];
    for (_, given) in by_each_name(&names) {
        refused(&given.platform(), ErrorKind::Settings, &words);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_left_alone() {
    let names = of_client(
        CLIENT,
        [
            ("MASKINPORTEN_CLIENT_JWK", JWK),
            ("MASKINPORTEN_JWKS_URI", "https://sim.maskinporten.test/jwk"),
            ("MASKINPORTEN_ENABLED", "true"),
            ("MASKINPORTEN_KEYSTORE_PATH", "/no/such/keystore.p12"),
            ("OTHER", "hello"),
        ],
    );
    for (place, given) in by_each_name(&names) {
        signs(place, &given, CLIENT, By::Kid(KID)).await;
        let credentials = given.platform().credentials().unwrap();
        let told = credentials.describe().to_string();
        assert!(!told.contains("not used"), "{place}: {told}");
    }
    let encoded = in_base64(JWK);
    let beside = [
        ("JwkBase64", &*encoded),
        ("EncodedX509", "old"),
        ("Other", "hello"),
    ];
    for (place, given) in in_each_place(&section(CLIENT, beside)) {
        signs(place, &given, CLIENT, By::Kid(KID)).await;
    }
}

// ===== requests =====

#[tokio::test(start_paused = true)]
async fn what_a_request_asks_for_is_signed_with_what_was_found() {
    let names = of_client(CLIENT, [("MASKINPORTEN_CLIENT_JWK", JWK)]);
    let places = by_each_name(&names).into_iter();
    let section = section(CLIENT, [("Jwk", JWK)]);
    for (place, given) in places.chain(in_each_place(&section)) {
        let sim = sim();
        sim.delegate("405003309", OWNER, SCOPES[0]);
        sim.system_user("405003309", Some("ref"), CLIENT);
        let client = client(&sim, given.platform().credentials().unwrap()).unwrap();
        let asked = || TokenRequest::scopes(SCOPES).unwrap();
        let user = SystemUser::new("405003309").unwrap();
        for request in [
            asked().resource("urn:a-resource").unwrap(),
            asked().consumer_org("405003309").unwrap(),
            asked().system_user(user.external_ref("ref").unwrap()),
        ] {
            client.access_token(request).await.unwrap();
        }
        let journal = sim.journal();
        let claim = |name: &str| {
            let claims = journal.requests(Route::Token).map(|grant| {
                assert!(grant.is_accepted(), "{place}: {grant:?}");
                grant.assertion_claims().unwrap().get(name).is_some()
            });
            claims.collect::<Vec<_>>()
        };
        assert_eq!(claim("resource"), [true, false, false], "{place}");
        assert_eq!(claim("consumer_org"), [false, true, false], "{place}");
        assert_eq!(
            claim("authorization_details"),
            [false, false, true],
            "{place}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_is_asked_for_scopes_resource_and_system_user() {
    let sim = sim();
    let held = sim.new_client(SCOPES);
    sim.system_user("405003309", Some("ref"), held.client_id());
    let given = Given::nothing().var("NAIS_TOKEN_ENDPOINT", sim.sidecar_endpoint());
    let credentials = given.platform().credentials().unwrap();
    let told = credentials.describe().to_string();
    assert_eq!(told, format!("sidecar {}", sim.sidecar_endpoint()));
    let client = client(&sim, credentials).unwrap();

    let asked = || TokenRequest::scopes(SCOPES).unwrap();
    let user = SystemUser::new("405003309").unwrap();
    let user = user.external_ref("ref").unwrap();
    for request in [
        asked(),
        asked().resource("urn:a-resource").unwrap(),
        asked().system_user(user),
    ] {
        client.access_token(request).await.unwrap();
    }
    let journal = sim.journal();
    let sent: Vec<&Value> = journal
        .requests(Route::Sidecar)
        .map(|entry| entry.asked().unwrap())
        .collect();
    assert!(sent.iter().all(|asked| asked["target"] == SCOPES[0]));
    assert_eq!(sent[1]["resource"], "urn:a-resource");
    assert_eq!(
        sent[2]["authorization_details"][0]["externalRef"], "ref",
        "{}",
        sent[2]
    );

    let before = sim.journal().entries().len();
    let consumer = asked().consumer_org("405003309").unwrap();
    let error = client.access_token(consumer).await.unwrap_err();
    let words = ["consumer_org", "MASKINPORTEN_SOURCE=direct"];
    check_error(&error, ErrorKind::Request, &words);
    assert_eq!(sim.journal().entries().len(), before);
}

#[test]
fn a_sidecar_elsewhere_over_plain_http_is_refused() {
    let given = Given::nothing().var("NAIS_TOKEN_ENDPOINT", "http://sidecar.example/token");
    let words = ["plain http", "NAIS_TOKEN_ENDPOINT"];
    refused(&given.platform(), ErrorKind::Settings, &words);
}

// ===== the environment of a process =====

/// Runs a test again in a process of its own; the grant it has made is one that the simulator took.
async fn run_on(server: &SimServer, test: &'static str, variables: Named) {
    tokio::task::spawn_blocking(move || {
        let variables = variables.iter();
        let variables: Vec<_> = variables.map(|(name, text)| (&**name, &**text)).collect();
        child::run(test, &variables);
    })
    .await
    .unwrap();
    let journal = server.sim().journal();
    let grant = journal.requests(Route::Token).last().unwrap();
    assert!(grant.is_accepted(), "{grant:?}");
}

/// What the process does.
async fn one_token() {
    let client = MaskinportenClient::discover().unwrap();
    client.access_token(SCOPES).await.unwrap();
}

#[tokio::test]
async fn a_process_on_nais_signs_with_what_digdirator_gave_it() {
    if child::is_here() {
        return one_token().await;
    }
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(SCOPES);
    let (issuer, jwk) = (server.sim().issuer(), registered.private_jwk().to_string());
    let variables = named([
        ("MASKINPORTEN_CLIENT_ID", registered.client_id()),
        ("MASKINPORTEN_CLIENT_JWK", &jwk),
        ("MASKINPORTEN_ISSUER", &issuer),
        (
            "MASKINPORTEN_TOKEN_ENDPOINT",
            &server.sim().token_endpoint(),
        ),
    ]);
    let test = "sources::table::a_process_on_nais_signs_with_what_digdirator_gave_it";
    run_on(&server, test, variables).await;
}

#[tokio::test]
async fn a_process_beside_a_sidecar_asks_it() {
    if child::is_here() {
        return one_token().await;
    }
    let server = SimServer::start().await.unwrap();
    server.sim().new_client(SCOPES);
    let endpoint = server.sidecar_endpoint();
    let variables = named([("NAIS_TOKEN_ENDPOINT", &endpoint)]);
    let test = "sources::table::a_process_beside_a_sidecar_asks_it";
    run_on(&server, test, variables).await;
    assert_eq!(server.sim().journal().sidecar_requests(), 1);
}
