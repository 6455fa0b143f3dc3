//! UDP: echoes every datagram, and answers `WHO`.

use std::sync::Arc;

use tokio::net::UdpSocket;

use super::{Shared, who};

pub(super) async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut datagram = vec![0; 64 * 1024];
    loop {
        // An ICMP error of an earlier answer shows up here; it is nobody's problem but that client's.
        let Ok((read, peer)) = socket.recv_from(&mut datagram).await else { continue };
        shared.delay().await;
        let answer = if datagram[..read].trim_ascii() == b"WHO" {
            who(peer, None, &shared).into_bytes()
        } else {
            datagram[..read].to_vec()
        };
        if let Err(error) = socket.send_to(&answer, peer).await {
            println!("{peer}: {error}");
        }
    }
}
