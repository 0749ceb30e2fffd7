//! Keys that go by their certificates.

use std::time::Duration;

use super::*;

/// Leaf, intermediate and root.
const CHAIN: &str = vector!("rsa-2048-chain.pem");
const SELF_SIGNED: &str = vector!("rsa-2048-certificate.pem");
const OTHER: &str = vector!("other-certificate.pem");

fn blocks(pem: &str) -> Vec<String> {
    let ends = pem.split_inclusive("-----END CERTIFICATE-----\n");
    ends.map(str::to_owned).collect()
}

fn x5c(pem: &str) -> Vec<String> {
    blocks(pem).iter().map(|block| base64(der(block))).collect()
}

fn read(certificates: &str) -> Result<SigningKey> {
    let options = KeyOptions::new().with_certificates(certificates);
    SigningKey::read(PKCS8.as_bytes(), &options)
}

#[track_caller]
fn goes_by(key: Result<SigningKey>, chain: &[String]) {
    let key = key.unwrap();
    assert_eq!(key.kid(), None);
    assert_eq!(key.key_reference(), KeyReference::Chain(chain));
    assert!(!key.public_jwk().contains("kid"));
    let length = chain.len();
    assert_eq!(
        format!("{key:?}"),
        format!("RSA-2048 x5c of {length} [redacted]")
    );
}

#[test]
fn certificates_are_read_and_put_in_order() {
    let [leaf, middle, root] = blocks(CHAIN).try_into().unwrap();
    let expected = x5c(CHAIN);
    goes_by(read(CHAIN), &expected);
    for order in [
        [&root, &middle, &leaf],
        [&middle, &leaf, &root],
        [&leaf, &root, &middle],
    ] {
        goes_by(read(&order.map(String::as_str).concat()), &expected);
    }
    goes_by(read(&format!("{leaf}{CHAIN}{root}")), &expected);
    goes_by(read(&CHAIN.replace('\n', "\r\n")), &expected);
    goes_by(read(&CHAIN.replace('\n', "\\n")), &expected);
    goes_by(read(&base64(CHAIN)), &expected);
    goes_by(read(&format!("{PKCS8}{CHAIN}")), &expected);
    goes_by(read(&leaf), &expected[..1]);
    goes_by(read(&base64(der(&leaf))), &expected[..1]);
    goes_by(read(SELF_SIGNED), &x5c(SELF_SIGNED));
}

#[test]
fn x5c_in_a_jwk_counts_where_there_is_no_kid() {
    let expected = x5c(CHAIN);
    let certified = |names: &[&str]| {
        jwk_with(|jwk| {
            names.iter().for_each(|name| drop(jwk.remove(*name)));
            jwk.insert("x5c".to_owned(), expected.clone().into());
        })
    };
    let read = |json: &str, options| SigningKey::read(json.as_bytes(), &options);
    goes_by(read(&certified(&["kid"]), KeyOptions::new()), &expected);
    goes_by(SigningKey::from_jwk(&certified(&["kid"]), None), &expected);
    accepted(read(&certified(&[]), KeyOptions::new()));
    let beside = KeyOptions::new().with_kid(KID);
    accepted(read(&certified(&["kid"]), beside));
    // What is given beside the key wins over both.
    let beside = KeyOptions::new().with_certificates(SELF_SIGNED);
    goes_by(read(&certified(&[]), beside), &x5c(SELF_SIGNED));

    let spoilt = |x5c: Value| {
        jwk_with(|jwk| {
            jwk.remove("kid");
            jwk.insert("x5c".to_owned(), x5c);
        })
    };
    for (x5c, text) in [
        (Value::from("MII"), "`x5c` is no array"),
        (Value::from(vec![7]), "`x5c` is no array"),
        (
            Value::from(vec!["MII"]),
            "certificate 1 of `x5c` cannot be read",
        ),
        (
            Value::from(vec![expected[0].clone(), "!".to_owned()]),
            "certificate 2 of `x5c`",
        ),
    ] {
        let key = read(&spoilt(x5c), KeyOptions::new());
        drop(refused(key, &advice::CERTIFICATES, &[text]));
    }
    // What .NET writes for a key without certificates is no certificate.
    let key = read(&spoilt(Value::from(Vec::<Value>::new())), KeyOptions::new());
    drop(refused(key, &advice::KID_MISSING, &["`kid` is missing"]));
}

// `openssl pkcs12` writes the friendly name above a certificate, and not always in UTF-8.
#[test]
fn the_text_around_a_certificate_does_not_count() {
    let chain = [
        b"friendlyName: BL\xc5B\xc6R\n",
        CHAIN.as_bytes(),
        b"\xff\xfe\n",
    ]
    .concat();
    goes_by(read(&base64(chain)), &x5c(CHAIN));
}

#[test]
fn certificates_that_are_no_chain_of_this_key_are_refused() {
    let [leaf, middle, root] = blocks(CHAIN).try_into().unwrap();
    let check = |text: &str, advice, expected: &str| drop(refused(read(text), advice, &[expected]));
    let certificates = &advice::CERTIFICATES;
    check(
        OTHER,
        &advice::CERTIFICATE_OF_KEY,
        "none of the certificates is for this key",
    );
    check(
        &format!("{middle}{root}"),
        &advice::CERTIFICATE_OF_KEY,
        "none of",
    );
    let renewed = vector!("rsa-2048-certificate-renewed.pem");
    check(
        &format!("{leaf}{renewed}"),
        &advice::CERTIFICATE_OF_KEY,
        "more than one",
    );
    check(
        &format!("{leaf}{root}"),
        certificates,
        "1 of the certificates have no place",
    );
    check(
        &format!("{CHAIN}{OTHER}"),
        certificates,
        "1 of the certificates have no place",
    );
    check("hush!", certificates, "neither PEM nor base64");
    check(
        &base64("hush"),
        certificates,
        "certificate 1 cannot be read",
    );
    check(PKCS8, certificates, "holds no certificate");
    check(
        &CHAIN.replace("MII", "MIX"),
        certificates,
        "certificate 1 cannot be read",
    );
    let pkcs7 = SELF_SIGNED.replace("CERTIFICATE", "PKCS7");
    let error = refused(read(&pkcs7), &advice::PKCS7, &["PKCS#7"]);
    assert!(
        error
            .hint()
            .unwrap()
            .contains("`openssl pkcs7 -print_certs -in FILE.p7b")
    );
    check(
        "MIIJ0QIBAzCCCZcGCSqGSIb3DQEHAaCC//8=",
        &advice::PKCS12,
        "a PKCS#12",
    );
    let many: Vec<String> = (0..9).map(|_| fresh()).collect();
    check(
        &many.concat(),
        certificates,
        "9 certificates are no chain: at most 8",
    );
}

#[test]
fn a_chain_ends_with_the_first_certificate_that_names_itself() {
    let named = |key: &rcgen::KeyPair| {
        let mut parameters = rcgen::CertificateParams::default();
        let name = "One name for two";
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        parameters.self_signed(key).unwrap().pem()
    };
    let own = named(&rcgen::KeyPair::from_pem(PKCS8).unwrap());
    let other = named(&rcgen::KeyPair::generate().unwrap());
    goes_by(read(&own), &x5c(&own.replace("\r\n", "\n")));
    drop(refused(
        read(&format!("{own}{other}")),
        &advice::CERTIFICATES,
        &["1 of the certificates have no place"],
    ));
}

/// A certificate of nobody's, another each time.
fn fresh() -> String {
    rcgen::generate_simple_self_signed(["example.no".to_owned()])
        .unwrap()
        .cert
        .pem()
}

#[test]
fn a_kid_and_certificates_together_are_refused_whatever_the_key() {
    let options = KeyOptions::new().with_kid(KID).with_certificates(CHAIN);
    for key in [JWK, PKCS8, "hush"] {
        let key = SigningKey::read(key.as_bytes(), &options);
        let error = refused(key, &advice::KID_AND_CERTIFICATE, &["one of them"]);
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("MASKINPORTEN_CERTIFICATE_FILE") && hint.contains("MASKINPORTEN_KID")
        );
    }
}

#[test]
fn a_certificate_tells_when_it_is_valid() {
    let key = read(CHAIN).unwrap();
    // Until 22 November 2029; what issued it was made a moment before and ends years later.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_890_073_651);
    assert_eq!(key.expires_at(), Some(end));
    let year = Duration::from_secs(365 * 86_400);
    key.check_dates(end).unwrap();
    key.check_dates(end - 2 * year).unwrap();
    let refused =
        |now, text: &str| drop(refused(key.check_dates(now), &advice::KEY_DATES, &[text]));
    refused(
        end + Duration::from_secs(1),
        "the key's certificate ended on 2029-11-22T20:27:31Z",
    );
    refused(
        end - 4 * year,
        "the key's certificate is not valid before 2026-11-23T20:27:31Z",
    );
    // Where the key itself is in date and what issued it is not.
    let [leaf, ..] = &blocks(CHAIN)[..] else {
        panic!("the chain has three");
    };
    let alone = read(leaf).unwrap();
    alone.check_dates(end).unwrap();
}

#[test]
fn a_jwks_own_end_counts_beside_its_certificate() {
    let exp = 1_800_000_000_u64;
    let jwk = jwk_where("exp", exp);
    let options = KeyOptions::new().with_certificates(CHAIN);
    let key = SigningKey::read(jwk.as_bytes(), &options).unwrap();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(exp);
    assert_eq!(key.expires_at(), Some(end));
    assert!(key.check_dates(end).is_err());
}

#[test]
fn a_test_authoritys_certificate_is_for_test() {
    assert_eq!(read(CHAIN).unwrap().environment(), Some(Environment::Test));
    let issued_by = |name: &str| {
        let key = rcgen::KeyPair::from_pem(PKCS8).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        read(&parameters.self_signed(&key).unwrap().pem())
            .unwrap()
            .environment()
    };
    let test = Some(Environment::Test);
    assert_eq!(issued_by("Buypass Class 3 Test4 CA G2 ST Business"), test);
    assert_eq!(issued_by("Commfides Legal Person - G3 CA - TEST"), test);
    assert_eq!(
        issued_by("CPN Enterprise-Norwegian SHA256 CA - TEST2"),
        test
    );
    assert_eq!(issued_by("Buypass Class 3 CA G2 ST Business"), None);
    assert_eq!(issued_by("Attestation and Testing CA"), None);
}
