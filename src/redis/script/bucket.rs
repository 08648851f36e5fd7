//! Token and leaky buckets in Redis: the calls of their script, and the reading of its answers.

use super::units::{Flow, Units};
use super::{Ask, Scripts, State};
use crate::redis::client::lua::{Call, Lua, lua};
use alloc::boxed::Box;
use alloc::vec::Vec;

static BUCKET: Lua = lua!("bucket.lua");
/// Takes from a bucket with one part in a microsecond. It has no verb, since an argument less is
/// 2% less work for the server.
static TAKE: Lua = lua!("bucket_take.lua", "bucket.lua");
static GROUP: Lua = lua!(group: "bucket.lua");

#[cfg(test)]
pub(crate) const ALL: [&Lua; 2] = [&BUCKET, &TAKE];

impl Units {
    /// A call of the bucket's script, with room for `more` numbers behind those of the bucket.
    pub(super) fn verb(&self, verb: &'static str, more: usize) -> Call {
        let burst = self.flow(self.burst());
        let mut numbers = Vec::with_capacity(3 + more);
        numbers.extend([self.parts(), burst.us, burst.part]);
        Call { script: &BUCKET, verb: Some(verb), numbers }
    }

    /// The same, with the cost of `n` tokens.
    pub(super) fn verb_of(&self, verb: &'static str, n: u64) -> Call {
        let mut call = self.verb(verb, 4);
        call.numbers.extend(self.cost_of(n));
        call
    }

    fn cost_of(&self, n: u64) -> [u64; 2] {
        let Flow { us, part } = self.flow(self.cost(n));
        [us, part]
    }

    fn debt(&self, [us, part, ..]: State) -> u128 {
        self.in_parts(Flow { us, part })
    }

    /// The state of a bucket with this debt, in parts.
    pub(crate) fn state_of(&self, debt: u128) -> State {
        let Flow { us, part } = self.flow(debt);
        [us, part, 0, 0]
    }
}

impl Scripts for Units {
    fn limit(&self) -> u64 {
        Units::limit(self)
    }

    fn call(&self, ask: Ask) -> Call {
        match ask {
            _ if ask.is_look() => self.verb("look", 0),
            Ask::Take(n) if self.parts() == 1 => {
                let whole = |parts| self.flow(parts).us;
                let numbers = alloc::vec![whole(self.burst()), whole(self.cost(n))];
                Call { script: &TAKE, verb: None, numbers }
            }
            Ask::Take(n) | Ask::Look(n) => self.verb_of("take", n),
            Ask::UpTo(n) => {
                let mut call = self.verb_of("up_to", 1);
                call.numbers.push(n.min(self.limit()));
                call
            }
            Ask::Charge(n) => {
                let mut call = self.verb_of("charge", n);
                let Flow { us, part } = self.flow(self.most_owed());
                call.numbers.extend([us, part]);
                call
            }
            Ask::Refund(n) => self.verb_of("refund", n),
        }
    }

    fn call_each(&self, asked: &[u64]) -> Call {
        // Requests of a token each take the same as one request for up to their sum.
        if asked.iter().all(|&n| n == 1) {
            return self.call(Ask::UpTo(asked.len() as u64));
        }
        let mut call = self.verb("each", 2 * asked.len());
        asked.iter().for_each(|&n| call.numbers.extend(self.cost_of(n)));
        call
    }

    fn call_reset(&self, most: u64) -> Call {
        self.verb_of("reset", most)
    }

    fn group(&self) -> &'static Lua {
        &GROUP
    }

    fn fit(&self, n: u64) -> Vec<u64> {
        self.verb_of("fit", n).numbers
    }

    fn state(&self, answer: &[u64]) -> Option<State> {
        match *answer {
            [us] => Some([us, 0, 0, 0]),
            [us, part, ..] => Some([us, part, 0, 0]),
            [] => None,
        }
    }

    fn settle(&self, state: State, ask: Ask) -> (Option<u64>, State) {
        let settled = self.settle(self.debt(state), ask);
        (settled.granted, self.state_of(settled.debt))
    }

    fn balance(&self, state: State) -> i64 {
        self.balance(self.debt(state))
    }

    fn until_full(&self, state: State) -> u64 {
        self.until_full(self.debt(state))
    }

    fn until(&self, state: State, n: u64) -> Option<u64> {
        self.until(self.debt(state), n)
    }

    fn without_max_debt(&self) -> Box<dyn Scripts> {
        Box::new(self.with_max_debt(u64::MAX))
    }

    fn places(&self) -> Option<&Units> {
        Some(self)
    }
}
