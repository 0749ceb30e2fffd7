//! A client of a simulator in this process, for the programs that need no socket.

use maskinporten::{
    AltinnSettings, MaskinportenClient, MaskinportenClientBuilder, MaskinportenSettings, Transport,
};
use maskinporten_sim::{Sim, SimClient};

/// A client that is registered in the world, with its Altinn to exchange at.
pub(crate) fn builder(sim: &Sim, registered: &SimClient) -> MaskinportenClientBuilder {
    let settings = registered.settings_json().to_string();
    let section = MaskinportenSettings::DEFAULT_SECTION;
    MaskinportenClient::builder()
        .settings(MaskinportenSettings::from_json(&settings, section).unwrap())
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
}
