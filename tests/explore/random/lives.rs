//! Lives of many threads, each with its own weather. What must hold in all of them stands in
//! `world.rs`; that every caller ends, shuttle sees by itself.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};

use crate::view::View;
use crate::world::{Weather, World, explore};

/// What a server is like on most days.
const FAIR: Weather = Weather {
    land: 80,
    fail: 10,
    die: 5,
};
/// One whose flights end in every way equally.
const FOUL: Weather = Weather {
    land: 25,
    fail: 25,
    die: 25,
};

const ITERATIONS: usize = 5_000;

fn spawn(
    world: &Arc<World>,
    times: usize,
    act: impl Fn(&Arc<World>) + Send + 'static,
) -> JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || {
        for _ in 0..times {
            act(&world);
        }
    })
}

/// Callers, views, rejections and a clock; `beside` are whatever else a model adds.
fn live(world: &Arc<World>, beside: impl IntoIterator<Item = JoinHandle<()>>) {
    let mut threads: Vec<_> = beside.into_iter().collect();
    for _ in 0..4 {
        threads.push(spawn(world, 3, |world| drop(world.acquire())));
    }
    // Two that meet at one stripe, and one of another.
    for stripe in [0, 0, 1] {
        let world = Arc::clone(world);
        threads.push(thread::spawn(move || {
            let mut view = View::of_stripe(stripe);
            for _ in 0..6 {
                world.see(&mut view);
            }
        }));
    }
    for _ in 0..2 {
        threads.push(spawn(world, 2, |world| {
            // The present one, or one of before.
            let late = thread_rng().gen_range(0..2);
            world.reject(world.generation().saturating_sub(late));
        }));
    }
    threads.push(spawn(world, 8, |world| {
        world.pass(thread_rng().gen_range(0..12));
    }));
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn many_callers_are_served_by_one_flight_at_a_time_with_nothing_past_its_end() {
    explore(ITERATIONS, || live(&World::new(FAIR), []));
}

#[test]
fn flights_that_fail_die_and_come_late_leave_one_in_the_air_and_no_caller_waiting() {
    explore(ITERATIONS, || live(&World::new(FOUL), []));
}

#[test]
fn a_failure_is_given_only_while_the_source_is_the_same_and_no_recovery_has_ended_it() {
    explore(ITERATIONS, || {
        let world = World::new(FOUL);
        let recoveries = spawn(&world, 2, |world| world.recover());
        let changes = spawn(&world, 1, |world| world.change_source());
        live(&world, [recoveries, changes]);
    });
}

#[test]
fn nothing_void_is_served_however_often_it_is_invalidated() {
    explore(ITERATIONS, || {
        let world = World::new(FAIR);
        let invalidations = (0..2).map(|_| spawn(&world, 3, |world| world.invalidate()));
        let invalidations: Vec<_> = invalidations.collect();
        live(&world, invalidations);
    });
}

#[test]
fn nothing_is_in_the_air_or_served_after_a_closing() {
    explore(ITERATIONS, || {
        let world = World::new(FOUL);
        let invalidation = spawn(&world, 1, |world| world.invalidate());
        let closing = spawn(&world, 1, World::close);
        live(&world, [invalidation, closing]);
    });
}
