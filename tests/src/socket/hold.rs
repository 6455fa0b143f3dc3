//! One connection that has moved bytes and stays open, and what became of it.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
};

use super::{
    dial::{Dial, connect, exchange, read_line, send_all},
    outcome::{errno, say},
};

/// Options of `mesh-socket hold`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// Send this many bytes before the wait
    #[arg(long, default_value_t = 0)]
    bytes: usize,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    if !connect(&socket, args.dial.address(args.to), "connect") {
        return Ok(());
    }
    exchange(&socket, "");
    send_all(&socket, format!("COUNT hold-{}\n", std::process::id()).as_bytes())?;
    read_line(&socket)?;
    send_all(&socket, &vec![b'x'; args.bytes])?;
    say("holding", true);
    io::stdin().read_to_end(&mut Vec::new())?;
    // A byte more would be counted at the other end.
    say("so_error", socket.take_error()?.as_ref().map_or_else(|| "0".to_owned(), errno));
    Ok(())
}
