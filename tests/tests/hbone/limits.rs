//! What a peer allows and what it fails to do: our client keeps to the one and gets over the other, and its
//! neighbours do not notice.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::{
    socket::Standing,
    trial::{Outcome, Trial, eventually},
};

use super::{SOON, call, cluster, dialled, issue, played};

/// How long relay waits for the answer to a request, 10 seconds, and what a slow machine adds.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// The same of a handshake, for which it waits 5 seconds.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(20);

/// A pod in which `mesh-hbone server` runs with these options; where it is called.
fn peer(name: &str, options: &str) -> Vec<SocketAddr> {
    let cluster = cluster();
    let credentials = issue(cluster, name, &format!("spiffe://cluster.local/ns/played/sa/{name}"));
    let shell = format!("exec mesh-hbone server {credentials} {options}");
    cluster.put(name, played(name, &shell));
    // It serves before it is called: none of what it does is a refusal.
    eventually(&format!("{name} serves"), SOON, || {
        super::seen(cluster, name).iter().any(|line| line["serving"].is_object()).then_some(())
    });
    // And `hb/client` knows that it is in the mesh.
    wait_known(cluster, name);
    dialled(cluster, name)
}

/// Waits until a connection to the pod goes, or tries to go, through the tunnel.
fn wait_known(cluster: &Trial, name: &str) {
    let told = || {
        let lines = super::seen(cluster, name);
        lines.iter().any(|line| line["serving"].is_null())
    };
    for to in dialled(cluster, name) {
        eventually(&format!("the tunnel to {to} is tried"), SOON, || {
            // Its answer is what the test is about.
            let _ = cluster.call("hb/client", "tcp", to, &["--timeout", "300"]);
            told().then_some(())
        });
    }
}

fn outbound(cluster: &Trial) -> f64 {
    cluster.metric("node-1", "mesh_tunnels_open", &[("direction", "outbound")])
}

/// So many connections at the same moment, each of which asks, is answered, and stays. They are of a pod that has
/// no tunnel yet, and so does not know the peer's limits.
fn at_once(cluster: &Trial, to: SocketAddr, count: usize) -> Vec<Standing> {
    let words = format!("crowd {to} --connections 1");
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..count).map(|_| scope.spawn(|| cluster.standing_socket("hb/fresh", &words))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client's thread")).collect()
    })
}

/// One tunnel a connection: as many connections as there are tunnels, and nobody waits for another to end.
#[test]
fn a_peer_that_takes_one_at_a_time_gets_a_connection_for_each() {
    let cluster = cluster();
    for to in peer("single", "--max-streams 1") {
        let start = Instant::now();
        let clients = at_once(cluster, to, 4);
        let took = start.elapsed();
        println!("4 at once to {to}, one a tunnel: {took:?}");
        for client in &clients {
            assert_eq!(client.said.number("open"), 1, "{to}: {}", client.said.text());
        }
        // Who waits for a place waits for 10 seconds.
        assert!(took < Duration::from_secs(9), "{to}: {took:?}");
        let alive: u64 = clients.into_iter().map(|client| client.finish().number("alive")).sum();
        assert_eq!(alive, 4, "{to}: all of them work to the end");
    }
}

/// A peer that allows nothing: a reset in time, and not one tunnel after another.
#[test]
fn a_peer_that_takes_none_is_a_reset_in_time() {
    let cluster = cluster();
    let ways = peer("none", "--max-streams 0");
    let before = outbound(cluster);
    for to in ways {
        let (failed, took) = refused(cluster, "hb/fresh", to, ANSWER_WITHIN);
        println!("{to} takes none: {failed} after {took:?}");
        let open = outbound(cluster);
        assert!(open <= before + 8.0, "{before} tunnels before, {open} now");
    }
}

/// A window of one byte: it takes its time, and every byte arrives.
#[test]
fn a_peer_with_a_window_of_one_byte_gets_them_one_by_one() {
    let cluster = cluster();
    let text: String = (0..3_000_u32).map(|number| char::from(b'a' + (number * 7 % 26) as u8)).collect();
    let ways = peer("narrow", "--window 1");
    thread::scope(|scope| {
        for to in &ways {
            let text = &text;
            scope.spawn(move || {
                let start = Instant::now();
                let outcome = cluster.call("hb/client", "tcp", to, &["--send", text, "--timeout", "60000"]);
                assert_eq!(outcome.answer().text, *text, "{to}");
                println!("3 kB there and back through a window of one byte: {:?}", start.elapsed());
            });
        }
    });
}

/// A peer that never answers, and one that does not even shake hands: each is a reset in time with a reason of its
/// own, and calls to others go on meanwhile.
#[test]
fn a_peer_that_does_not_answer_is_a_reset_in_time_and_holds_up_nobody() {
    let cluster = cluster();
    let kind = peer("kind", "");
    for to in &kind {
        call(cluster, *to, "hello");
    }
    let bad = [
        ("mute", "--mute", ANSWER_WITHIN, &["PeerFailed"][..]),
        ("still", "--hold-handshake", HANDSHAKE_WITHIN, &["TlsFailed", "TunnelTimedOut"][..]),
    ];
    let ways = bad.map(|(name, options, within, reasons)| (name, peer(name, options), within, reasons));
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (name, ways, within, reasons) in &ways {
            for to in ways {
                let call = move || (name, to, reasons, refused(cluster, "hb/client", *to, *within));
                threads.push(scope.spawn(call));
            }
        }
        let (mut calls, mut slowest) = (0, Duration::ZERO);
        while threads.iter().any(|thread| !thread.is_finished()) {
            for to in &kind {
                let start = Instant::now();
                let words = ["--send", "hello", "--timeout", "20000"];
                let outcome = cluster.call("hb/client", "tcp", to, &words);
                slowest = slowest.max(start.elapsed());
                assert_eq!(outcome.answer().text, "hello", "{to}");
                calls += 1;
            }
        }
        println!("beside them: {calls} calls, the slowest took {slowest:?}");
        // Whoever is held up is so until the others have had their reset, after 5 or 10 seconds.
        assert!(calls >= 10 && slowest < Duration::from_secs(4), "{calls} calls, {slowest:?}");
        for thread in threads {
            let (name, to, reasons, (failed, took)) = thread.join().expect("a client's thread");
            println!("{to} is {name}: {failed} after {took:?}");
            is_logged(cluster, to, reasons);
        }
    });
}

/// A call that must be reset, within this time; the errno and how long it took.
fn refused(cluster: &Trial, from: &str, to: SocketAddr, within: Duration) -> (String, Duration) {
    let patience = (within + Duration::from_secs(10)).as_millis().to_string();
    match cluster.call(from, "tcp", to, &["--timeout", &patience]) {
        Outcome::Answered(answer) => panic!("{to}: {answer:?}"),
        Outcome::Failed(failed) => {
            assert!(["ECONNRESET", "EPIPE", "ENOTCONN"].contains(&failed.errno.as_str()), "{to}: {failed:?}");
            assert!(failed.after < within, "{to}: {failed:?}");
            (failed.errno, failed.after)
        }
    }
}

/// Waits for a line with one of these reasons about a connection to there.
fn is_logged(cluster: &Trial, to: &SocketAddr, reasons: &[&str]) {
    let (place, mut last) = (format!("\"{to}\""), String::new());
    eventually(&format!("the log says one of {reasons:?} about {to}"), SOON, || {
        let log = cluster.access_log();
        let mut lines = log.iter().map(|(_, line)| line).filter(|line| line.contains(&place));
        let found = lines.find(|line| reasons.iter().any(|reason| line.contains(reason)));
        last = found.cloned().unwrap_or_default();
        found.map(drop)
    });
    println!("{last}");
}
