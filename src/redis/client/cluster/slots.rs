//! Slots: which one a key is in, and what nodes say of them. Pure.

use ::redis::{ErrorKind, ServerErrorKind, Value};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

pub(super) const SLOTS: usize = 16_384;

/// The host and port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The slot of a key: the CRC16 (XMODEM) of the text in its first braces, or else of the whole key.
/// From the specification of Redis Cluster, "Key distribution model".
pub(super) fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    usize::from(crc) % SLOTS
}

/// The node to which another one redirects a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is there from now on.
    Moved(Endpoint),
    /// Only for this call: the slot is on its way there, and the key has left.
    Ask(Endpoint),
}

pub(super) fn redirect(error: &::redis::RedisError, from: &Endpoint) -> Option<Redirect> {
    let kind = error.kind();
    let (place, _) = error.redirect_node()?;
    let (host, port) = place.rsplit_once(':')?;
    // A node that does not know its own name leaves it out: it is the one that was asked.
    let host = if host.is_empty() || host == "?" { from.host.clone() } else { bare(host) };
    let address = Endpoint { host, port: port.parse().ok()? };
    match kind {
        ErrorKind::Server(ServerErrorKind::Moved) => Some(Redirect::Moved(address)),
        ErrorKind::Server(ServerErrorKind::Ask) => Some(Redirect::Ask(address)),
        _ => None,
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_string()
}

/// Reads the slots and their masters from the answer to `CLUSTER SLOTS`:
/// `[[first, last, [host, port, ...], replicas...], ...]`. Empty if the answer is something else.
pub(super) fn owners(answer: &Value, from: &Endpoint) -> Vec<(RangeInclusive<usize>, Endpoint)> {
    let Value::Array(ranges) = answer else { return Vec::new() };
    ranges.iter().filter_map(|range| owner(range, from)).collect()
}

fn owner(range: &Value, from: &Endpoint) -> Option<(RangeInclusive<usize>, Endpoint)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => bare(core::str::from_utf8(host).ok()?),
        Value::SimpleString(host) => bare(host),
        _ => String::new(),
    };
    let host = if host.is_empty() || host == "?" { from.host.clone() } else { host };
    let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
    let port = u16::try_from(*port).ok()?;
    (last < SLOTS).then_some((first..=last, Endpoint { host, port }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use alloc::vec;

    fn address(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_string(), port }
    }

    /// From the specification, and from `CLUSTER KEYSLOT` of a server.
    #[test]
    fn a_keys_slot_is_that_of_its_braces() {
        let known: [(&[u8], usize); 9] = [
            (b"123456789", 0x31c3),
            (b"", 0),
            (b"foo", 12_182),
            (b"{foo}bar", 12_182),
            (b"a{foo}b{bar}", 12_182),
            (b"foo{}{bar}", 8_363),
            (b"foo{{bar}}zap", 4_015),
            (b"foo{bar}{zap}", 5_061),
            (b"foo{bar", 15_278),
        ];
        for (key, expected) in known {
            assert_eq!(slot(key), expected, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn what_nodes_say_of_slots_is_read_and_nothing_else_is() {
        let from = address("asked", 1);
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::Nil]);
        let name = |name: &str| Value::BulkString(name.as_bytes().to_vec());
        let range = |first, last, master| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, node(Value::Nil, 9)])
        };
        let answer = Value::Array(vec![
            range(0, 99, node(name("10.0.0.1"), 7_000)),
            range(100, 100, node(Value::Nil, 7_001)),
            range(101, 16_383, node(name("::1"), 7_002)),
            range(0, 16_384, node(name("beyond"), 7_002)),
            range(-1, 3, node(name("before"), 7_002)),
            range(1, 3, node(name("port"), 70_000)),
            range(1, 3, Value::Nil),
            Value::Okay,
        ]);
        let expected = [
            (0..=99, address("10.0.0.1", 7_000)),
            (100..=100, address("asked", 7_001)),
            (101..=16_383, address("::1", 7_002)),
        ];
        assert_eq!(owners(&answer, &from), expected);
        assert_eq!(owners(&Value::Okay, &from), []);
    }

    #[test]
    fn redirects_name_a_node_or_the_one_that_was_asked() {
        let from = address("asked", 1);
        let said = |text: &str| {
            let error = ::redis::parse_redis_value(text.as_bytes());
            redirect(&error.and_then(Value::extract_error).unwrap_err(), &from)
        };
        let moved = |host, port| Some(Redirect::Moved(address(host, port)));
        assert_eq!(said("-MOVED 3999 10.0.0.1:6381\r\n"), moved("10.0.0.1", 6381));
        assert_eq!(said("-MOVED 3999 :6381\r\n"), moved("asked", 6381));
        assert_eq!(said("-MOVED 3999 ::1:6381\r\n"), moved("::1", 6381));
        assert_eq!(said("-ASK 3999 a:2\r\n"), Some(Redirect::Ask(address("a", 2))));
        for other in
            ["-MOVED 3999 a:b\r\n", "-MOVED\r\n", "-ERR MOVED 1 a:2\r\n", "-TRYAGAIN x\r\n"]
        {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
