//! A client of an API with two limits: requests a second, and tokens a second. No caller knows
//! before a call how many tokens it takes. A call waits for both budgets, with an estimate, and
//! gives back the tokens that it has not used.
//!
//!     cargo run --release --example budget --features tokio

use sluicegate::{Combined, Denied, Quota, RateLimiter};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const REQUESTS: Quota = Quota::per_second(10).burst(4);
const TOKENS: Quota = Quota::per_second(2_000).burst(3_000);
/// The longest wait. A call that would wait longer is told at once.
const PATIENCE: Duration = Duration::from_secs(3);

struct Api {
    requests: RateLimiter,
    tokens: RateLimiter,
}

/// The outcome of a call.
struct Called {
    waited: Duration,
    used: u64,
}

impl Api {
    async fn call(&self, prompt: u64) -> Result<Called, Denied> {
        let start = Instant::now();
        // An estimate on the large side. The excess comes back.
        let estimate = 2 * prompt;
        // The call stands in both lines, or in none. Dropping the future gives both places up.
        let limits = [self.requests.as_limit(), self.tokens.as_limit().costing(estimate)];
        Combined::new(limits).acquire(1).timeout(PATIENCE).await?;
        let waited = start.elapsed();
        // The model's answer. Here it has a third of the prompt's tokens.
        sleep(Duration::from_millis(30)).await;
        let used = prompt + prompt / 3;
        self.tokens.refund(estimate - used);
        Ok(Called { waited, used })
    }
}

#[tokio::main]
async fn main() {
    let api = Api { requests: RateLimiter::new(REQUESTS), tokens: RateLimiter::new(TOKENS) };
    println!("{REQUESTS} requests, {TOKENS} tokens, no call waits longer than {PATIENCE:?}\n");
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
