//! The parts of the run directory that the supervisor writes for the controller: Services and Nodes.

use std::{collections::BTreeMap, fs, io};

use k8s_openapi::{
    api::core::v1::{Node, NodeAddress, NodeStatus, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::services::dns_key;
use crate::{addresses::Pair, layout::Layout, manifests::Key, node::overlay};

/// Writes what was added to each Service, and removes those that are gone.
pub(super) fn write_services(layout: &Layout, services: &BTreeMap<Key, Service>) -> io::Result<()> {
    let folder = layout.overlay("services");
    let kept: Vec<String> = services.keys().map(Key::file_name).collect();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !kept.contains(&name) {
            overlay::remove(&folder.join(name))?;
        }
    }
    for (key, service) in services {
        overlay::write(&folder.join(key.file_name()), &added(key, service))?;
    }
    Ok(())
}

/// What the controller does not find in the source; the DNS Service, which may not be there at all, whole.
fn added(key: &Key, service: &Service) -> Service {
    if *key == dns_key() {
        return service.clone();
    }
    let spec = service.spec.clone().unwrap_or_default();
    let port = |port: ServicePort| ServicePort {
        name: port.name,
        protocol: port.protocol,
        port: port.port,
        node_port: port.node_port,
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: spec.cluster_ip,
            cluster_ips: spec.cluster_ips,
            ip_families: spec.ip_families,
            ports: spec.ports.map(|ports| ports.into_iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Removes a node that is no longer part of the cluster.
pub(super) fn remove_node(layout: &Layout, name: &str) -> io::Result<()> {
    overlay::remove(&layout.overlay("nodes").join(format!("{name}.yaml")))
}

/// Writes a node as its kubelet registers it.
pub(super) fn write_node(
    layout: &Layout,
    name: &str,
    manifest: Option<&Node>,
    addresses: Pair,
) -> io::Result<()> {
    let mut labels = manifest.and_then(|node| node.metadata.labels.clone()).unwrap_or_default();
    labels.entry("kubernetes.io/hostname".to_owned()).or_insert_with(|| name.to_owned());
    let internal = |address: std::net::IpAddr| NodeAddress {
        address: address.to_string(),
        type_: "InternalIP".to_owned(),
    };
    let node = Node {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: None,
        status: Some(NodeStatus {
            addresses: Some(addresses.both().map(internal).to_vec()),
            ..NodeStatus::default()
        }),
    };
    overlay::write(&layout.overlay("nodes").join(format!("{name}.yaml")), &node)
}
