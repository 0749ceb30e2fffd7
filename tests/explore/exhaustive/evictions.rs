//! An entry that is held or in flight is never retired, and a retired one never serves again.

use std::sync::Arc;

use loom::thread;

use crate::cache::holders::Holders;
use crate::cache::state::{Found, Holds};
use crate::view::View;
use crate::world::{AGEING, NOW, World, awaited, explore, meanwhile};

/// Of an entry that nothing holds.
fn unheld() -> Arc<Holders> {
    let holders = Holders::one();
    holders.release();
    Arc::new(holders)
}

fn retire(world: &World, holders: &Holders) -> bool {
    let retired = world.life.retire(NOW, || holders.retire());
    retired.is_some()
}

#[test]
fn of_two_holders_and_an_eviction_the_eviction_comes_first_or_waits_for_both() {
    explore(|| {
        let holders = unheld();
        let hold = |holders: &Arc<Holders>| {
            let holders = Arc::clone(holders);
            thread::spawn(move || {
                let is_held = holders.hold();
                if is_held {
                    assert!(!holders.is_retired(), "a held entry was retired");
                    holders.release();
                }
                is_held
            })
        };

        let (one, other) = (hold(&holders), hold(&holders));
        let is_retired = holders.retire();
        let held = [one, other].map(|thread| thread.join().unwrap());

        assert!(is_retired || held.contains(&true), "neither went on");
        assert_eq!(holders.is_retired(), is_retired);
        assert!(!holders.is_held());
        assert_eq!(holders.hold(), !is_retired);
        assert!(!is_retired || !holders.retire());
    });
}

#[test]
fn who_holds_an_entry_is_served_and_an_evicted_one_serves_and_fetches_nothing() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        let holders = unheld();

        let caller = meanwhile(&world, {
            let holders = Arc::clone(&holders);
            move |world| {
                let is_held = holders.hold();
                if is_held {
                    assert!(matches!(world.ask(NOW), Found::Good(_)));
                    holders.release();
                }
                is_held
            }
        });
        let is_retired = retire(&world, &holders);
        let served = world.see(&mut View::new(), NOW);
        let was_held = caller.join().unwrap();

        assert!(is_retired || was_held);
        if is_retired {
            assert!(!served);
            assert!(matches!(world.ask(NOW), Found::Closed));
            let started = world.air.started();
            assert!((1..=started).all(|number| world.air.flight(number).is_over()));
        }
    });
}

#[test]
fn a_renewal_by_who_does_not_hold_the_entry_keeps_it_from_being_evicted_or_comes_too_late() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        let holders = unheld();

        let table = meanwhile(&world, |world| world.see(&mut View::new(), NOW));
        let is_retired = retire(&world, &holders);
        table.join().unwrap();

        // A flight that has taken off is never cancelled by an eviction.
        assert_eq!(is_retired, world.air.started() == 1);
        assert_eq!(world.life.holds(NOW) == Holds::Flight, !is_retired);
    });
}

#[test]
fn an_entry_is_evicted_once_its_flight_has_landed() {
    explore(|| {
        let world = World::empty(&[]);
        let holders = unheld();
        let (flight, _) = awaited(world.ask(NOW));

        let landing = meanwhile(&world, move |world| drop(world.land(&flight, AGEING)));
        let early = retire(&world, &holders);
        landing.join().unwrap();

        assert!(early || retire(&world, &holders));
        assert!(world.life.current(NOW).is_none());
        assert!(!retire(&world, &holders));
    });
}
