//! Time that moves only while nobody has anything to do: an hour of it costs nothing, and what is
//! counted in it is the same on every machine.

use maskinporten::{MaskinportenClient, TokioClock};
use maskinporten_sim::{Sim, SimClient};
use tokio::runtime::Builder;

use crate::world;

/// Runs a future to its end on a runtime whose time is paused.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// A client of the world, over its time.
pub(crate) fn client(sim: &Sim, registered: &SimClient) -> MaskinportenClient {
    world::builder(sim, registered)
        .clock(TokioClock::starting_at(sim.clock().now()))
        .build()
        .unwrap()
}
