//! JWK sets: which keys are taken, in which order, and what is said of the others.

use super::*;

/// The vector as an entry with this `kid`, and `exp` where there is one.
fn entry(kid: &str, exp: Option<u64>) -> String {
    jwk_with(|jwk| {
        jwk.insert("kid".to_owned(), kid.into());
        if let Some(exp) = exp {
            jwk.insert("exp".to_owned(), exp.into());
        }
    })
}

fn set(entries: &[String]) -> String {
    format!("{{\"keys\": [{}]}}", entries.join(","))
}

#[track_caller]
fn check(entries: &[String], chosen: Option<&str>, expected: &[&str]) {
    let options = chosen.map_or_else(KeyOptions::new, |kid| KeyOptions::new().with_kid(kid));
    for set in [set(entries), format!("[{}]", entries.join(","))] {
        let keys = SigningKey::read_set(set.as_bytes(), &options).unwrap();
        let kids: Vec<&str> = keys.iter().filter_map(SigningKey::kid).collect();
        assert_eq!(kids, expected);
        let first = SigningKey::read(set.as_bytes(), &options).unwrap();
        assert_eq!(first.kid(), expected.first().copied());
    }
}

#[track_caller]
fn set_refused(entries: &[String], advice: &'static crate::Advice, texts: &[&str]) -> Error {
    let key = SigningKey::read_set(set(entries).as_bytes(), &KeyOptions::new());
    refused(key, advice, texts)
}

#[test]
fn the_key_that_ends_last_signs_first() {
    let (a, b, c) = (
        entry("a", Some(10)),
        entry("b", Some(30)),
        entry("c", Some(20)),
    );
    check(&[a.clone(), b.clone(), c.clone()], None, &["b", "c", "a"]);
    let (d, e) = (entry("d", None), entry("e", None));
    check(
        &[a.clone(), d.clone(), b.clone(), e],
        None,
        &["e", "d", "b", "a"],
    );
    let twin = entry("twin", Some(30));
    check(&[twin.clone(), b.clone()], None, &["b", "twin"]);
    check(&[b, twin], None, &["twin", "b"]);
}

#[test]
fn the_kid_beside_a_set_chooses_the_key_that_signs() {
    let entries = [entry("a", Some(10)), entry("b", Some(30)), entry("c", None)];
    check(&entries, Some("a"), &["a", "c", "b"]);
    check(&entries, Some(" b\n"), &["b", "c", "a"]);
    let other = KeyOptions::new().with_kid("d");
    let key = SigningKey::read_set(set(&entries).as_bytes(), &other);
    drop(refused(
        key,
        &advice::KEY_SET_KID,
        &["no key to sign with of the `kid`"],
    ));
    let alone = SigningKey::read_set(set(&entries[..1]).as_bytes(), &other);
    drop(refused(
        alone,
        &advice::KEY_SET_KID,
        &["no key to sign with of the `kid`"],
    ));
    // The only key of a set is named by it, as any key is.
    let unnamed = SigningKey::read(set(&[jwk_without(&["kid"])]).as_bytes(), &other);
    assert_eq!(unnamed.unwrap().kid(), Some("d"));
}

#[test]
fn what_is_not_ours_to_sign_with_is_left_out() {
    let foreign = [
        PUBLIC_JWK.to_owned(),
        r#"{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA", "kid": "ours"}"#
            .to_owned(),
        jwk_where("use", "enc"),
        jwk_where("alg", "RSA-OAEP-256"),
        jwk_where("alg", "PS256"),
    ];
    let mut all = foreign.to_vec();
    all.insert(2, entry("ours", None));
    check(&all, None, &["ours"]);
    let texts = [
        "no key to sign with",
        "entry 1 is the public half",
        "entry 2 is of another family",
        "entry 3 is for encryption (`use`)",
        "entry 4 is for encryption (`alg`)",
        "entry 5 signs with RSASSA-PSS",
    ];
    let error = set_refused(&foreign, &advice::KEY_SET, &texts);
    assert_eq!(error.details().count(), 5);
}

#[test]
fn a_set_is_taken_whole_or_not_at_all() {
    let good = || entry("good", None);
    let check =
        |entry: String, advice, text: &str| drop(set_refused(&[good(), entry], advice, &[text]));
    let damaged = &advice::KEY_NOT_WHOLE;
    check(jwk_without(&["qi"]), damaged, "entry 2 of the JWK set: ");
    check(jwk_without(&["qi"]), damaged, "`qi` is missing");
    check(jwk_without(&["d"]), damaged, "`d` is missing");
    check(
        jwk_without(&["kid"]),
        &advice::KID_MISSING,
        "`kid` is missing",
    );
    check(
        jwk_where("alg", "rs256"),
        &advice::KEY_USE,
        "`alg` is rs256",
    );
    check(
        jwk_where("exp", "soon"),
        &advice::KEY_END,
        "`exp` is no date",
    );
    check(
        good(),
        &advice::KEY_SET,
        "entry 2 of the JWK set has the `kid` of another",
    );
    check(
        "7".to_owned(),
        &advice::KEY_SET,
        "entry 2 of the JWK set is a number",
    );
    drop(set_refused(&[], &advice::KEY_SET, &["it is empty"]));
    let many = vec![PUBLIC_JWK.to_owned(); 33];
    drop(set_refused(&many, &advice::KEY_SET, &["33 entries"]));
    let read = |json: &str| SigningKey::read_set(json.as_bytes(), &KeyOptions::new());
    drop(refused(
        read(r#"{"keys": 7}"#),
        &advice::KEY_SET,
        &["no array"],
    ));
    drop(refused(
        read(&format!(r#"{{"keys": [{JWK}], "Keys": [7]}}"#)),
        &advice::KEY_SET,
        &["twice"],
    ));
    for empty in [r#"{"keys": null}"#, r#"{"Keys": []}"#, "[]"] {
        drop(refused(read(empty), &advice::KEY_SET, &["it is empty"]));
    }
    drop(refused(
        read(&set(&[good()])[..80]),
        &advice::KEY_FORMAT,
        &["half a JSON"],
    ));
}

#[test]
fn certificates_beside_a_set_need_a_set_of_one() {
    let chain = vector!("rsa-2048-chain.pem");
    let options = KeyOptions::new().with_certificates(chain);
    let several = set(&[entry("a", None), entry("b", None)]);
    let key = SigningKey::read_set(several.as_bytes(), &options);
    drop(refused(key, &advice::CERTIFICATE_OF_KEY, &["several keys"]));
    let one = set(&[entry("a", None), PUBLIC_JWK.to_owned()]);
    let key = SigningKey::read(one.as_bytes(), &options).unwrap();
    assert_eq!(key.kid(), None);
}
