//! The directory of a cluster: the servers that know where its nodes are, and how they are asked.

use super::slots::{Endpoint, SLOTS, owners};
use crate::redis::client::failure;
use crate::redis::error::RedisError;
use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, Value};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// The servers that a URL names. A server that sentinels watch is a cluster of one node, which has
/// all slots.
#[derive(Clone)]
pub(in crate::redis::client) struct Roster {
    pub(in crate::redis::client) directory: Directory,
    /// The servers to ask first. Any of them may be gone.
    pub(in crate::redis::client) seeds: Vec<ConnectionInfo>,
    /// What all nodes have in common: the login, and whether to connect over TLS.
    pub(in crate::redis::client) node: ConnectionInfo,
}

#[derive(Clone)]
pub(in crate::redis::client) enum Directory {
    /// The nodes themselves.
    Nodes,
    /// Sentinels, asked for the service of this name.
    #[cfg_attr(not(feature = "redis-sentinel"), expect(dead_code, reason = "no URL names any"))]
    Sentinels(String),
}

impl Directory {
    pub(super) fn question(&self) -> Cmd {
        let mut command = Cmd::new();
        match self {
            Self::Nodes => command.arg("CLUSTER").arg("SLOTS"),
            Self::Sentinels(service) => {
                command.arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service)
            }
        };
        command
    }

    /// Reads the slots and their masters. Returns none if the answer is something else.
    pub(super) fn read(
        &self,
        answer: &Value,
        from: &Endpoint,
    ) -> Vec<(RangeInclusive<usize>, Endpoint)> {
        match self {
            Self::Nodes => owners(answer, from),
            Self::Sentinels(_) => ::redis::from_redis_value_ref(answer)
                .map(|(host, port)| (0..=SLOTS - 1, Endpoint { host, port }))
                .into_iter()
                .collect(),
        }
    }

    /// Says which kind of server cannot be reached.
    pub(super) fn named(&self) -> &'static str {
        match self {
            Self::Nodes => "a node that the cluster names, ",
            Self::Sentinels(_) => "the master that the sentinels name, ",
        }
    }

    /// The error if no server knows of a node.
    pub(super) fn nowhere(&self) -> RedisError {
        match self {
            Self::Nodes => RedisError::Unavailable("the cluster has no slots".to_string()),
            Self::Sentinels(service) => RedisError::Configuration(alloc::format!(
                "the sentinels know of no service `{service}`: the URL names it after the hosts"
            )),
        }
    }

    /// The error of a server that refuses the question.
    pub(super) fn refused(
        &self,
        error: &::redis::RedisError,
        server: &ConnectionAddr,
    ) -> RedisError {
        let text = error.to_string();
        let what = match self {
            Self::Nodes if text.contains("cluster support disabled") => "node of a cluster",
            Self::Sentinels(_) if text.contains("unknown command") => "sentinel",
            _ => return failure::of_connecting(error, &server.to_string()),
        };
        RedisError::Configuration(alloc::format!(
            "{server} is no {what}: its URL must begin with redis:// or rediss://"
        ))
    }
}

impl fmt::Display for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.directory {
            Directory::Nodes => f.write_str("the cluster of ")?,
            Directory::Sentinels(service) => write!(f, "`{service}` of the sentinels ")?,
        }
        for (n, seed) in self.seeds.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            seed.addr().fmt(f)?;
        }
        Ok(())
    }
}
