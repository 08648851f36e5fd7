//! A limiter in Redis over a network with faults: calls end in time, nothing is sent twice, no
//! answer is another's, and it goes on when the fault is over.
//!
//! Every caller has a key of its own and takes as many tokens as no other, and after each answer
//! the server is asked, on a connection without faults, whether it is the one that this call must
//! have had.

use crate::support::proxy::{Proxy, Way};
use crate::support::server::Server;
use futures_util::future::join_all;
use sluicegate::{Fallback, Quota, RedisError, RedisLimiter};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);
/// Of calls that are to miss it.
const DEADLINE: Duration = Duration::from_millis(100);
/// What a call may take longer than its deadline, on such a machine.
const LATE: Duration = Duration::from_millis(400);

const BURST: u64 = 1 << 19;
/// So slow that no test takes long enough for a token to flow.
const QUOTA: Quota = Quota::per_hour(1).burst(BURST);

const CALLERS: u64 = 8;
/// Of each caller, in each phase of a test.
const CALLS: u64 = 5;

/// Asks no more while it waits for the end of a fault.
const PAUSE: Duration = Duration::from_millis(1);

async fn connect(url: &str, deadline: Duration) -> RedisLimiter {
    let builder = RedisLimiter::builder(QUOTA).deadline(deadline).connect_timeout(PATIENT);
    // The connection alone: no breaker, nobody who decides in its place.
    builder.failures(u32::MAX).fallback(Fallback::Error).connect(url).await.unwrap()
}

struct Caller {
    /// Through the proxy.
    limiter: RedisLimiter,
    direct: RedisLimiter,
    key: String,
    /// Tokens of each of its calls.
    takes: u64,
    granted: u64,
    failed: u64,
    times: Vec<Duration>,
}

impl Caller {
    async fn ask(&mut self) -> Result<(), RedisError> {
        let began = Instant::now();
        let answer = self.limiter.check_n(&self.key, self.takes).await;
        self.times.push(began.elapsed());
        match answer {
            Ok(grant) => {
                self.granted += 1;
                // Nobody else takes of this key, so that any other answer would tell of another
                // balance.
                assert_eq!(grant.remaining(), BURST - self.taken().await, "{}", self.key);
                Ok(())
            }
            Err(error) => {
                self.failed += 1;
                assert!(error.is_degraded(), "{error}");
                Err(error)
            }
        }
    }

    async fn taken(&self) -> u64 {
        BURST - self.direct.available(&self.key).await.unwrap() as u64
    }

    /// Asks until there is an answer.
    async fn recover(&mut self) {
        let began = Instant::now();
        while let Err(error) = self.ask().await {
            assert!(began.elapsed() < PATIENT, "{error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct Stage {
    callers: Vec<Caller>,
    proxy: Proxy,
    _server: Server,
}

impl Stage {
    async fn with_deadline(deadline: Duration) -> Self {
        let server = Server::start(&[]);
        let direct = connect(&server.url(), PATIENT).await;
        // So that the server knows the script.
        direct.check("known").await.unwrap();
        let proxy = Proxy::start(server.port());
        let limiter = connect(&proxy.url(), deadline).await;
        let callers = (0..CALLERS).map(|number| Caller {
            limiter: limiter.clone(),
            direct: direct.clone(),
            key: format!("of caller {number}"),
            takes: 101 + 2 * number,
            granted: 0,
            failed: 0,
            times: Vec::new(),
        });
        let mut stage = Self { callers: callers.collect(), proxy, _server: server };
        // All is well before the fault.
        stage.recover().await;
        stage
    }

    /// All callers ask at once, each its calls one after the other. How many had an answer, and how
    /// many had none.
    async fn ask(&mut self) -> (u64, u64) {
        let (granted, failed) = self.sums();
        join_all(self.callers.iter_mut().map(async |caller| {
            for _ in 0..CALLS {
                let _ = caller.ask().await;
            }
        }))
        .await;
        let now = self.sums();
        (now.0 - granted, now.1 - failed)
    }

    async fn recover(&mut self) {
        join_all(self.callers.iter_mut().map(Caller::recover)).await;
    }

    fn sums(&self) -> (u64, u64) {
        let sum = |figure: fn(&Caller) -> u64| self.callers.iter().map(figure).sum();
        (sum(|caller| caller.granted), sum(|caller| caller.failed))
    }

    /// Calls that the server has applied.
    async fn applied(&self) -> u64 {
        let each = self.callers.iter().map(async |caller| {
            let taken = caller.taken().await;
            assert_eq!(taken % caller.takes, 0, "{}", caller.key);
            let applied = taken / caller.takes;
            let most = caller.granted + caller.failed;
            assert!((caller.granted..=most).contains(&applied), "{applied}, at most {most}");
            applied
        });
        join_all(each).await.into_iter().sum()
    }

    /// Waits until the server has applied all that was sent.
    async fn delivered(&self) {
        let began = Instant::now();
        while self.applied().await < self.proxy.scripts() {
            assert!(began.elapsed() < PATIENT);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// After the fault: it recovers, and the laws have held. Says how many calls were applied in
    /// vain.
    async fn end(mut self, deadline: Duration) -> u64 {
        self.recover().await;
        let (granted, failed) = self.sums();
        let (sent, applied) = (self.proxy.scripts(), self.applied().await);
        assert!(
            applied <= sent && sent <= granted + failed,
            "{applied}, {sent}, {granted}, {failed}"
        );
        let mut times: Vec<_> = self.callers.iter().flat_map(|caller| &caller.times).collect();
        times.sort_unstable();
        let p99 = *times[times.len() * 99 / 100];
        assert!(p99 <= deadline + LATE, "{p99:?}");
        applied - granted
    }
}

#[tokio::test]
async fn a_slow_network_is_waited_for_within_the_deadline() {
    let mut stage = Stage::with_deadline(PATIENT).await;
    stage.proxy.delay(Duration::from_millis(50));
    assert_eq!(stage.ask().await, (CALLERS * CALLS, 0));
    for caller in &stage.callers {
        let slow = caller.times.iter().filter(|time| **time >= Duration::from_millis(100)).count();
        assert_eq!(slow as u64, CALLS, "{:?}", caller.times);
    }
    stage.proxy.mend();
    assert_eq!(stage.end(PATIENT).await, 0);
}

#[tokio::test]
async fn a_network_slower_than_the_deadline_ends_calls_and_mixes_no_answers() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    stage.proxy.delay(Duration::from_millis(50) + DEADLINE);
    assert_eq!(stage.ask().await, (0, CALLERS * CALLS));
    // Answers to the calls that have ended arrive while others wait for theirs.
    stage.proxy.delay(Duration::from_millis(10));
    stage.recover().await;
    stage.proxy.mend();
    stage.delivered().await;
    assert!(stage.end(DEADLINE).await > 0);
}

#[tokio::test]
async fn packets_that_are_lost_and_sent_again_are_applied_once() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    for _ in 0..3 {
        stage.proxy.hold();
        assert_eq!(stage.ask().await, (0, CALLERS * CALLS));
        stage.proxy.mend();
        stage.delivered().await;
        stage.recover().await;
    }
    assert!(stage.end(DEADLINE).await > 0);
}

#[tokio::test]
async fn requests_that_nobody_gets_take_nothing() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    stage.proxy.swallow(Way::Requests);
    assert_eq!(stage.ask().await, (0, CALLERS * CALLS));
    stage.proxy.mend();
    assert_eq!(stage.end(DEADLINE).await, 0);
}

#[tokio::test]
async fn answers_that_nobody_gets_are_charged_once() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    stage.proxy.swallow(Way::Replies);
    assert_eq!(stage.ask().await, (0, CALLERS * CALLS));
    // The server has had them all.
    stage.delivered().await;
    stage.proxy.mend();
    assert!(stage.end(DEADLINE).await > 0);
}

#[tokio::test]
async fn connections_that_are_cut_under_load_are_made_anew() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    for _ in 0..10 {
        // So that calls are on their way when it is cut.
        stage.proxy.hold();
        let cut = async {
            tokio::time::sleep(DEADLINE / 10).await;
            stage.proxy.cut();
        };
        let (_, answers) = tokio::join!(cut, join_all(stage.callers.iter_mut().map(Caller::ask)));
        let lost = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(lost as u64, CALLERS);
        stage.proxy.mend();
        stage.recover().await;
    }
    stage.end(DEADLINE).await;
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_nobodys_and_its_call_is_not_sent_again() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    let mut failed = 0;
    for bytes in 1..40 {
        stage.proxy.cut_after(bytes);
        failed += stage.ask().await.1;
        stage.proxy.mend();
        stage.recover().await;
    }
    assert!(failed >= 39, "{failed}");
    // Its call at least was applied, each time.
    assert!(stage.end(DEADLINE).await >= 39);
}

#[tokio::test]
async fn a_server_that_takes_no_connections_fails_calls_at_once_and_takes_nothing() {
    let mut stage = Stage::with_deadline(DEADLINE).await;
    stage.proxy.refuse();
    stage.proxy.cut();
    let sent = stage.proxy.scripts();
    assert_eq!(stage.ask().await, (0, CALLERS * CALLS));
    // At most those of who had not noticed yet.
    assert!(stage.proxy.scripts() <= sent + CALLERS, "{}", stage.proxy.scripts() - sent);
    stage.proxy.mend();
    assert_eq!(stage.end(DEADLINE).await, 0);
}
