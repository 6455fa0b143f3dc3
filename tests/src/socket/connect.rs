//! A connect, blocking or not.

use std::{io, net::SocketAddr, time::Duration};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use super::{
    dial::{Dial, connect, exchange},
    outcome::{errno, named, say},
};

/// Options of `mesh-socket connect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// Do not wait in connect, but for the socket to be writable
    #[arg(long)]
    nonblocking: bool,
    /// The server speaks first
    #[arg(long)]
    greeted: bool,
    /// How many connections, one after another
    #[arg(long, default_value_t = 1)]
    count: u32,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    for _ in 0..args.count {
        one(args)?;
    }
    Ok(())
}

fn one(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    let to = args.dial.address(args.to);
    let connected =
        if args.nonblocking { without_waiting(&socket, to)? } else { connect(&socket, to, "connect") };
    if connected && args.greeted {
        // Nothing is sent before the greeting is there.
        match super::dial::read_line(&socket) {
            Ok(line) => say("greeting", line),
            Err(error) => say("greeting", errno(&error)),
        }
    }
    if connected {
        exchange(&socket, "");
    }
    Ok(())
}

fn without_waiting(socket: &Socket, to: SocketAddr) -> io::Result<bool> {
    socket.set_nonblocking(true)?;
    let begun = socket.connect(&to.into());
    say("connect", named(&begun));
    if !matches!(&begun, Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32)) {
        return Ok(begun.is_ok());
    }
    let mut interest = [PollFd::new(socket, PollFlags::OUT)];
    let limit = Timespec::try_from(Duration::from_secs(30)).map_err(io::Error::other)?;
    say("events", poll(&mut interest, Some(&limit))?);
    say("writable", interest[0].revents().contains(PollFlags::OUT));
    let error = socket.take_error()?;
    say("so_error", error.as_ref().map_or_else(|| "0".to_owned(), errno));
    socket.set_nonblocking(false)?;
    Ok(error.is_none())
}
