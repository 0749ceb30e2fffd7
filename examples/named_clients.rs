//! Clients by name, declared in a file: address, token, secret headers, time and attempts.
//!
//! `cargo run --example named_clients`. Copy `clients.toml`, the first lines of `main`, and `Persons`.

mod demo;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use demo::{BoxError, check};
use http::{HeaderMap, StatusCode};
use maskinporten_sim::{Protection, Sim, SimServer};
use tower_maskinporten::maskinporten::{AltinnSettings, MaskinportenClient};
use tower_maskinporten::{ClientRegistry, HttpClient, NamedClient};

const FILE: &str = include_str!("clients.toml");

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = world().await?;
    let api = api(server.sim()).await?;

    // `toml_file("clients.toml")` reads a file, and the variables are those of the process.
    let variables = variables(&api);
    let clients = ClientRegistry::builder(&client)
        .toml("clients.toml", FILE)?
        .environment(variables.clone())
        .build()?;

    println!("1. A type of one's own, made of a named client");
    let persons: Persons = clients.typed("persons")?;
    let found = persons.exists(1).await?;
    println!("   {:?}", persons.0);
    check("the register takes Maskinporten's token", found)?;

    println!("2. A client of Altinn's, with a subscription key");
    let instances = clients.get("instances")?;
    let status = instances.get("1337/a").await?.status();
    println!("   {status} from {}", instances.base_url());
    check("the platform takes token and key", status == StatusCode::OK)?;

    println!("3. What is wrong is told before the first request");
    let unknown = clients.get("person").err().map(|error| error.to_string());
    println!("   {}", unknown.as_deref().unwrap_or("a client"));
    let misspelt = ClientRegistry::builder(&client)
        .toml("clients.toml", FILE.replace("retries", "retrys"))?
        .environment(variables)
        .build();
    let misspelt = misspelt.err().map(|error| error.to_string());
    println!("   {}", misspelt.as_deref().unwrap_or("a registry"));
    check("both are", unknown.is_some() && misspelt.is_some())
}

/// What the register looks like to the rest of a service.
#[derive(Clone)]
struct Persons(NamedClient<HttpClient>);

impl From<NamedClient<HttpClient>> for Persons {
    fn from(client: NamedClient<HttpClient>) -> Self {
        Self(client)
    }
}

impl Persons {
    async fn exists(&self, number: u32) -> Result<bool, BoxError> {
        let answer = self.0.get(&number.to_string()).await?;
        Ok(answer.status() == StatusCode::OK)
    }
}

// ===== what is only here to run it =====

const SUBSCRIPTION_KEY: &str = "a-key-of-this-example";

/// What the environment of the process would hold.
fn variables(api: &demo::Api) -> impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static {
    let origin = api.origin.clone();
    move |name| match name {
        "REGISTER_URL" | "PLATFORM_URL" => Some(origin.clone()),
        "PLATFORM_SUBSCRIPTION_KEY" => Some(SUBSCRIPTION_KEY.to_owned()),
        _ => None,
    }
}

/// A Maskinporten with an Altinn, and a client of both.
async fn world() -> Result<(SimServer, MaskinportenClient), BoxError> {
    let server = SimServer::start().await?;
    let scopes = [
        "krr:read",
        "altinn:serviceowner",
        "altinn:serviceowner/instances.read",
    ];
    let registered = server.sim().new_client(scopes);
    let client = MaskinportenClient::builder()
        .settings(demo::settings(&registered)?)
        .altinn(AltinnSettings::platform(&server.sim().altinn_platform())?)
        .build()?;
    Ok((server, client))
}

/// A register that wants Maskinporten's token, and a platform that wants Altinn's and a key.
async fn api(sim: &Sim) -> Result<demo::Api, BoxError> {
    let persons = Protection::maskinporten().scope("krr:read");
    let instances = Protection::altinn().scope("altinn:serviceowner/instances.read");
    sim.protect("/api/persons", persons)
        .protect("/api/instances", instances);
    let person = async |State(sim): State<Sim>, headers: HeaderMap| {
        demo::claims(&sim, "/api/persons", &headers).await?;
        Ok::<_, StatusCode>("a person")
    };
    let instance = async |State(sim): State<Sim>, headers: HeaderMap| {
        let key = headers.get("Ocp-Apim-Subscription-Key");
        if key.is_none_or(|key| key != SUBSCRIPTION_KEY) {
            return Err(StatusCode::FORBIDDEN);
        }
        demo::claims(&sim, "/api/instances", &headers).await?;
        Ok("an instance")
    };
    let router = Router::new()
        .route("/persons/{number}", get(person))
        .route("/storage/api/v1/instances/{owner}/{id}", get(instance))
        .with_state(sim.clone());
    Ok(demo::serve(router).await?)
}
