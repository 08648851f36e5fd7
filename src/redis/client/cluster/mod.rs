//! The connection of a limiter to a cluster: one to each master, and the owner of each slot.
//!
//! The crate `redis` has a client for clusters. That one sends a command again after it has lost a
//! connection, as it does after a redirect; it lets other commands come between `ASKING` and the
//! command that this is for; and while one node cannot be reached, calls to all others wait. Here a
//! call is sent again only if a node has said that it did not run it; `ASKING` goes in one pipeline
//! with its command; and calls to one node never wait for another.

pub(super) mod directory;
mod learn;
mod slots;

use super::failure::{is_of_script, may_be_of_handshake};
use super::maker::{Maker, round_trip};
use crate::redis::error::RedisError;
use ::redis::aio::ConnectionManager;
use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, ServerErrorKind, Value};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use directory::{Directory, Roster};
use slots::{Endpoint, Redirect, SLOTS, redirect, slot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The most redirects that a call follows: to a node that knows better, from there to the node that
/// the slot is on its way to, and the same two again.
const REDIRECTS: u32 = 5;

/// The least time between two questions about the slots.
const CALM: Duration = Duration::from_millis(50);

/// The owner of a slot that no known node has.
const NO_OWNER: u16 = u16::MAX;

/// A connection to a cluster, which its clones share.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Shared>);

struct Shared {
    maker: Maker,
    roster: Roster,
    map: Mutex<Map>,
    /// Where tasks are spawned, since a call may be dropped outside of a runtime.
    runtime: Handle,
}

/// The known state of the cluster. Its lock is never held across a wait.
struct Map {
    nodes: Vec<Node>,
    /// For each slot an index of `nodes`, or [`NO_OWNER`].
    owners: Vec<u16>,
    /// Whether a task asks for the slots, or has just asked.
    learning: bool,
    /// The node to ask first next time.
    turn: usize,
    /// The number of connections made so far.
    made: u64,
}

#[derive(Clone)]
struct Node {
    endpoint: Arc<Endpoint>,
    connection: ConnectionManager,
    /// The number of its connection, among all that were made.
    id: u64,
    /// Whether it has no slot yet.
    guest: bool,
}

impl Cluster {
    /// Asks the servers of the URL, and connects to all nodes that they name.
    pub(super) async fn connect(roster: &Roster, maker: &Maker) -> Result<Self, RedisError> {
        let map = Map {
            nodes: Vec::new(),
            owners: alloc::vec![NO_OWNER; SLOTS],
            learning: false,
            turn: 0,
            made: 0,
        };
        let cluster = Self(Arc::new(Shared {
            maker: maker.clone(),
            roster: roster.clone(),
            map: Mutex::new(map),
            runtime: Handle::current(),
        }));
        let mut any = false;
        let connecting = async {
            cluster.ask_seeds().await?;
            cluster.reach(&mut any).await
        };
        match timeout(maker.within(), connecting).await {
            Ok(connected) => connected.map(|()| cluster),
            // A node that does not answer keeps no call from the others.
            Err(_) if any => Ok(cluster),
            Err(_) => Err(cluster.silent()),
        }
    }

    /// The error if no server of the URL has answered, or no node that they name.
    fn silent(&self) -> RedisError {
        let Shared { maker, roster, .. } = &*self.0;
        let node = self.map().nodes.first().map(|node| self.info(&node.endpoint));
        match (node, roster.seeds.first()) {
            (Some(node), _) => maker.silent(node.addr(), roster.directory.named()),
            (None, Some(seed)) => maker.silent(seed.addr(), ""),
            (None, None) => roster.directory.nowhere(),
        }
    }

    /// Measures the round trip to the furthest of the nodes that answer.
    pub(super) async fn round_trip(&self, within: Duration, enough: Duration) -> Option<Duration> {
        let nodes = self.map().nodes.clone();
        let mut measured = JoinSet::new();
        for mut node in nodes {
            measured.spawn(async move { round_trip(&mut node.connection, within, enough).await });
        }
        measured.join_all().await.into_iter().flatten().max()
    }

    /// Sends a command to the master of the key's slot, and on to where that redirects it.
    pub(super) async fn send(
        &self,
        command: &Cmd,
        key: &[u8],
    ) -> Result<Value, ::redis::RedisError> {
        let mut unanswered = Unanswered(Some(self));
        let answer = self.follow(command, slot(key)).await;
        unanswered.0 = None;
        answer
    }

    async fn follow(&self, command: &Cmd, slot: usize) -> Result<Value, ::redis::RedisError> {
        let Some(mut node) = self.owner(slot) else {
            self.learn();
            return Err(lost("no node of the cluster has the slot"));
        };
        let mut asking = false;
        for redirects in 0..=REDIRECTS {
            if redirects > 1 {
                // The nodes do not agree for a while.
                sleep(Duration::from_millis(1 << redirects)).await;
            }
            let answer = if asking {
                ask(&mut node.connection, command).await
            } else {
                send(&mut node.connection, command).await
            };
            let Err(error) = answer else { return answer };
            match redirect(&error, &node.endpoint) {
                Some(Redirect::Moved(endpoint)) => {
                    node = self.moved(slot, endpoint)?;
                    asking = false;
                    self.learn();
                }
                Some(Redirect::Ask(endpoint)) => {
                    node = self.guest(endpoint)?;
                    asking = true;
                }
                None if error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain) => {}
                None => {
                    self.judge(&node, &error);
                    return Err(error);
                }
            }
        }
        Err(lost("the nodes of the cluster do not agree on the owner of the slot"))
    }

    fn owner(&self, slot: usize) -> Option<Node> {
        let map = self.map();
        map.nodes.get(usize::from(*map.owners.get(slot)?)).cloned()
    }

    /// Notes that the slot is at this node from now on.
    fn moved(&self, slot: usize, endpoint: Endpoint) -> Result<Node, ::redis::RedisError> {
        let mut map = self.map();
        let (index, node) = self.node(&mut map, endpoint, false)?;
        if let Some(owner) = map.owners.get_mut(slot) {
            *owner = index;
        }
        Ok(node)
    }

    fn guest(&self, endpoint: Endpoint) -> Result<Node, ::redis::RedisError> {
        Ok(self.node(&mut self.map(), endpoint, true)?.1)
    }

    /// A node and its index. A new node connects when it is first asked.
    fn node(
        &self,
        map: &mut Map,
        endpoint: Endpoint,
        guest: bool,
    ) -> Result<(u16, Node), ::redis::RedisError> {
        let known = map.nodes.iter().enumerate().find(|(_, node)| *node.endpoint == endpoint);
        if let Some((index, node)) = known {
            return Ok((index as u16, node.clone()));
        }
        if map.nodes.len() >= usize::from(NO_OWNER) {
            return Err(lost("the cluster names too many nodes"));
        }
        map.made += 1;
        let connection = self.lazy(&endpoint)?;
        let node = Node { endpoint: Arc::new(endpoint), connection, id: map.made, guest };
        map.nodes.push(node.clone());
        Ok(((map.nodes.len() - 1) as u16, node))
    }

    fn lazy(&self, endpoint: &Endpoint) -> Result<ConnectionManager, ::redis::RedisError> {
        let made = self.0.maker.lazy(self.info(endpoint));
        made.ok_or_else(|| lost("the cluster names a node that cannot be connected to"))
    }

    fn info(&self, endpoint: &Endpoint) -> ConnectionInfo {
        let node = &self.0.roster.node;
        let Endpoint { host, port } = endpoint.clone();
        let address = match node.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        node.clone().set_addr(address)
    }

    /// Acts on a failure that no redirect explains: replaces a refused connection, and asks for the
    /// slots anew.
    fn judge(&self, node: &Node, error: &::redis::RedisError) {
        if is_of_script(error) {
            return;
        }
        if may_be_of_handshake(error) {
            let mut map = self.map();
            map.made += 1;
            let id = map.made;
            if let Some(known) = map.nodes.iter_mut().find(|known| known.id == node.id)
                && let Ok(connection) = self.lazy(&node.endpoint)
            {
                *known = Node { connection, id, ..node.clone() };
            }
        }
        self.learn();
    }

    /// Asks for the slots in a task of its own. One asks at a time, and pauses afterwards.
    fn learn(&self) {
        if mem::replace(&mut self.map().learning, true) {
            return;
        }
        let cluster = self.clone();
        self.0.runtime.spawn(async move {
            let within = cluster.0.maker.within();
            let by_nodes = matches!(cluster.0.roster.directory, Directory::Nodes);
            // The known nodes may all be gone.
            if !by_nodes || timeout(within / 2, cluster.ask_nodes()).await != Ok(true) {
                let _ = timeout(within, cluster.ask_seeds()).await;
            }
            sleep(CALM).await;
            cluster.map().learning = false;
        });
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.0.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guards a call. If its caller gives up, the node may be gone, and the slots are asked for anew.
struct Unanswered<'a>(Option<&'a Cluster>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(cluster) = self.0 {
            cluster.learn();
        }
    }
}

/// The error of a call that was not sent, or that the nodes refused.
fn lost(why: &str) -> ::redis::RedisError {
    (ErrorKind::ClusterConnectionNotFound, "not sent", why.to_string()).into()
}

async fn send(
    connection: &mut ConnectionManager,
    command: &Cmd,
) -> Result<Value, ::redis::RedisError> {
    connection.send_packed_command(command).await?.extract_error()
}

/// Sends a command behind `ASKING`, with which a node runs it although the slot is still on its way
/// there.
async fn ask(
    connection: &mut ConnectionManager,
    command: &Cmd,
) -> Result<Value, ::redis::RedisError> {
    let mut both = Pipeline::with_capacity(2);
    both.cmd("ASKING").add_command(command.clone());
    let answers = connection.send_packed_commands(&both, 0, 2).await?;
    answers.into_iter().next_back().unwrap_or(Value::Nil).extract_error()
}
