//! Other meshes: both would take the same connections.

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::enrolled::Enrolment;
use super::seen::{Seen, name_of};
use super::{Checked, Verdict};

/// Another mesh: how its own parts are told, and how it is given a namespace.
struct Mesh {
    name: &'static str,
    /// Labels of the pods of its control or data plane.
    parts: &'static [(&'static str, &'static str)],
    /// Labels or annotations of a namespace, with the values by which it has it.
    takes: &'static [(&'static str, &'static [&'static str])],
    /// Containers that it puts into pods.
    sidecars: &'static [&'static str],
}

const MESHES: [Mesh; 4] = [
    Mesh {
        name: "Istio",
        parts: &[("app", "istiod"), ("app", "ztunnel"), ("k8s-app", "istio-cni-node")],
        takes: &[
            ("istio-injection", &["enabled"]),
            ("istio.io/rev", &[]),
            ("istio.io/dataplane-mode", &["ambient"]),
        ],
        sidecars: &["istio-proxy"],
    },
    Mesh {
        name: "Linkerd",
        parts: &[
            ("linkerd.io/control-plane-component", "destination"),
            ("linkerd.io/control-plane-component", "proxy-injector"),
        ],
        takes: &[("linkerd.io/inject", &["enabled", "ingress"])],
        sidecars: &["linkerd-proxy"],
    },
    Mesh {
        name: "Consul",
        parts: &[("component", "connect-injector"), ("app", "consul")],
        takes: &[("connect-inject", &["enabled"])],
        sidecars: &["consul-dataplane"],
    },
    Mesh {
        name: "Kuma",
        parts: &[("app", "kuma-control-plane")],
        takes: &[("kuma.io/sidecar-injection", &["enabled", "true"])],
        sidecars: &["kuma-sidecar"],
    },
];

/// MESH-C013.
pub(super) fn meshes(seen: &Seen) -> Checked {
    let (pods, namespaces) = (seen.pods.as_deref()?, seen.namespaces.as_deref()?);
    let enrolment = Enrolment::of(seen)?;
    let mut verdict = Verdict::ok("no other mesh was found");
    for mesh in &MESHES {
        if let Some(part) = pods.iter().find(|pod| mesh.has_part(pod)) {
            verdict.warn(
                format!("{} runs here (pod {})", mesh.name, name_of(&part.metadata)),
                "give every namespace to one mesh only; a pod that the other one has is refused enrolment",
            );
        }
        for namespace in namespaces.iter().filter(|namespace| mesh.takes(namespace)) {
            let name = namespace.metadata.name.as_deref().unwrap_or_default();
            if enrolment.enrols(name) {
                verdict.fail(
                    format!("namespace {name} is given to {} and to this mesh", mesh.name),
                    format!("take one off: `meshctl unenroll {name}`, or the other mesh's label"),
                );
            }
        }
        for pod in enrolment.pods().filter(|pod| mesh.has_sidecar(pod)) {
            verdict.fail(
                format!("enrolled pod {} has {}'s sidecar, and is refused", name_of(&pod.metadata), mesh.name),
                "have it made anew without the sidecar, or take it out of this mesh (mesh.internal/mode: disabled)",
            );
        }
    }
    Ok(verdict)
}

impl Mesh {
    fn has_part(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        self.parts
            .iter()
            .any(|(key, value)| labels.and_then(|labels| labels.get(*key)).is_some_and(|own| own == value))
    }

    fn takes(&self, namespace: &Namespace) -> bool {
        let places = [namespace.metadata.labels.as_ref(), namespace.metadata.annotations.as_ref()];
        self.takes.iter().any(|(key, values)| {
            let found = places.iter().flatten().find_map(|place| place.get(*key));
            found.is_some_and(|value| values.is_empty() || values.contains(&value.as_str()))
        })
    }

    fn has_sidecar(&self, pod: &Pod) -> bool {
        let containers = pod
            .spec
            .iter()
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        containers.into_iter().any(|container| self.sidecars.contains(&container.name.as_str()))
    }
}
