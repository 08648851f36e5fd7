//! Every quota that Redis has numbers for has a share in this process, which is within its part.

use super::super::fallback::{Local, share_of};
use super::{quota, quotas};
use crate::line::Waiting;
use crate::quota::Quota;
use num_bigint::BigUint;

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
            // A token in 584 years is none.
            let none = (share.count(), share.period_ns()) == (1, u64::MAX);
            assert!(of_all <= whole || none, "{share:?} of {quota:?}");
            // It is as little less as its numbers can tell.
            assert!(of_all * 2_u32 > whole || none, "{share:?} of {quota:?}");
            let local = Local::new(&quota, Waiting::default(), nodes, 100).unwrap();
            assert!(local.take(b"a", 1).is_ok(), "{share:?} of {quota:?}");
            assert!(local.take(b"a", u64::MAX).is_err());
        }
    }
}
