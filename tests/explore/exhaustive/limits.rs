//! The limiter: permits, places and circuits among threads that enter, end, leave, look and reset at once.
//!
//! Explored is `cache/limiter/` itself. In every model a [`Twin`] stands for a fetch, and judges: it ends once, is called
//! under no lock but where the limiter says so, and no start begins within another one of its thread.
#![allow(dead_code, reason = "the engine uses what is not explored")]

use std::sync::atomic::{AtomicBool, AtomicU64 as Count, AtomicUsize, Ordering as Std};
use std::sync::{Arc, Mutex as Unseen};
use std::time::Duration;

use loom::thread::{self, JoinHandle};

use crate::clock::Moment;
use crate::world::{NOW, explore, explore_within};
use limiter::{About, Entrance, Finished, Job, Key, Member, Outcome};

#[path = "../../../crates/maskinporten/src/cache/limiter/mod.rs"]
mod limiter;

type Limiter = limiter::Limiter<Twin>;
type Permit = limiter::Permit<Twin>;

/// How long a permit is leased.
const LEASE: Duration = Duration::from_secs(100);

/// The bound of a model of three threads.
const PREEMPTIONS: usize = 3;

/// How many jobs a model has at most.
const JOBS: usize = 6;

/// One limiter, and a tenant for each job that asks for one.
struct World {
    limiter: Arc<Limiter>,
    members: Vec<Member<Twin>>,
    desk: Arc<Desk>,
}

/// What has become of the jobs. It is read and written under no lock of the model: that adds no interleavings.
struct Desk {
    allowed: usize,
    now: Count,
    jobs: [Became; JOBS],
    out: AtomicUsize,
    permits: Unseen<[Option<Permit>; JOBS]>,
}

#[derive(Default)]
struct Became {
    place: Unseen<Option<Key>>,
    is_abandoned: AtomicBool,
    started: AtomicUsize,
    refused: AtomicUsize,
    lapsed: AtomicUsize,
    dropped: AtomicUsize,
}

struct Twin {
    desk: Arc<Desk>,
    number: usize,
    does: Does,
    has_ended: bool,
}

/// What a job does with its permit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    KeepsIt,
    /// As a fetch whose runtime is gone.
    GivesItBackAtOnce,
}

/// An error as others may see it. It is dropped under no lock.
#[derive(Clone)]
struct Failure {
    _checked: Arc<DroppedUnlocked>,
}

struct DroppedUnlocked;

impl Drop for DroppedUnlocked {
    fn drop(&mut self) {
        sync::assert_unlocked();
    }
}

fn failed(about: About) -> Outcome<Failure> {
    let error = Failure {
        _checked: Arc::new(DroppedUnlocked),
    };
    Outcome::Failed(about, error)
}

impl World {
    /// Of `permits` permits and `tenants` tenants with one identity each.
    fn new(permits: usize, tenants: usize) -> Arc<Self> {
        let desk = Arc::new(Desk {
            allowed: permits,
            now: Count::new(NOW.as_nanoseconds()),
            jobs: std::array::from_fn(|_| Became::default()),
            out: AtomicUsize::new(0),
            permits: Unseen::default(),
        });
        let clock = Arc::clone(&desk);
        let limiter = Limiter::new(permits, LEASE, move || {
            Moment::from_nanoseconds(clock.now.load(Std::SeqCst))
        });
        let limiter = Arc::new(limiter);
        Arc::new(Self {
            members: (0..tenants).map(|name| limiter.join(name)).collect(),
            limiter,
            desk,
        })
    }

    fn enter(&self, number: usize, tenant: usize, does: Does) {
        self.enter_as(&self.members[tenant], tenant as u64, number, does);
    }

    fn enter_as(&self, member: &Member<Twin>, identity: u64, number: usize, does: Does) {
        let entrance = Entrance {
            identity,
            hard_end: None,
            is_proven: false,
            revision: 0,
            place: None,
        };
        let job = Twin {
            desk: Arc::clone(&self.desk),
            number,
            does,
            has_ended: false,
        };
        self.limiter.enter(member, entrance, job);
    }

    /// Ends a job that has its permit.
    fn finish(&self, job: usize, outcome: Outcome<Failure>) -> Option<Finished> {
        let permit = self.desk.permits.lock().unwrap()[job].take()?;
        self.desk.out.fetch_sub(1, Std::SeqCst);
        permit.finish(outcome)
    }

    fn note_callers(&self, job: usize, has_callers: bool) {
        let became = &self.desk.jobs[job];
        became.is_abandoned.store(!has_callers, Std::SeqCst);
        self.limiter.callers_changed(became.place());
    }

    fn pass(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap();
        self.desk.now.fetch_add(nanoseconds, Std::SeqCst);
    }

    fn started(&self, job: usize) -> usize {
        self.desk.jobs[job].started.load(Std::SeqCst)
    }

    fn waiting(&self) -> usize {
        self.limiter.standing().waiting
    }

    fn in_use(&self) -> usize {
        self.limiter.standing().in_use
    }

    /// Ends all jobs that have their permits, and those that get them then. Each of the first `jobs` has ended once.
    #[track_caller]
    fn settle(&self, jobs: usize) {
        loop {
            let ended = (0..JOBS).filter(|job| self.finish(*job, Outcome::Served).is_some());
            if ended.count() > 0 {
                continue;
            }
            if self.waiting() == 0 {
                break;
            }
            // What waits with all permits free waits for a probe, for a second at most.
            self.pass(Duration::from_secs(1));
            self.limiter.look();
            let permits = self.desk.permits.lock().unwrap();
            assert!(permits.iter().any(Option::is_some), "a place is stuck");
        }
        assert_eq!(self.in_use(), 0);
        for (number, became) in self.desk.jobs[..jobs].iter().enumerate() {
            assert_eq!(became.ends(), 1, "job {number}");
        }
    }
}

/// Does something in a thread of its own.
fn meanwhile<R: 'static>(
    world: &Arc<World>,
    act: impl FnOnce(&World) -> R + 'static,
) -> JoinHandle<R> {
    let world = Arc::clone(world);
    thread::spawn(move || act(&world))
}

impl Became {
    fn place(&self) -> Key {
        self.place.lock().unwrap().unwrap()
    }

    fn ends(&self) -> usize {
        let ends = [&self.started, &self.refused, &self.lapsed, &self.dropped];
        ends.into_iter().map(|end| end.load(Std::SeqCst)).sum()
    }
}

impl Twin {
    fn end(&mut self, how: impl Fn(&Became) -> &AtomicUsize) {
        sync::assert_unlocked();
        assert!(!self.has_ended);
        self.has_ended = true;
        how(&self.desk.jobs[self.number]).fetch_add(1, Std::SeqCst);
    }
}

impl Job for Twin {
    type Tenant = usize;
    type Error = Failure;
    type Nudge = usize;

    fn queued(&self, key: Key) {
        *self.desk.jobs[self.number].place.lock().unwrap() = Some(key);
    }

    fn has_callers(&self) -> bool {
        !self.desk.jobs[self.number].is_abandoned.load(Std::SeqCst)
    }

    fn nudge(&self) -> usize {
        self.number
    }

    fn nudged(_nudge: usize) {
        sync::assert_unlocked();
    }

    fn start(mut self, permit: Permit) {
        self.end(|became| &became.started);
        sync::nested(|| match self.does {
            Does::GivesItBackAtOnce => drop(permit),
            Does::KeepsIt => {
                let out = self.desk.out.fetch_add(1, Std::SeqCst) + 1;
                let is_counted = !permit.is_probe();
                assert!(
                    out <= self.desk.allowed || !is_counted,
                    "{out} permits are out"
                );
                self.desk.permits.lock().unwrap()[self.number] = Some(permit);
            }
        });
    }

    fn refuse(mut self, error: Failure, _until: Moment) {
        self.end(|became| &became.refused);
        drop(error);
    }

    fn lapse(mut self) {
        self.end(|became| &became.lapsed);
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(|became| &became.dropped);
        }
    }
}

// ===== permits and places =====

#[test]
fn a_place_is_started_by_the_thread_that_gives_the_permit_back_or_by_the_one_that_enters() {
    explore(|| {
        let world = World::new(2, 2);
        world.enter(0, 0, Does::KeepsIt);

        let other = meanwhile(&world, |world| world.enter(1, 1, Does::KeepsIt));
        world.finish(0, Outcome::Served);

        other.join().unwrap();
        assert_eq!((world.started(1), world.waiting()), (1, 0));
        world.settle(2);
    });
}

#[test]
fn of_two_that_enter_while_one_permit_comes_back_one_is_started() {
    explore_within(PREEMPTIONS, || {
        let world = World::new(2, 3);
        world.enter(0, 0, Does::KeepsIt);

        let others = [1, 2].map(|number| {
            meanwhile(&world, move |world| {
                world.enter(number, number, Does::KeepsIt)
            })
        });
        world.finish(0, Outcome::Answered);

        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(world.started(1) + world.started(2), 1);
        assert_eq!((world.waiting(), world.in_use()), (1, 1));
        world.settle(3);
    });
}

#[test]
fn two_permits_that_come_back_at_once_start_two_places() {
    explore(|| {
        let world = World::new(3, 4);
        (0..4).for_each(|number| world.enter(number, number, Does::KeepsIt));
        assert_eq!(world.waiting(), 2);

        let other = meanwhile(&world, |world| world.finish(0, Outcome::Served));
        world.finish(1, Outcome::Unknown);

        other.join().unwrap();
        assert_eq!((world.started(2), world.started(3)), (1, 1));
        world.settle(4);
    });
}

#[test]
fn a_place_that_is_left_while_its_turn_comes_is_started_or_dropped_and_the_next_one_waits_for_it_alone()
 {
    explore(|| {
        let world = World::new(2, 3);
        (0..3).for_each(|number| world.enter(number, number, Does::KeepsIt));

        let other = meanwhile(&world, |world| {
            world.limiter.leave(world.desk.jobs[1].place());
        });
        world.finish(0, Outcome::Served);

        other.join().unwrap();
        assert_eq!(world.started(1) + world.started(2), 1);
        assert_eq!(world.desk.jobs[1].ends(), 1);
        world.settle(3);
    });
}

#[test]
fn a_place_whose_caller_leaves_and_comes_back_is_not_dropped() {
    explore(|| {
        let world = World::new(2, 2);
        world.enter(0, 0, Does::KeepsIt);
        world.enter(1, 1, Does::KeepsIt);

        let other = meanwhile(&world, |world| {
            world.note_callers(1, false);
            world.note_callers(1, true);
            world.pass(Duration::from_secs(40));
        });
        world.limiter.look();
        world.finish(0, Outcome::Served);

        other.join().unwrap();
        assert_eq!(world.started(1), 1);
        world.settle(2);
    });
}

#[test]
fn a_place_without_a_caller_is_dropped_or_started_and_not_both() {
    explore(|| {
        let world = World::new(2, 2);
        world.enter(0, 0, Does::KeepsIt);
        world.enter(1, 1, Does::KeepsIt);
        world.note_callers(1, false);
        world.pass(Duration::from_secs(40));

        let other = meanwhile(&world, |world| world.limiter.look());
        // Too late where the place is dropped.
        world.note_callers(1, true);
        world.finish(0, Outcome::Served);

        other.join().unwrap();
        assert_eq!(world.desk.jobs[1].ends(), 1);
        world.settle(2);
    });
}

#[test]
fn a_permit_that_is_lost_while_its_fetch_ends_comes_back_once() {
    explore(|| {
        let world = World::new(2, 3);
        (0..3).for_each(|number| world.enter(number, number, Does::KeepsIt));
        world.pass(LEASE);

        let other = meanwhile(&world, |world| world.limiter.look());
        world.finish(0, Outcome::Served);

        other.join().unwrap();
        assert_eq!(world.started(1) + world.started(2), 1);
        assert_eq!(world.in_use(), 1);
        world.settle(3);
    });
}

#[test]
fn a_permit_that_two_threads_give_back_comes_back_once() {
    explore(|| {
        let world = World::new(2, 3);
        (0..3).for_each(|number| world.enter(number, number, Does::KeepsIt));
        let permit = world.desk.permits.lock().unwrap()[0].take();
        let permit = Arc::new(permit.unwrap());
        world.desk.out.fetch_sub(1, Std::SeqCst);

        let shared = Arc::clone(&permit);
        let other = thread::spawn(move || shared.finish(Outcome::Unknown).is_some());
        let is_first = permit.finish(Outcome::Served).is_some();

        assert_ne!(is_first, other.join().unwrap());
        assert_eq!(world.started(1) + world.started(2), 1);
        assert_eq!(world.in_use(), 1);
        world.settle(3);
    });
}

#[test]
fn jobs_that_give_their_permits_back_at_once_start_one_after_another_and_not_within_each_other() {
    explore(|| {
        let world = World::new(2, 3);
        world.enter(0, 0, Does::KeepsIt);
        for number in 1..5 {
            world.enter(number, 1 + number % 2, Does::GivesItBackAtOnce);
        }

        let other = meanwhile(&world, |world| world.enter(5, 2, Does::GivesItBackAtOnce));
        world.finish(0, Outcome::Served);

        other.join().unwrap();
        assert_eq!((world.waiting(), world.in_use()), (0, 0));
        world.settle(6);
    });
}

#[test]
fn a_server_that_asks_for_less_is_heeded_by_those_who_enter() {
    explore(|| {
        let world = World::new(4, 4);
        world.enter(0, 0, Does::KeepsIt);
        world.enter(1, 1, Does::KeepsIt);
        // One tenant's limit is not the server's.
        let of_another = world.desk.permits.lock().unwrap()[1].take().unwrap();
        of_another.throttle();
        world.desk.permits.lock().unwrap()[1] = Some(of_another);

        let other = meanwhile(&world, |world| world.enter(2, 2, Does::KeepsIt));
        let permit = world.desk.permits.lock().unwrap()[0].take().unwrap();
        permit.throttle();
        world.desk.out.fetch_sub(1, Std::SeqCst);
        permit.give_back();

        other.join().unwrap();
        world.enter(3, 3, Does::KeepsIt);
        assert_eq!(world.limiter.standing().permits, 2);
        assert_eq!(
            (world.started(3), world.waiting()),
            (0, 2 - world.started(2))
        );
        world.settle(4);
    });
}

// ===== circuits =====

#[test]
fn two_tenants_that_fail_at_once_open_the_circuit_once() {
    explore(|| {
        let world = World::new(3, 3);
        (0..3).for_each(|number| world.enter(number, number, Does::KeepsIt));

        let other = meanwhile(&world, |world| world.finish(0, failed(About::Server)));
        let finished = world.finish(1, failed(About::Server));

        let opened = [other.join().unwrap(), finished].map(|finished| finished.unwrap().opened);
        assert_eq!(opened.iter().flatten().count(), 1);
        // The first failure has freed a permit.
        assert_eq!(world.started(2), 1);
        assert_eq!(world.limiter.standing().open_circuits, 1);
        world.settle(3);
        assert_eq!(world.limiter.standing().open_circuits, 0);
    });
}

/// A world whose authority has failed, and is probed by job 2. The tenant of job 3 has met no failure.
fn probed() -> Arc<World> {
    let world = World::new(3, 4);
    world.enter(0, 0, Does::KeepsIt);
    world.enter(1, 1, Does::KeepsIt);
    world.finish(0, failed(About::Server));
    world.finish(1, failed(About::Server));
    world.pass(Duration::from_secs(1));
    world.enter(2, 2, Does::KeepsIt);
    assert_eq!((world.started(2), world.in_use()), (1, 0));
    world
}

#[test]
fn one_that_enters_while_a_probe_succeeds_is_started() {
    explore(|| {
        let world = probed();

        let other = meanwhile(&world, |world| world.enter(3, 3, Does::KeepsIt));
        world.finish(2, Outcome::Served);

        other.join().unwrap();
        assert_eq!((world.started(3), world.waiting()), (1, 0));
        world.settle(4);
    });
}

#[test]
fn one_that_enters_while_a_probe_fails_is_refused_or_waits_for_the_next_one() {
    explore(|| {
        let world = probed();

        let other = meanwhile(&world, |world| world.enter(3, 3, Does::KeepsIt));
        world.finish(2, failed(About::Server));

        other.join().unwrap();
        assert_eq!(world.started(3), 0);
        let refused = world.desk.jobs[3].refused.load(Std::SeqCst);
        assert_eq!(world.waiting(), 1 - refused);
        world.settle(4);
    });
}

#[test]
fn one_that_enters_while_the_circuits_are_reset_is_started_and_so_is_one_that_waited() {
    explore(|| {
        let world = probed();
        world.enter(3, 3, Does::KeepsIt);
        assert_eq!(world.waiting(), 1);

        let other = meanwhile(&world, |world| world.enter(4, 0, Does::KeepsIt));
        world.limiter.reset();

        other.join().unwrap();
        assert_eq!((world.started(3), world.waiting()), (1, 0));
        let became = &world.desk.jobs[4];
        assert_eq!(became.ends(), 1);
        world.settle(5);
    });
}

#[test]
fn probes_are_not_sent_by_two_threads_that_look_at_once() {
    explore(|| {
        let world = probed();
        world.enter(3, 3, Does::KeepsIt);
        world.pass(Duration::from_secs(1));

        let other = meanwhile(&world, |world| world.limiter.look());
        world.enter(4, 2, Does::KeepsIt);

        other.join().unwrap();
        assert_eq!(world.started(3) + world.started(4), 1);
        world.settle(5);
    });
}

#[test]
fn a_tenant_that_is_forgotten_while_it_comes_back_keeps_its_circuit_or_starts_with_another() {
    explore(|| {
        let world = World::new(3, 1);
        let name = world.members.len();
        let members = [0, 1].map(|number| {
            let member = world.limiter.join(name);
            (number, member)
        });
        for (number, member) in &members {
            world.enter_as(member, 10 + *number as u64, *number, Does::KeepsIt);
            world.finish(*number, failed(About::Server));
        }
        assert_eq!(world.limiter.standing().open_circuits, 1);

        let other = thread::spawn(move || drop(members));
        let member = world.limiter.join(name);
        world.enter_as(&member, 12, 2, Does::KeepsIt);

        other.join().unwrap();
        let is_open = world.limiter.standing().open_circuits == 1;
        assert_eq!(world.started(2), usize::from(!is_open));
        world.settle(3);
    });
}

/// What `limiter/` is built from: a lock that knows which thread has it.
mod sync {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::AtomicUsize;

    pub(crate) use crate::sync::{AtomicU64, Ordering};

    loom::thread_local! {
        static NUMBER: usize = deal();
        static HAS_LOCK: Cell<bool> = Cell::new(false);
        static IS_STARTING: Cell<bool> = Cell::new(false);
    }

    /// No thread of any run has the same.
    fn deal() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn thread_number() -> usize {
        NUMBER.with(|number| *number)
    }

    #[track_caller]
    pub(super) fn assert_unlocked() {
        assert!(!HAS_LOCK.with(Cell::get), "called under the lock");
    }

    /// Starts a job: within no other start of its thread.
    pub(super) fn nested(start: impl FnOnce()) {
        IS_STARTING.with(|starts| assert!(!starts.replace(true), "a start within a start"));
        start();
        IS_STARTING.with(|starts| starts.set(false));
    }

    pub(crate) struct Mutex<T>(crate::sync::Mutex<T>);
    pub(crate) struct MutexGuard<'a, T>(crate::sync::MutexGuard<'a, T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(crate::sync::Mutex::new(value))
        }

        #[track_caller]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            assert_unlocked();
            let guard = self.0.lock();
            HAS_LOCK.with(|has| has.set(true));
            MutexGuard(guard)
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            HAS_LOCK.with(|has| has.set(false));
        }
    }
}
