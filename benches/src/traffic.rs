//! The program in the pods, one for every measurement and both arms: a server, and a client that prints one line of
//! JSON. Blocking calls and a thread for each connection: the least between the measurement and the kernel.

mod client;
mod server;
mod slow;

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};

pub use client::measure;
pub use server::serve;
pub use slow::{Drained, read_slowly};

/// The port the server listens on.
pub const PORT: u16 = 5201;

/// Bytes of a request and of its answer: small, so that the cost of a message shows and not that of its bytes.
const MESSAGE: usize = 64;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quantity {
    /// Bytes over one connection, until the server has them: bits per second.
    Throughput,
    /// Median time of a request of 64 bytes and its answer on one connection: microseconds.
    Latency,
    /// Connect, one request, close: connections per second, one after another.
    Connects,
    /// As [`Quantity::Latency`], the time that 99 of 100 do not exceed: microseconds.
    Tail,
}

impl Quantity {
    /// What the mesh is compared with no mesh by, in the order of the table.
    pub const COMPARED: [Self; 3] = [Self::Throughput, Self::Latency, Self::Connects];

    const ALL: [Self; 4] = [Self::Throughput, Self::Latency, Self::Connects, Self::Tail];

    /// For people, with its unit.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Throughput => "throughput, Gb/s",
            Self::Latency => "request/response p50, us",
            Self::Connects => "new connections/s",
            Self::Tail => "request/response p99, us",
        }
    }

    /// A value in the unit of [`Quantity::title`].
    #[must_use]
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Throughput => format!("{:.2}", value / 1e9),
            Self::Latency | Self::Tail => format!("{value:.2}"),
            Self::Connects => format!("{value:.0}"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Connects => "connects",
            Self::Tail => "tail",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|quantity| quantity.name() == text)
            .ok_or_else(|| format!("{text:?} is not a quantity: use one of {}", names()))
    }
}

/// What the client prints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// In the unit of its [`Quantity`].
    pub value: f64,
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket call.
    #[error("{quantity} to {to}: cannot {step}: {source}")]
    Socket {
        /// What was measured.
        quantity: Quantity,
        /// Where.
        to: SocketAddr,
        /// Which call.
        step: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Standard input or output.
    #[error("cannot talk to who started this: {0}")]
    Pipe(#[source] std::io::Error),
    /// The server cannot listen.
    #[error("cannot listen on port {PORT}: {0}")]
    Listen(#[source] std::io::Error),
    /// The process cannot be kept on a processor.
    #[error("cannot stay on processor {processor}: {errno}")]
    Processor {
        /// Which.
        processor: usize,
        /// Why.
        errno: nix::errno::Errno,
    },
    /// The server took another number of bytes than were sent.
    #[error("{sent} bytes were sent and the server counted {counted}")]
    Bytes {
        /// Sent by the client.
        sent: u64,
        /// Received by the server.
        counted: u64,
    },
}

/// Keeps this process, and the threads it will make, on one processor: what moves between processors differs from
/// run to run by more than what is measured.
///
/// # Errors
/// If there is no such processor.
pub fn stay_on(processor: usize) -> Result<(), Error> {
    let mut processors = nix::sched::CpuSet::new();
    let stay = processors
        .set(processor)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &processors));
    stay.map_err(|errno| Error::Processor { processor, errno })
}
