//! An authority of several processes: what the next one knows of what the one before it did.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use super::{Stage, csr, peer};
use crate::ca::{Authority, Keep, KeepError, Peer, Phase};

const HOUR: u64 = 3600;

/// A text in memory, which several find.
#[derive(Debug, Default)]
struct Memory {
    text: Mutex<Option<String>>,
    /// Why it cannot be written.
    broken: Mutex<Option<&'static str>>,
    /// A write says that it has begun, and waits.
    stops: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Keep for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn load(&self) -> Result<Option<String>, KeepError> {
        Ok(self.text.lock().unwrap().clone())
    }

    fn save(&self, text: &str) -> Result<(), KeepError> {
        if let Some((begun, go_on)) = self.stops.lock().unwrap().take() {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        if let Some(why) = *self.broken.lock().unwrap() {
            return Err(KeepError::Elsewhere { place: self.place(), action: "written", why: why.to_owned() });
        }
        *self.text.lock().unwrap() = Some(text.to_owned());
        Ok(())
    }
}

impl Stage {
    /// The same in another process.
    fn taken_over(mut self, keep: &Arc<Memory>) -> Self {
        let directories = self.authority.directories.clone();
        self.authority = Authority::stand_by(directories, self.placements.clone(), keep.clone()).unwrap();
        self.streams = super::Streams::default();
        let idle = self.authority.report(self.now);
        assert!(idle.problem.unwrap().contains("stands by") && self.authority.rotate(self.now).is_err());
        self.authority.take_over(self.now).unwrap();
        self.step(0);
        assert_eq!(self.authority.report(self.now).problem, None);
        self
    }
}

/// Two nodes that have joined, each with its pod's certificate.
fn stage(keep: &Arc<Memory>) -> (Stage, Peer, Peer) {
    let mut stage = Stage::new().taken_over(keep);
    let (n1, n2) = (connect(&mut stage, "n1"), connect(&mut stage, "n2"));
    stage.issue(&n1, "u-a").unwrap();
    stage.issue(&n2, "u-b").unwrap();
    (stage, n1, n2)
}

fn connect(stage: &mut Stage, node: &str) -> Peer {
    stage.streams.connected.insert(node.to_owned());
    stage.join(node)
}

fn phase(stage: &Stage) -> Phase {
    stage.authority.report(stage.now).phase
}

fn renew(stage: &Stage, node: &Peer) -> Peer {
    peer(&stage.authority.renew(node, &csr(), stage.now).unwrap())
}

#[test]
fn the_next_signs_with_the_same_root_and_knows_nodes_and_removed_ones() {
    let keep = Arc::default();
    let (mut stage, n1, n2) = stage(&keep);
    stage.demand.nodes.remove("n2");
    stage.step(0);
    stage.step(5);
    let before = stage.trust().bundle().clone();
    let mut stage = stage.taken_over(&keep);
    assert_eq!(*stage.trust().bundle(), before);
    assert!(stage.trust().admit(&n1, stage.now).is_ok() && stage.trust().admit(&n2, stage.now).is_err());
    renew(&stage, &n1);
    // A node that goes now may have certificates that this one knows nothing of.
    stage.demand.settings.workload_ttl = Duration::from_secs(60);
    stage.step(1);
    stage.demand.nodes.remove("n1");
    stage.step(1);
    stage.step(23 * HOUR);
    assert!(stage.trust().bundle().revoked.contains(&n1.tag.bytes().to_vec()));
    stage.step(2 * HOUR);
    assert!(stage.trust().bundle().revoked.is_empty());
    let files: Vec<_> = std::fs::read_dir(stage.directory.path().join("ca")).unwrap().collect();
    let begun_in_a_directory = 5;
    assert_eq!(files.len(), begun_in_a_directory, "no key of it is in a file: {files:?}");
}

#[test]
fn while_the_new_root_is_told_the_next_waits_for_the_nodes_to_come() {
    let keep = Arc::default();
    let (mut stage, ..) = stage(&keep);
    stage.streams.unaware = 2;
    stage.rotate();
    let mut stage = stage.taken_over(&keep);
    // Nobody is connected, and so nobody unaware.
    stage.step(30);
    assert_eq!(phase(&stage), Phase::Distributing);
    assert_eq!(stage.authority.report(stage.now).waiting_for, ["2 nodes that are not connected"]);
    stage.step(30);
    assert_eq!(phase(&stage), Phase::Reissuing);
}

#[test]
fn while_certificates_are_issued_anew_the_next_goes_by_what_is_in_use() {
    let keep = Arc::default();
    let (mut stage, n1, n2) = stage(&keep);
    stage.rotate();
    stage.step(1);
    assert_eq!(phase(&stage), Phase::Reissuing);
    renew(&stage, &n1);
    let mut stage = stage.taken_over(&keep);
    stage.step(600);
    assert_eq!(phase(&stage), Phase::Reissuing);
    // Two nodes' own and two pods': it is not known which of them are of the new root.
    assert_eq!(stage.authority.report(stage.now).waiting_for, ["4 certificates of the old root"]);
    let (n1, n2) = (renew(&stage, &n1), renew(&stage, &n2));
    stage.issue(&n1, "u-a").unwrap();
    stage.step(600);
    assert_eq!(stage.authority.report(stage.now).waiting_for, ["1 certificates of the old root"]);
    stage.issue(&n2, "u-b").unwrap();
    assert!(stage.until_stable() <= 12);
}

#[test]
fn what_nobody_asks_for_again_holds_the_old_root_until_it_must_have_expired() {
    let keep = Arc::default();
    let (mut stage, ..) = stage(&keep);
    stage.rotate();
    stage.step(1);
    stage.demand.settings.workload_ttl = Duration::from_secs(HOUR);
    stage.step(1);
    let mut stage = stage.taken_over(&keep).taken_over(&keep);
    let took = stage.until_stable();
    assert!((23 * HOUR..25 * HOUR).contains(&took), "{took}");
}

#[test]
fn what_cannot_be_kept_is_not_in_force_and_stops_nothing_that_was() {
    let keep: Arc<Memory> = Arc::default();
    let (mut stage, n1, _) = stage(&keep);
    let before = stage.trust().bundle().clone();
    *keep.broken.lock().unwrap() = Some("the API server does not answer");
    assert!(stage.authority.rotate(stage.now).is_err());
    stage.demand.nodes.remove("n2");
    stage.step(0);
    stage.step(5);
    let problem = stage.authority.report(stage.now).problem.unwrap();
    assert!(problem.contains("memory cannot be written: the API server does not answer"), "{problem}");
    assert_eq!(*stage.trust().bundle(), before, "as it is written down");
    renew(&stage, &n1);
    // The controller's own certificate is renewed all the same.
    let shown = stage.trust().server();
    stage.step(13 * HOUR);
    assert!(!Arc::ptr_eq(&shown, &stage.trust().server()));
    *keep.broken.lock().unwrap() = None;
    stage.step(1);
    assert_eq!(stage.authority.report(stage.now).problem, None);
    assert_eq!(stage.trust().bundle().revoked.len(), 1);
}

#[test]
fn what_somebody_took_away_is_written_again() {
    let keep: Arc<Memory> = Arc::default();
    let (mut stage, ..) = stage(&keep);
    let before = keep.text.lock().unwrap().take();
    stage.step(100);
    assert_eq!(*keep.text.lock().unwrap(), None);
    stage.step(200);
    assert_eq!(*keep.text.lock().unwrap(), before);
    *keep.broken.lock().unwrap() = Some("the API server does not answer");
    stage.step(200);
    assert_eq!(stage.authority.report(stage.now).problem, None, "it is not due");
    stage.step(100);
    assert!(stage.authority.report(stage.now).problem.is_some());
    *keep.broken.lock().unwrap() = None;
    stage.step(1);
    assert_eq!(stage.authority.report(stage.now).problem, None);
}

#[test]
fn while_a_step_is_written_down_certificates_are_signed() {
    let keep: Arc<Memory> = Arc::default();
    let (stage, n1, _) = stage(&keep);
    let (begun, has_begun) = channel();
    let (go_on, goes_on) = channel();
    *keep.stops.lock().unwrap() = Some((begun, goes_on));
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| stage.authority.rotate(stage.now));
        has_begun.recv().unwrap();
        renew(&stage, &n1);
        assert_eq!(phase(&stage), Phase::Stable);
        go_on.send(()).unwrap();
        rotating.join().unwrap().unwrap();
    });
    assert_eq!(phase(&stage), Phase::Distributing);
}
