//! Short orders, one by one.

use std::time::Duration;

use super::servers::Whose;
use super::{Event, MOMENT, Mark, Orders, Said, Trail, runtime};

/// Walks through every order of so many of these events. An order that holds an event which cannot
/// happen there is one of the shorter ones, and is left out with all that begin like it.
fn check_all(alphabet: &[Event], length: usize) -> usize {
    let runtime = runtime();
    let mut orders = 0;
    let mut order = vec![0; length];
    loop {
        let events = order.iter().map(|at| alphabet[*at]);
        let events: Vec<Event> = events.collect();
        let trail = Trail(&events);
        let impossible = runtime.block_on(async {
            let mut world = Orders::new();
            for (at, event) in events.iter().enumerate() {
                if !world.step(*event).await {
                    return Some(at);
                }
            }
            world.finish().await;
            None
        });
        drop(trail);
        orders += usize::from(impossible.is_none());
        // The next one: counted up at its last place, or at the place that cannot be.
        let mut at = impossible.unwrap_or(length - 1);
        order[at + 1..].fill(0);
        loop {
            order[at] += 1;
            if order[at] < alphabet.len() {
                break;
            }
            order[at] = 0;
            if at == 0 {
                return orders;
            }
            at -= 1;
        }
    }
}

#[test]
fn every_short_order_of_one_identitys_flights_holds() {
    let alphabet = [
        Event::Call(Whose::Reader),
        Event::PollAll,
        Event::Drop(0),
        MOMENT,
        Event::Answer(0, Said::Token(120)),
        Event::Answer(0, Said::Refused),
        Event::Answer(0, Said::Panic),
        Event::Until(Mark::Soft(Whose::Reader), 12_001),
        Event::Until(Mark::Hard(Whose::Reader), 0),
        Event::Reject(0),
    ];
    // As many as there were when this was written: an event that can never happen would shrink them.
    assert!(check_all(&alphabet, 7) >= 5_000);
}

#[test]
fn every_short_order_of_an_exchange_holds() {
    let alphabet = [
        Event::Call(Whose::Altinn),
        Event::Call(Whose::Reader),
        Event::PollAll,
        Event::Drop(0),
        MOMENT,
        Event::Answer(0, Said::Token(30)),
        Event::Answer(0, Said::Refused),
        Event::Pass(Duration::from_secs(3)),
    ];
    assert!(check_all(&alphabet, 5) >= 3_000);
}
