//! How many flights there are: one, whoever comes.

use std::sync::Arc;

use crate::cache::state::Rejection;
use crate::flight::Air;
use crate::view::View;
use crate::world::{AGEING, Ending, FRESH, NOW, World, at, awaited, explore, meanwhile};

/// What a request does to a life at `NOW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Ask,
    Refresh,
    Reject,
}

impl Call {
    const ALL: [Self; 3] = [Self::Ask, Self::Refresh, Self::Reject];

    fn on(self, world: &Arc<World>) {
        match self {
            Self::Ask => drop(world.ask(NOW)),
            Self::Refresh => world.refresh_if_due(NOW),
            Self::Reject => drop(world.reject(1, NOW)),
        }
    }

    /// Every choice of three, whatever their order: threads have none.
    fn threes() -> impl Iterator<Item = [Self; 3]> {
        let numbers = (0..3).flat_map(|a| (a..3).flat_map(move |b| (b..3).map(move |c| [a, b, c])));
        numbers.map(|three| three.map(|number: usize| Self::ALL[number]))
    }

    fn each_on(calls: [Self; 3], world: &Arc<World>) {
        let [first, second, third] = calls;
        let first = meanwhile(world, move |world| first.on(world));
        let second = meanwhile(world, move |world| second.on(world));
        third.on(world);
        first.join().unwrap();
        second.join().unwrap();
    }
}

#[test]
fn whoever_finds_a_token_ageing_shares_one_flight() {
    for calls in Call::threes() {
        explore(move || {
            let world = World::with_token(AGEING, &[]);

            Call::each_on(calls, &world);

            assert_eq!(world.air.started(), 2, "{calls:?}");
        });
    }
}

#[test]
fn whoever_finds_no_token_shares_one_flight() {
    for calls in Call::threes() {
        explore(move || {
            let world = World::empty(&[]);

            Call::each_on(calls, &world);

            // There is nothing that could be rejected.
            let wanted = calls.iter().any(|call| *call != Call::Reject);
            assert_eq!(world.air.started(), u64::from(wanted), "{calls:?}");
        });
    }
}

#[test]
fn a_flight_that_ends_among_its_callers_is_not_followed_by_a_needless_one() {
    for ending in [Ending::Lands, Ending::LandsSpent, Ending::Fails] {
        for first in Call::ALL {
            for second in Call::ALL {
                explore(move || {
                    let world = World::with_token(AGEING, &[ending]);

                    let other = meanwhile(&world, move |world| first.on(world));
                    second.on(&world);
                    other.join().unwrap();

                    let _ = world.air.flight(2).outcome();
                    assert_eq!(world.air.started(), 2, "{ending:?} {first:?} {second:?}");
                });
            }
        }
    }
}

#[test]
fn a_flight_that_dies_among_its_callers_is_followed_by_one_at_a_time() {
    // The judge in the air counts.
    for first in Call::ALL {
        for second in Call::ALL {
            explore(move || {
                let world = World::with_token(AGEING, &[Ending::Dies]);

                let other = meanwhile(&world, move |world| first.on(world));
                second.on(&world);
                other.join().unwrap();

                assert!(world.air.started() <= 3, "{first:?} {second:?}");
            });
        }
    }
}

#[test]
fn rejections_of_one_token_force_one_flight() {
    let reject = |world: &Arc<World>| !matches!(world.reject(1, NOW), Rejection::Kept);
    explore(move || {
        let world = World::with_token(FRESH, &[Ending::Lands]);

        let second = meanwhile(&world, reject);
        let third = meanwhile(&world, reject);
        let known = [
            reject(&world),
            second.join().unwrap(),
            third.join().unwrap(),
        ];

        assert_eq!(world.air.started(), 2);
        assert_eq!(known, [true; 3], "a newer one is there or on its way");
        let _ = world.air.flight(2).outcome();
        // One that came of a rejection, and is rejected at once, was rejected for another reason.
        assert!(matches!(world.reject(2, NOW), Rejection::Kept));
        assert_eq!(world.air.started(), 2);
    });
}

#[test]
fn a_late_rejection_changes_nothing_of_the_newer_token() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        world.refresh_if_due(NOW);
        let flight = world.air.flight(2);

        let landing = meanwhile(&world, move |world| world.land(&flight, FRESH).unwrap());
        let other = meanwhile(&world, |world| {
            world.reject(1, NOW);
            // Whatever came of it, there is a token all the while.
            assert!(world.see(&mut View::new(), NOW));
        });
        let told = world.reject(1, NOW);
        other.join().unwrap();
        let newer = landing.join().unwrap();

        match told {
            Rejection::Newer(told) => assert!(Arc::ptr_eq(&told, &newer)),
            Rejection::Awaited(flight) => assert_eq!(flight.number(), newer.token),
            Rejection::Kept => panic!("one flight is in the air for it, or has landed"),
        }
        let late = world.reject(1, NOW);
        assert!(matches!(late, Rejection::Newer(found) if Arc::ptr_eq(&found, &newer)));
        assert!(Arc::ptr_eq(&world.life.current(NOW).unwrap(), &newer));
        assert_eq!(world.air.started(), 2);
    });
}

#[test]
fn a_flight_given_up_for_lost_is_not_followed_by_two() {
    for ending in [Ending::Lands, Ending::LandsSpent, Ending::Fails] {
        explore(move || {
            let world = World::empty(&[]);
            let (lost, _) = awaited(world.ask(NOW));

            // It stood still for too long, and moves on just when somebody notices.
            lost.lose();
            let late = meanwhile(&world, move |world| match ending {
                Ending::Lands => drop(world.land(&lost, AGEING)),
                _ => world.end(&lost, ending),
            });
            let _ = world.ask(NOW);
            late.join().unwrap();

            // Whatever came first, somebody who comes when the token ages and no failure is remembered
            // any more goes on with the flight in the air, if there is one.
            let before = world.air.started();
            let in_the_air = (1..=before).any(|number| !world.air.flight(number).is_over());
            let _ = world.ask(at(1_050));
            let started = world.air.started() - before;
            assert_eq!(started, u64::from(!in_the_air), "{ending:?}");
            // And what that one brings counts.
            let last = world.air.flight(world.air.started());
            assert!(world.land(&last, FRESH).is_some());
        });
    }
}

#[test]
#[should_panic(expected = "a flight was started beside one in the air")]
fn the_judge_sees_two_flights_at_once() {
    explore(|| {
        let air = Arc::new(Air::default());
        let world = World::empty(&[]);
        let (_, takeoff) = awaited(world.ask(NOW));
        air.take_off(takeoff);
        air.take_off(takeoff);
    });
}
