//! Octets between a client and an endpoint, where they are no requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mesh_ebpf::abi::Reason;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};

use crate::relay::engine::Io;
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::report::{Connection, Side};

/// Octets that may wait in each direction.
const BUFFER: usize = 16 << 10;

/// Carries until both sides have finished or one has failed. `first` was read from the client already.
pub(super) async fn splice(client: Io, first: Bytes, mut endpoint: Io, connection: &Connection) -> Failure {
    let mut client = Client { stream: client, connection };
    let carried = async {
        if !first.is_empty() {
            client.carried(true, first.len());
            endpoint.write_all(&first).await?;
        }
        copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await.map(drop)
    };
    match carried.await {
        Ok(()) => Failure::new(Reason::Finished, ""),
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
            Failure::new(Reason::EndpointGone, format!("closed by this node: {error}"))
        }
        Err(error) => Failure::new(Reason::Reset, format!("reset by either side: {error}")),
    }
}

/// The client's stream, whose octets are counted.
struct Client<'a> {
    stream: Io,
    connection: &'a Connection,
}

impl Client<'_> {
    fn carried(&self, from_client: bool, octets: usize) {
        self.connection.carried(from_client == (self.connection.report.side == Side::Source), octets);
    }
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        self.carried(true, into.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, octets))?;
        self.carried(false, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
