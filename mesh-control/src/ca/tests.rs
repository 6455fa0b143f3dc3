//! The authority, driven step by step with a clock of the test's own.

pub(crate) mod account;
mod authority;
mod given;
mod issuing;
mod rotation;
mod takeover;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rcgen::{CertificateParams, KeyPair, SanType};
use tempfile::TempDir;

use super::{
    Authority, Demand, Directories, JoinFile, Peer, Placement, Placements, Timestamp, Trust,
    authority::Streams,
    issuing::{IssueError, Signed},
};
use crate::objects::ObjectName;

/// An authority with two nodes, and a pod on each.
pub(super) struct Stage {
    pub(super) directory: TempDir,
    pub(super) authority: Authority,
    pub(super) placements: Arc<Placements>,
    pub(super) demand: Demand,
    pub(super) streams: Streams,
    pub(super) now: Timestamp,
}

impl Stage {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let placements: Arc<Placements> = Arc::default();
        // The clock of the certificates' verifiers is the real one.
        let now = Timestamp::now();
        let authority = open(&directory, &placements, now);
        let mut stage = Self {
            directory,
            authority,
            placements,
            demand: Demand {
                trust_domain: "cluster.local".to_owned(),
                nodes: ["n1", "n2"].map(ToOwned::to_owned).into(),
                ..Demand::default()
            },
            streams: Streams::default(),
            now,
        };
        stage.place("a", "n1", "web", true, false);
        stage.place("b", "n2", "api", true, false);
        stage.step(0);
        stage
    }

    /// The same after a restart of the controller.
    pub(super) fn restarted(mut self) -> Self {
        self.authority = open(&self.directory, &self.placements, self.now);
        self.step(0);
        self
    }

    /// The same where nodes join by their agents' ServiceAccount.
    pub(super) fn by_accounts(mut self, agents: super::Agents) -> Self {
        self.authority = open(&self.directory, &self.placements, self.now).with_agents(agents);
        self.step(0);
        self
    }

    pub(super) fn place(&self, name: &str, node: &str, account: &str, enrolled: bool, ended: bool) {
        let placement = Placement {
            uid: format!("u-{name}"),
            node: node.to_owned(),
            service_account: account.to_owned(),
            enrolled,
            ended,
        };
        self.placements.update([(ObjectName::new("shop", name), Some(placement))]);
    }

    /// Begins the replacement of the root; everybody is told of it.
    pub(super) fn rotate(&mut self) {
        self.authority.rotate(self.now).unwrap();
        self.step(0);
        assert_eq!(self.authority.report(self.now).phase, super::Phase::Distributing);
    }

    /// A step, so many seconds later.
    pub(super) fn step(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.authority.step(&self.demand, &self.streams, self.now);
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        self.authority.trust().borrow().clone().expect("an authority")
    }

    pub(super) fn join_file(&self, node: &str) -> JoinFile {
        let text = std::fs::read_to_string(self.directory.path().join("join").join(node)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub(super) fn has_join_file(&self, node: &str) -> bool {
        self.directory.path().join("join").join(node).exists()
    }

    pub(super) fn join(&self, node: &str) -> Peer {
        let token = self.join_file(node).token;
        let signed = self.authority.join(node, &token, &csr(), self.now).unwrap();
        peer(&signed)
    }

    pub(super) fn issue(&self, peer: &Peer, uid: &str) -> Result<Signed, IssueError> {
        self.authority.issue(peer, uid, &csr(), self.now)
    }

    /// Runs the replacement of a root until it is done; how many seconds that took.
    pub(super) fn until_stable(&mut self) -> u64 {
        for second in 0..200_000 {
            if self.authority.report(self.now).phase == super::Phase::Stable {
                return second;
            }
            self.step(1);
        }
        panic!("{:?}", self.authority.report(self.now));
    }
}

fn open(directory: &TempDir, placements: &Arc<Placements>, now: Timestamp) -> Authority {
    let directories = Directories {
        authority: directory.path().join("ca"),
        join: directory.path().join("join"),
        agent_uid: None,
        join_ttl: Duration::from_secs(3600),
    };
    Authority::open(directories, placements.clone(), now).unwrap()
}

pub(super) fn peer(signed: &Signed) -> Peer {
    Peer::of(&signed.chain[0]).unwrap()
}

/// A request as an agent makes it.
pub(super) fn csr() -> Vec<u8> {
    csr_of(&KeyPair::generate().unwrap(), &[])
}

/// A request that asks for names as well.
pub(super) fn csr_of(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    params.serialize_request(key).unwrap().der().to_vec()
}

/// The three texts of a given authority.
pub(super) fn texts(chain: &str, key: &str, roots: &str) -> BTreeMap<String, String> {
    let pairs = [("tls.crt", chain), ("tls.key", key), ("ca.crt", roots)];
    let given = pairs.into_iter().filter(|(_, text)| !text.is_empty());
    given.map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}
