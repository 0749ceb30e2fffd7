//! Secrets of a vault as settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use maskinporten::{ErrorKind, Finding, Result, SettingsSource as _};
use maskinporten_azure::{KeyVault, KeyVaultSettings};

use crate::azure::{Azure, Fault, VAULT, now};

const JWK: &str = "canary-of-a-jwk-0a91";

/// A vault that holds the settings of one client.
async fn filled() -> Azure {
    let azure = Azure::start().await;
    azure.set("MaskinportenSettings--Authority", "test");
    azure.set("MaskinportenSettings--ClientId", "our-client");
    azure.set("MaskinportenSettings--JwkBase64", JWK);
    azure
}

async fn look(azure: &Azure) -> Result<Finding> {
    KeyVaultSettings::new(&azure.vault()).look().await
}

#[track_caller]
fn client_id(finding: Result<Finding>) -> String {
    match finding.unwrap() {
        Finding::Complete(settings) => settings.client_id,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn missing(finding: Result<Finding>) -> Vec<String> {
    match finding.unwrap() {
        Finding::Incomplete(missing) => missing,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn secrets_of_the_section_are_the_settings() {
    let azure = filled().await;
    let found = look(&azure).await.unwrap();
    let Finding::Complete(settings) = found else {
        panic!("{found:?}")
    };
    assert_eq!(settings.authority, "test");
    assert_eq!(settings.client_id, "our-client");
    assert_eq!(settings.jwk_base64.unwrap().expose(), JWK);
}

#[tokio::test]
async fn names_are_read_in_any_case_and_sections_below_another_too() {
    let azure = Azure::start().await;
    azure.set("MYAPP--maskinportenSettings--AUTHORITY", "test");
    azure.set("myapp--MaskinportenSettings--clientid", "our-client");
    azure.set("myapp--MaskinportenSettings--JwkBase64", JWK);
    azure.set("MaskinportenSettings--ClientId", "another");
    let settings = KeyVaultSettings::new(&azure.vault()).with_section("myapp:MaskinportenSettings");
    assert_eq!(client_id(settings.look().await), "our-client");
    assert_eq!(
        settings.name(),
        "key vault https://myvault.vault.azure.net, section myapp:MaskinportenSettings"
    );
}

#[tokio::test]
async fn only_values_of_the_section_are_read() {
    let azure = filled().await;
    azure.set("DatabasePassword", "not ours");
    azure.set("MaskinportenSettingsOfOld--ClientId", "not ours");
    look(&azure).await.unwrap();
    assert_eq!(azure.asked("/secrets/"), 3);
    assert_eq!(azure.asked("/secrets/DatabasePassword"), 0);
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let azure = filled().await;
    for number in 0..7 {
        azure.set(&format!("Another{number}"), "not ours");
    }
    azure.state().page = 3;
    assert_eq!(client_id(look(&azure).await), "our-client");
    let state = azure.state();
    let pages = state.journal.iter().filter(|seen| seen.path == "/secrets");
    assert_eq!(pages.filter(|seen| seen.authorized).count(), 4);
}

#[tokio::test]
async fn the_latest_version_counts_and_a_new_one_is_seen_by_the_next_look() {
    let azure = filled().await;
    let settings = KeyVaultSettings::new(&azure.vault());
    assert_eq!(client_id(settings.look().await), "our-client");
    azure.set("MaskinportenSettings--ClientId", "renamed");
    assert_eq!(client_id(settings.look().await), "renamed");
    assert_eq!(azure.asked_for_tokens(), 1, "the vault's token is kept");
}

#[tokio::test]
async fn an_empty_vault_holds_nothing() {
    let azure = Azure::start().await;
    azure.set("DatabasePassword", "not ours");
    assert!(matches!(look(&azure).await, Ok(Finding::Nothing)));
}

#[tokio::test]
async fn what_is_missing_is_named_as_the_vault_has_it() {
    let azure = filled().await;
    azure
        .state()
        .secrets
        .remove("MaskinportenSettings--ClientId");
    assert_eq!(
        missing(look(&azure).await),
        ["MaskinportenSettings--ClientId"]
    );
}

#[tokio::test]
async fn a_secret_that_is_disabled_or_out_of_date_counts_as_missing_and_is_told_of() {
    let name = "MaskinportenSettings--ClientId";
    let azure = filled().await;
    azure.edit(name, |secret| secret.disabled = true);
    assert_eq!(
        missing(look(&azure).await),
        [format!("{name} (it is disabled)")]
    );

    azure.edit(name, |secret| {
        secret.disabled = false;
        secret.attributes.insert("exp", now() - 5);
    });
    assert_eq!(
        missing(look(&azure).await),
        [format!("{name} (it has expired)")]
    );

    azure.edit(name, |secret| {
        secret.attributes.insert("exp", now() + 500);
        secret.attributes.insert("nbf", now() + 400);
    });
    let told = format!("{name} (it is not valid yet)");
    assert_eq!(missing(look(&azure).await), [told]);
    assert_eq!(azure.asked("/secrets/MaskinportenSettings--ClientId"), 0);
}

#[tokio::test]
async fn a_page_on_another_host_is_not_asked_and_gets_no_token() {
    let azure = filled().await;
    azure.state().next_page = Some("https://evil.example.no/secrets?api-version=7.6".to_owned());
    let error = look(&azure).await.unwrap_err();
    assert!(error.to_string().contains("evil.example.no"), "{error}");
    assert!(!error.is_transient());
    let state = azure.state();
    assert!(
        state
            .journal
            .iter()
            .all(|seen| seen.host != "evil.example.no")
    );
}

#[tokio::test]
async fn pages_without_end_are_left() {
    let azure = filled().await;
    azure.state().next_page = Some(format!("{VAULT}/secrets?api-version=7.6"));
    let error = look(&azure).await.unwrap_err();
    assert!(error.to_string().contains("more than 80 pages"), "{error}");
    assert_eq!(azure.asked("/secrets"), 80);
}

#[tokio::test]
async fn more_secrets_than_settings_have_are_not_read() {
    let azure = filled().await;
    for number in 0..50 {
        azure.set(&format!("MaskinportenSettings--Another{number}"), "x");
    }
    let error = look(&azure).await.unwrap_err();
    assert!(
        error.to_string().contains("more than 40 secrets"),
        "{error}"
    );
    assert_eq!(azure.asked("/secrets/"), 0);
}

#[tokio::test]
async fn a_failure_that_passes_is_not_noticed() {
    let azure = filled().await;
    azure.fault("/secrets", Fault::Status(500, "InternalError"), 1);
    azure.fault("/secrets/", Fault::RetryAfter(429, "1"), 1);
    azure.fault("/secrets/", Fault::Truncated, 1);
    assert_eq!(client_id(look(&azure).await), "our-client");
}

/// A credential of one's own that keeps nothing.
#[derive(Debug)]
struct Fetching(Azure);

#[async_trait::async_trait]
impl TokenCredential for Fetching {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://vault.azure.net/.default"]);
        let token = self.0.state().issue();
        let end = SystemTime::now() + Duration::from_secs(3600);
        Ok(AccessToken::new(token, end.into()))
    }
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_asked_for_again() {
    let azure = filled().await;
    let builder = KeyVault::builder(VAULT).transport(azure.transport());
    let vault = builder.credential(Arc::new(Fetching(azure.clone())));
    let settings = KeyVaultSettings::new(&vault.build().unwrap());
    assert_eq!(client_id(settings.look().await), "our-client");
    azure.state().tokens.clear();
    assert_eq!(client_id(settings.look().await), "our-client");
}

#[tokio::test]
async fn a_dropped_look_leaves_the_next_one_to_succeed() {
    let azure = filled().await;
    let settings = KeyVaultSettings::new(&azure.vault());
    azure.fault("/secrets", Fault::Silence, 1);
    let dropped = tokio::time::timeout(Duration::from_millis(300), settings.look()).await;
    assert!(dropped.is_err());
    assert_eq!(client_id(settings.look().await), "our-client");
}

#[tokio::test]
async fn a_vault_of_another_domain_gets_no_token_unless_it_is_said_so() {
    let azure = Azure::start().await;
    let address = "https://vault.example.no";
    let builder = |verify: bool| {
        KeyVault::builder(address)
            .identity(maskinporten_azure::Identity::client_secret(
                crate::azure::TENANT,
                crate::azure::CLIENT,
                crate::azure::CLIENT_SECRET,
            ))
            .authority_host(crate::azure::LOGIN)
            .transport(azure.transport())
            .verify_challenge_resource(verify)
            .build()
            .unwrap()
    };
    let error = KeyVaultSettings::new(&builder(true))
        .look()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("verify_challenge_resource"),
        "{error}"
    );
    assert_eq!(azure.asked_for_tokens(), 0);

    let _ = KeyVaultSettings::new(&builder(false)).look().await;
    assert_eq!(azure.asked_for_tokens(), 1);
}

#[tokio::test]
async fn an_address_that_is_none_is_told_before_anything_is_asked() {
    for address in [
        "",
        "myvault",
        "http://myvault.vault.azure.net",
        "https://myvault.vault.azure.net/secrets/x",
        "https://user:hush@myvault.vault.azure.net",
    ] {
        let error = KeyVault::builder(address)
            .identity(maskinporten_azure::Identity::managed())
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(!error.to_string().contains("hush"));
    }
}
