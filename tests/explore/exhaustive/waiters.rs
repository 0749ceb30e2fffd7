//! Waiting: no wake-up is lost between a flight that is joined and its end.
//!
//! loom finds a thread that waits for ever by itself, and calls it a deadlock.

use std::sync::Arc;

use crate::flight::{Failed, Outcome};
use crate::world::{ELECTIONS, Ending, World, explore, explore_within, meanwhile};

/// What an asker ended with: the flight that brought the token, or the failure.
fn of(outcome: Option<Outcome>) -> Option<Result<u64, Failed>> {
    outcome.map(|outcome| outcome.map(|snapshot| snapshot.token))
}

fn acquire(world: &Arc<World>) -> Option<Result<u64, Failed>> {
    of(world.acquire(ELECTIONS))
}

#[track_caller]
fn check(endings: &'static [Ending], expected: Result<u64, Failed>) {
    explore(move || {
        let world = World::empty(endings);

        let other = meanwhile(&world, acquire);
        let outcome = acquire(&world);

        assert_eq!(outcome, Some(expected));
        assert_eq!(other.join().unwrap(), Some(expected));
        assert_eq!(world.air.started(), endings.len() as u64);
    });
}

#[test]
fn all_who_ask_end_with_the_token_of_one_flight() {
    check(&[Ending::Lands], Ok(1));
}

#[test]
fn all_who_ask_end_with_the_failure_of_one_flight() {
    check(&[Ending::Fails], Err(Failed(1)));
}

#[test]
fn a_token_that_is_spent_on_arrival_is_for_those_who_waited_and_is_not_fetched_again() {
    explore(|| {
        let world = World::empty(&[Ending::LandsSpent]);

        let other = meanwhile(&world, acquire);
        let outcomes = [acquire(&world), other.join().unwrap()];

        // Whoever comes late is told why there is none.
        let is_of_it = |outcome| matches!(outcome, Some(Ok(1) | Err(Failed(1))));
        assert!(outcomes.into_iter().all(is_of_it), "{outcomes:?}");
        assert!(outcomes.contains(&Some(Ok(1))));
        assert_eq!(acquire(&world), Some(Err(Failed(1))));
        assert_eq!(world.air.started(), 1);
    });
}

#[test]
fn all_who_wait_for_a_flight_that_dies_end_with_the_next_one() {
    // Bounded: in full, two askers, two flights and their wake-ups took more than a minute.
    explore_within(3, || {
        let world = World::empty(&[Ending::Dies, Ending::Lands]);

        let other = meanwhile(&world, acquire);
        let outcome = acquire(&world);

        assert_eq!(outcome, Some(Ok(2)));
        assert_eq!(other.join().unwrap(), Some(Ok(2)));
        assert_eq!(world.air.started(), 2);
    });
}

#[test]
fn who_waits_for_a_flight_that_dies_ends_with_the_next_one() {
    explore(|| {
        let world = World::empty(&[Ending::Dies, Ending::Dies, Ending::Lands]);
        assert_eq!(acquire(&world), Some(Ok(3)));
        assert_eq!(world.air.started(), 3);
    });
}

#[test]
fn who_waits_for_nothing_but_flights_that_die_ends_after_the_third() {
    explore(|| {
        let world = World::empty(&[Ending::Dies; 3]);
        assert_eq!(acquire(&world), None);
        assert_eq!(world.air.started(), 3);
    });
}

#[test]
fn who_waits_while_its_flight_is_declared_void_ends_with_a_token_all_the_same() {
    explore(|| {
        let world = World::empty(&[Ending::Lands, Ending::Lands]);

        let invalidation = meanwhile(&world, |world| world.life.invalidate());
        // A flight that was declared void was not lost: none is left for that here.
        let outcome = of(world.acquire(1));
        invalidation.join().unwrap();

        assert!(matches!(outcome, Some(Ok(1 | 2))), "{outcome:?}");
        assert!(world.air.started() <= 2);
    });
}

#[test]
fn who_waits_while_the_life_is_closed_ends() {
    explore(|| {
        let world = World::empty(&[Ending::Lands]);

        let closing = meanwhile(&world, |world| drop(world.life.close()));
        let outcome = acquire(&world);
        closing.join().unwrap();

        assert!(matches!(outcome, None | Some(Ok(1))), "{outcome:?}");
        assert_eq!(acquire(&world), None);
    });
}
