//! Where agents connect: over TCP or a Unix socket, TLS 1.3 either way.
//!
//! [`listen`] says where; [`accept`] makes connections of what comes, each handshake in a task of
//! its own and within [`bounds`]; [`connection`] is a connection as the gRPC services see it, with
//! the certificate that was shown on it. Nobody who has not shown the certificate of a node that is
//! served may do more than join, or stay for long; the log tells of them at a [`pace`].

mod accept;
mod bounds;
mod connection;
mod listen;
mod pace;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use accept::incoming;
pub use connection::{Connection, TlsConnection};
pub use listen::{Listen, Listener};
pub(crate) use pace::Pace;

use crate::{
    ads::Ads,
    ca::{Authority, Identity},
    reports::ReportService,
};

/// Streams on one connection: discovery's, that of reports, and certificates that are asked for.
const STREAMS: u32 = 64;
/// A peer that does not answer within this is gone: connections of dead nodes are not kept.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves agents until the process ends.
///
/// # Errors
/// When the server cannot run.
pub async fn serve(
    listener: Listener,
    authority: Arc<Authority>,
    ads: Ads,
    reports: ReportService,
) -> Result<(), tonic::transport::Error> {
    let connections = incoming(listener, authority.trust());
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(ads.service())
        .add_service(reports.service())
        .add_service(Identity::new(authority).service())
        .serve_with_incoming(connections)
        .await
}
