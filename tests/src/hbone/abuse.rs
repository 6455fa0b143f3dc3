//! `mesh-hbone abuse`: a bad peer, one kind of badness a run, over several connections for a while, and what it got for
//! it. Everything is bounded by time and by the number of connections, so that it is a test and not an accident.

mod floods;
mod handshakes;
mod requests;

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use serde_json::json;

use super::{
    credentials::Credentials,
    raw::{Raw, ending},
};

/// Pause after a round that ended at once: the point is the variant, not the load.
const BETWEEN: Duration = Duration::from_millis(2);

/// Longest wait for an answer within a round: it is there at once, unless the machine has no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind of badness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// No ALPN in the handshake
    NoAlpn,
    /// An authority that is no address and port
    BadAuthority,
    /// The address of nobody
    ForeignAuthority,
    /// 127.0.0.1
    Loopback,
    /// The address of another pod (`--other`)
    OtherPod,
    /// GET instead of CONNECT
    OtherMethod,
    /// Extended CONNECT (RFC 8441)
    ExtendedConnect,
    /// A tunnel to the tunnel port itself, and a handshake in it
    NestedConnect,
    /// A header of 64 KiB
    OversizedHeaders,
    /// A header block that comes octet by octet
    SlowHeaders,
    /// More streams than anybody allowed
    StreamFlood,
    /// Streams that are opened and reset at once
    RapidReset,
    /// A header block that never ends
    ContinuationFlood,
    /// A window of zero, so that nothing can be sent back
    ZeroWindow,
    /// PING after PING, SETTINGS after SETTINGS
    ControlFlood,
    /// Half a ClientHello, and then nothing
    HalfClientHello,
}

/// Options of `mesh-hbone abuse`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tunnel port of a pod
    to: SocketAddr,
    /// What to do
    #[arg(long, value_enum)]
    variant: Variant,
    /// For how long
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Over how many connections at a time
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// An honest authority: the pod's address and a port where bytes come back
    #[arg(long)]
    authority: SocketAddr,
    /// Address and port of another pod
    #[arg(long)]
    other: Option<SocketAddr>,
    #[command(flatten)]
    credentials: Credentials,
}

/// What a round is made with.
struct Round<'a> {
    args: &'a Args,
    config: &'a Arc<ClientConfig>,
    end: Instant,
}

impl Round<'_> {
    /// A connection whose handshake and settings are done.
    fn open(&self, settings: &[(u16, u32)]) -> io::Result<Raw> {
        let mut raw = Raw::connect(self.args.to, self.config, PATIENCE)?;
        raw.begin(settings)?;
        Ok(raw)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// One time through; what came of it.
    fn run(&self) -> io::Result<String> {
        match self.args.variant {
            Variant::NoAlpn => handshakes::no_alpn(self),
            Variant::HalfClientHello => handshakes::half_client_hello(self),
            Variant::BadAuthority => requests::authority(self, "example.com"),
            Variant::ForeignAuthority => requests::authority(self, "192.0.2.1:8080"),
            Variant::Loopback => requests::authority(self, "127.0.0.1:8080"),
            Variant::OtherPod => requests::other_pod(self),
            Variant::OtherMethod => requests::other_method(self),
            Variant::ExtendedConnect => requests::extended_connect(self),
            Variant::NestedConnect => requests::nested(self),
            Variant::OversizedHeaders => requests::oversized(self),
            Variant::SlowHeaders => floods::slow_headers(self),
            Variant::StreamFlood => floods::streams(self),
            Variant::RapidReset => floods::rapid_reset(self),
            Variant::ContinuationFlood => floods::continuation(self),
            Variant::ZeroWindow => floods::zero_window(self),
            Variant::ControlFlood => floods::control(self),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let config = args.credentials.client()?;
    let config = match args.variant {
        Variant::NoAlpn => {
            let mut without = (*config).clone();
            without.alpn_protocols.clear();
            Arc::new(without)
        }
        _ => config,
    };
    let got: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let start = Instant::now();
    let round = Round { args, config: &config, end: start + Duration::from_secs(args.seconds) };
    thread::scope(|scope| {
        for _ in 0..args.connections {
            scope.spawn(|| {
                while !round.is_over() {
                    let outcome = round.run().unwrap_or_else(|error| ending(&error));
                    *got.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
                    thread::sleep(BETWEEN);
                }
            });
        }
    });
    let got = got.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = start.elapsed().as_millis();
    println!("{}", json!({"variant": format!("{:?}", args.variant), "milliseconds": took, "got": got}));
    Ok(())
}
