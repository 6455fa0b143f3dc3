//! One port, several processes: with a socket each (SO_REUSEPORT), or with one that they inherit.

use std::{
    io,
    net::Ipv6Addr,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::Arc,
};

use socket2::Socket;

use super::{
    inherit::standard_input,
    listener::Listener,
    outcome::say,
    serve::{self, Ledger},
};

/// Options of `mesh-socket workers`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The port
    #[arg(long)]
    port: u16,
    /// How many processes
    #[arg(long, default_value_t = 2)]
    count: u32,
    /// What they share
    #[arg(long, value_enum)]
    share: Share,
    /// Be one of them, with the listener as standard input
    #[arg(long, hide = true)]
    be_worker: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Share {
    Port,
    Socket,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    if args.be_worker {
        serve::accept(&Socket::from(standard_input()?), &Arc::new(Ledger::default()), false);
        return Ok(());
    }
    let kind = Listener {
        address: Ipv6Addr::UNSPECIFIED.into(),
        mptcp: false,
        reuse_port: args.share == Share::Port,
        backlog: 128,
    };
    let shared = kind.listen(args.port)?;
    let mut workers = Vec::new();
    for number in 0..args.count {
        let listener = if args.share == Share::Port && number > 0 {
            kind.listen(args.port)?
        } else {
            shared.try_clone()?
        };
        let mut worker = Command::new(std::env::current_exe()?);
        worker.args(["workers", "--be-worker", "--port", &args.port.to_string(), "--share"]);
        worker.arg(if args.share == Share::Port { "port" } else { "socket" });
        workers.push(worker.stdin(Stdio::from(OwnedFd::from(listener))).spawn()?);
    }
    drop(shared);
    say("serving", true);
    for mut worker in workers {
        worker.wait()?;
    }
    Ok(())
}
