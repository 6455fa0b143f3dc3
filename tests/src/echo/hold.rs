//! `mesh-echo hold`: an open connection that says when and how it ends, for everything that closes connections.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{Failure, Target, failure::milliseconds};

/// Options of `mesh-echo hold`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Send a byte this often and expect it back, in milliseconds; 0 only waits
    #[arg(long, default_value_t = 0, value_name = "MS")]
    interval: u64,
    /// End by ourselves after this long, in milliseconds
    #[arg(long, default_value_t = 3_600_000, value_name = "MS")]
    duration: u64,
    /// Longest wait for the connection, and for the first byte to come back, in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let address = args.target.resolve()?;
    let start = Instant::now();
    let told = |step| move |error| Failure::new(step, error, start);
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_millis(args.timeout)).map_err(told("connect"))?;
    let local = stream.local_addr().map_err(told("getsockname"))?;
    let peer = stream.peer_addr().map_err(told("getpeername"))?;
    let mut exchanged = 0_u64;
    if args.interval > 0 {
        // Until the other end has answered, somebody on the way may only have accepted it.
        let limit = Some(Duration::from_millis(args.timeout));
        stream.set_read_timeout(limit).map_err(told("setsockopt"))?;
        stream.write_all(b".").map_err(told("write"))?;
        stream.read_exact(&mut [0]).map_err(told("read"))?;
        exchanged += 1;
    }
    println!("holding {local} -> {peer}");

    let end = start + Duration::from_millis(args.duration);
    loop {
        let now = Instant::now();
        if now >= end {
            println!("ended by us after {}, {exchanged} round trips", milliseconds(start.elapsed()));
            return Ok(());
        }
        let wait =
            if args.interval == 0 { end - now } else { Duration::from_millis(args.interval).min(end - now) };
        if args.interval > 0 {
            stream.write_all(b".").map_err(told("write"))?;
        }
        let mut chunk = [0; 4096];
        stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).map_err(told("setsockopt"))?;
        match stream.read(&mut chunk) {
            Ok(0) => {
                println!(
                    "closed by the peer after {}, {exchanged} round trips",
                    milliseconds(start.elapsed())
                );
                return Ok(());
            }
            Ok(_) => {
                exchanged += 1;
                std::thread::sleep(Duration::from_millis(args.interval));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(Failure::new("read", error, start)),
        }
    }
}
