//! SEMANTICS 9.4: what was issued to a node that has been removed is refused within 10 seconds, everywhere.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::trial::{eventually, played};

use super::{
    SOON,
    agent::{Agent, Controller, JoinFile},
    cluster, dial, is_reset,
    joining::newcomer,
    servers as servers_of,
    servers::is_tunnelled,
    told::{Before, Case, Mark},
};

/// A node of its own for this test: it has no agent, and the test is its thief.
const STOLEN: &str =
    "{apiVersion: v1, kind: Node, metadata: {name: stolen, labels: {testbed.mesh.internal/agent: absent}}}\n";

/// How soon, where the machine has time for it.
const WITHIN: Duration = Duration::from_secs(10);

/// Whether more is waiting for a processor than there are: then nothing can be said of how long something takes.
fn is_busy() -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split_whitespace().next().unwrap().parse().unwrap();
    load > 2.0 * thread::available_parallelism().unwrap().get() as f64
}

/// The file that lets go of what waits for it, also where the test fails.
struct Release<'a>(&'a Path);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(self.0, "") {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

#[test]
fn certificates_of_a_removed_node_are_refused_within_10_seconds() {
    let cluster = cluster();
    let pod = played("stolen", "exec sleep infinity").replace("nodeName: node-3", "nodeName: stolen");
    cluster.put("stolen", format!("{STOLEN}---\n{pod}"));
    let path = cluster.bed().layout().join_file("stolen");
    eventually("the new node may join", SOON, || path.exists().then_some(()));
    let join = JoinFile::read(&path);
    let papers = cluster.papers();
    let node = newcomer(&cluster, &join).join(&join, "stolen", &papers, "thief").unwrap();
    let agent = Agent::connect(&Controller::of(cluster.trial.bed()), &node);
    let uid = cluster.pod("played/stolen").uid;
    eventually("the controller knows the pod", SOON, || agent.issue(&uid, &join.roots, &papers, "loot").ok());
    let words = cluster.words("loot");
    let servers = servers_of(&cluster);
    for server in &servers {
        assert_eq!(cluster.tunnel(*server, &words)["status"], 200, "before, it is good");
    }
    // A pod of the same identity, elsewhere, that shows the same certificate to whoever dials it.
    let receiver = played("receiver", &format!("exec mesh-hbone server {words}"))
        .replace("serviceAccountName: receiver", "serviceAccountName: stolen");
    cluster.put("receiver", receiver);
    let shown: Vec<SocketAddr> = cluster.resolve("played/receiver:8080");
    let call = |to: &SocketAddr| {
        cluster.call("id/client", "tcp", to, &["--timeout", super::PATIENT, "--send", "hello"])
    };
    for to in &shown {
        is_tunnelled(&cluster, *to);
        assert_eq!(call(to).answer().text, "hello", "before, it is good");
    }

    // Those that are open when it happens end as well.
    let until = papers.join("never");
    let at_servers = Mark::now(&cluster);
    let here = Before::now(&cluster, Case::source("CertificateRevoked"));
    let there = Before::now(&cluster, Case::destination("id/server", "CertificateRevoked"));
    let held_by_us: Vec<_> =
        shown.iter().map(|to| cluster.hold("id/client", to, Duration::from_millis(50))).collect();
    let ended = thread::scope(|scope| {
        let release = Release(&until);
        let (trial, cluster, words, until) = (cluster.trial, &cluster, &words, &until);
        let held: Vec<_> = servers
            .iter()
            .map(|server| {
                let line = format!("mesh-hbone {} --until {}", dial(*server, words), until.display());
                let mut command = trial.command("id/outside", &line.split_whitespace().collect::<Vec<_>>());
                let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
                let mut output = BufReader::new(child.stdout.take().unwrap());
                let mut said = String::new();
                output.read_line(&mut said).unwrap();
                assert!(said.contains("holding"), "it is open before: {said}");
                scope.spawn(move || {
                    output.read_to_string(&mut said).unwrap();
                    child.wait().unwrap();
                    said
                })
            })
            .collect();
        held_by_us.iter().for_each(mesh_tests::trial::Held::is_open);
        cluster.remove("stolen");
        let start = Instant::now();
        for server in &servers {
            eventually("its certificates are refused", SOON, || {
                cluster.tunnel(*server, words)["status"].is_null().then_some(())
            });
        }
        println!("servers refuse its certificates after {:?}", start.elapsed());
        for to in &shown {
            eventually("its certificates are not believed", SOON, || {
                matches!(call(to), mesh_tests::trial::Outcome::Failed(_)).then_some(())
            });
        }
        println!("clients do not believe them after {:?}", start.elapsed());
        while !held.iter().all(thread::ScopedJoinHandle::is_finished) && start.elapsed() < SOON {
            thread::sleep(Duration::from_millis(20));
        }
        for held in &held_by_us {
            let end = held.end(SOON.saturating_sub(start.elapsed()));
            assert!(end.is_some(), "a connection to a revoked server is still open");
        }
        let took = start.elapsed();
        println!("certificates of a removed node are refused, and their tunnels ended, after {took:?}");
        assert!(took < WITHIN || (is_busy() && took < SOON * 2), "refused everywhere after {took:?}");
        drop(release);
        held.into_iter().map(|held| held.join().unwrap()).collect::<Vec<_>>()
    });
    for ended in ended {
        assert!(ended.contains("held: "), "the open tunnel was ended: {ended}");
    }
    for server in &servers {
        let is_it = |line: &super::told::Line| {
            line.text("/reason") == "CertificateRevoked"
                && line.ip("/destination/address") == Some(*server)
                && !line.text("/ended").is_empty()
        };
        at_servers.wait(&cluster, "that the open tunnel was ended by the revocation", is_it);
    }
    let outside = cluster.pod("id/outside").addresses;
    there.is_told_in(|line| line.ip("/source/address").is_some_and(|ip| outside.contains(&ip)));
    for to in &shown {
        is_reset("a server with a revoked certificate", &call(to));
        here.is_told(to.ip());
    }
    assert!(agent.issue(&uid, &join.roots, &papers, "more").is_err(), "nor does it get another");
    cluster.remove("receiver");
    std::fs::remove_file(until).unwrap();
}
