//! What a node that is new proves itself with: a join file, or in Kubernetes the token of the
//! agent's ServiceAccount. Both come with the roots by which the controller proves itself.

use std::path::PathBuf;
use std::sync::Arc;

use super::account::{self, Account, AccountError};
use super::join::{JoinFile, JoinFileError};
use crate::relay::tls::Bundle;

/// Where a node's invitation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joining {
    /// A join file, which may come later.
    File(PathBuf),
    /// A directory with a token that is good for minutes and always replaced in time.
    ServiceAccount(PathBuf),
}

/// Why there is none to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvitationError {
    /// Of the join file.
    #[error(transparent)]
    File(#[from] JoinFileError),
    /// Of the ServiceAccount.
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// What a node needs to join.
pub(super) struct Invitation {
    /// What the controller takes for the node.
    pub token: String,
    /// Roots that the controller's certificate chains to.
    pub bundle: Arc<Bundle>,
}

impl Joining {
    /// Reads the invitation of `node`, as it is now.
    pub(super) fn read(&self, node: &str) -> Result<Invitation, InvitationError> {
        match self {
            Self::File(path) => {
                let JoinFile { token, bundle } = JoinFile::read(path, node)?;
                Ok(Invitation { token, bundle })
            }
            Self::ServiceAccount(directory) => {
                let Account { token, bundle } = account::read(directory)?;
                Ok(Invitation { token, bundle })
            }
        }
    }

    /// Why a node that has no certificate and no invitation either has none.
    pub(super) fn absent(&self) -> InvitationError {
        match self {
            Self::File(path) => JoinFileError::Absent(path.clone()).into(),
            Self::ServiceAccount(directory) => AccountError::absent(directory).into(),
        }
    }

    /// What to do where the controller does not take the token.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::File(_) => {
                "a token counts once and for a time: get a new join file with `meshctl ca join NODE`"
            }
            Self::ServiceAccount(_) => {
                "the token must be of the agent's ServiceAccount, of audience mesh-control, and of the pod that this process is in; the next one is tried"
            }
        }
    }
}
