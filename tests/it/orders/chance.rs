//! Long orders, by chance.

use std::time::Duration;

use proptest::prelude::*;

use super::servers::Whose;
use super::{Event, Mark, Orders, Said, runtime};

fn whose() -> impl Strategy<Value = Whose> {
    proptest::sample::select(&Whose::ALL[..])
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        // Spent on arrival, of half a minute, as documented, and one that outlives a suspend.
        8 => proptest::sample::select(&[1, 30, 120, 10_800][..]).prop_map(Said::Token),
        3 => proptest::option::of(proptest::sample::select(&[1, 7, 3600][..]))
            .prop_map(Said::Unavailable),
        2 => Just(Said::Refused),
        1 => Just(Said::Garbage),
        1 => Just(Said::Panic),
    ]
}

fn mark() -> impl Strategy<Value = Mark> {
    prop_oneof![
        3 => whose().prop_map(Mark::Soft),
        3 => whose().prop_map(Mark::Hard),
        3 => whose().prop_map(Mark::RetryAt),
        1 => Just(Mark::AttemptTimeout),
        1 => Just(Mark::Deadline),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let index = || 0..8_usize;
    let milliseconds = |range| proptest::strategy::Strategy::prop_map(range, Duration::from_millis);
    let steps = &[-90_000, -3_600, 3_600, 90_000][..];
    prop_oneof![
        8 => whose().prop_map(Event::Call),
        8 => index().prop_map(Event::Poll),
        4 => Just(Event::PollAll),
        2 => index().prop_map(Event::Drop),
        1 => Just(Event::DropAll),
        6 => (1..4_u8).prop_map(Event::Run),
        12 => (index(), said()).prop_map(|(index, said)| Event::Answer(index, said)),
        4 => milliseconds(1..400_u64).prop_map(Event::Pass),
        2 => milliseconds(1_000..40_000_u64).prop_map(Event::Pass),
        1 => milliseconds(1_000..40_000_u64).prop_map(Event::Stall),
        6 => (mark(), -1..=1_i64).prop_map(|(mark, by)| Event::Until(mark, by)),
        1 => Just(Event::Suspend),
        1 => proptest::sample::select(steps).prop_map(Event::SetWall),
        3 => index().prop_map(Event::Reject),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    })]

    #[test]
    fn any_order_of_events_holds(events in proptest::collection::vec(event(), 1..80)) {
        runtime().block_on(async {
            let mut world = Orders::new();
            for event in events {
                world.step(event).await;
            }
            world.finish().await;
        });
    }
}
