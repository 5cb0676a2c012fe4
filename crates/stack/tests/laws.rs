//! Laws of the small types: the timer queue against a sorted list, the bounds of random numbers.

use proptest::collection::vec;
use proptest::prelude::*;
use stack::rng::Rng;
use stack::timer::{TimerId, TimerQueue};
use wire::Instant;

#[derive(Clone, Debug)]
enum Op {
    /// At this time.
    Arm(u64),
    /// One that was armed before, pending or not.
    Cancel(prop::sample::Index),
    /// The time is now.
    Due(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0u64..50).prop_map(Op::Arm),
        2 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        1 => (0u64..50).prop_map(Op::Due),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Keys count up, so that (time, key) is the order in which timers are due.
    #[test]
    fn a_timer_queue_is_a_sorted_list(ops in vec(op(), 0..300)) {
        let mut queue = TimerQueue::default();
        let mut list: Vec<(u64, usize)> = Vec::new();
        let mut ids: Vec<TimerId> = Vec::new();
        for op in ops {
            match op {
                Op::Arm(at) => {
                    let key = ids.len();
                    ids.push(queue.arm(Instant::from_nanos(at), key));
                    list.push((at, key));
                    list.sort_unstable();
                }
                Op::Cancel(_) if ids.is_empty() => {}
                Op::Cancel(which) => {
                    let key = which.index(ids.len());
                    let pending = list.iter().position(|(_, k)| *k == key);
                    prop_assert_eq!(queue.cancel(ids[key]), pending.map(|_| key));
                    list.retain(|(_, k)| *k != key);
                }
                Op::Due(now) => {
                    while let Some((at, key)) = queue.pop_due(Instant::from_nanos(now)) {
                        prop_assert_eq!((at.as_nanos(), key), list.remove(0));
                        prop_assert!(at.as_nanos() <= now);
                    }
                    prop_assert!(list.first().is_none_or(|(at, _)| *at > now));
                }
            }
            prop_assert_eq!(queue.len(), list.len());
            prop_assert_eq!(queue.is_empty(), list.is_empty());
            prop_assert_eq!(queue.next(), list.first().map(|(at, _)| Instant::from_nanos(*at)));
        }
    }

    #[test]
    fn random_numbers_lie_below_their_bound_and_depend_on_seed_and_name(seed in any::<u64>(), n in 1u64.., ppm in 0u32..=1_000_000) {
        let mut rng = Rng::new(seed, "law");
        for _ in 0..100 {
            prop_assert!(rng.below(n) < n);
        }
        prop_assert_eq!(rng.below(1), 0);
        prop_assert!(!rng.chance_ppm(0) && rng.chance_ppm(1_000_000));
        let _ = rng.chance_ppm(ppm);
        // A fork has its own numbers and leaves the stream where it was.
        let mut before = rng.clone();
        let mut fork = rng.fork("other");
        prop_assert_eq!(before.next_u64(), rng.next_u64());
        prop_assert_ne!(fork.next_u64(), Rng::new(seed, "law").next_u64());
        prop_assert_eq!(Rng::new(seed, "law"), Rng::new(seed, "law"));
        prop_assert_ne!(Rng::new(seed, "law"), Rng::new(seed, "lax"));
    }
}
