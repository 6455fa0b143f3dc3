//! The objects of one kind within the model's set.

use std::{collections::BTreeMap, sync::Arc};

use super::kind::Kind;
use crate::{
    objects::{ObjectName, Objects, RouteName},
    source::decode::Object,
};

/// Puts an object in its place; tells whether it is other than what was there. One that is equal
/// leaves what was there, so that a kind that is listed again changes nothing by that.
pub(super) fn put(objects: &mut Objects, name: ObjectName, object: &Object) -> bool {
    match object {
        Object::Namespace(value) => put_value(&mut objects.namespaces, name, value),
        Object::ServiceAccount(value) => put_value(&mut objects.service_accounts, name, value),
        Object::Node(value) => put_value(&mut objects.nodes, name, value),
        Object::RuntimeClass(value) => put_value(&mut objects.runtime_classes, name, value),
        Object::Pod(value) => put_value(&mut objects.pods, name, value),
        Object::Service(value) => put_value(&mut objects.services, name, value),
        Object::EndpointSlice(value) => put_value(&mut objects.endpoint_slices, name, value),
        Object::CaSecret(value) => put_value(&mut objects.ca_secrets, name, value),
        Object::MeshConfig(value) => put_value(&mut objects.mesh_configs, name, value),
        Object::AccessPolicy(value) => put_value(&mut objects.access_policies, name, value),
        Object::ClusterAccessPolicy(value) => put_value(&mut objects.cluster_access_policies, name, value),
        Object::XMesh(value) => put_value(&mut objects.x_meshes, name, value),
        Object::BackendTlsPolicy(value) => put_value(&mut objects.backend_tls_policies, name, value),
        Object::Route(kind, value) => put_value(&mut objects.routes, RouteName { kind: *kind, name }, value),
    }
}

/// Keeps the objects of a kind whose name passes; tells whether any did not.
pub(super) fn retain(objects: &mut Objects, kind: Kind, keep: impl Fn(&ObjectName) -> bool) -> bool {
    match kind {
        Kind::Definition => false,
        Kind::Namespace => retain_values(&mut objects.namespaces, keep),
        Kind::ServiceAccount => retain_values(&mut objects.service_accounts, keep),
        Kind::Node => retain_values(&mut objects.nodes, keep),
        Kind::RuntimeClass => retain_values(&mut objects.runtime_classes, keep),
        Kind::Pod => retain_values(&mut objects.pods, keep),
        Kind::Service => retain_values(&mut objects.services, keep),
        Kind::EndpointSlice => retain_values(&mut objects.endpoint_slices, keep),
        Kind::CaSecret => retain_values(&mut objects.ca_secrets, keep),
        Kind::MeshConfig => retain_values(&mut objects.mesh_configs, keep),
        Kind::AccessPolicy => retain_values(&mut objects.access_policies, keep),
        Kind::ClusterAccessPolicy => retain_values(&mut objects.cluster_access_policies, keep),
        Kind::XMesh => retain_values(&mut objects.x_meshes, keep),
        Kind::BackendTlsPolicy => retain_values(&mut objects.backend_tls_policies, keep),
        Kind::Route(kind) => {
            retain_values(&mut objects.routes, |route: &RouteName| route.kind != kind || keep(&route.name))
        }
    }
}

/// Takes one object away; tells whether it was there.
pub(super) fn remove(objects: &mut Objects, kind: Kind, name: &ObjectName) -> bool {
    match kind {
        Kind::Definition => false,
        Kind::Namespace => objects.namespaces.remove(name).is_some(),
        Kind::ServiceAccount => objects.service_accounts.remove(name).is_some(),
        Kind::Node => objects.nodes.remove(name).is_some(),
        Kind::RuntimeClass => objects.runtime_classes.remove(name).is_some(),
        Kind::Pod => objects.pods.remove(name).is_some(),
        Kind::Service => objects.services.remove(name).is_some(),
        Kind::EndpointSlice => objects.endpoint_slices.remove(name).is_some(),
        Kind::CaSecret => objects.ca_secrets.remove(name).is_some(),
        Kind::MeshConfig => objects.mesh_configs.remove(name).is_some(),
        Kind::AccessPolicy => objects.access_policies.remove(name).is_some(),
        Kind::ClusterAccessPolicy => objects.cluster_access_policies.remove(name).is_some(),
        Kind::XMesh => objects.x_meshes.remove(name).is_some(),
        Kind::BackendTlsPolicy => objects.backend_tls_policies.remove(name).is_some(),
        Kind::Route(kind) => objects.routes.remove(&RouteName { kind, name: name.clone() }).is_some(),
    }
}

/// Whether there is an object of this kind and name.
pub(super) fn has(objects: &Objects, kind: Kind, name: &ObjectName) -> bool {
    match kind {
        Kind::Definition => false,
        Kind::Namespace => objects.namespaces.contains_key(name),
        Kind::ServiceAccount => objects.service_accounts.contains_key(name),
        Kind::Node => objects.nodes.contains_key(name),
        Kind::RuntimeClass => objects.runtime_classes.contains_key(name),
        Kind::Pod => objects.pods.contains_key(name),
        Kind::Service => objects.services.contains_key(name),
        Kind::EndpointSlice => objects.endpoint_slices.contains_key(name),
        Kind::CaSecret => objects.ca_secrets.contains_key(name),
        Kind::MeshConfig => objects.mesh_configs.contains_key(name),
        Kind::AccessPolicy => objects.access_policies.contains_key(name),
        Kind::ClusterAccessPolicy => objects.cluster_access_policies.contains_key(name),
        Kind::XMesh => objects.x_meshes.contains_key(name),
        Kind::BackendTlsPolicy => objects.backend_tls_policies.contains_key(name),
        Kind::Route(kind) => objects.routes.contains_key(&RouteName { kind, name: name.clone() }),
    }
}

fn put_value<K: Ord, T: PartialEq>(values: &mut BTreeMap<K, Arc<T>>, name: K, value: &Arc<T>) -> bool {
    let changed = values.get(&name) != Some(value);
    if changed {
        values.insert(name, value.clone());
    }
    changed
}

fn retain_values<K: Ord, T>(values: &mut BTreeMap<K, Arc<T>>, keep: impl Fn(&K) -> bool) -> bool {
    let before = values.len();
    values.retain(|name, _| keep(name));
    values.len() != before
}
