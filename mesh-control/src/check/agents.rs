//! The agents, by their own words.

use std::collections::{BTreeMap, BTreeSet};

use super::enrolled::Enrolment;
use super::seen::{Seen, name_of};
use super::{Checked, Verdict};

/// MESH-C004.
pub(super) fn features(seen: &Seen) -> Checked {
    let agents = seen.agents.as_deref()?;
    let mut verdict = Verdict::ok(format!("{} nodes have every feature that is needed", agents.len()));
    for agent in agents {
        match &agent.features {
            Err(error) => verdict.fail(error.clone(), "see why with `kubectl -n NAMESPACE logs POD -c wire`"),
            Ok(features) => {
                for feature in features.iter().filter(|feature| feature.needed && !feature.present) {
                    verdict.fail(
                        format!("node {} lacks {}: {}", agent.node, feature.name, feature.detail),
                        format!(
                            "use a kernel with it on every node (Linux {} and later have it)",
                            feature.since
                        ),
                    );
                }
            }
        }
    }
    Ok(verdict)
}

/// MESH-C008.
pub(super) fn current(seen: &Seen) -> Checked {
    let agents = seen.agents.as_deref()?;
    let configs = seen.mesh_configs.as_deref()?;
    let wanted = configs.iter().find_map(|config| config.metadata.generation);
    let connected: Option<BTreeMap<&str, bool>> = seen.controller.as_ref().ok().and_then(|controller| {
        let nodes = &controller.status.as_ref().ok()?.nodes;
        Some(nodes.iter().map(|node| (node.name.as_str(), node.connected)).collect())
    });
    let mut verdict = Verdict::ok(format!("{} agents hold what the controller tells", agents.len()));
    for agent in agents {
        let node = &agent.node;
        let status = match &agent.status {
            Ok(status) => status,
            Err(error) => {
                verdict.fail(error.clone(), "see why with `kubectl -n NAMESPACE describe pod` and its logs");
                continue;
            }
        };
        for reason in &status.unready {
            verdict.fail(format!("node {node}: {reason}"), "`meshctl status` shows when it is over");
        }
        if !status.discovery.connected || !status.discovery.complete {
            verdict.fail(
                format!("node {node} has no stream from the controller; what it knew stays in force"),
                "see the agent's log for why: `kubectl -n NAMESPACE logs POD -c relay`",
            );
        } else if connected.as_ref().is_some_and(|connected| connected.get(node.as_str()) == Some(&false)) {
            verdict.warn(
                format!("node {node} says it is connected, and the controller that leads does not know it"),
                "ask again in some seconds: the leader may just have changed",
            );
        }
        if !status.wire.programmed {
            verdict.warn(
                format!("node {node}: something that was told is not in the kernel yet"),
                "ask again in some seconds, or wait with `meshctl status --wait`",
            );
        }
        if let Some(wanted) = wanted
            && status.mesh_config_generation < wanted
        {
            verdict.warn(
                format!(
                    "node {node} holds generation {} of the MeshConfig, not {wanted}",
                    status.mesh_config_generation
                ),
                "ask again in some seconds, or wait with `meshctl status --wait`",
            );
        }
    }
    Ok(verdict)
}

/// MESH-C009.
pub(super) fn versions(seen: &Seen) -> Checked {
    let agents = seen.agents.as_deref()?;
    let pods = seen.pods.as_deref()?;
    let mut by_version: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |version: &str, who: String| {
        by_version.entry(version.to_owned()).or_default().insert(who);
    };
    note(&seen.meshctl, "meshctl".to_owned());
    for agent in agents {
        if let Ok(status) = &agent.status {
            note(&status.version, format!("the agent on {}", agent.node));
        }
    }
    let label = |pod: &k8s_openapi::api::core::v1::Pod, key: &str| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned()
    };
    for pod in pods.iter().filter(|pod| pod.metadata.namespace.as_deref() == Some(&seen.mesh)) {
        if label(pod, "app.kubernetes.io/name").as_deref() == Some("mesh-control")
            && let Some(version) = label(pod, "app.kubernetes.io/version")
        {
            note(&version, format!("controller {}", name_of(&pod.metadata)));
        }
    }
    let mut verdict = Verdict::ok(format!("all of version {}", seen.meshctl));
    if by_version.len() > 1 {
        for (version, who) in by_version {
            let who: Vec<String> = who.into_iter().collect();
            verdict.warn(
                format!("version {version}: {}", super::shortened(who).join(", ")),
                "finish the upgrade: `meshctl upgrade | kubectl apply --server-side -f -` with the meshctl of the version wanted",
            );
        }
    }
    Ok(verdict)
}

/// MESH-C012.
pub(super) fn homeless(seen: &Seen) -> Checked {
    let enrolment = Enrolment::of(seen)?;
    let agents = seen.agents.as_deref()?;
    let covered: BTreeSet<&str> =
        agents.iter().filter(|agent| agent.status.is_ok()).map(|agent| agent.node.as_str()).collect();
    let mut verdict = Verdict::ok(format!("{} enrolled pods", enrolment.pods().count()));
    for pod in enrolment.pods() {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if let Some(node) = node.filter(|node| !covered.contains(node)) {
            verdict.fail(
                format!("pod {} is enrolled and on node {node}, whose agent does not answer", name_of(&pod.metadata)),
                "have the agent run there (agent.nodeSelector and agent.tolerations in the values), or keep the pod off that node",
            );
        }
    }
    Ok(verdict)
}
