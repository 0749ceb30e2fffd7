//! A simulator and a client of it: what nearly every test starts from.

use maskinporten::{
    AltinnSettings, MaskinportenClient, MaskinportenClientBuilder, MaskinportenSettings,
    TokioClock, Transport,
};
use maskinporten_sim::{Sim, SimClient};

/// A client of the simulator over its virtual time, with its Altinn to exchange at.
pub(crate) fn client(sim: &Sim, registered: &SimClient) -> MaskinportenClient {
    builder(sim, registered).build().unwrap()
}

/// The same, for tests that choose one of its parts themselves.
pub(crate) fn builder(sim: &Sim, registered: &SimClient) -> MaskinportenClientBuilder {
    MaskinportenClient::builder()
        .settings(settings(registered))
        .altinn(AltinnSettings::platform(&sim.altinn_platform()).unwrap())
        .transport(Transport::new(sim.clone()))
        .clock(TokioClock::starting_at(sim.clock().now()))
}

/// The settings of a registered client, as Altinn Studio mounts them.
pub(crate) fn settings(registered: &SimClient) -> MaskinportenSettings {
    let json = registered.settings_json().to_string();
    MaskinportenSettings::from_json(&json, MaskinportenSettings::DEFAULT_SECTION).unwrap()
}
