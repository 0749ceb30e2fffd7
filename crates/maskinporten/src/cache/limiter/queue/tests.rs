//! The queue against a model: one list of places, searched from one end to the other.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// When a test begins: later than the longest wait in it.
const START: Moment = Moment::from_nanoseconds(1_000_000_000_000);

/// How long permits are leased: they are not lost here.
const LEASE: Duration = Duration::from_secs(100_000);

/// A place as the model has it. `waiter` is different in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    key: Key,
    waiter: u64,
    since: Moment,
    /// When its last caller left, and how many had left before.
    left: Option<(usize, Moment)>,
}

/// What the queue holds by the rules.
#[derive(Default)]
struct Model {
    waits: Vec<Waits>,
    held: Vec<(TenantId, Purpose)>,
    has_left: usize,
    /// Turns of renewals since the last newcomer's at which a newcomer could have gone.
    renewals_in_a_row: u32,
    /// Of newcomers: a tenant that can go, and one that has had a turn since it can.
    overtaken: Vec<(TenantId, TenantId)>,
}

impl Model {
    fn of(&self, tenant: TenantId) -> usize {
        let is_of = |held: &&(TenantId, Purpose)| held.0 == tenant;
        self.held.iter().filter(is_of).count()
    }

    /// The first newcomers of those tenants that hold less than half of the permits.
    fn newcomers(&self, allowed: usize) -> Vec<Waits> {
        let mut first: Vec<Waits> = Vec::new();
        for waits in self
            .waits
            .iter()
            .filter(|waits| waits.key.hard_end.is_none())
        {
            match first
                .iter_mut()
                .find(|first| first.key.tenant == waits.key.tenant)
            {
                Some(first) if first.key.number < waits.key.number => {}
                Some(first) => *first = *waits,
                None => first.push(*waits),
            }
        }
        first.retain(|waits| self.of(waits.key.tenant) < (allowed / 2).max(1));
        first
    }

    /// The renewal that is next, if a permit is free for it.
    fn renewal(&self, allowed: usize) -> Option<Waits> {
        let may_go = |waits: &&Waits| {
            waits.key.hard_end.is_some() && self.of(waits.key.tenant) < (allowed / 2).max(1)
        };
        let nearest = |waits: &Waits| (waits.key.hard_end, waits.key.number);
        let first = self
            .waits
            .iter()
            .filter(may_go)
            .min_by_key(|waits| nearest(waits));
        first.copied().filter(|_| self.held.len() < allowed)
    }

    /// Whether a permit is free for a newcomer: one is kept for renewals, if there are two.
    fn is_free_for_newcomers(&self, allowed: usize) -> bool {
        let is_newcomer = |held: &&(TenantId, Purpose)| held.1 == Purpose::Newcomer;
        let newcomers = self.held.iter().filter(is_newcomer).count();
        self.held.len() < allowed && (newcomers + 1 < allowed || self.held.is_empty())
    }

    fn take_out(&mut self, waiter: u64) -> Waits {
        let at = self.waits.iter().position(|waits| waits.waiter == waiter);
        self.waits.remove(at.expect("it waits"))
    }

    fn take_of(&mut self, tenant: TenantId) -> Vec<Waits> {
        let (taken, left) = self
            .waits
            .iter()
            .partition(|waits| waits.key.tenant == tenant);
        self.waits = left;
        taken
    }

    /// The oldest of the places without a caller, where there are more than `most`.
    fn surplus(&self, most: usize, is_meant: impl Fn(&Waits) -> bool) -> Option<u64> {
        let left = || {
            self.waits
                .iter()
                .filter(|waits| waits.left.is_some() && is_meant(waits))
        };
        let oldest = left().min_by_key(|waits| waits.left)?;
        (left().count() > most).then_some(oldest.waiter)
    }
}

struct World {
    queue: Queue<u64>,
    permits: Permits,
    leases: Vec<u64>,
    model: Model,
    now: Moment,
    waiters: u64,
    /// Newcomers that have had their turn, and may come back with the number they had.
    gone: Vec<Key>,
}

impl World {
    fn new(permits: usize) -> Self {
        Self {
            queue: Queue::new(),
            permits: Permits::new(permits),
            leases: Vec::new(),
            model: Model::default(),
            now: START,
            waiters: 0,
            gone: Vec::new(),
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Come(tenant, end, waited) => {
                let hard_end = end.map(|seconds| self.now.after(SECOND * seconds));
                let number = self.queue.number();
                let key = Key {
                    tenant: TenantId(tenant),
                    hard_end,
                    number,
                };
                self.push(key, waited);
            }
            Step::ComeBack(at) => {
                if !self.gone.is_empty() {
                    let key = self.gone.remove(at.index(self.gone.len()));
                    self.push(key, 0);
                }
            }
            Step::Crowd(tenant, count) => {
                for _ in 0..count {
                    let number = self.queue.number();
                    let key = Key {
                        tenant: TenantId(tenant),
                        hard_end: None,
                        number,
                    };
                    self.push(key, 0);
                    self.note_callers(key, false);
                }
            }
            Step::Leave(at) => {
                if let Some(waits) = self.pick(at) {
                    assert_eq!(self.queue.remove(waits.key), Some(waits.waiter));
                    assert_eq!(self.queue.remove(waits.key), None);
                    self.model.take_out(waits.waiter);
                }
            }
            Step::NoteCallers(at, has_callers) => {
                if let Some(waits) = self.pick(at) {
                    self.note_callers(waits.key, has_callers);
                }
            }
            Step::Pass(seconds) => {
                self.now = self.now.after(SECOND * seconds);
                self.drop_expired();
            }
            Step::Next(turns) => {
                for _ in 0..turns {
                    self.next();
                }
            }
            Step::GiveBack(at, outcome) => {
                if !self.leases.is_empty() {
                    self.give_back(at.index(self.leases.len()), outcome);
                }
            }
            Step::Drain(tenant) => {
                let drained = self.queue.drain_tenant(TenantId(tenant));
                let expected = self.model.take_of(TenantId(tenant));
                assert_same(drained, expected);
            }
            Step::DrainAll => {
                let drained = self.queue.drain();
                assert_same(drained, std::mem::take(&mut self.model.waits));
            }
        }
        self.check();
    }

    fn pick(&self, at: Index) -> Option<Waits> {
        let waits = &self.model.waits;
        (!waits.is_empty()).then(|| waits[at.index(waits.len())])
    }

    fn push(&mut self, key: Key, waited: u32) {
        self.waiters += 1;
        let since = Moment::from_nanoseconds(
            self.now.as_nanoseconds() - (SECOND * waited).as_nanos() as u64,
        );
        self.queue.push(key, self.waiters, since);
        self.model.waits.push(Waits {
            key,
            waiter: self.waiters,
            since,
            left: None,
        });
    }

    fn note_callers(&mut self, key: Key, has_callers: bool) {
        let dropped = self.queue.note_callers(key, has_callers, self.now);

        let model = &mut self.model;
        let place = model
            .waits
            .iter_mut()
            .find(|waits| waits.key == key)
            .unwrap();
        match (has_callers, place.left) {
            (true, _) => place.left = None,
            (false, Some(_)) => {}
            (false, None) => {
                model.has_left += 1;
                place.left = Some((model.has_left, self.now));
            }
        }
        let of_tenant = |waits: &Waits| waits.key.tenant == key.tenant;
        let surplus = model.surplus(ABANDONED_OF_TENANT, of_tenant);
        let surplus = surplus.or_else(|| model.surplus(ABANDONED, |_| true));
        assert_eq!(dropped, surplus.into_iter().collect::<Vec<_>>());
        if let Some(waiter) = surplus {
            model.take_out(waiter);
        }
    }

    fn drop_expired(&mut self) {
        let mut dropped = self.queue.drop_expired(self.now);
        dropped.sort_unstable();
        let is_over = |waits: &Waits| {
            let left = waits.left.map(|(_, at)| at);
            left.is_some_and(|at| at.until(self.now) >= KEPT_FOR)
        };
        let (over, left): (Vec<Waits>, _) =
            self.model.waits.iter().partition(|waits| is_over(waits));
        self.model.waits = left;
        // In the order in which they came, which is that of their numbers.
        let over: Vec<u64> = over.into_iter().map(|waits| waits.waiter).collect();
        assert_eq!(dropped, over);
    }

    /// Gives the next turn, and judges it.
    fn next(&mut self) -> Option<TenantId> {
        let allowed = self.permits.allowed();
        let renewal = self.model.renewal(allowed);
        let mut newcomers = self.model.newcomers(allowed);
        if !self.model.is_free_for_newcomers(allowed) {
            newcomers.clear();
        }
        let Some(next) = self.queue.next(&self.permits) else {
            // None waits while a permit that it may have is free.
            assert!(
                renewal.is_none() && newcomers.is_empty(),
                "{renewal:?} {newcomers:?}"
            );
            return None;
        };
        let went = self.model.take_out(next.waiter);
        assert_eq!(next.tenant, went.key.tenant);

        let model = &mut self.model;
        // Those whose turn it may be: without one that has had a turn since another can go.
        let in_turn: Vec<Waits> = newcomers
            .iter()
            .filter(|waits| {
                !model
                    .overtaken
                    .iter()
                    .any(|(_, went)| *went == waits.key.tenant)
            })
            .copied()
            .collect();
        let is_nearer = |renewal: Waits, waits: &Waits| {
            renewal.key.hard_end <= Some(waits.since.after(PATIENCE))
        };
        match next.purpose {
            Purpose::Renewal => {
                assert_eq!(Some(went), renewal);
                if !newcomers.is_empty() {
                    assert!(
                        model.renewals_in_a_row < 3,
                        "newcomers wait for a fourth turn"
                    );
                    assert!(in_turn.iter().any(|waits| is_nearer(went, waits)));
                    model.renewals_in_a_row += 1;
                }
            }
            Purpose::Newcomer => {
                assert!(in_turn.contains(&went), "{went:?} of {in_turn:?}");
                if let Some(renewal) = renewal {
                    assert!(model.renewals_in_a_row == 3 || !is_nearer(renewal, &went));
                }
                model.renewals_in_a_row = 0;
                self.gone.push(went.key);
                model.overtaken.retain(|(waits, _)| *waits != next.tenant);
                let others = newcomers.iter().map(|waits| waits.key.tenant);
                let others = others.filter(|tenant| *tenant != next.tenant);
                model
                    .overtaken
                    .extend(others.map(|tenant| (tenant, next.tenant)));
            }
            Purpose::Probe => panic!("the queue gives no probes"),
        }
        model.held.push((next.tenant, next.purpose));
        let lease = self
            .permits
            .lease(next.tenant, next.purpose, self.now, LEASE);
        self.leases.push(lease);

        let of_tenant = self.model.of(next.tenant);
        assert!(of_tenant <= (allowed / 2).max(1));
        assert!(self.model.held.len() <= allowed);
        self.refresh();
        Some(next.tenant)
    }

    fn give_back(&mut self, at: usize, outcome: Answer) {
        if outcome == Answer::Throttled {
            self.permits.throttle(self.leases[at]);
        }
        let lease = self.permits.take_back(self.leases.remove(at)).unwrap();
        self.queue.release(lease.tenant);
        self.model.held.remove(at);
        if outcome == Answer::Served {
            self.permits.widen();
        }
    }

    /// Forgets who was overtaken while it could not go.
    fn refresh(&mut self) {
        let can_go = self.model.newcomers(self.permits.allowed());
        let can_go = |tenant: &TenantId| can_go.iter().any(|waits| waits.key.tenant == *tenant);
        self.model.overtaken.retain(|(waits, _)| can_go(waits));
    }

    fn check(&mut self) {
        self.refresh();
        let waits = &self.model.waits;
        assert_eq!(self.queue.len(), waits.len());
        for place in waits.iter().take(8) {
            assert_eq!(self.queue.get(place.key), Some(&place.waiter));
            let is_ahead = |other: &&Waits| {
                let (other, key) = (other.key, place.key);
                let order = |key: Key| (key.hard_end.is_none(), key.hard_end, key.number);
                other.tenant == key.tenant && order(other) < order(key)
            };
            assert_eq!(
                self.queue.ahead(place.key),
                Some(waits.iter().filter(is_ahead).count())
            );
        }
        let is_next = |place: &&Waits| {
            let is_same = |other: &Waits| {
                let is_renewal = |place: &Waits| place.key.hard_end.is_some();
                other.key.tenant == place.key.tenant && is_renewal(other) == is_renewal(place)
            };
            let order = |other: &Waits| (other.key.hard_end, other.key.number);
            !waits
                .iter()
                .any(|other| is_same(other) && order(other) < order(place))
        };
        let since = waits.iter().filter(is_next).map(|place| place.since).min();
        assert_eq!(self.queue.waiting_since(), since);
        // Bounds that do not depend on how many have come and gone.
        let of_use = waits.iter().map(|waits| waits.key.tenant);
        let of_use = of_use.chain(self.model.held.iter().map(|held| held.0));
        let known = self.queue.tenants.len();
        let of_use: BTreeSet<TenantId> = of_use.chain(self.queue.turns.iter().copied()).collect();
        assert_eq!(known, of_use.len());
        assert!(self.queue.turns.len() <= known);
        let left = waits.iter().filter(|waits| waits.left.is_some()).count();
        assert_eq!(self.queue.abandoned.len(), left);
    }

    /// Gives all permits back until no place is left.
    fn finish(mut self) {
        while !self.model.waits.is_empty() || !self.leases.is_empty() {
            while self.next().is_some() {}
            assert!(!self.leases.is_empty(), "places wait and no permit is out");
            while !self.leases.is_empty() {
                self.give_back(0, Answer::Unknown);
            }
            self.check();
        }
        assert!(self.next().is_none());
        assert_eq!(self.queue.len(), 0);
        assert!(self.queue.tenants.is_empty() && self.queue.renewals.is_empty());
    }
}

#[track_caller]
fn assert_same(mut drained: Vec<(Key, u64, Moment)>, mut expected: Vec<Waits>) {
    drained.sort_unstable_by_key(|(_, waiter, _)| *waiter);
    expected.sort_unstable_by_key(|waits| waits.waiter);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|waits| (waits.key, waits.waiter, waits.since))
        .collect();
    assert_eq!(drained, expected);
}

#[derive(Clone, Debug)]
enum Step {
    /// A place of a tenant: of a renewal with seconds left, or of a newcomer; and for how long it has waited elsewhere.
    Come(usize, Option<u32>, u32),
    ComeBack(Index),
    /// As many newcomers whose callers leave at once.
    Crowd(usize, usize),
    Leave(Index),
    NoteCallers(Index, bool),
    Pass(u32),
    Next(usize),
    GiveBack(Index, Answer),
    Drain(usize),
    DrainAll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Served,
    Throttled,
    Unknown,
}

fn step() -> impl Strategy<Value = Step> {
    let tenant = || 0usize..5;
    let at = any::<Index>;
    let answers = vec![Answer::Served, Answer::Throttled, Answer::Unknown];
    let answer = prop::sample::select(answers);
    let end = prop::option::weighted(0.4, 0u32..90);
    prop_oneof![
        12 => (tenant(), end, 0u32..40).prop_map(|(tenant, end, ago)| Step::Come(tenant, end, ago)),
        1 => at().prop_map(Step::ComeBack),
        1 => (tenant(), 1usize..80).prop_map(|(tenant, count)| Step::Crowd(tenant, count)),
        2 => at().prop_map(Step::Leave),
        3 => (at(), any::<bool>()).prop_map(|(at, has_callers)| Step::NoteCallers(at, has_callers)),
        2 => (0u32..20).prop_map(Step::Pass),
        6 => (1usize..4).prop_map(Step::Next),
        6 => (at(), answer).prop_map(|(at, answer)| Step::GiveBack(at, answer)),
        1 => tenant().prop_map(Step::Drain),
        1 => Just(Step::DrainAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    // Nothing is lost: each place leaves the model once, when the queue gives, drops or drains it.
    #[test]
    fn turns_are_fair_permits_are_not_left_idle_and_nothing_is_lost(
        permits in 1usize..12,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(permits);
        for step in steps {
            world.play(step);
        }
        world.finish();
    }
}

#[test]
fn of_all_places_without_callers_the_oldest_is_dropped() {
    let mut queue = Queue::new();
    let mut dropped = Vec::new();
    let tenants = ABANDONED / ABANDONED_OF_TENANT + 1;
    for place in 0..(tenants * ABANDONED_OF_TENANT) as u64 {
        let tenant = TenantId(place as usize % tenants);
        let key = Key {
            tenant,
            hard_end: None,
            number: queue.number(),
        };
        queue.push(key, place, START);
        dropped.extend(queue.note_callers(key, false, START));
    }
    assert_eq!(queue.len(), ABANDONED);
    assert!(dropped.into_iter().eq(0..ABANDONED_OF_TENANT as u64));
}
