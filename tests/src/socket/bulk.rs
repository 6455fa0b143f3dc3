//! Many bytes in either direction or in both, made up on one side and summed on both: that all arrived, in order and
//! unchanged, is one comparison.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    thread,
    time::Instant,
};

use sha2::{Digest as _, Sha256};
use socket2::Socket;

use super::{
    dial::{Dial, connect, read_line, send_all},
    outcome::{errno, say},
};

/// How much is read or written at a time.
const CHUNK: usize = 256 * 1024;

/// Options of `mesh-socket bulk`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to
    to: SocketAddr,
    #[command(flatten)]
    dial: Dial,
    /// Which way
    #[arg(value_enum)]
    way: Way,
    /// How many bytes each way
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    /// From the client
    Up,
    /// From the server
    Down,
    /// Both at once
    Both,
}

pub(super) fn run(args: &Args) -> io::Result<()> {
    let socket = args.dial.stream(args.to)?;
    if !connect(&socket, args.dial.address(args.to), "connect") {
        return Ok(());
    }
    socket.set_read_timeout(None)?;
    let start = Instant::now();
    if let Err(error) = exchange(&socket, args.way, args.bytes) {
        say("failed", errno(&error));
    }
    say("millis", start.elapsed().as_millis());
    Ok(())
}

fn exchange(socket: &Socket, way: Way, bytes: u64) -> io::Result<()> {
    const OURS: u64 = 1;
    const THEIRS: u64 = 2;
    match way {
        Way::Up => {
            send_all(socket, format!("TAKE {bytes}\n").as_bytes())?;
            give(socket, bytes, OURS)?;
            say("up.sent", sum(bytes, OURS));
            say("up.arrived", read_line(socket)?);
        }
        Way::Down => {
            send_all(socket, format!("GIVE {bytes} {THEIRS}\n").as_bytes())?;
            let arrived = take(socket, bytes)?;
            say("down.sent", sum(bytes, THEIRS));
            say("down.arrived", arrived);
        }
        Way::Both => {
            send_all(socket, format!("SWAP {bytes} {THEIRS}\n").as_bytes())?;
            let arrived = swap(socket, bytes, OURS)?;
            say("up.sent", sum(bytes, OURS));
            say("down.sent", sum(bytes, THEIRS));
            say("down.arrived", arrived);
            say("up.arrived", read_line(socket)?);
        }
    }
    Ok(())
}

/// Sends while it reads as much; the checksum of what arrived.
pub(super) fn swap(socket: &Socket, bytes: u64, seed: u64) -> io::Result<String> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| give(socket, bytes, seed));
        let arrived = take(socket, bytes);
        sender.join().map_err(|_| io::Error::other("the sender panicked"))??;
        arrived
    })
}

/// Sends so many bytes that follow from the seed.
pub(super) fn give(socket: &Socket, bytes: u64, seed: u64) -> io::Result<()> {
    chunks(bytes, seed, |chunk| send_all(socket, chunk))
}

/// Reads so many bytes; their checksum.
pub(super) fn take(mut socket: &Socket, bytes: u64) -> io::Result<String> {
    let (mut hash, mut left, mut chunk) = (Sha256::new(), bytes, vec![0; CHUNK]);
    while left > 0 {
        let most = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match socket.read(&mut chunk[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                hash.update(&chunk[..read]);
                left -= read as u64;
            }
        }
    }
    Ok(shown(hash))
}

/// The checksum of what [`give`] sends.
fn sum(bytes: u64, seed: u64) -> String {
    let mut hash = Sha256::new();
    let hashed: io::Result<()> = chunks(bytes, seed, |chunk| {
        hash.update(chunk);
        Ok(())
    });
    debug_assert!(hashed.is_ok(), "hashing cannot fail");
    shown(hash)
}

/// One block of noise again and again, each time with its number in front: no two chunks are alike, and none costs much.
fn chunks(bytes: u64, seed: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut state = seed;
    let mut block: Vec<u8> = (0..CHUNK)
        .map(|_| {
            // Numerical Recipes' linear congruence; the high bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let (mut left, mut number) = (bytes, 0_u64);
    while left > 0 {
        block[..8].copy_from_slice(&number.to_be_bytes());
        let length = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        each(&block[..length])?;
        (left, number) = (left - length as u64, number + 1);
    }
    Ok(())
}

fn shown(hash: Sha256) -> String {
    hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The one number of a line.
pub(super) fn number(argument: &str) -> io::Result<u64> {
    argument.parse().map_err(io::Error::other)
}

/// The two numbers of a line.
pub(super) fn numbers(argument: &str) -> io::Result<(u64, u64)> {
    let (first, second) = argument.split_once(' ').unwrap_or((argument, "0"));
    Ok((number(first)?, number(second)?))
}
