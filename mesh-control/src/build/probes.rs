//! The ports that the kubelet dials by itself: probes and lifecycle hooks (SEMANTICS 3).

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, HTTPGetAction, LifecycleHandler, PodSpec, Probe, TCPSocketAction,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

/// The containers that run beside one another: the ordinary ones, and init containers that are
/// restarted always (sidecar containers, Kubernetes 1.29).
pub(super) fn running_containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = pod.init_containers.iter().flatten();
    pod.containers
        .iter()
        .chain(sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always")))
}

/// The container ports that probes and hooks of a pod declare, names resolved.
pub(super) fn probe_ports(pod: &PodSpec) -> BTreeSet<u16> {
    running_containers(pod).flat_map(container_ports).collect()
}

fn container_ports(container: &Container) -> Vec<u16> {
    let named = container.ports.as_deref().unwrap_or_default();
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let probes = probes.into_iter().flatten().flat_map(|probe| probed(probe, named));
    let lifecycle = container.lifecycle.as_ref();
    let hooks = lifecycle.into_iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
    let hooks = hooks.flatten().flat_map(|hook| hooked(hook, named));
    probes.chain(hooks).collect()
}

fn probed(probe: &Probe, named: &[ContainerPort]) -> impl Iterator<Item = u16> {
    let grpc = probe.grpc.as_ref().and_then(|grpc| u16::try_from(grpc.port).ok());
    [http(probe.http_get.as_ref(), named), tcp(probe.tcp_socket.as_ref(), named), grpc].into_iter().flatten()
}

fn hooked(hook: &LifecycleHandler, named: &[ContainerPort]) -> impl Iterator<Item = u16> {
    [http(hook.http_get.as_ref(), named), tcp(hook.tcp_socket.as_ref(), named)].into_iter().flatten()
}

/// A probe with a host of its own does not go to the pod.
fn http(action: Option<&HTTPGetAction>, named: &[ContainerPort]) -> Option<u16> {
    let action = action.filter(|action| action.host.as_deref().unwrap_or_default().is_empty())?;
    number(&action.port, named)
}

fn tcp(action: Option<&TCPSocketAction>, named: &[ContainerPort]) -> Option<u16> {
    let action = action.filter(|action| action.host.as_deref().unwrap_or_default().is_empty())?;
    number(&action.port, named)
}

fn number(port: &IntOrString, named: &[ContainerPort]) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        // The kubelet also takes a number that is written as text.
        IntOrString::String(name) => {
            let by_name = named.iter().find(|port| port.name.as_ref() == Some(name));
            by_name.map(|port| port.container_port).or_else(|| name.parse().ok())?
        }
    };
    u16::try_from(number).ok().filter(|number| *number != 0)
}
