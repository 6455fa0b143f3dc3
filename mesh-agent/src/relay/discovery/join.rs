//! The join file: a one-time token with which a node's agent gets its first certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use crate::relay::tls::{Bundle, BundleError};

/// The version of the file that is understood.
const VERSION: u32 = 1;
/// The longest file that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// Why a join file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinFileError {
    /// It is not there.
    #[error(
        "there is no join file at {}: the controller writes one when it first knows this node, and a new one for `meshctl ca join NODE`",
        .0.display()
    )]
    Absent(PathBuf),
    /// It cannot be read.
    #[error("reading the join file {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not one.
    #[error("the join file {}: {problem}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// The field and what is wrong with it.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    version: u32,
    node: String,
    token: String,
    trust_domain: String,
    roots: String,
}

/// What a node needs to join.
pub(super) struct JoinFile {
    /// Spent by the first use.
    pub token: String,
    /// Roots that the controller's certificate chains to.
    pub bundle: Arc<Bundle>,
}

impl JoinFile {
    /// Reads the file of `node`.
    pub(super) fn read(path: &Path, node: &str) -> Result<Self, JoinFileError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => JoinFileError::Absent(path.to_owned()),
            _ => JoinFileError::Unreadable { path: path.to_owned(), source },
        };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > LONGEST {
            let problem = format!("it is {length} bytes long; a join file has at most {LONGEST}");
            return Err(JoinFileError::Invalid { path: path.to_owned(), problem });
        }
        let text = std::fs::read(path).map_err(unreadable)?;
        Self::parse(&text, node).map_err(|problem| JoinFileError::Invalid { path: path.to_owned(), problem })
    }

    fn parse(text: &[u8], node: &str) -> Result<Self, String> {
        let form: Form = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if form.version != VERSION {
            return Err(format!("version is {}: this agent knows {VERSION}", form.version));
        }
        if form.node != node {
            return Err(format!("node is `{}`: this agent was started for `{node}`", form.node));
        }
        if form.token.is_empty() {
            return Err("token is empty".to_owned());
        }
        let roots = certificates(&form.roots).map_err(|problem| format!("roots: {problem}"))?;
        let bundle = Bundle::new(&form.trust_domain, roots, Default::default(), Vec::new())
            .map_err(|error: BundleError| format!("roots: {error}"))?;
        if bundle.is_none() {
            return Err("roots has no certificate".to_owned());
        }
        Ok(Self { token: form.token, bundle: Arc::new(bundle) })
    }
}

/// The certificates of a PEM text.
pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let sections = pem::parse_many(text).map_err(|error| error.to_string())?;
    let certificates = sections.into_iter().filter(|section| section.tag() == "CERTIFICATE");
    Ok(certificates.map(|section| CertificateDer::from(section.into_contents())).collect())
}

#[cfg(test)]
mod tests {
    use super::{JoinFile, JoinFileError};
    use crate::relay::tls::testing::Authority;

    fn text(node: &str, version: u32, roots: &str) -> String {
        let form = serde_json::json!({
            "version": version, "node": node, "token": "t", "trustDomain": "cluster.local", "roots": roots,
        });
        form.to_string()
    }

    #[test]
    fn a_join_file_is_for_one_node_and_brings_roots() {
        let authority = Authority::new("cluster.local");
        let roots = authority.roots_pem();
        let file = JoinFile::parse(text("n1", 1, &roots).as_bytes(), "n1").unwrap();
        assert_eq!(file.token, "t");
        assert_eq!(file.bundle.roots.len(), 1);
        for (text, problem) in [
            (text("n2", 1, &roots), "node is `n2`: this agent was started for `n1`"),
            (text("n1", 2, &roots), "version is 2: this agent knows 1"),
            (text("n1", 1, ""), "roots has no certificate"),
            ("{}".to_owned(), "missing field"),
        ] {
            let found = JoinFile::parse(text.as_bytes(), "n1").err().unwrap();
            assert!(found.contains(problem), "{found}");
        }
    }

    #[test]
    fn an_absent_file_is_told_apart() {
        let error = JoinFile::read("/nonexistent/join".as_ref(), "n1").err().unwrap();
        assert!(matches!(error, JoinFileError::Absent(_)), "{error}");
    }
}
