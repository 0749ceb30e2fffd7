//! The permits against a model: a list of those that are out, each with the halvings that it has seen.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Moment {
    Moment::PAST.after(SECOND * seconds)
}

#[test]
fn a_busy_server_halves_them_once_for_all_that_were_out_and_each_success_adds_one() {
    let mut permits = Permits::new(32);
    let lease =
        |permits: &mut Permits| permits.lease(TenantId(0), Purpose::Newcomer, at(1), SECOND);
    let out: Vec<u64> = (0..32).map(|_| lease(&mut permits)).collect();
    for number in &out {
        permits.throttle(*number);
    }
    assert_eq!(permits.allowed(), 16);
    for _ in 0..7 {
        let number = lease(&mut permits);
        permits.throttle(number);
    }
    assert_eq!(permits.allowed(), FEWEST);
    for _ in 0..100 {
        permits.widen();
    }
    assert_eq!(permits.allowed(), 32);
}

#[test]
fn one_that_is_lost_is_taken_back_once() {
    let mut permits = Permits::new(1);
    let number = permits.lease(TenantId(3), Purpose::Renewal, at(1), SECOND);
    assert_eq!(permits.next_lost(), Some(at(2)));
    assert!(permits.take_lost(at(1)).is_none());
    assert_eq!(
        permits.take_lost(at(2)).map(|lease| lease.tenant),
        Some(TenantId(3))
    );
    assert!(permits.take_back(number).is_none());
    assert_eq!(permits.held(), 0);
}

#[test]
fn probes_are_counted_apart() {
    let mut permits = Permits::new(4);
    permits.lease(TenantId(0), Purpose::Probe, at(1), SECOND);
    assert_eq!((permits.held(), permits.held_by_newcomers()), (0, 0));
}

// ===== against a model =====

/// A permit that was given out.
#[derive(Clone, Copy, Debug)]
struct Out {
    number: u64,
    tenant: TenantId,
    purpose: Purpose,
    ends: u32,
    is_back: bool,
    /// Whether the number was halved since it was given out.
    has_seen_halving: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Lease(usize, Purpose, u32),
    TakeBack(Index),
    TakeLost,
    Throttle(Index),
    Widen,
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let purposes = [Purpose::Newcomer, Purpose::Renewal, Purpose::Probe];
    let purpose = prop::sample::select(purposes.to_vec());
    let lease = (0usize..4, purpose, 0u32..40);
    prop_oneof![
        6 => lease.prop_map(|(tenant, purpose, time)| Step::Lease(tenant, purpose, time)),
        3 => any::<Index>().prop_map(Step::TakeBack),
        2 => Just(Step::TakeLost),
        3 => any::<Index>().prop_map(Step::Throttle),
        3 => Just(Step::Widen),
        2 => (0u32..20).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn they_are_halved_once_per_epoch_widened_by_successes_and_each_comes_back_once(
        most in 0usize..40,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut permits = Permits::new(most);
        let most = most.max(1);
        let (mut allowed, mut now) = (most, 0);
        let mut all: Vec<Out> = Vec::new();
        for step in steps {
            match step {
                Step::Lease(tenant, purpose, time) => {
                    let tenant = TenantId(tenant);
                    let number = permits.lease(tenant, purpose, at(now), SECOND * time);
                    prop_assert!(all.iter().all(|out| out.number != number));
                    all.push(Out {
                        number,
                        tenant,
                        purpose,
                        ends: now + time,
                        is_back: false,
                        has_seen_halving: false,
                    });
                }
                Step::TakeBack(index) if !all.is_empty() => {
                    let index = index.index(all.len());
                    let out = &mut all[index];
                    let lease = permits.take_back(out.number);
                    prop_assert_eq!(lease.is_none(), out.is_back);
                    if let Some(lease) = lease {
                        prop_assert_eq!((lease.tenant, lease.purpose), (out.tenant, out.purpose));
                    }
                    out.is_back = true;
                }
                Step::TakeLost => {
                    let is_lost = |out: &Out| !out.is_back && out.ends <= now;
                    match permits.take_lost(at(now)) {
                        Some(lease) => {
                            let taken = all.iter_mut().find(|out| out.number == lease.number);
                            let taken = taken.filter(|out| is_lost(out));
                            prop_assert!(taken.is_some());
                            taken.into_iter().for_each(|out| out.is_back = true);
                        }
                        None => prop_assert!(!all.iter().any(is_lost)),
                    }
                }
                Step::Throttle(index) if !all.is_empty() => {
                    let index = index.index(all.len());
                    let out = all[index];
                    permits.throttle(out.number);
                    if !out.is_back && !out.has_seen_halving {
                        allowed = (allowed / 2).max(2).min(most);
                        all.iter_mut().for_each(|out| out.has_seen_halving = true);
                    }
                }
                Step::Widen => {
                    permits.widen();
                    allowed = most.min(allowed + 1);
                }
                Step::Pass(seconds) => now += seconds,
                Step::TakeBack(_) | Step::Throttle(_) => {}
            }
            let out = || all.iter().filter(|out| !out.is_back);
            let count = |purpose| out().filter(|out| out.purpose == purpose).count();
            let newcomers = count(Purpose::Newcomer);
            prop_assert_eq!(permits.allowed(), allowed);
            prop_assert_eq!(permits.held_by_newcomers(), newcomers);
            prop_assert_eq!(permits.held(), newcomers + count(Purpose::Renewal));
            prop_assert_eq!(permits.next_lost(), out().map(|out| at(out.ends)).min());
        }
    }
}
