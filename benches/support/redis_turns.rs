//! Tasks that ask a server, by turns: every peer once a round, in an order that changes. Ratios are
//! taken within rounds.

use crate::redis_peers::{Peer, Setup, Who};
use crate::server::Server;
use crate::spread::Spread;
use rustix::time::{ClockId, clock_gettime};
use sluicegate::Quota;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) quota: Quota,
    pub(crate) tasks: usize,
    /// Threads of the runtime.
    pub(crate) threads: usize,
    /// Keys; without a number, as many as there are calls.
    pub(crate) keys: Option<usize>,
    /// Calls in a row for one key.
    pub(crate) row: usize,
    /// The number of calls of a row that are admitted.
    pub(crate) admitted: usize,
    pub(crate) who: &'static [Who],
    pub(crate) goals: &'static [Goal],
}

/// A goal for a figure of the limiter, as a ratio to that of `against`.
pub(crate) enum Goal {
    Rate { least: f64, against: Who },
    P99 { most: f64, against: Who },
}

/// The size of a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Calls of each turn.
    pub(crate) calls: usize,
}

struct Turn {
    /// Decisions a second.
    rate: f64,
    /// Times of calls, all in microseconds.
    p50: f64,
    p99: f64,
    /// Processor time of a decision: of this process, and of the server.
    client: f64,
    server: f64,
}

impl Case {
    /// Measures the case and prints its table. Returns the goals that were missed.
    ///
    /// # Panics
    ///
    /// A peer admits another number of calls than expected.
    pub(crate) fn run(&self, effort: Effort) -> Vec<String> {
        let server = Server::start(&[]);
        let mut control = server.client();
        let runtime = runtime(self.threads);
        let each = (effort.calls / self.tasks).next_multiple_of(self.row);
        let keys = self.keys.unwrap_or(self.tasks * each / self.row);
        let names: Vec<_> = (0..keys).map(|number| format!("user:{number:07}")).collect();
        let setup = Setup { server: &server, quota: self.quota, prefix: "sluicegate" };
        let connect = |who: &Who| runtime.block_on(Peer::connect(*who, setup, &names));
        let peers: Vec<_> = self.who.iter().map(connect).collect();
        let mut turns: Vec<Vec<Turn>> = peers.iter().map(|_| Vec::new()).collect();
        for round in 0..effort.rounds {
            for turn in 0..peers.len() {
                // Rotated, and every other round backwards, so that every peer follows every other.
                let turn = if round % 2 == 0 { turn } else { peers.len() - 1 - turn };
                let index = (turn + round) % peers.len();
                peers[index].prepare(&mut control);
                turns[index].push(self.turn(&runtime, &peers[index], each, &mut control));
            }
        }
        self.print(&turns, self.tasks * each)
    }

    fn turn(
        &self,
        runtime: &Runtime,
        peer: &Peer,
        each: usize,
        control: &mut redis::Connection,
    ) -> Turn {
        let (server, client, began) = (server_cpu(control), process_cpu(), Instant::now());
        let tasks = runtime.block_on(async {
            let tasks: Vec<_> = (0..self.tasks)
                .map(|task| tokio::spawn(self.task(peer, task * each, each)))
                .collect();
            futures_util::future::join_all(tasks).await
        });
        let (wall, client) = (began.elapsed(), process_cpu() - client);
        let server = server_cpu(control) - server;
        let (mut admitted, mut times) = (0, Vec::new());
        for task in tasks {
            let task = task.expect("a task ends");
            admitted += task.0;
            times.extend(task.1);
        }
        let calls = times.len();
        assert_eq!(admitted * self.row, calls * self.admitted, "{}", self.name);
        times.sort_unstable();
        let at = |share: f64| micros(times[(share * (calls - 1) as f64) as usize]);
        Turn {
            rate: calls as f64 / wall.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            client: micros(client) / calls as f64,
            server: micros(server) / calls as f64,
        }
    }

    /// Starts a task that makes so many calls from `first` on. It returns how many calls were
    /// admitted, and how long each took.
    fn task(
        &self,
        peer: &Peer,
        first: usize,
        calls: usize,
    ) -> impl Future<Output = (usize, Vec<Duration>)> + Send + 'static {
        let (mut peer, row) = (peer.clone(), self.row);
        async move {
            let mut times = Vec::with_capacity(calls);
            let mut admitted = 0;
            for call in first..first + calls {
                let began = Instant::now();
                admitted += usize::from(peer.ask(call / row).await);
                times.push(began.elapsed());
            }
            (admitted, times)
        }
    }

    fn print(&self, turns: &[Vec<Turn>], calls: usize) -> Vec<String> {
        let (tasks, threads) = (self.tasks, self.threads);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        println!("### {}, {tasks} task{}\n", self.name, plural(tasks));
        println!(
            "{} {} rounds of {calls} calls by turns, on {threads} thread{}. Medians; for \
             decisions a second also the least and the most.\n",
            self.about,
            turns[0].len(),
            plural(threads)
        );
        let base = self.who[1].title();
        println!(
            "| | decisions a second | x {base} | quartiles | p50, us | p99, us | us of the \
             client's processor | of the server's |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for (who, all) in self.who.iter().zip(turns) {
            let of = |figure: fn(&Turn) -> f64| Spread::of(all.iter().map(figure)).median;
            let rate = Spread::of(all.iter().map(|turn| turn.rate));
            let times = ratio(all, &turns[1], |turn| turn.rate);
            println!(
                "| {} | {:.0} ({:.0} to {:.0}) | {:.2} | {:.2} to {:.2} | {:.0} | {:.0} | {:.2} | \
                 {:.2} |",
                who.title(),
                rate.median,
                rate.least,
                rate.most,
                times.median,
                times.quartiles.0,
                times.quartiles.1,
                of(|turn| turn.p50),
                of(|turn| turn.p99),
                of(|turn| turn.client),
                of(|turn| turn.server),
            );
        }
        println!();
        let missed = self.goals.iter().filter_map(|goal| self.judge(goal, turns)).collect();
        println!();
        missed
    }

    /// Returns what a goal is short of, if it is missed.
    fn judge(&self, goal: &Goal, turns: &[Vec<Turn>]) -> Option<String> {
        let of = |who: Who| {
            let index = self.who.iter().position(|other| *other == who);
            &turns[index.expect("goals name contestants of their case")]
        };
        let ours = of(Who::Sluicegate);
        let (text, reached, met) = match *goal {
            Goal::Rate { least, against } => {
                let reached = ratio(ours, of(against), |turn| turn.rate).median;
                (format!("at least {least:.1} x {}", against.title()), reached, reached >= least)
            }
            Goal::P99 { most, against } => {
                let reached = ratio(ours, of(against), |turn| turn.p99).median;
                (format!("p99 at most {most:.1} x {}", against.title()), reached, reached <= most)
            }
        };
        let verdict = if met { "met" } else { "**missed**" };
        println!("- Goal: {text}: {reached:.2}, {verdict}");
        (!met).then(|| format!("{}, {} threads: {text}: {reached:.2}", self.name, self.threads))
    }
}

fn ratio(row: &[Turn], against: &[Turn], figure: fn(&Turn) -> f64) -> Spread {
    Spread::of(row.iter().zip(against).map(|(row, other)| figure(row) / figure(other)))
}

pub(crate) fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(threads).enable_all().build().expect("threads")
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Reads the processor time of all threads of this process.
fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn server_cpu(control: &mut redis::Connection) -> Duration {
    let info: redis::InfoDict =
        redis::cmd("INFO").arg("cpu").query(control).expect("the server answers");
    let seconds = |name| info.get::<f64>(name).expect("a time of the server");
    Duration::from_secs_f64(seconds("used_cpu_user") + seconds("used_cpu_sys"))
}
