//! The identities of the mesh's own parts, which are never a workload's.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::spiffe::is_trust_domain;

/// Path of the controller's identity: `spiffe://<trust domain>/mesh/control`.
pub const CONTROLLER_PATH: &str = "/mesh/control";

const NODE_PATH: &str = "/mesh/node/";

/// The identity of a node's agent: `spiffe://<trust domain>/mesh/node/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    trust_domain: String,
    name: String,
}

/// Why a text is not a node's identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a node's identity; it has the form spiffe://<trust domain>/mesh/node/<name>")]
pub struct NodeIdError(String);

impl NodeId {
    /// Builds the identity of a node.
    ///
    /// # Errors
    /// When the trust domain is not one, or the name is empty, longer than 253 or has other
    /// characters than a Kubernetes node name may.
    pub fn new(trust_domain: &str, name: &str) -> Result<Self, NodeIdError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let id = Self { trust_domain: trust_domain.to_owned(), name: name.to_owned() };
        if is_trust_domain(trust_domain) && (1..=253).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(id)
        } else {
            Err(NodeIdError(id.to_string()))
        }
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{NODE_PATH}{}", self.trust_domain, self.name)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || NodeIdError(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(form)?;
        let (trust_domain, name) = rest.split_once(NODE_PATH).ok_or_else(form)?;
        Self::new(trust_domain, name)
    }
}

/// What the serial numbers of every certificate issued to one joining of a node begin with, so
/// that all of them are revoked by one short entry and nobody has to remember them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeTag([u8; 8]);

impl NodeTag {
    /// The tag of the `epoch`th joining of a node. The first bit is 0 and the second 1: a serial
    /// number is positive, and has no zero in front (RFC 5280, 4.1.2.2; X.690, 8.3.2).
    #[must_use]
    pub fn new(node: &str, epoch: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(node);
        hash.update([0]);
        hash.update(epoch.to_be_bytes());
        let mut tag = [0; 8];
        tag.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        tag[0] = tag[0] & 0x7f | 0x40;
        Self(tag)
    }

    /// The tag that a serial number begins with; `None` when it is not one of ours, 16 bytes long.
    #[must_use]
    pub fn of_serial(serial: &[u8]) -> Option<Self> {
        if serial.len() != 16 {
            return None;
        }
        serial.first_chunk().map(|tag| Self(*tag))
    }

    /// From the 8 bytes that discovery carries.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its 8 bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 8] {
        self.0
    }

    /// A serial number that begins with it.
    #[must_use]
    pub fn serial(&self, random: [u8; 8]) -> [u8; 16] {
        let mut serial = [0; 16];
        serial[..8].copy_from_slice(&self.0);
        serial[8..].copy_from_slice(&random);
        serial
    }
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{NodeId, NodeTag};

    #[test]
    fn a_node_is_written_as_it_is_read() {
        let text = "spiffe://cluster.local/mesh/node/n1.example";
        assert_eq!(text.parse::<NodeId>().unwrap().to_string(), text);
        for text in
            ["spiffe://cluster.local/mesh/node/", "spiffe://x/ns/a/sa/b", "spiffe://X/mesh/node/a", "a"]
        {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_serial_tells_its_node() {
        let tag = NodeTag::new("n1", 3);
        let serial = tag.serial([0xff; 8]);
        assert_eq!(NodeTag::of_serial(&serial), Some(tag));
        assert_ne!(tag, NodeTag::new("n1", 4));
        assert!(serial[0] & 0x80 == 0 && serial[0] != 0);
        assert_eq!(NodeTag::of_serial(&[1; 9]), None);
    }
}
