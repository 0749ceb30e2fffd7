//! From `AddMaskinportenHttpClient` to a typed client: subscriptions to Altinn's events.
//!
//! `cargo run --example events_subscription`. Copy `EventsSubscriptionClient`, and the first lines of `main`.
//!
//! What it was in .NET, with the package `Altinn.ApiClients.Maskinporten`:
//!
//! ```csharp
//! services.AddMaskinportenHttpClient<SettingsJwkClientDefinition, EventsSubscriptionClient>(
//!     config.GetSection("Maskinporten-Config-Path"),
//!     definition =>
//!     {
//!         definition.ClientSettings.Scope = "altinn:serviceowner/instances.read";
//!         definition.ClientSettings.ExhangeToAltinnToken = true;
//!     });
//! ```
//!
//! and with the client that is built into Altinn's apps, which is what this does:
//!
//! ```csharp
//! services.ConfigureMaskinportenClient("Maskinporten-Config-Path");
//! services.AddHttpClient<IEventsSubscription, EventsSubscriptionClient>()
//!     .UseMaskinportenAltinnAuthorization("altinn:serviceowner/instances.read");
//! ```

mod demo;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use demo::{BoxError, check};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use maskinporten_sim::{Protection, Sim, SimServer};
use serde::{Deserialize, Serialize};
use tower::{ServiceBuilder, ServiceExt};
use tower_maskinporten::maskinporten::{
    AltinnSettings, Error, MaskinportenClient, MaskinportenSettings,
};
use tower_maskinporten::{BearerAuth, ServiceBuilderExt};

const SCOPE: &str = "altinn:serviceowner/instances.read";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, appsettings) = app().await?;
    let platform = platform(server.sim()).await?;

    let settings = MaskinportenSettings::from_json(&appsettings, "Maskinporten-Config-Path")?;
    let client = MaskinportenClient::builder()
        .settings(settings)
        // For an authority of Digdir's own the exchange is known; a Maskinporten of this machine has it here.
        .altinn(AltinnSettings::platform(&server.sim().altinn_platform())?)
        .build()?;
    let events = EventsSubscriptionClient::new(&client, &platform.origin)?;

    let subscription = Subscription {
        end_point: "https://ttd.apps.altinn.no/ttd/app/api/v1/eventsreceiver".to_owned(),
        source_filter: "https://ttd.apps.altinn.no/ttd/app".to_owned(),
        type_filter: "app.instance.process.completed".to_owned(),
    };
    let made = events.subscribe(&subscription).await?;
    println!(
        "subscription {} to {}",
        made.id, made.subscription.type_filter
    );
    check(
        "it is the one that was asked for",
        made.subscription == subscription,
    )?;

    let journal = server.sim().journal();
    println!(
        "{} token, {} exchange",
        journal.grants(),
        journal.exchanges()
    );
    check(
        "the token was exchanged",
        (journal.grants(), journal.exchanges()) == (1, 1),
    )
}

/// Subscriptions to events, as the service owner.
#[derive(Clone)]
struct EventsSubscriptionClient {
    http: BearerAuth<Client<HttpConnector, Full<Bytes>>>,
    platform: String,
}

impl EventsSubscriptionClient {
    /// `platform` is the one origin that sees its token: `https://platform.tt02.altinn.no`.
    fn new(client: &MaskinportenClient, platform: &str) -> Result<Self, Error> {
        // For an https platform the connector is that of `hyper-rustls`.
        let http = Client::builder(TokioExecutor::new()).build_http();
        let http = ServiceBuilder::new()
            .altinn_authorization(client, [SCOPE], platform)?
            .service(http);
        Ok(Self {
            http,
            platform: platform.to_owned(),
        })
    }

    async fn subscribe(&self, subscription: &Subscription) -> Result<Subscribed, BoxError> {
        let request = Request::post(format!("{}/events/api/v1/subscriptions", self.platform))
            .header(header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(subscription)?.into())?;
        let response = self.http.clone().oneshot(request).await?;
        match response.status() {
            StatusCode::CREATED => {
                let body = response.into_body().collect().await?.to_bytes();
                Ok(serde_json::from_slice(&body)?)
            }
            status => Err(format!("no subscription: {status}").into()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    end_point: String,
    source_filter: String,
    type_filter: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Subscribed {
    id: u32,
    #[serde(flatten)]
    subscription: Subscription,
}

// ===== what is only here to run it =====

/// A Maskinporten with an Altinn, and the `appsettings.json` of an app that has a client there.
async fn app() -> Result<(SimServer, String), BoxError> {
    let server = SimServer::start().await?;
    let registered = server.sim().new_client([SCOPE]);
    let settings = &registered.settings_json()[MaskinportenSettings::DEFAULT_SECTION];
    let appsettings = serde_json::json!({ "Maskinporten-Config-Path": settings });
    Ok((server, appsettings.to_string()))
}

/// Altinn's events, as far as they are used here. They want a token of Altinn's with the scope.
async fn platform(sim: &Sim) -> Result<demo::Api, BoxError> {
    let protection = Protection::altinn().scope(SCOPE);
    sim.protect("/api/events", protection);
    let subscribe = async |State(sim): State<Sim>, headers: HeaderMap, Json(subscription)| {
        demo::claims(&sim, "/api/events", &headers).await?;
        let made = Subscribed {
            id: 1,
            subscription,
        };
        Ok::<_, StatusCode>((StatusCode::CREATED, Json(made)))
    };
    let router = axum::Router::new()
        .route("/events/api/v1/subscriptions", post(subscribe))
        .with_state(sim.clone());
    Ok(demo::serve(router).await?)
}
