//! The taint that keeps pods off a node until its agent is ready.
//!
//! Whoever registers nodes may give them `mesh.internal/agent-not-ready`. It goes when the agent's
//! pod on the node is ready, which says that the programs are attached and everything the controller
//! told is in the kernel; and it does not come back by itself: an agent that restarts leaves its
//! programs in force. Which node has which agent is read from the API and not from this process's
//! own streams, because an agent may be connected to another replica.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use mesh_api::labels::NOT_READY;

use crate::{ca::Account, objects::Objects};

/// What a node's taints are to become, where that is not what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Untainted {
    /// The node.
    pub node: String,
    /// Its version that this was read from: the change is refused if it is another by then.
    pub resource_version: Option<String>,
    /// What is left.
    pub taints: Vec<Taint>,
}

/// The nodes whose taint is to go: those with a ready agent.
#[must_use]
pub fn ready_to_go(objects: &Objects, agents: &Account) -> Vec<Untainted> {
    let tainted = objects.nodes.values().filter(|node| taints(node).iter().any(is_ours));
    let mut tainted = tainted.peekable();
    // In the ordinary case there is none, and then the pods need not be gone through.
    if tainted.peek().is_none() {
        return Vec::new();
    }
    let ready: BTreeSet<&str> = objects
        .pods
        .iter()
        .filter(|(name, pod)| name.namespace == agents.namespace && is_ready_agent(pod, agents))
        .filter_map(|(_, pod)| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    tainted
        .filter_map(|node| {
            let name = node.metadata.name.as_deref().filter(|name| ready.contains(name))?;
            let left = taints(node).iter().filter(|taint| !is_ours(taint));
            Some(Untainted {
                node: name.to_owned(),
                resource_version: node.metadata.resource_version.clone(),
                taints: left.cloned().collect(),
            })
        })
        .collect()
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn is_ours(taint: &Taint) -> bool {
    taint.key == NOT_READY
}

/// Whether a pod is an agent's and ready. One that is being deleted is about not to be.
fn is_ready_agent(pod: &Pod, agents: &Account) -> bool {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    account == Some(agents.name.as_str())
        && pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Node, Pod};
    use serde_json::{Value, from_value, json};

    use super::ready_to_go;
    use crate::{
        ca::Account,
        objects::{ObjectName, Objects},
    };

    fn node(name: &str, taints: &Value) -> (ObjectName, Arc<Node>) {
        let node =
            json!({ "metadata": { "name": name, "resourceVersion": "7" }, "spec": { "taints": taints } });
        (ObjectName::cluster(name), Arc::new(from_value(node).unwrap()))
    }

    fn agent(
        namespace: &str,
        node: &str,
        account: &str,
        ready: &str,
        extra: &Value,
    ) -> (ObjectName, Arc<Pod>) {
        let mut pod = json!({
            "metadata": { "name": format!("agent-{node}"), "namespace": namespace },
            "spec": { "nodeName": node, "serviceAccountName": account, "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        });
        if let (Some(metadata), Some(extra)) = (pod["metadata"].as_object_mut(), extra.as_object()) {
            metadata.extend(extra.clone());
        }
        (ObjectName::new(namespace, format!("agent-{node}")), Arc::new(from_value(pod).unwrap()))
    }

    #[test]
    fn the_taint_goes_where_a_ready_agent_is_and_no_other_taint_does() {
        let ours = json!([
            { "key": "mesh.internal/agent-not-ready", "effect": "NoSchedule" },
            { "key": "gpu", "value": "yes", "effect": "NoExecute" },
        ]);
        let names = ["ready", "starting", "leaving", "strange", "elsewhere", "none"];
        let mut objects =
            Objects { nodes: names.iter().map(|name| node(name, &ours)).collect(), ..Objects::default() };
        objects.nodes.extend([node("clean", &json!([]))]);
        let leaving = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        objects.pods.extend([
            agent("mesh-system", "ready", "mesh-agent", "True", &json!({})),
            agent("mesh-system", "starting", "mesh-agent", "False", &json!({})),
            agent("mesh-system", "leaving", "mesh-agent", "True", &leaving),
            agent("mesh-system", "strange", "other", "True", &json!({})),
            agent("shop", "elsewhere", "mesh-agent", "True", &json!({})),
            agent("mesh-system", "clean", "mesh-agent", "True", &json!({})),
        ]);
        let account = Account { namespace: "mesh-system".to_owned(), name: "mesh-agent".to_owned() };
        let going = ready_to_go(&objects, &account);
        let [one] = going.as_slice() else { panic!("{going:?}") };
        assert_eq!((one.node.as_str(), one.resource_version.as_deref()), ("ready", Some("7")));
        assert_eq!(one.taints.iter().map(|taint| taint.key.as_str()).collect::<Vec<_>>(), ["gpu"]);
        objects.nodes.clear();
        assert!(ready_to_go(&objects, &account).is_empty());
    }
}
