//! TCP Fast Open (RFC 7413): data in the SYN, by both of Linux's ways.

use std::{io, net::SocketAddr};

use nix::sys::socket::{setsockopt, sockopt::TcpFastOpenConnect};

use super::{
    dial::{Dial, answer, connect, ends, send_all},
    outcome::{named, say},
    proc,
};

/// `MSG_FASTOPEN` of `include/linux/socket.h`.
const MSG_FASTOPEN: i32 = 0x2000_0000;

/// Options of `mesh-socket fastopen`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// Which way
    #[arg(long, value_enum)]
    by: Way,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Way {
    /// `sendto` with MSG_FASTOPEN instead of `connect`
    Message,
    /// The option TCP_FASTOPEN_CONNECT, which defers `connect` to the first write
    Connect,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    // The first connection fetches the cookie that the second needs.
    for round in ["first", "second"] {
        let before = proc::counter("TCPFastOpenActive")?;
        let socket = args.dial.stream(args.to)?;
        let to = args.dial.address(args.to);
        let sent = match args.by {
            Way::Message => socket.send_to_with_flags(b"WHO\n", &to.into(), MSG_FASTOPEN).map(|_| ()),
            Way::Connect => {
                setsockopt(&socket, TcpFastOpenConnect, &true)?;
                connect(&socket, to, &format!("{round}.connect"));
                send_all(&socket, b"WHO\n")
            }
        };
        say(round, named(&sent));
        if sent.is_ok() {
            answer(&socket, &format!("{round}."));
            ends(&socket, &format!("{round}."));
        }
        say(format_args!("{round}.in_syn"), proc::counter("TCPFastOpenActive")? - before);
    }
    Ok(())
}
