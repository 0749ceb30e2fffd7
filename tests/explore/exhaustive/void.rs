//! What is declared void stays so, and what is closed stays closed.

use std::sync::Arc;

use crate::cache::state::{Found, Holds, Rejection};
use crate::flight::Flight;
use crate::view::View;
use crate::world::{AGEING, Ending, FRESH, NOW, World, at, awaited, explore, meanwhile};

/// Ends flight `number` of a world.
fn ending(number: u64, ending: Ending) -> impl FnOnce(&Arc<World>) {
    move |world| world.end(&world.air.flight(number), ending)
}

const ENDINGS: [Ending; 4] = [
    Ending::Lands,
    Ending::LandsSpent,
    Ending::Fails,
    Ending::Dies,
];

#[test]
fn what_an_earlier_flight_brings_is_not_served_after_an_invalidation() {
    for how in ENDINGS {
        explore(move || {
            let world = World::with_token(AGEING, &[]);
            world.refresh_if_due(NOW);
            let mut view = View::new();
            assert!(world.see(&mut view, NOW));

            let flight = meanwhile(&world, ending(2, how));
            world.life.invalidate();
            let served = world.see(&mut view, NOW);
            let found = world.ask(NOW);
            flight.join().unwrap();

            assert!(!served, "{how:?} {view:?}");
            // Neither its token nor its failure: a flight of the present.
            let (awaited, _) = awaited(found);
            assert_eq!(awaited.number(), 3);
            assert!(world.life.current(NOW).is_none());
            assert_eq!(world.life.holds(NOW), Holds::Flight);
        });
    }
}

#[test]
fn a_flight_of_the_present_is_not_touched_by_the_end_of_an_earlier_one() {
    for how in ENDINGS {
        for present in ENDINGS {
            explore(move || {
                let world = World::empty(&[]);
                let (_, void) = awaited(world.ask(NOW));

                let earlier = meanwhile(&world, ending(1, how));
                world.life.invalidate();
                let (_, takeoff) = awaited(world.ask(NOW));
                let other = meanwhile(&world, ending(2, present));
                earlier.join().unwrap();
                other.join().unwrap();

                assert!(!world.life.is_of_now(void));
                assert!(world.life.is_of_now(takeoff));
                match (present, world.ask(NOW)) {
                    (Ending::Lands, Found::Good(snapshot)) => assert_eq!(snapshot.token, 2),
                    (Ending::LandsSpent | Ending::Fails, Found::Failed(failed)) => {
                        assert_eq!(failed.0, 2)
                    }
                    (Ending::Dies, Found::Awaited(flight, _)) => assert_eq!(flight.number(), 3),
                    _ => panic!("what flight 2 ended with is not there: {how:?}, {present:?}"),
                }
            });
        }
    }
}

#[test]
fn an_invalidation_among_callers_leaves_one_flight_of_the_present() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);

        let refresh = meanwhile(&world, |world| world.refresh_if_due(NOW));
        let rejection = meanwhile(&world, |world| drop(world.reject(1, NOW)));
        world.life.invalidate();
        let (flight, _) = awaited(world.ask(NOW));
        refresh.join().unwrap();
        rejection.join().unwrap();

        for number in 1..=world.air.started() {
            let other = world.air.flight(number);
            assert_eq!(other.is_over(), number != flight.number());
        }
        assert!(world.land(&flight, FRESH).is_some());
        assert_eq!(world.life.current(NOW).unwrap().token, flight.number());
    });
}

/// Checks a life that was just closed while flight 2 was on its way, whatever ran beside that.
#[track_caller]
fn check_closed(world: &Arc<World>, was_in_the_air: Option<Flight>, started: u64) {
    assert!(was_in_the_air.is_none_or(|flight| flight.is_over()));
    assert!((1..=started).all(|number| world.air.flight(number).is_over()));
    assert!(matches!(world.ask(NOW), Found::Closed));
    for generation in 0..=world.life.generation() {
        assert!(matches!(world.reject(generation, NOW), Rejection::Kept));
    }
    world.refresh_if_due(at(1_090));
    world.life.invalidate();
    assert!(matches!(world.ask(NOW), Found::Closed));
    assert!(!world.see(&mut View::new(), NOW));
    assert_eq!(world.air.started(), started);
    assert_eq!(world.life.holds(NOW), Holds::Nothing);
}

#[test]
fn nothing_is_served_once_a_life_is_closed_whatever_lands() {
    for how in ENDINGS {
        explore(move || {
            let world = World::with_token(AGEING, &[]);
            let mut view = View::new();
            assert!(world.see(&mut view, NOW));

            let flight = meanwhile(&world, ending(2, how));
            let was_in_the_air = world.life.close();
            let served = world.see(&mut view, NOW);
            let asked = world.ask(NOW);
            flight.join().unwrap();

            assert!(!served);
            assert!(matches!(asked, Found::Closed));
            check_closed(&world, was_in_the_air, 2);
        });
    }
}

#[test]
fn nothing_is_fetched_once_a_life_is_closed_whoever_comes() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);

        let ask = meanwhile(&world, |world| {
            world.life.invalidate();
            drop(world.ask(NOW));
        });
        let refresh = meanwhile(&world, |world| world.refresh_if_due(NOW));
        let was_in_the_air = world.life.close();
        let started = world.air.started();
        ask.join().unwrap();
        refresh.join().unwrap();

        check_closed(&world, was_in_the_air, started);
    });
}
