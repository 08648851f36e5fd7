//! Whose the slots are: asked of the nodes, or of those that are named in the URL.

use super::slots::{Address, owners};
use super::{Cluster, NAMED, NOBODY, Node, nowhere, send};
use crate::redis::error::RedisError;
use ::redis::{Cmd, ConnectionAddr, Value};
use alloc::vec::Vec;
use core::mem;
use tokio::task::JoinSet;

/// Nodes asked at once for whose the slots are. One that answers is enough.
const ASKED: usize = 4;

/// Nodes kept that have no slot yet: one that is being given its first is asked before it has it.
const GUESTS: usize = 8;

impl Cluster {
    pub(super) async fn ask_nodes(&self) -> bool {
        let mut asked = JoinSet::new();
        for mut node in self.some() {
            asked.spawn(async move {
                let answer = send(&mut node.connection, &cluster_slots()).await;
                (node.address, answer)
            });
        }
        while let Some(done) = asked.join_next().await {
            if let Ok((address, Ok(answer))) = done
                && self.take(&answer, &address)
            {
                return true;
            }
        }
        false
    }

    /// Others each time.
    fn some(&self) -> Vec<Node> {
        let mut map = self.map();
        let start = map.turn % map.nodes.len().max(1);
        map.turn = map.turn.wrapping_add(ASKED);
        map.nodes.iter().cycle().skip(start).take(ASKED.min(map.nodes.len())).cloned().collect()
    }

    /// The last failure, if all fail.
    pub(super) async fn ask_seeds(&self) -> Result<(), RedisError> {
        let mut asked = JoinSet::new();
        for seed in self.0.seeds.clone() {
            let maker = self.0.maker.clone();
            asked.spawn(async move {
                let mut connection = maker.open(seed.clone()).await?;
                let answer = send(&mut connection, &cluster_slots()).await;
                match (answer, address(seed.addr())) {
                    (Ok(answer), Some(address)) => Ok((address, answer)),
                    (Ok(_), None) => Err(nowhere()),
                    (Err(error), _) => Err(RedisError::of_cluster(&error, seed.addr())),
                }
            });
        }
        let mut failure = nowhere();
        while let Some(done) = asked.join_next().await {
            match done {
                Ok(Ok((address, answer))) if self.take(&answer, &address) => return Ok(()),
                Ok(Err(error)) => failure = error,
                _ => {}
            }
        }
        Err(failure)
    }

    /// Takes what a node says for true, if it says anything.
    fn take(&self, answer: &Value, from: &Address) -> bool {
        let ranges = owners(answer, from);
        if ranges.is_empty() {
            return false;
        }
        let mut map = self.map();
        let mut known = mem::take(&mut map.nodes);
        map.owners.fill(NOBODY);
        for (slots, address) in ranges {
            if let Some(at) = known.iter().position(|node| node.address == address) {
                let node = known.swap_remove(at);
                map.nodes.push(Node { guest: false, ..node });
            }
            if let Ok(index) = self.node(&mut map, address, false)
                && let Some(owners) = map.owners.get_mut(slots)
            {
                owners.fill(index);
            }
        }
        let guests = known.into_iter().filter(|node| node.guest).take(GUESTS);
        map.nodes.extend(guests);
        true
    }

    /// Connects to all at once, and says as soon as there is one. Fails if none can be reached, which is so where they are known by
    /// addresses that are none here.
    pub(super) async fn reach(&self, any: &mut bool) -> Result<(), RedisError> {
        let nodes = self.map().nodes.clone();
        let mut reached = JoinSet::new();
        for mut node in nodes {
            reached.spawn(async move {
                let mut ping = Cmd::new();
                ping.arg("PING");
                send(&mut node.connection, &ping).await.map_err(|error| (node.address, error))
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
            Some((Address { host, port }, error)) if !*any => {
                Err(RedisError::of_connecting(&error, &alloc::format!("{NAMED}{host}:{port}")))
            }
            _ => Ok(()),
        }
    }
}

fn address(address: &ConnectionAddr) -> Option<Address> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Address { host: host.clone(), port: *port })
        }
        _ => None,
    }
}

fn cluster_slots() -> Cmd {
    let mut command = Cmd::new();
    command.arg("CLUSTER").arg("SLOTS");
    command
}
