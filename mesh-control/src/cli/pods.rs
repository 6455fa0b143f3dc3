//! Which pods of the mesh are asked, and with which command.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A part of the mesh that has an admin socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// One on each node.
    Agent,
    /// Of several the one that holds the Lease.
    Controller,
}

impl Part {
    /// What its DaemonSet or Deployment is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "mesh-agent",
            Self::Controller => "mesh-control",
        }
    }

    /// What its pods are labelled with.
    pub(super) fn selector(self) -> String {
        format!("app.kubernetes.io/name={}", self.name())
    }

    /// The container with the socket.
    pub(super) const fn container(self) -> &'static str {
        match self {
            Self::Agent => "relay",
            Self::Controller => "control",
        }
    }

    /// What passes standard input and output on to the socket.
    pub(super) fn command(self, run_dir: &str) -> Vec<String> {
        let program = format!("/usr/bin/{}", self.name());
        vec![program, "admin".to_owned(), format!("--run-dir={run_dir}")]
    }

    /// Why nothing can be run in its container now.
    pub(super) fn trouble(self, pod: &Pod) -> Option<String> {
        let status = pod.status.as_ref();
        let own = |container: &&ContainerStatus| container.name == self.container();
        let state = status
            .and_then(|status| status.container_statuses.as_ref()?.iter().find(own))
            .and_then(|container| container.state.clone());
        if state.as_ref().is_some_and(|state| state.running.is_some()) {
            return None;
        }
        let waiting = state.as_ref().and_then(|state| state.waiting.as_ref());
        let ended = state.as_ref().and_then(|state| state.terminated.as_ref());
        let reason = waiting
            .and_then(|waiting| waiting.reason.clone())
            .or_else(|| ended.and_then(|ended| ended.reason.clone()))
            .or_else(|| status.and_then(|status| status.phase.clone()))
            .unwrap_or_else(|| "Unknown".to_owned());
        Some(format!("has no running container {} ({reason})", self.container()))
    }
}

/// The directory with the admin socket, by the arguments of a pod's container: the pod's own where it
/// has one, else the run directory.
pub(super) fn run_dir(pod: &Pod, container: &str) -> String {
    let named = |option: &str| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let own = containers.filter(|own| own.name == container);
        let arguments = own.flat_map(|own| own.args.iter().flatten());
        arguments.filter_map(|argument| argument.strip_prefix(option)).next_back()
    };
    named("--pod-dir=").or_else(|| named("--run-dir=")).unwrap_or("/run/mesh").to_owned()
}

/// The agent of each node: of several, as in a rolling restart, one that is not ending and is ready; of
/// those the youngest.
pub(super) fn chosen(pods: Vec<Pod>) -> BTreeMap<String, Pod> {
    let mut by_node: BTreeMap<String, Pod> = BTreeMap::new();
    for pod in pods {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else { continue };
        if by_node.get(&node).is_none_or(|other| rank(other) < rank(&pod)) {
            by_node.insert(node, pod);
        }
    }
    by_node
}

fn rank(pod: &Pod) -> (bool, bool, Option<&Time>) {
    let stays = pod.metadata.deletion_timestamp.is_none();
    (stays, is_ready(pod), pod.metadata.creation_timestamp.as_ref())
}

/// The controller to ask: who holds the Lease (`<pod>_<number>`), else one that is ready, else any
/// that is not ending.
pub(super) fn leader<'a>(pods: &'a [Pod], holder: Option<&str>) -> Option<&'a Pod> {
    let held = holder.map(|holder| holder.rsplit_once('_').map_or(holder, |(pod, _)| pod));
    let live = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.iter()
        .find(|pod| pod.metadata.name.is_some() && pod.metadata.name.as_deref() == held)
        .or_else(|| live().find(|pod| is_ready(pod)))
        .or_else(|| live().next())
}

/// Whether a pod is Ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{Part, chosen, leader, run_dir};

    fn pod(name: &str, node: &str, made: &str, rest: &Value) -> Pod {
        let mut pod = json!({
            "metadata": { "name": name, "creationTimestamp": made },
            "spec": { "nodeName": node, "containers": [{ "name": "relay", "args": ["relay", "--run-dir=/run/other"] }] },
        });
        if rest["ending"] == true {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
        }
        pod["status"] = rest["status"].clone();
        serde_json::from_value(pod).unwrap()
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-01T00:00:01Z";

    #[test]
    fn the_youngest_agent_that_is_ready_and_does_not_end_is_asked() {
        let ending = json!({ "ending": true });
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let pods = vec![
            pod("old", "n1", EARLY, &Value::Null),
            pod("new", "n1", LATE, &Value::Null),
            pod("only", "n2", EARLY, &ending),
            pod("ends", "n3", LATE, &ending),
            pod("stays", "n3", EARLY, &Value::Null),
            pod("serves", "n4", EARLY, &ready),
            pod("begins", "n4", LATE, &Value::Null),
        ];
        for pods in [pods.clone(), pods.into_iter().rev().collect()] {
            let names: Vec<_> =
                chosen(pods).into_iter().map(|(node, pod)| (node, pod.metadata.name.unwrap())).collect();
            let wanted = [("n1", "new"), ("n2", "only"), ("n3", "stays"), ("n4", "serves")];
            assert_eq!(names, wanted.map(|(node, pod)| (node.to_owned(), pod.to_owned())));
        }
    }

    #[test]
    fn the_controller_that_holds_the_lease_is_asked_else_a_ready_one() {
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let pods = [
            pod("a-1", "n1", EARLY, &Value::Null),
            pod("b_1", "n1", EARLY, &ready),
            pod("c", "n2", EARLY, &ready),
        ];
        let name = |holder| leader(&pods, holder).and_then(|pod| pod.metadata.name.clone());
        assert_eq!(name(Some("c_00ff")).as_deref(), Some("c"));
        assert_eq!(name(Some("a-1_7")).as_deref(), Some("a-1"));
        assert_eq!(name(Some("gone_7")).as_deref(), Some("b_1"));
        assert_eq!(name(None).as_deref(), Some("b_1"));
        assert_eq!(leader(&[], None), None);
    }

    #[test]
    fn the_command_names_the_run_directory_that_the_container_has() {
        let made = pod("a", "n1", EARLY, &Value::Null);
        let command = Part::Agent.command(&run_dir(&made, "relay"));
        assert_eq!(command, ["/usr/bin/mesh-agent", "admin", "--run-dir=/run/other"]);
        assert_eq!(run_dir(&made, "control"), "/run/mesh");
        let mut own = made;
        let arguments = ["--pod-dir=/run/mesh-pod".to_owned(), "--run-dir=/run/other".to_owned()];
        own.spec.as_mut().unwrap().containers[0].args = Some(arguments.into());
        assert_eq!(run_dir(&own, "relay"), "/run/mesh-pod");
    }

    #[test]
    fn a_container_that_does_not_run_is_told_by_its_reason() {
        let state = |state: Value| {
            json!({ "status": { "phase": "Pending", "containerStatuses": [
            { "name": "relay", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state }] } })
        };
        let waiting = state(json!({ "waiting": { "reason": "ImagePullBackOff" } }));
        let trouble = |rest: &Value| Part::Agent.trouble(&pod("a", "n1", EARLY, rest));
        assert_eq!(trouble(&waiting).as_deref(), Some("has no running container relay (ImagePullBackOff)"));
        assert_eq!(trouble(&state(json!({ "running": {} }))), None);
        let pending = json!({ "status": { "phase": "Pending" } });
        assert_eq!(trouble(&pending).as_deref(), Some("has no running container relay (Pending)"));
    }
}
