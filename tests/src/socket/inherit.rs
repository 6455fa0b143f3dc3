//! One socket in two processes: made in one, used in another.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    process::{Command, Stdio},
};

use socket2::Socket;

use super::dial::{Dial, connect, exchange};

/// Options of `mesh-socket inherit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// Which process connects
    #[arg(long, value_enum)]
    connected_by: Process,
    /// Be the child, with the socket as standard input
    #[arg(long, hide = true)]
    be_child: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Process {
    Parent,
    Child,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let to = args.dial.address(args.to);
    if args.be_child {
        let socket = Socket::from(standard_input()?);
        if args.connected_by == Process::Parent || connect(&socket, to, "child.connect") {
            exchange(&socket, "child.");
        }
        return Ok(());
    }
    let socket = args.dial.stream(args.to)?;
    if args.connected_by == Process::Parent && !connect(&socket, to, "parent.connect") {
        return Ok(());
    }
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["inherit", "--be-child", &args.to.to_string(), "--connected-by"]);
    child.arg(if args.connected_by == Process::Parent { "parent" } else { "child" });
    child.args(args.dial.mapped.then_some("--mapped"));
    child.stdin(Stdio::from(OwnedFd::from(socket.try_clone()?))).status()?;
    exchange(&socket, "parent.");
    Ok(())
}

/// The descriptor that the parent gave.
pub(super) fn standard_input() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}
