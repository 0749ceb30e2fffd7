//! Generations: they only grow, and a view of one is never another's token.

use std::sync::Arc;

use crate::flight::Snapshot;
use crate::view::View;
use crate::world::{AGEING, FRESH, NOW, World, awaited, explore, meanwhile};

/// Whether all that a view holds is of one snapshot.
fn is_of(view: &View, snapshot: &Snapshot) -> bool {
    view.generation == snapshot.generation && view.token == snapshot.token
}

#[test]
fn the_generation_only_grows() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        world.refresh_if_due(NOW);
        let flight = world.air.flight(2);

        let landing = meanwhile(&world, move |world| drop(world.land(&flight, FRESH)));
        let invalidation = meanwhile(&world, |world| world.life.invalidate());
        let seen = [(); 3].map(|()| world.life.generation());
        landing.join().unwrap();
        invalidation.join().unwrap();

        assert!(seen.is_sorted(), "{seen:?}");
        assert!(seen[2] <= world.life.generation());
    });
}

#[test]
fn a_view_is_of_one_token_and_of_the_newest_that_is_known() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        world.refresh_if_due(NOW);
        let flight = world.air.flight(2);
        let older = world.life.current(NOW).unwrap();
        let mut view = View::new();
        assert!(world.see(&mut view, NOW));

        let landing = meanwhile(&world, move |world| world.land(&flight, FRESH).unwrap());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let known = world.life.generation();
            assert!(world.see(&mut view, NOW));
            assert!(view.generation >= known);
            seen.push(view.clone());
        }
        let newer = landing.join().unwrap();

        assert!(seen.is_sorted_by_key(|view| view.generation));
        for view in &seen {
            assert!(is_of(view, &older) || is_of(view, &newer), "{view:?}");
        }
        assert!(world.see(&mut view, NOW));
        assert!(is_of(&view, &newer), "{view:?}");
    });
}

#[test]
fn a_view_of_a_void_token_is_never_one_of_the_next() {
    explore(|| {
        let world = World::with_token(FRESH, &[]);
        let older = world.life.current(NOW).unwrap();
        let mut view = View::new();
        assert!(world.see(&mut view, NOW));

        let next = meanwhile(&world, |world| {
            world.life.invalidate();
            let (flight, _) = awaited(world.ask(NOW));
            world.land(&flight, FRESH).unwrap()
        });
        let seen = [(); 2].map(|()| world.see(&mut view, NOW).then(|| view.clone()));
        let next = next.join().unwrap();

        for view in seen.iter().flatten() {
            assert!(is_of(view, &older) || is_of(view, &next), "{view:?}");
        }
        let numbers: Vec<_> = seen.iter().flatten().map(|view| view.generation).collect();
        assert!(numbers.is_sorted());
        assert!(world.see(&mut view, NOW));
        assert!(is_of(&view, &next), "{view:?}");
        assert!(Arc::ptr_eq(&world.life.current(NOW).unwrap(), &next));
    });
}
