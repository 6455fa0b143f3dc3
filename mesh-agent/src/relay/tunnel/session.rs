//! One TLS connection of the tunnel, whichever side made it: who is at the other end, how long that
//! is believed, and whether the other end still answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use h2::{Ping, PingPong};
use mesh_api::{NodeTag, SpiffeId};
use mesh_ebpf::abi::Reason;
use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, interval_at, timeout};

use super::closer::Closer;
use crate::relay::tls::{self, Bundle, End, PeerName, TlsFault};

/// How long a handshake may take: TLS, and then the peer's SETTINGS.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long the farewell of a tunnel may take.
pub(crate) const FAREWELL_WITHIN: Duration = Duration::from_secs(2);
/// How often the other end is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// Streams on one connection.
pub(crate) const STREAMS: u32 = 64;
/// Bytes a peer may send on a stream before the application took some.
pub(crate) const STREAM_WINDOW: u32 = 256 << 10;
/// The same of a connection: as much as all its streams, so that none of them waits for another.
pub(crate) const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;
/// Bytes that wait in relay to be sent on a stream.
pub(crate) const SEND_BUFFER: usize = 64 << 10;
/// The longest frame taken.
pub(crate) const FRAME: u32 = 64 << 10;
/// Octets of a request's or an answer's headers (RFC 9113, 6.5.2).
pub(crate) const HEADERS: u32 = 16 << 10;

/// The other end of a TLS connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its proven name.
    pub id: Arc<SpiffeId>,
    /// When its certificate ends.
    pub not_after: SystemTime,
    /// It takes no new streams, and ends with its last.
    pub retired: Closer,
    /// The joining of the node that its certificate was issued to.
    tag: Option<NodeTag>,
    margin: Duration,
    chain: Vec<CertificateDer<'static>>,
    end: End,
}

/// What becomes of a tunnel whose other end would not be believed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Its certificate or its root is out of date: it takes no new streams, open ones may finish.
    Retire(Reason),
    /// It is not to be here: at once.
    Close(Reason),
}

impl Session {
    /// Reads who the other end of a finished handshake is.
    ///
    /// # Errors
    /// When it has not agreed on HTTP/2 or has no name.
    pub(crate) fn of(state: &CommonState, end: End) -> Result<Self, TlsFault> {
        let PeerName { id, tag, not_after, .. } = tls::peer_of(state)?;
        let chain = state.peer_certificates().unwrap_or_default();
        Ok(Self {
            id: Arc::new(id),
            not_after,
            retired: Closer::default(),
            tag,
            margin: margin(not_after.duration_since(SystemTime::now()).unwrap_or_default()),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            end,
        })
    }

    /// Whether the other end would not be believed now, under a bundle that may have changed. A
    /// removed node, or another mesh, ends at once; what only a rotation left behind may finish.
    pub(crate) fn doubted(&self, bundle: &Bundle, now: SystemTime) -> Option<Doubt> {
        if let Err(fault) = tls::still_admitted(bundle, &self.id, self.tag) {
            return Some(Doubt::Close(fault.reason()));
        }
        let fault = tls::still_believed(bundle, &self.chain, self.end, now).err()?;
        Some(Doubt::Retire(fault.reason()))
    }

    /// Waits until it is to take no new streams: it was retired, or its certificate is nearly over.
    pub(crate) async fn leaves(&self) {
        tokio::select! {
            _ = self.retired.closed() => {}
            () = self.expires(self.margin) => {}
        }
    }

    /// Whether it is to take no new streams.
    pub(crate) fn is_leaving(&self) -> bool {
        self.retired.reason().is_some() || self.not_after <= SystemTime::now() + self.margin
    }

    /// Waits until its certificate is over in `before`. By the clock on the wall, which may be set
    /// meanwhile.
    async fn expires(&self, before: Duration) {
        while let Ok(left) = self.not_after.duration_since(SystemTime::now() + before) {
            tokio::time::sleep(left.clamp(MOMENT, PING_EVERY)).await;
        }
    }
}

/// The longest time before its certificate is over that a tunnel takes no new stream.
const EXPIRING: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(10);

/// That time by what is left at the handshake: a part of it, so that no tunnel is of no use from the beginning.
fn margin(left: Duration) -> Duration {
    EXPIRING.min(left / 4)
}

/// Asks the other end whether it is there; ends when it does not answer (RFC 9113, 6.7).
pub(crate) async fn silent(pings: Option<PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut ticks = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        ticks.tick().await;
        match timeout(PONG_WITHIN, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
