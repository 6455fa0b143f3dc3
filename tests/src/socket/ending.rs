//! The ends of a connection: one direction closed, by either side, and resets by either side.

use std::{io, net::SocketAddr, time::Duration};

use socket2::Socket;

use super::{
    dial::{Dial, connect, drain, ends, read_line, send_all},
    outcome::{errno, say},
};

/// Options of `mesh-socket end`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// How
    #[arg(value_enum)]
    how: How,
    /// How many bytes go the other way after one direction is closed
    #[arg(long, default_value_t = 300_000)]
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// The client closes its direction first
    ClientFirst,
    /// The server does
    ServerFirst,
    /// The client resets (SO_LINGER 0)
    ClientResets,
    /// The server does
    ServerResets,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    let to = args.dial.address(args.to);
    if !connect(&socket, to, "connect") {
        return Ok(());
    }
    ends(&socket, "");
    let token = format!("{}-{:?}", std::process::id(), args.how);
    let bytes = vec![b'x'; args.bytes];
    match args.how {
        How::ClientFirst => {
            send_all(&socket, format!("AFTER {}\n", args.bytes).as_bytes())?;
            socket.shutdown(std::net::Shutdown::Write)?;
            told(&socket);
        }
        How::ServerFirst => {
            send_all(&socket, format!("HALF {token}\n").as_bytes())?;
            told(&socket);
            if let Err(error) = send_all(&socket, &bytes) {
                say("send", errno(&error));
            }
            drop(socket);
            servers_view(args, to, &token)?;
        }
        How::ClientResets => {
            send_all(&socket, format!("COUNT {token}\n").as_bytes())?;
            read_line(&socket)?;
            socket.set_linger(Some(Duration::ZERO))?;
            drop(socket);
            servers_view(args, to, &token)?;
        }
        How::ServerResets => {
            send_all(&socket, b"RESET\n")?;
            told(&socket);
        }
    }
    Ok(())
}

/// What arrives at the client until the end.
fn told(socket: &Socket) {
    let (bytes, end) = drain(socket);
    say("read", bytes);
    say("end", end);
}

/// Asks over another connection what the server saw of the first.
fn servers_view(args: &Args, to: SocketAddr, token: &str) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    socket.connect(&to.into())?;
    send_all(&socket, format!("LAST {token}\n").as_bytes())?;
    super::dial::answer(&socket, "");
    Ok(())
}
