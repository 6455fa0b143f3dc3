//! Readers that take less than is sent to them, so that everything on the way fills up.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Error, Quantity, client::Client, server};

/// Bytes of one read, and the pause after it: 80 kB a second.
const SIP: usize = 4096;
const PAUSE: Duration = Duration::from_millis(50);

/// Buffers and windows on the way are full long before.
const FILL: Duration = Duration::from_millis(700);

/// What the readers took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// Bytes, by all of them.
    pub bytes: u64,
    /// The time that took, in seconds.
    pub seconds: f64,
}

/// Opens connections to the server at `to` and reads them slowly until standard input ends. Prints a line once
/// everything between has had the time to fill up.
///
/// # Errors
/// If a connection cannot be made, or ends.
pub fn read_slowly(readers: usize, to: SocketAddr) -> Result<Drained, Error> {
    let client = Client { quantity: Quantity::Throughput, to };
    let streams: Result<Vec<_>, Error> = (0..readers).map(|_| client.open(server::SOURCE)).collect();
    let taken: &'static AtomicU64 = Box::leak(Box::default());
    let start = Instant::now();
    for mut stream in streams? {
        // Ends with the process.
        thread::spawn(move || {
            let mut sip = [0; SIP];
            while let Ok(1..) = stream.read(&mut sip).inspect(|read| {
                taken.fetch_add(*read as u64, Ordering::Relaxed);
            }) {
                thread::sleep(PAUSE);
            }
        });
    }
    thread::sleep(FILL);
    println!("reading");
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(Error::Pipe)?;
    Ok(Drained { bytes: taken.load(Ordering::Relaxed), seconds: start.elapsed().as_secs_f64() })
}
