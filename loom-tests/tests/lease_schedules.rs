//! Random schedules of leases: eight threads, three keys, and whole cache lines, which are too many
//! for loom.
#![cfg(sluicegate_shuttle)]

use shuttle::sync::Arc;
use shuttle::thread;
use sluicegate::model::Leased;

/// The tick at which leases end.
const END: u64 = 50;

/// Returns a fingerprint whose key is in the first two cache lines of any table.
fn key(i: usize) -> u64 {
    (i as u64 + 1) << 40 | i as u64 | 1
}

/// Runs random schedules, then ones that preempt at a few chosen depths.
fn explore(schedules: usize, f: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(f.clone(), schedules);
    shuttle::check_pct(f, schedules, 3);
}

/// Runs callers that take, callers that deposit when they are told to ask, and one that withdraws.
/// For each key, what is spent, withdrawn and left is what was deposited.
#[test]
fn eight_threads_take_deposit_and_withdraw() {
    explore(1_500, || {
        let leases = Arc::new(Leased::new(8, 1));
        let turn = |i: usize, leases: &Leased| {
            let (mut deposited, mut gone) = ([0; 3], [0; 3]);
            for j in 0..4 {
                let k = (i + j) % 3;
                if i == 7 {
                    gone[k] += leases.withdraw(key(k));
                    continue;
                }
                let spent = leases.take(key(k), 1 + j as u64 % 2);
                gone[k] += spent.granted;
                if spent.ask {
                    assert!(leases.deposit(key(k), 3, END + i as u64));
                    deposited[k] += 3;
                }
            }
            (deposited, gone)
        };
        let handles: Vec<_> = (0..8)
            .map(|i| {
                let leases = leases.clone();
                thread::spawn(move || turn(i, &leases))
            })
            .collect();
        let all: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        for k in 0..3 {
            let deposited: u64 = all.iter().map(|(deposited, _)| deposited[k]).sum();
            let gone: u64 = all.iter().map(|(_, gone)| gone[k]).sum();
            assert!(deposited > 0, "key {k}: somebody was the first to ask: {all:?}");
            assert_eq!(gone + leases.withdraw(key(k)), deposited, "key {k}: {all:?}");
        }
        assert_eq!(leases.evictions(), 0);
    });
}
