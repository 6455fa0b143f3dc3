//! The node's own key and certificate: what the controller knows this agent by.
//!
//! It is the one key that may be kept across a restart, so that an agent that restarts needs no new
//! join file, and only where nothing reaches a disk (SEMANTICS 9.3).

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use mesh_api::NodeId;
use mesh_api::certificates::CertificateReply;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::relay::identity::{CertificateError, Issued, Request, Schedule, random};
use crate::relay::node::NodeCertificate;
use crate::relay::tls::{Bundle, Leaf};

/// The file's name in the run directory.
const FILE: &str = "node.pem";
const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";
/// Roots have a label of their own, so that the chain can be told from them.
const ROOT: &str = "TRUSTED CERTIFICATE";
/// The trust domain of those roots: that of the certificate, until it changes.
const TRUST_DOMAIN: &str = "TRUST DOMAIN";
/// Subject key identifier of the issuer.
const ISSUER: &str = "ISSUER KEY IDENTIFIER";

/// A node's key, certificate, and the roots to verify the controller with.
pub(super) struct Credential {
    key_der: Vec<u8>,
    issued: Issued,
    /// The roots known when it was kept.
    pub bundle: Arc<Bundle>,
    /// When it is to be renewed.
    pub schedule: Schedule,
}

/// Why a kept credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    /// The file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{}: {problem}; the node joins anew", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Credential {
    /// Puts together what the controller issued for `request`.
    pub(super) fn issued(
        request: &Request,
        reply: CertificateReply,
        node: &NodeId,
        bundle: Arc<Bundle>,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let issued = request.accept(reply, &node.to_string())?;
        Ok(Self::new(request.key_der().to_vec(), issued, bundle, now))
    }

    fn new(key_der: Vec<u8>, issued: Issued, bundle: Arc<Bundle>, now: SystemTime) -> Self {
        let mut schedule = Schedule::new(now);
        schedule.issued(issued.leaf.not_before, issued.leaf.not_after, now, random());
        Self { key_der, issued, bundle, schedule }
    }

    /// The chain and its key, as TLS uses them.
    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.issued.key
    }

    /// Whether it names the node as one of this trust domain.
    pub(super) fn is_of(&self, trust_domain: &str) -> bool {
        self.issued.leaf.uri.parse().is_ok_and(|id: NodeId| id.trust_domain() == trust_domain)
    }

    /// When it ends.
    pub(super) fn not_after(&self) -> SystemTime {
        self.issued.leaf.not_after
    }

    /// Subject key identifier of the issuer that signed it; empty when that is not known.
    pub(super) fn issuer_key_id(&self) -> &[u8] {
        &self.issued.issuer_key_id
    }

    /// What is shown of it.
    pub(super) fn shown(&self) -> NodeCertificate {
        let leaf = &self.issued.leaf;
        NodeCertificate {
            id: leaf.uri.clone(),
            serial: leaf.serial.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            issuer_key_id: self.issuer_key_id().to_vec(),
            due: self.schedule.due(),
        }
    }

    /// Whether its time has not passed.
    pub(super) fn counts(&self, now: SystemTime) -> bool {
        now < self.not_after()
    }

    /// Keeps it in the run directory, if that is in memory; says whether it is kept.
    pub(super) fn keep(&self, run_dir: &Path) -> io::Result<bool> {
        if !is_in_memory(run_dir)? {
            return Ok(false);
        }
        let mut sections = vec![pem::Pem::new(KEY, self.key_der.clone())];
        let chain = self.issued.key.cert.iter();
        sections.extend(chain.map(|certificate| pem::Pem::new(CERTIFICATE, certificate.to_vec())));
        sections.extend(self.bundle.roots.iter().map(|root| pem::Pem::new(ROOT, root.to_vec())));
        sections.push(pem::Pem::new(TRUST_DOMAIN, self.bundle.trust_domain.as_bytes()));
        sections.push(pem::Pem::new(ISSUER, self.issued.issuer_key_id.clone()));
        let path = run_dir.join(FILE);
        let fresh = run_dir.join("node.pem.new");
        let _ = std::fs::remove_file(&fresh);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(pem::encode_many(&sections).as_bytes())?;
        std::fs::rename(fresh, path)?;
        Ok(true)
    }

    /// The one kept in the run directory; `None` when there is none.
    pub(super) fn kept(run_dir: &Path, node: &str, now: SystemTime) -> Result<Option<Self>, KeptError> {
        let path = run_dir.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeptError::Unreadable { path, source }),
        };
        Self::parse(&text, node, now).map(Some).map_err(|problem| KeptError::Invalid { path, problem })
    }

    fn parse(text: &[u8], node: &str, now: SystemTime) -> Result<Self, String> {
        let sections = pem::parse_many(text).map_err(|error| error.to_string())?;
        let all = |label: &'static str| {
            sections.iter().filter(move |section| section.tag() == label).map(pem::Pem::contents)
        };
        let key_der = all(KEY).next().ok_or("it has no private key")?.to_vec();
        let chain: Vec<Vec<u8>> = all(CERTIFICATE).map(<[u8]>::to_vec).collect();
        let leaf = chain.first().ok_or("it has no certificate")?;
        let leaf = Leaf::parse(&CertificateDer::from(leaf.as_slice())).map_err(|fault| fault.to_string())?;
        let id: NodeId = leaf.uri.parse().map_err(|error: mesh_api::NodeIdError| error.to_string())?;
        if id.name() != node {
            return Err(format!("it is of node `{}`, this agent was started for `{node}`", id.name()));
        }
        let roots = all(ROOT).map(|root| CertificateDer::from(root.to_vec())).collect();
        let trust_domain = match all(TRUST_DOMAIN).next() {
            Some(domain) => std::str::from_utf8(domain).map_err(|_| "its trust domain is not text")?,
            None => id.trust_domain(),
        };
        let bundle = Bundle::new(trust_domain, roots, Default::default(), Vec::new())
            .map_err(|error| error.to_string())?;
        let issuer_key_id = all(ISSUER).next().unwrap_or_default().to_vec();
        let reply = CertificateReply { chain, issuer_key_id };
        let issued = Issued::new(&key_der, reply, &id.to_string()).map_err(|error| error.to_string())?;
        Ok(Self::new(key_der, issued, Arc::new(bundle), now))
    }
}

/// Whether a directory is in memory only.
fn is_in_memory(directory: &Path) -> io::Result<bool> {
    Ok(statfs(directory)?.filesystem_type() == TMPFS_MAGIC)
}
