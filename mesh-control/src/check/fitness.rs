//! Whether the cluster can carry the mesh: its version, its nodes, and what its namespace allows.

use k8s_openapi::api::core::v1::Node;

use super::seen::Seen;
use super::{Checked, Verdict};

/// The oldest Kubernetes that everything works on.
const KUBERNETES: (u32, u32) = (1, 30);
/// The oldest kernel that the programs work on.
const KERNEL: (u32, u32) = (6, 6);
/// Architectures that there are images for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
/// The namespace's label that Pod Security goes by.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// MESH-C001.
pub(super) fn kubernetes(seen: &Seen) -> Checked {
    let found = *seen.kubernetes.as_ref()?;
    let mut verdict = Verdict::ok(format!("Kubernetes {}.{}", found.0, found.1));
    if found < KUBERNETES {
        verdict.fail(
            format!("Kubernetes {}.{} is too old", found.0, found.1),
            format!(
                "upgrade to {}.{} or later: the mesh's ValidatingAdmissionPolicy needs it",
                KUBERNETES.0, KUBERNETES.1
            ),
        );
    }
    Ok(verdict)
}

/// MESH-C003.
pub(super) fn nodes(seen: &Seen) -> Checked {
    let nodes = seen.nodes.as_deref()?;
    let mut verdict = Verdict::ok(format!("{} nodes", nodes.len()));
    if nodes.is_empty() {
        verdict.fail("there are no nodes", "add a node; without one nothing can be enforced");
    }
    for node in nodes {
        judge(node, &mut verdict);
    }
    Ok(verdict)
}

fn judge(node: &Node, verdict: &mut Verdict) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let Some(info) = node.status.as_ref().and_then(|status| status.node_info.as_ref()) else {
        verdict.warn(format!("node {name} does not say what it runs"), "see whether its kubelet is running");
        return;
    };
    if info.operating_system != "linux" {
        verdict.warn(
            format!("node {name} runs {}", info.operating_system),
            "keep enrolled pods off nodes that do not run Linux (nodeSelector kubernetes.io/os: linux)",
        );
        return;
    }
    if !ARCHITECTURES.contains(&info.architecture.as_str()) {
        verdict.fail(
            format!("node {name} is {}, which no image of the mesh is for", info.architecture),
            "keep the agent and enrolled pods off it (agent.nodeSelector in the values)",
        );
    }
    match version(&info.kernel_version) {
        Some(kernel) if kernel >= KERNEL => {}
        Some(_) => verdict.fail(
            format!("node {name} has kernel {}", info.kernel_version),
            format!(
                "upgrade it to Linux {}.{} or later: the agent refuses to start below",
                KERNEL.0, KERNEL.1
            ),
        ),
        None => verdict.warn(
            format!("node {name} has kernel `{}`, which is no version", info.kernel_version),
            "see with `uname -r` whether it is 6.6 or later",
        ),
    }
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.');
    let number = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    Some((number(parts.next()?)?, number(parts.next()?)?))
}

/// MESH-C019.
pub(super) fn pod_security(seen: &Seen) -> Checked {
    let namespaces = seen.namespaces.as_deref()?;
    let own = namespaces.iter().find(|namespace| namespace.metadata.name.as_deref() == Some(&seen.mesh));
    let Some(own) = own else { return Ok(Verdict::ok(format!("namespace {} is not there yet", seen.mesh))) };
    let level = own.metadata.labels.as_ref().and_then(|labels| labels.get(ENFORCE)).map(String::as_str);
    let mut verdict = Verdict::ok(format!("namespace {} lets the agent's pods be made", seen.mesh));
    if let Some(level @ ("baseline" | "restricted")) = level {
        verdict.fail(
            format!(
                "namespace {} has {ENFORCE}: {level}, and the agent shares the node's network",
                seen.mesh
            ),
            format!("kubectl label namespace {} {ENFORCE}=privileged --overwrite", seen.mesh),
        );
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_of_distributions_are_read() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("6.6-generic"), Some((6, 6)));
        assert_eq!(version("5.15.0-1051-aws"), Some((5, 15)));
        assert_eq!(version("v6"), None);
        assert_eq!(version(""), None);
    }
}
