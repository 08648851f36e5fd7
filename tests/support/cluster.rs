//! Clusters of a test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "a module of tests")]

use super::server::Server;
use redis::{Connection, FromRedisValue};
use std::time::{Duration, Instant};

pub const SLOTS: u64 = 16_384;
const MASTERS: usize = 3;

/// What a loaded machine may take to agree on something.
const AGREED: Duration = Duration::from_secs(90);

/// Any replica may take its master's place; the other masters go on meanwhile.
const OPTIONS: [&str; 8] = [
    "--cluster-replica-validity-factor",
    "0",
    "--cluster-require-full-coverage",
    "no",
    "--repl-diskless-sync-delay",
    "0",
    "--cluster-allow-replica-migration",
    "no",
];

/// Three masters; three replicas of theirs, in the same order; and one more that has no slot, and
/// is met with `meet_more`.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

/// Says one thing to a server.
pub fn tell<T: FromRedisValue>(connection: &mut Connection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut told = redis::cmd(words.next().unwrap());
    for word in words {
        told.arg(word);
    }
    told.query(connection).unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < AGREED, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Cluster {
    pub fn start(options: &[&str]) -> Self {
        let mut all = OPTIONS.to_vec();
        all.extend(options);
        let nodes: Vec<_> = (0..2 * MASTERS).map(|_| Server::start_for_cluster(&all)).collect();
        let cluster = Self { nodes };
        for node in 0..cluster.nodes.len() {
            tell::<()>(
                &mut cluster.client(node),
                &format!("CLUSTER SET-CONFIG-EPOCH {}", node + 1),
            );
            cluster.meet(node);
        }
        cluster.until_all_know_all();
        for master in 0..MASTERS {
            let (first, last) = (share(master), share(master + 1) - 1);
            tell::<()>(
                &mut cluster.client(master),
                &format!("CLUSTER ADDSLOTSRANGE {first} {last}"),
            );
            let replicate = format!("CLUSTER REPLICATE {}", cluster.id(master));
            tell::<()>(&mut cluster.client(MASTERS + master), &replicate);
        }
        cluster.until_whole();
        cluster
    }

    /// The first node meets another.
    fn meet(&self, node: usize) {
        let (port, bus) = (self.nodes[node].port(), self.bus(node));
        tell::<()>(&mut self.client(0), &format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
    }

    /// One more master, which has no slot.
    pub fn meet_more(&mut self) -> usize {
        self.nodes.push(Server::start_for_cluster(&OPTIONS));
        let node = self.nodes.len() - 1;
        self.meet(node);
        self.until_all_know_all();
        until("the new node takes no part", || {
            tell::<String>(&mut self.client(node), "CLUSTER INFO").contains("cluster_state:ok")
        });
        node
    }

    fn until_all_know_all(&self) {
        let all = self.nodes.len();
        until("the nodes do not meet", || {
            (0..all).all(|node| {
                let told: String = tell(&mut self.client(node), "CLUSTER NODES");
                told.lines().count() == all
                    && !told.contains("handshake")
                    && !told.contains("disconnected")
            })
        });
    }

    /// Every slot has a master, of which all know, and every replica has what it has.
    pub fn until_whole(&self) {
        until("the cluster does not come about", || {
            (0..self.nodes.len()).all(|node| {
                let mut client = self.client(node);
                let cluster: String = tell(&mut client, "CLUSTER INFO");
                let replication: String = tell(&mut client, "INFO replication");
                cluster.contains("cluster_state:ok")
                    && cluster.contains("cluster_slots_ok:16384")
                    && (replication.contains("role:master")
                        || replication.contains("master_link_status:up"))
            })
        });
        // And the masters know that they do.
        until("a replica is missing", || {
            let masters = (0..self.nodes.len()).filter(|&node| self.is_master_of_slots(node));
            let all = masters.map(|node| {
                let told: String = tell(&mut self.client(node), "INFO replication");
                told.contains("connected_slaves:1") && told.contains("state=online")
            });
            all.fold(0, |whole, online| whole + usize::from(online)) == MASTERS
        });
    }

    fn is_master_of_slots(&self, node: usize) -> bool {
        let told: String = tell(&mut self.client(node), "CLUSTER NODES");
        let own = told.lines().find(|line| line.contains("myself")).unwrap();
        own.contains("master") && own.split(' ').count() > 8
    }

    /// That of its first nodes.
    pub fn url(&self) -> String {
        let ports = self.nodes.iter().take(2).map(|node| format!("127.0.0.1:{}", node.port()));
        format!("redis-cluster://{}", ports.collect::<Vec<_>>().join(","))
    }

    pub fn client(&self, node: usize) -> Connection {
        self.nodes[node].client()
    }

    pub fn id(&self, node: usize) -> String {
        tell(&mut self.client(node), "CLUSTER MYID")
    }

    /// Grows with each election of a master.
    pub fn epoch(&self) -> u64 {
        let told: String = tell(&mut self.client(4), "CLUSTER INFO");
        let epoch = told.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
        epoch.unwrap().parse().unwrap()
    }

    fn bus(&self, node: usize) -> u16 {
        let told: Vec<String> = tell(&mut self.client(node), "CONFIG GET cluster-port");
        told[1].parse().unwrap()
    }

    pub fn slot(&self, key: &[u8]) -> u64 {
        redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query(&mut self.client(0)).unwrap()
    }

    /// Gives a slot to another master, with all that is in it, as `redis-cli --cluster reshard`
    /// does; and does something when the keys are there and the slot is not.
    pub fn migrate(&self, slot: u64, from: usize, to: usize, midway: impl FnOnce()) {
        let (mut source, mut target) = (self.client(from), self.client(to));
        let (source_id, target_id) = (self.id(from), self.id(to));
        tell::<()>(&mut target, &format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
        tell::<()>(&mut source, &format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
        loop {
            let keys: Vec<Vec<u8>> = tell(&mut source, &format!("CLUSTER GETKEYSINSLOT {slot} 10"));
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate
                .arg("127.0.0.1")
                .arg(self.nodes[to].port())
                .arg("")
                .arg(0)
                .arg(5_000)
                .arg("KEYS");
            migrate.arg(keys).query::<()>(&mut source).unwrap();
        }
        midway();
        // The new master first, so that the slot always has one.
        for client in [&mut target, &mut source] {
            tell::<()>(client, &format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
        }
    }
}

/// The first slot of a master.
fn share(master: usize) -> u64 {
    SLOTS * master as u64 / MASTERS as u64
}

/// Which of the first masters has a slot.
pub fn first_master(slot: u64) -> usize {
    (0..MASTERS).rposition(|master| share(master) <= slot).unwrap()
}
