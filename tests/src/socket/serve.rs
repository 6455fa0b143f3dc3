//! The server: does with a connection what its client asks for.

mod conversation;
mod datagrams;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    thread,
    time::Duration,
};

use socket2::Socket;

use super::{
    dial::{read_line, send_all},
    listener::Listener,
    outcome::say,
};
pub(super) use conversation::Ledger;

/// Longest wait for a client of a slow port.
const SLOW_CLIENT: Duration = Duration::from_secs(5);

/// Options of `mesh-socket serve`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Serve TCP here, on IPv6 and IPv4
    #[arg(long, value_name = "PORT")]
    tcp: Vec<u16>,
    /// Serve TCP here, with an IPv4 socket
    #[arg(long, value_name = "PORT")]
    tcp4: Vec<u16>,
    /// Serve TCP here and speak first
    #[arg(long, value_name = "PORT")]
    greet: Vec<u16>,
    /// Serve Multipath TCP here
    #[arg(long, value_name = "PORT")]
    mptcp: Vec<u16>,
    /// Serve UDP here, on IPv6 and IPv4
    #[arg(long, value_name = "PORT")]
    udp: Vec<u16>,
    /// Serve UDP here, with an IPv4 socket
    #[arg(long, value_name = "PORT")]
    udp4: Vec<u16>,
    /// Serve here one client after another, slowly, with the shortest accept queue
    #[arg(long, value_name = "PORT")]
    slow: Vec<u16>,
    /// How slowly: the pause between two clients, in microseconds
    #[arg(long, default_value_t = 300)]
    pause: u64,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let ledger = Arc::new(Ledger::default());
    let both =
        Listener { address: Ipv6Addr::UNSPECIFIED.into(), mptcp: false, reuse_port: false, backlog: 4096 };
    let v4 = Listener { address: Ipv4Addr::UNSPECIFIED.into(), ..both };
    let mut threads = Vec::new();
    for &port in &args.tcp {
        threads.push(spawn(both.listen(port)?, &ledger, false));
    }
    for &port in &args.tcp4 {
        threads.push(spawn(v4.listen(port)?, &ledger, false));
    }
    for &port in &args.greet {
        threads.push(spawn(both.listen(port)?, &ledger, true));
    }
    for &port in &args.mptcp {
        threads.push(spawn(Listener { mptcp: true, ..both }.listen(port)?, &ledger, false));
    }
    for &port in &args.slow {
        let listener = Listener { backlog: 1, ..both }.listen(port)?;
        let pause = Duration::from_micros(args.pause);
        threads.push(thread::spawn(move || slowly(&listener, pause)));
    }
    let udp: Vec<(IpAddr, u16)> = args.udp.iter().map(|port| (both.address, *port)).collect();
    let udp4 = args.udp4.iter().map(|port| (v4.address, *port));
    for (address, port) in udp.into_iter().chain(udp4) {
        let socket = datagrams::bind(address, port)?;
        threads.push(thread::spawn(move || datagrams::serve(&socket, port)));
    }
    say("serving", true);
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a listener's thread panicked"))?;
    }
    Ok(())
}

fn spawn(listener: Socket, ledger: &Arc<Ledger>, greet: bool) -> thread::JoinHandle<()> {
    let ledger = Arc::clone(ledger);
    thread::spawn(move || accept(&listener, &ledger, greet))
}

/// Accepts for ever, a thread for each client.
pub(super) fn accept(listener: &Socket, ledger: &Arc<Ledger>, greet: bool) {
    loop {
        match listener.accept() {
            Ok((socket, caller)) => {
                let ledger = Arc::clone(ledger);
                thread::spawn(move || {
                    if let Err(error) = conversation::hold(&socket, &caller, &ledger, greet) {
                        say("conversation", error);
                    }
                });
            }
            Err(error) => {
                say("accept", error);
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// One client at a time: a line, the same line back.
fn slowly(listener: &Socket, pause: Duration) {
    loop {
        thread::sleep(pause);
        let served = listener.accept().and_then(|(socket, _)| {
            socket.set_read_timeout(Some(SLOW_CLIENT))?;
            let line = read_line(&socket)?;
            send_all(&socket, format!("{line}\n").as_bytes())
        });
        if let Err(error) = served {
            say("slow", error);
        }
    }
}
