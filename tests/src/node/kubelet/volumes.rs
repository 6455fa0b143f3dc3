//! A pod's volumes: folders in the run directory, shown where each container mounts them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Volume};

use super::{
    environment::{Sources, field_value},
    sandbox::Sandbox,
};
use crate::{
    launch::{Bind, RootView},
    node::{Config, PodAssignment},
};

/// A volume that cannot be filled or shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("volume {volume}: {problem}")]
    Content { volume: String, problem: String },
    #[error("volume {volume}: {source}")]
    Io { volume: String, source: io::Error },
}

/// Makes and fills the pod's volumes.
pub(super) fn fill(
    config: &Config,
    assignment: &PodAssignment,
    sources: &Sources,
    files: &Path,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut folders = BTreeMap::new();
    for volume in assignment.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let folder = files.join("volumes").join(&volume.name);
        let problem = |problem| Error::Content { volume: volume.name.clone(), problem };
        let content = content(config, assignment, sources, volume).map_err(problem)?;
        let failed = |source| Error::Io { volume: volume.name.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        if volume.empty_dir.is_some() {
            // Whatever user a container runs as.
            fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .map_err(failed)?;
        }
        for (path, bytes) in content {
            let file = folder.join(
                inside(&path).ok_or_else(|| problem(format!("path {path:?} leads out of the volume")))?,
            );
            fs::create_dir_all(file.parent().unwrap_or(&folder))
                .and_then(|()| fs::write(&file, bytes))
                .map_err(failed)?;
        }
        folders.insert(volume.name.clone(), folder);
    }
    Ok(folders)
}

/// The file system as `container` sees it; `None` if as the sandbox does.
pub(super) fn view(
    container: &Container,
    folders: &BTreeMap<String, PathBuf>,
    sandbox: &Sandbox,
) -> Result<Option<RootView>, Error> {
    let mut binds = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let problem = |problem: String| Error::Content { volume: mount.name.clone(), problem };
        let folder = folders.get(&mount.name).ok_or_else(|| {
            problem(format!("container {} mounts it, but spec.volumes does not name it", container.name))
        })?;
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        let source = folder
            .join(inside(sub_path).ok_or_else(|| problem(format!("subPath {sub_path:?} leads out of it")))?);
        if !source.exists() {
            fs::create_dir_all(&source).map_err(|source| Error::Io { volume: mount.name.clone(), source })?;
        }
        let read_only = mount.read_only == Some(true);
        binds.push(Bind { source, target: Path::new("/").join(&mount.mount_path), read_only });
    }
    let scratch = sandbox.files.join("scratch").join(&container.name);
    if !binds.is_empty() {
        // A volume below /etc hides what the sandbox shows there.
        let hidden = |etc: &&Bind| binds.iter().all(|bind| bind.target != etc.target);
        let again: Vec<Bind> = sandbox.etc.iter().filter(hidden).cloned().collect();
        binds.extend(again);
    }
    Ok((!binds.is_empty()).then_some(RootView { binds, scratch }))
}

type Content = BTreeMap<String, Vec<u8>>;

fn content(
    config: &Config,
    assignment: &PodAssignment,
    sources: &Sources,
    volume: &Volume,
) -> Result<Content, String> {
    let namespace = &assignment.key.namespace;
    let config_map = |name: &str, optional, items: &Option<Vec<KeyToPath>>| {
        select(&format!("ConfigMap {namespace}/{name}"), sources.config_map(namespace, name), optional, items)
    };
    let secret = |name: &str, optional, items: &Option<Vec<KeyToPath>>| {
        select(&format!("Secret {namespace}/{name}"), sources.secret(namespace, name), optional, items)
    };
    if let Some(source) = &volume.config_map {
        return config_map(&source.name, source.optional, &source.items);
    }
    if let Some(source) = &volume.secret {
        return secret(source.secret_name.as_deref().unwrap_or_default(), source.optional, &source.items);
    }
    let mut all = Content::new();
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        if let Some(source) = &source.config_map {
            all.extend(config_map(&source.name, source.optional, &source.items)?);
        } else if let Some(source) = &source.secret {
            all.extend(secret(&source.name, source.optional, &source.items)?);
        } else if let Some(source) = &source.downward_api {
            for item in source.items.iter().flatten() {
                let path = item.field_ref.as_ref().map(|field| field.field_path.as_str()).unwrap_or_default();
                let value = field_value(config, assignment, path)
                    .ok_or_else(|| format!("unknown fieldPath {path:?}"))?;
                all.insert(item.path.clone(), value.into_bytes());
            }
        } else {
            return Err("has a source the testbed has not: use configMap, secret or downwardAPI".to_owned());
        }
    }
    Ok(all)
}

fn select(
    object: &str,
    entries: Option<Content>,
    optional: Option<bool>,
    items: &Option<Vec<KeyToPath>>,
) -> Result<Content, String> {
    let optional = optional == Some(true);
    let Some(mut entries) = entries else {
        return if optional { Ok(Content::new()) } else { Err(format!("{object} is not there")) };
    };
    let Some(items) = items else { return Ok(entries) };
    let mut selected = Content::new();
    for item in items {
        match entries.remove(&item.key) {
            Some(bytes) => drop(selected.insert(item.path.clone(), bytes)),
            None if optional => {}
            None => return Err(format!("{object} has no key {:?}", item.key)),
        }
    }
    Ok(selected)
}

/// A path that stays inside the folder that it is relative to.
fn inside(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)).then_some(path)
}
