//! What is declared rightly, and how it is asked for.

use tower_maskinporten::{BoxError, ClientRegistry, HttpClient, NamedClient};

use super::*;
use crate::world::{API, Recorder};

fn fits_a_states_bounds<T: Clone + Send + Sync + 'static>() {}

#[test]
fn a_client_and_the_registry_fit_the_state_of_a_web_framework() {
    fits_a_states_bounds::<HttpClient>();
    fits_a_states_bounds::<NamedClient<HttpClient>>();
    fits_a_states_bounds::<ClientRegistry>();
}

/// Every member there is.
const EVERYTHING: &str = r#"
    [clients.instances]
    base_url = "https://${ALTINN}/storage/api"
    kind = "altinn"
    scopes = ["altinn:serviceowner/instances.read", "altinn:serviceowner"]
    resource = "urn:altinn:resource:x"
    timeout = "10s"
    attempt_timeout = "500ms"
    retries = 2
    retry_all_methods = true
    redirects = 3
    replay_on_unauthorized = true
    per_organisation = true
    optional_context = false
    identity = "${WHO}"
    [clients.instances.headers]
    "Ocp-Apim-Subscription-Key" = "${KEY}"
    X-Price = "$$5"
"#;

fn everything() -> ClientRegistry {
    ClientRegistry::builder(&anybody())
        .environment(|name| match name {
            "ALTINN" => Some("platform.tt02.altinn.no".to_owned()),
            "WHO" => Some("tax".to_owned()),
            "KEY" => Some("canary".to_owned()),
            _ => None,
        })
        .toml("clients.toml", EVERYTHING)
        .unwrap()
        .identity("tax", &anybody())
        .build()
        .unwrap()
}

#[test]
fn every_member_of_a_file_is_taken_and_no_value_of_a_header_is_shown() {
    let client = everything().get("instances").unwrap();

    assert_eq!(client.name(), "instances");
    assert_eq!(
        client.base_url(),
        "https://platform.tt02.altinn.no/storage/api/"
    );
    assert_eq!(
        client.uri("instances?org=x").unwrap(),
        "https://platform.tt02.altinn.no/storage/api/instances?org=x"
    );
    let shown = format!("{client:?}");
    for part in [
        r#"name: "instances""#,
        "origin: https://platform.tt02.altinn.no,",
        "kind: Altinn",
        r#"scopes: "altinn:serviceowner altinn:serviceowner/instances.read""#,
        r#"identity: Some("${WHO}")"#,
        "per_organisation: true",
        r#"layers: ["timeout 10s", "retries 2 of all methods", "redirects 3", "token with replay", "headers", "attempt timeout 500ms"]"#,
        r#"headers: ["ocp-apim-subscription-key", "x-price"]"#,
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let shown = format!("{shown} {:?} {:?}", everything(), client.client());
    assert!(
        !shown.contains("canary") && !shown.contains("$5"),
        "{shown}"
    );
}

#[test]
fn what_a_variable_holds_is_shown_by_no_client() {
    let text = r#"
        [clients.a]
        base_url = "https://${HOST}/${SECRET}/"
        kind = "maskinporten"
        scopes = ["krr:read", "${SECRET}:read"]
        resource = "urn:${SECRET}"
        identity = "${SECRET}"
        headers = { X-Key = "${SECRET}" }
    "#;
    let clients = ClientRegistry::builder(&anybody())
        .environment(|name| match name {
            "HOST" => Some("api.example.no".to_owned()),
            _ => Some("canary".to_owned()),
        })
        .identity("canary", &anybody())
        .toml("clients.toml", text);
    let clients = clients.unwrap().build().unwrap();
    let client = clients.get("a").unwrap();

    let mut shown = format!("{clients:?} {client:?}");
    for path in ["../admin", "//host", "a b", "%c0", "*"] {
        let error = client.uri(path).unwrap_err();
        shown += &format!(" {error} {error:?}");
    }

    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("https://api.example.no"), "{shown}");
    assert!(shown.contains(r#"scopes: "${SECRET}""#), "{shown}");
    assert_eq!(client.base_url().path(), "/canary/");
}

#[test]
fn the_file_in_the_documentation_can_be_taken_as_it_stands() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/named-clients.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();

    let clients = ClientRegistry::builder(&anybody())
        .environment(|_| Some("canary".to_owned()))
        .toml("named-clients.md", text);
    let clients = clients.unwrap().build().unwrap();

    assert_eq!(
        clients.names().collect::<Vec<_>>(),
        ["instances", "persons"]
    );
}

#[tokio::test]
async fn a_secret_header_is_marked_for_what_is_below() {
    let recorder = Recorder::new();
    let clients = ClientRegistry::builder(&anybody()).client("a", |c| {
        c.maskinporten(SCOPES)
            .base_url(API)
            .secret_header("X-Key", "canary")
    });
    let client = clients.build_over(recorder.clone()).unwrap().get("a");

    client.unwrap().get("x").await.unwrap();

    let key = &recorder.seen()[0].headers["x-key"];
    assert_eq!(key, "canary");
    assert!(key.is_sensitive());
}

#[test]
fn what_is_not_said_is_the_least() {
    let clients = ClientRegistry::builder(&anybody())
        .client("a", |c| {
            c.maskinporten(["a:b"]).base_url("https://api.example.no")
        })
        .build()
        .unwrap();
    let shown = format!("{:?}", clients.get("a").unwrap());
    assert!(
        shown.contains(r#"layers: ["timeout 100s", "token"]"#),
        "{shown}"
    );
}

#[test]
fn a_name_that_is_not_there_is_answered_with_those_that_are() {
    let check = |declared: &[&str], name: &str, expected: &str| {
        let registry = ClientRegistry::builder(&anybody());
        let declared = declared.iter().fold(registry, |registry, name| {
            registry.client(name, |c| {
                c.maskinporten(["a:b"]).base_url("https://api.example.no")
            })
        });
        let error = declared.build().unwrap().get(name).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some());
    };
    check(
        &["mva", "instances"],
        "mav",
        r#"no client is named "mav", but one is named "mva"; there are instances, mva"#,
    );
    check(
        &["mva", "instances"],
        "MVA",
        r#"no client is named "MVA", but one is named "mva"; there are instances, mva"#,
    );
    check(
        &["mva"],
        "persons",
        r#"no client is named "persons"; there are mva"#,
    );
    check(&[], "mva", r#"no client is named "mva": none was declared"#);
}

/// A client of one API, as its users would have it.
#[derive(Clone, Debug)]
struct Echo(NamedClient<HttpClient>);

impl From<NamedClient<HttpClient>> for Echo {
    fn from(client: NamedClient<HttpClient>) -> Self {
        Self(client)
    }
}

impl Echo {
    async fn scope(&self) -> Result<String, BoxError> {
        let body = self.0.get("echo").await?.into_body().bytes().await?;
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(body["claims"]["scope"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

#[tokio::test]
async fn a_typed_client_is_made_of_a_named_one() {
    let (server, client) = served().await;
    let clients = ClientRegistry::builder(&client)
        .client("echo", |c| c.maskinporten(SCOPES).base_url(api(&server)))
        .build()
        .unwrap();

    let echo: Echo = clients.typed("echo").unwrap();

    assert_eq!(echo.scope().await.unwrap(), "krr:read");
    assert!(clients.typed::<Echo>("ecko").is_err());
}

#[tokio::test]
async fn a_file_is_all_that_a_client_needs() {
    let (server, client) = served().await;
    let path = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "[clients.echo]\nbase_url = \"{}\"\nkind = \"altinn\"\nscopes = [\"krr:read\"]\n",
        api(&server)
    );
    std::fs::write(path.path(), text).unwrap();

    let clients = ClientRegistry::builder(&client).toml_file(path.path());
    let clients = clients.unwrap().build().unwrap();
    let answer = clients.get("echo").unwrap().get("/echo").await.unwrap();

    assert_eq!(answer.status(), 200);
    assert_eq!(server.sim().journal().exchanges(), 1);
}

#[tokio::test]
async fn the_variables_are_those_of_the_process_where_nothing_else_is_said() {
    const TEST: &str =
        "registry::declared::the_variables_are_those_of_the_process_where_nothing_else_is_said";
    if !crate::child::is_here() {
        crate::child::run(TEST, &[("API_HOST", "api.example.no")]);
        return;
    }
    let text =
        "[clients.a]\nbase_url = \"https://${API_HOST}\"\nkind = \"altinn\"\nscopes = [\"a:b\"]";
    let clients = ClientRegistry::builder(&anybody()).toml("c.toml", text);
    let client = clients.unwrap().build().unwrap().get("a").unwrap();
    assert_eq!(client.base_url(), "https://api.example.no/");
}

#[tokio::test]
async fn the_clients_of_a_registry_are_warm_before_the_first_request() {
    let (server, client) = served().await;
    let clients = ClientRegistry::builder(&client)
        .client("raw", |c| c.maskinporten(SCOPES).base_url(api(&server)))
        .client("altinn", |c| c.altinn(SCOPES).base_url(api(&server)))
        .build()
        .unwrap();

    client.warm_up().await.unwrap();
    assert!(client.health().is_serving());
    let fetched = |journal: maskinporten_sim::Journal| (journal.grants(), journal.exchanges());
    assert_eq!(fetched(server.sim().journal()), (1, 1));

    for name in ["raw", "altinn"] {
        let answer = clients.get(name).unwrap().get("echo").await.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
    }
    assert_eq!(fetched(server.sim().journal()), (1, 1));
}
