use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// Entries without tokens: a number, and what a test says of it.
#[derive(Default)]
struct Numbers {
    in_use: HashSet<u32>,
    spent: HashSet<u32>,
    visited: std::cell::RefCell<HashSet<u32>>,
    evicted: Vec<u32>,
    asked: std::cell::Cell<usize>,
}

impl Entries<u32> for Numbers {
    fn state(&self, key: &u32) -> State {
        self.asked.set(self.asked.get() + 1);
        match (self.in_use.contains(key), self.spent.contains(key)) {
            (true, _) => State::InUse,
            (_, true) => State::Spent,
            _ => State::Good,
        }
    }

    fn take_visited(&self, key: &u32) -> bool {
        self.visited.borrow_mut().remove(key)
    }

    fn evict(&mut self, key: &u32) -> bool {
        assert!(!self.in_use.contains(key), "{key} is in use");
        self.evicted.push(*key);
        true
    }
}

/// A cache of numbers whose hash is themselves.
struct Cache {
    eviction: Eviction<u32>,
    entries: Numbers,
    kept: HashSet<u32>,
}

impl Cache {
    fn new(capacity: usize) -> Self {
        Self {
            eviction: Eviction::new(capacity),
            entries: Numbers::default(),
            kept: HashSet::new(),
        }
    }

    /// Whether it was a hit.
    fn get(&mut self, key: u32) -> bool {
        if self.kept.contains(&key) {
            self.entries.visited.get_mut().insert(key);
            return true;
        }
        self.insert(key);
        false
    }

    fn insert(&mut self, key: u32) {
        // A newcomer is in use by who has inserted it.
        let was_in_use = !self.entries.in_use.insert(key);
        self.eviction.insert(key, u64::from(key), &mut self.entries);
        if !was_in_use {
            self.entries.in_use.remove(&key);
        }
        self.kept.insert(key);
        for evicted in self.entries.evicted.drain(..) {
            assert!(self.kept.remove(&evicted));
            self.entries.visited.get_mut().remove(&evicted);
        }
    }

    /// The share of hits.
    fn share(&mut self, keys: impl IntoIterator<Item = u32>) -> f64 {
        let hits: Vec<bool> = keys.into_iter().map(|key| self.get(key)).collect();
        hits.iter().filter(|hit| **hit).count() as f64 / hits.len() as f64
    }

    /// How many are kept without those that are parked.
    fn len(&self) -> usize {
        self.eviction.small.len() + self.eviction.main.ring.len()
    }
}

/// Numbers without an order that repeats: a linear congruential generator.
fn chance(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % u64::from(below)) as u32
    }
}

const CAPACITY: u32 = 500;

fn cache() -> Cache {
    Cache::new(CAPACITY as usize)
}

// ===== what is kept of a cycle, of a scan, of a shift =====

#[test]
fn a_cycle_that_fits_is_kept_whole() {
    let mut cache = cache();
    assert_eq!(cache.share(0..CAPACITY), 0.0);
    for _ in 0..5 {
        assert_eq!(cache.share(0..CAPACITY), 1.0);
    }
}

#[test]
fn a_cycle_that_is_too_long_keeps_what_the_main_queue_holds() {
    // In percent of the capacity.
    for length in (105..=300).step_by(5).chain([400, 500, 1000]) {
        let mut cache = cache();
        let cycle = CAPACITY * length / 100;
        let expected = 0.9 * f64::from(CAPACITY) / f64::from(cycle);
        cache.share(0..cycle);
        for round in 1..10 {
            let share = cache.share(0..cycle);
            assert!(
                share >= 0.95 * expected,
                "{length} %, round {round}: {share} of {expected}"
            );
        }
        assert!(length > 200 || expected >= 0.4);
    }
}

#[test]
fn rounds_in_another_order_each_time_keep_nearly_as_much() {
    for length in [110, 150, 200, 300] {
        let mut cache = cache();
        let mut below = chance(1);
        let count = CAPACITY * length / 100;
        let mut round: Vec<u32> = (0..count).collect();
        let mut last = 0.0;
        for _ in 0..30 {
            for at in (1..count).rev() {
                round.swap(at as usize, below(at + 1) as usize);
            }
            last = cache.share(round.iter().copied());
        }
        let expected = 0.9 * f64::from(CAPACITY) / f64::from(count);
        assert!(last >= 0.75 * expected, "{length} %: {last} of {expected}");
    }
}

#[test]
fn a_scan_does_not_push_out_what_is_in_use_meanwhile() {
    let mut cache = cache();
    let working_set = |at: u32| at % (CAPACITY / 2);
    cache.share((0..CAPACITY).map(working_set));

    let mut hits = 0;
    for at in 0..10 * CAPACITY {
        cache.get(1_000_000 + at);
        hits += u32::from(cache.get(working_set(at)));
    }
    assert_eq!(hits, 10 * CAPACITY);
}

#[test]
fn what_was_scanned_and_never_used_gives_way_to_a_working_set() {
    let mut cache = cache();
    cache.share(1_000_000..1_000_000 + 3 * CAPACITY);

    let mut scanned = 2_000_000;
    let mut shares = Vec::new();
    for _ in 0..20 {
        let mut hits = 0;
        for key in 0..CAPACITY / 2 {
            // The scan goes on.
            scanned += 1;
            cache.get(scanned);
            hits += u32::from(cache.get(key));
        }
        shares.push(f64::from(hits) / f64::from(CAPACITY / 2));
    }
    assert!(shares[12..].iter().all(|share| *share >= 0.9), "{shares:?}");
}

#[test]
fn a_new_working_set_of_half_the_capacity_is_kept_after_its_second_round() {
    // After another of the same size; and after one that has filled the map and whose tokens have ended.
    for before in [CAPACITY / 2, CAPACITY] {
        let mut cache = cache();
        for _ in 0..4 {
            cache.share(0..before);
        }
        if before == CAPACITY {
            cache.entries.spent.extend(0..before);
        }
        let new = 10_000..10_000 + CAPACITY / 2;
        cache.share(new.clone());
        cache.share(new.clone());
        let share = cache.share(new);
        assert!(share >= 0.9, "after {before}: {share}");
    }
}

#[test]
fn a_working_set_that_comes_back_replaces_good_entries_that_are_no_longer_used() {
    let mut cache = cache();
    for _ in 0..4 {
        cache.share(0..CAPACITY);
    }
    let mut shares = Vec::new();
    for _ in 0..6 {
        shares.push(cache.share(10_000..10_000 + CAPACITY / 2));
    }
    assert!(shares[4..].iter().all(|share| *share >= 0.9), "{shares:?}");
}

#[test]
fn of_requests_by_zipfs_law_more_hit_than_with_lru() {
    // Twenty times the capacity; the share of each is as one to its rank.
    let count = 20 * CAPACITY;
    let weights: Vec<f64> = (1..=count)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / f64::from(rank);
            Some(*sum)
        })
        .collect();
    let mut below = chance(2);
    let total = weights[weights.len() - 1];
    let mut draw = || {
        let drawn = f64::from(below(1 << 30)) / f64::from(1 << 30) * total;
        weights.partition_point(|weight| *weight < drawn) as u32
    };
    let warm_up: Vec<u32> = (0..20 * CAPACITY).map(|_| draw()).collect();
    let requests: Vec<u32> = (0..40 * CAPACITY).map(|_| draw()).collect();

    let mut cache = cache();
    cache.share(warm_up.iter().copied());
    let ours = cache.share(requests.iter().copied());

    // LRU by stamps.
    let mut stamps: HashMap<u32, usize> = HashMap::new();
    let mut hits = 0;
    for (now, key) in warm_up.iter().chain(&requests).enumerate() {
        let is_hit = stamps.insert(*key, now).is_some();
        hits += usize::from(is_hit && now >= warm_up.len());
        if stamps.len() > CAPACITY as usize {
            let oldest = stamps.iter().min_by_key(|(_, stamp)| **stamp).unwrap();
            let oldest = *oldest.0;
            stamps.remove(&oldest);
        }
    }
    let lru = hits as f64 / requests.len() as f64;
    assert!(ours > lru + 0.05, "{ours} and {lru}");
}

// ===== what goes first =====

#[test]
fn spent_entries_go_before_good_ones() {
    let mut cache = cache();
    cache.share(0..CAPACITY);
    cache.entries.spent.extend((0..CAPACITY).step_by(4));
    // As many as are spent come in, and every good one is still there.
    cache.share(1_000..1_000 + CAPACITY / 8);
    let good = (0..CAPACITY).filter(|key| key % 4 != 0);
    let kept = good.filter(|key| cache.kept.contains(key)).count();
    assert!(kept as u32 >= CAPACITY * 3 / 4 - 2, "{kept}");
}

#[test]
fn what_is_parked_goes_when_it_is_no_longer_in_use() {
    let mut cache = Cache::new(10);
    cache.entries.in_use.extend(0..1_000);
    (0..1_000).for_each(|key| cache.insert(key));
    assert_eq!(cache.kept.len(), 1_000);
    cache.entries.in_use.clear();
    (1_000..1_020).for_each(|key| cache.insert(key));
    assert!(cache.kept.len() <= 11, "{}", cache.kept.len());
}

#[test]
fn a_capacity_of_zero_or_one_keeps_as_many() {
    for capacity in [0, 1] {
        let mut cache = Cache::new(capacity);
        for key in (0..100).chain(0..100) {
            cache.get(key);
            // The newest is in use while it is inserted.
            assert!(cache.kept.len() <= capacity + 1);
        }
    }
}

// ===== against a model =====

#[derive(Clone, Debug)]
enum Step {
    Get(u32),
    Use(u32),
    Release(u32),
    Spend(u32),
    Fetch(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u32..60;
    prop_oneof![
        8 => key().prop_map(Step::Get),
        2 => key().prop_map(Step::Use),
        2 => key().prop_map(Step::Release),
        1 => key().prop_map(Step::Spend),
        1 => key().prop_map(Step::Fetch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    // The model is a set: what was inserted and not evicted. `Cache` keeps it, and `Numbers` judges that
    // nothing in use is evicted.
    #[test]
    fn it_holds_what_was_inserted_and_not_evicted_within_its_bounds(
        capacity in 0usize..40,
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let mut cache = Cache::new(capacity);
        let mut most_in_use = 0;
        for step in steps {
            match step {
                Step::Get(key) => {
                    let before = cache.kept.clone();
                    cache.entries.asked.set(0);
                    let was_hit = cache.get(key);
                    prop_assert_eq!(was_hit, before.contains(&key));
                    prop_assert!(cache.kept.contains(&key));
                    // Nothing goes while there is room but what is spent.
                    let gone: Vec<u32> = before.difference(&cache.kept).copied().collect();
                    let had_room = before.len() < capacity;
                    let are_spent = gone.iter().all(|key| cache.entries.spent.contains(key));
                    prop_assert!(!had_room || are_spent, "{:?}", gone);
                }
                Step::Use(key) if cache.kept.contains(&key) => {
                    cache.entries.in_use.insert(key);
                }
                Step::Spend(key) => {
                    cache.entries.spent.insert(key);
                }
                Step::Release(key) => {
                    cache.entries.in_use.remove(&key);
                }
                Step::Fetch(key) => {
                    cache.entries.spent.remove(&key);
                }
                Step::Use(_) => {}
            }
            // One more: a newcomer is in use while it is inserted.
            most_in_use = most_in_use.max(cache.entries.in_use.len() + 1);
            prop_assert!(cache.len() <= capacity);
            prop_assert_eq!(cache.len() + cache.eviction.parked.len(), cache.kept.len());
            prop_assert!(cache.eviction.parked.len() <= most_in_use * 9 / 8 + 1);
            prop_assert!(cache.eviction.ghosts.queue.len() <= capacity);
            prop_assert!(cache.eviction.ghosts.numbers.len() <= cache.eviction.ghosts.queue.len());
            // Passed over, resumed, searched and refused, and the one that leaves.
            prop_assert!(cache.entries.asked.get() <= 8 + 64 + 8 + 8 * 2 + 4);
        }
        for key in cache.kept.clone() {
            cache.entries.in_use.remove(&key);
        }
        for key in 1_000..1_000 + 8 {
            cache.insert(key);
        }
        prop_assert!(cache.kept.len() <= capacity + 1);
    }
}
