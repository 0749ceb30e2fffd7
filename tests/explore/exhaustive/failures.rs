//! Failures: remembered until their time is over, the source is another, or a recovery ends them.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::state::{Found, Revision, Setback};
use crate::flight::{Failed, Flight};
use crate::sync::{AtomicU64, Ordering};
use crate::world::{
    AGEING, FRESH, NOW, PAUSE, REVISION, World, at, awaited, explore, meanwhile, setback,
};

const OTHER_SOURCE: Revision = Revision {
    source: REVISION.source + 1,
    ..REVISION
};
const RECOVERED: Revision = Revision {
    recoveries: REVISION.recoveries + 1,
    ..REVISION
};

/// A failure that a recovery ends, noted after so many of them.
fn until_recovery(flight: &Flight, recoveries: u64) -> Setback<Failed> {
    Setback {
        ends_with_recovery: true,
        recoveries,
        ..setback(flight)
    }
}

#[test]
fn a_failure_is_forgotten_when_the_source_is_another_than_at_takeoff() {
    explore(|| {
        let world = World::empty(&[]);
        let (flight, _) = awaited(world.ask(NOW));

        let landing = meanwhile(&world, move |world| {
            world.fail(&flight, setback(&flight)).is_some()
        });
        // It joins the flight, or finds its failure to be of the former source.
        let (joined, _) = awaited(world.ask_at(OTHER_SOURCE, NOW));
        let is_noted = landing.join().unwrap();

        assert!(is_noted);
        assert!(joined.number() <= 2);
        assert_eq!(awaited(world.ask_at(OTHER_SOURCE, NOW)).0.number(), 2);
    });
}

#[test]
fn a_failure_is_not_given_after_the_recovery_that_ends_it_whenever_it_lands() {
    explore(|| {
        let world = World::empty(&[]);
        let recoveries = Arc::new(AtomicU64::new(REVISION.recoveries));
        let (flight, _) = awaited(world.ask(NOW));

        let landing = meanwhile(&world, {
            let recoveries = Arc::clone(&recoveries);
            move |world| {
                let recoveries = recoveries.load(Ordering::Acquire);
                let remembered = world.fail(&flight, until_recovery(&flight, recoveries));
                assert_eq!(remembered, Some(Failed(1)));
                recoveries
            }
        });
        recoveries.store(RECOVERED.recoveries, Ordering::Release);
        let found = world.ask_at(RECOVERED, NOW);
        let noted_at = landing.join().unwrap();

        // A caller after the recovery is given no failure of before it, only one that was noted later.
        let is_given = matches!(found, Found::Failed(Failed(1)));
        assert!(!is_given || noted_at == RECOVERED.recoveries);
        let after = |recoveries| Revision {
            recoveries,
            ..REVISION
        };
        if world.air.started() == 1 {
            let found = world.ask_at(after(noted_at), NOW);
            assert!(matches!(found, Found::Failed(Failed(1))));
        }
        awaited(world.ask_at(after(noted_at + 1), NOW));
        assert_eq!(world.air.started(), 2);
    });
}

#[test]
fn a_failure_outlasts_a_recovery_that_does_not_end_it() {
    explore(|| {
        let world = World::empty(&[]);
        let (flight, _) = awaited(world.ask(NOW));
        world.fail(&flight, setback(&flight)).unwrap();
        let found = world.ask_at(RECOVERED, NOW);
        assert!(matches!(found, Found::Failed(Failed(1))));
        awaited(world.ask_at(RECOVERED, NOW.after(PAUSE)));
    });
}

#[test]
fn lost_flights_are_given_up_for_all_who_ask_until_the_recovery_that_ends_that() {
    explore(|| {
        let world = World::empty(&[]);
        let (flight, takeoff) = awaited(world.ask(NOW));
        flight.end();
        flight.lose();

        let give_up = move |world: &Arc<World>, recoveries| {
            let setback = until_recovery(&flight, recoveries);
            world.life.give_up(takeoff, NOW, setback)
        };
        let other = meanwhile(&world, {
            let give_up = give_up.clone();
            move |world| give_up(world, REVISION.recoveries)
        });
        let given = give_up(&world, REVISION.recoveries);

        assert_eq!([given, other.join().unwrap()], [Some(Failed(1)); 2]);
        let found = world.ask(NOW);
        assert!(matches!(found, Found::Failed(Failed(1))));
        awaited(world.ask_at(RECOVERED, NOW));
        assert_eq!(world.air.started(), 2);
        // What is remembered is of before the recovery, and a flight is in the air.
        assert_eq!(give_up(&world, RECOVERED.recoveries), None);
    });
}

#[test]
fn a_takeoff_knows_the_end_of_the_token_and_whether_the_last_fetch_brought_one() {
    explore(|| {
        let world = World::empty(&[]);
        let (first, takeoff) = awaited(world.ask(NOW));
        assert_eq!(takeoff.hard_end(), None);
        assert!(!takeoff.is_proven());
        world.land(&first, AGEING).unwrap();

        world.refresh_if_due(NOW);
        let renewal = world.air.flight(2);
        assert_eq!(renewal.takeoff().hard_end(), Some(AGEING.hard));
        assert!(renewal.takeoff().is_proven());
        // It dies: callers come just after the end, and long after it.
        renewal.end();
        renewal.lose();
        let just_ended = AGEING.hard.after(Duration::from_secs(59));
        let (next, takeoff) = awaited(world.ask(just_ended));
        assert!(takeoff.urgent && !takeoff.renews() && takeoff.is_proven());
        assert_eq!(takeoff.hard_end(), Some(AGEING.hard));
        let (_, late) = awaited(world.ask(at(1_160)));
        assert!(!late.urgent && late.is_proven());
        assert_eq!(late.hard_end(), None);

        // A failure that does not count says nothing about the entry.
        let uncounted = Setback {
            counts: false,
            ..setback(&next)
        };
        world.fail(&next, uncounted).unwrap();
        let (next, takeoff) = awaited(world.ask_at(OTHER_SOURCE, at(1_160)));
        assert!(takeoff.is_proven());
        world.fail(&next, setback(&next)).unwrap();
        let (last, takeoff) = awaited(world.ask(at(1_160)));
        assert!(!takeoff.is_proven());
        world.land(&last, FRESH).unwrap();
        world.refresh_if_due(FRESH.soft);
        assert!(world.air.flight(world.air.started()).takeoff().is_proven());
    });
}
