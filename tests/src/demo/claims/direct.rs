//! The two sockets are joined directly: no third one in between, and no process that could stop the bytes.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    demo::{
        Error,
        bed::Pod,
        evidence::Evidence,
        sockets::{self, Socket},
        stage::{FAMILIES, Held, NODE, Stage, TELLER},
    },
    testbed::Part,
};

const SERVICE: &str = "ledger.bank:9000";

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let agents = [stage.bed.agent(NODE, Part::Wire)?.as_raw(), stage.bed.agent(NODE, Part::Relay)?.as_raw()];
    let mut held = Vec::new();
    for (option, family) in FAMILIES {
        let vip = stage.vip("bank", "ledger", option)?;
        evidence.did(format_args!("{family}: {TELLER} holds a connection to {SERVICE} and exchanges bytes"));
        let connection = stage.hold(TELLER, SERVICE, option)?;
        evidence.check(
            connection.dialled.ip() == vip,
            format_args!("dialled {}, the Service's cluster address", connection.dialled),
        );
        joined(stage, evidence, &connection, &agents)?;
        held.push(connection);
    }

    evidence.did(format_args!("relay (pid {}) stopped with SIGSTOP", agents[1]));
    stage.signal_agent(NODE, Part::Relay, Signal::SIGSTOP)?;
    let outcome = while_stopped(stage, evidence, &mut held);
    stage.signal_agent(NODE, Part::Relay, Signal::SIGCONT)?;
    outcome
}

/// Shows that the client's socket has the server's as its peer, and the other way round.
fn joined(stage: &Stage, evidence: &mut Evidence, connection: &Held, agents: &[i32]) -> Result<(), Error> {
    let client_pod = stage.pod(TELLER)?;
    let find = |pod: &Pod, wanted: &dyn Fn(&Socket) -> bool| -> Result<Option<Socket>, Error> {
        Ok(sockets::established(stage, pod)?.into_iter().find(wanted))
    };
    let Some(client) = find(&client_pod, &|socket| socket.local == connection.client)? else {
        evidence.check(false, format_args!("no socket {} in {TELLER}", connection.client));
        return Ok(());
    };
    for server_pod in stage.bed.pods()?.iter().filter(|pod| pod.name.starts_with("ledger-")) {
        let Some(server) = find(server_pod, &|socket| socket.peer == client.local)? else { continue };
        evidence.saw(format_args!("client socket  {client}"));
        evidence.saw(format_args!("server socket  {server}, in bank/{}", server_pod.name));
        let mirrored =
            client.peer == server.local && client.local == server.peer && client.inode != server.inode;
        evidence.check(mirrored, "each one's peer is the other: one connection, two inodes, nothing between");
        let ours = |socket: &Socket| socket.process.starts_with("mesh-echo ");
        evidence.check(ours(&client) && ours(&server), "both are held by the applications themselves");
        let in_between = sockets::any_held_by(stage, &client_pod, agents)?
            || sockets::any_held_by(stage, server_pod, agents)?;
        evidence.check(
            !in_between,
            "neither pod's namespace has a TCP connection or a UDP socket of wire or relay",
        );
        return Ok(());
    }
    evidence.check(false, format_args!("no server has a socket with the peer {}", client.local));
    Ok(())
}

fn while_stopped(stage: &Stage, evidence: &mut Evidence, held: &mut [Held]) -> Result<(), Error> {
    // Hundreds of round trips of the open connections, none of which may be missing.
    std::thread::sleep(Duration::from_millis(300));
    let open = held.iter_mut().filter_map(|connection| connection.is_open().then_some(())).count();
    evidence.check(open == held.len(), format_args!("{open} of {} open connections go on", held.len()));
    for (option, family) in FAMILIES {
        let answer = stage.call(TELLER, SERVICE, option)?.answered()?;
        evidence.check(
            true,
            format_args!(
                "{family}: a new one connects in {:.2} ms and is answered by {}",
                answer.milliseconds, answer.host
            ),
        );
    }
    Ok(())
}
