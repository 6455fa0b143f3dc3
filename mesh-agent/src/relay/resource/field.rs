//! Fields that several messages have, parsed.

use std::net::IpAddr;

use super::error::Fault;

/// An address of 4 or 16 bytes; a v4-mapped one is the IPv4 address.
pub(super) fn address(bytes: &[u8]) -> Result<IpAddr, Fault> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes)
        .map(|v6| IpAddr::from(v6).to_canonical())
        .map_err(|_| Fault::new("address", format!("{} bytes", bytes.len()), "an address has 4 or 16 bytes"))
}

/// A port from 1 to 65535.
pub(super) fn port(field: &str, number: u32) -> Result<u16, Fault> {
    u16::try_from(number)
        .ok()
        .filter(|&port| port != 0)
        .ok_or_else(|| Fault::new(field, number, "a port is 1 to 65535"))
}

/// Parses every element, naming the one at fault.
pub(super) fn indexed<M, T>(
    field: &str,
    messages: Vec<M>,
    parse: impl Fn(M) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| parse(message).map_err(|fault| fault.within(&format!("{field}[{index}]"))))
        .collect()
}
