//! `mesh-forge dial`: ordinary sockets, from a chosen source address or to many destinations, until the time is up; what
//! came of each attempt is tallied by its errno.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

use super::Failure;

/// Options of `mesh-forge dial`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to; may be repeated, all are tried in turn
    #[arg(required = true)]
    destination: Vec<SocketAddr>,
    /// UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// From this address, and port if it is not 0
    #[arg(long, value_name = "ADDRESS:PORT")]
    source: Option<SocketAddr>,
    /// Longest wait for the connection or the answer, in milliseconds
    #[arg(long, default_value_t = 500, value_name = "MS")]
    timeout: u64,
    /// Go on for this long, in milliseconds; by default one round
    #[arg(long = "for", default_value_t = 0, value_name = "MS")]
    duration: u64,
    /// Pause between two rounds, in milliseconds
    #[arg(long, default_value_t = 5, value_name = "MS")]
    pause: u64,
    /// Say how it stands after every round
    #[arg(long)]
    verbose: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_millis(args.duration);
    let mut tally = BTreeMap::<String, u64>::new();
    loop {
        for destination in &args.destination {
            let outcome = attempt(args, *destination);
            *tally.entry(outcome.map_or_else(|error| name(&error), |()| "ok".to_owned())).or_default() += 1;
        }
        let done = Instant::now() >= end;
        if done || args.verbose {
            println!("{}", shown(&tally));
        }
        if done {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(args.pause));
    }
}

/// One connection or datagram with one round trip.
fn attempt(args: &Args, destination: SocketAddr) -> std::io::Result<()> {
    let timeout = Duration::from_millis(args.timeout);
    let kind = if args.udp { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(destination), kind, None)?;
    if let Some(source) = args.source {
        socket.set_reuse_address(true)?;
        // The address may be on no interface of this namespace.
        match source.ip() {
            // Only a transparent socket is routed from an IPv4 address that is not its host's.
            IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            IpAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
        socket.bind(&source.into())?;
    }
    socket.connect_timeout(&destination.into(), timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    let mut stream = &socket;
    stream.write_all(b"x\n")?;
    let mut answer = [0; 64];
    match stream.read(&mut answer)? {
        0 => Err(Errno::ECONNRESET.into()),
        _ => Ok(()),
    }
}

fn name(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{:?}", Errno::from_raw(code)),
        None => format!("{:?}", error.kind()),
    }
}

fn shown(tally: &BTreeMap<String, u64>) -> String {
    let ok = tally.get("ok").copied().unwrap_or_default();
    let others =
        tally.iter().filter(|(name, _)| *name != "ok").map(|(name, count)| format!(" {name}={count}"));
    format!("ok={ok}{}", others.collect::<String>())
}
