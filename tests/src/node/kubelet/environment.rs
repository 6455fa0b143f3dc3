//! The environment of a container: what its manifest says, looked up and expanded.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Secret};

use crate::{
    manifests::Key,
    node::{Config, Desired, PodAssignment},
};

/// An environment that cannot be made yet: something it refers to is not there.
#[derive(Debug, thiserror::Error)]
#[error("container {container}: env {variable}: {problem}")]
pub(super) struct Error {
    container: String,
    variable: String,
    problem: String,
}

/// The ConfigMaps and Secrets of the cluster.
#[derive(Debug, Default, Clone)]
pub(in crate::node) struct Sources {
    config_maps: BTreeMap<Key, ConfigMap>,
    secrets: BTreeMap<Key, Secret>,
}

impl Sources {
    pub(in crate::node) fn of(desired: &Desired) -> Self {
        Self { config_maps: desired.config_maps.clone(), secrets: desired.secrets.clone() }
    }

    /// All entries of a ConfigMap.
    pub(super) fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let map = self.config_maps.get(&Key::new(namespace, name))?;
        let text = map.data.iter().flatten().map(|(name, text)| (name.clone(), text.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(name, bytes)| (name.clone(), bytes.0.clone()));
        Some(text.chain(binary).collect())
    }

    /// All entries of a Secret.
    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let secret = self.secrets.get(&Key::new(namespace, name))?;
        Some(secret.data.iter().flatten().map(|(name, bytes)| (name.clone(), bytes.0.clone())).collect())
    }
}

/// The whole environment of a container.
pub(super) fn environment(
    config: &Config,
    assignment: &PodAssignment,
    container: &Container,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, Error> {
    let namespace = &assignment.key.namespace;
    let fail = |variable: &str, problem: String| Error {
        container: container.name.clone(),
        variable: variable.to_owned(),
        problem,
    };
    let mut environment = base(config, assignment);
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional, entries) = if let Some(map) = &from.config_map_ref {
            ("ConfigMap", &map.name, map.optional, sources.config_map(namespace, &map.name))
        } else if let Some(secret) = &from.secret_ref {
            ("Secret", &secret.name, secret.optional, sources.secret(namespace, &secret.name))
        } else {
            continue;
        };
        match entries {
            Some(entries) => environment.extend(entries.into_iter().map(|(name, value)| {
                (format!("{prefix}{name}"), String::from_utf8_lossy(&value).into_owned())
            })),
            None if optional == Some(true) => {}
            None => return Err(fail("(envFrom)", format!("{kind} {namespace}/{name} is not there"))),
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &environment)),
            Some(source) => look_up(config, assignment, source, sources)
                .map_err(|problem| fail(&variable.name, problem))?,
        };
        environment.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(environment)
}

/// Replaces `$(NAME)` by the variable's value and `$$` by `$`; an unknown name stays as it is.
pub(super) fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = match (after.strip_prefix('$'), name) {
            (Some(after), _) => {
                expanded.push('$');
                after
            }
            (None, Some((name, after))) if environment.contains_key(name) => {
                expanded.push_str(&environment[name]);
                after
            }
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}

fn base(config: &Config, assignment: &PodAssignment) -> BTreeMap<String, String> {
    // The system's folders first: none of our programs may stand in for a well-known one.
    let path = format!("{}:{}", std::env::var("PATH").unwrap_or_default(), config.programs.display());
    let pairs = [("PATH", path), ("HOSTNAME", hostname(assignment)), ("HOME", "/root".to_owned())];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The pod's host name.
pub(super) fn hostname(assignment: &PodAssignment) -> String {
    let spec = assignment.pod.spec.as_ref();
    spec.and_then(|spec| spec.hostname.clone()).unwrap_or_else(|| assignment.key.name.clone())
}

fn look_up(
    config: &Config,
    assignment: &PodAssignment,
    source: &EnvVarSource,
    sources: &Sources,
) -> Result<Option<String>, String> {
    let namespace = &assignment.key.namespace;
    let entry = |kind: &str,
                 name: &str,
                 key: &str,
                 optional: Option<bool>,
                 entries: Option<BTreeMap<String, Vec<u8>>>| {
        match entries.and_then(|mut entries| entries.remove(key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional == Some(true) => Ok(None),
            None => Err(format!("{kind} {namespace}/{name} is not there or has no key {key:?}")),
        }
    };
    if let Some(field) = &source.field_ref {
        return field_value(config, assignment, &field.field_path).map(Some).ok_or_else(|| {
            format!("fieldRef.fieldPath {:?} is not one the testbed knows", field.field_path)
        });
    }
    if let Some(key) = &source.config_map_key_ref {
        return entry(
            "ConfigMap",
            &key.name,
            &key.key,
            key.optional,
            sources.config_map(namespace, &key.name),
        );
    }
    if let Some(key) = &source.secret_key_ref {
        return entry("Secret", &key.name, &key.key, key.optional, sources.secret(namespace, &key.name));
    }
    Err("valueFrom is of a kind the testbed does not know: use fieldRef, configMapKeyRef or secretKeyRef"
        .to_owned())
}

/// The value of a field of the pod, as the downward API names it.
pub(super) fn field_value(config: &Config, assignment: &PodAssignment, path: &str) -> Option<String> {
    let spec = assignment.pod.spec.as_ref()?;
    let metadata = &assignment.pod.metadata;
    let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    if let Some(name) = subscript("metadata.labels['") {
        return Some(
            metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned().unwrap_or_default(),
        );
    }
    if let Some(name) = subscript("metadata.annotations['") {
        return Some(
            metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned().unwrap_or_default(),
        );
    }
    Some(match path {
        "metadata.name" => assignment.key.name.clone(),
        "metadata.namespace" => assignment.key.namespace.clone(),
        "metadata.uid" => assignment.uid.clone(),
        "spec.nodeName" => config.node.clone(),
        "spec.serviceAccountName" => {
            spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned())
        }
        "status.podIP" => assignment.addresses.v4.to_string(),
        "status.podIPs" => assignment.addresses.both().map(|address| address.to_string()).join(","),
        "status.hostIP" => config.addresses.v4.to_string(),
        "status.hostIPs" => config.addresses.both().map(|address| address.to_string()).join(","),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded() {
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("x$(A)y $(B) $$(A) $", &environment), "x1y $(B) $(A) $");
    }
}
