//! From the objects of every file to one set, each name once.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use mesh_api::condition::{Condition, UNIQUE};

use super::decode::{Decoded, Object};
use crate::objects::{Conditions, Custom, ObjectName, ObjectRef, Objects, Route, RouteName};

/// Puts the objects together in the order of the files' names; where two have the same kind and
/// name the first counts. Values equal to those of `previous` are taken from there, so that a
/// file that was rewritten without a change changes nothing.
pub(super) fn merge<'a>(
    decoded: impl Iterator<Item = (&'a str, &'a Decoded)>,
    previous: &Objects,
) -> (Objects, Conditions) {
    let mut objects = Objects::default();
    let mut problems = Conditions::new();
    let mut files: BTreeMap<&ObjectRef, Vec<&str>> = BTreeMap::new();
    for (file, decoded) in decoded {
        match decoded {
            Decoded::Problem(reference, condition) => {
                problems.entry(reference.clone()).or_default().push(condition.clone());
            }
            Decoded::Object(reference, object) => {
                let seen = files.entry(reference).or_default();
                seen.push(file);
                if seen.len() == 1 {
                    insert(&mut objects, previous, reference.name.clone(), object);
                }
            }
        }
    }
    let asked_for = ca_secret(&objects);
    objects.ca_secrets.retain(|name, _| Some(name) == asked_for.as_ref());
    for (reference, files) in files.into_iter().filter(|(_, files)| files.len() > 1) {
        let message = format!(
            "{reference} is defined more than once, in {}; the one in {} counts, remove the others",
            files.join(", "),
            files[0]
        );
        let condition = Condition::failed(UNIQUE, "SameNameTwice", message);
        problems.entry(reference.clone()).or_default().push(condition);
    }
    (objects, problems)
}

/// The Secret that the mesh configuration asks for, as far as that can be read.
pub(super) fn ca_secret(objects: &Objects) -> Option<ObjectName> {
    let config = objects.mesh_configs.get(&ObjectName::cluster(crate::build::SINGLETON))?;
    let reference = config.spec.get("ca")?.get("secretRef")?;
    let part = |field| reference.get(field).and_then(serde_json::Value::as_str);
    Some(ObjectName::new(part("namespace")?, part("name")?))
}

fn insert(objects: &mut Objects, previous: &Objects, name: ObjectName, object: &Object) {
    match object {
        Object::Namespace(value) => put(&mut objects.namespaces, &previous.namespaces, name, value),
        Object::ServiceAccount(value) => {
            put(&mut objects.service_accounts, &previous.service_accounts, name, value);
        }
        Object::Node(value) => put(&mut objects.nodes, &previous.nodes, name, value),
        Object::RuntimeClass(value) => {
            put(&mut objects.runtime_classes, &previous.runtime_classes, name, value)
        }
        Object::Pod(value) => put(&mut objects.pods, &previous.pods, name, value),
        Object::Service(value) => put(&mut objects.services, &previous.services, name, value),
        Object::EndpointSlice(value) => {
            put(&mut objects.endpoint_slices, &previous.endpoint_slices, name, value)
        }
        Object::CaSecret(value) => put(&mut objects.ca_secrets, &previous.ca_secrets, name, value),
        Object::MeshConfig(value) => {
            put_custom(&mut objects.mesh_configs, &previous.mesh_configs, name, value)
        }
        Object::AccessPolicy(value) => {
            put_custom(&mut objects.access_policies, &previous.access_policies, name, value)
        }
        Object::ClusterAccessPolicy(value) => {
            put_custom(&mut objects.cluster_access_policies, &previous.cluster_access_policies, name, value);
        }
        Object::XMesh(value) => put_custom(&mut objects.x_meshes, &previous.x_meshes, name, value),
        Object::BackendTlsPolicy(value) => {
            put_custom(&mut objects.backend_tls_policies, &previous.backend_tls_policies, name, value);
        }
        Object::Route(kind, value) => {
            put_route(&mut objects.routes, &previous.routes, RouteName { kind: *kind, name }, value);
        }
    }
}

type Values<T> = BTreeMap<ObjectName, Arc<T>>;

fn put<T: PartialEq>(values: &mut Values<T>, previous: &Values<T>, name: ObjectName, value: &Arc<T>) {
    if let Entry::Vacant(entry) = values.entry(name) {
        let same = previous.get(entry.key()).filter(|last| Arc::ptr_eq(last, value) || *last == value);
        entry.insert(same.unwrap_or(value).clone());
    }
}

/// As [`put`], and counts the generation where the object does not bring its own.
fn put_custom(values: &mut Values<Custom>, previous: &Values<Custom>, name: ObjectName, value: &Arc<Custom>) {
    let Entry::Vacant(entry) = values.entry(name) else { return };
    let last = previous.get(entry.key());
    let counted = counted(value, last.map(Arc::as_ref));
    let same = last.filter(|last| ***last == counted).cloned();
    entry.insert(same.unwrap_or_else(|| Arc::new(counted)));
}

/// The same for a route.
fn put_route(
    values: &mut BTreeMap<RouteName, Arc<Route>>,
    previous: &BTreeMap<RouteName, Arc<Route>>,
    name: RouteName,
    value: &Arc<Route>,
) {
    let Entry::Vacant(entry) = values.entry(name) else { return };
    let last = previous.get(entry.key());
    let written = counted(&value.written, last.map(|last| &last.written));
    let route = Route { written, ..Route::clone(value) };
    let same = last.filter(|last| ***last == route).cloned();
    entry.insert(same.unwrap_or_else(|| Arc::new(route)));
}

/// The object with its own generation or, where it brings none, one above the last if it changed.
fn counted(value: &Custom, last: Option<&Custom>) -> Custom {
    if value.generation != 0 {
        return value.clone();
    }
    let same = last.filter(|last| last.spec == value.spec && last.unknown_fields == value.unknown_fields);
    let generation = same.map_or_else(|| last.map_or(0, |last| last.generation) + 1, |same| same.generation);
    Custom { generation, ..value.clone() }
}
