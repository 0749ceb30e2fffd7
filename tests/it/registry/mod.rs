//! Named clients: what is declared, what is refused, and what each of their layers does.

mod declared;
mod layers;
mod over_reqwest;
mod refused;
mod retries;

use std::time::Duration;

use maskinporten::{AltinnSettings, FixedToken, MaskinportenClient};
use maskinporten_sim::{SimClient, SimServer};

use crate::world::{SCOPES, settings};

/// A world on a port, and a client of it over the default transport. Time is real here.
async fn served() -> (SimServer, MaskinportenClient) {
    let server = SimServer::start().await.unwrap();
    let registered = server.sim().new_client(SCOPES);
    let client = client_of(&server, &registered);
    (server, client)
}

fn client_of(server: &SimServer, registered: &SimClient) -> MaskinportenClient {
    let altinn = AltinnSettings::platform(&server.url()).unwrap();
    MaskinportenClient::builder()
        .settings(settings(registered))
        .altinn(altinn)
        .build()
        .unwrap()
}

/// A client of no server, which knows an Altinn.
fn anybody() -> MaskinportenClient {
    MaskinportenClient::builder()
        .source(FixedToken::new("token", seconds(3600)).unwrap())
        .altinn(AltinnSettings::platform("https://platform.tt02.altinn.no").unwrap())
        .build()
        .unwrap()
}

/// Where the protected API of a world starts.
fn api(server: &SimServer) -> String {
    format!("{}api/", server.url())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
