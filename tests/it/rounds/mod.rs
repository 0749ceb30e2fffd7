//! A supplier that goes through all its customers, again and again: what the map keeps of such rounds.

mod measured;

use std::time::Duration;

use maskinporten::MaskinportenClient;

use measured::{Round, Rounds, measured};

/// Each call of a round is a hit.
#[track_caller]
fn check_all_hit(rounds: &[Round], organisations: u64) {
    for round in rounds {
        assert_eq!((round.calls, round.hits), (organisations, organisations));
    }
}

/// Each token that was fetched because there was none is there, or was evicted while it was good.
#[track_caller]
fn check_counted(client: &MaskinportenClient) {
    let stats = client.stats().maskinporten;
    // The layer's own place has no token.
    let kept = stats.entries as u64 - 1;
    assert_eq!(stats.lookups.miss, stats.evicted + kept);
    assert_eq!(client.health().evicted, stats.evicted);
}

#[tokio::test(start_paused = true)]
async fn of_two_thousand_organisations_every_call_is_a_hit_from_the_second_round_on() {
    for at_once in [1, 2_000] {
        let (rounds, client) = measured(Rounds {
            organisations: 2_000,
            max_identities: None,
            rounds: 20,
            at_once,
            pause: Duration::from_secs(10),
        })
        .await;

        assert_eq!((rounds[0].calls, rounds[0].hits), (2_000, 0));
        check_all_hit(&rounds[1..], 2_000);
        assert_eq!(client.stats().maskinporten.evicted, 0);
        check_counted(&client);
        // They were renewed meanwhile, without a wait.
        assert!(client.stats().maskinporten.requests.ok > 2 * 2_000);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_cycle_over_twice_the_capacity_two_calls_in_five_are_hits_from_the_second_on() {
    for at_once in [1, 8, 40] {
        let (rounds, client) = measured(Rounds {
            organisations: 1_000,
            max_identities: Some(500),
            rounds: 10,
            at_once,
            pause: Duration::from_secs(1),
        })
        .await;

        for round in &rounds[1..] {
            assert_eq!(round.calls, 1_000);
            assert!(round.hits >= 400, "{at_once} at once: {rounds:?}");
            assert!(round.evicted >= 500, "{at_once} at once: {rounds:?}");
        }
        check_counted(&client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cycle_that_is_a_little_too_long_keeps_nearly_all_of_its_hits() {
    let (rounds, client) = measured(Rounds {
        organisations: 550,
        max_identities: Some(500),
        rounds: 10,
        at_once: 1,
        pause: Duration::from_secs(1),
    })
    .await;

    for round in &rounds[1..] {
        assert!(round.hits >= 440, "{rounds:?}");
    }
    check_counted(&client);
}
