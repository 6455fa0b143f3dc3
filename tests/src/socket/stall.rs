//! A client that asks for many bytes and reads none of them.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    thread,
    time::Duration,
};

use super::{
    dial::{Dial, connect, send_all},
    outcome::say,
};

/// What buffers take to fill.
const FILL: Duration = Duration::from_millis(300);

/// Options of `mesh-socket stall`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// How many bytes the server shall send
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    if connect(&socket, args.dial.address(args.to), "connect") {
        send_all(&socket, format!("GIVE {} 3\n", args.bytes).as_bytes())?;
    }
    thread::sleep(FILL);
    say("holding", true);
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
