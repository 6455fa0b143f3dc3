//! The private socket options that the mesh's programs answer on the agent's own sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mesh_ebpf::abi::{Behalf, FlowRecord, TrueClient, option};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::SetId;

/// What the mesh knows of a connection that was accepted from a pod; `None` where no socket of a
/// pod published it.
///
/// # Errors
/// `EOPNOTSUPP` where the programs are not attached to the socket's cgroup; `InvalidData` where
/// they are another version's.
pub(crate) fn flow_record(socket: &impl AsFd) -> io::Result<Option<FlowRecord>> {
    let mut record = FlowRecord {
        dialled: Address::UNSPECIFIED,
        endpoint: Address::UNSPECIFIED,
        cookie: 0,
        netns: 0,
        group: 0,
        peer_group: 0,
        uid: 0,
        opened_at: 0,
        set: SetId::EMPTY,
        dialled_port: 0,
        endpoint_port: 0,
        rule: 0,
        origin: 0,
        flags: 0,
    };
    let mut length = size_of::<FlowRecord>() as libc::socklen_t;
    // SAFETY: the option writes at most `length` bytes to `record`, which is plain data (aya's
    // `Pod`); both are live for the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            option::LEVEL,
            option::FLOW,
            (&raw mut record).cast(),
            &raw mut length,
        )
    };
    match super::checked(result.into()) {
        Ok(_) if length as usize == size_of::<FlowRecord>() => Ok(Some(record)),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a flow record of {length} bytes instead of {}", size_of::<FlowRecord>()),
        )),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says whose connection a socket is about to deliver; before it connects.
///
/// # Errors
/// `ENOPROTOOPT` where the programs are not attached to the socket's cgroup; what they answer
/// otherwise. The delivery must not go on: the application would see a wrong client.
pub(crate) fn true_client(socket: &impl AsFd, client: &TrueClient) -> io::Result<()> {
    write(socket, option::CLIENT, client)
}

/// Says for which pod a socket in its namespace is about to connect; before it does. The connection
/// is that pod's by proof then, so the pod's egress policy must have been asked.
///
/// # Errors
/// As [`true_client`]. The connection must not go on: the other end would take it for a stranger's.
pub(crate) fn on_behalf(socket: &impl AsFd, behalf: &Behalf) -> io::Result<()> {
    write(socket, option::BEHALF, behalf)
}

fn write<T: aya::Pod>(socket: &impl AsFd, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the option reads `size_of::<T>()` bytes of `value`, which is plain data and live for
    // the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            option::LEVEL,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    super::checked(result.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{flow_record, true_client};
    use mesh_ebpf::abi::TrueClient;
    use mesh_ebpf::address::Address;

    #[test]
    fn without_the_programs_neither_option_is_there() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TrueClient { address: Address::v4([10, 0, 0, 1]), port: 1, reserved: 0 };
        let read = flow_record(&socket).unwrap_err();
        assert_eq!(read.raw_os_error(), Some(libc::EOPNOTSUPP));
        let written = true_client(&socket, &client).unwrap_err();
        assert_eq!(written.raw_os_error(), Some(libc::ENOPROTOOPT));
    }
}
