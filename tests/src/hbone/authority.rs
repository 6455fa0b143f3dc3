//! Certificates for tests: by the mesh's own authority, whose files the testbed can read, or by one that nobody knows.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A certificate that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A file of the authority, or one to be written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content, or what was asked for.
    #[error("the certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    #[default]
    Now,
    /// It was.
    Expired,
    /// It will be.
    NotYet,
    /// It will be in a while, as a clock that is ahead has it.
    Ahead(Duration),
}

/// A certificate's wanted content.
#[derive(Debug, Clone, Default)]
pub struct Leaf<'a> {
    /// Its URI names.
    pub names: &'a [&'a str],
    /// When it is valid.
    pub validity: Validity,
    /// Its serial number; a random one if none is given.
    pub serial: Option<Vec<u8>>,
}

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What goes with every leaf, PEM.
    chain: String,
    /// What its certificates are believed by, PEM.
    roots: String,
}

impl Authority {
    /// The authority in a folder with the files that cert-manager puts into a Secret: `tls.crt`, `tls.key`, `ca.crt`.
    ///
    /// # Errors
    /// If they are not there or not usable.
    pub fn open(folder: &Path) -> Result<Self, IssueError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| IssueError::File { path, source })
        };
        let (chain, roots) = (read("tls.crt")?, read("ca.crt")?);
        let issuer = Issuer::from_ca_cert_pem(&chain, KeyPair::from_pem(&read("tls.key")?)?)?;
        Ok(Self { issuer, chain, roots })
    }

    /// One that nobody knows.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn stranger() -> Result<Self, IssueError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), chain: pem.clone(), roots: pem })
    }

    /// One of two steps, a root and the issuer that it signed, as an administrator may give one; `name` tells it from
    /// others.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn given(name: &str) -> Result<Self, IssueError> {
        let params = |what: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, format!("{name} {what}"));
            params
        };
        let key = KeyPair::generate()?;
        let roots = params("root").self_signed(&key)?.pem();
        let root = Issuer::new(params("root"), key);
        let key = KeyPair::generate()?;
        let chain = params("issuer").signed_by(&key, &root)?.pem();
        Ok(Self { issuer: Issuer::new(params("issuer"), key), chain, roots })
    }

    /// The three texts of the Secret that holds it: `tls.crt`, `tls.key`, `ca.crt`.
    #[must_use]
    pub fn texts(&self) -> [(&'static str, String); 3] {
        let key = self.issuer.key().serialize_pem();
        [("tls.crt", self.chain.clone()), ("tls.key", key), ("ca.crt", self.roots.clone())]
    }

    /// Issues a certificate and writes `NAME.crt`, `NAME.key` and `NAME.ca` beside each other.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn issue(&self, folder: &Path, name: &str, leaf: &Leaf<'_>) -> Result<(), IssueError> {
        let key = KeyPair::generate()?;
        let certificate = leaf.params()?.signed_by(&key, &self.issuer)?;
        self.write(folder, name, &format!("{}{}", certificate.pem(), self.chain), &key)
    }

    /// The same, signed by nobody but itself; this authority's roots beside it.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn self_signed(&self, folder: &Path, name: &str, leaf: &Leaf<'_>) -> Result<(), IssueError> {
        let key = KeyPair::generate()?;
        let certificate = leaf.params()?.self_signed(&key)?;
        self.write(folder, name, &certificate.pem(), &key)
    }

    fn write(&self, folder: &Path, name: &str, chain: &str, key: &KeyPair) -> Result<(), IssueError> {
        let key = key.serialize_pem();
        for (extension, text) in [("crt", chain), ("key", key.as_str()), ("ca", self.roots.as_str())] {
            let path = folder.join(format!("{name}.{extension}"));
            fs::write(&path, text).map_err(|source| IssueError::File { path, source })?;
        }
        Ok(())
    }
}

impl Leaf<'_> {
    fn params(&self) -> Result<CertificateParams, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for name in self.names {
            params.subject_alt_names.push(SanType::URI((*name).try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = self.serial.as_deref().map(SerialNumber::from_slice);
        // Around now: an issuer that was made for the testbed has not been there for long either.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (from, until) = match self.validity {
            Validity::Now => (now - MINUTE, now + 60 * MINUTE),
            Validity::Expired => (now - MINUTE, now - MINUTE / 2),
            Validity::NotYet => (now + 60 * MINUTE, now + 120 * MINUTE),
            Validity::Ahead(by) => (now + by, now + by + 60 * MINUTE),
        };
        let epoch = date_time_ymd(1970, 1, 1);
        (params.not_before, params.not_after) = (epoch + from, epoch + until);
        Ok(params)
    }
}
