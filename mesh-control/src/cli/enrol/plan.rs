//! What a label will do to each pod (SEMANTICS 1), before it is written.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec};
use mesh_api::crd::LabelSelector;
use mesh_api::labels::{MODE, MODE_DISABLED, MODE_ENABLED};
use serde::Serialize;

use super::super::endpoint::EndpointError;
use crate::build::refusal;

type Labels = BTreeMap<String, String>;

/// What is labelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A namespace.
    Namespace(String),
    /// One pod: its namespace, its name.
    Pod(String, String),
}

impl Target {
    /// Reads `NAMESPACE`, `namespace/NAME`, `pod/NAME` or `pod/NAMESPACE/NAME`.
    pub(super) fn parse(text: &str, namespace: &str) -> Result<Self, EndpointError> {
        let target = match text.split('/').collect::<Vec<_>>().as_slice() {
            [name] | ["ns" | "namespace" | "namespaces", name] => Self::Namespace((*name).to_owned()),
            ["po" | "pod" | "pods", name] => Self::Pod(namespace.to_owned(), (*name).to_owned()),
            ["po" | "pod" | "pods", namespace, name] => {
                Self::Pod((*namespace).to_owned(), (*name).to_owned())
            }
            _ => return Err(EndpointError::Target(text.to_owned())),
        };
        let named = match &target {
            Self::Namespace(name) => !name.is_empty(),
            Self::Pod(namespace, name) => !namespace.is_empty() && !name.is_empty(),
        };
        if named { Ok(target) } else { Err(EndpointError::Target(text.to_owned())) }
    }

    /// Where the pods are.
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Namespace(name) | Self::Pod(name, _) => name,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(formatter, "namespace/{name}"),
            Self::Pod(namespace, name) => write!(formatter, "pod/{namespace}/{name}"),
        }
    }
}

/// What a pod can expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Fate {
    /// It will be in the mesh, or is.
    Joins,
    /// It will not be in the mesh any more, or is not.
    Leaves,
    /// It asks for the mesh and cannot be in it.
    Refused,
    /// It is not concerned.
    Stays,
}

impl Fate {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Joins => "in the mesh",
            Self::Leaves => "out of the mesh",
            Self::Refused => "refused",
            Self::Stays => "unchanged",
        }
    }
}

/// What is to be written, and what it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The label's value; nothing to take it off.
    pub(super) mode: Option<&'static str>,
    /// Whether that is not so already.
    pub(super) changes: bool,
    pub(super) pods: Vec<Expected>,
}

/// A pod, and what it can expect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) fate: Fate,
    pub(super) why: String,
}

/// Decides. `selector` is that of the MeshConfig, which enrols what has no label.
pub(super) fn plan(
    target: &Target,
    enrol: bool,
    namespace: &Namespace,
    pods: &[Pod],
    selector: Option<&LabelSelector>,
) -> Plan {
    let before = namespace.metadata.labels.clone().unwrap_or_default();
    let selected = |labels: &Labels| selector.is_some_and(|selector| selector.matches(labels));
    let (own, mode) = match target {
        Target::Namespace(_) => {
            // A pod's own labels may be selected as well.
            let otherwise = selected(&before) || pods.iter().any(|pod| selected(&labels(pod)));
            (before.get(MODE).cloned(), mode(enrol, otherwise))
        }
        Target::Pod(..) => {
            let own = pods.first().map(labels).unwrap_or_default();
            let otherwise = match before.get(MODE).map(String::as_str) {
                Some(mode) => mode == MODE_ENABLED,
                None => selected(&own) || selected(&before),
            };
            (own.get(MODE).cloned(), mode(enrol, otherwise))
        }
    };
    let mut after = before;
    if let Target::Namespace(_) = target {
        set(&mut after, mode);
    }
    let live = pods.iter().filter(|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    });
    let expected = live.map(|pod| {
        let mut own = labels(pod);
        if let Target::Pod(..) = target {
            set(&mut own, mode);
        }
        expected(pod, &own, &after, target, enrol, selector)
    });
    Plan { mode, changes: own.as_deref() != mode, pods: expected.collect() }
}

/// What to write: to leave, nothing where that is enough.
fn mode(enrol: bool, otherwise: bool) -> Option<&'static str> {
    match (enrol, otherwise) {
        (true, _) => Some(MODE_ENABLED),
        (false, true) => Some(MODE_DISABLED),
        (false, false) => None,
    }
}

fn set(labels: &mut Labels, mode: Option<&str>) {
    match mode {
        Some(mode) => labels.insert(MODE.to_owned(), mode.to_owned()),
        None => labels.remove(MODE),
    };
}

fn labels(pod: &Pod) -> Labels {
    pod.metadata.labels.clone().unwrap_or_default()
}

fn expected(
    pod: &Pod,
    own: &Labels,
    namespace: &Labels,
    target: &Target,
    enrol: bool,
    selector: Option<&LabelSelector>,
) -> Expected {
    let selected = || selector.is_some_and(|selector| selector.matches(own) || selector.matches(namespace));
    let asks = match own.get(MODE).or_else(|| namespace.get(MODE)) {
        Some(mode) => mode == MODE_ENABLED,
        None => selected(),
    };
    let default = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default);
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let refused = || refusal(spec, own, &annotations, namespace);
    let own_label = || format!("its own label {MODE}: {} counts", own.get(MODE).map_or("-", String::as_str));
    let (fate, why) = match (asks, enrol) {
        (true, true) => match refused() {
            Some(why) => (Fate::Refused, why),
            None => (Fate::Joins, String::new()),
        },
        (false, false) => (Fate::Leaves, String::new()),
        (true, false) | (false, true) => (Fate::Stays, own_label()),
    };
    let made_anew = match target {
        Target::Pod(..) => owner(pod).map(|owner| {
            format!("a pod that {owner} makes in its place does not have the label: put it into the template")
        }),
        Target::Namespace(_) => None,
    };
    Expected {
        name: format!(
            "{}/{}",
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.name.as_deref().unwrap_or_default()
        ),
        node: spec.node_name.clone().unwrap_or_default(),
        fate,
        why: if why.is_empty() { made_anew.unwrap_or_default() } else { why },
    }
}

/// Who makes another one when this pod ends.
fn owner(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.controller == Some(true));
    owners.next().map(|owner| format!("{} {}", owner.kind, owner.name))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Namespace, Pod};
    use mesh_api::crd::LabelSelector;
    use serde_json::{Value, from_value, json};

    use super::{Fate, Plan, Target, plan};

    fn namespace(labels: &Value) -> Namespace {
        from_value(json!({ "metadata": { "name": "bank", "labels": labels } })).unwrap()
    }

    fn pod(name: &str, labels: &Value, spec: &Value) -> Pod {
        let mut pod = json!({ "metadata": { "namespace": "bank", "name": name, "labels": labels }, "spec": { "nodeName": "n1", "containers": [] } });
        for (field, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        from_value(pod).unwrap()
    }

    fn fates(plan: &Plan) -> Vec<Fate> {
        plan.pods.iter().map(|pod| pod.fate).collect()
    }

    #[test]
    fn a_namespace_enrols_its_pods_but_those_that_say_otherwise_or_cannot() {
        let pods = [
            pod("a", &json!({}), &json!({})),
            pod("b", &json!({ "mesh.internal/mode": "disabled" }), &json!({})),
            pod("c", &json!({}), &json!({ "hostNetwork": true })),
            pod("d", &json!({}), &json!({ "containers": [{ "name": "app" }, { "name": "istio-proxy" }] })),
        ];
        let target = Target::parse("bank", "default").unwrap();
        let made = plan(&target, true, &namespace(&json!({})), &pods, None);
        assert_eq!((made.mode, made.changes), (Some("enabled"), true));
        assert_eq!(fates(&made), [Fate::Joins, Fate::Stays, Fate::Refused, Fate::Refused]);
        assert!(made.pods[1].why.contains("disabled") && made.pods[2].why.contains("hostNetwork"));
        let again = plan(&target, true, &namespace(&json!({ "mesh.internal/mode": "enabled" })), &pods, None);
        assert!(!again.changes);
    }

    #[test]
    fn leaving_takes_the_label_off_unless_a_selector_would_enrol_again() {
        let target = Target::parse("ns/bank", "default").unwrap();
        let enabled = json!({ "mesh.internal/mode": "enabled", "team": "bank" });
        let pods = [
            pod("a", &json!({}), &json!({})),
            pod("b", &json!({ "mesh.internal/mode": "enabled" }), &json!({})),
        ];
        let made = plan(&target, false, &namespace(&enabled), &pods, None);
        assert_eq!((made.mode, made.changes), (None, true));
        assert_eq!(fates(&made), [Fate::Leaves, Fate::Stays]);
        let selector: LabelSelector = from_value(json!({ "matchLabels": { "team": "bank" } })).unwrap();
        let made = plan(&target, false, &namespace(&enabled), &pods, Some(&selector));
        assert_eq!(made.mode, Some("disabled"));
    }

    #[test]
    fn a_pod_of_an_enrolled_namespace_leaves_by_its_own_label() {
        let target = Target::parse("pod/a", "bank").unwrap();
        let owned = json!({ "mesh.internal/mode": "enabled" });
        let mut of_set = pod("a", &json!({}), &json!({}));
        of_set.metadata.owner_references =
            Some(vec![from_value(json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-1", "uid": "u", "controller": true })).unwrap()]);
        let made = plan(&target, false, &namespace(&owned), std::slice::from_ref(&of_set), None);
        assert_eq!((made.mode, fates(&made)), (Some("disabled"), vec![Fate::Leaves]));
        assert!(made.pods[0].why.contains("ReplicaSet a-1"), "{}", made.pods[0].why);
        let made = plan(&target, false, &namespace(&json!({})), &[of_set], None);
        assert_eq!((made.mode, made.changes), (None, false));
    }

    #[test]
    fn targets_are_read() {
        let read = |text: &str| Target::parse(text, "default").map(|target| target.to_string()).ok();
        assert_eq!(read("bank").as_deref(), Some("namespace/bank"));
        assert_eq!(read("namespace/bank").as_deref(), Some("namespace/bank"));
        assert_eq!(read("pod/teller").as_deref(), Some("pod/default/teller"));
        assert_eq!(read("pod/bank/teller").as_deref(), Some("pod/bank/teller"));
        for wrong in ["", "svc/ledger", "pod/", "a/b", "pod/a/b/c"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
