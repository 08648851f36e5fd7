//! Several limits asked by chance: the scripts in a server and the decisions in Rust say the same of all.

use super::super::joint;
use super::super::kernel::{Kernel, State};
use super::super::link::Lua;
use super::super::units::{Ask, Units};
use super::kept::Kept;
use super::oracle::{EXPIRY, any_pause, run};
use super::server::Server;
use super::{Random, START, any_ask, long, quotas, timed};
use ::redis::Pipeline;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A script that each limit's numbers hide the time from.
fn timed_jointly(script: &Lua) -> String {
    let code = timed(script.code, EXPIRY);
    let time = "{ARGV[#ARGV - 1], ARGV[#ARGV]}";
    format!("local ALL = ARGV\n{}", code.replace(time, "{ALL[#ALL - 1], ALL[#ALL]}"))
}

fn writes(ask: Ask) -> bool {
    !matches!(ask, Ask::Look(_) | Ask::Charge(0) | Ask::Refund(0) | Ask::Take(0) | Ask::UpTo(0))
}

/// 28,800 operations, of 2 to 4 limits each.
#[test]
fn scripts_decide_of_several_limits_as_their_kernels_do() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let load = |client: &mut ::redis::Connection, script: &'static Lua| -> (&'static str, String) {
        let code = timed_jointly(script);
        let digest = ::redis::cmd("SCRIPT").arg("LOAD").arg(code).query(client).unwrap();
        (script.code, digest)
    };
    let scripts = [&joint::TAKE, &joint::CHARGE, &joint::REFUND, &joint::RESET];
    let digests = scripts.map(|script| load(&mut client, script));
    let mut random = Random(0xA076_1D64_78BD_642F);
    for group in 0..48 * long() {
        // Each of them once.
        let mut quotas = quotas();
        let number = random.below(3) as usize + 2;
        while quotas.len() > number {
            quotas.swap_remove(random.below(quotas.len() as u64) as usize);
        }
        let units: Vec<_> = quotas.iter().map(|quota| Units::new(quota).unwrap()).collect();
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
                ask.map_or_else(|| joint::call_reset(&kernels), |ask| joint::call(&kernels, ask));
            let digest = &digests.iter().find(|(code, _)| *code == call.0.code).unwrap().1;
            let command = pipeline.cmd("EVALSHA").arg(digest).arg(number).arg(&names).arg(call.1);
            command.arg(now / 1_000_000).arg(now % 1_000_000);
            let debts: Vec<_> =
                kept.iter().zip(&units).map(|(kept, units)| kept.debt(units, now)).collect();
            let states: Vec<_> = debts.iter().copied().map(State::Bucket).collect();
            let flows = debts.iter().zip(&units).map(|(&debt, units)| units.flow(debt));
            expected.push(flows.flat_map(|flow| [flow.us, flow.part]).collect::<Vec<_>>());
            let settled = ask.map(|ask| (ask, joint::settle(&kernels, &states, ask)));
            for (i, (kept, units)) in kept.iter_mut().zip(&units).enumerate() {
                match &settled {
                    None => kept.reset(units, now, units.cost(units.limit())),
                    Some((ask, (Some(_), after))) if writes(*ask) => {
                        let State::Bucket(debt) = after[i] else { panic!("of a bucket") };
                        kept.keep(units, now, debt);
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
