//! Words of the API server.

use crate::source::told;

/// What the API server says, without the form that it says it in.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => told(error),
    }
}
