//! PKCS#12: what opens, which key and which certificates are taken, and what is said of the others.

use super::*;

macro_rules! p12 {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/vectors/keys/",
            $name
        ))
        .as_slice()
    };
}

const MODERN: &[u8] = p12!("rsa-2048.p12");

fn chain() -> Vec<String> {
    let blocks = vector!("rsa-2048-chain.pem").split_inclusive("-----END CERTIFICATE-----\n");
    blocks.map(|block| base64(der(block))).collect()
}

fn options(password: &str) -> KeyOptions {
    KeyOptions::new().with_password(password)
}

#[track_caller]
fn goes_by(bytes: &[u8], password: &str, certificates: &[String]) {
    for bytes in [bytes, base64(bytes).as_bytes()] {
        let key = SigningKey::read(bytes, &options(password)).unwrap();
        assert_eq!(key.key_reference(), KeyReference::Chain(certificates));
        let public: Map<String, Value> = serde_json::from_str(&key.public_jwk()).unwrap();
        let expected: Map<String, Value> = serde_json::from_str(PUBLIC_JWK).unwrap();
        assert_eq!(public["n"], expected["n"]);
    }
}

#[test]
fn a_keystore_is_opened_by_its_password_and_goes_by_its_certificates() {
    let chain = chain();
    goes_by(MODERN, "password", &chain);
    goes_by(MODERN, "password\n", &chain);
    goes_by(p12!("rsa-2048-rc2.p12"), "password", &chain);
    goes_by(p12!("rsa-2048-3des.p12"), "p\u{e6}ss word", &chain);
    goes_by(p12!("rsa-2048-without-mac.p12"), "password", &chain);
    // What OpenSSL writes for an empty password; nothing in it is encrypted.
    goes_by(p12!("rsa-2048-plain.p12"), "", &chain);
    let unopened = SigningKey::read(p12!("rsa-2048-plain.p12"), &KeyOptions::new());
    assert_eq!(unopened.unwrap().kid(), None);
}

#[test]
fn what_is_given_with_a_keystore_wins() {
    let key = SigningKey::read(MODERN, &options("password").with_kid(KID)).unwrap();
    assert_eq!(key.kid(), Some(KID));
    let own = vector!("rsa-2048-certificate.pem");
    let key = SigningKey::read(MODERN, &options("password").with_certificates(own)).unwrap();
    assert_eq!(
        key.key_reference(),
        KeyReference::Chain(&[base64(der(own))])
    );
    let alone = p12!("rsa-2048-without-certificate.p12");
    accepted(SigningKey::read(alone, &options("password").with_kid(KID)));
    let key = SigningKey::read(alone, &options("password"));
    drop(refused(
        key,
        &advice::KEY_WITHOUT_NAME,
        &["holds no certificate of its key, and no `kid`"],
    ));
}

// The file holds the key's new certificate, two older ones of the same key with their authorities, and
// one of another key.
#[test]
fn the_certificate_of_a_key_is_found_by_its_local_key_id() {
    let renewed = base64(der(vector!("rsa-2048-certificate-renewed.pem")));
    let expected = [&[renewed], &chain()[1..]].concat();
    goes_by(p12!("rsa-2048-renewed.p12"), "password", &expected);
}

#[test]
fn a_wrong_or_missing_password_is_told_as_such() {
    for (bytes, is_encrypted) in [
        (MODERN, true),
        (p12!("rsa-2048-rc2.p12"), true),
        (p12!("rsa-2048-3des.p12"), true),
        (p12!("rsa-2048-without-mac.p12"), true),
        (p12!("rsa-2048-plain.p12"), false),
    ] {
        let wrong = SigningKey::read(bytes, &options("hush"));
        drop(refused(
            wrong,
            &advice::KEY_PASSWORD_WRONG,
            &["the password does not open"],
        ));
        if is_encrypted {
            let missing = SigningKey::read(bytes, &KeyOptions::new());
            drop(refused(
                missing,
                &advice::KEY_PASSWORD_MISSING,
                &["no password is given"],
            ));
        }
    }
}

#[test]
fn a_keystore_without_its_one_rsa_key_is_refused() {
    let check = |bytes: &[u8], advice, text: &str| {
        let key = SigningKey::read(bytes, &options("password").with_kid(KID));
        drop(refused(key, advice, &[text]));
    };
    check(
        p12!("certificates-only.p12"),
        &advice::PKCS12_NO_KEY,
        "holds no private key",
    );
    check(
        p12!("two-keys.p12"),
        &advice::PKCS12_KEYS,
        "holds 2 private keys, with the aliases first, second",
    );
    check(p12!("ec.p12"), &advice::EC_KEY, "algorithm EC");
    check(
        p12!("rsa-2048-slow.p12"),
        &advice::PKCS12_WORK,
        "3000000 rounds of PBKDF2, and 1 to 2000000 are computed in all",
    );
}

#[test]
fn white_space_behind_a_keystore_does_not_count() {
    let with = |more: &[u8]| SigningKey::read(&[MODERN, more].concat(), &options("password"));
    assert_eq!(with(b"\r\n").unwrap().kid(), None);
    drop(refused(
        with(b"\nx"),
        &advice::PKCS12,
        &["other bytes follow it"],
    ));
}

#[test]
fn all_parts_of_a_keystore_share_the_work_that_is_spent() {
    // The rounds of the integrity code, which stand last in the file, and those of the first part.
    let mut bytes = p12!("rsa-2048-3des.p12").to_vec();
    let at = bytes.len() - 4;
    assert_eq!(bytes[at..], [2, 2, 8, 0]);
    bytes[at + 2..].copy_from_slice(&[0x7f, 0xff]);
    let wrong = SigningKey::read(&bytes, &options("p\u{e6}ss word"));
    drop(refused(
        wrong,
        &advice::KEY_PASSWORD_WRONG,
        &["the password does not open"],
    ));
    bytes[at + 2..].copy_from_slice(&[0x80, 0x01]);
    let negative = SigningKey::read(&bytes, &options("p\u{e6}ss word"));
    drop(refused(
        negative,
        &advice::PKCS12_WORK,
        &["asks for -32767 rounds"],
    ));
}

#[test]
fn a_spoilt_keystore_is_an_error_wherever_it_is_spoilt() {
    for bytes in [
        MODERN,
        p12!("rsa-2048-plain.p12"),
        p12!("rsa-2048-without-mac.p12"),
    ] {
        for at in (0..bytes.len()).step_by(61) {
            let mut spoilt = bytes.to_vec();
            spoilt[at] ^= 0x55;
            for bytes in [&spoilt[..], &bytes[..at]] {
                match SigningKey::read(bytes, &options("password")) {
                    Ok(key) => assert_eq!(key.bits(), 2048),
                    Err(error) => tells_no_secret(&error),
                }
            }
        }
    }
}
