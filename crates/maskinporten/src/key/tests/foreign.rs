//! What is given in place of a key, and what is said of it.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, advice: &'static crate::Advice, what: &str) {
    let options = KeyOptions::new().with_kid(KID);
    drop(refused(
        SigningKey::read(text.as_bytes(), &options),
        advice,
        &[what],
    ));
    assert_ne!(
        advice.meaning(),
        advice::NEW_KEY.meaning(),
        "a new key is of no help here"
    );
}

#[test]
fn json_that_is_no_jwk_is_named_for_what_it_holds() {
    let inside = &advice::KEY_INSIDE_JSON;
    let settings = |jwk: &Value| {
        let settings = serde_json::json!({"MaskinportenSettings": {
            "Authority": "https://test.maskinporten.no/", "ClientId": "c", "Jwk": jwk,
        }});
        settings.to_string()
    };
    let jwk: Value = serde_json::from_str(JWK).unwrap();
    let deep = "a JWK under `MaskinportenSettings:Jwk`";
    check(&settings(&jwk), inside, deep);
    check(
        &settings(&Value::from(JWK)),
        inside,
        "a JWK as text under `MaskinportenSettings:Jwk`",
    );
    let member = |name: &str, value: Value| serde_json::json!({ "id": 7, name: value }).to_string();
    check(&member("jwk", jwk.clone()), inside, "a JWK under `jwk`");
    check(
        &member("SecretString", base64(JWK).into()),
        inside,
        "a JWK in base64 under `SecretString`",
    );
    check(
        &member("private_key", PKCS8.into()),
        inside,
        "a PEM under `private_key`",
    );
    // A name that is not known may be a secret.
    check(&member("zhushhush", jwk), inside, "a JWK under `member 2`");
    let keystore = &advice::KEYSTORE_IN_JSON;
    let p12 = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/keys/rsa-2048.p12"
    ));
    check(
        &member("keystore", base64(p12).into()),
        keystore,
        "a PKCS#12 in base64 under `keystore`",
    );
    let jks = base64(b"\xfe\xed\xfe\xed\0\0\0\x02");
    check(
        &member("keystore", jks.into()),
        keystore,
        "a Java keystore in base64 under `keystore`",
    );
    let set = serde_json::json!({"jwks": {"keys": [serde_json::from_str::<Value>(JWK).unwrap()]}});
    check(&set.to_string(), inside, "a JWK set under `jwks`");
    let list = serde_json::json!({"items": [{"data": {"jwk": base64(JWK)}}]});
    check(
        &list.to_string(),
        inside,
        "a JWK in base64 under `items:entry 1:data:jwk`",
    );
    let text = serde_json::json!({"SecretString": format!("{{\"jwk\": {JWK}}}")});
    check(&text.to_string(), inside, "a JWK under `SecretString:jwk`");
    let halves = format!("{{\"publicKey\": {PUBLIC_JWK}, \"privateKey\": {JWK}}}");
    check(&halves, inside, "a JWK under `privateKey`");
    for settings in [
        r#"{"MaskinportenSettings:Jwk:n": "A", "Other": 1}"#,
        r#"{"maskinportenSettings": {"Authority": "test"}}"#,
        r#"{"ClientId": "c"}"#,
    ] {
        check(settings, inside, "a settings file");
    }
    let format = &advice::KEY_FORMAT;
    check(
        "{\"a\": {\"b\": 1}}",
        format,
        "JSON without any member of a JWK",
    );
    check("{}", format, "JSON without any member of a JWK");
}

#[test]
fn text_that_is_no_key_is_named_for_what_it_is() {
    let python = JWK.replace('"', "'");
    let html = JWK.replace('"', "&quot;");
    let url = |text: &str| {
        text.replace('{', "%7B")
            .replace('"', "%22")
            .replace(' ', "%20")
    };
    let escaped = &advice::KEY_ESCAPED;
    check(&python, &advice::KEY_IN_PYTHON, "repr` of a Python dict");
    check(
        &format!("[{python}]"),
        &advice::KEY_IN_PYTHON,
        "repr` of a Python dict",
    );
    check(
        &format!("b'{}'", base64(JWK)),
        &advice::KEY_IN_PYTHON,
        "repr` of Python bytes",
    );
    check(&html, escaped, "escaped for HTML");
    check(&url(JWK), escaped, "escaped for a URL");
    check(&url(PKCS8), escaped, "escaped for a URL");
    check(&JWK.replace('"', "\\\""), escaped, "quotes are escaped");
    check(&base64(base64(JWK)), escaped, "base64 of base64");
    check(&base64(base64(PKCS8)), escaped, "base64 of base64");
    check(&base64(base64(base64(JWK))), escaped, "base64 of base64");
    check(&html.replace('&', "&amp;"), escaped, "escaped for HTML");
    let quoted = |text: &str| Value::from(text).to_string();
    check(
        &quoted(&quoted(JWK)),
        escaped,
        "a JSON string within a JSON string",
    );
    let quotes = &advice::KEY_IN_QUOTES;
    check(&format!("'{JWK}'"), quotes, "in quotes");
    check(&format!("`{}`", base64(JWK)), quotes, "in quotes");
    for line in ["MASKINPORTEN_CLIENT_JWK=", "export JWK = "] {
        check(&format!("{line}{JWK}"), quotes, "a line of an env file");
        check(&format!("{line}'{JWK}'"), quotes, "a line of an env file");
    }
    for reference in ["${KEY}", "$KEY", "$(KEY)", "%KEY%", "{{ .Values.key }}"] {
        check(
            reference,
            &advice::KEY_REFERENCE,
            "a reference to a variable",
        );
    }
    for pem in [
        PKCS8.replace("-----", "----"),
        PKCS8.replace("BEGIN", "Begin"),
        PKCS8.replace("-----BEGIN ", "-----BEGIN"),
    ] {
        check(&pem, &advice::KEY_FORMAT, "resembles a PEM");
    }
    for word in ["changeme", "true", "hush!"] {
        check(
            word,
            &advice::KEY_FORMAT,
            "neither JWK, PEM nor DER, nor base64",
        );
    }
    let xml = format!(
        "<RSAKeyValue><Modulus>{}</Modulus></RSAKeyValue>",
        base64("n")
    );
    check(&xml, &advice::KEY_IN_XML, "XML");
    check(
        "<!DOCTYPE html><html>log in</html>",
        &advice::KEY_FORMAT,
        "an HTML or XML page",
    );
    let vault = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/jwk)";
    check(
        vault,
        &advice::KEY_VAULT_REFERENCE,
        "reference to Key Vault",
    );
    for path in [
        "file:/run/secrets/key.jwk",
        "file:///run/secrets/key.jwk",
        "/run/secrets/key",
        "./key.pem",
        "~/key",
        "C:\\keys\\key.jwk",
        "secrets/key.pem",
        "classpath:key.p12",
        "https://vault.example.no/secrets/key",
    ] {
        check(
            path,
            &advice::KEY_IS_A_PATH,
            "the path or the address of a file",
        );
    }
    check(
        "PuTTY-User-Key-File-3: ssh-rsa\n",
        &advice::KEY_FORMAT,
        "PuTTY",
    );
    check(
        "ssh-rsa AAAAB3NzaC1yc2E me@here",
        &advice::PUBLIC_KEY,
        "public half of an SSH key",
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pem_between_any_bytes_reads_as_the_pem(
        before in prop::collection::vec(any::<u8>(), 0..64),
        after in prop::collection::vec(any::<u8>(), 0..64),
        pem in prop::sample::select(vec![PKCS8, PKCS1, FROM_PKCS12]),
        in_base64 in any::<bool>(),
    ) {
        let bytes = [before.as_slice(), pem.as_bytes(), after.as_slice()].concat();
        let bytes = if in_base64 { base64(&bytes).into_bytes() } else { bytes };
        let options = KeyOptions::new().with_kid(KID);
        let key = SigningKey::read(&bytes, &options);
        prop_assert!(key.is_ok(), "{key:?}");
        prop_assert_eq!(key.unwrap().public_jwk(), PUBLIC_JWK);
    }

    #[test]
    fn the_blocks_of_a_pem_are_kept_and_nothing_else(
        before in prop::collection::vec(any::<u8>(), 0..64),
        after in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = [before.as_slice(), PKCS8.as_bytes(), after.as_slice()].concat();
        let blocks = blocks_alone(&bytes).unwrap();
        prop_assert_eq!(blocks.as_str(), PKCS8);
    }
}

#[test]
fn what_holds_no_block_has_none_to_keep() {
    for bytes in [
        &b""[..],
        b"-----BEGIN ",
        b"-----BEGIN X-----\n\xff",
        JWK.as_bytes(),
    ] {
        assert!(blocks_alone(bytes).is_none());
    }
}

#[test]
fn a_pem_is_read_behind_a_mark_of_utf16_and_behind_text_that_mentions_one() {
    let options = KeyOptions::new().with_kid(KID);
    let read = |bytes: &[u8]| accepted(SigningKey::read(bytes, &options));
    for mark in [b"\xff\xfe", b"\xfe\xff"] {
        read(&[mark, PKCS8.as_bytes()].concat());
        read(&[mark, PKCS8.as_bytes(), b"x"].concat());
    }
    for mention in [
        "The key opens with -----BEGIN PRIVATE KEY----- as it should:\n",
        "# between -----BEGIN X----- and its end, please\n",
    ] {
        read(format!("{mention}{PKCS8}").as_bytes());
    }
    // The same key twice is one, and a block that is cut short is no mention.
    read(format!("{PKCS8}{PKCS8}").as_bytes());
    let cut = &PKCS8[..PKCS8.len() / 2];
    let key = SigningKey::read(format!("{cut}\n{PKCS8}").as_bytes(), &options);
    drop(refused(key, &advice::KEY_FORMAT, &["not base64"]));
}

#[test]
fn a_pem_is_read_by_what_is_in_it_and_not_by_its_label() {
    let options = KeyOptions::new().with_kid(KID).with_password("password");
    let encrypted = vector!("rsa-2048-encrypted-pkcs8.pem").replace("ENCRYPTED PRIVATE", "PRIVATE");
    for pem in [
        PKCS8.replace("PRIVATE", "RSA PRIVATE"),
        PKCS1.replace("RSA PRIVATE", "PRIVATE"),
        encrypted,
    ] {
        accepted(SigningKey::read(pem.as_bytes(), &options));
    }
}
