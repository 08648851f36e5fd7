//! Waits that are given up cost nobody a token: from wherever in line, at whatever moment, of every kind of limiter.

#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use sluicegate::{Combined, KeyedLimiter, Quota, RateLimiter, TokioClock};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A limiter of either kind, as a client of one line sees it.
trait Wait {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>>;
    fn check(&self) -> bool;
}

impl Wait for RateLimiter {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let acquire = self.acquire(n);
        Box::pin(async { acquire.await.is_ok() })
    }
    fn check(&self) -> bool {
        self.check().is_ok()
    }
}

impl Wait for KeyedLimiter<str> {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let acquire = self.acquire("key", n);
        Box::pin(async { acquire.await.is_ok() })
    }
    fn check(&self) -> bool {
        self.check("key").is_ok()
    }
}

/// A direct limiter together with one that never denies.
struct Both(RateLimiter, RateLimiter);

impl Wait for Both {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let acquire = Combined::new([self.0.limit(), self.1.limit()]).acquire(n);
        Box::pin(async { acquire.await.is_ok() })
    }
    fn check(&self) -> bool {
        self.0.check().is_ok()
    }
}

/// Every kind of limiter of this rate, with a burst of at most as many tokens.
fn kinds(rate: u64, burst: u64) -> Vec<(&'static str, Rc<dyn Wait>)> {
    let quota = Quota::per_second(rate).burst(burst);
    let direct = |quota| RateLimiter::builder(quota).clock(TokioClock::new());
    let keyed = || KeyedLimiter::<str>::builder(quota, 100).clock(TokioClock::new());
    let queue = direct(quota).leaky_bucket().queue(5_000).delay_free(burst - 1);
    let wide = direct(Quota::per_second(1_000_000)).build().unwrap();
    let mut kinds: Vec<(&str, Rc<dyn Wait>)> = vec![
        ("direct", Rc::new(direct(quota).build().unwrap())),
        ("keyed", Rc::new(keyed().build().unwrap())),
        ("queue", Rc::new(queue.build().unwrap())),
        ("combined", Rc::new(Both(direct(quota).build().unwrap(), wide))),
    ];
    if burst >= 8 {
        kinds.push(("batched", Rc::new(direct(quota).batch(4).build().unwrap())));
        kinds.push(("striped", Rc::new(direct(quota).stripes(2).build().unwrap())));
    }
    kinds
}

/// Clients that each loop with so much patience, for so long: how many of their calls were served.
async fn served(limiter: &Rc<dyn Wait>, clients: usize, patience: Duration, time: Duration) -> u64 {
    let (served, end) = (Rc::new(Cell::new(0)), Instant::now() + time);
    let local = LocalSet::new();
    for _ in 0..clients {
        let (limiter, served) = (limiter.clone(), served.clone());
        local.spawn_local(async move {
            while Instant::now() < end {
                if timeout(patience, limiter.acquire(1)).await == Ok(true) {
                    served.set(served.get() + 1);
                }
            }
        });
    }
    local.await;
    served.get()
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn impatient_clients_are_served_what_flows() {
    for clients in [2, 5, 20, 100, 1_000] {
        for (kind, limiter) in kinds(10, 1) {
            let start = Instant::now();
            let served = served(&limiter, clients, SECOND, 60 * SECOND).await;
            let flowed = start.elapsed().as_millis() as u64 / 100 + 1;
            assert!(served <= flowed, "{kind}, {clients} clients: {served} of {flowed}");
            assert!(served * 100 >= flowed * 98, "{kind}, {clients} clients: {served} of {flowed}");
        }
    }
}
