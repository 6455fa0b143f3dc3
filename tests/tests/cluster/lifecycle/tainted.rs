//! Nodes that are registered with the taint get no pod before the mesh is there, and lose it when their agent is ready.

use mesh_tests::cluster::trial::{TIMEOUT, until};

use crate::{here::Here, scene::ECHO};

const TAINT: &str = "mesh.internal/agent-not-ready";

/// All nodes, with the taint, and a pod that waits for one.
pub(super) struct Nodes<'a> {
    here: &'a Here,
    namespace: String,
}

impl<'a> Nodes<'a> {
    /// Taints them all, and makes an enrolled namespace with a pod that the scheduler finds no node for.
    pub(super) fn waiting(here: &'a Here, namespace: &str) -> Self {
        here.ask(&["taint", "nodes", "--all", &format!("{TAINT}=:NoSchedule")]);
        let pod = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{mesh.internal/mode: enabled}}}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: early, namespace: {namespace}}}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {{name: early, namespace: {namespace}, labels: {{app: early}}}}\nspec:\n  \
             serviceAccountName: early\n  terminationGracePeriodSeconds: 0\n  containers:\n  \
             - {{name: echo, image: {ECHO}, imagePullPolicy: Never, args: [server, --tcp, \"9000\"]}}\n"
        );
        until("the pod to be taken", || {
            here.kubectl.apply(&pod).map(drop).map_err(|error| error.to_string())
        });
        let nodes = Self { here, namespace: namespace.to_owned() };
        until("the scheduler to find no node", || {
            let why = nodes.early("{.status.conditions[?(@.type==\"PodScheduled\")].message}");
            if why.contains("untolerated taint") { Ok(()) } else { Err(why) }
        });
        nodes
    }

    /// The agents are ready: the taint goes from every node, and the pod is in the mesh from its beginning.
    pub(super) fn come(self) {
        until("the taint to go", || {
            let taints = self.here.ask(&["get", "nodes", "--output=jsonpath={.items[*].spec.taints[*].key}"]);
            if taints.contains(TAINT) { Err(taints) } else { Ok(()) }
        });
        for condition in ["Ready", "mesh.internal/Enrolled"] {
            let condition = format!("--for=condition={condition}");
            self.here.ask(&["wait", "--namespace", &self.namespace, "pod/early", &condition, TIMEOUT]);
        }
        let reason = self.early("{.status.conditions[?(@.type==\"mesh.internal/Enrolled\")].reason}");
        assert_eq!(reason, "Enrolled", "it ran before the mesh was there");
    }

    /// A value of the pod.
    fn early(&self, path: &str) -> String {
        let output = format!("--output=jsonpath={path}");
        self.here.ask(&["get", "pod", "early", "--namespace", &self.namespace, &output])
    }
}
