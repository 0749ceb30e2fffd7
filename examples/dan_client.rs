//! From `AddMaskinportenHttpMessageHandler` to a typed client: data sets of data.altinn.no (Dan).
//!
//! `cargo run --example dan_client`. Copy `DanClient`.
//!
//! What it was in .NET, with the package `Altinn.ApiClients.Maskinporten`:
//!
//! ```csharp
//! services.RegisterMaskinportenClientDefinition<SettingsJwkClientDefinition>(
//!     "client-name", config.GetSection("Maskinporten-Config-Path"));
//! services.AddDanClient(config.GetSection("Dan-Config-Path"))
//!     .AddMaskinportenHttpMessageHandler<SettingsJwkClientDefinition>("client-name",
//!         definition => { definition.ClientSettings.Scope = "altinn:dataaltinnno"; });
//! ```
//!
//! and with the client that is built into Altinn's apps, which is what this does:
//!
//! ```csharp
//! services.ConfigureMaskinportenClient("Maskinporten-Config-Path");
//! services.AddDanClient(config.GetSection("Dan-Config-Path"))
//!     .UseMaskinportenAuthorization("altinn:dataaltinnno");
//! ```

mod demo;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use bytes::Bytes;
use demo::{BoxError, check};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Protection, Sim, SimServer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt};
use tower_maskinporten::maskinporten::{MaskinportenClient, MaskinportenSettings};
use tower_maskinporten::{BearerAuth, ServiceBuilderExt};

const SCOPE: &str = "altinn:dataaltinnno";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, appsettings) = app().await?;
    let api = dan(server.sim()).await?;

    let settings = MaskinportenSettings::from_json(&appsettings, "Maskinporten-Config-Path")?;
    let client = MaskinportenClient::from_settings(settings)?;
    let dan = DanClient::new(
        &client,
        DanSettings {
            base_url: api.origin.clone(),
            subscription_key: SUBSCRIPTION_KEY.to_owned(),
        },
    )?;

    let unit = dan.data_set("UnitBasicInformation", "991825827").await?;
    println!("{}: {}", unit.name, unit.values);
    check(
        "it is the data set that was asked for",
        unit.name == "UnitBasicInformation",
    )?;
    let journal = server.sim().journal();
    println!(
        "{} token, {} exchanges",
        journal.grants(),
        journal.exchanges()
    );
    check(
        "Maskinporten's own token will do",
        (journal.grants(), journal.exchanges()) == (1, 0),
    )
}

/// Where Dan is, and the key of the subscription there: `Dan-Config-Path`.
struct DanSettings {
    base_url: String,
    subscription_key: String,
}

/// Data sets about organisations.
#[derive(Clone)]
struct DanClient {
    http: BearerAuth<Client<HttpConnector, Empty<Bytes>>>,
    base_url: String,
    subscription_key: HeaderValue,
}

impl DanClient {
    fn new(client: &MaskinportenClient, settings: DanSettings) -> Result<Self, BoxError> {
        // For an https address the connector is that of `hyper-rustls`.
        let http = Client::builder(TokioExecutor::new()).build_http();
        let http = ServiceBuilder::new()
            // A request with the key to any other origin is refused, as one with the token is.
            .maskinporten_authorization(client, [SCOPE], &settings.base_url)?
            .service(http);
        let mut subscription_key = HeaderValue::try_from(settings.subscription_key)?;
        subscription_key.set_sensitive(true);
        Ok(Self {
            http,
            base_url: settings.base_url,
            subscription_key,
        })
    }

    /// A data set about an organisation.
    async fn data_set(&self, name: &str, subject: &str) -> Result<DataSet, BoxError> {
        let base_url = &self.base_url;
        let request = Request::get(format!(
            "{base_url}/v1/directharvest/{name}?subject={subject}"
        ))
        .header("Ocp-Apim-Subscription-Key", &self.subscription_key)
        .body(Empty::new())?;
        let response = self.http.clone().oneshot(request).await?;
        match response.status() {
            StatusCode::OK => Ok(serde_json::from_value(demo::json(response).await?)?),
            status => Err(format!("no data set: {status}").into()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct DataSet {
    name: String,
    values: Value,
}

// ===== what is only here to run it =====

const SUBSCRIPTION_KEY: &str = "a-key-of-this-example";

/// A Maskinporten, and the `appsettings.json` of an app that has a client there.
async fn app() -> Result<(SimServer, String), BoxError> {
    let server = SimServer::start().await?;
    let registered = server.sim().new_client([SCOPE]);
    let settings = &registered.settings_json()[MaskinportenSettings::DEFAULT_SECTION];
    let appsettings = json!({ "Maskinporten-Config-Path": settings });
    Ok((server, appsettings.to_string()))
}

/// Dan, as far as it is used here. It wants a subscription's key and a token with the scope.
async fn dan(sim: &Sim) -> Result<demo::Api, BoxError> {
    sim.protect("/api/dan", Protection::maskinporten().scope(SCOPE));
    let harvest = async |State(sim): State<Sim>, Path(name): Path<String>, headers: HeaderMap| {
        let key = headers.get("Ocp-Apim-Subscription-Key");
        if key.is_none_or(|key| key != SUBSCRIPTION_KEY) {
            return Err(StatusCode::FORBIDDEN);
        }
        demo::claims(&sim, "/api/dan", &headers).await?;
        let values = json!({ "OrganizationName": "DIGITALISERINGSDIREKTORATET" });
        Ok(Json(DataSet { name, values }))
    };
    let router = axum::Router::new()
        .route("/v1/directharvest/{name}", get(harvest))
        .with_state(sim.clone());
    Ok(demo::serve(router).await?)
}
