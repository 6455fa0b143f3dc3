//! Where to connect to: `HOST:PORT`, resolved as the pod's own resolver does.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    time::Instant,
};

use super::Failure;

/// A destination and which address family to take of it.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Host name or address, and port
    #[arg(value_name = "HOST:PORT")]
    pub destination: String,
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long)]
    pub ipv6: bool,
}

impl Target {
    /// The first address of the wanted family.
    ///
    /// # Errors
    /// If the name does not resolve or has no such address.
    pub fn resolve(&self) -> Result<SocketAddr, Failure> {
        let start = Instant::now();
        let fail = |error| Failure::new("resolve", error, start);
        let mut addresses = self.destination.to_socket_addrs().map_err(fail)?;
        addresses
            .find(|address| !(self.ipv4 && address.is_ipv6() || self.ipv6 && address.is_ipv4()))
            .ok_or_else(|| fail(io::Error::new(io::ErrorKind::NotFound, "no address of this family")))
    }
}
