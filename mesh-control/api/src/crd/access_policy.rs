//! `AccessPolicy`: who may talk to the pods of a namespace, and to whom they may talk.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EgressRule, IngressRule, LabelSelector, Mode, Status, schema::LABEL};

/// What an `AccessPolicy` says. Once an enforced one selects a pod in a direction (the list is
/// there, even if empty), what no rule allows in that direction is refused.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mesh.internal",
    version = "v1alpha1",
    kind = "AccessPolicy",
    plural = "accesspolicies",
    doc = "Who may talk to the pods of a namespace, and to whom they may talk.",
    category = "meshinternal",
    shortname = "apol",
    status = "Status",
    namespaced
)]
#[kube(printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"))]
#[kube(printcolumn(
    name = "Accepted",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
))]
#[kube(printcolumn(
    name = "Programmed",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
))]
#[kube(printcolumn(
    name = "Nodes",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Programmed\")].message",
    priority = 1
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.selector) != has(self.targetRefs)", "exactly one of selector and targetRefs is needed; write selector: {} for every pod of the namespace"))]
#[x_kube(validation = ("has(self.ingress) || has(self.egress)", "ingress or egress is needed; an empty list refuses everything in its direction"))]
pub struct AccessPolicySpec {
    /// The pods of this namespace it is about. Exactly one of this and `targetRefs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The Services of this namespace it is about: their pods, ingress on their target ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub target_refs: Option<Vec<TargetRef>>,
    /// Enforce where it is left out.
    #[serde(default)]
    pub mode: Mode,
    /// Rules about connections that arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub ingress: Option<Vec<IngressRule>>,
    /// Rules about connections that leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub egress: Option<Vec<EgressRule>>,
}

/// An object that a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// The object's API group: empty, the core group.
    #[serde(default)]
    #[schemars(extend("enum" = [""]))]
    pub group: String,
    /// The object's kind: `Service`.
    #[schemars(extend("enum" = ["Service"]))]
    pub kind: String,
    /// The object's name, in the policy's own namespace.
    #[schemars(length(min = 1, max = 63), pattern(LABEL))]
    pub name: String,
}
