//! Bytes → a key, for every shape that is read; and for every other, the command that makes it one.

use super::*;

#[cfg(not(feature = "pkcs12"))]
const P12: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/vectors/keys/rsa-2048.p12"
));

fn options() -> KeyOptions {
    KeyOptions::new().with_kid(KID)
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn every_shape_is_read_from_its_bytes() {
    let read = |bytes: &[u8]| {
        accepted(SigningKey::read(bytes, &options()));
        let [key] = SigningKey::read_set(bytes, &options())
            .unwrap()
            .try_into()
            .unwrap();
        accepted(Ok(key));
    };
    for text in [JWK, PKCS8, PKCS1, FROM_PKCS12] {
        read(text.as_bytes());
        read(format!("\u{feff}\r\n{text} ").as_bytes());
        read(base64(text).as_bytes());
        read(base64(text).replace('=', "").replace('A', "A\n").as_bytes());
        read(base64(format!("\u{feff}{text}")).as_bytes());
    }
    for pem in [PKCS8, PKCS1] {
        read(pem.replace('\n', "\\n").as_bytes());
        read(&der(pem));
        read(base64(der(pem)).as_bytes());
        read(
            format!(
                "{}\r\n",
                base64(der(pem)).replace('+', "-").replace('/', "_")
            )
            .as_bytes(),
        );
    }
    for set in [format!("{{\"keys\": [{JWK}]}}"), format!("[{JWK}]")] {
        read(set.as_bytes());
        read(base64(set).as_bytes());
    }
}

#[test]
fn what_is_not_given_is_missed_and_what_is_blank_is_not_given() {
    let blank = options()
        .with_kid(" ")
        .with_password("\n")
        .with_certificates("  ");
    accepted(SigningKey::read(JWK.as_bytes(), &blank));
    for options in [blank, KeyOptions::new()] {
        let key = SigningKey::read(PKCS8.as_bytes(), &options);
        drop(refused(
            key,
            &advice::KEY_WITHOUT_NAME,
            &["`kid` is missing"],
        ));
    }
}

#[test]
fn options_print_without_their_secrets() {
    let options = options().with_password("hush").with_certificates("quiet");
    let printed = format!("{options:?}");
    assert!(printed.contains(KID), "{printed}");
    assert!(
        !printed.contains("hush") && !printed.contains("quiet"),
        "{printed}"
    );
}

#[test]
fn a_keystore_that_is_not_read_is_refused_with_the_commands_that_open_it() {
    let check = |bytes: &[u8], advice: &'static crate::Advice, what, commands: &[&str]| {
        for bytes in [bytes, base64(bytes).as_bytes()] {
            let error = refused(SigningKey::read(bytes, &options()), advice, &[what]);
            for command in commands {
                assert!(error.hint().unwrap().contains(command), "{error:?}");
            }
        }
    };
    let openssl = [
        "`openssl pkcs12 -in FILE.p12 -nocerts -nodes -out key.pem`",
        "`openssl pkcs12 -in FILE.p12 -nokeys -out certificate.pem`",
        "`base64 -d FILE.b64 > FILE.p12`",
        "-legacy",
        "MASKINPORTEN_KEY_FILE=key.pem",
        "MASKINPORTEN_KID",
        "MASKINPORTEN_CERTIFICATE_FILE=certificate.pem",
    ];
    #[cfg(not(feature = "pkcs12"))]
    check(
        P12,
        &advice::PKCS12,
        "is a PKCS#12",
        &["cargo feature `pkcs12`"],
    );
    // The indefinite length that browsers wrote.
    let indefinite = b"\x30\x80\x02\x01\x03\x30\x80";
    check(indefinite, &advice::PKCS12, "PKCS#12", &openssl);
    for magic in [b"\xfe\xed\xfe\xed\0\0\0\x02", b"\xce\xce\xce\xce\0\0\0\x02"] {
        let keytool = [
            "`keytool -importkeystore -srckeystore FILE.jks -destkeystore FILE.p12 -deststoretype PKCS12`",
            "-srcalias ALIAS",
            "MASKINPORTEN_KID",
        ];
        check(
            magic,
            &advice::JAVA_KEYSTORE,
            "is a Java keystore",
            &keytool,
        );
    }
}

#[test]
fn utf16_is_read_with_its_mark_and_told_without() {
    for text in [JWK, PKCS8] {
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            let marked = utf16(&format!("\u{feff}{text}"), unit);
            accepted(SigningKey::read(&marked, &options()));
            accepted(SigningKey::read(base64(&marked).as_bytes(), &options()));
            let key = SigningKey::read(&utf16(text, unit), &options());
            let error = refused(key, &advice::UTF16, &["text in UTF-16"]);
            assert!(
                error
                    .hint()
                    .unwrap()
                    .contains("`iconv -f UTF-16LE -t UTF-8")
            );
            // Half a character, or half a pair.
            let odd = [marked.as_slice(), b"x"].concat();
            drop(refused(
                SigningKey::read(&odd, &options()),
                &advice::UTF16,
                &["UTF-16"],
            ));
            let half = utf16("\u{feff}{", unit);
            let half = [&half[..], &unit(0xd800)].concat();
            drop(refused(
                SigningKey::read(&half, &options()),
                &advice::UTF16,
                &["UTF-16"],
            ));
        }
    }
}

#[test]
fn what_is_no_key_is_told_without_repeating_it() {
    let check = |bytes: &[u8], advice, text: &str| {
        drop(refused(
            SigningKey::read(bytes, &options()),
            advice,
            &[text],
        ));
    };
    let format = &advice::KEY_FORMAT;
    check(b"", format, "blank");
    check(b" \n", format, "blank");
    check(b"hush!", format, "neither JWK, PEM nor DER, nor base64");
    check(base64("hush").as_bytes(), format, "no JSON: line 1");
    check(b"\xff\x00\x80", format, "no text and no DER");
    check(&JWK.as_bytes()[..200], format, "half a JSON");
    check(&der(PKCS8)[..900], format, "cut short");
    check(
        &[&der(PKCS8)[..], b"\0"].concat(),
        format,
        "neither PKCS#8 nor PKCS#1",
    );
    let certificate = der(vector!("rsa-2048-certificate.pem"));
    check(&certificate, &advice::PUBLIC_KEY, "a certificate in DER");
    let public = der(vector!("rsa-2048-public.pem"));
    check(
        &public,
        &advice::PUBLIC_KEY,
        "the public half of a key in DER",
    );
    let public = der(vector!("rsa-2048-public-pkcs1.pem"));
    check(
        &public,
        &advice::PUBLIC_KEY,
        "the public half of a key in DER",
    );
    check(
        &der(vector!("ec-pkcs8.pem")),
        &advice::EC_KEY,
        "algorithm EC",
    );
    let small = der(vector!("rsa-1024-pkcs8.pem"));
    check(&small, &advice::NEW_KEY, "1024 bits");
    check(PUBLIC_JWK.as_bytes(), &advice::PUBLIC_KEY, "public half");
}

#[test]
fn a_digest_is_what_the_signature_is_over() {
    let of = |algorithm: SigningAlgorithm| {
        let digest = algorithm.digest(b"abc");
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    // FIPS 180-4, the examples for "abc".
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(of(SigningAlgorithm::Rs256), sha256);
    assert!(of(SigningAlgorithm::Rs384).starts_with("cb00753f45a35e8bb5a03d699ac65007"));
    assert_eq!(SigningAlgorithm::Rs384.digest(b"abc").len(), 48);
    assert!(of(SigningAlgorithm::Rs512).starts_with("ddaf35a193617abacc417349ae204131"));
    assert_eq!(SigningAlgorithm::Rs512.digest(b"abc").len(), 64);
}

#[test]
fn a_key_tells_its_environment_by_its_kid() {
    let check = |kid: &str, expected| {
        let key = SigningKey::read(JWK.as_bytes(), &KeyOptions::new().with_kid(kid)).unwrap();
        assert_eq!(key.environment(), expected, "{kid}");
    };
    check("skattekort-TEST.Ab12", Some(Environment::Test));
    check("a-b.c-PROD.2026", Some(Environment::Production));
    check("my-app-TEST.D-_f", Some(Environment::Test));
    check("my-app-PROD.-_-_", Some(Environment::Production));
    check("ours-DEV.Ab12", None);
    check("-TEST.Ab12", None);
    check("ours-TEST.", None);
    check("ours-TEST.a b", None);
    check("ours-test.Ab12", None);
    check("ours-TEST", None);
    check(KID, None);
}

#[test]
fn the_end_of_a_jwk_is_told_and_kept() {
    let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let read = |exp: Value| SigningKey::read(jwk_where("exp", exp).as_bytes(), &KeyOptions::new());
    assert_eq!(read(Value::Null).unwrap().expires_at(), None);
    assert_eq!(read(0.into()).unwrap().expires_at(), Some(at(0)));
    assert_eq!(
        read(1.9e9.into()).unwrap().expires_at(),
        Some(at(1_900_000_000))
    );
    let text = read(" 1900000000 ".into()).unwrap();
    assert_eq!(text.expires_at(), Some(at(1_900_000_000)));
    let key = read(1_900_000_000.into()).unwrap();
    assert_eq!(key.expires_at(), Some(at(1_900_000_000)));
    key.check_dates(at(1_899_999_999)).unwrap();
    let ended = key.check_dates(at(1_900_000_000));
    drop(refused(
        ended,
        &advice::KEY_DATES,
        &["2030-03-17T17:46:40Z"],
    ));
    let wrong: [Value; 6] = [
        "2030-03-17".into(),
        "nan".into(),
        "inf".into(),
        (-1).into(),
        1_900_000_000_000_u64.into(),
        true.into(),
    ];
    for exp in wrong {
        drop(refused(read(exp), &advice::KEY_END, &["`exp` is no date"]));
    }
}
