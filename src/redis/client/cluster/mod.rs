//! The connection of a limiter to a cluster: one to each master, and whose each slot is.
//!
//! The crate `redis` has a client for clusters. It sends a command again after it has lost a connection, by the same count as it
//! follows redirects; it lets other commands in between `ASKING` and what is asked; and while one node cannot be
//! reached, the calls to all others wait. Here a call is sent again only by a node's own word that it has not run it, `ASKING`
//! goes in one pipeline with what it is for, and each node stands for itself.

mod directory;
mod learn;
mod slots;

use crate::redis::client::connection::{Maker, round_trip};
use crate::redis::error::{RedisError, is_of_script, may_be_of_handshake};
use ::redis::aio::ConnectionManager;
use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, ServerErrorKind, Value};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
pub(in crate::redis) use directory::{Directory, Roster};
use slots::{Address, Redirect, SLOTS, redirect, slot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How often a call follows where it is sent before it is given up: to a node that knows better, from there to where the slot is
/// on its way to, and as much again.
const REDIRECTS: u32 = 5;

/// The least time between two questions of whose the slots are.
const CALM: Duration = Duration::from_millis(50);

const NOBODY: u16 = u16::MAX;

/// Clones share it.
#[derive(Clone)]
pub(in crate::redis) struct Cluster(Arc<Shared>);

struct Shared {
    maker: Maker,
    roster: Roster,
    map: Mutex<Map>,
    /// For whoever drops a call outside of one.
    runtime: Handle,
}

/// What is known. Never held across a wait.
struct Map {
    nodes: Vec<Node>,
    /// By slot: an index of `nodes`, or nobody.
    owners: Vec<u16>,
    /// Somebody is asking, or has just asked.
    learning: bool,
    /// Whom to ask first.
    turn: usize,
    /// Connections made so far.
    made: u64,
}

#[derive(Clone)]
struct Node {
    address: Arc<Address>,
    connection: ConnectionManager,
    /// Which of all connections it is.
    id: u64,
    guest: bool,
}

impl Cluster {
    /// Asks those that are named in the URL, and connects to all that they name.
    pub(in crate::redis) async fn connect(
        roster: &Roster,
        maker: &Maker,
    ) -> Result<Self, RedisError> {
        let map = Map {
            nodes: Vec::new(),
            owners: alloc::vec![NOBODY; SLOTS],
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
            // A node that does not answer keeps nobody from the others.
            Err(_) if any => Ok(cluster),
            Err(_) => Err(cluster.silent()),
        }
    }

    /// Nobody has answered: neither those of the URL, or else none that they name.
    fn silent(&self) -> RedisError {
        let Shared { maker, roster, .. } = &*self.0;
        let node = self.map().nodes.first().map(|node| self.info(&node.address));
        match (node, roster.seeds.first()) {
            (Some(node), _) => maker.silent(node.addr(), roster.directory.named()),
            (None, Some(seed)) => maker.silent(seed.addr(), ""),
            (None, None) => roster.directory.nowhere(),
        }
    }

    /// Measures the round trip to the node furthest away, of those that answer.
    pub(in crate::redis) async fn round_trip(
        &self,
        within: Duration,
        enough: Duration,
    ) -> Option<Duration> {
        let nodes = self.map().nodes.clone();
        let mut measured = JoinSet::new();
        for mut node in nodes {
            measured.spawn(async move { round_trip(&mut node.connection, within, enough).await });
        }
        measured.join_all().await.into_iter().flatten().max()
    }

    /// To the master of the key's slot, and where that sends it.
    pub(in crate::redis) async fn send(
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
                // They are at odds, for a while.
                sleep(Duration::from_millis(1 << redirects)).await;
            }
            let answer = if asking {
                ask(&mut node.connection, command).await
            } else {
                send(&mut node.connection, command).await
            };
            let Err(error) = answer else { return answer };
            match redirect(&error, &node.address) {
                Some(Redirect::Moved(address)) => {
                    node = self.moved(slot, address)?;
                    asking = false;
                    self.learn();
                }
                Some(Redirect::Ask(address)) => {
                    node = self.guest(address)?;
                    asking = true;
                }
                None if error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain) => {}
                None => {
                    self.judge(&node, &error);
                    return Err(error);
                }
            }
        }
        Err(lost("the nodes of the cluster do not agree on who has the slot"))
    }

    fn owner(&self, slot: usize) -> Option<Node> {
        let map = self.map();
        map.nodes.get(usize::from(*map.owners.get(slot)?)).cloned()
    }

    /// From now on the slot is there.
    fn moved(&self, slot: usize, address: Address) -> Result<Node, ::redis::RedisError> {
        let mut map = self.map();
        let (index, node) = self.node(&mut map, address, false)?;
        if let Some(owner) = map.owners.get_mut(slot) {
            *owner = index;
        }
        Ok(node)
    }

    fn guest(&self, address: Address) -> Result<Node, ::redis::RedisError> {
        Ok(self.node(&mut self.map(), address, true)?.1)
    }

    /// A node and its index. A new one connects when it is first asked.
    fn node(
        &self,
        map: &mut Map,
        address: Address,
        guest: bool,
    ) -> Result<(u16, Node), ::redis::RedisError> {
        let known = map.nodes.iter().enumerate().find(|(_, node)| *node.address == address);
        if let Some((index, node)) = known {
            return Ok((index as u16, node.clone()));
        }
        if map.nodes.len() >= usize::from(NOBODY) {
            return Err(lost("the cluster names too many nodes"));
        }
        map.made += 1;
        let connection = self.lazy(&address)?;
        let node = Node { address: Arc::new(address), connection, id: map.made, guest };
        map.nodes.push(node.clone());
        Ok(((map.nodes.len() - 1) as u16, node))
    }

    fn lazy(&self, address: &Address) -> Result<ConnectionManager, ::redis::RedisError> {
        let made = self.0.maker.lazy(self.info(address));
        made.ok_or_else(|| lost("the cluster names a node that cannot be connected to"))
    }

    fn info(&self, address: &Address) -> ConnectionInfo {
        let node = &self.0.roster.node;
        let Address { host, port } = address.clone();
        let address = match node.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        node.clone().set_addr(address)
    }

    /// After a failure that no redirect explains.
    fn judge(&self, node: &Node, error: &::redis::RedisError) {
        if is_of_script(error) {
            return;
        }
        if may_be_of_handshake(error) {
            let mut map = self.map();
            map.made += 1;
            let id = map.made;
            if let Some(known) = map.nodes.iter_mut().find(|known| known.id == node.id)
                && let Ok(connection) = self.lazy(&node.address)
            {
                *known = Node { connection, id, ..node.clone() };
            }
        }
        self.learn();
    }

    /// Asks, without anybody waiting for it, whose the slots are. One asks at a time, and not at once again.
    fn learn(&self) {
        if mem::replace(&mut self.map().learning, true) {
            return;
        }
        let cluster = self.clone();
        self.0.runtime.spawn(async move {
            let within = cluster.0.maker.within();
            let by_nodes = matches!(cluster.0.roster.directory, Directory::Nodes);
            // Those that are known may all be gone.
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

/// A call that its caller gives up may be one to a node that is no longer there.
struct Unanswered<'a>(Option<&'a Cluster>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(cluster) = self.0 {
            cluster.learn();
        }
    }
}

/// Nothing was sent, or a node has refused what was.
fn lost(why: &str) -> ::redis::RedisError {
    (ErrorKind::ClusterConnectionNotFound, "not sent", why.to_string()).into()
}

async fn send(
    connection: &mut ConnectionManager,
    command: &Cmd,
) -> Result<Value, ::redis::RedisError> {
    connection.send_packed_command(command).await?.extract_error()
}

/// What follows `ASKING` at once is run where the slot is only on its way to.
async fn ask(
    connection: &mut ConnectionManager,
    command: &Cmd,
) -> Result<Value, ::redis::RedisError> {
    let mut both = Pipeline::with_capacity(2);
    both.cmd("ASKING").add_command(command.clone());
    let answers = connection.send_packed_commands(&both, 0, 2).await?;
    answers.into_iter().next_back().unwrap_or(Value::Nil).extract_error()
}
