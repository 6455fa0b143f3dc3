//! Interface events of the node's namespace, as a sign to look again.

use std::io;
use std::thread;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Multicast group of link changes (`RTNLGRP_LINK`).
const GROUP_LINK: u32 = 1;

/// Calls `changed` after every change of an interface. An overrun is a change like any other: what
/// is looked at is the state, not the event.
///
/// # Errors
/// When the socket or the thread cannot be made.
pub(in super::super) fn start(changed: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(GROUP_LINK)?;
    thread::Builder::new().name("interfaces".to_owned()).spawn(move || {
        loop {
            match socket.recv_from_full() {
                Ok(_) => changed(),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The timer of the loop still looks every second.
                    tracing::error!(%error, "interface events are lost");
                    return;
                }
            }
        }
    })?;
    Ok(())
}
