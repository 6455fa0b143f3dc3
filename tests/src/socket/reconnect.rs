//! One socket, two connects.

use std::{io, net::SocketAddr};

use rustix::net::connect_unspec;

use super::{
    dial::{Dial, connect, ends, exchange},
    outcome::{named, say, shown},
    udp,
};

/// Options of `mesh-socket reconnect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the first connect goes
    first: SocketAddr,
    /// Where the second goes
    second: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// Connect to AF_UNSPEC in between
    #[arg(long)]
    unspec: bool,
    /// A UDP socket
    #[arg(long)]
    udp: bool,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let (first, second) = (args.dial.address(args.first), args.dial.address(args.second));
    let socket = if args.udp { args.dial.datagrams(args.first)? } else { args.dial.stream(args.first)? };
    let talk = |prefix: &str| {
        if args.udp {
            ends(&socket, prefix);
            udp::ask_connected(&socket, prefix);
        } else {
            exchange(&socket, prefix);
        }
    };
    if connect(&socket, first, "first") {
        talk("first.");
    }
    if args.unspec {
        say("unspec", named(&connect_unspec(&socket).map_err(io::Error::from)));
        say("unspec.peer", shown(socket.peer_addr()));
    }
    if connect(&socket, second, "second") {
        talk("second.");
    }
    Ok(())
}
