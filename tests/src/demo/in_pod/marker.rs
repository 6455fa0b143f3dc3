//! A marker over and over to a server that sends back what it gets, so that it goes both ways.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::echo::{Failure, Target};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of `mesh-demo marker`.
#[derive(Debug, clap::Args)]
pub(in crate::demo) struct Args {
    #[command(flatten)]
    target: Target,
    /// The marker, in hexadecimal
    #[arg(long)]
    marker: String,
    /// How often it is sent
    #[arg(long)]
    times: usize,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let address = args.target.resolve()?;
    let start = Instant::now();
    let told = |step| move |error| Failure::new(step, error, start);
    let invalid = || Failure::new("read --marker", io::ErrorKind::InvalidInput.into(), start);
    let sent = bytes(&args.marker).ok_or_else(invalid)?.repeat(args.times);

    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(told("connect"))?;
    let timeouts = stream.set_read_timeout(Some(PATIENCE));
    timeouts.and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(told("setsockopt"))?;
    let mut writing = stream.try_clone().map_err(told("dup"))?;
    let mut received = vec![0; sent.len()];
    // Both ways at once: a server that echoes stops reading when nobody reads what it sends.
    thread::scope(|scope| {
        let writer = scope.spawn(|| writing.write_all(&sent));
        let read = stream.read_exact(&mut received);
        let written = writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")));
        written.map_err(told("write")).and_then(|()| read.map_err(told("read")))
    })?;
    if received != sent {
        let other = io::Error::new(io::ErrorKind::InvalidData, "the server sent back something else");
        return Err(Failure::new("compare", other, start));
    }
    println!("sent={} received={}", sent.len(), received.len());
    Ok(())
}

/// The bytes that a text in hexadecimal stands for.
fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(hexadecimal.get(at..at + 2)?, 16).ok();
    (0..hexadecimal.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn hexadecimal_is_read_in_pairs() {
        assert_eq!(bytes("00ff7f"), Some(vec![0, 255, 127]));
        assert_eq!((bytes("0"), bytes("zz")), (None, None));
    }
}
