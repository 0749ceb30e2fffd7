//! A key of any shape, with what is given beside it.
//!
//! The input is `kid`, password, certificates and key, in this order.

#![no_main]

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature;
use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::{Corpus, fuzz_target};
use maskinporten::{KeyOptions, KeyReference, SigningAlgorithm, SigningKey};
use maskinporten_fuzz::{CANARY, DIVIDER, holds_canary, planted, told, was_kept};
use serde_json::Value;

fuzz_target!(|input: &[u8]| -> Corpus {
    if holds_canary(input) {
        return Corpus::Reject;
    }
    let mut parts = input.splitn(4, |byte| char::from(*byte) == DIVIDER);
    let (Some(kid), Some(password), Some(certificates), Some(key)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Corpus::Reject;
    };
    let mut options = KeyOptions::new();
    if let Some(kid) = text(kid) {
        options = options.with_kid(kid);
    }
    if let Some(password) = text(password) {
        options = options.with_password(planted(password));
    }
    if let Some(certificates) = text(certificates) {
        options = options.with_certificates(planted(certificates));
    }
    // The mark is a byte like any other of a DER.
    let key = match str::from_utf8(key) {
        Ok(key) => planted(key).into_bytes(),
        Err(_) => key.to_vec(),
    };

    let read = SigningKey::read_set(&key, &options);
    // The first of the set, which is also a second reading of the same input.
    match (&read, SigningKey::read(&key, &options)) {
        (Ok(keys), Ok(first)) => assert_eq!(shown(&keys[0]), shown(&first)),
        (Err(error), Err(same)) => assert_eq!(told(error), told(&same)),
        _ => panic!("reading depends on more than its input"),
    }
    match read {
        Ok(keys) => keys.iter().for_each(is_whole),
        Err(error) => {
            was_kept(&error);
            assert!(told(&error).len() < 100_000, "an error for a log is short");
        }
    }
    Corpus::Keep
});

fn text(part: &[u8]) -> Option<&str> {
    str::from_utf8(part).ok().filter(|text| !text.is_empty())
}

fn shown(key: &SigningKey) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?}",
        key.public_jwk(),
        key.key_reference(),
        key.expires_at(),
        key.environment(),
        key.check_dates(std::time::SystemTime::UNIX_EPOCH)
            .map_err(|error| error.to_string()),
    )
}

/// What every key that was read can do: sign so that the holder of the public half accepts it.
fn is_whole(key: &SigningKey) {
    assert!((2048..=8192).contains(&key.bits()));
    match key.key_reference() {
        KeyReference::Kid(kid) => {
            assert_eq!(key.kid(), Some(kid));
            assert_eq!(kid, kid.trim());
            assert!(!kid.is_empty() && !kid.chars().any(char::is_control));
        }
        KeyReference::Chain(chain) => assert!(!chain.is_empty() && key.kid().is_none()),
        _ => panic!("a key is referred to in one of two ways"),
    }

    let input = b"what is signed";
    let signature = key.sign(input).expect("a key that was read signs");
    let jwk: Value = serde_json::from_str(&key.public_jwk()).expect("a JWK is JSON");
    let number = |name: &str| {
        let text = jwk[name].as_str().expect("a member of the public half");
        URL_SAFE_NO_PAD.decode(text).expect("in base64url")
    };
    let public = PublicKeyComponents {
        n: number("n"),
        e: number("e"),
    };
    let parameters = match key.algorithm() {
        SigningAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningAlgorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SigningAlgorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        other => panic!("an algorithm that nobody asked for: {other}"),
    };
    let verified = public.verify(parameters, input, &signature);
    assert!(
        verified.is_ok(),
        "the public half does not accept the signature"
    );

    let in_a_name = key.kid().is_some_and(|kid| kid.contains(CANARY));
    assert!(in_a_name || !format!("{key:?}").contains(CANARY));
}
