//! What `/proc` tells of the network namespace and the process.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use nix::sys::resource::{Resource, getrlimit};

use super::outcome::say;

/// Prints every TCP socket with `port` on either side: `socket=LOCAL,PEER,STATE,INODE`.
pub(super) fn table(port: u16) -> io::Result<()> {
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(file)?.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(peer)) =
                (words.get(1).and_then(|word| address(word)), words.get(2).and_then(|word| address(word)))
            else {
                return Err(io::Error::other(format!("{file}: cannot read {line:?}")));
            };
            if local.port() == port || peer.port() == port {
                say("socket", format_args!("{local},{peer},{},{}", words[3], words.get(9).unwrap_or(&"")));
            }
        }
    }
    Ok(())
}

/// An address of `/proc/net/tcp`: words of 32 bits in the machine's order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Prints every counter of `/proc/net/netstat`.
pub(super) fn netstat() -> io::Result<()> {
    for (name, value) in counters()? {
        say(name, value);
    }
    Ok(())
}

/// One counter of `/proc/net/netstat`.
pub(super) fn counter(name: &str) -> io::Result<i64> {
    let found = counters()?.into_iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value).ok_or_else(|| io::Error::other(format!("/proc/net/netstat has no {name}")))
}

fn counters() -> io::Result<Vec<(String, i64)>> {
    let text = fs::read_to_string("/proc/net/netstat")?;
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for pair in lines.chunks_exact(2) {
        let names = pair[0].split_whitespace().skip(1);
        let values = pair[1].split_whitespace().skip(1);
        all.extend(
            names.zip(values).map(|(name, value)| (name.to_owned(), value.parse().unwrap_or_default())),
        );
    }
    Ok(all)
}

/// Prints how many files the process may have open.
pub(super) fn limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    say("soft", soft);
    say("hard", hard);
    Ok(())
}
