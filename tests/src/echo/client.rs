//! `mesh-echo client`: a call over TCP, HTTP/1.1 or UDP, one after another, each told in full.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{Failure, Target, failure::milliseconds};

/// The most that is read of one answer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Options of `mesh-echo client`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Protocol of the call
    #[arg(value_enum)]
    protocol: Protocol,
    #[command(flatten)]
    target: Target,
    /// How many calls, one after another
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// What to send (`WHO` asks a mesh-echo server who is calling); for HTTP the path
    #[arg(long)]
    send: Option<String>,
    /// Longest wait for the connection and for the answer, in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout: u64,
    /// End at the first call that is answered, and succeed
    #[arg(long)]
    first: bool,
    /// Pause between calls, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    interval: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Protocol {
    Tcp,
    Http,
    Udp,
}

/// Tells of every call as soon as it is over: whoever reads along may end this before the last one.
pub(super) fn run(args: &Args) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for number in 0..args.count {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(args.interval));
        }
        match call(args) {
            Ok(()) if args.first => return ExitCode::SUCCESS,
            Ok(()) => {}
            Err(failure) => {
                println!("{failure}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn call(args: &Args) -> Result<(), Failure> {
    let address = args.target.resolve()?;
    let timeout = Duration::from_millis(args.timeout);
    match args.protocol {
        Protocol::Tcp => {
            let send = args.send.as_deref().unwrap_or("WHO");
            tcp(address, timeout, format!("{send}\n").as_bytes(), |answer| answer.ends_with(b"\n"))
        }
        Protocol::Http => {
            let path = args.send.as_deref().unwrap_or("/");
            let host = &args.target.destination;
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mesh-echo\r\nConnection: close\r\n\r\n"
            );
            // The server closes at the end.
            tcp(address, timeout, request.as_bytes(), |_| false)
        }
        Protocol::Udp => udp(address, timeout, args.send.as_deref().unwrap_or("WHO").as_bytes()),
    }
}

fn tcp(
    address: SocketAddr,
    timeout: Duration,
    send: &[u8],
    complete: fn(&[u8]) -> bool,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, timeout)
        .map_err(|error| Failure::new("connect", error, start))?;
    let connected = start.elapsed();
    let told = |step| move |error| Failure::new(step, error, start);
    let local = stream.local_addr().map_err(told("getsockname"))?;
    let peer = stream.peer_addr().map_err(told("getpeername"))?;
    println!("tcp: connected {local} -> {peer} in {}", milliseconds(connected));

    let start = Instant::now();
    stream.set_read_timeout(Some(timeout)).map_err(told("setsockopt"))?;
    stream.write_all(send).map_err(|error| Failure::new("write", error, start))?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !complete(&answer) && answer.len() < ANSWER_LIMIT {
        match stream.read(&mut chunk).map_err(|error| Failure::new("read", error, start))? {
            0 => break,
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    if answer.is_empty() {
        let closed = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed without an answer");
        return Err(Failure::new("read", closed, start));
    }
    println!("answer: {}", String::from_utf8_lossy(&answer).trim_end());
    println!("round trip: {}", milliseconds(start.elapsed()));
    Ok(())
}

fn udp(address: SocketAddr, timeout: Duration, send: &[u8]) -> Result<(), Failure> {
    let start = Instant::now();
    let told = |step| move |error| Failure::new(step, error, start);
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).map_err(told("bind"))?;
    socket.set_read_timeout(Some(timeout)).map_err(told("setsockopt"))?;
    socket.connect(address).map_err(told("connect"))?;
    let local = socket.local_addr().map_err(told("getsockname"))?;
    let peer = socket.peer_addr().map_err(told("getpeername"))?;
    println!("udp: connected {local} -> {peer} in {}", milliseconds(start.elapsed()));
    let start = Instant::now();
    socket.send(send).map_err(|error| Failure::new("send", error, start))?;
    let mut answer = vec![0; ANSWER_LIMIT];
    let read = socket.recv(&mut answer).map_err(|error| Failure::new("recv", error, start))?;
    println!("answer: {}", String::from_utf8_lossy(&answer[..read]).trim_end());
    println!("round trip: {}", milliseconds(start.elapsed()));
    Ok(())
}
