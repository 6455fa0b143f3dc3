//! The two ways out: a raw socket, which still routes, and a packet socket, which asks nobody.

use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Failure, step};

const RAW: i32 = 255;
const NEIGHBOUR_WAIT: Duration = Duration::from_secs(1);

/// Sends whole IP packets by a raw socket: the kernel routes them and finds the neighbour, the header is ours.
#[derive(Debug)]
pub(super) struct RawSocket(Socket);

impl RawSocket {
    /// A socket for packets to `destination`'s family.
    pub(super) fn open(destination: IpAddr) -> Result<Self, Failure> {
        let domain = Domain::for_address(SocketAddr::new(destination, 0));
        // IPPROTO_RAW implies that the header is included, for both families (raw(7)).
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))).map_err(step("raw socket"))?;
        Ok(Self(socket))
    }

    /// Sends one packet.
    pub(super) fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        self.0.send_to(packet, &SocketAddr::new(destination, 0).into()).map(drop)
    }
}

/// Sends whole frames out of one interface.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: OwnedFd,
    interface: LinkAddr,
    /// The interface's own hardware address.
    pub(super) mac: [u8; 6],
}

impl PacketSocket {
    /// A socket on the interface called `name`.
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .map_err(step("packet socket"))?;
        let mut interfaces = getifaddrs().map_err(step("list of interfaces"))?;
        let interface = interfaces
            .find_map(|interface| {
                (interface.interface_name == name).then(|| interface.address?.as_link_addr().copied())?
            })
            .ok_or(Failure::Arguments("no such interface"))?;
        let mac = interface.addr().ok_or(Failure::Arguments("the interface has no hardware address"))?;
        Ok(Self { socket, interface, mac })
    }

    /// Sends one frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.interface, MsgFlags::empty());
        sent.map(drop).map_err(io::Error::from)
    }
}

/// The hardware address of the default gateway, through which everything can be sent in both layouts.
pub(super) fn gateway_mac() -> Result<[u8; 6], Failure> {
    let routes = fs::read_to_string("/proc/net/route").map_err(step("routes"))?;
    let gateway =
        default_gateway(&routes).ok_or_else(|| Failure::Neighbour("no default route".to_owned()))?;
    let deadline = Instant::now() + NEIGHBOUR_WAIT;
    loop {
        let table = fs::read_to_string("/proc/net/arp").map_err(step("ARP table"))?;
        if let Some(mac) = neighbour(&table, gateway) {
            return Ok(mac);
        }
        if Instant::now() > deadline {
            return Err(Failure::Neighbour(format!("{gateway} does not answer")));
        }
        rouse(gateway)?;
        thread::sleep(Duration::from_millis(20));
    }
}

/// Makes the kernel look for the neighbour: an ICMP echo request, which no socket hook judges.
fn rouse(address: Ipv4Addr) -> Result<(), Failure> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).map_err(step("raw socket"))?;
    socket.connect(&SocketAddr::new(address.into(), 0).into()).map_err(step("raw connect"))?;
    // Type 8, code 0 and the checksum of just that.
    (&socket).write_all(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0]).map_err(step("echo request"))
}

/// The gateway of the default route in `/proc/net/route`, where addresses are words as they are in memory.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let word = u32::from_str_radix(gateway, 16).ok().filter(|word| *word != 0)?;
        (destination == "00000000").then(|| Ipv4Addr::from(word.to_ne_bytes()))
    })
}

/// The hardware address of a neighbour in `/proc/net/arp`; flag 2 says that it is known.
fn neighbour(table: &str, address: Ipv4Addr) -> Option<[u8; 6]> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [ip, _, "0x2" | "0x6", mac, ..] = fields[..] else { return None };
        (ip.parse() == Ok(address)).then(|| mac_of(mac))?
    })
}

fn mac_of(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_routes_are_read() {
        let arp =
            "IP address HW type Flags HW address Mask Device\n10.0.0.1 0x1 0x2 aa:bb:cc:00:00:01 * eth0\n";
        assert_eq!(neighbour(arp, [10, 0, 0, 1].into()), Some([0xaa, 0xbb, 0xcc, 0, 0, 1]));
        assert_eq!(neighbour(arp, [10, 0, 0, 2].into()), None);
        let word = u32::from_ne_bytes([10, 0, 0, 1]);
        let routes =
            format!("Iface Destination Gateway\neth0 {word:08X} 00000000\neth0 00000000 {word:08X} 0003\n");
        assert_eq!(default_gateway(&routes), Some([10, 0, 0, 1].into()));
    }
}
