//! Datagrams, from connected sockets and from others.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, UdpSocket},
};

use socket2::Socket;

use super::{
    dial::{Dial, connect, ends},
    outcome::{canonical, errno, named, say, shown},
};

/// Options of `mesh-socket udp`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to: every one, one after another, before answers are read
    #[arg(required = true)]
    to: Vec<SocketAddr>,
    #[command(flatten)]
    dial: Dial,
    /// Connect, one socket to each
    #[arg(long)]
    connected: bool,
    /// How often each gets a datagram
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// How many sockets, one after another; then only who answered each is printed
    #[arg(long)]
    sockets: Option<u32>,
    /// Longest wait for an answer, in milliseconds
    #[arg(long, default_value_t = 5000)]
    timeout: u64,
}

/// An answer and where it came from.
struct Answer {
    from: SocketAddr,
    text: String,
}

impl Answer {
    fn word(&self, key: &str) -> &str {
        let words = self.text.split_whitespace().filter_map(|word| word.split_once('='));
        words.into_iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
    }
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    if let Some(sockets) = args.sockets {
        return sticky(args, sockets);
    }
    if args.connected {
        for (number, to) in args.to.iter().enumerate() {
            let socket = make(args, *to)?;
            let prefix = format!("{number}.");
            if connect(&socket, args.dial.address(*to), &format!("{number}.connect")) {
                for _ in 0..args.count {
                    ask_connected(&socket, &prefix);
                }
                ends(&socket, &prefix);
            }
        }
        return Ok(());
    }
    unconnected(args)
}

fn make(args: &Args, to: SocketAddr) -> io::Result<Socket> {
    let socket = args.dial.datagrams(to)?;
    socket.set_read_timeout(Some(std::time::Duration::from_millis(args.timeout)))?;
    Ok(socket)
}

/// One socket for all: everything is sent, then everything is read.
fn unconnected(args: &Args) -> io::Result<()> {
    let socket = make(args, args.to[0])?;
    let mut sent = 0;
    for _ in 0..args.count {
        for (number, to) in args.to.iter().enumerate() {
            let done = socket.send_to(number.to_string().as_bytes(), &args.dial.address(*to).into());
            say(format_args!("{number}.send"), named(&done));
            sent += u32::from(done.is_ok());
        }
    }
    say("local", shown(socket.local_addr()));
    for _ in 0..sent {
        match receive(&socket) {
            Ok(answer) => tell(&answer, &format!("{}.", answer.word("said"))),
            Err(error) => say("receive", errno(&error)),
        }
    }
    Ok(())
}

/// Asks over a connected socket, and prints what came back.
pub(super) fn ask_connected(socket: &Socket, prefix: &str) {
    let sent = socket.send(b"connected");
    say(format_args!("{prefix}send"), named(&sent));
    if sent.is_ok() {
        match receive(socket) {
            Ok(answer) => tell(&answer, prefix),
            Err(error) => say(format_args!("{prefix}receive"), errno(&error)),
        }
    }
}

fn tell(answer: &Answer, prefix: &str) {
    say(format_args!("{prefix}from"), answer.from);
    for key in ["caller", "host", "port"] {
        say(format_args!("{prefix}server.{key}"), answer.word(key));
    }
}

/// Which servers answer each of several sockets.
fn sticky(args: &Args, sockets: u32) -> io::Result<()> {
    let to = args.to[0];
    for number in 0..sockets {
        let socket = make(args, to)?;
        let mut hosts = BTreeSet::new();
        for _ in 0..args.count {
            socket.send_to(b"sticky", &args.dial.address(to).into())?;
            let answer = receive(&socket)?;
            if answer.from != to {
                say("wrong_source", answer.from);
            }
            hosts.insert(answer.word("host").to_owned());
        }
        say(format_args!("{number}.hosts"), hosts.into_iter().collect::<Vec<_>>().join(","));
    }
    Ok(())
}

fn receive(socket: &Socket) -> io::Result<Answer> {
    let mut bytes = vec![0; 2048];
    let (read, from) = UdpSocket::from(socket.try_clone()?).recv_from(&mut bytes)?;
    Ok(Answer { from: canonical(from), text: String::from_utf8_lossy(&bytes[..read]).into_owned() })
}
