//! What hooks left on sockets (`mesh_sockets`), read by socket diagnostics: a storage has no key that user space
//! could look it up by, but a dump of sockets shows it of each.
//!
//! The crate for socket diagnostics has no attributes on requests, so this one is written here.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use mesh_ebpf::abi;
use netlink_packet_core::{DefaultNla, Emitable as _, NetlinkPayload, NetlinkSerializable, Nla as _};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId};

use super::super::netlink::Ask;
use super::{Sockets, states};

// Attributes of `include/uapi/linux/inet_diag.h` and `include/uapi/linux/sock_diag.h`.
const REQUEST_STORAGES: u16 = 2;
const REQUEST_MAP: u16 = 1;
const STORAGES: u16 = 20;
const STORAGE: u16 = 1;
const VALUE: u16 = 3;
/// Bits of an attribute's type that are no part of its number.
const FLAGS: u16 = 0xc000;
const NESTED: u16 = 0x8000;
/// Length and type.
const HEADER: usize = 4;

/// What is read of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Record {
    /// When the socket was opened.
    pub(in super::super) opened_at: u64,
    /// An [`abi::Origin`].
    pub(in super::super) origin: u8,
}

impl Sockets {
    /// The records of those TCP sockets that have one in this storage, by their cookies.
    ///
    /// # Errors
    /// When the kernel refuses, or answers what cannot be read: what is missing would be taken for no record.
    pub(in super::super) fn recorded(&mut self, storage: BorrowedFd<'_>) -> io::Result<HashMap<u64, Record>> {
        let mut found = HashMap::new();
        for family in [AF_INET, AF_INET6] {
            let inet = InetRequest {
                family,
                protocol: abi::TCP,
                extensions: ExtensionFlags::empty(),
                states: states(),
                socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
            };
            let request = Request { inet, storage: storage.as_raw_fd() };
            self.0.ask(request, Ask::Dump, |answer: SockDiagMessage| {
                let SockDiagMessage::InetResponse(response) = answer else { return };
                let cookie = u64::from_ne_bytes(response.header.socket_id.cookie);
                let record = response.nlas.iter().find_map(|nla| match nla {
                    Nla::Other(other) => record(other),
                    _ => None,
                });
                found.extend(record.map(|record| (cookie, record)));
            })?;
            match self.0.undecoded() {
                0 => {}
                some => {
                    return Err(io::Error::other(format!("{some} of the kernel's answers cannot be read")));
                }
            }
        }
        Ok(found)
    }
}

/// Of the storages of one socket, of which only one was asked for.
fn record(attribute: &DefaultNla) -> Option<Record> {
    if attribute.kind() & !FLAGS != STORAGES {
        return None;
    }
    let mut storages = vec![0; attribute.value_len()];
    attribute.emit_value(&mut storages);
    let record = within(within(&storages, STORAGE)?, VALUE)?;
    if record.len() < size_of::<abi::Socket>() {
        return None;
    }
    let at = record.get(offset_of!(abi::Socket, opened_at)..)?.first_chunk()?;
    let origin = *record.get(offset_of!(abi::Socket, origin))?;
    Some(Record { opened_at: u64::from_ne_bytes(*at), origin })
}

/// The first attribute of this number.
fn within(mut attributes: &[u8], number: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(HEADER..length)?;
        if kind & !FLAGS == number {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// A dump of sockets that shows what they have in a storage.
#[derive(Debug)]
struct Request {
    inet: InetRequest,
    storage: i32,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        self.inet.buffer_len() + 2 * HEADER + size_of::<i32>()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (request, attribute) = buffer.split_at_mut(self.inet.buffer_len());
        self.inet.emit(request);
        let outer = [(attribute.len() as u16).to_ne_bytes(), (REQUEST_STORAGES | NESTED).to_ne_bytes()];
        let inner = [((attribute.len() - HEADER) as u16).to_ne_bytes(), REQUEST_MAP.to_ne_bytes()];
        let bytes = [outer, inner].concat().concat();
        let bytes = bytes.iter().copied().chain(self.storage.to_ne_bytes());
        for (to, byte) in attribute.iter_mut().zip(bytes) {
            *to = byte;
        }
    }
}

impl From<Request> for NetlinkPayload<Request> {
    fn from(request: Request) -> Self {
        Self::InnerMessage(request)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;
    use proptest::prelude::*;

    use super::{Record, STORAGE, STORAGES, VALUE, abi, record};

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_record_is_read_where_the_kernel_writes_it() {
        let mut bytes = vec![0; size_of::<abi::Socket>()];
        let at = std::mem::offset_of!(abi::Socket, opened_at);
        bytes[at..at + 8].copy_from_slice(&77_u64.to_ne_bytes());
        bytes[std::mem::offset_of!(abi::Socket, origin)] = 4;
        let storage = [attribute(2, &5_u32.to_ne_bytes()), attribute(VALUE, &bytes)].concat();
        let expected = Some(Record { opened_at: 77, origin: 4 });
        let told = |kind, storage: &[u8]| record(&DefaultNla::new(kind, attribute(STORAGE, storage)));
        assert_eq!(told(STORAGES, &storage), expected);
        assert_eq!(told(STORAGES | 0x8000, &storage), expected);
        assert_eq!(told(STORAGES + 1, &storage), None);
        assert_eq!(told(STORAGES, &attribute(VALUE, &bytes[..40])), None);
        assert_eq!(told(STORAGES, &[]), None);
    }

    proptest! {
        #[test]
        fn any_attribute_is_a_record_or_nothing(kind in 18_u16..22, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = record(&DefaultNla::new(kind, bytes));
        }
    }
}
