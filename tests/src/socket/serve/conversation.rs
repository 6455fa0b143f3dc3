//! What one client asks for, a line each.
//!
//! | line | what the server does |
//! |---|---|
//! | `WHO` | says what its socket says of both ends, and goes on |
//! | `COUNT TOKEN` | says `counting`, reads to the end and remembers how that was |
//! | `HALF TOKEN` | closes its own direction, then the same |
//! | `AFTER BYTES` | reads to the end, then sends so many bytes and closes |
//! | `TAKE BYTES` | reads so many bytes and says their checksum, and goes on |
//! | `GIVE BYTES SEED` | sends so many, and goes on |
//! | `SWAP BYTES SEED` | both at once: sends so many while it reads as many, then says the checksum |
//! | `SINK` | reads nothing more, until the connection ends |
//! | `RESET` | resets |
//! | `LAST TOKEN` | says what it remembers |
//! | anything else | sends it back |

use std::{
    collections::BTreeMap,
    io,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockAddr, Socket};

use crate::socket::{
    bulk,
    dial::{drain, inode, read_line, send_all},
    outcome::shown,
};

/// Longest wait for a connection to end that is asked about.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest life of a connection that is not read: its client's end may be stuck behind what it sent.
const SINK_TIMEOUT: Duration = Duration::from_secs(60);

/// How connections ended, by their token.
#[derive(Debug, Default)]
pub(in crate::socket) struct Ledger {
    ends: Mutex<BTreeMap<String, String>>,
    changed: Condvar,
}

impl Ledger {
    fn remember(&self, token: &str, socket: &Socket) {
        let (bytes, end) = drain(socket);
        let text = format!("read={bytes} end={end}");
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), text);
        self.changed.notify_all();
    }

    fn recall(&self, token: &str) -> String {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(ends, MEMORY_TIMEOUT, |ends| !ends.contains_key(token));
        let (mut ends, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ends.remove(token).unwrap_or_else(|| "end=unknown".to_owned())
    }
}

/// Holds the conversation to its end.
pub(super) fn hold(socket: &Socket, caller: &SockAddr, ledger: &Ledger, greet: bool) -> io::Result<()> {
    if greet {
        send_all(socket, b"hello\n")?;
    }
    loop {
        let line = match read_line(socket) {
            Ok(line) => line,
            // Clients close, or reset, when they have what they wanted.
            Err(_) => return Ok(()),
        };
        let (word, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "WHO" => send_all(socket, who(socket, caller).as_bytes())?,
            "COUNT" => {
                send_all(socket, b"counting\n")?;
                ledger.remember(argument, socket);
                return Ok(());
            }
            "HALF" => {
                socket.shutdown(std::net::Shutdown::Write)?;
                ledger.remember(argument, socket);
                return Ok(());
            }
            "AFTER" => {
                drain(socket);
                let bytes: usize = argument.parse().map_err(io::Error::other)?;
                return send_all(socket, &vec![b'y'; bytes]);
            }
            "TAKE" => {
                let sum = bulk::take(socket, bulk::number(argument)?)?;
                send_all(socket, format!("{sum}\n").as_bytes())?;
            }
            "GIVE" => {
                let (bytes, seed) = bulk::numbers(argument)?;
                bulk::give(socket, bytes, seed)?;
            }
            "SWAP" => {
                let (bytes, seed) = bulk::numbers(argument)?;
                let sum = bulk::swap(socket, bytes, seed)?;
                send_all(socket, format!("{sum}\n").as_bytes())?;
            }
            "SINK" => return wait_for_end(socket),
            "RESET" => return socket.set_linger(Some(Duration::ZERO)),
            "LAST" => send_all(socket, format!("{}\n", ledger.recall(argument)).as_bytes())?,
            _ => send_all(socket, format!("{line}\n").as_bytes())?,
        }
    }
}

/// Waits until the client closes or resets, without reading.
fn wait_for_end(socket: &Socket) -> io::Result<()> {
    let limit = Timespec::try_from(SINK_TIMEOUT).map_err(io::Error::other)?;
    poll(&mut [PollFd::new(socket, PollFlags::RDHUP)], Some(&limit))?;
    Ok(())
}

fn who(socket: &Socket, caller: &SockAddr) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!(
        "accepted={} peer={} local={} inode={} pid={} host={}\n",
        shown(Ok(caller.clone())),
        shown(socket.peer_addr()),
        shown(socket.local_addr()),
        inode(socket),
        std::process::id(),
        host.to_string_lossy()
    )
}
