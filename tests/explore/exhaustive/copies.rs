//! Copies of a token's header: none is left of a token that is void or was replaced, whoever is setting it.

use std::sync::Arc;

use crate::view::View;
use crate::world::{FRESH, NOW, World, awaited, explore, meanwhile};

/// Which stripes two threads are of: one lock for both, or one for each.
const STRIPES: [[usize; 2]; 2] = [[0, 0], [0, 1]];

fn see(world: &Arc<World>, stripe: usize) -> bool {
    world.see(&mut View::of_stripe(stripe), NOW)
}

#[test]
fn no_copy_of_a_token_outlives_its_end_by_an_invalidation_or_a_closing() {
    for [one, other] in STRIPES {
        for closes in [false, true] {
            explore(move || {
                let world = World::with_token(FRESH, &[]);
                see(&world, one);

                let setting = meanwhile(&world, move |world| see(world, other));
                if closes {
                    world.life.close();
                } else {
                    world.life.invalidate();
                }
                world.copies.clear(&world.life);
                let served = see(&world, one);
                setting.join().unwrap();

                assert!(!served);
                assert_eq!(world.copies.living(), 0);
            });
        }
    }
}

#[test]
fn a_copy_that_is_dropped_with_its_token_is_not_the_newer_ones() {
    for [one, other] in STRIPES {
        explore(move || {
            let world = World::with_token(FRESH, &[]);
            see(&world, one);
            world.life.invalidate();
            let (flight, _) = awaited(world.ask(NOW));

            let landing = meanwhile(&world, move |world| {
                world.land(&flight, FRESH).unwrap();
                world.copies.clear(&world.life);
            });
            let mut view = View::of_stripe(other);
            let is_served = world.see(&mut view, NOW);
            landing.join().unwrap();

            assert!(!is_served || view.token == 2, "{view:?}");
            assert!(see(&world, one) && see(&world, other));
            let places = if one == other { 1 } else { 2 };
            assert_eq!(world.copies.living(), places);
        });
    }
}

#[test]
fn two_threads_of_one_stripe_are_both_served_and_leave_one_copy() {
    for [one, other] in STRIPES {
        explore(move || {
            let world = World::with_token(FRESH, &[]);

            let setting = meanwhile(&world, move |world| see(world, other));
            assert!(see(&world, one));
            assert!(setting.join().unwrap());

            // A thread that finds its stripe's lock taken keeps no copy.
            assert!((1..=2).contains(&world.copies.living()));
            assert!(one != other || world.copies.living() == 1);
        });
    }
}
