//! The server: a first byte says what the connection is for.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv6Addr, TcpStream},
    thread,
};

use socket2::{Domain, Socket, Type};

use super::{Error, MESSAGE, PORT};

/// First byte of a connection whose bytes are counted and dropped; the count, 8 bytes little endian, answers its end.
pub(super) const SINK: u8 = b'S';

/// First byte of a connection whose messages come back.
pub(super) const ECHO: u8 = b'E';

/// First byte of a connection to which bytes are sent as fast as it takes them.
pub(super) const SOURCE: u8 = b'B';

const CHUNK: usize = 256 * 1024;

/// Serves until the process ends.
///
/// # Errors
/// If it cannot listen.
pub fn serve() -> Result<(), Error> {
    let listener = listen().map_err(Error::Listen)?;
    println!("serving on port {PORT}");
    loop {
        let stream = listener.accept().map_err(Error::Listen)?.0;
        thread::spawn(move || {
            if let Err(error) = answer(stream.into()) {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

fn listen() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
    socket.listen(1024)?;
    Ok(socket)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut purpose = [0];
    if stream.read(&mut purpose)? == 0 {
        return Ok(());
    }
    match purpose {
        [SINK] => sink(stream),
        [SOURCE] => source(stream),
        _ => echo(stream),
    }
}

fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut counted = 0_u64;
    loop {
        match stream.read(&mut chunk)? {
            0 => return stream.write_all(&counted.to_le_bytes()),
            read => counted += read as u64,
        }
    }
}

/// Sends until the client is gone.
fn source(mut stream: TcpStream) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    loop {
        match stream.write_all(&chunk) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                return Ok(());
            }
            written => written?,
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    loop {
        match stream.read_exact(&mut message) {
            Ok(()) => stream.write_all(&message)?,
            // The client is done; it ends what it only connected by a reset, see there.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}
