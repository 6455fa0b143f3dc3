//! Which authority is asked for: that of a Secret, that of the directory, or the controller's own.

use std::path::Path;

use k8s_openapi::ByteString;
use sha2::{Digest as _, Sha256};

use super::{
    files::{self, FileError},
    given::KEYS,
    material::Material,
    origin::{GivenError, Origin},
    random::hex,
};
use crate::objects::{CaSecret, ObjectName};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One that the controller makes and renews.
    Own,
    /// One that is given.
    Given(Material),
}

/// What a Secret holds.
pub(super) fn of_secret(name: &ObjectName, secret: Option<&CaSecret>) -> Result<Wanted, GivenError> {
    let secret = secret.ok_or_else(|| GivenError::NoSecret(name.to_string()))?;
    let origin = Origin::Secret(name.to_string());
    let mut texts = Vec::new();
    for key in KEYS {
        let missing = || GivenError::Missing { origin: origin.clone(), key };
        let unreadable =
            |why: &str| GivenError::Unreadable { origin: origin.clone(), key, why: why.to_owned() };
        // As in Kubernetes, stringData wins.
        let text = match (secret.string_data.get(key), secret.data.get(key)) {
            (Some(text), _) => text.clone(),
            (None, Some(encoded)) => {
                let bytes: ByteString = serde_json::from_value(encoded.clone().into()).map_err(|_| {
                    unreadable("it is not base64, as data must be; or write it to stringData")
                })?;
                String::from_utf8(bytes.0).map_err(|_| unreadable("it is not text"))?
            }
            (None, None) => return Err(missing()),
        };
        texts.push(text);
    }
    let [chain, key, roots]: [String; 3] = texts.try_into().unwrap_or_default();
    Ok(Wanted::Given(Material { origin, chain, key, roots, root_key: None }))
}

/// Why the directory's authority cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in them.
    #[error(transparent)]
    Given(#[from] GivenError),
}

/// What the directory holds. Files that the controller wrote itself are no wish.
pub(super) fn of_directory(
    directory: &Path,
    exported: &[String],
    current: Option<&Origin>,
) -> Result<Wanted, DirectoryError> {
    let mut texts = Vec::new();
    for key in KEYS {
        texts.push(files::read(&directory.join(key))?);
    }
    let is_own = |text: &Option<String>| text.as_ref().is_none_or(|text| exported.contains(&digest(text)));
    let was_given = current == Some(&Origin::Directory);
    if texts.iter().all(is_own) && !was_given {
        return Ok(Wanted::Own);
    }
    let origin = Origin::Directory;
    for (key, text) in KEYS.into_iter().zip(&texts) {
        if text.is_none() {
            return Err(GivenError::Missing { origin, key }.into());
        }
    }
    let [chain, key, roots]: [String; 3] =
        texts.into_iter().flatten().collect::<Vec<_>>().try_into().unwrap_or_default();
    Ok(Wanted::Given(Material { origin, chain, key, roots, root_key: None }))
}

/// Writes a generated authority to the directory, for others to read. Files that somebody else put
/// there stay as they are.
pub(super) fn export(directory: &Path, material: &Material, exported: &[String]) -> Result<(), FileError> {
    let mut stale = Vec::new();
    for (name, text) in named(material) {
        let path = directory.join(name);
        match files::read(&path)? {
            Some(there) if there == text => {}
            Some(there) if !exported.contains(&digest(&there)) => return Ok(()),
            _ => stale.push((path, text)),
        }
    }
    stale.iter().try_for_each(|(path, text)| files::write(path, text.as_bytes(), None))
}

/// The hashes of what [`export`] writes.
pub(super) fn digests(material: &Material) -> Vec<String> {
    named(material).map(|(_, text)| digest(text)).collect()
}

fn named(material: &Material) -> impl Iterator<Item = (&'static str, &str)> {
    KEYS.into_iter().zip([material.chain.as_str(), &material.key, &material.roots])
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}
