//! Groups of limits asked at random: the scripts in a server and the decisions in Rust agree.

use super::bucket_scripts::{EXPIRY, any_pause, run};
use super::kept::Kept;
use super::server::Server;
use super::{Random, START, any_ask, long, quotas, timed};
use crate::redis::client::lua::{Call, Lua};
use crate::redis::script::group::{self, Group};
use crate::redis::script::units::{Flow, Units};
use crate::redis::script::window::{Counts, Known, Window};
use crate::redis::script::{Ask, Scripts, State};
use crate::redis::tests::window_scripts;
use ::redis::Pipeline;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The script of a group with the test's own time, which is behind the numbers of all limits.
fn timed_jointly(script: &Lua, expiry: &[&str]) -> String {
    let code = timed(script.code, expiry);
    let time = "{ARGV[#ARGV - 1], ARGV[#ARGV]}";
    format!("local ALL = ARGV\n{}", code.replace(time, "{ALL[#ALL - 1], ALL[#ALL]}"))
}

/// Loads a script into the server. Returns its digest.
fn load(client: &mut ::redis::Connection, script: &Lua, expiry: &[&str]) -> String {
    let code = timed_jointly(script, expiry);
    ::redis::cmd("SCRIPT").arg("LOAD").arg(code).query(client).unwrap()
}

fn every(limits: &[Box<dyn Scripts>]) -> impl Group<'_> {
    limits.iter().map(|limit| &**limit)
}

fn add_call(
    pipeline: &mut Pipeline,
    digest: &str,
    limits: &[Box<dyn Scripts>],
    names: &[String],
    ask: Option<Ask>,
    now: u64,
) {
    let (first, limits) = (&*limits[0], every(limits));
    let Call { script, verb, numbers } = match ask {
        Some(ask) => group::call(first, limits, ask),
        None => group::call_reset(first, limits),
    };
    assert_eq!(script.code, first.group().code);
    let call = pipeline.cmd("EVALSHA").arg(digest).arg(names.len()).arg(names);
    call.arg(verb).arg(numbers).arg(now / 1_000_000).arg(now % 1_000_000);
}

fn writes(ask: Ask) -> bool {
    !matches!(ask, Ask::Look(_) | Ask::Charge(0) | Ask::Refund(0) | Ask::Take(0) | Ask::UpTo(0))
}

/// 28,800 operations, of 2 to 4 limits each.
#[test]
fn the_script_of_a_group_decides_as_its_buckets_do() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let digest = load(&mut client, Units::new(&quotas()[0]).unwrap().group(), EXPIRY);
    let mut random = Random(0xA076_1D64_78BD_642F);
    for group in 0..48 * long() {
        // Each quota at most once.
        let mut quotas = quotas();
        let number = random.below(3) as usize + 2;
        while quotas.len() > number {
            quotas.swap_remove(random.below(quotas.len() as u64) as usize);
        }
        let bounds = [u64::MAX, 0, 5, 1 << 30];
        let bounded = quotas.iter().zip(bounds.iter().cycle().skip(group as usize));
        let units = bounded.map(|(quota, &most)| Units::new(quota).unwrap().with_max_debt(most));
        let units: Vec<_> = units.collect();
        let limits = units.iter().map(|&units| -> Box<dyn Scripts> { Box::new(units) });
        let limits: Vec<_> = limits.collect();
        let names: Vec<_> = quotas.iter().map(|quota| format!("{group}:{quota}")).collect();
        let least = every(&limits).map(Scripts::limit).min().unwrap();
        let mut kept = alloc::vec![Kept::default(); number];
        let (mut now, mut pipeline, mut expected) = (START, Pipeline::new(), Vec::new());
        for _ in 0..600 {
            let one = random.below(number as u64) as usize;
            now += any_pause(&mut random, &units[one]).min(((1 << 52) - START) / 600);
            let ask = (random.below(50) > 0).then(|| any_ask(&mut random, least));
            add_call(&mut pipeline, &digest, &limits, &names, ask, now);
            let debts: Vec<_> =
                kept.iter().zip(&units).map(|(kept, units)| kept.debt(units, now)).collect();
            let states = debts.iter().zip(&units).map(|(&debt, units)| units.state_of(debt));
            let states: Vec<_> = states.collect();
            let flows = states.iter().flat_map(|[us, part, ..]| [*us, *part]);
            expected.push(flows.collect::<Vec<_>>());
            let settled = ask.map(|ask| (ask, group::settle(every(&limits), &states, ask)));
            for (i, (kept, units)) in kept.iter_mut().zip(&units).enumerate() {
                match &settled {
                    None => kept.reset(units, now, units.cost(units.limit())),
                    Some((ask, (Some(_), after))) if writes(*ask) => {
                        let [us, part, ..] = after[i];
                        let debt = units.in_parts(Flow { us, part });
                        // A charge that adds nothing is not written.
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

/// The value of a window: its number, and the counts of it and of the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    index: u64,
    current: u64,
    previous: u64,
    known: Known,
}

impl Counted {
    /// The counts at a time, which never goes back.
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
fn the_script_of_a_group_decides_as_its_windows_do() {
    const SECOND: u64 = 1_000_000;
    let server = Server::start(&[]);
    let mut client = server.client();
    let window = Window::of(1, 1, true).unwrap();
    let digest = load(&mut client, window.group(), window_scripts::EXPIRY);
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
        let windows: Vec<_> = shapes.iter().map(window).collect();
        let limits = windows.iter().map(|&window| -> Box<dyn Scripts> { Box::new(window) });
        let limits: Vec<_> = limits.collect();
        let names: Vec<_> = (0..number).map(|i| format!("{group}:{i}")).collect();
        let least = every(&limits).map(Scripts::limit).min().unwrap();
        let mut counted = alloc::vec![Counted::default(); number];
        let (mut now, mut pipeline, mut expected) = (START, Pipeline::new(), Vec::new());
        for _ in 0..600 {
            let (_, period) = shapes[random.below(number as u64) as usize];
            now += [0, 1, random.below(period / 8 + 1), random.below(2 * period)]
                [random.below(4) as usize];
            let ask = (random.below(50) > 0).then(|| any_ask(&mut random, least));
            add_call(&mut pipeline, &digest, &limits, &names, ask, now);
            let counts: Vec<_> = (counted.iter().zip(&shapes))
                .map(|(counted, &shape)| counted.at(shape, sliding, now))
                .collect();
            let numbers = |at: &Counts| [at.left, at.previous, at.current, at.known.mark()];
            let states: Vec<State> = counts.iter().map(numbers).collect();
            expected.push(states.concat());
            let after = match ask {
                None => alloc::vec![[1, 0, 0, 0]; number],
                Some(ask) if writes(ask) => group::settle(every(&limits), &states, ask).1,
                Some(_) => states,
            };
            for (i, counted) in counted.iter_mut().enumerate() {
                let (_, period) = shapes[i];
                let Counts { previous, current, known, .. } = windows[i].counts(after[i]);
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
