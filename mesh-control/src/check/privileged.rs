//! Enrolled pods that are as good as root on their node, and so are trusted with everything there: the
//! mesh can hold nothing against them.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};

use super::enrolled::Enrolment;
use super::seen::{Seen, name_of};
use super::{Checked, Verdict};

/// Capabilities that reach the mesh's own parts where user namespaces do not confine them.
const CAPABILITIES: [&str; 3] = ["ALL", "BPF", "SYS_ADMIN"];
/// Directories of the node through which its root is had: these, what is above and what is below.
const PATHS: [&str; 7] = [
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
    "/run/containerd",
    "/run/crio",
    "/run/docker.sock",
    "/run/mesh",
    "/var/lib/kubelet",
];

/// MESH-C018.
pub(super) fn pods(seen: &Seen) -> Checked {
    let enrolment = Enrolment::of(seen)?;
    let mut verdict = Verdict::ok("none");
    for pod in enrolment.pods() {
        if let Some(why) = why(pod) {
            verdict.warn(
                format!("pod {} is trusted like root on its node: {why}", name_of(&pod.metadata)),
                "take that away from it, or keep it apart from what it must not reach: policies do not hold for it",
            );
        }
    }
    Ok(verdict)
}

fn why(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers().find_map(|container| of_container(container, spec)).or_else(|| {
        let paths = spec.volumes.iter().flatten().filter_map(|volume| volume.host_path.as_ref());
        let mut paths = paths.map(|volume| volume.path.as_str());
        paths.find(|path| reaches_root(path)).map(|path| format!("hostPath {path}"))
    })
}

fn of_container(container: &Container, spec: &PodSpec) -> Option<String> {
    let context = container.security_context.as_ref()?;
    if context.privileged == Some(true) {
        return Some(format!("container {} is privileged", container.name));
    }
    let in_host_user_namespace = spec.host_users != Some(false);
    let added = capability(context, &CAPABILITIES).filter(|_| in_host_user_namespace);
    let traced = capability(context, &["SYS_PTRACE"]).filter(|_| spec.host_pid == Some(true));
    added
        .map(|name| format!("container {} has the capability {name}", container.name))
        .or_else(|| traced.map(|_| format!("container {} has SYS_PTRACE with hostPID", container.name)))
}

fn capability(context: &SecurityContext, wanted: &[&'static str]) -> Option<&'static str> {
    let added = context.capabilities.as_ref()?.add.as_ref()?;
    let bare = |name: &str| name.strip_prefix("CAP_").unwrap_or(name).to_ascii_uppercase();
    wanted.iter().find(|wanted| added.iter().any(|name| bare(name) == **wanted)).copied()
}

/// Whether a directory is one of those, holds one, or is in one. `/var/run` is `/run`.
fn reaches_root(path: &str) -> bool {
    let trimmed = path.trim_end_matches('/');
    let path =
        trimmed.strip_prefix("/var/run").map_or_else(|| trimmed.to_owned(), |rest| format!("/run{rest}"));
    let below = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    PATHS.iter().any(|known| below(&path, known) || below(known, &path))
}

#[cfg(test)]
mod tests {
    use super::reaches_root;

    #[test]
    fn paths_above_and_below_count() {
        for path in [
            "/",
            "/sys",
            "/sys/fs/bpf",
            "/sys/fs/bpf/mesh",
            "/run",
            "/var/run/",
            "/var/run/containerd/containerd.sock",
            "/run/docker.sock",
            "/var/lib",
        ] {
            assert!(reaches_root(path), "{path}");
        }
        for path in ["/tmp", "/var/log", "/sys/fs/bpfs", "/data", "/run/docker"] {
            assert!(!reaches_root(path), "{path}");
        }
    }
}
