//! The directory that Kubernetes keeps for an agent's pod: a token of its ServiceAccount, and what
//! the controller published of itself.
//!
//! | file | what it holds | where it comes from |
//! |---|---|---|
//! | `token` | bound to this pod, of audience `mesh-control` | kubelet, replaced in time |
//! | `ca.crt` | the mesh's roots, in PEM | the controller's ConfigMap |
//! | `trust-domain` | the mesh's trust domain | the same |
//!
//! It is read anew for every joining: kubelet replaces all three together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::join::certificates;
use crate::relay::tls::Bundle;

const TOKEN: &str = "token";
const ROOTS: &str = "ca.crt";
const TRUST_DOMAIN: &str = "trust-domain";

/// The longest file that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    /// A file is not there.
    #[error("{} is not there: {}", path.display(), origin(path))]
    Absent {
        /// Which.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {problem}; {}", path.display(), origin(path))]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl AccountError {
    /// No token in the directory.
    pub(super) fn absent(directory: &Path) -> Self {
        Self::Absent { path: directory.join(TOKEN) }
    }
}

/// Where a file of the directory comes from.
fn origin(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(TOKEN) => {
            "the agent's pod needs a projected volume with a serviceAccountToken of audience mesh-control"
        }
        _ => {
            "the controller writes it to ConfigMap mesh-roots, which the agent's pod projects beside its token"
        }
    }
}

/// What the directory holds.
pub(super) struct Account {
    /// What the controller takes for the node.
    pub token: String,
    /// Roots that the controller's certificate chains to.
    pub bundle: Arc<Bundle>,
}

/// Reads the directory.
pub(super) fn read(directory: &Path) -> Result<Account, AccountError> {
    let token = text(&directory.join(TOKEN))?;
    let path = directory.join(ROOTS);
    let invalid = |path: &Path| {
        let path = path.to_owned();
        move |problem| AccountError::Invalid { path, problem }
    };
    let roots = certificates(&text(&path)?).map_err(invalid(&path))?;
    let trust_domain = text(&directory.join(TRUST_DOMAIN))?;
    let bundle = Bundle::new(&trust_domain, roots, Default::default(), Vec::new())
        .map_err(|error| invalid(&path)(error.to_string()))?;
    if bundle.is_none() {
        return Err(invalid(&path)("it has no certificate".to_owned()));
    }
    Ok(Account { token, bundle: Arc::new(bundle) })
}

/// A file's text, without what surrounds it.
fn text(path: &Path) -> Result<String, AccountError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => AccountError::Absent { path: path.to_owned() },
        _ => AccountError::Unreadable { path: path.to_owned(), source },
    };
    let invalid = |problem: String| AccountError::Invalid { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > LONGEST {
        return Err(invalid(format!("it is {length} bytes long, more than {LONGEST}")));
    }
    let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?);
    let text = text.map_err(|_| invalid("it is not text".to_owned()))?.trim().to_owned();
    if text.is_empty() {
        return Err(invalid("it is empty".to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::read;
    use crate::relay::tls::testing::Authority;

    #[test]
    fn a_directory_brings_a_token_and_whom_to_believe_and_is_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let fails = || read(directory.path()).err().unwrap().to_string();
        assert!(fails().contains("serviceAccountToken of audience mesh-control"), "{}", fails());
        write(at("token"), "one\n").unwrap();
        assert!(fails().contains("ca.crt is not there: the controller writes it"), "{}", fails());
        write(at("ca.crt"), "nothing").unwrap();
        write(at("trust-domain"), " cluster.local\n").unwrap();
        assert!(fails().contains("it has no certificate"), "{}", fails());
        write(at("ca.crt"), Authority::new("cluster.local").roots_pem()).unwrap();
        let invitation = read(directory.path()).unwrap();
        assert_eq!((invitation.token.as_str(), invitation.bundle.roots.len()), ("one", 1));
        assert_eq!(invitation.bundle.trust_domain, "cluster.local");
        write(at("token"), "two").unwrap();
        assert_eq!(read(directory.path()).unwrap().token, "two");
        write(at("trust-domain"), "\n").unwrap();
        assert!(fails().contains("trust-domain: it is empty"), "{}", fails());
    }
}
