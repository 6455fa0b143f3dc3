//! Asking the kernel over netlink: one request, all its answers.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// Longest time an answer may take; the kernel answers at once or not at all.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What kind of answer is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// Every object of the kind.
    Dump,
    /// One object.
    One,
    /// Only whether it was done.
    Do,
    /// Only whether something new was made; `AlreadyExists` where it is there.
    Make,
}

/// A netlink socket in the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    undecoded: usize,
}

impl Netlink {
    /// Opens a socket of a netlink protocol (`NETLINK_ROUTE`, `NETLINK_SOCK_DIAG`).
    ///
    /// # Errors
    /// When the kernel has no such protocol.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // A dump of tens of thousands of sockets comes faster than it is read.
        socket.set_rx_buf_sz(4_u32 << 20)?;
        Ok(Self { socket, sequence: 0, undecoded: 0 })
    }

    /// How many messages of the last answer did not decode.
    pub(super) const fn undecoded(&self) -> usize {
        self.undecoded
    }

    /// Sends one request and gives every answer to `each`.
    ///
    /// # Errors
    /// What the kernel answers, or a failing socket. An answer that does not decode is skipped: it
    /// is about an object of a kind this version does not know. [`Self::undecoded`] counts them.
    pub(super) fn ask<Q, A>(&mut self, question: Q, ask: Ask, mut each: impl FnMut(A)) -> io::Result<()>
    where
        Q: NetlinkSerializable + Into<NetlinkPayload<Q>>,
        A: NetlinkDeserializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        self.undecoded = 0;
        let mut header = NetlinkHeader::default();
        header.sequence_number = self.sequence;
        header.flags = NLM_F_REQUEST
            | match ask {
                Ask::Dump => NLM_F_DUMP,
                Ask::One => 0,
                Ask::Do => NLM_F_ACK,
                Ask::Make => NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            };
        let mut message = NetlinkMessage::new(header, question.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            if !crate::sys::poll::readable(std::os::fd::AsFd::as_fd(&self.socket), PATIENCE)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (answers, _) = self.socket.recv_from_full()?;
            if self.take(&answers, ask, &mut each)? {
                return Ok(());
            }
        }
    }

    /// Reads the messages of one datagram; tells whether the answer is complete.
    fn take<A: NetlinkDeserializable>(
        &mut self,
        mut answers: &[u8],
        ask: Ask,
        each: &mut impl FnMut(A),
    ) -> io::Result<bool> {
        while let Some(length) = answers.first_chunk::<4>().map(|l| u32::from_ne_bytes(*l) as usize) {
            let Some(one) = answers.get(..length).filter(|_| length >= 16) else { break };
            answers = answers.get(length.next_multiple_of(4)..).unwrap_or_default();
            let Ok(message) = NetlinkMessage::<A>::deserialize(one) else {
                self.undecoded += 1;
                continue;
            };
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => {
                    each(answer);
                    if ask == Ask::One {
                        return Ok(true);
                    }
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => match error.code {
                    None => return Ok(true),
                    Some(_) => return Err(error.to_io()),
                },
                NetlinkPayload::Overrun(_) => return Err(io::Error::other("netlink overrun")),
                _ => {}
            }
        }
        Ok(false)
    }
}
