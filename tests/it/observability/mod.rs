//! What a client says of itself: numbers that are exact, metrics with bounded labels, a span for a flight
//! and none for a token that is there, and logs that a failing server does not fill.

mod facade;
mod numbers;
mod pages;
mod traces;

use std::time::Duration;

use maskinporten::{Lookups, MaskinportenClient, TokenStats};
use tokio::time::sleep;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Of Maskinporten's tokens.
fn stats(client: &MaskinportenClient) -> TokenStats {
    client.stats().maskinporten
}

/// Hits, stale ones, joined, misses and failures.
fn counts(lookups: Lookups) -> [u64; 5] {
    let Lookups {
        hit,
        stale,
        joined,
        miss,
        failed,
        ..
    } = lookups;
    assert_eq!(lookups.total(), hit + stale + joined + miss + failed);
    [hit, stale, joined, miss, failed]
}

/// Lets whatever was started finish.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
