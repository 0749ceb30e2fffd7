//! One request for however many wait.

use futures_util::future::join_all;
use maskinporten_sim::Sim;

use crate::world;

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_cold_slot_share_one_grant_and_one_exchange() {
    let sim = Sim::new();
    let registered = sim.new_client(["a:b", "altinn:serviceowner"]);
    let client = world::client(&sim, &registered);

    let tokens = join_all((0..1_000).map(|_| client.altinn_token(["altinn:serviceowner"]))).await;

    assert!(tokens.iter().all(Result::is_ok), "{:?}", tokens[0]);
    assert_eq!(sim.journal().token_requests(), 1);
    assert_eq!(sim.journal().exchanges(), 1);
}
