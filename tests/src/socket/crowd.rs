//! Many connections of one process, all open at once.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    net::SocketAddr,
};

use socket2::Socket;

use super::{
    dial::{Dial, read_line, send_all},
    outcome::{errno, say},
};

/// Options of `mesh-socket crowd`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to: an echo server
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// How many
    #[arg(long)]
    connections: usize,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let mut open = Vec::with_capacity(args.connections);
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..args.connections {
        match one(args) {
            Ok(socket) => open.push(socket),
            Err(error) => *failed.entry(errno(&error)).or_default() += 1,
        }
    }
    say("open", open.len());
    for (error, count) in failed {
        say(format_args!("failed.{error}"), count);
    }
    let wrong = open.iter().filter(|socket| peer(socket) != Some(args.to)).count();
    say("wrong_peer", wrong);
    say("holding", true);
    io::stdin().read_to_end(&mut Vec::new())?;
    say("alive", open.iter().filter(|socket| round_trip(socket).is_ok()).count());
    Ok(())
}

fn one(args: &Args) -> io::Result<Socket> {
    let socket = args.dial.stream(args.to)?;
    socket.connect(&args.dial.address(args.to).into())?;
    round_trip(&socket)?;
    Ok(socket)
}

fn peer(socket: &Socket) -> Option<SocketAddr> {
    socket.peer_addr().ok()?.as_socket().map(super::outcome::canonical)
}

fn round_trip(socket: &Socket) -> io::Result<()> {
    send_all(socket, b"x\n")?;
    read_line(socket).map(|_| ())
}
