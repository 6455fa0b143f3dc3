//! TCP sockets of a pod's namespace as `ss` shows them: addresses, inode and the process that holds them.

use std::{fmt, net::SocketAddr, process::Command};

use super::{Error, bed::Pod, stage::Stage};
use crate::tool;

/// One established TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    /// Its own address.
    pub(super) local: SocketAddr,
    /// Its peer's.
    pub(super) peer: SocketAddr,
    /// Its inode: two sockets never share one.
    pub(super) inode: u64,
    /// Name and pid of the process that holds it.
    pub(super) process: String,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ESTAB {} -> {} inode {} {}", self.local, self.peer, self.inode, self.process)
    }
}

/// The established TCP sockets in a pod's namespace.
pub(super) fn established(stage: &Stage, pod: &Pod) -> Result<Vec<Socket>, Error> {
    Ok(show(stage, pod, &["-tnepH", "state", "established"])?.lines().filter_map(parse).collect())
}

/// Whether one of these processes holds a TCP connection, in any state, or a UDP socket in a pod's namespace. Listeners
/// it has in every pod: those of the tunnel.
pub(super) fn any_held_by(stage: &Stage, pod: &Pod, processes: &[i32]) -> Result<bool, Error> {
    let all = show(stage, pod, &["-tnpH", "state", "connected"])? + &show(stage, pod, &["-uanpH"])?;
    Ok(processes.iter().any(|pid| all.contains(&format!("pid={pid},"))))
}

fn show(stage: &Stage, pod: &Pod, arguments: &[&str]) -> Result<String, Error> {
    let netns = stage.bed.netns(pod)?;
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg("ss").args(arguments);
    tool::run(command, "").map_err(|error| Error::Testbed(error.into()))
}

/// `0 0 10.0.0.2:40000 10.0.0.3:7000 users:(("mesh-echo",pid=7,fd=3)) ino:123 sk:4 ...`, the state left out by `ss`
/// when it was asked for.
fn parse(line: &str) -> Option<Socket> {
    let mut addresses =
        line.split_whitespace().filter_map(|word| word.parse::<SocketAddr>().ok()).map(canonical);
    let (local, peer) = (addresses.next()?, addresses.next()?);
    let inode = line.split_whitespace().find_map(|word| word.strip_prefix("ino:"))?.parse().ok()?;
    let process = line.split_once("users:((").map_or("held by no process", |(_, rest)| rest);
    let process = process
        .split_once(",fd=")
        .map_or(process, |(process, _)| process)
        .replace("\",", " ")
        .replace('"', "");
    Some(Socket { local, peer, inode, process })
}

/// A v4-mapped address as the IPv4 address it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ss_is_read() {
        let line = "0      0      [::ffff:10.0.0.3]:7000 [::ffff:10.0.0.2]:40000 \
                    users:((\"mesh-echo\",pid=7,fd=11)) ino:4711 sk:1001 cgroup:/x <->";
        let socket = parse(line).unwrap();
        assert_eq!(socket.to_string(), "ESTAB 10.0.0.3:7000 -> 10.0.0.2:40000 inode 4711 mesh-echo pid=7");
        assert_eq!(parse("0 0 [fd00::3]:7000 [fd00::2]:1 ino:1 sk:2").unwrap().process, "held by no process");
    }
}
