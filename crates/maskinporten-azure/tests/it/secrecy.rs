//! Nothing secret is said: a tour in a process of its own that says everything it can, and a search.
//!
//! Every secret of the tour begins with the word that is searched for.

use maskinporten::{Error, SettingsSource as _, Signer as _};
use maskinporten_azure::{Identity, KeyVaultSettings, KeyVaultSigner, KvSetting};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::azure::{Azure, CLIENT, CLIENT_SECRET, Fault, TENANT, VAULT};
use crate::child;

const SECRET: &str = "canary-of-";

fn say(value: &dyn std::fmt::Debug) {
    println!("{value:?}");
    println!("{value:#?}");
}

fn say_error(error: &Error) {
    say(error);
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        println!("{cause} {cause:?}");
        next = cause.source();
    }
}

#[test]
fn nothing_secret_is_said_on_a_tour_of_everything() {
    if !child::is_here() {
        let said = child::run(
            "secrecy::nothing_secret_is_said_on_a_tour_of_everything",
            &[],
        );
        for word in [
            "TRACE hyper_util::",
            "DEBUG typespec_client_core::",
            "KeyVaultSigner",
            "403 ForbiddenByRbac",
            "AADSTS7000215",
            "the end of the tour",
        ] {
            assert!(said.contains(word), "{word:?} was not said in {said}");
        }
        let at = said.find(SECRET).map(|at| &said[at.saturating_sub(400)..]);
        assert!(at.is_none(), "{at:?}");
        return;
    }
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .finish()
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(tour());
    println!("the end of the tour");
}

async fn tour() {
    let azure = Azure::start().await;
    azure.set("MaskinportenSettings--Authority", "test");
    azure.set("MaskinportenSettings--ClientId", "our-client");
    azure.set("MaskinportenSettings--JwkBase64", "canary-of-a-jwk");
    azure.add_key("maskinporten");

    let builder = azure.builder();
    say(&builder);
    let vault = builder.build().unwrap();
    let settings = KeyVaultSettings::new(&vault);
    say(&vault);
    say(&settings);
    say(&settings.look().await.unwrap());
    let signing = KeyVaultSigner::builder(&vault, "maskinporten");
    say(&signing);
    let signer = signing.connect().await.unwrap();
    say(&signer);
    signer
        .sign(b"canary-of-an-assertion".to_vec())
        .await
        .unwrap();

    for fault in [
        Fault::Status(403, "ForbiddenByRbac"),
        Fault::Status(404, "canary-of-a-code"),
        Fault::RetryAfter(429, "60"),
        Fault::Text("canary-of-a-page"),
        Fault::Text("{\"value\": \"canary-of-a-value\"}"),
        Fault::Unauthenticated,
    ] {
        for path in ["/secrets", "/sign"] {
            azure.fault(path, fault.clone(), u32::MAX);
        }
        say_error(&settings.look().await.unwrap_err());
        say_error(&signer.sign(Vec::new()).await.unwrap_err());
        azure.state().faults.clear();
    }

    let wrong = Identity::client_secret(TENANT, CLIENT, "canary-of-a-wrong-secret");
    say(&wrong);
    let vault = azure.builder().identity(wrong).build().unwrap();
    say_error(&KeyVaultSettings::new(&vault).look().await.unwrap_err());

    let proxy = "http://user:canary-of-the-proxy@127.0.0.1:1"
        .parse()
        .unwrap();
    let transport = maskinporten_azure::VaultTransport::builder().proxy(proxy);
    say(&transport);
    let transport = transport.build().unwrap();
    say(&transport);
    let vault = azure.builder().transport(transport).build().unwrap();
    say_error(&KeyVaultSettings::new(&vault).look().await.unwrap_err());

    let json = format!(
        r#"{{"kvSetting": {{"SecretUri": "{VAULT}", "ClientId": "{CLIENT}",
        "ClientSecret": "{CLIENT_SECRET}", "TenantId": "{TENANT}"}}}}"#
    );
    let setting = KvSetting::from_json(&json).unwrap();
    say(&setting);
    say(&setting.builder());
    say(&setting.key_vault().unwrap());
    say_error(&KvSetting::from_json(&json.replace(VAULT, "")).unwrap_err());
}
