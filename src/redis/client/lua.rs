//! Scripts that a server runs, and their answers.

use ::redis::{FromRedisValue, ParsingError, Script, Value};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::sync::LazyLock;

/// A script, and the digest by which servers know it.
#[derive(Debug)]
pub(crate) struct Lua {
    pub(crate) code: &'static str,
    digest: LazyLock<String>,
}

impl Lua {
    /// A script of this code. `digest` is [`digest_of`] the same code.
    pub(crate) const fn new(code: &'static str, digest: fn() -> String) -> Self {
        Self { code, digest: LazyLock::new(digest) }
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

pub(crate) fn digest_of(code: &str) -> String {
    Script::new(code).get_hash().to_string()
}

/// A script of files, one after the other. With `group:` it asks the limits of a group, by the
/// script of a single limit.
macro_rules! lua {
    (group: $file:literal) => {
        $crate::redis::client::lua::lua!(code: concat!(
            "local function one(KEYS, ARGV)\n",
            include_str!($file),
            "end\n",
            include_str!("group.lua")
        ))
    };
    (code: $code:expr) => {{
        const CODE: &str = $code;
        $crate::redis::client::lua::Lua::new(CODE, || $crate::redis::client::lua::digest_of(CODE))
    }};
    ($($file:literal),+) => {
        $crate::redis::client::lua::lua!(code: concat!($(include_str!($file)),+))
    };
}
pub(crate) use lua;

/// A call of a script.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) script: &'static Lua,
    /// What the script is to do, if it does several things.
    pub(crate) verb: Option<&'static str>,
    pub(crate) numbers: Vec<u64>,
}

/// The numbers that a script of one limit answers, one to four of them. The others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) numbers: [u64; 4],
    pub(crate) length: usize,
}

impl FromRedisValue for Reply {
    fn from_redis_value_ref(value: &Value) -> Result<Self, ParsingError> {
        let mut reply = Self { numbers: [0; 4], length: 0 };
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => core::slice::from_ref(value),
        };
        for (value, number) in values.iter().zip(&mut reply.numbers) {
            *number = u64::from_redis_value_ref(value)?;
            reply.length += 1;
        }
        Ok(reply)
    }

    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Self::from_redis_value_ref(&value)
    }
}
