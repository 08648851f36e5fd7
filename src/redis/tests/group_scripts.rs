//! Several limits asked by chance: the scripts in a server and the decisions in Rust say the same of all.

use super::bucket_scripts::{EXPIRY, any_pause, run};
use super::kept::Kept;
use super::server::Server;
use super::{Random, START, any_ask, long, quotas, timed};
use crate::redis::client::link::Lua;
use crate::redis::script::group::{self, Scripts};
use crate::redis::script::units::{Ask, Units};
use crate::redis::script::window::{Counts, Known, Window};
use crate::redis::script::{Kernel, State};
use crate::redis::tests::window_scripts;
use ::redis::Pipeline;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A script that each limit's numbers hide the time from.
fn timed_jointly(script: &Lua, expiry: &[&str]) -> String {
    let code = timed(script.code, expiry);
    let time = "{ARGV[#ARGV - 1], ARGV[#ARGV]}";
    format!("local ALL = ARGV\n{}", code.replace(time, "{ALL[#ALL - 1], ALL[#ALL]}"))
}

/// The digests of scripts that the server has loaded.
fn load(
    client: &mut ::redis::Connection,
    scripts: &'static Scripts,
    expiry: &[&str],
) -> Vec<(&'static str, String)> {
    let Scripts { take, charge, refund, reset } = scripts;
    let load = |script: &'static Lua| {
        let code = timed_jointly(script, expiry);
        let digest = ::redis::cmd("SCRIPT").arg("LOAD").arg(code).query(client).unwrap();
        (script.code, digest)
    };
    [take, charge, refund, reset].map(load).to_vec()
}

fn writes(ask: Ask) -> bool {
    !matches!(ask, Ask::Look(_) | Ask::Charge(0) | Ask::Refund(0) | Ask::Take(0) | Ask::UpTo(0))
}

/// 28,800 operations, of 2 to 4 limits each.
#[test]
fn scripts_decide_of_several_limits_as_their_kernels_do() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let digests = load(&mut client, &group::BUCKETS, EXPIRY);
    let mut random = Random(0xA076_1D64_78BD_642F);
    for group in 0..48 * long() {
        // Each of them once.
        let mut quotas = quotas();
        let number = random.below(3) as usize + 2;
        while quotas.len() > number {
            quotas.swap_remove(random.below(quotas.len() as u64) as usize);
        }
        let bounds = [u64::MAX, 0, 5, 1 << 30];
        let bounded = quotas.iter().zip(bounds.iter().cycle().skip(group as usize));
        let units = bounded.map(|(quota, &most)| Units::new(quota).unwrap().with_max_debt(most));
        let units: Vec<_> = units.collect();
        let kernels: Vec<_> = units.iter().copied().map(Kernel::Bucket).collect();
        let names: Vec<_> = quotas.iter().map(|quota| format!("{group}:{quota}")).collect();
        let least = kernels.iter().map(Kernel::limit).min().unwrap();
        let mut kept = alloc::vec![Kept::default(); number];
        let (mut now, mut pipeline, mut expected) = (START, Pipeline::new(), Vec::new());
        for _ in 0..600 {
            let one = random.below(number as u64) as usize;
            now += any_pause(&mut random, &units[one]).min(((1 << 52) - START) / 600);
            let ask = (random.below(50) > 0).then(|| any_ask(&mut random, least));
            let call =
                ask.map_or_else(|| group::call_reset(&kernels), |ask| group::call(&kernels, ask));
            let digest = &digests.iter().find(|(code, _)| *code == call.0.code).unwrap().1;
            let command = pipeline.cmd("EVALSHA").arg(digest).arg(number).arg(&names).arg(call.1);
            command.arg(now / 1_000_000).arg(now % 1_000_000);
            let debts: Vec<_> =
                kept.iter().zip(&units).map(|(kept, units)| kept.debt(units, now)).collect();
            let states: Vec<_> = debts.iter().copied().map(State::Bucket).collect();
            let flows = debts.iter().zip(&units).map(|(&debt, units)| units.flow(debt));
            expected.push(flows.flat_map(|flow| [flow.us, flow.part]).collect::<Vec<_>>());
            let settled = ask.map(|ask| (ask, group::settle(&kernels, &states, ask)));
            for (i, (kept, units)) in kept.iter_mut().zip(&units).enumerate() {
                match &settled {
                    None => kept.reset(units, now, units.cost(units.limit())),
                    Some((ask, (Some(_), after))) if writes(*ask) => {
                        let State::Bucket(debt) = after[i] else { panic!("of a bucket") };
                        // A charge that may not add anything is not written.
                        if !matches!(ask, Ask::Charge(_)) || debt > debts[i] {
                            kept.keep(units, now, debt);
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        for (step, (answer, expected)) in
            run(&mut client, &pipeline).iter().zip(expected).enumerate()
        {
            assert_eq!(*answer, expected, "{quotas:?}, step {step}");
        }
        for (name, kept) in names.iter().zip(&kept) {
            let in_server: Option<String> =
                ::redis::cmd("GET").arg(name).query(&mut client).unwrap();
            assert_eq!(in_server, kept.text(), "{name}");
        }
    }
}

/// What a window's key holds: its number, and what it and the one before it admitted.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    index: u64,
    current: u64,
    previous: u64,
    known: Known,
}

impl Counted {
    /// As they stand at a time, which only goes on.
    fn at(self, (limit, period): (u64, u64), sliding: bool, now: u64) -> Counts {
        let index = now / period;
        let (current, previous, known) = match index - self.index {
            0 => (self.current, self.previous, self.known),
            1 if sliding => self.next(limit),
            _ => (0, 0, Known::Count),
        };
        Counts { left: (index + 1) * period - now, previous, current, known }
    }

    fn next(self, limit: u64) -> (u64, u64, Known) {
        let Self { current, previous, known, .. } = self;
        let (left, part) = match known {
            Known::Paced(_) if previous + current < limit => (0, 0),
            Known::Paced(part) => (previous + current - limit, part),
            _ => (current, 0),
        };
        let full = known != Known::Count || current + 1 >= limit;
        let full = full && previous <= limit || current == limit;
        match (left, part) {
            (0, 0) => (0, 0, Known::Count),
            _ if full && (left, part) <= (limit, 0) => (0, left, Known::Paced(part)),
            _ => (0, left + part.min(1), Known::Count),
        }
    }
}

/// 19,200 operations, of 2 to 4 windows each.
#[test]
fn scripts_decide_of_several_windows_as_their_kernels_do() {
    const SECOND: u64 = 1_000_000;
    let server = Server::start(&[]);
    let mut client = server.client();
    let digests = load(&mut client, &group::WINDOWS, window_scripts::EXPIRY);
    let mut random = Random(0x9E6C_63D0_876A_68DE);
    let all = [
        (10, SECOND),
        (100, 60 * SECOND),
        (1_000, 3_600 * SECOND),
        (1 << 50, 86_400 * SECOND),
        (7, 999_983),
    ];
    for group in 0..32 * long() {
        let sliding = group % 2 == 0;
        let number = random.below(3) as usize + 2;
        let mut shapes = all.to_vec();
        while shapes.len() > number {
            shapes.swap_remove(random.below(shapes.len() as u64) as usize);
        }
        let most = [u64::MAX, 0, 5, 1 << 30][group as usize / 2 % 4];
        let window = |&(limit, period): &(u64, u64)| {
            Window::of(limit, period, sliding).unwrap().with_max_debt(most)
        };
        let kernels: Vec<_> = shapes.iter().map(window).map(Kernel::Window).collect();
        let names: Vec<_> = (0..number).map(|i| format!("{group}:{i}")).collect();
        let least = kernels.iter().map(Kernel::limit).min().unwrap();
        let mut counted = alloc::vec![Counted::default(); number];
        let (mut now, mut pipeline, mut expected) = (START, Pipeline::new(), Vec::new());
        for _ in 0..600 {
            let (_, period) = shapes[random.below(number as u64) as usize];
            now += [0, 1, random.below(period / 8 + 1), random.below(2 * period)]
                [random.below(4) as usize];
            let ask = (random.below(50) > 0).then(|| any_ask(&mut random, least));
            let call =
                ask.map_or_else(|| group::call_reset(&kernels), |ask| group::call(&kernels, ask));
            let digest = &digests.iter().find(|(code, _)| *code == call.0.code).unwrap().1;
            let command = pipeline.cmd("EVALSHA").arg(digest).arg(number).arg(&names).arg(call.1);
            command.arg(now / SECOND).arg(now % SECOND);
            let counts: Vec<_> = (counted.iter().zip(&shapes))
                .map(|(counted, &shape)| counted.at(shape, sliding, now))
                .collect();
            let numbers = |at: &Counts| [at.left, at.previous, at.current, at.known.mark()];
            let answer = counts.iter().flat_map(numbers);
            expected.push(answer.collect::<Vec<_>>());
            let states: Vec<_> = counts.iter().copied().map(State::Window).collect();
            let after = match ask {
                None => {
                    let (left, known) = (1, Known::Count);
                    let none = Counts { left, previous: 0, current: 0, known };
                    alloc::vec![State::Window(none); number]
                }
                Some(ask) if writes(ask) => group::settle(&kernels, &states, ask).1,
                Some(_) => states,
            };
            for ((counted, after), &(_, period)) in counted.iter_mut().zip(after).zip(&shapes) {
                let State::Window(Counts { previous, current, known, .. }) = after else {
                    panic!("of a window")
                };
                *counted = Counted { index: now / period, current, previous, known };
            }
        }
        for (step, (answer, expected)) in
            run(&mut client, &pipeline).iter().zip(expected).enumerate()
        {
            assert_eq!(*answer, expected, "{shapes:?}, step {step}");
        }
    }
}
