//! How fast moves may copy.

use proptest::prelude::*;
use siding_fork::{DEFAULT_PACE, Pace};

#[test]
fn a_second_is_saved_and_no_more() {
    let mut pace = Pace::default();
    assert_eq!(pace.rate(), 4 << 20);
    assert_eq!(pace.allowed(5), DEFAULT_PACE);
    assert_eq!(pace.allowed(60_000), DEFAULT_PACE);
    pace.spend(DEFAULT_PACE);
    assert_eq!(pace.allowed(60_000), 0);
    assert_eq!(pace.allowed(60_500), DEFAULT_PACE / 2);
    assert_eq!(pace.allowed(99_000), DEFAULT_PACE);
}

#[test]
fn what_was_not_allowed_is_owed() {
    let mut pace = Pace::new(1000);
    pace.spend(3500);
    assert_eq!((pace.allowed(0), pace.wait_ms(0, 0)), (0, Some(2500)));
    assert_eq!(pace.allowed(2500), 0);
    assert_eq!(pace.allowed(2501), 1);
    assert_eq!(pace.wait_ms(500, 2501), Some(499));
    assert_eq!(pace.wait_ms(u64::MAX, 2501), Some(999));
    assert_eq!(pace.wait_ms(1, 2501), Some(0));
}

#[test]
fn asking_often_loses_nothing() {
    let mut pace = Pace::new(7);
    pace.spend(7);
    let mut got = 0;
    for now in 0..=10_000 {
        let allowed = pace.allowed(now);
        pace.spend(allowed);
        got += allowed;
    }
    assert_eq!(got, 70);
}

#[test]
fn a_clock_that_goes_back_brings_nothing_twice() {
    let mut pace = Pace::new(1000);
    assert_eq!(pace.allowed(5000), 1000);
    pace.spend(1000);
    assert_eq!(pace.allowed(4000), 0);
    assert_eq!(pace.allowed(5000), 0);
    assert_eq!(pace.allowed(5001), 1);
}

#[test]
fn no_pace_stops_all_moves_and_another_one_starts_them() {
    let mut pace = Pace::new(0);
    assert_eq!((pace.allowed(0), pace.wait_ms(1, 9000)), (0, None));
    pace.set_rate(100, 10_000);
    assert_eq!(pace.allowed(10_500), 50);
    pace.set_rate(10, 10_500);
    assert_eq!(pace.allowed(10_500), 10);
}

proptest! {
    #[test]
    fn what_is_spent_never_exceeds_a_second_and_the_time(
        rate in 1..1_000_000_u64,
        steps in prop::collection::vec((0..3000_u64, 0..2_000_000_u64), 1..60),
    ) {
        let mut pace = Pace::new(rate);
        let (mut now, mut spent) = (0, 0_u128);
        for (passed, wanted) in steps {
            now += passed;
            let bytes = wanted.min(pace.allowed(now));
            pace.spend(bytes);
            spent += u128::from(bytes);
            prop_assert!(spent <= u128::from(rate) * (1000 + u128::from(now)) / 1000);
            let wait = pace.wait_ms(wanted, now).unwrap();
            if wait > 0 {
                prop_assert!(pace.clone().allowed(now + wait) >= wanted.min(rate));
                prop_assert!(pace.clone().allowed(now + wait - 1) < wanted.min(rate));
            }
        }
    }
}
