//! Certificates and keys of the control plane and the nodes, made anew each time.

use std::{fs, io, net::IpAddr, os::unix::fs::OpenOptionsExt as _, path::Path, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

/// A certificate or key that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its content.
    #[error("cannot make the certificate {name:?}: {source}")]
    Certificate {
        /// For whom.
        name: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Its file.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn certificate(name: &str) -> impl FnOnce(rcgen::Error) -> Error + '_ {
    |source| Error::Certificate { name: name.to_owned(), source }
}

/// Signs certificates.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one.
    pub(super) fn new(name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = subject(name, None);
        let key = KeyPair::generate().map_err(certificate(name))?;
        let pem = params.self_signed(&key).map_err(certificate(name))?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Writes what its certificates are believed by.
    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        write(path, &self.pem)
    }

    /// Writes the key that signs, beside nothing.
    pub(super) fn write_key(&self, path: &Path) -> Result<(), Error> {
        write(path, &self.issuer.key().serialize_pem())
    }

    /// Writes `FILE.crt` and `FILE.key` for a client: Kubernetes takes the user from the common name and the group
    /// from the organisation.
    pub(super) fn client(&self, file: &Path, user: &str, group: Option<&str>) -> Result<(), Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, user, params)
    }

    /// Writes `FILE.crt` and `FILE.key` for a server of these names and addresses.
    pub(super) fn server(&self, file: &Path, names: &[&str], addresses: &[IpAddr]) -> Result<(), Error> {
        let name = names[0];
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(certificate(name))?;
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = subject(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(file, name, params)
    }

    fn sign(&self, file: &Path, name: &str, mut params: CertificateParams) -> Result<(), Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(certificate(name))?;
        let signed = params.signed_by(&key, &self.issuer).map_err(certificate(name))?;
        write(&file.with_extension("crt"), &signed.pem())?;
        write(&file.with_extension("key"), &key.serialize_pem())
    }
}

/// Writes `FILE.key`, which signs ServiceAccounts' tokens, and `FILE.pub`, which they are checked by.
pub(super) fn signing_key(file: &Path) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(certificate("tokens"))?;
    write(&file.with_extension("key"), &key.serialize_pem())?;
    write(&file.with_extension("pub"), &key.public_key_pem())
}

fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}
