//! Learns which node has which slot, from the nodes or the sentinels.

use super::slots::Endpoint;
use super::{Cluster, NO_OWNER, Node, send};
use crate::redis::client::failure;
use crate::redis::error::RedisError;
use ::redis::{Cmd, ConnectionAddr, Value};
use alloc::vec::Vec;
use core::mem;
use tokio::task::JoinSet;

/// The number of nodes that are asked at once. One that answers is enough.
const ASKED: usize = 4;

/// The number of nodes without a slot that are kept. A node that is being given its first slot is
/// asked before it has that.
const GUESTS: usize = 8;

impl Cluster {
    /// Asks some of the known nodes. Returns whether one of them answered.
    pub(super) async fn ask_nodes(&self) -> bool {
        let mut asked = JoinSet::new();
        for mut node in self.some() {
            let question = self.0.roster.directory.question();
            asked.spawn(async move {
                let answer = send(&mut node.connection, &question).await;
                (node.endpoint, answer)
            });
        }
        while let Some(done) = asked.join_next().await {
            if let Ok((endpoint, Ok(answer))) = done
                && self.take(&answer, &endpoint)
            {
                return true;
            }
        }
        false
    }

    /// Some known nodes, others each time.
    fn some(&self) -> Vec<Node> {
        let mut map = self.map();
        let start = map.turn % map.nodes.len().max(1);
        map.turn = map.turn.wrapping_add(ASKED);
        map.nodes.iter().cycle().skip(start).take(ASKED.min(map.nodes.len())).cloned().collect()
    }

    /// Asks the servers that the URL names. If all fail, returns the most telling failure.
    pub(super) async fn ask_seeds(&self) -> Result<(), RedisError> {
        let mut asked = JoinSet::new();
        for seed in self.0.roster.seeds.clone() {
            let (maker, directory) = (self.0.maker.clone(), self.0.roster.directory.clone());
            asked.spawn(async move {
                let mut connection = maker.open(seed.clone()).await?;
                let answer = send(&mut connection, &directory.question()).await;
                match (answer, endpoint(seed.addr())) {
                    (Ok(answer), Some(endpoint)) => Ok((endpoint, answer)),
                    (Ok(_), None) => Err(directory.nowhere()),
                    (Err(error), _) => Err(directory.refused(&error, seed.addr())),
                }
            });
        }
        let mut failure = None;
        while let Some(done) = asked.join_next().await {
            let failed = match done {
                Ok(Ok((endpoint, answer))) if self.take(&answer, &endpoint) => return Ok(()),
                Ok(Err(failed)) => failed,
                _ => self.0.roster.directory.nowhere(),
            };
            failure = Some(more_telling(failure, failed));
        }
        Err(failure.unwrap_or_else(|| self.0.roster.directory.nowhere()))
    }

    /// Takes over what a server says, if it names any node.
    fn take(&self, answer: &Value, from: &Endpoint) -> bool {
        let ranges = self.0.roster.directory.read(answer, from);
        if ranges.is_empty() {
            return false;
        }
        let mut map = self.map();
        let mut known = mem::take(&mut map.nodes);
        map.owners.fill(NO_OWNER);
        for (slots, endpoint) in ranges {
            if let Some(at) = known.iter().position(|node| *node.endpoint == endpoint) {
                let node = known.swap_remove(at);
                map.nodes.push(Node { guest: false, ..node });
            }
            if let Ok((index, _)) = self.node(&mut map, endpoint, false)
                && let Some(owners) = map.owners.get_mut(slots)
            {
                owners.fill(index);
            }
        }
        let guests = known.into_iter().filter(|node| node.guest).take(GUESTS);
        map.nodes.extend(guests);
        true
    }

    /// Connects to all nodes at once, and notes in `any` as soon as one answers. Fails if none can
    /// be reached, as where the nodes know each other by addresses that do not exist here.
    pub(super) async fn reach(&self, any: &mut bool) -> Result<(), RedisError> {
        let nodes = self.map().nodes.clone();
        let mut reached = JoinSet::new();
        for mut node in nodes {
            reached.spawn(async move {
                let mut ping = Cmd::new();
                ping.arg("PING");
                send(&mut node.connection, &ping).await.map_err(|error| (node.endpoint, error))
            });
        }
        let mut failure = None;
        while let Some(done) = reached.join_next().await {
            match done {
                Ok(Err(failed)) => failure = Some(failed),
                _ => *any = true,
            }
        }
        match failure {
            Some((endpoint, error)) if !*any => {
                let Endpoint { host, port } = &*endpoint;
                let named = self.0.roster.directory.named();
                Err(failure::of_connecting(&error, &alloc::format!("{named}{host}:{port}")))
            }
            _ => Ok(()),
        }
    }
}

/// The more telling of two failures: a server that answers tells more than one that does not.
fn more_telling(known: Option<RedisError>, other: RedisError) -> RedisError {
    let tells = |error: &RedisError| match error {
        RedisError::Configuration(_) => 2,
        RedisError::Unavailable(_) | RedisError::Failed(_) => 1,
        _ => 0,
    };
    known
        .into_iter()
        .fold(other, |other, known| if tells(&known) < tells(&other) { other } else { known })
}

fn endpoint(endpoint: &ConnectionAddr) -> Option<Endpoint> {
    match endpoint {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Endpoint { host: host.clone(), port: *port })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn of_several_failures_the_most_telling_is_told() {
        let wrong = RedisError::Configuration("the login".to_string());
        let without = RedisError::Unavailable("no slots".to_string());
        let silent = RedisError::Connection("refused".to_string());
        let told = |failures: [&RedisError; 3]| {
            failures.into_iter().fold(None, |known, other| Some(more_telling(known, other.clone())))
        };
        for failures in [[&wrong, &without, &silent], [&silent, &without, &wrong]] {
            assert_eq!(told(failures), Some(wrong.clone()));
        }
        for failures in [[&without, &silent, &silent], [&silent, &silent, &without]] {
            assert_eq!(told(failures), Some(without.clone()));
        }
    }
}
