//! Round trips of one small message, and how long the slowest of them took.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    dial::{Dial, connect, read_line, send_all},
    outcome::{errno, say},
};

/// Options of `mesh-socket pace`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to: an echo server
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// How many
    #[arg(long, default_value_t = 2000)]
    rounds: usize,
    /// Pause between two, in microseconds
    #[arg(long, default_value_t = 0)]
    pause: u64,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    socket.set_tcp_nodelay(true)?;
    if !connect(&socket, args.dial.address(args.to), "connect") {
        return Ok(());
    }
    let mut took = Vec::with_capacity(args.rounds);
    for _ in 0..args.rounds {
        let start = Instant::now();
        if let Err(error) = send_all(&socket, b"x\n").and_then(|()| read_line(&socket)) {
            say("failed", errno(&error));
            break;
        }
        took.push(start.elapsed());
        thread::sleep(Duration::from_micros(args.pause));
    }
    took.sort_unstable();
    say("rounds", took.len());
    for (name, share) in [("p50", 50), ("p99", 99), ("worst", 100)] {
        let at = (took.len() * share / 100).min(took.len().saturating_sub(1));
        say(format_args!("{name}.micros"), took.get(at).map_or(0, Duration::as_micros));
    }
    Ok(())
}
