//! What the testbed needs of an object beyond what Kubernetes asks for, and what it cannot do.

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, Probe, Service, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::Error;

/// The name of an object, which must be one path component.
pub(super) fn name<'a>(kind: &'static str, metadata: &'a ObjectMeta) -> Result<&'a str, Error> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.len() > 253 || !name.chars().all(valid) || name.starts_with(['-', '.']) {
        let problem = format!("{name:?} is not a DNS subdomain name (a-z, 0-9, '-' and '.')");
        return Err(Error::Field { kind, name: name.to_owned(), field: "metadata.name".to_owned(), problem });
    }
    Ok(name)
}

/// Whether the pod can run here.
pub(super) fn pod(pod: &Pod) -> Result<(), Error> {
    let name = name("Pod", &pod.metadata)?;
    let fail = |field: String, problem: &str| {
        let name = format!("{}/{name}", pod.metadata.namespace.as_deref().unwrap_or("default"));
        Err(Error::Field { kind: "Pod", name, field, problem: problem.to_owned() })
    };
    let Some(spec) = &pod.spec else { return fail("spec".to_owned(), "is missing") };
    if spec.containers.is_empty() {
        return fail("spec.containers".to_owned(), "is empty: name at least one container");
    }
    for (list, container) in containers(spec) {
        let field = |suffix: &str| format!("{list}[{}]{suffix}", container.name);
        if container.name.is_empty() {
            return fail(list.to_owned(), "has a container without a name");
        }
        if container.command.as_ref().is_none_or(Vec::is_empty) {
            let problem =
                "is missing: images are not pulled here, so name a command of the host's file system";
            return fail(field(".command"), problem);
        }
        let probes = [
            ("startupProbe", &container.startup_probe),
            ("livenessProbe", &container.liveness_probe),
            ("readinessProbe", &container.readiness_probe),
        ];
        for (kind, probe) in probes {
            if let Some(problem) = probe.as_ref().and_then(probe_problem) {
                return fail(field(&format!(".{kind}")), problem);
            }
        }
    }
    for volume in spec.volumes.iter().flatten() {
        if !is_supported(volume) {
            let problem = "is of a kind the testbed has not: use emptyDir, configMap, secret or projected";
            return fail(format!("spec.volumes[{}]", volume.name), problem);
        }
    }
    Ok(())
}

/// Whether the Service makes sense here.
pub(super) fn service(service: &Service) -> Result<(), Error> {
    let name = name("Service", &service.metadata)?;
    let Some(spec) = &service.spec else {
        return Err(Error::Field {
            kind: "Service",
            name: name.to_owned(),
            field: "spec".to_owned(),
            problem: "is missing".to_owned(),
        });
    };
    for address in spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip) {
        if address != "None" && !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
            return Err(Error::Field {
                kind: "Service",
                name: name.to_owned(),
                field: "spec.clusterIP".to_owned(),
                problem: format!("{address:?} is no IP address"),
            });
        }
    }
    Ok(())
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = (&'static str, &Container)> {
    let init = spec.init_containers.iter().flatten().map(|container| ("spec.initContainers", container));
    init.chain(spec.containers.iter().map(|container| ("spec.containers", container)))
}

fn probe_problem(probe: &Probe) -> Option<&'static str> {
    let ways =
        [probe.exec.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
    if ways.iter().filter(|way| **way).count() != 1 {
        return Some("must have exactly one of exec, httpGet, tcpSocket and grpc");
    }
    let https = probe.http_get.as_ref().is_some_and(|get| get.scheme.as_deref() == Some("HTTPS"));
    https
        .then_some("asks for scheme HTTPS, which the testbed's kubelet does not speak: use HTTP or tcpSocket")
}

fn is_supported(volume: &Volume) -> bool {
    volume.empty_dir.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
}
