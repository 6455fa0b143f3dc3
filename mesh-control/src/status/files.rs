//! One YAML file for each object that has conditions: `<directory>/<Kind>/<namespace>.<name>.yaml`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use mesh_api::condition::Condition;
use serde::Serialize;

use crate::objects::{Conditions, ObjectRef};

/// Why a status file could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// A file or directory could not be written or removed.
    #[error("cannot {action} {}: {cause}; see that the run directory is there and writable", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A status has no YAML form.
    #[error("status of {object} has no YAML form: {cause}")]
    Yaml {
        object: ObjectRef,
        #[source]
        cause: serde_yaml_ng::Error,
    },
}

/// The status directory, and what is in it.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// By path; nothing before the first write.
    written: Option<BTreeMap<PathBuf, String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusFile<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    status: Status<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
}

#[derive(Serialize)]
struct Status<'a> {
    conditions: &'a [Condition],
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, written: None }
    }

    /// Writes what is other than before, each file whole, and removes files of objects that have
    /// no conditions any more.
    pub(super) fn write(&mut self, conditions: &Conditions) -> Result<(), FilesError> {
        let mut written = match self.written.take() {
            Some(written) => written,
            None => self.present()?,
        };
        let result = self.bring_up_to_date(conditions, &mut written);
        self.written = Some(written);
        result
    }

    fn bring_up_to_date(
        &self,
        conditions: &Conditions,
        written: &mut BTreeMap<PathBuf, String>,
    ) -> Result<(), FilesError> {
        let mut wanted = BTreeMap::new();
        for (object, conditions) in conditions.iter().filter(|(_, conditions)| !conditions.is_empty()) {
            wanted.insert(self.path(object), text(object, conditions)?);
        }
        for path in written.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect::<Vec<_>>() {
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(FilesError::Io { action: "remove", path, cause });
                }
                _ => {
                    written.remove(&path);
                }
            }
        }
        for (path, text) in wanted {
            if written.get(&path) != Some(&text) {
                replace(&path, &text).map_err(|cause| FilesError::Io {
                    action: "write",
                    path: path.clone(),
                    cause,
                })?;
                written.insert(path, text);
            }
        }
        Ok(())
    }

    fn path(&self, object: &ObjectRef) -> PathBuf {
        // A file of the source may lie in a directory of it; nothing else has a slash.
        let name = object.name.name.replace('/', "_");
        let file = match object.name.namespace.as_str() {
            "" => format!("{name}.yaml"),
            namespace => format!("{namespace}.{name}.yaml"),
        };
        let kind = object.kind.replace(['/', '.'], "_");
        self.directory.join(kind).join(file)
    }

    /// The files that an earlier controller left, which may no longer be true.
    fn present(&self) -> Result<BTreeMap<PathBuf, String>, FilesError> {
        let mut present = BTreeMap::new();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| FilesError::Io { action: "list", path, cause }
        };
        fs::create_dir_all(&self.directory).map_err(failed(&self.directory))?;
        for kind in fs::read_dir(&self.directory).map_err(failed(&self.directory))? {
            let kind = kind.map_err(failed(&self.directory))?.path();
            if !kind.is_dir() {
                continue;
            }
            for file in fs::read_dir(&kind).map_err(failed(&kind))? {
                let path = file.map_err(failed(&kind))?.path();
                let text = fs::read_to_string(&path).unwrap_or_default();
                present.insert(path, text);
            }
        }
        Ok(present)
    }
}

fn text(object: &ObjectRef, conditions: &[Condition]) -> Result<String, FilesError> {
    let file = StatusFile {
        api_version: &object.api_version,
        kind: &object.kind,
        metadata: Metadata { name: &object.name.name, namespace: &object.name.namespace },
        status: Status { conditions },
    };
    serde_yaml_ng::to_string(&file).map_err(|cause| FilesError::Yaml { object: object.clone(), cause })
}

/// Writes beside the file and moves it there, so that a reader sees the old or the new text whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let made = path.with_extension("yaml.tmp");
    fs::write(&made, text)?;
    fs::rename(&made, path)
}
