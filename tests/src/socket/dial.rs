//! How a client's socket is made and connected, and the one question every client asks: who called?

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::outcome::{errno, named, say, shown};

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What kind of socket a client uses.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Dial {
    /// Use an IPv6 socket and v4-mapped addresses for IPv4
    #[arg(long)]
    pub(super) mapped: bool,
    /// Bind to this own address first
    #[arg(long)]
    bind: Option<IpAddr>,
    /// Bind to this interface (SO_BINDTODEVICE)
    #[arg(long)]
    device: Option<String>,
    /// Mark packets (SO_MARK)
    #[arg(long)]
    mark: Option<u32>,
    /// Use Multipath TCP
    #[arg(long)]
    mptcp: bool,
}

impl Dial {
    /// A TCP socket to connect to `to`.
    pub(super) fn stream(&self, to: SocketAddr) -> io::Result<Socket> {
        self.socket(to, Type::STREAM, Some(if self.mptcp { Protocol::MPTCP } else { Protocol::TCP }))
    }

    /// A UDP socket to send to `to`.
    pub(super) fn datagrams(&self, to: SocketAddr) -> io::Result<Socket> {
        self.socket(to, Type::DGRAM, Some(Protocol::UDP))
    }

    fn socket(&self, to: SocketAddr, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.address(to)), kind, protocol)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if let Some(bind) = self.bind {
            socket.bind(&self.address(SocketAddr::new(bind, 0)).into())?;
        }
        Ok(socket)
    }

    /// An address in the form that the socket takes.
    pub(super) fn address(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.mapped => SocketAddr::new(Ipv4Addr::to_ipv6_mapped(&ip).into(), to.port()),
            _ => to,
        }
    }
}

/// Connects, prints `KEY` and how long it took, and tells whether it went well.
pub(super) fn connect(socket: &Socket, to: SocketAddr, key: &str) -> bool {
    let start = Instant::now();
    let done = socket.connect(&to.into());
    say(key, named(&done));
    say(format_args!("{key}.micros"), start.elapsed().as_micros());
    done.is_ok()
}

/// Prints both ends as the client's socket says they are.
pub(super) fn ends(socket: &Socket, prefix: &str) {
    say(format_args!("{prefix}local"), shown(socket.local_addr()));
    say(format_args!("{prefix}peer"), shown(socket.peer_addr()));
    say(format_args!("{prefix}inode"), inode(socket));
}

/// Asks the server who called, and prints its answer with both ends.
pub(super) fn exchange(socket: &Socket, prefix: &str) {
    ends(socket, prefix);
    if let Err(error) = send_all(socket, b"WHO\n") {
        return say(format_args!("{prefix}answer"), errno(&error));
    }
    answer(socket, prefix);
}

/// Reads one line of `key=value` words and prints each as `server.KEY`.
pub(super) fn answer(socket: &Socket, prefix: &str) {
    match read_line(socket) {
        Ok(line) => {
            say(format_args!("{prefix}answer"), "ok");
            for word in line.split_whitespace() {
                let (key, value) = word.split_once('=').unwrap_or(("says", word));
                say(format_args!("{prefix}server.{key}"), value);
            }
        }
        Err(error) => say(format_args!("{prefix}answer"), errno(&error)),
    }
}

/// Sends everything.
pub(super) fn send_all(mut socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut socket, bytes)
}

/// Reads up to the end of a line; `UnexpectedEof` if the stream ends before it.
pub(super) fn read_line(mut socket: &Socket) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match io::Read::read(&mut socket, &mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte[0] == b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ => line.push(byte[0]),
        }
    }
}

/// Reads to the end; how many bytes, and how it ended: `EOF` or an errno.
pub(super) fn drain(mut socket: &Socket) -> (u64, String) {
    let mut total = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut socket, &mut chunk) {
            Ok(0) => return (total, "EOF".to_owned()),
            Ok(read) => total += read as u64,
            Err(error) => return (total, errno(&error)),
        }
    }
}

/// The socket's inode, by which `/proc/net/tcp` and `ss` know it.
pub(super) fn inode(socket: &Socket) -> String {
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap_or_default();
    link.to_string_lossy().trim_start_matches("socket:[").trim_end_matches(']').to_owned()
}
