//! Shares: every quota that Redis has numbers for has one, and none is over its part.

use super::{quota, quotas};
use crate::answer::{Denied, Grant};
use crate::bucket::Waiting;
use crate::combined::Combined;
use crate::quota::Quota;
use crate::redis::outage::share::{Owed, Share, share_of};
use num_bigint::BigUint;

fn take(share: &Share, n: u64) -> Result<Grant, Denied> {
    Combined::new([share.of_key(b"a")]).check_n(n)
}

#[test]
fn every_quota_has_a_share_within_its_part() {
    let mut all = quotas();
    all.extend([
        quota(1_000_000_000_000_000, 86_400_000_000_000, 1_000),
        quota(u64::MAX, 3_660 * 86_400_000_000_000, 1),
        quota(1, 3_660 * 86_400_000_000_000, 1),
        Quota::per_day(1).burst(26_000),
    ]);
    for quota in all {
        for nodes in [1, 2, 3, 1_000, 1 << 40, u64::MAX] {
            let share = share_of(&quota, nodes);
            assert!(share.burst_size() == (quota.burst_size() / nodes).max(1));
            let product = |numbers: [u64; 3]| numbers.map(BigUint::from).iter().product();
            let of_all: BigUint = product([share.count(), quota.period_ns(), nodes]);
            let whole: BigUint = product([quota.count(), share.period_ns(), 1]);
            // A token in 584 years counts as none.
            let none = (share.count(), share.period_ns()) == (1, u64::MAX);
            assert!(of_all <= whole || none, "{share:?} of {quota:?}");
            // The share is less by no more than its numbers can tell.
            assert!(of_all * 2_u32 > whole || none, "{share:?} of {quota:?}");
            let share = Share::new(&quota, Waiting::default(), nodes, 100, u64::MAX).unwrap();
            assert!(take(&share, 1).is_ok(), "{share:?} of {quota:?}");
            assert!(take(&share, u64::MAX).is_err());
        }
    }
}

/// What a share does not take of a charge is forgotten, and not owed in Redis: otherwise it would
/// be charged when the debt has been paid.
#[test]
fn no_more_is_owed_of_charges_than_the_share_took() {
    let quota = Quota::per_day(1).burst(10);
    for (missing, takes) in [(0, 15), (8, 7), (15, 0)] {
        let share = Share::new(&quota, Waiting::default(), 1, 100, 5).unwrap();
        share.learn(b"a", 10, 10 - missing);
        for n in [1_000, 1] {
            share.charge(b"a", n);
            assert_eq!(share.limiter().available(b"a"), -5);
        }
        let owed = Owed::of(&share, b"a").map_or((0, 0), |owed| {
            let all = (owed.granted, owed.charged);
            owed.forgive();
            all
        });
        assert_eq!(owed, (0, takes), "{missing} missing");
        assert!(Owed::of(&share, b"a").is_none(), "it has been paid");
    }
}

/// In a table of limits a bucket that is forgotten leaves its debt to later keys. In a table of
/// debts no key pays what another owes.
#[test]
fn nobody_owes_what_others_owed_whose_accounts_were_forgotten() {
    let quota = Quota::per_hour(10);
    for max_debt in [u64::MAX, 100] {
        let share = Share::new(&quota, Waiting::default(), 1, 1, max_debt).unwrap();
        for user in 0..100_u64 {
            share.owe(&user.to_le_bytes(), 5);
            share.charge(&user.to_le_bytes(), 7);
        }
        assert!(Owed::of(&share, b"innocent").is_none());
        share.owe(b"innocent", 2);
        let owed = Owed::of(&share, b"innocent").unwrap();
        assert_eq!((owed.granted, owed.charged), (2, 0));
    }
}
