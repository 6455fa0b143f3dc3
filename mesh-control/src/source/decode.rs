//! From a document to objects.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    Resource,
    api::{
        core::v1::{Namespace, Node, Pod, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        node::v1::RuntimeClass,
    },
};
use mesh_api::{
    condition::{ACCEPTED, Condition},
    labels,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::kinds::{Unread, unread};
use crate::{
    ca,
    objects::{
        BACKEND_TLS_VERSIONS, CaSecret, Custom, ObjectName, ObjectRef, Route, RouteKind, XMESH_VERSION,
    },
};

/// An object that the build reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    Namespace(Arc<Namespace>),
    ServiceAccount(Arc<ServiceAccount>),
    Node(Arc<Node>),
    RuntimeClass(Arc<RuntimeClass>),
    Pod(Arc<Pod>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    CaSecret(Arc<CaSecret>),
    MeshConfig(Arc<Custom>),
    AccessPolicy(Arc<Custom>),
    ClusterAccessPolicy(Arc<Custom>),
    Route(RouteKind, Arc<Route>),
    BackendTlsPolicy(Arc<Custom>),
    XMesh(Arc<Custom>),
}

/// What became of one object of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decoded {
    /// It was understood.
    Object(ObjectRef, Object),
    /// It was not; the condition says why.
    Problem(ObjectRef, Condition),
}

impl Decoded {
    /// What it is about.
    pub(super) fn reference(&self) -> &ObjectRef {
        match self {
            Self::Object(reference, _) | Self::Problem(reference, _) => reference,
        }
    }
}

/// The objects of a document: one, the items of a list, or none. A document that is no object is
/// reported under `file`.
pub(super) fn decode(document: Value, file: &ObjectRef) -> Vec<Decoded> {
    let Value::Object(mut fields) = document else {
        let message = "a document is not an object with apiVersion and kind; correct or remove it";
        return vec![Decoded::Problem(file.clone(), Condition::failed(ACCEPTED, "NotAnObject", message))];
    };
    let is_list = text(&fields, "kind").is_some_and(|kind| kind == "List" || kind.ends_with("List"));
    if is_list && let Some(Value::Array(items)) = fields.remove("items") {
        return items.into_iter().flat_map(|item| decode(item, file)).collect();
    }
    decode_object(fields, file).into_iter().collect()
}

fn decode_object(fields: Map<String, Value>, file: &ObjectRef) -> Option<Decoded> {
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let (Some(api_version), Some(kind), Some(name)) = (
        text(&fields, "apiVersion"),
        text(&fields, "kind"),
        metadata.and_then(|metadata| text(metadata, "name")).filter(|name| is_path_segment(name)),
    ) else {
        let shown = ["apiVersion", "kind"].map(|field| text(&fields, field).unwrap_or("none"));
        let message = format!(
            "an object (apiVersion {}, kind {}) lacks apiVersion, kind or a valid metadata.name; the object has no effect",
            shown[0], shown[1]
        );
        return Some(Decoded::Problem(file.clone(), Condition::failed(ACCEPTED, "NotAnObject", message)));
    };
    let namespace = metadata.and_then(|metadata| text(metadata, "namespace")).unwrap_or("default");
    let reference = |namespaced: bool| ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: ObjectName::new(if namespaced { namespace } else { "" }, name),
    };
    if !is_path_segment(namespace) {
        let message = format!("metadata.namespace `{namespace}` of {kind} {name} is not a namespace's name");
        return Some(Decoded::Problem(file.clone(), Condition::failed(ACCEPTED, "NotAnObject", message)));
    }
    let mesh = api_version == labels::API_VERSION;
    if let Some(kind) = route_kind(api_version, kind) {
        return Some(route(&fields, kind, reference(true)));
    }
    let decoded = match kind {
        "Namespace" if is::<Namespace>(api_version) => {
            typed(fields.clone(), reference(false), Object::Namespace)
        }
        "Node" if is::<Node>(api_version) => typed(fields.clone(), reference(false), Object::Node),
        "RuntimeClass" if is::<RuntimeClass>(api_version) => {
            typed(fields.clone(), reference(false), Object::RuntimeClass)
        }
        "ServiceAccount" if is::<ServiceAccount>(api_version) => {
            typed(fields.clone(), reference(true), Object::ServiceAccount)
        }
        "Pod" if is::<Pod>(api_version) => typed(fields.clone(), reference(true), Object::Pod),
        "Service" if is::<Service>(api_version) => typed(fields.clone(), reference(true), Object::Service),
        "EndpointSlice" if is::<EndpointSlice>(api_version) => {
            typed(fields.clone(), reference(true), Object::EndpointSlice)
        }
        "Secret" if api_version == "v1" => ca_secret(&fields, reference(true))?,
        "MeshConfig" if mesh => custom(&fields, reference(false), Object::MeshConfig),
        "AccessPolicy" if mesh => custom(&fields, reference(true), Object::AccessPolicy),
        "XMesh" if api_version == XMESH_VERSION => custom(&fields, reference(false), Object::XMesh),
        "BackendTLSPolicy" if BACKEND_TLS_VERSIONS.contains(&api_version) => {
            custom(&fields, reference(true), Object::BackendTlsPolicy)
        }
        "ClusterAccessPolicy" if mesh => custom(&fields, reference(false), Object::ClusterAccessPolicy),
        _ => {
            let namespaced = metadata.is_some_and(|metadata| metadata.contains_key("namespace"));
            match unread(api_version, kind) {
                Unread::Ignored => return None,
                Unread::Refused(reason, message) => {
                    Decoded::Problem(reference(namespaced), Condition::failed(ACCEPTED, reason, message))
                }
            }
        }
    };
    Some(decoded)
}

fn is<K: Resource>(api_version: &str) -> bool {
    K::API_VERSION == api_version
}

fn typed<K: DeserializeOwned>(
    fields: Map<String, Value>,
    reference: ObjectRef,
    object: fn(Arc<K>) -> Object,
) -> Decoded {
    match serde_path_to_error::deserialize(Value::Object(fields)) {
        Ok(value) => Decoded::Object(reference, object(Arc::new(value))),
        Err(error) => {
            let message = format!("{}: {}; the object has no effect", error.path(), error.inner());
            Decoded::Problem(reference, Condition::failed(ACCEPTED, "Invalid", message))
        }
    }
}

/// Of a Secret only what an authority is made of, and nothing of a Secret that has none of it.
fn ca_secret(fields: &Map<String, Value>, reference: ObjectRef) -> Option<Decoded> {
    let part = |field: &str| -> BTreeMap<String, String> {
        let map = fields.get(field).and_then(Value::as_object);
        let texts = map.into_iter().flatten().filter(|(key, _)| ca::KEYS.contains(&key.as_str()));
        texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    let secret = CaSecret { data: part("data"), string_data: part("stringData") };
    let present = |key: &&str| secret.data.contains_key(*key) || secret.string_data.contains_key(*key);
    // Without a key nothing can be signed: some other Secret.
    let may_sign = present(&"tls.key") && ca::KEYS.iter().filter(|key| present(key)).count() >= 2;
    may_sign.then(|| Decoded::Object(reference, Object::CaSecret(Arc::new(secret))))
}

/// The kind of route that this is, in a version that is read.
fn route_kind(api_version: &str, kind: &str) -> Option<RouteKind> {
    RouteKind::of(kind).filter(|kind| kind.api_versions().contains(&api_version))
}

fn route(fields: &Map<String, Value>, kind: RouteKind, reference: ObjectRef) -> Decoded {
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let created = metadata.and_then(|metadata| text(metadata, "creationTimestamp")).unwrap_or_default();
    let route = Route {
        reference: reference.clone(),
        created: created.to_owned(),
        written: written(fields, reference.name.clone()),
    };
    Decoded::Object(reference, Object::Route(kind, Arc::new(route)))
}

fn custom(fields: &Map<String, Value>, reference: ObjectRef, object: fn(Arc<Custom>) -> Object) -> Decoded {
    let custom = written(fields, reference.name.clone());
    Decoded::Object(reference, object(Arc::new(custom)))
}

fn written(fields: &Map<String, Value>, name: ObjectName) -> Custom {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let generation = fields.get("metadata").and_then(|metadata| metadata.get("generation"));
    Custom {
        name,
        generation: generation.and_then(Value::as_i64).unwrap_or(0),
        spec: fields.get("spec").cloned().unwrap_or(Value::Null),
        unknown_fields: fields.keys().filter(|key| !KNOWN.contains(&key.as_str())).cloned().collect(),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    fields.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Names become file names of the status directory, so nothing else than Kubernetes' own rule
/// for names (a path segment) may pass.
fn is_path_segment(name: &str) -> bool {
    name.len() <= 253 && name != "." && name != ".." && !name.contains(['/', '%', '\0'])
}
