//! Keys of every kind that operators hold, and what is said of those that cannot sign.

/// A file of `tests/vectors/keys`.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/vectors/keys/",
            $name
        ))
    };
}

mod any;
mod certificates;
mod dotnet;
mod encrypted;
mod foreign;
#[cfg(feature = "pkcs12")]
mod pkcs12;
mod sets;
mod shapes;

use serde_json::{Map, Value};

use super::*;

const JWK: &str = vector!("rsa-2048.jwk.json");
const PUBLIC_JWK: &str = vector!("rsa-2048-public.jwk.json");
const PKCS8: &str = vector!("rsa-2048-pkcs8.pem");
const PKCS1: &str = vector!("rsa-2048-pkcs1.pem");
const FROM_PKCS12: &str = vector!("rsa-2048-from-pkcs12.pem");
const KID: &str = "maskinporten-test-key";

fn jwk_with(change: impl FnOnce(&mut Map<String, Value>)) -> String {
    let mut jwk: Map<String, Value> = serde_json::from_str(JWK).unwrap();
    change(&mut jwk);
    Value::Object(jwk).to_string()
}

fn jwk_without(names: &[&str]) -> String {
    jwk_with(|jwk| names.iter().for_each(|name| drop(jwk.remove(*name))))
}

fn jwk_where(name: &str, value: impl Into<Value>) -> String {
    jwk_with(|jwk| drop(jwk.insert(name.to_owned(), value.into())))
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap()
}

#[track_caller]
fn accepted(key: Result<SigningKey>) {
    let key = key.unwrap();
    assert_eq!(key.public_jwk(), PUBLIC_JWK);
    assert_eq!(key.bits(), 2048);
}

/// Every run of eight characters of a private member would be too much.
#[track_caller]
fn tells_no_secret(error: &Error) {
    let told = format!("{error} {error:?} {:?}", error.hint());
    let jwk: Map<String, Value> = serde_json::from_str(JWK).unwrap();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        let member = jwk[name].as_str().unwrap();
        let leaked = |at: usize| told.contains(&member[at..at + 8]);
        assert!(!(0..member.len() - 8).any(leaked), "{name}: {told}");
    }
}

#[track_caller]
fn refused<T: fmt::Debug>(key: Result<T>, advice: &'static crate::Advice, texts: &[&str]) -> Error {
    let error = key.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Key);
    assert_eq!(
        error.advice().map(|found| found.meaning()),
        Some(advice.meaning()),
        "{error}"
    );
    for text in texts {
        assert!(error.to_string().contains(text), "{text:?} not in {error}");
    }
    tells_no_secret(&error);
    error
}

// ===== what is accepted =====

#[test]
fn a_jwk_is_read() {
    accepted(SigningKey::from_jwk(JWK, None));
    accepted(SigningKey::from_jwk(&format!("\u{feff}\r\n {JWK}\n"), None));
    accepted(SigningKey::from_jwk(&jwk_without(&["use", "alg"]), None));
    accepted(SigningKey::from_jwk(&jwk_where("x5c", vec!["MII"]), None));
    accepted(SigningKey::from_jwk(
        &jwk_where("use", Value::Null),
        Some(" "),
    ));
}

#[test]
fn a_jwk_in_base64_is_read_however_it_is_written() {
    let read = |text: &str| accepted(SigningKey::from_jwk_base64(text, None));
    let padded = base64(format!("{JWK} ").replace('\n', " \n"));
    read(&padded);
    read(padded.trim_end_matches('='));
    read(&padded.replace('+', "-").replace('/', "_"));
    read(&format!("\u{feff}{}\r\n", padded.replace('A', "A\n\t")));
    read(&base64(format!("\u{feff}{JWK}")));
}

#[test]
fn a_pem_is_read() {
    let read = |pem: &str| accepted(SigningKey::from_pem(pem, KID));
    for pem in [PKCS8, PKCS1, FROM_PKCS12] {
        read(pem);
        read(&pem.replace('\n', "\r\n"));
        read(&pem.replace('\n', "\\n"));
        read(&pem.replace('\n', "\\r\\n"));
        read(&pem.replace('\n', "\n    "));
    }
}

#[test]
fn the_kid_beside_the_key_wins() {
    let check = |kid, expected: &str| {
        let key = SigningKey::from_jwk(JWK, kid).unwrap();
        assert_eq!(key.kid(), Some(expected));
        assert!(key.public_jwk().contains(expected));
    };
    check(None, KID);
    check(Some(" "), KID);
    check(Some(" other\n"), "other");
    accepted(SigningKey::from_jwk(&jwk_without(&["kid"]), Some(KID)));
    accepted(SigningKey::from_jwk(&jwk_where("kid", 7), Some(KID)));
}

#[test]
fn leading_zero_bytes_are_trimmed() {
    let padded = |name: &str, jwk: &mut Map<String, Value>| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let padded = [&[0, 0], bytes.as_slice()].concat();
        jwk.insert(name.to_owned(), URL_SAFE_NO_PAD.encode(padded).into());
    };
    let jwk = jwk_with(|jwk| ["n", "e", "d"].iter().for_each(|name| padded(name, jwk)));
    accepted(SigningKey::from_jwk(&jwk, None));
}

// The expected signatures are OpenSSL's.
#[test]
fn the_signature_follows_the_keys_own_algorithm() {
    let check = |alg: &str, expected: &str| {
        let key = SigningKey::from_jwk(&jwk_where("alg", alg), None).unwrap();
        assert_eq!(key.algorithm().as_str(), alg);
        let signature = key
            .sign(b"The string that was signed: a test vector.")
            .unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), expected.trim_end());
    };
    check("RS256", vector!("signature-rs256.txt"));
    check("RS384", vector!("signature-rs384.txt"));
    check("RS512", vector!("signature-rs512.txt"));
}

#[test]
fn a_key_prints_without_itself() {
    let key = SigningKey::from_jwk(JWK, None).unwrap();
    assert_eq!(
        format!("{key:?}"),
        "RSA-2048 kid=maskinporten-test-key [redacted]"
    );
}

// ===== what is refused =====

#[test]
fn a_missing_or_spoiled_member_is_named() {
    let check = |jwk: String, advice, texts: &[&str]| {
        drop(refused(SigningKey::from_jwk(&jwk, None), advice, texts));
    };
    let damaged = |jwk: String, text: &str| check(jwk, &advice::KEY_NOT_WHOLE, &[text]);
    damaged(jwk_without(&["kty"]), "`kty` is missing");
    damaged(jwk_without(&["n"]), "`n` is missing");
    damaged(jwk_where("e", "  "), "`e` is missing");
    damaged(jwk_where("e", "AAAA"), "`e` is zero");
    damaged(jwk_where("d", "a*b/"), "`d` is not base64url");
    damaged(jwk_where("q", "ab\u{e5}"), "`q` is not base64url");
    damaged(jwk_where("p", 7), "`p` is a number, not a string");
    damaged(
        jwk_where("D", "AQAB"),
        "`d` stands in the key twice, with two values",
    );
    let twice = JWK.replacen("\"e\":", "\"e\": \"Aw\", \"e\":", 1);
    damaged(twice, "`e` stands in the key twice, with two values");
    check(
        jwk_where("use", "enc"),
        &advice::KEY_USE,
        &["`use` is enc, not sig"],
    );
    check(jwk_where("oth", vec![1]), &advice::NEW_KEY, &["`oth`"]);
    let kid = |jwk: String, text: &str| check(jwk, &advice::KID_MISSING, &[text]);
    kid(jwk_without(&["kid"]), "`kid` is missing");
    kid(jwk_where("kid", 7), "`kid` is a number");
    kid(jwk_where("kid", "a\nb"), "`kid` holds a control");
    let jwk: Map<String, Value> = serde_json::from_str(JWK).unwrap();
    kid(
        jwk_where("kid", "{\"kty\": \"RSA\"}"),
        "`kid` is no identifier",
    );
    kid(
        jwk_where("kid", jwk["d"].as_str().unwrap().repeat(2)),
        "`kid` is no identifier",
    );
    kid(
        jwk_where("Kid", "other"),
        "`kid` stands in the key twice, with two values",
    );
}

#[test]
fn an_algorithm_of_another_family_is_refused() {
    for alg in ["HS256", "none", "PS256", "ES256", "RSA-OAEP", "rs256"] {
        let text = format!("`alg` is {alg}, not RS256");
        let key = SigningKey::from_jwk(&jwk_where("alg", alg), None);
        drop(refused(key, &advice::KEY_USE, &[&text]));
    }
    // A secret in the wrong member is not repeated.
    let jwk: Map<String, Value> = serde_json::from_str(JWK).unwrap();
    let misplaced = jwk_where("alg", jwk["d"].clone());
    let key = SigningKey::from_jwk(&misplaced, None);
    drop(refused(key, &advice::KEY_USE, &["`alg` is something else"]));
}

#[test]
fn a_key_without_its_crt_members_is_refused_with_what_to_do() {
    let jwk = jwk_without(&["p", "q", "dp", "dq", "qi"]);
    let texts = ["`p` is", "`q` is", "`dp` is", "`dq` is", "`qi` is missing"];
    drop(refused(
        SigningKey::from_jwk(&jwk, None),
        &advice::KEY_NOT_WHOLE,
        &texts,
    ));
}

#[test]
fn the_public_half_is_told_from_a_broken_key() {
    let error = refused(
        SigningKey::from_jwk(PUBLIC_JWK, None),
        &advice::PUBLIC_KEY,
        &["`d` is missing: this is the public half"],
    );
    assert_eq!(error.details().count(), 1);
}

#[test]
fn keys_of_other_families_are_refused_with_the_reason() {
    let check = |jwk: &str, advice, text| {
        drop(refused(SigningKey::from_jwk(jwk, None), advice, &[text]));
    };
    let ec = r#"{"kty":"EC","crv":"P-256","x":"a","y":"b","d":"c","kid":"k","alg":"ES256"}"#;
    check(ec, &advice::EC_KEY, "RSA keys only");
    check(
        r#"{"kty":"OKP","kid":"k"}"#,
        &advice::EC_KEY,
        "`kty` is OKP",
    );
    check(
        r#"{"kty":"oct","k":"c2VjcmV0","kid":"k"}"#,
        &advice::NEW_KEY,
        "shared secret",
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let jwk = jwk_with(|jwk| {
        jwk.remove("kid");
        jwk.remove("qi");
        jwk.insert("alg".into(), "PS256".into());
        jwk.insert("use".into(), "enc".into());
    });
    let error = refused(
        SigningKey::from_jwk(&jwk, None),
        &advice::KEY_NOT_WHOLE,
        &["; "],
    );
    let problems: Vec<_> = error.details().collect();
    assert_eq!(
        problems,
        [
            ("problem", "`qi` is missing"),
            ("problem", "`use` is enc, not sig"),
            ("problem", "`alg` is PS256, not RS256, RS384 or RS512"),
            ("problem", "`kid` is missing, inside the key and beside it"),
        ]
    );
}

#[test]
fn a_short_key_is_refused() {
    let pem = include_str!("../../../../tests/vectors/keys/rsa-1024-pkcs8.pem");
    let texts = ["1024 bits", "2048", "`kid` is missing"];
    drop(refused(
        SigningKey::read(pem.as_bytes(), &KeyOptions::new()),
        &advice::NEW_KEY,
        &texts,
    ));
}

#[test]
fn parts_of_two_keys_are_refused() {
    let other = SigningKey::generate(2048, None).unwrap();
    let other: Map<String, Value> = serde_json::from_str(other.private_jwk().expose()).unwrap();
    for name in ["n", "d", "p", "qi"] {
        let key = SigningKey::from_jwk(&jwk_where(name, other[name].clone()), None);
        drop(refused(
            key,
            &advice::KEY_NOT_WHOLE,
            &["do not belong together"],
        ));
    }
    let key = SigningKey::from_jwk(&jwk_where("e", "Aw"), None);
    drop(refused(
        key,
        &advice::KEY_NOT_WHOLE,
        &["do not belong together"],
    ));
}

#[test]
fn what_is_no_jwk_is_told_by_place() {
    let check = |json: &str, text| {
        drop(refused(
            SigningKey::from_jwk(json, None),
            &advice::KEY_FORMAT,
            &[text],
        ));
    };
    check(&JWK[..JWK.len() / 2], "half a JSON");
    check(&JWK.replace("\"d\": \"", "\"d\": "), "line 8");
    for set in [format!("[{JWK}]"), format!("{{\"keys\": [{JWK}]}}")] {
        drop(refused(
            SigningKey::from_jwk(&set, None),
            &advice::ONE_OF_SET,
            &["JWK set (`keys`): give one key"],
        ));
    }
    check(PKCS8, "no JSON");
}

#[test]
fn what_is_no_base64_is_told_without_repeating_it() {
    let check = |text: &str, expected| {
        let key = SigningKey::from_jwk_base64(text, None);
        drop(refused(key, &advice::KEY_FORMAT, &[expected]));
    };
    check("", "blank");
    check("not base64!", "neither JWK, PEM nor DER, nor base64");
    check(&base64("not JSON"), "no JSON: line 1");
    let pem = SigningKey::from_jwk_base64(&base64(PKCS8), None);
    let text = "it is a PEM, DER or PKCS#12";
    drop(refused(pem, &advice::JWK_IN_BASE64, &[text]));
    // Read where it is not encoded: nothing else could be meant.
    accepted(SigningKey::from_jwk_base64(JWK, None));
}

// A bundle of root certificates, given for a key.
#[test]
fn a_pem_of_many_blocks_is_named_in_one_line() {
    let many = vector!("rsa-2048-certificate.pem").repeat(150);
    let error = refused(
        SigningKey::from_pem(&many, KID),
        &advice::PUBLIC_KEY,
        &["it is BEGIN CERTIFICATE"],
    );
    assert!(error.to_string().len() < 200, "{error}");
    let kinds: String = (0..150)
        .map(|kind| format!("-----BEGIN KIND {kind}-----\n-----END KIND {kind}-----\n"))
        .collect();
    let error = refused(
        SigningKey::from_pem(&kinds, KID),
        &advice::PUBLIC_KEY,
        &["BEGIN KIND 0, BEGIN KIND 1", "and others"],
    );
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn a_pem_of_another_kind_is_named_by_its_header() {
    let check = |pem: &str, advice, text| {
        drop(refused(SigningKey::from_pem(pem, KID), advice, &[text]));
    };
    let format = &advice::KEY_FORMAT;
    check(
        vector!("rsa-2048-encrypted-pkcs8.pem"),
        &advice::KEY_PASSWORD_MISSING,
        "encrypted and no password",
    );
    check(
        vector!("rsa-2048-encrypted-pkcs1.pem"),
        &advice::OLD_ENCRYPTION,
        "Proc-Type ENCRYPTED",
    );
    check(
        vector!("rsa-2048-public.pem"),
        &advice::PUBLIC_KEY,
        "BEGIN PUBLIC KEY",
    );
    check(
        vector!("rsa-2048-public-pkcs1.pem"),
        &advice::PUBLIC_KEY,
        "BEGIN RSA PUBLIC KEY",
    );
    check(
        vector!("rsa-2048-certificate.pem"),
        &advice::PUBLIC_KEY,
        "BEGIN CERTIFICATE",
    );
    check(
        vector!("ec-sec1.pem"),
        &advice::EC_KEY,
        "BEGIN EC PRIVATE KEY",
    );
    check(vector!("ec-pkcs8.pem"), &advice::EC_KEY, "algorithm EC");
    check(vector!("ed25519-pkcs8.pem"), &advice::EC_KEY, "Ed25519");
    check(
        vector!("rsa-pss-2048-pkcs8.pem"),
        &advice::NEW_KEY,
        "RSA-PSS",
    );
    let openssh = PKCS8.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    check(&openssh, &advice::OPENSSH_KEY, "BEGIN OPENSSH PRIVATE KEY");
    check(
        &format!("{PKCS8}{PKCS1}"),
        format,
        "more than one private key",
    );
    check(&PKCS8[..PKCS8.len() - 40], format, "without its END");
    check(&PKCS8.replace("MII", "M*I"), format, "not base64");
    let neither = "neither PKCS#8 nor PKCS#1";
    check(&PKCS8.replace("MIIE", "AAAA"), format, neither);
    check(&PKCS1.replace("MIIE", "AAAA"), format, neither);
    check(JWK, format, "no PEM");
    check("-----BEGIN PRIVATE KEY", format, "cut short");
    drop(refused(
        SigningKey::from_pem(PKCS8, " "),
        &advice::KEY_WITHOUT_NAME,
        &["`kid`"],
    ));
}

// ===== what is made =====

#[test]
fn a_made_key_is_a_whole_jwk_and_its_public_half_is_bare() {
    let made = SigningKey::generate(2048, Some("a \"kid\"")).unwrap();
    let private: Map<String, Value> = serde_json::from_str(made.private_jwk().expose()).unwrap();
    let names: Vec<&str> = private.keys().map(String::as_str).collect();
    let all = [
        "alg", "d", "dp", "dq", "e", "kid", "kty", "n", "p", "q", "qi", "use",
    ];
    assert_eq!(names, all);
    let public: Map<String, Value> = serde_json::from_str(made.public_jwk()).unwrap();
    let names: Vec<&str> = public.keys().map(String::as_str).collect();
    assert_eq!(names, ["alg", "e", "kid", "kty", "n", "use"]);
    assert_eq!(made.kid(), "a \"kid\"");
    assert!(!format!("{made:?}").contains(private["d"].as_str().unwrap()));
}

#[test]
fn a_made_key_is_named_by_its_thumbprint() {
    let made = SigningKey::generate(2048, None).unwrap();
    assert_eq!(made.kid().len(), 43);
    assert!(made.private_jwk().expose().contains(made.kid()));
    assert!(SigningKey::generate(1024, None).is_err());
}

// RFC 7638 §3.1.
#[test]
fn the_thumbprint_is_the_standards() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc\
             _BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0\
             _FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI\
             4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let number = |text: &str| Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap());
    let empty = || Zeroizing::new(Vec::new());
    let key = Components {
        n: number(n),
        e: number("AQAB"),
        d: empty(),
        p: empty(),
        q: empty(),
        dp: empty(),
        dq: empty(),
        qi: empty(),
    };
    let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    assert_eq!(generate::thumbprint(&key), expected);
}
