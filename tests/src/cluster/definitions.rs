//! The Gateway API's definitions, which the mesh never installs: as a cluster's administrator applies them.

use std::{fs, path::Path};

use super::{Error, Kubectl, error::io};

/// Applies every definition in a folder and waits until the API server serves them.
///
/// # Errors
/// If there are none, or the API server refuses one.
pub fn define(kubectl: &Kubectl, folder: &Path) -> Result<(), Error> {
    let mut text = String::new();
    for entry in fs::read_dir(folder).map_err(io("read", folder))? {
        let path = entry.map_err(io("read", folder))?.path();
        text.push_str("---\n");
        text.push_str(&fs::read_to_string(&path).map_err(io("read", &path))?);
    }
    // They are too large for the copy that a client would keep in an annotation.
    kubectl.run_with(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &text)?;
    kubectl.run(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "customresourcedefinition",
        "--all",
    ])?;
    Ok(())
}
