//! A client of somebody else's limits: so many requests a second, and so many tokens, of which nobody knows before a call
//! how many it takes. Calls wait for both budgets, estimate, and settle what they have really used.
//!
//!     cargo run --release --example budget --features tokio

use sluicegate::{Combined, Denied, Quota, RateLimiter};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const REQUESTS: Quota = Quota::per_second(10).burst(4);
const TOKENS: Quota = Quota::per_second(2_000).burst(3_000);
/// Nobody waits longer: whoever would is told at once.
const PATIENCE: Duration = Duration::from_secs(3);

struct Api {
    requests: RateLimiter,
    tokens: RateLimiter,
}

/// What a call came to.
struct Called {
    waited: Duration,
    used: u64,
}

impl Api {
    async fn call(&self, prompt: u64) -> Result<Called, Denied> {
        let start = Instant::now();
        // A guess that errs on the large side; what is too much comes back.
        let estimate = 2 * prompt;
        // In line for both, all or nothing; dropped, both places are given up.
        let limits = [self.requests.as_limit(), self.tokens.as_limit().costing(estimate)];
        Combined::new(limits).acquire(1).timeout(PATIENCE).await?;
        let waited = start.elapsed();
        // The model's answer: a third of the prompt, here.
        sleep(Duration::from_millis(30)).await;
        let used = prompt + prompt / 3;
        self.tokens.refund(estimate - used);
        Ok(Called { waited, used })
    }
}

#[tokio::main]
async fn main() {
    let api = Api { requests: RateLimiter::new(REQUESTS), tokens: RateLimiter::new(TOKENS) };
    println!("{REQUESTS} requests, {TOKENS} tokens, nobody waits longer than {PATIENCE:?}\n");
    println!("call  prompt   waited    used");
    let (api, start) = (std::sync::Arc::new(api), Instant::now());
    let calls = (0..16_u64).map(|i| {
        let (api, prompt) = (api.clone(), 100 + 137 * (i * i % 11));
        tokio::spawn(async move { (i, prompt, api.call(prompt).await) })
    });
    let mut used = 0;
    for call in calls.collect::<Vec<_>>() {
        // A call does not panic.
        let Ok((i, prompt, called)) = call.await else { continue };
        match called {
            Ok(called) => {
                used += called.used;
                println!(
                    "{i:>4}  {prompt:>6}  {:>5} ms  {:>5}",
                    called.waited.as_millis(),
                    called.used
                );
            }
            Err(denied) => println!("{i:>4}  {prompt:>6}  not in time: {denied}"),
        }
    }
    let most = TOKENS.burst_size() as f64 + TOKENS.count() as f64 * start.elapsed().as_secs_f64();
    println!("\n{used} tokens of the {most:.0} that there were in {:.2?}", start.elapsed());
}
