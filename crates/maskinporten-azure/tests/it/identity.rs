//! As whom a vault is asked: identities, and `kvSetting`.

use maskinporten::SettingsSource as _;
use maskinporten_azure::{Identity, KeyVault, KeyVaultSettings, KvSetting, VaultTransport};
use tokio::runtime::{Builder, Runtime};

use crate::azure::{
    Azure, CLIENT, CLIENT_SECRET, IDENTITY_HEADER, LOGIN, TENANT, VAULT, WORKLOAD_TOKEN,
};
use crate::child;

/// Goes on while the thread that made it waits for another process.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

#[tokio::test]
async fn a_workload_shows_the_token_of_its_file() {
    let azure = Azure::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), WORKLOAD_TOKEN).unwrap();
    let builder = azure.builder();
    let vault = builder.identity(Identity::workload_at(TENANT, CLIENT, file.path()));
    let settings = KeyVaultSettings::new(&vault.build().unwrap());
    settings.look().await.unwrap();
    assert_eq!(azure.asked_for_tokens(), 1);
}

#[tokio::test]
async fn a_workload_without_its_variables_or_its_file_is_told_at_once() {
    let azure = Azure::start().await;
    for identity in [
        Identity::workload(),
        Identity::workload_at(TENANT, CLIENT, "/nowhere/token"),
    ] {
        let error = azure.builder().identity(identity).build().unwrap_err();
        assert!(
            error.to_string().contains("token file is missing"),
            "{error}"
        );
    }
}

/// Looks at settings in a process that has these variables and no others.
#[track_caller]
fn look_elsewhere(test: &str, identity: Identity, variables: &[(&str, &str)]) {
    if child::is_here() {
        let variable = |name| std::env::var(name).unwrap();
        let transport = VaultTransport::builder()
            .proxy(variable("TEST_PROXY").parse().unwrap())
            .add_root_certificates(variable("TEST_ROOTS"));
        let vault = KeyVault::builder(VAULT)
            .identity(identity)
            .transport(transport.build().unwrap())
            .build()
            .unwrap();
        let settings = KeyVaultSettings::new(&vault);
        block_on(settings.look()).unwrap();
        return;
    }
    let runtime = runtime();
    let azure = runtime.block_on(Azure::start());
    let (machine, proxy, roots) = (azure.machine(), azure.proxy().to_string(), azure.roots());
    let mut variables = variables.to_vec();
    variables.extend([
        ("IDENTITY_ENDPOINT", &*machine),
        ("TEST_PROXY", &*proxy),
        ("TEST_ROOTS", &*roots),
    ]);
    child::run(test, &variables);
    assert_eq!(azure.asked_for_tokens(), 1);
    assert_eq!(azure.asked("/secrets"), 1);
}

#[test]
fn a_workload_is_found_in_the_environment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), WORKLOAD_TOKEN).unwrap();
    look_elsewhere(
        "identity::a_workload_is_found_in_the_environment",
        Identity::workload(),
        &[
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_CLIENT_ID", CLIENT),
            ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", LOGIN),
        ],
    );
}

#[test]
fn a_machine_is_asked_for_its_own_identity_and_past_the_proxy() {
    look_elsewhere(
        "identity::a_machine_is_asked_for_its_own_identity_and_past_the_proxy",
        Identity::managed(),
        &[("IDENTITY_HEADER", IDENTITY_HEADER)],
    );
}

#[test]
fn a_machine_that_is_said_to_be_elsewhere_is_not_asked_in_the_clear() {
    let test = "identity::a_machine_that_is_said_to_be_elsewhere_is_not_asked_in_the_clear";
    if !child::is_here() {
        let endpoint = ("IDENTITY_ENDPOINT", "http://192.0.2.1/msi/token");
        child::run(test, &[endpoint, ("IDENTITY_HEADER", IDENTITY_HEADER)]);
        return;
    }
    block_on(async {
        let azure = Azure::start().await;
        let vault = azure.builder().identity(Identity::managed()).build();
        let settings = KeyVaultSettings::new(&vault.unwrap());
        let error = settings.look().await.unwrap_err();
        assert!(
            error.to_string().contains("192.0.2.1 is not asked"),
            "{error}"
        );
        assert!(!error.is_transient());
    });
}

// ===== kvSetting =====

fn json() -> String {
    format!(
        "\u{feff}{{\"Logging\": {{}}, \"KVSETTING\": {{\"secreturi\": \"{VAULT}/\", \"ClientId\": \"{CLIENT}\", \
         \"ClientSecret\": \"{CLIENT_SECRET}\", \"TenantId\": \"{TENANT}\"}}}}"
    )
}

fn variables() -> Vec<(&'static str, &'static str)> {
    vec![
        ("kvSetting__SecretUri", VAULT),
        ("KVSETTING__CLIENTID", CLIENT),
        ("kvSetting__ClientSecret", CLIENT_SECRET),
        ("kvSetting:TenantId", TENANT),
        ("kvSettingOther__SecretUri", "https://other.vault.azure.net"),
    ]
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn an_altinn_app_reads_its_vault_as_kv_setting_says() {
    let azure = Azure::start().await;
    for setting in [
        KvSetting::from_json(&json()).unwrap(),
        KvSetting::from_variables(owned(&variables())).unwrap(),
    ] {
        let builder = setting.builder().authority_host(LOGIN);
        let vault = builder.transport(azure.transport()).build().unwrap();
        assert_eq!(vault.address(), VAULT);
        KeyVaultSettings::new(&vault).look().await.unwrap();
    }
    assert_eq!(azure.asked_for_tokens(), 2);
}

#[test]
fn what_is_missing_of_kv_setting_is_named() {
    let error = KvSetting::from_variables(owned(&variables()[1..3])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the environment lacks kvSetting__SecretUri, kvSetting__TenantId"
    );
    let blank = json().replace(CLIENT_SECRET, " ");
    let error = KvSetting::from_json(&blank).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the settings file lacks kvSetting:ClientSecret"
    );
    let error = KvSetting::from_json("{}").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("kvSetting:SecretUri, kvSetting:ClientId"),
        "{error}"
    );
}

#[test]
fn kv_setting_is_read_as_other_tools_write_it() {
    let (first, second) = (
        format!(r#""SecretUri": "{VAULT}", "ClientId": "{CLIENT}""#),
        format!(r#""ClientSecret": "{CLIENT_SECRET}", "TenantId": "{TENANT}""#),
    );
    let flat = |members: &str, separator: &str| {
        let members = members.split(", ").map(|member| {
            let name = member.trim_start_matches('"');
            format!("\"kvSetting{separator}{name}")
        });
        members.collect::<Vec<_>>().join(", ")
    };
    let all = format!("{first}, {second}");
    let mut texts: Vec<String> = [":", "__", "--"]
        .iter()
        .map(|separator| format!("{{{}}}", flat(&all, separator)))
        .collect();
    texts.push(format!(
        r#"{{"kvSetting": {{{first}}}, {}}}"#,
        flat(&second, ":")
    ));
    texts.push(format!(
        r#"{{"IsEncrypted": false, "Values": {{{}}}}}"#,
        flat(&all, "__")
    ));
    let file = tempfile::NamedTempFile::new().unwrap();
    for text in texts {
        let marked = format!("\u{feff}{text}");
        let units = || marked.encode_utf16();
        for bytes in [
            text.clone().into_bytes(),
            units().flat_map(u16::to_le_bytes).collect(),
            units().flat_map(u16::to_be_bytes).collect(),
        ] {
            std::fs::write(file.path(), &bytes).unwrap();
            let found = KvSetting::from_file(file.path()).unwrap();
            assert_eq!(found.secret_uri, VAULT, "{text}");
            assert_eq!(found.client_id, CLIENT);
            assert_eq!(found.client_secret.expose(), CLIENT_SECRET);
            assert_eq!(found.tenant_id, TENANT);
        }
        let number = text.replace(&format!("\"{CLIENT_SECRET}\""), "12345");
        let found = KvSetting::from_json(&number).unwrap();
        assert_eq!(found.client_secret.expose(), "12345");

        // One object that has exactly one name twice is read as JSON is: the last counts.
        if !text.contains("kvSetting:TenantId") {
            let more = r#"{"kvSetting:TenantId": "canary", "#;
            let twice = text.replacen('{', more, 1);
            let error = KvSetting::from_json(&twice).unwrap_err().to_string();
            assert!(error.contains("`kvSetting:TenantId`"), "{error}");
            assert!(error.contains("are one name and differ"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
    std::fs::write(file.path(), [0xff, 0xfe, b'{']).unwrap();
    let error = KvSetting::from_file(file.path()).unwrap_err();
    let path = file.path().to_str().unwrap();
    assert!(error.to_string().contains(path), "{error}");
}

#[test]
fn settings_that_are_no_json_are_not_repeated() {
    let error = KvSetting::from_json(&json().replace("}}", "")).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
    assert!(!format!("{error:?}").contains("canary"));
}

#[test]
fn the_environment_counts_alone_where_it_holds_any_of_kv_setting() {
    let test = "identity::the_environment_counts_alone_where_it_holds_any_of_kv_setting";
    if !child::is_here() {
        child::run(test, &variables());
        child::run(test, &variables()[..1]);
        child::run(test, &[]);
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json()).unwrap();
    let found = KvSetting::discover(file.path());
    let from_environment = KvSetting::from_environment();
    let of_ours = std::env::vars()
        .filter(|(name, _)| name.starts_with("kvSetting"))
        .count();
    match of_ours {
        0 => {
            assert_eq!(found.unwrap().secret_uri, format!("{VAULT}/"));
            assert!(from_environment.is_err());
            let nowhere = KvSetting::discover("/nowhere/appsettings.json").unwrap_err();
            assert!(
                nowhere.to_string().contains("/nowhere/appsettings.json"),
                "{nowhere}"
            );
        }
        1 => {
            let error = found.unwrap_err();
            assert!(
                error.to_string().starts_with("the environment lacks"),
                "{error}"
            );
        }
        _ => {
            assert_eq!(found.unwrap().secret_uri, VAULT);
            assert_eq!(from_environment.unwrap().tenant_id, TENANT);
        }
    }
}
