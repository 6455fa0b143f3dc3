//! One side that does not read: a client that asks for many bytes and takes none of them, or one that sends to a
//! server that takes none.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use super::{
    dial::{Dial, connect, send_all},
    outcome::{errno, say},
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
    /// Instead, send until nothing more is taken, to a server that reads nothing
    #[arg(long, conflicts_with = "bytes")]
    up: bool,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    if connect(&socket, args.dial.address(args.to), "connect") {
        // What nobody reads would keep the connection after its end.
        socket.set_linger(Some(Duration::ZERO))?;
        let mut stream = TcpStream::from(socket);
        if args.up {
            say("taken", send(&mut stream)?);
        } else {
            send_all(&socket2::SockRef::from(&stream), format!("GIVE {} 3\n", args.bytes).as_bytes())?;
            say(
                "waiting",
                stream.peek(&mut [0; 64]).map_or_else(|error| errno(&error), |some| some.to_string()),
            );
            thread::sleep(FILL);
        }
        say("holding", true);
        io::stdin().read_to_end(&mut Vec::new())?;
    } else {
        say("holding", true);
    }
    Ok(())
}

/// Sends until nothing has been taken for a while; how many bytes were.
fn send(stream: &mut TcpStream) -> io::Result<u64> {
    stream.write_all(b"SINK\n")?;
    stream.set_write_timeout(Some(FILL))?;
    let (chunk, mut taken) = ([b'x'; 16 * 1024], 0);
    loop {
        match stream.write(&chunk) {
            Ok(some) => taken += some as u64,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(taken);
            }
            Err(error) => return Err(error),
        }
    }
}
