//! A key in a vault as a signer.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters,
};
use maskinporten::{Error, KeyReference, Signer as _, SigningAlgorithm};
use maskinporten_azure::KeyVaultSigner;
use serde_json::Value;
use tokio::runtime::Builder;

use crate::azure::{Azure, Fault, StoredKey, now, public};

const KEY: &str = "maskinporten";
const INPUT: &[u8] = b"header.claims";

async fn with_key() -> (Azure, String) {
    let azure = Azure::start().await;
    let version = azure.add_key(KEY);
    (azure, version)
}

#[track_caller]
fn check_signature(azure: &Azure, parameters: &'static RsaParameters, signature: &[u8]) {
    let state = azure.state();
    let key = state.keys[KEY].last().unwrap();
    public(&key.pair)
        .verify(parameters, INPUT, signature)
        .unwrap();
}

#[tokio::test]
async fn a_key_signs_in_its_vault_and_a_digest_is_all_that_leaves() {
    let (azure, version) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    let kid = format!("{KEY}.{version}");
    assert_eq!(signer.key_reference(), KeyReference::Kid(&kid));
    assert_eq!(signer.version(), version);

    let signature = signer.sign(INPUT.to_vec()).await.unwrap();
    check_signature(&azure, &RSA_PKCS1_2048_8192_SHA256, &signature);
    let state = azure.state();
    assert!(
        state
            .journal
            .iter()
            .all(|seen| !seen.body.contains("header"))
    );
    let signed = state
        .journal
        .iter()
        .filter(|seen| seen.path.ends_with("/sign"));
    assert!(
        signed.clone().all(|seen| seen.path.contains(&version)),
        "one version only"
    );
    // The first one is unauthorised and empty: it asks for the challenge.
    assert!(
        signed
            .filter(|seen| !seen.authorized)
            .all(|seen| seen.body.is_empty())
    );
}

#[tokio::test]
async fn each_algorithm_is_signed_with_its_own_digest() {
    let (azure, _) = with_key().await;
    for (algorithm, parameters) in [
        (SigningAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        (SigningAlgorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
        (SigningAlgorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    ] {
        let builder = KeyVaultSigner::builder(&azure.vault(), KEY).algorithm(algorithm);
        let signer = builder.connect().await.unwrap();
        assert_eq!(signer.algorithm(), algorithm);
        let signature = signer.sign(INPUT.to_vec()).await.unwrap();
        check_signature(&azure, parameters, &signature);
    }
}

#[tokio::test]
async fn what_is_to_be_registered_is_the_public_half() {
    let (azure, _) = with_key().await;
    let builder = KeyVaultSigner::builder(&azure.vault(), KEY).kid("our-key");
    let signer = builder.connect().await.unwrap();
    let jwk: Value = serde_json::from_str(&signer.public_jwk()).unwrap();
    assert_eq!(jwk["kid"], "our-key");
    assert_eq!(
        (&jwk["alg"], &jwk["kty"], &jwk["use"]),
        (&"RS256".into(), &"RSA".into(), &"sig".into())
    );
    assert_eq!(jwk["e"], "AQAB");
    assert_eq!(jwk["n"].as_str().unwrap().len(), 342);
}

#[tokio::test]
async fn a_signer_stays_with_its_version_and_another_signs_with_the_one_before() {
    let (azure, first) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    let second = azure.add_key(KEY);
    signer.sign(INPUT.to_vec()).await.unwrap();
    assert_eq!(signer.version(), first);

    let latest = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    assert_eq!(latest.version(), second);
    let builder = KeyVaultSigner::builder(&azure.vault(), KEY).version(&first);
    let previous = builder.connect().await.unwrap();
    assert_eq!(previous.public_jwk(), signer.public_jwk());
}

#[tokio::test]
async fn a_key_that_cannot_sign_for_maskinporten_is_refused_with_all_its_reasons() {
    #[track_caller]
    fn check(error: &Error, expected: &str) {
        assert!(!error.is_transient(), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    async fn refused(edit: impl FnOnce(&mut StoredKey)) -> Error {
        let (azure, _) = with_key().await;
        azure.edit_key(KEY, edit);
        KeyVaultSigner::connect(&azure.vault(), KEY)
            .await
            .unwrap_err()
    }
    check(&refused(|key| key.kty = "EC").await, "not RSA");
    check(&refused(|key| key.shown = 255).await, "2040 bits");
    check(&refused(|key| key.disabled = true).await, "it is disabled");
    check(
        &refused(|key| key.operations = vec!["verify"]).await,
        "`sign`",
    );
    let expired = |key: &mut StoredKey| {
        key.attributes.insert("exp", now() - 5);
        key.operations.clear();
    };
    let error = refused(expired).await;
    check(&error, "has expired");
    check(&error, "`sign`");
    let early = |key: &mut StoredKey| {
        key.attributes.insert("nbf", now() + 500);
    };
    check(&refused(early).await, "not valid yet");
}

#[tokio::test]
async fn an_hsm_key_signs_as_any_other() {
    let azure = Azure::start().await;
    azure.add_key_of(KEY, KeySize::Rsa3072);
    azure.edit_key(KEY, |key| key.kty = "RSA-HSM");
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    assert_eq!(signer.sign(INPUT.to_vec()).await.unwrap().len(), 384);
}

#[tokio::test]
async fn a_kid_or_a_name_that_nobody_takes_is_refused() {
    let (azure, _) = with_key().await;
    let builder = KeyVaultSigner::builder(&azure.vault(), KEY);
    let error = builder.kid("https://a/kid").connect().await.unwrap_err();
    assert!(error.to_string().contains("`kid`"), "{error}");
    let error = KeyVaultSigner::connect(&azure.vault(), "../secrets")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("name or version"), "{error}");
}

#[tokio::test]
async fn a_signature_of_another_key_is_not_used() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    azure.state().lies = true;
    let error = signer.sign(INPUT.to_vec()).await.unwrap_err();
    assert!(error.to_string().contains("not one of the key"), "{error}");
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_when_the_signer_is_connected() {
    let (azure, _) = with_key().await;
    azure.fault("/sign", Fault::Status(403, "ForbiddenByRbac"), 1);
    let error = KeyVaultSigner::connect(&azure.vault(), KEY)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Key Vault Crypto User"),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_signature_is_asked_for_once_more_and_no_more() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    let before = azure.asked("/sign");
    azure.fault("/sign", Fault::Status(500, "InternalError"), 1);
    signer.sign(INPUT.to_vec()).await.unwrap();
    assert_eq!(azure.asked("/sign"), before + 2);

    azure.fault("/sign", Fault::Status(500, "InternalError"), 9);
    let error = signer.sign(INPUT.to_vec()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(azure.asked("/sign"), before + 4);
}

#[tokio::test]
async fn a_throttled_vault_is_left_alone() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    let before = azure.asked("/sign");
    azure.fault("/sign", Fault::RetryAfter(429, "5"), 9);
    let error = signer.sign(INPUT.to_vec()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("5s"), "{error}");
    assert_eq!(azure.asked("/sign"), before + 1);
}

#[tokio::test]
async fn a_vault_that_is_silent_once_is_asked_again_in_time() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    azure.fault("/sign", Fault::Silence, 1);
    signer.sign(INPUT.to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_vault_that_stays_silent_costs_three_seconds_and_the_next_signature_works() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    azure.fault("/sign", Fault::Silence, 2);
    let start = Instant::now();
    let error = signer.sign(INPUT.to_vec()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(start.elapsed().as_secs_f64() < 4.0, "{:?}", start.elapsed());
    azure.state().faults.clear();
    signer.sign(INPUT.to_vec()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_key_is_known() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    assert_eq!(signer.expires_at(), None);
    let end = now() + 86_400;
    azure.edit_key(KEY, |key| {
        key.attributes.insert("exp", end);
    });
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    assert_eq!(
        signer.expires_at(),
        Some(UNIX_EPOCH + Duration::from_secs(end))
    );
}

#[tokio::test]
async fn a_dropped_signature_leaves_the_signer_signing() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    azure.fault("/sign", Fault::Silence, 1);
    let limit = Duration::from_millis(200);
    assert!(
        tokio::time::timeout(limit, signer.sign(INPUT.to_vec()))
            .await
            .is_err()
    );
    signer.sign(INPUT.to_vec()).await.unwrap();
}

#[tokio::test]
async fn many_at_once_are_all_signed() {
    let (azure, _) = with_key().await;
    let signer = KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap();
    let signing = (0..16).map(|_| signer.sign(INPUT.to_vec()));
    let signed = futures_util::future::join_all(signing).await;
    assert!(signed.iter().all(Result::is_ok));
    assert_eq!(azure.asked_for_tokens(), 1);
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let signer = runtime.block_on(async {
        let (azure, _) = with_key().await;
        KeyVaultSigner::connect(&azure.vault(), KEY).await.unwrap()
    });
    drop(runtime);
    let mut signing = signer.sign(INPUT.to_vec());
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = signing.as_mut().poll(&mut context) else {
        panic!("it must answer at once");
    };
    assert!(error.to_string().contains("Tokio"), "{error}");
}
