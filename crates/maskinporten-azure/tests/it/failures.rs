//! The table of failures in the crate's documentation, row by row, as a look at settings meets them.

use std::time::{Duration, Instant};

use maskinporten::{Error, SettingsSource as _};
use maskinporten_azure::{Identity, KeyVault, KeyVaultBuilder, KeyVaultSettings, VaultTransport};

use crate::azure::{Azure, CLIENT, CLIENT_SECRET, Fault, LOGIN, TENANT};

/// Many times what any of these takes.
const SOON: Duration = Duration::from_secs(3);

async fn filled() -> Azure {
    let azure = Azure::start().await;
    azure.set("MaskinportenSettings--ClientId", "our-client");
    azure
}

async fn failed(builder: KeyVaultBuilder) -> Error {
    let settings = KeyVaultSettings::new(&builder.build().unwrap());
    settings.look().await.unwrap_err()
}

#[track_caller]
fn check(error: &Error, is_transient: bool, words: &str) {
    assert_eq!(error.is_transient(), is_transient, "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    // A server's own words are not repeated.
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

/// A fault that lasts, in answers to paths with `path`: what is told, and after how many requests.
async fn check_fault(
    path: &'static str,
    fault: Fault,
    is_transient: bool,
    words: &str,
    asked: usize,
) {
    let azure = filled().await;
    azure.fault(path, fault.clone(), u32::MAX);
    let start = Instant::now();
    let error = failed(azure.builder()).await;
    check(&error, is_transient, words);
    assert_eq!(azure.asked(path), asked, "{fault:?}");
    assert!(start.elapsed() < SOON, "{fault:?}: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_refusal_says_what_is_needed_and_is_not_asked_again() {
    for (status, code, words) in [
        (
            403,
            "ForbiddenByRbac",
            "403 ForbiddenByRbac): it takes the role Key Vault Secrets User",
        ),
        (
            403,
            "ForbiddenByPolicy",
            "an access policy with get and list on secrets",
        ),
        (
            403,
            "ForbiddenByFirewall",
            "the firewall of myvault.vault.azure.net",
        ),
        (
            400,
            "BadParameter",
            "refused to list its secrets (400 BadParameter)",
        ),
        (
            400,
            "a code with blanks",
            "refused to list its secrets (400)",
        ),
    ] {
        check_fault("/secrets", Fault::Status(status, code), false, words, 1).await;
    }
    // The authoriser of the SDK answers one challenge, with another token where it can get one.
    check_fault(
        "/secrets",
        Fault::Unauthenticated,
        false,
        "another tenant",
        1,
    )
    .await;
}

#[tokio::test]
async fn a_refused_value_names_its_secret() {
    let path = "/secrets/MaskinportenSettings--ClientId";
    let name = "the secret `MaskinportenSettings--ClientId`";
    for (status, code, words) in [
        (
            404,
            "SecretNotFound",
            "is not in myvault.vault.azure.net (404 SecretNotFound)",
        ),
        (403, "SecretDisabled", "is disabled (403 SecretDisabled)"),
    ] {
        let told = format!("{name} {words}");
        check_fault(path, Fault::Status(status, code), false, &told, 1).await;
    }
}

#[tokio::test]
async fn a_vault_that_fails_is_asked_three_times() {
    for status in [500, 502, 503] {
        let words = format!("cannot list its secrets now ({status} Trouble)");
        check_fault(
            "/secrets",
            Fault::Status(status, "Trouble"),
            true,
            &words,
            3,
        )
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_none_can_pass() {
    check_fault("/secrets", Fault::Text("<html>"), true, "cannot be read", 1).await;
    check_fault(
        "/secrets",
        Fault::Text("{\"value\": 7}"),
        true,
        "cannot be read",
        1,
    )
    .await;
    check_fault(
        "/secrets",
        Fault::Truncated,
        true,
        "was not reached, or hung up",
        3,
    )
    .await;
    check_fault("/secrets", Fault::Endless, false, "larger than 512 KiB", 1).await;
}

#[tokio::test]
async fn a_vault_that_asks_for_more_time_than_there_is_gets_it() {
    let fault = || Fault::RetryAfter(429, "60");
    check_fault(
        "/secrets",
        fault(),
        true,
        "is busy (429) and asks to be left alone for 60s",
        1,
    )
    .await;
    let fault = Fault::RetryAfter(503, "Fri, 31 Dec 2120 23:59:59 GMT");
    check_fault("/secrets", fault, true, "is busy (503)", 1).await;
}

#[tokio::test]
async fn a_short_pause_that_is_asked_for_is_kept() {
    let azure = filled().await;
    azure.fault("/secrets", Fault::RetryAfter(429, "1"), 1);
    let start = Instant::now();
    let settings = KeyVaultSettings::new(&azure.vault());
    settings.look().await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let state = azure.state();
    let lists = state.journal.iter().filter(|seen| seen.path == "/secrets");
    assert_eq!(lists.filter(|seen| seen.authorized).count(), 2);
}

#[tokio::test]
async fn a_vault_that_is_slow_or_silent_costs_the_deadline_of_a_look() {
    for fault in [Fault::Silence, Fault::Latency(Duration::from_secs(20))] {
        let azure = filled().await;
        azure.fault("/secrets", fault, u32::MAX);
        let deadline = Duration::from_millis(700);
        let settings = KeyVaultSettings::new(&azure.vault()).with_deadline(deadline);
        let start = Instant::now();
        let error = settings.look().await.unwrap_err();
        check(&error, true, "did not show its settings within 700ms");
        assert!((deadline..SOON).contains(&start.elapsed()));
    }
}

#[tokio::test]
async fn a_vault_that_is_slow_but_in_time_is_waited_for() {
    let azure = filled().await;
    azure.fault("/secrets", Fault::Latency(Duration::from_millis(800)), 1);
    KeyVaultSettings::new(&azure.vault()).look().await.unwrap();
    assert_eq!(azure.asked("/secrets"), 2, "a list and a value");
}

// ===== on the way =====

fn at(address: &str, transport: VaultTransport) -> KeyVaultBuilder {
    // A machine's identity is asked only after the vault's challenge, which never comes.
    KeyVault::builder(address)
        .identity(Identity::managed())
        .transport(transport)
}

#[tokio::test]
async fn a_name_that_is_not_in_dns_is_told() {
    let transport = VaultTransport::builder().build().unwrap();
    let error = failed(at("https://nosuch.vault.azure.invalid", transport)).await;
    check(&error, true, "nosuch.vault.azure.invalid is not in DNS");
}

#[tokio::test]
async fn nobody_listening_can_pass() {
    let transport = VaultTransport::builder().build().unwrap();
    let error = failed(at("https://127.0.0.1:1", transport)).await;
    check(&error, true, "127.0.0.1 was not reached");
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_not_tried_again() {
    let azure = filled().await;
    let transport = VaultTransport::builder().proxy(azure.proxy());
    // Some other authority, so that a machine without any can run this.
    let transport = transport.add_root_certificates(Azure::start().await.roots());
    let unknown = failed(at(crate::azure::VAULT, transport.build().unwrap())).await;
    check(
        &unknown,
        false,
        "the certificate of myvault.vault.azure.net",
    );

    let error = failed(at("https://other.vault.azure.net", azure.transport())).await;
    check(
        &error,
        false,
        "the certificate of other.vault.azure.net is for another name",
    );
    assert_eq!(azure.state().journal.len(), 0, "nothing was sent");
}

#[tokio::test]
async fn a_proxy_that_refuses_the_way_is_named() {
    let azure = filled().await;
    let error = failed(at("https://myvault.invalid", azure.transport())).await;
    check(&error, true, "the proxy 127.0.0.1 refused the way");
    let transport = VaultTransport::builder().proxy("socks5://127.0.0.1:1".parse().unwrap());
    let error = transport.build().unwrap_err();
    check(&error, false, "neither http nor https");
}

#[tokio::test]
async fn roots_that_are_none_are_told_at_once() {
    for pem in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let transport = VaultTransport::builder().add_root_certificates(pem);
        check(&transport.build().unwrap_err(), false, "root certificate");
    }
}

// ===== without a token =====

fn as_client(azure: &Azure, tenant: &str, client: &str, secret: &str) -> KeyVaultBuilder {
    azure
        .builder()
        .identity(Identity::client_secret(tenant, client, secret))
        .authority_host(LOGIN)
}

#[tokio::test]
async fn an_identity_that_is_refused_is_told_why() {
    let azure = filled().await;
    for (builder, words) in [
        (
            as_client(&azure, TENANT, CLIENT, "canary-of-a-wrong-secret"),
            "the client secret is wrong or has expired (401 AADSTS7000215)",
        ),
        (
            as_client(&azure, TENANT, "nobody", CLIENT_SECRET),
            "the client id is not known in this tenant (401 AADSTS700016)",
        ),
        (
            as_client(&azure, "another.example", CLIENT, CLIENT_SECRET),
            "the tenant id is wrong (400 AADSTS90002)",
        ),
    ] {
        check(&failed(builder).await, false, words);
    }
    assert_eq!(
        azure.asked_for_tokens(),
        3,
        "a refusal is not asked for again"
    );
}

#[tokio::test]
async fn an_identity_service_that_fails_can_pass() {
    let azure = filled().await;
    azure.fault("/oauth2", Fault::Status(503, "Trouble"), u32::MAX);
    let error = failed(azure.builder()).await;
    check(
        &error,
        true,
        "there is no token for myvault.vault.azure.net now (503)",
    );
    assert_eq!(azure.asked_for_tokens(), 3);

    azure.state().faults.clear();
    azure.fault("/oauth2", Fault::RetryAfter(429, "60"), u32::MAX);
    check(
        &failed(azure.builder()).await,
        true,
        "login.example.no is busy (429)",
    );
    assert_eq!(azure.asked_for_tokens(), 4);
}

#[tokio::test]
async fn an_identity_service_that_is_silent_costs_the_deadline_of_a_look() {
    let azure = filled().await;
    azure.fault("/oauth2", Fault::Silence, 1);
    let settings = KeyVaultSettings::new(&azure.vault());
    let short = settings.clone().with_deadline(Duration::from_millis(500));
    check(&short.look().await.unwrap_err(), true, "within 500ms");
    settings.look().await.unwrap();
}

#[tokio::test]
async fn an_identity_that_is_malformed_is_told_before_anything_is_asked() {
    let azure = Azure::start().await;
    for builder in [
        as_client(&azure, "no tenant", CLIENT, CLIENT_SECRET),
        as_client(&azure, TENANT, CLIENT, ""),
        azure.builder().authority_host("http://login.example.no"),
    ] {
        let error = builder.build().unwrap_err();
        check(
            &error,
            false,
            "the identity for the key vault cannot be used",
        );
    }
    let nobody = KeyVault::builder(crate::azure::VAULT).build().unwrap_err();
    check(&nobody, false, "nobody was named");
}
