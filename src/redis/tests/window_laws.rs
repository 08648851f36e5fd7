//! Windows: the scripts in a real server admit, keep and forget what they should.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use crate::redis::client::lua::Call;
use crate::redis::script::window::Window;
use crate::redis::script::{Ask, Scripts};
use crate::redis::tests::server::Server;
use crate::redis::tests::window_scripts::{DAY, MOST, SECOND, Timed};
use crate::redis::tests::{Random, START};
use ::redis::{Connection, Pipeline, cmd};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

/// Takes all just before a window ends, then at random more than is there. Returns the tokens
/// granted and when.
fn log(scripts: &mut Timed, window: &Window, random: &mut Random, period: u64) -> Vec<(u64, u64)> {
    let limit = window.limit();
    let mut now = START - START % period + period - 1;
    let (mut pipeline, mut asked) = (Pipeline::new(), Vec::new());
    let key = format!("{window:?}{}", random.next());
    for call in 0..250 {
        now += match random.below(8) {
            _ if call == 0 => 0,
            0..=2 => 0,
            3 => random.below(3),
            4 => period - now % period,
            5 => period - now % period - 1,
            6 => random.below(period / 10 + 1),
            _ => random.below(period),
        };
        now = now.min((1 << 52) - 1);
        let n = random.below(limit) + 1;
        let ask = match random.below(3) {
            0 if call > 0 => Ask::Take(n),
            1 if call > 0 => Ask::UpTo(n),
            _ => Ask::UpTo(limit),
        };
        scripts.add(&mut pipeline, &key, window, ask, now);
        asked.push((now, ask));
    }
    let settle = |((now, ask), answer)| {
        let (granted, _) = window.settle(window.counts(answer), ask);
        (now, granted.unwrap_or(0))
    };
    asked.into_iter().zip(scripts.run(&pipeline)).map(settle).collect()
}

const KINDS: [(u64, u64); 7] =
    [(1, 1), (7, 1), (7, SECOND), (1_000_000, DAY), (1_000, 333_333), (MOST, DAY), (MOST, MOST)];

#[test]
fn a_fixed_window_admits_its_count_at_most() {
    let server = Server::start(&[]);
    let mut scripts = Timed::on(&server);
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for (limit, period) in KINDS {
        let window = Window::of(limit, period, false).unwrap();
        let (mut full, mut admitted) = (0, BTreeMap::new());
        for run in 0..10 {
            for (now, granted) in log(&mut scripts, &window, &mut random, period) {
                *admitted.entry((run, now / period)).or_insert(0) += granted;
            }
        }
        for (_, admitted) in admitted {
            assert!(admitted <= limit, "{window:?} admits {admitted}");
            full += u64::from(admitted == limit);
        }
        assert!(full > 10, "{window:?}");
    }
}

/// In every stretch of time W, from any admission to any later one, `admitted <= count + rate * W`.
#[test]
fn a_sliding_window_admits_its_count_and_what_flows_at_most() {
    let server = Server::start(&[]);
    let mut scripts = Timed::on(&server);
    let mut random = Random(0x9E6C_63D0_876A_3F35);
    for (limit, period) in KINDS {
        let window = Window::of(limit, period, true).unwrap();
        let (limit, mut full) = (i128::from(limit), 0);
        for _ in 0..10 {
            let log = log(&mut scripts, &window, &mut random, period);
            for first in 0..log.len() {
                let mut admitted = 0;
                for (at, granted) in &log[first..] {
                    admitted += i128::from(*granted);
                    let (length, period) = (i128::from(at - log[first].0), i128::from(period));
                    let over = (admitted - limit) * period - limit * length;
                    assert!(over <= 0, "{window:?} admits {admitted} in {length} us");
                    // Counts as full within a token and the flow of a microsecond.
                    full += u64::from(admitted > limit && over > -(period + limit));
                }
            }
        }
        assert!(full > 0, "{window:?} admits less than the law permits");
    }
}

/// Otherwise every window until the old time would find the counts of that time.
#[test]
fn after_the_clock_was_set_back_nobody_waits_longer_than_he_is_told() {
    let server = Server::start(&[]);
    let mut scripts = Timed::on(&server);
    for (limit, period, sliding) in [(7, DAY, false), (7, DAY, true), (MOST, SECOND, true)] {
        let window = Window::of(limit, period, sliding).unwrap();
        for windows in [1, 2, 1_000] {
            for ask in [Ask::Take(limit), Ask::UpTo(limit), Ask::Look(limit)] {
                let key = format!("{window:?} {windows} {ask:?}");
                assert!(scripts.ask(&key, &window, Ask::Take(limit), START).0.is_some());
                let back = START - windows * period - 1;
                let (granted, counts) = scripts.ask(&key, &window, ask, back);
                assert_eq!((granted, counts.current), (None, limit), "{key}");
                let wait = window.until(counts, limit).unwrap();
                assert_eq!(wait, if sliding { counts.left + period } else { counts.left }, "{key}");
                let early = scripts.ask(&key, &window, Ask::Take(limit), back + wait - 1);
                let then = scripts.ask(&key, &window, Ask::Take(limit), back + wait);
                assert!(early.0.is_none() && then.0.is_some(), "{key}");
            }
        }
    }
}

#[test]
fn after_the_clock_was_set_forward_a_window_is_fresh() {
    let server = Server::start(&[]);
    let mut scripts = Timed::on(&server);
    for (sliding, windows) in [(false, 1), (true, 2)] {
        let window = Window::of(7, SECOND, sliding).unwrap();
        let fresh = START + windows * SECOND;
        for (key, now) in [("a", fresh), ("b", fresh + 1), ("c", fresh + 1_000 * SECOND)] {
            let key = format!("{sliding} {key}");
            scripts.ask(&key, &window, Ask::Charge(1 << 52), START);
            assert!(scripts.ask(&key, &window, Ask::Take(1), fresh - 1).0.is_none());
            let (granted, counts) = scripts.ask(&key, &window, Ask::Take(7), now);
            assert_eq!((granted, counts.previous, counts.current), (Some(7), 0, 0));
        }
    }
}

/// Runs the script as it is, by the server's own clock.
fn call(client: &mut Connection, window: &Window, ask: Ask) -> Vec<u64> {
    let Call { script, verb, numbers } = window.call(ask);
    cmd("EVAL").arg(script.code).arg(1).arg("a").arg(verb).arg(numbers).query(client).unwrap()
}

/// A key expires in the first millisecond in which none of its counts matters.
#[test]
fn a_window_is_kept_as_long_as_it_counts() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let time: (u64, u64) = cmd("TIME").query(&mut client).unwrap();
    let now = time.0 * SECOND + time.1;
    // The present time is in the middle of a window, so that none ends meanwhile.
    for period in [1, 7, 20_000].map(|index| 2 * now / (2 * index + 1)) {
        for (sliding, windows) in [(false, 1), (true, 2)] {
            let window = Window::of(10, period, sliding).unwrap();
            for ask in [Ask::Take(1), Ask::UpTo(2), Ask::Charge(9), Ask::Refund(1)] {
                call(&mut client, &window, ask);
                let kept: String = cmd("GET").arg("a").query(&mut client).unwrap();
                let index: u64 = kept.split(':').next().unwrap().parse().unwrap();
                let expires: u64 = cmd("PEXPIRETIME").arg("a").query(&mut client).unwrap();
                assert_eq!(expires, ((index + windows) * period).div_ceil(1_000), "{kept}");
            }
            // An empty window is forgotten at once.
            call(&mut client, &window, Ask::Refund(u64::MAX));
            let there: bool = cmd("EXISTS").arg("a").query(&mut client).unwrap();
            assert!(!there, "{window:?}");
        }
    }
}

/// A denial, a look and a refund of nothing write nothing.
#[test]
fn what_changes_nothing_is_not_written() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let window = Window::of(10, MOST, true).unwrap();
    let changes = |client: &mut Connection| -> u64 {
        let info: String = cmd("INFO").arg("persistence").query(client).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
        line.unwrap().parse().unwrap()
    };
    let mut writes = |asks: &[Ask]| {
        let before = changes(&mut client);
        for ask in asks {
            call(&mut client, &window, *ask);
        }
        changes(&mut client) - before
    };
    assert_eq!(writes(&[Ask::Refund(1), Ask::Look(1), Ask::Take(11), Ask::Take(0)]), 0);
    assert_eq!(writes(&[Ask::Take(9), Ask::UpTo(9), Ask::Charge(u64::MAX)]), 3);
    let nothing = [Ask::Take(1), Ask::UpTo(1), Ask::Look(1), Ask::Charge(1), Ask::Charge(0)];
    assert_eq!(writes(&nothing), 0);
}

#[test]
fn a_key_that_holds_something_else_is_told_and_left_alone() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let fixed = Window::of(10, DAY, false).unwrap();
    let sliding = Window::of(10, DAY, true).unwrap();
    let neither = ["", "a", "5", "5:", ":5", "-5:1", "1:2:3:4:5", "1e3:1:1", "1:4503599627370497"];
    let mut shapes: Vec<_> = [fixed, sliding].map(|window| (window, neither.to_vec())).to_vec();
    shapes.push((fixed, vec!["1:2:3"]));
    let beyond = ["1:2", "1:2:4503599627370497", "1:4503599627370497:2", "1:2:3:86400000002"];
    shapes.push((fixed, vec!["1:2:3:4"]));
    shapes.push((sliding, beyond.to_vec()));
    for (window, shapes) in shapes {
        let asks = [Ask::Take(1), Ask::UpTo(1), Ask::Charge(1), Ask::Refund(1), Ask::Look(1)];
        for ask in asks {
            let Call { script, verb, numbers } = window.call(ask);
            for shape in &shapes {
                let () = cmd("SET").arg("a").arg(shape).query(&mut client).unwrap();
                let mut call = cmd("EVAL");
                call.arg(script.code).arg(1).arg("a").arg(verb).arg(&numbers);
                let error = call.query::<Vec<u64>>(&mut client).unwrap_err();
                assert_eq!(error.code(), Some("WRONGTYPE"), "{shape:?} {error}");
                let left: String = cmd("GET").arg("a").query(&mut client).unwrap();
                assert_eq!(left, *shape);
            }
        }
    }
}
