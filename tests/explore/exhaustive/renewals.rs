//! Renewals: one that is due is started some day, however the last one ended.

use std::time::Duration;

use crate::cache::state::Found;
use crate::flight::Failed;
use crate::view::View;
use crate::world::{
    AGEING, Ending, FRESH, NOW, PAUSE, REVISION, World, awaited, explore, meanwhile,
};

#[test]
fn a_renewal_that_is_due_is_started_however_the_last_one_ended() {
    let endings = [
        // Landed: when its token ages in turn.
        (Ending::Lands, FRESH.soft),
        // Failed: when the failure is remembered no more.
        (Ending::Fails, NOW.after(PAUSE)),
        // Died: when those who go on with the token look after it next, a second later.
        (Ending::Dies, NOW.after(Duration::from_secs(1))),
    ];
    for (ending, due) in endings {
        explore(move || {
            let world = World::with_token(AGEING, &[ending]);

            let other = meanwhile(&world, |world| {
                let mut view = View::new();
                assert!(world.see(&mut view, NOW));
                view
            });
            let mut view = View::new();
            assert!(world.see(&mut view, NOW));
            let mut views = [view, other.join().unwrap()];
            let _ = world.air.flight(2).outcome();
            let started = world.air.started();

            for view in &mut views {
                assert!(world.see(view, due), "{ending:?}");
            }

            assert_eq!(world.air.started(), started + 1, "{ending:?}");
        });
    }
}

#[test]
fn a_renewal_that_cannot_be_started_is_tried_again() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        let refused = |world: &World| {
            let start = |_takeoff| Err(Failed(0));
            world.life.refresh_if_due(NOW, || REVISION, start);
        };

        let other = meanwhile(&world, move |world| refused(world));
        refused(&world);
        other.join().unwrap();

        world.refresh_if_due(NOW.after(Duration::from_secs(1)));
        assert_eq!(world.air.started(), 2);
    });
}

#[test]
fn a_renewal_is_not_lost_to_an_invalidation() {
    explore(|| {
        let world = World::with_token(AGEING, &[]);
        world.refresh_if_due(NOW);
        let flight = world.air.flight(2);

        let landing = meanwhile(&world, move |world| world.land(&flight, FRESH).is_some());
        let other = meanwhile(&world, |world| world.refresh_if_due(NOW));
        world.life.invalidate();
        landing.join().unwrap();
        other.join().unwrap();

        // Whoever looks after the token again has waited for it first.
        let (flight, _) = awaited(world.ask(NOW));
        assert!(world.land(&flight, AGEING).is_some());
        let started = world.air.started();
        assert!(matches!(world.ask(NOW), Found::Good(_)));
        assert_eq!(world.air.started(), started + 1);
    });
}
