//! Whatever bytes are given: no panic, and nothing of them in what is said.

use proptest::prelude::*;

use super::*;

/// Options with which every part is used.
fn options(password: &str, certificates: Option<&str>) -> KeyOptions {
    let options = KeyOptions::new().with_password(password);
    match certificates {
        Some(certificates) => options.with_certificates(certificates),
        None => options.with_kid(KID),
    }
}

/// The starts of all shapes, so that chance gets past the first look at them.
fn shapes() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = vec![
        JWK.into(),
        format!("{{\"keys\": [{JWK}, {PUBLIC_JWK}]}}").into(),
        PKCS8.into(),
        der(PKCS8),
        der(PKCS1),
        der(vector!("rsa-2048-encrypted-pkcs8.pem")),
        der(vector!("rsa-2048-chain.pem")
            .split_inclusive("CERTIFICATE-----\n")
            .nth(1)
            .unwrap()),
        base64(JWK).into(),
    ];
    let spoilt = (
        prop::sample::select(known),
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<bool>(),
    );
    spoilt.prop_map(|(mut bytes, at, byte, cut)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SigningKey::read(&bytes, &options("password", None));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = SigningKey::read(PKCS8.as_bytes(), &options("password", Some(&text)));
        let _ = SigningKey::read(PKCS8.as_bytes(), &options("password", Some(&base64(&bytes))));
    }

    #[test]
    fn a_spoilt_key_is_a_key_or_an_error_that_repeats_nothing(bytes in shapes()) {
        if let Err(error) = SigningKey::read(&bytes, &options("password", None)) {
            tells_no_secret(&error);
        }
        if let Err(error) = SigningKey::read(base64(&bytes).as_bytes(), &options("password", None)) {
            tells_no_secret(&error);
        }
    }

    // Runs of sixteen letters are in no message by chance, and longer than a name that is shown.
    #[test]
    fn what_is_given_is_never_repeated(
        hush in "[a-z]{16}",
        form in prop::sample::select(vec!["{}", "{\"kid\":7,\"{}\":\"{}\"}", "[\"{}\"]",
            "{\"keys\":[{\"kty\":\"{}\",\"d\":\"{}\",\"alg\":\"{}\",\"use\":\"{}\",\"exp\":\"{}\"}]}",
            "-----BEGIN {}-----\n{}\n-----END {}-----", "-----BEGIN PRIVATE KEY-----\n{}",
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----"]),
    ) {
        let text = form.replace("{}", &hush);
        let told = |key: Result<SigningKey>| key.err().map(|error| format!("{error} {error:?} {:?}", error.hint()));
        let as_key = told(SigningKey::read(text.as_bytes(), &options(&hush, None)));
        let in_base64 = told(SigningKey::read(base64(&text).as_bytes(), &options(&hush, None)));
        let as_certificate = told(SigningKey::read(PKCS8.as_bytes(), &options(&hush, Some(&text))));
        let encrypted = vector!("rsa-2048-encrypted-pkcs8.pem");
        let as_password = told(SigningKey::read(encrypted.as_bytes(), &options(&hush, None)));
        for told in [as_key, in_base64, as_certificate, as_password].into_iter().flatten() {
            prop_assert!(!told.contains(&hush), "{told}");
        }
    }
}
