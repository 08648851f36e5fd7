//! Queues of waiters, reservations and gaps, against a list of spans.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use proptest::prelude::*;
use std::vec;

/// Takes back what ends at the end of the queue, as a word does.
fn take_back(word: &mut u64) -> impl FnMut(Span) -> bool {
    move |span| {
        let last = span.end == *word;
        *word = if last { span.start } else { *word };
        last
    }
}

fn span(start: u64, end: u64) -> Span {
    Span { start, end }
}

fn ends(order: &Order<char>) -> Vec<u64> {
    let mut ends = Vec::new();
    order.each(|_, end| ends.push(end));
    ends
}

/// The picture at the top of `order.rs`.
#[test]
fn those_behind_move_up_and_what_was_promised_stays() {
    let (mut order, mut word) = (Order::new(), 14);
    let a = order.push(span(1, 3), 'a');
    let b = order.push(span(3, 4), 'b');
    order.push(span(4, 7), 'c');
    // Two tokens are reserved.
    order.push(span(9, 10), 'd');
    order.push(span(10, 14), 'e');
    assert_eq!(ends(&order), [3, 4, 7, 10, 14]);
    assert_eq!(order.leave(b, 0, &mut take_back(&mut word)), Some('b'));
    assert_eq!((ends(&order), word), (vec![3, 6, 7, 13], 13));
    // The next place does not fit the gap. So the gap is kept, for no caller while one waits behind
    // it.
    assert_eq!(order.leave(a, 0, &mut take_back(&mut word)), Some('a'));
    assert_eq!((ends(&order), word), (vec![4, 5, 13], 13));
    assert_eq!(order.gaps, [span(5, 7)]);
    assert_eq!(order.take_gap(1, 0, |_| true), None);
    assert_eq!(order.first_end(), Some(4));
}

#[test]
fn what_is_granted_and_not_acted_on_goes_to_the_next() {
    let (mut order, mut word) = (Order::new(), 3);
    let first = order.push(span(0, 1), 'a');
    let second = order.push(span(1, 2), 'b');
    order.push(span(2, 3), 'c');
    assert_eq!(order.grant_first(|end| end <= 1), Some(&mut 'a'));
    assert!(order.is_granted(first) && !order.is_granted(second));
    assert_eq!(order.grant_first(|end| end <= 1), None);
    // Half of it has flowed by.
    let (mut halves, mut order2) = (6, Order::new());
    let late = order2.push(span(0, 2), 'a');
    order2.push(span(2, 4), 'b');
    order2.push(span(4, 6), 'c');
    assert!(order2.grant_first(|end| end <= 2).is_some());
    order2.leave(late, 1, &mut take_back(&mut halves));
    assert_eq!((ends(&order2), halves), (vec![3, 5], 5));
    order.leave(first, 0, &mut take_back(&mut word));
    assert_eq!((ends(&order), word), (vec![1, 2], 2));
    assert_eq!(order.grant_first(|end| end <= 1), Some(&mut 'b'));
    assert_eq!(order.act(second), Some('b'));
    assert_eq!(order.act(second), None);
}

#[test]
fn gaps_are_for_whoever_comes_next() {
    let (mut order, mut word) = (Order::<char>::new(), 9);
    // Places at (2, 4] and (4, 5] are given up in front of others.
    order.free(span(2, 4), 0, &mut take_back(&mut word));
    order.free(span(4, 5), 0, &mut take_back(&mut word));
    assert_eq!((order.gaps.clone(), word), (vec![span(2, 5)], 9));
    assert_eq!(order.take_gap(4, 0, |_| true), None);
    assert_eq!(order.take_gap(1, 0, |end| end < 3), None, "it comes too late");
    assert_eq!(order.take_gap(2, 0, |_| true), Some(span(2, 4)));
    assert_eq!(order.units_of_gaps(0), 1);
    // The last place goes, and with it the gap before it.
    order.free(span(5, 9), 0, &mut take_back(&mut word));
    assert_eq!((order.is_empty(), word), (true, 4));
}

#[derive(Clone, Debug)]
enum Op {
    /// A caller comes that waits, or that reserves.
    Come(u64),
    Reserve(u64),
    /// One of those leaves, by its number.
    Leave(usize),
    Cancel(usize),
    /// Time passes, and the first ones are granted.
    Pass(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1..5_u64).prop_map(Op::Come),
        2 => (1..5_u64).prop_map(Op::Reserve),
        3 => any::<usize>().prop_map(Op::Leave),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => (0..6_u64).prop_map(Op::Pass),
    ];
    proptest::collection::vec(op, 1..60)
}

const BURST: u64 = 5;

/// If it is paid afterwards, a place is due where it starts, and those behind wait for its cost.
#[test]
fn places_that_are_paid_afterwards_are_due_at_their_start() {
    let (mut order, mut word) = (Order::paid(Some(100)), 17);
    let a = order.push(span(10, 13), 'a');
    let b = order.push(span(13, 14), 'b');
    order.push(span(14, 17), 'c');
    assert_eq!((ends(&order), order.first_end()), (vec![110, 113, 114], Some(110)));
    // It costs one: the next is due when it would have been.
    assert_eq!(order.leave(b, 0, &mut take_back(&mut word)), Some('b'));
    assert_eq!((ends(&order), word), (vec![110, 113], 16));
    assert_eq!(order.grant_first(|end| end <= 109), None);
    assert_eq!(order.grant_first(|end| end <= 110), Some(&mut 'a'));
    // The waiters behind get the part that has not flowed of the granted place that is given up.
    assert_eq!(order.leave(a, 11, &mut take_back(&mut word)), Some('a'));
    assert_eq!((ends(&order), word), (vec![111], 14));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Spans never overlap, no waiter overtakes, a promised moment stays. Waiters, gaps and
    /// reservations together have what the word has, but for what has flowed by.
    #[test]
    fn spans_never_overlap_and_are_never_lost(
        ops in ops(),
        start in prop_oneof![Just(0), Just(u64::MAX - 9)],
    ) {
        let (mut order, mut word, mut now) = (Order::new(), start, start);
        let (mut waiting, mut reserved): (Vec<(usize, u32)>, Vec<Span>) = (Vec::new(), Vec::new());
        let (mut come, mut served) = (0, Vec::new());
        for op in ops {
            match op {
                Op::Come(n) | Op::Reserve(n) => {
                    order.free_last_gaps(now, &mut take_back(&mut word));
                    if !order.has_waiting() && !is_after(word, now.wrapping_add(BURST)) {
                        word = word.wrapping_sub(order.units_of_gaps(now));
                        order.forget_gaps();
                    }
                    let span = match order.take_gap(n, now, |_| true) {
                        Some(span) => span,
                        None => {
                            word = if is_after(now, word) { now } else { word };
                            word = word.wrapping_add(n);
                            Span::ending(word, n)
                        }
                    };
                    prop_assert_eq!(span.units(), n);
                    if !is_after(span.end, now.wrapping_add(BURST)) {
                        // It is there at once.
                        continue;
                    }
                    if matches!(op, Op::Reserve(_)) {
                        reserved.push(span);
                    } else {
                        waiting.push((order.push(span, come), come));
                        come += 1;
                    }
                }
                Op::Leave(i) if !waiting.is_empty() => {
                    let (key, who) = waiting.remove(i % waiting.len());
                    prop_assert_eq!(order.leave(key, now, &mut take_back(&mut word)), Some(who));
                }
                Op::Cancel(i) if !reserved.is_empty() => {
                    let span = reserved.swap_remove(i % reserved.len());
                    order.free(span, now, &mut take_back(&mut word));
                }
                Op::Pass(time) => {
                    now = now.wrapping_add(time);
                    let is_due = |end| !is_after(end, now.wrapping_add(BURST));
                    while let Some(who) = order.grant_first(is_due) {
                        served.push(*who);
                    }
                    let acts = waiting.iter().filter(|(key, _)| order.is_granted(*key));
                    let acts: Vec<_> = acts.copied().collect();
                    for (key, who) in acts {
                        prop_assert_eq!(order.act(key), Some(who));
                        waiting.retain(|(other, _)| *other != key);
                    }
                    reserved.retain(|span| is_after(span.end, now.wrapping_add(BURST)));
                }
                _ => {}
            }
            let mut spans: Vec<Span> = order.gaps.iter().filter_map(|gap| gap.rest(now)).collect();
            let mut before = None;
            order.each(|key, end| {
                spans.push(Span::ending(end, order.waiters[key].units));
                assert!(before.is_none_or(|before| is_after(end, before)));
                before = Some(end);
            });
            spans.extend(reserved.iter().filter_map(|span| span.rest(now)));
            let from = now.wrapping_sub(100);
            spans.sort_by_key(|span| span.end.wrapping_sub(from));
            for pair in spans.windows(2) {
                prop_assert!(!is_after(pair[0].end, pair[1].start), "{:?}", pair);
            }
            if let Some(last) = spans.last() {
                prop_assert!(!is_after(last.end, word), "{:?} behind the word {}", last, word);
            }
            // Without reservations nothing keeps a waiter from moving up.
            let waits = order.first_end().is_some_and(|end| is_after(end, now.wrapping_add(BURST)));
            if waits && reserved.is_empty() && order.runs.len() == 1 && order.gaps.is_empty() {
                prop_assert_eq!(order.runs[0].end(), word);
            }
        }
        prop_assert!(served.is_sorted(), "{:?}", served);
    }
}
